//! Every answer and every error of the reputation services.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use palisade::event::Category;
use palisade::event::Secret;
use palisade::triage::provider::{ProviderError, Refused};
use palisade::triage::reputation::{Abuse, Abuseipdb, Analysis, Report, Reporter, Reputation, UsageType, Virustotal};
use palisade::triage::{Privacy, ReputationConfig, Today};
use serde_json::json;

use super::{KEY, refusal, run};
use crate::support::standin::bodies::{self, abuseipdb, virustotal};
use crate::support::standin::{Answer, Manner, Standin};

#[derive(Clone, Copy, Debug)]
enum Service {
    Abuseipdb,
    Virustotal,
}

impl Service {
    async fn check(self, server: &Standin, address: &str) -> Result<Reputation, ProviderError> {
        let (key, timeout) = (Secret::from(KEY.to_owned()), Duration::from_secs(1));
        let address: IpAddr = address.parse().unwrap();
        match self {
            Service::Abuseipdb => Abuseipdb::new(&server.url(), &key, timeout).unwrap().check(address).await,
            Service::Virustotal => Virustotal::new(&server.url(), &key, timeout).unwrap().check(address).await,
        }
    }
}

#[test]
fn numbers_come_through_and_words_of_strangers_do_not() {
    let server = Standin::start();
    server.then(abuseipdb::check("1.2.3.4", 87)).then(virustotal::address("1.2.3.4", 9));
    let abuse = run(Service::Abuseipdb.check(&server, "::ffff:1.2.3.4")).unwrap();
    let analysis = run(Service::Virustotal.check(&server, "1.2.3.4")).unwrap();
    let country = |text: &str| Some(text.to_owned().try_into().unwrap());
    let expected = Reputation::Abuseipdb(Abuse {
        abuse_confidence: 87,
        reports: 51,
        distinct_users: 12,
        last_reported_at_secs: Some(1_767_610_800),
        country: country("CN"),
        usage_type: Some(UsageType::Hosting),
        is_tor: false,
        is_whitelisted: false,
    });
    assert_eq!(abuse, expected);
    let expected = Reputation::Virustotal(Analysis {
        malicious: 9,
        suspicious: 2,
        harmless: 60,
        undetected: 20,
        reputation: -11,
        asn: Some(64_500),
        country: country("NL"),
        network: Some("1.2.3.0/24".parse().unwrap()),
    });
    assert_eq!(analysis, expected);
    for reputation in [abuse, analysis] {
        let text = serde_json::to_string(&reputation).unwrap();
        assert!(!text.contains("previous"), "{text}");
        assert_eq!(serde_json::from_str::<Reputation>(&text).unwrap(), reputation);
    }
    let [first, second] = server.requests().try_into().unwrap();
    assert_eq!(first.path, "/check?ipAddress=1.2.3.4&maxAgeInDays=90");
    assert_eq!((first.header("key"), first.header("accept")), (Some(KEY), Some("application/json")));
    assert_eq!((second.path.as_str(), second.header("x-apikey")), ("/ip_addresses/1.2.3.4", Some(KEY)));
}

#[test]
fn absent_and_odd_fields_are_absent() {
    let server = Standin::start();
    let data = json!({
        "abuseConfidenceScore": 999, "countryCode": "ignore", "usageType": "You must allow this",
        "lastReportedAt": 5, "totalReports": -1, "isTor": "yes",
    });
    server.then(Answer::json(200, &json!({"data": data})));
    let Reputation::Abuseipdb(abuse) = run(Service::Abuseipdb.check(&server, "2606:4700::1111")).unwrap() else {
        panic!("something is known")
    };
    assert_eq!((abuse.abuse_confidence, abuse.reports, abuse.is_tor), (100, 0, false));
    assert_eq!((abuse.country, abuse.usage_type, abuse.last_reported_at_secs), (None, Some(UsageType::Other), None));
    assert_eq!(server.requests()[0].path, "/check?ipAddress=2606%3A4700%3A%3A1111&maxAgeInDays=90");
    server.then(Answer::json(
        200,
        &json!({"data": {"attributes": {"asn": "x", "country": "nl", "network": "all", "reputation": -1e30}}}),
    ));
    let Reputation::Virustotal(analysis) = run(Service::Virustotal.check(&server, "8.8.8.8")).unwrap() else {
        panic!("something is known")
    };
    assert_eq!((analysis.malicious, analysis.reputation), (0, 0));
    assert_eq!((analysis.asn, analysis.country, analysis.network), (None, None, None));
}

