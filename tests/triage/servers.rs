//! Where servers are, which models they have, and how they fetch one.

use std::sync::Mutex;

use palisade::triage::Provider::{Anthropic, Ollama, Openai};
use palisade::triage::provider::{ProviderError, Refused, build};
use serde_json::{Value, json};

use super::{client, refusal, run, tier};
use crate::support::standin::bodies::{anthropic, ollama, openai};
use crate::support::standin::{Answer, Manner, Standin};

#[test]
fn urls_may_end_as_people_write_them() {
    let rows = [
        (Ollama, "", "/api/tags"),
        (Ollama, "/", "/api/tags"),
        (Ollama, "/v1/", "/api/tags"),
        (Ollama, "/models/api", "/models/api/tags"),
        (Openai, "", "/v1/models"),
        (Openai, "/v1", "/v1/models"),
        (Openai, "/v1/?key=x#y", "/v1/models"),
        (Openai, "/openai/", "/openai/v1/models"),
        (Openai, "/v1beta/openai", "/v1beta/openai/models"),
        (Anthropic, "/", "/v1/models?limit=1000"),
        (Anthropic, "/v1", "/v1/models?limit=1000"),
    ];
    let server = Standin::start();
    for (provider, end, path) in rows {
        let _ = run(build(&tier(provider, &format!("{}{end}", server.url()))).unwrap().models());
        assert_eq!(server.requests().last().unwrap().path, path, "{provider:?} {end}");
    }
    for url in ["", "localhost:11434", "ftp://127.0.0.1", "/v1", "http://"] {
        assert!(build(&tier(Openai, url)).is_err(), "{url}");
    }
}

#[test]
fn models_are_listed() {
    let server = Standin::start();
    let both =
        json!({"models": [{"name": "a", "model": "a"}], "data": [{"id": "m", "meta": {"n_ctx": 4096}}, {"id": 5}]});
    server.then(ollama::tags(&["phi3.5:3.8b"])).then(openai::models(&["gpt-oss-120b"]));
    server.then(anthropic::models(&["claude"])).then(Answer::json(200, &both));
    let rows = [(Ollama, "phi3.5:3.8b"), (Openai, "gpt-oss-120b"), (Anthropic, "claude"), (Openai, "m")];
    for (provider, name) in rows {
        assert_eq!(run(client(provider, &server).models()), Ok(vec![name.to_owned()]));
    }
}

#[test]
fn a_key_may_stand_in_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from-a-file\n").unwrap();
    let server = Standin::start();
    let mut tier = tier(Openai, &server.url());
    (tier.api_key, tier.api_key_file) = (Default::default(), Some(file.path().into()));
    let _ = run(build(&tier).unwrap().models());
    assert_eq!(server.requests()[0].header("authorization"), Some("Bearer from-a-file"));
    tier.api_key_file = Some("/nowhere/key".into());
    assert!(format!("{:#}", build(&tier).err().unwrap()).contains("/nowhere/key"));
}

#[test]
fn a_model_is_pulled_with_its_progress() {
    let lines = [
        json!({"status": "pulling manifest"}),
        json!({"status": "pulling aa", "digest": "sha256:aa", "total": 100}),
        json!({"status": "pulling aa", "digest": "sha256:aa", "total": 100, "completed": 60}),
        json!({"status": "pulling bb", "digest": "sha256:bb", "total": 10, "completed": 99}),
        json!({"status": "verifying sha256 digest"}),
        json!({"status": "success"}),
    ];
    let server = Standin::start();
    let pull = |answer: Answer| {
        server.then(answer);
        let seen = Mutex::new(vec![]);
        let result = run(client(Ollama, &server).pull(&|done, total| seen.lock().unwrap().push((done, total))));
        (result, seen.into_inner().unwrap())
    };
    assert_eq!(pull(ollama::stream(&lines)), (Ok(()), vec![(0, 100), (60, 100), (70, 110)]));
    assert_eq!(server.requests()[0].json(), json!({"model": "m", "stream": true}));
    // News may come slowly: the deadline is for each of them.
    let slow = Manner::Drip(std::time::Duration::from_millis(2));
    assert_eq!(pull(ollama::stream(&lines).manner(slow)).0, Ok(()));
    let part = |done: u64| json!({"status": "pulling aa", "digest": "sha256:aa", "total": 100, "completed": done});
    let bytes: Vec<Value> = (1..20).map(part).chain([json!({"status": "success"})]).collect();
    assert_eq!(pull(ollama::stream(&bytes).manner(slow)).0, Ok(()));
    let gone = json!({"error": "pull model manifest: file does not exist"});
    let error = pull(ollama::stream(&[lines[0].clone(), gone])).0.unwrap_err();
    assert_eq!(refusal(&error), Some(Refused::NoModel));
    assert!(matches!(pull(ollama::stream(&lines[..3])).0, Err(ProviderError::Malformed(_))));
    assert!(matches!(pull(ollama::stream(&lines).manner(Manner::Cut)).0, Err(ProviderError::Unreachable { .. })));
    assert!(matches!(pull(ollama::stream(&lines[..4]).manner(Manner::Stall)).0, Err(ProviderError::TimedOut(_))));
    let same = vec![lines[2].clone(); 400];
    assert!(matches!(pull(ollama::stream(&same).manner(slow)).0, Err(ProviderError::TimedOut(_))));
    let error = pull(Answer::text(200, &"x".repeat(1 << 21))).0.unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
    assert_eq!(refusal(&pull(ollama::error(500, "disk full")).0.unwrap_err()), Some(Refused::Server));
    for provider in [Openai, Anthropic] {
        let error = run(client(provider, &server).pull(&|_, _| {})).unwrap_err();
        assert_eq!(refusal(&error), Some(Refused::Unsupported));
    }
}
