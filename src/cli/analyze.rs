//! An incident report out of any log.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::triage::runtime;
use super::{FAILED, Output, load_rules, print_json, stdout, with_allow_files};
use crate::config::Config;
use crate::event::analysis::{Analysis, Threat, ThreatOutcome};
use crate::event::printable;
use crate::pipeline::analysis::{self, Format, Options, Progress, Sensitivity, Source, TierConfig, samples};
use crate::pipeline::spending::Purse;

/// Threats and lines of each that people are shown at once.
const SHOWN_THREATS: usize = 50;
const SHOWN_LINES: usize = 3;

#[derive(clap::Args)]
pub struct Arguments {
    /// Logs of any kind, also packed by gzip or zstd; `-` is standard input.
    #[arg(required_unless_present_any = ["sample", "list", "show"])]
    files: Vec<PathBuf>,
    /// A name of `palisade config formats`, a format string, or `auto`.
    #[arg(long, default_value = "auto")]
    format: String,
    /// How much must speak for a threat: low, medium or high; default: as configured.
    #[arg(long, value_parser = sensitivity)]
    sensitivity: Option<Sensitivity>,
    /// Look at a sample instead: brute-force, sql-injection, ransomware, insider, flood, privilege-escalation,
    /// c2-beacon, phishing, mining, slow-intrusion or clean.
    #[arg(long, value_name = "NAME", conflicts_with = "files")]
    sample: Option<String>,
    /// Keep what came of it, none of the text, for `--list` and `--show`.
    #[arg(long)]
    keep: bool,
    /// Show the analyses that were kept.
    #[arg(long, conflicts_with_all = ["files", "sample", "keep", "learn"])]
    list: bool,
    /// Show one that was kept again, by its id in `--list`; with `--write` as a report.
    #[arg(long, value_name = "ID", conflicts_with_all = ["files", "sample", "keep", "learn", "list", "model"])]
    show: Option<String>,
    /// Learn from these logs, in which nothing is wrong, what is usual here.
    #[arg(long, conflicts_with_all = ["sample", "keep"])]
    learn: bool,
    /// Have the model of this [[tier]] tell it in words; it is shown addresses and users, and no secrets.
    #[arg(long, value_name = "TIER", conflicts_with_all = ["list", "learn"])]
    model: Option<String>,
    /// Ask the services under [reputation] about public addresses of threats: these leave your host.
    #[arg(long, conflicts_with_all = ["list", "learn", "show"])]
    reputation: bool,
    /// Write a report too: by the ending of its name .pdf, .xlsx, .html, .csv or .json, or as `--as` says.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["list", "learn"])]
    write: Option<PathBuf>,
    /// json, csv, xlsx, pdf, pdf-summary (one page), html, stix, ecs or ocsf.
    #[arg(long = "as", value_name = "FORMAT", requires = "write", value_parser = report_format)]
    write_as: Option<Format>,
    /// What was learned, or where to keep it; default: as configured, else baseline.json in the state directory.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

fn sensitivity(text: &str) -> Result<Sensitivity, String> {
    match text {
        "low" => Ok(Sensitivity::Low),
        "medium" => Ok(Sensitivity::Medium),
        "high" => Ok(Sensitivity::High),
        _ => Err("low, medium or high".into()),
    }
}

fn report_format(text: &str) -> Result<Format, String> {
    Format::parse(text)
        .ok_or_else(|| format!("one of {}", Format::ALL.iter().map(|one| one.name()).collect::<Vec<_>>().join(", ")))
}

/// The format that is asked for, or that the file's name ends with.
fn format_of(arguments: &Arguments, path: &Path) -> anyhow::Result<Format> {
    let ending = || path.extension()?.to_str().and_then(Format::parse);
    arguments.write_as.or_else(ending).with_context(|| {
        format!("what is {} to be? Say it with `--as`, such as `--as pdf`, or by the name's ending", path.display())
    })
}

pub fn run(arguments: &Arguments, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    if arguments.list {
        return list(config, output);
    }
    // Before the work, not after it.
    let wanted = arguments.write.as_deref().map(|path| Ok::<_, anyhow::Error>((path, format_of(arguments, path)?)));
    let wanted = wanted.transpose()?;
    if let Some(id) = &arguments.show {
        let kept = runtime()?.block_on(analysis::kept(config, id))?;
        let kept = kept.with_context(|| {
            format!("no analysis {id:?} was kept, or its figures alone; `palisade analyze --list` has what there is")
        })?;
        return tell(&kept, wanted, config, output);
    }
    let tier = arguments.model.as_deref().map(|name| analysis::tier(config, name));
    let rules = load_rules(config)?;
    let config = &with_allow_files(config)?;
    let options = Options {
        sensitivity: arguments.sensitivity,
        format: arguments.format.clone(),
        baseline: arguments.baseline.clone().filter(|_| !arguments.learn),
    };
    let sources = match &arguments.sample {
        None => analysis::sources(&arguments.files)?,
        Some(name) => vec![sample(name)?],
    };
    let bar = progress_bar();
    let mut progress = |Progress { lines, lines_in_all }: Progress| {
        bar.set_length(lines_in_all);
        bar.set_position(lines);
    };
    if arguments.learn {
        let baseline = analysis::learn(config, &rules, sources, &options, &mut progress)?;
        bar.finish_and_clear();
        let path = analysis::baseline_path(config, arguments.baseline.as_deref());
        let failed = || format!("cannot write {}", path.display());
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory).with_context(failed)?;
        }
        std::fs::write(&path, serde_json::to_vec_pretty(&baseline)?).with_context(failed)?;
        let mut out = stdout();
        match output {
            Output::Human => writeln!(
                out,
                "Learned from {} lines: {} users, {} networks of logins, {} resources. Kept in {}.",
                baseline.lines,
                baseline.users.len(),
                baseline.networks.len(),
                baseline.resources.len(),
                path.display()
            )?,
            _ => print_json(&mut out, &baseline)?,
        }
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut analysis = analysis::analyze(config, &rules, sources, &options, &mut progress)?;
    bar.finish_and_clear();
    if arguments.reputation || tier.is_some() {
        // The analysis stands without them.
        if let Err(error) = runtime()?.block_on(advised(config, tier, arguments.reputation, &mut analysis)) {
            eprintln!("palisade: nobody can be asked: {error:#}");
        }
    }
    if arguments.keep {
        runtime()?.block_on(analysis::keep(config, &analysis))?;
    }
    tell(&analysis, wanted, config, output)
}

