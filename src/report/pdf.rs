//! A report as a PDF: of as many pages as it takes, or of one.

mod charts;
mod flow;
mod font;
mod letters;
mod paper;

use self::charts::{charts, tiles, time_chart};
use self::flow::{BODY, BOX, CODE, Column, Flow, INK, INNER, MARGIN, Pages, SMALL, SOFT, STRONG, WHITE, WIDTH};
use self::letters::Fonts;
use self::paper::About;
use super::{ReportConfig, colour, line_ranges, listed, named, shortened, technique, time_line, values};
use crate::event::analysis::{Analysis, AuditEntry, Claim, Deviation, Threat};

/// Characters of a text, rows of a table and threats that are shown: the rest stands in the other formats.
const TEXT: usize = 4000;
const ROWS: usize = 200;
const THREATS: usize = 200;
/// Threats on the time line.
const BARS: usize = 12;
/// Colour of the bars that have no severity.
const BAR: u32 = 0x2F_6F_B2;

/// The whole report.
///
/// # Errors
/// The configured font cannot be read.
pub fn report(analysis: &Analysis, config: &ReportConfig) -> anyhow::Result<Vec<u8>> {
    let mut flow = Flow::new(Fonts::load(config.font.as_deref())?, Pages::Many);
    head(&mut flow, analysis);
    let told = &analysis.narrative;
    flow.heading("Summary");
    claims(&mut flow, analysis, &told.summary, Numbered::No, None);
    charts(&mut flow, analysis);
    if let Some(line) = time_line(analysis, BARS) {
        time_chart(&mut flow, &line);
    }
    if !told.chain.is_empty() {
        flow.heading("How the attack went on");
        claims(&mut flow, analysis, &told.chain, Numbered::Yes, None);
    }
    claims(&mut flow, analysis, told.goal.as_slice(), Numbered::No, None);
    if !told.plan.is_empty() {
        flow.heading("What to do now");
        claims(&mut flow, analysis, &told.plan, Numbered::Yes, None);
    }
    flow.heading("Threats");
    if analysis.threats.is_empty() {
        flow.paragraph(0.0, &[("None were found.", BODY)]);
    }
    for one in analysis.threats.iter().take(THREATS) {
        threat(&mut flow, one);
    }
    beyond(&mut flow, analysis.threats.len(), THREATS);
    addresses(&mut flow, analysis);
    if !told.recommendations.is_empty() {
        flow.heading("Recommendations");
        claims(&mut flow, analysis, &told.recommendations, Numbered::Yes, None);
    }
    compliance(&mut flow, analysis);
    deviations(&mut flow, analysis);
    about(&mut flow, analysis);
    flow.finish(&document(analysis, "Security report"), &foot(analysis))
}

/// The one page for who has a minute.
///
/// # Errors
/// The configured font cannot be read.
pub fn summary(analysis: &Analysis, config: &ReportConfig) -> anyhow::Result<Vec<u8>> {
    let mut flow = Flow::new(Fonts::load(config.font.as_deref())?, Pages::One);
    head(&mut flow, analysis);
    flow.heading("Summary");
    claims(&mut flow, analysis, &analysis.narrative.summary, Numbered::No, Some(400));
    charts(&mut flow, analysis);
    if !analysis.threats.is_empty() {
        flow.heading("Gravest threats");
        let columns = [
            Column::text("", 30.0),
            Column::text("threat", 135.0),
            Column::text("severity", 62.0),
            Column::text("actor", 130.0),
            Column::number("events", 48.0),
            Column::text("outcome", INNER - 405.0),
        ];
        let row = |threat: &Threat| {
            vec![
                threat.id.clone(),
                threat.kind.title().into(),
                threat.severity.as_str().into(),
                threat.actor.clone().unwrap_or_default(),
                threat.events.to_string(),
                named(&threat.outcome),
            ]
        };
        flow.table(&columns, &analysis.threats.iter().take(5).map(row).collect::<Vec<_>>(), 1);
    }
    if !analysis.narrative.plan.is_empty() {
        flow.heading("What to do now");
        claims(&mut flow, analysis, &analysis.narrative.plan, Numbered::Yes, Some(170));
    }
    flow.finish(&document(analysis, "Security report, one page"), &foot(analysis))
}

