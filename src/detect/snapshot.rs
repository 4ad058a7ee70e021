//! The counters' state as bytes, for a restart.

use super::campaign::{Campaign, NAMED};
use super::counter::{Client, Counter, FORGOTTEN_SECS};
use super::table::{Kept, Table};
use super::window::{Bucket, Seen};

/// The snapshot of the counters cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the saved counters are damaged or of another version")]
pub struct DamagedState;

/// The version of the saved form.
const MAGIC: &[u8] = b"palisade counters 2\n";

impl Counter {
    /// Everything that later findings depend on, as bytes.
    pub fn save(&self) -> Vec<u8> {
        let mut out = Vec::from(MAGIC);
        let latest = self.clients.iter().map(|(_, used, _)| used).max().unwrap_or(0);
        write(&mut out, &self.clients, |client, used| {
            latest.saturating_sub(used) <= FORGOTTEN_SECS || client.points > 0.0 || client.offences > 0
        });
        write(&mut out, &self.buckets, |bucket, _| bucket.level > 0.0);
        write(&mut out, &self.networks, |network, _| network.level > 0.0);
        write(&mut out, &self.campaigns, |campaign, _| campaign.clients > 0);
        out
    }

    /// Takes up what [`save`](Self::save) gave.
    ///
    /// # Errors
    /// The bytes are not of this version of Palisade, or damaged; nothing was taken up then.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), DamagedState> {
        let mut reader = Reader(bytes.strip_prefix(MAGIC).ok_or(DamagedState)?);
        let (clients, buckets) = (read(&mut reader)?, read(&mut reader)?);
        let (networks, campaigns) = (read(&mut reader)?, read(&mut reader)?);
        if !reader.0.is_empty() {
            return Err(DamagedState);
        }
        fill(&mut self.clients, clients);
        fill(&mut self.buckets, buckets);
        fill(&mut self.networks, networks);
        fill(&mut self.campaigns, campaigns);
        Ok(())
    }
}

/// What a table keeps, as bytes of one length.
trait Saved: Sized {
    fn write(&self, out: &mut Vec<u8>);
    fn read(reader: &mut Reader<'_>) -> Result<Self, DamagedState>;
}

/// Writes and reads fields in order, little-endian.
macro_rules! saved {
    ($type:ident { $($field:ident: $number:ty),* }) => {
        impl Saved for $type {
            fn write(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }

            fn read(reader: &mut Reader<'_>) -> Result<Self, DamagedState> {
                Ok($type { $($field: <$number>::get(reader)?),* })
            }
        }
    };
}

saved!(Client {
    points: f32,
    points_at: u32,
    seen: u64,
    flagged_until: u32,
    banned_until: u32,
    agents: u32,
    offences: u16,
    ahead: u16,
    requests: u32,
    served: u16,
    refused: u16
});
saved!(Bucket { level: f32, last_secs: u32, seen: Seen });
saved!(Campaign { since_secs: u32, clients: u32, seen: Seen, first: [u128; NAMED] });

/// A number, or some, as bytes.
trait Number: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn get(reader: &mut Reader<'_>) -> Result<Self, DamagedState>;
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Number for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn get(reader: &mut Reader<'_>) -> Result<Self, DamagedState> {
                Ok(<$type>::from_le_bytes(reader.take()?))
            }
        }
    )*};
}

numbers!(u16, u32, u64, u128, f32);

impl Number for Seen {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DamagedState> {
        <[u64; 4]>::get(reader).map(Seen)
    }
}

impl<T: Number + Copy + Default, const N: usize> Number for [T; N] {
    fn put(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|number| number.put(out));
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DamagedState> {
        let mut all = [T::default(); N];
        for number in &mut all {
            *number = T::get(reader)?;
        }
        Ok(all)
    }
}

fn write<V: Kept + Saved>(out: &mut Vec<u8>, table: &Table<V>, wanted: impl Fn(&V, u32) -> bool) {
    let kept: Vec<_> = table.iter().filter(|(_, used, value)| wanted(value, *used)).collect();
    (kept.len() as u32).put(out);
    for (key, used, value) in kept {
        key.put(out);
        used.put(out);
        value.write(out);
    }
}

fn read<V: Saved>(reader: &mut Reader<'_>) -> Result<Vec<(u128, u32, V)>, DamagedState> {
    let count = u32::get(reader)?;
    (0..count).map(|_| Ok((u128::get(reader)?, u32::get(reader)?, V::read(reader)?))).collect()
}

fn fill<V: Kept>(table: &mut Table<V>, entries: Vec<(u128, u32, V)>) {
    for (key, used, value) in entries {
        *table.entry(key, used) = value;
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DamagedState> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DamagedState)?;
        self.0 = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::detect::DetectConfig;

    #[test]
    fn what_is_saved_is_there_again_and_who_did_nothing_for_long_is_not() {
        let counter = || Counter::new(&DetectConfig { max_clients: 1024, ..DetectConfig::default() }, 5);
        let mut first = counter();
        let (long_ago, now) = (1_000_000, 1_000_000 + 2 * FORGOTTEN_SECS);
        first.ban(7, long_ago, 60);
        first.clients.entry(8, long_ago).points = 2.5;
        first.clients.entry(9, now).agents = 3;
        *first.buckets.entry(5, now) = Bucket { level: 0.5, last_secs: now, seen: Seen([1, 2, 3, 4]) };
        *first.campaigns.entry(6, now) = Campaign {
            since_secs: now,
            clients: 1,
            seen: Seen([4, 3, 2, 1]),
            first: std::array::from_fn(|n| n as u128),
        };
        fn all<V: Kept>(table: &Table<V>) -> Vec<(u128, u32, V)> {
            table.iter().map(|(key, used, value)| (key, used, value.clone())).collect()
        }
        let is_same = |left: &Counter, right: &Counter| {
            assert_eq!(all(&left.clients), all(&right.clients));
            assert_eq!(all(&left.buckets), all(&right.buckets));
            assert_eq!(all(&left.networks), all(&right.networks));
            assert_eq!(all(&left.campaigns), all(&right.campaigns));
        };
        assert!(first.clients.iter().count() == 3 && first.networks.iter().count() > 0);
        let mut second = counter();
        second.restore(&first.save()).unwrap();
        is_same(&first, &second);
        first.clients.entry(10, long_ago).requests = 1;
        let mut third = counter();
        third.restore(&first.save()).unwrap();
        is_same(&second, &third);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_up_whole_or_not_at_all(bytes: Vec<u8>) {
            let counter = || Counter::new(&DetectConfig { max_clients: 1024, ..DetectConfig::default() }, 5);
            let mut fresh = counter();
            if fresh.restore(&[MAGIC, &bytes].concat()).is_err() {
                prop_assert_eq!(fresh.save(), counter().save());
            }
            prop_assert!(counter().restore(&bytes).is_err(), "without the mark of the version");
        }
    }
}
