//! What of fail2ban's settings has a place here, and what has none, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use ipnet::IpNet;
use serde::Serialize;

use super::Jail;
use crate::config::network;

/// What a jail's work is called here, by fail2ban's filters.
struct Cover {
    filters: &'static [&'static str],
    /// Ids of rules and windows, or how else.
    by: &'static str,
}

const LOGINS: &str = "login-failures, login-failures-slow, login-many-users";
const COVERS: [Cover; 10] = [
    Cover {
        filters: &[
            "sshd",
            "dropbear",
            "pam-generic",
            "exim",
            "sendmail-auth",
            "dovecot",
            "courier-auth",
            "cyrus-imap",
            "vsftpd",
            "proftpd",
            "pure-ftpd",
            "mysqld-auth",
            "mssql-auth",
            "asterisk",
        ],
        by: LOGINS,
    },
    Cover { filters: &["postfix"], by: "login-failures, login-failures-slow, login-many-users, mail-refused" },
    Cover { filters: &["sendmail-reject", "courier-smtp", "exim-spam"], by: "mail-refused, mail-refused-some" },
    Cover { filters: &["apache-auth", "nginx-http-auth", "lighttpd-auth"], by: "http-unauthorized, login-failures" },
    Cover { filters: &["apache-badbots"], by: "scanner-attack-tool, scanner-vulnerability-scanner, http-crawl" },
    Cover {
        filters: &["apache-noscript", "apache-botsearch", "apache-nohome", "nginx-botsearch"],
        by: "http-path-scan, http-path-scan-slow, probe-admin-panel, probe-webshell, in the access log",
    },
    Cover { filters: &["apache-overflows", "nginx-bad-request"], by: "protocol-junk, http-errors, in the access log" },
    Cover { filters: &["apache-shellshock"], by: "rce-shellshock, in the access log" },
    Cover { filters: &["php-url-fopen"], by: "lfi-remote-script, lfi-remote-base" },
    Cover { filters: &["nginx-limit-req"], by: "http-throttled, http-flood, in the access log" },
];

/// Filters that no rule stands for, and what does their work.
const OTHERWISE: [(&str, &str); 2] = [
    ("recidive", "each further ban of a client is twice as long, up to respond.max_block_duration_secs"),
    ("apache-fakegooglebot", "client.verify_crawlers: who claims to be a crawler is believed when DNS says so"),
];

/// What the jails become.
#[derive(Clone, Debug, Serialize)]
pub struct Carried {
    /// A file for `conf.d`.
    pub fragment: String,
    pub jails: Vec<CarriedJail>,
    /// What has no place here, a sentence each.
    pub not_carried: Vec<String>,
}

/// A jail, and what does its work here.
#[derive(Clone, Debug, Serialize)]
pub struct CarriedJail {
    #[serde(flatten)]
    pub jail: Jail,
    /// None: nothing does.
    pub covered_by: Option<&'static str>,
}

/// What `jails` become. `usual`: logs that Palisade reads where no source is configured; any
/// `[[source]]` takes their place, so that they are named too.
pub fn carry(jails: &[Jail], usual: &[String]) -> Carried {
    let mut missed = Missed::default();
    let mut sources: BTreeSet<&str> = BTreeSet::new();
    let mut allow: BTreeMap<IpNet, Vec<&str>> = BTreeMap::new();
    let mut carried = vec![];
    for jail in jails {
        let covered_by = covered_by(&jail.filter);
        carried.push(CarriedJail { jail: jail.clone(), covered_by });
        missed.of(jail, covered_by.is_some());
        if COVERS.iter().any(|cover| cover.filters.contains(&&*jail.filter)) {
            sources.extend(jail.logs.iter().map(String::as_str));
        }
        for entry in &jail.ignored {
            match network(entry) {
                Some(network) if network.addr().is_loopback() => {}
                Some(network) => allow.entry(network).or_default().push(&jail.name),
                None => missed.all.push(format!(
                    "{}: ignoreip {entry:?}: names are not looked up; put the addresses into client.allow",
                    jail.name
                )),
            }
        }
    }
    let limits = jails.iter().filter_map(|jail| Some((&jail.name, jail.max_retry?, jail.find_secs?)));
    let limits: Vec<String> = limits.map(|(name, times, secs)| format!("{name} {times} in {secs} s")).collect();
    if !limits.is_empty() {
        missed.all.push(format!(
            "maxretry and findtime ({}): windows have limits of their own, see `palisade rules list`",
            limits.join(", ")
        ));
    }
    for (network, of) in allow.iter().filter(|(_, of)| of.len() < jails.len()) {
        missed
            .all
            .push(format!("{network} is ignored by {} only; here an allowed network is never blocked", of.join(", ")));
    }
    let (first, longest) = durations(jails, &mut missed.all);
    // A glob whose stars another's stars stand for finds nothing that the other does not.
    let finds = |usual: &String, path: &str| glob::Pattern::new(usual).is_ok_and(|usual| usual.matches(path));
    // sshd's messages are in a file or in the journal; whoever reads both counts them twice.
    let is_ssh = |path: &str| ["journal:ssh.service", "journal:sshd.service"].contains(&path);
    let has_ssh = usual.iter().any(|usual| is_ssh(usual) || !usual.contains('*'));
    let is_usual = |path: &str| (has_ssh && is_ssh(path)) || usual.iter().any(|usual| finds(usual, path));
    let own: Vec<&str> = sources.into_iter().filter(|path| !is_usual(path)).collect();
    let all: Vec<&str> = match own.is_empty() {
        true => vec![],
        false => own.into_iter().chain(usual.iter().map(String::as_str)).collect(),
    };
    let networks: Vec<String> = allow.keys().map(|network| crate::event::shown(*network)).collect();
    Carried { fragment: fragment(&all, &networks, first, longest), jails: carried, not_carried: missed.all }
}

