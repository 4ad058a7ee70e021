use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::compose::{Input, compose};
use super::files::{Absent, read};
use super::renamed::{RENAMED, Renamed};
use super::*;

const KNOWN: Known<'_> =
    Known { responders: &["nftables", "iptables"], formats: &["nginx_combined", "apache_combined", "apache_common"] };

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// Root's configuration from these files and variables.
fn root(files: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Loaded, Mistakes> {
    let files = files.iter().map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec())).collect();
    compose(Input { files, settings: &variables(environment), ..Input::default() }, &KNOWN)
}

fn file(text: &str) -> Result<Loaded, Mistakes> {
    root(&[("palisade.toml", text)], &[])
}

fn load(place: &Place, known: &Known<'_>, environment: &[(OsString, OsString)], uid: u32) -> Result<Loaded, Mistakes> {
    Text::read(place, environment, uid).compose(known, &[])
}

fn mistakes(text: &str, expected: Expect) {
    expected.assert_eq(&file(text).expect_err("mistakes").to_string());
}

fn origin(loaded: &Loaded, key: &str) -> String {
    let found = loaded.origins.iter().filter(|(other, _)| other == key).map(|(_, origin)| origin.to_string());
    found.collect::<Vec<_>>().join(", ")
}

// What is refused, and how it is said.

