//! Every error of a server that runs models.

use palisade::triage::Provider::{Anthropic, Ollama, Openai};
use palisade::triage::provider::{ProviderError, Refused, build};
use serde_json::{Value, json};

use super::{ALL, KEY, client, question, refusal, run, tier, user};
use crate::support::standin::bodies::{self, anthropic, ollama, openai};
use crate::support::standin::{Answer, Manner, Standin};

#[test]
fn each_error_becomes_its_kind() {
    use Refused::*;
    let null = &Value::Null;
    let rows = [
        (Ollama, ollama::error(404, "model 'm' not found"), NoModel),
        (Ollama, ollama::error(404, "model \"m\" not found, try pulling it first"), NoModel),
        (Ollama, ollama::error(400, "missing request body"), Request),
        (Ollama, ollama::error(400, "registry.ollama.ai/library/phi3.5:3.8b does not support tools"), Unsupported),
        (Ollama, ollama::error(400, "\"m\" does not support thinking"), Unsupported),
        (Ollama, ollama::error(400, "top_logprobs must be between 0 and 20"), Request),
        (Ollama, ollama::error(400, "the input length exceeds the context length"), TooLong),
        (Ollama, ollama::error(503, "server busy, please try again.  maximum pending requests exceeded"), Busy),
        (Ollama, ollama::error(499, "request canceled"), Server),
        (Ollama, ollama::error(500, "model requires more system memory (5.0 GiB) than is available (3.9 GiB)"), Server),
        (Ollama, ollama::error(200, "an error was encountered while running the model"), Server),
        (Ollama, openai::nested_error(404, "not_found_error", &json!(404), "File Not Found"), Request),
        (Ollama, Answer::text(404, "404 page not found"), Request),
        (Openai, openai::error(400, "invalid_request_error", "wrong", "bad field"), Request),
        (Openai, openai::error(401, "authentication_error", "wrong_api_key", "Wrong API Key"), Key),
        (Openai, openai::error(402, "payment_required_error", "payment", "Payment required"), Payment),
        (Openai, openai::error(403, "permission_error", "denied", "Not allowed"), Key),
        (
            Openai,
            openai::error(
                404,
                "not_found_error",
                "model_not_found",
                "Model x does not exist or you do not have access to it.",
            ),
            NoModel,
        ),
        (Openai, openai::error(404, "not_found_error", "route_not_found", "Unknown route"), Request),
        (Openai, openai::error(408, "timeout_error", "timeout", "Request timeout"), Busy),
        (Openai, openai::error(422, "unprocessable_entity", "x", "cannot be processed"), Request),
        (
            Openai,
            openai::error(
                429,
                "too_many_requests_error",
                "request_quota_exceeded",
                "Requests per minute limit exceeded - too many requests sent.",
            ),
            TooMany,
        ),
        (
            Openai,
            openai::error(429, "too_many_requests_error", "queue_exceeded", "We're experiencing high traffic"),
            Busy,
        ),
        (
            Openai,
            openai::nested_error(
                429,
                "insufficient_quota",
                &json!("insufficient_quota"),
                "You exceeded your current quota",
            ),
            Payment,
        ),
        (Openai, openai::error(500, "server_error", "x", "Encountered a server error"), Server),
        (Openai, openai::error(503, "server_error", "x", "Unavailable"), Busy),
        (Openai, openai::nested_error(503, "unavailable_error", &json!(503), "Loading model"), Busy),
        (
            Openai,
            openai::nested_error(
                400,
                "exceed_context_size_error",
                &json!(400),
                "request (6031 tokens) exceeds the available context size (4096 tokens), try increasing it",
            ),
            TooLong,
        ),
        (
            Openai,
            openai::nested_error(
                400,
                "invalid_request_error",
                &json!("context_length_exceeded"),
                "This model's maximum context length is 8192 tokens.",
            ),
            TooLong,
        ),
        (
            Openai,
            openai::nested_error(400, "invalid_request_error", null, "logprobs are not supported with this model"),
            Unsupported,
        ),
        (
            Openai,
            openai::nested_error(
                400,
                "invalid_request_error",
                &json!("model_decommissioned"),
                "The model m has been decommissioned",
            ),
            NoModel,
        ),
        (
            Openai,
            openai::nested_error(501, "not_supported_error", &json!(501), "This model is not a decision model"),
            Unsupported,
        ),
        (
            Openai,
            Answer::json(200, &json!({"error": {"message": "too fast", "type": "x"}, "status_code": 429})),
            TooMany,
        ),
        (Openai, openai::error(200, "too_many_requests_error", "request_quota_exceeded", "too fast"), TooMany),
        (Openai, openai::nested_error(200, "x", &json!(402), "no credits"), Payment),
        (Openai, Answer::json(200, &json!({"choices": [{"error": {"code": 502, "message": "upstream"}}]})), Server),
        (Openai, Answer::json(200, &json!({"errors": [{"detail": "bad", "status": 401}]})), Key),
        (Openai, Answer::json(403, &json!({"message": "Forbidden"})), Key),
        (Openai, Answer::json(422, &json!({"detail": [{"loc": ["body"], "msg": "field required"}]})), Request),
        (Anthropic, anthropic::error(400, "invalid_request_error", "max_tokens: field required"), Request),
        (
            Anthropic,
            anthropic::error(400, "invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum"),
            TooLong,
        ),
        (
            Anthropic,
            anthropic::error(400, "invalid_request_error", "Your credit balance is too low to access the API"),
            Payment,
        ),
        (Anthropic, anthropic::error(401, "authentication_error", "invalid x-api-key"), Key),
        (Anthropic, anthropic::error(403, "permission_error", "no"), Key),
        (Anthropic, anthropic::error(404, "not_found_error", "model: m"), NoModel),
        (Anthropic, anthropic::error(413, "request_too_large", "too large"), TooLong),
        (Anthropic, anthropic::error(429, "rate_limit_error", "too fast"), TooMany),
        (Anthropic, anthropic::error(500, "api_error", "Internal server error"), Server),
        (Anthropic, anthropic::error(529, "overloaded_error", "Overloaded"), Busy),
        (Anthropic, anthropic::error(200, "overloaded_error", "Overloaded"), Busy),
    ];
    let everywhere = ALL.into_iter().flat_map(|provider| {
        [
            (provider, bodies::page(403), Key),
            (provider, bodies::page(503), Busy),
            (provider, bodies::page(522), Server),
            (provider, Answer::text(500, ""), Server),
            (provider, Answer::text(401, "\u{1b}[31mno\u{202e}"), Key),
            (provider, Answer::text(500, &"\u{7}é".repeat(300)), Server),
            (provider, Answer::json(500, &json!({"error": ""})), Server),
            (provider, Answer::text(307, "").header("location", "/elsewhere"), Request),
            // The status holds, though its body never comes whole.
            (provider, openai::error(429, "x", "x", "too many").manner(Manner::Cut), TooMany),
        ]
    });
    run(async {
        let server = Standin::start();
        for (provider, answer, expected) in rows.into_iter().chain(everywhere) {
            let told = format!("{provider:?}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
            server.then(answer);
            let error = client(provider, &server).chat(&question(&[user("x")])).await.expect_err(&told);
            assert_eq!(refusal(&error), Some(expected), "{told}\n{error}");
            let retryable = matches!(expected, TooMany | Busy | Server);
            assert_eq!(error.is_retryable(), retryable, "{told}");
            let ProviderError::Refused { text, .. } = error else { panic!("{told}") };
            assert!(!text.is_empty() && text.len() <= 200, "{text}");
            assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text}");
        }
    });
}

