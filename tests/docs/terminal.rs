//! A terminal as a picture whose lines come one after the other.

use std::fmt::Write;

/// What is longer is cut.
const COLUMNS: usize = 118;
const LINE_HEIGHT: usize = 17;
const MARGIN: usize = 16;
/// Of Menlo, Consolas and DejaVu Sans Mono at 12 pixels, in tenths.
const COLUMN_WIDTH: usize = 72;

/// `lines`, of which the first is the command, as SVG.
pub fn picture(lines: &[String]) -> String {
    let (width, height) = (COLUMNS * COLUMN_WIDTH / 10 + 2 * MARGIN, (lines.len() + 1) * LINE_HEIGHT + MARGIN);
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" xml:space="preserve" font-family="Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="12">
<style>
text {{ fill: #d6deeb; white-space: pre; animation: come .1s both }}
.command {{ fill: #7fdbca }}
.warning {{ fill: #ffcb6b }}
@keyframes come {{ from {{ opacity: 0 }} }}
@media (prefers-reduced-motion) {{ text {{ animation: none }} }}
</style>
<rect width="100%" height="100%" rx="8" fill="#011627"/>
"##
    );
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        let class = match at {
            0 => "command",
            _ if line.contains(" WARN ") => "warning",
            _ => "said",
        };
        let (y, after) = (MARGIN + LINE_HEIGHT * at + LINE_HEIGHT / 2, at as f64 * 0.3);
        let text = escaped(&cut(line));
        let _ = writeln!(
            svg,
            r#"<text class="{class}" x="{MARGIN}" y="{y}" style="animation-delay:{after:.1}s">{text}</text>"#
        );
    }
    svg + "</svg>\n"
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(COLUMNS) {
        None => line.to_owned(),
        Some(_) => line.chars().take(COLUMNS - 1).chain(['…']).collect(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