fn document(analysis: &Analysis, title: &str) -> About {
    About { title: format!("Palisade: {title}"), id: analysis.id.clone(), time: analysis.time }
}

fn foot(analysis: &Analysis) -> String {
    format!("Palisade · report {} · {}", shortened(&analysis.id, 40), analysis.time)
}

/// Title, threat level and figures.
fn head(flow: &mut Flow, analysis: &Analysis) {
    const HIGH: f32 = 104.0;
    flow.area(0.0, 0.0, WIDTH, HIGH, 0.0, INK);
    flow.line(MARGIN, 50.0, 330.0, "Security report", STRONG.size(25.0).colour(WHITE));
    let soft = SMALL.colour(0xC3_CD_D8).size(9.0);
    flow.line(MARGIN, 71.0, 330.0, &listed(&analysis.input.names, 4), soft);
    flow.line(MARGIN, 85.0, 330.0, &format!("Made {}", analysis.time), soft);
    let (level, ground) = analysis
        .threat_level
        .map_or(("none".into(), 0x2E_7D_33), |severity| (severity.as_str().to_uppercase(), colour(severity)));
    let left = WIDTH - MARGIN - 140.0;
    flow.line(left, 38.0, 140.0, "Threat level", soft);
    flow.area(left, 46.0, 140.0, 34.0, 4.0, ground);
    flow.centred(left + 70.0, 69.0, &level, STRONG.size(if level.len() > 8 { 12.0 } else { 17.0 }).colour(WHITE));
    flow.y = HIGH + 14.0;
    tiles(flow, analysis);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbered {
    No,
    Yes,
}

/// Sentences, each with what it stands on: with its lines, unless there are `limit`s.
fn claims(flow: &mut Flow, analysis: &Analysis, claims: &[Claim], numbered: Numbered, limit: Option<usize>) {
    for (number, claim) in (1..).zip(claims) {
        let threats = match claim.threats.len() {
            all if all > 3 && all == analysis.threats.len() => "all threats".into(),
            _ => listed(&claim.threats, 6),
        };
        let lines = if limit.is_some() { String::new() } else { line_ranges(&claim.lines, 4) };
        let cited = match (threats.is_empty(), lines.is_empty()) {
            (true, _) => String::new(),
            (false, true) => format!("  [{threats}]"),
            (false, false) => format!("  [{threats}; lines {lines}]"),
        };
        let text = shortened(&claim.text, limit.unwrap_or(TEXT));
        flow.room(BODY.leading() * 2.0);
        let indent = if numbered == Numbered::Yes { 16.0 } else { 0.0 };
        if numbered == Numbered::Yes {
            flow.line(MARGIN, flow.y + BODY.size, 16.0, &format!("{number}."), STRONG.colour(BAR));
        }
        flow.paragraph(indent, &[(&text, BODY), (&cited, SMALL)]);
        flow.space(2.5);
    }
}

fn threat(flow: &mut Flow, threat: &Threat) {
    flow.space(12.0);
    flow.room(190.0);
    let ground = colour(threat.severity);
    flow.area(MARGIN, flow.y, INNER, 22.0, 3.0, BOX);
    flow.area(MARGIN, flow.y, 4.0, 22.0, 0.0, ground);
    let title = format!("{}  {}", threat.id, threat.kind.title());
    flow.line(MARGIN + 12.0, flow.y + 15.0, INNER - 110.0, &title, STRONG.size(11.0));
    flow.area(MARGIN + INNER - 84.0, flow.y + 4.0, 78.0, 14.0, 3.0, ground);
    let badge = STRONG.size(7.0).colour(WHITE);
    flow.centred(MARGIN + INNER - 45.0, flow.y + 13.6, &threat.severity.as_str().to_uppercase(), badge);
    flow.y += 27.0;
    flow.paragraph(0.0, &[(&shortened(&threat.description, TEXT), BODY)]);
    flow.space(3.0);
    let judged =
        format!("{}; confidence {} of 10; risk {} of 100", named(&threat.outcome), threat.confidence, threat.risk);
    let when = match (threat.first_time, threat.last_time) {
        (Some(first), Some(last)) if first != last => format!("{first} to {last}"),
        (first, last) => first.or(last).map(|time| time.to_string()).unwrap_or_default(),
    };
    for (name, value) in [
        ("Outcome", judged),
        ("Actor", threat.actor.clone().unwrap_or_default()),
        ("Addresses", listed(&threat.addresses, 30)),
        ("Users", listed(&threat.users, 30)),
        ("When", when),
        ("Events", format!("{}, in lines {}", threat.events, line_ranges(&threat.lines, 12))),
        ("Indicators", listed(&values(&threat.indicators), 30)),
        ("Rules", listed(&threat.rule_ids, 30)),
        ("ATT&CK", listed(&technique::titles(&threat.techniques), 12)),
    ] {
        if value.is_empty() {
            continue;
        }
        flow.room(BODY.leading());
        flow.line(MARGIN, flow.y + 8.5, 62.0, name, SMALL);
        flow.paragraph(66.0, &[(&shortened(&value, TEXT), BODY.size(8.5))]);
    }
    if !threat.recommendation.is_empty() {
        flow.space(3.0);
        flow.paragraph(0.0, &[("What to do: ", STRONG), (&shortened(&threat.recommendation, TEXT), BODY)]);
    }
    if !threat.samples.is_empty() {
        flow.space(3.0);
        flow.room(CODE.leading() * 2.0);
    }
    for sample in &threat.samples {
        flow.code(&format!("{:>6}  {}", sample.line, shortened(&sample.text, TEXT)));
    }
}

fn beyond(flow: &mut Flow, all: usize, shown: usize) {
    if all > shown {
        flow.space(3.0);
        let more = format!("{} more stand in the other formats.", all - shown);
        flow.paragraph(0.0, &[(&more, SMALL)]);
    }
}

fn addresses(flow: &mut Flow, analysis: &Analysis) {
    if analysis.addresses.is_empty() {
        return;
    }
    flow.heading("Addresses");
    let columns = [
        Column::text("address", 124.0),
        Column::number("lines", 45.0),
        Column::text("threats", 76.0),
        Column::text("country", 48.0),
        Column::text("network", INNER - 405.0),
        Column::text("ASN", 54.0),
        Column::number("reputation", 58.0),
    ];
    let rows: Vec<Vec<String>> = analysis
        .addresses
        .iter()
        .take(ROWS)
        .map(|one| {
            vec![
                one.address.to_string(),
                one.lines.to_string(),
                listed(&one.threats, 8),
                one.country.clone().unwrap_or_default(),
                one.network.clone().unwrap_or_default(),
                one.asn.map(|asn| format!("AS{asn}")).unwrap_or_default(),
                one.reputation.map(|score| score.to_string()).unwrap_or_default(),
            ]
        })
        .collect();
    flow.table(&columns, &rows, 4);
    beyond(flow, analysis.addresses.len(), ROWS);
}

fn compliance(flow: &mut Flow, analysis: &Analysis) {
    let told = &analysis.compliance;
    flow.heading("Who did what");
    let text = format!(
        "{} logins, {} failed logins, {} changes, {} looks at what is worth protecting.",
        told.logins,
        told.failed_logins,
        told.changes.len(),
        told.sensitive_access.len()
    );
    flow.paragraph(0.0, &[(&text, BODY)]);
    if !told.users.is_empty() {
        flow.space(4.0);
        let columns = [
            Column::text("user", 140.0),
            Column::number("logins", 48.0),
            Column::number("failed", 48.0),
            Column::number("changes", 50.0),
            Column::number("lines", 48.0),
            Column::text("addresses", INNER - 334.0),
        ];
        let rows: Vec<Vec<String>> = told
            .users
            .iter()
            .take(ROWS)
            .map(|user| {
                let counts = [user.logins, user.failed_logins, user.changes, user.lines].map(|count| count.to_string());
                [vec![user.user.clone()], counts.into(), vec![listed(&user.addresses, 6)]].concat()
            })
            .collect();
        flow.table(&columns, &rows, 3);
        beyond(flow, told.users.len(), ROWS);
    }
    entries(flow, "Changes", &told.changes);
    entries(flow, "Access worth a look", &told.sensitive_access);
}

fn entries(flow: &mut Flow, title: &str, entries: &[AuditEntry]) {
    if entries.is_empty() {
        return;
    }
    flow.space(10.0);
    flow.room(60.0);
    flow.line(MARGIN, flow.y + 11.0, INNER, title, STRONG.size(11.0));
    flow.y += 18.0;
    let columns = [
        Column::number("line", 45.0),
        Column::text("time", 125.0),
        Column::text("user", 95.0),
        Column::text("what", INNER - 265.0),
    ];
    let rows: Vec<Vec<String>> = entries
        .iter()
        .take(ROWS)
        .map(|entry| {
            let time = entry.time.map(|time| time.to_string()).unwrap_or_default();
            vec![entry.line.to_string(), time, entry.user.clone().unwrap_or_default(), entry.what.clone()]
        })
        .collect();
    flow.table(&columns, &rows, 4);
    beyond(flow, entries.len(), ROWS);
}

fn deviations(flow: &mut Flow, analysis: &Analysis) {
    if analysis.deviations.is_empty() {
        return;
    }
    flow.heading("What the baseline does not know");
    let columns = [
        Column::text("kind", 85.0),
        Column::text("value", 120.0),
        Column::text("why", INNER - 275.0),
        Column::text("lines", 70.0),
    ];
    let row =
        |one: &Deviation| vec![one.kind.clone(), one.value.clone(), one.reason.clone(), line_ranges(&one.lines, 6)];
    flow.table(&columns, &analysis.deviations.iter().take(ROWS).map(row).collect::<Vec<_>>(), 4);
    beyond(flow, analysis.deviations.len(), ROWS);
}

/// How it was made.
fn about(flow: &mut Flow, analysis: &Analysis) {
    flow.heading("About this report");
    let input = &analysis.input;
    let formats: Vec<String> = input.formats.iter().map(|one| format!("{} ({})", one.name, one.count)).collect();
    let mut told = vec![format!(
        "{} bytes in {} lines, of which {} are of no known format and were read as text. Formats: {}.",
        input.bytes,
        input.lines,
        input.unparsed,
        if formats.is_empty() { "none".into() } else { listed(&formats, 12) }
    )];
    if let Some(one) = &analysis.compression {
        let partial = if one.partial { " Some pieces did not fit into the budget." } else { "" };
        told.push(format!(
            "For a model {} tokens became {}, {:.1} times fewer ({}).{partial}",
            one.original_tokens, one.compressed_tokens, one.ratio, one.counted_by
        ));
    }
    let narrative = &analysis.narrative;
    if narrative.written_by != super::narrative::TEMPLATES {
        told.push(format!(
            "Sentences were written by {}; {} of them were dropped because what they cited did not bear them out.",
            narrative.written_by, narrative.dropped
        ));
    }
    told.push("Each sentence names in brackets the threats and lines that it stands on.".into());
    for text in told {
        flow.paragraph(0.0, &[(&shortened(&text, TEXT), BODY.colour(SOFT))]);
    }
}
