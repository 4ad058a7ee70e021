//! How names in a directory tell which files rotation made of which.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, Metadata};
use std::path::{Path, PathBuf};

use super::unpack::is_compressed;

/// A name with fewer digits than a date has (`260105`) is not one of a dated series.
const DATE_DIGITS: usize = 6;

/// Regular files that may have stood under `path` once, by their names, compressed or not; beside
/// `path`, and beside what it stands for when a symlink is on the way.
pub(super) fn siblings(path: &Path) -> Vec<(PathBuf, Metadata)> {
    let homes = homes(path);
    let is_any = |name: &OsStr| homes.iter().any(|home| is_sibling(name, home));
    beside(path).filter(|(name, _)| name.file_name().is_some_and(is_any)).collect()
}

/// All regular files beside `path`, and beside what it stands for.
pub(super) fn beside(path: &Path) -> impl Iterator<Item = (PathBuf, Metadata)> {
    let mut homes = homes(path);
    homes.dedup_by(|one, other| one.parent() == other.parent());
    homes.into_iter().flat_map(|home| {
        neighbours(&home).filter_map(|entry| Some((entry.path(), entry.metadata().ok().filter(Metadata::is_file)?)))
    })
}

/// Whether rotation may give `name` to what stood under `path`, or to what takes its place: it begins
/// with that name (`access.log.1`), or the two differ in a date alone (`access-20260105.log`).
pub(super) fn is_sibling(name: &OsStr, path: &Path) -> bool {
    let base = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(base.as_encoded_bytes())
        || series(name).is_some_and(|found| Some(found) == series(base))
}

/// A dated name without its digits, and without the extension of a compressed file.
fn series(name: &OsStr) -> Option<String> {
    let name = Path::new(name);
    let name = if is_compressed(name) { name.file_stem() } else { name.file_name() }?.to_str()?;
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    (digits >= DATE_DIGITS).then(|| name.split(|c: char| c.is_ascii_digit()).filter(|text| !text.is_empty()).collect())
}

/// All entries of the directory that holds `path`.
pub(super) fn neighbours(path: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    path.parent().and_then(|directory| fs::read_dir(directory).ok()).into_iter().flatten().filter_map(Result::ok)
}

/// `path`, then what it stands for when a symlink is on the way.
pub(super) fn homes(path: &Path) -> Vec<PathBuf> {
    let mut homes = vec![path.to_path_buf()];
    homes.extend(fs::canonicalize(path).ok().filter(|real| real != path));
    homes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_rotation_gives() {
        let sibling = |name: &str, path: &str| is_sibling(OsStr::new(name), Path::new(path));
        for (name, path) in [
            ("access.log.1", "/l/access.log"),
            ("access.log.2.gz", "/l/access.log"),
            ("access.log-20260105.zst", "/l/access.log"),
            ("access-20260105.log", "/l/access-20260106.log"),
            ("access-2026-01-05.log.gz", "/l/access-2026-01-06.log"),
            ("access_log.1736035200", "/l/access_log.1736121600"),
        ] {
            assert!(sibling(name, path), "{name} of {path}");
        }
        for (name, path) in [
            ("error.log", "/l/access.log"),
            ("site2.log", "/l/site1.log"),
            ("error-20260105.log", "/l/access-20260105.log"),
            ("access-20260105.log", "/l/access.log"),
        ] {
            assert!(!sibling(name, path), "{name} of {path}");
        }
    }
}
