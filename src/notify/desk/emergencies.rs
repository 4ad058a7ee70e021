//! Messages that are repeated until somebody acknowledges them: what is asked about them when, and what came of
//! it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::event::Timestamp;
use crate::notify::{Failure, Message, Standing};

/// The newest that are kept.
const MAX_KEPT: usize = 20;
/// One is asked after this often.
const ASK_SECS: u64 = 30;
/// Between two questions about any of them at least. Pushover asks for five.
const PAUSE_SECS: u64 = 6;
/// No channel repeats a message for so long: whoever cannot be heard of by then is asked after no more.
const LONGEST_SECS: u64 = 3 * 3600;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Emergencies {
    all: VecDeque<Emergency>,
    quiet_until: Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Emergency {
    receipt: String,
    title: String,
    /// The one client that it is about; empty: it is about several, or none.
    client: String,
    at: Timestamp,
    standing: Standing,
    ask_at: Timestamp,
    /// Nobody need see it any more.
    is_settled: bool,
    /// Why it could not be asked after.
    why: String,
}

/// What is to be done about the emergency of a receipt.
#[derive(Clone, Debug, PartialEq)]
pub enum Followed {
    AskAfter(String),
    CallOff(String),
}

impl Emergencies {
    pub(super) fn begin(&mut self, receipt: String, message: &Message, now: Timestamp) {
        let mut clients = message.sums.clients.keys();
        let client = match (clients.next(), clients.next(), message.sums.of_others) {
            (Some(client), None, 0) => client.clone(),
            _ => String::new(),
        };
        let (title, ask_at) = (message.title.clone(), now.plus_secs(ASK_SECS));
        let (standing, is_settled, why) = (Standing::Repeats, false, String::new());
        self.all.push_back(Emergency { receipt, title, client, at: now, standing, ask_at, is_settled, why });
        if self.all.len() > MAX_KEPT {
            self.all.pop_front();
        }
    }

    /// Somebody has let `client` go: what is told of it alone need not be repeated.
    pub fn settle(&mut self, client: &str, now: Timestamp) {
        for one in self.all.iter_mut().filter(|one| one.is_open() && one.client == client && !one.is_settled) {
            (one.is_settled, one.ask_at) = (true, now);
        }
    }

    /// What is due now, if anything is; told by [`heard`](Self::heard) what came of it.
    pub fn due(&mut self, now: Timestamp) -> Option<Followed> {
        if now < self.quiet_until {
            return None;
        }
        let open = self.all.iter_mut().filter(|one| one.is_open() && one.ask_at <= now);
        let next = open.min_by_key(|one| one.ask_at)?;
        next.ask_at = now.plus_secs(ASK_SECS);
        self.quiet_until = now.plus_secs(PAUSE_SECS);
        let receipt = next.receipt.clone();
        Some(if next.is_settled { Followed::CallOff(receipt) } else { Followed::AskAfter(receipt) })
    }

    /// How it stands with the emergency of this receipt, or why that cannot be told.
    pub fn heard(&mut self, receipt: &str, heard: Result<Standing, Failure>, now: Timestamp) {
        let Some(one) = self.all.iter_mut().find(|one| one.receipt == receipt) else { return };
        match heard {
            Ok(standing) => (one.standing, one.why) = (standing, String::new()),
            Err(failure) => {
                if failure.is_final || one.at.plus_secs(LONGEST_SECS) <= now {
                    one.standing = Standing::Over;
                }
                one.ask_at = one.ask_at.max(now.plus_secs(failure.retry_after.map_or(0, |pause| pause.as_secs())));
                one.why = failure.why;
            }
        }
    }

    /// Those that are repeated.
    pub(super) fn unacknowledged(&self) -> usize {
        self.all.iter().filter(|one| one.is_open()).count()
    }

    /// All of them for people, the newest last.
    pub(super) fn told(&self) -> Vec<Told<'_>> {
        self.all
            .iter()
            .map(|one| Told { at: one.at, title: &one.title, standing: &one.standing, why: &one.why })
            .collect()
    }
}

/// An emergency, as `status` shows it.
#[derive(Serialize)]
pub(super) struct Told<'a> {
    at: Timestamp,
    title: &'a str,
    #[serde(flatten)]
    standing: &'a Standing,
    why: &'a str,
}

