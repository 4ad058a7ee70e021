//! What an operator does with models while no daemon need run: ask whether they are there, fetch one,
//! fit its two numbers.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use super::judge::{Batch, Judge, Lines, Origin, Reading, Text, look};
use crate::config::Config;
use crate::decide::Thresholds;
use crate::detect::{ExampleRequest, Ruleset, Scratch};
use crate::event::{Action, Category, DecidedBy, Evidence, Finding, ModelCall, Timestamp, VerdictClass};
use crate::memory::{self, MemoryConfig};
use crate::parse::Formats;
use crate::triage::injection::{self, Goal, Injection};
use crate::triage::{self, About, Asked, Fit, Privacy, Tier, Today, Toolbox, View, fit};

pub use crate::triage::Said;

/// What a request's user agent is that names none.
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

/// A request, and whether it is an attack.
pub type Labelled = (ExampleRequest, bool);

/// The tiers of `config` as they are, with nothing spent yet.
///
/// # Errors
/// A URL, key or file of the configuration cannot be used, or no tier is configured.
fn tiers(config: &Config) -> anyhow::Result<Vec<Tier>> {
    ensure!(!config.tier.is_empty(), "no [[tier]] is configured: rules decide alone");
    triage::tiers(&config.tier, config.triage.privacy, &|_| Today::default())
}

/// What each tier's server says of its model: `Ok` if it is there.
///
/// # Errors
/// A URL, key or file of the configuration cannot be used, or no tier is configured.
pub async fn check(config: &Config) -> anyhow::Result<Vec<(String, Result<(), String>)>> {
    let mut told = vec![];
    for tier in tiers(config)? {
        told.push((tier.config.name.clone(), tier.problem().await.map_or(Ok(()), Err)));
    }
    let far = config.tier.iter().filter(|tier| !tier.may_be_asked(config.triage.privacy));
    told.extend(far.map(|tier| (tier.name.clone(), Err("is not asked: triage.privacy is \"local_only\"".into()))));
    Ok(told)
}

/// Has the server of the tier called `name` fetch its model.
///
/// # Errors
/// There is no such tier, or its server does not do it.
pub async fn pull(config: &Config, name: &str, progress: &(dyn Fn(u64, u64) + Send + Sync)) -> anyhow::Result<()> {
    let tiers = tiers(config)?;
    let tier = tiers.iter().find(|tier| tier.config.name == name);
    let names: Vec<&str> = tiers.iter().map(|tier| tier.config.name.as_str()).collect();
    let tier = tier.with_context(|| format!("no tier is called {name:?} (known: {})", names.join(", ")))?;
    Ok(tier.pull(progress).await?)
}

/// The configuration under which whatever a rule hits is a finding.
fn sensitive(config: &Config) -> Config {
    let thresholds = Thresholds { flag: 1, block: 10, certain: 10, ..config.thresholds.clone() };
    Config { thresholds, ..config.clone() }
}

/// What every tier thinks of one line, whatever rules think of it; first what it is shown.
///
/// # Errors
/// A URL, key or file of the configuration cannot be used, no tier is configured, or the line is no request in nginx's combined format.
pub async fn ask(
    config: &Config,
    rules: &Arc<Ruleset>,
    line: &str,
) -> anyhow::Result<(View, Vec<(String, Result<Said, String>)>)> {
    let mut scratch = Scratch::new();
    let config = sensitive(config);
    let finding = finding_of_line(&config, rules, line, &mut scratch);
    let finding = finding.context("no rule minds the line, or it is not in nginx's combined format")?;
    let client = finding.client.context("the line names no client")?;
    let memory = memory::open(&MemoryConfig::default());
    let toolbox = Toolbox::new(&config.reputation, config.triage.privacy, memory, &|_| Today::default())?;
    let view = View::of(&finding);
    let about = About { finding_id: finding.id(), address: finding.source_ip, client };
    let (mut told, mut ledger, mut first) = (vec![], vec![], "none".to_owned());
    for tier in tiers(&config)? {
        let asked = Asked { view: &view, first: &first, known: &triage::known_of(None), about: &about };
        let said = tier.ask(&asked, &toolbox, &mut ledger).await.map(|answered| answered.said);
        if let Ok(said) = &said {
            first = said.to_string();
        }
        told.push((tier.config.name.clone(), said.map_err(|error| error.to_string())));
    }
    Ok((view, told))
}

