//! What no log should have in it, and files that are none: the daemon says so and goes on.

use std::fs;
use std::io::{Seek, SeekFrom, Write};

use serde_json::Value;

use crate::support::daemon::{Home, eventually};
use crate::support::log::{Random, attack, line};
use crate::support::namespaces_or_skip;

/// Follows every `*.log` of its directory from the beginning, and `paths`.
fn follow(home: &Home, paths: &[&str]) {
    let source = |path: &str| format!("[[source]]\npath = \"{}\"\nstart = \"beginning\"\n", home.path(path).display());
    home.configure(&paths.iter().map(|path| source(path)).collect::<String>());
}

fn source(home: &Home, name: &str) -> Value {
    let status = home.status();
    let sources = status["sources"].as_array().unwrap();
    let found = sources.iter().find(|source| source["path"].as_str().unwrap().ends_with(name));
    // The status is told a moment after the daemon answers.
    found.cloned().unwrap_or_default()
}

fn problems(home: &Home) -> String {
    let status = home.status();
    let problems: Vec<&str> = status["problems"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    problems.join("\n")
}

/// Attacks by their number.
fn found(home: &Home) -> Vec<String> {
    let number = |row: &Value| {
        let attack = row["uri"].as_str()?.strip_prefix("/products?n=")?;
        Some(attack.split('&').next()?.to_owned())
    };
    let mut found: Vec<String> = home.findings().iter().filter_map(number).collect();
    found.sort();
    found
}

#[test]
fn hostile_bytes_are_counted_and_shown_and_the_attacks_between_them_found() {
    let home = Home::new();
    follow(&home, &["*.log"]);
    let head: String = (0..80).map(|_| line("203.0.113.20", "GET /", 200)).collect();
    let around = |name: &str, n: usize, junk: &[u8]| {
        let bytes = [head.as_bytes(), junk, b"\n", attack("198.51.100.7", n).as_bytes()].concat();
        fs::write(home.path(name), bytes).unwrap();
    };
    let mut random = Random::new();
    let binary: Vec<u8> = (0..100_000).map(|_| random.below(256) as u8).collect();
    around("binary.log", 11, &binary);
    around("nul.log", 12, b"\0\0\0\0");
    around(
        "utf8.log",
        13,
        b"203.0.113.9 - \xff\xfe [22/Nov/2026:12:30:45 +0100] \"GET /\xc3\x28\xf0\x80 HTTP/1.1\" 200",
    );
    // What a browser sends that speaks TLS to port 80, as nginx and as Apache write it.
    let tls = line("192.0.2.44", "\\x16\\x03\\x01\\x02\\x00", 400).replace(" HTTP/1.1", "");
    around("tls.log", 14, tls.trim_end().as_bytes());
    let raw =
        [b"192.0.2.44 - - [22/Nov/2026:12:30:45 +0100] \"\x16\x03\x01\x02\" 400 226 \"-\" \"-\"".as_slice()].concat();
    around("rawtls.log", 15, &raw);
    // An attack at the beginning of a line of 5 MB.
    let long = attack("198.51.100.8", 16).replace(" HTTP/1.1", &format!("&x={} HTTP/1.1", "a".repeat(5 << 20)));
    around("long.log", 17, long.trim_end().as_bytes());
    fs::write(home.path("empty.log"), "").unwrap();

    let daemon = home.start();
    let expected = ["11", "12", "13", "14", "15", "16", "17"];
    eventually("every attack is found", || (found(&home).len() >= expected.len()).then_some(()));
    assert_eq!(found(&home), expected);
    eventually("the status knows", || {
        let long = source(&home, "long.log");
        (long["overlong"] == 1 && long["behind_bytes"] == 0).then_some(())
    });
    assert!(source(&home, "binary.log")["unparsed"].as_u64().unwrap() > 100);
    for (name, unparsed) in [("nul.log", 1), ("utf8.log", 1), ("tls.log", 0), ("rawtls.log", 0), ("empty.log", 0)] {
        assert_eq!(source(&home, name)["unparsed"], unparsed, "{name}: {:#}", source(&home, name));
    }
    let sample = source(&home, "utf8.log")["unparsed_samples"][0].as_str().unwrap().to_owned();
    assert!(sample.starts_with("203.0.113.9 - "), "{sample}");
    let shown = home.palisade(&["status"]);
    assert!(!shown.stdout.chars().any(|c| c.is_control() && c != '\n'), "a terminal gets no control characters");
    assert!(problems(&home).contains("binary.log: ") && problems(&home).contains("lines are not understood"));

    // The verbs that read files do as well.
    for name in ["binary.log", "nul.log", "utf8.log", "long.log", "empty.log"] {
        let path = home.path(name).display().to_string();
        assert_eq!(home.palisade(&["parse", &path, "--output", "jsonl"]).code, 0, "{name}");
        let flagged = home.json(&["scan", &path])["flagged"].as_u64().unwrap();
        let daemons = home.findings().iter().filter(|row| row["file"] == path).count() as u64;
        assert_eq!(flagged, daemons, "{name}");
    }
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn files_that_are_none_are_named_with_the_way_out_and_the_others_read() {
    if !namespaces_or_skip("files of another user") {
        return;
    }
    let home = Home::run_by(&["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    follow(&home, &["good.log", "directory", "denied.log", "vanishing.log", "pipe", "missing.log"]);
    for name in ["good.log", "vanishing.log", "denied.log"] {
        fs::write(home.path(name), line("203.0.113.20", "GET /", 200)).unwrap();
    }
    fs::create_dir(home.path("directory")).unwrap();
    nix::unistd::mkfifo(&home.path("pipe"), nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
    fs::set_permissions(home.path("denied.log"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::create_dir(home.path("state")).unwrap();
    for path in [home.dir(), &home.path("state")] {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
    home.open_to_others();
    let daemon = home.start();
    eventually("it reads", || (source(&home, "vanishing.log")["lines"] == 1).then_some(()));
    fs::remove_file(home.path("vanishing.log")).unwrap();
    for said in [
        "directory is a directory; name a file, or the files in it with a glob such as ",
        "denied.log may not be read (permission denied); run as a user who may, often one of group adm",
        "vanishing.log does not exist yet; it is followed as soon as it appears",
        "missing.log does not exist yet; it is followed as soon as it appears",
        "pipe is a pipe, socket or device; only regular files are followed",
    ] {
        eventually(said, || problems(&home).contains(said).then_some(()));
    }
    assert_eq!(home.palisade(&["status"]).code, 1, "something is wrong");

    // It goes on, and what is put right is read.
    for (n, name) in ["good.log", "vanishing.log", "missing.log"].into_iter().enumerate() {
        let mut file = fs::File::options().create(true).append(true).open(home.path(name)).unwrap();
        file.write_all(attack("198.51.100.7", n).as_bytes()).unwrap();
    }
    fs::set_permissions(home.path("denied.log"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::remove_dir(home.path("directory")).unwrap();
    fs::write(home.path("directory"), attack("198.51.100.7", 3)).unwrap();
    fs::remove_file(home.path("pipe")).unwrap();
    fs::write(home.path("pipe"), attack("198.51.100.7", 4)).unwrap();
    eventually("all are read", || (found(&home) == ["0", "1", "2", "3", "4"]).then_some(()));
    eventually("all is well", || (problems(&home).is_empty()).then_some(()));
    assert_eq!(home.palisade(&["status"]).code, 0);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn what_was_truncated_before_it_was_read_is_counted_as_gone() {
    let home = Home::new();
    follow(&home, &["access.log"]);
    let path = home.path("access.log");
    let text: String = (0..100).map(|n| line("203.0.113.20", &format!("GET /{n}"), 200)).collect();
    fs::write(&path, &text).unwrap();
    let daemon = home.start();
    eventually("it is read", || (source(&home, "access.log")["lines"] == 100).then_some(()));
    assert_eq!(daemon.stop(), 0);
    let mut file = fs::File::options().write(true).open(&path).unwrap();
    file.seek(SeekFrom::End(0)).unwrap();
    file.write_all(attack("198.51.100.7", 1).as_bytes()).unwrap();
    file.set_len(0).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(attack("198.51.100.7", 2).as_bytes()).unwrap();
    let _daemon = home.start();
    eventually("what is new is found", || (found(&home) == ["2"]).then_some(()));
    assert!(home.status()["gaps"].as_u64().unwrap() > 0);
    assert!(home.palisade(&["status"]).stdout.contains("gone before they could be read"));
}
