//! Drops packets in the kernel of hosts without nftables: one rule a family and chain, which looks
//! into a set of ipset. What the sets hold ends by the kernel's own timeouts, with or without us.
//!
//! ipset has no transactions: what of a call came before its error is in force. It ends nothing later
//! than [`script::MAX_SECS`]; who compares what is [held](Responder::held) puts back the rest then.

mod script;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, Dropped, RespondError, Responder, child};
use crate::decide::Permit;
use crate::event::{Outcome, Timestamp};
use script::Family;

/// `[respond.iptables]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IptablesConfig {
    /// Which of the kernel's two packet filters the rules go to.
    pub backend: Backend,
}

/// The two packet filters that a kernel may have under the name iptables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// The one in which this host has rules, else what `iptables` stands for.
    #[default]
    Auto,
    /// x_tables: `iptables-legacy`.
    Legacy,
    /// nf_tables: `iptables-nft`.
    Nft,
}

/// The iptables responder. Needs ipset, iptables, CAP_NET_ADMIN and CAP_NET_RAW; the legacy backend
/// also leave to write its lock, /run/xtables.lock, so root.
pub struct Iptables {
    config: IptablesConfig,
    /// Before each program, such as `ip netns exec NAME`.
    prefix: Vec<String>,
    /// Where our rules stand, from [`Responder::start`].
    sites: Vec<Site>,
    dropped: Option<Dropped>,
}

/// One family's rules.
#[derive(Clone, Debug)]
struct Site {
    family: Family,
    /// `iptables` or `ip6tables`, of one backend.
    program: String,
    table: Table,
}

/// Where a rule drops.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Table {
    /// Before connection tracking and address translation: open connections and containers are cut too.
    Raw,
    /// Where a kernel has no raw table: at the head of INPUT and FORWARD, and of Docker's own chain,
    /// which Docker puts before ours.
    Filter,
}

impl Iptables {
    pub fn new(config: IptablesConfig) -> Iptables {
        Iptables::with_prefix(config, vec![])
    }

    /// The responder that puts `prefix` before each program, such as `ip netns exec NAME`.
    pub fn with_prefix(config: IptablesConfig, prefix: Vec<String>) -> Iptables {
        Iptables { config, prefix, sites: vec![], dropped: None }
    }

    async fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<String, RespondError> {
        let path = child::find(program).unwrap_or_else(|| program.to_owned());
        let mut command: Vec<&str> = self.prefix.iter().map(String::as_str).collect();
        command.push(&path);
        command.extend(arguments);
        let output = child::run(&command, input).await?;
        output.map(|said| String::from_utf8_lossy(&said).into_owned()).map_err(|said| refusal(path, &said))
    }

    /// Carries out lines of ipset: one process, however many they are.
    async fn sets(&self, script: &str) -> Result<(), RespondError> {
        if script.is_empty() {
            return Ok(());
        }
        self.run("ipset", &["restore", "-exist"], script).await.map(drop)
    }

    /// The rules of a site's table, with what they counted.
    async fn rules(&self, site: &Site) -> Result<String, RespondError> {
        let arguments = match site.table {
            Table::Raw => &["-w", "5", "-t", "raw", "-v", "-S", "PREROUTING"][..],
            Table::Filter => &["-w", "5", "-t", "filter", "-v", "-S"],
        };
        self.run(&site.program, arguments, "").await
    }

    async fn make(&mut self) -> Result<(), RespondError> {
        self.sets(&script::sets()).await?;
        if self.sites.is_empty() {
            self.sites = self.find_sites().await?;
        }
        for site in &self.sites {
            let table = if site.table == Table::Raw { "raw" } else { "filter" };
            let rules = self.rules(site).await?;
            for chain in script::missing(&rules, site.family, site.table == Table::Filter) {
                let rule = script::rule(site.family);
                let mut arguments = vec!["-w", "5", "-t", table, "-I", chain, "1"];
                arguments.extend(rule.split(' '));
                self.run(&site.program, &arguments, "").await?;
            }
        }
        Ok(())
    }

    async fn find_sites(&self) -> Result<Vec<Site>, RespondError> {
        let ending = match self.config.backend {
            Backend::Legacy => "-legacy",
            Backend::Nft => "-nft",
            Backend::Auto => match (self.has_rules("iptables-legacy").await, self.has_rules("iptables-nft").await) {
                (true, false) => "-legacy",
                (false, true) => "-nft",
                _ => "",
            },
        };
        let mut sites = vec![];
        for (family, name) in [(Family::V4, "iptables"), (Family::V6, "ip6tables")] {
            let mut site = Site { family, program: format!("{name}{ending}"), table: Table::Raw };
            match self.rules(&site).await {
                Ok(_) => {}
                // A kernel without IPv6 sees no IPv6 packet either.
                Err(RespondError::Rejected { message, .. })
                    if family == Family::V6 && message.contains("Address family not supported") =>
                {
                    continue;
                }
                Err(RespondError::Rejected { .. }) => {
                    site.table = Table::Filter;
                    self.rules(&site).await?;
                }
                Err(error) => return Err(error),
            }
            sites.push(site);
        }
        Ok(sites)
    }

    /// Whether somebody else has rules in this backend.
    async fn has_rules(&self, program: &str) -> bool {
        let rules = self.run(&format!("{program}-save"), &[], "").await;
        rules.is_ok_and(|rules| rules.lines().any(|line| line.starts_with("-A") && !script::is_ours(line)))
    }

