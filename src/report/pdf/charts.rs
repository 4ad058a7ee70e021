//! Figures and charts.

use super::BAR;
use super::flow::{BOX, Flow, INK, INNER, MARGIN, RULE, SMALL, STRONG};
use crate::event::analysis::{Analysis, Factor};
use crate::report::{TimeLine, colour, distribution};

/// Boxes with a figure each.
pub fn tiles(flow: &mut Flow, analysis: &Analysis) {
    const GAP: f32 = 8.0;
    const HIGH: f32 = 48.0;
    let wide = (INNER - 4.0 * GAP) / 5.0;
    let tiles = [
        ("risk, of 100", analysis.risk.score.to_string()),
        ("health", analysis.risk.health.clone()),
        ("threats", analysis.threats.len().to_string()),
        ("lines", analysis.input.lines.to_string()),
        ("addresses", analysis.addresses.len().to_string()),
    ];
    for (at, (name, value)) in tiles.iter().enumerate() {
        let x = MARGIN + at as f32 * (wide + GAP);
        flow.area(x, flow.y, wide, HIGH, 4.0, BOX);
        flow.line(x + 9.0, flow.y + 15.0, wide - 16.0, name, SMALL);
        flow.line(x + 9.0, flow.y + 36.0, wide - 16.0, value, STRONG.size(16.0));
    }
    flow.y += HIGH;
    if let (Some(first), Some(last)) = (analysis.input.first_time, analysis.input.last_time) {
        flow.space(4.0);
        flow.line(MARGIN, flow.y + 9.0, INNER, &format!("The lines are from {first} to {last}."), SMALL);
        flow.space(9.0);
    }
}

/// Threats by severity on the left, what the score is made of on the right.
pub fn charts(flow: &mut Flow, analysis: &Analysis) {
    const ROW: f32 = 15.0;
    let counts = distribution(analysis);
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
    if most == 0 {
        return;
    }
    flow.space(10.0);
    flow.room(30.0 + ROW * counts.len() as f32);
    let (top, half) = (flow.y, INNER / 2.0 - 12.0);
    flow.line(MARGIN, top + 11.0, half, "Threats by severity", STRONG.size(11.0));
    for (row, (severity, count)) in counts.iter().enumerate() {
        let y = top + 20.0 + row as f32 * ROW;
        flow.line(MARGIN, y + 9.5, 70.0, severity.as_str(), SMALL.colour(INK));
        let wide = *count as f32 / most as f32 * (half - 100.0);
        flow.area(MARGIN + 72.0, y + 1.5, wide, 10.5, 2.0, colour(*severity));
        flow.line(MARGIN + 77.0 + wide, y + 9.5, 40.0, &count.to_string(), SMALL.colour(INK));
    }
    let right = MARGIN + INNER / 2.0 + 12.0;
    let points = |factor: &Factor| factor.points as f32;
    let factors: Vec<&Factor> = analysis.risk.factors.iter().filter(|one| points(one) > 0.0).take(5).collect();
    let largest = factors.iter().map(|one| points(one)).fold(0.0, f32::max);
    if !factors.is_empty() {
        flow.line(right, top + 11.0, half, "What the risk score is made of", STRONG.size(11.0));
    }
    for (row, factor) in factors.into_iter().enumerate() {
        let y = top + 20.0 + row as f32 * ROW;
        flow.line(right, y + 9.5, 116.0, &factor.name, SMALL.colour(INK));
        let wide = points(factor) / largest * (half - 156.0);
        flow.area(right + 120.0, y + 1.5, wide, 10.5, 2.0, BAR);
        flow.line(right + 125.0 + wide, y + 9.5, 34.0, &format!("{:.0}", factor.points), SMALL.colour(INK));
    }
    flow.y = top + 20.0 + ROW * counts.len() as f32;
}

/// When each threat was seen.
pub fn time_chart(flow: &mut Flow, line: &TimeLine<'_>) {
    const ROW: f32 = 15.0;
    const LEFT: f32 = 165.0;
    flow.space(10.0);
    flow.room(40.0 + ROW * line.bars.len() as f32);
    flow.line(MARGIN, flow.y + 11.0, INNER, "Time line", STRONG.size(11.0));
    flow.y += 20.0;
    let wide = INNER - LEFT;
    for (threat, from, to) in &line.bars {
        let title = format!("{}  {}", threat.id, threat.kind.title());
        flow.line(MARGIN, flow.y + 9.5, LEFT - 8.0, &title, SMALL.colour(INK));
        flow.area(MARGIN + LEFT, flow.y + 6.4, wide, 0.6, 0.0, RULE);
        // What took no time is seen too, and stays between the ends.
        let bar = (((to - from) as f32) * wide).max(4.0);
        let x = (MARGIN + LEFT + *from as f32 * wide).min(MARGIN + INNER - bar);
        flow.area(x, flow.y + 1.5, bar, 10.5, 2.0, colour(threat.severity));
        flow.y += ROW;
    }
    flow.line(MARGIN + LEFT, flow.y + 9.0, wide / 2.0, &line.first.to_string(), SMALL);
    flow.line_to(MARGIN + INNER, flow.y + 9.0, wide / 2.0, &line.last.to_string(), SMALL);
    flow.y += 14.0;
}
