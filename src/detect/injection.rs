//! Attacks told by the grammar of the language that they are injected into, by libinjection's
//! tokens instead of a pattern. The one place that knows the library.

use libinjectionrs::{SqliFlags, SqliState, detect_xss};
use serde::Deserialize;
use wide::u8x16;

use super::lanes::{places, within};
use super::rules::Target;

/// The language of the interpreter that a text may be meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grammar {
    Sql,
    Html,
}

/// Where an attack was found.
#[derive(Debug, PartialEq)]
pub struct Injection<'t> {
    /// The piece of the text that was read as code.
    pub piece: &'t [u8],
    /// libinjection's name for the order of its tokens; empty for HTML.
    pub fingerprint: String,
}

/// Whether a byte may be part of a sign that [`Grammar::may_match`] looks for.
#[inline]
pub fn is_sign(byte: u8) -> bool {
    matches!(
        byte,
        b'\'' | b'"' | b'`' | b'(' | b')' | b'{' | b'<' | b'>' | b';' | b'#' | b'*' | b'|' | b'@' | b'-' | b'&'
    )
}

impl Grammar {
    /// Whether `text` has a sign without which it cannot leave the place that it was put into. Cheap,
    /// and false for almost all text.
    #[inline]
    pub fn may_match(self, target: Target, text: &[u8]) -> bool {
        let is_sign = |[byte, next, third]: [u8x16; 3]| {
            let is = |sign: u8| byte.simd_eq(u8x16::splat(sign));
            let letter = |bytes: u8x16| within(bytes | u8x16::splat(0x20), b'a', b'z') | within(bytes, 0x80, 0xff);
            let is_next = |sign: u8| next.simd_eq(u8x16::splat(sign));
            // A quote between letters is an apostrophe: what leaves a quote has other signs, too.
            let quote = (is_next(b'\'') | is_next(b'"') | is_next(b'`')) & !(letter(byte) & letter(third));
            match (self, target) {
                (Grammar::Html, _) => quote | is(b'<'),
                // Any browser's has brackets and semicolons; what a server keeps of it stands in quotes.
                (Grammar::Sql, Target::UserAgent) => quote,
                (Grammar::Sql, _) => {
                    let bracket = is(b'(') | is(b')') | is(b'{') | is(b'<') | is(b'>');
                    let sign = is(b';') | is(b'#') | is(b'*') | is(b'|') | is(b'@');
                    quote | bracket | sign | byte.simd_eq(next) & (is(b'-') | is(b'&'))
                }
            }
        };
        // The first has none before it, the last a letter after it.
        let is_quote = |end: Option<&u8>| matches!(end, Some(b'\'' | b'"' | b'`'));
        is_quote(text.first()) || is_quote(text.last()) || places(text, is_sign, |_| {})
    }

    /// Whether it may read another text otherwise that differs in digits alone: to it all numbers are the
    /// same, but for the first digit of `0x` and `0b`.
    pub fn tells_digits(text: &[u8]) -> bool {
        text.array_windows().any(|[digit, base]| digit.is_ascii_digit() && matches!(base, b'x' | b'X' | b'b' | b'B'))
    }

    /// The first piece of `text` that is an attack.
    pub fn find(self, target: Target, text: &[u8]) -> Option<Injection<'_>> {
        let piece = |piece| {
            let piece: &[u8] = piece;
            if !self.may_match(target, piece) {
                return None;
            }
            let fingerprint = match self {
                Grammar::Sql => sql(piece)?,
                Grammar::Html => detect_xss(piece).is_injection().then(String::new)?,
            };
            Some(Injection { piece, fingerprint })
        };
        match (self, target) {
            // Markup has slashes of its own.
            (Grammar::Sql, Target::Path) => text.split(|&byte| byte == b'/').find_map(piece),
            (_, Target::Referer) if text.starts_with(b"http") => {
                let query = memchr::memchr(b'?', text).map_or(&b""[..], |at| &text[at + 1..]);
                query.split(|&byte| byte == b'&').find_map(|pair| {
                    let value = memchr::memchr(b'=', pair).map_or(pair, |at| &pair[at + 1..]);
                    piece(value)
                })
            }
            _ => piece(text),
        }
    }
}

