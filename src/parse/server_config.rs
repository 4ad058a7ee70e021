//! What the configuration of nginx or Apache says of access logs: where they are, and how their
//! lines are written. Reading files is the caller's; what is given here is text.

mod apache;
mod nginx;
mod walk;

use std::collections::HashSet;
use std::fmt;
use std::rc::Rc;

use super::{Context, Formats, LEARN_LINES, Member};
use crate::event::printable;

/// The configuration files that a pattern names (`*`, `?`, `[…]`, absolute), in the order in which
/// the server reads them.
pub type ReadFiles<'a> = dyn FnMut(&str) -> Vec<File> + 'a;

/// A configuration file.
pub struct File {
    pub path: String,
    /// Its text, or why there is none.
    pub text: Result<String, String>,
}

/// Files that one configuration may consist of, and how deep they may include each other.
pub const MAX_FILES: usize = 4096;
const MAX_DEPTH: usize = 16;

/// Where in a configuration something stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub file: Rc<str>,
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.file, self.line)
    }
}

/// An access log that a server writes.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// Absolute.
    pub path: String,
    /// What [`Formats::named`] takes.
    pub format: String,
    /// Where the format is defined; where the log is named when the format is the server's own.
    pub place: Place,
}

/// What a configuration says of access logs.
#[derive(Debug, Default)]
pub struct ServerConfig {
    pub logs: Vec<AccessLog>,
    /// What is not followed and which files are not read, each with its place and the reason, once.
    pub left_out: Vec<String>,
    told: HashSet<String>,
}

impl ServerConfig {
    /// Reads the main configuration file at `path` and what it includes. One with a block `http` or
    /// `events` is nginx's, any other Apache's.
    pub fn read(path: &str, read: &mut ReadFiles<'_>) -> ServerConfig {
        let mut found = ServerConfig::default();
        for file in read(path) {
            match file.text {
                Err(why) => found.leave_out(&Place { file: file.path.into(), line: 1 }, "the configuration", &why),
                Ok(text) => {
                    let statements = nginx::statements(&text);
                    if statements.iter().any(nginx::is_main_block) {
                        nginx::read(&file.path, statements, read, &mut found);
                    } else {
                        apache::read(&file.path, &text, read, &mut found);
                    }
                }
            }
        }
        found
    }

    /// Says once that `what` is left out.
    fn leave_out(&mut self, place: &Place, what: &str, why: &str) {
        let said = format!("{} is left out: {why}", printable(what.as_bytes(), 200));
        if self.told.insert(said.clone()) {
            self.left_out.push(format!("{place}: {said}"));
        }
    }

    /// Adds the log at `target`, relative to `root`, unless it is no plain file.
    fn add(&mut self, target: &str, root: &str, format: String, format_place: Place, place: &Place) {
        let no_file = ["syslog:", "memory:", "journald:", "stderr", "/dev/", "/proc/"];
        let why = match target {
            "" => "it has no name",
            "off" => "nothing is logged there",
            _ if target.starts_with('|') || target.starts_with("pipe:") => "it goes to a program",
            _ if no_file.iter().any(|start| target.starts_with(start)) => "it is no file",
            _ if target.contains('$') => "its name has variables; name the files in a [[source]]",
            _ => {
                self.logs.push(AccessLog { path: absolute(target, root), format, place: format_place });
                return;
            }
        };
        self.leave_out(place, &format!("the access log {target}"), why);
    }
}

/// `path` as counted from `root`.
fn absolute(path: &str, root: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", root.trim_end_matches('/')) }
}

/// The directory of the file at `path`.
fn directory(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((directory, _)) => directory,
        None => ".",
    }
}

/// Where a server that was built from source is installed: its configuration is in `conf` there.
fn installed_in(config_directory: &str) -> Option<&str> {
    config_directory.strip_suffix("/conf")
}

/// What the handwritten parsers of `access` read; each but CLF also with more fields after it.
#[rustfmt::skip] // One format a line reads best.
const BUILT_IN: &[(&str, &str)] = &[
    ("nginx_main", r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" "$http_x_forwarded_for""#),
    ("nginx_combined", r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent""#),
    ("apache_combined", r#"%h %l %u %t "%r" %>s %b "%{referer}i" "%{user-agent}i""#),
    ("apache_vhost_combined", r#"%v:%p %h %l %u %t "%r" %>s %b "%{referer}i" "%{user-agent}i""#),
    ("apache_common", r#"%h %l %u %t "%r" %>s %b"#),
];

/// Whether what a format adds may name the client behind a proxy, which no built-in format reads.
fn names_client(more: &str) -> bool {
    let more = more.to_ascii_lowercase();
    ["forwarded", "connecting", "client", "real"].iter().any(|word| more.contains(word))
}

/// The name of the built-in format that reads what `format` writes, else `format`: a format that is
/// written by hand reads faster than a compiled one.
fn built_in_or(format: String) -> String {
    // The sizes with and without headers (`%O`, `%B`), and the address with or without its name (`%a`).
    let plain = format.replace("%O", "%b").replace("%B", "%b").replace("%a ", "%h ");
    let plain =
        plain.replace("%{Referer}i", "%{referer}i").replace("%{User-", "%{user-").replace("-Agent}i", "-agent}i");
    let fits = |(name, known): &&(&str, &str)| {
        plain.strip_prefix(known).is_some_and(|more| {
            more.is_empty() || more.starts_with(' ') && *name != "apache_common" && !names_client(more)
        })
    };
    BUILT_IN.iter().find(fits).map_or(format, |(name, _)| (*name).to_owned())
}

impl Formats {
    /// What a file called `path` is written in, of which a server's configuration says that it is
    /// in these formats: those of them that its first lines are in. Other formats are learned from
    /// the head only where most of it is in none of these, as in a file from before the
    /// configuration was changed.
    pub fn or_learn<'a>(&self, path: &str, head: impl Iterator<Item = &'a [u8]>, context: &Context<'_>) -> Formats {
        let lines: Vec<&[u8]> = head.take(LEARN_LINES).collect();
        let reads = |member: &Member, line: &[u8]| member.parse(line, context).is_ok();
        let mut found: Vec<Member> =
            self.0.iter().filter(|member| lines.iter().any(|line| reads(member, line))).cloned().collect();
        let rest: Vec<&[u8]> =
            lines.iter().copied().filter(|line| !found.iter().any(|member| reads(member, line))).collect();
        if found.is_empty() || rest.len() > lines.len() / 2 {
            found.extend(Formats::learn(path, rest.into_iter(), context).0);
        }
        Formats(found)
    }
}

#[cfg(test)]
mod tests;
