use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::event::FileMark;

mod model;
mod rotation;
mod start;

/// A directory of logs, a tailer on it, and what the tailer handed out.
struct World {
    dir: TempDir,
    sources: Vec<SourceConfig>,
    limits: Limits,
    tailer: Option<Tailer>,
    got: Got,
}

/// Everything handed out so far, and the marks as a caller would store them.
#[derive(Default)]
struct Got {
    lines: Vec<String>,
    cut: Vec<u64>,
    /// By generation and offset, to compare what is handed out again after a crash.
    places: BTreeMap<(u64, u64), Vec<u8>>,
    marks: Vec<FileMark>,
    largest: usize,
}

impl Got {
    fn take(&mut self, chunk: &Chunk<'_>) {
        if let Some(mark) = &chunk.mark {
            assert!(chunk.bytes.is_empty() && mark.generation == chunk.generation && mark.offset == chunk.offset);
            self.marks.push(mark.clone());
            return;
        }
        assert!(self.marks.iter().any(|mark| mark.generation == chunk.generation), "lines before their mark");
        assert!(!chunk.bytes.is_empty());
        self.largest = self.largest.max(chunk.bytes.len());
        let mut offset = chunk.offset;
        for line in chunk.bytes.split_inclusive(|byte| *byte == b'\n') {
            self.lines.push(String::from_utf8_lossy(line).into_owned());
            if let Some(old) = self.places.insert((chunk.generation, offset), line.to_vec()) {
                assert_eq!(old, line, "another line at the same place {offset}");
            }
            offset += line.len() as u64;
        }
        if chunk.tail_cut > 0 {
            self.cut.push(chunk.tail_cut);
        }
    }
}

/// The lines of tests have a time in milliseconds behind an `@`, if any.
fn line_time(_: usize, _: &Path, line: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(line).ok()?;
    Some(Timestamp(text.split_once('@')?.1.split(' ').next()?.parse().ok()?))
}

impl World {
    fn new(patterns: &[&str], start: Start) -> World {
        let dir = TempDir::new().unwrap();
        let source = |pattern: &&str| SourceConfig::new(dir.path().join(pattern).to_str().unwrap(), start);
        let sources = patterns.iter().map(source).collect();
        World { dir, sources, limits: Limits::default(), tailer: None, got: Got::default() }
    }

    /// A world that reads `a.log` from its beginning, and has begun.
    fn following() -> World {
        let mut world = World::new(&["a.log"], Start::Beginning);
        world.write("a.log", "");
        world.start();
        world.drain();
        world
    }

    fn start(&mut self) {
        let marks = self.got.marks.clone();
        self.tailer = Some(Tailer::open(&self.sources, marks, self.limits.clone(), Box::new(line_time)).unwrap());
    }

    fn tailer(&mut self) -> &mut Tailer {
        self.tailer.as_mut().unwrap()
    }

    /// Ends the tailer without a last word. What was handed out since `commit` counts as forgotten.
    fn crash(&mut self) {
        self.tailer = None;
    }

