//! Cloudflare's API, played.

use std::time::{Duration, Instant};

use palisade::event::{Secret, Timestamp};
use palisade::respond::{Cloudflare, CloudflareConfig, RespondError, Responder};

use super::{apply, held, lift, permits, targets};
use crate::support::cloudflare::{Cloud, failure};
use crate::support::standin::{Answer, Manner};

async fn started(config: &CloudflareConfig) -> Cloudflare {
    let mut responder = Cloudflare::new(config).unwrap();
    responder.start().await.unwrap();
    responder
}

#[tokio::test]
async fn foreign_entries_stay_and_ours_are_known_again_after_a_restart() {
    let cloud = Cloud::start();
    cloud.list("192.0.2.1/32", "the office's enemy");
    cloud.list("203.0.113.9/32", "palisade2 until 2026-01-05T00:00:00.000Z");
    let mut responder = started(&cloud.config()).await;
    apply(&mut responder, &["203.0.113.7", "2001:db8:7::/64", "192.0.2.1"], 600).await;
    let listed = cloud.listed();
    assert_eq!(listed["192.0.2.1/32"], "the office's enemy", "theirs is not made ours");
    assert!(listed["203.0.113.7/32"].starts_with("palisade until 20"), "{listed:?}");
    assert_eq!(
        targets(&mut responder).await,
        ["192.0.2.1/32", "2001:db8:7::/64", "203.0.113.7/32"],
        "whom theirs shuts out needs none of ours"
    );
    drop(responder);

    let mut again = started(&cloud.config()).await;
    let left = held(&mut again).await;
    assert_eq!(left.keys().collect::<Vec<_>>(), ["2001:db8:7::/64", "203.0.113.7/32"]);
    assert!(left.values().all(|secs| (570..=600).contains(secs)), "{left:?}");
    lift(&mut again, &["203.0.113.7", "2001:db8:7::/64", "192.0.2.1", "203.0.113.9"]).await;
    assert_eq!(cloud.listed().into_keys().collect::<Vec<_>>(), ["192.0.2.1/32", "203.0.113.9/32"]);
}

#[tokio::test]
async fn what_is_listed_as_it_should_be_costs_no_change() {
    let cloud = Cloud::start();
    let changes = || cloud.standin.requests().iter().filter(|request| request.method != "GET").count();
    let mut responder = started(&cloud.config()).await;
    let (permits, now) = (permits(&["203.0.113.7", "203.0.113.8"], 600), Timestamp::now());
    for _ in 0..2 {
        responder.apply(&permits, now).await.unwrap();
        responder.lift(&[super::net("203.0.113.99")]).await.unwrap();
        assert_eq!(changes(), 1);
    }
    cloud.unlist("203.0.113.7/32");
    assert_eq!(targets(&mut responder).await, ["203.0.113.8/32"], "what somebody took away is not held");
    responder.apply(&permits, now).await.unwrap();
    assert_eq!((changes(), cloud.listed().len()), (2, 2));
}

#[tokio::test]
async fn what_cloudflare_refuses_is_told_with_the_way_out() {
    let cloud = Cloud::start();
    let told =
        async |config: &CloudflareConfig| Cloudflare::new(config).unwrap().start().await.unwrap_err().to_string();
    let wrong = CloudflareConfig { token: Secret::from("wrong-token".to_owned()), ..cloud.config() };
    let error = told(&wrong).await;
    assert!(
        error.contains("Authentication error (error 10000)") && error.contains("Account Filter Lists: Edit"),
        "{error}"
    );
    let absent = CloudflareConfig { list_id: "0".repeat(32), ..cloud.config() };
    let error = told(&absent).await;
    assert!(error.contains("could not find list (error 10001); are `account_id` and `list_id` right?"), "{error}");
    cloud.kind("redirect");
    assert!(told(&cloud.config()).await.contains("the list's kind is \"redirect\", not \"ip\""));
    cloud.kind("ip");
    for (answer, words) in [
        (failure(403, 10000, "PermissionDenied"), "PermissionDenied (error 10000); the token needs"),
        (Answer::text(502, "<html><title>Bad gateway</title></html>"), "HTTP 502, with a page"),
        (
            Answer::text(200, "{\"success\":false,\"errors\":[{\"code\":1,\"message\":\"x\\u001b[2Jy\"}]}"),
            "x\\u{1b}[2Jy (error 1)",
        ),
        (Answer::text(200, "[]"), "HTTP 200: []"),
        (Answer::text(301, "").header("location", "http://192.0.2.1/"), "it leads elsewhere"),
        (Answer::text(200, "{}").manner(Manner::Cut), "refused"),
    ] {
        cloud.standin.then(answer);
        let error = told(&cloud.config()).await;
        assert!(error.contains(words), "{words}: {error}");
    }
    cloud.standin.then(failure(400, 1, "v1.0-4c5d-test-token is odd"));
    let error = told(&cloud.config()).await;
    assert!(error.contains("*** is odd"), "the token is shown nowhere: {error}");
}

