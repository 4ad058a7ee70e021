use std::fmt::{self, Write as _};

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::config::LogFormat;
use crate::event::{Timestamp, printable};

/// Bytes of a message or of a field's value that are written.
const SHOWN_BYTES: usize = 16 * 1024;

/// A message, as the code says it.
pub struct Line {
    pub level: Level,
    pub message: String,
    /// Each with its value for programs, and for people.
    pub fields: Vec<(&'static str, Value, String)>,
}

impl Line {
    pub fn of(event: &Event<'_>) -> Line {
        let mut line = Line { level: *event.metadata().level(), message: String::new(), fields: vec![] };
        event.record(&mut line);
        line
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            name => self.fields.push((name, Value::from(text.as_str()), text)),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.push((field.name(), value.into(), format!("{value:?}")));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name(), value.into(), value.to_string()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name(), value.into(), value.to_string()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.fields.push((field.name(), value.into(), value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name(), value.into(), value.to_string()));
    }
}

/// How lines are written. Whatever clients wrote of them is visible escapes in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    json: bool,
    /// Levels have colours.
    coloured: bool,
    /// The journal has times of its own, and takes a level as a number in front.
    journal: bool,
}

impl Form {
    /// `format` where it goes to a `terminal`, the `journal` or neither.
    pub fn of(format: LogFormat, terminal: bool, journal: bool) -> Form {
        let json = match format {
            LogFormat::Auto => !terminal && !journal,
            LogFormat::Human => false,
            LogFormat::Json => true,
        };
        Form { json, coloured: terminal && !json, journal }
    }

    /// The line with its newline.
    pub fn render(self, line: &Line) -> String {
        let Line { level, message, fields } = line;
        let prefix = if self.journal { format!("<{}>", priority(*level)) } else { String::new() };
        if self.json {
            let mut map = Map::from_iter([("message".to_owned(), shown(message, "\n").into())]);
            map.extend(fields.iter().map(|(name, value, _)| ((*name).to_owned(), escaped(value))));
            let time = Timestamp::now().to_string();
            return format!("{prefix}{}\n", json!({ "timestamp": time, "level": level.as_str(), "fields": map }));
        }
        // Of what has several lines no further one can be taken for a message: it begins with space, or, in the
        // journal, where each line is an entry, there is none.
        let newline = if self.journal { "; " } else { "\n    " };
        let mut text = prefix;
        if !self.journal {
            let (on, off) = if self.coloured { (colour(*level), "\x1b[0m") } else { ("", "") };
            // Writing to memory cannot fail.
            let _ = write!(text, "{} {on}{:>5}{off} ", Timestamp::now(), level.as_str());
        }
        text.push_str(&shown(message, newline));
        for (name, _, value) in fields {
            let _ = write!(text, " {name}={}", shown(value, newline));
        }
        text.push('\n');
        text
    }
}

fn shown(text: &str, newline: &str) -> String {
    text.lines().map(|line| printable(line.as_bytes(), SHOWN_BYTES)).collect::<Vec<_>>().join(newline)
}

fn escaped(value: &Value) -> Value {
    value.as_str().map_or_else(|| value.clone(), |text| shown(text, "\n").into())
}

/// As syslog(3) and sd-daemon(3) number them.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG | Level::TRACE => "\x1b[34m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_who_reads_it_and_cannot_be_forged() {
        let line = Line {
            level: Level::WARN,
            message: "blocked\n2026 ERROR forged\u{9b}31m".into(),
            fields: vec![("client", "a\u{1b}]0;x".into(), "\"a\u{1b}]0;x\"".into()), ("n", 7.into(), "7".into())],
        };
        let render = |format, terminal, journal| Form::of(format, terminal, journal).render(&line);
        let human = render(LogFormat::Human, false, false);
        let (time, rest) = human.split_once(' ').unwrap();
        assert!(time.ends_with('Z'), "{human}");
        let expected = " WARN blocked\n    2026 ERROR forged\\u{9b}31m client=\"a\\u{1b}]0;x\" n=7\n";
        assert_eq!(rest, expected);
        assert_eq!(render(LogFormat::Auto, true, false).matches("\x1b[").count(), 2, "a colour and its end");
        let journal = render(LogFormat::Auto, false, true);
        assert_eq!(journal, "<4>blocked; 2026 ERROR forged\\u{9b}31m client=\"a\\u{1b}]0;x\" n=7\n");
        let json = render(LogFormat::Auto, false, false);
        assert_eq!(json.lines().count(), 1);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["level"], &json["fields"]["n"]), (&"WARN".into(), &7.into()));
        assert_eq!(json["fields"]["message"], "blocked\n2026 ERROR forged\\u{9b}31m");
        assert_eq!(json["fields"]["client"], "a\\u{1b}]0;x");
        assert!(render(LogFormat::Json, true, true).starts_with("<4>{"));
        for (level, number) in [(Level::ERROR, "<3>"), (Level::INFO, "<6>"), (Level::DEBUG, "<7>")] {
            let line = Line { level, message: "m".into(), fields: vec![] };
            assert!(Form::of(LogFormat::Auto, false, true).render(&line).starts_with(number));
        }
    }
}
