//! Disks, limits, the clock, the firewall and containers.

use std::os::unix::process::CommandExt;
use std::process::Command;

use super::{finds, finds_no, follow, home, visits};
use crate::support::daemon::{Home, eventually};
use crate::support::namespaces_or_skip;

/// A home whose Palisade is started by this line of the shell, in mounts and processes of its own.
fn inside(line: &str) -> Home {
    let line = format!("{line}; exec \"$@\"");
    Home::run_by(&["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-ec", &line, "sh"])
}

#[test]
fn a_disk_that_is_full_or_nearly_or_read_only_is_told() {
    if !namespaces_or_skip("full disks") {
        return;
    }
    let full = inside("mkdir -p state && mount -t tmpfs -o size=2m tmpfs state");
    follow(&full, &visits(100), "");
    let found = finds(&full, "error", "disk_full", "are free of", "free some");
    assert!(found["subject"].as_str().unwrap().starts_with("state_dir"), "{found}");
    let files =
        "mkdir -p state && mount -t tmpfs -o size=2g,nr_inodes=4000 tmpfs state && seq -f state/%g 3850 | xargs touch";
    let low = inside(files);
    follow(&low, &visits(100), "");
    finds(&low, "warning", "disk_low", "more files fit of 4000", "free some");
    let closed = inside("mkdir -p state && mount -t tmpfs -o ro tmpfs state");
    follow(&closed, &visits(100), "");
    finds(&closed, "error", "disk_read_only", "mounted read-only", "another state_dir");
}

#[test]
fn limits_of_the_kernel_are_told() {
    if !namespaces_or_skip("limits") {
        return;
    }
    let few = inside("ulimit -n 64");
    follow(&few, &visits(100), "");
    finds(&few, "warning", "few_open_files", "64 files may be open", "LimitNOFILE");
    let line = "echo 0 > /proc/sys/user/max_inotify_instances; exec \"$@\"";
    let blind = Home::run_by(&["unshare", "--user", "--map-root-user", "sh", "-ec", line, "sh"]);
    follow(&blind, &visits(100), "");
    finds(&blind, "warning", "no_inotify", "looked at once a second", "max_user_instances");
}

#[test]
fn a_clock_that_nobody_sets_is_told() {
    if !namespaces_or_skip("clocks") {
        return;
    }
    let start = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && cp /bin/sleep systemd-timesyncd";
    let waiting = inside(&format!("{start}; ./systemd-timesyncd 60 >/dev/null 2>&1 & :"));
    follow(&waiting, &visits(100), "");
    finds(&waiting, "warning", "clock_not_synchronised", "has not reached a time server", "NTP=");
    let nobody = inside(start);
    follow(&nobody, &visits(100), "");
    finds(&nobody, "note", "clock_not_kept", "no program that keeps it", "systemd-timesyncd");
    let well = inside(&format!("{start}; mkdir /run/systemd/timesync; touch /run/systemd/timesync/synchronized"));
    follow(&well, &visits(100), "");
    finds_no(&well, "clock_not_synchronised");
    finds_no(&well, "clock_not_kept");
}

#[test]
fn a_firewall_that_cannot_block_is_told() {
    if !namespaces_or_skip("missing firewalls") {
        return;
    }
    let bare = inside("mount -t tmpfs tmpfs /usr/sbin");
    follow(&bare, &visits(100), "mode = \"enforce\"");
    finds(&bare, "error", "firewall_missing", "is not installed", "apt-get install nftables");
    follow(&bare, &visits(100), "mode = \"dry_run\"");
    finds(&bare, "note", "firewall_missing", "is not installed", "apt-get install nftables");
    let nobody = Home::run_by(&[
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--bounding-set=-all",
        "--inh-caps=-all",
    ]);
    nobody.open_to_others();
    follow(&nobody, &visits(100), "mode = \"enforce\"");
    finds(&nobody, "error", "no_capability", "may not change the firewall", "AmbientCapabilities=CAP_NET_ADMIN");
    let nothing = home("mode = \"enforce\"\n[respond]\nuse = [\"dry_run\"]");
    finds(&nothing, "error", "nobody_blocks", "nobody is blocked", "respond.use = [\"nftables\"]");
}

#[test]
fn ports_of_containers_are_told_where_nothing_guards_them() {
    let mut proxy = Command::new("sh");
    // As docker-proxy's command line looks: the rest are words of a script that only waits.
    let proxy = proxy.arg0("docker-proxy").args(["-c", "sleep 60; :", "x", "-host-port", "18080"]);
    let mut proxy = proxy.spawn().unwrap();
    let of = |responder: &str| home(&format!("mode = \"enforce\"\n[respond]\nuse = [\"{responder}\"]"));
    let unguarded = of("dry_run");
    let found = eventually("it runs", || {
        let found = finds(&unguarded, "warning", "docker_ports", "none of respond.use", "\"nftables\"");
        found["subject"].as_str().unwrap().contains("18080").then_some(found)
    });
    assert_eq!(found["level"], "warning");
    finds(&of("nftables"), "note", "docker_ports", "before Docker's", "doctor --firewall");
    proxy.kill().unwrap();
    proxy.wait().unwrap();
}

#[test]
fn files_that_do_not_answer_are_told_and_nobody_waits_for_them() {
    let home = Home::new();
    let pipe = home.path("key");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let config = format!(
        "[reputation]\nvirustotal_key_file = \"{}\"\nvirustotal_url = \"http://127.0.0.1:1\"\n",
        pipe.display()
    );
    follow(&home, &visits(100), &config);
    finds(&home, "error", "host_silent", "do not answer", "network file system");
}

#[test]
fn a_database_that_outgrows_its_disk_or_its_log_is_told() {
    let home = home("");
    std::fs::create_dir(home.path("state")).unwrap();
    // Files with holes: they only say that they are so long.
    for (name, bytes) in [("palisade.db", 11_000_000_000), ("palisade.db-wal", 600_000_000)] {
        std::fs::File::create(home.path("state").join(name)).unwrap().set_len(bytes).unwrap();
    }
    finds(&home, "warning", "database_large", "it has 11.0 GB", "store.keep_days");
    finds(&home, "warning", "database_log_grows", "has 600 MB", "fuser");
}
