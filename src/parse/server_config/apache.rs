use std::collections::HashMap;

use super::walk::{Statement, StatementKind, Walk};
use super::{Place, ReadFiles, ServerConfig, absolute, built_in_or, directory, installed_in};

/// The longest line after its variables are put in, in bytes: as Apache's own.
const MAX_LINE: usize = 8192;

/// An open section.
struct Section {
    name: String,
    /// Whether what stands in it counts.
    counts: bool,
    /// The virtual host around it; 0 is the main server.
    vhost: usize,
}

/// A `LogFormat` and where it stands.
type Definition = (String, Place);

/// A `CustomLog` or `TransferLog`; its format may be defined after it.
struct Log {
    target: String,
    /// None: the default of its virtual host.
    format: Option<String>,
    vhost: usize,
    place: Place,
}

/// Adds the logs of the configuration at `path`.
pub fn read(path: &str, text: &str, read: &mut ReadFiles<'_>, found: &mut ServerConfig) {
    let home = directory(path);
    let mut variables = Variables::default();
    for file in read(&absolute("envvars", home)) {
        file.text.iter().for_each(|text| variables.read_shell(text));
    }
    let mut root = installed_in(home).unwrap_or(home).to_owned();
    let mut formats: HashMap<(usize, String), Definition> = HashMap::new();
    let mut defaults: HashMap<usize, Definition> = HashMap::new();
    let mut logs: Vec<Log> = vec![];
    let mut vhosts = 0;
    let mut walk: Walk<Section> = Walk::new(path, statements(text), statements);
    while let Some((statement, place)) = walk.next() {
        let [name, arguments] = &*statement.words else { continue };
        let (mut counts, mut vhost) = walk.blocks.last().map_or((true, 0), |section| (section.counts, section.vhost));
        let arguments = variables.put_into(arguments);
        match statement.kind {
            StatementKind::Opens => {
                counts &= variables.admit(name, &arguments);
                if name == "virtualhost" {
                    vhosts += 1;
                    vhost = vhosts;
                }
                walk.blocks.push(Section { name: name.clone(), counts, vhost });
                continue;
            }
            StatementKind::Closes => {
                if let Some(at) = walk.blocks.iter().rposition(|section| section.name == *name) {
                    walk.blocks.truncate(at);
                }
                continue;
            }
            StatementKind::Directive if !counts => continue,
            StatementKind::Directive => {}
        }
        let mut words = words(&arguments).into_iter();
        let (first, second) = (words.next().unwrap_or_default(), words.next());
        match (&**name, second) {
            ("serverroot", _) => root = absolute(&first, &root),
            ("define", value) => variables.define(first, value.unwrap_or_default()),
            ("undefine", _) => variables.undefine(&first),
            ("include" | "includeoptional", _) if !first.is_empty() => {
                walk.include(&absolute(&first, &root), &place, read, found);
            }
            ("logformat", Some(nickname)) => {
                formats.insert((vhost, nickname), (first, place));
            }
            ("logformat", None) => {
                defaults.insert(vhost, (first, place));
            }
            ("customlog" | "globallog", format @ Some(_)) => logs.push(Log { target: first, format, vhost, place }),
            ("transferlog", _) => logs.push(Log { target: first, format: None, vhost, place }),
            _ => {}
        }
    }
    for Log { target, format, vhost, place } in logs {
        let default = || defaults.get(&vhost).or_else(|| defaults.get(&0)).cloned();
        let (format, at) = match format {
            Some(format) => (format, place.clone()),
            None => default().unwrap_or_else(|| ("CLF".to_owned(), place.clone())),
        };
        let nickname = |vhost| formats.get(&(vhost, format.clone())).cloned();
        let (format, at) = match nickname(vhost).or_else(|| nickname(0)) {
            Some((format, at)) => (built_in_or(dialect(&format)), at),
            None if format == "CLF" => ("apache_common".to_owned(), at),
            None if format.contains('%') => (built_in_or(dialect(&format)), at),
            None => {
                found.leave_out(&place, &format!("the access log {target}"), "its format is not defined");
                continue;
            }
        };
        found.add(&target, &root, format, at, &place);
    }
}

/// A format as mod_log_config reads it, in the dialect of `template`: a backslash before anything
/// that it does not escape stands for itself.
fn dialect(format: &str) -> String {
    let mut out = String::with_capacity(format.len());
    let mut chars = format.chars().peekable();
    while let Some(char) = chars.next() {
        out.push(char);
        if char == '\\' {
            match chars.next_if(|next| matches!(next, '\\' | 't' | 'n')) {
                Some(escaped) => out.push(escaped),
                None => out.push('\\'),
            }
        }
    }
    out
}

