use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::detect::{Counter, DetectConfig, Record, Ruleset, Scratch};
use crate::event::{ClientKey, Http, Kind};

fn of(toml: &str) -> Result<Ruleset, Vec<RuleError>> {
    let exclusion: ExclusionConfig = toml::from_str(toml).unwrap();
    let place = ("my.toml".into(), 7);
    Ruleset::new(&[], &[]).unwrap().excluding(&[ExclusionConfig { place, ..exclusion }])
}

fn request<'a>(uri: &'a str, user_agent: &'a str, client: &str) -> Event<'a> {
    let http = Http {
        method: b"GET",
        uri: uri.as_bytes(),
        user_agent: user_agent.as_bytes(),
        status: Some(404),
        ..Http::default()
    };
    Event { source_ip: client.parse().ok(), ..Event::of(Kind::Http(http)) }
}

fn score(rules: &Ruleset, event: &Event<'_>) -> u8 {
    rules.examine(event, &mut Scratch::new(), &mut vec![])
}

const XSS: &str = "?text=%3Cscript%3Ealert(1)%3C/script%3E";

#[test]
fn hits_are_dropped_where_all_conditions_hold_and_nowhere_else() {
    let rules = of("path = '^/admin/editor$'\nuser_agent = '^Acme/'\nnetwork = ['192.0.2.0/24', '2001:db8::/32']\nrules = ['xss-*']").unwrap();
    let at = |path: &str, agent: &str, client: &str| score(&rules, &request(&format!("{path}{XSS}"), agent, client));
    for (path, agent, client, dropped) in [
        ("/admin/editor", "Acme/2", "192.0.2.7", true),
        ("/ADMIN/%65ditor", "acme/2", "2001:db8::7", true),
        ("/admin/editor", "Acme/2", "::ffff:192.0.2.7", true),
        ("/admin/editor/x", "Acme/2", "192.0.2.7", false),
        ("/admin/editor", "Mozilla Acme/2", "192.0.2.7", false),
        ("/admin/editor", "Acme/2", "198.51.100.7", false),
        ("/admin/editor", "Acme/2", "-", false),
    ] {
        assert_eq!(at(path, agent, client) == 0, dropped, "{path} {agent} {client}");
    }
    let sqli = request("/admin/editor?id=1%27%20UNION%20SELECT%201,2", "Acme/2", "192.0.2.7");
    assert!(score(&rules, &sqli) > 0, "of another rule");
    let guessed = Event { guessed: true, ..request("/admin/editor?a=%3Cscript%3Ealert(1)", "Acme/2", "192.0.2.7") };
    assert!(score(&rules, &guessed) > 0, "whose address a client may have chosen");
}

#[test]
fn a_path_counts_where_it_leads() {
    let rules = of("path = '^/editor/'").unwrap();
    for (path, dropped) in
        [("/editor/a", true), ("/editor/../b", false), ("/editor/%2e%2e/b", false), ("/editor/%252e%252e/b", false)]
    {
        assert_eq!(score(&rules, &request(&format!("{path}{XSS}"), "", "192.0.2.7")) == 0, dropped, "{path}");
    }
}

#[test]
fn the_hits_of_other_lines_stay() {
    let rules = of("path = '^/editor$'").unwrap();
    let (mut scratch, mut hits) = (Scratch::new(), vec![]);
    let text = [format!("/a{XSS}"), format!("/editor{XSS}"), format!("/b{XSS}")];
    let counts = text.each_ref().map(|uri| {
        rules.examine(&request(uri, "", "192.0.2.7"), &mut scratch, &mut hits);
        hits.len()
    });
    assert!(counts[0] > 0 && counts[1] == counts[0] && counts[2] == 2 * counts[0], "{counts:?}");
}

#[test]
fn excluded_lines_do_not_count_in_windows() {
    let overflows = |rules: &Ruleset, path: &str| {
        let mut counter = Counter::new(&DetectConfig { max_clients: 1024, ..DetectConfig::default() }, 5);
        let client = ClientKey::of("192.0.2.7".parse::<IpAddr>().unwrap(), 64);
        (0..200u32).any(|n| {
            let uri = format!("{path}{n}");
            let event = request(&uri, "", "192.0.2.7");
            let mut record = Record { time_secs: 1000 + n / 2, ..Record::of(&event, Some(client)) };
            record.look_closer(&event, true);
            let counted = counter.count(&record, &[], rules, || rules.detail(&event));
            counted.is_some_and(|counted| !counted.overflowed.is_empty())
        })
    };
    let rules = of("path = '^/probe/'").unwrap();
    assert!(overflows(&rules, "/other/") && !overflows(&rules, "/probe/"));
    let of_one_rule = of("path = '^/probe/'\nrules = ['xss-script-tag']").unwrap();
    assert!(overflows(&of_one_rule, "/probe/"));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (toml, expected) in [
        ("rules = ['xss-*']", "has no condition"),
        ("path = ''", "path: \"\" matches everything"),
        ("path = '^/'", "matches everything"),
        ("path = '^/?.*'", "matches everything"),
        ("user_agent = '.'", "user_agent: \".\" matches everything"),
        ("path = '^/(a'", "path: the pattern is broken"),
        ("path = '(a{1000}){1000}b'", "compiles to more than"),
        ("path = '^/a'\nrules = ['xss-*', 'xss-no-such']", "no rule or window is called \"xss-no-such\""),
        ("path = '^/a'\nrules = ['nothing-*']", "is called \"nothing-*\""),
    ] {
        let errors = of(toml).err().unwrap_or_else(|| panic!("{toml} is taken"));
        let told = errors.iter().map(RuleError::to_string).collect::<Vec<_>>().join("\n");
        assert!(told.starts_with("my.toml:7: exclusion: ") && told.contains(expected), "{toml}: {told}");
    }
    for toml in ["path = '^/$'", "path = '^/a'\nrules = ['http-path-scan']", "network = ['192.0.2.7/32']"] {
        assert!(of(toml).is_ok(), "{toml}");
    }
    let many = vec![ExclusionConfig { path: Some("^/a$".into()), ..ExclusionConfig::default() }; MOST + 1];
    assert!(Exclusions::new(&many[1..], &[], &[]).is_ok() && Exclusions::new(&many, &[], &[]).is_err());
}

proptest! {
    #[test]
    fn nothing_is_added_whatever_is_sent(uri in prop::collection::vec(any::<u8>(), 0..80), agent in prop::collection::vec(any::<u8>(), 0..40)) {
        use std::sync::LazyLock;
        static RULES: LazyLock<[Ruleset; 2]> = LazyLock::new(|| {
            [Ruleset::new(&[], &[]).unwrap(), of("path = '^/e'\nuser_agent = '[a-m]'").unwrap()]
        });
        let uri = [b"/e?a=<script>", &uri[..]].concat();
        let event = Event::of(Kind::Http(Http { method: b"GET", uri: &uri, user_agent: &agent, ..Http::default() }));
        let hits = RULES.each_ref().map(|rules| {
            let mut hits = vec![];
            rules.examine(&event, &mut Scratch::thorough(), &mut hits);
            hits
        });
        prop_assert!(hits[1].is_empty() || hits[1] == hits[0]);
    }
}