    async fn shut_out(&mut self, permits: &[Permit], now: Timestamp) -> Result<(), RespondError> {
        let wanted: BTreeMap<IpNet, u64> =
            permits.iter().map(|permit| (permit.target().trunc(), now.secs_until(permit.expires_at()))).collect();
        self.sets(&script::block(&wanted)).await
    }

    async fn let_go(&mut self, targets: &[IpNet]) -> Result<(), RespondError> {
        let targets: BTreeSet<IpNet> = targets.iter().map(IpNet::trunc).collect();
        self.sets(&script::block(&targets.into_iter().map(|target| (target, 0)).collect())).await
    }

    async fn ask(&mut self) -> Result<Vec<Outcome>, RespondError> {
        let mut held = vec![];
        for family in Family::ALL {
            held.extend(script::held(&self.run("ipset", &["save", &family.block_set()], "").await?));
        }
        Ok(held)
    }

    /// A set in use cannot be removed, so what is missing shows in the rules.
    async fn look(&mut self) -> Result<(), RespondError> {
        let mut sum = Dropped::default();
        for site in &self.sites {
            let rules = self.rules(site).await?;
            if !script::missing(&rules, site.family, site.table == Table::Filter).is_empty() {
                return Err(RespondError::Lost);
            }
            let dropped = script::dropped(&rules);
            sum.packets += dropped.packets;
            sum.bytes += dropped.bytes;
        }
        self.dropped = Some(sum);
        if self.sites.is_empty() { Err(RespondError::Lost) } else { Ok(()) }
    }
}

/// What a program's complaints mean to us.
fn refusal(program: String, complaints: &str) -> RespondError {
    let says = |texts: &[&str]| texts.iter().any(|text| complaints.contains(text));
    match () {
        () if says(&["Operation not permitted", "Permission denied", "must be root", "Can't open socket to ipset"]) => {
            RespondError::NotPermitted { program }
        }
        () if says(&["Hash is full"]) => RespondError::Full { limit: script::SET_SIZE },
        // Nobody but us is named in what we say.
        () if says(&["The set with the given name does not exist", "doesn't exist"]) => RespondError::Lost,
        () => {
            let line = complaints.lines().find(|line| !line.starts_with('#')).unwrap_or("no reason given").trim();
            let hint = match () {
                () if says(&["Cannot open session to kernel", "Kernel support protocol"]) => {
                    " (the kernel lacks ipset: modprobe ip_set ip_set_hash_net)"
                }
                () if says(&["insmod", "No chain/target/match", "Couldn't load match"]) => {
                    " (the kernel lacks a part: modprobe ip_tables ip6_tables xt_set)"
                }
                () => "",
            };
            RespondError::Rejected { program, message: format!("{line}{hint}") }
        }
    }
}

impl Responder for Iptables {
    fn name(&self) -> &'static str {
        "iptables"
    }

    fn start(&mut self) -> Answer<'_, ()> {
        Box::pin(self.make())
    }

    fn apply<'a>(&'a mut self, permits: &'a [Permit], now: Timestamp) -> Answer<'a, ()> {
        Box::pin(self.shut_out(permits, now))
    }

    fn lift<'a>(&'a mut self, targets: &'a [IpNet]) -> Answer<'a, ()> {
        Box::pin(self.let_go(targets))
    }

    fn held(&mut self) -> Answer<'_, Vec<Outcome>> {
        Box::pin(self.ask())
    }

    fn check(&mut self) -> Answer<'_, ()> {
        Box::pin(self.look())
    }

    fn dropped(&mut self) -> Answer<'_, Option<Dropped>> {
        Box::pin(std::future::ready(Ok(self.dropped)))
    }

    fn allow<'a>(&'a mut self, networks: &'a [IpNet]) -> Answer<'a, ()> {
        Box::pin(async move { self.sets(&script::allow(networks)).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_become_errors_that_name_the_way_out() {
        for (complaint, expected) in [
            ("ipset v7.17: Error in line 31074: Hash is full, cannot add more elements\n", "a firewall set is full"),
            ("ipset v7.17: Kernel error received: Operation not permitted\n", "`P` may not change the firewall"),
            ("iptables v1.8.9 (nf_tables): Can't open socket to ipset.\n\n", "`P` may not change the firewall"),
            ("Fatal: can't open lock file /run/xtables.lock: Permission denied\n", "`P` may not change the firewall"),
            (
                "ipset v7.17: Error in line 1: The set with the given name does not exist\n",
                "were removed by someone else",
            ),
            ("iptables v1.8.9 (legacy): Set palisade-allow4 doesn't exist.\n\nTry", "were removed by someone else"),
            ("ipset v7.17: Cannot open session to kernel.\n", "modprobe ip_set"),
            (
                "iptables v1.8.9 (legacy): can't initialize iptables table `filter': Table does not exist (do you need to \
                 insmod?)\nPerhaps iptables or your kernel needs to be upgraded.",
                "modprobe ip_tables",
            ),
            ("# Warning: iptables-legacy tables present\niptables: Bad rule.\n", "`P` refused: iptables: Bad rule."),
        ] {
            let error = refusal("P".into(), complaint).to_string();
            assert!(error.contains(expected), "{complaint}: {error}");
        }
        let missing = |program: &str| RespondError::Missing { program: program.into() }.to_string();
        assert!(missing("/usr/sbin/ipset").contains("apt-get install ipset"));
        assert!(missing("ip6tables-legacy").contains("apt-get install iptables"));
        let error = RespondError::NotPermitted { program: "/usr/sbin/iptables".into() }.to_string();
        assert!(error.contains("CAP_NET_ADMIN CAP_NET_RAW"), "{error}");
    }
}
