//! Texts found clean lately. Some user agents, referrers and URIs make up most of a log, and to
//! hash a text is far cheaper than to look for literals in it.

use foldhash::fast::RandomState;
use std::hash::BuildHasher;

const WAYS: usize = 4;

/// A bounded set of texts in which no rule's literal is. It keeps their hashes, of a seed that
/// nobody outside knows: that another text has the hash of one of them cannot be brought about.
pub struct CleanMemo {
    /// Of each set, the latest first; 0 is none.
    sets: Vec<[u64; WAYS]>,
    hasher: RandomState,
}

impl CleanMemo {
    /// Room for `capacity` texts.
    pub fn new(capacity: usize) -> CleanMemo {
        CleanMemo { sets: vec![[0; WAYS]; capacity.div_ceil(WAYS).next_power_of_two()], hasher: RandomState::default() }
    }

    /// Whether `text` is known to be clean; if not, and `check` finds it clean, it is from now on.
    #[inline]
    pub fn is_clean(&mut self, text: &[u8], check: impl FnOnce(&[u8]) -> bool) -> bool {
        if text.is_empty() {
            return true;
        }
        let hash = self.hasher.hash_one(text) | 1;
        let at = (hash >> 32) as usize & (self.sets.len() - 1);
        let set = &mut self.sets[at];
        if set.contains(&hash) {
            return true;
        }
        let clean = check(text);
        if clean {
            set.rotate_right(1);
            set[0] = hash;
        }
        clean
    }

    /// Forgets everything: for when the rules have changed.
    pub fn clear(&mut self) {
        self.sets.fill([0; WAYS]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_found_clean_is_remembered_as_such() {
        let mut memo = CleanMemo::new(64);
        assert!(memo.is_clean(b"curl/8", |_| true));
        assert!(memo.is_clean(b"curl/8", |_| panic!("asked twice")));
        assert!(!memo.is_clean(b"sqlmap", |_| false));
        assert!(!memo.is_clean(b"sqlmap", |_| false));
        memo.clear();
        assert!(!memo.is_clean(b"curl/8", |_| false));
    }

    #[test]
    fn new_texts_put_out_old_ones() {
        let mut memo = CleanMemo::new(64);
        for n in 0..1000u32 {
            memo.is_clean(&n.to_le_bytes(), |_| true);
        }
        let known = (0..1000u32).filter(|n| memo.is_clean(&n.to_le_bytes(), |_| false)).count();
        assert!((1..=64).contains(&known), "{known}");
        assert!(memo.is_clean(&999u32.to_le_bytes(), |_| false), "the last is there");
    }
}
