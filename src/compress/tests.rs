use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Lines as an iterator that can be walked twice.
fn lines<'a>(texts: &'a [String], client: &'a dyn Fn(u64) -> Option<IpAddr>) -> impl Iterator<Item = Line<'a>> + Clone {
    (1..).zip(texts).map(move |(number, text)| Line {
        number,
        text: text.as_bytes(),
        time: Some(Timestamp(1_767_571_200_000 + number as i64 * 250)),
        source_ip: client(number),
        user: if text.contains("for alice") { b"alice" } else { b"" },
    })
}

/// A client's address in the first field of its line.
fn first_field(texts: &[String]) -> impl Fn(u64) -> Option<IpAddr> + '_ {
    |number| texts[number as usize - 1].split(' ').next()?.parse().ok()
}

fn access(number: usize, client: &str, path: &str, status: u16) -> String {
    let second = 10 + number / 40 % 50;
    format!(
        r#"{client} - - [05/Jan/2026:12:30:{second} +0000] "GET {path} HTTP/1.1" {status} {} "-" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0""#,
        100 + number % 7
    )
}

/// A shop's log, of whose lines the ones in `attacks` are flagged.
fn shop(count: usize, attacks: &[usize]) -> Vec<String> {
    (1..=count)
        .map(|number| {
            let client = format!("192.0.2.{}", number * 7 % 40);
            match attacks.contains(&number) {
                true => access(number, "203.0.113.66", &format!("/products?id={number}%27%20or%201=1"), 200),
                false => access(
                    number,
                    &client,
                    &format!("/products/{}", number * 31 % 90),
                    if number % 9 == 0 { 404 } else { 200 },
                ),
            }
        })
        .collect()
}

#[test]
fn a_log_becomes_a_tenth_and_keeps_its_evidence_word_for_word() {
    let attacks = [17, 402, 403, 404, 1999];
    let texts = shop(2000, &attacks);
    let done = compress(
        lines(&texts, &first_field(&texts)),
        &|number| attacks.contains(&(number as usize)),
        &Options::default(),
    );
    assert!(done.stats.ratio > 10.0, "{}\n{:?}", done.text, done.stats.ratio);
    assert!(!done.stats.partial);
    for attack in attacks {
        assert!(done.text.contains(&format!("/products?id={attack}%27%20or%201=1")), "{}", done.text);
    }
    assert!(done.text.contains("addresses: 203.0.113.66×5 L17-1999"), "{}", done.text);
    assert!(done.text.contains("192.0.2.39: T"), "every client is told: {}", done.text);
    assert_eq!(done.stats.original_tokens - done.stats.compressed_tokens, done.stats.saved_tokens);
}

#[test]
fn what_does_not_fit_is_counted_and_said() {
    let texts = shop(2000, &[]);
    let every_tenth = |number: u64| number.is_multiple_of(10);
    let options =
        |tokens| Options { budget: Budget::Tokens(tokens), usd_per_million_tokens: Some(3.0), ..Options::default() };
    let small = compress(lines(&texts, &first_field(&texts)), &every_tenth, &options(1500));
    assert!(small.stats.compressed_tokens <= 1500, "{}", small.stats.compressed_tokens);
    assert!(small.stats.compressed_tokens > 1000, "the budget is used: {}", small.stats.compressed_tokens);
    assert!(small.stats.partial && small.text.contains("PARTIAL: left out"), "{}", small.text);
    let left_out = |name: &str| small.stats.left_out.iter().find(|of| of.name == name).map_or(0, |of| of.count);
    assert_eq!(left_out("flagged_lines") + small.flagged(), 200);
    let price = small.stats.saved_tokens as f64 * 3.0 / 1e6;
    assert_eq!(small.stats.cost_saved_usd, Some(price));
    let all = compress(lines(&texts, &first_field(&texts)), &every_tenth, &options(1_000_000));
    assert!(!all.stats.partial && all.flagged() == 200);
    let nothing = compress(lines(&texts, &first_field(&texts)), &every_tenth, &options(0));
    assert!(nothing.pieces.is_empty() && nothing.stats.partial);
}

#[test]
fn the_same_input_gives_the_same_text() {
    let texts = shop(700, &[3, 90]);
    let once = || compress(lines(&texts, &first_field(&texts)), &|number| number == 3, &Options::default()).text;
    let first = once();
    (0..4).for_each(|_| assert_eq!(once(), first));
}

#[test]
fn secrets_and_control_tokens_do_not_come_out() {
    let texts = vec!["login password=hunter2 <|im_end|>\n\u{202e}".into(), "mail from bob@example.org".into()];
    let done = compress(lines(&texts, &|_| None), &|number| number == 1, &Options::default());
    for hidden in ["hunter2", "<|", "|>", "\u{202e}", "bob@"] {
        assert!(!done.text.contains(hidden), "{hidden}: {}", done.text);
    }
    assert!(done.text.contains("password=<secret> < |im_end| >"), "{}", done.text);
}

#[test]
fn what_clients_of_flagged_lines_wrote_besides_is_shown_as_it_is_where_it_is_little() {
    let mut texts = shop(2000, &[17, 402]);
    for number in [3, 90, 1501] {
        texts[number - 1] = access(number, "203.0.113.66", &format!("/old/{number}"), 404);
    }
    // The busiest of all is not shown whole for one line of it.
    let busy: Vec<usize> = (1..=2000).filter(|number| number % 2 == 0 && *number != 402 && *number != 90).collect();
    busy.iter().for_each(|&number| {
        let text = &texts[number - 1];
        texts[number - 1] = format!("192.0.2.250{}", &text[text.find(' ').unwrap()..]);
    });
    let client = first_field(&texts);
    let done = compress(lines(&texts, &client), &|number| [17, 402, 700].contains(&number), &Options::default());
    let (_, besides) = done.text.split_once("# Other lines of their clients").unwrap();
    let (besides, _) = besides.split_once("\n#").unwrap();
    assert_eq!(besides.matches("/old/").count(), 3, "{besides}");
    assert!(!besides.contains("192.0.2.250"), "{besides}");
    let back = done.restore();
    for number in [3u64, 17, 90, 402, 700, 1501] {
        let exact = back.iter().find(|line| line.is_exact && line.number == number).unwrap();
        assert_eq!(exact.text, texts[number as usize - 1]);
    }
    assert!(done.stats.ratio > 10.0, "{}", done.stats.ratio);
}

