//! What is told when: filters, groups, waits, counts, and holds what could not be delivered. Pure: the
//! clock is an argument, and all that it remembers is serialised.

mod compose;
mod emergencies;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use self::emergencies::Emergencies;
pub use self::emergencies::Followed;
use super::message::{Message, Sums};
use super::template::Template;
use super::{AlertConfig, Failure, News, Quiet, What};
use crate::event::{Severity, Timestamp, digest};

/// Notices about the daemon itself in one message.
const MAX_NOTICES: usize = 10;
/// Cases that are known to be told already.
const MAX_SEEN: usize = 1000;
/// Messages that could not be delivered and are kept for people.
const MAX_DEAD: usize = 50;
/// So long something must be wrong, or right again, to be told.
const LASTING_SECS: u64 = 60;
/// From one try to the next: at first, and at most.
const PAUSE_SECS: u64 = 5;
const MAX_PAUSE_SECS: u64 = 300;

/// One `[[alert]]`'s own way, ready to be walked.
pub struct Route {
    config: AlertConfig,
    sources: Vec<glob::Pattern>,
    quiet: Quiet,
    title: Template,
    text: Template,
    zone: TimeZone,
    host: String,
    /// Without a slash at its end; empty: nobody serves pages.
    public_url: String,
}

impl Route {
    /// # Errors
    /// A sentence: what [`AlertConfig::mistakes`] tells.
    pub fn new(config: &AlertConfig, zone: TimeZone, host: &str, public_url: &str) -> Result<Route, String> {
        let pattern = |text: &String| glob::Pattern::new(text).map_err(|error| error.to_string());
        Ok(Route {
            sources: config.sources.iter().map(pattern).collect::<Result<_, _>>()?,
            quiet: Quiet::parse(&config.quiet_hours)?,
            title: Template::parse(&config.title)?,
            text: Template::parse(&config.text)?,
            config: config.clone(),
            zone,
            host: host.to_owned(),
            public_url: public_url.trim_end_matches('/').to_owned(),
        })
    }

    /// Whether anybody wants to hear of it.
    fn wants(&self, news: &News) -> bool {
        let config = &self.config;
        if !config.kinds.contains(&news.what) {
            return false;
        }
        let category = || config.categories.is_empty() || config.categories.contains(&news.category);
        let source = || self.sources.is_empty() || self.sources.iter().any(|pattern| pattern.matches(&news.source));
        !news.what.is_counted() || news.severity >= config.min_severity && category() && source()
    }

    fn local(&self, now: Timestamp) -> DateTime {
        let moment = jiff::Timestamp::from_millisecond(now.0).unwrap_or_default();
        self.zone.to_datetime(moment)
    }

    /// When the day began that `now` is in, `back` days before.
    fn midnight(&self, now: Timestamp, back: i64) -> Timestamp {
        let date = self.local(now).date().saturating_sub(jiff::Span::new().days(back));
        let start = self.zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0)).compatible();
        start.map_or(now, |start| Timestamp(start.as_millisecond()))
    }
}

/// What one alert remembers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Desk {
    group: Group,
    /// Nothing but notices goes before.
    window_until: Timestamp,
    /// How bad what was told of a case was, and when it was last heard of.
    seen: HashMap<String, (Severity, Timestamp)>,
    /// On its way, with its tries so far and when the next is.
    outgoing: Option<Outgoing>,
    dead: VecDeque<Dead>,
    /// Those that were dropped since there were too many.
    dead_dropped: u64,
    sent: Sent,
    pub emergencies: Emergencies,
    /// What is wrong, and since when; what was told of it.
    problems: BTreeMap<String, Timestamp>,
    well_since: Option<Timestamp>,
    told: BTreeSet<String>,
    /// Until when digests are done.
    daily_to: Option<Timestamp>,
    weekly_to: Option<Timestamp>,
}

/// What waits to be told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Group {
    sums: Sums,
    /// The worst, the first of them.
    lead: Option<News>,
    notices: VecDeque<News>,
    severity: Option<Severity>,
    /// When the first of it happened, and when it was heard of.
    since: Timestamp,
    heard_at: Timestamp,
    /// There is something in it that was not told before.
    is_new: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Outgoing {
    message: Message,
    tries: u32,
    retry_at: Timestamp,
    why: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Dead {
    at: Timestamp,
    title: String,
    why: String,
}

/// Messages that were delivered: in this day, week and month of the zone, and ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Sent {
    /// Midnight of the day.
    day: Timestamp,
    today: u32,
    week: Timestamp,
    this_week: u32,
    /// Year and month.
    month: (i16, i8),
    this_month: u32,
    ever: u64,
    last_at: Timestamp,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq)]
pub enum Due {
    Deliver(Message),
    /// The figures of this time are to be [told](Desk::digest).
    Digest {
        what: What,
        from: Timestamp,
        to: Timestamp,
    },
}

