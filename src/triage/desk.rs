//! Where doubtful findings wait for an opinion. One task owns what waits: what looks alike is asked
//! once, the worst first; what waits too long or finds no room is left to the rules.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::prompt::{self, Said};
use super::tier::{Answered, Asked, Tier, TierStats, Unanswered};
use super::tools::About;
use super::{Advisers, Ask, TriageConfig, View};
use crate::event::{ClientKey, DecidedBy, ModelCall, VerdictClass, digest};
use crate::memory::{Drawer, Memory, Risk, Summary};

/// Cases on their way to the desk or back.
const CHANNEL: usize = 1024;
/// Cases that look alike and wait for one answer; more of them say nothing new.
const MAX_ALIKE: usize = 64;
/// What waits too long is looked for this often.
const TICK: Duration = Duration::from_secs(1);

/// A doubtful finding.
#[derive(Clone, Debug)]
pub struct Case {
    pub about: About,
    /// 1–10, by rules: the worst goes first. 0: a sample of what no rule minds, for the first tier alone.
    pub score: u8,
    pub view: View,
    pub since: Instant,
}

/// What became of a case.
#[derive(Debug)]
pub struct Judged {
    pub case: Case,
    pub said: Option<Said>,
    pub by: DecidedBy,
    pub offender: bool,
    pub ill_reputed: bool,
    /// Why there is no opinion, or where it comes from.
    pub note: String,
    pub calls: Vec<ModelCall>,
}

/// The way to the desk and back.
pub struct Triage {
    cases: mpsc::Sender<Case>,
    judged: mpsc::Receiver<Judged>,
    shared: Arc<Shared>,
    waiting: watch::Receiver<usize>,
}

/// What all questions share.
struct Shared {
    advisers: Arc<Advisers>,
    memory: Arc<dyn Memory>,
    config: TriageConfig,
    sureness: watch::Receiver<Sureness>,
    /// What verdicts depend on beside the view: prompts, models and rules.
    depends_on: String,
}

/// An opinion as it is remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct KnownVerdict {
    /// `None` where the answer held no verdict: the same question would get the same answer.
    class: Option<VerdictClass>,
    confidence: u8,
    /// The tier that had it, counted from 0.
    tier: usize,
    reasoning: String,
    ill_reputed: bool,
}

/// How sure a tier's opinion must be, as in `[thresholds]`.
#[derive(Clone, Copy, Debug)]
pub struct Sureness {
    pub act: u8,
    pub monitor: u8,
}

impl Triage {
    /// Starts the desk. Without a tier there is none. `rules` stands for the rules in force: verdicts do not outlive them.
    pub fn start(
        config: &TriageConfig,
        sureness: watch::Receiver<Sureness>,
        advisers: Arc<Advisers>,
        memory: Arc<dyn Memory>,
        rules: &str,
    ) -> Option<Triage> {
        if advisers.tiers.is_empty() {
            return None;
        }
        let (cases, cases_taken) = mpsc::channel(CHANNEL);
        let (judged, judged_taken) = mpsc::channel(CHANNEL);
        let (waiting, waiting_seen) = watch::channel(0);
        let mut depends_on = vec![prompt::VERSION.to_owned(), rules.to_owned()];
        depends_on.extend(advisers.tiers.iter().map(|tier| format!("{} {}", tier.config.url, tier.config.model)));
        let depends_on = depends_on.join("\n");
        let shared = Arc::new(Shared { advisers, memory, config: config.clone(), sureness, depends_on });
        let desk = Desk { shared: shared.clone(), judged, questions: HashMap::new(), asks: JoinSet::new() };
        tokio::spawn(desk.work(cases_taken, waiting));
        Some(Triage { cases, judged: judged_taken, shared, waiting: waiting_seen })
    }

    /// Hands a case in; false if the desk is behind and did not take it.
    pub fn submit(&self, case: Case) -> bool {
        self.cases.try_send(case).is_ok()
    }

    /// The next case that is settled.
    pub async fn judged(&mut self) -> Option<Judged> {
        self.judged.recv().await
    }

    /// Takes no more cases; gives the way back of those that are under way, which ends after the last.
    pub fn finish(self) -> mpsc::Receiver<Judged> {
        self.judged
    }

