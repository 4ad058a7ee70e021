use std::collections::HashMap;
use std::net::IpAddr;

use super::{Ailment, Level, ailment};
use crate::event::Timestamp;

/// One source, and what is there.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    /// As configured.
    pub pattern: String,
    /// Nobody configured it: it is where logs usually are.
    pub is_usual: bool,
    /// It is no file.
    pub is_stream: bool,
    pub files: Vec<Log>,
}

/// A file, or a directory that keeps us from files.
#[derive(Clone, Debug)]
pub struct Log {
    pub path: String,
    pub tail: Result<Tail, Refused>,
}

/// Why a file cannot be read.
#[derive(Clone, Debug)]
pub struct Refused {
    pub error: String,
    /// Whose the file is, such as `root:adm`, and its permissions.
    pub owner: String,
    pub mode: u32,
    /// A group whose members may read it.
    pub group: Option<String>,
}

/// What the end of a file says.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    /// Lines that are looked at, and those that are understood.
    pub lines: u32,
    pub parsed: u32,
    pub formats: Vec<String>,
    /// The last line that is not understood, printable.
    pub sample: String,
    /// The latest time that a line tells.
    pub newest: Option<Timestamp>,
    /// When the file was written last.
    pub written: Timestamp,
    /// Lines that name who was before a proxy, though nobody believes it.
    pub forwarded: u32,
    /// Lines by who sent them; without those whose client a trusted proxy named.
    pub peers: HashMap<IpAddr, u32>,
}

/// The share of lines that should be understood, as the daemon has it.
const UNDERSTOOD_PERCENT: u32 = 95;
/// In a shorter file a few odd lines say nothing.
const JUDGED_LINES: u32 = 20;
/// Patterns that are named.
const NAMED: usize = 6;

/// Whether everything is followed and understood.
pub fn logs(sources: &[Followed]) -> Vec<Ailment> {
    if sources.iter().all(|source| source.files.is_empty() && !source.is_stream) {
        let patterns: Vec<&str> = sources.iter().take(NAMED).map(|source| source.pattern.as_str()).collect();
        let advice = "name your logs, each in a [[source]] with its path; it waits for files that are to come";
        return vec![ailment(
            Level::Error,
            "nothing_followed",
            patterns.join(", "),
            "no file is there, so nothing is followed",
            advice,
        )];
    }
    let missing = |source: &&Followed| source.files.is_empty() && !source.is_stream && !source.is_usual;
    let missing = sources.iter().filter(missing).map(|source| {
        let advice = "correct or remove this [[source]], unless the file is to come";
        ailment(Level::Warning, "no_file", &source.pattern, "no such file is there", advice)
    });
    let files = sources.iter().flat_map(|source| &source.files);
    missing.chain(files.filter_map(log)).collect()
}

fn log(log: &Log) -> Option<Ailment> {
    let tail = match &log.tail {
        Ok(tail) => tail,
        Err(refused) => return Some(unreadable(&log.path, refused)),
    };
    let Tail { lines, parsed, .. } = *tail;
    let level = match parsed {
        _ if lines == 0 => return None,
        0 => Level::Error,
        _ if lines >= JUDGED_LINES && parsed * 100 < lines * UNDERSTOOD_PERCENT => Level::Warning,
        _ => return None,
    };
    let formats = if tail.formats.is_empty() { "any known format".into() } else { tail.formats.join(", ") };
    let problem =
        format!("{} of its last {lines} lines are not understood as {formats}: {}", lines - parsed, tail.sample);
    let advice = format!(
        "`palisade parse {}` shows each line; set the source's `format`, a name of `palisade config formats` or the \
         server's own format string",
        log.path
    );
    Some(ailment(level, "log_not_understood", &log.path, problem, advice))
}

fn unreadable(path: &str, refused: &Refused) -> Ailment {
    let Refused { error, owner, mode, group } = refused;
    let problem = format!("cannot be read: {error} ({owner}, mode {mode:03o})");
    let advice = match group {
        Some(group) => format!("add palisade's user to group {group}: usermod -aG {group} palisade; then restart it"),
        None => format!(
            "let palisade's user read it: setfacl -m u:palisade:rX {path}, or in the web server's logrotate \
             configuration `create 0640 root adm`"
        ),
    };
    ailment(Level::Error, "log_unreadable", path, problem, advice)
}

#[cfg(test)]
mod tests {
    use super::super::told;
    use super::*;

    fn source(pattern: &str, tails: Vec<Result<Tail, Refused>>) -> Followed {
        let file = |tail| Log { path: "/l/a.log".into(), tail };
        Followed { pattern: pattern.into(), files: tails.into_iter().map(file).collect(), ..Followed::default() }
    }

    fn tail(lines: u32, parsed: u32) -> Result<Tail, Refused> {
        Ok(Tail { lines, parsed, sample: "junk".into(), ..Tail::default() })
    }

    #[test]
    fn what_is_not_followed_or_not_understood_is_told() {
        let usual = Followed { is_usual: true, ..source("/u", vec![]) };
        let stream = Followed { is_stream: true, ..source("journal:", vec![]) };
        let good = source("/g", vec![tail(100, 100)]);
        for (sources, expected) in [
            (vec![good.clone()], vec![]),
            (vec![good.clone(), usual.clone()], vec![]),
            (vec![stream], vec![]),
            (vec![usual.clone()], vec![(Level::Error, "nothing_followed")]),
            (vec![], vec![(Level::Error, "nothing_followed")]),
            (vec![good.clone(), source("/x", vec![])], vec![(Level::Warning, "no_file")]),
            (vec![source("/g", vec![tail(100, 0)])], vec![(Level::Error, "log_not_understood")]),
            (vec![source("/g", vec![tail(3, 0)])], vec![(Level::Error, "log_not_understood")]),
            (vec![source("/g", vec![tail(100, 94)])], vec![(Level::Warning, "log_not_understood")]),
            (vec![source("/g", vec![tail(100, 95), tail(5, 3), tail(0, 0)])], vec![]),
        ] {
            let found = logs(&sources);
            let found: Vec<_> = found.iter().map(|one| (one.level, one.check)).collect();
            assert_eq!(found, expected, "{sources:?}");
        }
    }

    #[test]
    fn the_group_that_may_read_is_named() {
        let refused = |group: Option<&str>| Refused {
            error: "Permission denied".into(),
            owner: "root:adm".into(),
            mode: 0o640,
            group: group.map(str::to_owned),
        };
        let found = logs(&[source("/g", vec![Err(refused(Some("adm"))), Err(refused(None))])]);
        assert_eq!(told(&found), [(Level::Error, "log_unreadable"); 2]);
        assert!(found[0].advice.contains("usermod -aG adm palisade"), "{found:?}");
        assert!(found[0].problem.contains("root:adm, mode 640"), "{found:?}");
        assert!(found[1].advice.contains("setfacl"), "{found:?}");
    }
}
