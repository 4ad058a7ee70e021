use proptest::prelude::*;

use super::super::Extent;
use super::super::tests::{context, shown_event};
use super::known::{FAMILIES, Family, Row};
use super::*;

fn event<'a>(program: &'a str, line: &'a str) -> Result<Event<'a>, Unparsed> {
    Message.parse(line.as_bytes(), &Context { program: program.as_bytes(), ..context(Extent::Whole) })
}

fn shown(program: &str, line: &str) -> String {
    shown_event(event(program, line))
}

#[test]
fn messages_in_whatever_dress() {
    for (program, line, expected) in [
        (
            "",
            "2026-01-05 12:30:45,123 WARN  [http-9] o.a.AuthService - Authentication attempt from 203.0.113.7 for user \"al ice\" failed.",
            "2026-01-05T12:30:45.123Z 203.0.113.7? auth failure program= level=WARN user=al ice [http-9] o.a.AuthService - Authentication attempt from 203.0.113.7 for user \"al ice\" failed.",
        ),
        (
            "",
            "Jan  5 12:30:45 web sshd[812]: Invalid user alice from 203.0.113.7 port 40022",
            "2026-01-05T12:30:45.000Z 203.0.113.7 auth failure program=sshd level= user=alice Invalid user alice from 203.0.113.7 port 40022",
        ),
        (
            "app",
            "alice logged in from 203.0.113.7",
            "- 203.0.113.7? auth success program=app level= user= alice logged in from 203.0.113.7",
        ),
        (
            "",
            "[2026-01-05 12:30:45.123 +01:00] [INF] [79] Users: Listening on 0.0.0.0:80",
            "2026-01-05T11:30:45.123Z - app program= level=INF user= [79] Users: Listening on 0.0.0.0:80",
        ),
        (
            "",
            "ERROR    2026-01-05T12:30:45 - Incorrect username or password from 203.0.113.7",
            "2026-01-05T12:30:45.000Z 203.0.113.7? auth failure program= level=ERROR user= Incorrect username or password from 203.0.113.7",
        ),
        (
            "",
            "W, [2026-01-05T12:30:45.246316 #1]  WARN -- : Failed login for 'alice' from 203.0.113.7 at 2026-01-05 12:30:45 UTC",
            "2026-01-05T12:30:45.246Z 203.0.113.7? auth failure program= level=WARN user=alice Failed login for 'alice' from 203.0.113.7 at 2026-01-05 12:30:45 UTC",
        ),
        (
            "",
            "web-1  | \x1b[33m2026-01-05T12:30:45Z WARN\x1b[0m denied (203.0.113.7)",
            "2026-01-05T12:30:45.000Z 203.0.113.7? app program= level=WARN user= denied (203.0.113.7)",
        ),
        (
            "",
            "time=2026-01-05T12:30:45+01:00 level=error msg=\"Invalid username or password\" remote_ip=203.0.113.7 username=alice",
            "2026-01-05T11:30:45.000Z 203.0.113.7? auth failure program= level=error user=alice Invalid username or password",
        ),
        (
            "",
            "2026-01-05T12:30:45Z failed to validate credentials ip=203.0.113.7:28050 username=alice",
            "2026-01-05T12:30:45.000Z 203.0.113.7? auth failure program= level= user=alice failed to validate credentials ip=203.0.113.7:28050 username=alice",
        ),
        (
            "",
            r#"2026-01-05T12:30:45.637Z [warn][API]: Failed sign-in attempt {"ip":"::ffff:203.0.113.7","email":"alice"}"#,
            r#"2026-01-05T12:30:45.637Z 203.0.113.7? auth failure program= level=warn user=alice [API]: Failed sign-in attempt {"ip":"::ffff:203.0.113.7","email":"alice"}"#,
        ),
        (
            "",
            r#"{"time":"2026-01-05T12:30:45Z","level":"warn","app":"core","remoteAddr":"203.0.113.7","message":"Login failed: \"x\" from 192.0.2.66"}"#,
            r#"2026-01-05T12:30:45.000Z 203.0.113.7 auth failure program=core level=warn user= Login failed: "x" from 192.0.2.66"#,
        ),
        (
            "",
            r#"{"time":"2026-01-05T12:30:45Z","level":1,"app":"core","remoteAddr":"203.0.113.7","method":"POST","url":"/login","message":"Bruteforce attempt from \"203.0.113.7\" detected for action \"login\"."}"#,
            r#"2026-01-05T12:30:45.000Z 203.0.113.7 auth failure program=core level=1 user= Bruteforce attempt from "203.0.113.7" detected for action "login"."#,
        ),
        (
            "",
            r#"{"t":{"$date":"2026-01-05T12:30:45Z"},"msg":"Authentication failed","attr":{"principalName":"alice","remote":"203.0.113.7:4071"}}"#,
            "2026-01-05T12:30:45.000Z 203.0.113.7 auth failure program= level= user=alice Authentication failed",
        ),
        (
            "",
            r#"{"timestamp":"2026-01-05T12:30:45Z","event_type":"alert","src_ip":"203.0.113.7","dest_ip":"192.0.2.1","dest_port":22,"proto":"TCP"}"#,
            r#"2026-01-05T12:30:45.000Z 203.0.113.7 connection TCP to 192.0.2.1 22 program= level= user= {"timestamp":"2026-01-05T12:30:45Z","event_type":"alert","src_ip":"203.0.113.7","dest_ip":"192.0.2.1","dest_port":22,"proto":"TCP"}"#,
        ),
        (
            "",
            r"CEF:0|Vendor|Product|1.0|100|Login \| failed|5|src=203.0.113.7 suser=al ice rt=1767616245000 msg=wrong password",
            r"2026-01-05T12:30:45.000Z 203.0.113.7 auth failure program= level= user=al ice wrong password",
        ),
        (
            "kernel",
            "[12.3] IN=eth0 OUT= MAC=00:08 SRC=203.0.113.7 DST=192.0.2.1 LEN=40 PROTO=ICMP TYPE=3 [SRC=192.0.2.1 DST=192.0.2.66 PROTO=TCP SPT=1 DPT=22 ]",
            "- 203.0.113.7 connection ICMP to 192.0.2.1 22 program=kernel level= user= [12.3] IN=eth0 OUT= MAC=00:08 SRC=203.0.113.7 DST=192.0.2.1 LEN=40 PROTO=ICMP TYPE=3 [SRC=192.0.2.1 DST=192.0.2.66 PROTO=TCP SPT=1 DPT=22 ]",
        ),
        (
            "",
            "type=USER_LOGIN msg=audit(1767616245.123:2995): pid=1 uid=0 msg='op=login acct=\"alice\" exe=\"/usr/sbin/sshd\" hostname=? addr=203.0.113.7 terminal=ssh res=failed'",
            "2026-01-05T12:30:45.123Z 203.0.113.7 audit program= level= user=alice type=USER_LOGIN msg=audit(1767616245.123:2995): pid=1 uid=0 msg='op=login acct=\"alice\" exe=\"/usr/sbin/sshd\" hostname=? addr=203.0.113.7 terminal=ssh res=failed'",
        ),
        (
            "",
            "2026/01/05 12:30:45 [error] 8#8: *159 open() \"/a, client: 192.0.2.66, server: x\" failed (2: No such file or directory), client: 203.0.113.7, server: example.org, request: \"GET /a HTTP/1.1\"",
            "2026-01-05T12:30:45.000Z - GET|/a|HTTP/1.1 0 None ref= ua= user= host=",
        ),
        (
            "",
            "[Mon Jan 05 12:30:45.123456 2026] [auth_basic:error] [pid 3:tid 4] [client 2001:db8::7:55309] AH01618: user alice not found: /[client 192.0.2.66:1] x",
            "2026-01-05T12:30:45.123Z 2001:db8::7 auth failure program= level=error user=alice AH01618: user alice not found: /[client 192.0.2.66:1] x",
        ),
        (
            "",
            "203.0.113.7 2026-01-05 12:30:45.123 UTC [539] alice@shop FATAL:  password authentication failed for user \"alice\"",
            "2026-01-05T12:30:45.123Z 203.0.113.7 auth failure program= level= user=alice [539] alice@shop FATAL:  password authentication failed for user \"alice\"",
        ),
        (
            "",
            "2026/01/05 12:30:45 [error] 8#8: *159 open() \"/a\" failed (2: No such file or directory), client: 203.0.113.7, server: x, request: \"GET /a?b HTTP/1.1\", host: \"x\"",
            "2026-01-05T12:30:45.000Z 203.0.113.7 GET|/a?b|HTTP/1.1 0 None ref= ua= user= host=",
        ),
        (
            "",
            "2026-01-05 12:30:45.774649 [NOTICE] [1226033] [203.0.113.7:45164:HTTP2-41#_AdminVHost] [STDERR] Failed Login Attempt - username:alice ip:192.0.2.66 url:/",
            "2026-01-05T12:30:45.774Z 203.0.113.7 auth failure program= level=NOTICE user=alice [STDERR] Failed Login Attempt - username:alice ip:192.0.2.66 url:/",
        ),
        (
            "",
            "2026-01-05 12:30:45.353044 [INFO] [1226038] [203.0.113.7:61120-5#Example] User 'alice' failed to authenticate.",
            "2026-01-05T12:30:45.353Z 203.0.113.7 auth failure program= level=INFO user=alice User 'alice' failed to authenticate.",
        ),
        (
            "",
            r#"time="2026-01-05T12:30:45Z" level=warning msg="HTTP: POST /login" httpStatus=401 remoteAddr=203.0.113.7 responseSize=40 userAgent="curl/8 \"x\"""#,
            r#"2026-01-05T12:30:45.000Z 203.0.113.7 || 401 None ref= ua=curl/8 \"x\" user= host="#,
        ),
        ("", "Failed login for alice from 203.0.113.7", "error: no time in front of a message"),
        ("", "203.0.113.7 - - [05/Jan/2026:12:30:45 +0100] \"junk", "error: no time in front of a message"),
        ("", "", "error: no time in front of a message"),
    ] {
        assert_eq!(shown(program, line), expected, "{line}");
    }
}

