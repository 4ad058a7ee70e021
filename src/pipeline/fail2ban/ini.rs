//! fail2ban's configuration files: INI as Python's `configparser` reads it, with files that include
//! others and values that refer to others.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How deep files may include others, and values refer to others (as in `configparser`).
const MAX_DEPTH: usize = 10;
/// Files read at most, bytes of one, and bytes that a value may grow to.
const MAX_FILES: usize = 1000;
const MAX_BYTES: u64 = 4 << 20;
const MAX_VALUE: usize = 64 * 1024;

type Options = BTreeMap<String, String>;

/// What all files together say; the later one wins.
#[derive(Debug, Default)]
pub(super) struct Ini {
    pub(super) defaults: Options,
    pub(super) sections: BTreeMap<String, Options>,
    /// Of each section what it said before the last file changed it: `%(known/NAME)s`.
    known: BTreeMap<String, Options>,
    files: usize,
}

impl Ini {
    /// Adds `path` and what it includes. A file that is not there says nothing.
    ///
    /// # Errors
    /// It cannot be read, or the files include each other without end.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<()> {
        self.include(path, MAX_DEPTH)
    }

    fn include(&mut self, path: &Path, depth: usize) -> io::Result<()> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        self.files += 1;
        if depth == 0 || self.files > MAX_FILES {
            return Err(named(io::Error::other("too many files that include others")));
        }
        let text = match fs::metadata(path) {
            Ok(file) if file.len() > MAX_BYTES => return Err(named(io::Error::other("no configuration: too large"))),
            Ok(_) => String::from_utf8_lossy(&fs::read(path).map_err(named)?).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(named(error)),
        };
        let mut sections = parse(&text);
        let includes = sections.remove("INCLUDES").unwrap_or_default();
        let named = |option: &str| -> Vec<PathBuf> {
            let files = includes.get(option).map_or("", String::as_str).lines().map(str::trim);
            let beside = path.parent().unwrap_or(Path::new("."));
            files.filter(|file| !file.is_empty()).map(|file| beside.join(file)).collect()
        };
        let each = |ini: &mut Ini, file: PathBuf| {
            ini.include(&file, depth - 1)?;
            // Of each file that is included, what the administrator keeps beside it.
            let local = file.with_extension("local");
            if local == file { Ok(()) } else { ini.include(&local, depth - 1) }
        };
        named("before").into_iter().try_for_each(|file| each(self, file))?;
        for (name, options) in sections {
            if name == "DEFAULT" {
                self.defaults.extend(options);
                continue;
            }
            let section = self.sections.entry(name.clone()).or_default();
            let changed = options.keys().filter_map(|key| Some((key.clone(), section.get(key)?.clone())));
            self.known.entry(name).or_default().extend(changed);
            section.extend(options);
        }
        named("after").into_iter().try_for_each(|file| each(self, file))
    }

    /// The value of an option, with what it refers to put in. None where nobody says it.
    ///
    /// # Errors
    /// What it refers to is nowhere, or refers to itself.
    pub(super) fn get(&self, section: &str, option: &str) -> Result<Option<String>, String> {
        let Some(raw) = self.raw(section, option) else { return Ok(None) };
        let mut out = String::new();
        self.put(section, raw, MAX_DEPTH, &mut out).map_err(|why| format!("{option}: {why}"))?;
        Ok(Some(out))
    }

    fn raw<'a>(&'a self, section: &str, option: &str) -> Option<&'a str> {
        let own = self.sections.get(section).and_then(|options| options.get(option));
        own.or_else(|| self.defaults.get(option)).map(String::as_str)
    }

    fn put(&self, section: &str, raw: &str, depth: usize, out: &mut String) -> Result<(), String> {
        if depth == 0 {
            return Err("it refers to itself".into());
        }
        let mut rest = raw;
        while let Some((plain, after)) = rest.split_once('%') {
            out.push_str(plain);
            if out.len() > MAX_VALUE {
                return Err("it is too long".into());
            }
            if let Some(after) = after.strip_prefix('%') {
                out.push('%');
                rest = after;
                continue;
            }
            let reference = after.strip_prefix('(').and_then(|after| after.split_once(")s"));
            let (name, after) = reference.ok_or("a % that refers to nothing")?;
            rest = after;
            if name == "__name__" {
                out.push_str(section);
                continue;
            }
            let value = self.referred(section, &name.to_lowercase());
            self.put(section, value.ok_or_else(|| format!("%({name})s is nowhere"))?, depth - 1, out)?;
        }
        out.push_str(rest);
        if out.len() > MAX_VALUE { Err("it is too long".into()) } else { Ok(()) }
    }

    /// `name` of this section or the defaults, or `SECTION/name`.
    fn referred<'a>(&'a self, section: &str, name: &str) -> Option<&'a str> {
        let found = self.raw(section, name);
        let elsewhere = || {
            let (of, name) = name.split_once('/')?;
            let options = match of {
                "default" => None,
                "known" => self.known.get(section),
                of => self.sections.get(of),
            };
            options.and_then(|options| options.get(name)).or_else(|| self.defaults.get(name)).map(String::as_str)
        };
        found.or_else(elsewhere)
    }
}

