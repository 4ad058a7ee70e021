use super::*;

const HOUR: u64 = 3600;
/// 2026-01-05 00:00 UTC, a Monday.
const MONDAY: Timestamp = Timestamp(1_767_571_200_000);

fn route(set: impl FnOnce(&mut AlertConfig)) -> Route {
    let mut config = AlertConfig { min_severity: Severity::Low, ..AlertConfig::default() };
    set(&mut config);
    Route::new(&config, TimeZone::UTC, "web-1", "https://palisade.example.com/").unwrap()
}

fn finding(n: u64, client: &str, score: u8, at: Timestamp) -> News {
    News {
        id: n.to_string(),
        at,
        score,
        severity: Severity::of(score),
        category: "sqli".into(),
        client: client.into(),
        source: "/var/log/nginx/access.log".into(),
        case_id: format!("case-{client}"),
        method: "GET".into(),
        uri: format!("/item?id={n}"),
        status: 200,
        rule_ids: vec!["sqli-union-select".into()],
        reason: "args: union select".into(),
        ..News::default()
    }
}

fn ban(finding: &News) -> News {
    News { what: What::Ban, until: Some(finding.at.plus_secs(4 * HOUR)), ..finding.clone() }
}

/// The message that is due, delivered.
fn told(desk: &mut Desk, route: &Route, now: Timestamp) -> Option<Message> {
    let Some(Due::Deliver(message)) = desk.due(route, now) else { return None };
    desk.delivered(route, None, now);
    Some(message)
}

