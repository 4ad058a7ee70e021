//! Texts found clean lately. Some user agents, referrers and kinds of URIs make up most of a log,
//! and to hash a text is far cheaper than to look for literals in it, or even to run patterns.

use std::hash::BuildHasher;

use wide::u8x16;

use super::ruleset::Hit;

const WAYS: usize = 4;
/// Spreads the number of a way to look at a text over a hash.
const WAY: u64 = 0x9e37_79b9_7f4a_7c15;
/// The bits in which digits differ.
const DIGITS: u8 = 0x0f;

/// A bounded set of texts that no rule matches. It keeps their hashes, of a seed that nobody
/// outside knows: that another text has the hash of one of them cannot be brought about.
///
/// Prefilters take all digits for the same, so texts that differ in their digits alone and have no
/// rule's literal are clean together, by their *shape*: a page under any number is known once. A
/// text with a literal whose pattern tells digits apart, and does not match, is clean *to the letter*.
/// So is a text with a `%`, a `\` or a `#`, where digits may spell other bytes.
pub struct CleanMemo {
    /// Of each set, the latest first; 0 is none.
    sets: Vec<[u64; WAYS]>,
    by: By,
    seeds: [u64; 3],
}

/// What a memo knows texts by.
#[derive(Clone, Copy, PartialEq)]
pub enum By {
    /// For texts that are many, most of which differ in numbers alone.
    Shape,
    /// For few texts: cheaper.
    Letter,
}

/// A text, by its hash, and whether it is known to be clean.
#[derive(Clone, Copy, Default)]
pub struct Recalled {
    hash: u64,
    pub clean: bool,
    /// It is the hash of the text to the letter, not of its shape.
    to_the_letter: bool,
}

impl CleanMemo {
    /// Room for `capacity` texts.
    pub fn new(capacity: usize, by: By) -> CleanMemo {
        let random = foldhash::quality::RandomState::default();
        CleanMemo {
            sets: vec![[0; WAYS]; capacity.div_ceil(WAYS).next_power_of_two()],
            by,
            seeds: [0, 1, 2].map(|n: u64| random.hash_one(n)),
        }
    }

    /// What is known of `text`, by its shape if that is how it is known. Free of branches, so that the processor can
    /// wait for the memory of several texts at once.
    #[inline]
    pub fn recall(&self, text: &[u8]) -> Recalled {
        let (hash, to_the_letter) = self.hash(text);
        self.look_up(hash, to_the_letter, text)
    }

    /// What is known of `text` where it is looked at in more ways than one.
    pub fn recall_as(&self, text: &[u8], way: u64) -> Recalled {
        let (hash, to_the_letter) = self.hash(text);
        self.look_up(hash ^ way.wrapping_mul(WAY), to_the_letter, text)
    }

    /// The hash that the text is known by, and whether it is that of the text to the letter.
    #[inline]
    fn hash(&self, text: &[u8]) -> (u64, bool) {
        if self.by == By::Letter {
            return (self.mix::<0>(text).0, true);
        }
        let (shape, digits_spell) = self.mix::<DIGITS>(text);
        (if digits_spell { self.mix::<0>(text).0 } else { shape }, digits_spell)
    }

    /// What is known of `text` to the letter, of which [`recall_as`](Self::recall_as) gave `recalled`.
    pub fn recall_to_the_letter(&self, text: &[u8], way: u64, recalled: Recalled) -> Recalled {
        if recalled.to_the_letter {
            return recalled;
        }
        self.look_up(self.mix::<0>(text).0 ^ way.wrapping_mul(WAY), true, text)
    }

    #[inline]
    fn look_up(&self, hash: u64, to_the_letter: bool, text: &[u8]) -> Recalled {
        let hash = hash | 1;
        let known = self.sets[place(hash, self.sets.len())].iter().fold(false, |any, &known| any | (known == hash));
        Recalled { hash, clean: known | text.is_empty(), to_the_letter }
    }

    /// Remembers that the text is clean.
    pub fn remember(&mut self, text: Recalled) {
        let at = place(text.hash, self.sets.len());
        let set = &mut self.sets[at];
        set.rotate_right(1);
        set[0] = text.hash;
    }

