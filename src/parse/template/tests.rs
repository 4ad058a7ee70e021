use super::*;
use crate::parse::access::{COMBINED, COMMON};
use crate::parse::tests::{context, shown_event};

const NGINX: &str = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent""#;
const APACHE: &str = r#"%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-agent}i\""#;

fn shown(format: &str, line: &str) -> String {
    let template = compile(format).unwrap_or_else(|why| panic!("{format}: {why}"));
    shown_event(template.parse(line.as_bytes(), &context(Extent::Whole)))
}

#[test]
fn the_default_formats_tell_what_the_handwritten_parser_tells() {
    for line in [
        r#"203.0.113.7 - - [05/Jan/2026:12:30:45 +0100] "GET /a?b=c HTTP/1.1" 200 612 "https://example.org/" "Mozilla/5.0""#,
        r#"2001:db8::9 - bob [05/Jan/2026:12:30:45 +0000] "GET /\" HTTP/2.0" 404 - "-" "A \"B\" \\""#,
        r#"203.0.113.7 - - [05/Jan/2026:12:30:45 +0000] "\x16\x03\x01" 400 157 "-" "-""#,
        r#"203.0.113.7 - - [05/Jan/2026:12:30:45 +0000] "" 400 0 "-" "-""#,
        r#"203.0.113.7 - - [05/Jan/2026:12:30:45 +0000] "GET http://h/p?q HTTP/1.1" - 0 "-" "-" "198.51.100.1""#,
        r#"203.0.113.7 - x [01/Jan/1999:00:00:00 +0000] 198.51.100.1 - - [05/Jan/2026:12:30:45 +0000] "GET / HTTP/1.1" 401 0 "-" "-""#,
        r#"203.0.113.7 - - [05/Jan/2026:12:30:45 +0000] "GET / HTTP/1.1" 200 1 "-" "x\" 200 0 \"-\" \"y""#,
        r#"203.0.113.7 - - [05/Jan/2026:12:30:45 +0000] "GET / HTTP/1.1" 200 1 "-" "x\x22 200 0 \x22-""#,
    ] {
        let expected = shown_event(COMBINED.parse(line.as_bytes(), &context(Extent::Whole)));
        assert!(!expected.starts_with("error"), "{line}: {expected}");
        assert_eq!(shown(NGINX, line), expected);
        assert_eq!(shown(APACHE, line), expected);
    }
    for line in [
        "",
        "hello world",
        r#"203.0.113.7 - - [nonsense] "GET / HTTP/1.1" 200 1 "-" "-""#,
        r#"203.0.113.7 - - [05/Jan/2026:12:30:45 +0000] "GET /"#,
        r#"203.0.113.7 - - [05/Jan/2026:12:30:45 +0000] "GET / HTTP/1.1" 2x0 1 "-" "-""#,
        r#"203.0.113.7 - - [05/Jan/2026:12:30:45 +0000] "GET / HTTP/1.1" 200 1 "-" "-"x"#,
        r#"example.org 203.0.113.7 - - [05/Jan/2026:12:30:45 +0000] "GET / HTTP/1.1" 200 1 "-" "-""#,
    ] {
        assert!(COMBINED.parse(line.as_bytes(), &context(Extent::Whole)).is_err());
        for format in [NGINX, APACHE] {
            assert!(shown(format, line).starts_with("error"), "{line}");
        }
    }
    let common = r#"host.example - - [05/Jan/2026:12:30:45 +0000] "GET / HTTP/1.0" 200 5"#;
    let expected = shown_event(COMMON.parse(common.as_bytes(), &context(Extent::Whole)));
    assert_eq!(shown(r#"%h %l %u %t "%r" %>s %b"#, common), expected);
}

#[test]
fn fields_stand_in_any_order() {
    for (format, line, expected) in [
        (
            r#"$status ${request_method} "$uri" $http_x_a [$time_iso8601] $remote_addr"#,
            r#"404 GET "/a b" x y [z] [2026-01-05T12:30:45+01:00] 203.0.113.7"#,
            "2026-01-05T11:30:45.000Z 203.0.113.7 GET|/a b| 404 None ref= ua= user= host=",
        ),
        (
            "$msec $remote_addr:$remote_port $request_uri",
            "1767616245.123 2001:db8::1:443 /a b 200",
            "2026-01-05T12:30:45.123Z 2001:db8::1 |/a b 200| 0 None ref= ua= user= host=",
        ),
        (
            r#"$remote_addr $time_iso8601 "$request_method $scheme://$host$request_uri $server_protocol" $upstream_status $status"#,
            r#"[2001:db8::1]:443 2026-01-05T12:30:45Z "GET https://h/a b?c HTTP/1.1" 502, 502 : 200 503"#,
            "2026-01-05T12:30:45.000Z 2001:db8::1 GET|/a b?c|HTTP/1.1 503 None ref= ua= user= host=h",
        ),
        (
            "$remote_addr [$time_local] $http_referer $http_user_agent",
            "203.0.113.7 [05/Jan/2026:12:30:45 +0000] - Mozilla/5.0 (X11)",
            "2026-01-05T12:30:45.000Z 203.0.113.7 || 0 None ref= ua=Mozilla/5.0 (X11) user= host=",
        ),
        (
            r"%v\t%{c}a\t%a\t%U%q\t%{X-Forwarded-For}i\t%{sec}t",
            "h\t192.0.2.1\t203.0.113.7\t/a b?c=d\t198.51.100.1\t1767616245",
            "2026-01-05T12:30:45.000Z 203.0.113.7 |/a b?c=d| 0 None ref= ua= user= host=h",
        ),
        (
            r#"$remote_addr [$time_local] "$uri?$args" "$http_x_forwarded_for""#,
            r#"203.0.113.7 [05/Jan/2026:12:30:45 +0000] "/a?b" "198.51.100.1""#,
            "2026-01-05T12:30:45.000Z 203.0.113.7 |/a?b| 0 None ref= ua= user= host=",
        ),
        (
            r"→ $remote_addr \é [$time_local] $status",
            "→ 203.0.113.7 é [05/Jan/2026:12:30:45 +0000] 404",
            "2026-01-05T12:30:45.000Z 203.0.113.7 || 404 None ref= ua= user= host=",
        ),
    ] {
        assert_eq!(shown(format, line), expected, "{format}");
    }
}

#[test]
fn apache_modifiers_and_times() {
    let format = r#"%%%!200,304{Referer}i %400,501{USER-AGENT}i" %<s %>s %{begin:%d/%b/%Y %T}t.%{msec_frac}t %{%z}t %h %X"%m %U%q %H""#;
    let line = r#"%- x" 302 200 05/Jan/2026 12:30:45.123 +0100 203.0.113.7 +"GET /a HTTP/1.1""#;
    let expected = "2026-01-05T11:30:45.123Z 203.0.113.7 GET|/a|HTTP/1.1 200 None ref= ua=x user= host=";
    assert_eq!(shown(format, line), expected);
    for (format, written) in [
        ("%{%Y-%m-%d %H:%M:%S}t", "2026-01-05 12:30:45"),
        ("%{%d/%m/%Y:%T %z}t", "05/01/2026:13:30:45 +0100"),
        ("%{%F}t at %{%T}t", "2026-01-05 at 12:30:45"),
        ("%{end:usec}t", "1767616245000001"),
        ("%{msec}t", "1767616245000"),
        ("%t", "[05/Jan/2026:12:30:45 +0000]"),
    ] {
        let shown = shown(&format!("%a {format} %U"), &format!("203.0.113.7 {written} /"));
        assert!(shown.starts_with("2026-01-05T12:30:45.000Z 203.0.113.7 |/|"), "{format}: {shown}");
    }
    // Apache writes an empty user as two quotes.
    let empty = r#"203.0.113.7 - "" [05/Jan/2026:12:30:45 +0000] "GET / HTTP/1.1" 401 0 "-" "-""#;
    assert_eq!(
        shown(APACHE, empty),
        shown_event(COMBINED.parse(empty.replace("\"\" [", "- [").as_bytes(), &context(Extent::Whole)))
    );
}

#[test]
fn the_client_that_proxies_name() {
    let peer = r#"$remote_addr [$time_iso8601] "$request" "$http_cf_connecting_ip" "$http_x_forwarded_for""#;
    let line = r#"192.0.2.1 [2026-01-05T12:30:45Z] "GET / HTTP/1.1" "198.51.100.1" "198.51.100.1, 203.0.113.7""#;
    let context = context(Extent::Whole);
    let template = compile(peer).unwrap();
    let event = template.parse(line.as_bytes(), &context).unwrap();
    assert_eq!((event.source_ip, event.guessed), (Some("192.0.2.1".parse().unwrap()), false));
    // The list, to which each proxy adds, comes before a header that a proxy may hand on as it came.
    assert_eq!(event.http().unwrap().forwarded, b"198.51.100.1, 203.0.113.7");
    let alone = compile(r#"[$time_iso8601] "$request" "$http_x_forwarded_for""#).unwrap();
    let event = alone.parse(br#"[2026-01-05T12:30:45Z] "GET / HTTP/1.1" "203.0.113.7""#, &context).unwrap();
    assert_eq!((event.source_ip, event.guessed), (Some("203.0.113.7".parse().unwrap()), true));
}

#[test]
fn a_query_that_is_logged_apart_joins_its_uri() {
    let format = r#"%h %t %m "%U" "%q" %>s"#;
    let uri = |query: &str| {
        let line = format!(r#"203.0.113.7 [05/Jan/2026:12:30:45 +0000] GET "/a" "{query}" 200"#);
        shown(format, &line).split(' ').nth(2).unwrap().to_owned()
    };
    assert_eq!((uri("?b=c").as_str(), uri("").as_str(), uri("-").as_str()), ("GET|/a?b=c|", "GET|/a|", "GET|/a|"));
}

#[test]
fn a_zone_that_stands_apart_holds_for_the_time() {
    let format = r#"%a [%{%d/%b/%Y %T}t.%{msec_frac}t %{%z}t] "%r""#;
    let line = r#"203.0.113.7 [05/Jan/2026 12:30:45.250 +0100] "GET / HTTP/1.1""#;
    assert!(shown(format, line).starts_with("2026-01-05T11:30:45.250Z "), "{}", shown(format, line));
}

#[test]
fn what_is_wrong_with_a_format_is_told() {
    for (format, expected) in [
        (
            "$remote_addr $time_local $request_uri$status",
            "two variables with nothing between them: $request_uri$status",
        ),
        ("%a %t %{a}i%{b}i", "two variables with nothing between them: %{a}i%{b}i"),
        ("$remote_addr$request_id", "two variables with nothing between them: $remote_addr$request_id"),
        ("$time_local $request", "no client address: add $remote_addr (nginx) or %a (Apache)"),
        ("$time_local $http_x_real", "no client address: add $remote_addr (nginx) or %a (Apache)"),
        ("%h %r", "no time: add $time_local (nginx) or %t (Apache)"),
        ("$remote_addr ${time_local", "no } ends ${time_local"),
        ("%a %t %", "a % without a directive: %"),
        ("%a %{%Q}t", "%Q in a time is not understood (%Y %m %b %d %e %H %M %S %T %F %R %z %a are)"),
        (
            "$http_host $remote_addr - $remote_user [$time_local]",
            "the client address $remote_addr stands between $http_host and $remote_user, whose text clients choose: put one of them in quotes",
        ),
    ] {
        assert_eq!(compile(format).err().as_deref(), Some(expected), "{format}");
    }
}

#[test]
fn no_client_moves_a_field_that_is_not_its_own() {
    let format = r#"$http_host [$time_local] $remote_addr $status $http_referer $request_time $http_user_agent"#;
    let line = "x [01/Jan/1999:00:00:00 +0000] 198.51.100.1 [05/Jan/2026:12:30:45 +0000] 203.0.113.7 200 r 0.1 u";
    assert!(compile(format).is_err(), "a client could write all of it");
    let quoted = format.replace("$http_host", r#""$http_host""#);
    let line = format!(r#""{}" {}"#, &line[..43], &line[44..]);
    let expected = "2026-01-05T12:30:45.000Z 203.0.113.7 || 200 None ref=r 0.1 u ua= user= host=";
    assert!(shown(&quoted, &line).starts_with(expected), "{}", shown(&quoted, &line));

    let tail = r#"$remote_addr [$time_local] $request_uri $status $request_time"#;
    let line = "203.0.113.7 [05/Jan/2026:12:30:45 +0000] /a 200 0.1 /b 404 0.2";
    assert!(shown(tail, line).contains("|/a 200 0.1 /b| 404"), "{}", shown(tail, line));
}

#[test]
fn the_head_of_a_cut_line_is_understood() {
    let template = compile(NGINX).unwrap();
    let whole = r#"203.0.113.7 - - [05/Jan/2026:12:30:45 +0000] "GET /aaaa HTTP/1.1" 200 5 "r" "u""#;
    for len in 0..whole.len() {
        let event = template.parse(&whole.as_bytes()[..len], &context(Extent::Head));
        assert_eq!(event.is_ok(), len > whole.find('"').unwrap(), "{}", &whole[..len]);
    }
    assert!(shown_event(template.parse(&whole.as_bytes()[..53], &context(Extent::Head))).contains("GET|/aa|"));
    let last = compile(r#"[$time_local] "$request" $remote_addr"#).unwrap();
    let cut = br#"[05/Jan/2026:12:30:45 +0000] "GET / HTTP/1.1" 203.0.113.7"#;
    assert!(last.parse(cut, &context(Extent::Whole)).is_ok());
    assert!(last.parse(cut, &context(Extent::Head)).is_err(), "an address that may have been longer");
}

#[test]
fn the_built_in_ones_compile() {
    for built_in in [
        &NGINX_PROXY_MANAGER,
        &NGINX_PROXY_MANAGER_STANDARD,
        &NPMPLUS,
        &BUNKERWEB,
        &AWS_ALB,
        &HAPROXY,
        &CPANEL,
        &ZORAXY,
    ] {
        assert_eq!(compile(built_in.format).err(), None, "{}", built_in.format);
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        line in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        format in "([$%][a-zA-Z_]{1,3}|[$%{}!<>,:\\\\\" \\[\\]é→-]|\\$(time_local|request|status|uri|args|host)|%\\{[%a-zA-Z]{0,4}\\}t){0,12}",
    ) {
        let _ = compile(&format);
        let own = compile(&format!("%a %t {format}")).or_else(|_| compile(&format!("$remote_addr [$time_local] {format}")));
        let known = [NGINX, APACHE, HAPROXY.format, AWS_ALB.format, NPMPLUS.format].map(|format| compile(format).unwrap());
        for template in known.iter().chain(own.iter()) {
            for head in ["", "203.0.113.7 - - [05/Jan/2026:12:30:45 +0000] \"", "203.0.113.7 [05/Jan/2026:12:30:45 +0000] "] {
                let dressed = [head.as_bytes(), &line].concat();
                let _ = template.parse(&dressed, &context(Extent::Whole));
                let _ = template.parse(&dressed, &context(Extent::Head));
            }
        }
    }
}