#[test]
fn times_of_every_shape() {
    let time = |text: &str| match clock::leading(text.as_bytes(), &context(Extent::Whole)) {
        None => "none".into(),
        Some((time, rest)) => {
            format!("{}|{}", time.map_or("-".into(), |time| time.to_string()), String::from_utf8_lossy(rest))
        }
    };
    for text in [
        "2026-01-05T11:30:45.123456Z x",
        "2026-01-05 12:30:45,123+01:00 x",
        "2026-01-05 12:30:45.123 +0100 x",
        "[2026-01-05 11:30:45.123 UTC] x",
        "2026/01/05 11:30:45.123 x",
        "2026/01/05 - 11:30:45.123 x",
        "05-Jan-2026 11:30:45.123 x",
        "05/Jan/2026:12:30:45.123 +0100 x",
        "[Mon Jan 05 11:30:45.123456 2026] x",
        "Jan  5 11:30:45.123 x",
        "Jan 05 2026 11:30:45.123 x",
        "01/05/2026, 11:30:45.123 AM x",
        "01/05/26 11:30:45.123 x",
        "01/05/2026-11:30:45.123456 x",
        "05.01.2026 11:30:45.123 x",
        "260105 11:30:45.123 x",
        "2026-01-05  11:30:45.123 x",
        "1767612645.123 x",
        "1767612645123 x",
        "[2026-01-05T11:30:45.123456 #812] x",
    ] {
        assert_eq!(time(text), "2026-01-05T11:30:45.123Z| x", "{text}");
    }
    assert_eq!(time("11:30:45.123 x"), "-| x");
    assert_eq!(time("25/12/2025 11:30:45 PM"), "2025-12-25T23:30:45.000Z|", "no month has this number");
    for text in [
        "",
        "x",
        "2026-13-05 11:30:45 x",
        "2026-01-05 25:30:45",
        "[2026-01-05 11:30:45",
        "12 apples",
        "11:30",
        "203.0.113.7 x",
    ] {
        assert_eq!(time(text), "none", "{text}");
    }
}

