//! The findings and decisions of a time, as a list.

use std::io::Write;
use std::process::ExitCode;

use serde_json::Value;

use super::operate::text;
use super::triage::runtime;
use super::{Output, print_json, stdout};
use crate::config::Config;
use crate::event::printable;
use crate::pipeline::csv;
use crate::pipeline::history::{self, HistoryQuery, Told, Whom};

pub const FINDING_COLUMNS: &str = "time agent id case_id decision_id client source_ip method uri status user_agent referer \
     category score rule_ids decision verdict confidence decided_by reasoning flagged is_system_url file line_number offset";
pub const DECISION_COLUMNS: &str = "created_at agent id target state simulated proposer category score reason finding_id \
     expires_at permanent offences note";

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    time: Time,
    /// Of this client, or of all clients in this network.
    #[arg(long, value_name = "IP|NETWORK")]
    client: Option<String>,
    /// Decisions instead of findings.
    #[arg(long, conflicts_with_all = ["category", "rule", "action", "decided_by", "case", "contains", "min_score", "analysed"])]
    decisions: bool,
    /// Of decisions: pending, active, held, expired, lifted or refused.
    #[arg(long, requires = "decisions")]
    state: Option<String>,
    #[arg(long)]
    category: Option<String>,
    /// A rule's or window's id.
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    /// none, monitor or block: what was to happen, before the gate.
    #[arg(long)]
    action: Option<String>,
    /// rules, cache, tier1, tier2 or operator.
    #[arg(long)]
    decided_by: Option<String>,
    /// What one client did without a pause of an hour.
    #[arg(long, value_name = "ID")]
    case: Option<String>,
    /// This text in the URI, letter by letter.
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    /// Of this score, 1 to 10, or more.
    #[arg(long, value_name = "SCORE", default_value_t = 0)]
    min_score: u8,
    /// Also what was looked at and is no finding (kept with record = "analysed").
    #[arg(long)]
    analysed: bool,
    /// The newest so many.
    #[arg(long, default_value_t = 100)]
    limit: u32,
}

/// What the verbs about the past have in common.
#[derive(clap::Args)]
pub struct Time {
    /// 7d, 24h or 30m ago, a date or a time of RFC 3339; in UTC.
    #[arg(long, value_name = "WHEN", default_value = "7d")]
    pub since: String,
    /// The same; default: now.
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    /// Of this agent alone; only Postgres knows several.
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Ask this host's database, though Postgres is configured.
    #[arg(long)]
    pub local: bool,
}

impl Time {
    pub fn whom(&self) -> Whom {
        if self.local { Whom::Local } else { Whom::All }
    }
}

pub fn run(arguments: &Arguments, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let query = HistoryQuery {
        since: Some(arguments.time.since.clone()),
        until: arguments.time.until.clone(),
        agent: arguments.time.agent.clone(),
        client: arguments.client.clone(),
        decisions: arguments.decisions,
        category: arguments.category.clone(),
        rule: arguments.rule.clone(),
        action: arguments.action.clone(),
        decided_by: arguments.decided_by.clone(),
        case: arguments.case.clone(),
        contains: arguments.contains.clone(),
        min_score: arguments.min_score,
        analysed: arguments.analysed,
        state: arguments.state.clone(),
        limit: Some(arguments.limit),
    };
    let told = runtime()?.block_on(history::history(config, arguments.time.whom(), &query))?;
    say_instead(&told);
    let rows = &told.value;
    let mut out = stdout();
    match output {
        Output::Json => print_json(&mut out, rows)?,
        Output::Jsonl => rows.iter().try_for_each(|row| print_json(&mut out, row))?,
        Output::Csv => {
            let columns = if arguments.decisions { DECISION_COLUMNS } else { FINDING_COLUMNS };
            let columns: Vec<&str> = columns.split_whitespace().collect();
            csv::record(&mut out, columns.iter().map(|name| Value::from(*name)).collect::<Vec<_>>().iter())?;
            rows.iter().try_for_each(|row| csv::record(&mut out, columns.iter().map(|name| &row[*name])))?;
        }
        Output::Human if rows.is_empty() => writeln!(out, "Nothing since {}.", arguments.time.since)?,
        Output::Human => {
            let line = if arguments.decisions { decision_line } else { finding_line };
            rows.iter().try_for_each(|row| writeln!(out, "{}", line(row)))?;
            if rows.len() == arguments.limit as usize {
                writeln!(out, "There may be more: --limit, --until {}", time(rows.last().unwrap_or(&Value::Null)))?;
            }
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Says on standard error why Postgres was not asked.
pub fn say_instead<T>(told: &Told<T>) {
    if let Some(why) = &told.instead {
        eprintln!("palisade: {}; this host's own database answers", printable(why.as_bytes(), 1000));
    }
}

fn time(row: &Value) -> String {
    text(if row["time"].is_string() { &row["time"] } else { &row["created_at"] })
}

pub fn finding_line(row: &Value) -> String {
    let client = if row["client"].is_string() { text(&row["client"]) } else { "-".into() };
    let decision = match row["decision_id"].as_str() {
        Some(_) => format!("; palisade why {}", text(&row["decision_id"])),
        None => String::new(),
    };
    format!(
        "{} {:<7} {:>2}/10 {client:<15} {} {} {} → {}: {}\n    {}finding {}, case {}{decision}",
        text(&row["time"]),
        if row["flagged"] == false { "no".into() } else { text(&row["decision"]) },
        row["score"],
        text(&row["category"]),
        text(&row["method"]),
        printable(row["uri"].as_str().unwrap_or_default().as_bytes(), 120),
        row["status"],
        text(&row["reasoning"]),
        agent(row),
        text(&row["id"]),
        text(&row["case_id"]),
    )
}

pub fn decision_line(row: &Value) -> String {
    let dry = if row["simulated"] == true { " (dry run)" } else { "" };
    let end = if row["permanent"] == true { "it is lifted".into() } else { text(&row["expires_at"]) };
    let life: Vec<String> = row["changes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|change| {
            let note = text(&change["note"]);
            let note = if note.is_empty() { note } else { format!(" ({note})") };
            format!("{} {}{note}", text(&change["state"]), text(&change["at"]))
        })
        .collect();
    format!(
        "{} {:<8} {:<18} until {end}{dry} by {}: {}\n    {}{}\n    palisade why {}",
        text(&row["created_at"]),
        text(&row["state"]),
        text(&row["target"]),
        text(&row["proposer"]),
        text(&row["reason"]),
        agent(row),
        life.join(", "),
        text(&row["id"]),
    )
}

fn agent(row: &Value) -> String {
    match row["agent"].as_str() {
        None | Some("") => String::new(),
        Some(_) => format!("{}: ", text(&row["agent"])),
    }
}
