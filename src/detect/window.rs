//! Windows: leaky buckets over many lines, in log time. A window's definition is data
//! (`[[window]]` in a rule file); its state is a [`Bucket`] for each of whatever it groups by.

use bytemuck::Zeroable;
use serde::Deserialize;

use super::network::network_of;
use super::paths::PathClass;
use super::record::{Detail, MethodClass, Record, Traits, What, hash};
use super::rules::Example;
use super::table::Kept;
use crate::event::{Category, digest};

/// A `[[window]]` as written. A bucket takes one drop for each line that fits, loses one every
/// `leak_speed_secs`, and overflows beyond `capacity`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowSpec {
    /// Stable name, unique among rules and windows.
    pub id: String,
    pub category: Category,
    /// 1–10, for the line on which it overflows.
    pub score: u8,
    pub description: String,
    pub reference: String,
    pub group_by: GroupBy,
    /// Which events fit.
    #[serde(default)]
    pub event: What,
    /// Statuses of lines that fit; none: any.
    #[serde(default)]
    pub status: Vec<u16>,
    /// Methods of lines that fit; none: any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Kinds of paths of lines that fit, any of them; none: any.
    #[serde(default)]
    pub paths: Vec<PathClass>,
    /// Whether lines that fit name a referrer; absent: whether or not.
    #[serde(default)]
    pub referred: Option<bool>,
    /// Only lines of clients that ask faster than people read: see `Standing::busy`.
    #[serde(default)]
    pub busy: bool,
    /// Only lines of clients of whose requests lately, as far as they were served (2xx, 304) or
    /// refused (4xx), at most this share was served. Absent: whatever the outcomes.
    #[serde(default)]
    pub max_served_percent: Option<u8>,
    /// Only the first line with the same value of this counts.
    #[serde(default)]
    pub distinct: Option<Distinct>,
    /// Drops lost at each line whose value was there before.
    #[serde(default)]
    pub repeats_leak: f32,
    /// Drops that it holds. Of a shared address that is served as a rule, up to three times as many.
    pub capacity: u32,
    /// Seconds until it loses one drop.
    pub leak_speed_secs: f32,
    /// Sequences that overflow it.
    #[serde(default)]
    pub attack: Vec<Repeated>,
    /// Sequences that do not.
    #[serde(default)]
    pub benign: Vec<Repeated>,
}

impl WindowSpec {
    /// Whether it is about requests with this method.
    #[inline]
    pub fn has_method(&self, method: MethodClass) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|known| known.as_bytes() == method.as_bytes())
    }
}

/// Whose bucket a line goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    Client,
    /// The client, each path by itself.
    ClientPath,
    /// The client, paths that differ in numbers alone together.
    ClientShape,
    /// An IPv4 /24, an IPv6 /56.
    Network,
    /// The user of a login.
    User,
    Path,
    UserAgent,
}

impl GroupBy {
    /// Whether a bucket holds the doings of one client: only those are held against it.
    pub fn is_of_one_client(self) -> bool {
        matches!(self, GroupBy::Client | GroupBy::ClientPath | GroupBy::ClientShape)
    }
}

/// What must differ for a line to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distinct {
    /// Of a request.
    Path,
    UserAgent,
    /// The sum of the numbers in a URI: what counts is one next to one that was there.
    Number,
    /// Of a failed login.
    User,
    /// Of a connection, at the destination.
    Port,
    /// Where lines of several clients go to one bucket.
    Client,
}

impl Distinct {
    pub fn as_str(self) -> &'static str {
        match self {
            Distinct::Path => "path",
            Distinct::UserAgent => "user agent",
            Distinct::Number => "number",
            Distinct::User => "user",
            Distinct::Port => "port",
            Distinct::Client => "client",
        }
    }

    /// Whether events of a kind have it.
    fn is_of(self, event: What) -> bool {
        match self {
            Distinct::Path | Distinct::UserAgent | Distinct::Number => event == What::Request,
            Distinct::User => event == What::LoginFailed,
            Distinct::Port => What::Connection.includes(event),
            Distinct::Client => true,
        }
    }
}

