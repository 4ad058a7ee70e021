//! What every store answers about the past: each story gets a store that holds [`past`] alone.

use super::*;
use crate::event::{Category, Ground, ModelCall, Proposer};
use crate::record::{Ask, Outlook, Report};

/// 2026-01-15T12:00:00Z
pub const NOW: Timestamp = Timestamp(1_768_478_400_000);
const HOUR: i64 = 3_600_000;
const DAY: i64 = 86_400_000;

/// Calls a macro with the names of all stories.
macro_rules! stories {
    ($engine:ident) => {
        $engine! {
            counts_are_those_of_the_rows
            the_largest_are_told_and_the_rest_summed_up
            days_and_hours_are_one
            each_filter_lets_through_what_it_names
            networks_hold_their_clients
            lists_are_bounded_and_newest_first
            decisions_come_with_their_lives
            blocking_is_told_by_what_became_of_it
            services_cost_what_they_did_in_the_period
            clients_of_the_period_with_the_most_findings_come_first
            all_figures_of_a_report_agree
        }
    };
}
pub(in crate::record) use stories;

pub fn ago(millis: i64) -> Timestamp {
    Timestamp(NOW.0 - millis)
}

pub fn row(number: i64, time: Timestamp, client: &str) -> FindingRow {
    FindingRow {
        id: format!("{number:032x}"),
        file: "/var/log/nginx/access.log".into(),
        generation: u64::MAX - 3,
        offset: number.cast_unsigned(),
        line_number: Some(number.cast_unsigned() + 1),
        time,
        source_ip: Some(client.trim_end_matches("/64").into()),
        client: Some(client.into()),
        method: "GET".into(),
        uri: format!("/shop/{}?id=1%27", number % 7),
        status: 404,
        user_agent: "curl/8 \"x\", y".into(),
        referer: String::new(),
        category: "sqli".into(),
        score: 9,
        rule_ids: vec!["sqli-union-select".into(), "scanner-ua".into()],
        evidence:
            serde_json::json!([{ "rule_id": "sqli-union-select", "target": "args", "matched": "1'", "score": 9 }])
                .into(),
        action: "block".into(),
        verdict: "malicious".into(),
        confidence: 9,
        decided_by: "rules".into(),
        reasoning: "a certain rule hit".into(),
        recorded_at: time,
        flagged: true,
        is_system_url: false,
        case_id: format!("case-{client}"),
    }
}

/// 400 findings of 40 days, one each 2.4 hours, of ten clients, and 40 requests that are none.
pub fn past() -> Rows {
    let mut findings = vec![];
    for number in 0..440_i64 {
        let client = match number % 10 {
            9 => "2001:db8:1:2::/64".to_owned(),
            // The first ones come more often.
            rest => format!("203.0.{}.{}", 112 + rest % 2, rest * rest / 9),
        };
        let mut one = row(number, ago(number * DAY / 11 + 1), &client);
        match number % 11 {
            3 => (one.flagged, one.score, one.action) = (false, 3, "none".into()),
            4 | 5 => (one.category, one.action, one.score) = ("scanner".into(), "monitor".into(), 6),
            6 => (one.decided_by, one.rule_ids) = ("tier1".into(), vec!["xss-script".into()]),
            7 => one.uri = "/100%_sure/é'\"x?<script>".into(),
            _ => {}
        }
        findings.push(one);
    }
    let states = [Pending, Active, Expired, Lifted, Refused, Held, Expired, Expired];
    let decisions = (0..80).map(|number: i64| {
        let state = states[number as usize % 8];
        let target = format!("203.0.{}.{}/32", 112 + number % 2, number % 10);
        Decision {
            id: format!("d{number:031x}"),
            target: if number % 20 == 19 { "2001:db8:1:2::/64".parse().unwrap() } else { target.parse().unwrap() },
            proposer: if number % 16 == 6 { Proposer::Imported } else { Proposer::Rules },
            ground: Ground {
                finding_id: (number % 16 != 6).then(|| format!("{number:032x}")),
                category: Some(Category::Sqli),
                score: 9,
                reason: "SQL injection".into(),
                ..Ground::default()
            },
            created_at: ago(number * DAY / 2 + 1),
            expires_at: ago(number * DAY / 2 - 4 * HOUR),
            simulated: number % 8 == 7,
            state,
            note: "said".into(),
            offences: u32::from(number % 8 == 2),
            origin: String::new(),
        }
    });
    let decisions: Vec<Decision> = decisions.collect();
    let change = |seq: i64, of: &Decision, state, at| DecisionChange {
        seq,
        decision_id: of.id.clone(),
        state,
        at,
        note: "said".into(),
    };
    let changes = decisions.iter().zip(0..).flat_map(|(decision, number)| {
        let first = change(1_000_000 + 2 * number, decision, Pending, decision.created_at);
        [first, change(1_000_001 + 2 * number, decision, decision.state, Timestamp(decision.created_at.0 + 1000))]
    });
    let call = |number: i64| ModelCall {
        at: ago(number * DAY + 1),
        service: if number % 3 == 0 { "abuseipdb" } else { "local" }.into(),
        model: if number % 3 == 0 { "" } else { "small" }.into(),
        finding_id: format!("{number:032x}"),
        outcome: if number % 4 == 0 { "timed out" } else { "answered" }.into(),
        millis: 100,
        sent_bytes: 10,
        received_bytes: 5,
        input_tokens: 7,
        output_tokens: 3,
        usd: 0.25,
    };
    Rows {
        version: 2_000_000,
        changes: changes.collect(),
        calls: (0..40).map(|number| (number, call(number))).collect(),
        findings,
        decisions,
        ..Rows::default()
    }
}

