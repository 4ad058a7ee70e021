//! The report of a scan as one page that needs nothing else: no script, no font, no other file.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::scan::{Summary, WouldBlock, duration};
use crate::config::Config;
use crate::pipeline::page::{self, escaped};
use crate::pipeline::shadow::{Report, Step};

/// Rows of the table of blocks.
const BLOCKS: usize = 500;

pub fn page(summary: &Summary, config: &Config) -> String {
    let mut out = page::open("What enforcing would have done", "");
    figures(&mut out, summary);
    if let Some(report) = &summary.report {
        plot(&mut out, &report.time_line);
        thresholds(&mut out, report, config.thresholds.block);
        behaved(&mut out, report);
    }
    categories(&mut out, &summary.would_block);
    blocks(&mut out, &summary.would_block);
    out.push_str("</html>\n");
    out
}

fn figures(out: &mut String, summary: &Summary) {
    out.push_str("<dl>");
    let mut figure = |name: &str, value: String| {
        let _ = write!(out, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    };
    figure("lines", summary.lines.to_string());
    figure("not understood", summary.unparsed.to_string());
    figure("suspicious lines", summary.flagged.to_string());
    figure("would have blocked", summary.would_block.len().to_string());
    if let Some(report) = &summary.report {
        figure("attack share", format!("{:.2} %", report.attack_percent));
        figure("lines spared", report.spared_lines.to_string());
        figure("answers spared", indicatif::HumanBytes(report.spared_bytes).to_string());
        figure("questions to models", report.questions.to_string());
        for cost in &report.costs {
            let text = format!("{} questions, {} tokens, {:.4} $", cost.questions, cost.tokens, cost.usd);
            figure(&format!("tier {}", escaped(&cost.tier)), text);
        }
    }
    out.push_str("</dl>");
}

/// Lines and findings over time: two rows of bars, each with its own scale.
fn plot(out: &mut String, steps: &[Step]) {
    const WIDTH: f64 = 960.0;
    const HEIGHT: f64 = 90.0;
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return };
    let _ = write!(
        out,
        "<h2>Over time</h2><svg viewBox='0 0 {WIDTH} 230' role=img aria-label='Lines and suspicious lines over time'>"
    );
    let wide = WIDTH / steps.len() as f64;
    for (row, (class, name, value)) in
        [("a", "lines", (|step| step.lines) as fn(&Step) -> u64), ("b", "suspicious lines", |step| step.findings)]
            .into_iter()
            .enumerate()
    {
        let most = steps.iter().map(value).max().unwrap_or(0).max(1);
        let bottom = 105.0 * (row + 1) as f64;
        let _ = write!(out, "<text x=0 y={}>{name}, at most {most}</text>", bottom - HEIGHT - 4.0);
        for (index, step) in steps.iter().enumerate().filter(|(_, step)| value(step) > 0) {
            let height = value(step) as f64 / most as f64 * HEIGHT;
            let (x, y) = (index as f64 * wide, bottom - height);
            let _ = write!(
                out,
                "<rect class={class} x={x:.1} y={y:.1} width={:.1} height={height:.1}><title>{}: {} {name}</title></rect>",
                (wide - 1.0).max(1.0),
                step.start,
                value(step)
            );
        }
    }
    let _ = write!(
        out,
        "<text x=0 y=226>{}</text><text x={WIDTH} y=226 text-anchor=end>{}</text></svg>",
        first.start, last.start
    );
}

fn thresholds(out: &mut String, report: &Report, now: u8) {
    out.push_str(
        "<h2>Another threshold</h2><p class=note>By the highest score that each client reached: an estimate.</p>\
         <table><tr><th>thresholds.block<th class=n>clients blocked<th class=n>of them also behaved</tr>",
    );
    for one in &report.thresholds {
        let class = if one.block == now { " class=now" } else { "" };
        let note = if one.block == now { " (in force)" } else { "" };
        let _ = write!(
            out,
            "<tr{class}><td>{}{note}<td class=n>{}<td class=n>{}</tr>",
            one.block, one.clients, one.also_behaved
        );
    }
    out.push_str("</table>");
}

fn behaved(out: &mut String, report: &Report) {
    out.push_str("<h2>Who would have been blocked and also behaved</h2>");
    if report.also_behaved.is_empty() {
        out.push_str("<p>Nobody.</p>");
        return;
    }
    let _ = write!(
        out,
        "<p class=note>{} clients. Look at them first: who is a visitor belongs into <code>client.allow</code>, and what was no \
         attack into an <code>[[exclusion]]</code>.</p><div class=wide><table><tr><th>client<th class=n>pages served\
         <th class=n>logins<th class=n>lines<th class=n>highest score</tr>",
        report.also_behaved_in_all
    );
    for one in &report.also_behaved {
        let _ = write!(
            out,
            "<tr><td>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}</tr>",
            escaped(&one.source_ip),
            one.served,
            one.logins,
            one.lines,
            one.score
        );
    }
    out.push_str("</table></div>");
}

fn categories(out: &mut String, blocks: &[WouldBlock]) {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for block in blocks {
        *counts.entry(block.category.as_str()).or_default() += 1;
    }
    let mut counts: Vec<(&str, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let Some(most) = counts.first().map(|(_, count)| *count) else { return };
    let _ = write!(
        out,
        "<h2>For what</h2><svg viewBox='0 0 960 {}' role=img aria-label='Blocks by category'>",
        counts.len() * 22
    );
    for (row, (category, count)) in counts.iter().enumerate() {
        let (y, wide) = (row * 22, *count as f64 / most as f64 * 700.0);
        let _ = write!(
            out,
            "<text x=0 y={}>{category}</text><rect class=b x=170 y={} width={wide:.1} height=14><title>{category}: {count}</title></rect>\
             <text x={:.1} y={}>{count}</text>",
            y + 14,
            y + 3,
            178.0 + wide,
            y + 14
        );
    }
    out.push_str("</svg>");
}

fn blocks(out: &mut String, blocks: &[WouldBlock]) {
    let _ = write!(out, "<h2>Blocks</h2><p class=note>{} in all", blocks.len());
    if blocks.len() > BLOCKS {
        let _ = write!(out, ", of which the first {BLOCKS} are here");
    }
    out.push_str(
        ".</p><div class=wide><table><tr><th>time (UTC)<th>client<th>for<th class=n>score<th class=n>line<th>how long<th>the gate</tr>",
    );
    for block in blocks.iter().take(BLOCKS) {
        let line = block.line_number.map_or(String::new(), |line| line.to_string());
        let _ = write!(
            out,
            "<tr><td>{}<td>{}<td>{}<td class=n>{}<td class=n>{line}<td>{}<td>{}</tr>",
            block.time,
            escaped(&block.source_ip),
            block.category,
            block.score,
            duration(block.duration_secs),
            block.refused.map_or(String::new(), |why| format!("refuses: {why}"))
        );
    }
    out.push_str("</table></div>");
}
