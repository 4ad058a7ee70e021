//! Takes a line, gives an [`Event`] that borrows from it. Pure: no clock, no state, no allocation
//! for a line that is understood. Text stays as logged; undoing escapes is detect's first view.

mod access;
mod address;
mod digits;
mod json;
pub mod server_config;
mod template;
mod time;

use std::sync::{Mutex, PoisonError};

use crate::event::Event;
use crate::plugin::{self, Kind};

/// One way to write a log line.
///
/// `parse` must be linear in the line's length, must not allocate, and must refuse a line that it
/// does not understand whole: a guess would let an attacker choose the fields.
pub trait LogFormat: Send + Sync {
    /// The event that `line` (without its newline) tells.
    ///
    /// # Errors
    /// What is missing or wrong in the line, for people.
    fn parse<'a>(&self, line: &'a [u8], extent: Extent) -> Result<Event<'a>, Unparsed>;
}

/// Whether a line is all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Whole,
    /// The head of a line longer than the limit: it ends anywhere, and fields after that are absent.
    Head,
}

/// Why a line was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unparsed(pub &'static str);

/// A registered format.
pub type Format = Kind<&'static dyn LogFormat>;

/// Every format. Where several understand a line, the first is taken.
pub static KINDS: &[Format] = &[
    Kind {
        name: "nginx_combined",
        summary: "nginx's default access log",
        example: r#"203.0.113.7 - alice [05/Jan/2026:12:30:45 +0100] "GET /a?b=c HTTP/1.1" 200 612 "https://example.org/" "Mozilla/5.0""#,
        build: &access::COMBINED,
    },
    Kind {
        name: "apache_combined",
        summary: "Apache's combined log",
        example: r#"203.0.113.7 - alice [05/Jan/2026:12:30:45 +0100] "GET /\" HTTP/1.1" 200 612 "-" "Mozilla/5.0 \"x\"""#,
        build: &access::COMBINED,
    },
    Kind {
        name: "apache_common",
        summary: "Apache's common log (CLF): no referrer, no user agent",
        example: r#"203.0.113.7 - - [05/Jan/2026:12:30:45 +0100] "GET /a HTTP/1.1" 200 612"#,
        build: &access::COMMON,
    },
    Kind {
        name: "apache_vhost_combined",
        summary: "Apache's combined log with the virtual host in front",
        example: r#"example.org:443 203.0.113.7 - - [05/Jan/2026:12:30:45 +0100] "GET /a HTTP/1.1" 200 612 "-" "Mozilla/5.0""#,
        build: &access::VHOST_COMBINED,
    },
    Kind {
        name: "json_access",
        summary: "one JSON object a line: nginx with escape=json, Caddy, Traefik, Envoy, Cloudflare, ECS",
        example: r#"{"time_iso8601":"2026-01-05T12:30:45+01:00","remote_addr":"203.0.113.7","request":"GET /a?b=c HTTP/1.1","status":200,"body_bytes_sent":612,"http_user_agent":"Mozilla/5.0"}"#,
        build: &json::Json,
    },
    Kind {
        name: "nginx_proxy_manager",
        summary: "Nginx Proxy Manager's log of proxied hosts",
        example: r#"[05/Jan/2026:12:30:45 +0000] - 200 200 - GET https example.org "/a?b=c" [Client 203.0.113.7] [Length 612] [Gzip -] [Sent-to 10.0.0.5] "Mozilla/5.0" "-""#,
        build: &template::NGINX_PROXY_MANAGER,
    },
    Kind {
        name: "nginx_proxy_manager_standard",
        summary: "Nginx Proxy Manager's log of hosts that are not proxied",
        example: r#"[05/Jan/2026:12:30:45 +0000] 200 - GET https example.org "/a?b=c" [Client 203.0.113.7] [Length 612] [Gzip -] "Mozilla/5.0" "-""#,
        build: &template::NGINX_PROXY_MANAGER_STANDARD,
    },
    Kind {
        name: "npmplus",
        summary: "NPMplus's access log",
        example: r#"[05/Jan/2026:12:30:45 +0000] example.org 203.0.113.7 0.002 "GET /a?b=c HTTP/2.0" 200 612 935 - Mozilla/5.0 (X11)"#,
        build: &template::NPMPLUS,
    },
    Kind {
        name: "bunkerweb",
        summary: "BunkerWeb's access log",
        example: r#"example.org 203.0.113.7 - 95386da81aa13b6ab3ce9c989e1e470e - [05/Jan/2026:12:30:45 +0000] "GET /a?b=c HTTP/2.0" 200 612 "-" "Mozilla/5.0""#,
        build: &template::BUNKERWEB,
    },
    Kind {
        name: "aws_alb",
        summary: "AWS's Application Load Balancer",
        example: r#"https 2026-01-05T12:30:45.186641Z app/lb/50dc6c495c0c9188 203.0.113.7:2817 10.0.0.1:80 0.000 0.001 0.000 200 200 34 366 "GET https://example.org:443/a?b=c HTTP/1.1" "curl/7.46.0" ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 - "Root=1-58337262-36d228ad5d99923122bbe354" "-""#,
        build: &template::AWS_ALB,
    },
    Kind {
        name: "haproxy",
        summary: "HAProxy's HTTP log (the bare line; its times have no zone and count as UTC)",
        example: r#"203.0.113.7:14853 [05/Jan/2026:12:30:45.127] https-in~ servers/node_1 170/0/0/3/173 200 739 - - --NN 0/0/0/0/0 0/0 "GET /a?b=c HTTP/1.1""#,
        build: &template::HAPROXY,
    },
    Kind {
        name: "cpanel",
        summary: "cPanel's access log",
        example: r#"203.0.113.7 - - [01/05/2026:12:30:45 -0000] "GET /a?b=c HTTP/1.1" 200 0 "-" "Mozilla/5.0" "-" "-" 2083"#,
        build: &template::CPANEL,
    },
    Kind {
        name: "zoraxy",
        summary: "Zoraxy's log of requests (its times have no zone and count as UTC)",
        example: "2026/01/05 12:30:45 [2026-01-05 12:30:45.150624] [router:host-http] [origin:example.org] [client: 203.0.113.7] [useragent: Mozilla/5.0 (X11)] GET /a?b=c 404",
        build: &template::ZORAXY,
    },
];

