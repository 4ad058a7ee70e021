//! Windows: leaky buckets over many lines, in log time. A window's definition is data
//! (`[[window]]` in a rule file); its state is a [`Bucket`] per client.

use serde::Deserialize;

use super::counter::{Record, What};
use super::rules::Example;
use super::table::Kept;
use crate::event::{Category, digest};

/// A `[[window]]` as written. The bucket of a client takes one drop for each line that fits,
/// loses one every `leak_speed_secs`, and overflows beyond `capacity`.
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
    /// Only the first line with the same value of this counts.
    #[serde(default)]
    pub distinct: Option<Distinct>,
    /// Drops that it holds.
    pub capacity: u32,
    /// Seconds until it loses one drop.
    pub leak_speed_secs: u32,
    /// Sequences that overflow it: one drop a second.
    #[serde(default)]
    pub attack: Vec<Repeated>,
    /// Sequences that do not.
    #[serde(default)]
    pub benign: Vec<Repeated>,
}

/// Whose bucket a line goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    Client,
}

/// What must differ for a line to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distinct {
    /// Of a request.
    Path,
    /// Of a failed login.
    User,
    /// Of a connection, at the destination.
    Port,
}

/// The same request, `times` times; `{n}` in its URI, user or port is the number of the repetition.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeated {
    pub request: Example,
    pub times: u32,
    pub every_secs: u32,
}

/// A window, ready to count.
pub struct WindowRule {
    pub spec: WindowSpec,
    /// Of the whole definition: a bucket belongs to it, so that a changed window starts afresh.
    pub hash: u64,
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
        if spec.capacity == 0 || spec.leak_speed_secs == 0 {
            return Err("capacity and leak_speed_secs must be at least 1".into());
        }
        let distinct = match spec.event {
            What::Request => Distinct::Path,
            What::LoginFailed => Distinct::User,
            What::Connection => Distinct::Port,
            What::Other => return Err("event is \"request\", \"login_failed\" or \"connection\"".into()),
        };
        if spec.distinct.is_some_and(|wanted| wanted != distinct) {
            return Err(
                "distinct is \"path\" of a request, \"user\" of a login_failed, \"port\" of a connection".into()
            );
        }
        if spec.event == What::Request && spec.status.is_empty() && spec.methods.is_empty() {
            return Err("fits every line: name statuses or methods".into());
        }
        let shape = format!(
            "{} {:?} {:?} {:?} {:?} {:?} {} {}",
            spec.id,
            spec.group_by,
            spec.event,
            spec.status,
            spec.methods,
            spec.distinct,
            spec.capacity,
            spec.leak_speed_secs
        );
        let hash = u64::from_str_radix(&digest(&[shape.as_bytes()])[..16], 16).unwrap_or(1);
        Ok(WindowRule { spec, hash })
    }

    /// Whether a line goes into a bucket.
    #[inline]
    pub fn fits(&self, line: &Record) -> bool {
        self.spec.event == line.what
            && (self.spec.status.is_empty() || self.spec.status.contains(&line.status))
            && (self.spec.methods.is_empty()
                || self.spec.methods.iter().any(|known| known.as_bytes() == line.method.as_bytes()))
    }

    /// Pours the line at `now_secs` into `bucket`; true when it overflows, which empties it.
    pub fn pour(&self, bucket: &mut Bucket, now_secs: u32, subject: u32) -> bool {
        let elapsed = now_secs.saturating_sub(bucket.last_secs) as f32;
        bucket.level = (bucket.level - elapsed / self.spec.leak_speed_secs as f32).max(0.0);
        if bucket.level == 0.0 {
            bucket.seen = [0; 4];
        }
        bucket.last_secs = bucket.last_secs.max(now_secs);
        if self.spec.distinct.is_some() {
            let (word, bit) = (subject as usize >> 6 & 3, 1 << (subject & 63));
            if bucket.seen[word] & bit != 0 {
                return false;
            }
            bucket.seen[word] |= bit;
        }
        bucket.level += 1.0;
        if bucket.level <= self.spec.capacity as f32 {
            return false;
        }
        *bucket = Bucket { last_secs: bucket.last_secs, ..Bucket::default() };
        true
    }
}

/// What windows may fit, told by one look, since most lines fit none.
pub struct Watched([[u64; 16]; 4]);

impl Watched {
    pub fn by(windows: &[WindowRule]) -> Watched {
        let mut watched = Watched([[0; 16]; 4]);
        for WindowRule { spec, .. } in windows {
            let words = &mut watched.0[spec.event as usize];
            match &spec.status[..] {
                [] => words.fill(u64::MAX),
                some => some.iter().for_each(|&status| words[word(status)] |= bit(status)),
            }
        }
        watched
    }

    /// Whether a window may [fit](WindowRule::fits) the line; if not, none does.
    #[inline]
    pub fn has(&self, line: &Record) -> bool {
        self.0[line.what as usize][word(line.status)] & bit(line.status) != 0
    }
}

fn word(status: u16) -> usize {
    usize::from(status) >> 6 & 15
}

fn bit(status: u16) -> u64 {
    1 << (status & 63)
}

/// One client's state in one window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bucket {
    pub level: f32,
    pub last_secs: u32,
    /// Which of 256 classes of values were seen; a collision counts too little, never too much.
    pub seen: [u64; 4],
}

impl Kept for Bucket {
    fn has_evidence(&self) -> bool {
        self.level > 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Ruleset;
    use crate::event::{Event, Http, Kind};

    #[test]
    fn one_look_tells_which_lines_no_window_fits() {
        let rules = Ruleset::new(&[], &[]).unwrap();
        let request = Record::of(&Event::of(Kind::Http(Http { method: b"GET", ..Http::default() })), None);
        let watched = Watched::by(&rules.windows);
        let mut passed = 0;
        for what in [What::Request, What::LoginFailed, What::Connection, What::Other] {
            for status in (0..1000).chain([1403, 65_000]) {
                let line = Record { what, status, ..request };
                let fits = rules.windows.iter().any(|window| window.fits(&line));
                assert!(watched.has(&line) || !fits, "{what:?} {status}");
                assert_eq!(rules.is_watched(&line), fits, "{what:?} {status}");
                passed += usize::from(!watched.has(&line));
            }
        }
        assert!(passed > 1900, "{passed} of 4008");
    }
}