/// The bits of a bucket's key that are its client's own: those which neither the window nor what it looks at touch.
pub const OF_CLIENT: u128 = u32::MAX as u128 | (u32::MAX as u128) << 64;

/// Requests in turn, `times` in all; in their texts `{n}` is the number of the repetition and `{r}`
/// ten letters and digits that are made of it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeated {
    #[serde(default)]
    pub request: Option<Example>,
    #[serde(default)]
    pub requests: Vec<Example>,
    pub times: u32,
    pub every_secs: f32,
}

/// How a client has behaved lately, as far as windows ask.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// It is at least [30 requests](super::counter::BUSY) ahead of one a second; with a referrer, as
    /// browsers fetch what belongs to a page, four requests count as one.
    pub busy: bool,
    /// Requests answered 2xx or 304, and 4xx.
    pub served: u16,
    pub refused: u16,
    /// Different user agents, while it was busy.
    pub agents: u8,
}

impl Standing {
    /// How many times the capacity a window has for the client: more for an address that many people
    /// share (CGNAT, an office), which shows in many user agents, most of them served.
    fn bar(self) -> f32 {
        if self.served > self.refused { 1.0 + f32::from(self.agents.min(16)) / 8.0 } else { 1.0 }
    }

    /// Whether it is an address that many people share.
    pub fn is_shared(self) -> bool {
        self.bar() >= 2.0
    }
}

/// A window, ready to count.
pub struct WindowRule {
    pub spec: WindowSpec,
    /// Of the whole definition: a bucket belongs to it, so that a changed window starts afresh.
    pub hash: u64,
    /// Any of the traits that fit; none: any.
    paths: Traits,
}