    /// What the tiers did.
    pub fn stats(&self) -> Vec<TierStats> {
        self.shared.advisers.tiers.iter().map(Tier::stats).collect()
    }

    /// Cases that wait or are being asked about.
    pub fn waiting(&self) -> usize {
        *self.waiting.borrow()
    }

    /// Model arguments that named another address than the client's.
    pub fn refused_targets(&self) -> u64 {
        self.shared.advisers.toolbox.refused_targets()
    }

    /// Asks each server whether it has its model, and has those nearby load it; what is wrong is said and stands in the tier's stats.
    pub fn check_models(&self) -> impl Future<Output = ()> + use<> {
        let shared = self.shared.clone();
        async move {
            for tier in &shared.advisers.tiers {
                let Some(problem) = tier.problem().await else {
                    tier.warm_up().await;
                    continue;
                };
                tracing::warn!("{problem}; rules decide without it");
                tier.note(|stats| stats.problem = Some(problem));
            }
        }
    }
}

impl Shared {
    fn key(&self, view: &View) -> String {
        view.key(&self.depends_on)
    }

    async fn recall(&self, key: &str) -> Option<KnownVerdict> {
        for drawer in Drawer::VERDICTS {
            if let Some(text) = self.memory.get(drawer, key).await {
                return serde_json::from_str(&text).ok();
            }
        }
        None
    }

    async fn remember(&self, key: &str, remembered: &KnownVerdict, ttl: Duration) {
        let drawer = match remembered.class {
            Some(VerdictClass::Malicious) => Drawer::Malicious,
            Some(VerdictClass::Benign) => Drawer::Benign,
            Some(VerdictClass::Uncertain) | None => Drawer::Escalations,
        };
        // Numbers and texts always serialise.
        let text = serde_json::to_string(remembered).unwrap_or_default();
        self.memory.put(drawer, key, text, ttl).await;
    }

    /// Asks one tier after the other until one is sure enough.
    async fn ask(&self, case: &Case, known: &Known) -> Outcome {
        let mut outcome = Outcome::default();
        let Sureness { act, monitor } = *self.sureness.borrow();
        let key = self.key(&case.view);
        let key_of_known = known.key(&key, None);
        let key_of_client = known.key(&key, Some(case.about.client));
        let ttl = Duration::from_secs(self.config.verdict_ttl_secs);
        let mut first: Option<(VerdictClass, String)> = None;
        for (index, tier) in self.advisers.tiers.iter().enumerate() {
            // Who is asked for a label sees the view alone; for a verdict, what is known of the client too.
            let is_label = tier.config.ask() == Ask::Label;
            let keys = if is_label { vec![&key] } else { vec![&key_of_known, &key_of_client] };
            let mut remembered = None;
            for key in keys {
                remembered = self.recall(key).await.filter(|known| known.tier == index);
                if remembered.is_some() {
                    break;
                }
            }
            let said_first = first.as_ref().map_or("none", |(_, said)| said);
            let asked = Asked { view: &case.view, first: said_first, known: &known.said, about: &case.about };
            let answered = match remembered {
                Some(remembered) => {
                    outcome.note = "as decided before".into();
                    remembered.again()
                }
                None => {
                    let answered = tier.ask(&asked, &self.advisers.toolbox, &mut outcome.calls).await;
                    outcome.note.clear();
                    let key = match &answered {
                        _ if is_label => &key,
                        Ok(Answered { of_client: true, .. }) => &key_of_client,
                        _ => &key_of_known,
                    };
                    if let Some(known) = KnownVerdict::of(&answered, index) {
                        self.remember(key, &known, ttl).await;
                    }
                    answered
                }
            };
            match answered {
                Ok(answered) => {
                    let Said { class, confidence, .. } = answered.said;
                    if let Some((first, said)) = &first {
                        tier.note(|stats| match class == *first {
                            true => stats.agreed += 1,
                            false => stats.disagreed += 1,
                        });
                        let told = format!("the first tier said {said}");
                        outcome.note = if outcome.note.is_empty() { told } else { format!("{}; {told}", outcome.note) };
                    }
                    first = Some((class, answered.said.to_string()));
                    outcome.ill_reputed |= answered.ill_reputed;
                    outcome.of_client |= answered.of_client;
                    outcome.said = Some(answered.said);
                    outcome.by = if index == 0 { DecidedBy::Tier1 } else { DecidedBy::Tier2 };
                    let decided = class != VerdictClass::Uncertain;
                    let watched = confidence >= monitor && !known.is_known;
                    if case.score == 0 || decided && (confidence >= act || watched) {
                        break;
                    }
                }
                Err(error) => {
                    outcome.note = format!("{}: {error}", tier.config.name);
                    if case.score == 0 {
                        break;
                    }
                }
            }
            if index + 1 < self.advisers.tiers.len() {
                tier.note(|stats| stats.escalated += 1);
            }
        }
        outcome
    }
}