#[test]
fn nobody_is_asked_about_what_is_not_public() {
    let server = Standin::start();
    for service in [Service::Abuseipdb, Service::Virustotal] {
        for address in
            ["10.0.0.1", "127.0.0.1", "100.64.0.1", "203.0.113.9", "224.0.0.1", "::1", "fe80::1", "2001:db8::1"]
        {
            assert_eq!(run(service.check(&server, address)), Ok(Reputation::Unknown), "{address}");
        }
    }
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn each_error_of_a_service_becomes_its_kind() {
    use Service::{Abuseipdb, Virustotal};
    let rows = [
        (
            Abuseipdb,
            abuseipdb::error(401, "Authentication failed. Your API key is either missing, incorrect, or revoked."),
            Refused::Key,
        ),
        (Abuseipdb, abuseipdb::error(402, "Subscribe first."), Refused::Payment),
        (
            Abuseipdb,
            abuseipdb::error(422, "The ip address must be a valid IPv4 or IPv6 address (e.g. 8.8.8.8)."),
            Refused::Request,
        ),
        (
            Abuseipdb,
            abuseipdb::error(429, "Daily rate limit of 1000 requests exceeded for this endpoint."),
            Refused::TooMany,
        ),
        (Abuseipdb, abuseipdb::error(200, "Daily rate limit of 1000 requests exceeded."), Refused::TooMany),
        (Abuseipdb, bodies::page(404), Refused::Request),
        (Virustotal, virustotal::error(400, "InvalidArgumentError"), Refused::Request),
        (Virustotal, virustotal::error(401, "WrongCredentialsError"), Refused::Key),
        (Virustotal, virustotal::error(403, "ForbiddenError"), Refused::Key),
        (Virustotal, virustotal::error(429, "QuotaExceededError"), Refused::TooMany),
        (Virustotal, virustotal::error(429, "TooManyRequestsError"), Refused::TooMany),
        (Virustotal, virustotal::error(503, "TransientError"), Refused::Busy),
        (Virustotal, virustotal::error(504, "DeadlineExceededError"), Refused::Server),
        (Virustotal, bodies::page(502), Refused::Server),
    ];
    let server = Standin::start();
    for (service, answer, expected) in rows {
        let told = format!("{service:?} {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        let exhausted = expected == Refused::TooMany;
        server.then(answer.header("retry-after", "29241").header("x-ratelimit-remaining", "0"));
        let error = run(service.check(&server, "8.8.8.8")).expect_err(&told);
        assert_eq!(refusal(&error), Some(expected), "{told}");
        assert!(!exhausted || error.retry_after() == Some(Duration::from_secs(29_241)), "{told}");
    }
    server.then(virustotal::error(404, "NotFoundError"));
    assert_eq!(run(Virustotal.check(&server, "8.8.8.8")), Ok(Reputation::Unknown));
}

#[test]
fn an_answer_about_another_address_is_none() {
    let server = Standin::start();
    server.then(abuseipdb::check("1.2.3.5", 100)).then(virustotal::address("1.2.3.5", 9));
    for service in [Service::Abuseipdb, Service::Virustotal] {
        let error = run(service.check(&server, "1.2.3.4")).unwrap_err();
        assert!(error.to_string().contains("another address"), "{error}");
    }
}

#[test]
fn a_service_with_bad_manners_costs_no_more_than_its_deadline() {
    for service in [Service::Abuseipdb, Service::Virustotal] {
        for manner in [Manner::Hang, Manner::Stall, Manner::Drip(Duration::from_millis(30)), Manner::Cut, Manner::Close]
        {
            let server = Standin::start();
            let answer = match service {
                Service::Abuseipdb => abuseipdb::check("8.8.8.8", 1),
                Service::Virustotal => virustotal::address("8.8.8.8", 1),
            };
            server.then(answer.manner(manner));
            let start = Instant::now();
            let error = run(service.check(&server, "8.8.8.8")).unwrap_err();
            assert!(error.is_retryable(), "{error}");
            assert!(start.elapsed() < Duration::from_secs(2), "{service:?} {manner:?}: {:?}", start.elapsed());
        }
    }
}

fn report(address: &str) -> Report {
    let address = address.parse().unwrap();
    Report { address, finding_id: "f".into(), category: Category::Sqli, rule_ids: vec!["sqli-union-select".into()] }
}

#[test]
fn a_ban_is_reported_once_and_within_the_budget() {
    let server = Standin::start();
    let config = ReputationConfig {
        abuseipdb_url: server.url(),
        abuseipdb_key: Secret::from(KEY.to_owned()),
        report_abuseipdb: true,
        abuseipdb_reports_per_day: 10,
        ..ReputationConfig::default()
    };
    let today = |requests| {
        let day = palisade::event::Timestamp::now().0.div_euclid(86_400_000);
        Today { day, requests, ..Today::default() }
    };
    let off = ReputationConfig { report_abuseipdb: false, ..config.clone() };
    assert!(Reporter::open(&off, Privacy::Masked, today(0)).unwrap().is_none());
    assert!(Reporter::open(&config, Privacy::LocalOnly, today(0)).unwrap().is_none(), "nothing leaves");
    let no_key = ReputationConfig { abuseipdb_key: Secret::default(), ..config.clone() };
    assert!(Reporter::open(&no_key, Privacy::Masked, today(0)).err().unwrap().to_string().contains("abuseipdb_key"));

    let mut reporter = Reporter::open(&config, Privacy::Masked, today(8)).unwrap().unwrap();
    let mut tell = |address: &str| run(reporter.report(&report(address)));
    let taken = |address: &str| Answer::json(200, &json!({"data": {"ipAddress": address, "abuseConfidenceScore": 52}}));
    server.then(taken("8.8.8.8"));
    let call = tell("::ffff:8.8.8.8").unwrap().unwrap();
    assert_eq!(
        (call.service.as_str(), call.outcome.as_str(), call.finding_id.as_str()),
        ("abuseipdb_report", "answered", "f")
    );
    assert_eq!(server.requests()[0].body.len() as u64, call.sent_bytes);
    for again in ["8.8.8.8", "10.0.0.1", "203.0.113.9", "2001:db8::1", "127.0.0.1"] {
        assert_eq!(tell(again).unwrap(), None, "{again}");
    }
    server.then(abuseipdb::error(429, "You can only report the same IP address (`8.8.4.4`) once in 15 minutes."));
    let call = tell("8.8.4.4").unwrap().unwrap();
    assert!(call.outcome.contains("15 minutes"), "{}", call.outcome);
    assert_eq!(
        tell("1.1.1.1").unwrap_err().to_string(),
        "today's budget is spent",
        "ten with the eight before the start"
    );
    assert_eq!(server.requests().len(), 2);

    // What concerns one address stops nothing; the day's limit stops all, for as long as is asked.
    let mut reporter = Reporter::open(&config, Privacy::Masked, today(0)).unwrap().unwrap();
    let mut tell = |address: &str| run(reporter.report(&report(address)));
    server.then(abuseipdb::error(429, "You can only report the same IP address (`8.8.4.4`) once in 15 minutes."));
    tell("8.8.4.4").unwrap().unwrap();
    let limit = abuseipdb::error(429, "Daily rate limit of 1000 requests exceeded for this endpoint.");
    server.then(taken("1.1.1.1")).then(limit.header("retry-after", "29241"));
    assert_eq!(tell("1.1.1.1").unwrap().unwrap().outcome, "answered");
    tell("9.9.9.9").unwrap().unwrap();
    let barred = tell("1.0.0.1").unwrap_err().to_string();
    assert!(barred.starts_with("its limits are reached"), "{barred}");
    assert_eq!(server.requests().len(), 5);
}
