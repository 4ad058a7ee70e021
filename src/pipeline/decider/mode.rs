//! From dry run to enforcing and back while the daemon runs; for a while on trial, so that an operator
//! who has locked himself out need only wait.

use serde_json::{Value, json};

use super::responders::Responders;
use super::{AT_LEISURE, Decider};
use crate::config::Mode;
use crate::event::{Proposal, Timestamp};
use crate::pipeline::reader::Control;
use crate::show::Problem;

impl Decider {
    /// Enforces until `secs` from now, then falls back to dry run unless the configuration file says
    /// `enforce` by then and is read again.
    pub(super) async fn try_enforcing(&mut self, secs: u64, now: Timestamp) -> Result<Value, Problem> {
        if self.mode == Mode::Enforce && self.trial_ends.is_none() {
            return Err(Problem::Refused("the configuration says mode = \"enforce\": this is no trial".into()));
        }
        self.switch(Mode::Enforce).await.map_err(|error| Problem::Failed(format!("{error:#}")))?;
        let ends = now.plus_secs(secs);
        self.trial_ends = Some(ends);
        tracing::warn!(until = %ends, "enforcing on trial; mode = \"enforce\" in the configuration and SIGHUP keep it so");
        Ok(json!({ "mode": self.mode.as_str(), "trial_ends_at": ends }))
    }

    /// What the configuration says now, or an operator who ends a trial.
    pub(super) async fn set_mode(&mut self, mode: Mode) -> Result<Value, Problem> {
        self.switch(mode).await.map_err(|error| Problem::Failed(format!("{error:#}")))?;
        if self.trial_ends.take().is_some() && mode == Mode::Enforce {
            tracing::info!("the trial is confirmed");
        }
        Ok(json!({ "mode": mode.as_str() }))
    }

    /// Once a second: ends a trial whose time is over.
    pub(super) async fn end_trial(&mut self, now: Timestamp) {
        if self.trial_ends.is_some_and(|ends| now.secs_until(ends) == 0) {
            tracing::warn!("nobody confirmed the trial: dry run again");
            if let Err(problem) = self.set_mode(Mode::DryRun).await {
                tracing::error!("cannot fall back to dry run: {problem}");
            }
        }
    }

    /// No ban of a trial outlasts it, so that the backend lets go by itself even if nobody is there then.
    pub(super) fn within_trial(&self, proposal: &Proposal) -> Option<Proposal> {
        let ends = self.trial_ends?;
        // Whole seconds that are over by then.
        let left = u64::try_from((ends.0 - proposal.at.0) / 1000).unwrap_or(0);
        Some(Proposal { duration_secs: proposal.duration_secs.min(left), ..proposal.clone() })
    }

    /// Changes what carries out blocks. Nothing goes over: who was shut out is let go, who only would
    /// have been is blocked when he attacks again.
    async fn switch(&mut self, mode: Mode) -> anyhow::Result<()> {
        if mode == self.mode {
            return Ok(());
        }
        let responders = Responders::new((self.given.responders)(mode)?);
        if let Err(problem) = self.unban(None, "the mode changed", Timestamp::now()).await {
            tracing::error!("{problem}");
        }
        // The reader may be gone while the daemon stops.
        let _ = self.given.controls.send(Control::ForgetBans);
        self.given.waker.wake();
        std::mem::replace(&mut self.responders, responders).close().await;
        self.mode = mode;
        self.given.enforcing.send_replace(mode == Mode::Enforce);
        self.given.status.mode = mode.as_str();
        self.read_offences(Timestamp::now()).await;
        // A responder that fails says so itself, and goes on trying.
        let _ = self.responders.pass(&self.passing(), AT_LEISURE).await;
        if self.caught_up {
            self.responders.tidy().await;
        }
        Ok(())
    }
}
