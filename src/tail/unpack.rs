use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// A compressed sibling of a log is never written to, and never read as text.
pub(super) fn is_compressed(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["gz", "zst", "bz2", "xz", "zip"].iter().any(|packed| extension.eq_ignore_ascii_case(packed))
}

/// The text that was compressed into `file`, by the extension of `path`.
///
/// # Errors
/// The kind `Unsupported` when it was compressed otherwise than by gzip or zstd.
pub(super) fn unpack(path: &Path, file: File) -> io::Result<Box<dyn Read + Send>> {
    let packed = BufReader::new(file);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some(extension) if extension.eq_ignore_ascii_case("gz") => Ok(Box::new(MultiGzDecoder::new(packed))),
        Some(extension) if extension.eq_ignore_ascii_case("zst") => {
            Ok(Box::new(Frames { decoder: FrameDecoder::new(), packed, within: false }))
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// What `source` holds, unpacked if it begins as gzip or zstd does.
///
/// # Errors
/// What reading gave.
pub fn unpacked(source: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut source = BufReader::new(source);
    let mut magic = Vec::with_capacity(4);
    (&mut source).take(4).read_to_end(&mut magic)?;
    let whole = io::Cursor::new(magic.clone()).chain(source);
    Ok(match magic[..] {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(Frames { decoder: FrameDecoder::new(), packed: whole, within: false }),
        _ => Box::new(whole),
    })
}

/// The frames of a zstd file, one after another. The decoder refuses a window over 128 MiB, which
/// bounds its memory.
struct Frames<R> {
    decoder: FrameDecoder,
    packed: R,
    /// A frame was begun.
    within: bool,
}

impl<R: BufRead> Frames<R> {
    /// Begins the next frame, if there is one; a frame that holds no text is passed over.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.packed.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.packed) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    io::copy(&mut (&mut self.packed).take(length.into()), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.within {
                self.within = self.next_frame()?;
                if !self.within {
                    return Ok(0);
                }
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            if self.decoder.is_finished() {
                self.within = false;
            } else {
                let blocks = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.packed, blocks).map_err(io::Error::other)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};
    use std::process::{Command, Stdio};

    use super::*;

    fn packed_by(program: &str, text: &[u8]) -> Vec<u8> {
        let mut child = Command::new(program)
            .args(["-c", "-q"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let mut stdin = child.stdin.take().unwrap();
        let text = text.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&text).unwrap());
        let out = child.wait_with_output().unwrap();
        writer.join().unwrap();
        out.stdout
    }

    fn unpacked(extension: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        let mut text = Vec::new();
        unpack(Path::new("a.log.1").with_extension(extension).as_path(), file)?.read_to_end(&mut text)?;
        Ok(text)
    }

    #[test]
    fn several_members_and_frames_are_one_text() {
        let long: Vec<u8> = (0..300_000u32).flat_map(|n| format!("{n} line\n").into_bytes()).collect();
        for (program, extension) in [("gzip", "gz"), ("zstd", "ZST")] {
            let mut packed = packed_by(program, &long);
            if program == "zstd" {
                packed.extend([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
            }
            packed.extend(packed_by(program, b""));
            packed.extend(packed_by(program, b"and more\n"));
            let text = unpacked(extension, &packed).unwrap();
            assert!(text == [&long[..], b"and more\n"].concat(), "{program}: {} bytes", text.len());
            let cut = &packed[..packed.len() / 2];
            assert!(unpacked(extension, cut).is_err(), "{program}: half a file is no whole one");
            assert!(unpacked(extension, b"no such format at all").is_err());
        }
        assert_eq!(unpacked("xz", b"").err().unwrap().kind(), io::ErrorKind::Unsupported);
    }
}