/// The fingerprint of an SQL injection: `text` read as it is, and as what follows an opening quote.
/// JSON is read as neither.
fn sql(text: &[u8]) -> Option<String> {
    if text.starts_with(b"{\"") || text.starts_with(b"[{") {
        return None;
    }
    let mut state = SqliState::new(text, SqliFlags::FLAG_NONE);
    let fingerprint = state.detect().then(|| state.fingerprint_string())?;
    (is_telling(fingerprint.as_bytes()) && !is_prose(text) && !is_arithmetic(text)).then_some(fingerprint)
}

/// Whether ordinary text has no such fingerprint. Prose, formulas and filters of APIs begin with a
/// word or a call and have neither a second query nor an end in a comment. A query by itself leaves
/// no place that it was put into; quoted signs are two texts; dates, sums and mentions have numbers
/// and names alone.
fn is_telling(fingerprint: &[u8]) -> bool {
    match fingerprint {
        [] | [_] | [_, _] | b"sos" | [b'E', ..] => false,
        [b'n' | b'f' | b'k', rest @ ..] => rest.iter().any(|token| matches!(token, b'U' | b'E' | b'T' | b'c')),
        all => !all.iter().all(|token| matches!(token, b'1' | b'v' | b'n' | b'o' | b'&' | b',' | b'.')),
    }
}

/// Whether SQL is only quoted in a text: it begins with several words, or several follow the last
/// mark of a comment. Attacks keep the one word or number that was there, and leave nothing after the
/// comment.
fn is_prose(text: &[u8]) -> bool {
    const JOINTS: [&[u8]; 8] = [b"and", b"or", b"xor", b"union", b"select", b"having", b"where", b"order"];
    let is_word = |word: &&[u8]| {
        let is_joint = JOINTS.iter().any(|joint| joint.eq_ignore_ascii_case(word));
        word.len() > 1 && word.iter().all(|byte| byte.is_ascii_alphabetic() || !byte.is_ascii()) && !is_joint
    };
    let words =
        |text: &[u8]| text.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).take_while(is_word).count();
    let dashes = memchr::memmem::rfind(text, b"--").map(|at| at + 2);
    let comment = dashes.max(memchr::memrchr(b'#', text).map(|at| at + 1));
    words(text) > 1 || comment.is_some_and(|at| words(&text[at..]) > 1)
}

