use super::*;

fn decoded(raw: &str, plus: Plus) -> String {
    let mut out = b"kept".to_vec();
    decode(raw.as_bytes(), plus, &mut out);
    String::from_utf8_lossy(&out[4..]).into_owned()
}

fn folded(text: &str) -> String {
    let mut out = Vec::new();
    fold(text.as_bytes(), &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn decoding_undoes_what_attackers_do() {
    for (raw, expected) in [
        ("/a%2e%2E/b", "/a../b"),
        ("%252e%252e%252f", "../"),
        ("%25252e", "."),
        ("%2525252e", "%2e"),
        ("..%c0%af..%c0%ae", "../..."),
        ("..%c1%af%c0%2e%c0%2f%c1%1c%c1%9c%c0%5c", r".././\\\"),
        ("%u003cscript%u003e%uff1c", "<script><"),
        ("%25u003c", "<"),
        ("\\x22 \\\" \\\\ \\x5Cx22", "\" \" \\ \\x22"),
        (r"\u003cscript\u003E \u0027 \u0025\u0032e \/", "<script> ' . /"),
        (r"\u00e9 \ud83d\ude00 \ud83d \ude00 \ud83dx \u12 \u", "é 😀 \u{fffd} \u{fffd} \u{fffd}x \\u12 \\u"),
        (r"a\tb\nc\rd\be\ff\vg\q", "a\tb\nc\rd\u{8}e\u{c}f\u{b}g\\q"),
        (r"\\u003c \\n", r"\u003c \n"),
        ("100% a%2", "100% a%2"),
        ("", ""),
    ] {
        assert_eq!(decoded(raw, Plus::Literal), expected, "{raw}");
    }
    assert_eq!(decoded("a+b", Plus::Space), "a b");
    assert_eq!(decoded("a+b", Plus::Literal), "a+b");
    assert_eq!(decoded("/a+b?c+d?e+f", Plus::SpaceInQuery), "/a+b?c d?e f");
    assert_eq!(decoded(r"/a\u002bb?c\u002bd\u0026", Plus::SpaceInQuery), "/a+b?c d&");
    assert_eq!(decoded(r"/a+b\u003fc+d", Plus::SpaceInQuery), "/a+b?c d");
    assert!(!is_encoded(b"/plain/path?a=b-c"));
}

#[test]
fn signs_are_found_however_json_writes_them() {
    for (raw, expected) in [
        ("a&b&c", Some(("a", "b&c"))),
        (r"a\u0026b", Some(("a", "b"))),
        (r"\u003d\\u0026\u0026", Some((r"\u003d\\u0026", ""))),
        (r"a\&b", Some((r"a\", "b"))),
        (r"a\\u0026\\&", Some((r"a\\u0026\\", ""))),
        (r"a\u002", None),
        ("\\", None),
        ("", None),
    ] {
        let found = split_once(raw.as_bytes(), b'&');
        assert_eq!(found, expected.map(|(before, after): (&str, &str)| (before.as_bytes(), after.as_bytes())), "{raw}");
    }
}

#[test]
fn folding_joins_what_was_split() {
    for (text, expected) in [
        ("union/**/select", "union select"),
        ("union/*x*/ \t\n select", "union select"),
        ("1/*!50000union*/select", "1 union select"),
        ("a\0b", "ab"),
        ("&lt;img&#x20;src&#61x &LT;", "<img src=x <"),
        ("\\x3cscript\\u003e", "<script>"),
        ("\\u{3c}a\\u{00003e} \\u{} \\u{3c", "<a> \\u{} \\u{3c"),
        ("\\141\\154\\145rt \\999", "alert \\999"),
        ("j\\61 v\\000061script \\3c", "javascript <"),
        ("&amp;lt;a&amp;amp;#x3e; &amp; &AMP;b", "<a> & &b"),
        ("&#00000000000000123;&#x00000000000007d;&#0;", "{}&#0;"),
        ("&lsqb;&nbsp;&rsqb;", "[ ]"),
        ("\u{ff1c}\u{ff53}vg\u{ff5e} \u{2032}\u{2033}\u{2bc}", "<svg~ '\"'"),
        ("1\u{ff1d}1 日本\u{2019}", "1=1 日本\u{2019}"),
        ("a & b &c; 5 \\ 6 /* open", "a & b &c; 5 \\ 6 open"),
    ] {
        assert_eq!(folded(text), expected, "{text}");
        assert!(is_foldable(text.as_bytes()), "{text}");
    }
    for text in ["select a from b & c", "c:\\boot.ini", "日本語 l\u{2019}été \u{2026}"] {
        assert!(!is_foldable(text.as_bytes()) || folded(text) == text, "{text}");
    }
    assert!(!is_foldable("日本語 l\u{2019}été \u{2026}".as_bytes()));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_grow(raw in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let mut out = Vec::new();
        decode(&raw, Plus::SpaceInQuery, &mut out);
        assert!(out.len() <= raw.len());
        let mut view = Vec::new();
        fold(&out, &mut view);
        assert!(view.len() <= out.len());
        if !is_encoded(&raw) && memchr::memchr2(0xc0, 0xc1, &raw).is_none() { assert_eq!(out, raw); }
        if !is_foldable(&out) { assert_eq!(view, out); }
    }
}

#[test]
fn overlong_forms_are_what_they_mean() {
    for (text, expected) in [
        (&b"\xe0\x80\xae\xf0\x80\x80\xae\xe0\x81\x9c\xf8\x80\x80\x80\xafx"[..], &b"..\\/x"[..]),
        (b"\xfc\x80\x80\x80\x81\x81", b"A"),
        (b"\xe0\x80", b"\xe0\x80"),
        (b"\xe0\xa4\xa8\xf0\x9f\x98\x80\xe0\x80A", b"\xe0\xa4\xa8\xf0\x9f\x98\x80\xe0\x80A"),
    ] {
        let mut out = vec![];
        fold(text, &mut out);
        assert_eq!(out, expected);
        assert_eq!(is_foldable(text), text != expected);
    }
}