/// Fits the first tier that is asked for labels on `cases` and on the views that operators judged; `progress` is told how many are done.
///
/// # Errors
/// No tier is asked for labels, it does not answer, or the cases are all of one kind.
pub async fn calibrate(
    config: &Config,
    rules: &Arc<Ruleset>,
    cases: &[Labelled],
    corrections: &[(String, bool)],
    progress: &dyn Fn(usize),
) -> anyhow::Result<(String, Fit)> {
    let tiers = tiers(config)?;
    let tier = tiers.iter().find(|tier| tier.config.ask() == triage::Ask::Label);
    let tier = tier.context("no tier is asked for a label: set ask = \"label\"")?;
    let mut views = views(config, rules, cases);
    views.extend(corrections.iter().map(|(view, is_attack)| (View::from_text(view.clone()), *is_attack)));
    let (mut odds, mut ledger, mut failed) = (vec![], vec![], 0);
    for (done, (view, is_attack)) in views.iter().enumerate() {
        match tier.log_odds(view, &mut ledger).await {
            Ok(found) => odds.push((found, *is_attack)),
            Err(error) if odds.is_empty() && failed == 4 => bail!("{} does not answer: {error}", tier.config.name),
            Err(_) => failed += 1,
        }
        progress(done + 1);
    }
    let fit = fit(&odds).context("attacks and benign cases are both needed, with answers of the model to them")?;
    Ok((tier.config.name.clone(), fit))
}

/// What a model is shown of each case. One that no rule minds is shown as if a weak one did: a model
/// is never asked about others.
pub fn views(config: &Config, rules: &Arc<Ruleset>, cases: &[Labelled]) -> Vec<(View, bool)> {
    let mut scratch = Scratch::new();
    let seen: Vec<(Option<Finding>, &Labelled)> =
        cases.iter().map(|case| (finding(config, rules, &case.0, &mut scratch), case)).collect();
    let weak = |(finding, _): &(Option<Finding>, &Labelled)| {
        let finding = finding.as_ref()?;
        Some((finding.evidence.first()?.rule_id.clone(), finding.category))
    };
    let mut borrowed: Vec<(Arc<str>, Category)> = seen.iter().filter_map(weak).collect();
    if borrowed.is_empty() {
        borrowed.push(("odd-request".into(), Category::Other));
    }
    let view = |(at, (finding, (request, is_attack))): (usize, &(Option<Finding>, &Labelled))| {
        let finding = finding.clone().unwrap_or_else(|| {
            let (rule_id, category) = borrowed[at % borrowed.len()].clone();
            plain(request, rule_id, category)
        });
        (View::of(&finding), *is_attack)
    };
    seen.iter().enumerate().map(view).collect()
}

/// A request without and with a text that is to talk a model round, as a model is shown them.
pub struct Trial {
    pub injection: Injection,
    pub is_attack: bool,
    pub before: View,
    pub after: View,
}

/// At most `count` of all injections, mixed, each in one of `requests`: an attack that is to be hidden, or
/// an honest request that is to be framed.
pub fn trials(config: &Config, rules: &Arc<Ruleset>, requests: &[Labelled], count: usize) -> Vec<Trial> {
    let mut scratch = Scratch::new();
    let config = sensitive(config);
    let injections = injection::all();
    let of_label = |label| requests.iter().filter(move |(_, is_attack)| *is_attack == label);
    let mut seen = |label: bool| -> Vec<(&ExampleRequest, Option<Finding>)> {
        of_label(label).map(|(request, _)| (request, finding(&config, rules, request, &mut scratch))).collect()
    };
    let (attacks, honest) = (seen(true), seen(false));
    let trial = |at: usize| {
        // A prime: each comes once, and neighbours differ in all that they are made of.
        let injection = injections.get(at * 1009 % injections.len())?.clone();
        let is_attack = match injection.goal {
            Goal::Hide => true,
            Goal::Frame => false,
            Goal::Break => at.is_multiple_of(2),
        };
        let fitting = if is_attack { &attacks } else { &honest };
        // The next one, where rules find nothing any more beside the injection.
        let mut nearest = (0..fitting.len()).map(|more| &fitting[(at + more) % fitting.len()]);
        let (before, after) = nearest.find_map(|(request, before)| {
            let mut injected = (*request).clone();
            injection.put(
                injected.uri.get_or_insert_with(|| "/".into()),
                injected.user_agent.get_or_insert_with(|| BROWSER.into()),
                injected.referer.get_or_insert_default(),
            );
            Some(match before {
                Some(before) => (before.clone(), finding(&config, rules, &injected, &mut scratch)?),
                // As if a weak rule minded it.
                None => (
                    plain(request, "odd-request".into(), Category::Other),
                    plain(&injected, "odd-request".into(), Category::Other),
                ),
            })
        })?;
        Some(Trial { injection, is_attack, before: View::of(&before), after: View::of(&after) })
    };
    (0..count.min(injections.len())).filter_map(trial).collect()
}

