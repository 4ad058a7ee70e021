//! Whatever stands in a file, it ends in mistakes.

use super::*;

#[test]
fn depth_and_length_end_in_a_mistake() {
    let dots = |n| vec!["a"; n].join(".");
    for text in [
        format!("{} = 1", dots(100_000)),
        format!("[{}]", dots(100_000)),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(100_000)),
        format!("{} = 1", "a".repeat(100_000)),
    ] {
        assert!(file(&text).is_err());
    }
    let name = format!("PALISADE__{}", vec!["A"; 50_000].join("__"));
    assert!(root(&[], &[(&name, "1")]).is_err());
    assert!(root(&[], &[("PALISADE__SOURCE", &"[".repeat(100_000))]).is_err());
}

#[test]
fn a_log_in_place_of_a_configuration_is_refused_quickly_and_briefly() {
    let line = r#"192.0.2.7 - - [05/Jan/2026:00:00:00 +0000] "GET /?a=[1] HTTP/1.1" 200 12 "-" "curl/8""#;
    let log = format!("{line}\n").repeat((1 << 20) / (line.len() + 1));
    let text = file(&log).expect_err("mistakes").to_string();
    assert_eq!(text.lines().count(), 101, "{text}");
    assert!(text.ends_with("more mistakes"), "{text}");
    let keys: String = (0..10_000).map(|n| format!("k{n:05} = 1\n")).collect();
    assert!(file(&keys).is_err());
    let list = format!("[client]\nallow = [{}]", "'10.0.0.1', ".repeat(20_000));
    assert!(file(&list).is_ok());
}

/// Values of all types, most of them wrong wherever they stand.
const VALUES: &[&str] = &[
    "0",
    "1",
    "8",
    "64",
    "300",
    "70000",
    "-1",
    "9223372036854775807",
    "1.5",
    "nan",
    "true",
    "''",
    "'x'",
    "'auto'",
    "'end'",
    "'json'",
    "'10.0.0.0/8'",
    "[]",
    "['x']",
    "['nftables']",
    "['::1']",
    "[[]]",
    "{}",
    "[{}]",
    "[{path='x'}]",
    "1979-05-27",
];

proptest! {
    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), variable in any::<Vec<u8>>()) {
        let settings = [("PALISADE__THRESHOLDS".into(), OsString::from_vec(variable))];
        let files = vec![("x.toml".into(), bytes)];
        let _ = compose(Input { files, settings: &settings, ..Input::default() }, &KNOWN).map_err(|e| e.to_string());
    }

    #[test]
    fn torn_configurations_never_panic(from in 0usize..5000, to in 0usize..5000, with in "[\\[\\]\"'=#\n{}a.\u{e9}]{0,4}") {
        let mut text: Vec<char> = whole_example().chars().collect();
        let (from, to) = (from.min(to).min(text.len()), to.min(text.len()));
        text.splice(from..to.max(from), with.chars());
        let _ = file(&text.into_iter().collect::<String>()).map_err(|e| e.to_string());
    }

    // The walker is the judge: what it lets through, serde takes, so that each mistake has its
    // place; and what is wrong is told under the key that is wrong.
    #[test]
    fn every_mistake_has_its_place(
        settings in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6)
    ) {
        let keys = check::keys(&schema());
        let mut chosen = std::collections::BTreeMap::new();
        for (key, value) in settings {
            let key = key.get(&keys).replace("source[].path", "source").replace("source[].", "log.").replace("exclusion[].", "log.").replace("crawler[].", "log.").replace("blocklist[].", "log.").replace("tier[].", "log.").replace("alert[].", "log.").replace("export[].", "log.");
            chosen.insert(key, *value.get(VALUES));
        }
        let text: String = chosen.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        if let Err(Mistakes(mistakes)) = file(&text) {
            for mistake in mistakes {
                let (line, _) = mistake.origin.position();
                prop_assert!(line > 0, "{mistake}");
                let at_line = text.lines().nth(line - 1).unwrap_or_default();
                let key = at_line.split(" = ").next().unwrap_or_default();
                prop_assert!(mistake.key.starts_with(key), "{mistake} in {at_line}");
            }
        }
    }
}

#[test]
fn a_format_must_understand_its_samples() {
    let source = |format: &str, sample: &str| {
        let text = format!("[[source]]\npath = '/a'\nformat = '{format}'\nsamples = ['{sample}']");
        root(&[("a.toml", &text)], &[]).map(|_| ()).map_err(|mistakes| mistakes.to_string())
    };
    let login = r"regex:(?<time>\S+) login (?<failure>failed) for (?<user>.*) from (?<source_ip>\S+)";
    assert_eq!(source(login, "2026-01-05T12:30:45Z login failed for alice from 203.0.113.7"), Ok(()));
    for (format, sample, said) in [
        (
            login,
            "login failed",
            "a.toml:4: source.samples: the format does not understand \"login failed\": the regular",
        ),
        ("$remote_addr [$time_local]", "x", "a.toml:4: source.samples: the format does not understand \"x\""),
        ("auto", "x", "a.toml:4: source.samples: samples are for a format that is named"),
        ("regex:(?<who>.*)", "x", "a.toml:3: source.format: no group is called \"who\""),
    ] {
        let told = source(format, sample).unwrap_err();
        assert!(told.contains(said), "{told}");
    }
}
