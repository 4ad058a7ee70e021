//! What an operator wants to know before enforcing: what would have been blocked, whether those clients also
//! behaved, and what another threshold would change.

use std::collections::{BTreeSet, HashMap, HashSet};

use bumpalo::Bump;
use serde::Serialize;

use super::judge::{Reading, Settled};
use crate::compress::Tokens;
use crate::config::Config;
use crate::decide::Thresholds;
use crate::detect::{Record, What};
use crate::event::{Action, AuthOutcome, ClientKey, Kind, Timestamp};
use crate::parse::{Extent, Formats};
use crate::triage::typical_question;

/// Clients that are watched; of those beyond it nothing is said but what the summary says.
const MAX_CLIENTS: usize = 1_000_000;
/// Clients that also behaved, shown by name.
const SHOWN: usize = 50;
/// Steps of the time line.
const STEPS: u32 = 120;
/// Of so many questions a tier leaves one in doubt: 12 to 16 % in `bench/triage`.
const LEFT_IN_DOUBT: u64 = 7;
/// Thresholds that are compared.
const THRESHOLDS: std::ops::RangeInclusive<u8> = 6..=10;

/// What one client did.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    lines: u32,
    /// Requests that no rule minds and that were answered well.
    served: u32,
    logins: u32,
    /// The highest score of a finding.
    highest: u8,
    /// In seconds since 1970; 0: never blocked.
    blocked_until: u32,
}

/// Counts while a replay goes on.
#[derive(Default)]
pub struct Shadow {
    clients: HashMap<u128, Tally, foldhash::fast::RandomState>,
    /// Lines of clients while they would have been shut out, and the bytes of the answers.
    spared_lines: u64,
    spared_bytes: u64,
    flagged: u64,
    in_doubt: u64,
    questions: HashSet<u64, foldhash::fast::RandomState>,
    /// Lines and findings by minute.
    minutes: HashMap<u32, (u64, u64), foldhash::fast::RandomState>,
    arena: Bump,
}

/// The report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Of all lines, in percent.
    pub attack_percent: f64,
    pub blocked_clients: usize,
    /// Those of them that also behaved: look at them before you enforce.
    pub also_behaved: Vec<Behaved>,
    /// How many of them there are, should they be too many to show.
    pub also_behaved_in_all: usize,
    pub thresholds: Vec<Threshold>,
    /// Lines of clients while they would have been shut out.
    pub spared_lines: u64,
    /// Bytes that the server answered to these.
    pub spared_bytes: u64,
    /// Findings that models would be asked about, and questions that differ.
    pub in_doubt: u64,
    pub questions: u64,
    pub costs: Vec<Cost>,
    pub time_line: Vec<Step>,
}

/// What a tier of models would have been asked, an estimate: the first every question, each further one what the one
/// before leaves in doubt.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    pub tier: String,
    pub questions: u64,
    pub tokens: u64,
    /// By the prices that the tier's configuration states.
    pub usd: f64,
}

/// A client that would have been blocked and also behaved.
#[derive(Clone, Debug, Serialize)]
pub struct Behaved {
    pub source_ip: String,
    pub served: u32,
    pub logins: u32,
    pub lines: u32,
    pub score: u8,
}

/// What another `thresholds.block` would do: by the highest score that each client had, so an estimate.
#[derive(Clone, Debug, Serialize)]
pub struct Threshold {
    pub block: u8,
    pub clients: usize,
    pub also_behaved: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub start: Timestamp,
    pub lines: u64,
    pub findings: u64,
}

/// A line, as far as more than its record is asked of it.
pub struct Line<'a> {
    pub text: &'a [u8],
    pub formats: &'a Formats,
    pub reading: &'a Reading,
    pub read_at: Timestamp,
}

impl Shadow {
    /// Notes one line and what was settled of it.
    pub fn see(&mut self, record: &Record, line: &Line<'_>, settled: Option<&Settled>, thresholds: &Thresholds) {
        let minute = self.minutes.entry(record.time_secs / 60).or_default();
        minute.0 += 1;
        minute.1 += u64::from(settled.is_some());
        if let Some(settled) = settled {
            self.flagged += 1;
            let known = settled.counted.flagged || settled.counted.banned;
            if crate::decide::is_in_doubt(settled.counted.score, known, thresholds) {
                self.in_doubt += 1;
                // What looks alike is asked once: the same path with the same hits, more or less.
                self.questions
                    .insert(u64::from(record.subject) << 16 | u64::from(record.hits) << 8 | u64::from(record.score));
            }
        }
        if record.client == 0 || !record.is_actionable() {
            return;
        }
        let is_full = self.clients.len() >= MAX_CLIENTS;
        let tally = match self.clients.get_mut(&record.client) {
            Some(tally) => tally,
            None if is_full => return,
            None => self.clients.entry(record.client).or_default(),
        };
        tally.lines = tally.lines.saturating_add(1);
        // While it would have been shut out, too: another threshold would not have done it yet.
        tally.highest = tally.highest.max(settled.map_or(0, |settled| settled.counted.score));
        if record.time_secs < tally.blocked_until {
            self.spared_lines += 1;
            self.spared_bytes += answered(line, &mut self.arena);
            return;
        }
        match settled {
            Some(settled) => {
                if let (Action::Block, Some(secs)) = (settled.action, settled.ban_secs) {
                    let secs = u32::try_from(secs).unwrap_or(u32::MAX);
                    tally.blocked_until = record.time_secs.max(1).saturating_add(secs);
                }
            }
            None if record.hits > 0 => {}
            None if record.what == What::Request => tally.served += u32::from((200..300).contains(&record.status)),
            None if record.what == What::Other => tally.logins += u32::from(is_login(line, &mut self.arena)),
            None => {}
        }
    }

