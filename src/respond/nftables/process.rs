//! Runs nft: one long-lived interactive child for what is small and urgent or asked every second (no
//! fork a ban), a child of its own for what is large.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::script::{BlockSet, CHAIN, SET_SIZE, TABLE};
use crate::event::Outcome;
use crate::respond::{Dropped, RespondError, child};

/// Longest script that the interactive child is given, in bytes: about 150 bans. It takes a
/// larger one four times as slowly as `nft -f` (its line editor reads byte by byte), and up to
/// here a pipe takes the whole script at once.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// Scripts that one interactive child is given. nft walks through its history of all lines at
/// every line: 0.3 ms a ban at first, 1.6 ms after 12,000 (nft 1.0.6), and memory grows.
const MAX_SCRIPTS: u32 = 250;

/// For one short script.
const DEADLINE: Duration = Duration::from_secs(5);

/// The one user of nft's command line.
pub(super) struct Nft {
    /// The program and its first arguments.
    command: Vec<String>,
    session: Option<Session>,
}

impl Nft {
    pub(super) fn new(command: Vec<String>) -> Nft {
        Nft { command, session: None }
    }

    /// Carries out `script`, one line of commands, as one transaction. An empty one is fine.
    ///
    /// Dropping the future kills the child that is at work.
    pub(super) async fn run(&mut self, script: &str) -> Result<(), RespondError> {
        if script.is_empty() {
            return Ok(());
        }
        if script.len() > MAX_LINE_BYTES {
            return self.once(&["-f", "-"], script).await.map(drop);
        }
        self.insist(script, Answer::None).await.map(drop)
    }

    /// Our table: what it is made of, without what its sets hold. Costs the same with 100,000 targets in
    /// them, about 0.6 ms; `list table` and `list chain` read them all even with `-t` (0.6 s, nft 1.0.6).
    pub(super) async fn table(&mut self) -> Result<Table, RespondError> {
        let json = self.insist("list ruleset inet", Answer::Line).await?;
        self.read(&json)
    }

    /// Our table with what its sets hold.
    pub(super) async fn list(&mut self) -> Result<Table, RespondError> {
        let json = self.once(&["-j", "list", "table", "inet", TABLE], "").await?;
        self.read(&json)
    }

    fn read(&self, json: &[u8]) -> Result<Table, RespondError> {
        listing(json).map_err(|error| RespondError::Rejected {
            program: self.program(),
            message: format!("its listing cannot be read: {error}"),
        })
    }

    /// Once more with a new child if the old one had died since the last call: that is no failure of this
    /// one, and scripts may be carried out twice.
    async fn insist(&mut self, script: &str, answer: Answer) -> Result<Vec<u8>, RespondError> {
        let kept = self.session.is_some();
        match self.exchange(script, answer).await {
            Err(RespondError::Died { reason, .. }) if kept => {
                tracing::warn!(%reason, "nft ended and is started again");
                self.exchange(script, answer).await
            }
            answer => answer,
        }
    }

    async fn exchange(&mut self, script: &str, answer: Answer) -> Result<Vec<u8>, RespondError> {
        // Taken out for the while: a child whose answer was not read to its end is not used again.
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.open()?,
        };
        let said = match timeout(DEADLINE, session.transact(script, answer)).await {
            Ok(said) => said,
            Err(_) => return Err(RespondError::TimedOut { program: self.program(), secs: DEADLINE.as_secs() }),
        };
        let said = said.map_err(|reason| RespondError::Died { program: self.program(), reason })?;
        // The successor starts up while nobody waits for it. If it cannot, the next call says so.
        self.session = if session.scripts < MAX_SCRIPTS { Some(session) } else { self.open().ok() };
        said.map_err(|complaints| self.refusal(&complaints))
    }

    /// Runs nft once; gives what it printed.
    async fn once(&self, arguments: &[&str], input: &str) -> Result<Vec<u8>, RespondError> {
        let command: Vec<&str> = self.command.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
        child::run(&command, input).await?.map_err(|complaints| self.refusal(&complaints))
    }

    fn open(&self) -> Result<Session, RespondError> {
        let command = self.command.iter().map(String::as_str).chain(["-j", "-t", "-i"]);
        let mut child = child::spawn(command, Stdio::piped())?;
        match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => {
                let (stdout, stderr) = (BufReader::new(stdout), BufReader::new(stderr));
                Ok(Session { child, stdin, stdout, stderr, scripts: 0 })
            }
            _ => Err(RespondError::Died { program: self.program(), reason: "it has no pipes".into() }),
        }
    }

    fn program(&self) -> String {
        self.command.join(" ")
    }

    /// What nft's complaints mean to us.
    fn refusal(&self, complaints: &str) -> RespondError {
        let program = self.program();
        let says = |text: &str| complaints.contains(text);
        match () {
            () if says("Operation not permitted") => RespondError::NotPermitted { program },
            () if says("Too many open files in system") => RespondError::Full { limit: SET_SIZE },
            // Scripts name nothing that they have not made sure of, but for the table itself.
            () if says("No such file or directory") => RespondError::Lost,
            () => {
                let line = complaints.lines().find(|line| is_complaint(line)).or(complaints.lines().next());
                RespondError::Rejected { program, message: line.unwrap_or("no reason given").trim().into() }
            }
        }
    }
}

