//! By which few of its bytes a literal is known: those that ordinary requests have least.

use super::ordinary::{commonness, odd_places};

/// Bytes that a literal is known by.
#[derive(Clone, Copy, Debug)]
pub struct Gram {
    /// Whether they are one of [`FORMS`] at an odd place; four at any place if not.
    pub is_odd: bool,
    /// Where they begin in it.
    pub at: usize,
    pub bytes: u32,
}

impl Gram {
    /// The rarest bytes of a literal.
    pub fn of(literal: &[u8]) -> Gram {
        let (any, odd) = (rarest(literal), rarest_odd(literal));
        let is_odd = odd.commonness <= any.commonness;
        let Rarest { at, bytes, .. } = if is_odd { odd } else { any };
        Gram { is_odd, at, bytes }
    }

    /// Where in the literal the odd place is by which it is known.
    pub fn odd_place(&self) -> Option<usize> {
        self.is_odd.then(|| self.at + FORMS[(self.bytes >> 24) as usize].0)
    }
}

/// Of four bytes, the first three.
const THREE: u32 = 0x00ff_ffff;

/// Bytes of a literal, where they are, and how common.
#[derive(Clone, Copy)]
struct Rarest {
    at: usize,
    bytes: u32,
    commonness: f32,
}

impl Rarest {
    const NONE: Rarest = Rarest { at: 0, bytes: 0, commonness: f32::INFINITY };
}

/// The rarest four bytes of a literal, if it has so many.
fn rarest(literal: &[u8]) -> Rarest {
    let grams = literal.windows(4).enumerate().map(|(at, bytes)| Rarest {
        at,
        bytes: bytes.iter().rev().fold(0, |four, &byte| four << 8 | u32::from(byte)),
        commonness: commonness(bytes),
    });
    grams.min_by(|one, other| one.commonness.total_cmp(&other.commonness)).unwrap_or(Rarest::NONE)
}

/// Which bytes at an odd place literals may be known by: so many before it, so many in all. A
/// literal may begin or end there.
pub const FORMS: [(usize, usize); 4] = [(1, 3), (0, 3), (1, 2), (0, 2)];

/// The gram of each of [`FORMS`] at an odd place, given the byte before it, its own and the next two: its
/// bytes, and which it is.
#[inline]
pub fn odd_grams(around: [u8; 4]) -> [u32; 4] {
    let four = u32::from_le_bytes(around);
    [four & THREE, four >> 8 | 1 << 24, four & 0xffff | 2 << 24, four >> 8 & 0xffff | 3 << 24]
}

/// The rarest bytes at an odd place of a literal, if it has any.
fn rarest_odd(literal: &[u8]) -> Rarest {
    let mut best = Rarest::NONE;
    let byte = |index: usize| literal.get(index).copied().unwrap_or(0);
    odd_places(literal, |at| {
        let grams = odd_grams([byte(at.wrapping_sub(1)), byte(at), byte(at + 1), byte(at + 2)]);
        for (gram, (before, len)) in grams.into_iter().zip(FORMS) {
            let Some(bytes) = at.checked_sub(before).and_then(|from| literal.get(from..from + len)) else { continue };
            let commonness = commonness(bytes);
            if commonness < best.commonness {
                best = Rarest { at: at - before, bytes: gram, commonness };
            }
        }
    });
    best
}
