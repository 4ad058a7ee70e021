//! Every format and envelope on any bytes, and what is learned from them as a file's head. Then the
//! same bytes as what a client sends, in lines that servers write.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use palisade::event::{Event, Http, Kind, Timestamp};
use palisade::parse::{Context, Extent, Formats, KINDS, LogFormat, Site, compile};

fuzz_target!(|data: &[u8]| {
    let (arena, site) = (bumpalo::Bump::new(), Site::default());
    let read_at = Timestamp(1_795_305_600_000);
    let lines = || data.split(|&byte| byte == b'\n');
    for extent in [Extent::Whole, Extent::Head] {
        let context = Context { extent, arena: &arena, program: b"", site: &site, read_at };
        for line in lines() {
            for kind in KINDS {
                check(kind.name, line, kind.build.parse(line, &context));
            }
        }
        let formats = Formats::learn("x", lines(), &context);
        assert_eq!(Formats::of_names(&formats.names()).names(), formats.names(), "names lead back to their formats");
        for line in lines() {
            let event = formats.parse(line, &context);
            assert_eq!(event.is_ok(), !formats.name_for(line, &context).is_empty());
            check("learned", line, event);
        }
    }
    let context = Context { extent: Extent::Whole, arena: &arena, program: b"", site: &site, read_at };
    let mut texts = lines().chain(std::iter::repeat(b"".as_slice()));
    let said: [&[u8]; 3] = std::array::from_fn(|_| texts.next().unwrap_or_default());
    for (name, line) in written(said) {
        let format = KINDS.iter().find(|kind| kind.name == name).map(|kind| kind.build);
        let compiled = if format.is_none() { compile(name).ok() } else { None };
        let format: &dyn LogFormat = format.unwrap_or_else(|| &**compiled.as_ref().unwrap());
        let shown = String::from_utf8_lossy(&line).into_owned();
        let event = format.parse(&line, &context).unwrap_or_else(|why| panic!("{name}: {why}: {shown}"));
        let http = event.http().copied().unwrap_or_default();
        assert_eq!(event.source_ip.map(|ip| ip.to_string()).as_deref(), Some("203.0.113.7"), "{name}: {shown}");
        assert_eq!((event.time, http.status), (Some(Timestamp(1_767_616_245_000)), Some(404)), "{name}: {shown}");
        assert!(!event.guessed, "{name}: {shown}");
    }
});

/// What any event must hold to.
fn check(name: &str, line: &[u8], event: Result<Event<'_>, palisade::parse::Unparsed>) {
    let Ok(event) = event else { return };
    let escaped = line.contains(&b'\\') || line.contains(&0x1b) || line.contains(&b'"');
    for text in texts(&event) {
        let within = line.as_ptr_range().contains(&text.as_ptr());
        // What is put together in the arena is no longer than what it is made of and a question mark.
        assert!(text.is_empty() || within || text.len() <= line.len() + 1, "{name}: {text:?}");
        assert!(escaped || !text.contains(&b'\n'), "{name}: {text:?}");
    }
    if let Some(IpAddr::V4(address)) = event.source_ip {
        // As the line has it, or in a shape of IPv6.
        let stands = address.to_string();
        let stands = line.windows(stands.len()).any(|text| text == stands.as_bytes());
        assert!(stands || escaped || line.windows(4).any(|text| text.eq_ignore_ascii_case(b"ffff")), "{name}: {address}");
    }
    if let Some(status) = event.http().and_then(|http| http.status) {
        assert!(status < 1000, "{name}: {status}");
    }
}

fn texts<'a>(event: &Event<'a>) -> Vec<&'a [u8]> {
    let mut texts = vec![];
    if let Kind::Http(Http { method, uri, protocol, referer, user_agent, user, host, forwarded, .. }) = event.kind {
        texts.extend([method, uri, protocol, referer, user_agent, user, host, forwarded]);
    }
    if let Some(message) = event.kind.message() {
        texts.extend([message.program, message.level, message.user, message.text]);
    }
    texts
}

/// Lines of well-known writers about a client who sent this request, referrer and agent; each with
/// the format that must read it.
fn written([request, referer, agent]: [&[u8]; 3]) -> Vec<(&'static str, Vec<u8>)> {
    let nginx = |byte: u8| match byte {
        b'"' | b'\\' | 0..=0x1f | 0x7f.. => format!("\\x{byte:02X}"),
        _ => char::from(byte).to_string(),
    };
    let apache = |byte: u8| match byte {
        b'"' | b'\\' => format!("\\{}", char::from(byte)),
        b'\n' => "\\n".to_owned(),
        b'\t' => "\\t".to_owned(),
        0..=0x1f | 0x7f.. => format!("\\x{byte:02x}"),
        _ => char::from(byte).to_string(),
    };
    let json = |byte: u8| match byte {
        b'"' | b'\\' => format!("\\{}", char::from(byte)),
        0..=0x1f | 0x7f.. => format!("\\u{byte:04X}"),
        _ => char::from(byte).to_string(),
    };
    let csv = |byte: u8| if byte == b'"' { "\"\"".to_owned() } else { char::from(byte).to_string() };
    let all = |escape: &dyn Fn(u8) -> String| {
        [request, referer, agent].map(|text| text.iter().map(|&byte| escape(byte)).collect::<String>())
    };
    let combined = |[request, referer, agent]: [String; 3]| {
        let line = format!(r#"203.0.113.7 - - [05/Jan/2026:12:30:45 +0000] "{request}" 404 5 "{referer}" "{agent}""#);
        line.into_bytes()
    };
    let object = |[request, referer, agent]: [String; 3]| {
        let fields = format!(r#""request":"{request}","status":404,"http_referer":"{referer}","http_user_agent":"{agent}""#);
        format!(r#"{{"remote_addr":"203.0.113.7","time_iso8601":"2026-01-05T12:30:45Z",{fields}}}"#).into_bytes()
    };
    let record = |[request, referer, agent]: [String; 3]| {
        format!(r#"2026-01-05T12:30:45Z,203.0.113.7,GET,"{request}",404,5,"{referer}","{agent}""#).into_bytes()
    };
    vec![
        ("nginx_combined", combined(all(&nginx))),
        ("apache_combined", combined(all(&apache))),
        (
            r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#,
            combined(all(&apache)),
        ),
        ("json_access", object(all(&json))),
        ("csv", record(all(&csv))),
    ]
}