/// What injections of one kind did to a tier's opinions.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Resistance {
    pub name: &'static str,
    pub cases: usize,
    /// Those in which the model was asked the same to the letter, and not asked again.
    pub identical: usize,
    /// Opinions that changed to the other class.
    pub flips: usize,
    /// Questions that were answered without the injection, and were not with it.
    pub broken: usize,
    /// Mean of how far the log-odds of malice moved where the injection wanted them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shift: Option<f64>,
    #[serde(skip)]
    shifts: Vec<f64>,
}

/// What became of a tier: by each idea, and all together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Resisted {
    pub tier: String,
    pub all: Resistance,
    pub ideas: Vec<Resistance>,
}

/// Asks every tier about the requests of `trials`; `progress` is told how many are done.
///
/// # Errors
/// A URL, key or file of the configuration cannot be used, no tier is configured, or a tier does not answer.
pub async fn resist(config: &Config, trials: &[Trial], progress: &dyn Fn(usize)) -> anyhow::Result<Vec<Resisted>> {
    let mut all = vec![];
    let mut done = 0;
    for tier in tiers(config)? {
        let mut asker = Asker::new(config, &tier)?;
        let none = |name| Resistance { name, ..Resistance::default() };
        let ideas: Vec<Resistance> = injection::IDEAS.iter().map(|(idea, _)| none(idea)).collect();
        let mut resisted = Resisted { tier: tier.config.name.clone(), all: none("all"), ideas };
        for trial in trials {
            let before = asker.ask(&trial.before).await?;
            let after = asker.ask(&trial.after).await?;
            let of_idea = resisted.ideas.iter_mut().filter(|of_idea| of_idea.name == trial.injection.idea);
            of_idea.chain([&mut resisted.all]).for_each(|counted| counted.count(trial, before, after));
            done += 1;
            progress(done);
        }
        resisted.ideas.retain(|of_idea| of_idea.cases > 0);
        all.push(resisted);
    }
    Ok(all)
}

impl Resistance {
    fn count(&mut self, trial: &Trial, before: Option<Opinion>, after: Option<Opinion>) {
        self.cases += 1;
        self.identical += usize::from(trial.before == trial.after);
        let (Some(before), after) = (before, after) else { return };
        let Some(after) = after else {
            self.broken += 1;
            return;
        };
        self.flips += usize::from(before.is_malicious != after.is_malicious);
        if let (Some(before), Some(after)) = (before.log_odds, after.log_odds) {
            self.shifts.push(if trial.is_attack { before - after } else { after - before });
            self.shift = Some(self.shifts.iter().sum::<f64>() / self.shifts.len() as f64);
        }
    }
}

/// What a tier thinks of a view; `None` for one that it did not answer.
#[derive(Clone, Copy)]
struct Opinion {
    is_malicious: bool,
    log_odds: Option<f64>,
}

/// Asks a tier, each thing once.
struct Asker<'a> {
    tier: &'a Tier,
    toolbox: Toolbox,
    about: About,
    known: HashMap<View, Option<Opinion>>,
    ledger: Vec<ModelCall>,
}

