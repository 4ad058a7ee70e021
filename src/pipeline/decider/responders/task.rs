//! One responder at work: knows what it should hold, makes it so, looks whether it still is, and tries again what
//! failed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep_until, timeout};

use super::{Held, Message, Order, PostStatus};
use crate::decide::Permit;
use crate::event::{Outcome, Timestamp};
use crate::respond::{RespondError, Responder};

/// Until what failed is tried again; twice as long each time, up to [`MAX_RETRY`].
const RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(60);
/// What a backend holds is compared with what it should hold this often, and so seldom that it takes a
/// hundredth of the time at most.
const COMPARE: Duration = Duration::from_secs(60);
const COMPARE_SHARE: u32 = 100;
/// A ban with fewer seconds left than this may be gone from a backend before we think so.
const NEARLY_OVER_SECS: u64 = 3;

/// A responder and what it should hold.
pub struct Task {
    number: usize,
    responder: Box<dyn Responder>,
    told: mpsc::UnboundedSender<Held>,
    said: watch::Sender<PostStatus>,
    wanted: HashMap<IpNet, Permit>,
    /// Of those, the ones that were ordered and are not carried out.
    pub fresh: BTreeSet<IpNet>,
    /// Those to be let go.
    pub leaving: BTreeSet<IpNet>,
    pass: Vec<IpNet>,
    is_pass_fresh: bool,
    /// The backend is as we left it.
    is_ready: bool,
    was_ready: bool,
    /// What is held and not wanted may go.
    is_tidy: bool,
    is_closing: bool,
    /// Who wants to know what is held.
    askers: Vec<oneshot::Sender<Vec<Outcome>>>,
    retry_at: Instant,
    retry_after: Duration,
    look_at: Instant,
    compare_at: Instant,
}

impl Task {
    pub fn new(
        number: usize,
        responder: Box<dyn Responder>,
        told: mpsc::UnboundedSender<Held>,
        said: watch::Sender<PostStatus>,
    ) -> Task {
        let now = Instant::now();
        Task {
            number,
            responder,
            told,
            said,
            wanted: HashMap::new(),
            fresh: BTreeSet::new(),
            leaving: BTreeSet::new(),
            pass: vec![],
            is_pass_fresh: false,
            is_ready: false,
            was_ready: false,
            is_tidy: false,
            is_closing: false,
            askers: vec![],
            retry_at: now,
            retry_after: RETRY,
            look_at: now,
            compare_at: now + COMPARE,
        }
    }

