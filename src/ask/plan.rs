//! What a question becomes: a closed set of things that can be looked up.

use std::fmt;

use ipnet::IpNet;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::{Moment, Service};
use crate::event::{Action, Category, DecidedBy, DecisionState, Proposer, Timestamp, shown};

/// Rows of an answer at most.
pub const MAX_LIMIT: u32 = 10_000;
/// Values of one condition at most, and the bytes of one that is text.
const MAX_VALUES: usize = 100;
const MAX_TEXT: usize = 200;
/// Steps of a trend at most: two years of hours.
const MAX_STEPS: i64 = 2 * 366 * 24;

/// What to look up. It can only be read with: there is nothing in it that changes anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub show: Show,
    pub of: Subject,
    /// Of `top`: what is ranked. Of `count`: what is counted, each once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Field>,
    /// Of `trend`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// All of these hold, ...
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<Condition>,
    /// ... and none of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not: Vec<Condition>,
    pub from: Timestamp,
    /// The first moment that is no longer meant.
    pub to: Timestamp,
    #[serde(default)]
    pub order: Order,
    /// Of `top`: only what occurs more often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_than: Option<u64>,
    /// Rows at most; a trend without it has all its steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// In what form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Show {
    /// The rows themselves.
    List,
    /// How many there are.
    Count,
    /// Of which there are most.
    Top,
    /// How many in each hour or day.
    Trend,
    /// Everything about one client, in short.
    Client,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Findings,
    Decisions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Hour,
    Day,
}

/// None but the first for counts; the others where they make sense.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Lists by time, the newest first; rankings by number; trends by time.
    #[default]
    Usual,
    /// Lists: the oldest first.
    Oldest,
    /// Lists: the highest score first.
    Score,
    /// Trends: the steps with most first.
    Most,
}

macro_rules! fields {
    ($($variant:ident = $name:literal, $plural:literal),* $(,)?) => {
        /// By what findings and decisions can be told apart.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Field { $($variant),* }

        impl Field {
            pub const ALL: &[Field] = &[$(Field::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Field::$variant => $name),* }
            }

            /// For people.
            pub fn plural(self) -> &'static str {
                match self { $(Field::$variant => $plural),* }
            }
        }
    };
}

fields! {
    Category = "category", "categories",
    Client = "client", "clients",
    Network = "network", "networks",
    Service = "service", "services",
    Path = "path", "paths",
    Rule = "rule", "rules",
    User = "user", "users",
    Action = "action", "actions",
    Severity = "severity", "severities",
    Status = "status", "statuses",
    Method = "method", "methods",
    UserAgent = "user_agent", "user agents",
    DecidedBy = "decided_by", "deciders",
    State = "state", "states",
    Proposer = "proposer", "proposers",
}

/// One of the values holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "field", content = "is", rename_all = "snake_case", deny_unknown_fields)]
pub enum Condition {
    Category(Vec<Category>),
    /// Clients, or all clients in networks.
    Client(Vec<IpNet>),
    Service(Vec<Service>),
    /// Beginnings of a request's path.
    Path(Vec<String>),
    Rule(Vec<String>),
    /// Whom a message of a login names.
    User(Vec<String>),
    /// What was to happen, before the gate.
    Action(Vec<Action>),
    /// From the first to the second, 1 to 10.
    Score(u8, u8),
    /// How the server answered.
    Status(Vec<Statuses>),
    Method(Vec<String>),
    /// Text in the user agent; case does not matter.
    UserAgent(Vec<String>),
    /// Text in the URI or message; case does not matter.
    Contains(Vec<String>),
    DecidedBy(Vec<DecidedBy>),
    State(Vec<DecisionState>),
    Proposer(Vec<Proposer>),
    /// Of dry run.
    Simulated(bool),
}

/// One status, or a class of them: `404`, `4xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Statuses {
    One(u16),
    /// Its first digit.
    Class(u16),
}

impl Statuses {
    pub fn contains(self, status: u16) -> bool {
        match self {
            Statuses::One(one) => one == status,
            Statuses::Class(class) => class == status / 100,
        }
    }

    /// What `404` or `4xx` means.
    pub fn parse(text: &str) -> Option<Statuses> {
        let class = |digit: &str| digit.parse().ok().filter(|digit| (1..=5).contains(digit)).map(Statuses::Class);
        match text.strip_suffix("xx") {
            Some(digit) => class(digit),
            None => text.parse().ok().filter(|one| (100..=599).contains(one)).map(Statuses::One),
        }
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Statuses::One(one) => write!(f, "{one}"),
            Statuses::Class(class) => write!(f, "{class}xx"),
        }
    }
}

impl TryFrom<String> for Statuses {
    type Error = String;

    fn try_from(text: String) -> Result<Statuses, String> {
        Statuses::parse(&text).ok_or_else(|| format!("{text:?} is no status such as 404 or 4xx"))
    }
}

impl From<Statuses> for String {
    fn from(statuses: Statuses) -> String {
        statuses.to_string()
    }
}