#[test]
fn what_words_say_of_a_login() {
    let outcome = |text: &str| {
        let mut words = Words::default();
        words.read(text.as_bytes());
        words.outcome().map_or("none", AuthOutcome::as_str)
    };
    for (text, expected) in [
        ("Login failed", "failure"),
        ("LOGIN_ERROR", "failure"),
        ("AuthenticationFailed", "failure"),
        ("user bob does not exist: user not found", "failure"),
        ("no such user", "failure"),
        ("Unsuccessful 2FA attempt", "failure"),
        ("login attempt successful", "success"),
        ("bob logged in", "success"),
        ("Successful authentication, second try failed", "failure"),
        ("failed to save the user's picture", "none"),
        ("connection refused", "none"),
        ("the user saved a file", "none"),
        ("download successful", "none"),
    ] {
        assert_eq!(outcome(text), expected, "{text}");
    }
}

#[test]
fn which_address_and_which_user_a_text_is_about() {
    let client = |text: &str| guess::client(text.as_bytes(), true).map_or("-".into(), |ip| ip.to_string());
    for (text, expected) in [
        ("login of x from 203.0.113.7", "203.0.113.7"),
        ("from ip \"203.0.113.7\", to 192.0.2.1", "203.0.113.7"),
        ("attempt from [2001:db8::7]:443: no", "2001:db8::7"),
        ("x denied (IP: 203.0.113.7).", "203.0.113.7"),
        ("[203.0.113.7:443] refused by rule", "203.0.113.7"),
        ("wrong password: 203.0.113.7", "203.0.113.7"),
        ("client 203.0.113.7 and again from 203.0.113.7", "203.0.113.7"),
        ("user x from 192.0.2.66 from 203.0.113.7", "-"),
        ("user \"x from 192.0.2.66\" from 203.0.113.7", "203.0.113.7"),
        ("user 'x from 192.0.2.66' from 203.0.113.7", "203.0.113.7"),
        ("user 'x from 192.0.2.66 failed", "-"),
        ("listening on 192.0.2.1:80", "-"),
        ("a@192.0.2.1 failed", "-"),
        ("host.192.0.2.1.example.org failed", "-"),
        ("at 12:30:45 it failed", "-"),
    ] {
        assert_eq!(client(text), expected, "{text}");
    }
    assert_eq!(guess::client(b"version 203.0.113.7", true), None);
    assert_eq!(guess::client(b"node 203.0.113.7 started", false), None, "no reason at all");
    let user = |text: &'static str| String::from_utf8_lossy(guess::user(text.as_bytes())).into_owned();
    for (text, expected) in [
        ("Login failed for user 'al ice' from 192.0.2.1", "al ice"),
        ("Login failed for alice from 192.0.2.1", "alice"),
        ("Invalid username or password for user: alice", "alice"),
        ("Authentication failed for 192.0.2.1", ""),
        ("user not found", ""),
        ("account [alice] is locked", "alice"),
    ] {
        assert_eq!(user(text), expected, "{text}");
    }
}