impl Emergency {
    fn is_open(&self) -> bool {
        self.standing == Standing::Repeats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Severity;
    use crate::notify::Sums;

    const START: Timestamp = Timestamp(1_767_571_200_000);

    fn message(clients: &[&str]) -> Message {
        let mut sums = Sums::default();
        clients.iter().for_each(|client| sums.count(client, "sqli"));
        let (title, text) = (format!("critical: {clients:?}"), String::new());
        Message { id: "m".into(), at: START, severity: Severity::Critical, title, text, url: None, sums }
    }

    fn after(secs: u64) -> Timestamp {
        START.plus_secs(secs)
    }

    fn ask(receipt: &str) -> Option<Followed> {
        Some(Followed::AskAfter(receipt.into()))
    }

    #[test]
    fn each_is_asked_after_now_and_then_until_it_is_acknowledged() {
        let mut all = Emergencies::default();
        all.begin("a".into(), &message(&["203.0.113.5"]), START);
        all.begin("b".into(), &message(&["203.0.113.6"]), after(1));
        assert_eq!(all.due(after(29)), None);
        assert_eq!(all.due(after(31)), ask("a"));
        assert_eq!(all.due(after(32)), None, "no two questions at once");
        assert_eq!(all.due(after(37)), ask("b"));
        let acknowledged =
            Standing::Acknowledged { acknowledged_at: after(33), acknowledged_by: "uQiR… on phone".into() };
        all.heard("a", Ok(acknowledged), after(37));
        all.heard("b", Ok(Standing::Repeats), after(37));
        assert_eq!(all.unacknowledged(), 1);
        // A restart forgets nothing.
        let mut all: Emergencies = serde_json::from_str(&serde_json::to_string(&all).unwrap()).unwrap();
        let questions: Vec<u64> = (38..200).filter(|secs| all.due(after(*secs)) == ask("b")).collect();
        assert_eq!(questions, [67, 97, 127, 157, 187]);
        all.heard("b", Ok(Standing::Over), after(200));
        assert_eq!((all.due(after(999)), all.unacknowledged()), (None, 0));
        let told = serde_json::json!(all.told());
        assert_eq!(
            (&told[0]["state"], &told[0]["acknowledged_by"]),
            (&"acknowledged".into(), &"uQiR… on phone".into())
        );
        assert_eq!(told[1]["state"], "over");
        assert!(told[0].get("receipt").is_none(), "{told}");
    }

    #[test]
    fn who_is_let_go_alone_is_told_of_no_more() {
        let mut all = Emergencies::default();
        all.begin("one".into(), &message(&["203.0.113.5"]), START);
        all.begin("two".into(), &message(&["203.0.113.5", "203.0.113.6"]), START);
        all.settle("203.0.113.9", after(1));
        assert_eq!(all.due(after(1)), None);
        all.settle("203.0.113.5", after(2));
        let call_off = Some(Followed::CallOff("one".into()));
        assert_eq!(all.due(after(2)), call_off);
        let away = Failure { why: "no answer in time".into(), retry_after: None, is_final: false };
        all.heard("one", Err(away.clone()), after(2));
        assert_eq!(all.due(after(30)), ask("two"), "of several clients one alone calls nothing off");
        assert_eq!(all.due(after(36)), call_off, "it is tried again");
        all.heard("one", Ok(Standing::CalledOff), after(36));
        assert_eq!(all.unacknowledged(), 1);
        // Nobody is asked for ever.
        all.heard("two", Err(away.clone()), after(40));
        assert_eq!(all.unacknowledged(), 1);
        all.heard("two", Err(away), after(LONGEST_SECS));
        assert_eq!(all.unacknowledged(), 0);
        all.begin("gone".into(), &message(&[]), START);
        all.heard("gone", Err(Failure { why: "HTTP 404".into(), retry_after: None, is_final: true }), after(30));
        assert_eq!((all.unacknowledged(), &serde_json::json!(all.told())[2]["why"]), (0, &"HTTP 404".into()));
        for n in 0..100 {
            all.begin(n.to_string(), &message(&[]), START);
        }
        assert_eq!(all.all.len(), MAX_KEPT);
    }
}
