//! One test for each form of rotation that the model strings together at random.

use std::io::Read;

use flate2::Compression;
use flate2::read::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;

/// Compresses as logrotate does: the time of writing is kept, the original goes. Gives the new name.
pub(super) fn compress(path: &Path, extension: &str) -> String {
    let (text, written) = (fs::read(path).unwrap(), path.metadata().unwrap().modified().unwrap());
    let mut packed = Vec::new();
    match extension {
        "zst" => packed = compress_to_vec(text.as_slice(), CompressionLevel::Fastest),
        _ => assert!(GzEncoder::new(text.as_slice(), Compression::fast()).read_to_end(&mut packed).unwrap() > 0),
    }
    let name = format!("{}.{extension}", path.file_name().unwrap().to_str().unwrap());
    let mut file = File::create(path.with_file_name(&name)).unwrap();
    file.write_all(&packed).unwrap();
    file.set_modified(written).unwrap();
    fs::remove_file(path).unwrap();
    name
}