#[test]
fn a_field_that_comes_twice_says_nothing() {
    let client = |text: &str| {
        let (fields, _) = Fields::of_pairs(text.as_bytes().to_vec().leak(), &context(Extent::Whole));
        fields.client.map_or("-".into(), |ip| ip.to_string())
    };
    assert_eq!(client("ip=203.0.113.7 a=b"), "203.0.113.7");
    assert_eq!(client("ip=203.0.113.7 ip=192.0.2.66"), "-");
    assert_eq!(client("ip=203.0.113.7 ip=192.0.2.66 ip=192.0.2.66"), "-");
    assert_eq!(client("msg=\"a ip=192.0.2.66\" remote_ip=203.0.113.7"), "203.0.113.7");
    assert_eq!(client("ip=192.0.2.66 remote_ip=203.0.113.7"), "203.0.113.7", "the better name");
    assert_eq!(client("destination_ip=192.0.2.66"), "-");
    for line in [
        "time=2026-01-05T12:30:45Z user=x remote_ip=192.0.2.66 ip=203.0.113.7",
        "CEF:0|a|b|c|d|e|f|src=203.0.113.7 suser=x clientIp=192.0.2.66",
    ] {
        assert!(event("", line).unwrap().guessed, "two addresses: {line}");
    }
}

/// Each row of each family, with a program that writes it and its example behind each head.
fn rows() -> impl Iterator<Item = (&'static Family, &'static Row, &'static str, String)> {
    FAMILIES.iter().copied().flatten().flat_map(|family| {
        family.rows.iter().flat_map(move |row| {
            family.heads.iter().map(move |head| {
                let head =
                    head.replace("{ip}", "203.0.113.7").replace("{peer}", "203.0.113.7:40022").replace("{_}", "x");
                let program = family.programs.first().map_or("any", |name| name.trim_end_matches('*'));
                (family, row, program, format!("{head}{}", row.2))
            })
        })
    })
}

