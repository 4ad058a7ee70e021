use std::io::{self, Read};
use std::sync::Arc;

use tokio::runtime::Handle;

use super::buffer::{Buffer, Lines};
use super::framing::Framer;

/// Bytes that are read at once.
const BLOCK: usize = 64 * 1024;

/// Reads `input` to its end on a thread of its own: nothing can end a read of standard input early.
pub(super) fn start(
    mut input: impl Read + Send + 'static,
    buffer: Arc<Buffer>,
    max_line_bytes: usize,
    runtime: Handle,
) -> io::Result<()> {
    let read = move || {
        let (mut framer, mut lines) = (Framer::newline(max_line_bytes), Lines::default());
        let mut block = vec![0; BLOCK];
        loop {
            match input.read(&mut block) {
                Ok(0) => break,
                Ok(n) => {
                    // Lines are never broken.
                    let _ = framer.feed(block.get(..n).unwrap_or_default(), &mut lines);
                    runtime.block_on(buffer.push(&mut lines));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    buffer.set_error(Some(format!("standard input cannot be read: {error}")));
                    break;
                }
            }
        }
        framer.finish(&mut lines);
        runtime.block_on(buffer.push(&mut lines));
        buffer.end();
    };
    std::thread::Builder::new().name("stdin".into()).spawn(read).map(drop)
}
