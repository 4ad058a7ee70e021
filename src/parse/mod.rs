//! Takes a line, gives an [`Event`] that borrows from it. Pure: no clock, no state, no allocation
//! for a line that is understood. Text stays as logged; undoing escapes is detect's first view.

mod access;
mod address;
mod built_in;
mod context;
mod couchdb;
mod csv;
mod digits;
mod envelope;
mod json;
mod kinds;
mod members;
mod message;
mod proxies;
mod regex;
pub mod server_config;
mod template;
mod time;
mod uvicorn;
mod w3c;

use std::sync::{Arc, Mutex, PoisonError};

pub use context::{Context, Site};
pub use kinds::KINDS;
pub use message::NAME_OF_TEXT;

use crate::event::Event;
use crate::plugin;
use envelope::{Envelope, Opened};
use kinds::CSV;

/// One way to write a log line.
///
/// `parse` must be linear in the line's length, must not allocate, and must refuse a line that it
/// does not understand whole: a guess would let an attacker choose the fields.
pub trait LogFormat: Send + Sync {
    /// The event that `line` (without its newline) tells.
    ///
    /// # Errors
    /// What is missing or wrong in the line, for people.
    fn parse<'a>(&self, line: &'a [u8], context: &Context<'a>) -> Result<Event<'a>, Unparsed>;

    /// Whether it understands what many programs write, so that in an envelope it is for all of
    /// them that have no format of their own.
    fn is_general(&self) -> bool {
        false
    }
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
pub type Format = plugin::Kind<&'static dyn LogFormat>;

/// The formats that one file is written in. A line that none of them understands is unparsed and
/// never offered to others: an attacker could otherwise choose the parser.
#[derive(Clone, Default)]
pub struct Formats(Vec<Member>);

/// A format, and the envelope around it.
#[derive(Clone)]
struct Member {
    /// `nginx_combined`, `syslog+nginx_combined` or `syslog[nginx]+nginx_combined`.
    name: Arc<str>,
    envelope: Option<Envelope>,
    /// In an envelope: the one program whose lines are in this format; none: any.
    program: Option<Arc<[u8]>>,
    format: &'static Format,
}

impl Member {
    fn new(envelope: Option<Envelope>, program: Option<&[u8]>, format: &'static Format) -> Member {
        let name = match (envelope, program) {
            (None, _) => format.name.into(),
            (Some(envelope), None) => format!("{}+{}", envelope.as_str(), format.name).into(),
            (Some(envelope), Some(program)) => {
                format!("{}[{}]+{}", envelope.as_str(), String::from_utf8_lossy(program), format.name).into()
            }
        };
        Member { name, envelope, program: program.map(Arc::from), format }
    }

    /// The member called `name`.
    fn named(name: &str) -> Result<Member, String> {
        for envelope in Envelope::ALL {
            let Some(rest) = name.strip_prefix(envelope.as_str()) else { continue };
            if let Some(inner) = rest.strip_prefix('+') {
                return Ok(Member::new(Some(envelope), None, format(inner)?));
            }
            if let Some((program, inner)) = rest.strip_prefix('[').and_then(|rest| rest.split_once("]+")) {
                return Ok(Member::new(Some(envelope), Some(program.as_bytes()), format(inner)?));
            }
        }
        Ok(Member::new(None, None, format(name)?))
    }

    #[inline]
    fn parse<'a>(&self, line: &'a [u8], context: &Context<'a>) -> Result<Event<'a>, Unparsed> {
        match self.envelope {
            None => self.format.build.parse(line, context),
            Some(envelope) => self.parse_within(envelope, line, context),
        }
    }

