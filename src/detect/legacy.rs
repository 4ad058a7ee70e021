//! The older shape of a rule file, `patterns.json`: `{category: {patterns, score, description}}`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::rules::{Rule, RuleError, RuleSpec, Target, Trust, View, without_examples};
use super::trial::lint;
use crate::event::Category;

/// One category as written.
#[derive(Deserialize)]
struct Group {
    patterns: Vec<String>,
    score: u8,
    #[serde(default)]
    description: String,
}

/// Reads one file: a rule `patterns-<category>-<n>` for each pattern that is fit for use, and why
/// each of the others is not. Scores of a line's rules add up, so of equal patterns one is kept.
///
/// # Errors
/// The file is not of this shape.
pub fn load(file: &str, text: &str) -> Result<(Vec<Rule>, Vec<RuleError>), RuleError> {
    let wrong = |line: usize, what: String| RuleError { file: file.into(), line, what };
    let groups: BTreeMap<String, Group> =
        serde_json::from_str(text).map_err(|error| wrong(error.line(), format!("not a patterns file: {error}")))?;
    let (mut rules, mut refused) = (Vec::<Rule>::new(), vec![]);
    for (name, group) in &groups {
        for (n, pattern) in (1..).zip(&group.patterns) {
            let id = format!("patterns-{}-{n}", name.to_ascii_lowercase().replace([' ', '-'], "_"));
            let spec = RuleSpec {
                id: id.clone(),
                category: category(name),
                score: group.score,
                description: group.description.clone(),
                reference: file.into(),
                target: vec![Target::Uri, Target::UserAgent],
                view: View::Decoded,
                pattern: pattern.clone(),
                grammar: None,
                methods: vec![],
                status: vec![],
                served: 0,
                attack: vec![],
                benign: vec![],
            };
            let fit = match rules.iter().find(|known| known.spec.pattern == *pattern) {
                Some(known) => Err(format!("is the same pattern as {}", known.id)),
                None => without_examples(spec, Trust::Foreign).and_then(|rule| lint(&rule).map(|()| rule)),
            };
            match fit {
                Ok(rule) => rules.push(rule),
                Err(what) => refused.push(wrong(line_of(text, name, pattern), format!("rule {id}: {what}"))),
            }
        }
    }
    Ok((rules, refused))
}

/// Ours for a category of theirs.
fn category(name: &str) -> Category {
    let name = name.to_ascii_lowercase().replace([' ', '-'], "_");
    if let Some(same) = Category::ALL.iter().find(|category| category.as_str() == name) {
        return *same;
    }
    const NAMES: &[(&str, Category)] = &[
        ("nosql", Category::Nosqli),
        ("sql", Category::Sqli),
        ("xss", Category::Xss),
        ("cross_site_scripting", Category::Xss),
        ("traversal", Category::PathTraversal),
        ("inclusion", Category::FileInclusion),
        ("ssrf", Category::Ssrf),
        ("server_side_request", Category::Ssrf),
        ("ssti", Category::TemplateInjection),
        ("template", Category::TemplateInjection),
        ("command", Category::CommandInjection),
        ("reverse_shell", Category::CommandInjection),
        ("shellshock", Category::Shellshock),
        ("log4", Category::Log4shell),
        ("webshell", Category::Webshell),
        ("web_shell", Category::Webshell),
        ("deserial", Category::Deserialization),
        ("ldap", Category::LdapInjection),
        ("xxe", Category::Xxe),
        ("xml", Category::Xxe),
        ("sensitive", Category::SensitiveFile),
        ("scanner", Category::Scanner),
        ("user_agent", Category::Scanner),
        ("admin", Category::AdminProbe),
        ("wordpress", Category::AdminProbe),
        ("brute", Category::Bruteforce),
        ("redirect", Category::OpenRedirect),
        ("prototype", Category::PrototypePollution),
        ("graphql", Category::GraphqlAbuse),
        ("smuggling", Category::ProtocolAbuse),
        ("splitting", Category::ProtocolAbuse),
        ("exfiltration", Category::Exfiltration),
        ("privilege", Category::PrivilegeEscalation),
        ("cve", Category::KnownExploit),
        ("exploit", Category::KnownExploit),
        ("code_", Category::CodeInjection),
    ];
    NAMES.iter().find(|(part, _)| name.contains(part)).map_or(Category::Other, |(_, category)| *category)
}

/// The line of `pattern` in the group called `name`, as far as it is written as we would write it.
fn line_of(text: &str, name: &str, pattern: &str) -> usize {
    let written = |part: &str| serde_json::to_string(part).unwrap_or_default();
    let group = text.find(&written(name)).unwrap_or(0);
    let at = text[group..].find(&written(pattern)).map_or(group, |at| group + at);
    text[..at].bytes().filter(|&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
  "SQL Injection": {
    "patterns": [
      "union\\s+all\\s+select",
      "(union",
      "select",
      "'\\s*or\\s*'1",
      "union\\s+all\\s+select"
    ],
    "score": 8,
    "description": "Queries"
  },
  "admin-probing": { "patterns": ["/login", "[a-z]+", "(?=x)y"], "score": 4 },
  "zebra": { "patterns": ["zebra\\.php"], "score": 11 },
  "unheard_of": { "patterns": ["striped-horse"], "score": 3, "severity": "low" }
}"#;

    #[test]
    fn fit_patterns_load_and_the_others_are_refused_with_the_reason() {
        let (rules, refused) = load("patterns.json", FILE).unwrap();
        let loaded: Vec<_> = rules.iter().map(|rule| (&*rule.id, rule.spec.category, rule.spec.score)).collect();
        assert_eq!(
            loaded,
            [
                ("patterns-sql_injection-1", Category::Sqli, 8),
                ("patterns-sql_injection-4", Category::Sqli, 8),
                ("patterns-unheard_of-1", Category::Other, 3),
            ]
        );
        let refused: Vec<_> = refused.iter().map(RuleError::to_string).collect();
        for (found, expected) in refused.iter().zip([
            "patterns.json:5: rule patterns-sql_injection-2: the pattern is broken",
            "patterns.json:6: rule patterns-sql_injection-3: matches an ordinary request: /",
            "patterns.json:4: rule patterns-sql_injection-5: is the same pattern as patterns-sql_injection-1",
            "patterns.json:13: rule patterns-admin_probing-1: matches an ordinary request: /login",
            "patterns.json:13: rule patterns-admin_probing-2: no literal",
            "patterns.json:13: rule patterns-admin_probing-3: the pattern is broken",
            "patterns.json:14: rule patterns-zebra-1: score 11 is not between 1 and 10",
        ]) {
            assert!(found.starts_with(expected), "{found} is not {expected}");
        }
        assert_eq!(refused.len(), 7);
    }

    #[test]
    fn a_file_of_another_shape_is_refused_with_its_line() {
        let error = load("patterns.json", "{\n  \"xss\": [1]\n}").err().unwrap();
        assert!(error.to_string().starts_with("patterns.json:2: not a patterns file: "), "{error}");
    }

    #[test]
    fn categories_are_mapped_onto_ours() {
        for (theirs, ours) in [
            ("nosql_injection", Category::Nosqli),
            ("sqli", Category::Sqli),
            ("Local File Inclusion", Category::FileInclusion),
            ("sensitive-files", Category::SensitiveFile),
            ("weather", Category::Other),
        ] {
            assert_eq!(category(theirs), ours, "{theirs}");
        }
    }
}
