//! Reads the configurations of web servers that can be seen here, for the logs that they name.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::event::printable;
use crate::parse::server_config::{File, MAX_FILES, ServerConfig};
use crate::parse::{Formats, is_format_string};

/// A longer file is maps or addresses.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// A configuration may have changed since it was read, but not so often that it matters.
const KEPT: Duration = Duration::from_secs(60);

/// The access logs that server configurations name.
pub struct ServerLogs {
    configs: Vec<PathBuf>,
    /// By path, symlinks resolved.
    logs: BTreeMap<PathBuf, ServerLog>,
    /// What is left out and which formats are refused, each with its place and the reason.
    left_out: Vec<String>,
    refused: Vec<String>,
    told: HashSet<String>,
    read_at: Instant,
}

struct ServerLog {
    /// As it is named.
    path: PathBuf,
    formats: Vec<String>,
}

impl ServerLogs {
    /// Those of the main configuration files at `configs`, paths or globs. One that is not there
    /// names none.
    pub fn read(configs: &[PathBuf]) -> ServerLogs {
        let mut found = ServerLogs {
            configs: configs.to_vec(),
            logs: BTreeMap::new(),
            left_out: vec![],
            refused: vec![],
            told: HashSet::new(),
            read_at: Instant::now(),
        };
        found.read_again();
        found
    }

    fn read_again(&mut self) {
        self.logs.clear();
        self.left_out.clear();
        self.refused.clear();
        self.read_at = Instant::now();
        for path in &self.configs {
            let config = ServerConfig::read(&path.to_string_lossy(), &mut files);
            self.left_out.extend(config.left_out);
            for log in config.logs {
                match Formats::named(&log.format) {
                    Ok(_) => {
                        let path = PathBuf::from(log.path);
                        let known = self.logs.entry(resolved(&path)).or_insert(ServerLog { path, formats: vec![] });
                        if !known.formats.contains(&log.format) {
                            known.formats.push(log.format);
                        }
                    }
                    Err(why) => {
                        let [shown, why] = [log.format, why].map(|text| printable(text.as_bytes(), 300));
                        let refused = format!("{}: the log format {shown} is refused: {why}", log.place);
                        self.refused.push(refused);
                    }
                }
            }
        }
    }

    /// Says what is left out, once.
    pub fn tell(&mut self) {
        for text in &self.left_out {
            if self.told.insert(text.clone()) {
                tracing::info!("{text}");
            }
        }
        for text in &self.refused {
            if self.told.insert(text.clone()) {
                tracing::warn!("{text}; its logs are understood as far as their first lines show how");
            }
        }
    }

    /// The logs whose format is known and that are there, each as it is named and without symlinks.
    pub fn present(&self) -> impl Iterator<Item = (&Path, &Path)> {
        let paths = self.logs.iter().map(|(resolved, log)| (log.path.as_path(), resolved.as_path()));
        paths.filter(|(path, _)| path.is_file())
    }

    /// What any of the logs is said to be written in. Format strings come first: the built-in formats
    /// also read lines that go on.
    pub fn all_formats(&self) -> Formats {
        let mut names: Vec<String> = self.logs.values().flat_map(|log| &log.formats).cloned().collect();
        names.sort_by_key(|name| (!is_format_string(name), name.clone()));
        names.dedup();
        Formats::of_names(&names)
    }

    /// What the file at `path`, or the log that was renamed to it, is said to be written in, as the
    /// configurations are now.
    pub fn formats_now(&mut self, path: &Path) -> Formats {
        if self.read_at.elapsed() > KEPT {
            self.read_again();
            self.tell();
        }
        self.formats(path)
    }

    /// The same, as the configurations were when they were read.
    pub fn formats(&self, path: &Path) -> Formats {
        let path = resolved(path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Rotation gives names such as access.log.1 and access.log-20260105.
        let cuts = name.rmatch_indices(['.', '-']).map(|(at, _)| &name[..at]);
        let mut names = std::iter::once(&*name).chain(cuts);
        let log = names.find_map(|name| self.logs.get(&path.with_file_name(name)));
        log.map_or_else(Formats::default, |log| Formats::of_names(&log.formats))
    }
}

/// `path` without symlinks, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(real) = fs::canonicalize(path) {
        return real;
    }
    let directory = path.parent().and_then(|directory| fs::canonicalize(directory).ok());
    match (directory, path.file_name()) {
        (Some(directory), Some(name)) => directory.join(name),
        _ => path.to_owned(),
    }
}

