//! A report as one page.

use std::fmt::Write;

use super::page::{self, escaped};
use super::{colour, distribution, line_ranges, listed, time_line};
use crate::event::Severity;
use crate::event::analysis::{Address, Analysis, AuditEntry, Claim, Compliance, Factor, Threat};

const STYLE: &str = "
b.level { color: #fff; border-radius: .3rem; padding: .1rem .5rem; font-size: .8em; text-transform: uppercase; white-space: nowrap; }
section.threat { background: var(--box); border: 1px solid var(--line); border-radius: .5rem; padding: .2rem 1rem 1rem; margin: 1rem 0; break-inside: avoid; }
section.threat dl { font-size: .9rem; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: .4rem 1rem; } section.threat dd { font-size: 1rem; }
pre { background: var(--page); border: 1px solid var(--line); border-radius: .3rem; padding: .5rem; white-space: pre-wrap; font-size: .85rem; }
.cite { color: var(--soft); font-size: .85em; white-space: nowrap; } .cite a { color: inherit; } svg text.in { fill: var(--ink); }
@media print { body { max-width: none; margin: 0; } }";

/// Rows of a table: what is beyond stands in JSON.
const ROWS: usize = 1000;
/// Threats on the time line.
const BARS: usize = 20;

/// All of `analysis`.
pub fn report(analysis: &Analysis) -> String {
    let mut out = page::open("Security report", STYLE);
    let input = &analysis.input;
    let _ = write!(
        out,
        "<p class=note>{} · made {} · report {}</p>",
        escaped(&listed(&input.names, 20)),
        analysis.time,
        escaped(&analysis.id)
    );
    figures(&mut out, analysis);
    let told = &analysis.narrative;
    section(&mut out, "Summary", &told.summary, "p");
    distribution_plot(&mut out, analysis);
    time_plot(&mut out, analysis);
    section(&mut out, "How the attack went on", &told.chain, "li");
    if let Some(goal) = &told.goal {
        claims(&mut out, std::slice::from_ref(goal), "p");
    }
    threats(&mut out, &analysis.threats);
    addresses(&mut out, &analysis.addresses);
    section(&mut out, "What to do now", &told.plan, "li");
    section(&mut out, "Recommendations", &told.recommendations, "li");
    factors(&mut out, "What the risk score is made of", &analysis.risk.factors);
    compliance(&mut out, &analysis.compliance);
    deviations(&mut out, analysis);
    compression(&mut out, analysis);
    let by = match told.written_by.as_str() {
        "templates" | "" => String::new(),
        model => format!(" Sentences were written by {}; {} were dropped.", escaped(model), told.dropped),
    };
    let _ = writeln!(out, "<p class=note>Each sentence names the threats and lines it stands on.{by}</p></html>");
    out
}

fn figures(out: &mut String, analysis: &Analysis) {
    out.push_str("<dl>");
    let mut figure = |name: &str, value: String| {
        let _ = write!(out, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    };
    figure("threat level", analysis.threat_level.map_or("none".into(), badge));
    figure("risk", format!("{} of 100", analysis.risk.score));
    figure("health", escaped(&analysis.risk.health));
    figure("threats", analysis.threats.len().to_string());
    figure("lines", analysis.input.lines.to_string());
    figure("not understood", analysis.input.unparsed.to_string());
    figure("addresses", analysis.addresses.len().to_string());
    out.push_str("</dl>");
    if let (Some(first), Some(last)) = (analysis.input.first_time, analysis.input.last_time) {
        let _ = write!(out, "<p class=note>The lines are from {first} to {last}.</p>");
    }
}

fn badge(severity: Severity) -> String {
    format!("<b class=level style='background:#{:06x}'>{}</b>", colour(severity), severity.as_str())
}

/// A heading and what is claimed under it, as paragraphs or as the items of a list.
fn section(out: &mut String, title: &str, told: &[Claim], element: &str) {
    if told.is_empty() {
        return;
    }
    let _ = write!(out, "<h2>{title}</h2>");
    claims(out, told, element);
}

fn claims(out: &mut String, told: &[Claim], element: &str) {
    if element == "li" {
        out.push_str("<ol>");
    }
    for claim in told {
        let _ = write!(out, "<{element}>{}", escaped(&claim.text));
        cite(out, claim);
        let _ = write!(out, "</{element}>");
    }
    if element == "li" {
        out.push_str("</ol>");
    }
}

fn cite(out: &mut String, claim: &Claim) {
    if claim.threats.is_empty() && claim.lines.is_empty() {
        return;
    }
    let threats: Vec<String> =
        claim.threats.iter().take(8).map(|id| format!("<a href=\"#{0}\">{0}</a>", escaped(id))).collect();
    let more = if claim.threats.len() > threats.len() { " …" } else { "" };
    let lines = if claim.lines.is_empty() { String::new() } else { format!(" lines {}", line_ranges(&claim.lines, 6)) };
    let _ = write!(out, " <span class=cite>[{}{more}{lines}]</span>", threats.join(", "));
}

fn distribution_plot(out: &mut String, analysis: &Analysis) {
    let rows = distribution(analysis);
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(0);
    if most == 0 {
        return;
    }
    let _ = write!(
        out,
        "<h2>Threats by severity</h2><svg viewBox='0 0 960 {}' role=img aria-label='Threats by severity'>",
        rows.len() * 26
    );
    for (row, (severity, count)) in rows.iter().enumerate() {
        let (y, wide) = (row * 26, *count as f64 / most as f64 * 720.0);
        let _ = write!(
            out,
            "<text class=in x=0 y={0}>{1}</text><rect x=110 y={2} width={wide:.1} height=18 rx=3 fill='#{3:06x}'>\
             <title>{1}: {count}</title></rect><text class=in x={4:.1} y={0}>{count}</text>",
            y + 16,
            severity.as_str(),
            y + 3,
            colour(*severity),
            118.0 + wide
        );
    }
    out.push_str("</svg>");
}

fn time_plot(out: &mut String, analysis: &Analysis) {
    const LEFT: f64 = 260.0;
    const WIDTH: f64 = 690.0;
    let Some(line) = time_line(analysis, BARS) else { return };
    let height = line.bars.len() * 24 + 20;
    let _ = write!(
        out,
        "<h2>Time line</h2><svg viewBox='0 0 960 {height}' role=img aria-label='When each threat was seen'>"
    );
    for (row, (threat, from, to)) in line.bars.iter().enumerate() {
        let y = row * 24;
        let _ = write!(
            out,
            "<text class=in x=0 y={}>{} {}</text><rect x={:.1} y={} width={:.1} height=14 rx=3 fill='#{:06x}'>\
             <title>{}</title></rect>",
            y + 15,
            escaped(&threat.id),
            threat.kind.title(),
            LEFT + from * WIDTH,
            y + 4,
            ((to - from) * WIDTH).max(4.0),
            colour(threat.severity),
            escaped(&span(threat))
        );
    }
    let y = height - 5;
    let _ = write!(
        out,
        "<text x={LEFT} y={y}>{}</text><text x={} y={y} text-anchor=end>{}</text></svg>",
        line.first,
        LEFT + WIDTH,
        line.last
    );
}

fn span(threat: &Threat) -> String {
    match (threat.first_time, threat.last_time) {
        (Some(first), Some(last)) if first != last => format!("{first} to {last}"),
        (Some(one), _) | (None, Some(one)) => one.to_string(),
        (None, None) => "not dated".into(),
    }
}

fn threats(out: &mut String, threats: &[Threat]) {
    out.push_str("<h2>Threats</h2>");
    if threats.is_empty() {
        out.push_str("<p>None.</p>");
    }
    for threat in threats {
        let _ = write!(
            out,
            "<section class=threat id=\"{0}\"><h3>{0} {1} {2}</h3><p>{3}</p><p><strong>What to do:</strong> {4}</p><dl>",
            escaped(&threat.id),
            threat.kind.title(),
            badge(threat.severity),
            escaped(&threat.description),
            escaped(&threat.recommendation)
        );
        let mut row = |name: &str, value: &str| {
            if !value.is_empty() {
                let _ = write!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", escaped(value));
            }
        };
        row("actor", threat.actor.as_deref().unwrap_or_default());
        row("outcome", &super::named(&threat.outcome));
        row("confidence", &format!("{} of 10", threat.confidence));
        row("risk", &format!("{} of 100", threat.risk));
        row("when", &span(threat));
        row("events", &threat.events.to_string());
        row("lines", &line_ranges(&threat.lines, 20));
        row("addresses", &listed(&threat.addresses, 20));
        row("users", &listed(&threat.users, 20));
        row("indicators", &listed(&super::values(&threat.indicators), 20));
        row("rules", &listed(&threat.rule_ids, 20));
        row("ATT&CK", &listed(&super::technique::titles(&threat.techniques), 20));
        out.push_str("</dl>");
        if !threat.samples.is_empty() {
            out.push_str("<pre>");
            for sample in &threat.samples {
                let _ = writeln!(out, "{:>6}  {}", sample.line, escaped(&sample.text));
            }
            out.push_str("</pre>");
        }
        out.push_str("</section>");
    }
}

/// A table of at most [`ROWS`] rows. A column whose name begins with `#` holds numbers.
fn table(out: &mut String, columns: &[&str], rows: impl ExactSizeIterator<Item = Vec<String>>) {
    let class = |name: &str| if name.starts_with('#') { " class=n" } else { "" };
    out.push_str("<div class=wide><table><tr>");
    for name in columns {
        let _ = write!(out, "<th{}>{}", class(name), name.trim_start_matches('#'));
    }
    out.push_str("</tr>");
    let beyond = rows.len().saturating_sub(ROWS);
    for row in rows.take(ROWS) {
        out.push_str("<tr>");
        for (name, value) in columns.iter().zip(row) {
            let _ = write!(out, "<td{}>{}", class(name), escaped(&value));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></div>");
    if beyond > 0 {
        let _ = write!(out, "<p class=note>{beyond} more stand in the JSON export.</p>");
    }
}

fn addresses(out: &mut String, addresses: &[Address]) {
    if addresses.is_empty() {
        return;
    }
    out.push_str("<h2>Addresses</h2>");
    let rows = addresses.iter().map(|one| {
        vec![
            one.address.to_string(),
            one.lines.to_string(),
            listed(&one.threats, 12),
            one.country.clone().unwrap_or_default(),
            one.network.clone().unwrap_or_default(),
            one.asn.map(|asn| format!("AS{asn}")).unwrap_or_default(),
            one.reputation.map(|score| score.to_string()).unwrap_or_default(),
        ]
    });
    table(out, &["address", "#lines", "threats", "country", "network", "ASN", "#reputation"], rows);
}

fn factors(out: &mut String, title: &str, factors: &[Factor]) {
    if factors.is_empty() {
        return;
    }
    let _ = write!(out, "<h2>{title}</h2>");
    let rows = factors.iter().map(|one| vec![one.name.clone(), format!("{:.1}", one.points), one.reason.clone()]);
    table(out, &["factor", "#points", "why"], rows);
}

fn compliance(out: &mut String, compliance: &Compliance) {
    let _ = write!(
        out,
        "<h2>Who did what</h2><p>{} logins, {} failed logins, {} changes, {} looks at what is worth protecting.</p>",
        compliance.logins,
        compliance.failed_logins,
        compliance.changes.len(),
        compliance.sensitive_access.len()
    );
    if !compliance.users.is_empty() {
        let rows = compliance.users.iter().map(|user| {
            let counts = [user.logins, user.failed_logins, user.changes, user.lines].map(|count| count.to_string());
            [vec![user.user.clone()], counts.into(), vec![listed(&user.addresses, 8)]].concat()
        });
        table(out, &["user", "#logins", "#failed", "#changes", "#lines", "addresses"], rows);
    }
    for (title, entries) in [("Changes", &compliance.changes), ("Access worth a look", &compliance.sensitive_access)] {
        if !entries.is_empty() {
            let _ = write!(out, "<h3>{title}</h3>");
            table(out, &["#line", "time", "user", "what"], entries.iter().map(entry));
        }
    }
    if compliance.left_out > 0 {
        let _ = write!(out, "<p class=note>{} entries did not fit in.</p>", compliance.left_out);
    }
}

fn entry(entry: &AuditEntry) -> Vec<String> {
    let time = entry.time.map(|time| time.to_string()).unwrap_or_default();
    vec![entry.line.to_string(), time, entry.user.clone().unwrap_or_default(), entry.what.clone()]
}

fn deviations(out: &mut String, analysis: &Analysis) {
    if analysis.deviations.is_empty() {
        return;
    }
    out.push_str("<h2>What the baseline does not know</h2>");
    let rows = analysis
        .deviations
        .iter()
        .map(|one| vec![one.kind.clone(), one.value.clone(), one.reason.clone(), line_ranges(&one.lines, 8)]);
    table(out, &["kind", "value", "why", "lines"], rows);
}

fn compression(out: &mut String, analysis: &Analysis) {
    let Some(compression) = &analysis.compression else { return };
    let partial = if compression.partial { " Some pieces did not fit into the budget." } else { "" };
    let _ = write!(
        out,
        "<h2>Compression</h2><p>{} tokens became {} ({}): {:.1} times fewer, {:.1} % saved.{partial}</p>",
        compression.original_tokens,
        compression.compressed_tokens,
        escaped(&compression.counted_by),
        compression.ratio,
        compression.saved_percent
    );
}
