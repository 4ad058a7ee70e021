//! Pages that need nothing else: no script, no font, no other file, and nothing is fetched.

use crate::event::printable;

/// Bytes of a text that are shown: all of a logged line.
const LIMIT: usize = 1 << 20;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d2733; --soft: #5b6b7b; --line: #d6dde5; --page: #fff; --box: #f4f6f8; --bar: #2f6fb2; --hot: #c2410c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa8b5; --line: #30404f; --page: #10171f; --box: #1a242f; --bar: #6ba8e5; --hot: #fb923c; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 64rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; } .note { color: var(--soft); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 1rem; } dt { color: var(--soft); } dd { margin: 0; font-size: 1.5rem; }
div.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } svg { width: 100%; height: auto; } rect.a { fill: var(--bar); } rect.b { fill: var(--hot); } text { fill: var(--soft); font-size: 11px; }
tr.now td { font-weight: 600; }";

/// A page up to its heading, with `style` beside what every page has.
pub fn open(title: &str, style: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>Palisade: {title}</title><style>{STYLE}{style}</style><h1>{title}</h1>"
    )
}

/// `text` as HTML shows it, whatever is in it.
pub fn escaped(text: &str) -> String {
    let text = printable(text.as_bytes(), LIMIT);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