impl Condition {
    /// Where it stands among others, and its name.
    fn place(&self) -> (usize, &'static str) {
        match self {
            Condition::Category(_) => (0, "category"),
            Condition::Client(_) => (1, "client"),
            Condition::Service(_) => (2, "service"),
            Condition::Path(_) => (3, "path"),
            Condition::Rule(_) => (4, "rule"),
            Condition::User(_) => (5, "user"),
            Condition::Action(_) => (6, "action"),
            Condition::Score(..) => (7, "score"),
            Condition::Status(_) => (8, "status"),
            Condition::Method(_) => (9, "method"),
            Condition::UserAgent(_) => (10, "user_agent"),
            Condition::Contains(_) => (11, "contains"),
            Condition::DecidedBy(_) => (12, "decided_by"),
            Condition::State(_) => (13, "state"),
            Condition::Proposer(_) => (14, "proposer"),
            Condition::Simulated(_) => (15, "simulated"),
        }
    }

    pub fn name(&self) -> &'static str {
        self.place().1
    }

    /// Its values as they are written.
    pub fn values(&self) -> Vec<String> {
        fn each<T>(values: &[T], name: impl Fn(&T) -> String) -> Vec<String> {
            values.iter().map(name).collect()
        }
        let quoted = |text: &String| if text.contains([' ', ',']) { format!("{text:?}") } else { text.clone() };
        match self {
            Condition::Category(values) => each(values, |one| one.to_string()),
            Condition::Client(values) => each(values, |one| shown(*one)),
            Condition::Service(values) => each(values, |one| one.as_str().into()),
            Condition::Path(values)
            | Condition::Rule(values)
            | Condition::User(values)
            | Condition::Method(values)
            | Condition::UserAgent(values)
            | Condition::Contains(values) => each(values, quoted),
            Condition::Action(values) => each(values, |one| one.as_str().into()),
            Condition::Score(from, to) => vec![format!("{from}..{to}")],
            Condition::Status(values) => each(values, ToString::to_string),
            Condition::DecidedBy(values) => each(values, |one| one.as_str().into()),
            Condition::State(values) => each(values, |one| one.as_str().into()),
            Condition::Proposer(values) => each(values, |one| one.as_str().into()),
            Condition::Simulated(value) => vec![value.to_string()],
        }
    }

    /// Whether what is asked about has such a thing.
    fn is_of(&self, subject: Subject) -> bool {
        use Condition::*;
        match subject {
            Subject::Decisions => {
                matches!(self, Category(_) | Client(_) | Score(..) | State(_) | Proposer(_) | Simulated(_))
            }
            Subject::Findings => !matches!(self, State(_) | Proposer(_) | Simulated(_)),
        }
    }

    fn check(&self) -> Result<(), String> {
        let values = self.values();
        if values.is_empty() || values.len() > MAX_VALUES {
            return Err(format!("{} has {} values; 1 to {MAX_VALUES} are possible", self.name(), values.len()));
        }
        if let Some(long) = values.iter().find(|value| value.is_empty() || value.len() > MAX_TEXT) {
            return Err(format!("{} has a value of {} bytes; 1 to {MAX_TEXT} are possible", self.name(), long.len()));
        }
        match self {
            Condition::Score(from, to) if !(1 <= *from && from <= to && *to <= 10) => {
                Err(format!("scores go from 1 to 10, not from {from} to {to}"))
            }
            _ => Ok(()),
        }
    }

    /// Takes up what `other` has, if it is about the same.
    pub(super) fn merge(&mut self, other: Condition) -> Option<Condition> {
        fn both<T: PartialEq>(values: &mut Vec<T>, more: Vec<T>) -> Option<Condition> {
            for one in more {
                if !values.contains(&one) {
                    values.push(one);
                }
            }
            None
        }
        use Condition::*;
        match (self, other) {
            (Category(values), Category(more)) => both(values, more),
            (Client(values), Client(more)) => both(values, more),
            (Service(values), Service(more)) => both(values, more),
            (Path(values), Path(more))
            | (Rule(values), Rule(more))
            | (User(values), User(more))
            | (Method(values), Method(more))
            | (UserAgent(values), UserAgent(more))
            | (Contains(values), Contains(more)) => both(values, more),
            (Action(values), Action(more)) => both(values, more),
            (Status(values), Status(more)) => both(values, more),
            (DecidedBy(values), DecidedBy(more)) => both(values, more),
            (State(values), State(more)) => both(values, more),
            (Proposer(values), Proposer(more)) => both(values, more),
            (Score(from, to), Score(other_from, other_to)) => {
                (*from, *to) = ((*from).min(other_from), (*to).max(other_to));
                None
            }
            (Simulated(value), Simulated(other)) if *value == other => None,
            (_, other) => Some(other),
        }
    }

    fn sort(&mut self) {
        match self {
            Condition::Category(values) => values.sort(),
            Condition::Client(values) => values.sort(),
            Condition::Service(values) => values.sort(),
            Condition::Status(values) => values.sort(),
            _ => {}
        }
    }
}