#[test]
fn every_row_reads_its_example() {
    for (family, row, program, line) in rows() {
        let known = known::read(program.as_bytes(), line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(known.says, row.0, "{line}");
        let with_ip = line.contains("203.0.113.7");
        assert_eq!(known.holes.ip.map(|ip| ip.to_string()), with_ip.then(|| "203.0.113.7".into()), "{line}");
        if row.1.contains("{user}") && !line.contains("Root") {
            assert_eq!(known.holes.user, b"alice", "{line}");
        }
        assert!(!family.own_files || known::read(b"", line.as_bytes()).is_some(), "{line}");
        let event = event(program, &line).unwrap();
        assert!(!event.guessed && event.source_ip == known.holes.ip, "{line}");
    }
}

#[test]
fn no_pattern_reads_more_than_its_holes() {
    for (_, row, ..) in rows() {
        let open = row.1.replace("{{}", "").replace("{?", "");
        for (at, _) in open.match_indices('{') {
            let hole = open[at + 1..].split('}').next().unwrap();
            let known = ["ip", "peer", "dst", "port", "dport", "_", "proto", "user", "text", "*", "!"];
            assert!(known.contains(&hole), "{hole} in {}", row.1);
        }
        // What a client wrote behind the address is only safe with nothing of its own before it.
        let ends: Vec<_> = row.1.match_indices("{!}").collect();
        assert!(ends.is_empty() || row.1.ends_with("{!}") && row.1.contains("{ip}"), "{}", row.1);
    }
}

/// What a client would have to be called to choose another address.
const HOSTILE: &[&str] = &[
    "x from 192.0.2.66 port 5",
    "x from 192.0.2.66 port 5 ssh2",
    "x from 192.0.2.66 port 5 ssh2: RSA SHA256:a",
    "x from 192.0.2.66 not allowed because y",
    "x 192.0.2.66 port 5 [preauth]",
    "x 192.0.2.66 port 5: Too many authentication failures",
    "x' from 192.0.2.66",
    "x' from '192.0.2.66",
    "x'@'192.0.2.66' (using password: YES)",
    "x\", client: 192.0.2.66, server: _, request: \"GET / HTTP/1.1",
    "x rhost=192.0.2.66 user=y",
    "x>, method=PLAIN, rip=192.0.2.66, lip=192.0.2.1, TLS",
    "x,192.0.2.66): unknown user",
    "x] FAIL LOGIN: Client \"192.0.2.66\"",
    "x] OK LOGIN: Client \"192.0.2.66\"",
    "x' failed for '192.0.2.66' - Wrong password",
    "x\",SessionID=\"a\",RemoteAddress=\"IPV4/UDP/192.0.2.66/5060\"",
    "x@y FATAL:  password authentication failed for user \"z\" 192.0.2.66",
    "x) [192.0.2.66]: 535 Incorrect authentication data (set_id=y",
    "x[192.0.2.66]: SASL LOGIN authentication failed: a",
    "x. [CLIENT: 192.0.2.66]",
    "x] at [y] with [z] status [w] v remote host [ipv4:192.0.2.66:1] ",
    "x via 192.0.2.66",
    "x (192.0.2.66)",
    "[client 192.0.2.66] x",
    "192.0.2.66",
];

/// Whether `event` tells of the client or of nobody, and not of another.
fn is_ours(event: &Event<'_>, line: &str) -> Result<(), String> {
    match event.source_ip.map(|ip| ip.to_string()).as_deref() {
        Some("203.0.113.7") | None => Ok(()),
        Some(other) => Err(format!("{other} of {line}")),
    }
}

/// Names that hold what other clients had, or might have, written to the same log.
fn hostile_names(family: &Family) -> Vec<String> {
    let forged = family.rows.iter().map(|row| row.2.replace("203.0.113.7", "192.0.2.66").replace("alice", "y"));
    let around = |name: String| [format!("{name} x"), format!("x {name}"), name];
    forged.chain(HOSTILE.iter().map(|name| String::from(*name))).flat_map(around).collect()
}

#[test]
fn no_user_chooses_the_address_of_a_known_message() {
    for (family, _, program, line) in rows().filter(|(_, _, _, line)| line.contains("203.0.113.7")) {
        for name in hostile_names(family) {
            let line = line.replace("alice", &name);
            if known::read(program.as_bytes(), line.as_bytes()).is_some() {
                is_ours(&event(program, &line).unwrap(), &line).unwrap();
            }
        }
    }
}

#[test]
fn a_name_with_an_address_hides_nobody() {
    for (program, line) in [
        ("sshd", "Failed password for invalid user NAME from 203.0.113.7 port 40022 ssh2"),
        ("sshd", "Failed publickey for NAME from 203.0.113.7 port 40022 ssh2: ED25519 SHA256:5tOk2jV1"),
        ("sshd", "Invalid user NAME from 203.0.113.7 port 40022"),
        ("sshd", "Invalid user NAME from 203.0.113.7"),
        ("sshd", "Connection closed by invalid user NAME 203.0.113.7 port 40022 [preauth]"),
        ("dropbear", "Bad password attempt for 'NAME' from 203.0.113.7:40022"),
        (
            "dovecot",
            "imap-login: Disconnected (auth failed, 1 attempts in 6 secs): user=<NAME>, method=PLAIN, rip=203.0.113.7, lip=192.0.2.1",
        ),
        ("postfix/smtpd", "warning: unknown[203.0.113.7]: SASL LOGIN authentication failed: x, sasl_username=NAME"),
        ("exim", "plain authenticator failed for (a) [203.0.113.7]: 535 Incorrect authentication data (set_id=NAME)"),
        ("mysqld", "Access denied for user 'NAME'@'203.0.113.7' (using password: YES)"),
        (
            "web",
            "pam_unix(ftp:auth): authentication failure; logname= uid=0 euid=0 tty=ftp ruser= rhost=203.0.113.7  user=NAME",
        ),
    ] {
        for name in HOSTILE {
            let line = line.replace("NAME", name);
            let event = event(program, &line).unwrap();
            assert_eq!(event.source_ip, "203.0.113.7".parse().ok(), "{line}");
            assert!(!event.guessed, "{line}");
        }
    }
}

#[test]
fn a_line_that_was_cut_is_of_no_known_message() {
    let cut = b"Failed password for x from 192.0.2.66 port 5";
    let context = Context { program: b"sshd", ..context(Extent::Head) };
    let event = Message.parse(cut, &context).unwrap();
    assert!(event.guessed, "where it is cut the client chose");
}

/// Work that grew with the square of the length would take many minutes here.
#[test]
fn long_lines_take_linear_time() {
    let pieces = [
        " from 192.0.2.66 port 5 ssh2: ",
        "user [",
        "a=<b ",
        "a=[b ",
        "a='b ",
        "a=\"b ",
        "for '",
        "[1 ",
        ", client: 192.0.2.66, server: ",
        "\",RemoteAddress=\"a/b/192.0.2.66/5\"",
        ",",
        ": ",
        "{\"a\":",
        "[",
        "1",
        "::",
        " H=a [192.0.2.66] ",
        "\\",
        "\"",
        " - ",
        "SRC=",
        "\x1b[",
    ];
    let starts = [
        ("sshd", "Failed publickey for "),
        ("dovecot", "auth(a,"),
        ("dovecot", "imap-login: (auth failed, : user=<"),
        ("nginx", "1#1: *1 "),
        ("asterisk", "SECURITY[1]: a b: SecurityEvent=\"InvalidPassword\","),
        ("kernel", "IN= "),
        ("", "2026-01-05 12:30:45 "),
        ("app", "{\"a\":\""),
        ("app", "CEF:0|a|b|c|d|e|f|"),
        ("app", ""),
        ("", "type=A msg=audit(1"),
    ];
    for piece in pieces {
        for (program, start) in starts {
            let line = format!("{start}{}", piece.repeat(60_000 / piece.len()));
            let _ = event(program, &line);
        }
    }
}

proptest! {
    #[test]
    fn whatever_a_user_is_called_the_address_stays(
        before in ".{0,12}", from in 0usize..400, after in ".{0,12}", which in 0usize..400,
    ) {
        let all: Vec<_> = rows().filter(|(_, _, _, line)| line.contains("203.0.113.7")).collect();
        let (family, _, program, line) = &all[which % all.len()];
        let names = hostile_names(family);
        let line = line.replace("alice", &format!("{before}{}{after}", names[from % names.len()]));
        if known::read(program.as_bytes(), line.as_bytes()).is_some() {
            prop_assert_eq!(is_ours(&event(program, &line).unwrap(), &line), Ok(()));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..160), at in 0usize..400, cut in 0usize..200,
    ) {
        let all: Vec<_> = rows().collect();
        let (_, _, program, line) = &all[at % all.len()];
        let line = line.as_bytes();
        let cut = cut.min(line.len());
        for context in [context(Extent::Whole), context(Extent::Head)] {
            for program in ["", "-", program, "kernel", "CEF"] {
                let context = Context { program: program.as_bytes(), ..context };
                let fronts: [&[u8]; 7] = [b"", b"2026-01-05 12:30:45 ", b"{\"a\":\"", b"CEF:0|a|b|c|d|e|f|", b"a=b c=\"", b"IN= SRC=", b"type=A msg=audit("];
                for front in fronts {
                    let _ = Message.parse(&[front, &bytes].concat(), &context);
                }
                let _ = Message.parse(&[&line[..cut], &bytes, &line[cut..]].concat(), &context);
            }
        }
    }
}