    /// Forgets everything: for when the rules have changed.
    pub fn clear(&mut self) {
        self.sets.fill([0; WAYS]);
    }

    /// Multiplies and folds 16 bytes at a time, as foldhash does, without the bits `IGNORED` of
    /// digits. Returns whether digits may spell bytes, too, if any bits are ignored.
    #[inline]
    fn mix<const IGNORED: u8>(&self, text: &[u8]) -> (u64, bool) {
        let [mut hash, one, other] = self.seeds;
        // Shapes are told from texts that are spelt with the digit which stands for all.
        hash ^= (text.len() as u64) << 8 | u64::from(IGNORED);
        let mut spelling = u8x16::default();
        let mut mix = |bytes: &[u8; 16]| {
            let mut bytes = u8x16::new(*bytes);
            if IGNORED != 0 {
                let is = |sign: u8| bytes.simd_eq(u8x16::splat(sign));
                spelling |= is(b'%') | is(b'\\') | is(b'#');
                let digits = (bytes - u8x16::splat(b'0')).simd_le(u8x16::splat(9));
                bytes &= !(digits & u8x16::splat(IGNORED));
            }
            let bytes = u128::from_le_bytes(bytes.to_array());
            let product = u128::from(bytes as u64 ^ one) * u128::from((bytes >> 64) as u64 ^ hash);
            hash = product as u64 ^ (product >> 64) as u64 ^ other;
        };
        if let Some(last) = text.last_chunk() {
            // The last sixteen bytes, some of them once more.
            text[..text.len() - 1].as_chunks().0.iter().for_each(&mut mix);
            mix(last);
        } else if !text.is_empty() {
            let mut short = [0; 16];
            short[..text.len()].copy_from_slice(text);
            mix(&short);
        }
        let product = u128::from(hash) * u128::from(one | 1);
        (product as u64 ^ (product >> 64) as u64, spelling.any())
    }
}

/// Texts that were looked at lately: those found clean, and those that rules match, with their hits.
pub struct Memo {
    clean: CleanMemo,
    /// Of each set, the latest first.
    found: Vec<[Found; WAYS]>,
}

/// Hits of a text that are remembered: with more it is looked at again.
const MOST_HITS: usize = 7;

#[derive(Clone, Copy, Default)]
struct Found {
    /// 0 is none.
    hash: u64,
    hits: [Hit; MOST_HITS],
    len: u8,
}

impl Memo {
    /// Room for `clean` texts without hits and for `found` with some.
    pub fn new(clean: usize, by: By, found: usize) -> Memo {
        let found = vec![[Found::default(); WAYS]; found.div_ceil(WAYS).next_power_of_two()];
        Memo { clean: CleanMemo::new(clean, by), found }
    }

    /// As [`CleanMemo::recall`].
    #[inline]
    pub fn recall(&self, text: &[u8]) -> Recalled {
        self.clean.recall(text)
    }

    /// As [`CleanMemo::recall_as`].
    pub fn recall_as(&self, text: &[u8], way: u64) -> Recalled {
        self.clean.recall_as(text, way)
    }

    /// The hits of a text that is not [`clean`](Recalled::clean) by `recalled`, and whether they are known of it to
    /// the letter.
    ///
    /// # Errors
    /// They are not known: what to [remember](Self::remember) the text by if digits matter.
    pub fn hits(&self, text: &[u8], way: u64, recalled: Recalled) -> Result<(&[Hit], bool), Recalled> {
        if let Some(hits) = self.found(recalled) {
            return Ok((hits, false));
        }
        let exactly = self.clean.recall_to_the_letter(text, way, recalled);
        let hits = if exactly.clean { Some(&[][..]) } else { self.found(exactly) };
        hits.map(|hits| (hits, true)).ok_or(exactly)
    }

    fn found(&self, text: Recalled) -> Option<&[Hit]> {
        let set = &self.found[place(text.hash, self.found.len())];
        let found = set.iter().find(|found| found.hash == text.hash)?;
        Some(&found.hits[..usize::from(found.len)])
    }

