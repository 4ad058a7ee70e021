use super::*;

/// Names of addresses, and addresses of names. What is called `?` has no answer.
struct Zone(&'static [(&'static str, &'static str)], &'static [(&'static str, &'static str)]);

impl Resolver for Zone {
    fn name_of(&self, address: IpAddr) -> Result<Option<String>, NoAnswer> {
        match self.0.iter().find(|(known, _)| known.parse() == Ok(address)) {
            Some((_, "?")) => Err(NoAnswer),
            found => Ok(found.map(|(_, name)| name.to_string())),
        }
    }

    fn addresses_of(&self, name: &str) -> Result<Vec<IpAddr>, NoAnswer> {
        let found: Vec<&str> = self.1.iter().filter(|(known, _)| *known == name).map(|(_, address)| *address).collect();
        if found == ["?"] { Err(NoAnswer) } else { Ok(found.iter().map(|address| address.parse().unwrap()).collect()) }
    }
}

const ZONE: Zone = Zone(
    &[
        ("198.51.100.1", "crawl-1.googlebot.com."),
        ("198.51.100.2", "crawl-1.googlebot.com"),
        ("198.51.100.3", "crawl.evilgooglebot.com"),
        ("198.51.100.4", "googlebot.com.evil.example"),
        ("198.51.100.5", "Crawl-5.GoogleBot.com"),
        ("198.51.100.7", "?"),
        ("198.51.100.8", "crawl-8.googlebot.com"),
        ("2001:db8::9", "crawl-9.googlebot.com"),
        ("198.51.100.10", "googlebot.com"),
    ],
    &[
        ("crawl-1.googlebot.com", "198.51.100.1"),
        ("crawl.evilgooglebot.com", "198.51.100.3"),
        ("googlebot.com.evil.example", "198.51.100.4"),
        ("crawl-5.googlebot.com", "::ffff:198.51.100.5"),
        ("crawl-8.googlebot.com", "?"),
        ("crawl-9.googlebot.com", "203.0.113.1"),
        ("crawl-9.googlebot.com", "2001:db8::9"),
        ("googlebot.com", "198.51.100.10"),
    ],
);

const AGENT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

#[test]
fn a_name_counts_under_the_domain_and_when_it_leads_back() {
    let domains: Vec<String> = vec!["googlebot.com".into(), "google.com".into()];
    for (address, expected) in [
        ("198.51.100.1", Ok(true)),
        ("198.51.100.2", Ok(false)),
        ("198.51.100.3", Ok(false)),
        ("198.51.100.4", Ok(false)),
        ("198.51.100.5", Ok(true)),
        ("198.51.100.6", Ok(false)),
        ("198.51.100.7", Err(NoAnswer)),
        ("198.51.100.8", Err(NoAnswer)),
        ("2001:db8::9", Ok(true)),
        ("198.51.100.10", Ok(false)),
    ] {
        assert_eq!(is_true(&ZONE, address.parse().unwrap(), &domains), expected, "{address}");
    }
}

async fn asked(crawlers: &mut Crawlers, address: &str, now: Instant) -> Standing {
    let claim = crawlers.claim(address.parse().unwrap(), AGENT).unwrap();
    assert_eq!(crawlers.standing(claim, now), Standing::Open);
    let answer = crawlers.answered().await.unwrap();
    assert_eq!(answer.0, claim);
    crawlers.take(answer, now)
}

