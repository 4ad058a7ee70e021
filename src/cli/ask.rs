//! A question in words, how it is understood, and the answer.

use std::io::{self, Write};
use std::process::ExitCode;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::history::{DECISION_COLUMNS, FINDING_COLUMNS, decision_line, finding_line, say_instead};
use super::triage::runtime;
use super::{FAILED, Output, print_json, stdout};
use crate::config::Config;
use crate::event::{Timestamp, printable};
use crate::pipeline::ask::{self, Answer, Answered, AskedAt, ClientStory, Counted, Plan, Refusal, Subject};
use crate::pipeline::csv;
use crate::pipeline::history::Whom;

/// Bytes of a key that are shown.
const KEY_BYTES: usize = 100;

#[derive(clap::Args)]
pub struct Arguments {
    /// In English, such as "show me all SSH attacks from last night", or the name of a saved one; docs/ask.md says
    /// what is understood.
    #[arg(required_unless_present = "list")]
    question: Vec<String>,
    /// Show the questions that have a name under [ask.saved].
    #[arg(long, conflicts_with_all = ["question", "plan"])]
    list: bool,
    /// Only show how the question is understood.
    #[arg(long)]
    plan: bool,
    /// Ask this host's database, though Postgres is configured.
    #[arg(long)]
    local: bool,
}

pub fn run(arguments: &Arguments, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    if arguments.list {
        return list(config, output);
    }
    let asked = arguments.question.join(" ");
    let question = config.ask.question(&asked).to_owned();
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
    if let Some(bill) = &planned.bill {
        eprintln!("palisade: {bill}");
    }
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
    } else if let (Output::Csv, Some(answered)) = (output, answered) {
        rows(&mut out, plan, &answered.answer)?;
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

fn list(config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let (saved, mut out) = (&config.ask.saved, stdout());
    match output {
        Output::Human if saved.is_empty() => {
            writeln!(out, "No question has a name; give some one under [ask.saved] in the configuration.")?;
        }
        Output::Human => {
            for (name, question) in saved {
                let [name, question] = [name, question].map(|text| printable(text.as_bytes(), 2000));
                writeln!(out, "{name}: {question}")?;
            }
        }
        _ => print_json(&mut out, saved)?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// An answer as a table: a row for each finding, decision, key or step.
fn rows(out: &mut dyn Write, plan: &Plan, answer: &Answer) -> io::Result<()> {
    match answer {
        Answer::Rows(rows) => {
            let columns = if plan.of == Subject::Decisions { DECISION_COLUMNS } else { FINDING_COLUMNS };
            let columns: Vec<&str> = columns.split_whitespace().collect();
            csv::record(out, &columns.iter().map(|name| Value::from(*name)).collect::<Vec<_>>())?;
            rows.iter().try_for_each(|row| csv::record(out, columns.iter().map(|name| &row[*name])))
        }
        Answer::Count(count) => {
            record(out, &["count".into()])?;
            record(out, &[(*count).into()])
        }
        Answer::Top { keys, others } => table(out, plan.by.map_or("key", |by| by.as_str()), keys, *others),
        Answer::Trend(steps) => table(out, "from", steps, 0),
        Answer::Client(story) => {
            record(out, &["part".into(), "key".into(), "count".into()])?;
            for (part, count) in
                [("findings", story.findings), ("to_block", story.to_block), ("max_score", story.max_score.into())]
            {
                record(out, &[part.into(), Value::Null, count.into()])?;
            }
            for (part, time) in [("first_seen", story.first_seen), ("last_seen", story.last_seen)] {
                record(out, &[part.into(), json!(time), Value::Null])?;
            }
            for (part, keys) in [
                ("category", &story.categories),
                ("rule", &story.rules),
                ("service", &story.services),
                ("path", &story.paths),
                ("user", &story.users),
            ] {
                keys.iter()
                    .try_for_each(|one| record(out, &[part.into(), one.key.as_str().into(), one.count.into()]))?;
            }
            story.decisions.iter().try_for_each(|row| record(out, &["decision".into(), row["id"].clone(), Value::Null]))
        }
    }
}

/// A row for each key, and one for all that have none.
fn table(out: &mut dyn Write, title: &str, keys: &[Counted], others: u64) -> io::Result<()> {
    record(out, &[title.into(), "count".into()])?;
    keys.iter().try_for_each(|one| record(out, &[one.key.as_str().into(), one.count.into()]))?;
    if others > 0 { record(out, &["(all others)".into(), others.into()]) } else { Ok(()) }
}

fn record(out: &mut dyn Write, fields: &[Value]) -> io::Result<()> {
    csv::record(out, fields)
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
