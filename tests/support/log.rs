//! Lines of a web server's log, and a writer that treats its file as web servers and logrotate do.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade::event::Timestamp;

/// A request as nginx and Apache log it, now. `request` is its method and target.
pub fn line(from: &str, request: &str, status: u16) -> String {
    line_at(Timestamp::now(), from, request, status)
}

pub fn line_at(time: Timestamp, from: &str, request: &str, status: u16) -> String {
    format!("{from} - - [{}] \"{request} HTTP/1.1\" {status} 512 \"-\" \"Mozilla/5.0\"\n", time.clf())
}

/// An attack that is certain, with `n` in it to know it by.
pub fn attack(from: &str, n: usize) -> String {
    line(from, &format!("GET /products?n={n}&id=1%27%20UNION%20SELECT%20password%20FROM%20users--%20-"), 200)
}

/// Numbers that look random and can be had again: splitmix64.
pub struct Random(pub u64);

impl Random {
    /// Seeded by the clock; a failing test shows the seed.
    pub fn new() -> Random {
        let seed = Timestamp::now().0 as u64;
        eprintln!("seed {seed}");
        Random(seed)
    }

    /// Less than `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % n
    }

    pub fn pause(&mut self, max_millis: u64) {
        std::thread::sleep(Duration::from_millis(self.below(max_millis)));
    }
}

/// Writes a log that is rotated by renaming it, and keeps all of it in one piece.
pub struct LogWriter {
    path: PathBuf,
    file: File,
    rotations: u32,
    pub whole: Vec<u8>,
}

impl LogWriter {
    pub fn new(path: &Path) -> LogWriter {
        LogWriter { path: path.to_owned(), file: open(path), rotations: 0, whole: vec![] }
    }

    /// Appends, now and then in two pieces.
    pub fn write(&mut self, text: &str, random: &mut Random) {
        let (first, second) = text.split_at(if random.below(10) == 0 { text.len() / 2 } else { 0 });
        for piece in [first, second] {
            self.file.write_all(piece.as_bytes()).unwrap();
            if !first.is_empty() {
                random.pause(3);
            }
        }
        self.whole.extend_from_slice(text.as_bytes());
    }

    /// Renames the file; until [`reopen`](Self::reopen) it is written to under its new name.
    pub fn rotate(&mut self) {
        self.rotations += 1;
        fs::rename(&self.path, format!("{}.{}", self.path.display(), self.rotations)).unwrap();
    }

    pub fn reopen(&mut self) {
        self.file = open(&self.path);
    }
}

fn open(path: &Path) -> File {
    File::options().create(true).append(true).open(path).unwrap()
}
