//! A bounded map in which the old give way to the new, but what has evidence gives way last.

use foldhash::fast::FixedState;
use std::hash::BuildHasher;

const WAYS: usize = 8;

/// What a [`Table`] keeps.
pub trait Kept: Clone + Default {
    /// Whether losing it would lose sight of an offender: such an entry is never put out while
    /// one without evidence is there.
    fn has_evidence(&self) -> bool;
}

/// A set-associative map from non-zero keys: all memory is taken at the start, nothing is ever
/// rehashed, and a look-up touches one set of eight.
pub struct Table<V> {
    sets: Vec<Set<V>>,
    hasher: FixedState,
}

#[derive(Clone)]
struct Set<V> {
    /// 0 is an empty way.
    keys: [u128; WAYS],
    /// Seconds since 1970, when it was last asked for.
    used: [u32; WAYS],
    values: [V; WAYS],
}

impl<V: Kept> Table<V> {
    /// Room for at least `capacity` entries.
    pub fn new(capacity: usize, seed: u64) -> Table<V> {
        let sets = capacity.div_ceil(WAYS).next_power_of_two();
        let empty = Set { keys: [0; WAYS], used: [0; WAYS], values: std::array::from_fn(|_| V::default()) };
        Table { sets: vec![empty; sets], hasher: FixedState::with_seed(seed) }
    }

    /// The entry of `key`, made now if it is not there, at the cost of another one when its set is
    /// full.
    #[inline]
    pub fn entry(&mut self, key: u128, now_secs: i64) -> &mut V {
        let at = self.set_of(key);
        let set = &mut self.sets[at];
        let way = match set.keys.iter().position(|&known| known == key) {
            Some(way) => way,
            None => {
                let way = set.weakest();
                set.keys[way] = key;
                set.values[way] = V::default();
                way
            }
        };
        set.used[way] = u32::try_from(now_secs).unwrap_or(0);
        &mut set.values[way]
    }

    /// The entry of `key`, if it is there.
    pub fn get(&self, key: u128) -> Option<&V> {
        let set = &self.sets[self.set_of(key)];
        set.keys.iter().position(|&known| known == key).map(|way| &set.values[way])
    }

    /// All entries, with the second they were last asked for.
    pub fn iter(&self) -> impl Iterator<Item = (u128, u32, &V)> {
        self.sets
            .iter()
            .flat_map(|set| set.keys.iter().zip(&set.used).zip(&set.values))
            .filter(|((key, _), _)| **key != 0)
            .map(|((key, used), value)| (*key, *used, value))
    }

    /// All values, to be changed in place.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.sets.iter_mut().flat_map(|set| &mut set.values)
    }

    #[inline]
    fn set_of(&self, key: u128) -> usize {
        self.hasher.hash_one(key) as usize & (self.sets.len() - 1)
    }
}

impl<V: Kept> Set<V> {
    /// An empty way, else the one without evidence that was not used for longest, else the oldest.
    fn weakest(&self) -> usize {
        let rank = |&way: &usize| (self.keys[way] != 0, self.values[way].has_evidence(), self.used[way]);
        (0..WAYS).min_by_key(rank).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Seen {
        guilty: bool,
    }

    impl Kept for Seen {
        fn has_evidence(&self) -> bool {
            self.guilty
        }
    }

    #[test]
    fn a_flood_of_strangers_does_not_put_out_an_offender() {
        let mut table: Table<Seen> = Table::new(1024, 7);
        table.entry(42, 100).guilty = true;
        for key in 1000..101_000u128 {
            table.entry(key, 200);
        }
        assert!(table.get(42).is_some_and(|seen| seen.guilty));
        assert_eq!(table.iter().count(), 1024, "bounded");
    }

    #[test]
    fn the_longest_unused_goes_first() {
        let mut table: Table<Seen> = Table::new(8, 7);
        for key in 1..=8u128 {
            table.entry(key, key as i64);
        }
        table.entry(1, 50);
        table.entry(9, 51);
        assert!(table.get(1).is_some());
        assert!(table.get(2).is_none());
    }
}