    /// Remembers the hits of the text, if they are few enough.
    pub fn remember(&mut self, text: Recalled, hits: &[Hit]) {
        if hits.is_empty() {
            return self.clean.remember(text);
        }
        let mut found = Found { hash: text.hash, len: hits.len() as u8, ..Found::default() };
        let Some(room) = found.hits.get_mut(..hits.len()) else { return };
        room.copy_from_slice(hits);
        let at = place(text.hash, self.found.len());
        self.found[at].rotate_right(1);
        self.found[at][0] = found;
    }

    /// Forgets everything: for when the rules have changed.
    pub fn clear(&mut self) {
        self.clean.clear();
        self.found.fill([Found::default(); WAYS]);
    }
}

/// The set of so many that a hash is in.
#[inline]
fn place(hash: u64, sets: usize) -> usize {
    (hash >> 32) as usize & (sets - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(memo: &CleanMemo, text: &str) -> bool {
        memo.recall(text.as_bytes()).clean
    }

    #[test]
    fn only_what_was_remembered_is_clean() {
        let mut memo = CleanMemo::new(64, By::Shape);
        assert!(clean(&memo, "") && !clean(&memo, "curl/8"));
        memo.remember(memo.recall(b"curl/8"));
        assert!(clean(&memo, "curl/8") && !clean(&memo, "sqlmap"));
        memo.clear();
        assert!(!clean(&memo, "curl/8"));
    }

    #[test]
    fn every_byte_counts_except_which_digit_it_is() {
        let memo = CleanMemo::new(64, By::Shape);
        let hash = |text: &[u8]| memo.recall(text).hash;
        for len in 1..70 {
            let text: Vec<u8> = (0..len).map(|at| b"a/b0c?1=9"[at % 9]).collect();
            for at in 0..len {
                for byte in 0..=255 {
                    let mut other = text.clone();
                    other[at] = byte;
                    let same = byte == text[at] || (byte.is_ascii_digit() && text[at].is_ascii_digit());
                    assert_eq!(hash(&text) == hash(&other), same, "{at} of {len}: {byte}");
                }
            }
            assert_ne!(hash(&text), hash(&text[1..]));
        }
    }

    #[test]
    fn digits_that_may_spell_bytes_count() {
        let memo = CleanMemo::new(64, By::Shape);
        let hash = |text: &str| memo.recall(text.as_bytes()).hash;
        for sign in ["%", "\\", "#"] {
            for before in 0..40 {
                for after in 0..40 {
                    let text = |digit| format!("{}{sign}{}{digit}", "1".repeat(before), "a".repeat(after));
                    assert_ne!(hash(&text(7)), hash(&text(8)), "{}", text(7));
                }
            }
        }
    }

    #[test]
    fn what_is_clean_to_the_letter_says_nothing_of_other_digits() {
        let mut memo = CleanMemo::new(64, By::Shape);
        let exactly = |memo: &CleanMemo, text: &[u8]| memo.recall_to_the_letter(text, 0, memo.recall(text));
        for text in [&b"select 0"[..], b"a text of more than 16 bytes, and %30"] {
            memo.remember(exactly(&memo, text));
            assert!(exactly(&memo, text).clean);
        }
        for other in ["select 7", "a text of more than 76 bytes, and %30", "a text of more than 16 bytes, and %31"] {
            assert!(!exactly(&memo, other.as_bytes()).clean && !clean(&memo, other), "{other}");
        }
        assert!(!clean(&memo, "select 0"), "its shape is not");
    }

    #[test]
    fn new_texts_put_out_old_ones() {
        let mut memo = CleanMemo::new(64, By::Shape);
        (0..1000u32).for_each(|n| memo.remember(memo.recall(format!("%{n}").as_bytes())));
        let known = (0..1000u32).filter(|n| clean(&memo, &format!("%{n}"))).count();
        assert!((1..=64).contains(&known), "{known}");
        assert!(clean(&memo, "%999"), "the last is there");
    }
}
