//! What a fail2ban installation is set to and holds, and what of it Palisade can carry.

mod bans;
mod carry;
mod duration;
mod ini;

use std::path::Path;

use anyhow::Context;
use serde::Serialize;

pub use bans::{LiveBan, live_bans};
pub use carry::{Carried, carry};

use ini::Ini;

/// One jail that is switched on.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Jail {
    pub name: String,
    pub filter: String,
    /// Paths and globs, or units of the journal as `journal:UNIT`.
    pub logs: Vec<String>,
    pub max_retry: Option<u32>,
    pub find_secs: Option<i64>,
    /// Below zero: for good.
    pub ban_secs: Option<i64>,
    /// Whether each further ban is longer, and how long the longest is.
    pub grows: bool,
    pub max_ban_secs: Option<i64>,
    pub ignored: Vec<String>,
    pub ignore_command: String,
    /// Where it is banned; empty: on all ports.
    pub ports: String,
    /// What is done besides or instead of banning, by name.
    pub other_actions: Vec<String>,
    /// The filter is the administrator's own or was changed.
    pub own_filter: bool,
    /// Options that cannot be understood, and why.
    pub wrong: Vec<String>,
}

/// Actions that shut a client out and do nothing else, by the beginnings of their names.
const BANNING: [&str; 8] = ["iptables", "nftables", "firewallcmd", "shorewall", "ufw", "route", "pf", "ipfw"];

/// The jails that are switched on, and how many are not.
///
/// # Errors
/// There is no such directory, or its files may not be read.
pub fn jails(directory: &Path) -> anyhow::Result<(Vec<Jail>, usize)> {
    let shown = directory.display();
    let may_not = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => anyhow::anyhow!("may not read {shown} ({error}): ask as root"),
        _ => anyhow::anyhow!("cannot read fail2ban's configuration in {shown} ({error}); name it with --dir"),
    };
    std::fs::read_dir(directory).map_err(may_not)?;
    let mut ini = Ini::default();
    ini.defaults.insert("fail2ban_confpath".into(), shown.to_string());
    ini.defaults.insert("fail2ban_version".into(), "1".into());
    // In fail2ban's own order.
    for extension in ["conf", "local"] {
        let mut files = vec![directory.join(format!("jail.{extension}"))];
        let beside = glob::Pattern::escape(&directory.join("jail.d").to_string_lossy());
        files.extend(glob::glob(&format!("{beside}/*.{extension}")).context("a bad path")?.filter_map(Result::ok));
        files.iter().try_for_each(|file| ini.read(file)).map_err(may_not)?;
    }
    if ini.sections.is_empty() {
        anyhow::bail!("{shown} holds no jail.conf and no jail.local: no configuration of fail2ban; name it with --dir");
    }
    let all: Vec<Option<Jail>> = ini.sections.keys().map(|name| jail(&ini, name, directory)).collect();
    let off = all.iter().filter(|jail| jail.is_none()).count();
    Ok((all.into_iter().flatten().collect(), off))
}

/// The jail called `name`; none when it is off.
fn jail(ini: &Ini, name: &str, directory: &Path) -> Option<Jail> {
    let mut wrong = vec![];
    let mut get = |option: &str| match ini.get(name, option) {
        Ok(value) => value.unwrap_or_default(),
        Err(why) => {
            wrong.push(why);
            String::new()
        }
    };
    let is = |text: &str| ["1", "yes", "true", "on"].contains(&text.to_lowercase().as_str());
    if !is(&get("enabled")) {
        return None;
    }
    let filter = get("filter");
    let filter = filter.split('[').next().unwrap_or_default().trim().to_owned();
    let at = directory.join("filter.d");
    let logs = if get("backend").starts_with("systemd") {
        units(&at.join(format!("{filter}.conf")), &get("journalmatch"))
    } else {
        // Behind the path may stand where reading begins.
        let paths = get("logpath");
        let path = |line: &str| line.trim_end_matches(" head").trim_end_matches(" tail").trim().to_owned();
        paths.lines().map(path).filter(|path| !path.is_empty()).collect()
    };
    let ignored = get("ignoreip");
    let ignored = ignored.split([' ', ',', '\n']).filter(|entry| !entry.is_empty()).map(str::to_owned).collect();
    let action = get("action");
    let (banning, other): (Vec<&str>, Vec<&str>) =
        actions(&action).into_iter().partition(|action| BANNING.iter().any(|name| action.starts_with(name)));
    let everywhere = banning.iter().all(|action| action.contains("allports"));
    let ports = Some(get("port")).filter(|ports| !everywhere && !["0:65535", "", "anyport"].contains(&ports.as_str()));
    let lengths = ["findtime", "bantime", "bantime.maxtime"].map(|option| (option, get(option)));
    let mut jail = Jail {
        own_filter: at.join(format!("{filter}.local")).exists(),
        name: name.to_owned(),
        logs,
        max_retry: get("maxretry").parse().ok(),
        grows: is(&get("bantime.increment")),
        ignored,
        ignore_command: get("ignorecommand"),
        ports: ports.unwrap_or_default(),
        other_actions: other.into_iter().map(str::to_owned).collect(),
        filter,
        ..Jail::default()
    };
    [jail.find_secs, jail.ban_secs, jail.max_ban_secs] = lengths.map(|(option, text)| {
        let secs = duration::seconds(&text);
        if secs.is_none() && !text.is_empty() {
            wrong.push(format!("{option}: {text:?} is no length of time"));
        }
        secs
    });
    jail.wrong = wrong;
    Some(jail)
}

/// Where a filter that reads the journal looks: the units of the jail's or its own `journalmatch`.
fn units(filter: &Path, of_jail: &str) -> Vec<String> {
    let mut ini = Ini::default();
    // One that cannot be read names no unit, and the jail has no log then, which is told.
    let of_filter = ini.read(filter).ok().and_then(|()| ini.get("Definition", "journalmatch").ok().flatten());
    let matches = if of_jail.is_empty() { of_filter.unwrap_or_default() } else { of_jail.to_owned() };
    let units = matches.split_whitespace().filter_map(|word| word.strip_prefix("_SYSTEMD_UNIT="));
    units.map(|unit| format!("journal:{unit}")).collect()
}

/// The names of actions: words outside brackets.
fn actions(text: &str) -> Vec<&str> {
    let (mut names, mut start, mut depth) = (vec![], 0, 0_u32);
    for (at, c) in text.char_indices() {
        match c {
            '[' if depth == 0 => {
                names.push(&text[start..at]);
                depth = 1;
            }
            '[' => depth += 1,
            ']' => {
                depth = depth.saturating_sub(1);
                start = at + 1;
            }
            '\n' if depth == 0 => {
                names.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if depth == 0 {
        names.push(&text[start..]);
    }
    names.into_iter().map(str::trim).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_the_words_outside_brackets() {
        let text =
            "iptables-multiport[port=\"a]b\", chain=\"<known/chain>\"]\nsendmail-whois[name=x,\n dest=y]\n\nmine";
        assert_eq!(actions(text).first(), Some(&"iptables-multiport"));
        assert!(actions(text).contains(&"sendmail-whois") && actions(text).contains(&"mine"));
    }
}
