use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file that is renamed to `PATH.1` when it has grown to its size, the older ones to `PATH.2`
/// and so on; `files` of them are kept in all.
pub struct RotatedFile {
    path: PathBuf,
    file: File,
    written: u64,
    max_bytes: u64,
    files: u32,
}

impl RotatedFile {
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path, max_bytes: u64, files: u32) -> io::Result<RotatedFile> {
        let file = append_to(path)?;
        let written = file.metadata()?.len();
        Ok(RotatedFile { path: path.to_owned(), file, written, max_bytes, files })
    }

    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |n: u32| PathBuf::from(format!("{}.{n}", self.path.display()));
        for n in (1..self.files.saturating_sub(1)).rev() {
            // The older ones need not be there.
            let _ = std::fs::rename(numbered(n), numbered(n + 1));
        }
        if self.files > 1 {
            std::fs::rename(&self.path, numbered(1))?;
        } else {
            std::fs::remove_file(&self.path)?;
        }
        self.file = append_to(&self.path)?;
        self.written = 0;
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

impl Write for RotatedFile {
    /// Writes a whole message; one that does not fit any more begins the next file.
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        if self.written > 0 && self.written + message.len() as u64 > self.max_bytes {
            // Better a file that is too large than a message that is lost.
            let _ = self.rotate();
        }
        self.file.write_all(message)?;
        self.written += message.len() as u64;
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_files_of_that_size_are_kept_and_no_message_is_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("palisade.log");
        std::fs::write(&path, "left from before\n").unwrap();
        let mut log = RotatedFile::open(&path, 100, 3).unwrap();
        for n in 0..40 {
            log.write_all(format!("message number {n:02}\n").as_bytes()).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
        let kept = [read("palisade.log.2"), read("palisade.log.1"), read("palisade.log")].concat();
        let expected: String = (29..40).map(|n| format!("message number {n:02}\n")).collect();
        assert_eq!(kept, expected, "the newest, in order");
        assert!(read("palisade.log.1").len() <= 100);
    }
}
