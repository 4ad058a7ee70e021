//! A benign line costs no allocation, once the reused memory has grown. This module's allocator
//! is that of the whole test binary; it counts for each thread by itself.

#![expect(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

use palisade::config::Config;
use palisade::detect::{Ruleset, Scratch};
use palisade::event::Timestamp;
use palisade::parse::{Context, Extent, Formats, Site};
use palisade::pipeline::judge::{Batch, Judge, Lines, Reading, Text, look};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// Without a destructor and set before the thread runs: it may be used inside an allocator.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(old, layout, new_size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

/// How often this thread allocates in `f`.
fn allocations<T>(f: impl FnOnce() -> T) -> (u64, T) {
    let before = COUNT.get();
    let value = f();
    (COUNT.get() - before, value)
}

#[test]
fn a_benign_line_allocates_nothing() {
    let config = Config::default();
    let rules = Arc::new(Ruleset::new(&[], &[]).unwrap());
    let formats = Formats::named("nginx_combined").unwrap();
    let reading = Reading::of(&config);
    let mut judge = Judge::new(&config, rules.clone());
    let (mut scratch, mut batch) = (Scratch::new(), Batch::default());
    let mut road = |bytes: &[u8]| {
        let lines = Lines { bytes, tail_cut: 0, read_at: Timestamp::default() };
        look(&rules, &formats, &reading, &mut scratch, lines, &mut batch);
        let settled = batch.records.iter().map(|record| {
            let line = &bytes[record.start as usize..][..record.len as usize];
            let text = || Text { formats: &formats, line, tail_cut: 0, read_at: Timestamp::default() };
            judge.settle(record, batch.hits_of(record), text)
        });
        let findings = settled.filter(Option::is_some).count();
        (batch.lines, batch.parsed, findings)
    };
    let (warming_up, measured) = (benign_lines(0, 6000), benign_lines(6000, 4000));
    road(&warming_up);
    let (count, (lines, parsed, findings)) = allocations(|| road(&measured));
    assert_eq!((lines, parsed, findings), (4000, 4000, 0), "the lines are benign");
    assert_eq!(count, 0, "allocations in {lines} lines");
    let (count, _) = allocations(|| black_box(Box::new(lines)));
    assert_eq!(count, 1, "the allocator counts");
}

#[test]
fn no_format_allocates() {
    let (site, read_at) = (Site::default(), Timestamp::now());
    for kind in palisade::parse::KINDS {
        let mut arena = bumpalo::Bump::new();
        let mut parse = || {
            arena.reset();
            let context = Context { extent: Extent::Whole, arena: &arena, program: b"", site: &site, read_at };
            kind.build.parse(kind.example.as_bytes(), &context).is_ok()
        };
        parse(); // Some compile when they are first asked, and the arena grows.
        let (count, parsed) = allocations(parse);
        assert!(parsed && count == 0, "{}: {count} allocations", kind.name);
    }
}

/// What visitors of a shop send, no two lines alike: escapes, `+`, long queries, comments in URIs,
/// words that rules know, missing pages, IPv4 and IPv6, new user agents and referrers.
fn benign_lines(first: usize, count: usize) -> Vec<u8> {
    const AGENTS: [&str; 5] = [
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "okhttp/4.12.0",
        "-",
    ];
    const PATHS: [&str; 10] = [
        "/",
        "/products?category=lamps&page={n}",
        "/search?q=caf%C3%A9+cr%C3%A8me+{n}&sort=price",
        "/search?q=select+committee+from+19{n}",
        "/assets/app.{n}.js?v=1.2.3",
        "/artikel/gr%C3%B6%C3%9Fe-{n}.html",
        "/api/v1/items/{n}?fields=id,name;price&filter%5Bcolour%5D=dark%20red",
        "/old-page-{n}",
        "/redirect?to=%252Fcheckout%252F{n}",
        "/files/a*b;c=%20%20{n}",
    ];
    let mut text = String::new();
    for n in first..first + count {
        match n % 3 {
            0 => write!(text, "2001:db8:{:x}:{:x}::{:x}", n % 7, n % 211, n),
            _ => write!(text, "198.51.{}.{}", n % 5, n % 251),
        }
        .unwrap();
        let time = Timestamp(1_767_571_200_000 + 1000 * n as i64).clf();
        let path = PATHS[n % PATHS.len()].replace("{n}", &n.to_string());
        let status = if path.starts_with("/old") { 404 } else { 200 };
        let agent = AGENTS[n / 10 % AGENTS.len()];
        let referer = if n % 4 == 0 { "-".into() } else { format!("https://shop.example/list?page={n}") };
        let method = if n % 17 == 0 { "POST" } else { "GET" };
        write!(text, " - - [{time}] \"{method} {path} HTTP/1.1\" {status} {n} \"{referer}\" ").unwrap();
        writeln!(text, "\"{agent}/{}\"", n % 500).unwrap();
    }
    text.into_bytes()
}