#[test]
fn folded_lines_come_back_with_their_times_and_values() {
    let texts: Vec<String> = (1..=200)
        .map(|number| access(number, &format!("192.0.2.{}", number % 9), &format!("/p/{number}"), 200))
        .collect();
    let client = first_field(&texts);
    let done = compress(lines(&texts, &client), &|_| false, &Options::default());
    let back: Vec<String> = done.restore().into_iter().map(|line| line.text).collect();
    // Who asked is told for all lines of a client together; the rest of each line is its own, in its place.
    let rest = |text: &String| text.split_once(' ').unwrap().1.to_owned();
    let without_size = |text: String| {
        let (head, tail) = text.split_once(" 200 ").unwrap();
        (head.to_owned(), tail.split_once(' ').unwrap().1.to_owned())
    };
    let of = |texts: &[String]| texts.iter().map(|text| without_size(rest(text))).collect::<Vec<_>>();
    assert_eq!(of(&back), of(&texts));
    let sizes = |texts: &[String]| {
        let mut all: Vec<String> = texts.iter().map(|text| text.split(' ').nth(9).unwrap().to_owned()).collect();
        all.sort();
        all
    };
    assert_eq!(sizes(&back), sizes(&texts), "sizes are told by frequency");
}

#[test]
fn rules_are_indicators_too() {
    let texts = shop(20, &[3]);
    let hits = vec![("sqli-tautology".into(), [3u64].into_iter().collect())];
    let done = compress(
        lines(&texts, &first_field(&texts)),
        &|number| number == 3,
        &Options { rule_hits: hits, ..Options::default() },
    );
    assert!(done.text.contains("rules: sqli-tautology L3"), "{}", done.text);
}

#[test]
fn hostile_input_stays_in_bounds() {
    // Each line another shape, another length, another word: no more pieces than templates, and no panic.
    let texts: Vec<String> =
        (0..6000u64).map(|n| format!("{:b}", n * 2_654_435_761).replace('0', "=\"").replace("11", "é |<a> ")).collect();
    let done = compress(lines(&texts, &|_| None), &|number| number % 5 == 0, &Options::default());
    assert_eq!(done.restore().len(), 6000);
    let empty = compress(lines(&[], &|_| None), &|_| true, &Options::default());
    assert_eq!((empty.restore().len(), empty.stats.ratio), (0, 0.0));
}

/// What of a log findings are made of: flagged lines word for word, and how often each client had which
/// answer.
type Facts = (BTreeMap<u64, String>, BTreeMap<(Option<IpAddr>, String), u64>);

fn facts(lines: impl Iterator<Item = (u64, String, Option<IpAddr>)>, evidence: &dyn Fn(u64, &str) -> bool) -> Facts {
    let (mut exact, mut counts) = Facts::default();
    for (number, text, client) in lines {
        if evidence(number, &text) {
            exact.insert(number, text);
        } else {
            let status =
                text.split("HTTP/1.1\" ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("-").to_owned();
            *counts.entry((client, status)).or_default() += 1;
        }
    }
    (exact, counts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_findings_are_made_of_comes_back(
        rows in prop::collection::vec((0usize..9, 0u8..7, prop::sample::select(vec![200u16, 301, 404, 500]), any::<bool>(), "[a-z <|=\"é0-9]{0,9}"), 1..160),
    ) {
        let texts: Vec<String> = rows.iter().enumerate().map(|(number, (kind, client, status, _, noise))| match kind {
            0 => format!("192.0.2.{client} sshd: {noise}"),
            1 => access(number, &format!("2001:db8::{client}"), &format!("/x?{noise}"), *status),
            _ => access(number, &format!("192.0.2.{client}"), &format!("/p/{}", number % 5), *status),
        }).collect();
        let client = first_field(&texts);
        let is_flagged = |number: u64| rows[number as usize - 1].3;
        let done = compress(lines(&texts, &client), &is_flagged, &Options::default());
        let original = lines(&texts, &client).map(|line| {
            (line.number, shown(&line).into_owned(), client(line.number))
        });
        let back: Vec<Restored> = done.restore();
        prop_assert!(back.windows(2).all(|pair| pair[0].number <= pair[1].number));
        let restored = back.iter().map(|line| {
            let client = line.source_ip.or_else(|| line.text.split(' ').next()?.parse().ok());
            (line.number, line.text.clone(), client)
        });
        // A folded line's number may be that of a flagged one: what is exact is told by the line itself.
        let exact: BTreeMap<u64, String> = back.iter().filter(|line| line.is_exact).map(|line| (line.number, line.text.clone())).collect();
        let (flagged, counts) = facts(original.clone(), &|number, _| is_flagged(number));
        let (_, counts_back) = facts(restored, &|number, text| is_flagged(number) && exact.get(&number).is_some_and(|exact| exact == text));
        for (number, text, _) in original {
            if let Some(exact) = exact.get(&number) {
                prop_assert_eq!(exact, &text);
            }
        }
        for (number, text) in &flagged {
            prop_assert_eq!(exact.get(number), Some(text));
        }
        prop_assert_eq!(counts_back, counts);
    }
}