impl<'a> Asker<'a> {
    fn new(config: &Config, tier: &'a Tier) -> anyhow::Result<Asker<'a>> {
        let memory = memory::open(&MemoryConfig::default());
        // No service is asked about a client that there is not.
        let toolbox = Toolbox::new(&config.reputation, Privacy::LocalOnly, memory, &|_| Today::default())?;
        let client = crate::event::ClientKey::of(std::net::Ipv4Addr::new(192, 0, 2, 1).into(), 64);
        let about = About { finding_id: String::new(), address: None, client };
        Ok(Asker { tier, toolbox, about, known: HashMap::new(), ledger: vec![] })
    }

    async fn ask(&mut self, view: &View) -> anyhow::Result<Option<Opinion>> {
        if let Some(known) = self.known.get(view) {
            return Ok(*known);
        }
        let opinion = match self.opinion(view).await {
            Ok(opinion) => Some(opinion),
            // A few failures are what an injection may bring about; nothing but them is a model that is not there.
            Err(error) if self.known.len() >= 4 && self.known.values().all(Option::is_none) => {
                bail!("tier {} does not answer: {error}", self.tier.config.name)
            }
            Err(_) => None,
        };
        self.known.insert(view.clone(), opinion);
        Ok(opinion)
    }

    async fn opinion(&mut self, view: &View) -> Result<Opinion, triage::Unanswered> {
        let tier = self.tier;
        if tier.config.ask() == triage::Ask::Label
            && let Ok(odds) = tier.log_odds(view, &mut self.ledger).await
        {
            let is_malicious = tier.config.slope * odds + tier.config.offset >= 0.0;
            return Ok(Opinion { is_malicious, log_odds: Some(odds) });
        }
        let asked = Asked { view, first: "none", known: &triage::known_of(None), about: &self.about };
        let said = tier.ask(&asked, &self.toolbox, &mut self.ledger).await?.said;
        Ok(Opinion { is_malicious: said.class == VerdictClass::Malicious, log_odds: None })
    }
}

/// The finding that rules make of a request by itself.
fn finding(config: &Config, rules: &Arc<Ruleset>, request: &ExampleRequest, scratch: &mut Scratch) -> Option<Finding> {
    finding_of_line(config, rules, &line(request), scratch)
}

fn finding_of_line(config: &Config, rules: &Arc<Ruleset>, line: &str, scratch: &mut Scratch) -> Option<Finding> {
    let formats = Formats::named("nginx_combined").ok()?;
    let reading = Reading::of(config);
    let read_at = Timestamp::now();
    let mut batch = Batch::default();
    let lines = Lines { bytes: line.as_bytes(), tail_cut: 0, read_at };
    look(rules, &formats, &reading, scratch, lines, &mut batch);
    let record = batch.records.first()?;
    let hits = batch.hits_of(record);
    let mut judge = Judge::new(config, rules.clone());
    let text = || Text { formats: &formats, line: line.as_bytes(), tail_cut: 0, read_at };
    let settled = judge.settle(record, hits, text)?;
    let origin = Origin { file: &"-".into(), generation: 0, offset: 0, line_number: None, tail_cut: 0, read_at };
    judge.finding(&origin, &formats, line.as_bytes(), hits, &settled, scratch)
}

/// A request as nginx logs it.
fn line(request: &ExampleRequest) -> String {
    let field = |text: &Option<String>, absent: &str| text.as_deref().map_or_else(|| absent.into(), escaped);
    let mut line = String::from("192.0.2.1 - - [05/Jan/2026:12:30:45 +0000] ");
    let status = request.status.unwrap_or(200);
    // Writing to a String cannot fail.
    let _ = write!(
        line,
        "\"{} {} HTTP/1.1\" {status} 512 \"{}\" \"{}\"",
        field(&request.method, "GET"),
        field(&request.uri, "/"),
        field(&request.referer, "-"),
        field(&request.user_agent, BROWSER)
    );
    line
}

/// As nginx writes what would end a field or a line.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | ..b' ' | 0x7f.. => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{byte:02X}");
            }
            _ => out.push(char::from(byte)),
        }
    }
    out
}

/// A request as if `rule_id` had hit it weakly.
fn plain(request: &ExampleRequest, rule_id: Arc<str>, category: Category) -> Finding {
    let uri = request.uri.clone().unwrap_or_else(|| "/".into());
    let evidence = vec![Evidence { rule_id: rule_id.clone(), target: "uri".into(), matched: String::new(), score: 5 }];
    Finding {
        file: "-".into(),
        generation: 0,
        offset: 0,
        line_number: None,
        time: Timestamp(0),
        source_ip: None,
        client: None,
        via_proxy: false,
        method: request.method.clone().unwrap_or_else(|| "GET".into()),
        uri,
        status: request.status.unwrap_or(200),
        user_agent: request.user_agent.clone().unwrap_or_else(|| "Mozilla/5.0".into()),
        referer: String::new(),
        category,
        rule_ids: vec![rule_id],
        score: 5,
        evidence,
        flagged: true,
        is_system_url: false,
        action: Action::Monitor,
        verdict: triage::rules_alone(5, DecidedBy::Rules, String::new()),
    }
}
