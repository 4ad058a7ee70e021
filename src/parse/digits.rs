//! Decimal digits, eight at once: how many a number has differs from line to line, and a loop over
//! them would be mispredicted at its end.

/// A byte in each of eight.
pub const EACH: u64 = u64::MAX / 255;

/// Eight bytes less `0`: digits are 0 to 9.
#[inline]
pub fn from_zero(bytes: [u8; 8]) -> u64 {
    u64::from_le_bytes(bytes) ^ (u64::from(b'0') * EACH)
}

/// The high bit of each byte that is no digit.
#[inline]
pub fn not_digits(from_zero: u64) -> u64 {
    let beyond_nine = (from_zero & (0x7f * EACH)) + (0x80 - 10) * EACH;
    (from_zero | beyond_nine) & (0x80 * EACH)
}

/// The number that eight digits spell.
#[inline]
pub fn decimal(from_zero: u64) -> u64 {
    let twos = (from_zero.wrapping_mul(10 << 8 | 1) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (twos.wrapping_mul(100 << 16 | 1) >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
}

/// What each of eight digits spells together with the next.
#[inline]
pub fn pairs(from_zero: u64) -> [u8; 8] {
    from_zero.wrapping_mul(10).wrapping_add(from_zero >> 8).to_le_bytes()
}

/// The number of up to seven digits that `text` begins with, and how many they are; `None` when
/// they are more, or the text is shorter than eight bytes.
#[inline]
pub fn leading(text: &[u8]) -> Option<(u64, usize)> {
    let word = from_zero(*text.first_chunk()?);
    let len = not_digits(word).trailing_zeros() as usize / 8;
    (1..8).contains(&len).then(|| (decimal(word << (64 - 8 * len)), len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read() {
        for (text, expected) in [
            ("0 xxxxxx", Some((0, 1))),
            ("7\"xxxxxx", Some((7, 1))),
            ("1234567 ", Some((1_234_567, 7))),
            ("9999999x", Some((9_999_999, 7))),
            ("12345678", None),
            ("/1111111", None),
            (":1111111", None),
            ("\u{80}111111", None),
            ("12", None),
        ] {
            assert_eq!(leading(text.as_bytes()), expected, "{text}");
        }
        for number in [0, 1, 12_345_678, 99_999_999, 90_000_009] {
            let text = format!("{number:08}");
            let word = from_zero(text.as_bytes().try_into().unwrap());
            assert_eq!((not_digits(word), decimal(word)), (0, number));
        }
    }
}