    fn parse_within<'a>(
        &self,
        envelope: Envelope,
        line: &'a [u8],
        context: &Context<'a>,
    ) -> Result<Event<'a>, Unparsed> {
        let opened = envelope.open(line, context).ok_or(Unparsed("not in the envelope that the format has"))?;
        if self.program.as_deref().is_some_and(|program| program != opened.program) {
            return Err(Unparsed("of another program than the format is for"));
        }
        self.parse_opened(&opened, context)
    }

    fn parse_opened<'a>(&self, opened: &Opened<'a>, context: &Context<'a>) -> Result<Event<'a>, Unparsed> {
        let extent = if opened.cut { Extent::Head } else { context.extent };
        let program = if opened.program.is_empty() { b"-" } else { opened.program };
        let context = Context { extent, program, ..*context };
        let mut event = self.format.build.parse(opened.text, &context)?;
        event.time = event.time.or(opened.time);
        Ok(event)
    }
}

impl Formats {
    /// The format called `name`, or the one that an nginx `log_format` or Apache `LogFormat` string
    /// describes: whatever has a `$` or a `%`. In front of either may stand what wraps its lines:
    /// `syslog+`, `docker+`, `cri+`, `journal+`.
    ///
    /// # Errors
    /// There is no such format, or the string is none.
    pub fn named(name: &str) -> Result<Formats, String> {
        Member::named(name).map(|member| Formats(vec![member]))
    }

    /// What the first lines of a file called `path` are written in; empty when none is understood.
    /// `context` is that of its lines. In a syslog file each program has formats of its own.
    pub fn learn<'a>(path: &str, head: impl Iterator<Item = &'a [u8]>, context: &Context<'_>) -> Formats {
        let lines: Vec<&[u8]> = head.take(LEARN_LINES).collect();
        if let Some(formats) = lines.first().and_then(|line| Formats::named(&csv::header(line)?).ok()) {
            return formats;
        }
        let apache = path.contains("apache") || path.contains("httpd");
        let learn = |extent| {
            let context = Context { extent, ..*context };
            let mut found: Vec<(usize, Member)> = vec![];
            for line in &lines {
                let special = |known: &Member| known.program.is_none() && !known.format.build.is_general();
                if found.iter().any(|(_, known)| special(known) && known.parse(line, &context).is_ok()) {
                    continue;
                }
                let header = w3c_header(line).and_then(|formats| Some((0, formats.0.into_iter().next()?)));
                let Some((at, member)) = header.or_else(|| first(line, &context)) else { continue };
                if !found.iter().any(|(_, known)| known.name == member.name) {
                    found.push((at, member));
                }
            }
            found
        };
        let mut found = learn(Extent::Whole);
        if found.is_empty() {
            // A file may begin with a line that is too long to be read whole.
            found = learn(Extent::Head);
        }
        // As they were tried, so that each line is understood as it was here.
        found.sort_by_key(|(at, _)| *at);
        let named = |(_, member): (usize, Member)| match member.format.name {
            "nginx_combined" if apache => match plugin::find(KINDS, "apache_combined") {
                Some(format) => Member::new(member.envelope, member.program.as_deref(), format),
                None => member,
            },
            _ => member,
        };
        Formats(found.into_iter().map(named).collect())
    }

    /// The event that `line` tells.
    ///
    /// # Errors
    /// What the first of the formats missed in the line.
    #[inline]
    pub fn parse<'a>(&self, line: &'a [u8], context: &Context<'a>) -> Result<Event<'a>, Unparsed> {
        // As a rule. (An event is too long to be moved for nothing.)
        if let [Member { envelope: None, format, .. }] = &*self.0
            && context.site.trusted_proxies.is_empty()
        {
            return format.build.parse(line, context);
        }
        let mut first = None;
        for member in &self.0 {
            match member.parse(line, context) {
                Ok(mut event) => {
                    proxies::resolve(&mut event, &context.site.trusted_proxies);
                    return Ok(event);
                }
                Err(unparsed) => first = first.or(Some(unparsed)),
            }
        }
        Err(first.unwrap_or(Unparsed("none of the known formats")))
    }

    /// These and `others`, each once: those that understand few lines first, then those that many programs write.
    pub fn joined(self, others: Formats) -> Formats {
        let mut members = self.0;
        members.extend(others.0);
        // Text, which is not registered, stands last.
        let place = |member: &Member| {
            let is_text = member.format.name == message::NAME_OF_TEXT;
            (is_text, KINDS.iter().position(|kind| kind.name == member.format.name))
        };
        members.sort_by_key(|member| (member.format.build.is_general(), place(member)));
        let mut known = std::collections::HashSet::new();
        members.retain(|member| known.insert(member.name.clone()));
        Formats(members)
    }

    /// These, and where none of them understands a line, it is a message whose time nobody knows. For text on
    /// which nobody acts: here whoever writes a line chooses how it is read.
    pub fn or_text(self) -> Formats {
        self.joined(Formats(vec![Member::new(None, None, &message::TEXT)]))
    }

    /// The event that `line` tells, and the name of the format that understands it.
    ///
    /// # Errors
    /// What the first of the formats missed in the line.
    pub fn understand<'a>(&'a self, line: &'a [u8], context: &Context<'a>) -> Result<(Event<'a>, &'a str), Unparsed> {
        let mut first = None;
        for member in &self.0 {
            match member.parse(line, context) {
                Ok(mut event) => {
                    proxies::resolve(&mut event, &context.site.trusted_proxies);
                    return Ok((event, &member.name));
                }
                Err(unparsed) => first = first.or(Some(unparsed)),
            }
        }
        Err(first.unwrap_or(Unparsed("none of the known formats")))
    }

    /// The name of the format that understands `line`; empty if none does.
    pub fn name_for<'a>(&'a self, line: &'a [u8], context: &Context<'a>) -> &'a str {
        self.0.iter().find(|member| member.parse(line, context).is_ok()).map_or("", |member| &member.name)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a header names their columns, and another may come.
    pub fn have_header(&self) -> bool {
        self.0.iter().any(|member| member.name.starts_with(w3c::HEADER) || &*member.name == CSV)
    }

    /// The formats of the lines after `line`, if that names columns. In CSV, where a client may have
    /// written a line of his own, it counts only where none did before, or says the same again.
    pub fn header(&self, line: &[u8]) -> Option<Formats> {
        let [Member { envelope: None, name, .. }] = &*self.0 else { return w3c_header(line) };
        if !name.starts_with(CSV) {
            return w3c_header(line);
        }
        let header = csv::header(line).filter(|header| &**name == CSV || **name == **header)?;
        Formats::named(&header).ok()
    }

    /// Their names, in the order in which they are tried.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|member| member.name.to_string()).collect()
    }

    /// The formats called `names`; unknown ones are left out.
    pub fn of_names(names: &[String]) -> Formats {
        Formats(names.iter().filter_map(|name| Member::named(name).ok()).collect())
    }
}

