//! What each provider sends, and what it makes of a good answer.

use palisade::triage::Provider::{self, Anthropic, Ollama, Openai};
use palisade::triage::provider::{Chat, Message, ProviderError, Refused, Reply, Tool, ToolCall, build};
use serde_json::{Value, json};

use super::{ALL, KEY, client, question, refusal, run, tier, user};
use crate::support::standin::bodies::{anthropic, ollama, openai};
use crate::support::standin::{Answer, Request, Standin};

/// What comes of one answer, and what was asked for it.
fn ask(provider: Provider, chat: &Chat<'_>, answer: Answer) -> (Result<Reply, ProviderError>, Request) {
    let server = Standin::start();
    server.then(answer);
    let reply = run(client(provider, &server).chat(chat));
    (reply, server.requests().remove(0))
}

fn answered(provider: Provider, answer: Answer) -> Reply {
    ask(provider, &question(&[user("x")]), answer).0.unwrap()
}

fn lookup() -> Tool {
    let parameters = json!({"type": "object", "properties": {"ip": {"type": "string"}}});
    Tool { name: "lookup", description: "Looks up.", parameters }
}

#[test]
fn a_question_is_asked_in_each_servers_way() {
    let messages = [Message::System("rules".into()), user("case")];
    let schema = json!({"type": "object", "properties": {"verdict": {"enum": ["a", "b"]}}});
    let tools = [lookup()];
    let chat =
        Chat { messages: &messages, schema: Some(&schema), tools: &tools, max_output_tokens: 64, top_logprobs: 20 };
    let talk = json!([{"role": "system", "content": "rules"}, {"role": "user", "content": "case"}]);
    let function = json!({"name": "lookup", "description": "Looks up.", "parameters": lookup().parameters});
    let offer = json!([{"type": "function", "function": function}]);
    let bearer = format!("Bearer {KEY}");

    let (reply, request) = ask(Ollama, &chat, ollama::chat("ok"));
    assert_eq!((request.method.as_str(), request.header("content-type")), ("POST", Some("application/json")));
    assert_eq!((request.path.as_str(), request.header("authorization")), ("/api/chat", Some(&*bearer)));
    let expected = json!({
        "model": "m", "messages": talk, "stream": false, "format": schema, "tools": offer, "keep_alive": "30m",
        "options": {"num_ctx": 4096, "num_predict": 64, "temperature": 0, "top_p": 1, "seed": 1},
        "truncate": false, "shift": false, "logprobs": true, "top_logprobs": 20,
    });
    assert_eq!(request.json(), expected);
    let usage = reply.unwrap().usage;
    assert_eq!((usage.input_tokens, usage.output_tokens), (311, 9));
    assert_eq!(usage.sent_bytes, request.body.len() as u64);
    assert_eq!(usage.received_bytes, ollama::chat("ok").body.len() as u64);

    let (reply, request) = ask(Openai, &chat, openai::chat("ok"));
    assert_eq!((request.path.as_str(), request.header("authorization")), ("/v1/chat/completions", Some(&*bearer)));
    let expected = json!({
        "model": "m", "messages": talk, "stream": false, "temperature": 0, "max_completion_tokens": 64, "tools": offer,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": schema}},
        "logprobs": true, "top_logprobs": 20,
    });
    assert_eq!(request.json(), expected);
    let usage = reply.unwrap().usage;
    assert_eq!((usage.input_tokens, usage.output_tokens), (523, 41));

    let (reply, request) = ask(Anthropic, &chat, anthropic::chat("ok"));
    assert_eq!((request.path.as_str(), request.header("x-api-key")), ("/v1/messages", Some(KEY)));
    assert_eq!((request.header("anthropic-version"), request.header("authorization")), (Some("2023-06-01"), None));
    let expected = json!({
        "model": "m", "max_tokens": 64, "system": "rules",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "case"}]}],
        "tools": [
            {"name": "lookup", "description": "Looks up.", "input_schema": lookup().parameters},
            {"name": "answer", "description": "Takes the final answer.", "input_schema": schema},
        ],
        "tool_choice": {"type": "any"},
    });
    assert_eq!(request.json(), expected);
    let usage = reply.unwrap().usage;
    assert_eq!((usage.input_tokens, usage.output_tokens), (523, 40));
}

