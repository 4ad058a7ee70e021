use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memchr::memchr;

use crate::event::Timestamp;

/// What is read at one place of the file to find a line with a time: several of the longest that are
/// judged whole. Where so much has none, what stands there counts as new: rather read too much than
/// too little.
const BLOCK: u64 = 256 * 1024;

/// Where the first line begins whose `time` is `moment` or later, in a file of `size` bytes that is
/// about in order of time. Nothing when all lines are older, or the last ones have no time.
pub(super) fn first_line_since(
    file: &File,
    size: u64,
    moment: Timestamp,
    time: &dyn Fn(&[u8]) -> Option<Timestamp>,
) -> io::Result<Option<u64>> {
    let mut block = vec![0; 2 * BLOCK as usize];
    let mut first_timed = |at: u64, wanted: &dyn Fn(Timestamp) -> bool, most: u64| -> io::Result<_> {
        // The byte before comes along, to tell whether a line begins at `at`.
        let before = at.saturating_sub(1);
        let n = file.read_at(block.get_mut(..most as usize).unwrap_or_default(), before)?;
        let bytes = block.get(..n).unwrap_or_default();
        let mut line = if at == 0 { 0 } else { memchr(b'\n', bytes).map_or(n, |newline| newline + 1) };
        while let Some(rest) = bytes.get(line..).filter(|rest| !rest.is_empty()) {
            let Some(newline) = memchr(b'\n', rest) else { break };
            if let Some(found) = time(rest.get(..newline).unwrap_or_default()).filter(|time| wanted(*time)) {
                return Ok(Some((before + line as u64, found)));
            }
            line += newline + 1;
        }
        Ok(None)
    };
    // The line at `low` is older; all before `high` that has a time is not looked at yet.
    let (mut low, mut high) = (0, size);
    let mut at = size.saturating_sub(BLOCK);
    loop {
        match first_timed(at, &|_| true, BLOCK)? {
            None if high == size => return Ok(None),
            Some((line, time)) if time < moment && line < high => low = line,
            Some((_, time)) if time < moment => high = at,
            _ => high = at,
        }
        if high - low <= BLOCK {
            break;
        }
        at = low + (high - low) / 2;
    }
    let found = first_timed(low, &|time| time >= moment, 2 * BLOCK)?;
    Ok(found.map(|(line, _)| line).or((high < size).then_some(low)))
}
