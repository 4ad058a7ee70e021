use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::tail::Start;

/// A journal of make-believe: `journalctl` is a script that prints lines of a file, and notes its
/// arguments.
struct FakeJournal {
    dir: TempDir,
}

impl FakeJournal {
    /// `then`: what it does after it has printed everything that was asked for.
    fn new(then: &str) -> FakeJournal {
        let dir = TempDir::new().unwrap();
        let here = dir.path().display();
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> {here}/arguments\nafter=\nfor argument; do case $argument in \
             --after-cursor=*) after=${{argument#--after-cursor=}};; esac; done\n\
             awk -v after=\"$after\" 'BEGIN {{ on = after == \"\" }} on {{ print }} index($0, \"\\\"\" after \"\\\"\") \
             {{ on = 1 }}' {here}/entries\n{then}\n"
        );
        fs::write(dir.path().join("journalctl"), script).unwrap();
        fs::set_permissions(dir.path().join("journalctl"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("entries"), "").unwrap();
        FakeJournal { dir }
    }

    fn write(&self, entries: &str) {
        let mut file = fs::File::options().append(true).open(self.dir.path().join("entries")).unwrap();
        file.write_all(entries.as_bytes()).unwrap();
    }

    fn follow(&self, world: &World, position: Position) {
        let journal =
            Journal { program: self.dir.path().join("journalctl"), unit: Some("ssh.service".into()), position };
        world.runtime.spawn(journal.follow(Arc::clone(&world.buffer), 400));
    }

    fn arguments(&self) -> Vec<String> {
        let said = fs::read_to_string(self.dir.path().join("arguments")).unwrap();
        said.lines().map(ToOwned::to_owned).collect()
    }
}

/// One entry as journalctl prints it. Two each share their microsecond.
fn entry(n: u64, message: &str) -> String {
    let micros = 1_767_616_245_000_000 + n / 2;
    format!(
        "{{\"__CURSOR\":\"s=5f;i={n:x};b=1;m=2;t=3;x=4\",\"__REALTIME_TIMESTAMP\":\"{micros}\",\
         \"__MONOTONIC_TIMESTAMP\":\"2\",\"_BOOT_ID\":\"1\",\"SYSLOG_IDENTIFIER\":\"sshd\",\"_COMM\":\"sshd\",\
         \"MESSAGE\":{message}}}\n"
    )
}

/// The message of a line that was handed on.
fn message_of(line: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!((value["SYSLOG_IDENTIFIER"].as_str(), value["__CURSOR"].as_str()), (Some("sshd"), None));
    value["MESSAGE"].as_str().unwrap().to_owned()
}

#[test]
fn entries_come_whole_whatever_their_text_is() {
    let journal = FakeJournal::new("exec sleep 100");
    journal.write("-- Logs begin at Mon 2026-01-05 12:30:45 UTC. --\n");
    for (n, message) in [
        "\"plain\"",
        "\"two\\nlines \\\"quoted\\\"\"",
        // Not UTF-8, and a control character.
        "[97,255,27,98]",
        "[\"first of two\",\"second\"]",
        "[[97,7],\"second\"]",
        "null",
        &format!("\"{}\"", "é\\n\\u0001\\\"".repeat(300)),
        &format!("\"{}\"", "x".repeat(60_000)),
        "\"end\"",
    ]
    .iter()
    .enumerate()
    {
        journal.write(&entry(n as u64, message));
    }
    let mut world = World::new(&bounds());
    journal.follow(&world, Position::Since(0));
    let lines = world.lines(8);
    let messages: Vec<String> = lines.iter().map(|line| message_of(line)).collect();
    let first = ["plain", "two\nlines \"quoted\"", "a\u{fffd}\u{1b}b", "first of two", "a\u{7}", ""];
    assert_eq!(messages[..6], first);
    assert!((390..=400).contains(&lines[6].len()), "{}", lines[6]);
    assert!("é\n\u{1}\"".repeat(300).starts_with(&messages[6]), "{}", lines[6]);
    assert_eq!(messages[7], "end", "what is far too long is passed over");
    let mut offsets: Vec<u64> = world.got.iter().map(|(offset, _)| *offset).collect();
    assert!(offsets.is_sorted(), "{offsets:?}");
    offsets.dedup();
    assert_eq!(offsets.len(), 8, "each entry has its own, also in one microsecond");
    assert_eq!(world.position, Some(Position::After("s=5f;i=8;b=1;m=2;t=3;x=4".into())));
}

#[test]
fn a_journal_that_ends_and_a_daemon_that_crashes_lose_and_repeat_nothing() {
    // It ends by itself again and again, mid-way.
    let journal = FakeJournal::new("exit 3");
    let mut world = World::new(&bounds());
    journal.follow(&world, Position::Since(1_767_616_245));
    let mut all: BTreeMap<u64, String> = BTreeMap::new();
    let text = |from: u64, to: u64| (from..to).map(|n| entry(n, &format!("\"message {n}\""))).collect::<String>();
    journal.write(&text(0, 10));
    world.lines(10);
    world.until(|world| world.error().starts_with("journalctl ended (exit status: 3); it is tried again in"));
    journal.write(&text(10, 20));
    let lines = world.lines(20);
    let expected: Vec<String> = (0..20).map(|n| format!("message {n}")).collect();
    assert_eq!(lines.iter().map(|line| message_of(line)).collect::<Vec<_>>(), expected);
    all.extend(world.got.iter().cloned());
    assert_eq!(all.len(), 20);
    let said = journal.arguments();
    assert!(said[0].contains("--follow --no-tail --no-pager --output=json"), "{said:?}");
    assert!(said[0].contains("--all") && said[0].ends_with("--unit=ssh.service --since=@1767616245"), "{said:?}");
    assert!(said.iter().any(|line| line.ends_with("--after-cursor=s=5f;i=9;b=1;m=2;t=3;x=4")), "{said:?}");

    // The next daemon knows of the twelfth entry: the others have the same places as before.
    journal.write(&text(20, 30));
    let mut next = World::new(&bounds());
    let position = Position::After("s=5f;i=b;b=1;m=2;t=3;x=4".into());
    journal.follow(&next, Position::parse(&position.to_string()));
    next.lines(18);
    for (offset, line) in &next.got {
        let before = all.insert(*offset, line.clone());
        assert!(before.is_none_or(|before| before == *line));
    }
    assert_eq!(all.len(), 30);
    assert_eq!(all.values().map(|line| message_of(line)).collect::<Vec<_>>()[29], "message 29");
}

#[test]
fn a_journal_that_is_not_there_or_complains_is_told_of() {
    let mut world = World::new(&bounds());
    let journal = Journal { program: "/nowhere/journalctl".into(), unit: None, position: Position::Since(0) };
    world.runtime.spawn(journal.follow(Arc::clone(&world.buffer), 400));
    world.until(|world| world.error().starts_with("journalctl is not there; install"));

    let journal = FakeJournal::new("echo 'Hint: you see your own messages alone.' >&2; exec sleep 100");
    let mut world = World::new(&bounds());
    journal.follow(&world, Position::Since(0));
    world.until(|world| world.error() == "journalctl complains: Hint: you see your own messages alone.");
}

#[test]
fn positions_are_written_and_read() {
    for position in [Position::Since(0), Position::Since(1_767_616_245), Position::After("s=1;i=2".into())] {
        assert_eq!(Position::parse(&position.to_string()), position);
    }
    assert_eq!(Position::first(Start::Beginning), Position::Since(0));
    let now = Position::first(Start::End);
    assert!(now > Position::Since(1_767_616_245));
    assert!((Position::Since(1_767_616_245)..now).contains(&Position::first(Start::Ago(3600))));
}
