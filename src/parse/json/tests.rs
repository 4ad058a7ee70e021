use super::*;
use crate::parse::tests::{context, shown_event};

fn shown_of(line: &[u8], extent: Extent) -> String {
    shown_event(Json.parse(line, &context(extent)))
}

fn shown(line: &str) -> String {
    shown_of(line.as_bytes(), Extent::Whole)
}

#[test]
fn every_product_says_the_same_in_its_own_words() {
    for (product, line) in [
        (
            "nginx",
            r#"{"time_local":"05/Jan/2026:12:30:45 +0000","remote_addr":"203.0.113.7","remote_user":"bob","request":"GET /a?b=c HTTP/1.1","status": "404","body_bytes_sent":"612","http_referer":"https://r/","http_user_agent":"curl/8","http_host":"h","http_x_forwarded_for":"198.51.100.1"}"#,
        ),
        (
            "nginx, field by field",
            r#"{"msec":1767616245.000,"real_ip":"198.51.100.1","client_ip":"198.51.100.1","remote_addr":"203.0.113.7","remote_user":"bob","uri":"/index.php","args":"b=c","request_method":"GET","request_uri":"/a?b=c","server_protocol":"HTTP/1.1","status":404,"bytes_sent":612,"http_referer":"https://r/","http_user_agent":"curl/8","host":"h"}"#,
        ),
        (
            "Caddy",
            r#"{"level":"info","ts":1767616245.0001,"logger":"http.log.access.log0","msg":"handled request","request":{"remote_ip":"198.51.100.2","remote_port":"4","client_ip":"203.0.113.7","proto":"HTTP/1.1","method":"GET","host":"h","uri":"/a?b=c","headers":{"Uri":["/evil"],"X-Forwarded-For":["198.51.100.1"],"Referer":["https://r/"],"User-Agent":["curl/8","x"]},"tls":{"proto":"h2","server_name":"h"}},"bytes_read":0,"user_id":"bob","duration":0.1,"size":612,"status":404,"resp_headers":{"Status":["200"],"User-Agent":["no"]}}"#,
        ),
        (
            "Caddy before 2.5",
            r#"{"ts":1767616245,"logger":"http.log.access","request":{"remote_addr":"203.0.113.7:4321","proto":"HTTP/1.1","method":"GET","host":"h","uri":"/a?b=c","headers":{"Referer":["https://r/"],"User-Agent":["curl/8"]}},"user_id":"bob","size":612,"status":404}"#,
        ),
        (
            "Traefik",
            r#"{"ClientAddr":"198.51.100.2:39496","ClientHost":"203.0.113.7","ClientUsername":"bob","DownstreamContentSize":612,"DownstreamStatus":404,"OriginStatus":200,"RequestHost":"h","RequestMethod":"GET","RequestPath":"/a?b=c","RequestProtocol":"HTTP/1.1","ServiceURL":{"Scheme":"http","User":null,"Path":"/p"},"StartLocal":"2026-01-05T13:30:45+01:00","StartUTC":"2026-01-05T12:30:45.000000192Z","request_Method":"PUT","request_Uri":"/evil","request_Referer":"https://r/","request_User-Agent":"curl/8","request_User_agent":"evil","time":"2026-01-05T12:30:46Z"}"#,
        ),
        (
            "Envoy",
            r#"{":authority":"h","bytes_received":0,"bytes_sent":612,"downstream_remote_address":"203.0.113.7:59292","method":"GET","protocol":"HTTP/1.1","referer":"https://r/","response_code":404,"start_time":"2026-01-05T12:30:45.000Z","upstream_cluster":null,"user":"bob","user_agent":"curl/8","x-envoy-origin-path":"/a?b=c","x-forwarded-for":"198.51.100.1"}"#,
        ),
        (
            "Cloudflare",
            r#"{"ClientIP":"203.0.113.7","ClientRequestHost":"h","ClientRequestMethod":"GET","ClientRequestProtocol":"HTTP/1.1","ClientRequestReferer":"https://r/","ClientRequestURI":"/a?b=c","ClientRequestUserAgent":"curl/8","EdgeResponseBytes":612,"EdgeResponseStatus":404,"EdgeStartTimestamp":1767616245000000000,"remote_user":"bob"}"#,
        ),
        (
            "ECS",
            r#"{"@timestamp":"2026-01-05T12:30:45.000Z","client":{"ip":"198.51.100.1"},"source":{"address":"x","ip":"203.0.113.7"},"http":{"request":{"method":"GET","referrer":"-"},"response":{"body":{"bytes":612},"status_code":404}},"url":{"original":"/a?b=c","path":"/a","domain":"h"},"user":{"name":"bob"},"user_agent":{"original":"curl/8"},"server_protocol":"HTTP/1.1","referer":"https://r/"}"#,
        ),
        (
            "ECS with dots",
            r#"{"@timestamp":"2026-01-05T12:30:45.000Z","source.ip":"203.0.113.7","http.request.method":"GET","http.response.status_code":404,"http.response.body.bytes":612,"url.original":"http://h/a?b=c","user.name":"bob","user_agent.original":"curl/8","protocol":"HTTP/1.1","referer":"https://r/"}"#,
        ),
        (
            "plain words, any case",
            "{ \"Timestamp\" : \"2026-01-05 12:30:45\",\t\"IP\":\"203.0.113.7\", \"Verb\":\"GET\", \"URL\":\"/a?b=c\", \"Path\":\"/a\", \"Code\":404, \"Bytes\":612, \"agent\":\"curl/8\", \"user\":\"bob\", \"host\":\"h\", \"protocol\":\"HTTP/1.1\", \"referer\":\"https://r/\", \"ok\":true } ",
        ),
    ] {
        assert_eq!(
            shown(line),
            "2026-01-05T12:30:45.000Z 203.0.113.7 GET|/a?b=c|HTTP/1.1 404 Some(612) ref=https://r/ ua=curl/8 user=bob host=h",
            "{product}"
        );
    }
}