/// The formats that one file is written in. A line that none of them understands is unparsed and
/// never offered to others: an attacker could otherwise choose the parser.
#[derive(Clone, Default)]
pub struct Formats(Vec<&'static Format>);

impl Formats {
    /// The format called `name`, or the one that an nginx `log_format` or Apache `LogFormat` string
    /// describes: whatever has a `$` or a `%`.
    ///
    /// # Errors
    /// There is no such format, or the string is none.
    pub fn named(name: &str) -> Result<Formats, String> {
        format(name).map(|format| Formats(vec![format]))
    }

    /// What the first lines of a file called `path` are written in; empty when none is understood.
    pub fn learn<'a>(path: &str, head: impl Iterator<Item = &'a [u8]>) -> Formats {
        let lines: Vec<&[u8]> = head.take(LEARN_LINES).collect();
        let count = |extent| {
            let mut counts = vec![0u32; KINDS.len()];
            for line in &lines {
                let understood = |format: &Format| format.build.parse(line, extent).is_ok();
                if let Some(first) = KINDS.iter().position(understood) {
                    counts[first] += 1;
                }
            }
            counts
        };
        let mut counts = count(Extent::Whole);
        if counts.iter().all(|&count| count == 0) {
            // A file may begin with a line that is too long to be read whole.
            counts = count(Extent::Head);
        }
        let mut found: Vec<usize> = (0..KINDS.len()).filter(|&at| counts[at] > 0).collect();
        found.sort_by_key(|&at| std::cmp::Reverse(counts[at]));
        let apache = path.contains("apache") || path.contains("httpd");
        let named = |at: usize| match KINDS[at].name {
            "nginx_combined" if apache => plugin::find(KINDS, "apache_combined").unwrap_or(&KINDS[at]),
            _ => &KINDS[at],
        };
        Formats(found.into_iter().map(named).collect())
    }

    /// The event that `line` tells.
    ///
    /// # Errors
    /// What the first of the formats missed in the line.
    #[inline]
    pub fn parse<'a>(&self, line: &'a [u8], extent: Extent) -> Result<Event<'a>, Unparsed> {
        let mut first = None;
        for format in &self.0 {
            match format.build.parse(line, extent) {
                Ok(event) => return Ok(event),
                Err(unparsed) => first = first.or(Some(unparsed)),
            }
        }
        Err(first.unwrap_or(Unparsed("none of the known formats")))
    }

    /// The name of the format that understands `line`; empty if none does.
    pub fn name_for(&self, line: &[u8], extent: Extent) -> &'static str {
        let format = self.0.iter().find(|format| format.build.parse(line, extent).is_ok());
        format.map_or("", |format| format.name)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their names, the most frequent first.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|format| format.name.to_owned()).collect()
    }

    /// The formats called `names`; unknown ones are left out.
    pub fn of_names(names: &[String]) -> Formats {
        Formats(names.iter().filter_map(|name| format(name).ok()).collect())
    }
}