/// Whether a line is to tell nothing: it is empty, or a comment.
pub fn is_blank(line: &[u8]) -> bool {
    matches!(line, [] | [b'#', ..])
}

/// The format of the lines after `line`, if that is the header of a W3C log.
fn w3c_header(line: &[u8]) -> Option<Formats> {
    let header = line.starts_with(w3c::HEADER.as_bytes()).then_some(line)?;
    Formats::named(std::str::from_utf8(header).ok()?).ok()
}

/// The first format that understands `line`, and its place in [`KINDS`].
fn first<'a>(line: &'a [u8], context: &Context<'a>) -> Option<(usize, Member)> {
    let opened = Envelope::ALL.iter().filter_map(|envelope| Some((*envelope, envelope.open(line, context)?)));
    let opened: Vec<_> = opened.collect();
    KINDS.iter().enumerate().find_map(|(at, format)| {
        let within = opened.iter().find_map(|(envelope, opened)| {
            let member = Member::new(Some(*envelope), None, format);
            member.parse_opened(opened, context).ok()?;
            // Only the log's own text says which program speaks in which format.
            let program = (!opened.program.is_empty() && !format.build.is_general()).then_some(opened.program);
            Some(Member::new(Some(*envelope), program, format))
        });
        let bare = || format.build.parse(line, context).ok().map(|_| Member::new(None, None, format));
        Some((at, within.or_else(bare)?))
    })
}

