use std::io::Write;
use std::process::ExitCode;

use bumpalo::Bump;
use serde_json::{Map, Value, json};

use super::{Logs, Output, print_json, stdout};
use crate::config::Config;
use crate::event::{Event, Kind, printable};
use crate::pipeline::discover::ServerLogs;
use crate::pipeline::replay::{self, Blocks, Reading};

pub fn run(arguments: &Logs, config: &Config, output: Output) -> anyhow::Result<ExitCode> {
    let mut out = stdout();
    let servers = ServerLogs::read(&config.server_configs);
    let (mut lines, mut unparsed) = (0u64, 0u64);
    let reading = Reading::of(config);
    let mut arena = Bump::new();
    for path in &arguments.files {
        let mut blocks = Blocks::new(replay::open(path)?, reading.max_line_bytes);
        let read_at = replay::written_last(path);
        let mut block = Vec::new();
        let mut formats = None;
        let mut line_number = 0u64;
        while let Some(mark) = blocks.next(&mut block)? {
            let formats = match &mut formats {
                Some(formats) => formats,
                None => {
                    let name = path.to_string_lossy();
                    formats.insert(replay::formats(&arguments.format, &servers, &name, &block, &reading, read_at)?)
                }
            };
            for (line, extent) in replay::lines(&block, &reading, mark.tail_cut) {
                line_number += 1;
                arena.reset();
                let context = reading.context(extent, read_at, &arena);
                let row = match formats.parse(line, &context) {
                    Ok(event) => fields(line_number, formats.name_for(line, &context), &event),
                    Err(why) => {
                        if let Some(header) = formats.header(line) {
                            *formats = header;
                            continue;
                        }
                        if replay::is_blank(line) {
                            continue;
                        }
                        unparsed += 1;
                        json!({ "line_number": line_number, "error": why.to_string() })
                    }
                };
                lines += 1;
                match output {
                    Output::Human => human(&mut out, &row, line)?,
                    Output::Json | Output::Jsonl | Output::Csv => print_json(&mut out, &row)?,
                }
            }
        }
    }
    out.flush()?;
    if output == Output::Human {
        eprintln!("{lines} lines, {} understood, {unparsed} not", lines - unparsed);
    }
    Ok(ExitCode::SUCCESS)
}

/// The fields as logged; an absent one has no key.
fn fields(line_number: u64, format: &str, event: &Event<'_>) -> Value {
    let mut row = Map::new();
    row.insert("line_number".into(), line_number.into());
    row.insert("format".into(), format.into());
    row.insert("kind".into(), event.kind.as_str().into());
    if let Some(time) = event.time {
        row.insert("time".into(), time.to_string().into());
    }
    if let Some(address) = event.source_ip {
        row.insert("source_ip".into(), address.to_string().into());
    }
    if event.guessed {
        row.insert("guessed".into(), true.into());
    }
    let mut text = |name: &str, value: &[u8]| {
        if !value.is_empty() {
            row.insert(name.into(), String::from_utf8_lossy(value).into());
        }
    };
    if let Some(message) = event.kind.message() {
        text("program", message.program);
        text("level", message.level);
        text("user", message.user);
        text("message", message.text);
    }
    match &event.kind {
        Kind::Http(http) => {
            text("method", http.method);
            text("uri", http.uri);
            text("path", http.path());
            text("protocol", http.protocol);
            text("referer", http.referer);
            text("user_agent", http.user_agent);
            text("user", http.user);
            text("host", http.host);
            text("forwarded", http.forwarded);
            if let Some(status) = http.status {
                row.insert("status".into(), status.into());
            }
            if let Some(bytes) = http.bytes {
                row.insert("bytes".into(), bytes.into());
            }
        }
        Kind::Auth(auth) => text("outcome", auth.outcome.as_str().as_bytes()),
        Kind::Connection(connection) => {
            text("transport", connection.transport);
            if let Some(destination) = connection.destination {
                row.insert("destination".into(), destination.to_string().into());
            }
            if connection.destination_port > 0 {
                row.insert("destination_port".into(), connection.destination_port.into());
            }
        }
        Kind::Mail(_) | Kind::Audit(_) | Kind::App(_) => {}
    }
    Value::Object(row)
}

fn human(out: &mut impl Write, row: &Value, line: &[u8]) -> anyhow::Result<()> {
    let Some(row) = row.as_object() else { return Ok(()) };
    if let Some(why) = row.get("error").and_then(Value::as_str) {
        writeln!(out, "{:>6}  not understood: {why}: {}", row["line_number"], printable(line, 160))?;
        return Ok(());
    }
    write!(out, "{:>6}", row["line_number"])?;
    for (name, value) in row.iter().filter(|(name, _)| *name != "line_number") {
        match value.as_str() {
            Some(text) => write!(out, "  {name}={}", printable(text.as_bytes(), 300))?,
            None => write!(out, "  {name}={value}")?,
        }
    }
    writeln!(out)?;
    Ok(())
}
