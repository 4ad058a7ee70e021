//! What clients did before: scores that decay, windows, who is flagged and banned. Fed with
//! compact [`Record`]s in file order by one owner; all time is log time.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::DetectConfig;
use super::ruleset::{Hit, Ruleset};
use super::table::{Kept, Table};
use super::window::Bucket;
use crate::event::{AuthOutcome, ClientKey, Event, Kind};

/// What matching leaves of a line for counting.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The client; 0 when the line names none.
    pub client: u128,
    /// Seconds since 1970; 0 when the line states no time.
    pub time_secs: u32,
    /// Where the line is in its batch.
    pub start: u32,
    pub len: u32,
    /// Lines before it in its batch.
    pub line: u32,
    /// A hash of what it is about: the path of a request, the user of a login, the port of a
    /// connection; 0 where nothing asks for it: without hits, outside all windows.
    pub subject: u32,
    /// The line's hits, as a range of its batch's hits.
    pub first_hit: u32,
    pub hits: u16,
    pub status: u16,
    /// The sum of the hits' scores, 0–10.
    pub score: u8,
    pub what: What,
    pub method: MethodClass,
}

impl Record {
    /// What counting needs to know of an event of `client` that no rule matched.
    #[inline]
    pub fn of(event: &Event<'_>, client: Option<ClientKey>) -> Record {
        let (what, status, method) = match &event.kind {
            Kind::Http(http) => (What::Request, http.status.unwrap_or(0), MethodClass::of(http.method)),
            Kind::Auth(auth) if auth.outcome == AuthOutcome::Failure => (What::LoginFailed, 0, MethodClass::Other),
            Kind::Connection(_) => (What::Connection, 0, MethodClass::Other),
            _ => (What::Other, 0, MethodClass::Other),
        };
        Record {
            client: client.map_or(0, ClientKey::bits),
            time_secs: event.time.map_or(0, |time| u32::try_from(time.secs()).unwrap_or(0)),
            start: 0,
            len: 0,
            line: 0,
            subject: 0,
            first_hit: 0,
            hits: 0,
            status,
            score: 0,
            what,
            method,
        }
    }
}

/// [`Record::subject`] of an event: the same in every run.
pub fn subject(event: &Event<'_>) -> u32 {
    let hash = |text: &[u8]| FixedState::with_seed(1).hash_one(text) as u32;
    match &event.kind {
        Kind::Http(http) => hash(http.path()),
        Kind::Connection(connection) => hash(&connection.destination_port.to_le_bytes()),
        other => hash(other.message().map_or(b"", |message| message.user)),
    }
}

/// What windows tell events apart by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    #[default]
    Request,
    LoginFailed,
    Connection,
    Other,
}

/// The methods that windows tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodClass {
    Get,
    Post,
    Head,
    Other,
}

impl MethodClass {
    #[inline]
    pub fn of(method: &[u8]) -> MethodClass {
        match method {
            b"GET" => MethodClass::Get,
            b"POST" => MethodClass::Post,
            b"HEAD" => MethodClass::Head,
            _ => MethodClass::Other,
        }
    }

    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            MethodClass::Get => b"GET",
            MethodClass::Post => b"POST",
            MethodClass::Head => b"HEAD",
            MethodClass::Other => b"",
        }
    }
}

/// What counting found out about a line that is a finding.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// 1–10.
    pub score: u8,
    /// How much of it came from the client's earlier findings.
    pub from_history: u8,
    /// Indexes of the windows that overflowed on this line.
    pub overflowed: Vec<usize>,
    /// The client was flagged by an earlier block.
    pub flagged: bool,
    /// A ban of the client is running, in log time.
    pub banned: bool,
    /// Bans of the client so far.
    pub offences: u32,
}

/// What is kept of one client.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Client {
    /// Scores of its suspicious lines, decaying.
    points: f32,
    points_at: u32,
    /// Which of 64 classes of suspicions made the points: the same again adds nothing.
    seen: u64,
    flagged_until: u32,
    banned_until: u32,
    offences: u32,
    pub requests: u32,
    /// Answered below 400.
    pub served: u32,
}

impl Kept for Client {
    fn has_evidence(&self) -> bool {
        self.points > 0.5 || self.offences > 0
    }
}

/// Points that raise the score of the client's next suspicious line by one.
const POINTS_PER_STEP: f32 = 3.0;
/// Below this, a client's earlier suspicions are forgotten.
const FORGOTTEN_POINTS: f32 = 0.5;

