//! The one owner of decisions. Every proposal — of rules, of an operator, of bans from before a
//! restart — comes here, passes the gate, is carried out, and is recorded: in that order, which is
//! safe because carrying out and recording are both idempotent.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc as sync;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::reader::{Control, ReaderStatus, Report};
use crate::config::{Config, Mode};
use crate::decide::{Blasts, Permit, Refusal, Surroundings, gate};
use crate::event::{
    Action, ClientKey, Decision, DecisionState, FileMark, Finding, Ground, Proposal, Proposer, Status, Timestamp,
    digest, shown,
};
use crate::memory::Memory;
use crate::record::{self, Store};
use crate::respond::Responder;
use crate::show::{self, Command, Problem, Request};
use crate::tail::Waker;

/// Proposals that wait for the next minute; beyond it the oldest are given up, and that is said.
const MAX_HELD: usize = 10_000;
/// Reports not yet recorded because the store fails. At the bound nothing more is read: the log
/// files are the queue.
const MAX_UNRECORDED: usize = 256;
/// Between tries of what failed.
const RETRY: Duration = Duration::from_secs(1);

/// What was done and must be recorded.
#[derive(Default)]
struct Done {
    at: Timestamp,
    new_files: Vec<FileMark>,
    findings: Vec<Finding>,
    decisions: Vec<Decision>,
    checkpoint: Option<(Vec<FileMark>, Vec<u8>)>,
}

/// What a [`Decider`] works with.
pub struct Given {
    pub config: Config,
    pub store: Arc<Store>,
    pub memory: Arc<Memory>,
    pub responder: Box<dyn Responder>,
    pub surroundings: watch::Receiver<Surroundings>,
    /// Networks of `allow add`; the surroundings task reads them.
    pub allowed: watch::Sender<Vec<IpNet>>,
    pub reader: watch::Receiver<ReaderStatus>,
    pub controls: sync::Sender<Control>,
    pub waker: Waker,
    pub status: Status,
}

/// The gate's keeper.
pub struct Decider {
    given: Given,
    blasts: Blasts,
    /// Bans in force, by target.
    active: HashMap<IpNet, (String, Timestamp)>,
    /// Permitted, but the responder failed.
    pending: Vec<Permit>,
    held: VecDeque<Proposal>,
    unrecorded: VecDeque<Done>,
    /// What is wrong now, by part.
    troubles: HashMap<&'static str, String>,
    retry_at: Instant,
    /// Everything from before the start has been read again.
    caught_up: bool,
    reconciled: bool,
}

impl Decider {
    pub fn new(given: Given) -> Decider {
        Decider {
            given,
            blasts: Blasts::default(),
            active: HashMap::new(),
            pending: vec![],
            held: VecDeque::new(),
            unrecorded: VecDeque::new(),
            troubles: HashMap::new(),
            retry_at: Instant::now(),
            caught_up: false,
            reconciled: false,
        }
    }

    /// Makes the firewall ready and puts back the bans that were in force.
    pub async fn restore(&mut self) -> anyhow::Result<()> {
        self.start_responder().await;
        let now = Timestamp::now();
        let simulated = self.given.config.mode == Mode::DryRun;
        let live = self.given.store.live_decisions(now).await?;
        let (ours, others): (Vec<_>, Vec<_>) = live.into_iter().partition(|decision| decision.simulated == simulated);
        if simulated && !others.is_empty() {
            tracing::warn!(
                bans = others.len(),
                "bans from enforce mode are still in the firewall and run out there; enforce mode and `palisade unban --all` lift them"
            );
        }
        let mut restored = vec![];
        for decision in ours {
            let proposal = Proposal {
                id: decision.id,
                target: decision.target,
                proposer: Proposer::Restored,
                ground: decision.ground,
                at: now,
                duration_secs: now.secs_until(decision.expires_at),
                offences: decision.offences,
            };
            match self.ask(&proposal, now) {
                Ok(permit) => restored.push(permit),
                Err(refusal) if refusal.is_temporary() => self.hold(proposal),
                Err(refusal) => {
                    tracing::info!(client = shown(proposal.target), refusal = %refusal, "a ban from before the restart is not put back");
                    self.given
                        .store
                        .set_state(&[proposal.id], DecisionState::Lifted, &refusal.to_string(), now)
                        .await?;
                }
            }
        }
        if !restored.is_empty() {
            tracing::info!(bans = restored.len(), "bans from before the restart are back");
        }
        self.apply(restored, now).await;
        Ok(())
    }