    fn commit(&mut self) {
        self.got.marks = self.tailer().marks();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn append(&self, name: &str) -> File {
        OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        self.append(name).write_all(text.as_ref()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// As rotations lie hours apart, so do the times of files rotated in a test.
    fn set_age(&self, name: &str, hours: u64) {
        let time = SystemTime::now() - Duration::from_secs(3600 * hours);
        File::options().append(true).open(self.path(name)).unwrap().set_modified(time).unwrap();
    }

    /// Looks at the names now and reads until nothing is left; gives the lines that came.
    fn drain(&mut self) -> Vec<String> {
        let before = self.got.lines.len();
        let tailer = self.tailer.as_mut().unwrap();
        let got = &mut self.got;
        tailer.scan();
        while tailer.read(&mut |chunk| got.take(&chunk)) == More::Yes {}
        tailer.scan();
        tailer.finish(&mut |chunk| got.take(&chunk));
        self.got.lines[before..].to_vec()
    }

    /// Waits and reads as the daemon does, until `lines` came.
    fn follow(&mut self, lines: usize) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.got.lines.len() < lines {
            assert!(Instant::now() < deadline, "{} of {lines} lines came", self.got.lines.len());
            let tailer = self.tailer.as_mut().unwrap();
            let got = &mut self.got;
            if tailer.read(&mut |chunk| got.take(&chunk)) == More::No {
                tailer.wait(Duration::from_secs(1));
            }
        }
    }

    fn error(&mut self) -> String {
        self.drain();
        self.tailer().statuses().into_iter().filter_map(|status| status.error).collect::<Vec<_>>().join("; ")
    }
}

#[test]
fn appended_lines_come_whole_and_once() {
    let mut world = World::following();
    world.write("a.log", "one\ntwo\nthr");
    assert_eq!(world.drain(), ["one\n", "two\n"]);
    assert_eq!(world.tailer().statuses()[0].behind_bytes, 3);
    assert!(world.drain().is_empty());
    world.write("a.log", "ee\n\n");
    assert_eq!(world.drain(), ["three\n", "\n"]);
    assert_eq!(world.tailer().gaps(), 0);
}

#[test]
fn a_write_split_at_any_byte_breaks_no_line() {
    let text = "alpha\nbeta\n\ngamma delta\n";
    for at in 0..=text.len() {
        let mut world = World::following();
        world.write("a.log", &text[..at]);
        world.drain();
        world.write("a.log", &text[at..]);
        world.drain();
        assert_eq!(world.got.lines, ["alpha\n", "beta\n", "\n", "gamma delta\n"], "split at {at}");
    }
}

#[test]
fn a_renamed_file_is_read_on_while_its_writer_is_late() {
    let mut world = World::following();
    let mut late = world.append("a.log");
    world.write("a.log", "one\n");
    world.drain();
    world.write("a.log", "two\nthr");
    world.rename("a.log", "a.log.1");
    world.write("a.log", "five\n");
    assert_eq!(world.drain(), ["two\n", "five\n"]);
    late.write_all(b"ee\nfour\n").unwrap();
    world.write("a.log", "six\n");
    assert_eq!(world.drain(), ["three\n", "four\n", "six\n"]);
    assert_eq!(world.tailer().marks().len(), 2);
}

#[test]
fn after_the_grace_time_a_rotated_file_is_finished_and_forgotten() {
    let mut world = World::following();
    world.limits.grace = Duration::from_millis(50);
    world.start();
    world.write("a.log", "one\nlast words");
    world.drain();
    world.rename("a.log", "a.log.1");
    assert!(world.drain().is_empty());
    world.follow(2);
    assert_eq!(world.got.lines, ["one\n", "last words"]);
    assert_eq!(world.tailer().marks().iter().map(|mark| mark.inode).collect::<Vec<_>>(), [0]);
    // What comes in its place is read whole, now or after a restart.
    world.commit();
    world.write("a.log", "new\n");
    assert_eq!(world.drain(), ["new\n"]);
    world.sources[0].start = Start::End;
    world.start();
    assert_eq!(world.drain(), ["new\n"]);
    assert_eq!(world.tailer().gaps(), 0);
}

#[test]
fn a_deleted_file_is_read_to_its_end() {
    let mut world = World::following();
    world.limits.grace = Duration::ZERO;
    world.start();
    world.write("a.log", "one\ntwo\n");
    fs::remove_file(world.path("a.log")).unwrap();
    assert_eq!(world.drain(), ["one\n", "two\n"]);
    assert_eq!(world.tailer().gaps(), 0);
    assert!(world.error().contains("a.log does not exist yet"));
    world.write("a.log", "three\n");
    assert_eq!(world.drain(), ["three\n"]);
}

#[test]
fn a_truncated_file_begins_anew() {
    let mut world = World::following();
    world.write("a.log", "one\ntwo\n");
    world.drain();
    let before = world.tailer().marks()[0].generation;
    File::create(world.path("a.log")).unwrap();
    world.write("a.log", "3\n");
    assert_eq!(world.drain(), ["3\n"]);
    assert_ne!(world.tailer().marks()[0].generation, before);
    assert_eq!(world.tailer().gaps(), 0, "all of it had been read");

    world.write("a.log", "unfinished");
    world.drain();
    File::create(world.path("a.log")).unwrap();
    world.drain();
    assert_eq!(world.tailer().gaps(), 10);
}

#[test]
fn a_truncated_file_written_longer_at_once_loses_no_head() {
    let mut world = World::following();
    world.write("a.log", "one\ntwo\n");
    world.drain();
    fs::write(world.path("a.log"), "longer than before the truncation\nand one more\n").unwrap();
    assert_eq!(world.drain(), ["longer than before the truncation\n", "and one more\n"]);
    let head = "h".repeat(300);
    fs::write(world.path("a.log"), format!("{head}\nfour\n")).unwrap();
    world.drain();
    fs::write(world.path("a.log"), format!("{head}\nof the same head but shifted\n")).unwrap();
    let lines = world.drain();
    assert_eq!(lines.last().unwrap(), "of the same head but shifted\n", "the line break moved: {lines:?}");
    assert_eq!(lines.len(), 2);
}

#[test]
fn symlinks_are_followed_and_one_file_is_read_once() {
    let mut world = World::new(&["link.log", "*.log", "real.txt"], Start::Beginning);
    world.write("real.txt", "one\n");
    symlink(world.path("real.txt"), world.path("link.log")).unwrap();
    fs::hard_link(world.path("real.txt"), world.path("same.log")).unwrap();
    world.start();
    assert_eq!(world.drain(), ["one\n"]);
    world.write("second.txt", "two\n");
    fs::remove_file(world.path("link.log")).unwrap();
    symlink(world.path("second.txt"), world.path("link.log")).unwrap();
    world.write("real.txt", "three\n");
    let mut lines = world.drain();
    lines.sort();
    assert_eq!(lines, ["three\n", "two\n"]);
}

#[test]
fn a_glob_picks_up_new_files_and_directories_but_no_packed_ones() {
    let mut world = World::new(&["*/access.log*"], Start::End);
    world.start();
    world.drain();
    fs::create_dir(world.path("site")).unwrap();
    world.write("site/access.log.2.gz", "packed\n");
    world.write("site/access.log", "one\n");
    world.follow(1);
    assert_eq!(world.got.lines, ["one\n"]);
    assert_eq!(world.tailer().statuses().len(), 1);
}

#[test]
fn a_glob_that_matches_rotated_names_reads_nothing_twice() {
    let mut world = World::new(&["a.log*"], Start::Beginning);
    world.limits.grace = Duration::ZERO;
    world.write("a.log", "one\n");
    world.start();
    world.drain();
    for n in 2..6 {
        for i in (1..n).rev().filter(|i| world.path(&format!("a.log.{i}")).exists()).collect::<Vec<_>>() {
            world.rename(&format!("a.log.{i}"), &format!("a.log.{}", i + 1));
        }
        world.rename("a.log", "a.log.1");
        world.write("a.log", format!("{n}\n"));
        world.drain();
        world.drain();
        world.commit();
        if n == 4 {
            world.crash();
            world.start();
            world.drain();
        }
    }
    assert_eq!(world.got.lines, ["one\n", "2\n", "3\n", "4\n", "5\n"]);
    assert_eq!((world.tailer().gaps(), world.tailer().marks().len()), (0, 5));
}

#[test]
fn what_cannot_be_followed_is_named_and_waited_for() {
    let mut world = World::new(&["a.log"], Start::End);
    world.start();
    assert!(world.error().contains("a.log does not exist yet"), "{}", world.error());
    fs::create_dir(world.path("a.log")).unwrap();
    assert!(world.error().contains("a.log is a directory; name a file"), "{}", world.error());
    fs::remove_dir(world.path("a.log")).unwrap();
    symlink(world.path("nowhere"), world.path("a.log")).unwrap();
    assert!(world.error().contains("does not exist yet"), "{}", world.error());
    fs::remove_file(world.path("a.log")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(world.path("a.log")).unwrap();
    assert!(world.error().contains("only regular files"), "{}", world.error());
    drop(socket);
    fs::remove_file(world.path("a.log")).unwrap();
    nix::unistd::mkfifo(&world.path("a.log"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(world.error().contains("only regular files"), "{}", world.error());
    fs::remove_file(world.path("a.log")).unwrap();
    world.write("a.log", "one\n");
    assert_eq!(world.error(), "");
    assert_eq!(world.got.lines, ["one\n"]);
}

#[test]
fn a_file_that_may_not_be_read_is_tried_again() {
    use std::os::unix::fs::PermissionsExt;
    let mut world = World::new(&["a.log"], Start::End);
    world.write("a.log", "before\n");
    fs::set_permissions(world.path("a.log"), fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read anything; then there is nothing to be denied.
    let denied = File::open(world.path("a.log")).is_err();
    world.start();
    assert_eq!(world.error().contains("permission denied"), denied, "{}", world.error());
    fs::set_permissions(world.path("a.log"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(world.error(), "");
    world.write("a.log", "after\n");
    assert_eq!(world.drain(), ["after\n"]);
    let explained = reader::explain(Path::new("/x"), &std::io::ErrorKind::PermissionDenied.into());
    assert!(explained.contains("/x may not be read (permission denied); run as"), "{explained}");
}

#[test]
fn a_line_of_five_megabytes_is_cut_in_bounded_memory() {
    let mut world = World::following();
    let line = vec![b'x'; 5_000_000];
    world.write("a.log", "before\n");
    for piece in line.chunks(700_001) {
        world.write("a.log", piece);
        world.drain();
        assert_eq!(world.got.lines, ["before\n"]);
    }
    world.write("a.log", "\nafter\n");
    world.drain();
    assert_eq!(world.got.lines.len(), 3);
    assert_eq!(world.got.lines[1].len(), 65_536);
    assert_eq!((world.got.lines[2].as_str(), world.got.cut.as_slice()), ("after\n", &[5_000_001 - 65_536][..]));
    assert_eq!(world.tailer().statuses()[0].overlong, 1);
    assert!(world.got.largest <= 256 * 1024);

    // The same line read in one go is cut the same.
    let mut again = World::new(&["a.log"], Start::Beginning);
    fs::copy(world.path("a.log"), again.path("a.log")).unwrap();
    again.start();
    again.drain();
    assert_eq!((&again.got.lines, &again.got.cut), (&world.got.lines, &world.got.cut));
}

#[test]
fn binary_junk_passes_unchanged_and_an_empty_file_is_fine() {
    let mut world = World::new(&["*.log"], Start::Beginning);
    let junk: Vec<u8> = (0..100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).chain([b'\n']).collect();
    world.write("junk.log", &junk);
    world.write("empty.log", "");
    world.start();
    world.drain();
    assert_eq!(world.got.places.values().flatten().copied().collect::<Vec<u8>>(), junk);
    assert_eq!(world.tailer().marks().len(), 2);
    assert_eq!(world.error(), "");
}

#[test]
fn starting_at_the_end_never_starts_within_a_line() {
    for (text, expected) in [("old\nhalf", "half a line\n"), ("old\n", " a line\n"), ("half", "half a line\n")] {
        let mut world = World::new(&["a.log"], Start::End);
        world.write("a.log", text);
        world.start();
        assert!(world.drain().is_empty());
        assert_eq!(world.got.marks.len(), 1, "the mark comes before the first line");
        world.write("a.log", " a line\n");
        assert_eq!(world.drain(), [expected]);
    }
    let mut world = World::new(&["a.log"], Start::End);
    world.write("a.log", format!("old\n{}", "x".repeat(200_000)));
    world.start();
    world.drain();
    assert_eq!(world.tailer().marks()[0].offset, 4);
}

#[test]
fn resuming_at_any_line_gives_exactly_the_rest() {
    let mut world = World::following();
    let lines = ["first\n", "\n", "third line\n", "4\n"];
    world.write("a.log", lines.concat());
    world.drain();
    let mark = world.tailer().marks()[0].clone();
    for n in 0..=lines.len() {
        let offset = lines[..n].concat().len() as u64;
        world.got.marks = vec![FileMark { offset, ..mark.clone() }];
        world.start();
        assert_eq!(world.drain(), lines[n..], "from {offset}");
        assert_eq!(world.tailer().marks()[0], mark);
        assert_eq!(world.tailer().gaps(), 0);
    }
    // An offset within a line was never a mark of this content: another file took the inode.
    world.got = Got { marks: vec![FileMark { offset: 3, ..mark.clone() }], ..Got::default() };
    world.start();
    assert_eq!(world.drain(), lines);
    assert_ne!(world.tailer().marks()[0].generation, mark.generation);
    assert_eq!(world.tailer().gaps(), 1);
}

#[test]
fn resuming_after_rotations_reads_the_old_files_first() {
    for rotations in 1..=3 {
        let mut world = World::following();
        world.write("a.log.1", "long ago\n");
        world.set_age("a.log.1", 9);
        world.write("a.log", "0 read\n");
        world.drain();
        world.commit();
        world.crash();
        world.write("a.log", "0 unread\n");
        for n in 1..=rotations {
            for i in (1..=n).rev() {
                world.rename(&format!("a.log.{i}"), &format!("a.log.{}", i + 1));
            }
            world.rename("a.log", "a.log.1");
            world.set_age("a.log.1", 9 - n);
            world.write("a.log", format!("{n} unread\n"));
        }
        world.write("a.log.1.gz", "packed\n");
        world.start();
        let expected: Vec<String> = (0..=rotations).map(|n| format!("{n} unread\n")).collect();
        assert_eq!(world.drain(), expected);
        assert_eq!(world.tailer().gaps(), 0);
        world.commit();
        world.start();
        assert!(world.drain().is_empty());
    }
}

#[test]
fn what_went_while_nobody_looked_is_counted() {
    let mut world = World::following();
    world.write("a.log", "one\n");
    world.drain();
    world.commit();
    world.write("a.log", "lost\n");
    // Held open, so that its inode number is not used again.
    let _old = File::open(world.path("a.log")).unwrap();
    fs::remove_file(world.path("a.log")).unwrap();
    world.write("a.log", "new\n");
    world.start();
    assert_eq!((world.drain(), world.tailer().gaps()), (vec!["new\n".to_string()], 1));
    world.commit();
    fs::write(world.path("a.log"), "x\n").unwrap();
    world.start();
    assert_eq!((world.drain(), world.tailer().gaps()), (vec!["x\n".to_string()], 1));
}

#[test]
fn marks_that_no_source_names_are_dropped() {
    let mut world = World::following();
    world.write("a.log", "one\n");
    world.drain();
    world.commit();
    world.sources[0].path = world.path("b.log").to_str().unwrap().into();
    world.start();
    world.drain();
    assert_eq!(world.tailer().marks().iter().map(|mark| mark.inode).collect::<Vec<_>>(), [0]);
    assert_eq!(world.tailer().gaps(), 0);
}

#[test]
fn several_rotations_between_two_looks_lose_nothing() {
    let mut world = World::following();
    world.write("a.log", "0\n");
    world.drain();
    for n in 1..4 {
        world.rename("a.log", &format!("a.log-{n}"));
        world.set_age(&format!("a.log-{n}"), 9 - n);
        world.write("a.log", format!("{n}\n"));
    }
    assert_eq!(world.drain(), ["1\n", "2\n", "3\n"]);
}

#[test]
fn a_busy_file_does_not_starve_the_others() {
    let mut world = World::new(&["*.log"], Start::Beginning);
    world.limits.read_bytes = 64;
    world.limits.max_line_bytes = 16;
    world.write("a.log", "0123456789\n".repeat(100));
    world.write("b.log", "quiet\n");
    world.start();
    let got = &mut world.got;
    assert_eq!(world.tailer.as_mut().unwrap().read(&mut |chunk| got.take(&chunk)), More::Yes);
    assert!(world.got.lines.contains(&"quiet\n".to_string()) && world.got.lines.len() < 10);
    world.drain();
    assert_eq!(world.got.lines.len(), 101);
}

/// A hole reads as one endless line, text as many: neither may keep a live line waiting.
#[test]
fn a_live_line_waits_for_a_bounded_share_of_the_backlog() {
    let mut world = World::new(&["*.log"], Start::Beginning);
    File::create(world.path("hole.log")).unwrap().set_len(10 << 30).unwrap();
    for n in 0..20 {
        world.write(&format!("old{n:02}.log"), format!("{n} 89\n").repeat(200_000));
    }
    world.write("live.log", "0\n");
    world.start();
    let began = Instant::now();
    let mut backlog = BTreeMap::<PathBuf, usize>::new();
    let mut live = Vec::new();
    for n in 1..=60 {
        let (looked, mut paths) = (Instant::now(), 0);
        let more = world.tailer().read(&mut |chunk| match chunk.path.ends_with("live.log") {
            true => live.extend_from_slice(chunk.bytes),
            false if chunk.mark.is_none() => {
                *backlog.entry(chunk.path.into()).or_default() += 1;
                paths += 1;
            }
            false => {}
        });
        assert!(more == More::Yes && paths <= 4 && looked.elapsed() < Duration::from_secs(1));
        if n > 8 {
            // Since the live file was once read to its end, each look finds what was written before it.
            assert_eq!(live.iter().filter(|byte| **byte == b'\n').count(), n - 8 + 1, "look {n}");
        }
        if n >= 8 {
            world.write("live.log", format!("{n}\n"));
        }
    }
    assert!(backlog.len() == 20 && backlog.values().all(|blocks| (4..20).contains(blocks)), "{backlog:?}");
    println!("60 looks in {:?}", began.elapsed());
}

#[test]
fn waiting_ends_with_a_wake_a_write_or_the_poll() {
    let mut world = World::following();
    world.limits.poll = Duration::from_secs(20);
    world.start();
    world.drain();
    let waker = world.tailer().waker();
    let began = Instant::now();
    let other = std::thread::spawn(move || waker.wake());
    world.tailer().wait(Duration::from_secs(20));
    other.join().unwrap();
    world.write("a.log", "one\n");
    world.follow(1);
    assert!(began.elapsed() < Duration::from_secs(5));
    world.limits.poll = Duration::from_millis(1);
    world.start();
    for _ in 0..20 {
        world.tailer().wait(Duration::from_secs(20));
    }
    assert!(began.elapsed() < Duration::from_secs(10));
}

/// Reading and listing are announced by the kernel too; heeding that would never let us rest.
#[test]
fn a_quiet_file_wakes_nobody() {
    let mut world = World::following();
    world.write("a.log", "one\n");
    world.follow(1);
    let (began, mut waits) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_millis(700) {
        world.drain();
        world.tailer().wait(Duration::from_millis(100));
        waits += 1;
    }
    assert!(waits <= 12, "{waits} wakes in 0.7 s");
}

#[test]
fn fifty_thousand_lines_over_twenty_rotations_with_a_late_writer() {
    let mut world = World::following();
    let dir = world.dir.path().to_path_buf();
    let writer = std::thread::spawn(move || {
        let open = || OpenOptions::new().create(true).append(true).open(dir.join("a.log")).unwrap();
        let mut file = open();
        for n in 0..50_000 {
            let line = format!("{n:05} GET /some/path HTTP/1.1 200\n");
            let (first, second) = line.split_at(n % line.len());
            file.write_all(first.as_bytes()).unwrap();
            file.write_all(second.as_bytes()).unwrap();
            match n % 2380 {
                2000 if n < 48_000 => fs::rename(dir.join("a.log"), dir.join(format!("a.log.{}", n / 2380))).unwrap(),
                2379 => file = open(),
                _ => {}
            }
        }
    });
    world.follow(50_000);
    writer.join().unwrap();
    world.drain();
    assert_eq!(world.got.lines.len(), 50_000, "a line came twice");
    assert!(world.got.lines.iter().all(|line| line.ends_with(" 200\n")));
    world.got.lines.sort_unstable();
    world.got.lines.dedup();
    assert_eq!(world.got.lines.len(), 50_000, "a line was lost");
    assert_eq!(world.tailer().gaps(), 0);
}
