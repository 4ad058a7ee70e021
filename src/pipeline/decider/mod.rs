//! The one owner of decisions. Every proposal — of rules, of an operator, of bans from before a
//! restart — comes here, passes the gate, is carried out, and is recorded: in that order, which is
//! safe because carrying out and recording are both idempotent.

mod claims;
mod corrections;
mod doubts;
mod fleet;
mod held;
mod imports;
mod mode;
mod operator;
mod pieces;
mod propose;
mod recorder;
mod recovery;
mod reload;
mod responders;
mod restore;
pub mod trial;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc as sync;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::{Config, Mode};
use crate::decide::{Blasts, Limits, Permit, Surroundings};
use crate::event::{Action, DecisionState, Finding, Outcome, Proposer, Status, Timestamp, VerdictClass};
use crate::memory::Memory;
use crate::pipeline::crawlers::Crawlers;
use crate::pipeline::judge;
use crate::pipeline::reader::{Control, Found, ReaderStatus, Report};
use crate::record::Sqlite;
use crate::respond::Responder;
use crate::show::Request;
use crate::tail::Waker;
use crate::triage::{Judged, Triage, View};
use pieces::Pieces;
use recorder::{Change, Done, Recorder};
use responders::{AT_LEISURE, AT_ONCE, Responders};

/// Reports not yet recorded because the store fails. At the bound nothing more is read: the log
/// files are the queue.
const MAX_UNRECORDED: usize = 256;
/// What ended, what is held and what waits is looked at this often.
const TICK: Duration = Duration::from_secs(1);
/// So long the store may take for what is left at the end, ...
const STOP: Duration = Duration::from_secs(10);
/// ... and for what somebody waits for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The reader speaks every second even where nothing is written; after so long without a word it hangs.
const READER_PATIENCE: Duration = Duration::from_secs(20);
/// Findings said in the log in one second; the others are counted.
const SAID_PER_SEC: u32 = 20;

/// Makes what carries out blocks in a mode.
pub type Build = Box<dyn Fn(Mode) -> anyhow::Result<Vec<Box<dyn Responder>>> + Send + Sync>;

/// What a [`Decider`] works with.
pub struct Given {
    pub config: Config,
    /// What of a newer configuration concerns decisions.
    pub reloads: mpsc::Receiver<Reloaded>,
    pub store: Arc<Sqlite>,
    pub memory: Arc<dyn Memory>,
    pub responders: Build,
    /// Told of every change of the mode.
    pub enforcing: watch::Sender<bool>,
    pub surroundings: watch::Receiver<Surroundings>,
    /// Networks of `allow add`; the surroundings task reads them.
    pub allowed: watch::Sender<Vec<IpNet>>,
    pub reader: watch::Receiver<ReaderStatus>,
    pub crawlers: Crawlers,
    /// None: rules decide alone.
    pub triage: Option<Triage>,
    /// What operators said of findings that looked so: it stands over rules and models.
    pub corrections: HashMap<View, VerdictClass>,
    pub controls: sync::Sender<Control>,
    pub waker: Waker,
    pub status: Status,
}

/// The next case that models have settled; nothing ever where there are none.
async fn judged(triage: &mut Option<Triage>) -> Option<Judged> {
    match triage {
        Some(triage) => triage.judged().await,
        None => std::future::pending().await,
    }
}

/// What a newer configuration brings.
pub struct Reloaded {
    pub config: Config,
    /// How many rules and windows there are now.
    pub rules: usize,
    /// Only if it is about others than before.
    pub crawlers: Option<Crawlers>,
    /// Only if it is another one, or none any more.
    pub triage: Option<Option<Triage>>,
}

/// The gate's keeper.
pub struct Decider {
    given: Given,
    /// As configured, or on trial.
    mode: Mode,
    trial_ends: Option<Timestamp>,
    /// Ids of held proposals that found no room any more, not recorded yet.
    given_up: Vec<String>,
    /// How often whom was banned lately, as recorded at the start.
    past_offences: HashMap<IpNet, u32>,
    blasts: Blasts,
    limits: Limits,
    /// Bans in force, by target.
    active: HashMap<IpNet, Permit>,
    responders: Responders,
    held: VecDeque<held::Held>,
    /// What other agents decided.
    fleet: fleet::Fleet,
    /// Those that wait until it is known whether the client is what it claims.
    doubtful: Vec<claims::Doubtful>,
    /// Findings that models are asked about.
    doubts: doubts::Doubts,
    /// Requests that no rule minds and models are shown, by id.
    samples: HashMap<String, Finding>,
    /// The newest surroundings, with the crawlers that were verified here.
    surroundings: Surroundings,
    recorder: Recorder,
    /// What is wrong now, by part.
    troubles: HashMap<&'static str, String>,
    /// What the surroundings kept open when they were last looked at, and what was wrong then.
    allow_seen: Vec<IpNet>,
    problems_seen: Vec<String>,
    /// Findings said in the log in this second, and those left unsaid.
    said: u32,
    unsaid: u32,
    /// Everything from before the start has been read again.
    caught_up: bool,
    reconciled: bool,
    /// What backends hold that have not said so yet: until then, nobody is let go of whom nothing is known.
    unheard: Vec<oneshot::Receiver<Vec<Outcome>>>,
    /// When the reader spoke last, or had to wait for us.
    reader_heard: Instant,
    /// When bans that outlast what responders hold were ordered last.
    renewed_at: Timestamp,
    /// What models say that are configured no more, of cases from before.
    late: (mpsc::Sender<Judged>, mpsc::Receiver<Judged>),
}

