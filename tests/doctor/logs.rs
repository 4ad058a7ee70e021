//! What is followed and understood, by whose clock, and who stands before it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use nix::unistd::Group;
use palisade::event::Timestamp;

use super::{finds, finds_no, follow, home, visits};
use crate::support::daemon::Home;
use crate::support::log::{line, line_at};
use crate::support::namespaces_or_skip;

#[test]
fn a_pattern_without_files_is_told() {
    let home = Home::new();
    let pattern = home.path("*.log").display().to_string();
    home.configure(&format!("[[source]]\npath = \"{pattern}\"\n"));
    let found = finds(&home, "error", "nothing_followed", "no file is there", "[[source]]");
    assert_eq!(found["subject"], pattern);
    fs::write(home.path("access.log"), visits(10)).unwrap();
    finds_no(&home, "nothing_followed");
    home.configure(&format!("[[source]]\npath = \"{pattern}\"\n[[source]]\npath = \"/nonexistent/*.log\"\n"));
    finds(&home, "warning", "no_file", "no such file", "remove this [[source]]");
}

#[test]
fn a_log_that_may_not_be_read_is_told_with_the_group_that_may() {
    if !namespaces_or_skip("logs of others") {
        return;
    }
    let home = Home::run_by(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    home.open_to_others();
    fs::create_dir(home.path("logs")).unwrap();
    let log = home.path("logs/access.log");
    fs::write(&log, visits(10)).unwrap();
    home.configure(&format!("[[source]]\npath = \"{}\"\n", home.path("logs/*.log").display()));
    let adm = Group::from_name("adm").unwrap().unwrap().gid.as_raw();
    let set = |path: &std::path::Path, mode| {
        chown(path, Some(0), Some(adm)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set(&log, 0o640);
    let found = finds(&home, "error", "log_unreadable", "root:adm, mode 640", "usermod -aG adm palisade");
    assert_eq!(found["subject"], log.display().to_string());
    set(&log, 0o600);
    finds(&home, "error", "log_unreadable", "mode 600", "setfacl -m u:palisade");
    set(&home.path("logs"), 0o750);
    let found = finds(&home, "error", "log_unreadable", "mode 750", "usermod -aG adm palisade");
    assert_eq!(found["subject"], home.path("logs").display().to_string(), "the directory is what is closed");
}

#[test]
fn lines_that_are_not_understood_are_told_with_one_of_them() {
    let home = Home::new();
    follow(&home, &"no log line at all\n".repeat(60), "");
    finds(&home, "error", "log_not_understood", "60 of its last 60 lines", "palisade parse");
    let mixed = visits(60) + &"no log line at all\n".repeat(40);
    follow(&home, &mixed, "");
    let found =
        finds(&home, "warning", "log_not_understood", "40 of its last 100 lines are not understood as", "`format`");
    assert!(found["problem"].as_str().unwrap().ends_with("no log line at all"), "{found}");
    follow(&home, &visits(100), "");
    finds_no(&home, "log_not_understood");
}

#[test]
fn times_far_from_this_hosts_clock_are_told() {
    let home = Home::new();
    let at = |millis: i64| {
        let time = Timestamp(Timestamp::now().0 + millis);
        (0..30).map(|n| line_at(time, &format!("203.0.113.{n}"), "GET /", 200)).collect::<String>()
    };
    follow(&home, &at(37 * 60_000), "");
    finds(&home, "error", "log_ahead", "37 min ahead of the time at which they were written", "NTP");
    follow(&home, &at(-2 * 3_600_000), "");
    finds(&home, "error", "log_behind", "2.0 h behind", "set `timezone`");
    follow(&home, &at(-60_000), "");
    finds_no(&home, "log_behind");
}

#[test]
fn proxies_that_nobody_named_are_told() {
    let home = Home::new();
    let forwarded = |n: usize| format!(" \"203.0.113.{}\"\n", n + 1);
    let from_proxy: String =
        (0..100).map(|n| line("192.0.2.80", "GET /", 200).trim_end().to_owned() + &forwarded(n)).collect();
    let format = r#"'$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" "$http_x_forwarded_for"'"#;
    fs::write(home.path("access.log"), &from_proxy).unwrap();
    let log = home.path("access.log").display().to_string();
    let configure = |more: &str| home.configure(&format!("{more}\n[[source]]\npath = \"{log}\"\nformat = {format}\n"));
    configure("");
    finds(&home, "error", "proxy_not_trusted", "X-Forwarded-For", "client.trusted_proxies, such as [\"192.0.2.80\"]");
    configure("[client]\ntrusted_proxies = [\"192.0.2.80\"]");
    finds_no(&home, "proxy_not_trusted");
    finds_no(&home, "private_clients");

    let from =
        |network: &str| (0..100).map(|n| line(&format!("{network}.{}", n % 5 + 1), "GET /", 200)).collect::<String>();
    follow(&home, &from("172.17.0"), "");
    finds(&home, "warning", "private_clients", "172.17.0.1", "userland-proxy");
    fs::write(home.path("cdn.txt"), "198.51.100.0/24\n").unwrap();
    let cdn = format!("[client]\ncdn_files = [\"{}\"]", home.path("cdn.txt").display());
    follow(&home, &from("198.51.100"), &cdn);
    finds(&home, "warning", "cdn_as_client", "100 %", "real_ip_header");
}

#[test]
fn a_healthy_log_is_no_reason_to_do_anything() {
    let home = home("");
    for check in
        ["nothing_followed", "log_unreadable", "log_not_understood", "log_ahead", "log_behind", "private_clients"]
    {
        finds_no(&home, check);
    }
    fs::write(home.path("access.log"), "").unwrap();
    finds_no(&home, "log_not_understood");
    let said = home.palisade(&["doctor"]).stdout;
    assert!(said.contains("access.log: is empty so far\n"), "{said}");
}
