use proptest::prelude::*;

use super::super::tests::{context, shown_event};
use super::super::{Formats, KINDS};
use super::*;

fn shown(header: &str, line: &str) -> String {
    shown_event(compile(header).unwrap().parse(line.as_bytes(), &context(Extent::Whole)))
}

#[test]
fn columns_stand_where_the_header_says() {
    for (header, line, expected) in [
        (
            "timestamp,client_ip,method,url,status,bytes,user_agent",
            r#"2026-01-05T12:30:45+01:00,203.0.113.7,GET,"/a?b=c,d",404,612,"A ""B"", C""#,
            r#"2026-01-05T11:30:45.000Z 203.0.113.7 GET|/a?b=c,d| 404 Some(612) ref= ua=A "B", C user= host="#,
        ),
        (
            "Date;Time;c-ip;cs-username;cs-method;cs-uri-stem;cs-uri-query;sc-status;cs(User-Agent);cs(Referer);cs-host",
            "2026-01-05;12:30:45;203.0.113.7;bob;GET;/a;b=c;200;x,y;-;h",
            "2026-01-05T12:30:45.000Z 203.0.113.7 GET|/a?b=c| 200 None ref= ua=x,y user=bob host=h",
        ),
        (
            "id\tTime\tSource IP\tRequest\tStatus Code\tReferrer\tUser-Agent",
            "7\t[05/Jan/2026:12:30:45 +0000]\t203.0.113.7:4711\tGET http://h/a HTTP/1.1\t200\tr\t ua ",
            "2026-01-05T12:30:45.000Z 203.0.113.7 GET|/a|HTTP/1.1 200 None ref=r ua=ua user= host=h",
        ),
        (
            // Whom the server knows comes before whom a header may name.
            "ts,client,remote_addr,path,query",
            "1767616245.5,198.51.100.1,203.0.113.7,/a,b",
            "2026-01-05T12:30:45.500Z 203.0.113.7 |/a?b| 0 None ref= ua= user= host=",
        ),
        (
            "time,level,client_ip,user,message",
            r#"2026-01-05 12:30:45,WARN,203.0.113.7,bob,"login failed, again""#,
            "2026-01-05T12:30:45.000Z 203.0.113.7 auth failure program= level=WARN user=bob login failed, again",
        ),
        (
            "time,src_ip,dst_ip,dst_port,proto",
            "2026-01-05 12:30:45,203.0.113.7,192.0.2.1,22,TCP",
            "2026-01-05T12:30:45.000Z 203.0.113.7 connection TCP to 192.0.2.1 22 program= level= user= ",
        ),
    ] {
        assert_eq!(shown(header, line), expected, "{header}");
    }
    let header = "time,client_ip,uri,status";
    for (line, why) in [
        ("2026-01-05T12:30:45Z,203.0.113.7,/a", "fewer columns than the header names"),
        ("2026-01-05T12:30:45Z,203.0.113.7,/a,200,", "more columns than the header names"),
        ("2026-01-05T12:30:45Z,203.0.113.7,\"/a\"x,200", "fewer columns than the header names"),
        ("2026-01-05T12:30:45Z,203.0.113.7,/a,\"200", "fewer columns than the header names"),
        ("2026-01-05T12:30:45Z,/x,/a,200", "no client address"),
        ("yesterday,203.0.113.7,/a,200", "no time where the header has it"),
        (header, "no time where the header has it"),
    ] {
        assert_eq!(shown(header, line), format!("error: {why}"), "{line}");
    }
}