impl Field {
    fn is_of(self, subject: Subject) -> bool {
        use Field::*;
        match subject {
            Subject::Decisions => matches!(self, Category | Client | Network | Severity | State | Proposer),
            Subject::Findings => !matches!(self, State | Proposer),
        }
    }
}

impl Subject {
    pub fn as_str(self) -> &'static str {
        match self {
            Subject::Findings => "findings",
            Subject::Decisions => "decisions",
        }
    }
}

impl Show {
    pub fn as_str(self) -> &'static str {
        match self {
            Show::List => "list",
            Show::Count => "count",
            Show::Top => "top",
            Show::Trend => "trend",
            Show::Client => "client",
        }
    }
}

impl Step {
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Hour => "hour",
            Step::Day => "day",
        }
    }

    pub fn millis(self) -> i64 {
        match self {
            Step::Hour => 3_600_000,
            Step::Day => 86_400_000,
        }
    }
}

impl Plan {
    /// Whether it can be answered; whoever made it.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn check(&self, moment: &Moment) -> Result<(), String> {
        let Plan { show, of, .. } = self;
        if self.from >= self.to {
            return Err("the time ends before it begins".into());
        }
        if self.from >= moment.now {
            return Err("the future is not recorded".into());
        }
        for condition in self.only.iter().chain(&self.not) {
            condition.check()?;
            if !condition.is_of(*of) {
                return Err(format!("{} have no {}", of.as_str(), condition.name()));
            }
        }
        if let Some(by) = self.by
            && !by.is_of(*of)
        {
            return Err(format!("{} have no {}", of.as_str(), by.as_str()));
        }
        let fits = match show {
            Show::List => self.by.is_none() && self.step.is_none() && self.order != Order::Most,
            Show::Count => self.step.is_none() && self.order == Order::Usual && self.limit.is_none(),
            Show::Top => self.by.is_some() && self.step.is_none() && self.order == Order::Usual,
            Show::Trend => self.by.is_none() && self.step.is_some() && matches!(self.order, Order::Usual | Order::Most),
            Show::Client => self.by.is_none() && self.step.is_none() && *of == Subject::Findings,
        };
        if !fits || (self.more_than.is_some() && *show != Show::Top) {
            return Err(format!("parts of the question do not fit a {}", show.as_str()));
        }
        if *show == Show::Client && !matches!(&*self.only, [Condition::Client(one)] if one.len() == 1) {
            return Err("one client can be told about at a time".into());
        }
        if let Some(limit) = self.limit
            && !(1..=MAX_LIMIT).contains(&limit)
        {
            return Err(format!("{limit} rows cannot be given; 1 to {MAX_LIMIT} can"));
        }
        let steps = self.step.map_or(0, |step| (self.to.0 - self.from.0) / step.millis());
        if steps > MAX_STEPS {
            return Err(format!("{steps} steps are too many for a trend; ask for a shorter time or for days"));
        }
        Ok(())
    }

    /// Adds a condition to those that must, or must not, hold.
    pub(super) fn add(&mut self, condition: Condition, is_not: bool) {
        let list = if is_not { &mut self.not } else { &mut self.only };
        let rest = list.iter_mut().try_fold(condition, |condition, known| known.merge(condition).ok_or(()));
        list.extend(rest.ok());
    }

    /// The same whatever the order of the question's words.
    pub(super) fn sort(&mut self) {
        for list in [&mut self.only, &mut self.not] {
            list.iter_mut().for_each(Condition::sort);
            list.sort_by_key(|condition| condition.place().0);
        }
    }

    /// As compact text, with times of `zone`.
    pub fn compact(&self, zone: &TimeZone) -> String {
        let mut parts = vec![self.show.as_str().to_owned()];
        if self.show != Show::Client {
            parts.push(self.of.as_str().into());
        }
        parts.extend(self.by.map(|by| format!("by={}", by.as_str())));
        parts.extend(self.step.map(|step| format!("step={}", step.as_str())));
        let signed = self.only.iter().map(|one| (one, "=")).chain(self.not.iter().map(|one| (one, "!=")));
        let mut signed: Vec<_> = signed.collect();
        signed.sort_by_key(|(condition, _)| condition.place().0);
        let written = |(condition, sign): (&Condition, &str)| {
            format!("{}{sign}{}", condition.name(), condition.values().join(","))
        };
        parts.extend(signed.into_iter().map(written));
        parts.push(match self.from {
            Timestamp(0) => "ever".into(),
            from => format!("{}..{}", local(from, zone), local(self.to, zone)),
        });
        match self.order {
            Order::Usual => {}
            Order::Oldest => parts.push("order=oldest".into()),
            Order::Score => parts.push("order=score".into()),
            Order::Most => parts.push("order=most".into()),
        }
        parts.extend(self.more_than.map(|number| format!("more_than={number}")));
        parts.extend(self.limit.map(|limit| format!("limit={limit}")));
        parts.join(" ")
    }
}

/// To the minute.
pub(super) fn local(time: Timestamp, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(time.0) {
        Ok(moment) => moment.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M").to_string(),
        Err(_) => time.to_string(),
    }
}