    /// Works until nobody can send reports any more, then records what is left.
    pub async fn run(mut self, mut reports: mpsc::Receiver<Report>, mut requests: mpsc::Receiver<Request>) {
        let mut ticks = tokio::time::interval(RETRY);
        let mut batch = Vec::new();
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
                count = reports.recv_many(&mut batch, 16), if self.unrecorded.len() < MAX_UNRECORDED => {
                    if count == 0 {
                        break;
                    }
                    self.take(std::mem::take(&mut batch)).await;
                }
                _ = ticks.tick() => self.tick().await,
            }
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.record().await && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if !self.unrecorded.is_empty() {
            tracing::error!("the store did not take what was found last; it will be found again at the next start");
        }
    }

    /// Acts on what the reader found, then records it.
    async fn take(&mut self, reports: Vec<Report>) {
        let now = Timestamp::now();
        let mut done = Done { at: now, ..Done::default() };
        let mut found = vec![];
        for report in reports {
            done.new_files.extend(report.new_files);
            found.extend(report.findings);
            // The last one holds for all before it.
            done.checkpoint = report.checkpoint.or(done.checkpoint);
            self.caught_up |= report.caught_up;
        }
        if !done.new_files.is_empty() {
            // A file must be known before what was found in it is acted on.
            let new_files = std::mem::take(&mut done.new_files);
            self.unrecorded.push_back(Done { at: now, new_files, ..Done::default() });
            self.record().await;
        }
        let mut permits = vec![];
        for (finding, proposal) in found {
            self.given.status.findings += 1;
            self.given.memory.remember(&finding);
            self.tell(&finding);
            if let Some(proposal) = proposal {
                done.decisions.extend(self.propose(proposal, &mut permits, now).await);
            }
            done.findings.push(finding);
        }
        let applied = self.apply(permits, now).await;
        if !applied {
            done.decisions.iter_mut().filter(|decision| decision.state == DecisionState::Active).for_each(|decision| {
                decision.state = DecisionState::Pending;
            });
        }
        self.unrecorded.push_back(done);
        self.record().await;
        if self.caught_up && !self.reconciled {
            self.reconciled = true;
            self.reconcile().await;
        }
    }

    /// Says a finding in the log, once a line.
    fn tell(&self, finding: &Finding) {
        let client = finding.source_ip.map_or("-".into(), |address| address.to_string());
        tracing::info!(
            source_ip = client,
            category = finding.category.as_str(),
            score = finding.score,
            action = finding.action.as_str(),
            uri = finding.uri,
            "{}",
            match finding.action {
                Action::Block => "attack",
                _ => "suspicious",
            }
        );
    }

    /// Asks the gate for one proposal; gives the decision to record, if it is a new one.
    async fn propose(&mut self, proposal: Proposal, permits: &mut Vec<Permit>, now: Timestamp) -> Option<Decision> {
        // Lines read again after a restart propose what was decided then: the record stands.
        if !self.caught_up
            && let Ok(Some(known)) = self.given.store.decision(&proposal.id).await
        {
            tracing::debug!(id = known.id, "already decided");
            return None;
        }
        let target = proposal.target;
        let mut decision = self.decision(&proposal, now);
        match self.ask(&proposal, now) {
            Ok(permit) => {
                decision.expires_at = permit.expires_at();
                decision.state = DecisionState::Active;
                self.given.status.blocks += 1;
                let said = if decision.simulated { "would block" } else { "blocking" };
                tracing::warn!(client = shown(target), until = %decision.expires_at, reason = decision.ground.reason, "{said}");
                permits.push(permit);
            }
            Err(refusal) if refusal.is_temporary() => {
                decision.state = DecisionState::Held;
                decision.note = refusal.to_string();
                self.given.status.held += 1;
                tracing::warn!(client = shown(target), refusal = %refusal, "not blocked yet");
                self.hold(proposal);
            }
            Err(refusal) => {
                decision.state = DecisionState::Refused;
                decision.note = refusal.to_string();
                self.given.status.refused += 1;
                tracing::warn!(client = shown(target), refusal = %refusal, "not blocked");
            }
        }
        Some(decision)
    }

    fn decision(&self, proposal: &Proposal, now: Timestamp) -> Decision {
        Decision {
            id: proposal.id.clone(),
            target: proposal.target,
            proposer: proposal.proposer,
            ground: proposal.ground.clone(),
            created_at: now,
            expires_at: proposal.at.plus_secs(proposal.duration_secs),
            simulated: self.given.config.mode == Mode::DryRun,
            state: DecisionState::Pending,
            note: String::new(),
            offences: proposal.offences,
        }
    }

    fn ask(&mut self, proposal: &Proposal, now: Timestamp) -> Result<Permit, Refusal> {
        let surroundings = self.given.surroundings.borrow();
        gate(proposal, &surroundings, &mut self.blasts, self.given.config.respond.max_blocks_per_min, now)
    }

    fn hold(&mut self, proposal: Proposal) {
        if self.held.len() == MAX_HELD {
            self.held.pop_front();
            self.troubles.insert("held", format!("more than {MAX_HELD} blocks are held; the oldest are given up"));
        }
        self.held.push_back(proposal);
    }

    /// Carries permits out. False when the responder failed: they stay pending and are tried again.
    async fn apply(&mut self, permits: Vec<Permit>, now: Timestamp) -> bool {
        if permits.is_empty() {
            return true;
        }
        for permit in &permits {
            self.active.insert(permit.target(), (permit.id().to_owned(), permit.expires_at()));
        }
        match self.given.responder.apply(&permits, now).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(responder = self.given.responder.name(), bans = permits.len(), "{error}; trying again");
                self.troubles.insert("respond", format!("{}: {error}", self.given.responder.name()));
                self.pending.extend(permits);
                self.retry_at = Instant::now() + RETRY;
                false
            }
        }
    }

    async fn start_responder(&mut self) -> bool {
        let networks = self.passing();
        let started = match self.given.responder.start().await {
            Ok(()) => self.given.responder.allow(&networks).await,
            failed => failed,
        };
        match started {
            Ok(()) => {
                self.troubles.remove("respond");
                true
            }
            Err(error) => {
                tracing::error!(responder = self.given.responder.name(), "{error}");
                self.troubles.insert("respond", format!("{}: {error}", self.given.responder.name()));
                false
            }
        }
    }

    /// Networks that pass whatever is held.
    fn passing(&self) -> Vec<IpNet> {
        let client = &self.given.config.client;
        let mut networks = [client.allow.as_slice(), &client.trusted_proxies, &self.given.allowed.borrow()].concat();
        networks.sort();
        networks.dedup();
        networks
    }

    /// Records what was done, oldest first. False when something is left.
    async fn record(&mut self) -> bool {
        while let Some(done) = self.unrecorded.front() {
            let batch = record::Batch {
                at: done.at,
                new_files: &done.new_files,
                findings: &done.findings,
                decisions: &done.decisions,
                checkpoint: done.checkpoint.as_ref().map(|(marks, state)| record::Checkpoint { marks, state }),
            };
            if let Err(error) = self.given.store.commit(&batch).await {
                if self.troubles.insert("store", error.to_string()).is_none() {
                    tracing::error!("{error}; what was found waits in memory");
                }
                return false;
            }
            self.unrecorded.pop_front();
        }
        if self.troubles.remove("store").is_some() {
            tracing::info!("the store takes records again");
        }
        true
    }

    /// Once a second: what ended, what was held, what failed.
    async fn tick(&mut self) {
        let now = Timestamp::now();
        if !self.unrecorded.is_empty() {
            self.record().await;
        }
        self.active.retain(|_, (_, until)| now.secs_until(*until) > 0);
        if let Err(error) = self.given.store.expire(now).await {
            tracing::debug!("cannot mark what expired: {error}");
        }
        if self.troubles.contains_key("respond") && Instant::now() >= self.retry_at {
            self.retry_at = Instant::now() + RETRY;
            self.repair(now).await;
        }
        if !self.held.is_empty() {
            self.retry_held(now).await;
        }
    }

    /// After the responder failed: makes it ready again and puts back everything in force.
    async fn repair(&mut self, now: Timestamp) {
        if !self.start_responder().await {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        let ids: Vec<String> = pending.iter().map(|permit| permit.id().to_owned()).collect();
        if self.apply(pending, now).await {
            tracing::info!(bans = ids.len(), responder = self.given.responder.name(), "the responder works again");
            if let Err(error) = self.given.store.set_state(&ids, DecisionState::Active, "", now).await {
                tracing::warn!("cannot record that pending bans are active: {error}");
            }
        }
    }

    async fn retry_held(&mut self, now: Timestamp) {
        let mut permits = vec![];
        let mut settled: Vec<(String, DecisionState, String)> = vec![];
        while let Some(proposal) = self.held.pop_front() {
            match self.ask(&proposal, now) {
                Ok(permit) => {
                    settled.push((proposal.id, DecisionState::Active, String::new()));
                    permits.push(permit);
                }
                Err(refusal) if refusal.is_temporary() => {
                    self.held.push_front(proposal);
                    break;
                }
                Err(refusal) => settled.push((proposal.id, DecisionState::Refused, refusal.to_string())),
            }
        }
        self.given.status.blocks += permits.len() as u64;
        self.apply(permits, now).await;
        for (id, state, note) in settled {
            if let Err(error) = self.given.store.set_state(&[id], state, &note, now).await {
                tracing::warn!("cannot record what became of a held block: {error}");
            }
        }
    }

    /// Once everything was read again: lets go what the backend holds and nobody decided.
    async fn reconcile(&mut self) {
        match self.given.responder.held().await {
            Ok(held) => {
                let strays: Vec<IpNet> = held
                    .into_iter()
                    .map(|outcome| outcome.target)
                    .filter(|target| !self.active.contains_key(target))
                    .collect();
                if strays.is_empty() {
                    return;
                }
                match self.given.responder.lift(&strays).await {
                    Ok(()) => tracing::info!(bans = strays.len(), "the firewall held what nobody decided: lifted"),
                    Err(error) => tracing::warn!("cannot lift what nobody decided: {error}"),
                }
            }
            Err(error) => tracing::warn!("cannot ask the firewall what it holds: {error}"),
        }
    }

    async fn obey(&mut self, command: Command) -> Result<Value, Problem> {
        let now = Timestamp::now();
        match command {
            Command::Status => Ok(json!(self.current_status())),
            Command::Ban { target, duration_secs, reason } => self.ban(target, duration_secs, reason, now).await,
            Command::Unban { target } => self.unban(target, "by an operator", now).await,
            Command::Allow { network, note } => {
                self.given.store.allow_add(network, &note, now).await?;
                self.allow_changed(now).await?;
                let lifted = self.unban(Some(network), "allowlisted", now).await?;
                Ok(json!({ "network": shown(network), "note": note, "lifted": lifted["lifted"] }))
            }
            Command::Disallow { network } => {
                if !self.given.store.allow_remove(network).await? {
                    return Err(Problem::NotFound(format!("{network} is not on the allowlist of `allow add`")));
                }
                self.allow_changed(now).await?;
                // What it did while it was allowed is no ban that runs.
                let client = ClientKey::of(network.addr(), self.given.config.client.v6_prefix);
                let _ = self.given.controls.send(Control::Pardon(client));
                self.given.waker.wake();
                Ok(json!({ "network": shown(network) }))
            }
            Command::Client { address } => Ok(self.client(address)),
        }
    }

    async fn ban(
        &mut self,
        target: IpNet,
        secs: Option<u64>,
        reason: String,
        now: Timestamp,
    ) -> Result<Value, Problem> {
        let id = digest(&[b"operator", target.to_string().as_bytes(), &now.0.to_le_bytes()]);
        let proposal = Proposal {
            id,
            target: target.trunc(),
            proposer: Proposer::Operator,
            ground: Ground { reason, ..Ground::default() },
            at: now,
            duration_secs: secs.unwrap_or(self.given.config.respond.block_duration_secs),
            offences: 0,
        };
        let permit = self
            .ask(&proposal, now)
            .map_err(|refusal| Problem::Refused(format!("{target} is not blocked: {refusal}")))?;
        let mut decision = self.decision(&proposal, now);
        decision.state =
            if self.apply(vec![permit], now).await { DecisionState::Active } else { DecisionState::Pending };
        self.given.status.blocks += 1;
        let answer = show::decision(&decision);
        self.unrecorded.push_back(Done { at: now, decisions: vec![decision], ..Done::default() });
        self.record().await;
        Ok(answer)
    }

    /// Lifts the bans that touch `target`, or all.
    async fn unban(&mut self, target: Option<IpNet>, why: &str, now: Timestamp) -> Result<Value, Problem> {
        let touches = |held: &IpNet| target.is_none_or(|target| target.contains(held) || held.contains(&target));
        let lifted: Vec<IpNet> = self.active.keys().copied().filter(|held| touches(held)).collect();
        self.held.retain(|proposal| !touches(&proposal.target));
        self.pending.retain(|permit| !touches(&permit.target()));
        let ids: Vec<String> =
            lifted.iter().filter_map(|held| self.active.get(held)).map(|(id, _)| id.clone()).collect();
        // Also what is in the firewall without our knowledge, if it is named.
        let named = target.filter(|target| !lifted.contains(target));
        let all: Vec<IpNet> = lifted.iter().copied().chain(named).collect();
        self.given
            .responder
            .lift(&all)
            .await
            .map_err(|error| Problem::Failed(format!("the firewall did not let go: {error}")))?;
        for held in &lifted {
            self.active.remove(held);
            let client = ClientKey::of(held.addr(), self.given.config.client.v6_prefix);
            // The reader may be gone while the daemon stops.
            let _ = self.given.controls.send(Control::Pardon(client));
            self.given.memory.forget(client);
        }
        self.given.waker.wake();
        self.given.store.set_state(&ids, DecisionState::Lifted, why, now).await?;
        tracing::info!(bans = lifted.len(), why, "lifted");
        Ok(json!({ "lifted": lifted.into_iter().map(shown).collect::<Vec<_>>() }))
    }

    /// Lets the gate and the firewall know of the allowlist as it is now.
    async fn allow_changed(&mut self, now: Timestamp) -> Result<(), Problem> {
        let networks: Vec<IpNet> =
            self.given.store.allow_list().await?.into_iter().map(|entry| entry.network).collect();
        self.given.allowed.send_replace(networks.clone());
        let passing = self.passing();
        self.given.responder.allow(&passing).await.map_err(|error| Problem::Failed(error.to_string()))?;
        // The gate must not wait for the next reading of the surroundings.
        let mut changed = self.given.surroundings.clone();
        let deadline = tokio::time::sleep(Duration::from_secs(2));
        tokio::pin!(deadline);
        while !networks.iter().all(|network| changed.borrow().allow.contains(network)) {
            tokio::select! {
                result = changed.changed() => if result.is_err() { break },
                () = &mut deadline => break,
            }
        }
        tracing::info!(networks = networks.len(), at = %now, "the allowlist changed");
        Ok(())
    }

    fn client(&self, address: IpAddr) -> Value {
        let client = ClientKey::of(address, self.given.config.client.v6_prefix);
        let (reply, counted) = sync::channel();
        let asked = self.given.controls.send(Control::Client(client, reply)).is_ok();
        self.given.waker.wake();
        let counted = asked.then(|| counted.recv_timeout(Duration::from_secs(2)).ok().flatten()).flatten();
        let ban = self.active.get(&client.network()).map(|(id, until)| json!({ "id": id, "expires_at": until }));
        json!({ "client": client.to_string(), "counted": counted, "memory": self.given.memory.recall(client), "ban": ban })
    }

    fn current_status(&self) -> Status {
        let reader = self.given.reader.borrow().clone();
        let mut problems: Vec<String> = self.troubles.values().cloned().collect();
        problems.extend(
            reader
                .sources
                .iter()
                .filter_map(|source| source.error.as_ref().map(|error| format!("{}: {error}", source.path.display()))),
        );
        problems.extend(
            reader.sources.iter().filter(|source| source.lines >= 20 && source.parsed * 100 < source.lines * 95).map(
                |source| {
                    format!(
                        "{}: {} of {} lines are not understood; set the source's format (`palisade config formats`)",
                        source.path.display(),
                        source.unparsed,
                        source.lines
                    )
                },
            ),
        );
        if let Some(why) = &self.given.surroundings.borrow().unreadable {
            problems.push(format!("nothing is blocked: this host's own addresses and peers cannot be read: {why}"));
        }
        problems.sort();
        Status {
            healthy: problems.is_empty(),
            problems,
            lines: reader.lines,
            parsed: reader.parsed,
            unparsed: reader.unparsed,
            gaps: reader.gaps,
            sources: reader.sources,
            active: self.active.len(),
            ..self.given.status.clone()
        }
    }
}