/// What nft prints when it has carried out a script.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    None,
    Line,
}

/// One interactive nft. It answers in JSON, and lists sets without what they hold.
struct Session {
    /// Before its pipes, because it is dropped first: nft must be dead when its input ends.
    #[allow(dead_code, reason = "kept for its drop, which kills nft")]
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    /// Scripts sent so far.
    scripts: u32,
}

impl Session {
    /// Sends `script` and waits until it was carried out; gives nft's answer, or its complaints.
    ///
    /// nft says nothing of success, and its two output streams have no common order. So a line
    /// follows that it cannot understand: its complaint about that one comes on stderr after all
    /// complaints about the script, and a script's transaction is over before the next line is read.
    async fn transact(&mut self, script: &str, answer: Answer) -> Result<Result<Vec<u8>, String>, String> {
        self.scripts += 1;
        let fence = format!("palisade_{}", self.scripts);
        let lines = format!("{script}\n{fence}\n");
        let write = async {
            self.stdin.write_all(lines.as_bytes()).await?;
            self.stdin.flush().await
        };
        let (stdout, stderr) = (&mut self.stdout, &mut self.stderr);
        let complain = async {
            let mut said = String::new();
            let mut line = Vec::new();
            loop {
                line.clear();
                if stderr.read_until(b'\n', &mut line).await? == 0 {
                    let last = said.lines().last().unwrap_or("its output ended").to_string();
                    return Err(std::io::Error::other(last));
                }
                let text = String::from_utf8_lossy(&line);
                if text.trim_end() == fence {
                    break;
                }
                said.push_str(&text);
            }
            // The last complaint is about the fence. What else nft repeats of the script, and its
            // underlining, says nothing.
            let mut complaints: Vec<&str> = said.lines().filter(|line| is_complaint(line)).collect();
            complaints.pop();
            Ok(complaints.join("\n"))
        };
        let mut printed = Vec::new();
        let print = async {
            match answer {
                Answer::None => Ok(0),
                Answer::Line => stdout.read_until(b'\n', &mut printed).await,
            }
        };
        let read = async {
            tokio::pin!(complain, print);
            let mut has_printed = false;
            let complaints = loop {
                tokio::select! {
                    complaints = &mut complain => break complaints?,
                    done = &mut print, if !has_printed => { done?; has_printed = true; }
                }
            };
            // Who complains prints nothing.
            if complaints.is_empty() && !has_printed {
                print.await?;
            }
            Ok::<_, std::io::Error>(complaints)
        };
        // All at once: a complaint repeats the script, and pipes are short.
        let (read, write) = tokio::join!(read, write);
        let complaints = read.map_err(|error| error.to_string())?;
        write.map_err(|error| error.to_string())?;
        Ok(if complaints.is_empty() { Ok(printed) } else { Err(complaints) })
    }
}

/// nft's messages read `Error: …` or `netlink: Error: …`; our scripts never do.
fn is_complaint(line: &str) -> bool {
    line.contains("Error: ")
}

/// Our table, as nft lists it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Table {
    /// With what they hold, where that was asked.
    pub sets: BTreeMap<BlockSet, Vec<Outcome>>,
    /// Rules in our chain.
    pub rules: usize,
    pub dropped: Dropped,
}

fn listing(json: &[u8]) -> Result<Table, serde_json::Error> {
    let listing: Listing = serde_json::from_slice(json)?;
    let mut table = Table::default();
    for Object { set, rule, counter } in listing.nftables {
        if let Some(set) = set.filter(|set| set.table == TABLE)
            && let Some(block_set) = BlockSet::named(&set.name)
        {
            let held = set.elem.into_iter().filter_map(|element| match element {
                Element::Timed { elem } => {
                    Some(Outcome { target: block_set.target(elem.val)?, remaining_secs: elem.expires })
                }
                Element::Other(_) => None,
            });
            table.sets.insert(block_set, held.collect());
        }
        if rule.is_some_and(|rule| rule.table == TABLE && rule.chain == CHAIN) {
            table.rules += 1;
        }
        if let Some(counter) = counter.filter(|counter| counter.table == TABLE) {
            table.dropped.packets += counter.packets;
            table.dropped.bytes += counter.bytes;
        }
    }
    Ok(table)
}

/// What `nft -j list` prints, as far as we read it.
#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Object>,
}

/// One of these, or something else.
#[derive(Deserialize)]
struct Object {
    set: Option<Set>,
    rule: Option<Rule>,
    counter: Option<Counter>,
}

