//! What this host shows: its disks, limits, processes, and the files that say what Palisade does.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};
use rustix::thread::{CapabilitySet, capabilities};

use super::{keys, logs};
use crate::config::{Config, Loaded, Origin, Place};
use crate::doctor::{Disk, Followed, Keeper, Key, Limits, OwnFile, Stored};
use crate::pipeline::replay;
use crate::respond;

/// Everything that is read here.
pub struct Host {
    pub followed: Vec<Followed>,
    pub keeper: Keeper,
    pub missing: Vec<(&'static str, &'static str)>,
    pub may_change_firewall: bool,
    pub published_ports: Vec<u16>,
    pub keys: Vec<Key>,
    pub files: Vec<OwnFile>,
    pub uid: u32,
    pub disks: Vec<Disk>,
    pub stored: Stored,
    pub limits: Limits,
    pub processes: Vec<u32>,
}

/// Programs that a responder runs, and the Debian packages that have them.
const PROGRAMS: [(&str, &str, &str); 3] =
    [("nftables", "nft", "nftables"), ("iptables", "iptables", "iptables"), ("iptables", "ipset", "ipset")];

impl Host {
    /// Reads it. May block for as long as a file system does.
    pub fn look(loaded: &Loaded, place: &Place) -> Host {
        let config = &loaded.config;
        let followed = logs::follow(config);
        let processes = Processes::read();
        let keys = keys::read(config);
        let uses = |responder: &str| config.respond.names.iter().any(|name| name == responder);
        let missing =
            PROGRAMS.iter().filter(|(responder, program, _)| uses(responder) && !respond::is_installed(program));
        let disks = disks(config, &followed);
        let free_bytes = disks.first().map_or(0, |disk| disk.free_bytes);
        Host {
            keeper: processes.keeper(),
            missing: missing.map(|(_, program, package)| (*program, *package)).collect(),
            may_change_firewall: capabilities(None).is_ok_and(|sets| sets.permitted.contains(CapabilitySet::NET_ADMIN)),
            files: own_files(loaded, place, &keys),
            uid: nix::unistd::geteuid().as_raw(),
            stored: stored(config, free_bytes),
            limits: limits(&processes.daemons, &followed),
            published_ports: processes.published_ports.into_iter().collect(),
            processes: processes.daemons,
            followed,
            keys,
            disks,
        }
    }
}

/// What all processes that are seen here are.
#[derive(Default)]
struct Processes {
    /// As the kernel cuts them: 15 bytes.
    names: BTreeSet<String>,
    /// Daemons of ours that share this network.
    daemons: Vec<u32>,
    published_ports: BTreeSet<u16>,
}

impl Processes {
    fn read() -> Processes {
        let mut found = Processes::default();
        let network = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
        let ours = network("self");
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            found.names.insert(text(entry.path().join("comm")).trim().to_owned());
            let line = text(entry.path().join("cmdline"));
            let words: Vec<&str> = line.split('\0').collect();
            let program = words.first().and_then(|program| program.rsplit('/').next());
            if program == Some("palisade")
                && words.contains(&"run")
                && ours.is_some()
                && network(&id.to_string()) == ours
            {
                found.daemons.push(id);
            }
            // Docker has one for each port, unless it is told not to.
            if program == Some("docker-proxy") {
                let port = words.iter().skip_while(|word| **word != "-host-port").nth(1);
                found.published_ports.extend(port.and_then(|port| port.parse::<u16>().ok()));
            }
        }
        found.daemons.sort_unstable();
        found
    }

    fn keeper(&self) -> Keeper {
        const KEEPERS: [&str; 7] = ["chronyd", "ntpd", "ntpsec", "openntpd", "ptp4l", "phc2sys", "vmtoolsd"];
        if KEEPERS.iter().any(|name| self.names.contains(*name)) {
            Keeper::Somebody
        } else if Path::new("/run/systemd/timesync/synchronized").exists() {
            Keeper::Synchronised
        } else if self.names.contains("systemd-timesyn") {
            Keeper::Waiting
        } else if Path::new("/run/systemd/system").exists() {
            Keeper::Nobody
        } else {
            // In a container the host does.
            Keeper::Somebody
        }
    }
}

fn text(path: PathBuf) -> String {
    fs::read(path).map_or(String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The state directory's, and each on which logs are.
fn disks(config: &Config, followed: &[Followed]) -> Vec<Disk> {
    let logs = followed.iter().flat_map(|source| &source.files).map(|log| (log.path.clone(), PathBuf::from(&log.path)));
    let state = ("state_dir".to_owned(), config.state_dir.clone());
    let mut seen = BTreeSet::new();
    let mut found = vec![];
    for (subject, path) in std::iter::once(state).chain(logs) {
        // It may be made at the start only.
        let Some(existing) = path.ancestors().find(|path| path.exists()) else { continue };
        let (Ok(disk), Ok(metadata)) = (statvfs(existing), fs::metadata(existing)) else { continue };
        if !seen.insert(metadata.dev()) {
            continue;
        }
        let unit = disk.fragment_size();
        found.push(Disk {
            is_read_only: subject == "state_dir" && disk.flags().contains(FsFlags::ST_RDONLY),
            subject: format!("{subject} ({})", existing.display()),
            free_bytes: disk.blocks_available() * unit,
            total_bytes: disk.blocks() * unit,
            free_files: disk.files_available(),
            total_files: disk.files(),
        });
    }
    found
}

fn stored(config: &Config, free_bytes: u64) -> Stored {
    let path = config.state_dir.join("palisade.db");
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    Stored {
        bytes: length(&path),
        log_bytes: length(&config.state_dir.join("palisade.db-wal")),
        path: path.display().to_string(),
        keep_days: config.store.keep_days,
        free_bytes,
    }
}

/// Of the daemon, if one runs; else of this process, as one that is started from here would have them.
fn limits(daemons: &[u32], followed: &[Followed]) -> Limits {
    let process = daemons.first().map_or("self".to_owned(), u32::to_string);
    let limits = text(format!("/proc/{process}/limits").into());
    let open = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    Limits {
        open_files: open.and_then(|line| line.split_whitespace().next()?.parse().ok()),
        followed: followed.iter().map(|source| source.files.len() as u64).sum(),
        no_watches: notify::recommended_watcher(|_| {}).err().map(|error| error.to_string()),
    }
}

/// Configuration and rules, and the directories that they are in.
fn own_files(loaded: &Loaded, place: &Place, keys: &[Key]) -> Vec<OwnFile> {
    let with_secret = |path: &Path| {
        let is_here = |origin: &Origin| matches!(origin, Origin::File { path: file, .. } if Path::new(file) == path);
        let is_key = |name: &String| keys.iter().any(|key| key.file.is_none() && key.name == *name);
        loaded.origins.iter().any(|(name, origin)| is_here(origin) && is_key(name))
    };
    let rules_dir = loaded.config.detect.rules_dir.as_ref();
    let rules = rules_dir.and_then(|directory| replay::rule_files(directory).ok()).unwrap_or_default();
    let directories = [place.main_file().and_then(Path::parent), rules_dir.map(PathBuf::as_path)];
    let directories = directories.into_iter().flatten().map(Path::to_path_buf);
    let paths = loaded.files.iter().cloned().chain(rules).chain(directories);
    paths
        .filter_map(|path| {
            let metadata = fs::metadata(&path).ok()?;
            Some(OwnFile {
                mode: metadata.mode() & 0o7777,
                uid: metadata.uid(),
                has_secret: with_secret(&path),
                path: path.display().to_string(),
            })
        })
        .collect()
}