    /// Works until nobody gives orders any more and all were tried.
    pub async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Message>) {
        let manner = self.responder.manner();
        let mut messages = vec![];
        loop {
            let next = self.next_look();
            tokio::select! {
                biased;
                count = orders.recv_many(&mut messages, 10_000) => {
                    if count == 0 {
                        return self.finish().await;
                    }
                    if !manner.gather.is_zero() {
                        let gathering = async { while orders.recv_many(&mut messages, 10_000).await > 0 {} };
                        let _ = timeout(manner.gather, gathering).await;
                    }
                    let mut waiting = vec![];
                    for Message { order, tried } in messages.drain(..) {
                        self.take(order);
                        waiting.extend(tried);
                    }
                    // While it is out of order, its own clock says when to try again.
                    if self.is_ready || Instant::now() >= self.retry_at {
                        self.work().await;
                    }
                    let answer = match &self.said.borrow().problem {
                        Some(problem) => Err(problem.clone()),
                        None => Ok(()),
                    };
                    for tried in waiting {
                        // Nobody need wait.
                        let _ = tried.send(answer.clone());
                    }
                    // Orders that come all the time keep nobody from looking.
                    if Instant::now() >= self.next_look() {
                        self.look().await;
                    }
                }
                () = sleep_until(next.into()) => self.look().await,
            }
            self.say(|_| {});
        }
    }

    /// Nobody gives orders any more: bans stay, unless all were to be let go.
    async fn finish(mut self) {
        while self.is_closing && !self.leaving.is_empty() {
            tokio::time::sleep(self.retry_after).await;
            self.work().await;
        }
    }

    fn next_look(&self) -> Instant {
        if self.is_ready { self.look_at.min(self.compare_at) } else { self.retry_at }
    }

    pub fn take(&mut self, order: Order) {
        match order {
            Order::Hold(permits) => {
                let (permits, others): (Vec<_>, Vec<_>) =
                    permits.into_iter().partition(|permit| self.responder.takes(&permit.target()));
                self.pass_over(&others);
                for permit in permits {
                    let target = permit.target();
                    self.leaving.remove(&target);
                    self.fresh.insert(target);
                    self.wanted.insert(target, permit);
                }
            }
            Order::Free(targets) => {
                for target in targets.into_iter().filter(|target| self.responder.takes(target)) {
                    self.wanted.remove(&target);
                    self.fresh.remove(&target);
                    self.leaving.insert(target);
                }
                // Somebody waits to be let in: whatever the clock of the last failure says.
                self.retry_at = Instant::now();
            }
            Order::Pass(networks) => {
                self.is_pass_fresh |= self.pass != networks;
                self.pass = networks;
                self.retry_at = Instant::now();
            }
            Order::Tidy => {
                self.is_tidy = true;
                self.compare_at = Instant::now();
            }
            Order::Close => {
                self.leaving.extend(self.wanted.drain().map(|(target, _)| target));
                self.fresh.clear();
                self.is_closing = true;
                self.retry_at = Instant::now();
            }
            Order::Tell(asker) => self.askers.push(asker),
        }
    }

    /// Nobody need wait for what the backend has no place for.
    fn pass_over(&mut self, permits: &[Permit]) {
        let Some(first) = permits.first() else { return };
        if self.said.borrow().not_taken == 0 {
            let (responder, target) = (self.responder.name(), first.target().to_string());
            tracing::warn!(responder, target, "it has no place for such targets: others must hold them");
        }
        self.say(|status| status.not_taken += permits.len() as u64);
        let ids = permits.iter().map(|permit| permit.id().to_owned()).collect();
        // The decider may be gone while the daemon stops.
        let _ = self.told.send(Held { post: self.number, ids });
    }

    /// Does what is to be done; at once again when the backend had been cleared or had died.
    pub async fn work(&mut self) {
        let had_been_ready = self.is_ready;
        let mut done = self.carry_out().await;
        if had_been_ready && matches!(done, Err(RespondError::Lost | RespondError::Died { .. })) {
            self.is_ready = false;
            done = self.carry_out().await;
        }
        if done.is_ok() && !self.askers.is_empty() {
            done = self.tell().await;
        }
        self.conclude(done);
    }

    async fn tell(&mut self) -> Result<(), RespondError> {
        let held = self.responder.held().await?;
        for asker in self.askers.drain(..) {
            // Nobody need wait.
            let _ = asker.send(held.clone());
        }
        Ok(())
    }

    /// Notes how it went; says a new problem once.
    fn conclude(&mut self, done: Result<(), RespondError>) {
        let name = self.responder.name();
        let before = self.said.borrow().problem.clone();
        match done {
            Ok(()) => {
                self.retry_after = RETRY;
                if before.is_some() {
                    tracing::info!(bans = self.wanted.len(), responder = name, "the responder works again");
                }
                self.say(|status| status.problem = None);
            }
            Err(error) if error.is_final() => {
                let problem = format!("{name}: {error}");
                if before.as_ref() != Some(&problem) {
                    tracing::error!("{problem}; it is not tried again");
                }
                self.say(|status| status.problem = Some(problem));
            }
            Err(error) => {
                self.is_ready = false;
                let problem = format!("{name}: {error}");
                if before.as_ref() != Some(&problem) {
                    tracing::error!("{problem}; its bans are carried out when it works again");
                }
                self.retry_at = Instant::now() + self.retry_after;
                self.retry_after = (self.retry_after * 2).min(MAX_RETRY);
                self.say(|status| status.problem = Some(problem));
            }
        }
    }

    async fn carry_out(&mut self) -> Result<(), RespondError> {
        let now = Timestamp::now();
        let mut failed = None;
        if !self.is_ready {
            self.responder.start().await?;
        }
        if !self.is_ready || self.is_pass_fresh {
            self.responder.allow(&self.pass).await?;
            self.is_pass_fresh = false;
        }
        if !self.leaving.is_empty() {
            let leaving: Vec<IpNet> = self.leaving.iter().copied().collect();
            match self.responder.lift(&leaving).await {
                Ok(()) => self.leaving.clear(),
                Err(error) if error.is_final() => {
                    self.leaving.clear();
                    failed = Some(error);
                }
                // Who cannot be let go keeps nobody else from being shut out.
                Err(error @ (RespondError::Rejected { .. } | RespondError::Full { .. })) => failed = Some(error),
                Err(error) => return Err(error),
            }
        }
        let is_repair = !self.is_ready && self.was_ready;
        let due: Vec<Permit> = match self.is_ready {
            // Nobody knows what it still holds.
            false => self.wanted.values().cloned().collect(),
            true => self.fresh.iter().filter_map(|target| self.wanted.get(target)).cloned().collect(),
        };
        if !due.is_empty() {
            match self.responder.apply(&due, now).await {
                Err(error) if error.is_final() => {
                    // Nobody knows which of them it did: they stay pending.
                    self.fresh.clear();
                    failed = failed.filter(|first| !first.is_final()).or(Some(error));
                }
                applied => applied?,
            }
        }
        self.is_ready = true;
        self.was_ready = true;
        if is_repair && failed.is_none() {
            self.repaired(due.len(), "the responder was made ready again");
        }
        let ids = self.fresh.iter().filter_map(|target| self.wanted.get(target)).map(|permit| permit.id().to_owned());
        let ids: Vec<String> = ids.collect();
        self.fresh.clear();
        if !ids.is_empty() {
            // The decider may be gone while the daemon stops.
            let _ = self.told.send(Held { post: self.number, ids });
        }
        failed.map_or(Ok(()), Err)
    }

    fn repaired(&mut self, bans: usize, what: &str) {
        tracing::warn!(responder = self.responder.name(), bans, "{what}");
        self.say(|status| {
            status.repairs += 1;
            status.restored += bans as u64;
        });
    }

    /// Between orders: lets go what has ended, sees whether everything is as it should be.
    async fn look(&mut self) {
        let now = Timestamp::now();
        let manner = self.responder.manner();
        self.look_at = Instant::now() + manner.look;
        let is_over = |permit: &Permit| now.secs_until(permit.expires_at()) == 0;
        let over: Vec<IpNet> =
            self.wanted.iter().filter(|(_, permit)| is_over(permit)).map(|(target, _)| *target).collect();
        for target in over {
            self.wanted.remove(&target);
            self.fresh.remove(&target);
            if !manner.ends_bans {
                self.leaving.insert(target);
            }
        }
        if !self.is_ready {
            return self.work().await;
        }
        let looked = match self.compare_at <= Instant::now() {
            true => self.compare(now).await,
            false => self.responder.check().await,
        };
        match looked {
            Ok(()) if self.leaving.is_empty() && self.fresh.is_empty() => {}
            Ok(()) => self.work().await,
            Err(error) => {
                self.is_ready = false;
                if matches!(error, RespondError::Lost | RespondError::Died { .. }) {
                    self.work().await;
                } else {
                    self.conclude(Err(error));
                }
            }
        }
        if let Ok(dropped) = self.responder.dropped().await {
            self.say(|status| status.dropped = dropped);
        }
    }

    /// Puts on the list what the backend should hold and does not, and the reverse.
    pub async fn compare(&mut self, now: Timestamp) -> Result<(), RespondError> {
        let began = Instant::now();
        let held = self.responder.held().await?;
        self.compare_at = Instant::now() + COMPARE.max(began.elapsed() * COMPARE_SHARE);
        let held: HashSet<IpNet> = held.into_iter().map(|outcome| outcome.target).collect();
        let lasts = |permit: &Permit| now.secs_until(permit.expires_at()) > NEARLY_OVER_SECS;
        let missing = self.wanted.iter().filter(|(target, permit)| lasts(permit) && !held.contains(*target));
        let missing: Vec<IpNet> =
            missing.map(|(target, _)| *target).filter(|target| !self.fresh.contains(target)).collect();
        if !missing.is_empty() {
            self.repaired(missing.len(), "somebody took bans away: they are put back");
            self.fresh.extend(missing);
        }
        if self.is_tidy {
            let strays: Vec<IpNet> = held.into_iter().filter(|target| !self.wanted.contains_key(target)).collect();
            if !strays.is_empty() {
                tracing::info!(
                    responder = self.responder.name(),
                    bans = strays.len(),
                    "held what nobody decided: lifted"
                );
                self.leaving.extend(strays);
            }
        }
        Ok(())
    }

    fn say(&mut self, change: impl FnOnce(&mut PostStatus)) {
        let (held, waiting) = (self.wanted.len(), self.fresh.len() + self.leaving.len());
        self.said.send_modify(|status| {
            change(status);
            status.held = held;
            status.waiting = waiting;
        });
    }
}
