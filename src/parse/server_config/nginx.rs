use std::collections::HashMap;
use std::iter::Peekable;
use std::str::Chars;

use super::walk::{Statement, StatementKind, Walk};
use super::{Place, ReadFiles, ServerConfig, absolute, built_in_or, directory, installed_in};

/// Whether nothing but a main configuration of nginx has this statement.
pub fn is_main_block(statement: &Statement) -> bool {
    statement.kind == StatementKind::Opens && matches!(&*statement.words, [name] if name == "http" || name == "events")
}

/// A `log_format`: its string, or why it cannot be read; and where it stands.
type Definition = (Result<String, &'static str>, Place);

/// Adds the logs of the configuration at `path` that begins with `first`.
pub fn read(path: &str, first: Vec<Statement>, read: &mut ReadFiles<'_>, found: &mut ServerConfig) {
    let home = directory(path);
    // Packages are built with another prefix than the directory of their configuration, but log
    // under absolute paths.
    let (prefix, default_log) = match installed_in(home) {
        Some(prefix) => (prefix, "logs/access.log"),
        None => (home, "/var/log/nginx/access.log"),
    };
    let mut walk: Walk<String> = Walk::new(path, first, statements);
    let mut formats: HashMap<String, Definition> = HashMap::new();
    let (mut http, mut names_a_log) = (None, false);
    while let Some((statement, place)) = walk.next() {
        let mut words = statement.words.into_iter();
        match statement.kind {
            StatementKind::Opens => {
                let name = words.next().unwrap_or_default();
                if walk.blocks.is_empty() && name == "http" {
                    http = Some(place);
                }
                walk.blocks.push(name);
                continue;
            }
            StatementKind::Closes => {
                walk.blocks.pop();
                continue;
            }
            StatementKind::Directive => {}
        }
        let in_http = walk.blocks.first().is_some_and(|block| block == "http");
        match (words.next().as_deref(), words.next()) {
            (Some("include"), Some(pattern)) => walk.include(&absolute(&pattern, home), &place, read, found),
            (Some("log_format"), Some(name)) if in_http => {
                formats.insert(name, (log_format(words), place));
            }
            (Some("access_log"), Some(target)) if in_http => {
                names_a_log |= walk.blocks.len() == 1;
                let name = words.next().unwrap_or_else(|| "combined".to_owned());
                if words.any(|word| word == "gzip" || word.starts_with("gzip=")) {
                    found.leave_out(&place, &format!("the access log {target}"), "it is written compressed");
                    continue;
                }
                let (format, format_place) = match formats.get(&name) {
                    None if name == "combined" => ("nginx_combined".to_owned(), place.clone()),
                    Some((Ok(format), at)) => (format.clone(), at.clone()),
                    Some((Err(why), at)) => {
                        found.leave_out(at, &format!("the log format {name}"), why);
                        continue;
                    }
                    None => {
                        found.leave_out(&place, &format!("the access log {target}"), "its format is not defined");
                        continue;
                    }
                };
                found.add(&target, prefix, format, format_place, &place);
            }
            _ => {}
        }
    }
    if let Some(place) = http.filter(|_| !names_a_log) {
        found.add(default_log, prefix, "nginx_combined".to_owned(), place.clone(), &place);
    }
}

/// The format that the words after a `log_format`'s name make, in the dialect of `template`.
fn log_format(words: impl Iterator<Item = String>) -> Result<String, &'static str> {
    let mut format = String::new();
    for (at, word) in words.enumerate() {
        match word.strip_prefix("escape=") {
            Some("none") if at == 0 => return Err("with escape=none clients can write quotes, and so any line"),
            Some(_) if at == 0 => {}
            // The server took its own backslashes away, the dialect has them.
            _ => format.push_str(&word.replace('\\', r"\\")),
        }
    }
    Ok(built_in_or(format))
}

/// The statements of a file. Quotes and backslashes are undone.
pub fn statements(text: &str) -> Vec<Statement> {
    let mut text = Text { chars: text.chars().peekable(), line: 1 };
    let mut statements = vec![];
    let mut words: Vec<String> = vec![];
    let mut line = 1;
    while let Some(char) = text.next() {
        if words.is_empty() {
            line = text.line;
        }
        let kind = match char {
            ';' => StatementKind::Directive,
            '{' => StatementKind::Opens,
            '}' => StatementKind::Closes,
            '#' => {
                text.skip_line();
                continue;
            }
            '"' | '\'' => {
                words.push(text.quoted(char));
                continue;
            }
            blank if blank.is_ascii_whitespace() || blank == '\u{feff}' => continue,
            first => {
                words.push(text.word(first));
                continue;
            }
        };
        if kind == StatementKind::Opens && words.first().is_some_and(|word| word.ends_with("_by_lua_block")) {
            text.skip_lua();
            words.clear();
            continue;
        }
        statements.push(Statement { line, words: std::mem::take(&mut words), kind });
    }
    statements
}

struct Text<'a> {
    chars: Peekable<Chars<'a>>,
    /// Of the last character, from 1.
    line: u32,
}

impl Text<'_> {
    fn next(&mut self) -> Option<char> {
        let char = self.chars.next();
        self.line += u32::from(char == Some('\n'));
        char
    }

    fn skip_line(&mut self) {
        while self.chars.peek().is_some_and(|char| *char != '\n') {
            self.chars.next();
        }
    }

    /// What follows an opening `quote`, up to its end.
    fn quoted(&mut self, quote: char) -> String {
        let mut word = String::new();
        while let Some(char) = self.next() {
            match char {
                '\\' => self.escaped(&mut word),
                end if end == quote => break,
                other => word.push(other),
            }
        }
        word
    }

    /// The word that begins with `first`. A brace after a `$` belongs to it.
    fn word(&mut self, first: char) -> String {
        let mut word = String::new();
        if first == '\\' {
            self.escaped(&mut word)
        } else {
            word.push(first)
        }
        while let Some(&char) = self.chars.peek() {
            if char.is_ascii_whitespace() || char == ';' || char == '{' && !word.ends_with('$') {
                break;
            }
            self.next();
            if char == '\\' { self.escaped(&mut word) } else { word.push(char) }
        }
        word
    }

    /// What a backslash and the next character are.
    fn escaped(&mut self, word: &mut String) {
        match self.next() {
            Some(quote @ ('"' | '\'' | '\\')) => word.push(quote),
            Some('t') => word.push('\t'),
            Some('r') => word.push('\r'),
            Some('n') => word.push('\n'),
            other => {
                word.push('\\');
                word.extend(other);
            }
        }
    }

    /// Passes over a block of Lua, whose strings and comments may hold braces.
    fn skip_lua(&mut self) {
        let mut depth = 1;
        while let Some(char) = self.next() {
            match char {
                '{' => depth += 1,
                '}' => depth -= 1,
                '"' | '\'' => drop(self.quoted(char)),
                '[' => drop(self.skip_long_bracket()),
                '-' if self.chars.next_if_eq(&'-').is_some() => self.skip_lua_comment(),
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn skip_lua_comment(&mut self) {
        if self.chars.next_if_eq(&'[').is_none() || !self.skip_long_bracket() {
            self.skip_line();
        }
    }

    /// Passes over what follows the first bracket of `[[ … ]]`, if that is what it begins.
    fn skip_long_bracket(&mut self) -> bool {
        if self.chars.next_if_eq(&'[').is_none() {
            return false;
        }
        while let Some(char) = self.next() {
            if char == ']' && self.chars.next_if_eq(&']').is_some() {
                break;
            }
        }
        true
    }
}