#[test]
fn the_first_comes_at_once_with_its_ban_and_the_rest_together() {
    let (route, mut desk, now) = (route(|_| {}), Desk::default(), MONDAY.plus_secs(12 * HOUR));
    let first = finding(1, "203.0.113.5", 9, now);
    desk.take(&route, first.clone(), now);
    desk.take(&route, ban(&first), now);
    let message = told(&mut desk, &route, now).unwrap();
    assert_eq!(message.title, "web-1: critical: sqli from 203.0.113.5, banned");
    assert_eq!(message.url.as_deref(), Some("https://palisade.example.com/case/case-203.0.113.5"));
    expect_test::expect![[r#"
        Time: 2026-01-05T12:00:00.000Z
        Client: 203.0.113.5
        Request: GET /item?id=1 (status 200)
        Attack: sqli, score 9 (critical)
        Rules: sqli-union-select
        Why: args: union select
        Source: /var/log/nginx/access.log
        Ban: until 2026-01-05T16:00:00.000Z
        To do: `palisade why 203.0.113.5` tells what led to it; `palisade unban 203.0.113.5` undoes it"#]]
    .assert_eq(&message.text);
    for n in 2..10 {
        desk.take(&route, finding(n, &format!("203.0.113.{}", n % 4), 7, now), now.plus_secs(n));
    }
    assert_eq!(told(&mut desk, &route, now.plus_secs(599)), None, "the window is open");
    let message = told(&mut desk, &route, now.plus_secs(600)).unwrap();
    assert_eq!(message.title, "web-1: high: 8 findings by 4 clients");
    assert!(message.text.contains("By: 203.0.113.0 (2), 203.0.113.1 (2)"), "{}", message.text);
    assert_eq!(told(&mut desk, &route, now.plus_secs(9000)), None, "nothing is told twice");
}

#[test]
fn a_flood_is_a_handful_of_messages_whose_sums_are_right() {
    let (route, mut desk) = (route(|_| {}), Desk::default());
    let start = MONDAY.plus_secs(10 * HOUR);
    let mut messages = vec![];
    for n in 0..100_000_u64 {
        // In an hour, as a store gives it: a thousand at a time.
        let now = start.plus_secs(n / 1000 * 36);
        desk.take(&route, finding(n, &format!("198.51.{}.{}", n % 5, n % 200), 7 + (n % 3) as u8, now), now);
        if n % 1000 == 999 {
            messages.extend(told(&mut desk, &route, now));
        }
        if n % 25_000 == 0 {
            // A restart changes nothing.
            desk = serde_json::from_str(&serde_json::to_string(&desk).unwrap()).unwrap();
        }
    }
    messages.extend(told(&mut desk, &route, start.plus_secs(3 * HOUR)));
    assert!((2..=8).contains(&messages.len()), "{}", messages.len());
    assert_eq!(messages.iter().map(|message| message.sums.findings).sum::<u64>(), 100_000);
    let last = messages.last().unwrap();
    assert_eq!(last.sums.clients.len(), 200, "{}", last.text);
    assert_eq!(last.sums.clients.values().sum::<u64>(), last.sums.findings);
    assert!(
        last.title.contains(&format!("{} findings by 200 clients", super::super::message::grouped(last.sums.findings))),
        "{}",
        last.title
    );
}

#[test]
fn who_goes_on_as_before_waits_unless_it_gets_worse() {
    let (route, mut desk, now) = (route(|_| {}), Desk::default(), MONDAY.plus_secs(12 * HOUR));
    desk.take(&route, finding(1, "203.0.113.5", 6, now), now);
    assert!(told(&mut desk, &route, now).is_some());
    let later = now.plus_secs(1200);
    desk.take(&route, finding(2, "203.0.113.5", 6, later), later);
    assert_eq!(told(&mut desk, &route, later), None, "the same case");
    desk.take(&route, finding(3, "203.0.113.5", 9, later), later);
    let message = told(&mut desk, &route, later).unwrap();
    assert_eq!((message.sums.findings, message.severity), (2, Severity::Critical));
    desk.take(&route, finding(4, "203.0.113.5", 6, later), later.plus_secs(700));
    assert_eq!(told(&mut desk, &route, later.plus_secs(4200)), None);
    let message = told(&mut desk, &route, later.plus_secs(4300)).expect("an hour later it is told all the same");
    assert_eq!(message.sums.findings, 1);
}

#[test]
fn in_quiet_hours_only_the_worst_comes_and_the_rest_after_them() {
    let route = route(|config| config.quiet_hours = "22:00-07:00".into());
    let (mut desk, night) = (Desk::default(), MONDAY.plus_secs(23 * HOUR));
    desk.take(&route, finding(1, "203.0.113.5", 8, night), night);
    assert_eq!(told(&mut desk, &route, night), None);
    assert_eq!(told(&mut desk, &route, night.plus_secs(7 * HOUR)), None, "06:00");
    let message = told(&mut desk, &route, night.plus_secs(8 * HOUR)).expect("07:00");
    assert_eq!(message.sums.findings, 1);
    let next = night.plus_secs(24 * HOUR);
    desk.take(&route, finding(2, "203.0.113.6", 7, next), next);
    desk.take(&route, finding(3, "203.0.113.7", 10, next), next);
    let message = told(&mut desk, &route, next).expect("what is critical comes at night too");
    assert_eq!((message.severity, message.sums.findings), (Severity::Critical, 2));
}

#[test]
fn the_cap_is_said_and_lets_the_worst_through() {
    let route = route(|config| (config.daily_cap, config.group_secs) = (3, 1));
    let (mut desk, start) = (Desk::default(), MONDAY.plus_secs(10 * HOUR));
    let mut messages = vec![];
    for n in 0..50 {
        let now = start.plus_secs(n * 60);
        desk.take(&route, finding(n, &format!("203.0.113.{n}"), 7, now), now);
        messages.extend(told(&mut desk, &route, now));
    }
    assert_eq!(messages.len(), 3);
    assert!(!messages[1].text.contains("at most"), "{}", messages[1].text);
    assert!(messages[2].text.contains("This is message 3 of at most 3 today"), "{}", messages[2].text);
    let now = start.plus_secs(4 * HOUR);
    desk.take(&route, finding(99, "203.0.113.99", 9, now), now);
    let worst = told(&mut desk, &route, now).expect("what is critical comes all the same");
    assert_eq!(worst.sums.findings, 48);
    desk.take(&route, finding(100, "203.0.113.100", 7, now), now.plus_secs(9));
    assert_eq!(told(&mut desk, &route, now.plus_secs(60)), None);
    let tomorrow = MONDAY.plus_secs(24 * HOUR);
    assert_eq!(told(&mut desk, &route, tomorrow).expect("a new day").sums.findings, 1);
}

#[test]
fn filters_leave_out_what_nobody_wants() {
    let route = route(|config| {
        config.min_severity = Severity::High;
        config.categories = vec!["sqli".into()];
        config.sources = vec!["/var/log/nginx/*".into()];
        config.kinds = vec![What::Finding];
    });
    let (mut desk, now) = (Desk::default(), MONDAY.plus_secs(HOUR));
    let good = finding(1, "203.0.113.5", 8, now);
    for news in [
        News { severity: Severity::Medium, ..good.clone() },
        News { category: "xss".into(), ..good.clone() },
        News { source: "/var/log/other.log".into(), ..good.clone() },
        ban(&good),
        News { what: What::Stop, ..News::default() },
    ] {
        desk.take(&route, news, now);
        assert_eq!(desk.due(&route, now), None);
    }
    desk.take(&route, good, now);
    assert!(desk.due(&route, now).is_some());
}

#[test]
fn what_fails_is_tried_again_and_then_kept_for_people() {
    let route = route(|config| config.retries = 2);
    let (mut desk, now) = (Desk::default(), MONDAY.plus_secs(HOUR));
    desk.take(&route, finding(1, "203.0.113.5", 8, now), now);
    let first = desk.due(&route, now).unwrap();
    desk.failed(&route, &Failure::passing("no answer in time"), now);
    assert_eq!(desk.due(&route, now.plus_secs(4)), None);
    // Kept over a restart, too.
    let mut desk: Desk = serde_json::from_str(&serde_json::to_string(&desk).unwrap()).unwrap();
    assert_eq!(desk.due(&route, now.plus_secs(5)), Some(first), "the same message, with the same id");
    let patience = Failure { retry_after: Some(Duration::from_secs(90)), ..Failure::passing("HTTP 429") };
    desk.failed(&route, &patience, now.plus_secs(5));
    assert_eq!(desk.due(&route, now.plus_secs(94)), None, "as long as the server asks for");
    assert!(desk.due(&route, now.plus_secs(95)).is_some());
    assert!(desk.told().0.unwrap().contains("HTTP 429"));
    // Meanwhile things go on, and are told together.
    for n in 2..5 {
        desk.take(&route, finding(n, &format!("203.0.113.{n}"), 8, now), now.plus_secs(95));
    }
    desk.failed(&route, &patience, now.plus_secs(95));
    let (problem, figures) = desk.told();
    assert!(problem.unwrap().contains("could not be delivered"));
    assert_eq!((&figures["undelivered"], &figures["waiting"]), (&1.into(), &3.into()));
    assert!(figures["dead_letters"][0]["title"].as_str().unwrap().contains("203.0.113.5"));
    let later = now.plus_secs(2 * HOUR);
    assert_eq!(told(&mut desk, &route, later).unwrap().sums.findings, 3);
    assert_eq!(desk.told().0, None, "it works again; the dead letter stays in the figures");
    for n in 0..60 {
        let at = later.plus_secs((n + 1) * HOUR);
        desk.take(&route, finding(n, &format!("198.51.100.{n}"), 8, at), at);
        assert!(desk.due(&route, at).is_some());
        desk.failed(&route, &Failure::last("HTTP 403"), at);
    }
    let (_, figures) = desk.told();
    assert_eq!((&figures["undelivered"], figures["dead_letters"].as_array().unwrap().len()), (&61.into(), MAX_DEAD));
}

#[test]
fn what_is_wrong_is_told_when_it_lasts_and_once() {
    let (route, mut desk, now) = (route(|_| {}), Desk::default(), MONDAY.plus_secs(HOUR));
    let wrong = |n: u32| vec![format!("the disk is full, {n} changes wait")];
    desk.hear(&route, &wrong(1), now);
    desk.hear(&route, &[], now.plus_secs(30));
    desk.hear(&route, &wrong(2), now.plus_secs(40));
    desk.hear(&route, &wrong(3), now.plus_secs(90));
    assert_eq!(desk.due(&route, now.plus_secs(90)), None, "it came and went");
    desk.hear(&route, &wrong(4), now.plus_secs(100));
    let message = told(&mut desk, &route, now.plus_secs(100)).unwrap();
    assert_eq!(message.title, "web-1: something is wrong");
    assert!(message.text.contains("the disk is full, 4 changes wait"), "{}", message.text);
    desk.hear(&route, &wrong(5), now.plus_secs(500));
    assert_eq!(desk.due(&route, now.plus_secs(5000)), None, "it is known");
    desk.hear(&route, &[], now.plus_secs(6000));
    assert_eq!(desk.due(&route, now.plus_secs(6000)), None);
    desk.hear(&route, &[], now.plus_secs(6060));
    assert_eq!(told(&mut desk, &route, now.plus_secs(6060)).unwrap().title, "web-1: all is well again");
}

#[test]
fn digests_come_at_local_midnight_and_when_sunday_is_over() {
    let config = AlertConfig { kinds: vec![What::Daily, What::Weekly], ..AlertConfig::default() };
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let route = Route::new(&config, zone, "web-1", "").unwrap();
    let mut desk = Desk::default();
    // Saturday, 2026-01-10, 23:00 in Berlin.
    let saturday = Timestamp(MONDAY.0 + (5 * 24 + 22) * 3_600_000);
    assert_eq!(desk.due(&route, saturday), None, "what was missed is not made up for");
    assert_eq!(desk.due(&route, saturday.plus_secs(HOUR - 1)), None);
    let midnight = saturday.plus_secs(HOUR);
    let day = Due::Digest { what: What::Daily, from: Timestamp(midnight.0 - 86_400_000), to: midnight };
    assert_eq!(desk.due(&route, midnight.plus_secs(5)), Some(day));
    assert_eq!(desk.due(&route, midnight.plus_secs(6)), None, "once");
    let sunday_over = midnight.plus_secs(24 * HOUR);
    let week = Due::Digest { what: What::Weekly, from: Timestamp(sunday_over.0 - 7 * 86_400_000), to: sunday_over };
    assert_eq!(desk.due(&route, sunday_over), Some(week));
    desk.digest(&route, What::Weekly, &["Findings: 7.".into(), "Paths: /\u{1b}[31m (3)".into()], sunday_over);
    let message = told(&mut desk, &route, sunday_over).unwrap();
    assert_eq!(message.title, "web-1: the last week in figures");
    assert_eq!(message.text, "Findings: 7.\nPaths: /\\u{1b}[31m (3)");
}

#[test]
fn messages_are_counted_by_day_week_and_month() {
    let route = route(|config| config.group_secs = 1);
    let mut desk = Desk::default();
    // From Monday 2026-01-26 on, two a day for eight days.
    for n in 0..16_u64 {
        let now = MONDAY.plus_secs(21 * 24 * HOUR + n * 12 * HOUR);
        desk.take(&route, finding(n, &format!("203.0.113.{n}"), 8, now), now);
        assert!(told(&mut desk, &route, now).is_some());
    }
    let (_, figures) = desk.told();
    let of = |name: &str| figures[name].as_u64().unwrap();
    assert_eq!((of("sent_today"), of("sent_this_week"), of("sent_this_month"), of("sent")), (2, 2, 4, 16));
}

#[test]
fn a_clients_text_stays_one_line_and_names_no_field() {
    let route = route(|config| {
        (config.title, config.text) = ("{category} {request}".into(), "{request}\n{summary}".into());
    });
    let (mut desk, now) = (Desk::default(), MONDAY.plus_secs(HOUR));
    let hostile = News {
        uri: "/{host}\r\nBcc: x@example.com\u{1b}[2J\u{202e}".into(),
        reason: "a\nb".into(),
        ..finding(1, "203.0.113.5", 8, now)
    };
    desk.take(&route, hostile, now);
    let message = told(&mut desk, &route, now).unwrap();
    assert_eq!(message.title, "sqli GET /{host}\\r\\nBcc: x@example.com\\u{1b}[2J\\u{202e} (status 200)");
    assert!(message.text.lines().all(|line| !line.starts_with("Bcc") && !line.starts_with('b')), "{}", message.text);
    assert!(!message.text.contains(['\r', '\u{1b}', '\u{202e}']));
}
