use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where reading of one file resumes. A file is known by device, inode and a fingerprint of its
/// head, never by its name alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileMark {
    pub path: PathBuf,
    pub device: u64,
    pub inode: u64,
    /// Random, made when the file is first seen; a new one after truncation.
    pub generation: u64,
    /// Start of the first line not yet read.
    pub offset: u64,
    /// The fingerprint: a hash of the first `head_len` (at most 256) bytes.
    pub head_len: u32,
    pub head_hash: u64,
}

/// What `status` says of one followed file.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct SourceStatus {
    pub path: PathBuf,
    /// Names of the formats learned from the file's first lines.
    pub formats: Vec<String>,
    pub offset: u64,
    /// Bytes written but not yet read.
    pub behind_bytes: u64,
    pub lines: u64,
    pub parsed: u64,
    pub unparsed: u64,
    /// Lines longer than the limit, whose head alone was judged.
    pub overlong: u64,
    /// Up to three of the lines that were not understood, made printable.
    pub unparsed_samples: Vec<String>,
    /// What keeps it from being read, if anything.
    pub error: Option<String>,
}
