use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Instant;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::buffer::Run;
use super::framing::{Broken, Framer, message};
use super::*;
use crate::tail::wake::Watch;
use crate::tail::{More, Sources, Start};

mod journal;

/// Lines as they are handed out, and of those that are cut how much is missing.
fn shown(lines: &Lines) -> Vec<(String, u64)> {
    let lines = lines.runs().flat_map(|(run, bytes)| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(text.ends_with('\n'), run.tail_cut == 0, "{text:?}");
        text.split_terminator('\n').map(|line| (line.to_owned(), run.tail_cut)).collect::<Vec<_>>()
    });
    lines.collect()
}

/// What `framer` makes of `pieces`.
fn framed(mut framer: Framer, pieces: &[&[u8]]) -> (Vec<(String, u64)>, Result<(), Broken>) {
    let mut lines = Lines::default();
    for piece in pieces {
        if let Err(broken) = framer.feed(piece, &mut lines) {
            return (shown(&lines), Err(broken));
        }
    }
    framer.finish(&mut lines);
    (shown(&lines), Ok(()))
}

#[test]
fn newlines_and_counts_are_told_apart_and_long_lines_cut() {
    for (bytes, expected) in [
        ("<1>a\n<2>b\n<3>c", vec![("<1>a", 0), ("<2>b", 0), ("<3>c", 0)]),
        ("4 <1>a6 <2>b\nc4 <3>d3 <4", vec![("<1>a", 0), ("<2>b c", 0), ("<3>d", 0)]),
        ("5 <1>a\n\n4 <2>b\n", vec![("<1>a", 0), ("<2>b", 0)]),
        // No counts: an address, a time, a number.
        ("203.0.113.7 - -\n4 x\n", vec![("203.0.113.7 - -", 0), ("4 x", 0)]),
        ("17 x\n", vec![("17 x", 0)]),
        ("12345678 <1>a\n", vec![("12345678 <1>a", 0)]),
        ("17", vec![("17", 0)]),
        ("\n\na\r\n", vec![("", 0), ("", 0), ("a\r", 0)]),
        ("abcdefghijklmnopqrst\n", vec![("abcdefghijklmnopqrst", 0)]),
        ("abcdefghijklmnopqrstu\nb\n", vec![("abcdefghijklmnopqrst", 2), ("b", 0)]),
        ("abcdefghijklmnopqrstuvw", vec![("abcdefghijklmnopqrst", 4)]),
        ("24 <1>defghijklmnopqrstuvw\n4 <2>b", vec![("<1>defghijklmnopqrst", 5), ("<2>b", 0)]),
        ("", vec![]),
    ] {
        let expected: Vec<(String, u64)> = expected.iter().map(|(line, cut)| ((*line).to_owned(), *cut)).collect();
        let whole = framed(Framer::syslog(20), &[bytes.as_bytes()]);
        assert_eq!(whole, (expected.clone(), Ok(())), "{bytes:?}");
        let single: Vec<&[u8]> = bytes.as_bytes().chunks(1).collect();
        assert_eq!(framed(Framer::syslog(20), &single).0, expected, "{bytes:?} byte by byte");
    }
    for bytes in ["4 <1>ax", "4 <1>a 4 <2>b", "4 <1>a0 ", "4 <1>a12345678 x"] {
        let expected = (vec![("<1>a".to_owned(), 0)], Err(Broken));
        assert_eq!(framed(Framer::syslog(20), &[bytes.as_bytes()]), expected, "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn however_bytes_are_cut_the_lines_are_the_same(
        bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), Just(b'<'), b'0'..=b'9', any::<u8>()], 0..200),
        cuts in proptest::collection::vec(0..200usize, 0..8),
        max in 16..40usize,
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        for framer in [Framer::syslog, Framer::newline] {
            prop_assert_eq!(framed(framer(max), &pieces), framed(framer(max), &[&bytes]));
        }
    }

    #[test]
    fn each_counted_message_is_one_line(
        messages in proptest::collection::vec("<1>[a\n\r0-9 <]{0,30}b", 1..6),
        cut in 1..20usize,
    ) {
        let frames: String = messages.iter().map(|message| format!("{} {message}", message.len())).collect();
        let pieces: Vec<&[u8]> = frames.as_bytes().chunks(cut).collect();
        let expected = messages.iter().map(|message| (message.replace(['\n', '\r'], " "), 0)).collect();
        prop_assert_eq!(framed(Framer::syslog(100), &pieces), (expected, Ok(())));
    }

    #[test]
    fn a_datagram_is_one_line_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut lines = Lines::default();
        message(&mut bytes.clone(), 0, &mut lines);
        let newlines = lines.runs().map(|(_, bytes)| bytes.iter().filter(|byte| **byte == b'\n').count()).sum::<usize>();
        prop_assert_eq!(newlines, usize::from(bytes.iter().any(|byte| !matches!(byte, b'\n' | b'\r' | 0))));
    }
}

