use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::compose::{Input, compose, understand};
use super::mistake::{Mistake, Mistakes, Origin};
use super::renamed::RENAMED;
use super::{Known, Loaded};

/// Where the configuration is when nobody says otherwise.
pub const DEFAULT_FILE: &str = "/etc/palisade/palisade.toml";

/// A larger file is no configuration: somebody named a log or a device.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Which configuration is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// [`DEFAULT_FILE`] and the `conf.d` beside it, where they exist.
    Default,
    /// Built-in defaults alone; no file and no `PALISADE__` variable counts.
    None,
    /// This file, which must exist, and the `conf.d` beside it.
    File(PathBuf),
}

impl Place {
    /// The main file, whether it is there or not.
    pub fn main_file(&self) -> Option<&Path> {
        match self {
            Place::None => None,
            Place::File(path) => Some(path),
            Place::Default => Some(Path::new(DEFAULT_FILE)),
        }
    }
}

/// What was read of a configuration: enough to compose it again with other keys set.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text {
    /// The main file, whether it is there or not.
    main: Option<PathBuf>,
    /// The files in the order in which they apply, and their bytes.
    files: Vec<(PathBuf, Vec<u8>)>,
    /// What could not be read.
    mistakes: Vec<Mistake>,
    /// Directory of rules that exists beside the main file.
    rules_dir: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    uid: u32,
}

impl Text {
    /// Reads what belongs to the configuration at `place` for the user `uid` in this `environment`.
    pub fn read(place: &Place, environment: &[(OsString, OsString)], uid: u32) -> Text {
        let read = match place {
            Place::None => Text::default(),
            Place::File(path) => read(path, Absent::Mistake),
            Place::Default => read(Path::new(DEFAULT_FILE), Absent::Ignored),
        };
        Text { environment: environment.to_vec(), uid, ..read }
    }

    /// [`Text::read`] in this process's own environment.
    #[expect(clippy::disallowed_methods, reason = "here and nowhere else the environment is read")]
    pub fn read_from_system(place: &Place) -> Text {
        let environment: Vec<_> = std::env::vars_os().collect();
        Text::read(place, &environment, nix::unistd::geteuid().as_raw())
    }

    /// The configuration that was read, with `set` over it: keys and values as `palisade set` has them.
    ///
    /// # Errors
    /// Every mistake of all files and variables, and of `set`.
    pub fn compose(&self, known: &Known<'_>, set: &[(String, String)]) -> Result<Loaded, Mistakes> {
        compose(self.input(set), known)
    }

    /// What is left of the configuration when everything wrong is taken out: enough to find the daemon that
    /// runs with an earlier one.
    pub fn salvage(&self, known: &Known<'_>) -> Option<Loaded> {
        understand(self.input(&[]), known).0
    }

    fn input<'a>(&'a self, set: &'a [(String, String)]) -> Input<'a> {
        Input {
            files: self.files.clone(),
            mistakes: self.mistakes.clone(),
            rules_dir: self.rules_dir.clone(),
            settings: if self.main.is_some() { &self.environment } else { &[] },
            surroundings: &self.environment,
            uid: self.uid,
            set,
            renamed: RENAMED,
        }
    }

    /// The main file, if it is gone or empty now and was neither in `earlier`: that is what a file looks
    /// like which somebody is about to write, and built-in defaults are hardly what is meant.
    pub fn lost_since<'a>(&self, earlier: &'a Text) -> Option<&'a Path> {
        let main = earlier.main.as_deref()?;
        let has_content =
            |text: &Text| text.files.iter().any(|(path, bytes)| path == main && !bytes.trim_ascii().is_empty());
        (has_content(earlier) && !has_content(self)).then_some(main)
    }
}

/// Whether the locale of this process's environment has letters beyond ASCII.
#[expect(clippy::disallowed_methods, reason = "here and nowhere else the environment is read")]
pub fn terminal_is_utf8() -> bool {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// What it means that the main file is not there.
pub(super) enum Absent {
    Mistake,
    Ignored,
}

pub(super) fn read(main: &Path, absent: Absent) -> Text {
    let beside = main.parent().unwrap_or(Path::new(""));
    let mut mistakes = vec![];
    let mut files = vec![];
    match read_file(main) {
        Ok(bytes) => files.push((main.to_owned(), bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && matches!(absent, Absent::Ignored) => {}
        Err(error) => mistakes.push(unreadable(main, &error)),
    }
    match fragments(main) {
        Ok(paths) => {
            for path in paths {
                match read_file(&path) {
                    Ok(bytes) => files.push((path, bytes)),
                    Err(error) => mistakes.push(unreadable(&path, &error)),
                }
            }
        }
        Err(error) => mistakes.push(unreadable(&beside.join(FRAGMENTS), &error)),
    }
    let rules_dir = Some(beside.join("rules.d")).filter(|path| path.is_dir());
    Text { main: Some(main.to_owned()), files, mistakes, rules_dir, ..Text::default() }
}

/// The directory of fragments beside the main file.
const FRAGMENTS: &str = "conf.d";

/// The fragments beside a main file in the order of their names; none if there is no directory of them.
///
/// # Errors
/// The directory cannot be read.
pub fn fragments(main: &Path) -> io::Result<Vec<PathBuf>> {
    list(&main.parent().unwrap_or(Path::new("")).join(FRAGMENTS))
}

/// The fragments of `conf.d` in the order of their names; none if it does not exist. Hidden
/// files are left to the editors and package managers that write them.
fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml") && !hidden(path));
    paths.sort();
    Ok(paths)
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("larger than 1 MiB, so hardly a configuration"));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, error: &io::Error) -> Mistake {
    let way_out = match error.kind() {
        io::ErrorKind::NotFound => "; name an existing file, or `none` for the built-in defaults",
        io::ErrorKind::IsADirectory => "; name the file in it",
        io::ErrorKind::PermissionDenied => "; let this user read it, or name another file",
        _ => "",
    };
    let origin = Origin::File { path: path.display().to_string(), line: 0, column: 0 };
    Mistake { origin, key: String::new(), message: format!("cannot be read: {error}{way_out}") }
}