fn covered_by(filter: &str) -> Option<&'static str> {
    let rules = COVERS.iter().find(|cover| cover.filters.contains(&filter)).map(|cover| cover.by);
    rules.or_else(|| OTHERWISE.iter().find(|(name, _)| *name == filter).map(|(_, by)| *by))
}

/// What cannot be carried, as it is found.
#[derive(Default)]
struct Missed {
    all: Vec<String>,
}

impl Missed {
    fn of(&mut self, jail: &Jail, is_covered: bool) {
        let name = &jail.name;
        let mut say = |what: String| self.all.push(format!("{name}: {what}"));
        for wrong in &jail.wrong {
            say(format!("is not understood: {wrong}"));
        }
        if !is_covered {
            say(format!("filter {:?} has no counterpart here, and its log is not read for it", jail.filter));
        }
        if jail.own_filter {
            say(format!("filter.d/{}.local: expressions of your own are not read", jail.filter));
        }
        if is_covered && jail.logs.is_empty() {
            say("it names no log: name it in a [[source]]".into());
        }
        if !jail.ports.is_empty() {
            say(format!("banned on ports {} there; here on all", jail.ports.replace('\n', " ")));
        }
        if !jail.ignore_command.is_empty() {
            say("ignorecommand: nothing is run to ask whether a client is let go; use client.allow or client.allow_files".into());
        }
        for action in &jail.other_actions {
            say(format!("action {action:?}: only the ban itself is carried"));
        }
    }
}

/// `respond.block_duration_secs` and `max_block_duration_secs`, where a jail says them.
fn durations(jails: &[Jail], missed: &mut Vec<String>) -> (Option<u64>, Option<u64>) {
    let mut usual: BTreeMap<u64, usize> = BTreeMap::new();
    for jail in jails {
        match jail.ban_secs.map(u64::try_from) {
            Some(Ok(secs @ 1..)) => *usual.entry(secs).or_default() += 1,
            Some(Err(_)) => missed.push(format!(
                "{}: bans for good (bantime below zero): every ban here ends, after respond.max_block_duration_secs at the longest",
                jail.name
            )),
            _ => {}
        }
    }
    // Of two that as many jails have, the shorter.
    let first = usual.iter().rev().max_by_key(|(_, count)| **count).map(|(secs, _)| *secs);
    for jail in jails {
        if let (Some(first), Some(Ok(secs @ 1..))) = (first, jail.ban_secs.map(u64::try_from))
            && secs != first
        {
            missed.push(format!("{}: bantime {secs} s: all first bans here are as long, {first} s", jail.name));
        }
    }
    let grows = jails.iter().filter(|jail| jail.grows).filter_map(|jail| jail.max_ban_secs);
    let longest = grows.filter_map(|secs| u64::try_from(secs).ok()).max();
    let longest = longest.into_iter().chain(usual.into_keys()).max();
    (first, longest)
}