/// A buffer, who fills it, and what came out of it.
struct World {
    runtime: Runtime,
    watch: Watch,
    buffer: Arc<Buffer>,
    got: Vec<(u64, String)>,
    position: Option<Position>,
}

fn bounds() -> Bounds {
    Bounds::new(1000)
}

impl World {
    fn new(bounds: &Bounds) -> World {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let watch = Watch::new();
        let buffer = Arc::new(Buffer::new(bounds.buffer_bytes, watch.waker()));
        World { runtime, watch, buffer, got: vec![], position: None }
    }

    /// Takes what is there, as the reader does.
    fn take(&mut self) {
        let mut lines = Lines::default();
        let position = self.buffer.take(&mut lines);
        self.position = position.or(self.position.take());
        for (run, bytes) in lines.runs() {
            let mut offset = run.offset;
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                self.got.push((offset, String::from_utf8_lossy(line).trim_end_matches('\n').to_owned()));
                offset += line.len() as u64;
            }
        }
    }

    /// Takes until `lines` lines came; their text, in order.
    fn lines(&mut self, lines: usize) -> Vec<String> {
        self.until(|world| world.got.len() >= lines);
        self.got.iter().map(|(_, line)| line.clone()).collect()
    }

    fn until(&mut self, done: impl Fn(&World) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            self.take();
            if done(self) {
                return;
            }
            assert!(Instant::now() < deadline, "came: {:?}; {:?}", self.got, self.buffer.status());
            self.watch.wait(Duration::from_millis(20));
        }
    }

    fn error(&self) -> String {
        self.buffer.status().1.unwrap_or_default()
    }

    fn tcp(&self, bounds: &Bounds) -> SocketAddr {
        let address = free(|any| TcpListener::bind(any)?.local_addr());
        self.runtime.spawn(listener::tcp(address, Arc::clone(&self.buffer), bounds.clone()));
        address
    }

    fn udp(&self, bounds: &Bounds) -> SocketAddr {
        let address = free(|any| UdpSocket::bind(any)?.local_addr());
        self.runtime.spawn(listener::udp(address, Arc::clone(&self.buffer), bounds.clone()));
        address
    }
}

/// An address that nobody listens on.
fn free(bind: impl Fn(SocketAddr) -> io::Result<SocketAddr>) -> SocketAddr {
    bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn offsets_count_what_came_and_entries_have_their_own() {
    let mut world = World::new(&bounds());
    let mut lines = Lines::default();
    let World { runtime, buffer, .. } = &world;
    for (text, beyond, entry) in [
        ("ab", 0, None),
        ("cd", 0, None),
        ("ef", 5, None),
        ("gh", 0, None),
        ("ij", 0, Some(1000)),
        ("kl", 0, Some(1003)),
        ("mn", 0, Some(2000)),
    ] {
        lines.line(text.as_bytes(), beyond);
        let entry = entry.map(|offset| (offset, Position::After(format!("c{offset}"))));
        runtime.block_on(buffer.push_at(&mut lines, entry));
        assert!(lines.is_empty());
    }
    let mut taken = Lines::default();
    assert_eq!(world.buffer.take(&mut taken), Some(Position::After("c2000".into())));
    let runs: Vec<(Run, &[u8])> = taken.runs().collect();
    let run = |offset, len, tail_cut| Run { offset, len, tail_cut };
    let expected: [(Run, &[u8]); 5] = [
        (run(0, 6, 0), b"ab\ncd\n"),
        (run(6, 2, 6), b"ef"),
        (run(14, 3, 0), b"gh\n"),
        (run(1000, 6, 0), b"ij\nkl\n"),
        (run(2000, 3, 0), b"mn\n"),
    ];
    assert_eq!(runs, expected);
    world.take();
    assert_eq!(world.position, None);
}

#[test]
fn a_full_buffer_makes_its_sender_wait_and_hanging_up_lets_him_go() {
    let mut world = World::new(&Bounds { buffer_bytes: 10, ..bounds() });
    let text: Vec<String> = (0..1000).map(|n| format!("line {n}")).collect();
    let input = io::Cursor::new(format!("{}\nlast", text.join("\n")));
    // As from a pipe, piece by piece.
    struct Pieces(io::Cursor<String>);
    impl Read for Pieces {
        fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
            self.0.read(&mut block[..7])
        }
    }
    let handle = world.runtime.handle().clone();
    stdin::start(Pieces(input), Arc::clone(&world.buffer), 100, handle.clone()).unwrap();
    world.until(|world| {
        assert!(world.buffer.status().0 <= 10, "no more waits than may");
        world.buffer.has_ended()
    });
    let got = world.lines(1001);
    assert_eq!((&got[..1000], got[1000].as_str()), (&text[..], "last"));
    let expected: u64 = text[..500].iter().map(|line| line.len() as u64 + 1).sum();
    assert_eq!(world.got[500], (expected, "line 500".into()));

    let mut lines = Lines::default();
    lines.line(b"0123456789", 0);
    world.runtime.block_on(world.buffer.push(&mut lines));
    lines.line(b"waits", 0);
    let waiting = {
        let buffer = Arc::clone(&world.buffer);
        world.runtime.spawn(async move { buffer.push(&mut lines).await })
    };
    std::thread::sleep(Duration::from_millis(20));
    assert!(!waiting.is_finished());
    world.buffer.hang_up();
    world.runtime.block_on(waiting).unwrap();
    world.got.clear();
    assert_eq!(world.lines(1), ["0123456789"], "what had been taken in is still there");
}