/// Whether `name` is a format string, not a name.
pub fn is_format_string(name: &str) -> bool {
    let prefixes = [regex::PREFIX, w3c::HEADER, csv::PREFIX];
    prefixes.iter().any(|prefix| name.starts_with(prefix)) || name.contains(['$', '%'])
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
    let build: &'static dyn LogFormat = Box::leak(compile(name)?);
    let kind = Format { name: &*name.to_owned().leak(), summary: "a format string", example: "", build };
    let format: &'static Format = Box::leak(Box::new(kind));
    own.push(format);
    Ok(format)
}

/// The format that a string describes: nginx's `log_format`, Apache's `LogFormat`, a W3C log's
/// `#Fields:` line, the names of CSV's columns behind `csv:`, or a regular expression behind `regex:`.
///
/// # Errors
/// What is wrong with it, for people.
pub fn compile(string: &str) -> Result<Box<dyn LogFormat>, String> {
    if string.starts_with(w3c::HEADER) {
        return Ok(Box::new(w3c::compile(string)?));
    }
    if let Some(names) = string.strip_prefix(csv::PREFIX) {
        return Ok(Box::new(csv::compile(names)?));
    }
    if let Some(pattern) = string.strip_prefix(regex::PREFIX) {
        return Ok(Box::new(regex::compile(pattern)?));
    }
    Ok(Box::new(template::compile(string)?))
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
    use crate::event::{Auth, Connection, Kind, Message, Timestamp};

    /// The context of a line that was read on 2026-11-22, in UTC.
    pub(super) fn context(extent: Extent) -> Context<'static> {
        let arena = Box::leak(Box::new(bumpalo::Bump::new()));
        let site = Box::leak(Box::new(Site::default()));
        Context { extent, arena, program: b"", site, read_at: Timestamp(1_795_305_600_000) }
    }

    /// An event in one line, to be compared; or why there is none.
    pub(super) fn shown_event(event: Result<Event<'_>, Unparsed>) -> String {
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        let event = match event {
            Err(why) => return format!("error: {why}"),
            Ok(event) => event,
        };
        let time = event.time.map_or("-".into(), |time| time.to_string());
        let client = event.source_ip.map_or("-".into(), |ip| ip.to_string());
        let guessed = if event.guessed { "?" } else { "" };
        let said = |Message { program, level, user, text: said }: Message<'_>| {
            format!("program={} level={} user={} {}", text(program), text(level), text(user), text(said))
        };
        let kind = event.kind.as_str();
        match event.kind {
            Kind::Http(http) => format!(
                "{time} {client} {}|{}|{} {} {:?} ref={} ua={} user={} host={}",
                text(http.method),
                text(http.uri),
                text(http.protocol),
                http.status.unwrap_or(0),
                http.bytes,
                text(http.referer),
                text(http.user_agent),
                text(http.user),
                text(http.host),
            ),
            Kind::Auth(Auth { outcome, message }) => {
                format!("{time} {client}{guessed} auth {} {}", outcome.as_str(), said(message))
            }
            Kind::Connection(Connection { destination, destination_port, transport, message }) => {
                let to = destination.map_or("-".into(), |ip| ip.to_string());
                let transport = text(transport);
                format!("{time} {client}{guessed} connection {transport} to {to} {destination_port} {}", said(message))
            }
            Kind::Mail(message) | Kind::Audit(message) | Kind::App(message) => {
                format!("{time} {client}{guessed} {kind} {}", said(message))
            }
        }
    }

    #[test]
    fn every_format_understands_its_example() {
        for kind in KINDS {
            let event = kind.build.parse(kind.example.as_bytes(), &context(Extent::Whole));
            assert!(event.is_ok_and(|event| event.source_ip.is_some() && event.time.is_some()), "{}", kind.name);
        }
    }

    #[test]
    fn a_format_string_is_a_name_of_its_own() {
        let string = r#"$remote_addr [$time_iso8601] "$request""#;
        let formats = Formats::named(string).unwrap();
        assert_eq!(formats.names(), [string]);
        let restored = Formats::of_names(&formats.names());
        assert!(std::ptr::eq(restored.0[0].format, formats.0[0].format), "made once");
        let line = br#"203.0.113.7 [2026-01-05T12:30:45Z] "GET / HTTP/1.1""#;
        assert!(restored.parse(line, &context(Extent::Whole)).is_ok_and(|event| event.source_ip.is_some()));
        assert!(Formats::named("nginx_combine").is_err_and(|why| why.contains("no format is called")));
        assert!(Formats::named("$time_local").is_err_and(|why| why.contains("no client address")));
    }

    /// What is learned from `lines`.
    fn learned(path: &str, lines: &[&[u8]]) -> Formats {
        Formats::learn(path, lines.iter().copied(), &context(Extent::Whole))
    }

    #[test]
    fn a_file_speaks_the_formats_of_its_head_and_no_other() {
        let combined = KINDS[0].example.as_bytes();
        let common = plugin::find(KINDS, "apache_common").unwrap().example.as_bytes();
        let nginx = learned("/var/log/nginx/access.log", &[combined, combined, b"junk"]);
        assert_eq!(nginx.names(), ["nginx_combined"]);
        let other = nginx.parse(common, &context(Extent::Whole));
        assert!(other.is_err(), "a format that the head did not show is not offered");
        assert_eq!(
            learned("/var/log/apache2/a.log", &[common, combined]).names(),
            ["apache_combined", "apache_common"]
        );
        assert!(learned("x", &[b"", b"hello"]).is_empty());
        assert_eq!(learned("x", &[&combined[..70]]).names(), ["nginx_combined"], "a line that was too long");
    }

    #[test]
    fn in_a_syslog_file_each_program_has_formats_of_its_own() {
        let access = KINDS[0].example;
        let line = |program: &str| format!("Jan  5 12:30:45 web {program}: {access}");
        let formats = learned("syslog", &[line("nginx").as_bytes()]);
        assert_eq!(formats.names(), ["syslog[nginx]+nginx_combined"]);
        let context = context(Extent::Whole);
        let (nginx, other) = (line("nginx"), line("blog[7]"));
        assert!(formats.parse(nginx.as_bytes(), &context).is_ok_and(|event| event.source_ip.is_some()));
        let forged = formats.parse(other.as_bytes(), &context);
        assert!(forged.is_err(), "what another program logs is no access log");
        assert_eq!(formats.name_for(nginx.as_bytes(), &context), "syslog[nginx]+nginx_combined");
        let any = Formats::named("syslog+nginx_combined").unwrap();
        assert!(any.parse(other.as_bytes(), &context).is_ok());
        assert_eq!(Formats::of_names(&formats.names()).names(), formats.names());
    }

    #[test]
    fn containers_wrap_any_format() {
        let escaped = KINDS[0].example.replace('"', "\\\"");
        let docker = format!(r#"{{"log":"{escaped}\n","stream":"stdout","time":"2026-01-05T12:30:45Z"}}"#);
        assert_eq!(learned("x-json.log", &[docker.as_bytes()]).names(), ["docker+nginx_combined"]);
        let cri = format!("2026-01-05T12:30:45.1Z stdout F {}", KINDS[0].example);
        assert_eq!(learned("0.log", &[cri.as_bytes()]).names(), ["cri+nginx_combined"]);
        let context = context(Extent::Whole);
        let bare = Formats::named("nginx_combined").unwrap();
        let inner = shown_event(bare.parse(KINDS[0].example.as_bytes(), &context));
        for (line, name) in [(&docker, "docker+nginx_combined"), (&cri, "cri+nginx_combined")] {
            assert_eq!(shown_event(Formats::named(name).unwrap().parse(line.as_bytes(), &context)), inner);
        }
    }
}