/// Whether `name` is a format string, not a name.
pub fn is_format_string(name: &str) -> bool {
    name.contains(['$', '%'])
}

fn format(name: &str) -> Result<&'static Format, String> {
    if let Some(format) = plugin::find(KINDS, name) {
        return Ok(format);
    }
    if !is_format_string(name) {
        return Err(format!("no format is called {name:?}; `palisade config formats` lists them"));
    }
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(format) = own.iter().find(|format| format.name == name) {
        return Ok(format);
    }
    let template: &'static template::Template = Box::leak(Box::new(template::compile(name)?));
    let kind = Kind { name: &*name.to_owned().leak(), summary: "a format string", example: "", build: template as _ };
    let format: &'static Format = Box::leak(Box::new(kind));
    own.push(format);
    Ok(format)
}

/// The format strings that were asked for. They live as long as the process, as the built-in
/// formats do; each is made once, however often the configuration is read.
static OWN: Mutex<Vec<&'static Format>> = Mutex::new(vec![]);

/// Lines of a file's head that its formats are learned from.
pub const LEARN_LINES: usize = 64;

/// `line` without the newline (and carriage return) that ends it.
#[inline]
pub fn trim_line(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event in one line, to be compared; or why there is none.
    pub(super) fn shown_event(event: Result<Event<'_>, Unparsed>) -> String {
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        match event {
            Err(why) => format!("error: {why}"),
            Ok(Event { time, source_ip, kind: crate::event::Kind::Http(http) }) => format!(
                "{} {} {}|{}|{} {} {:?} ref={} ua={} user={} host={}",
                time.map_or("-".into(), |time| time.to_string()),
                source_ip.map_or("-".into(), |ip| ip.to_string()),
                text(http.method),
                text(http.uri),
                text(http.protocol),
                http.status,
                http.bytes,
                text(http.referer),
                text(http.user_agent),
                text(http.user),
                text(http.host),
            ),
        }
    }

    #[test]
    fn every_format_understands_its_example() {
        for kind in KINDS {
            let event = kind.build.parse(kind.example.as_bytes(), Extent::Whole);
            assert!(event.is_ok_and(|event| event.source_ip.is_some() && event.time.is_some()), "{}", kind.name);
        }
    }

    #[test]
    fn a_format_string_is_a_name_of_its_own() {
        let string = r#"$remote_addr [$time_iso8601] "$request""#;
        let formats = Formats::named(string).unwrap();
        assert_eq!(formats.names(), [string]);
        let restored = Formats::of_names(&formats.names());
        assert!(std::ptr::eq(restored.0[0], formats.0[0]), "made once");
        let event = restored.parse(br#"203.0.113.7 [2026-01-05T12:30:45Z] "GET / HTTP/1.1""#, Extent::Whole);
        assert!(event.is_ok_and(|event| event.source_ip.is_some()));
        assert!(Formats::named("nginx_combine").is_err_and(|why| why.contains("no format is called")));
        assert!(Formats::named("$time_local").is_err_and(|why| why.contains("no client address")));
    }

    #[test]
    fn a_file_speaks_the_formats_of_its_head_and_no_other() {
        let combined = KINDS[0].example.as_bytes();
        let common = KINDS[2].example.as_bytes();
        let learned = Formats::learn("/var/log/nginx/access.log", [combined, combined, b"junk".as_slice()].into_iter());
        assert_eq!(learned.names(), ["nginx_combined"]);
        assert!(learned.parse(common, Extent::Whole).is_err(), "a format that the head did not show is not offered");
        let both = Formats::learn("/var/log/apache2/a.log", [common, combined, combined].into_iter());
        assert_eq!(both.names(), ["apache_combined", "apache_common"]);
        assert!(Formats::learn("x", [b"".as_slice(), b"hello"].into_iter()).is_empty());
        let cut = Formats::learn("x", std::iter::once(&combined[..70]));
        assert_eq!(cut.names(), ["nginx_combined"], "a line that was too long");
    }
}