#[test]
fn what_is_not_asked_for_is_not_sent() {
    let optional =
        ["format", "response_format", "tools", "tool_choice", "logprobs", "top_logprobs", "system", "seed", "top_p"];
    for provider in ALL {
        let (_, request) = ask(provider, &question(&[user("x")]), Answer::text(200, "{}"));
        for name in optional {
            assert_eq!(request.json().get(name), None, "{provider:?} {name}");
        }
    }
}

#[test]
fn labels_come_with_their_probabilities() {
    let alternatives = [("mal", -0.25), ("ben", -1.5), (" mal", -7.0)];
    for (provider, answer) in [(Ollama, ollama::label(&alternatives)), (Openai, openai::label(&alternatives))] {
        let reply = answered(provider, answer);
        let expected = alternatives.map(|(token, logprob)| (token.to_owned(), logprob)).to_vec();
        assert_eq!((reply.text.as_str(), reply.first_token, reply.cut), ("mal", Some(expected), true));
    }
    for (provider, answer) in
        [(Ollama, ollama::chat("mal")), (Openai, openai::chat("mal")), (Anthropic, anthropic::chat("mal"))]
    {
        assert_eq!(answered(provider, answer).first_token, None, "{provider:?}");
    }
}

#[test]
fn an_answer_that_was_cut_says_so() {
    let unfinished = "{\"verdict\": \"mali";
    let rows =
        [(Ollama, ollama::cut(unfinished)), (Openai, openai::cut(unfinished)), (Anthropic, anthropic::cut(unfinished))];
    for (provider, answer) in rows {
        let reply = answered(provider, answer);
        assert_eq!((reply.text.as_str(), reply.cut), (unfinished, true), "{provider:?}");
    }
}

#[test]
fn content_is_text_in_any_of_its_forms_without_thoughts() {
    let rows = [
        (json!("{\"a\":1}"), "{\"a\":1}"),
        (json!("<think>\nso\n</think>\n{\"a\":1}"), "{\"a\":1}"),
        (json!("so </think>{\"a\":1}"), "{\"a\":1}"),
        (json!("<think>so {\"a\":1}"), ""),
        (json!(null), ""),
        (json!([{"type": "text", "text": "a"}, {"type": "reasoning", "reasoning": "no"}, "b", 5]), "ab"),
    ];
    for (content, text) in rows {
        assert_eq!(answered(Openai, openai::content(content.clone())).text, text, "{content}");
    }
    assert_eq!(answered(Ollama, ollama::chat("<think>x</think>benign")).text, "benign");
}

#[test]
fn a_call_of_a_tool_goes_there_and_back() {
    let wanted = json!({"ip": "203.0.1.113.7"});
    let call = |id: &str, arguments| ToolCall { id: id.into(), name: "lookup".into(), arguments };
    let reply = answered(Ollama, ollama::call("lookup", &wanted));
    assert_eq!(reply.calls, [call("", wanted.clone())]);
    let reply = answered(Openai, openai::call("lookup", &wanted.to_string()));
    assert_eq!((reply.text.as_str(), reply.calls), ("", vec![call("call_1", wanted.clone())]));
    let reply = answered(Openai, openai::call("lookup", "{\"ip\": \"203."));
    assert_eq!(reply.calls, [call("call_1", json!("{\"ip\": \"203."))]);
    let reply = answered(Anthropic, anthropic::call("lookup", &wanted));
    assert_eq!((reply.text.as_str(), reply.calls), ("I look.", vec![call("toolu_1", wanted.clone())]));

    let result = |id: &str| Message::Tool { id: id.into(), name: "lookup".into(), text: "none".into() };
    let calls = vec![call("1", wanted.clone()), call("2", json!("odd"))];
    let messages = [user("x"), Message::Assistant { text: String::new(), calls }, result("1"), result("2")];
    let sent = |provider| {
        let (_, request) = ask(provider, &question(&messages), Answer::text(200, "{}"));
        request.json()["messages"].clone()
    };
    let ollama_call = |arguments| json!({"function": {"name": "lookup", "arguments": arguments}});
    let expected = json!([
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "", "tool_calls": [ollama_call(wanted.clone()), ollama_call(json!({}))]},
        {"role": "tool", "tool_name": "lookup", "content": "none"},
        {"role": "tool", "tool_name": "lookup", "content": "none"},
    ]);
    assert_eq!(sent(Ollama), expected);
    let openai_call = |id, arguments: &str| {
        let function = json!({"name": "lookup", "arguments": arguments});
        json!({"id": id, "type": "function", "function": function})
    };
    let expected = json!([
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": null,
         "tool_calls": [openai_call("1", &wanted.to_string()), openai_call("2", "\"odd\"")]},
        {"role": "tool", "tool_call_id": "1", "content": "none"},
        {"role": "tool", "tool_call_id": "2", "content": "none"},
    ]);
    assert_eq!(sent(Openai), expected);
    let used = |id, input| json!({"type": "tool_use", "id": id, "name": "lookup", "input": input});
    let gave = |id| json!({"type": "tool_result", "tool_use_id": id, "content": "none"});
    let expected = json!([
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"role": "assistant", "content": [used("1", wanted), used("2", json!({}))]},
        {"role": "user", "content": [gave("1"), gave("2")]},
    ]);
    assert_eq!(sent(Anthropic), expected);
}