use DecisionState::*;

fn last(days: i64) -> Period {
    Period { from: Step::Day.floor(ago(days * DAY)), to: Timestamp(NOW.0 + HOUR) }
}

/// The rows of the period that are findings.
fn findings_in(rows: &Rows, period: Period) -> impl Iterator<Item = &FindingRow> {
    rows.findings.iter().filter(move |row| row.flagged && row.time >= period.from && row.time < period.to)
}

fn sum<'a>(counts: impl IntoIterator<Item = &'a Counts>) -> Counts {
    let mut sum = Counts::default();
    counts.into_iter().for_each(|counts| sum.add(*counts));
    sum
}

pub async fn counts_are_those_of_the_rows(store: &dyn History) {
    let rows = past();
    let period = last(6);
    for (step, dimension) in [(Step::Day, Dimension::All), (Step::Hour, Dimension::All), (Step::Day, Dimension::Path)] {
        let points = store.trend(None, period, dimension, step).await.unwrap();
        assert!(points.is_sorted_by_key(|point| (point.start, point.key.clone())), "{points:?}");
        for point in &points {
            let of_it = |row: &&FindingRow| {
                let path = row.uri.split('?').next().unwrap();
                step.floor(row.time) == point.start && (dimension == Dimension::All || path == point.key)
            };
            let found: Vec<_> = rows.findings.iter().filter(of_it).collect();
            let flagged = found.iter().filter(|row| row.flagged).count() as i64;
            let blocks = found.iter().filter(|row| row.flagged && row.action == "block").count() as i64;
            let wanted = Counts { findings: flagged, blocks, analysed: found.len() as i64 - flagged };
            assert_eq!(point.counts, wanted, "{dimension:?} {point:?}");
        }
        let all = sum(points.iter().map(|point| &point.counts));
        assert_eq!(
            all.findings,
            findings_in(&rows, period).count() as i64,
            "{dimension:?}: nothing twice, nothing left out"
        );
    }
    assert!(
        store
            .trend(None, Period { from: period.to, to: period.to }, Dimension::All, Step::Day)
            .await
            .unwrap()
            .is_empty()
    );
}

pub async fn the_largest_are_told_and_the_rest_summed_up(store: &dyn History) {
    let (period, previous) = (last(6), Period { from: Step::Day.floor(ago(13 * DAY)), to: last(6).from });
    let all = store.top(None, period, previous, Dimension::Client, 1000).await.unwrap();
    let some = store.top(None, period, previous, Dimension::Client, 3).await.unwrap();
    assert_eq!((all.len(), some.len()), (9, 4));
    assert_eq!(some[..3], all[..3]);
    assert!(all.is_sorted_by_key(|top| -top.counts.findings));
    assert_eq!(some[3].key, "");
    assert_eq!(some[3].counts, sum(all[3..].iter().map(|top| &top.counts)));
    assert_eq!(some[3].previous, sum(all[3..].iter().map(|top| &top.previous)));
    let rows = past();
    for top in &all {
        let of_it = |period| findings_in(&rows, period).filter(|row| row.client.as_deref() == Some(&*top.key)).count();
        assert_eq!(top.counts.findings, of_it(period) as i64, "{top:?}");
        assert_eq!(top.previous.findings, of_it(previous) as i64, "{top:?}");
    }
    let networks = store.top(None, period, previous, Dimension::Network, 10).await.unwrap();
    let keys: std::collections::BTreeSet<&str> = networks.iter().map(|top| &*top.key).collect();
    assert_eq!(keys, ["203.0.112.0/24", "203.0.113.0/24", "2001:db8:1::/48"].into());
    let one = store.top(None, period, previous, Dimension::All, 0).await.unwrap();
    assert_eq!(one.len(), 1, "all together are the rest: {one:?}");
}

