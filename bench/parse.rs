//! How fast lines are split into fields: lines and bytes per CPU second of each format on one core,
//! and the shares of the hand-written combined parser's speed. Lines of other formats have other
//! lengths and more or fewer fields: one share alone flatters some of them.
//!
//!     cargo bench --bench parse [-- NAME]

#![expect(clippy::print_stdout, reason = "a reader who has gone ends the measurement")]

use std::fmt::Write as _;
use std::hint::black_box;

use nix::time::{ClockId, clock_gettime};
use palisade::event::Timestamp;
use palisade::parse::{Context, Extent, Formats, Site};

/// Lines of each format; together more than the processor's caches hold.
const LINES: usize = 50_000;
/// The best of so many rounds counts: what else the machine does only ever adds.
const ROUNDS: usize = 15;

type Writer = fn(&mut String, u32) -> std::fmt::Result;

/// A name, the format, and how its `n`th line is written.
const FORMATS: [(&str, &str, Writer); 7] = [
    ("combined, by hand", "nginx_combined", combined),
    (
        "combined, compiled",
        r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent""#,
        combined,
    ),
    ("Apache's, compiled", r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#, combined),
    (
        "extended, compiled",
        r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" $request_time "$http_x_forwarded_for" $host"#,
        extended,
    ),
    (
        "custom, compiled",
        r#"$remote_addr [$time_iso8601] $host "$request" $status $request_time "$http_user_agent" "$http_x_forwarded_for""#,
        custom,
    ),
    ("JSON", "json_access", json),
    ("syslog around combined", "syslog+nginx_combined", syslog),
];

fn combined(out: &mut String, n: u32) -> std::fmt::Result {
    let (a, b, second) = (n % 223, n / 7 % 255, n % 60);
    write!(
        out,
        "{a}.0.113.{b} - - [05/Jan/2026:12:30:{second:02} +0000] \"GET /products/item-{n}?category=lamps&page={b} HTTP/1.1\" 200 {n} \"https://example.org/products?page={a}\" \"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\""
    )
}

fn extended(out: &mut String, n: u32) -> std::fmt::Result {
    combined(out, n)?;
    write!(out, " 0.{:03} \"198.51.100.{}\" shop.example.org", n % 999, n / 7 % 255)
}

fn custom(out: &mut String, n: u32) -> std::fmt::Result {
    let (a, b, second) = (n % 223, n / 7 % 255, n % 60);
    write!(
        out,
        "{a}.0.113.{b} [2026-01-05T12:30:{second:02}+00:00] shop.example.org \"GET /products/item-{n}?category=lamps&page={b} HTTP/1.1\" 200 0.{b} \"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\" \"198.51.100.{b}\""
    )
}

fn json(out: &mut String, n: u32) -> std::fmt::Result {
    let (a, b, second) = (n % 223, n / 7 % 255, n % 60);
    write!(
        out,
        "{{\"time_iso8601\":\"2026-01-05T12:30:{second:02}+00:00\",\"remote_addr\":\"{a}.0.113.{b}\",\"request\":\"GET /products/item-{n}?category=lamps&page={b} HTTP/1.1\",\"status\":200,\"body_bytes_sent\":{n},\"request_time\":0.{b},\"http_referer\":\"https://example.org/products?page={a}\",\"http_user_agent\":\"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\"}}"
    )
}

fn syslog(out: &mut String, n: u32) -> std::fmt::Result {
    write!(out, "Jan  5 12:30:{:02} web nginx: ", n % 60)?;
    combined(out, n)
}

fn main() {
    let site = Site::default();
    let mut arena = bumpalo::Bump::new();
    let mut by_hand = None;
    println!("{:<24} {:>12} {:>6} {:>8} {:>8} {:>6}", "", "lines/CPU-s", "share", "bytes", "MB/CPU-s", "share");
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for (name, format, write) in FORMATS.into_iter().filter(|(name, ..)| name.contains(&wanted)) {
        let mut text = String::new();
        let mut ends = Vec::with_capacity(LINES);
        for n in 0..LINES as u32 {
            // Writing to a string cannot fail.
            let _ = write(&mut text, n);
            ends.push(text.len());
        }
        let formats = match Formats::named(format) {
            Ok(formats) => formats,
            Err(why) => return eprintln!("{name}: {why}"),
        };
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let began = cpu_seconds();
            let (mut start, mut parsed) = (0, 0);
            for lines in ends.chunks(16) {
                arena.reset();
                let context = Context {
                    extent: Extent::Whole,
                    arena: &arena,
                    program: b"",
                    site: &site,
                    read_at: Timestamp::now(),
                };
                for &end in lines {
                    let event = formats.parse(&text.as_bytes()[start..end], &context);
                    parsed += usize::from(black_box(event).is_ok());
                    start = end;
                }
            }
            if parsed != LINES {
                return eprintln!("{name}: {} of {LINES} lines are not understood", LINES - parsed);
            }
            best = best.min(cpu_seconds() - began);
        }
        let rate = LINES as f64 / best;
        let bytes_rate = text.len() as f64 / best;
        let (hand, bytes_by_hand) = *by_hand.get_or_insert((rate, bytes_rate));
        println!(
            "{name:<24} {rate:>12.0} {:>5.0}% {:>8} {:>8.0} {:>5.0}%",
            100.0 * rate / hand,
            text.len() / LINES,
            bytes_rate / 1e6,
            100.0 * bytes_rate / bytes_by_hand
        );
    }
}

/// Of this thread.
fn cpu_seconds() -> f64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map_or(0.0, |time| time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}