    /// What there is to say, of `lines` in all.
    pub fn report(self, lines: u64, config: &Config) -> Report {
        let behaved = |tally: &Tally| tally.served > 0 || tally.logins > 0;
        let mut also_behaved: Vec<Behaved> = self
            .clients
            .iter()
            .filter(|(_, tally)| tally.blocked_until > 0 && behaved(tally))
            .map(|(client, tally)| Behaved {
                source_ip: ClientKey::from_bits(*client, config.client.v6_prefix).to_string(),
                served: tally.served,
                logins: tally.logins,
                lines: tally.lines,
                score: tally.highest,
            })
            .collect();
        also_behaved.sort_by(|a, b| (b.logins, b.served, &a.source_ip).cmp(&(a.logins, a.served, &b.source_ip)));
        let in_all = also_behaved.len();
        also_behaved.truncate(SHOWN);
        let thresholds = THRESHOLDS.map(|block| {
            let blocked = self.clients.values().filter(|tally| tally.highest >= block);
            Threshold {
                block,
                clients: blocked.clone().count(),
                also_behaved: blocked.filter(|one| behaved(one)).count(),
            }
        });
        Report {
            attack_percent: if lines == 0 { 0.0 } else { self.flagged as f64 * 100.0 / lines as f64 },
            blocked_clients: self.clients.values().filter(|tally| tally.blocked_until > 0).count(),
            also_behaved,
            also_behaved_in_all: in_all,
            thresholds: thresholds.collect(),
            spared_lines: self.spared_lines,
            spared_bytes: self.spared_bytes,
            in_doubt: self.in_doubt,
            questions: self.questions.len() as u64,
            costs: costs(config, self.questions.len() as u64),
            time_line: time_line(&self.minutes),
        }
    }
}

fn costs(config: &Config, mut questions: u64) -> Vec<Cost> {
    let mut costs = vec![];
    let tiers = config.tier.iter().filter(|tier| tier.may_be_asked(config.triage.privacy));
    for (at, tier) in tiers.enumerate() {
        let (question, answered) = typical_question(at == 0);
        let asked = Tokens::of_model(&tier.model).count(question.as_bytes());
        let usd = asked * tier.usd_per_million_input + f64::from(answered) * tier.usd_per_million_output;
        costs.push(Cost {
            tier: tier.name.clone(),
            questions,
            tokens: ((asked + f64::from(answered)) * questions as f64) as u64,
            usd: usd / 1e6 * questions as f64,
        });
        questions = questions.div_ceil(LEFT_IN_DOUBT);
    }
    costs
}

/// Minutes put together to at most [`STEPS`] steps of one length; those without a line are there too.
fn time_line(minutes: &HashMap<u32, (u64, u64), foldhash::fast::RandomState>) -> Vec<Step> {
    let stated: BTreeSet<u32> = minutes.keys().copied().filter(|minute| *minute > 0).collect();
    let (Some(&first), Some(&last)) = (stated.first(), stated.last()) else { return vec![] };
    let length = (last - first) / STEPS + 1;
    let mut steps: Vec<Step> = (0..=(last - first) / length)
        .map(|step| Step { start: Timestamp(i64::from(first + step * length) * 60_000), lines: 0, findings: 0 })
        .collect();
    for minute in stated {
        let (lines, findings) = minutes.get(&minute).copied().unwrap_or_default();
        if let Some(step) = steps.get_mut(((minute - first) / length) as usize) {
            step.lines += lines;
            step.findings += findings;
        }
    }
    steps
}

/// Bytes of the answer to a request.
fn answered(line: &Line<'_>, arena: &mut Bump) -> u64 {
    let bytes = {
        let context = line.reading.context(Extent::Whole, line.read_at, arena);
        line.formats.parse(line.text, &context).ok().and_then(|event| event.http()?.bytes)
    };
    arena.reset();
    bytes.unwrap_or(0)
}

