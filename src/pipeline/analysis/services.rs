//! Services that make the text of an analysis shorter, or tell it in words. Each is asked for; none is needed.

use anyhow::{Context, bail};

use crate::compress::scaledown::Scaledown;
use crate::compress::{CompressConfig, Compressed, Options};
use crate::config::Config;
use crate::event::ModelCall;
use crate::event::analysis::{Address, Analysis};
use crate::report;
use crate::triage::{Advisers, Chat, Message, Reputation, TierConfig, is_public};

/// What ScaleDown is told that the text is for.
const PURPOSE: &str = "Find the attacks in these log lines.";
/// Addresses of an input that services are asked about.
const MAX_LOOKED_UP: usize = 100;
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

/// The settings of the tier called `name`, if it may be asked.
///
/// # Errors
/// There is no such tier, or `triage.privacy` forbids it.
pub fn tier<'a>(config: &'a Config, name: &str) -> anyhow::Result<&'a TierConfig> {
    let tier = config.tier.iter().find(|tier| tier.name == name);
    let tier = tier.with_context(|| {
        let names: Vec<&str> = config.tier.iter().map(|tier| tier.name.as_str()).collect();
        format!("no [[tier]] is called {name:?}; there are: {}", names.join(", "))
    })?;
    if !tier.may_be_asked(config.triage.privacy) {
        bail!("tier {name} is not on this host or in a private network, and triage.privacy is \"local_only\"");
    }
    Ok(tier)
}

/// Has the model of the tier called `name` tell `analysis`, within its limits. It is shown the threats and the
/// compressed text, in which clients and users have their names and secrets have not. Of what it says only that
/// stays which cites lines and threats that bear it out.
///
/// # Errors
/// It is none of `advisers`, may not be asked now, or does not answer: `analysis` stays as templates tell it.
pub async fn tell(
    advisers: &Advisers,
    name: &str,
    analysis: &mut Analysis,
    ledger: &mut Vec<ModelCall>,
) -> anyhow::Result<()> {
    let tier = advisers.tiers.iter().find(|tier| tier.config.name == name);
    let tier = tier.with_context(|| format!("tier {name} may not be asked"))?;
    let text = analysis.compression.as_ref().and_then(|compression| compression.text.as_deref()).unwrap_or_default();
    let prompt = report::model::prompt(analysis, fitting(text, &tier.config));
    let chat = Chat {
        messages: &[Message::System(prompt.system), Message::User(prompt.user)],
        schema: Some(&prompt.schema),
        tools: &[],
        max_output_tokens: tier.config.max_output_tokens.max(1024),
        top_logprobs: 0,
    };
    let reply = tier.chat(&chat, &analysis.id, ledger).await.with_context(|| format!("tier {name}"))?;
    let mut told = report::model::accept(&reply.text, analysis);
    if told.written_by != analysis.narrative.written_by {
        told.written_by = format!("{} ({name})", tier.config.model);
    }
    analysis.narrative = told;
    Ok(())
}

/// Asks the reputation services about the addresses of `analysis`, those of most threats first, within their
/// limits. Gives how many were known or asked about, and what else kept it from the others.
pub async fn look_up(advisers: &Advisers, analysis: &mut Analysis, ledger: &mut Vec<ModelCall>) -> LookedUp {
    let mut looked_up = LookedUp::default();
    let is_public = |address: &&mut Address| is_public(address.address);
    for address in analysis.addresses.iter_mut().filter(is_public).take(MAX_LOOKED_UP) {
        looked_up.public += 1;
        let mut is_known = false;
        for name in advisers.toolbox.services() {
            match advisers.toolbox.reputation(name, address.address, &analysis.id, ledger).await {
                Ok(known) => {
                    is_known = true;
                    learn(address, known);
                }
                Err(why) => looked_up.why = Some(format!("{name}: {why}")),
            }
        }
        looked_up.asked += u64::from(is_known);
    }
    if advisers.toolbox.services().next().is_none() {
        looked_up.why = Some("no service is configured under [reputation], or triage.privacy forbids it".into());
    }
    looked_up
}

/// What came of [`look_up`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LookedUp {
    /// Addresses that services may be asked about, and those of which one answered.
    pub public: u64,
    pub asked: u64,
    /// Why not all, the last reason.
    pub why: Option<String>,
}

/// Adds what a service said: the worse of their words counts, and local databases know the place better.
fn learn(address: &mut Address, known: Reputation) {
    let (score, country) = match known {
        Reputation::Unknown => return,
        Reputation::Abuseipdb(abuse) => (abuse.abuse_confidence, abuse.country),
        Reputation::Virustotal(said) => {
            let scanners = u64::from(said.malicious) + u64::from(said.suspicious);
            let all = scanners + u64::from(said.harmless) + u64::from(said.undetected);
            address.network = address.network.take().or(said.network.map(|network| network.to_string()));
            address.asn = address.asn.or(said.asn);
            (u8::try_from(100 * u64::from(said.malicious) / all.max(1)).unwrap_or(100), said.country)
        }
    };
    address.reputation = Some(address.reputation.map_or(score, |other| other.max(score)));
    address.country = address.country.take().or(country.map(|country| country.as_str().to_owned()));
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
