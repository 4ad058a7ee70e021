use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{Logs, Output, load_rules, print_json, stdout, with_allow_files};
use crate::config::Config;
use crate::event::{Action, Category, Finding, Timestamp, printable};
use crate::pipeline::replay::{self, Found, Totals};
use crate::pipeline::shadow::{Behaved, Cost, Report, Shadow, Threshold};

/// One flagged line, as scripts read it.
#[derive(Serialize)]
struct Row<'a> {
    file: &'a str,
    line_number: Option<u64>,
    offset: u64,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_ip: Option<IpAddr>,
    method: &'a str,
    uri: &'a str,
    status: u16,
    user_agent: &'a str,
    category: Category,
    rule_ids: Vec<&'a str>,
    score: u8,
    decision: Action,
    decided_by: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
pub(super) struct WouldBlock {
    pub source_ip: String,
    pub line_number: Option<u64>,
    pub time: Timestamp,
    pub category: Category,
    pub score: u8,
    pub duration_secs: u64,
    /// What the gate says to it, where it can tell without looking at the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<&'static str>,
}

#[derive(Serialize)]
pub(super) struct Summary {
    pub lines: u64,
    pub parsed: u64,
    pub unparsed: u64,
    pub overlong: u64,
    pub flagged: u64,
    pub clients: usize,
    pub would_block: Vec<WouldBlock>,
    pub bytes: u64,
    pub seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
}

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    logs: Logs,
    /// With what enforcing would have done, also where programs read; people are always told.
    #[arg(long)]
    report: bool,
    /// Write the report as one page that a browser shows, with plots.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub fn run(
    Arguments { logs: arguments, report, html }: &Arguments,
    config: &Config,
    output: Output,
) -> anyhow::Result<ExitCode> {
    // The process ends with the scan: to take every pattern apart would be for nothing.
    let rules = std::mem::ManuallyDrop::new(load_rules(config)?);
    let config = &with_allow_files(config)?;
    let started = Instant::now();
    let bar = progress_bar(&arguments.files);
    let mut out = stdout();
    let mut scratch = replay::Scratch::new();
    let mut clients = std::collections::HashSet::new();
    let mut would_block = vec![];
    let mut each = |found: &Found<'_>| -> anyhow::Result<()> {
        clients.insert(found.record.client);
        // Building the finding costs more than finding it: only for those who look at it.
        let finding = match output {
            Output::Json if found.settled.ban_secs.is_none() => return Ok(()),
            Output::Json => found.outline(),
            _ => found.finding(&mut scratch),
        };
        let Some(finding) = finding else { return Ok(()) };
        if let (Some(client), Some(duration_secs)) = (finding.client, found.settled.ban_secs) {
            would_block.push(WouldBlock {
                source_ip: finding.source_ip.map(|address| address.to_string()).unwrap_or_default(),
                line_number: finding.line_number,
                time: finding.time,
                category: finding.category,
                score: finding.score,
                duration_secs,
                refused: replay::standing_refusal(client.network(), &config.client),
            });
        }
        match output {
            Output::Jsonl | Output::Csv => print_json(&mut out, &row(&finding))?,
            Output::Human => writeln!(out, "{}", one_line(&finding))?,
            Output::Json => {}
        }
        Ok(())
    };
    let mut shadow = (*report || html.is_some() || output == Output::Human).then(Shadow::default);
    let mut progress = |bytes| bar.set_position(bytes);
    let (files, format) = (&arguments.files, &arguments.format);
    let totals = replay::scan(config, &rules, files, format, &mut each, &mut progress, shadow.as_mut())?;
    bar.finish_and_clear();
    let clients = clients.len() - usize::from(clients.contains(&0));
    let Totals { lines, parsed, unparsed, overlong, flagged, bytes } = totals;
    let seconds = started.elapsed().as_secs_f64();
    let report = shadow.map(|shadow| shadow.report(lines, config));
    let summary = Summary { lines, parsed, unparsed, overlong, flagged, clients, would_block, bytes, seconds, report };
    if let Some(path) = html {
        let page = super::scan_page::page(&summary, config);
        std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    match output {
        Output::Human => human_summary(&mut out, &summary)?,
        Output::Json => print_json(&mut out, &summary)?,
        Output::Jsonl | Output::Csv => print_json(&mut out, &serde_json::json!({ "summary": summary }))?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn row(finding: &Finding) -> Row<'_> {
    Row {
        file: &finding.file,
        line_number: finding.line_number,
        offset: finding.offset,
        time: finding.time,
        source_ip: finding.source_ip,
        method: &finding.method,
        uri: &finding.uri,
        status: finding.status,
        user_agent: &finding.user_agent,
        category: finding.category,
        rule_ids: finding.rule_ids.iter().map(|id| &**id).collect(),
        score: finding.score,
        decision: finding.action,
        decided_by: finding.verdict.decided_by.as_str(),
        reason: &finding.verdict.reasoning,
    }
}

/// A finding for people: when, who, what, why.
pub fn one_line(finding: &Finding) -> String {
    let client = finding.source_ip.map_or("-".into(), |address| address.to_string());
    format!(
        "{} {:<7} {:>2}/10 {client:<15} {} {} → {} ({})",
        finding.time,
        finding.action.as_str(),
        finding.score,
        finding.method,
        printable(finding.uri.as_bytes(), 120),
        finding.status,
        finding.verdict.reasoning,
    )
}

fn human_summary(out: &mut impl Write, summary: &Summary) -> anyhow::Result<()> {
    let rate = summary.lines as f64 / summary.seconds.max(1e-9);
    writeln!(
        out,
        "\n{} lines in {:.2} s ({:.0} a second): {} understood, {} not, {} flagged, {} suspicious clients.",
        summary.lines, summary.seconds, rate, summary.parsed, summary.unparsed, summary.flagged, summary.clients
    )?;
    if summary.parsed == 0 && summary.unparsed > 0 {
        writeln!(
            out,
            "No line is of a known format, so this says nothing about them: `palisade config formats` lists the known \
             ones, and --format takes the format string of your server."
        )?;
        return Ok(());
    }
    if summary.would_block.is_empty() {
        writeln!(out, "Nobody would have been blocked.")?;
    } else {
        writeln!(out, "Would have blocked:")?;
    }
    for block in &summary.would_block {
        let refused = block.refused.map_or(String::new(), |why| format!("  (the gate refuses: {why})"));
        writeln!(
            out,
            "  {} {:<39} {} {}/10 for {}{refused}",
            block.time,
            block.source_ip,
            block.category,
            block.score,
            duration(block.duration_secs)
        )?;
    }
    match &summary.report {
        Some(report) if summary.flagged > 0 => human_report(out, report),
        _ => Ok(()),
    }
}

/// What to know before enforcing.
fn human_report(out: &mut impl Write, report: &Report) -> anyhow::Result<()> {
    writeln!(out, "\nBefore you enforce:")?;
    let bytes = HumanBytes(report.spared_bytes);
    writeln!(
        out,
        "  {:.2} % of the lines are attacks; blocking would have spared {} lines and {bytes} of answers.",
        report.attack_percent, report.spared_lines
    )?;
    writeln!(
        out,
        "  {} findings are in doubt: models, if configured, would be asked some {} questions.",
        report.in_doubt, report.questions
    )?;
    for Cost { tier, questions, tokens, usd } in &report.costs {
        writeln!(out, "    {tier}: some {questions} questions, {tokens} tokens, {usd:.4} $ by its configured prices")?;
    }
    writeln!(out, "  thresholds.block   clients blocked   of them also behaved")?;
    for Threshold { block, clients, also_behaved } in &report.thresholds {
        writeln!(out, "  {block:>16}   {clients:>15}   {also_behaved:>20}")?;
    }
    if report.also_behaved.is_empty() {
        writeln!(out, "  Nobody who would have been blocked did anything else.")?;
        return Ok(());
    }
    writeln!(out, "  {} who would have been blocked also behaved; look at them first:", report.also_behaved_in_all)?;
    for one in report.also_behaved.iter().take(10) {
        let Behaved { source_ip, served, logins, lines, score } = one;
        let logins = if *logins > 0 { format!(", {logins} logins") } else { String::new() };
        writeln!(out, "    {source_ip:<39} {served} pages served{logins}, {lines} lines, {score}/10")?;
    }
    Ok(())
}

/// `secs` for people: the largest unit that divides it.
pub fn duration(secs: u64) -> String {
    match secs {
        _ if secs > 0 && secs.is_multiple_of(86_400) => format!("{} d", secs / 86_400),
        _ if secs > 0 && secs.is_multiple_of(3600) => format!("{} h", secs / 3600),
        _ if secs > 0 && secs.is_multiple_of(60) => format!("{} min", secs / 60),
        _ => format!("{secs} s"),
    }
}

/// A bar on a terminal, else nothing.
fn progress_bar(files: &[PathBuf]) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let total: u64 = files.iter().filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum();
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent}% {binary_bytes_per_sec} {eta} left") {
        bar.set_style(style);
    }
    bar
}