pub async fn days_and_hours_are_one(store: &dyn History) {
    // Of the oldest rows days are kept, of the newest hours.
    let rows = past();
    let period = last(39);
    let rules = store.top(None, period, Period::default(), Dimension::Rule, 10).await.unwrap();
    let of_rule =
        |rule: &str| findings_in(&rows, period).filter(|row| row.rule_ids.iter().any(|id| id == rule)).count();
    assert_eq!(rules.len(), 3);
    for rule in &rules {
        assert_eq!(rule.counts.findings, of_rule(&rule.key) as i64, "{rule:?}");
    }
    let days = store.trend(None, period, Dimension::Rule, Step::Day).await.unwrap();
    assert_eq!(sum(days.iter().map(|point| &point.counts)), sum(rules.iter().map(|top| &top.counts)));
    assert!(days.windows(2).all(|two| (two[0].start, &two[0].key) < (two[1].start, &two[1].key)), "each once");
    let two_days = Period { from: ago(2 * DAY), to: NOW };
    let hours = store.trend(None, two_days, Dimension::Rule, Step::Hour).await.unwrap();
    assert!(hours.iter().any(|point| point.start.0 % DAY != 0), "{hours:?}");
}

pub async fn each_filter_lets_through_what_it_names(store: &dyn History) {
    let rows = past();
    let period = last(39);
    let base = || FindingFilter { period, limit: 1000, ..FindingFilter::default() };
    type Passes = fn(&FindingRow) -> bool;
    let some = |text: &str| Some(text.to_owned());
    let filters: [(FindingFilter, Passes); 12] = [
        (base(), |_| true),
        (FindingFilter { clients: vec!["203.0.113.1/32".parse().unwrap()], ..base() }, |row| {
            row.client.as_deref() == Some("203.0.113.1")
        }),
        (FindingFilter { category: some("scanner"), ..base() }, |row| row.category == "scanner"),
        (FindingFilter { rule: some("xss-script"), ..base() }, |row| row.rule_ids == ["xss-script"]),
        (FindingFilter { rule: some("xss"), ..base() }, |_| false),
        (FindingFilter { action: some("monitor"), ..base() }, |row| row.action == "monitor"),
        (FindingFilter { decided_by: some("tier1"), ..base() }, |row| row.decided_by == "tier1"),
        (FindingFilter { case_id: some("case-203.0.112.0"), ..base() }, |row| row.case_id == "case-203.0.112.0"),
        (FindingFilter { contains: some("%_sure/é'\""), ..base() }, |row| row.uri.contains("_sure")),
        (FindingFilter { contains: some("1_0%"), ..base() }, |_| false),
        (FindingFilter { min_score: 7, ..base() }, |row| row.score >= 7),
        (FindingFilter { period: last(3), rule: some("scanner-ua"), ..base() }, |row| {
            row.time >= last(3).from && row.rule_ids.len() == 2
        }),
    ];
    for (filter, passes) in filters {
        let found = store.past_findings(&filter).await.unwrap();
        let wanted: Vec<&FindingRow> = findings_in(&rows, period).filter(|row| passes(row)).collect();
        let found: Vec<&FindingRow> = found.iter().map(|found| &found.finding).collect();
        assert_eq!(found, wanted, "{filter:?}");
    }
    let analysed = store.past_findings(&FindingFilter { analysed: true, ..base() }).await.unwrap();
    assert_eq!(analysed.len(), 435, "of eleven a day in 39 days and a half");
}

