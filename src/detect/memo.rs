//! Texts found clean lately. A few hundred user agents and referrers make up most of a log, and
//! comparing a text with itself is far cheaper than looking for literals in it.

use foldhash::fast::FixedState;
use std::hash::BuildHasher;

const SLOTS: usize = 1024;
const MAX_LEN: usize = 256;

/// A bounded set of texts in which no rule's literal is. Each slot holds one text; a new one takes
/// the slot of the old.
pub struct CleanMemo {
    slots: Vec<Slot>,
    hasher: FixedState,
}

struct Slot {
    len: u16,
    text: [u8; MAX_LEN],
}

impl Default for CleanMemo {
    fn default() -> CleanMemo {
        let slots = std::iter::repeat_with(|| Slot { len: 0, text: [0; MAX_LEN] }).take(SLOTS).collect();
        CleanMemo { slots, hasher: FixedState::with_seed(0) }
    }
}

impl CleanMemo {
    /// Whether `text` is known to be clean; if not, and `check` finds it clean, it is from now on.
    #[inline]
    pub fn is_clean(&mut self, text: &[u8], check: impl FnOnce(&[u8]) -> bool) -> bool {
        if text.is_empty() {
            return true;
        }
        if text.len() > MAX_LEN {
            return check(text);
        }
        let at = self.hasher.hash_one(text) as usize % SLOTS;
        let slot = &mut self.slots[at];
        if usize::from(slot.len) == text.len() && slot.text[..text.len()] == *text {
            return true;
        }
        let clean = check(text);
        if clean {
            slot.text[..text.len()].copy_from_slice(text);
            slot.len = text.len() as u16;
        }
        clean
    }

    /// Forgets everything: for when the rules have changed.
    pub fn clear(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.len = 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_found_clean_is_remembered_as_such() {
        let mut memo = CleanMemo::default();
        assert!(memo.is_clean(b"curl/8", |_| true));
        assert!(memo.is_clean(b"curl/8", |_| panic!("asked twice")));
        assert!(!memo.is_clean(b"sqlmap", |_| false));
        assert!(!memo.is_clean(b"sqlmap", |_| false));
        let long = vec![b'x'; MAX_LEN + 1];
        assert!(memo.is_clean(&long, |_| true));
        assert!(!memo.is_clean(&long, |_| false), "too long to remember");
        memo.clear();
        assert!(!memo.is_clean(b"curl/8", |_| false));
    }
}