/// The sections of one file. Names of options are in small letters; lines that are indented further
/// than an option's name go on with its value.
fn parse(text: &str) -> BTreeMap<String, Options> {
    let mut sections: BTreeMap<String, Options> = BTreeMap::new();
    let (mut section, mut option, mut indent) = (None::<String>, None::<String>, 0);
    for line in text.lines() {
        let code = without_comment(line);
        let value = code.trim();
        if value.is_empty() {
            continue;
        }
        let column = line.len() - line.trim_start().len();
        if let (Some(section), Some(option)) = (&section, &option)
            && column > indent
        {
            if let Some(text) = sections.get_mut(section).and_then(|options| options.get_mut(option)) {
                text.push('\n');
                text.push_str(value);
            }
            continue;
        }
        indent = column;
        if let Some((name, _)) = value.strip_prefix('[').and_then(|rest| rest.rsplit_once(']')) {
            sections.entry(name.to_owned()).or_default();
            (section, option) = (Some(name.to_owned()), None);
        } else if let (Some(section), Some(at)) = (&section, value.find(['=', ':'])) {
            let (name, text) = value.split_at(at);
            let name = name.trim().to_lowercase();
            sections.entry(section.clone()).or_default().insert(name.clone(), text[1..].trim().to_owned());
            option = Some(name);
        }
    }
    sections
}

/// A line that begins with # or ; is a comment; so is what stands behind a ; after white space.
fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with(['#', ';']) {
        return "";
    }
    let comment = line.match_indices(';').find(|(at, _)| line[..*at].ends_with(char::is_whitespace));
    comment.map_or(line, |(at, _)| &line[..at])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(files: &[(&str, &str)]) -> Ini {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let mut ini = Ini::default();
        for (name, _) in files.iter().filter(|(name, _)| name.starts_with("jail")) {
            ini.read(&directory.path().join(name)).unwrap();
        }
        ini
    }

    fn get(ini: &Ini, section: &str, option: &str) -> String {
        ini.get(section, option).unwrap().unwrap()
    }

    #[test]
    fn values_refer_to_others_and_go_on_over_lines() {
        let ini = of(&[
            (
                "jail.conf",
                "[INCLUDES]\nbefore = paths.conf\n[DEFAULT]\nBanTime = 10m ; ten\nfilter = %(__name__)s[mode=%(mode)s]\n\
                 mode : normal\n[sshd]\n# a comment\nlogpath = %(sshd_log)s\n  # another\n\n  /var/log/b;c ; and so\n\
                 port = %(default/port)s,100%%\n[other]\nmode = %(sshd/nice)s%(nothing)s\n",
            ),
            ("jail.local", "[sshd]\nmode = aggressive\nlogpath = %(known/logpath)s\n\t/c\n"),
            ("paths.conf", "[INCLUDES]\nafter = over.local\n[DEFAULT]\nsshd_log = /var/log/a\nport = 22\n"),
            ("paths.local", "[DEFAULT]\nport = 23\n"),
            ("over.local", "[DEFAULT]\nport = 2222\n"),
        ]);
        assert_eq!(get(&ini, "sshd", "bantime"), "10m");
        assert_eq!(get(&ini, "sshd", "filter"), "sshd[mode=aggressive]");
        assert_eq!(get(&ini, "sshd", "logpath"), "/var/log/a\n/var/log/b;c\n/c");
        assert_eq!(get(&ini, "sshd", "port"), "23,100%", "the local file beside an included one is the later");
        assert_eq!(ini.get("other", "mode").unwrap_err(), "mode: %(sshd/nice)s is nowhere");
        assert_eq!(ini.get("sshd", "nothing"), Ok(None));
    }

    #[test]
    fn what_refers_to_itself_or_grows_without_end_is_an_error() {
        let bomb: String = (0..9).map(|n| format!("a{n} = {}\n", format!("%(a{})s", n + 1).repeat(20))).collect();
        let ini = of(&[("jail.conf", &format!("[x]\nself = 1%(self)s\nbad = 5%\n{bomb}a9 = {}\n", "y".repeat(100)))]);
        for (option, why) in [("self", "refers to itself"), ("bad", "refers to nothing"), ("a0", "too long")] {
            let told = ini.get("x", option).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("jail.conf"), "[INCLUDES]\nbefore = jail.conf\n").unwrap();
        let told = Ini::default().read(&directory.path().join("jail.conf")).unwrap_err().to_string();
        assert!(told.contains("include"), "{told}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[\\[\\]%()a-c=:;# \n\t/sü]{0,80}") {
            let ini = Ini { sections: parse(&text), ..Ini::default() };
            for (section, options) in &ini.sections {
                for option in options.keys() {
                    let _ = ini.get(section, option);
                }
            }
        }
    }
}