/// The files that `pattern` names; of a directory, those in it.
fn files(pattern: &str) -> Vec<File> {
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let named = |pattern: &str| {
        let paths = glob::glob_with(pattern, options).into_iter().flatten().filter_map(Result::ok);
        paths.take(MAX_FILES).collect::<Vec<PathBuf>>()
    };
    let mut paths = named(pattern);
    if let [directory] = &*paths
        && directory.is_dir()
    {
        paths = named(&format!("{}/*", glob::Pattern::escape(&directory.to_string_lossy())));
    }
    // Anything but a file, such as a pipe, could keep us waiting.
    paths.retain(|path| path.is_file());
    paths.into_iter().map(|path| File { text: text(&path), path: path.to_string_lossy().into_owned() }).collect()
}

fn text(path: &Path) -> Result<String, String> {
    let mut bytes = vec![];
    let file = fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("it is longer than {} MiB", MAX_FILE_BYTES >> 20));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with `nginx.conf` and what it names.
    fn configured(text: &str) -> (tempfile::TempDir, ServerLogs) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("logs")).unwrap();
        std::os::unix::fs::symlink("logs", dir.path().join("link")).unwrap();
        fs::write(dir.path().join("nginx.conf"), text).unwrap();
        let logs = ServerLogs::read(&[dir.path().join("nginx.conf")]);
        (dir, logs)
    }

    #[test]
    fn a_log_is_known_under_every_path_and_after_rotation() {
        let own = "$remote_addr [$time_local] $status";
        let text = format!("http {{ log_format own '{own}'; access_log link/a.log own; access_log logs/a.log; }}");
        let (dir, logs) = configured(&text);
        let names = |path: &str| logs.formats(&dir.path().join(path)).names();
        let expected = [own, "nginx_combined"];
        for path in ["link/a.log", "logs/a.log", "logs/../logs/a.log", "logs/a.log.1", "link/a.log-20260105.1"] {
            assert_eq!(names(path), expected, "{path}");
        }
        assert_eq!(names("logs/b.log"), [""; 0]);
        assert_eq!(names("a.log"), [""; 0]);
        assert_eq!(logs.present().count(), 0, "not written yet");
        fs::write(dir.path().join("logs/a.log"), "").unwrap();
        let real = dir.path().canonicalize().unwrap().join("logs/a.log");
        assert_eq!(logs.present().collect::<Vec<_>>(), [(&*dir.path().join("link/a.log"), &*real)]);
    }

    #[test]
    fn a_format_that_clients_could_forge_is_refused_with_its_place() {
        let (dir, mut logs) = configured(
            "http {\n log_format bad '$http_referer $remote_addr $http_user_agent [$time_local]';\n access_log logs/a.log bad;\n access_log logs/b.log bad;\n}",
        );
        fs::write(dir.path().join("logs/a.log"), "").unwrap();
        assert_eq!(logs.present().count(), 0);
        let place = format!("{}/nginx.conf:2: ", dir.path().display());
        let refused = |text: &String| text.starts_with(&place) && text.contains("$remote_addr stands between");
        assert!(logs.refused.iter().all(refused), "{:?}", logs.refused);
        logs.tell();
        assert_eq!(logs.told.len(), 1, "said once");
    }

    #[test]
    fn what_cannot_be_read_is_said_and_a_changed_configuration_is_read_again() {
        let (dir, mut logs) = configured("http { include big; include pipe; include more/; }");
        let big = fs::File::create(dir.path().join("big")).unwrap();
        big.set_len(MAX_FILE_BYTES + 1).unwrap();
        nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::create_dir(dir.path().join("more")).unwrap();
        fs::write(dir.path().join("more/a.conf"), "access_log logs/more.log;").unwrap();
        fs::write(dir.path().join("more/.hidden"), "access_log logs/hidden.log;").unwrap();
        let path = dir.path().join("logs/more.log");
        assert!(logs.formats_now(&path).is_empty(), "read before a moment");
        logs.read_at = logs.read_at.checked_sub(KEPT * 2).unwrap();
        assert_eq!(logs.formats_now(&path).names(), ["nginx_combined"]);
        assert!(logs.formats(&dir.path().join("logs/hidden.log")).is_empty());
        assert!(logs.left_out.len() == 1 && logs.left_out[0].ends_with("big is left out: it is longer than 4 MiB"));
    }

    #[test]
    fn a_long_configuration_takes_no_more_than_its_length() {
        let nginx = ["\"", "{", "include x;", "a;", "$a{"].map(|text| ("http {", text));
        let lua = ["[[", "--[[", "{", "'"].map(|text| ("http { a_by_lua_block {", text));
        let apache = ["${", "a \\\n", "<a>\n", "</a>\n", "Include x\n"].map(|text| ("Define x ", text));
        for (start, text) in nginx.into_iter().chain(lua).chain(apache) {
            let began = Instant::now();
            configured(&format!("{start}{}", text.repeat(100_000)));
            assert!(began.elapsed().as_secs() < 30, "{start} {text}");
        }
    }
}
