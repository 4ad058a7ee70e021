//! Beside another engine, for people, and at its bound.

use proptest::prelude::*;
use regex_automata::meta::Regex;

use super::*;
use crate::detect::literals::parse;
use crate::detect::rules::{self, Trust};

fn program(pattern: &str) -> Program {
    Program::new(&parse(pattern).unwrap(), usize::MAX).unwrap()
}

/// Another engine's word for it.
fn regex(pattern: &str) -> Regex {
    let config = Regex::config().utf8_empty(false);
    Regex::builder().configure(config).build_from_hir(&parse(pattern).unwrap()).unwrap()
}

#[test]
fn it_matches_what_another_engine_matches() {
    let loaded = rules::BUILT_IN.iter().map(|(name, text)| rules::load(name, text, Trust::BuiltIn).ok().unwrap());
    let rules: Vec<_> = loaded.flat_map(|file| file.rules).filter(|rule| !rule.spec.pattern.is_empty()).collect();
    let examples = rules.iter().flat_map(|rule| rule.spec.attack.iter().chain(&rule.spec.benign));
    let texts: Vec<String> = examples
        .step_by(2)
        .map(rules::Example::request)
        .filter_map(|request| request.uri.or(request.user_agent).or(request.message))
        .map(|text| text.replace("%27", "'").replace("%3C", "<").replace("%20", " ").replace('+', " "))
        .collect();
    let mut matches = 0;
    for rule in &rules {
        let (program, regex) = (program(&rule.spec.pattern), regex(&rule.spec.pattern));
        let mut states = States::default();
        for text in &texts {
            let expected = regex.is_match(text);
            assert_eq!(program.is_match(text.as_bytes(), &mut states), expected, "{} in {text}", rule.id);
            matches += usize::from(expected);
        }
    }
    assert!(texts.len() > 500 && matches > 500, "{matches} in {}", texts.len());
}

#[test]
fn several_patterns_walk_together_as_each_does_alone() {
    let programs = [r"a.*b", r"\bcat\b", r"x$", r"^(?:ab)+c"].map(program);
    let texts = ["", "a", "acatb", "a cat", "ababcx", "xcatx cat", "abac a b x", "ababc a b cat x", "catx"];
    let mut alone = [(); 4].map(|()| States::default());
    let mut together = [(); 4].map(|()| States::default());
    let mut seen = std::collections::HashSet::new();
    for text in texts.iter().cycle().take(2 * texts.len()).map(|text| text.as_bytes()) {
        let mut each = programs.iter().zip(&mut alone);
        let expected = [(); 4].map(|()| each.next().is_some_and(|(program, states)| program.is_match(text, states)));
        assert_eq!(Program::match_together(programs.each_ref(), text, together.each_mut()), expected, "{text:?}");
        seen.insert(expected);
    }
    assert!(seen.len() > 6, "{seen:?}");
}

proptest! {
    #[test]
    fn whatever_a_pattern_is_made_of_it_matches_what_another_engine_matches(
        pattern in r"(\^|\\b|\\B|\(\?m:\^\)|)([ab-]|\[ab\]|\[\^a\]|\.|é|\\w|\(a\|b-\|\)|(\(a\?b\|-\\b\|é\)))([*+?]|\{2\}|\{1,3\}|\{0,2\}|\{2,\}|)([ab-]|\\b|\\B|\\n|)(\(-\|\\ba\)[*?]|)(\$|\(\?m:\$\)|\(\?Rm:\$\)|)",
        texts in prop::collection::vec(r"[ab\n\ré-]{0,12}", 20),
    ) {
        let (program, regex) = (program(&pattern), regex(&pattern));
        let mut states = States::default();
        for text in &texts {
            let found = regex.find(text);
            // Rules refuse patterns that match nothing.
            if found.is_some_and(|found| found.is_empty()) {
                continue;
            }
            prop_assert_eq!(program.is_match(text.as_bytes(), &mut states), found.is_some(), "{} in {:?}", pattern, text);
            prop_assert_eq!(program.find(text.as_bytes(), &mut states).is_some(), found.is_some(), "{} in {:?}", pattern, text);
        }
    }
}

#[test]
fn people_see_where_a_match_begins_and_how_far_it_goes() {
    for (pattern, text, expected) in [
        (r"<script[^>]*>", "a<b><script src=x>y>", "<script src=x>"),
        (r"union\s+select", "union union  select 1", "union  select"),
        (r"\bid\b.*", "sid id=1 id", "id=1 id"),
        (r"abc|b", "xabcb", "b"),
        (r"a+$", "aab aaa", "aaa"),
        (r"a*b|xc", "xaab", "aab"),
        (r"(?:x|a*)b", "aaxaab", "aab"),
    ] {
        let found = program(pattern).find(text.as_bytes(), &mut States::default()).map(|at| &text[at]);
        assert_eq!(found, Some(expected), "{pattern} in {text}");
    }
    assert_eq!(program("a+$").find(b"aab", &mut States::default()), None);
}

#[test]
fn states_that_grow_too_many_are_forgotten_and_nothing_else() {
    // Which of the last twenty bytes are an `a`: a million states.
    let (program, regex) = (program("a[ab]{20}c"), regex("a[ab]{20}c"));
    let mut states = States::default();
    let mut most = 0;
    let mut random = 1u32;
    for _ in 0..60 {
        let letters = (0..2000).map(|_| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if random >> 31 == 0 { b'a' } else { b'b' }
        });
        let text: Vec<u8> = letters.chain([b'c']).collect();
        assert_eq!(program.is_match(&text, &mut states), regex.is_match(&text));
        most = most.max(states.bytes());
        assert!(most < STATES_BYTES + 1024, "{most}");
    }
    assert!(most > STATES_BYTES / 2 && states.bytes() < most, "they were forgotten: {most}");
}
