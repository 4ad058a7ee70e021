//! What a server refused for good, kept for people.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// At this size the file is renamed to `FILE.1`, over the one before: twice as much is kept at most.
const MAX_BYTES: u64 = 8 << 20;

/// Adds `line` to `file`, which its owner alone may read.
///
/// # Errors
/// It cannot be written.
pub(super) fn append(file: &Path, line: &str) -> io::Result<()> {
    let size = fs::metadata(file).map_or(0, |meta| meta.len());
    if size > 0 && size + line.len() as u64 > MAX_BYTES {
        let mut old = file.as_os_str().to_owned();
        old.push(".1");
        fs::rename(file, old)?;
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(file)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_bounded_and_what_is_newest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dead.jsonl");
        let line = |mark: &str| format!("{mark}{}", "x".repeat(3 << 20));
        for mark in ["a", "b", "c", "d", "e"] {
            append(&file, &line(mark)).unwrap();
        }
        let marks = |file: &Path| {
            let text = fs::read_to_string(file).unwrap();
            text.lines().map(|line| line[..1].to_owned()).collect::<String>()
        };
        assert_eq!((marks(&dir.path().join("dead.jsonl.1")), marks(&file)), ("cd".into(), "e".into()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
