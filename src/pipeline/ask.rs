//! Answers questions in words: the grammar's plan, else a model's, put to the store that `history` asks.

use anyhow::{Context, anyhow};
use ipnet::IpNet;

use super::history::{self, Told, Whom};
use crate::ask::{Moment, understand};
use crate::config::Config;
use crate::record::History;
use crate::show::{self, Clients};
use crate::triage::Privacy;
use crate::triage::provider::{self, Chat, Message};

pub use crate::ask::{Moment as AskedAt, Plan, Refusal, Show, Subject, Understood};
pub use crate::show::{Answer, Answered, ClientStory, Counted, told as as_json};

/// A plan, and whose it is.
#[derive(Debug)]
pub struct Planned {
    pub understood: Understood,
    /// The tier that made it; none: the grammar.
    pub by: Option<String>,
}

/// What to look up for `question`. Where the grammar refuses and a tier is configured, its model may fill the plan;
/// it is shown the question and nothing of any log.
///
/// # Errors
/// A [`Refusal`], with what the model failed at, if one was asked.
pub async fn plan(config: &Config, question: &str, moment: &Moment) -> anyhow::Result<Planned> {
    let refusal = match understand(question, moment) {
        Ok(understood) => return Ok(Planned { understood, by: None }),
        Err(refusal) => refusal,
    };
    let may_be_asked =
        |tier: &&crate::triage::TierConfig| config.triage.privacy != Privacy::LocalOnly || tier.is_near();
    let Some(tier) = config.tier.iter().find(may_be_asked) else { return Err(refusal.into()) };
    let of_model = async {
        let provider = provider::build(tier)?;
        let messages = [Message::System(crate::ask::model::instruction(moment)), Message::User(question.to_owned())];
        let schema = crate::ask::model::schema();
        let chat = Chat {
            messages: &messages,
            schema: Some(&schema),
            tools: &[],
            max_output_tokens: tier.max_output_tokens,
            top_logprobs: 0,
        };
        let reply = provider.chat(&chat).await.with_context(|| format!("tier {}", tier.name))?;
        crate::ask::model::plan(&reply.text, moment).map_err(|why| anyhow!("tier {}: {why}", tier.name))
    };
    match of_model.await {
        Ok(plan) => {
            let understood = Understood { plan, corrected: vec![] };
            Ok(Planned { understood, by: Some(tier.name.clone()) })
        }
        Err(error) => {
            let why = format!("{}; {error:#}", refusal.why);
            Err(Refusal { why, ..refusal }.into())
        }
    }
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
