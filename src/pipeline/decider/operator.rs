//! What an operator tells the decider, and what it answers.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::mpsc as sync;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{AT_LEISURE, AT_ONCE, Decider, Done, PATIENCE, READER_PATIENCE};
use crate::config::Mode;
use crate::event::{ClientKey, DecisionState, Ground, Proposal, Proposer, Status, Timestamp, digest, shown};
use crate::memory::Drawer;
use crate::pipeline::reader::Control;
use crate::show::{self, Command, Problem};

impl Decider {
    pub(super) async fn obey(&mut self, command: Command) -> Result<Value, Problem> {
        let now = Timestamp::now();
        match command {
            Command::Ping => self.ping(),
            Command::Status => Ok(json!(self.current_status())),
            Command::Ban { target, duration_secs, reason } => self.ban(target, duration_secs, reason, now).await,
            Command::Import { bans, reason } => self.import(bans, &reason, now).await,
            Command::Fleet { decisions } => self.follow(decisions, now).await,
            Command::Release => Ok(self.release(now).await),
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
            Command::Mode { enforce } => self.set_mode(if enforce { Mode::Enforce } else { Mode::DryRun }).await,
            Command::TryEnforcing { secs } => self.try_enforcing(secs, now).await,
            Command::Verdict { finding_id, class } => self.take_word(&finding_id, class, now).await,
            Command::ForgetVerdicts => {
                for drawer in Drawer::VERDICTS {
                    self.given.memory.clear(drawer).await;
                }
                Ok(json!({}))
            }
            Command::Forget { network } => self.forget(network).await,
            Command::Client { address } => Ok(self.client(address).await),
        }
    }

    /// That this is answered says that decisions are made; the answer, whether logs are read.
    fn ping(&self) -> Result<Value, Problem> {
        let silent = self.reader_heard.elapsed();
        if silent > READER_PATIENCE {
            return Err(Problem::Failed(format!("nothing was read for {} s: the reader hangs", silent.as_secs())));
        }
        Ok(json!({ "version": self.given.status.version, "mode": self.mode.as_str() }))
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
            .map_err(|refusal| Problem::Refused(format!("{} is not blocked: {refusal}", shown(target))))?;
        let mut decision = self.decision(&proposal, now);
        decision.state =
            if self.apply(vec![permit], AT_LEISURE).await { DecisionState::Active } else { DecisionState::Pending };
        self.given.status.blocks += 1;
        let answer = show::decision(&decision);
        self.recorder.record(Done { at: now, decisions: vec![decision], ..Done::default() });
        self.recorder.flush(PATIENCE).await;
        Ok(answer)
    }

    /// Erases what is kept of a client or network, in the store and in memory. Who is shut out stays so.
    async fn forget(&mut self, network: IpNet) -> Result<Value, Problem> {
        let is_one = network.prefix_len() == network.max_prefix_len();
        let v6_prefix = self.given.config.client.v6_prefix;
        let client = ClientKey::of(network.addr(), v6_prefix);
        let network = if is_one { client.network() } else { network.trunc() };
        // What was found a moment ago goes too.
        self.recorder.flush(PATIENCE).await;
        let forgotten = self.given.store.forget_clients(network).await?;
        let mut clients: Vec<ClientKey> =
            forgotten.clients.iter().map(|it| ClientKey::of(it.addr(), it.prefix_len())).collect();
        clients.push(client);
        for client in clients {
            self.given.memory.forget(client).await;
        }
        // The reader may be gone while the daemon stops.
        let _ = self.given.controls.send(Control::Forget(network, v6_prefix));
        self.given.waker.wake();
        // Whom it was about is what is to be forgotten.
        tracing::info!(
            rows = forgotten.rows,
            live = forgotten.live.len(),
            "an operator had a client or network forgotten"
        );
        let live: Vec<String> = forgotten.live.into_iter().map(shown).collect();
        Ok(json!({ "network": shown(network), "rows": forgotten.rows, "live": live }))
    }

    /// Lifts the bans that touch `target`, or all.
    pub(super) async fn unban(&mut self, target: Option<IpNet>, why: &str, now: Timestamp) -> Result<Value, Problem> {
        let touches = |held: &IpNet| target.is_none_or(|target| target.contains(held) || held.contains(&target));
        let lifted: Vec<IpNet> = self.active.keys().copied().filter(|held| touches(held)).collect();
        let waiting =
            self.held.iter().map(|held| &held.proposal).chain(self.doubtful.iter().map(|waiting| &waiting.proposal));
        let waiting = waiting.chain(self.doubts.proposals()).chain(self.fleet.waiting());
        let waiting: Vec<(IpNet, String)> = waiting
            .filter(|proposal| touches(&proposal.target))
            .map(|proposal| (proposal.target, proposal.id.clone()))
            .collect();
        let in_force = lifted.iter().filter_map(|held| self.active.get(held)).map(|permit| permit.id().to_owned());
        let ids: Vec<String> = waiting.iter().map(|(_, id)| id.clone()).chain(in_force).collect();
        self.held.retain(|held| !touches(&held.proposal.target));
        self.doubtful.retain(|waiting| !touches(&waiting.proposal.target));
        self.doubts.withdraw(|proposal| touches(&proposal.target));
        self.fleet.withdraw(|proposal| touches(&proposal.target));
        for target in lifted.iter().chain(waiting.iter().map(|(target, _)| target)) {
            self.active.remove(target);
            let client = ClientKey::of(target.addr(), self.given.config.client.v6_prefix);
            // The reader may be gone while the daemon stops.
            let _ = self.given.controls.send(Control::Pardon(client));
            self.given.memory.forget(client).await;
        }
        self.given.waker.wake();
        // Also what is in the firewall without our knowledge, if it is named.
        let named = target.filter(|target| !lifted.contains(target));
        let all: Vec<IpNet> = lifted.iter().copied().chain(named).collect();
        let freed = self.responders.free(&all, &ids).await;
        // Whatever a responder says: it goes on trying, and nobody wants this ban any more.
        self.change(ids, DecisionState::Lifted, why, now);
        let is_recorded = self.recorder.flush(PATIENCE).await;
        tracing::info!(bans = lifted.len(), why, "lifted");
        freed.map_err(|error| {
            Problem::Failed(format!("not let go everywhere: {error}; it is tried again until it works"))
        })?;
        if !is_recorded {
            let why = "let go, but this is not recorded yet: a crash now would bring the bans back";
            return Err(Problem::Failed(why.into()));
        }
        Ok(json!({ "lifted": lifted.into_iter().map(shown).collect::<Vec<_>>() }))
    }