#[test]
fn every_key_is_found_and_none_is_there_twice() {
    for (index, key) in KEYS.iter().enumerate() {
        assert_eq!(find(key.0, key.1.to_ascii_uppercase().as_bytes()), Some(index), "{}", key.1);
    }
    assert_eq!((find(Within::Line, b""), find(Within::Line, b"x-forwarded")), (None, None));
    assert_eq!((find(Within::Elsewhere, b"status"), find(Within::RequestHeaders, b"status")), (None, None));
}

#[test]
fn hostile_values_move_no_field() {
    let line = |agent: &str| {
        format!(r#"{{"ip":"203.0.113.7","method":"GET","url":"/","agent":"{agent}","status":404,"time":1767616245}}"#)
    };
    for agent in [
        r#"\",\"status\":200,\"remote_addr\":\"1.2.3.4"#,
        r#"\u0022,\u0022status\u0022:200"#,
        r#"x\\\",\"ip\":\"1.2.3.4\\"#,
        r#"{\"request\":{\"remote_ip\":\"1.2.3.4\"}}"#,
        r#"\x22,\x22status\x22"#,
    ] {
        assert_eq!(
            shown(&line(agent)),
            format!("2026-01-05T12:30:45.000Z 203.0.113.7 GET|/| 404 None ref= ua={agent} user= host=")
        );
    }
}

#[test]
fn of_a_key_that_is_there_twice_the_first_counts() {
    let twice = |first: &str, more: &str| shown(&format!(r#"{{{first},"method":"GET","url":"/",{more},"size":3}}"#));
    let expected = "- 203.0.113.7 GET|/| 404 Some(3) ref= ua= user= host=";
    let known = r#""ip":"203.0.113.7","status":404"#;
    assert_eq!(twice(known, r#""ip":"1.2.3.4","status":200,"url":"/b","METHOD":"PUT""#), expected);
    assert_eq!(twice(known, r#""client_ip":"1.2.3.4","client":"1.2.3.4","code":200,"path":"/b""#), expected);
    assert_eq!(twice(r#""client":"1.2.3.4","status":404"#, r#""remote_addr":"203.0.113.7""#), expected, "preferred");
    assert_eq!(twice(known, r#""headers":{"ip":"1.2.3.4","status":1},"x":[{"ip":"1.2.3.4"},"ip"]"#), expected);
    let said = r#""remote_addr":"unix:","ip":"203.0.113.7","status":404,"user":"-","agent":"""#;
    assert_eq!(twice(said, r#""remote_addr":"1.2.3.4","agent":"x""#), expected, "what says nothing counts too");
}

#[test]
fn without_a_peer_what_proxies_say_is_a_guess() {
    let line = r#"{"method":"GET","url":"/","args":"a=1","x_forwarded_for":"198.51.100.1, 203.0.113.7"}"#;
    let context = context(Extent::Whole);
    let event = Json.parse(line.as_bytes(), &context).unwrap();
    assert_eq!(event.source_ip, Some("203.0.113.7".parse().unwrap()));
    assert!(event.guessed);
    assert_eq!(event.http().unwrap().uri, b"/?a=1", "a query that is logged apart");
}

#[test]
fn headers_that_came_twice_count_once_and_last() {
    let line = r#"{"request":{"remote_ip":"192.0.2.1","method":"GET","uri":"/","headers":{"X-Forwarded-For":["198.51.100.1","203.0.113.7"],"User-Agent":["a","b"]}}}"#;
    let context = context(Extent::Whole);
    let event = Json.parse(line.as_bytes(), &context).unwrap();
    let http = event.http().unwrap();
    assert_eq!((http.forwarded, http.user_agent), (b"203.0.113.7".as_slice(), b"a".as_slice()));
    assert!(!event.guessed);
}

#[test]
fn what_tells_of_no_request_says_so() {
    for (line, error) in [
        (r#"{"log":"203.0.113.7 - - [05/Jan/2026","stream":"stdout","time":"2026-01-05T12:30:45Z"}"#, "no request"),
        (r#"{"ip":"203.0.113.7","method":"local","code":"T1000W"}"#, "no request"),
        (r#"{"ip":"203.0.113.7","request":"5f3a","msg":"x"}"#, "no request"),
        (
            r#"{"ts":1,"logger":"http.log.error","request":{"remote_ip":"203.0.113.7","method":"GET","uri":"/"}}"#,
            "no request",
        ),
        (r#"{"ts":1,"logger":"admin.api","method":"GET","uri":"/","remote_ip":"203.0.113.7"}"#, "no request"),
        (
            r#"{"time":"2026-01-05T12:30:45Z","remoteAddr":"203.0.113.7","method":"POST","url":"/login","message":"Login failed: x"}"#,
            "no request",
        ),
        (r#"{"method":"GET","url":"/","x_forwarded_for":"unknown","real_ip":"203.0.113.7"}"#, "no client address"),
        (r#"{"method":"GET","url":"/","ip":"203.0.113.7, 198.51.100.1"}"#, "no client address"),
        (r#"{"method":"GET","url":"/","ip":["203.0.113.7"]}"#, "no client address"),
        ("", "no JSON object"),
        (r#"["a"]"#, "no JSON object"),
        (r#"{"method":"GET","url":"/","ip":"203.0.113.7"} x"#, "text follows the object"),
        (r#"{"method":"GET","url":"/","ip":"203.0.113.7""#, "the object does not end"),
        (r#"{"method":"GET","url":"/","ip":"203.0.113.7",}"#, "a key is not in quotes"),
        (r#"{"method" "GET"}"#, "no colon after a key"),
        (r#"{"method":"GET" "url":"/"}"#, "no comma after a value"),
        (r#"{"method":["GET"}"#, "no comma after a value"),
        (r#"{"status":}"#, "a value is no JSON"),
        (r#"{"status":nul}"#, "a value is no JSON"),
        (r#"{"status":-}"#, "a number is none"),
    ] {
        assert_eq!(shown(line), format!("error: {error}"), "{line}");
    }
    let junk = r#"{"remote_addr":"203.0.113.7","request":"\u0016\u0003\u0001","status":400}"#;
    assert_eq!(shown(junk), r"- 203.0.113.7 |\u0016\u0003\u0001| 400 None ref= ua= user= host=");
    let said = r#"{"remote_addr":"203.0.113.7","method":"GET","url":"/","msg":"handled","status":200}"#;
    assert_eq!(shown(said), "- 203.0.113.7 GET|/| 200 None ref= ua= user= host=");
    let parts = r#"{"remote_addr":"203.0.113.7","request_method":"","request_uri":"","status":400}"#;
    assert_eq!(shown(parts), "- 203.0.113.7 || 400 None ref= ua= user= host=");
}

#[test]
fn what_is_nested_deep_is_passed_over() {
    let nested = |open: &str, close: &str, depth: usize| {
        let (open, close) = (open.repeat(depth), close.repeat(depth));
        shown(&format!(r#"{{"a":{open}1{close},"ip":"203.0.113.7","method":"GET","url":"/"}}"#))
    };
    for (open, close) in [(r#"{"ip":"1.2.3.4","a":"#, "}"), ("[", "]"), (r#"[{"b":["}\"",2,"#, "]}]")] {
        for depth in [1, MAX_DEPTH - 2, MAX_DEPTH - 1, MAX_DEPTH, 100_000] {
            let expected = "- 203.0.113.7 GET|/| 0 None ref= ua= user= host=";
            assert_eq!(nested(open, close, depth), expected, "{open} {depth}");
            assert!(nested(open, &close[1..], depth).starts_with("error: "), "{open} {depth}");
        }
    }
}

#[test]
fn the_head_of_a_cut_line_is_understood() {
    let head = |line: &str| shown_of(line.as_bytes(), Extent::Head);
    let start = r#"{"time":"2026-01-05T12:30:45Z","ip":"203.0.113.7","method":"GET""#;
    let known = "2026-01-05T12:30:45.000Z 203.0.113.7 GET|";
    assert_eq!(head(&format!(r#"{start},"url":"/aaaa"#)), format!("{known}/aaaa| 0 None ref= ua= user= host="));
    assert_eq!(head(&format!(r#"{start},"agent":"x\"#)), format!(r"{known}| 0 None ref= ua=x\ user= host="));
    assert_eq!(head(&format!(r#"{start},"status":20"#)), format!("{known}| 0 None ref= ua= user= host="));
    assert_eq!(head(&format!(r#"{start} "url":"/"#)), "error: no comma after a value");
    assert_eq!(head(r#"{"method":"GET","url":"/","ip":"203.0.113.7"#), "error: no client address", "more may follow");
    let timeless = r#"{"ClientAddr":"203.0.113.7:1","RequestMethod":"GET","RequestPath":"/aaaa"#;
    assert_eq!(head(timeless), "- 203.0.113.7 GET|/aaaa| 0 None ref= ua= user= host=", "its time is at the end");
}

#[test]
fn peers_come_with_ports_or_without() {
    let shown = |text: &str| peer(Value::Text(text.as_bytes())).map(|address| address.to_string());
    for (text, expected) in [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:80", "203.0.113.7"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:db8::1:443", "2001:db8::1:443"),
    ] {
        assert_eq!(shown(text).as_deref(), Some(expected));
    }
    for text in
        ["", ":80", "203.0.113.7:", "203.0.113.7:8x", "host:80", "1:2:3:4:5:6:7:8:80", "203.0.113.7,203.0.113.8"]
    {
        assert_eq!(shown(text), None, "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        text in r#"[{}\[\]",:\\a-c0-9.eE+ -]{0,80}"#,
    ) {
        for line in [bytes.as_slice(), text.as_bytes()] {
            for dressed in [line.to_vec(), [b"{\"ip\":\"203.0.113.7\",\"request\":", line].concat(), [b"{\"time\":\"", line, b"\"}"].concat()] {
                let whole = Json.parse(&dressed, &context(Extent::Whole));
                let _ = Json.parse(&dressed, &context(Extent::Head));
                assert!(whole.is_err() || std::str::from_utf8(&dressed).is_err()
                    || dressed.first().is_some_and(|byte| b"{ \t\n\r".contains(byte)));
            }
        }
    }

    #[test]
    fn any_text_stays_in_its_field(agent in ".*", uri in "/.*") {
        let agent = format!("a{agent}");
        let line = serde_json::json!({
            "remote_addr": "203.0.113.7", "request_method": "GET", "request_uri": uri, "http_user_agent": agent,
            "status": 404, "time_iso8601": "2026-01-05T12:30:45Z", "zz": [agent, { "status": agent }],
        })
        .to_string();
        let event = Json.parse(line.as_bytes(), &context(Extent::Whole)).unwrap();
        let Kind::Http(http) = event.kind else { panic!("no request") };
        let unescaped = |field: &[u8]| -> String {
            serde_json::from_slice(&[b"\"", field, b"\""].concat()).unwrap()
        };
        assert_eq!((unescaped(http.user_agent), unescaped(http.uri)), (agent, uri));
        let others = Http { user_agent: b"", uri: b"", ..http };
        assert_eq!(others, Http { method: b"GET", status: Some(404), ..Http::default() });
        assert_eq!(event.source_ip, Some(std::net::Ipv4Addr::new(203, 0, 113, 7).into()));
        assert_eq!(event.time.map(|time| time.0), Some(1_767_616_245_000));
    }
}
