//! A plan in words, and which other verbs would tell the same.

use jiff::tz::TimeZone;

use super::plan::{Condition, Field, Order, Plan, Show, Subject, local};
use crate::event::Timestamp;

impl Plan {
    /// What will be looked up, in one sentence with times of `zone`.
    pub fn sentence(&self, zone: &TimeZone) -> String {
        let of = match self.of {
            Subject::Findings => "findings",
            Subject::Decisions => "decisions",
        };
        let what = match (self.show, self.by) {
            (Show::List, _) => capital(of),
            (Show::Count, None) => format!("How many {of} there are"),
            (Show::Count, Some(by)) => format!("How many different {} the {of} have", by.plural()),
            (Show::Top, by) => {
                let plural = by.map_or("clients", Field::plural);
                let more = self.more_than.map(|number| format!(" that have more than {number}")).unwrap_or_default();
                format!("{} by number of {of}{more}", capital(plural))
            }
            (Show::Trend, _) => format!("{} by the {}", capital(of), self.step.map_or("day", |step| step.as_str())),
            (Show::Client, _) => "What is recorded of one client".to_owned(),
        };
        let mut conditions: Vec<String> = self.only.iter().map(|one| described(one, false)).collect();
        conditions.extend(self.not.iter().map(|one| described(one, true)));
        let conditions = if conditions.is_empty() { String::new() } else { format!("; {}", conditions.join("; ")) };
        let time = match self.from {
            Timestamp(0) => "since there are records".to_owned(),
            from => format!("from {} until {}", shown(from, zone), shown(self.to, zone)),
        };
        let order = match (self.show, self.order) {
            (Show::List, Order::Oldest) => ", the oldest first",
            (Show::List, Order::Score) => ", the highest score first",
            (Show::List, _) => ", the newest first",
            (_, Order::Most) => ", those with most first",
            _ => "",
        };
        let limit = self.limit.map(|limit| format!(", at most {limit}")).unwrap_or_default();
        format!("{what}{conditions}; {time}{order}{limit}.")
    }

    /// The arguments of `palisade` that tell the same, or, with a remark, the nearest to it.
    pub fn command(&self) -> (String, Option<&'static str>) {
        let time = match self.from {
            Timestamp(0) => format!("--since 1970-01-01 --until {}", self.to),
            from => format!("--since {from} --until {}", self.to),
        };
        use Field::{Category, Client, DecidedBy, Network, Path, Rule, Severity};
        let is_listed = |by| matches!(by, Category | Client | DecidedBy | Network | Path | Rule | Severity);
        let is_in_figures = match self.show {
            Show::Top => self.by.is_some_and(is_listed),
            Show::Count => self.by.is_none(),
            Show::Trend => true,
            Show::List | Show::Client => false,
        };
        let is_of_all = self.of == Subject::Findings && self.only.is_empty() && self.not.is_empty();
        if is_in_figures && is_of_all {
            let by = self.step.map(|step| format!(" --by {}", step.as_str())).unwrap_or_default();
            let top = self.limit.filter(|_| self.show == Show::Top).map(|limit| format!(" --top {limit}"));
            let remark = "which counts in whole hours or days of UTC";
            return (format!("palisade stats {time}{by}{}", top.unwrap_or_default()), Some(remark));
        }
        let mut parts = vec![format!("palisade history {time}")];
        let mut is_all = self.not.is_empty() && matches!(self.show, Show::List) && self.order == Order::Usual;
        if self.of == Subject::Decisions {
            parts.push("--decisions".into());
        }
        for condition in &self.only {
            let values = condition.values();
            let flag = match (condition, &*values) {
                (Condition::Score(from, 10), _) if self.of == Subject::Findings => Some(format!("--min-score {from}")),
                (Condition::Category(_), [one]) if self.of == Subject::Findings => Some(format!("--category {one}")),
                (Condition::Client(_), [one]) => Some(format!("--client {one}")),
                (Condition::Rule(_), [one]) if is_plain(one) => Some(format!("--rule {one}")),
                (Condition::Action(_), [one]) => Some(format!("--action {one}")),
                (Condition::DecidedBy(_), [one]) => Some(format!("--decided-by {one}")),
                (Condition::State(_), [one]) => Some(format!("--state {one}")),
                _ => None,
            };
            is_all &= flag.is_some();
            parts.extend(flag);
        }
        parts.extend(self.limit.filter(|_| self.show == Show::List).map(|limit| format!("--limit {limit}")));
        (parts.join(" "), (!is_all).then_some("the nearest to it"))
    }
}

/// Text that a shell leaves alone.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn shown(time: Timestamp, zone: &TimeZone) -> String {
    local(time, zone).replace('T', " ")
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn described(condition: &Condition, is_not: bool) -> String {
    let values = condition.values().join(" or ");
    let not = if is_not { "not " } else { "" };
    match condition {
        Condition::Category(_) => format!("{not}of category {values}"),
        Condition::Client(_) => format!("{not}of client {values}"),
        Condition::Service(_) => format!("{not}about {values}"),
        Condition::Path(_) => format!("{not}with a path that begins with {values}"),
        Condition::Rule(_) => format!("{not}by rule {values}"),
        Condition::User(_) => format!("{not}about user {values}"),
        Condition::Action(_) => format!("{not}with action {values}"),
        Condition::Score(from, to) if from == to => format!("{not}with score {from}"),
        Condition::Score(from, to) => format!("{not}with a score from {from} to {to}"),
        Condition::Status(_) => format!("{not}answered with {values}"),
        Condition::Method(_) => format!("{not}with method {values}"),
        Condition::UserAgent(_) => format!("{not}with {values} in the user agent"),
        Condition::Contains(_) => format!("{not}with {values} in the URI or message"),
        Condition::DecidedBy(_) => format!("{not}decided by {values}"),
        Condition::State(_) => format!("{not}in state {values}"),
        Condition::Proposer(_) => format!("{not}proposed by {values}"),
        Condition::Simulated(true) => format!("{not}of dry run"),
        Condition::Simulated(false) => format!("{not}carried out"),
    }
}
