use super::{AT_LEISURE, Decider, Reloaded};
use crate::pipeline::judge;

impl Decider {
    /// Works with a newer configuration from now on. What is decided stays; cases that models of before are
    /// asked about are finished by these.
    pub(super) async fn reload(&mut self, reloaded: Reloaded) {
        let Reloaded { config, rules, crawlers, triage } = reloaded;
        self.limits = judge::limits(&config);
        self.given.config = config;
        self.given.status.rules = rules;
        if let Some(crawlers) = crawlers {
            self.given.crawlers.take_over(crawlers);
        }
        if let Some(triage) = triage
            && let Some(before) = std::mem::replace(&mut self.given.triage, triage)
        {
            let (mut judged, late) = (before.finish(), self.late.0.clone());
            tokio::spawn(async move {
                while let Some(judged) = judged.recv().await {
                    // The decider may have ended.
                    let _ = late.send(judged).await;
                }
            });
        }
        // A responder that fails says so itself, and goes on trying.
        let _ = self.responders.pass(&self.passing(), AT_LEISURE).await;
    }
}
