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

/// Time, client and kind with outcome, then user.
fn brief(program: &str, line: &str) -> String {
    match event(program, line) {
        Err(why) => format!("error: {why}"),
        Ok(event) => {
            let client = event.source_ip.map_or("-".into(), |ip| ip.to_string());
            let outcome = match event.kind {
                Kind::Auth(auth) => auth.outcome.as_str(),
                kind => kind.as_str(),
            };
            let user = event.kind.message().map_or(b"".as_slice(), |message| message.user);
            format!("{client}{} {outcome} {}", if event.guessed { "?" } else { "" }, String::from_utf8_lossy(user))
        }
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
