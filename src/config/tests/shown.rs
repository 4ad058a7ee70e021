//! The example, what is shown, and the schema.

use super::*;

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
fn names_that_toml_quotes_have_their_values_in_rows() {
    let loaded = file("[ask.saved]\n\"ssh last night\" = \"ssh attacks last night\"\n").expect("no mistake");
    let rows = super::show::rows(&loaded);
    let row = rows.iter().find(|(key, ..)| key == "ask.saved.\"ssh last night\"").expect("a row");
    assert_eq!((&row.1, row.2.as_str()), (&"ssh attacks last night".into(), "from palisade.toml:2"));
    assert!(rows.iter().all(|(_, value, _)| !value.is_null()), "{rows:?}");
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