/// All clients and windows: bounded, in log time.
pub struct Counter {
    clients: Table<Client>,
    buckets: Table<Bucket>,
    half_life_secs: f32,
    flagged_secs: u32,
    flag: u8,
}

impl Counter {
    /// `flag`: the score at which a line is a finding.
    pub fn new(config: &DetectConfig, flag: u8) -> Counter {
        let capacity = config.max_clients as usize;
        Counter {
            clients: Table::new(capacity, TABLE_SEED),
            buckets: Table::new(capacity / 4, TABLE_SEED),
            half_life_secs: config.half_life_secs as f32,
            flagged_secs: config.flagged_secs,
            flag,
        }
    }

    /// Prepares for counting the lines of `records`.
    #[inline]
    pub fn warm(&self, records: &[Record]) {
        self.clients.warm(records.iter().map(|record| record.client));
    }

    /// Counts one line: what it is, if it is a finding.
    #[inline]
    pub fn count(&mut self, record: &Record, hits: &[Hit], rules: &Ruleset) -> Option<Counted> {
        if record.client == 0 {
            return (record.score >= self.flag).then(|| Counted::alone(record.score));
        }
        let now = record.time_secs;
        let client = self.clients.entry(record.client, now);
        client.requests = client.requests.saturating_add(1);
        let served = record.what == What::Request && record.status < 400;
        client.served = client.served.saturating_add(u32::from(served));
        let mut overflowed = Vec::new();
        let watched = if rules.is_watched(record) { &rules.windows[..] } else { &[] };
        for (index, window) in watched.iter().enumerate() {
            if !window.fits(record) {
                continue;
            }
            let key = record.client ^ (u128::from(window.hash) << 32);
            if window.pour(self.buckets.entry(key, now), now, record.subject) {
                overflowed.push(index);
            }
        }
        if record.score == 0 && overflowed.is_empty() {
            return None;
        }
        let windows = overflowed.iter().map(|&index| rules.windows[index].spec.score).max().unwrap_or(0);
        let alone = record.score.saturating_add(windows).min(10);
        client.decay(now, self.half_life_secs);
        let score = alone.saturating_add((client.points / POINTS_PER_STEP) as u8).min(10);
        client.add(alone, record, hits, self.flag);
        (score >= self.flag).then(|| Counted {
            score,
            from_history: score - alone,
            overflowed,
            flagged: client.flagged_until > now,
            banned: client.banned_until > now,
            offences: client.offences,
        })
    }

    /// Notes that `client` is banned from `now_secs` for `secs`.
    pub fn ban(&mut self, client: u128, now_secs: u32, secs: u64) {
        let flagged_secs = self.flagged_secs;
        let entry = self.clients.entry(client, now_secs);
        entry.banned_until = now_secs.saturating_add(u32::try_from(secs).unwrap_or(u32::MAX));
        entry.flagged_until = entry.flagged_until.max(now_secs.saturating_add(flagged_secs));
        entry.offences += 1;
    }

    /// Forgets that anybody is banned; flags, points and offences stay.
    pub fn forget_bans(&mut self) {
        self.clients.values_mut().for_each(|client| client.banned_until = 0);
    }

    /// Forgets a client's ban, flag and points, as an operator who lifts a ban wants: it starts
    /// afresh, but its offences are kept.
    pub fn pardon(&mut self, client: ClientKey) {
        let key = client.bits();
        if let Some(known) = self.clients.get(key) {
            let Client { offences, requests, served, points_at, .. } = *known;
            *self.clients.entry(key, points_at) = Client { offences, requests, served, points_at, ..Client::default() };
        }
    }

    /// Takes over what another counter, with other settings, has counted.
    pub fn take_over(&mut self, other: Counter) {
        (self.clients, self.buckets) = (other.clients, other.buckets);
    }

    /// What is known of a client.
    pub fn client(&self, client: ClientKey) -> Option<&Client> {
        self.clients.get(client.bits())
    }

