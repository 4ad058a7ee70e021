//! Rules that are switched off and on while the daemon runs.

use serde_json::{Value, json};

use super::Keeper;
use crate::detect::Ruleset;
use crate::event::{Timestamp, digest, printable};
use crate::show::{Problem, SwitchedOff};

impl Keeper {
    pub(super) async fn switch_off(
        &mut self,
        rule: String,
        path: Option<String>,
        reason: String,
        by: String,
    ) -> Result<Value, Problem> {
        let rules = &self.kept.rules;
        let windows = rules.windows.iter().map(|window| window.spec.id.as_str());
        if !rules.rules.iter().map(|rule| &*rule.id).chain(windows).any(|id| id == rule) {
            let rule = printable(rule.as_bytes(), 100);
            return Err(Problem::NotFound(format!("no rule or window that is on is called {rule:?}")));
        }
        let id = digest(&[rule.as_bytes(), path.as_deref().unwrap_or_default().as_bytes()])[..12].to_owned();
        let one = SwitchedOff { id, rule, path, reason, by, at: Timestamp::now() };
        let mut list = self.kept.off.list.clone();
        // Who switches it off everywhere means each path.
        list.retain(|other| other.id != one.id && (one.path.is_some() || other.rule != one.rule));
        list.push(one.clone());
        self.switch(list).await?;
        tracing::warn!(rule = one.rule, path = one.path, by = one.by, "an operator switches a rule off");
        Ok(json!(one))
    }

    pub(super) async fn switch_on(&mut self, id: &str, by: &str) -> Result<Value, Problem> {
        let mut list = self.kept.off.list.clone();
        let Some(at) = list.iter().position(|one| one.id == id) else {
            return Err(Problem::NotFound(format!("nothing is switched off under {id:?}")));
        };
        let one = list.remove(at);
        self.switch(list).await?;
        tracing::warn!(rule = one.rule, path = one.path, by, "an operator switches a rule on again");
        Ok(json!(one))
    }

    /// Lays `list` over the configuration as it was read last, and has lines judged by that.
    async fn switch(&mut self, list: Vec<SwitchedOff>) -> Result<(), Problem> {
        self.reads_a_configuration()?;
        let before = std::mem::replace(&mut self.kept.off.list, list);
        let text = self.kept.text.clone();
        if let Err(error) = self.take(text).await {
            self.kept.off.list = before;
            return Err(Problem::Refused(format!("{error:#}")));
        }
        if let Err(error) = self.kept.off.save() {
            tracing::error!("which rules are switched off will not survive a restart: {error}");
        }
        self.tell();
        Ok(())
    }

    /// Every rule and window that is on, and what is switched off.
    pub(super) fn rules(&self) -> Value {
        let Ruleset { rules, windows, .. } = &*self.kept.rules;
        let rules = rules.iter().map(|rule| {
            let spec = &rule.spec;
            json!({ "id": spec.id, "kind": "rule", "category": spec.category, "score": spec.score,
                "description": spec.description })
        });
        let windows = windows.iter().map(|window| {
            let spec = &window.spec;
            json!({ "id": spec.id, "kind": "window", "category": spec.category, "score": spec.score,
                "description": spec.description })
        });
        json!({ "on": rules.chain(windows).collect::<Vec<_>>(), "off": self.kept.off.list })
    }
}
