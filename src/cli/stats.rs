//! A time in figures.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::chart::Canvas;
use super::history::{Time, say_instead};
use super::triage::runtime;
use super::{Output, print_json, stdout};
use crate::config::Config;
use crate::event::{Timestamp, printable};
use crate::pipeline::csv;
use crate::pipeline::history::{self, Counts, Effect, Outlook, Ranked, Report, StatsQuery, Step, Teller};

/// Days that are drawn one a line; more become one line together.
const LINES: usize = 31;
/// Columns of a key in a list.
const KEY: usize = 44;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    time: Time,
    /// Steps of the trend; default: hours for up to three days, else days.
    #[arg(long, value_enum)]
    by: Option<By>,
    /// Lines of each list.
    #[arg(long, default_value_t = 10)]
    top: u32,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum By {
    Hour,
    Day,
}

pub fn run(arguments: &Arguments, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let query = StatsQuery {
        since: Some(arguments.time.since.clone()),
        until: arguments.time.until.clone(),
        agent: arguments.time.agent.clone(),
        by: arguments.by.map(|by| match by {
            By::Hour => Step::Hour,
            By::Day => Step::Day,
        }),
        top: Some(arguments.top),
    };
    let told = runtime()?.block_on(history::stats(config, arguments.time.whom(), &query))?;
    say_instead(&told);
    let mut out = stdout();
    match output {
        Output::Json | Output::Jsonl => print_json(&mut out, &told.value)?,
        Output::Csv => table(&mut out, &told.value)?,
        Output::Human => {
            let of = match (told.by, &arguments.time.agent) {
                (Teller::Local, _) => "this host".to_owned(),
                (Teller::Postgres, None) => "all agents".to_owned(),
                (Teller::Postgres, Some(agent)) => format!("agent {}", printable(agent.as_bytes(), 100)),
            };
            show(&mut out, &told.value, &of, Canvas::of_stdout())?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn show(out: &mut dyn Write, report: &Report, of: &str, canvas: Canvas) -> io::Result<()> {
    let days = (report.period.to.0 - report.period.from.0) as f64 / Step::Day.millis() as f64;
    let (from, to) = (minute(report.period.from), minute(report.period.to));
    writeln!(out, "{from} to {to} (UTC, {days:.1} days), {of}")?;
    if report.is_empty() {
        return writeln!(
            out,
            "Nothing was recorded. `palisade status` says what is read; `palisade scan FILE` finds what is in old logs."
        );
    }
    let totals = &report.totals;
    let Counts { findings, blocks, analysed } = totals.counts;
    writeln!(out, "Threat level: {}", report.threat_level.unwrap_or("none"))?;
    writeln!(out, "{findings} findings, {:.1} a day; {blocks} of them to block", totals.findings_per_day)?;
    if analysed > 0 {
        writeln!(out, "{analysed} other requests were looked at")?;
    }
    let against = |rate: Option<f64>, outlook: Outlook| match rate {
        Some(rate) => format!("{rate:.1} a day{}: {}", change(totals.findings_per_day, rate), outlook.as_str()),
        None => outlook.as_str().to_owned(),
    };
    writeln!(
        out,
        "  as long before (from {}): {}",
        minute(report.previous.from),
        against(totals.previous_per_day, totals.outlook)
    )?;
    writeln!(out, "  30 days before: {}", against(totals.baseline_per_day, totals.baseline_outlook))?;
    trend(out, report, canvas)?;
    let severities: Vec<Ranked> = report.severities.clone();
    for (title, list) in [
        ("Severity", &severities),
        ("Categories", &report.categories),
        ("Decided by", &report.decided_by),
        ("Clients", &report.clients),
        ("Networks", &report.networks),
        ("Paths", &report.paths),
        ("Rules", &report.rules),
    ] {
        ranked(out, title, list, canvas)?;
    }
    effect(out, &report.effect, &report.previous_effect)?;
    tiers(out, report)
}

fn trend(out: &mut dyn Write, report: &Report, canvas: Canvas) -> io::Result<()> {
    let counts: Vec<u64> = report.trend.iter().map(|one| u64::try_from(one.counts.findings).unwrap_or(0)).collect();
    let largest = counts.iter().copied().max().unwrap_or(0);
    let name = if report.step == Step::Hour { "hour" } else { "day" };
    writeln!(out, "\nFindings by {name}, at most {largest}")?;
    if report.step == Step::Day && counts.len() <= LINES {
        for (moment, count) in report.trend.iter().zip(&counts) {
            let bar = canvas.bar(*count, largest, canvas.columns.saturating_sub(24).max(8));
            writeln!(out, "  {} {count:>9} {bar}", day(moment.start))?;
        }
        return Ok(());
    }
    let (line, together) = canvas.line(&counts);
    let ends = if together > 1 { format!(", {together} a column") } else { String::new() };
    writeln!(out, "  {line}")?;
    writeln!(out, "  {} to {}{ends}", minute(report.period.from), minute(report.period.to))
}

fn ranked(out: &mut dyn Write, title: &str, list: &[Ranked], canvas: Canvas) -> io::Result<()> {
    if list.is_empty() {
        return Ok(());
    }
    // Numbers take what remains of a narrow terminal.
    let key = KEY.min(canvas.columns.saturating_sub(36)).max(12);
    writeln!(out, "\n{title:<width$} {:>9} {:>8} {:>9}", "findings", "blocks", "before", width = key + 2)?;
    for Ranked { top, outlook } in list {
        let name = if top.key.is_empty() { "(all others)".to_owned() } else { fitted(&top.key, key, canvas) };
        writeln!(
            out,
            "  {name:<key$} {:>9} {:>8} {:>9} {}",
            top.counts.findings,
            top.counts.blocks,
            top.previous.findings,
            if *outlook == Outlook::Steady { "" } else { outlook.as_str() }
        )?;
    }
    Ok(())
}

fn effect(out: &mut dyn Write, now: &Effect, before: &Effect) -> io::Result<()> {
    let taken = |effect: &Effect| {
        effect.pending + effect.active + effect.expired + effect.lifted + effect.refused + effect.held
    };
    writeln!(out, "\nBlocking: {} decisions, {} the time before", taken(now), taken(before))?;
    if taken(now) == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "  {} in force, {} on their way, {} held, {} over, {} lifted, {} refused by the gate",
        now.active, now.pending, now.held, now.expired, now.lifted, now.refused
    )?;
    let back = now.returned as f64 * 100.0 / now.targets.max(1) as f64;
    let back_before = before.returned as f64 * 100.0 / before.targets.max(1) as f64;
    writeln!(
        out,
        "  {} targets, {} of them came back after an earlier block ({back:.0} %, the time before {back_before:.0} %)",
        now.targets, now.returned
    )?;
    if now.simulated > 0 || now.imported > 0 {
        writeln!(out, "  {} in dry run alone, {} of lists", now.simulated, now.imported)?;
    }
    Ok(())
}

fn tiers(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    if report.tiers.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nModels and services")?;
    for tier in &report.tiers {
        let spent = &tier.spent;
        let before = tier.previous.as_ref().map_or(0, |previous| previous.calls);
        writeln!(
            out,
            "  {} [{}]: {} calls ({before} the time before), {} answered, {:.0} ms each, {} tokens, {:.4} USD",
            printable(spent.service.as_bytes(), 60),
            printable(spent.model.as_bytes(), 60),
            spent.calls,
            spent.answered,
            tier.mean_millis,
            spent.input_tokens + spent.output_tokens,
            spent.usd
        )?;
    }
    Ok(())
}

/// One number a record: section, key, what it counts, the number, and the one of the period before.
fn table(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let mut row = |section: &str, key: &str, measure: &str, value: Value, previous: Value| {
        csv::record(out, &[json!(section), json!(key), json!(measure), value, previous])
    };
    row("section", "key", "measure", json!("value"), json!("previous"))?;
    row("period", "", "from", json!(report.period.from), json!(report.previous.from))?;
    row("period", "", "to", json!(report.period.to), json!(report.previous.to))?;
    row("totals", "", "threat_level", json!(report.threat_level), Value::Null)?;
    let totals = &report.totals;
    row("totals", "", "findings_per_day", json!(totals.findings_per_day), json!(totals.previous_per_day))?;
    row("totals", "", "baseline_per_day", json!(totals.baseline_per_day), Value::Null)?;
    row("totals", "", "outlook", json!(totals.outlook), Value::Null)?;
    row("totals", "", "baseline_outlook", json!(totals.baseline_outlook), Value::Null)?;
    let mut counts = |section: &str, key: &str, now: Counts, previous: Option<Counts>| -> io::Result<()> {
        row(section, key, "findings", json!(now.findings), json!(previous.map(|one| one.findings)))?;
        row(section, key, "blocks", json!(now.blocks), json!(previous.map(|one| one.blocks)))?;
        row(section, key, "analysed", json!(now.analysed), json!(previous.map(|one| one.analysed)))
    };
    counts("totals", "", totals.counts, Some(totals.previous))?;
    for one in &report.trend {
        counts("trend", &one.start.to_string(), one.counts, None)?;
    }
    for (section, list) in [
        ("severity", &report.severities),
        ("category", &report.categories),
        ("decided_by", &report.decided_by),
        ("client", &report.clients),
        ("network", &report.networks),
        ("path", &report.paths),
        ("rule", &report.rules),
    ] {
        for Ranked { top, .. } in list {
            counts(section, &top.key, top.counts, Some(top.previous))?;
        }
    }
    for (measure, value) in json!(report.effect).as_object().into_iter().flatten() {
        row("effect", "", measure, value.clone(), json!(report.previous_effect)[measure].clone())?;
    }
    for tier in &report.tiers {
        let name = format!("{} {}", tier.spent.service, tier.spent.model);
        let previous = json!(tier.previous);
        for (measure, value) in
            json!(tier.spent).as_object().into_iter().flatten().filter(|(_, value)| value.is_number())
        {
            row("tier", &name, measure, value.clone(), previous[measure].clone())?;
        }
        row("tier", &name, "mean_millis", json!(tier.mean_millis), Value::Null)?;
    }
    Ok(())
}

/// By how much, in percent.
fn change(now: f64, before: f64) -> String {
    if before > 0.0 { format!(" ({:+.0} %)", (now - before) / before * 100.0) } else { String::new() }
}

/// `key`, safe for a terminal, in so many columns.
fn fitted(key: &str, columns: usize, canvas: Canvas) -> String {
    let mut text = printable(key.as_bytes(), 400);
    if !canvas.unicode {
        text = text.chars().map(|sign| if sign.is_ascii() { sign } else { '?' }).collect();
    }
    if text.chars().count() > columns {
        text = text.chars().take(columns.saturating_sub(2)).collect::<String>() + "..";
    }
    text
}

fn minute(time: Timestamp) -> String {
    time.to_string().get(..16).map_or_else(|| time.to_string(), |minute| format!("{minute}Z"))
}

fn day(time: Timestamp) -> String {
    time.to_string().split('T').next().unwrap_or_default().to_owned()
}
