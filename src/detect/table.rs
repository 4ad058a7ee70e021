//! A bounded map in which the old give way to the new, but what has more evidence gives way later.

use bytemuck::Zeroable;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;

const WAYS: usize = 8;

/// What a [`Table`] keeps.
pub trait Kept: Clone + Default + Zeroable {
    /// How much of an offender would be lost sight of, if it was last used `age_secs` ago: never is an
    /// entry put out while one with less is there. So who would be forgotten must bring forth, in the
    /// same set, eight that look worse than he does.
    fn evidence(&self, age_secs: u32) -> u8;
}

/// A set-associative map: all memory is taken at the start, nothing is ever rehashed, and a
/// look-up touches two cache lines, one of tags and one of the entry.
pub struct Table<V> {
    /// Eight bits of each entry's hash; 0 for an empty way.
    tags: Vec<[u8; WAYS]>,
    slots: Vec<Slot<V>>,
    hasher: FixedState,
}

#[derive(Default, Zeroable)]
#[repr(align(64))]
struct Slot<V> {
    key: u128,
    /// Seconds since 1970, when it was last asked for.
    used: u32,
    value: V,
}

impl<V: Kept> Table<V> {
    /// Room for at least `capacity` entries.
    pub fn new(capacity: usize, seed: u64) -> Table<V> {
        let sets = capacity.div_ceil(WAYS).next_power_of_two();
        Table {
            tags: vec![[0; WAYS]; sets],
            // Not written before its first entry: memory of what is never kept is never taken.
            slots: bytemuck::zeroed_vec(sets * WAYS),
            hasher: FixedState::with_seed(seed),
        }
    }

    /// The entry of `key`, made now if it is not there, at the cost of another one when its set is
    /// full.
    #[inline]
    pub fn entry(&mut self, key: u128, now_secs: u32) -> &mut V {
        self.visit(key, now_secs).0
    }

    /// The entry of `key`, and how many seconds it was not used for.
    #[inline]
    pub fn visit(&mut self, key: u128, now_secs: u32) -> (&mut V, u32) {
        let (set, tag) = self.place(key);
        let at = match self.find(key, set, tag) {
            Some(at) => at,
            None => {
                let way = self.weakest(set, now_secs);
                self.tags[set][way] = tag;
                self.slots[set * WAYS + way] = Slot { key, used: now_secs, ..Slot::default() };
                set * WAYS + way
            }
        };
        let slot = &mut self.slots[at];
        let idle = now_secs.saturating_sub(slot.used);
        slot.used = slot.used.max(now_secs);
        (&mut slot.value, idle)
    }

    /// Asks memory for the entries of `keys`, so that it gives them all at once.
    #[inline]
    pub fn warm(&self, keys: impl Iterator<Item = u128>) {
        for key in keys {
            std::hint::black_box(self.get(key));
        }
    }

    /// The entry of `key`, if it is there.
    pub fn get(&self, key: u128) -> Option<&V> {
        let (set, tag) = self.place(key);
        self.find(key, set, tag).map(|at| &self.slots[at].value)
    }

    /// All entries, with the second they were last asked for.
    pub fn iter(&self) -> impl Iterator<Item = (u128, u32, &V)> {
        let tags = self.tags.iter().flatten();
        tags.zip(&self.slots).filter(|(tag, _)| **tag != 0).map(|(_, slot)| (slot.key, slot.used, &slot.value))
    }

    /// All values, to be changed in place.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.slots.iter_mut().map(|slot| &mut slot.value)
    }

    /// Takes out the entries that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(u128, &V) -> bool) {
        for (tag, slot) in self.tags.iter_mut().flatten().zip(&mut self.slots) {
            if *tag != 0 && !keep(slot.key, &slot.value) {
                *tag = 0;
                *slot = Slot::default();
            }
        }
    }

    #[inline]
    fn place(&self, key: u128) -> (usize, u8) {
        let hash = self.hasher.hash_one(key);
        (hash as usize & (self.tags.len() - 1), (hash >> 56) as u8 | 1)
    }

    /// Compares all tags of the set at once: with a branch a way, the processor would wait for
    /// memory at each.
    #[inline]
    fn find(&self, key: u128, set: usize, tag: u8) -> Option<usize> {
        let mut same = zeros(u64::from_le_bytes(self.tags[set]) ^ (u64::from(tag) * ONES));
        while same != 0 {
            let at = set * WAYS + same.trailing_zeros() as usize / 8;
            if self.slots[at].key == key {
                return Some(at);
            }
            same &= same - 1;
        }
        None
    }

    /// An empty way, else of those with the least evidence the one that was not used for longest.
    fn weakest(&self, set: usize, now_secs: u32) -> usize {
        let empty = zeros(u64::from_le_bytes(self.tags[set]));
        if empty != 0 {
            return empty.trailing_zeros() as usize / 8;
        }
        let rank = |way: &usize| {
            let slot = &self.slots[set * WAYS + way];
            (slot.value.evidence(now_secs.saturating_sub(slot.used)), slot.used)
        };
        (0..WAYS).min_by_key(rank).unwrap_or(0)
    }
}

const ONES: u64 = u64::MAX / 255;

/// The high bit of each byte of `bytes` that is 0. The lowest is right; above it, also that of one that is 1.
#[inline]
fn zeros(bytes: u64) -> u64 {
    bytes.wrapping_sub(ONES) & !bytes & (ONES << 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default, Zeroable)]
    struct Seen {
        guilt: u8,
    }

    impl Kept for Seen {
        fn evidence(&self, _: u32) -> u8 {
            self.guilt
        }
    }

    #[test]
    fn a_flood_of_strangers_does_not_put_out_an_offender() {
        let mut table: Table<Seen> = Table::new(1024, 7);
        table.entry(42, 100).guilt = 9;
        for key in 1000..101_000u128 {
            table.entry(key, 200).guilt = (key % 9) as u8;
        }
        assert!(table.get(42).is_some_and(|seen| seen.guilt == 9));
        assert_eq!(table.iter().count(), 1024, "bounded");
    }

    #[test]
    fn the_longest_unused_goes_first() {
        let mut table: Table<Seen> = Table::new(8, 7);
        for key in 1..=8u128 {
            table.entry(key, key as u32);
        }
        table.entry(1, 50);
        table.entry(9, 51);
        assert!(table.get(1).is_some());
        assert!(table.get(2).is_none());
    }
}