/// What memory knows of a client, as far as it matters for a verdict.
#[derive(Clone, Debug)]
struct Known {
    said: String,
    is_known: bool,
    offender: bool,
}

impl Known {
    fn of(summary: Option<&Summary>) -> Known {
        Known {
            said: prompt::known_of(summary),
            is_known: summary.is_some_and(|summary| summary.risk > Risk::Low),
            offender: summary.is_some_and(|summary| summary.risk == Risk::High),
        }
    }

    /// What verdicts on a view are remembered by, of clients of which as much is known or of `client` alone.
    fn key(&self, view: &str, client: Option<ClientKey>) -> String {
        let client = client.map_or(String::new(), |client| client.to_string());
        digest(&[b"known", view.as_bytes(), self.said.as_bytes(), client.as_bytes()])
    }
}

/// What asking came to.
struct Outcome {
    said: Option<Said>,
    by: DecidedBy,
    /// Where the opinion comes from, or why there is none.
    note: String,
    of_client: bool,
    ill_reputed: bool,
    calls: Vec<ModelCall>,
}

impl Default for Outcome {
    fn default() -> Outcome {
        Outcome {
            said: None,
            by: DecidedBy::Rules,
            note: String::new(),
            of_client: false,
            ill_reputed: false,
            calls: vec![],
        }
    }
}

/// Cases that look alike, of clients of which as much is known.
struct Question {
    cases: Vec<Case>,
    known: Known,
    asked: bool,
}

impl Question {
    fn score(&self) -> u8 {
        self.cases.iter().map(|case| case.score).max().unwrap_or(0)
    }

    fn since(&self) -> Option<Instant> {
        self.cases.iter().map(|case| case.since).min()
    }
}

/// The task that owns what waits.
struct Desk {
    shared: Arc<Shared>,
    judged: mpsc::Sender<Judged>,
    questions: HashMap<String, Question>,
    asks: JoinSet<(String, Outcome)>,
}

/// Nobody takes judgements any more: the daemon stops.
struct Stopped;

impl Desk {
    async fn work(mut self, mut cases: mpsc::Receiver<Case>, waiting: watch::Sender<usize>) {
        let mut ticks = tokio::time::interval(TICK);
        let mut is_open = true;
        while is_open || self.questions.values().any(|question| !question.cases.is_empty()) {
            let going_on = tokio::select! {
                case = cases.recv(), if is_open => match case {
                    Some(case) => self.take(case).await,
                    None => {
                        is_open = false;
                        Ok(())
                    }
                },
                () = self.judged.closed() => Err(Stopped),
                Some(done) = self.asks.join_next() => match done {
                    Ok((key, outcome)) => self.conclude(&key, outcome).await,
                    // It panicked; its cases are left to the rules when they have waited long enough.
                    Err(_) => Ok(()),
                },
                _ = ticks.tick() => self.give_up_the_late().await,
            };
            if going_on.is_err() {
                return;
            }
            self.ask_next();
            waiting.send_replace(self.questions.values().map(|question| question.cases.len()).sum());
        }
    }

    async fn take(&mut self, case: Case) -> Result<(), Stopped> {
        let known = Known::of(self.shared.memory.recall(case.about.client).await.as_ref());
        let key = known.key(&self.shared.key(&case.view), None);
        let question = self.questions.entry(key).or_insert_with(|| Question { cases: vec![], known, asked: false });
        if question.cases.len() >= MAX_ALIKE {
            return self.leave_to_rules(case, "too many alike wait for a model").await;
        }
        question.cases.push(case);
        self.make_room().await
    }