/// What `Define` and the environment of the server say.
#[derive(Default)]
struct Variables(HashMap<String, String>);

impl Variables {
    fn define(&mut self, name: String, value: String) {
        self.0.insert(name, value);
    }

    fn undefine(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// `text` with each `${NAME}` that is known replaced.
    fn put_into(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            rest = after;
            let known = braced(after).and_then(|(name, rest)| Some((self.0.get(name)?, rest)));
            match known.filter(|(value, _)| out.len() + value.len() <= MAX_LINE) {
                Some((value, after)) => {
                    out.push_str(value);
                    rest = after;
                }
                None => out.push_str("${"),
            }
        }
        out.push_str(rest);
        out
    }

    /// Whether what stands in a section counts. Modules are taken to be there; what cannot be told
    /// counts, as a format that a log is not in does no harm.
    fn admit(&self, section: &str, condition: &str) -> bool {
        match (section, condition.strip_prefix('!')) {
            ("ifdefine", Some(name)) => !self.0.contains_key(name),
            ("ifdefine", None) => self.0.contains_key(condition),
            ("ifmodule", negated) => negated.is_none(),
            // Its text has parameters; what uses it is not looked at.
            ("macro", _) => false,
            _ => true,
        }
    }

    /// Takes up the assignments of a shell script, such as Debian's `envvars`. What cannot be told
    /// is empty.
    fn read_shell(&mut self, text: &str) {
        for line in text.lines() {
            let line = line.trim();
            let Some((name, value)) = line.strip_prefix("export ").unwrap_or(line).split_once('=') else { continue };
            if name.is_empty() || !name.bytes().all(is_name) {
                continue;
            }
            let value = self.shell_value(value.trim().trim_matches(['"', '\'']));
            self.define(name.to_owned(), value);
        }
    }

    fn shell_value(&self, value: &str) -> String {
        let mut out = String::new();
        let mut rest = value;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let plain = || after.split_at(after.bytes().take_while(|byte| is_name(*byte)).count());
            let (name, after) = after.strip_prefix('{').and_then(braced).unwrap_or_else(plain);
            if let Some(value) = self.0.get(name).filter(|value| out.len() + value.len() <= MAX_LINE) {
                out.push_str(value);
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }
}

/// What stands before and after the brace that ends a name.
fn braced(text: &str) -> Option<(&str, &str)> {
    let end = text.find(['}', '$'])?;
    Some((&text[..end], text[end..].strip_prefix('}')?))
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The lines of a file, each as the name of its directive or section in lower case, and the rest.
fn statements(text: &str) -> Vec<Statement> {
    let mut statements = vec![];
    let mut lines = text.lines().zip(1..);
    while let Some((first, line)) = lines.next() {
        let mut whole = String::new();
        let mut part = first;
        while let Some(continued) = part.strip_suffix('\\') {
            whole.push_str(continued);
            part = lines.next().map_or("", |(next, _)| next);
        }
        whole.push_str(part);
        let text = whole.trim_matches(|char: char| char.is_ascii_whitespace() || char == '\u{feff}');
        let (kind, text) = match text.strip_prefix('<') {
            _ if text.is_empty() || text.starts_with('#') => continue,
            None => (StatementKind::Directive, text),
            Some(section) => {
                let section = section.strip_suffix('>').unwrap_or(section);
                match section.strip_prefix('/') {
                    Some(name) => (StatementKind::Closes, name),
                    None => (StatementKind::Opens, section),
                }
            }
        };
        let (name, arguments) = text.split_once(|char: char| char.is_ascii_whitespace()).unwrap_or((text, ""));
        let words = vec![name.to_ascii_lowercase(), arguments.trim().to_owned()];
        statements.push(Statement { line, words, kind });
    }
    statements
}

/// The words of a directive. Only what quotes need is escaped.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![];
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(char::is_ascii_whitespace).is_some() {}
        let Some(first) = chars.peek() else { return words };
        let quote = Some(*first).filter(|first| matches!(first, '"' | '\''));
        if quote.is_some() {
            chars.next();
        }
        let mut word = String::new();
        while let Some(char) = chars.next_if(|char| quote.is_some() || !char.is_ascii_whitespace()) {
            match char {
                '\\' => word.push(chars.next_if(|next| *next == '\\' || Some(*next) == quote).unwrap_or('\\')),
                end if Some(end) == quote => break,
                other => word.push(other),
            }
        }
        words.push(word);
    }
}