#[test]
fn all_mistakes_are_told_at_once_each_with_its_line() {
    mistakes(
        r#"
mode = "enfore"

[thresholds]
blok = 9
flag = 11

[client]
allow = [
    "10.0.0.0/8",
    "10.0.0.0/33",
]
block_private = "no"

[[source]]
path = "/var/log/nginx/[access.log"

[respond]
use = ["nftable"]
"#,
        expect![[r#"
            palisade.toml:2: mode: expected "dry_run" or "enforce", found "enfore"; did you mean "enforce"?
            palisade.toml:5: thresholds.blok: unknown key; did you mean "block"?
            palisade.toml:6: thresholds.flag: expected a whole number from 1 to 10, found 11
            palisade.toml:11: client.allow: expected an address or network such as "192.0.2.7" or "2001:db8::/32", found "10.0.0.0/33"
            palisade.toml:13: client.block_private: expected true or false, found "no"
            palisade.toml:16: source.path: no valid pattern: invalid range pattern (character 16)
            palisade.toml:19: respond.use: no responder is called "nftable"; did you mean "nftables"? (known: nftables, iptables)"#]],
    );
}

#[test]
fn every_wrong_type_names_the_right_one() {
    mistakes(
        r#"
mode = 3
state_dir = ["/var"]
log = "debug"
source = "/var/log/nginx/access.log"
[thresholds]
flag = "5"
block = 8.5
certain = 9999999999999999999999
act = 1979-05-27
[client]
allow = "10.0.0.0/8"
trusted_proxies = [1, {}]
block_private = 1
[detect]
disable = [["x"]]
half_life_secs = 4294967296
[memory]
ttl_secs = -1
max_clients = inf
"#,
        expect![[r#"
            palisade.toml:2: mode: expected "dry_run" or "enforce", found 3
            palisade.toml:3: state_dir: expected a string, found a list
            palisade.toml:4: log: expected a table, found "debug"
            palisade.toml:5: source: expected a list of tables, [[source]], found "/var/log/nginx/access.log"
            palisade.toml:7: thresholds.flag: expected a whole number from 1 to 10, found "5"
            palisade.toml:8: thresholds.block: expected a whole number from 1 to 10, found 8.5
            palisade.toml:9: thresholds.certain: expected a whole number from 1 to 10, found a number beyond 64 bits
            palisade.toml:10: thresholds.act: expected a whole number from 1 to 10, found a date or time
            palisade.toml:12: client.allow: expected a list such as ["…", "…"], found "10.0.0.0/8"
            palisade.toml:13: client.trusted_proxies: expected an address or network such as "192.0.2.7" or "2001:db8::/32", found 1
            palisade.toml:13: client.trusted_proxies: expected an address or network such as "192.0.2.7" or "2001:db8::/32", found a table
            palisade.toml:14: client.block_private: expected true or false, found 1
            palisade.toml:16: detect.disable: expected a string, found a list
            palisade.toml:17: detect.half_life_secs: expected a whole number from 1 to 4294967295, found 4294967296
            palisade.toml:19: memory.ttl_secs: expected a whole number from 1 to 31536000, found -1
            palisade.toml:20: memory.max_clients: expected a whole number of at least 1, found no finite number"#]],
    );
}

#[test]
fn an_unknown_key_is_told_where_it_belongs() {
    mistakes(
        r#"
level = "debug"
Mode = "enforce"
"a b\u001b" = 1
[thresholds]
mode = "enforce"
path = "/x"
quite_unlike_anything = 1
"#,
        expect![[r#"
            palisade.toml:2: level: unknown key; it belongs under [log]
            palisade.toml:3: Mode: unknown key; did you mean "mode"?
            palisade.toml:4: "a b\u{1b}": unknown key
            palisade.toml:6: thresholds.mode: unknown key; it belongs above the first [table]
            palisade.toml:7: thresholds.path: unknown key; it belongs under [[exclusion]]
            palisade.toml:8: thresholds.quite_unlike_anything: unknown key"#]],
    );
}

#[test]
fn sources_are_checked_one_by_one() {
    mistakes(
        r#"
[[source]]
path = "/a"
format = "nginx_combine"

[[source]]
start = "begining"

[[source]]
path = 7

[[source]]
path = "/a"

[[source]]
path = ""

[[source]]
path = "/b"
format = "$time_local"
"#,
        expect![[r#"
            palisade.toml:4: source.format: no log format is called "nginx_combine"; did you mean "nginx_combined"? (known: nginx_combined, apache_combined, apache_common)
            palisade.toml:6: source.path: missing
            palisade.toml:7: source.start: expected "end", "beginning" or how far back, such as "-30m", "-1h" or "-7d", found "begining"; did you mean "beginning"?
            palisade.toml:10: source.path: expected a string, found 7
            palisade.toml:13: source.path: "/a" is followed already; remove one of the two
            palisade.toml:16: source.path: names no file
            palisade.toml:20: source.format: no client address: add $remote_addr (nginx) or %a (Apache)"#]],
    );
}

#[test]
fn sources_that_are_no_files_are_named_right_or_told() {
    mistakes(
        r#"
[[source]]
path = "-"

[[source]]
path = "tcp://[::1]:5514"

[[source]]
path = "journal:ssh.service"

[[source]]
path = "tcp://localhost:5514"

[[source]]
path = "udp://127.0.0.1"

[[source]]
path = "journal:two units"

[[source]]
path = "https://logs.example/"

[[source]]
path = "-"
"#,
        expect![[r#"
            palisade.toml:12: source.path: "tcp://localhost:5514" needs an address and a port, such as tcp://127.0.0.1:5514 or tcp://[::1]:5514
            palisade.toml:15: source.path: "udp://127.0.0.1" needs an address and a port, such as udp://127.0.0.1:5514 or udp://[::1]:5514
            palisade.toml:18: source.path: "journal:two units" needs the name of a unit, such as journal:ssh.service, or none: journal:
            palisade.toml:21: source.path: "https://logs.example/" names no source: known are files, "-", "journal:", "udp://" and "tcp://"
            palisade.toml:24: source.path: "-" is followed already; remove one of the two"#]],
    );
}

#[test]
fn the_same_source_twice_in_one_file_is_a_mistake_also_in_a_later_one() {
    let later = "[[source]]\npath = '/b'\n[[source]]\npath = '/b'";
    let error = root(&[("a.toml", "[[source]]\npath = '/a'"), ("b.toml", later)], &[]).expect_err("twice");
    assert_eq!(error.to_string(), "b.toml:4: source.path: \"/b\" is followed already; remove one of the two");
}

#[test]
fn values_must_agree_with_each_other() {
    mistakes(
        r#"
[thresholds]
flag = 6
block = 5
monitor = 9
[respond]
use = []
block_duration_secs = 10
max_block_duration_secs = 9
"#,
        expect![[r#"
            palisade.toml:4: thresholds.block: needs thresholds.flag <= thresholds.block, but 6 is more than 5
            palisade.toml:5: thresholds.monitor: needs thresholds.monitor <= thresholds.act, but 9 is more than 8
            palisade.toml:7: respond.use: names no responder; known are nftables, iptables
            palisade.toml:9: respond.max_block_duration_secs: needs respond.block_duration_secs <= respond.max_block_duration_secs, but 10 is more than 9"#]],
    );
    // Against a default the key that was set is to blame, and equal is in order.
    let message = file("[thresholds]\nblock = 10").expect_err("more than certain").to_string();
    assert_eq!(
        message,
        "palisade.toml:2: thresholds.block: needs thresholds.block <= thresholds.certain, but 10 is more than 9"
    );
    assert!(file("[thresholds]\nflag = 7\nblock = 7\ncertain = 7").is_ok());
}

#[test]
fn bouncers_are_served_on_an_address_with_a_port() {
    for listen in ["8080", "localhost:8080", "127.0.0.1", "127.0.0.1:0", "unix:/run/x"] {
        let message = file(&format!("[crowdsec_api]\nlisten = \"{listen}\"")).expect_err("no address").to_string();
        let expected = format!("palisade.toml:2: crowdsec_api.listen: \"{listen}\" is no address with a port");
        assert!(message.starts_with(&expected), "{message}");
    }
    let loaded = file("[crowdsec_api]\nlisten = \"[::1]:8080\"").unwrap();
    assert_eq!(loaded.config.crowdsec_api.address(), Ok(Some("[::1]:8080".parse().unwrap())));
    assert_eq!(file("").unwrap().config.crowdsec_api.address(), Ok(None), "off unless it is asked for");
}

#[test]
fn a_wrong_value_is_not_compared_with_others() {
    // What flag was meant to be nobody knows, so that it is above block is no second mistake.
    mistakes(
        "[thresholds]\nflag = 0\nblock = 2\n[respond]\nuse = [4]",
        expect![[r#"
            palisade.toml:2: thresholds.flag: expected a whole number from 1 to 10, found 0
            palisade.toml:5: respond.use: expected a string, found 4"#]],
    );
    // Nor can a file that was not understood be held against the others.
    mistakes(
        "[thresholds]\nflag = \nblock = 2",
        expect!["palisade.toml:2: syntax error: string values must be quoted, expected literal string"],
    );
}

#[test]
fn syntax_errors_come_with_their_line_beside_the_other_mistakes() {
    mistakes(
        "[thresholds]\nblok = 1\nflag = \nact = 99\n[log]\nlevel = 'x\n[store\nkeep_days = 1\nkeep_dais = 1\n",
        expect![[r#"
            palisade.toml:2: thresholds.blok: unknown key; did you mean "block"?
            palisade.toml:3: syntax error: string values must be quoted, expected literal string
            palisade.toml:4: thresholds.act: expected a whole number from 1 to 10, found 99
            palisade.toml:6: syntax error: invalid literal string, expected `'`
            palisade.toml:7: syntax error: unclosed table, expected `]`"#]],
    );
    mistakes("mode = 'enforce'\nmode = 'dry_run'", expect!["palisade.toml:2: syntax error: duplicate key"]);
}

#[test]
fn text_that_is_not_utf8_is_refused_at_its_line() {
    let files = vec![("palisade.toml".into(), b"# fine\nmode = \"\xff\"\nblok = 1".to_vec())];
    let error = compose(Input { files, ..Input::default() }, &KNOWN).expect_err("not UTF-8");
    assert_eq!(error.to_string(), "palisade.toml:2: not UTF-8 text; save the file as UTF-8");
    assert!(file("\u{feff}mode = 'enforce'\r\n").is_ok(), "a byte order mark and CRLF are fine");
}

// What is read, and how it is put together.

#[test]
fn nothing_gives_the_defaults() {
    let loaded = root(&[], &[]).expect("no mistake");
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.origins.iter().all(|(_, origin)| *origin == Origin::Default));
    assert_eq!(loaded.config.thresholds.block, 8);
    assert_eq!(loaded.config.mode, Mode::DryRun);
    assert!(Text::read_from_system(&Place::None).compose(&KNOWN, &[]).is_ok());
    for mode in [Mode::DryRun, Mode::Enforce] {
        assert_eq!(serde_json::to_value(mode).ok(), Some(mode.as_str().into()));
    }
}

#[test]
fn later_files_win_lists_replace_sources_append_and_allow_adds_up() {
    let main = r#"
mode = "enforce"
source = [{ path = "/a" }, { path = "/b", start = "beginning" }, { path = "/d", start = "-90m" }]
[client]
allow = ["10.0.0.0/8", "192.0.2.1"]
trusted_proxies = ["192.0.2.9"]
[thresholds]
flag = 4
block = 7
"#;
    let fragment = r#"
[thresholds]
block = 9
[client]
allow = [
    "10.0.0.0/8",
    "2001:db8::/32",
]
trusted_proxies = ["192.0.2.10"]
[[source]]
path = "/b"
format = "apache_common"
[[source]]
path = "/c"
"#;
    let environment = [("PALISADE__CLIENT__ALLOW", r#"["198.51.100.0/24"]"#), ("PALISADE__THRESHOLDS__FLAG", "3")];
    let loaded = root(&[("main.toml", main), ("conf.d/10.toml", fragment)], &environment).expect("no mistake");
    let config = &loaded.config;
    assert_eq!(config.mode, Mode::Enforce);
    assert_eq!((config.thresholds.flag, config.thresholds.block, config.thresholds.certain), (3, 9, 9));
    let networks = |list: &[ipnet::IpNet]| list.iter().map(|network| network.to_string()).collect::<Vec<_>>();
    assert_eq!(networks(&config.client.allow), ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "198.51.100.0/24"]);
    assert_eq!(networks(&config.client.trusted_proxies), ["192.0.2.10/32"]);
    let sources: Vec<_> = config.source.iter().map(|s| (s.path.as_str(), s.format.as_str(), s.start)).collect();
    use tail::Start::*;
    let expected = [("/a", "auto", End), ("/b", "apache_common", End), ("/d", "auto", Ago(5400)), ("/c", "auto", End)];
    assert_eq!(sources, expected);

    assert_eq!(loaded.files, [Path::new("main.toml"), Path::new("conf.d/10.toml")]);
    for (key, expected) in [
        ("mode", "main.toml:2"),
        ("source[0].path", "main.toml:3"),
        ("source[1].path", "conf.d/10.toml:11"),
        ("source[1].format", "conf.d/10.toml:12"),
        ("source[1].start", "default"),
        ("source[3].path", "conf.d/10.toml:14"),
        ("client.allow", "main.toml:5, conf.d/10.toml:7, PALISADE__CLIENT__ALLOW"),
        ("client.trusted_proxies", "conf.d/10.toml:9"),
        ("client.v6_prefix", "default"),
        ("thresholds.flag", "PALISADE__THRESHOLDS__FLAG"),
        ("thresholds.block", "conf.d/10.toml:3"),
        ("respond.use", "default"),
    ] {
        assert_eq!(origin(&loaded, key), expected, "{key}");
    }
}

#[test]
fn mistakes_of_all_files_and_variables_come_together_in_order() {
    let files = [("a.toml", "modes = 1\n[thresholds]\nflag = 6"), ("b.toml", "\n[thresholds]\nblock = 5\nact = 0")];
    let environment = [
        ("PALISADE__THRESHOLDS__BLOK", "9"),
        ("PALISADE__MODE", "observe"),
        ("PALISADE__CLIENT__ALLOW", "10.0.0.0/8"),
        ("PALISADE__SOURCE__PATH", "/x"),
        ("PALISADE__", "1"),
        ("PALISADE_MODE", "one underscore is somebody else's"),
    ];
    let expected = expect![[r#"
        a.toml:1: modes: unknown key; did you mean "mode"?
        b.toml:3: thresholds.block: needs thresholds.flag <= thresholds.block, but 6 is more than 5
        b.toml:4: thresholds.act: expected a whole number from 1 to 10, found 0
        PALISADE__: "": unknown key
        PALISADE__CLIENT__ALLOW: client.allow: expected a list such as ["…", "…"], found "10.0.0.0/8"
        PALISADE__MODE: mode: expected "dry_run" or "enforce", found "observe"
        PALISADE__SOURCE__PATH: source: expected a list of tables, [[source]], found a table
        PALISADE__THRESHOLDS__BLOK: thresholds.blok: unknown key; did you mean "block"?"#]];
    expected.assert_eq(&root(&files, &environment).expect_err("mistakes").to_string());
}

#[test]
fn variables_hold_toml_or_plain_text() {
    let loaded = root(
        &[],
        &[
            ("PALISADE__MODE", "enforce"),
            ("PALISADE__STATE_DIR", "/srv/x"),
            ("PALISADE__SOCKET", "1"),
            ("PALISADE__LOG__LEVEL", "\"debug\""),
            ("PALISADE__RESPOND", "{ use = ['iptables'], block_duration_secs = 60 }"),
            ("PALISADE__SOURCE", "[{ path = '/x' }]"),
            ("PALISADE__CLIENT__BLOCK_PRIVATE", "true"),
        ],
    );
    let config = loaded.expect("no mistake").config;
    assert_eq!((config.mode, config.log.level), (Mode::Enforce, LogLevel::Debug));
    assert_eq!((config.state_dir, config.socket), (PathBuf::from("/srv/x"), PathBuf::from("1")));
    assert_eq!((config.respond.names, config.respond.block_duration_secs), (vec!["iptables".to_owned()], 60));
    assert_eq!(config.source[0].path, "/x");
    assert!(config.client.block_private);
}

#[test]
fn a_variable_that_is_not_text_is_told() {
    let settings = [("PALISADE__STATE_DIR".into(), OsString::from_vec(vec![0xff]))];
    let error = compose(Input { settings: &settings, ..Input::default() }, &KNOWN).expect_err("not UTF-8");
    assert_eq!(error.to_string(), "PALISADE__STATE_DIR: state_dir: not UTF-8 text");
}

#[test]
fn networks_take_their_one_form() {
    for (written, read) in [
        ("192.0.2.7", "192.0.2.7/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
    ] {
        let config = file(&format!("[client]\nallow = ['{written}']")).expect(written).config;
        assert_eq!(config.client.allow[0].to_string(), read);
    }
    for wrong in ["localhost", "10.0.0", "10.0.0.0/", "192.0.2.7:80", "fe80::1%eth0", "", "10.0.0.1-10.0.0.9"] {
        assert!(file(&format!("[client]\nallow = ['{wrong}']")).is_err(), "{wrong}");
    }
}

#[test]
fn paths_belong_to_the_user() {
    let paths = |environment: &[(&str, &str)], text: &str, uid| {
        let files = vec![("x.toml".into(), text.as_bytes().to_vec())];
        let surroundings = variables(environment);
        let config = compose(Input { files, surroundings: &surroundings, uid, ..Input::default() }, &KNOWN);
        let config = config.expect("no mistake").config;
        (config.state_dir.display().to_string(), config.socket.display().to_string())
    };
    let home = ("HOME", "/home/ada");
    let state = ("XDG_STATE_HOME", "/s");
    let runtime = ("XDG_RUNTIME_DIR", "/run/user/7");
    let all = [home, state, runtime];
    let pair = |state: &str, socket: &str| (state.to_owned(), socket.to_owned());
    assert_eq!(paths(&all, "", 0), pair("/var/lib/palisade", "/run/palisade/palisade.sock"));
    assert_eq!(paths(&all, "", 7), pair("/s/palisade", "/run/user/7/palisade.sock"));
    let local = "/home/ada/.local/state/palisade";
    assert_eq!(paths(&[home], "", 7), pair(local, &format!("{local}/palisade.sock")));
    assert_eq!(paths(&[home, ("XDG_STATE_HOME", "relative")], "", 7).0, local);
    assert_eq!(paths(&[home], "state_dir = '/d'", 7), pair("/d", "/d/palisade.sock"));
    assert_eq!(paths(&all, "state_dir = '/d'\nsocket = '/k'", 7), pair("/d", "/k"));
    assert_eq!(paths(&[], "", 7).0, "/var/lib/palisade");
}

// Files on disk.

#[test]
fn the_main_file_comes_first_then_conf_d_by_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let main = directory.path().join("palisade.toml");
    fs::create_dir_all(directory.path().join("conf.d")).unwrap();
    fs::create_dir(directory.path().join("rules.d")).unwrap();
    fs::write(&main, "mode = 'enforce'\n[thresholds]\nflag = 2\nblock = 2").unwrap();
    fs::write(directory.path().join("conf.d/20.toml"), "[thresholds]\nblock = 4").unwrap();
    fs::write(directory.path().join("conf.d/10.toml"), "[thresholds]\nblock = 3\nflag = 3").unwrap();
    for ignored in ["conf.d/30.toml.bak", "conf.d/.40.toml", "conf.d/README"] {
        fs::write(directory.path().join(ignored), "this = 'is not read'").unwrap();
    }
    let environment = variables(&[("PALISADE__LOG__LEVEL", "warn")]);
    let loaded = load(&Place::File(main.clone()), &KNOWN, &environment, 0).expect("no mistake");
    assert_eq!((loaded.config.thresholds.flag, loaded.config.thresholds.block), (3, 4));
    assert_eq!(loaded.config.log.level, LogLevel::Warn);
    assert_eq!(loaded.config.detect.rules_dir, Some(directory.path().join("rules.d")));
    let conf_d = directory.path().join("conf.d");
    assert_eq!(loaded.files, [main.clone(), conf_d.join("10.toml"), conf_d.join("20.toml")]);

    let none = load(&Place::None, &KNOWN, &environment, 0).expect("no mistake");
    assert_eq!((none.config, none.files), (Config::default(), vec![]));

    fs::write(&main, "[detect]\nrules_dir = '/elsewhere'").unwrap();
    let loaded = load(&Place::File(main), &KNOWN, &[], 0).expect("no mistake");
    assert_eq!(loaded.config.detect.rules_dir, Some("/elsewhere".into()));
}

#[test]
fn files_that_cannot_be_read_are_told_with_the_others() {
    let directory = tempfile::tempdir().expect("a directory");
    let main = directory.path().join("palisade.toml");
    fs::create_dir_all(directory.path().join("conf.d/20.toml")).unwrap();
    fs::write(directory.path().join("conf.d/10.toml"), "blok = 1").unwrap();
    fs::write(directory.path().join("conf.d/30.toml"), vec![b'#'; (1 << 20) + 1]).unwrap();
    let said = |result: Result<Loaded, Mistakes>| {
        let text = result.expect_err("mistakes").to_string();
        text.replace(&directory.path().display().to_string(), "DIR")
    };
    let expected = expect![[r#"
        DIR/palisade.toml: cannot be read: No such file or directory (os error 2); name an existing file, or `none` for the built-in defaults
        DIR/conf.d/20.toml: cannot be read: Is a directory (os error 21); name the file in it
        DIR/conf.d/30.toml: cannot be read: larger than 1 MiB, so hardly a configuration
        DIR/conf.d/10.toml:1: blok: unknown key"#]];
    expected.assert_eq(&said(load(&Place::File(main.clone()), &KNOWN, &[], 0)));

    // The default place may be empty; what lies beside it still counts.
    fs::remove_dir(directory.path().join("conf.d/20.toml")).unwrap();
    fs::remove_file(directory.path().join("conf.d/30.toml")).unwrap();
    fs::write(directory.path().join("conf.d/10.toml"), "mode = 'enforce'").unwrap();
    let loaded = read(&main, Absent::Ignored).compose(&KNOWN, &[]).expect("no mistake");
    assert_eq!(loaded.config.mode, Mode::Enforce);
}

// What is shipped and shown.

#[test]
fn sensitivity_sets_what_nobody_set() {
    for (text, expected) in [
        ("", (5, 8)),
        ("sensitivity = 'low'", (6, 9)),
        ("sensitivity = 'normal'", (5, 8)),
        ("sensitivity = 'high'", (4, 7)),
        ("sensitivity = 'high'\nblock = 9", (4, 9)),
        ("sensitivity = 'low'\nflag = 3", (3, 9)),
        ("sensitivity = 'low'\nflag = 5\nblock = 8", (5, 8)),
    ] {
        let thresholds = file(&format!("[thresholds]\n{text}")).unwrap().config.thresholds;
        assert_eq!((thresholds.flag, thresholds.block), expected, "{text}");
    }
    mistakes(
        "[thresholds]\nsensitivity = \"hihg\"",
        expect![[r#"palisade.toml:2: thresholds.sensitivity: expected "low" or "normal" or "high", found "hihg""#]],
    );
    mistakes(
        "[thresholds]\nsensitivity = \"high\"\nflag = 8",
        expect!["palisade.toml:3: thresholds.flag: needs thresholds.flag <= thresholds.block, but 8 is more than 7"],
    );
}

#[test]
fn a_crawler_that_anybody_could_be_is_refused() {
    mistakes(
        r#"
[[crawler]]
agent = "bot"
domains = ["com", ".example."]
[[crawler]]
domains = ["crawl.example.com"]
"#,
        expect![[r#"
            palisade.toml:3: crawler.agent: "bot" is in too many user agents; at least four letters
            palisade.toml:4: crawler.domains: "com" is no domain of its own, such as "googlebot.com"
            palisade.toml:4: crawler.domains: ".example." is no domain of its own, such as "googlebot.com"
            palisade.toml:5: crawler.agent: missing"#]],
    );
}

#[test]
fn a_blocklist_has_a_url_and_is_not_fetched_all_the_time() {
    mistakes(
        r#"
[[blocklist]]
name = "a"
url = "/etc/list.txt"
refresh_secs = 60
[[blocklist]]
name = "b"
"#,
        expect![[r#"
            palisade.toml:4: blocklist.url: is no URL such as "https://lists.example.com/drop.txt"
            palisade.toml:5: blocklist.refresh_secs: expected a whole number of at least 600, found 60
            palisade.toml:6: blocklist.url: missing"#]],
    );
}

/// The example with its machine-dependent settings switched on as well.
fn whole_example() -> String {
    let switched_on = |line: &str| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(|first: char| first.is_ascii_lowercase() || first == '[') => {
            setting.to_owned()
        }
        _ => line.to_owned(),
    };
    example().lines().map(switched_on).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_is_true() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/palisade.toml");
    let loaded = load(&Place::File(path), &KNOWN, &[], 0).expect("no mistake");
    assert_eq!(loaded.config, Config::default());

    let mut whole = file(&whole_example()).expect("no mistake").config;
    let source = whole.source.pop().expect("the example of a source");
    assert_eq!((source.format.as_str(), source.start), ("auto", tail::Start::default()));
    let exclusion = whole.exclusion.pop().expect("the example of an exclusion");
    assert_eq!(exclusion.path.as_deref(), Some("^/admin/editor$"));
    let crawler = whole.crawler.pop().expect("the example of a crawler");
    assert_eq!((crawler.agent.as_str(), crawler.domains.len(), crawler.ranges.len()), ("AcmeWatch", 1, 1));
    let blocklist = whole.blocklist.pop().expect("the example of a blocklist");
    assert_eq!(
        (blocklist.name.as_str(), blocklist.refresh_secs, blocklist.duration_secs),
        ("drop", 86_400, Some(172_800))
    );
    let alert = whole.alert.pop().expect("the example of an alert");
    assert_eq!(alert.mistakes(), []);
    let default = notify::AlertConfig::default();
    assert_eq!((&alert.kinds, alert.group_secs, alert.daily_cap), (&default.kinds, default.group_secs, 100));
    assert_eq!((&*alert.title, &*alert.text, alert.retries), (&*default.title, &*default.text, default.retries));
    let export = whole.export.pop().expect("the example of an export");
    assert_eq!((export.mistakes(), export.format()), (vec![], notify::Format::Rfc5424));
    let tier = whole.tier.pop().expect("the example of a tier");
    let written = "name = 'local'\nprovider = 'ollama'\nurl = 'http://127.0.0.1:11434'\nmodel = 'phi3.5:3.8b'";
    let default: triage::TierConfig = toml::from_str(written).unwrap();
    assert_eq!(tier.ask(), default.ask());
    assert_eq!(tier.extra["reasoning_effort"], "low");
    let file = Some("/etc/palisade/cerebras.key".into());
    assert_eq!(tier, triage::TierConfig { api_key_file: file, ask: tier.ask, extra: tier.extra.clone(), ..default });
    assert_eq!(whole.reputation.abuseipdb_key_file.take(), Some("/etc/palisade/abuseipdb.key".into()));
    assert_eq!(whole.reputation.virustotal_key_file.take(), Some("/etc/palisade/virustotal.key".into()));
    assert_eq!(whole.compress.scaledown.key_file.take(), Some("/etc/palisade/scaledown.key".into()));
    let respond = &mut whole.respond;
    assert_eq!(respond.cloudflare.token_file.take(), Some("/etc/palisade/cloudflare.token".into()));
    assert_eq!(respond.webhook.key_file.take(), Some("/etc/palisade/webhook.key".into()));
    assert_eq!(respond.webhook.dead_letter.take(), Some("/var/lib/palisade/webhook-refused.jsonl".into()));
    assert_eq!(whole.detect.rules_dir.take(), Some("/etc/palisade/rules.d".into()));
    assert_eq!(whole.memory.redis_url_file.take(), Some("/etc/palisade/redis_url".into()));
    assert_eq!(whole.memory.redis_ca_file.take(), Some("/etc/palisade/redis-ca.pem".into()));
    assert_eq!(whole.store.database_url_file.take(), Some("/etc/palisade/database_url".into()));
    assert_eq!(whole.fleet.key_file.take(), Some("/etc/palisade/fleet.key".into()));
    assert_eq!(whole.store.database_ca_file.take(), Some("/etc/palisade/database-ca.pem".into()));
    assert_eq!(whole.respond.azure.batch_secs.take(), Some(5));
    assert_eq!(whole.respond.azure.client_secret_file.take(), Some("/etc/palisade/azure.key".into()));
    assert_eq!(whole.report.font.take(), Some("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc".into()));
    assert_eq!(whole.ask.saved.remove("nightly").as_deref(), Some("critical findings since last night"));
    assert_eq!(whole.log.file.take(), Some("/var/log/palisade/palisade.log".into()));
    assert_eq!(whole, Config::default());
}

#[test]
fn the_example_is_complete_and_each_key_is_explained() {
    let text = whole_example();
    let lines: Vec<(String, usize)> = compose::lines(&text);
    let written: Vec<String> = lines.iter().map(|(key, _)| key.replace("[0]", "[]")).collect();
    for key in check::keys(&schema()) {
        let is_it = |other: &String| *other == key || other.starts_with(&format!("{key}."));
        assert!(written.iter().any(is_it), "config/palisade.toml lacks {key}");
    }
    let all: Vec<&str> = text.lines().collect();
    for (key, line) in lines {
        assert!(all[line - 2].starts_with("# "), "{key} lacks its line of explanation");
    }
}

#[test]
fn the_password_of_redis_is_shown_nowhere() {
    let good = "[memory]\nredis_url = 'rediss://default:hunter2@example.com:6379'";
    let loaded = file(good).expect("no mistake");
    assert_eq!(loaded.config.memory.redis_url.reveal(), "rediss://default:hunter2@example.com:6379");
    let shown = format!("{} {loaded:?}", show(&loaded));
    assert!(shown.contains("redis_url = \"***\"") && !shown.contains("hunter2"), "{shown}");
    let told = file(&good.replace("rediss:", "https:")).expect_err("a mistake").to_string();
    assert!(told.contains("memory.redis_url: no URL such as") && !told.contains("hunter2"), "{told}");
    let named = root(&[], &[("PALISADE__MEMORY__REDIS_URL", "redis://:hunter2@127.0.0.1")]).expect("no mistake");
    assert_eq!(named.config.memory.redis_url.reveal(), "redis://:hunter2@127.0.0.1");
}

#[test]
fn agents_share_only_with_a_key_and_something_that_all_reach() {
    let key = "0123456789abcdef0123456789abcdef";
    let redis = "[memory]\nredis_url = \"redis://127.0.0.1\"\n";
    let told = |text: &str| file(text).expect_err("a mistake").to_string();
    assert!(told("[fleet]\nshare = true\n").contains("fleet.share: needs fleet.key or fleet.key_file"));
    let alone = told(&format!("[fleet]\nshare = true\nkey = \"{key}\"\n"));
    assert!(alone.contains("fleet.share: needs memory.redis_url or store.database_url"), "{alone}");
    let other = told(&format!("{redis}[fleet]\nshare = true\nkey = \"{key}\"\nthrough = \"postgres\"\n"));
    assert!(other.contains("fleet.share: needs store.database_url"), "{other}");
    let short = told("[fleet]\nkey = \"hunter2\"\n");
    assert!(short.contains("fleet.key: too short") && !short.contains("hunter2"), "{short}");
    assert!(told("agent = \"web 1\"\n").contains("agent: \"web 1\" is no name of an agent"));
    let loaded =
        file(&format!("agent = \"web-1\"\n{redis}[fleet]\nshare = true\nkey = \"{key}\"\n")).expect("no mistake");
    assert_eq!(loaded.config.agent_name(), "web-1");
    assert!(!Config::default().agent_name().is_empty(), "the host's");
}

#[test]
fn what_is_shown_reads_back_and_says_where_it_comes_from() {
    let files = [
        ("a.toml", "mode = 'enforce'\n[client]\nallow = ['192.0.2.1']\n[[source]]\npath = '/a'\nstart = 'beginning'"),
        ("b.toml", "[client]\nallow = ['192.0.2.2']"),
    ];
    let loaded = root(&files, &[("PALISADE__LOG__LEVEL", "debug")]).expect("no mistake");
    let shown = show(&loaded);
    assert_eq!(file(&shown).expect("no mistake").config, loaded.config);
    let expected = expect![[r#"
        mode = "enforce"  # from a.toml:1
        profile = "medium"  # default
        agent = ""  # default
        state_dir = "/var/lib/palisade"  # default
        socket = "/run/palisade/palisade.sock"  # default
        timezone = "local"  # default
        server_configs = ["/etc/nginx/nginx.conf", "/usr/local/nginx/conf/nginx.conf", "/usr/local/openresty/nginx/conf/nginx.conf", "/etc/apache2/apache2.conf", "/etc/httpd/conf/httpd.conf", "/usr/local/apache2/conf/httpd.conf"]  # default
        public_url = ""  # default
        exclusion = []  # default
        crawler = []  # default
        blocklist = []  # default
        alert = []  # default
        export = []  # default
        tier = []  # default

        [[source]]
        path = "/a"  # from a.toml:5
        format = "auto"  # default
        samples = []  # default
        start = "beginning"  # from a.toml:6

        [client]
        trusted_proxies = []  # default
        allow = ["192.0.2.1/32", "192.0.2.2/32"]  # from a.toml:3, b.toml:2
        allow_files = []  # default
        allow_names = []  # default
        cdn_files = []  # default
        verify_crawlers = true  # default
        block_private = false  # default
        v6_prefix = 64  # default

        [thresholds]
        sensitivity = "normal"  # default
        flag = 5  # default
        block = 8  # default
        certain = 9  # default
        act = 8  # default
        monitor = 4  # default

        [detect]
        disable = []  # default
        max_clients = 131072  # default
        half_life_secs = 300  # default
        flagged_secs = 3600  # default
        max_line_bytes = 65536  # default

        [respond]
        use = ["nftables"]  # default
        block_duration_secs = 14400  # default
        max_block_duration_secs = 604800  # default
        max_blocks_per_min = 60  # default
        max_served_percent = 30  # default
        max_network_percent = 50  # default
        widest_v4 = 16  # default
        widest_v6 = 32  # default
        block_networks = false  # default

        [respond.iptables]
        backend = "auto"  # default

        [respond.nginx]
        file = "/etc/nginx/palisade.conf"  # default
        format = "deny"  # default
        mode = "0644"  # default
        test = ["/usr/sbin/nginx", "-t", "-q"]  # default
        reload = ["/usr/sbin/nginx", "-s", "reload"]  # default
        timeout_secs = 20  # default
        min_reload_secs = 2  # default

        [respond.cloudflare]
        account_id = ""  # default
        list_id = ""  # default
        token = ""  # default
        mark = "palisade"  # default
        url = "https://api.cloudflare.com/client/v4"  # default
        timeout_secs = 60  # default

        [respond.command]
        ban = []  # default
        unban = []  # default
        batch = false  # default
        timeout_secs = 10  # default
        behind_proxies = false  # default

        [respond.webhook]
        url = ""  # default
        key = ""  # default
        timeout_secs = 10  # default
        retries = 3  # default
        behind_proxies = false  # default

        [respond.azure]
        mode = "nsg"  # default
        subscription = ""  # default
        resource_group = ""  # default
        resource = ""  # default
        waf = "application_gateway"  # default
        name = "palisade-block"  # default
        groups = 1  # default
        location = ""  # default
        priority = 100  # default
        timeout_secs = 900  # default
        credential = "client_secret"  # default
        tenant_id = ""  # default
        client_id = ""  # default
        client_secret = ""  # default
        endpoint = "https://management.azure.com"  # default
        authority = "https://login.microsoftonline.com"  # default

        [crowdsec_api]
        listen = ""  # default

        [http]
        listen = ""  # default

        [dashboard]
        listen = "127.0.0.1:9393"  # default
        user_header = ""  # default

        [triage]
        privacy = "masked"  # default
        max_waiting = 256  # default
        max_wait_secs = 120  # default
        verdict_ttl_secs = 3600  # default
        sample_per_hour = 0  # default

        [reputation]
        abuseipdb_key = ""  # default
        abuseipdb_url = "https://api.abuseipdb.com/api/v2"  # default
        abuseipdb_per_day = 1000  # default
        report_abuseipdb = false  # default
        abuseipdb_reports_per_day = 1000  # default
        virustotal_key = ""  # default
        virustotal_url = "https://www.virustotal.com/api/v3"  # default
        virustotal_per_min = 4  # default
        virustotal_per_day = 500  # default
        ttl_secs = 1800  # default
        geoip_files = []  # default

        [compress]
        max_tokens = 0  # default
        target_model = ""  # default
        usd_per_million_tokens = 0.0  # default

        [compress.scaledown]
        enabled = false  # default
        url = "https://api.scaledown.xyz/compress/raw/"  # default
        key = ""  # default
        timeout_secs = 30  # default

        [memory]
        ttl_secs = 3600  # default
        max_clients = 10000  # default
        half_life_secs = 1800  # default
        redis_url = ""  # default
        redis_prefix = "palisade"  # default
        redis_timeout_millis = 150  # default

        [store]
        database_url = ""  # default
        record = "findings"  # default
        addresses = "plain"  # default
        keep_days = 90  # default
        keep_analysed_days = 14  # default
        keep_totals_days = 730  # default
        max_outbox_rows = 100000  # default
        max_unsent_rows = 5000000  # default

        [fleet]
        share = false  # default
        key = ""  # default
        through = "auto"  # default
        take_from = ["*"]  # default
        max_ban_secs = 2592000  # default

        [report]

        [analyze]
        max_bytes = 268435456  # default
        sensitivity = "medium"  # default
        baseline = ""  # default

        [ask.saved]

        [log]
        level = "debug"  # from PALISADE__LOG__LEVEL
        format = "auto"  # default
        max_size_mb = 10  # default
        max_files = 5  # default

        # not set: ask.saved, compress.scaledown.key_file, detect.rules_dir, fleet.key_file, log.file, memory.redis_ca_file, memory.redis_url_file, report.font, reputation.abuseipdb_key_file, reputation.virustotal_key_file, respond.azure.batch_secs, respond.azure.client_secret_file, respond.cloudflare.token_file, respond.webhook.dead_letter, respond.webhook.key_file, store.database_ca_file, store.database_url_file
    "#]];
    expected.assert_eq(&shown);
}

#[test]
fn a_profile_lies_beneath_files_and_is_shown_as_the_origin() {
    let loaded = root(&[("a.toml", "profile = 'small'\n[memory]\nmax_clients = 7")], &[]).expect("no mistake");
    let config = &loaded.config;
    assert_eq!((config.detect.max_clients, config.memory.max_clients), (16_384, 7));
    assert_eq!(origin(&loaded, "detect.max_clients"), "profile small");
    assert_eq!(origin(&loaded, "memory.max_clients"), "a.toml:3");
    let shown = show(&loaded);
    assert!(shown.contains("max_clients = 16384  # profile small"), "{shown}");
    let large = root(&[], &[("PALISADE__PROFILE", "large")]).expect("no mistake");
    assert_eq!(large.config.detect.max_clients, 1_048_576, "a variable may name it too");
    let medium = file("profile = 'medium'").expect("no mistake");
    assert_eq!(medium.config, Config::default());
    assert!(taken(&medium.config, config).detect == medium.config.detect, "it needs a restart");
    assert!(differences(&medium.config, config).contains(&"profile".to_owned()));
    mistakes(
        "profile = 'smal'",
        expect![[
            r#"palisade.toml:1: profile: expected "small" or "medium" or "large", found "smal"; did you mean "small"?"#
        ]],
    );
}

#[test]
fn an_old_name_is_accepted_with_a_warning_wherever_it_stands() {
    const OLD: &[Renamed] = &[
        Renamed { old: "log.verbosity", new: "log.level" },
        Renamed { old: "threshold", new: "thresholds.block" },
        Renamed { old: "tier[].model_name", new: "tier[].model" },
    ];
    let compose = |files: &[(&str, &str)], environment: &[(&str, &str)]| {
        let files = files.iter().map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec())).collect();
        let settings = variables(environment);
        compose(Input { files, settings: &settings, renamed: OLD, ..Input::default() }, &KNOWN)
    };
    let tier = "[[tier]]\nname = 't'\nprovider = 'ollama'\nmodel_name = 'm'";
    let files = [("palisade.toml", "[log]\nverbosity = 'debug'"), ("conf.d/a.toml", tier)];
    let loaded = compose(&files, &[("PALISADE__THRESHOLD", "9")]).expect("no mistake");
    let config = &loaded.config;
    assert_eq!((config.log.level, config.thresholds.block, &*config.tier[0].model), (LogLevel::Debug, 9, "m"));
    let warned: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let expected = expect![[r#"
        palisade.toml:2: log.verbosity: is called log.level now; the next release does not know the old name any more
        conf.d/a.toml:4: tier[].model_name: is called tier[].model now; the next release does not know the old name any more
        PALISADE__THRESHOLD: threshold: is called thresholds.block now; the next release does not know the old name any more"#]];
    expected.assert_eq(&warned.join("\n"));
    assert_eq!(origin(&loaded, "log.level"), "palisade.toml:2");
    let both =
        compose(&[("palisade.toml", "[log]\nverbosity = 'debug'\nlevel = 'info'")], &[]).unwrap_err().to_string();
    assert_eq!(
        both,
        "palisade.toml:2: log.verbosity: is the old name of log.level, which is set too; remove one of the two"
    );
    let wrong = compose(&[("palisade.toml", "[log]\nverbosity = 'loud'")], &[]).unwrap_err().to_string();
    assert!(wrong.starts_with("palisade.toml:2: log.level: expected"), "{wrong}");
    let known = file("[log]\nverbosity = 'debug'").unwrap_err().to_string();
    assert!(known.contains("unknown key"), "without the table it is none: {known}");
}

#[test]
fn every_key_that_was_renamed_has_a_new_name_that_exists() {
    let keys = check::keys(&schema());
    for Renamed { old, new } in RENAMED {
        assert!(keys.iter().any(|key| key == new) && !keys.iter().any(|key| key == old), "{old} → {new}");
    }
}

#[test]
fn a_path_with_a_newline_is_shown_and_reads_back() {
    let loaded = file("state_dir = \"/a\\nmode = 'enforce'\"").expect("no mistake");
    let again = file(&show(&loaded)).expect("no mistake");
    assert_eq!((again.config.mode, again.config), (Mode::DryRun, loaded.config));
}

#[test]
fn the_schema_marks_networks_and_knows_every_table() {
    let schema = schema();
    let formats = schema.pointer("/$defs/ClientConfig/properties/allow/items/format");
    assert_eq!(formats.and_then(|format| format.as_str()), Some("ip-network"));
    let keys = check::keys(&schema);
    for key in ["mode", "source[].path", "thresholds.block", "respond.use", "log.format", "detect.rules_dir"] {
        assert!(keys.iter().any(|other| other == key), "{key} is not in {keys:?}");
    }
}

#[test]
fn depth_and_length_end_in_a_mistake() {
    let dots = |n| vec!["a"; n].join(".");
    for text in [
        format!("{} = 1", dots(100_000)),
        format!("[{}]", dots(100_000)),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(100_000)),
        format!("{} = 1", "a".repeat(100_000)),
    ] {
        assert!(file(&text).is_err());
    }
    let name = format!("PALISADE__{}", vec!["A"; 50_000].join("__"));
    assert!(root(&[], &[(&name, "1")]).is_err());
    assert!(root(&[], &[("PALISADE__SOURCE", &"[".repeat(100_000))]).is_err());
}

#[test]
fn a_log_in_place_of_a_configuration_is_refused_quickly_and_briefly() {
    let line = r#"192.0.2.7 - - [05/Jan/2026:00:00:00 +0000] "GET /?a=[1] HTTP/1.1" 200 12 "-" "curl/8""#;
    let log = format!("{line}\n").repeat((1 << 20) / (line.len() + 1));
    let text = file(&log).expect_err("mistakes").to_string();
    assert_eq!(text.lines().count(), 101, "{text}");
    assert!(text.ends_with("more mistakes"), "{text}");
    let keys: String = (0..10_000).map(|n| format!("k{n:05} = 1\n")).collect();
    assert!(file(&keys).is_err());
    let list = format!("[client]\nallow = [{}]", "'10.0.0.1', ".repeat(20_000));
    assert!(file(&list).is_ok());
}

/// Values of all types, most of them wrong wherever they stand.
const VALUES: &[&str] = &[
    "0",
    "1",
    "8",
    "64",
    "300",
    "70000",
    "-1",
    "9223372036854775807",
    "1.5",
    "nan",
    "true",
    "''",
    "'x'",
    "'auto'",
    "'end'",
    "'json'",
    "'10.0.0.0/8'",
    "[]",
    "['x']",
    "['nftables']",
    "['::1']",
    "[[]]",
    "{}",
    "[{}]",
    "[{path='x'}]",
    "1979-05-27",
];

proptest! {
    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), variable in any::<Vec<u8>>()) {
        let settings = [("PALISADE__THRESHOLDS".into(), OsString::from_vec(variable))];
        let files = vec![("x.toml".into(), bytes)];
        let _ = compose(Input { files, settings: &settings, ..Input::default() }, &KNOWN).map_err(|e| e.to_string());
    }

    #[test]
    fn torn_configurations_never_panic(from in 0usize..5000, to in 0usize..5000, with in "[\\[\\]\"'=#\n{}a.\u{e9}]{0,4}") {
        let mut text: Vec<char> = whole_example().chars().collect();
        let (from, to) = (from.min(to).min(text.len()), to.min(text.len()));
        text.splice(from..to.max(from), with.chars());
        let _ = file(&text.into_iter().collect::<String>()).map_err(|e| e.to_string());
    }

    // The walker is the judge: what it lets through, serde takes, so that each mistake has its
    // place; and what is wrong is told under the key that is wrong.
    #[test]
    fn every_mistake_has_its_place(
        settings in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6)
    ) {
        let keys = check::keys(&schema());
        let mut chosen = std::collections::BTreeMap::new();
        for (key, value) in settings {
            let key = key.get(&keys).replace("source[].path", "source").replace("source[].", "log.").replace("exclusion[].", "log.").replace("crawler[].", "log.").replace("blocklist[].", "log.").replace("tier[].", "log.").replace("alert[].", "log.").replace("export[].", "log.");
            chosen.insert(key, *value.get(VALUES));
        }
        let text: String = chosen.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        if let Err(Mistakes(mistakes)) = file(&text) {
            for mistake in mistakes {
                let (line, _) = mistake.origin.position();
                prop_assert!(line > 0, "{mistake}");
                let at_line = text.lines().nth(line - 1).unwrap_or_default();
                let key = at_line.split(" = ").next().unwrap_or_default();
                prop_assert!(mistake.key.starts_with(key), "{mistake} in {at_line}");
            }
        }
    }
}

#[test]
fn a_format_must_understand_its_samples() {
    let source = |format: &str, sample: &str| {
        let text = format!("[[source]]\npath = '/a'\nformat = '{format}'\nsamples = ['{sample}']");
        root(&[("a.toml", &text)], &[]).map(|_| ()).map_err(|mistakes| mistakes.to_string())
    };
    let login = r"regex:(?<time>\S+) login (?<failure>failed) for (?<user>.*) from (?<source_ip>\S+)";
    assert_eq!(source(login, "2026-01-05T12:30:45Z login failed for alice from 203.0.113.7"), Ok(()));
    for (format, sample, said) in [
        (
            login,
            "login failed",
            "a.toml:4: source.samples: the format does not understand \"login failed\": the regular",
        ),
        ("$remote_addr [$time_local]", "x", "a.toml:4: source.samples: the format does not understand \"x\""),
        ("auto", "x", "a.toml:4: source.samples: samples are for a format that is named"),
        ("regex:(?<who>.*)", "x", "a.toml:3: source.format: no group is called \"who\""),
    ] {
        let told = source(format, sample).unwrap_err();
        assert!(told.contains(said), "{told}");
    }
}