#[derive(Deserialize)]
struct Rule {
    table: String,
    chain: String,
}

#[derive(Deserialize)]
struct Counter {
    table: String,
    packets: u64,
    bytes: u64,
}

#[derive(Deserialize)]
struct Set {
    table: String,
    name: String,
    #[serde(default)]
    elem: Vec<Element>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Element {
    Timed {
        elem: Timed,
    },
    /// An element of an allow set.
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Timed {
    val: IpAddr,
    /// Seconds.
    expires: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_gives_targets_and_the_seconds_they_have_left() {
        // As printed by nft 1.0.6.
        let json = br#"{"nftables": [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
            {"table": {"family": "inet", "name": "palisade", "handle": 16}},
            {"set": {"family": "inet", "name": "net4_24", "table": "palisade", "type": "ipv4_addr", "handle": 1,
             "size": 131072, "flags": ["timeout"],
             "elem": [{"elem": {"val": "198.51.100.0", "timeout": 315360, "expires": 315359}}]}},
            {"set": {"family": "inet", "name": "block6", "table": "palisade", "type": "ipv6_addr", "handle": 3}},
            {"set": {"family": "inet", "name": "block4", "table": "other", "type": "ipv4_addr", "handle": 3}},
            {"set": {"family": "inet", "name": "allow4", "table": "palisade", "type": "ipv4_addr", "handle": 2,
             "flags": ["interval"], "elem": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, "192.0.2.1"]}},
            {"counter": {"family": "inet", "name": "dropped4", "table": "palisade", "handle": 4, "packets": 5, "bytes": 300}},
            {"counter": {"family": "inet", "name": "dropped4", "table": "other", "handle": 1, "packets": 9, "bytes": 9}},
            {"rule": {"family": "inet", "table": "palisade", "chain": "gate", "handle": 9, "expr": [{"drop": null}]}},
            {"rule": {"family": "inet", "table": "other", "chain": "gate", "handle": 9, "expr": [{"drop": null}]}}]}"#;
        let held = Outcome { target: "198.51.100.0/24".parse().unwrap(), remaining_secs: 315_359 };
        let table = Table {
            sets: [(BlockSet::V4(24), vec![held]), (BlockSet::V6(64), vec![])].into(),
            rules: 1,
            dropped: Dropped { packets: 5, bytes: 300 },
        };
        assert_eq!(listing(json).unwrap(), table);
    }

    #[test]
    fn complaints_of_nft_become_errors_that_name_the_way_out() {
        let nft = Nft::new(vec!["/usr/sbin/nft".into()]);
        for (complaint, expected) in [
            (
                "netlink: Error: cache initialization failed: Operation not permitted",
                "`/usr/sbin/nft` may not change the firewall: run as root or with CAP_NET_ADMIN \
                 (systemd: AmbientCapabilities=CAP_NET_ADMIN), or set mode = \"dry_run\"",
            ),
            (
                "/dev/stdin:1:1-17: Error: Could not process rule: Operation not supported\nadd table\n^^^",
                "`/usr/sbin/nft` refused: /dev/stdin:1:1-17: Error: Could not process rule: Operation not supported",
            ),
            (
                "Error: Could not process rule: Too many open files in system",
                "a firewall set is full (131072 targets): lift bans, shorten them, or ban networks instead of addresses",
            ),
        ] {
            let error = nft.refusal(complaint);
            assert_eq!(error.to_string(), expected);
        }
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = Nft::new(vec!["/nonexistent/nft".into()]).run("add table inet palisade; ").await.unwrap_err();
        assert!(error.to_string().contains("`/nonexistent/nft` is not installed"), "{error}");
    }

    #[tokio::test]
    async fn a_program_that_ends_at_once_is_reported_with_its_last_words() {
        let shell = |script: &str| Nft::new(vec!["sh".into(), "-c".into(), script.into()]);
        let error = shell("read line; echo 'no such namespace' >&2; exit 1").run("x; ").await.unwrap_err();
        assert!(matches!(&error, RespondError::Died { reason, .. } if reason.contains("no such namespace")), "{error}");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_given_up_and_killed() {
        let pid_file = tempfile::NamedTempFile::new().unwrap();
        let script = format!("echo $$ > {}; exec sleep 600", pid_file.path().display());
        let mut nft = Nft::new(vec!["sh".into(), "-c".into(), script]);
        let error = nft.run("x; ").await.unwrap_err();
        assert!(matches!(error, RespondError::TimedOut { secs: 5, .. }), "{error}");
        let pid = std::fs::read_to_string(pid_file.path()).unwrap();
        let status = format!("/proc/{}/status", pid.trim());
        let deadline = std::time::Instant::now() + DEADLINE;
        // Gone, or killed and not yet reaped.
        while std::fs::read_to_string(&status).is_ok_and(|status| !status.contains("State:\tZ")) {
            assert!(std::time::Instant::now() < deadline, "it still runs");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