impl WindowRule {
    /// Checks one window.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(spec: WindowSpec) -> Result<WindowRule, String> {
        if !(1..=10).contains(&spec.score) {
            return Err(format!("score {} is not between 1 and 10", spec.score));
        }
        if spec.capacity == 0 || !(spec.leak_speed_secs > 0.0 && spec.leak_speed_secs.is_finite()) {
            return Err("capacity and leak_speed_secs must be more than 0".into());
        }
        if spec.event == What::Other {
            return Err(
                "event is \"request\", \"login_failed\", \"connection\", \"connection_refused\" or \"mail_refused\""
                    .into(),
            );
        }
        if spec.distinct.is_some_and(|distinct| !distinct.is_of(spec.event)) {
            return Err(
                "distinct is \"path\", \"user_agent\" or \"number\" of a request, \"user\" of a login_failed, \
                        \"port\" of a connection"
                    .into(),
            );
        }
        if (spec.distinct == Some(Distinct::Client)) == spec.group_by.is_of_one_client() {
            return Err("distinct is \"client\" where lines of several clients are grouped, and only there".into());
        }
        if !spec.group_by.is_of_one_client() && spec.score > MAX_SHARED_SCORE {
            return Err(format!("score is at most {MAX_SHARED_SCORE} where lines of several clients are grouped"));
        }
        let asks_a_request = spec.busy
            || !spec.status.is_empty()
            || !spec.methods.is_empty()
            || !spec.paths.is_empty()
            || spec.referred.is_some()
            || spec.max_served_percent.is_some()
            || matches!(spec.group_by, GroupBy::Path | GroupBy::UserAgent | GroupBy::ClientPath | GroupBy::ClientShape);
        if asks_a_request && spec.event != What::Request {
            return Err("status, methods, paths, referred, busy and max_served_percent are of requests, as are groups by path and user agent".into());
        }
        if spec.group_by == GroupBy::User && spec.event != What::LoginFailed {
            return Err("group_by \"user\" is of login_failed".into());
        }
        if spec.event == What::Request && spec.status.is_empty() && spec.methods.is_empty() && !spec.busy {
            return Err("fits every line: name statuses or methods, or only busy clients".into());
        }
        if spec.methods.iter().any(|method| MethodClass::of(method.as_bytes()) == MethodClass::Other) {
            return Err("methods are \"GET\", \"POST\" and \"HEAD\"".into());
        }
        if spec.max_served_percent.is_some_and(|percent| percent > 100) {
            return Err("max_served_percent is more than 100".into());
        }
        let shape = format!(
            "{} {:?} {:?} {:?} {:?} {:?} {:?} {} {:?} {:?} {} {} {}",
            spec.id,
            spec.group_by,
            spec.event,
            spec.status,
            spec.methods,
            spec.paths,
            spec.referred,
            spec.busy,
            spec.max_served_percent,
            spec.distinct,
            spec.repeats_leak,
            spec.capacity,
            spec.leak_speed_secs
        );
        let hash = u64::from_str_radix(&digest(&[shape.as_bytes()])[..16], 16).unwrap_or(1);
        let paths = spec.paths.iter().fold(Traits::default(), |all, class| all.with(class.of_line()));
        Ok(WindowRule { spec, hash, paths })
    }

    /// Whether a line of a client in this standing goes into a bucket.
    #[inline]
    pub fn fits(&self, line: &Record, standing: Standing) -> bool {
        let WindowSpec { event, status, referred, busy, max_served_percent, group_by, .. } = &self.spec;
        let (served, refused) = (u32::from(standing.served), u32::from(standing.refused));
        event.includes(line.what)
            && (!busy || standing.busy)
            && (status.is_empty() || status.contains(&line.status))
            && self.spec.has_method(line.method)
            && (self.spec.paths.is_empty() || line.traits.has(self.paths))
            && referred.is_none_or(|wanted| wanted == line.traits.has(Traits::REFERRED))
            && max_served_percent.is_none_or(|most| served * 100 <= u32::from(most) * (served + refused))
            // Nobody may add to what others are counted by under a name that he chose.
            && (group_by.is_of_one_client() || line.is_actionable())
    }

    /// Whether its key or what it counts is of a line's [`Detail`].
    pub fn needs_detail(&self) -> bool {
        matches!(self.spec.group_by, GroupBy::ClientShape | GroupBy::UserAgent)
            || matches!(self.spec.distinct, Some(Distinct::UserAgent | Distinct::Number))
    }

    /// The bucket of a line: see `OF_CLIENT`.
    pub fn key(&self, line: &Record, detail: Detail) -> u128 {
        const NO_CLIENT: u128 = 1 << 127;
        let group = match self.spec.group_by {
            GroupBy::Client => line.client,
            GroupBy::ClientPath => line.client ^ u128::from(line.subject) << 96,
            GroupBy::ClientShape => line.client ^ u128::from(detail.shape) << 96,
            GroupBy::Network => network_of(line.client),
            GroupBy::User | GroupBy::Path => NO_CLIENT | u128::from(line.subject),
            GroupBy::UserAgent => NO_CLIENT | u128::from(detail.agent),
        };
        group ^ u128::from(self.hash) << 32
    }

    /// Pours a line at `now_secs` into `bucket`; true when it overflows, which empties it.
    pub fn pour(&self, bucket: &mut Bucket, now_secs: u32, line: &Record, detail: Detail, standing: Standing) -> bool {
        bucket.leak(now_secs, self.spec.leak_speed_secs);
        let counts = match self.spec.distinct {
            None => true,
            Some(Distinct::Number) => bucket.is_next(detail.number),
            Some(Distinct::UserAgent) => bucket.seen.is_new(detail.agent),
            Some(Distinct::Client) => bucket.seen.is_new(hash(&line.client.to_le_bytes())),
            Some(Distinct::Path | Distinct::User | Distinct::Port) => bucket.seen.is_new(line.subject),
        };
        if !counts {
            bucket.level = (bucket.level - self.spec.repeats_leak).max(0.0);
            return false;
        }
        bucket.level += 1.0;
        let raised = self.spec.event == What::Request && self.spec.distinct != Some(Distinct::UserAgent);
        if bucket.level <= self.spec.capacity as f32 * if raised { standing.bar() } else { 1.0 } {
            return false;
        }
        *bucket = Bucket { last_secs: bucket.last_secs, ..Bucket::default() };
        true
    }
}

