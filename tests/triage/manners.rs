//! Every bad manner of a server that runs models.

use std::process::Command;
use std::time::{Duration, Instant};

use palisade::triage::Provider::{Anthropic, Ollama, Openai};
use palisade::triage::provider::{ProviderError, build};

use super::{ALL, client, question, run, tier, user};
use crate::support::standin::bodies::{anthropic, ollama, openai};
use crate::support::standin::{Answer, Manner, Standin};

/// What is to come of a manner: an answer, an error in time, an error at once.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Answered,
    TimedOut,
    Unreachable,
}

#[test]
fn every_manner_ends_by_the_deadline() {
    let manners = [
        (Manner::Plain, End::Answered),
        (Manner::Delay(Duration::from_millis(200)), End::Answered),
        (Manner::Delay(Duration::from_secs(3)), End::TimedOut),
        (Manner::Hang, End::TimedOut),
        (Manner::Stall, End::TimedOut),
        (Manner::Drip(Duration::from_millis(30)), End::TimedOut),
        (Manner::Cut, End::Unreachable),
        (Manner::Close, End::Unreachable),
    ];
    run(async {
        let mut all = tokio::task::JoinSet::new();
        for provider in ALL {
            for (manner, expected) in manners {
                all.spawn(async move {
                    let server = Standin::start();
                    let answer = match provider {
                        Ollama => ollama::chat("ok"),
                        Openai => openai::chat("ok"),
                        Anthropic => anthropic::chat("ok"),
                    };
                    server.then(answer.manner(manner));
                    let start = Instant::now();
                    let result = client(provider, &server).chat(&question(&[user("x")])).await;
                    let end = match &result {
                        Ok(reply) if reply.text == "ok" => Some(End::Answered),
                        Err(ProviderError::TimedOut(_)) => Some(End::TimedOut),
                        Err(ProviderError::Unreachable { .. }) => Some(End::Unreachable),
                        _ => None,
                    };
                    assert_eq!(end, Some(expected), "{provider:?} {manner:?}: {result:?}");
                    assert!(start.elapsed() < Duration::from_secs(2), "{provider:?} {manner:?}: {:?}", start.elapsed());
                    assert!(result.as_ref().err().is_none_or(ProviderError::is_retryable));
                    // Who has given up holds no connection.
                    if matches!(manner, Manner::Hang | Manner::Stall) {
                        while server.left() == 0 {
                            assert!(start.elapsed() < Duration::from_secs(5), "{provider:?} {manner:?}");
                            tokio::time::sleep(Duration::from_millis(10)).await;
                        }
                    }
                });
            }
        }
        while let Some(done) = all.join_next().await {
            done.unwrap();
        }
    });
}

#[test]
fn nobody_there_is_unreachable() {
    let url = Standin::start().url();
    for provider in ALL {
        let client = build(&tier(provider, &url.replace("http://", "http://someone:secret@"))).unwrap();
        let error = run(client.models()).unwrap_err();
        assert!(matches!(error, ProviderError::Unreachable { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }
}

#[test]
fn what_is_near_is_asked_without_a_proxy() {
    let nobody = "http://127.0.0.1:9";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "triage::servers::models_are_listed"])
        .envs([("HTTP_PROXY", nobody), ("http_proxy", nobody), ("ALL_PROXY", nobody)])
        .envs([("NO_PROXY", ""), ("no_proxy", "")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// A panic here would mean that TLS has no cryptography.
#[test]
fn who_speaks_no_tls_is_unreachable_by_it() {
    let server = Standin::start();
    match build(&tier(Openai, &server.url().replace("http:", "https:"))) {
        Ok(client) => assert!(matches!(run(client.models()), Err(ProviderError::Unreachable { .. }))),
        Err(error) => assert!(format!("{error:#}").contains("CA certificates"), "{error:#}"),
    }
}

#[test]
fn a_redirect_is_not_followed() {
    run(async {
        let (server, elsewhere) = (Standin::start(), Standin::start());
        for provider in ALL {
            server.then(Answer::text(302, "").header("location", &elsewhere.url()));
            let error = client(provider, &server).models().await.unwrap_err();
            assert!(error.to_string().contains("not followed"), "{error}");
        }
        assert_eq!(elsewhere.requests().len(), 0);
    });
}