#[test]
fn what_cannot_be_understood_is_malformed() {
    let rows: [&[u8]; 9] = [
        b"",
        b"null",
        b"[]",
        b"{\"choices\":[],\"content\":5,\"message\":[]}",
        b"{\"message\":{\"content\":7},\"choices\":[{\"message\":{\"content\":7}}]}",
        b"<html>ok</html>",
        b"{\"choices\":[{\"mess",
        b"\xff\xfe",
        b"data: {}\n\n",
    ];
    run(async {
        let server = Standin::start();
        for provider in ALL {
            for body in rows {
                server.then(Answer { body: body.into(), ..Answer::text(200, "") });
                let error = client(provider, &server).chat(&question(&[user("x")])).await.unwrap_err();
                assert!(matches!(error, ProviderError::Malformed(_)), "{provider:?} {error}");
                assert!(error.to_string().len() < 400, "{error}");
            }
            server.then(Answer::text(200, &" ".repeat((1 << 20) + 1)));
            let error = client(provider, &server).chat(&question(&[user("x")])).await.unwrap_err();
            assert!(error.to_string().contains("longer than"), "{error}");
            server.then(Answer::text(200, "{}"));
            let error = client(provider, &server).models().await.unwrap_err();
            assert!(matches!(error, ProviderError::Malformed(_)), "{provider:?} {error}");
        }
    });
}