/// The highest score of a window whose bucket several clients fill: the one on whose line it
/// overflows may be their victim, so it does not block alone.
const MAX_SHARED_SCORE: u8 = 6;

/// The state of one group in one window.
#[derive(Clone, Debug, Default, PartialEq, Zeroable)]
pub struct Bucket {
    pub level: f32,
    pub last_secs: u32,
    pub seen: Seen,
}

/// Which of 256 classes of values were seen; a collision counts too little, never too much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Zeroable)]
pub struct Seen(pub [u64; 4]);

impl Seen {
    /// Whether the value was not there before; now it is.
    pub fn is_new(&mut self, value: u32) -> bool {
        let new = !self.has(value);
        self.0[value as usize >> 6 & 3] |= 1 << (value & 63);
        new
    }

    pub fn has(&self, value: u32) -> bool {
        self.0[value as usize >> 6 & 3] & 1 << (value & 63) != 0
    }
}

impl Bucket {
    /// Lets it lose what it loses until `now_secs`.
    pub fn leak(&mut self, now_secs: u32, leak_speed_secs: f32) {
        let elapsed = now_secs.saturating_sub(self.last_secs) as f32;
        self.level = (self.level - elapsed / leak_speed_secs).max(0.0);
        if self.level == 0.0 {
            self.seen = Seen::default();
        }
        self.last_secs = self.last_secs.max(now_secs);
    }

    /// Whether the value is new and next to one that is there. The first of all counts.
    fn is_next(&mut self, value: u32) -> bool {
        let has = |value| self.seen.has(value);
        let next = self.level == 0.0 || has(value.wrapping_sub(1)) || has(value.wrapping_add(1));
        self.seen.is_new(value) && next
    }
}

impl Kept for Bucket {
    fn evidence(&self, age_secs: u32) -> u8 {
        /// After so long a level counts half.
        const HALF_SECS: u32 = 3600;
        self.level.min(255.0) as u8 >> (age_secs / HALF_SECS).min(7)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::table::Table;

    #[test]
    fn fresh_buckets_do_not_put_out_a_full_one() {
        let mut buckets: Table<Bucket> = Table::new(8, 7);
        buckets.entry(1, 100).level = 9.0;
        (2..1000).for_each(|key| buckets.entry(key, 200).level = 1.0);
        assert!(buckets.get(1).is_some_and(|bucket| bucket.level == 9.0));
        (2..1000).for_each(|key| buckets.entry(key, 100 + 5 * 3600).level = 1.0);
        assert!(buckets.get(1).is_none(), "a level of hours ago has leaked");
    }

    #[test]
    fn consecutive_numbers_count_and_scattered_ones_do_not() {
        let fill = |numbers: &mut dyn Iterator<Item = u32>| {
            let mut bucket = Bucket { level: 1.0, ..Bucket::default() };
            numbers.filter(|&number| bucket.is_next(number)).count()
        };
        assert_eq!(fill(&mut (1000..1050)), 49);
        assert_eq!(fill(&mut (1000..1050).rev()), 49);
        assert_eq!(fill(&mut (0..50).map(|n| n * 7)), 0);
        assert_eq!(fill(&mut std::iter::repeat_n(5, 50)), 0);
    }

    #[test]
    fn a_shared_address_has_a_higher_bar_only_while_it_is_served() {
        let office = Standing { served: 90, refused: 10, agents: 16, ..Standing::default() };
        assert_eq!(office.bar(), 3.0);
        assert_eq!(Standing { served: 10, refused: 90, ..office }.bar(), 1.0);
        assert_eq!(Standing { agents: 0, ..office }.bar(), 1.0);
    }
}