#[tokio::test]
async fn answers_hold_for_a_while_and_no_answer_is_asked_again() {
    let (mut crawlers, now) = (Crawlers::new(&[], Arc::new(ZONE)), Instant::now());
    assert_eq!(asked(&mut crawlers, "198.51.100.1", now).await, Standing::Verified);
    assert_eq!(asked(&mut crawlers, "198.51.100.2", now).await, Standing::Refuted);
    assert_eq!(asked(&mut crawlers, "198.51.100.7", now).await, Standing::Unanswered);
    assert_eq!(crawlers.verified(now), ["198.51.100.1".parse::<IpAddr>().unwrap()]);
    let unanswered = crawlers.claim("198.51.100.7".parse().unwrap(), AGENT).unwrap();
    assert_eq!(crawlers.standing(unanswered, now + Duration::from_secs(1)), Standing::Unanswered);
    crawlers.ask_due(now + AGAIN / 2);
    assert_eq!(crawlers.asking, 0);
    crawlers.ask_due(now + AGAIN);
    let answer = crawlers.answered().await.unwrap();
    assert_eq!(answer, (unanswered, Err(NoAnswer)));
    assert_eq!(crawlers.take(answer, now + AGAIN), Standing::Unanswered);

    let mut after = |address: &str, secs| {
        let claim = crawlers.claim(address.parse().unwrap(), AGENT).unwrap();
        crawlers.standing(claim, now + Duration::from_secs(secs))
    };
    assert_eq!(after("198.51.100.1", 86_000), Standing::Verified);
    assert_eq!(after("198.51.100.1", 86_401), Standing::Open);
    assert_eq!(after("198.51.100.2", 3500), Standing::Refuted);
    assert_eq!(after("198.51.100.2", 3601), Standing::Open);
    assert_eq!(crawlers.verified(now + VERIFIED), [] as [IpAddr; 0]);
}

#[tokio::test]
async fn who_never_gets_an_answer_is_given_up() {
    let (mut crawlers, mut now) = (Crawlers::new(&[], Arc::new(ZONE)), Instant::now());
    asked(&mut crawlers, "198.51.100.7", now).await;
    for _ in 1..TRIES {
        now += Duration::from_secs(24 * 3600);
        crawlers.ask_due(now);
        let answer = crawlers.answered().await.unwrap();
        crawlers.take(answer, now);
    }
    assert!(crawlers.open.is_empty() && crawlers.known.is_empty());
}

#[test]
fn the_table_is_extended_and_replaced_and_ranges_need_no_name() {
    let row = |agent: &str, domains: &[&str], ranges: &[&str]| CrawlerConfig {
        agent: agent.into(),
        domains: domains.iter().map(ToString::to_string).collect(),
        ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
    };
    let more = [row("AcmeWatch", &[], &["192.0.2.0/24"]), row("googlebot", &[], &[])];
    let (mut crawlers, now) = (Crawlers::new(&more, Arc::new(ZONE)), Instant::now());
    let mut standing = |address: &str, agent: &str| {
        let claim = crawlers.claim(address.parse().unwrap(), agent)?;
        Some(crawlers.standing(claim, now))
    };
    assert_eq!(standing("192.0.2.7", "acmewatch/2"), Some(Standing::Verified));
    assert_eq!(standing("::ffff:192.0.2.8", "acmewatch/2"), Some(Standing::Verified));
    assert_eq!(standing("198.51.100.1", "acmewatch/2"), Some(Standing::Refuted));
    assert_eq!(standing("198.51.100.1", AGENT), Some(Standing::Refuted), "replaced by nothing");
    assert_eq!(standing("198.51.100.1", "Mozilla/5.0 (X11; Linux x86_64)"), None);
    assert_eq!(crawlers.verified(now).len(), 2);
    assert_eq!(Crawlers::none().claim("198.51.100.1".parse().unwrap(), AGENT), None);
}

#[test]
fn what_is_open_and_what_is_known_is_bounded() {
    struct Deaf;
    impl Resolver for Deaf {
        fn name_of(&self, _: IpAddr) -> Result<Option<String>, NoAnswer> {
            std::thread::sleep(Duration::from_secs(1));
            Err(NoAnswer)
        }
        fn addresses_of(&self, _: &str) -> Result<Vec<IpAddr>, NoAnswer> {
            Err(NoAnswer)
        }
    }
    let (mut crawlers, now) = (Crawlers::new(&[], Arc::new(Deaf)), Instant::now());
    let address = |n: u32| IpAddr::from((0xc633_0000 + n).to_be_bytes());
    let mut open = 0;
    for n in 0..2 * MAX_OPEN as u32 {
        open += usize::from(crawlers.standing((address(n), 0), now) == Standing::Open);
    }
    assert_eq!((open, crawlers.asking), (MAX_OPEN, MAX_ASKING));
    for n in 0..2 * MAX_KNOWN as u32 {
        crawlers.learn((address(n), 0), if n == 0 { Standing::Verified } else { Standing::Refuted }, now);
    }
    assert!(crawlers.known.len() <= MAX_KNOWN);
    assert_eq!(crawlers.verified(now), [address(0)], "lies do not put out the truth");
}