    /// Leaves the weakest to the rules, of equals the oldest, if more wait than may.
    async fn make_room(&mut self) -> Result<(), Stopped> {
        let waiting = self.questions.iter().filter(|(_, question)| !question.asked);
        if waiting.clone().count() <= self.shared.config.max_waiting as usize {
            return Ok(());
        }
        let weakest = waiting.min_by_key(|(_, question)| (question.score(), question.since()));
        let Some(key) = weakest.map(|(key, _)| key.clone()) else { return Ok(()) };
        for case in self.questions.remove(&key).into_iter().flat_map(|question| question.cases) {
            self.leave_to_rules(case, "too many cases wait for a model").await?;
        }
        Ok(())
    }

    async fn give_up_the_late(&mut self) -> Result<(), Stopped> {
        let (now, longest) = (Instant::now(), Duration::from_secs(self.shared.config.max_wait_secs));
        let mut late = vec![];
        for question in self.questions.values_mut() {
            late.extend(question.cases.extract_if(.., |case| now.duration_since(case.since) >= longest));
        }
        self.questions.retain(|_, question| question.asked || !question.cases.is_empty());
        for case in late {
            self.leave_to_rules(case, "no model answered in time").await?;
        }
        Ok(())
    }

    /// Has as many asked as may be, the worst first, of equals the newest.
    fn ask_next(&mut self) {
        let at_once: u32 = self.shared.advisers.tiers.iter().map(|tier| tier.config.max_concurrent).sum();
        while self.asks.len() < at_once as usize {
            let waiting = self.questions.iter_mut().filter(|(_, question)| !question.asked);
            let Some((key, question)) = waiting.max_by_key(|(_, question)| (question.score(), question.since())) else {
                return;
            };
            let Some(case) = question.cases.first().cloned() else { return };
            question.asked = true;
            let (shared, key, known) = (self.shared.clone(), key.clone(), question.known.clone());
            self.asks.spawn(async move {
                let outcome = shared.ask(&case, &known).await;
                (key, outcome)
            });
        }
    }

    async fn conclude(&mut self, key: &str, outcome: Outcome) -> Result<(), Stopped> {
        let Some(Question { cases, known, .. }) = self.questions.remove(key) else { return Ok(()) };
        let Outcome { said, by, note, of_client, ill_reputed, mut calls } = outcome;
        let asked_for = cases.first().map(|case| case.about.client);
        for case in cases {
            if of_client && Some(case.about.client) != asked_for {
                // Looked at was somebody else.
                self.again(case, known.clone());
                continue;
            }
            let (said, note, calls) = (said.clone(), note.clone(), std::mem::take(&mut calls));
            let offender = known.offender;
            self.give(Judged { case, said, by, offender, ill_reputed, note, calls }).await?;
        }
        Ok(())
    }

    fn again(&mut self, case: Case, known: Known) {
        let key = known.key(&self.shared.key(&case.view), None);
        self.questions.entry(key).or_insert_with(|| Question { cases: vec![], known, asked: false }).cases.push(case);
    }

    async fn leave_to_rules(&mut self, case: Case, why: &str) -> Result<(), Stopped> {
        let note = why.to_owned();
        let (by, said, calls) = (DecidedBy::Rules, None, vec![]);
        self.give(Judged { case, said, by, offender: false, ill_reputed: false, note, calls }).await
    }

    async fn give(&mut self, judged: Judged) -> Result<(), Stopped> {
        self.judged.send(judged).await.map_err(|_| Stopped)
    }
}

impl KnownVerdict {
    /// What asking again would come to; `None` where it may come to something else.
    fn of(answered: &Result<Answered, Unanswered>, tier: usize) -> Option<KnownVerdict> {
        let (class, confidence, reasoning, ill_reputed) = match answered {
            Ok(Answered { said, ill_reputed, .. }) => {
                (Some(said.class), said.confidence, said.reasoning.clone(), *ill_reputed)
            }
            Err(Unanswered::NoVerdict) => (None, 0, String::new(), false),
            Err(Unanswered::Barred(_) | Unanswered::Failed(_)) => return None,
        };
        Some(KnownVerdict { class, confidence, tier, reasoning, ill_reputed })
    }

    fn again(self) -> Result<Answered, Unanswered> {
        let KnownVerdict { class, confidence, reasoning, ill_reputed, .. } = self;
        let class = class.ok_or(Unanswered::NoVerdict)?;
        Ok(Answered { said: Said { class, confidence, threat: None, reasoning }, of_client: false, ill_reputed })
    }
}