impl Decider {
    /// # Errors
    /// What is configured cannot carry out blocks.
    pub fn new(given: Given) -> anyhow::Result<Decider> {
        let mode = given.config.mode;
        let responders = Responders::new((given.responders)(mode)?);
        let recorder = Recorder::new(given.store.clone());
        let surroundings = given.surroundings.borrow().clone();
        let allow_seen = surroundings.kept_open();
        Ok(Decider {
            mode,
            trial_ends: None,
            given_up: vec![],
            past_offences: HashMap::new(),
            allow_seen,
            problems_seen: vec![],
            limits: judge::limits(&given.config),
            given,
            blasts: Blasts::default(),
            active: HashMap::new(),
            responders,
            held: VecDeque::new(),
            fleet: fleet::Fleet::default(),
            doubtful: vec![],
            doubts: doubts::Doubts::default(),
            samples: HashMap::new(),
            surroundings,
            recorder,
            troubles: HashMap::new(),
            said: 0,
            unsaid: 0,
            caught_up: false,
            reconciled: false,
            unheard: vec![],
            reader_heard: Instant::now(),
            renewed_at: Timestamp::now(),
            late: mpsc::channel(1),
        })
    }

    /// Works until nobody can send reports any more, then records what is left.
    pub async fn run(mut self, mut reports: mpsc::Receiver<Report>, mut requests: mpsc::Receiver<Request>) {
        let mut ticks = tokio::time::interval(TICK);
        let mut batch = Vec::new();
        let mut pieces = Pieces::default();
        let mut requests_open = true;
        loop {
            tokio::select! {
                biased;
                request = requests.recv(), if requests_open => match request {
                    Some(Request { command, reply }) => {
                        let answer = self.obey(command).await;
                        // The asker may have gone.
                        let _ = reply.send(answer);
                    }
                    None => requests_open = false,
                },
                count = reports.recv_many(&mut batch, 16), if pieces.is_empty() && self.recorder.waiting() < MAX_UNRECORDED => {
                    if count == 0 {
                        break;
                    }
                    pieces = Pieces::of(std::mem::take(&mut batch));
                }
                Some(answer) = self.given.crawlers.answered() => self.answered(answer).await,
                Some(judged) = judged(&mut self.given.triage) => self.judged(judged).await,
                Some(judged) = self.late.1.recv() => self.judged(judged).await,
                Some(reloaded) = self.given.reloads.recv() => self.reload(reloaded).await,
                ids = self.responders.carried_out() => self.carried_out(ids),
                _ = ticks.tick() => {
                    self.hear_reader(!pieces.is_empty() || !reports.is_empty());
                    self.tick().await;
                }
                // Last: a flood of findings must not keep anybody waiting.
                () = std::future::ready(()), if !pieces.is_empty() => self.take(pieces.next()).await,
            }
        }
        if !self.recorder.flush(STOP).await {
            tracing::error!("the store did not take what was found last; it will be found again at the next start");
        }
    }

    /// Notes that the reader is alive. What waits for us may keep it waiting too, as when the store fails.
    fn hear_reader(&mut self, may_wait_for_us: bool) {
        let spoke = self.given.reader.has_changed().unwrap_or(true);
        if spoke || may_wait_for_us {
            self.given.reader.mark_unchanged();
            self.reader_heard = Instant::now();
        }
    }

    /// Acts on what the reader found, then records it.
    async fn take(&mut self, reports: Vec<Report>) {
        let now = Timestamp::now();
        let mut done = Done { at: now, ..Done::default() };
        let (mut found, mut caught_up) = (vec![], self.caught_up);
        for report in reports {
            done.new_files.extend(report.new_files);
            found.extend(report.findings);
            self.look_at_samples(report.samples);
            // The last one holds for all before it.
            done.checkpoint = report.checkpoint.or(done.checkpoint);
            caught_up |= report.caught_up;
        }
        if !done.new_files.is_empty() {
            // A file must be known before what was found in it is acted on.
            let new_files = std::mem::take(&mut done.new_files);
            self.recorder.record(Done { at: now, new_files, ..Done::default() });
            self.recorder.flush(PATIENCE).await;
        }
        let mut permits = vec![];
        for Found { finding, mut proposal, network, in_doubt } in found {
            if !finding.flagged {
                done.findings.push(finding);
                continue;
            }
            self.given.status.findings += 1;
            self.given.memory.remember(&finding).await;
            self.tell(&finding);
            let corrected = self.correction(&finding);
            if let Some(class) = corrected {
                proposal = self.correct(&finding, proposal, class, &mut done);
            } else if in_doubt && let Some(doubtful) = proposal.take() {
                let (decision, rules_decide) = self.put_in_doubt(&finding, doubtful, now).await;
                done.decisions.extend(decision);
                proposal = rules_decide.filter(|_| finding.action == Action::Block);
            }
            if let Some(proposal) = proposal {
                let claim = self.claim(&finding, &proposal);
                done.decisions.extend(self.propose(proposal, claim, &mut permits, now).await);
            }
            if let Some(network) = network.filter(|network| !self.is_settled(network.target)) {
                done.decisions.extend(self.propose(network, None, &mut permits, now).await);
            }
            done.findings.push(finding);
        }
        let applied = self.apply(permits, AT_ONCE).await;
        if !applied {
            done.decisions.iter_mut().filter(|decision| decision.state == DecisionState::Active).for_each(|decision| {
                decision.state = DecisionState::Pending;
            });
        }
        self.recorder.record(done);
        self.caught_up = caught_up;
        self.reconcile().await;
    }