pub async fn networks_hold_their_clients(store: &dyn History) {
    let rows = past();
    for (network, clients) in [
        ("203.0.112.0/24", "203.0.112."),
        ("203.0.113.0/28", "203.0.113."),
        ("203.0.112.0/23", "203.0.11"),
        ("2001:db8:1:2::/64", "2001:"),
        ("2001:db8::/32", "2001:"),
        ("198.51.100.0/24", "none"),
        ("0.0.0.0/0", "203."),
    ] {
        let filter = FindingFilter {
            period: last(39),
            clients: vec![network.parse().unwrap()],
            limit: 1000,
            ..FindingFilter::default()
        };
        let found = store.past_findings(&filter).await.unwrap();
        let wanted = findings_in(&rows, last(39)).filter(|row| row.client.as_deref().unwrap().starts_with(clients));
        assert!(found.iter().map(|found| &found.finding).eq(wanted), "{network}: {}", found.len());
        let filter = PastFilter {
            period: last(39),
            targets: vec![network.parse().unwrap()],
            limit: 1000,
            ..PastFilter::default()
        };
        let found = store.past_decisions(&filter).await.unwrap();
        let wanted = rows
            .decisions
            .iter()
            .filter(|one| one.created_at >= last(39).from && one.target.to_string().starts_with(clients));
        let wanted = wanted.filter(|one| network.parse::<IpNet>().unwrap().contains(&one.target));
        assert!(found.iter().map(|past| &past.decision.id).eq(wanted.map(|one| &one.id)), "{network}: {}", found.len());
    }
}

pub async fn lists_are_bounded_and_newest_first(store: &dyn History) {
    let filter = FindingFilter { period: last(39), limit: 7, ..FindingFilter::default() };
    let found = store.past_findings(&filter).await.unwrap();
    assert_eq!(found.len(), 7);
    assert!(found.is_sorted_by_key(|found| -found.finding.time.0));
    assert_eq!(found[0].decision_id, Some(format!("d{:031x}", 0)), "it names the decision that it led to");
    assert_eq!(found[5].decision_id, None, "of an imported one");
    let later =
        FindingFilter { period: Period { from: NOW, to: Timestamp(i64::MAX) }, limit: 9, ..FindingFilter::default() };
    assert!(store.past_findings(&later).await.unwrap().is_empty());
}

pub async fn decisions_come_with_their_lives(store: &dyn History) {
    let rows = past();
    let filter = PastFilter { period: last(10), limit: 5, ..PastFilter::default() };
    let found = store.past_decisions(&filter).await.unwrap();
    assert_eq!(found.len(), 5);
    for (past, wanted) in found.iter().zip(&rows.decisions) {
        assert_eq!((&past.decision.id, past.decision.state), (&wanted.id, wanted.state));
        assert_eq!(past.decision.ground.reason, "SQL injection");
        let states: Vec<_> = past.changes.iter().map(|change| (change.state, &*change.note)).collect();
        assert_eq!(states, [(Pending, "said"), (wanted.state, "said")], "{}", wanted.id);
    }
    let lifted = PastFilter { state: Some(Lifted), ..filter };
    let found = store.past_decisions(&lifted).await.unwrap();
    assert!(!found.is_empty() && found.iter().all(|past| past.decision.state == Lifted));
}

pub async fn blocking_is_told_by_what_became_of_it(store: &dyn History) {
    let before_any_ends = last(30).from;
    let effect = store.effect(None, last(8), before_any_ends).await.unwrap();
    let rows = past();
    let taken: Vec<_> = rows.decisions.iter().filter(|one| one.created_at >= last(8).from).collect();
    let of = |state| taken.iter().filter(|one| one.state == state).count() as u64;
    let targets = |passes: fn(&Decision) -> bool| {
        let blocked = taken.iter().filter(|one| ![Refused, Held].contains(&one.state) && passes(one));
        blocked.map(|one| one.target).collect::<std::collections::HashSet<_>>().len() as u64
    };
    let wanted = Effect {
        pending: of(Pending),
        active: of(Active),
        expired: of(Expired),
        lifted: of(Lifted),
        refused: of(Refused),
        held: of(Held),
        simulated: taken.iter().filter(|one| one.simulated).count() as u64,
        imported: taken.iter().filter(|one| one.proposer == Proposer::Imported).count() as u64,
        targets: targets(|_| true),
        returned: targets(|one| one.offences > 0),
    };
    assert_eq!(effect, wanted);
    assert!(effect.returned > 0 && effect.returned < effect.targets && effect.imported > 0, "{effect:?}");
    let nothing = Period { from: Timestamp(0), to: Timestamp(1) };
    assert_eq!(store.effect(None, nothing, NOW).await.unwrap(), Effect::default());
    let live = wanted.pending + wanted.active + wanted.held;
    assert!(live > 0);
    let over = store.effect(None, last(8), NOW.plus_secs(366 * 86_400)).await.unwrap();
    assert_eq!((over.pending + over.active + over.held, over.expired), (0, wanted.expired + live), "nobody noted it");
    let (early, late) = (before_any_ends, NOW.plus_secs(366 * 86_400));
    let targets = async |now| store.effect(None, last(3), now).await.unwrap().targets;
    assert_eq!(targets(late).await, targets(early).await + 1, "one that was held has ended");
}