fn is_login(line: &Line<'_>, arena: &mut Bump) -> bool {
    let is_login = {
        let context = line.reading.context(Extent::Whole, line.read_at, arena);
        let event = line.formats.parse(line.text, &context);
        event.is_ok_and(|event| matches!(event.kind, Kind::Auth(auth) if auth.outcome == AuthOutcome::Success))
    };
    arena.reset();
    is_login
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::replay;
    use crate::pipeline::tests::{file, rules};

    fn line(client: &str, minute: u32, uri: &str, status: u16) -> String {
        format!(
            "{client} - - [05/Jan/2026:12:{minute:02}:00 +0000] \"GET {uri} HTTP/1.1\" {status} 1000 \"-\" \"Mozilla/5.0\"\n"
        )
    }

    fn report(text: &str) -> Report {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "access.log", text.as_bytes());
        let mut shadow = Shadow::default();
        let config = Config::default();
        let totals =
            replay::scan(&config, &rules(), &[path], "auto", &mut |_| Ok(()), &mut |_| {}, Some(&mut shadow)).unwrap();
        shadow.report(totals.lines, &config)
    }

    const ATTACK: &str = "/item?id=1%27+UNION+SELECT+password+FROM+users--+-";

    #[test]
    fn who_also_behaved_is_told_and_what_blocking_would_have_spared() {
        let mut text = String::new();
        for minute in 0..5 {
            text += &line("203.0.113.7", minute, "/about", 200);
            text += &line("198.51.100.9", minute, "/", 200);
        }
        text += &line("203.0.113.7", 6, ATTACK, 200);
        text += &line("203.0.113.8", 7, ATTACK, 404);
        for minute in 10..14 {
            text += &line("203.0.113.7", minute, "/about", 200);
        }
        let report = report(&text);
        assert_eq!(report.blocked_clients, 2);
        assert_eq!((report.spared_lines, report.spared_bytes), (4, 4000));
        let behaved: Vec<_> = report.also_behaved.iter().map(|one| (&*one.source_ip, one.served, one.lines)).collect();
        assert_eq!(behaved, [("203.0.113.7", 5, 10)], "what came after the block does not count for it");
        assert!((report.attack_percent - 100.0 * 2.0 / 16.0).abs() < 1e-9, "{}", report.attack_percent);
        let eight = report.thresholds.iter().find(|one| one.block == 8).unwrap();
        assert_eq!((eight.clients, eight.also_behaved), (2, 1));
        assert_eq!(report.time_line.len(), 14);
        assert_eq!(
            report.time_line.iter().map(|step| (step.lines, step.findings)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
            (16, 2)
        );
    }

    #[test]
    fn a_client_that_goes_on_would_reach_a_higher_threshold_too() {
        let once = report(&line("203.0.113.7", 1, "/phpmyadmin/", 404));
        let often: String =
            (1..30).map(|minute| line("203.0.113.7", 1 + minute / 20, &format!("{ATTACK}{minute}"), 404)).collect();
        let often = report(&often);
        assert!(once.thresholds.iter().all(|one| one.clients == 0), "{:?}", once.thresholds);
        assert_eq!(often.thresholds.iter().map(|one| one.clients).collect::<Vec<_>>(), [1; 5]);
    }

    #[test]
    fn each_tier_costs_what_it_is_asked_at_its_price() {
        let text = "[[tier]]\nname = \"near\"\nprovider = \"ollama\"\nurl = \"http://192.0.2.1:11434\"\nmodel = \"phi3.5:3.8b\"\n\
                    [[tier]]\nname = \"far\"\nprovider = \"openai\"\nurl = \"http://192.0.2.2/v1\"\nmodel = \"qwen-3-32b\"\n\
                    usd_per_million_input = 0.4\nusd_per_million_output = 0.8\n";
        let config: Config = toml::from_str(text).unwrap();
        let near_alone = text.replace("192.0.2.1", "127.0.0.1") + "[triage]\nprivacy = \"local_only\"\n";
        let near_alone = costs(&toml::from_str(&near_alone).unwrap(), 700);
        assert_eq!(near_alone.iter().map(|cost| (&*cost.tier, cost.questions)).collect::<Vec<_>>(), [("near", 700)]);
        let costs = costs(&config, 700);
        let asked: Vec<_> = costs.iter().map(|cost| (&*cost.tier, cost.questions)).collect();
        assert_eq!(asked, [("near", 700), ("far", 100)]);
        assert_eq!(costs[0].usd, 0.0, "no price is stated");
        let far = &costs[1];
        let at_least = far.tokens as f64 * 0.4 / 1e6;
        assert!(far.tokens > 100 * 200 && (at_least..at_least * 2.0).contains(&far.usd), "{far:?}");
    }

    #[test]
    fn a_higher_threshold_blocks_no_more_and_nothing_is_said_of_nothing() {
        let quiet = report(&line("203.0.113.7", 1, "/", 200));
        assert_eq!((quiet.blocked_clients, quiet.in_doubt, quiet.also_behaved.len()), (0, 0, 0));
        let mixed = report(
            &(line("203.0.113.7", 1, ATTACK, 200)
                + &line("203.0.113.9", 2, "/.env", 404)
                + &line("203.0.113.9", 2, "/.git/config", 404)),
        );
        assert!(mixed.thresholds.is_sorted_by(|a, b| a.clients >= b.clients), "{:?}", mixed.thresholds);
        assert_eq!(mixed.thresholds.len(), 5);
    }
}