#[test]
fn anthropic_answers_a_schema_by_a_tool() {
    let (messages, schema) = ([user("x")], json!({"type": "object"}));
    let chat = Chat { schema: Some(&schema), ..question(&messages) };
    let (reply, request) = ask(Anthropic, &chat, anthropic::call("answer", &json!({"verdict": "benign"})));
    let reply = reply.unwrap();
    assert_eq!((reply.text.as_str(), reply.calls), ("{\"verdict\":\"benign\"}", vec![]));
    assert_eq!(request.json()["tool_choice"], json!({"type": "tool", "name": "answer"}));
}

#[test]
fn a_server_that_knows_only_the_old_name_of_the_limit_is_asked_by_it() {
    let refused = || {
        openai::nested_error(
            400,
            "invalid_request_error",
            &Value::Null,
            "Unrecognized request argument supplied: max_completion_tokens",
        )
    };
    let server = Standin::start();
    server.otherwise(move |request| {
        let knows = request.json().get("max_completion_tokens").is_none();
        if knows { openai::chat("ok") } else { refused() }
    });
    let client = client(Openai, &server);
    let first = run(client.chat(&question(&[user("x")]))).unwrap();
    let second = run(client.chat(&question(&[user("x")]))).unwrap();
    let requests = server.requests();
    let limits: Vec<Value> = requests.iter().map(|request| request.json()["max_tokens"].clone()).collect();
    assert_eq!(limits, [Value::Null, json!(64), json!(64)]);
    let sizes: Vec<u64> = requests.iter().map(|request| request.body.len() as u64).collect();
    assert_eq!((first.usage.sent_bytes, second.usage.sent_bytes), (sizes[0] + sizes[1], sizes[2]));

    // Whatever else is wrong with the limit is wrong under both names, and stays an error.
    let server = Standin::start();
    server.otherwise(|_| openai::nested_error(400, "x", &Value::Null, "max_completion_tokens is too large"));
    let error = run(super::client(Openai, &server).chat(&question(&[user("x")]))).unwrap_err();
    assert_eq!((refusal(&error), server.requests().len()), (Some(Refused::Request), 2));
}

#[test]
fn a_prompt_that_fills_ollamas_context_was_cut() {
    let full = |prompt: u64, output: u64| {
        let message = json!({"role": "assistant", "content": "ok"});
        json!({"message": message, "done": true, "prompt_eval_count": prompt, "eval_count": output})
    };
    assert_eq!(answered(Ollama, Answer::json(200, &full(4000, 64))).text, "ok");
    for (prompt, output) in [(4096, 1), (4090, 1), (4000, 96), (u64::MAX, u64::MAX)] {
        let (reply, _) = ask(Ollama, &question(&[user("x")]), Answer::json(200, &full(prompt, output)));
        assert_eq!(refusal(&reply.unwrap_err()), Some(Refused::TooLong), "{prompt}");
    }
}

#[test]
fn what_the_operator_adds_is_sent() {
    let server = Standin::start();
    let mut tier = tier(Ollama, &server.url());
    tier.keep_alive = "-1".into();
    tier.extra = serde_json::from_value(json!({"think": false, "options": {"num_thread": 2}})).unwrap();
    let _ = run(build(&tier).unwrap().chat(&question(&[user("x")])));
    let sent = server.requests()[0].json();
    assert_eq!((&sent["think"], &sent["keep_alive"]), (&json!(false), &json!(-1)));
    assert_eq!((&sent["options"]["num_thread"], &sent["options"]["num_ctx"]), (&json!(2), &json!(4096)));
}
