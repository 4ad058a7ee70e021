//! Answers questions in words: the grammar's plan, else a model's, put to the store that `history` asks.

use anyhow::Context;
use ipnet::IpNet;

use super::history::{self, Told, Whom};
use super::spending::{Bill, Purse};
use crate::ask::{Moment, understand};
use crate::config::Config;
use crate::event::ModelCall;
use crate::record::History;
use crate::show::{self, Clients};
use crate::triage::{Chat, Message};

pub use crate::ask::{Moment as AskedAt, Plan, Refusal, Show, Subject, Understood};
pub use crate::show::{Answer, Answered, ClientStory, Counted, told as as_json};

/// A plan, and whose it is.
#[derive(Debug)]
pub struct Planned {
    pub understood: Understood,
    /// The tier that made it; none: the grammar.
    pub by: Option<String>,
    /// What the model cost.
    pub bill: Option<Bill>,
}

/// What to look up for `question`. Where the grammar refuses and a tier is configured, its model may fill the plan,
/// within its limits; it is shown the question and nothing of any log.
///
/// # Errors
/// A [`Refusal`], with what the model failed at, if one was asked.
pub async fn plan(config: &Config, question: &str, moment: &Moment) -> anyhow::Result<Planned> {
    let refusal = match understand(question, moment) {
        Ok(understood) => return Ok(Planned { understood, by: None, bill: None }),
        Err(refusal) => refusal,
    };
    let tier = config.tier.iter().find(|tier| tier.may_be_asked(config.triage.privacy));
    let Some(tier) = tier else { return Err(refusal.into()) };
    let mut calls = vec![];
    let purse = Purse::open(config, std::slice::from_ref(tier)).await?;
    let plan = plan_of_model(&purse, question, moment, &mut calls).await;
    let bill = purse.settle(&calls).await;
    match plan {
        Ok(plan) => {
            let understood = Understood { plan, corrected: vec![] };
            Ok(Planned { understood, by: Some(tier.name.clone()), bill: Some(bill) })
        }
        Err(error) => {
            let why = format!("{}; tier {}: {error:#} ({bill})", refusal.why, tier.name);
            Err(Refusal { why, ..refusal }.into())
        }
    }
}

async fn plan_of_model(
    purse: &Purse,
    question: &str,
    moment: &Moment,
    calls: &mut Vec<ModelCall>,
) -> anyhow::Result<Plan> {
    let tier = purse.advisers.tiers.first().context("it may not be asked")?;
    let messages = [Message::System(crate::ask::model::instruction(moment)), Message::User(question.to_owned())];
    let schema = crate::ask::model::schema();
    let chat = Chat {
        messages: &messages,
        schema: Some(&schema),
        tools: &[],
        max_output_tokens: tier.config.max_output_tokens,
        top_logprobs: 0,
    };
    let reply = tier.chat(&chat, "a question", calls).await?;
    crate::ask::model::plan(&reply.text, moment).map_err(anyhow::Error::msg)
}

/// What is recorded of what `plan` asks for.
///
/// # Errors
/// The database cannot be read.
pub async fn answer(config: &Config, whom: Whom, plan: &Plan, moment: &Moment) -> anyhow::Result<Told<Answered>> {
    let own = history::own(config).await;
    // Pseudonyms are this host's, in Postgres too.
    let kept = |network: IpNet| own.as_ref().map_or(network, |own| own.as_kept(network));
    let clients = Clients { v6_prefix: config.client.v6_prefix, kept: &kept };
    let ask = async |store: &dyn History| show::answer(store, plan, &clients, moment).await;
    history::told(config, &own, whom, None, ask).await
}