    /// Everything that later findings depend on, as bytes.
    pub fn save(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        let clients: Vec<_> =
            self.clients.iter().filter(|(_, _, client)| client.points > 0.0 || client.has_evidence()).collect();
        out.extend_from_slice(&(clients.len() as u32).to_le_bytes());
        for (key, used, client) in clients {
            out.extend_from_slice(&key.to_le_bytes());
            out.extend_from_slice(&used.to_le_bytes());
            out.extend_from_slice(&client.points.to_le_bytes());
            out.extend_from_slice(&client.points_at.to_le_bytes());
            out.extend_from_slice(&client.seen.to_le_bytes());
            out.extend_from_slice(&client.flagged_until.to_le_bytes());
            out.extend_from_slice(&client.banned_until.to_le_bytes());
            out.extend_from_slice(&client.offences.to_le_bytes());
            out.extend_from_slice(&client.requests.to_le_bytes());
            out.extend_from_slice(&client.served.to_le_bytes());
        }
        let buckets: Vec<_> = self.buckets.iter().filter(|(_, _, bucket)| bucket.level > 0.0).collect();
        out.extend_from_slice(&(buckets.len() as u32).to_le_bytes());
        for (key, used, bucket) in buckets {
            out.extend_from_slice(&key.to_le_bytes());
            out.extend_from_slice(&used.to_le_bytes());
            out.extend_from_slice(&bucket.level.to_le_bytes());
            out.extend_from_slice(&bucket.last_secs.to_le_bytes());
            bucket.seen.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        }
        out
    }

    /// Takes up what [`save`](Self::save) gave.
    ///
    /// # Errors
    /// The bytes are not of this version of Palisade, or damaged; nothing was taken up then.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), DamagedState> {
        let mut reader = Reader(bytes.strip_prefix(MAGIC).ok_or(DamagedState)?);
        let (mut clients, mut buckets) = (vec![], vec![]);
        for _ in 0..u32::from_le_bytes(reader.take()?) {
            let key = u128::from_le_bytes(reader.take()?);
            let used = u32::from_le_bytes(reader.take()?);
            let client = Client {
                points: f32::from_le_bytes(reader.take()?),
                points_at: u32::from_le_bytes(reader.take()?),
                seen: u64::from_le_bytes(reader.take()?),
                flagged_until: u32::from_le_bytes(reader.take()?),
                banned_until: u32::from_le_bytes(reader.take()?),
                offences: u32::from_le_bytes(reader.take()?),
                requests: u32::from_le_bytes(reader.take()?),
                served: u32::from_le_bytes(reader.take()?),
            };
            clients.push((key, used, client));
        }
        for _ in 0..u32::from_le_bytes(reader.take()?) {
            let key = u128::from_le_bytes(reader.take()?);
            let used = u32::from_le_bytes(reader.take()?);
            let level = f32::from_le_bytes(reader.take()?);
            let last_secs = u32::from_le_bytes(reader.take()?);
            let mut seen = [0; 4];
            for word in &mut seen {
                *word = u64::from_le_bytes(reader.take()?);
            }
            buckets.push((key, used, Bucket { level, last_secs, seen }));
        }
        if !reader.0.is_empty() {
            return Err(DamagedState);
        }
        for (key, used, client) in clients {
            *self.clients.entry(key, used) = client;
        }
        for (key, used, bucket) in buckets {
            *self.buckets.entry(key, used) = bucket;
        }
        Ok(())
    }
}

/// The snapshot of the counters cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the saved counters are damaged or of another version")]
pub struct DamagedState;

/// The version of the saved form.
const MAGIC: &[u8] = b"palisade counters 1\n";
/// Keeps the layout of the tables the same in every run, so that replay evicts the same entries.
const TABLE_SEED: u64 = 0x7061_6c69_7361_6465;

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DamagedState> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DamagedState)?;
        self.0 = rest;
        Ok(*taken)
    }
}

impl Counted {
    /// A line that names no client: its own score is all there is.
    fn alone(score: u8) -> Counted {
        Counted { score, from_history: 0, overflowed: vec![], flagged: false, banned: false, offences: 0 }
    }
}

impl Client {
    /// Lets its points decay until `now`. A line out of order does not make them grow.
    fn decay(&mut self, now: u32, half_life_secs: f32) {
        let age = now.saturating_sub(self.points_at) as f32;
        self.points *= (-age / half_life_secs).exp2();
        self.points_at = self.points_at.max(now);
        if self.points < FORGOTTEN_POINTS {
            (self.points, self.seen) = (0.0, 0);
        }
    }

    /// Adds a suspicious line's score to its points, unless the same suspicion is in them already:
    /// for a weak signal its rules, for more the request's path too.
    fn add(&mut self, score: u8, record: &Record, hits: &[Hit], flag: u8) {
        let mut class = if score < flag { 0 } else { record.subject };
        for hit in hits {
            class = class.rotate_left(5) ^ u32::from(hit.rule).wrapping_mul(0x9e37_79b9);
        }
        let bit = 1u64 << (class.wrapping_mul(0x9e37_79b9) >> 26);
        if self.seen & bit != 0 {
            return;
        }
        self.seen |= bit;
        self.points += f32::from(score);
    }
}