#[test]
fn a_key_stands_in_no_error() {
    run(async {
        let server = Standin::start();
        for provider in ALL {
            for answer in [
                openai::nested_error(401, "x", &Value::Null, &format!("Incorrect API key provided: {KEY}.")),
                Answer::text(200, &format!("your key is {KEY}")),
                Answer::text(500, &format!("<title>{KEY}</title>")),
            ] {
                server.then(answer);
                let error = client(provider, &server).chat(&question(&[user("x")])).await.unwrap_err();
                assert!(!format!("{error} {error:?}").contains(&KEY[3..]), "{error:?}");
            }
        }
    });
    let mut wrong = tier(Openai, "http://127.0.0.1:1");
    wrong.api_key = format!("{KEY}\n").into();
    let error = build(&wrong).err().unwrap();
    assert!(!format!("{error:#} {error:?}").contains(&KEY[3..]), "{error:?}");
}

#[test]
fn a_server_says_how_long_to_wait_and_what_is_left() {
    run(async {
        let server = Standin::start();
        let too_many = || openai::error(429, "too_many_requests_error", "request_quota_exceeded", "too many");
        for (answer, secs) in [
            (too_many().header("retry-after", "29241"), Some(29241.0)),
            (too_many().header("retry-after-ms", "1500").header("retry-after", "2"), Some(1.5)),
            (
                too_many()
                    .header("x-ratelimit-remaining-tokens-minute", "0")
                    .header("x-ratelimit-reset-tokens-minute", "11.5"),
                Some(11.5),
            ),
            (too_many().header("retry-after", "tomorrow"), None),
            (too_many(), None),
        ] {
            server.then(answer);
            let error = client(Openai, &server).chat(&question(&[user("x")])).await.unwrap_err();
            assert_eq!(error.retry_after().map(|wait| wait.as_secs_f64()), secs, "{error:?}");
        }
        let answer = openai::chat("ok")
            .header("x-ratelimit-remaining-requests-day", "14399")
            .header("x-ratelimit-reset-requests-day", "33011.382382")
            .header("x-ratelimit-remaining-tokens-minute", "59999")
            .header("x-ratelimit-reset-tokens-minute", "11.382867097854614");
        server.then(answer);
        let allowance = client(Openai, &server).chat(&question(&[user("x")])).await.unwrap().allowance;
        let left = allowance.requests.zip(allowance.tokens).unwrap();
        assert_eq!((left.0.remaining, left.1.remaining), (14_399, 59_999));
        assert_eq!((left.0.resets_after.as_secs(), left.1.resets_after.as_secs()), (33_011, 11));
    });
}