/// Has services say what they know of addresses, and the model of `tier` tell the analysis; says what that cost.
async fn advised(
    config: &Config,
    tier: Option<anyhow::Result<&TierConfig>>,
    reputation: bool,
    analysis: &mut Analysis,
) -> anyhow::Result<()> {
    let tier = tier.transpose();
    let tiers = tier.as_ref().ok().and_then(|tier| *tier).map(std::slice::from_ref).unwrap_or_default();
    let (purse, mut calls) = (Purse::open(config, tiers).await?, vec![]);
    if reputation {
        let looked_up = analysis::look_up(&purse.advisers, analysis, &mut calls).await;
        if let Some(why) = &looked_up.why {
            eprintln!("palisade: {} of {} addresses were looked up: {why}", looked_up.asked, looked_up.public);
        }
    }
    let told = match tier {
        Ok(Some(tier)) => analysis::tell(&purse.advisers, &tier.name, analysis, &mut calls).await,
        other => other.map(|_| ()),
    };
    if let Err(error) = told {
        eprintln!("palisade: no model tells it: {error:#}");
    }
    if !calls.is_empty() {
        eprintln!("palisade: {}", purse.settle(&calls).await);
    }
    Ok(())
}

/// Writes `analysis` down, and tells it.
fn tell(
    analysis: &Analysis,
    wanted: Option<(&Path, Format)>,
    config: &Config,
    output: Output,
) -> anyhow::Result<ExitCode> {
    if let Some((path, format)) = wanted {
        let report = analysis::export(format, analysis, &config.report)?;
        std::fs::write(path, report).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut out = stdout();
    match output {
        Output::Human => human(&mut out, analysis)?,
        Output::Jsonl => analysis.threats.iter().try_for_each(|threat| print_json(&mut out, threat))?,
        Output::Json | Output::Csv => print_json(&mut out, analysis)?,
    }
    out.flush()?;
    Ok(if analysis.threats.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn sample(name: &str) -> anyhow::Result<Source> {
    let Some(sample) = samples::find(name) else {
        let names: Vec<&str> = samples::SAMPLES.iter().map(|sample| sample.name).collect();
        bail!("no sample is called {name:?}; there are {}", names.join(", "));
    };
    Ok(Source::of_text(&format!("sample {name}"), sample.text().into_bytes()))
}

fn list(config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let rows = runtime()?.block_on(analysis::list(config, 100))?;
    let mut out = stdout();
    match output {
        Output::Human if rows.is_empty() => {
            writeln!(out, "No analysis was kept; `palisade analyze --keep` keeps one.")?
        }
        Output::Human => {
            for row in &rows {
                let (lines, threats) = (row.log_count, row.threat_count);
                let source = printable(row.source.as_bytes(), 120);
                writeln!(
                    out,
                    "{} {} {lines} lines, {threats} threats, {} — {source}",
                    row.at, row.id, row.health_status
                )?;
            }
        }
        Output::Jsonl => rows.iter().try_for_each(|row| print_json(&mut out, row))?,
        Output::Json | Output::Csv => print_json(&mut out, &rows)?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn human(out: &mut impl Write, analysis: &Analysis) -> anyhow::Result<()> {
    let Analysis { input, risk, threats, compliance, .. } = analysis;
    let formats: Vec<String> = input.formats.iter().map(|one| format!("{} {}", one.count, one.name)).collect();
    let formats = if formats.is_empty() { "plain text".to_owned() } else { formats.join(", ") };
    writeln!(
        out,
        "{}: {} lines ({formats}), {} of no known format, in {} ms",
        input.names.join(", "),
        input.lines,
        input.unparsed,
        input.took_ms
    )?;
    if let (Some(first), Some(last)) = (input.first_time, input.last_time) {
        writeln!(out, "{first} – {last}")?;
    }
    let level = analysis.threat_level.map_or("none", |level| level.as_str());
    writeln!(out, "\nThreat level {level}, risk {}/100 ({}).", risk.score, risk.health)?;
    if threats.is_empty() {
        writeln!(out, "No threats found.")?;
    }
    for threat in threats.iter().take(SHOWN_THREATS) {
        one(out, threat)?;
    }
    if threats.len() > SHOWN_THREATS {
        writeln!(out, "\n{} more threats; --output json has them all.", threats.len() - SHOWN_THREATS)?;
    }
    if !analysis.addresses.is_empty() {
        writeln!(out, "\nAddresses:")?;
    }
    for address in analysis.addresses.iter().take(20) {
        let country = address.country.as_deref().unwrap_or("-");
        let network = address.network.as_deref().map_or(String::new(), |network| format!(" {network}"));
        let network = address.asn.map_or(network.clone(), |asn| format!("{network} AS{asn}"));
        let reputation = address.reputation.map_or(String::new(), |score| format!(", reputation {score}/100"));
        writeln!(
            out,
            "  {:<39} {country}{network} {} lines, {}{reputation}",
            address.address.to_string(),
            address.lines,
            address.threats.join(" ")
        )?;
    }
    if !analysis.deviations.is_empty() {
        writeln!(out, "\nNot as learned:")?;
    }
    for deviation in analysis.deviations.iter().take(20) {
        writeln!(out, "  {} {}: {} {}", deviation.kind, deviation.value, deviation.reason, cited(&deviation.lines))?;
    }
    writeln!(
        out,
        "\nLogins: {}, failed: {}. Changes: {}. Sensitive access: {}.",
        compliance.logins,
        compliance.failed_logins,
        compliance.changes.len(),
        compliance.sensitive_access.len()
    )?;
    for user in compliance.users.iter().take(10) {
        writeln!(
            out,
            "  {:<24} {} logins, {} failed, {} changes",
            user.user, user.logins, user.failed_logins, user.changes
        )?;
    }
    Ok(())
}

fn one(out: &mut impl Write, threat: &Threat) -> anyhow::Result<()> {
    let Threat { id, kind, severity, confidence, risk, description, recommendation, lines, .. } = threat;
    let outcome = match threat.outcome {
        ThreatOutcome::Succeeded => ", succeeded",
        ThreatOutcome::Failed => ", stopped",
        ThreatOutcome::Unknown => "",
    };
    let grade = severity.as_str().to_uppercase();
    writeln!(out, "\n{id} {grade} {}{outcome} (confidence {confidence}/10, risk {risk})", kind.title())?;
    writeln!(out, "   {description} {}", cited(lines))?;
    for sample in threat.samples.iter().take(SHOWN_LINES) {
        writeln!(out, "   {:>7} | {}", sample.line, sample.text)?;
    }
    writeln!(out, "   → {recommendation}")?;
    Ok(())
}

/// The first lines, for people.
fn cited(lines: &[u64]) -> String {
    let first: Vec<String> = lines.iter().take(8).map(ToString::to_string).collect();
    match lines.len() {
        0 => String::new(),
        1 => format!("[line {}]", first[0]),
        2..=8 => format!("[lines {}]", first.join(", ")),
        _ => format!("[lines {}, …]", first.join(", ")),
    }
}

/// A bar on a terminal, else nothing.
fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos} of {len} lines, {eta} left") {
        bar.set_style(style);
    }
    bar
}
