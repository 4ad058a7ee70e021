use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use crate::event::FileMark;

/// How much of a file's beginning tells it from other files. Log lines carry a time, so two logs
/// do not begin alike.
const HEAD_BYTES: usize = 256;

/// The fingerprint of a file's first bytes: with device and inode it says whether a file still is
/// the one that was read, also after a truncation or when an inode number is used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// How many bytes are hashed, at most 256; fewer while the file is shorter.
    pub len: u32,
    pub hash: u64,
}

impl Head {
    pub fn of(mark: &FileMark) -> Head {
        Head { len: mark.head_len, hash: mark.head_hash }
    }

    /// The head of `file` as it is now, or nothing when it no longer begins with what `self` saw.
    pub fn grown(self, file: &File) -> io::Result<Option<Head>> {
        let mut bytes = [0; HEAD_BYTES];
        let n = file.read_at(&mut bytes, 0)?;
        Ok(self.grown_to(bytes.get(..n).unwrap_or_default()))
    }

    /// The same of a text that can be read but once.
    pub fn grown_stream(self, text: &mut dyn Read) -> io::Result<Option<Head>> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        text.take(HEAD_BYTES as u64).read_to_end(&mut bytes)?;
        Ok(self.grown_to(&bytes))
    }

    /// Whether the head alone, without the inode, tells a file from others: it is long enough to
    /// hold the time of the first line.
    pub fn is_telling(self) -> bool {
        self.len >= 64
    }

    fn grown_to(self, now: &[u8]) -> Option<Head> {
        let old = now.get(..self.len as usize)?;
        (self.len == 0 || fnv1a(old) == self.hash).then(|| Head { len: now.len() as u32, hash: fnv1a(now) })
    }
}

/// FNV-1a, 64 bits: stable between versions and machines, as marks outlive the program. It guards
/// against accidents; whoever can forge a log's head can write the log.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::fnv1a;

    /// The reference values of the FNV authors: a change would orphan every stored mark.
    #[test]
    fn hash_is_fnv_1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