impl Desk {
    /// Takes one piece of news. Whatever nobody wants to hear of is forgotten.
    pub fn take(&mut self, route: &Route, news: News, now: Timestamp) {
        if !route.wants(&news) {
            return;
        }
        let is_new = self.is_new(route, &news, now);
        self.group.take(news, is_new, now);
    }

    /// What is to be done now, if anything is; the same message again until it is
    /// [`delivered`](Self::delivered) or has [`failed`](Self::failed).
    pub fn due(&mut self, route: &Route, now: Timestamp) -> Option<Due> {
        if let Some(outgoing) = &self.outgoing {
            return (outgoing.retry_at <= now).then(|| Due::Deliver(outgoing.message.clone()));
        }
        if let Some(due) = self.digest_due(route, now) {
            return Some(due);
        }
        self.sent.turn(route, now);
        let worst = self.group.severity?;
        let is_full = self.sent.today >= route.config.daily_cap;
        if worst < Severity::Critical && (is_full || route.quiet.holds(route.local(now).time())) {
            return None;
        }
        let waited = self.group.heard_at.plus_secs(route.config.repeat_secs) <= now;
        let is_due = self.window_until <= now && (self.group.is_new || waited);
        if self.group.notices.is_empty() && !is_due {
            return None;
        }
        let is_last = self.sent.today + 1 == route.config.daily_cap;
        let group = std::mem::take(&mut self.group);
        self.window_until = now.plus_secs(route.config.group_secs);
        Some(self.put(compose::message(route, &group, is_last, now), now))
    }

    /// Begins to deliver `message`.
    fn put(&mut self, message: Message, now: Timestamp) -> Due {
        let due = Due::Deliver(message.clone());
        self.outgoing = Some(Outgoing { message, tries: 0, retry_at: now, why: String::new() });
        due
    }

    /// The message on its way has arrived; with a receipt, it is repeated until somebody acknowledges it.
    pub fn delivered(&mut self, route: &Route, receipt: Option<String>, now: Timestamp) {
        if let (Some(Outgoing { message, .. }), Some(receipt)) = (self.outgoing.take(), receipt) {
            self.emergencies.begin(receipt, &message, now);
        }
        self.sent.turn(route, now);
        self.sent.today += 1;
        self.sent.this_week += 1;
        self.sent.this_month += 1;
        self.sent.ever += 1;
        self.sent.last_at = now;
    }

    /// It has not: it is tried again later, or kept for people when that makes no sense any more.
    pub fn failed(&mut self, route: &Route, failure: &Failure, now: Timestamp) {
        let Some(outgoing) = &mut self.outgoing else { return };
        outgoing.tries += 1;
        outgoing.why.clone_from(&failure.why);
        if !failure.is_final && outgoing.tries <= route.config.retries {
            let pause = PAUSE_SECS.saturating_mul(1 << (outgoing.tries - 1).min(16)).min(MAX_PAUSE_SECS);
            let asked = failure.retry_after.as_ref().map_or(0, Duration::as_secs);
            outgoing.retry_at = now.plus_secs(pause.max(asked));
            return;
        }
        let title = std::mem::take(&mut outgoing.message.title);
        self.outgoing = None;
        self.dead.push_back(Dead { at: now, title, why: failure.why.clone() });
        if self.dead.len() > MAX_DEAD {
            self.dead.pop_front();
            self.dead_dropped += 1;
        }
    }

    /// Hears what `status` calls wrong, again and again; what lasts is news.
    pub fn hear(&mut self, route: &Route, problems: &[String], now: Timestamp) {
        // A number in it that changes makes it no other problem.
        let identity = |text: &String| text.chars().filter(|c| !c.is_ascii_digit()).take(120).collect::<String>();
        let now_wrong: BTreeMap<String, &String> = problems.iter().map(|text| (identity(text), text)).collect();
        self.problems.retain(|known, _| now_wrong.contains_key(known));
        let mut lasting = vec![];
        for (known, text) in now_wrong {
            let since = *self.problems.entry(known.clone()).or_insert(now);
            if since.plus_secs(LASTING_SECS) <= now && !self.told.contains(&known) {
                lasting.push(text.as_str());
                self.told.insert(known);
            }
        }
        let notice = |what, severity, reason| News { what, severity, at: now, reason, ..News::default() };
        if !lasting.is_empty() {
            self.take(route, notice(What::Degraded, Severity::High, lasting.join("; ")), now);
        }
        if !self.problems.is_empty() {
            self.well_since = None;
            return;
        }
        let since = *self.well_since.get_or_insert(now);
        if !self.told.is_empty() && since.plus_secs(LASTING_SECS) <= now {
            self.told.clear();
            let reason = "everything that was wrong is right again".to_owned();
            self.take(route, notice(What::Recovered, Severity::Medium, reason), now);
        }
    }

    /// The figures of a day or week, made of what a store counted.
    pub fn digest(&mut self, route: &Route, what: What, lines: &[String], now: Timestamp) {
        self.put(compose::digest(route, what, lines, now), now);
    }

