use proptest::prelude::*;

use super::*;
use crate::detect::{Ruleset, Scratch};
use crate::event::{Event, Http, Kind};

fn is_prose_of(name: &str, value: &str) -> bool {
    is_prose(is_typed(name.as_bytes()), value.as_bytes())
}

#[test]
fn prose_is_told_from_padding() {
    for (name, value, expected) in [
        ("q", "what does ' or 1=1 -- mean", true),
        ("q", "${jndi:ldap://x/a} explained", true),
        ("q", "import os; os.system('ls')", true),
        ("q", "it's <script>alert(1)</script> again", true),
        ("q", "\"union select\" in the log", true),
        ("form[message]", "c'est quoi ../../etc/passwd dans les logs", true),
        ("q", "SQL注入 ' or 1=1 -- 是什么意思", true),
        ("q", "how can I drop table users in C#", true),
        ("q", "${jndi:ldap://x/a}", false),
        ("q", "1' or 1=1 -- what does this mean to you", false),
        ("q", "x' union select the of and from users", false),
        ("q", "\"><script>alert(1)</script> what is this to you", false),
        ("q", "; cat /etc/passwd and what is this to you", false),
        ("q", "a\nid what is this to you", false),
        ("q", "what is this to you' or 1=1--", false),
        ("q", "what is this to you' or 1=1-- -", false),
        ("q", "what is this to you' or 1=1#", false),
        ("q", "test union all select null-- xYzW", false),
        ("q", "x union select password from users", false),
        ("id", "${jndi:ldap://x/a} explained", false),
        ("id", "what is the use of this ${jndi:ldap://x/a}", true),
        ("id", "the ' or 1=1 or 2=2 or 3=3 or 4=4 or 5=5 of", false),
        ("q", "\u{ff35}\u{ff2e}\u{ff29}\u{ff2f}\u{ff2e} \u{ff33}\u{ff25}\u{ff2c}\u{ff25}\u{ff23}\u{ff34} 1", false),
        ("q", "", false),
    ] {
        assert_eq!(is_prose_of(name, value), expected, "{name}={value}");
    }
}

#[test]
fn words_are_found_in_lists_in_small_letters_and_large() {
    assert!(is_in(TYPED, b"about") && is_in(COMMON, "är".as_bytes()) && is_in(CODE, b"XOR") && is_in(CODE, b"sleep"));
    assert!(!is_in(CODE, b"sleeps") && !is_in(CODE, b"slee") && !is_in(CODE, b"") && !is_in(CODE, &[b'a'; 17]));
    assert!(COMMON.iter().all(|word| !CODE.contains(word)));
}

#[test]
fn only_values_that_are_prose_are_taken_out() {
    for (uri, expected) in [
        ("/s?a=1&q=what+is+the+use+of+it&b=2", Some("/s?a=1&q=&b=2")),
        ("/s?q=what+is+it&q=&&=&q", Some("/s?q=&q=&&=&q")),
        ("/s\\u003fa=1\\u0026q=what+is+the+use\\u0026b", Some("/s\\u003fa=1\\u0026q=\\u0026b")),
        ("/s?q=x'+or+1%3D1", None),
        ("/what is the use of it", None),
    ] {
        let mut out = vec![];
        let is_changed = without_prose(uri.as_bytes(), &mut out);
        assert_eq!(
            (is_changed, String::from_utf8_lossy(&out).as_ref()),
            (expected.is_some(), expected.unwrap_or_default())
        );
    }
}

/// The score of a request and how many of its hits are quoted.
fn score(http: Http<'_>) -> (u8, usize) {
    let rules = Ruleset::new(&[], &[]).unwrap();
    let mut hits = vec![];
    let score = rules.examine(&Event::of(Kind::Http(http)), &mut Scratch::new(), &mut hits);
    (score, hits.iter().filter(|hit| hit.quoted).count())
}

#[test]
fn what_prose_quotes_is_flagged_and_a_second_sign_blocks() {
    let quoted = b"/s?q=what+does+'+or+1%3D1+--+mean";
    assert_eq!(score(Http { uri: quoted, ..Http::default() }), (QUOTED, 2));
    let again = [&quoted[..], b"&page=2"].concat();
    let twice = Http { uri: &again, referer: b"https://a.example/s?q=what+does+'+or+1%3D1+--+mean", ..Http::default() };
    assert_eq!(score(twice), (QUOTED, 2), "a rule counts once");
    let picture = Http {
        uri: b"/a.png",
        referer: b"https://a.example/s?q=what+is+the+use+of+$%7Bjndi:ldap://x%7D",
        ..Http::default()
    };
    assert_eq!(score(picture), (REPEATED, 1));
    let jndi = b"/s?q=what+is+the+use+of+$%7Bjndi:ldap://x/a%7D";
    assert_eq!(score(Http { uri: jndi, ..Http::default() }), (QUOTED, 1));
    assert_eq!(score(Http { uri: jndi, user_agent: b"sqlmap/1.8", ..Http::default() }).0, 10);
    assert_eq!(score(Http { uri: jndi, user_agent: b"${jndi:ldap://x/a}", ..Http::default() }), (10, 0));
    let outside = [&jndi[..], b"&x=$%7Bjndi:ldap://x/a%7D"].concat();
    assert_eq!(score(Http { uri: &outside, ..Http::default() }), (10, 0));
}

#[test]
fn evidence_adds_up_to_the_score_of_what_is_quoted() {
    let rules = Ruleset::new(&[], &[]).unwrap();
    let event = Event::of(Kind::Http(Http { uri: b"/s?q=what+does+'+or+1%3D1+--+mean", ..Http::default() }));
    let (mut scratch, mut hits) = (Scratch::new(), vec![]);
    let score = rules.examine(&event, &mut scratch, &mut hits);
    let evidence = rules.evidence(&event, &mut scratch, &hits);
    assert_eq!(evidence.iter().map(|piece| piece.score).sum::<u8>(), score);
}

proptest! {
    /// Whatever is sent, nothing is added to it.
    #[test]
    fn prose_adds_nothing(
        words in prop::collection::vec(prop::sample::select(&[
            "what ", "the ", "is ", "q", "=", "&", "?", "/", "'", "\"", " or ", "1=1", "--", "#", "<script>", "alert(1)", "%", "27", "\\u0026", "\u{4e00}",
        ][..]), 0..30),
        bytes in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let text = [b"/s?q=", words.concat().as_bytes(), &bytes].concat();
        let mut out = vec![];
        let is_changed = without_prose(&text, &mut out);
        prop_assert!(out.len() <= text.len() && is_changed != out.is_empty());
        is_prose(false, &text[5..]);
    }
}
