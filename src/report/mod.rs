//! Takes an analysis, gives it as a document: for people (PDF, HTML, spreadsheets) and for other
//! programs (JSON, CSV, STIX, ECS, OCSF); tells it in words, by templates or out of a model's
//! answer whose every sentence was checked. Never looks at the input again, asks a model, reads a
//! clock or any file but the font that the configuration names. The same analysis gives the same
//! bytes.

mod config;
pub mod csv;
mod fields;
mod html;
pub mod model;
mod narrative;
pub mod page;
mod pdf;
mod sheet;
mod stix;
mod technique;
#[cfg(test)]
mod tests;

pub use config::ReportConfig;
pub use narrative::narrative;

use serde::Serialize;
use serde_json::Value;

use crate::event::analysis::{Analysis, Indicator, Threat, ThreatKind};
use crate::event::{Severity, Timestamp};

/// What a report can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Csv,
    Xlsx,
    Pdf,
    PdfSummary,
    Html,
    Stix,
    Ecs,
    Ocsf,
}

impl Format {
    /// Every format.
    pub const ALL: &[Format] = &[
        Format::Json,
        Format::Csv,
        Format::Xlsx,
        Format::Pdf,
        Format::PdfSummary,
        Format::Html,
        Format::Stix,
        Format::Ecs,
        Format::Ocsf,
    ];

    /// The name in configuration, on the command line and in URLs.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// The format called `name`.
    pub fn parse(name: &str) -> Option<Format> {
        Format::ALL.iter().copied().find(|format| format.name() == name)
    }

    /// What its file names end with.
    pub fn extension(self) -> &'static str {
        self.row().1
    }

    /// For `Content-Type`.
    pub fn media_type(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Format::Json => ("json", "json", "application/json"),
            Format::Csv => ("csv", "csv", "text/csv; charset=utf-8"),
            Format::Xlsx => ("xlsx", "xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
            Format::Pdf => ("pdf", "pdf", "application/pdf"),
            Format::PdfSummary => ("pdf-summary", "pdf", "application/pdf"),
            Format::Html => ("html", "html", "text/html; charset=utf-8"),
            Format::Stix => ("stix", "json", "application/stix+json;version=2.1"),
            Format::Ecs => ("ecs", "ndjson", "application/x-ndjson"),
            Format::Ocsf => ("ocsf", "ndjson", "application/x-ndjson"),
        }
    }
}

/// `analysis` as a file of `format`.
///
/// # Errors
/// The configured font cannot be read, or a library refuses what it is given.
pub fn export(format: Format, analysis: &Analysis, config: &ReportConfig) -> anyhow::Result<Vec<u8>> {
    match format {
        Format::Json => Ok(serde_json::to_vec_pretty(analysis)?),
        Format::Csv => csv::threats(analysis),
        Format::Xlsx => sheet::workbook(analysis),
        Format::Pdf => pdf::report(analysis, config),
        Format::PdfSummary => pdf::summary(analysis, config),
        Format::Html => Ok(html::report(analysis).into_bytes()),
        Format::Stix => Ok(serde_json::to_vec_pretty(&stix::bundle(analysis))?),
        Format::Ecs => fields::ndjson(analysis, fields::Schema::Ecs),
        Format::Ocsf => fields::ndjson(analysis, fields::Schema::Ocsf),
    }
}

/// The JSON schema of [`Format::Json`].
pub fn schema() -> Value {
    schemars::schema_for!(Analysis).into()
}

/// The colour of a severity on paper and screen, `0xRRGGBB`: dark enough for white text on it.
fn colour(severity: Severity) -> u32 {
    match severity {
        Severity::Critical => 0xA6_1B_1B,
        Severity::High => 0xC2_41_0C,
        Severity::Medium => 0x9A_67_00,
        Severity::Low => 0x2F_6F_B2,
        Severity::Informational => 0x5B_6B_7B,
    }
}

/// At most `limit` characters of `text`, and how many there are beyond.
fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} more characters)", &text[..end], text[end..].chars().count()),
    }
}

/// At most `limit` of `items` between commas, and how many there are beyond.
fn listed<T: ToString>(items: &[T], limit: usize) -> String {
    let mut shown: Vec<String> = items.iter().take(limit).map(ToString::to_string).collect();
    if items.len() > limit {
        shown.push(format!("and {} more", items.len() - limit));
    }
    shown.join(", ")
}

/// Lines as ranges: `3–5, 9`.
fn line_ranges(lines: &[u64], limit: usize) -> String {
    let mut ranges: Vec<(u64, u64)> = vec![];
    for line in lines {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*line) => *last = *line,
            _ => ranges.push((*line, *line)),
        }
    }
    let shown: Vec<String> = ranges
        .iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}–{last}") })
        .collect();
    listed(&shown, limit)
}

/// The name that `value`, one of a closed set, has in JSON.
fn named(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|name| name.as_str().map(String::from)).unwrap_or_default()
}

fn values(indicators: &[Indicator]) -> Vec<&str> {
    indicators.iter().map(|indicator| indicator.value.as_str()).collect()
}

/// Whether the addresses of threats of this kind are where something went, not where it came from.
fn is_outbound(kind: ThreatKind) -> bool {
    use ThreatKind::*;
    matches!(kind, CommandAndControl | SuspiciousOutbound | DataExfiltration | Cryptomining)
}

/// Threats of each severity, the worst first, those without any too.
fn distribution(analysis: &Analysis) -> Vec<(Severity, u64)> {
    let count =
        |severity: Severity| analysis.threats.iter().filter(|threat| threat.severity == severity).count() as u64;
    Severity::ALL.iter().rev().map(|severity| (*severity, count(*severity))).collect()
}

/// Threats that the input dates, the worst first and at most `limit`, with where on the way from the
/// first to the last moment of all they begin and end (0 to 1), and these two moments.
fn time_line(analysis: &Analysis, limit: usize) -> Option<TimeLine<'_>> {
    let dated: Vec<(&Threat, i64, i64)> = analysis
        .threats
        .iter()
        .filter_map(|threat| Some((threat, threat.first_time?.0, threat.last_time.or(threat.first_time)?.0)))
        .take(limit)
        .collect();
    let first = dated.iter().map(|(_, first, _)| *first).min()?;
    let last = dated.iter().map(|(_, _, last)| *last).max()?;
    let share = |moment: i64| moment.saturating_sub(first) as f64 / last.saturating_sub(first).max(1) as f64;
    let bars = dated.into_iter().map(|(threat, from, to)| (threat, share(from), share(to))).collect();
    Some(TimeLine { first: Timestamp(first), last: Timestamp(last), bars })
}

struct TimeLine<'a> {
    first: Timestamp,
    last: Timestamp,
    bars: Vec<(&'a Threat, f64, f64)>,
}
