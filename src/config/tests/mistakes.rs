//! What is refused, and how it is told.

use super::*;

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
    mistakes(
        "mode: enforce\nlogs:\n  - /var/log/nginx/access.log\n",
        expect![[r#"
            palisade.toml:1: syntax error: invalid unquoted key, expected letters, numbers, `-`, `_`; this looks like YAML, write KEY = VALUE
            palisade.toml:2: syntax error: key with no value, expected `=`
            palisade.toml:3: syntax error: key with no value, expected `=`"#]],
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