/// Whether a text is a sum and no more: numbers, variables of one letter, operators and brackets that close
/// in it.
fn is_arithmetic(text: &[u8]) -> bool {
    let (mut open, mut in_name) = (0usize, false);
    for pair in text.iter().zip(text[1..].iter().chain(b" ")) {
        match pair {
            (b'-', b'-') | (b'/', b'*') => return false,
            (b'(', _) => open += 1,
            (b')', _) if open == 0 => return false,
            (b')', _) => open -= 1,
            (byte, _) if byte.is_ascii_alphabetic() && !in_name => {}
            (b'0'..=b'9' | b'+' | b'-' | b'*' | b'/' | b'%' | b'^' | b'.' | b',' | b'=' | b' ', _) => {}
            _ => return false,
        }
        in_name = pair.0.is_ascii_alphabetic();
    }
    open == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql_of(target: Target, text: &str) -> Option<String> {
        Grammar::Sql.find(target, text.as_bytes()).map(|injection| injection.fingerprint)
    }

    #[test]
    fn what_leaves_its_quotes_is_told_from_what_has_quotes() {
        for (text, expected) in [
            ("1' or '1'='1", Some("s&sos")),
            ("x\") or (1=1)-- ", Some("s)&(1")),
            ("1;select pg_sleep(5)", Some("1;Ef(")),
            ("O'Brien and O'Neill", None),
            ("size = 'M' or size = 'L'", None),
            ("5 > 3 and 2 < 4", None),
            ("2024-01-01--2024-01-31", None),
            ("@bob or @alice", None),
            ("\"<\" and \">\"", None),
            ("{\"a\":\"b\",\"or\":[1]}", None),
            ("if(A1>5,\"yes\",\"no\")", None),
            ("select name from users where id = '1'", None),
            ("what does ' or 1=1-- do", None),
            ("' or 1=1-- is the oldest trick", None),
            ("x' or 1=1-- abc", Some("s&1c")),
            ("(3+4)*2/7", None),
            ("5*(n-1)/2", None),
            ("1)*(2", Some("1)o(1")),
            ("1)or(1=1", Some("1)&(1")),
            ("1-(@@version)", Some("1o(v)")),
        ] {
            assert_eq!(sql_of(Target::Args, text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn only_what_has_signs_is_read() {
        let may_match = |text: &str| Grammar::Sql.may_match(Target::Args, text.as_bytes());
        for text in ["O'Neill", "l'été d'Anna", "a-b_c=d,e", "rock and roll", ""] {
            assert!(!may_match(text), "{text}");
        }
        for text in ["'", "x'", "'x", "1'or", "x'or'1'='1", "x'or 1--", "a&&b", "f(x", "1;2", "0123456789abcdef'1"] {
            assert!(may_match(text), "{text}");
        }
    }

    #[test]
    fn every_sign_is_one_by_its_byte() {
        for byte in 0..=255u8 {
            let may_match = |grammar: Grammar| grammar.may_match(Target::Args, &[b'1', byte, byte, b'1']);
            assert_eq!(may_match(Grammar::Sql) || may_match(Grammar::Html), is_sign(byte), "{byte}");
        }
    }

    #[test]
    fn only_numbers_with_another_base_tell_digits_apart() {
        assert!(["1x2f", "a=0B1", "0x"].iter().all(|text| Grammar::tells_digits(text.as_bytes())));
        assert!(!["12 or 1=1", "x1", "", "a 0 x"].iter().any(|text| Grammar::tells_digits(text.as_bytes())));
    }

    #[test]
    fn the_parts_of_a_text_are_looked_at_by_themselves() {
        assert_eq!(sql_of(Target::Path, "/1 union select 2,3--/x").as_deref(), Some("1UE1c"));
        assert_eq!(sql_of(Target::Path, "/1'/union/select/2--"), None);
        assert!(sql_of(Target::Referer, "https://example.org/?a=b&c=1' or '1'='1").is_some());
        assert_eq!(sql_of(Target::Referer, "https://example.org/it's/or/1=1"), None);
        assert!(sql_of(Target::UserAgent, "Mozilla/5.0' or sleep(5)-- ").is_some());
        assert_eq!(sql_of(Target::UserAgent, "Mozilla/5.0 (X11; Linux x86_64; rv:128.0)"), None);
    }

    #[test]
    fn markup_that_acts_is_told_from_markup() {
        let is_attack = |text: &str| Grammar::Html.find(Target::Args, text.as_bytes()).is_some();
        for text in ["<p onpointerover=x()>", "\" autofocus onfocus=x() \"", "<a href=javascript:x()>"] {
            assert!(is_attack(text), "{text}");
        }
        for text in ["<p>a</p>", "a < b", "<a href=\"https://example.org\">", "x=\"y\""] {
            assert!(!is_attack(text), "{text}");
        }
    }

    proptest::proptest! {
        /// The library ends, without a panic, whatever it is given.
        #[test]
        fn no_text_breaks_the_library(
            words in proptest::collection::vec(proptest::sample::select(WORDS), 0..24),
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..12),
        ) {
            let text = [words.concat().as_bytes(), &bytes, words.concat().as_bytes()].concat();
            for grammar in [Grammar::Sql, Grammar::Html] {
                for target in [Target::Args, Target::Path, Target::Referer, Target::UserAgent] {
                    if grammar.find(target, &text).is_some() {
                        assert!(grammar.may_match(target, &text));
                    }
                }
            }
        }
    }

    const WORDS: &[&str] = &[
        "'",
        "\"",
        "`",
        "\\",
        "/*",
        "*/",
        "/*!",
        "--",
        "#",
        "$$",
        "$a$",
        "@",
        "@@",
        "@`",
        "0x",
        "0b",
        "1e",
        "1.",
        ".",
        "q'[",
        "nq'",
        "u&'",
        "x'",
        "b'",
        "e'",
        "select ",
        " union ",
        " or ",
        "(",
        ")",
        "{",
        "}",
        ",",
        ";",
        ":",
        ":=",
        "<=>",
        "!",
        "<",
        "</",
        "<!",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<?",
        "%>",
        "<a ",
        "=",
        "/",
        ">",
        "&#",
        "&#x",
        "on",
        "style",
        "\0",
        "\n",
        " ",
        "\u{a0}",
        "sleep(",
        "like ",
        "in ",
        "not ",
        "in boolean mode",
        "sp_password",
    ];
}