#[test]
fn a_client_behind_text_that_clients_choose_is_a_guess_unless_all_is_quoted() {
    let guessed = |header: &str, line: &str| {
        let event = compile(header).unwrap().parse(line.as_bytes(), &context(Extent::Whole)).unwrap();
        (event.source_ip.unwrap().to_string(), event.guessed)
    };
    // Of three columns that a client filled, the quotes make one; his separators make up for it.
    let forged = r#"2026-01-05T12:30:45Z,/x,198.51.100.1,",203.0.113.7,ua""#;
    assert_eq!(guessed("time,uri,client_ip,user_agent", forged), ("198.51.100.1".into(), true));
    let honest = r#""2026-01-05T12:30:45Z","/x","203.0.113.7","ua""#;
    let (quoted, bare) = (r#""time","uri","client_ip","user_agent""#, "time,uri,client_ip,user_agent");
    assert_eq!(guessed(quoted, honest), ("203.0.113.7".into(), false));
    assert_eq!(guessed(bare, honest), ("203.0.113.7".into(), true));
    assert!(guessed("time,message,client_ip", "2026-01-05T12:30:45Z,x,203.0.113.7").1);
    assert!(guessed("time,trace,client_ip,uri", "2026-01-05T12:30:45Z,x,203.0.113.7,/").1, "whatever it is");
    assert!(!guessed("id,status,method,time,client_ip,uri", "1,200,GET,2026-01-05T12:30:45Z,203.0.113.7,/").1);
}

#[test]
fn a_first_line_that_names_columns_is_a_header() {
    let learned =
        |lines: &[&str]| Formats::learn("x", lines.iter().map(|line| line.as_bytes()), &context(Extent::Whole)).names();
    let header = "time,client_ip,uri";
    let record = "2026-01-05T12:30:45Z,203.0.113.7,/a";
    assert_eq!(learned(&[header, record]), ["csv:time,client_ip,uri"]);
    assert_eq!(learned(&["\u{feff}time,client_ip,uri", record]), ["csv:time,client_ip,uri"]);
    let access = KINDS[0].example;
    assert_eq!(learned(&[access, header]), ["nginx_combined"], "not in the middle");
    assert_eq!(learned(&[header, access]), ["csv:time,client_ip,uri"], "and nothing beside it");
    for line in [
        "time,uri",
        "time, as we know, is money",
        "ERROR: client, user, time",
        "one,two,three,four",
        record,
        r#"{"time":1,"client_ip":2,"uri":3}"#,
        "time=1,client_ip=2,uri=3",
    ] {
        assert_eq!(header_of(line), None, "{line}");
    }
    let formats = Formats::named("csv:time,client_ip,uri").unwrap();
    let next = |formats: &Formats, line: &str| formats.header(line.as_bytes()).map(|formats| formats.names());
    assert_eq!(next(&formats, header), Some(formats.names()), "it may come again");
    assert_eq!(next(&formats, "time,uri,client_ip"), None, "a client may have written another one");
    let usual = Formats::named("csv").unwrap();
    assert_eq!(next(&usual, header), Some(formats.names()));
    assert_eq!(next(&Formats::named("nginx_combined").unwrap(), header), None);
    assert!(Formats::named("csv:time,uri").is_err_and(|why| why.contains("client_ip")));
    assert!(Formats::named("csv:a=b").is_err_and(|why| why.contains("names of the columns")));
}

fn header_of(line: &str) -> Option<String> {
    super::header(line.as_bytes())
}

/// As writers after RFC 4180 put a value.
fn quoted(value: &str) -> String {
    if value.contains([',', '"']) { format!("\"{}\"", value.replace('"', "\"\"")) } else { value.to_owned() }
}

/// What is read of it.
fn kept(value: &str) -> &str {
    if quoted(value) == value { value.trim_ascii() } else { value }
}

proptest! {
    #[test]
    fn a_hostile_value_moves_no_field(uri in "[a,\" ;/]{0,12}x", agent in "[a,\" \t\\PC]{0,12}x") {
        let line = format!("2026-01-05T12:30:45Z,203.0.113.7,GET,{},404,5,-,{}", quoted(&uri), quoted(&agent));
        let event = USUAL.parse(line.as_bytes(), &context(Extent::Whole)).unwrap();
        let http = *event.http().unwrap();
        prop_assert_eq!(event.source_ip, "203.0.113.7".parse().ok());
        prop_assert!(!event.guessed);
        prop_assert_eq!((http.uri, http.status), (kept(&uri).as_bytes(), Some(404)));
        prop_assert_eq!(String::from_utf8_lossy(http.user_agent), kept(&agent));
    }

    #[test]
    fn a_writer_without_quotes_lets_nobody_choose_the_client(uri in "[a,\"]{0,8}", agent in "[a,\"]{0,8}") {
        let forged = format!("{uri},198.51.100.1,{agent}");
        for (header, line) in [
            ("time,client_ip,uri,user_agent", format!("2026-01-05T12:30:45Z,203.0.113.7,{forged},{forged}")),
            ("time,uri,client_ip,user_agent", format!("2026-01-05T12:30:45Z,{forged},203.0.113.7,{forged}")),
        ] {
            if let Ok(event) = compile(header).unwrap().parse(line.as_bytes(), &context(Extent::Whole)) {
                prop_assert!(event.guessed || event.source_ip == "203.0.113.7".parse().ok(), "{line}");
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(line in proptest::collection::vec(any::<u8>(), 0..200), header in "[a-z_,;\t\"]{0,40}") {
        let _ = super::header(&line);
        let known = ["time,client_ip,uri", "\"time\";\"message\"", "date,time,client_ip,uri", &header];
        for format in known.iter().filter_map(|header| compile(header).ok()) {
            for dress in ["", "2026-01-05T12:30:45Z,", "2026-01-05;", "2026-01-05,12:30:45,203.0.113.7,\""] {
                let _ = format.parse(&[dress.as_bytes(), &line].concat(), &context(Extent::Whole));
            }
        }
    }
}