    /// A digest is due when a day, or a week that ends with Sunday, has ended. Those that were missed are not
    /// made up for.
    fn digest_due(&mut self, route: &Route, now: Timestamp) -> Option<Due> {
        let today = route.midnight(now, 0);
        let days = i64::from(route.local(now).weekday().to_monday_zero_offset());
        let monday = route.midnight(now, days);
        let turned = |done: &mut Option<Timestamp>, at: Timestamp| done.replace(at).is_some_and(|before| before < at);
        let (day_over, week_over) = (turned(&mut self.daily_to, today), turned(&mut self.weekly_to, monday));
        let wants = |what| route.config.kinds.contains(&what);
        // Both at once: the week is told, with its last day in it, unless only days are wanted.
        if week_over && wants(What::Weekly) {
            return Some(Due::Digest { what: What::Weekly, from: route.midnight(now, days + 7), to: monday });
        }
        let due = Due::Digest { what: What::Daily, from: route.midnight(now, 1), to: today };
        (day_over && wants(What::Daily)).then_some(due)
    }

    /// How it goes, for `status`: a problem, if there is one, and figures.
    pub fn told(&self) -> (Option<String>, serde_json::Map<String, serde_json::Value>) {
        let trying = self.outgoing.as_ref().filter(|outgoing| outgoing.tries > 0);
        let problem = match (trying, self.dead.back()) {
            (Some(outgoing), _) => Some(format!("a message is not delivered yet: {}", outgoing.why)),
            (None, Some(dead)) if dead.at >= self.sent.last_at => {
                Some(format!("a message could not be delivered: {}", dead.why))
            }
            _ => None,
        };
        let figures = serde_json::json!({
            "sent_today": self.sent.today,
            "sent_this_week": self.sent.this_week,
            "sent_this_month": self.sent.this_month,
            "sent": self.sent.ever,
            "waiting": self.group.sums.total(),
            "undelivered": self.dead.len() as u64 + self.dead_dropped,
            "dead_letters": self.dead,
            "unacknowledged": self.emergencies.unacknowledged(),
            "emergencies": self.emergencies.told(),
        });
        (problem, figures.as_object().cloned().unwrap_or_default())
    }

    /// Whether this case was not told of yet, or is worse now.
    fn is_new(&mut self, route: &Route, news: &News, now: Timestamp) -> bool {
        let case = if news.case_id.is_empty() { &news.client } else { &news.case_id };
        let key = digest(&[news.what.as_str().as_bytes(), case.as_bytes(), news.category.as_bytes()]);
        if self.seen.len() >= MAX_SEEN {
            self.seen.retain(|_, (_, at)| at.plus_secs(route.config.repeat_secs) > now);
            if self.seen.len() >= MAX_SEEN {
                self.seen.clear();
            }
        }
        let before = self.seen.insert(key, (news.severity, now));
        before.is_none_or(|(worst, at)| news.severity > worst || at.plus_secs(route.config.repeat_secs) <= now)
    }
}

impl Group {
    fn take(&mut self, news: News, is_new: bool, now: Timestamp) {
        if self.severity.is_none() {
            (self.since, self.heard_at) = (news.at, now);
        }
        self.since = self.since.min(news.at);
        self.severity = self.severity.max(Some(news.severity));
        self.is_new |= is_new;
        match news.what {
            What::Finding => self.sums.findings += 1,
            What::Ban => self.sums.bans += 1,
            What::Held => self.sums.held += 1,
            _ => {
                self.notices.push_back(news);
                // The newest say how it is now.
                if self.notices.len() > MAX_NOTICES {
                    self.notices.pop_front();
                }
                return;
            }
        }
        // A finding and its ban are one story: its category counts once.
        let category = if news.what == What::Finding { news.category.as_str() } else { "" };
        let client = if news.what == What::Finding || !self.sums.clients.contains_key(&news.client) {
            news.client.as_str()
        } else {
            ""
        };
        self.sums.count(client, category);
        match &mut self.lead {
            Some(lead) if lead.client == news.client && news.what == What::Ban => {
                (lead.until, lead.simulated) = (news.until, news.simulated);
            }
            Some(lead) if lead.severity >= news.severity => {}
            lead => *lead = Some(news),
        }
    }
}

impl Sent {
    /// Begins a day, a week, a month anew when the last is over.
    fn turn(&mut self, route: &Route, now: Timestamp) {
        let local = route.local(now);
        let day = route.midnight(now, 0);
        if self.day != day {
            (self.day, self.today) = (day, 0);
        }
        let week = route.midnight(now, i64::from(local.weekday().to_monday_zero_offset()));
        if self.week != week {
            (self.week, self.this_week) = (week, 0);
        }
        let month = (local.year(), local.month());
        if self.month != month {
            (self.month, self.this_month) = (month, 0);
        }
    }
}
