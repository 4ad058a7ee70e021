//! Services that make the text of an analysis shorter, or tell it in words. Each is asked for; none is needed.

use anyhow::{Context, bail};

use crate::compress::scaledown::Scaledown;
use crate::compress::{CompressConfig, Compressed, Options};
use crate::config::Config;
use crate::event::analysis::Analysis;
use crate::report;
use crate::triage::provider::{self, Chat, Message};
use crate::triage::{Privacy, TierConfig};

/// What ScaleDown is told that the text is for.
const PURPOSE: &str = "Find the attacks in these log lines.";
/// Bytes of a token at least, so that a text that is cut by bytes fits into a model.
const BYTES_A_TOKEN: u64 = 2;
/// Tokens of a question beside the lines: what it says, and the threats.
const QUESTION_TOKENS: u64 = 2000;

/// `compressed` as ScaleDown tells it, where that is configured and loses nothing.
pub(super) fn shortened(config: &CompressConfig, compressed: Compressed, options: &Options) -> Compressed {
    if !config.scaledown.enabled {
        return compressed;
    }
    let asked = Scaledown::new(&config.scaledown).and_then(|service| {
        let shorter = service.shorten(&compressed, PURPOSE, &options.tokens);
        // A thread of a daemon that may wait, or a command line without a runtime.
        let text = match tokio::runtime::Handle::try_current() {
            Ok(runtime) => runtime.block_on(shorter),
            Err(_) => tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(shorter),
        };
        Ok(text?)
    });
    match asked {
        Ok(text) => compressed.in_other_words(text, "scaledown", options),
        Err(error) => {
            tracing::warn!("{error:#}");
            compressed
        }
    }
}

/// Has the model of the tier called `name` tell `analysis`. It is shown the threats and the compressed text, in
/// which clients and users have their names and secrets have not. Of what it says only that stays which cites
/// lines and threats that bear it out.
///
/// # Errors
/// There is no such tier, it may not be asked, or it does not answer: `analysis` stays as templates tell it.
pub async fn tell(config: &Config, name: &str, analysis: &mut Analysis) -> anyhow::Result<()> {
    let tier = config.tier.iter().find(|tier| tier.name == name);
    let tier = tier.with_context(|| {
        let names: Vec<&str> = config.tier.iter().map(|tier| tier.name.as_str()).collect();
        format!("no [[tier]] is called {name:?}; there are: {}", names.join(", "))
    })?;
    if config.triage.privacy == Privacy::LocalOnly && !tier.is_near() {
        bail!("tier {name} is not on this host or in a private network, and triage.privacy is \"local_only\"");
    }
    let text = analysis.compression.as_ref().and_then(|compression| compression.text.as_deref()).unwrap_or_default();
    let prompt = report::model::prompt(analysis, fitting(text, tier));
    let chat = Chat {
        messages: &[Message::System(prompt.system), Message::User(prompt.user)],
        schema: Some(&prompt.schema),
        tools: &[],
        max_output_tokens: tier.max_output_tokens.max(1024),
        top_logprobs: 0,
    };
    let reply = provider::build(tier)?.chat(&chat).await.with_context(|| format!("tier {name}"))?;
    let mut told = report::model::accept(&reply.text, analysis);
    if told.written_by != analysis.narrative.written_by {
        told.written_by = format!("{} ({name})", tier.model);
    }
    analysis.narrative = told;
    Ok(())
}

/// As many whole lines of `text` as the model takes in.
fn fitting<'a>(text: &'a str, tier: &TierConfig) -> &'a str {
    let tokens = u64::from(tier.context_tokens).saturating_sub(QUESTION_TOKENS + u64::from(tier.max_output_tokens));
    let most = usize::try_from(tokens * BYTES_A_TOKEN).unwrap_or(usize::MAX);
    if text.len() <= most {
        return text;
    }
    let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= most).last().unwrap_or(0);
    text[..end].rfind('\n').map_or("", |end| &text[..end])
}
