//! A question in words, how it is understood, and the answer.

use std::io::{self, Write};
use std::process::ExitCode;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::history::{decision_line, finding_line, say_instead};
use super::triage::runtime;
use super::{FAILED, Output, print_json, stdout};
use crate::config::Config;
use crate::event::{Timestamp, printable};
use crate::pipeline::ask::{self, Answer, Answered, AskedAt, ClientStory, Counted, Plan, Refusal, Subject};
use crate::pipeline::history::Whom;

/// Bytes of a key that are shown.
const KEY_BYTES: usize = 100;

#[derive(clap::Args)]
pub struct Arguments {
    /// In English, such as "show me all SSH attacks from last night"; docs/ask.md says what is understood.
    #[arg(required = true)]
    question: Vec<String>,
    /// Only show how the question is understood.
    #[arg(long)]
    plan: bool,
    /// Ask this host's database, though Postgres is configured.
    #[arg(long)]
    local: bool,
}

pub fn run(arguments: &Arguments, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let question = arguments.question.join(" ");
    let moment = AskedAt { now: Timestamp::now(), zone: TimeZone::system() };
    let runtime = runtime()?;
    let mut out = stdout();
    let planned = match runtime.block_on(ask::plan(config, &question, &moment)) {
        Ok(planned) => planned,
        Err(error) => match error.downcast::<Refusal>() {
            Ok(refusal) => return refuse(&mut out, &refusal, output),
            Err(error) => return Err(error),
        },
    };
    let (plan, is_human) = (&planned.understood.plan, output == Output::Human);
    if is_human {
        for (written, read) in &planned.understood.corrected {
            writeln!(out, "{} is read as {read:?}.", printable(format!("{written:?}").as_bytes(), KEY_BYTES))?;
        }
        if let Some(tier) = &planned.by {
            writeln!(out, "The grammar did not understand it; the model of tier {tier} made this plan.")?;
        }
        writeln!(out, "{}", printable(plan.sentence(&moment.zone).as_bytes(), 2000))?;
        let (command, remark) = plan.command();
        let remark = remark.map(|remark| format!(" ({remark})")).unwrap_or_default();
        writeln!(out, "  as: {}{remark}", printable(command.as_bytes(), 2000))?;
    }
    let whom = if arguments.local { Whom::Local } else { Whom::All };
    let told = match arguments.plan {
        true => None,
        false => Some(runtime.block_on(ask::answer(config, whom, plan, &moment))?),
    };
    told.iter().for_each(say_instead);
    let answered = told.as_ref().map(|told| &told.value);
    if is_human {
        if let Some(answered) = answered {
            writeln!(out)?;
            show(&mut out, plan, answered)?;
        }
    } else {
        let mut all = ask::as_json(&question, plan, &moment.zone, answered);
        all["by"] = json!(planned.by.as_deref().unwrap_or("grammar"));
        all["corrected"] = json!(planned.understood.corrected);
        print_json(&mut out, &all)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn refuse(out: &mut dyn Write, refusal: &Refusal, output: Output) -> anyhow::Result<ExitCode> {
    if output == Output::Human {
        eprintln!("palisade: {}", printable(refusal.why.as_bytes(), 2000));
        eprintln!("Understood is for example:");
        refusal.nearest.iter().for_each(|question| eprintln!("  palisade ask \"{question}\""));
    } else {
        writeln!(out, "{}", serde_json::to_string(&json!({ "refused": refusal }))?)?;
        out.flush()?;
    }
    Ok(ExitCode::from(FAILED))
}

fn show(out: &mut dyn Write, plan: &Plan, answered: &Answered) -> io::Result<()> {
    let Answered { answer, looked_at, partial } = answered;
    match answer {
        Answer::Rows(rows) => {
            let line = if plan.of == Subject::Decisions { decision_line } else { finding_line };
            rows.iter().try_for_each(|row| writeln!(out, "{}", line(row)))?;
            match rows.len() {
                0 => writeln!(out, "Nothing.")?,
                number if plan.limit == u32::try_from(number).ok() => writeln!(out, "There may be more.")?,
                _ => {}
            }
        }
        Answer::Count(count) => writeln!(out, "{count}")?,
        Answer::Top { keys, others } => {
            counted(out, keys)?;
            if *others > 0 {
                writeln!(out, "{others:>9} (all others)")?;
            }
        }
        Answer::Trend(steps) => counted(out, steps)?,
        Answer::Client(story) => client(out, story)?,
    }
    if *partial {
        writeln!(out, "Only the newest {looked_at} were looked at: ask for a shorter time.")?;
    }
    Ok(())
}

fn counted(out: &mut dyn Write, keys: &[Counted]) -> io::Result<()> {
    if keys.is_empty() {
        return writeln!(out, "Nothing.");
    }
    keys.iter().try_for_each(|one| writeln!(out, "{:>9} {}", one.count, printable(one.key.as_bytes(), KEY_BYTES)))
}

fn client(out: &mut dyn Write, story: &ClientStory) -> io::Result<()> {
    let time = |time: Option<Timestamp>| time.map_or("-".to_owned(), |time| time.to_string());
    writeln!(
        out,
        "{}: {} findings, {} of them to block, highest score {}; first {}, last {}",
        story.client,
        story.findings,
        story.to_block,
        story.max_score,
        time(story.first_seen),
        time(story.last_seen)
    )?;
    for (title, keys) in [
        ("Categories", &story.categories),
        ("Rules", &story.rules),
        ("Services", &story.services),
        ("Paths", &story.paths),
        ("Users", &story.users),
    ] {
        if !keys.is_empty() {
            writeln!(out, "{title}")?;
            counted(out, keys)?;
        }
    }
    if !story.decisions.is_empty() {
        writeln!(out, "Decisions")?;
    }
    story.decisions.iter().try_for_each(|row: &Value| writeln!(out, "{}", decision_line(row)))
}
