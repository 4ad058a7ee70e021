//! Files, variables and defaults become one configuration.

use super::*;

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
        expect![[
            r#"palisade.toml:2: thresholds.sensitivity: expected "low" or "normal" or "high", found "hihg"; did you mean "high"?"#
        ]],
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