    /// Lets go whom backends hold and nobody decided on, once it is known what was decided.
    async fn reconcile(&mut self) {
        if self.caught_up && !self.reconciled && self.unheard.is_empty() {
            self.reconciled = true;
            self.responders.tidy().await;
        }
    }

    /// Whether something may be said in the log that may come in floods.
    fn may_say(&mut self) -> bool {
        let may = self.said < SAID_PER_SEC;
        *(if may { &mut self.said } else { &mut self.unsaid }) += 1;
        may
    }

    /// Whether what clients wrote may be said and kept.
    fn keeps_text(&self) -> bool {
        self.given.config.store.keeps_findings()
    }

    /// Says a finding in the log; of a flood, only some.
    fn tell(&mut self, finding: &Finding) {
        if !self.may_say() {
            return;
        }
        let said = if finding.action == Action::Block { "attack" } else { "suspicious" };
        if !self.keeps_text() {
            tracing::info!(
                category = finding.category.as_str(),
                score = finding.score,
                decision = finding.action.as_str(),
                "{said}"
            );
            return;
        }
        tracing::info!(
            source_ip = finding.source_ip.map_or("-".into(), |address| address.to_string()),
            category = finding.category.as_str(),
            score = finding.score,
            decision = finding.action.as_str(),
            method = finding.method,
            uri = finding.uri,
            status = finding.status,
            "{said}"
        );
    }

    /// Carries permits out. False when not every responder has done it by now: they stay in force
    /// here, and each responder goes on trying.
    async fn apply(&mut self, permits: Vec<Permit>, patience: Duration) -> bool {
        if permits.is_empty() {
            return true;
        }
        let applied = self.responders.hold(&permits, patience).await;
        self.take_up(permits);
        applied
    }

    /// Notes what is in force from now on.
    fn take_up(&mut self, permits: Vec<Permit>) {
        let mut replaced = vec![];
        for permit in permits {
            let id = permit.id().to_owned();
            let earlier = self.active.insert(permit.target(), permit);
            replaced.extend(earlier.filter(|earlier| earlier.id() != id));
        }
        if !replaced.is_empty() {
            let id = |permit: &Permit| permit.id().to_owned();
            self.responders.forget(&replaced.iter().map(id).collect::<Vec<_>>());
            let (of_fleet, own): (Vec<_>, Vec<_>) =
                replaced.into_iter().partition(|permit| permit.proposer() == Proposer::Fleet);
            self.put_behind(of_fleet, Timestamp::now());
            if !own.is_empty() {
                let ids = own.iter().map(id).collect();
                self.change(ids, DecisionState::Lifted, "another ban took its place", Timestamp::now());
            }
        }
    }

    /// Records that all responders hold what was pending.
    fn carried_out(&mut self, ids: Vec<String>) {
        self.change(ids, DecisionState::Active, "", Timestamp::now());
    }

    /// Records what became of decisions.
    fn change(&self, ids: Vec<String>, state: DecisionState, note: &str, at: Timestamp) {
        let changes = vec![Change { ids, state, note: note.to_owned() }];
        self.recorder.record(Done { at, changes, ..Done::default() });
    }

    /// Networks that pass whatever is held.
    fn passing(&self) -> Vec<IpNet> {
        let client = &self.given.config.client;
        let surroundings = self.given.surroundings.borrow();
        let mut networks =
            [client.allow.as_slice(), &client.trusted_proxies, &self.given.allowed.borrow(), &surroundings.allow]
                .concat();
        networks.sort();
        networks.dedup();
        networks
    }

    /// Once a second: what ended, what was held, what failed.
    async fn tick(&mut self) {
        let now = Timestamp::now();
        self.follow_surroundings(now).await;
        self.record_given_up(now);
        self.end_trial(now).await;
        self.active.retain(|_, permit| now.secs_until(permit.expires_at()) > 0);
        if self.unsaid > 0 {
            tracing::info!(lines = self.unsaid, "more was found than is said here");
        }
        (self.said, self.unsaid) = (0, 0);
        self.responders.forget_ended(now);
        self.hear(now).await;
        self.reconcile().await;
        self.tick_claims(now).await;
        self.renew(now).await;
        self.retry_held(now).await;
        self.retry_fleet(now).await;
    }
}