    /// Lets the gate and the firewall know of the allowlist as it is now.
    async fn allow_changed(&mut self, now: Timestamp) -> Result<(), Problem> {
        let networks: Vec<IpNet> =
            self.given.store.allow_list().await?.into_iter().map(|entry| entry.network).collect();
        self.given.allowed.send_replace(networks.clone());
        let passing = self.passing();
        // The surroundings still show the old list; when they show the new one, the firewall follows again.
        self.allow_seen = self.given.surroundings.borrow().allow.clone();
        let passed = self.responders.pass(&passing, AT_LEISURE).await;
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
        passed.map_err(Problem::Failed)
    }

    /// Lets go whom a file of networks allows now, and says what is wrong with such a file.
    pub(super) async fn follow_surroundings(&mut self, now: Timestamp) {
        let (allow, problems) = {
            let surroundings = self.given.surroundings.borrow();
            let open = surroundings.kept_open();
            if open == self.allow_seen && surroundings.problems == self.problems_seen {
                return;
            }
            (open, surroundings.problems.clone())
        };
        for problem in problems.iter().filter(|problem| !self.problems_seen.contains(problem)) {
            tracing::warn!("{problem}");
        }
        self.problems_seen = problems;
        let seen: HashSet<IpNet> = self.allow_seen.drain(..).collect();
        let new: Vec<IpNet> = allow.iter().copied().filter(|network| !seen.contains(network)).collect();
        self.allow_seen = allow;
        // A responder that fails says so itself, and goes on trying.
        let _ = self.responders.pass(&self.passing(), AT_ONCE).await;
        for network in new {
            let touches = |held: &IpNet| network.contains(held) || held.contains(&network);
            if self.active.keys().chain(self.held.iter().map(|held| &held.proposal.target)).any(touches)
                && let Err(problem) = self.unban(Some(network), "allowlisted", now).await
            {
                tracing::warn!(network = shown(network), "a block that the allowlist forbids is not lifted: {problem}");
            }
        }
    }

    async fn client(&mut self, address: IpAddr) -> Value {
        let client = ClientKey::of(address, self.given.config.client.v6_prefix);
        let (reply, counted) = sync::channel();
        let asked = self.given.controls.send(Control::Client(client, reply)).is_ok();
        self.given.waker.wake();
        let counted = asked.then(|| counted.recv_timeout(Duration::from_secs(2)).ok().flatten()).flatten();
        let ban = self.active.get(&client.network());
        let ban = ban.map(|permit| json!({ "id": permit.id(), "expires_at": permit.expires_at() }));
        let remembered = self.given.memory.recall(client).await;
        json!({ "client": client.to_string(), "counted": counted, "memory": remembered, "ban": ban })
    }

    /// What is said of models, and what is wrong with them.
    fn triage_status(&self) -> (Value, Vec<String>) {
        let Some(triage) = &self.given.triage else { return (Value::Null, vec![]) };
        let tiers = triage.stats();
        let problems = tiers.iter().filter_map(|tier| tier.problem.clone()).collect();
        let status = json!({
            "waiting": triage.waiting(), "refused_targets": triage.refused_targets(), "tiers": tiers,
            "advice": tiers.iter().flat_map(|tier| {
                tier.advice().into_iter().map(|advice| format!("tier {}: {advice}", tier.name))
            }).collect::<Vec<_>>(),
        });
        (status, problems)
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
        problems.extend(reader.problems);
        problems.extend(self.recorder.problem());
        let responders = self.responders.status();
        problems.extend(responders.iter().filter_map(|responder| responder.problem.clone()));
        problems.extend(self.given.surroundings.borrow().problems.iter().cloned());
        if let Some(why) = &self.given.surroundings.borrow().unreadable {
            problems.push(format!("nothing is blocked: this host's own addresses and peers cannot be read: {why}"));
        }
        let (triage, wrong) = self.triage_status();
        problems.extend(wrong);
        let (holding, held) = self.holding();
        problems.extend(held);
        let memory = self.given.memory.state();
        if !memory.healthy {
            let why = memory.last_error.clone().unwrap_or_default();
            problems.push(format!("memory: {why}; what is known of clients is kept in this process alone"));
        }
        problems.sort();
        Status {
            holding,
            triage,
            memory: json!(memory),
            healthy: problems.is_empty(),
            problems,
            lines: reader.lines,
            parsed: reader.parsed,
            unparsed: reader.unparsed,
            gaps: reader.gaps,
            sources: reader.sources,
            trial_ends_at: self.trial_ends,
            active: self.active.len(),
            responders: json!(responders),
            ..self.given.status.clone()
        }
    }
}