#[test]
fn who_reads_standard_input_ends_in_peace_after_the_others() {
    let World { runtime, buffer, watch, .. } = World::new(&Bounds { buffer_bytes: 10, ..bounds() });
    let (read, mut write) = io::pipe().unwrap();
    stdin::start(read, Arc::clone(&buffer), 100, runtime.handle().clone()).unwrap();
    write.write_all(b"line 1\n").unwrap();
    buffer.hang_up();
    drop((runtime, watch));
    write.write_all(b"line 2\nline 3").unwrap();
    drop(write);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !buffer.has_ended() {
        assert!(Instant::now() < deadline);
        buffer.take(&mut Lines::default());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn datagrams_are_lines_and_those_that_find_no_room_are_counted() {
    let mut world = World::new(&Bounds { buffer_bytes: 3000, ..bounds() });
    let address = world.udp(&bounds());
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Nobody says when it listens.
    world.until(|world| {
        sender.send_to(b"hello", address).unwrap();
        !world.got.is_empty()
    });
    sender.send_to(b"done", address).unwrap();
    world.until(|world| world.got.iter().any(|(_, line)| line == "done"));
    world.got.clear();
    sender.send_to(b"<1>a\n<2>forged\r\n", address).unwrap();
    sender.send_to(b"\n\0", address).unwrap();
    sender.send_to(&[b'x'; 1100], address).unwrap();
    sender.send_to(b"<3>b\n", address).unwrap();
    assert_eq!(world.lines(3), ["<1>a <2>forged", &"x".repeat(1000), "<3>b"]);
    let offsets: Vec<u64> = world.got.iter().map(|(offset, _)| *offset - world.got[0].0).collect();
    assert_eq!(offsets, [0, 15, 1116]);

    world.got.clear();
    for n in 0..20 {
        sender.send_to(format!("{n:0>299}").as_bytes(), address).unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while !world.error().starts_with("10 datagrams were dropped") {
        assert!(Instant::now() < deadline, "{:?}", world.error());
        std::thread::sleep(Duration::from_millis(5));
    }
    world.take();
    let first: Vec<String> = (0..10).map(|n| format!("{n:0>299}")).collect();
    assert_eq!(world.lines(10), first, "the newest are dropped");
}

#[test]
fn connections_frame_each_for_itself_and_a_slow_one_holds_nobody_up() {
    let mut world = World::new(&bounds());
    let address = world.tcp(&bounds());
    let (mut slow, mut counted, mut raw) = (connect(address), connect(address), connect(address));
    slow.write_all(b"<1>begun").unwrap();
    counted.write_all(b"7 <2>a\nbc9").unwrap();
    assert_eq!(world.lines(1), ["<2>a bc"]);
    raw.write_all(b"203.0.113.7 - - x\npartial").unwrap();
    assert_eq!(world.lines(2)[1], "203.0.113.7 - - x");
    drop(raw);
    assert_eq!(world.lines(3)[2], "partial", "whoever closes has said all");
    slow.write_all(b" and done\n").unwrap();
    assert_eq!(world.lines(4)[3], "<1>begun and done");
    counted.write_all(b" <3>short").unwrap();
    drop(counted);
    let mut broken = connect(address);
    broken.write_all(b"4 <4>anonsense").unwrap();
    assert_eq!(world.lines(5)[4], "<4>a", "and no frame that is not whole");
    assert_eq!(broken.read(&mut [0]).unwrap_or(0), 0, "it is closed");
    world.take();
    assert_eq!(world.got.len(), 5);
}

#[test]
fn who_resets_the_connection_has_not_finished_his_line() {
    let mut world = World::new(&bounds());
    let address = world.tcp(&bounds());
    // What is unread here when it is closed makes the close a reset.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let deadline = Instant::now() + Duration::from_secs(10);
        let stream = loop {
            match tokio::net::TcpStream::connect(address).await {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        stream.set_zero_linger().unwrap();
        stream.writable().await.unwrap();
        assert_eq!(stream.try_write(b"<1>whole\n<2>half").unwrap(), 16);
        tokio::time::sleep(Duration::from_millis(200)).await;
    });
    let mut other = connect(address);
    other.write_all(b"<3>next\n").unwrap();
    assert_eq!(world.lines(2), ["<1>whole", "<3>next"]);
    std::thread::sleep(Duration::from_millis(50));
    world.take();
    assert_eq!(world.got.len(), 2);
}

#[test]
fn connections_are_bounded_and_idle_ones_closed() {
    let bounds = Bounds { connections: 2, idle: Duration::from_millis(400), ..bounds() };
    let mut world = World::new(&bounds);
    let address = world.tcp(&bounds);
    let (_idle, mut busy) = (connect(address), connect(address));
    busy.write_all(b"<1>busy\n").unwrap();
    world.lines(1);
    world.until(|world| world.error().starts_with("2 senders are connected, which is the limit"));
    let mut third = connect(address);
    third.write_all(b"<2>third\n").unwrap();
    // The third is let in when one of the others was idle for too long.
    assert_eq!(world.lines(2)[1], "<2>third");
}

#[test]
fn an_address_in_use_is_said_and_tried_again() {
    let mut world = World::new(&bounds());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    world.runtime.spawn(listener::tcp(address, Arc::clone(&world.buffer), bounds()));
    world.until(|world| world.error().starts_with("cannot listen: "));
    drop(taken);
    world.until(|world| world.error().is_empty());
    connect(address).write_all(b"<1>a\n").unwrap();
    assert_eq!(world.lines(1), ["<1>a"]);
}

#[test]
fn files_and_streams_are_read_together_each_under_its_source() {
    let dir = TempDir::new().unwrap();
    let address = free(|any| TcpListener::bind(any)?.local_addr());
    let file = dir.path().join("a.log");
    fs::write(&file, "from a file\n").unwrap();
    let source = |path: String| SourceConfig::new(path, Start::Beginning);
    let paths = [format!("tcp://{address}"), file.display().to_string(), "journal:nothing.service".into()];
    let sources = paths.clone().map(source);
    let mut read = Sources::open(&sources, vec![], crate::tail::Limits::default(), Box::new(|_, _, _| None)).unwrap();
    read.resume([(paths[2].clone(), "s=1;i=2".to_owned())].into());
    read.start().unwrap();
    connect(address).write_all(b"<1>from the network\n").unwrap();
    let mut got = BTreeMap::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while got.len() < 2 {
        assert!(Instant::now() < deadline, "{got:?}");
        let more = read.read(&mut |chunk| {
            if chunk.mark.is_none() {
                assert_eq!(chunk.path.as_os_str(), paths[chunk.source].as_str());
                got.insert(chunk.source, String::from_utf8_lossy(chunk.bytes).into_owned());
            }
        });
        if more == More::No {
            read.wait(Duration::from_secs(1));
        }
    }
    assert_eq!(got.into_values().collect::<Vec<_>>(), ["<1>from the network\n", "from a file\n"]);
    let paths_of = |statuses: Vec<FileStatus>| statuses.into_iter().map(|status| status.path).collect::<Vec<_>>();
    assert_eq!(paths_of(read.statuses()), [&paths[1], &paths[0], &paths[2]].map(PathBuf::from));
    assert_eq!(read.positions(), HashMap::from([(paths[2].clone(), "s=1;i=2".to_owned())]));
    assert!(!read.ended());
    drop(read);
    assert!(TcpStream::connect(address).is_err(), "nothing is left behind");
}