#[tokio::test]
async fn a_change_is_done_when_its_operation_ended_and_one_that_failed_is_an_error() {
    let cloud = Cloud::start();
    cloud.delays(3);
    let mut responder = started(&cloud.config()).await;
    apply(&mut responder, &["203.0.113.7"], 600).await;
    let polls = cloud.standin.requests().iter().filter(|request| request.path.contains("bulk_operations")).count();
    assert_eq!(polls, 4);
    cloud.max_items(1);
    let error = responder.apply(&permits(&["203.0.113.8"], 600), Timestamp::now()).await.unwrap_err().to_string();
    assert!(error.contains("the change failed: This list is at the maximum number of items"), "{error}");
    assert_eq!(targets(&mut responder).await, ["203.0.113.7/32"]);
    cloud.max_items(9);
    cloud.delays(1_000_000);
    let mut hasty = started(&CloudflareConfig { timeout_secs: 1, ..cloud.config() }).await;
    let error = hasty.apply(&permits(&["203.0.113.9"], 600), Timestamp::now()).await.unwrap_err();
    assert!(matches!(error, RespondError::TimedOut { secs: 1, .. }), "{error}");
}

#[tokio::test]
async fn who_is_told_to_wait_waits_or_asks_nothing_at_all() {
    let cloud = Cloud::start();
    let mut responder = started(&cloud.config()).await;
    cloud.standin.then(failure(429, 10429, "rate limited").header("retry-after", "1"));
    let before = Instant::now();
    apply(&mut responder, &["203.0.113.7"], 600).await;
    assert!(before.elapsed() >= Duration::from_millis(950), "{:?}", before.elapsed());
    cloud.standin.then(failure(429, 10429, "rate limited").header("retry-after", "300"));
    let error = responder.check().await.unwrap_err().to_string();
    assert!(error.contains("too many requests: it wants none until 20"), "{error}");
    let asked = cloud.standin.requests().len();
    responder.start().await.unwrap_err();
    lift_fails(&mut responder).await;
    assert_eq!(cloud.standin.requests().len(), asked, "nothing was asked meanwhile");
}

async fn lift_fails(responder: &mut Cloudflare) {
    responder.lift(&[super::net("203.0.113.7")]).await.unwrap_err();
}

#[test]
fn settings_that_cannot_be_are_told() {
    let good = CloudflareConfig {
        account_id: "a1".into(),
        list_id: "b2".into(),
        token: Secret::from("t".to_owned()),
        ..CloudflareConfig::default()
    };
    let with = |change: fn(&mut CloudflareConfig)| {
        let mut config = good.clone();
        change(&mut config);
        Cloudflare::new(&config).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(with(|_| ()), "");
    assert!(with(|config| config.account_id.clear()).contains("`account_id` needs"));
    assert!(with(|config| config.list_id = "../x".into()).contains("`list_id` needs"));
    assert!(with(|config| config.token = Secret::default()).contains("set `token`, or `token_file`"));
    assert!(with(|config| config.token_file = Some("/nonexistent".into())).contains("both set"));
    assert!(with(|config| config.mark = "a b".into()).contains("`mark` needs a word"));
    assert!(with(|config| config.url = "ftp://x".into()).contains("no URL"));
    let config = CloudflareConfig { token: Secret::default(), token_file: Some("/nonexistent".into()), ..good };
    assert!(Cloudflare::new(&config).err().unwrap().to_string().contains("/nonexistent cannot be read"));
}
