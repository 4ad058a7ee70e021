use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::compose::{Input, compose};
use super::mistake::{Mistake, Mistakes, Origin};
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

/// Reads the configuration for the user `uid` in this `environment`.
///
/// # Errors
/// Every mistake of all files and variables.
pub fn load(
    place: &Place,
    known: &Known<'_>,
    environment: &[(OsString, OsString)],
    uid: u32,
) -> Result<Loaded, Mistakes> {
    match place {
        Place::None => compose(Input { settings: &[], surroundings: environment, uid, ..Input::default() }, known),
        Place::File(path) => read(path, Absent::Mistake, known, environment, uid),
        Place::Default => read(Path::new(DEFAULT_FILE), Absent::Ignored, known, environment, uid),
    }
}

/// [`load`] in this process's own environment.
///
/// # Errors
/// Those of [`load`].
#[expect(clippy::disallowed_methods, reason = "here and nowhere else the environment is read")]
pub fn load_from_system(place: &Place, known: &Known<'_>) -> Result<Loaded, Mistakes> {
    let environment: Vec<_> = std::env::vars_os().collect();
    load(place, known, &environment, nix::unistd::geteuid().as_raw())
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

pub(super) fn read(
    main: &Path,
    absent: Absent,
    known: &Known<'_>,
    environment: &[(OsString, OsString)],
    uid: u32,
) -> Result<Loaded, Mistakes> {
    let beside = main.parent().unwrap_or(Path::new(""));
    let mut mistakes = vec![];
    let mut files = vec![];
    match read_file(main) {
        Ok(bytes) => files.push((main.to_owned(), bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && matches!(absent, Absent::Ignored) => {}
        Err(error) => mistakes.push(unreadable(main, &error)),
    }
    match list(&beside.join("conf.d")) {
        Ok(paths) => {
            for path in paths {
                match read_file(&path) {
                    Ok(bytes) => files.push((path, bytes)),
                    Err(error) => mistakes.push(unreadable(&path, &error)),
                }
            }
        }
        Err(error) => mistakes.push(unreadable(&beside.join("conf.d"), &error)),
    }
    let rules_dir = Some(beside.join("rules.d")).filter(|path| path.is_dir());
    compose(Input { files, mistakes, rules_dir, settings: environment, surroundings: environment, uid }, known)
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
