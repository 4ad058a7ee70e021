//! Sixteen bytes at once.

use wide::u8x16;

pub const LANES: usize = 16;

/// Where bytes are between `first` and `last`.
#[inline]
pub fn within(bytes: u8x16, first: u8, last: u8) -> u8x16 {
    (bytes - u8x16::splat(first)).simd_le(u8x16::splat(last - first))
}

/// Calls `each` with the places of `text` where `is` holds, given the bytes there and the two that
/// follow each (after the end, letters). Returns whether there is any.
#[inline]
pub fn places(text: &[u8], is: impl Fn([u8x16; 3]) -> u8x16, mut each: impl FnMut(usize)) -> bool {
    let (mut start, mut any) = (0, false);
    while start < text.len() {
        let rest = &text[start..];
        let mut padded = [b'a'; LANES + 2];
        let chunk: &[u8; LANES + 2] = rest.first_chunk().unwrap_or_else(|| {
            padded[..rest.len()].copy_from_slice(rest);
            &padded
        });
        let lanes = |from: usize| u8x16::new(chunk[from..from + LANES].try_into().unwrap_or_default());
        let mut found = is([lanes(0), lanes(1), lanes(2)]).to_bitmask();
        any |= found != 0;
        while found != 0 {
            each(start + found.trailing_zeros() as usize);
            found &= found - 1;
        }
        start += LANES;
    }
    any
}