fn fragment(sources: &[&str], allow: &[String], first: Option<u64>, longest: Option<u64>) -> String {
    let text = |value: &str| toml::Value::from(value).to_string();
    let mut out = String::from("# What fail2ban was set to. Palisade blocks nobody until mode = \"enforce\" is set.\n");
    let mut say = |line: std::fmt::Arguments<'_>| {
        let _ = writeln!(out, "{line}");
    };
    if !allow.is_empty() {
        let networks: Vec<String> = allow.iter().map(|network| text(network)).collect();
        say(format_args!("\n[client]\nallow = [{}]", networks.join(", ")));
    }
    if let Some(first) = first {
        say(format_args!("\n[respond]\n# Each further ban of a client is twice as long."));
        say(format_args!("block_duration_secs = {first}"));
        if let Some(longest) = longest.filter(|longest| *longest > first) {
            say(format_args!("max_block_duration_secs = {longest}"));
        }
    }
    if sources.is_empty() {
        say(format_args!("\n# Logs: those that are found without configuration."));
    } else {
        say(format_args!("\n# With any [[source]] only these are read."));
    }
    for path in sources {
        say(format_args!("[[source]]\npath = {}", text(path)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jail(name: &str) -> Jail {
        Jail {
            name: name.into(),
            filter: name.into(),
            logs: vec!["/var/log/auth.log".into()],
            ban_secs: Some(600),
            ..Jail::default()
        }
    }

    #[test]
    fn every_rule_that_does_a_jails_work_exists() {
        let rules = crate::detect::Ruleset::new(&[], &[]).unwrap();
        let windows = rules.windows.iter().map(|window| &*window.spec.id);
        let known: BTreeSet<&str> = rules.rules.iter().map(|rule| &*rule.spec.id).chain(windows).collect();
        for cover in &COVERS {
            for id in cover.by.trim_end_matches(", in the access log").split(", ") {
                assert!(known.contains(id), "{id} is no rule or window");
            }
        }
    }

    #[test]
    fn settings_become_a_fragment_and_what_is_left_is_told() {
        let usual = ["/var/log/auth.log".to_owned(), "/var/log/nginx/*access*.log".to_owned()];
        let mut sshd = jail("sshd");
        sshd.ignored = ["127.0.0.1/8", "::1", "192.0.2.7", "office.example"].map(String::from).into();
        (sshd.ports, sshd.max_retry, sshd.find_secs) = ("ssh".into(), Some(5), Some(600));
        let carried = carry(std::slice::from_ref(&sshd), &usual);
        assert!(!carried.fragment.contains("[[source]]"), "found without configuration: {}", carried.fragment);
        assert!(carried.fragment.contains("allow = [\"192.0.2.7\"]"), "{}", carried.fragment);
        assert!(carried.not_carried.iter().any(|line| line.contains("\"office.example\"")));
        assert!(!carried.not_carried.iter().any(|line| line.contains("ignored by")), "{:?}", carried.not_carried);

        for (log, is_written) in [("journal:sshd.service", false), ("journal:dovecot.service", true)] {
            sshd.logs = vec![log.into()];
            let carried = carry(std::slice::from_ref(&sshd), &usual);
            assert_eq!(carried.fragment.contains(log), is_written, "{}", carried.fragment);
        }

        let mut mine = jail("mine");
        (mine.logs, mine.own_filter) = (vec!["/srv/\"a\".log".into()], true);
        let mut ftp = jail("vsftpd");
        (ftp.logs, ftp.ban_secs) = (vec!["/var/log/\"vsftpd\".log".into()], Some(-1));
        let mut again = jail("recidive");
        (again.ban_secs, again.grows, again.max_ban_secs) = (Some(7200), true, Some(86_400));
        again.logs = vec!["/var/log/fail2ban.log".into()];
        let carried = carry(&[sshd, mine, ftp, again], &usual);
        let table: toml::Table = carried.fragment.parse().unwrap();
        assert_eq!(table["respond"]["block_duration_secs"].as_integer(), Some(600));
        assert_eq!(table["respond"]["max_block_duration_secs"].as_integer(), Some(86_400));
        let paths: Vec<&str> =
            table["source"].as_array().unwrap().iter().map(|source| source["path"].as_str().unwrap()).collect();
        assert!(paths.contains(&"/var/log/\"vsftpd\".log") && paths.contains(&"/var/log/auth.log"), "{paths:?}");
        assert!(!paths.contains(&"/srv/\"a\".log"), "nothing here understands it");
        for said in [
            "mine: filter \"mine\" has no counterpart",
            "mine: filter.d/mine.local",
            "vsftpd: bans for good",
            "recidive: bantime 7200 s",
            "192.0.2.7/32 is ignored by sshd only",
        ] {
            assert!(carried.not_carried.iter().any(|line| line.contains(said)), "{said}: {:#?}", carried.not_carried);
        }
    }
}