pub async fn services_cost_what_they_did_in_the_period(store: &dyn History) {
    let tiers = store.tiers(None, Period { from: ago(6 * DAY), to: NOW }).await.unwrap();
    let told: Vec<_> = tiers.iter().map(|spent| (&*spent.service, spent.calls, spent.answered, spent.usd)).collect();
    assert_eq!(told, [("abuseipdb", 2, 1, 0.5), ("local", 4, 3, 1.0)]);
    assert_eq!((tiers[1].input_tokens, tiers[1].millis), (28, 400));
}

pub async fn clients_of_the_period_with_the_most_findings_come_first(store: &dyn History) {
    let rows = past();
    let clients = store.clients(None, last(39), 3).await.unwrap();
    assert_eq!(clients.len(), 3);
    assert!(clients.is_sorted_by_key(|client| -client.findings.cast_signed()));
    for client in &clients {
        let of_it: Vec<_> = rows.findings.iter().filter(|row| row.client.as_deref() == Some(&*client.client)).collect();
        assert_eq!(client.last_seen, of_it.iter().map(|row| row.time).max().unwrap());
        let target: IpNet = client.client.parse().or_else(|_| format!("{}/32", client.client).parse()).unwrap();
        let live = |one: &&Decision| one.target == target && [Pending, Active].contains(&one.state) && !one.simulated;
        assert_eq!(client.is_blocked, rows.decisions.iter().any(|one| live(&one)), "{}", client.client);
    }
    let gone = Period { from: NOW, to: Timestamp(i64::MAX) };
    assert!(store.clients(None, gone, 9).await.unwrap().is_empty());
}

pub async fn all_figures_of_a_report_agree(store: &dyn History) {
    for (period, step, hours) in [
        (last(7), Step::Day, 7 * 24 + 13),
        (Period { from: ago(DAY), to: NOW }, Step::Hour, 24),
        (Period { from: ago(2 * DAY), to: NOW }, Step::Hour, 60),
        (Period { from: ago(20 * DAY), to: ago(10 * DAY) }, Step::Day, 11 * 24),
    ] {
        let ask = Ask { agent: None, period, step: None, top: 2, now: NOW };
        let report = Report::of(store, &ask).await.unwrap();
        assert_eq!((report.step, report.period.to.0 - report.period.from.0), (step, hours * HOUR), "{period:?}");
        let all = report.totals.counts;
        assert!(all.findings > 0 && all.analysed > 0);
        let filter = FindingFilter { period: report.period, limit: 1000, ..FindingFilter::default() };
        assert_eq!(store.past_findings(&filter).await.unwrap().len() as i64, all.findings);
        assert_eq!(sum(report.trend.iter().map(|one| &one.counts)), all);
        assert_eq!(
            report.trend.len() as i64,
            (hours * HOUR + step.millis() - 1) / step.millis(),
            "no step is left out"
        );
        for list in [
            &report.severities,
            &report.categories,
            &report.decided_by,
            &report.clients,
            &report.networks,
            &report.paths,
        ] {
            assert_eq!(sum(list.iter().map(|one| &one.top.counts)), all, "{list:?}");
            assert_eq!(sum(list.iter().map(|one| &one.top.previous)), report.totals.previous, "{list:?}");
        }
        assert_eq!(report.clients.len(), 3, "two and the rest");
        assert_eq!(report.threat_level, Some("critical"));
        assert_eq!(report.totals.outlook, Outlook::Steady, "{:?}", report.totals);
        assert_eq!(report.previous.to, report.period.from);
    }
    let ask = Ask { agent: None, period: Period { from: ago(38 * DAY), to: NOW }, step: None, top: 2, now: NOW };
    let report = Report::of(store, &ask).await.unwrap();
    assert_eq!(report.totals.outlook, Outlook::Steady, "the mean of the two days that are known");
    let ask = Ask { period: Period { from: ago(50 * DAY), to: NOW }, ..ask };
    let report = Report::of(store, &ask).await.unwrap();
    assert_eq!(report.totals.baseline_outlook, Outlook::NoData, "nobody counted before");
    let busy = Period { from: ago(11 * HOUR), to: NOW };
    let report = Report::of(store, &Ask { period: busy, ..ask }).await.unwrap();
    assert!(!report.is_empty() && report.baseline.to.0 - report.baseline.from.0 == 30 * DAY);
}
