//! Proves from outside that a ban is in force: a client of ours in a network namespace, joined to this
//! host by a cable, is banned and tries to get through, on a port of this host and on one behind it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use ipnet::IpNet;
use nix::sched::{CloneFlags, setns};
use serde::Serialize;

use super::live;
use super::names::Resolved;
use super::surroundings::{self, Settings};
use crate::config::{Config, Mode};
use crate::decide::{Blasts, Limits, gate};
use crate::event::{Ground, Proposal, Proposer, Timestamp};
use crate::respond::Responder;

/// A SYN that is lost is sent again after a second: one try is enough.
const PATIENCE: Duration = Duration::from_millis(700);

/// The client's and the container's namespaces; the ends of their cables here are called so too.
const CLIENT: &str = "palisade-probe0";
const CONTAINER: &str = "palisade-probe1";
/// Of ranges for documentation (RFC 5737, RFC 3849), which nobody has.
const HOST_ENDS: [[&str; 2]; 2] =
    [["192.0.2.241/28", "2001:db8:ffff::1/48"], ["192.0.2.225/28", "2001:db8:fffe::1/64"]];
const CLIENTS: [&str; 4] = ["192.0.2.242/28", "192.0.2.243/28", "2001:db8:ffff:1::2/48", "2001:db8:ffff:2::2/48"];
const BEHIND: [&str; 2] = ["192.0.2.226/28", "2001:db8:fffe::2/64"];

/// What shuts out and lets in.
pub trait Blocker {
    /// # Errors
    /// It could not, or did not want to: why.
    fn ban(&mut self, target: IpNet) -> anyhow::Result<()>;
    /// # Errors
    /// As for [`ban`](Self::ban).
    fn unban(&mut self, target: IpNet) -> anyhow::Result<()>;
    /// Lets a network pass whatever is banned; gives whether that can be tried.
    ///
    /// # Errors
    /// As for [`ban`](Self::ban).
    fn allow(&mut self, network: IpNet) -> anyhow::Result<bool>;
    /// # Errors
    /// As for [`ban`](Self::ban).
    fn disallow(&mut self, network: IpNet) -> anyhow::Result<()>;
}

/// One thing that was tried.
#[derive(Debug, Serialize)]
pub struct Step {
    pub what: String,
    pub outcome: Outcome,
    /// What to do about it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub advice: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok,
    Failed,
    /// It could not be tried here.
    Unproven,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Failed => "FAILED",
            Outcome::Unproven => "unproven",
        }
    }
}

/// # Errors
/// Somebody else asks.
pub fn needs_root() -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the proof makes a network namespace, so run as root: sudo palisade doctor --firewall");
    }
    Ok(())
}

/// Tries everything.
///
/// # Errors
/// The probe could not be set up.
pub fn run(blocker: &mut dyn Blocker) -> anyhow::Result<Vec<Step>> {
    let probe = Probe::new()?;
    let mut steps = vec![];
    for v6 in [false, true] {
        let family = usize::from(v6);
        let host = probe.ports[family];
        let behind = is_forwarding(v6).then_some(probe.ports[2 + family]);
        if behind.is_none() {
            steps.push(Step {
                what: format!("a container's port, {}: this host forwards nothing", name(v6)),
                outcome: Outcome::Unproven,
                advice: "",
            });
        }
        let ports = [("this host's port", Some(host)), ("a container's port", behind)];
        for (what, server) in ports.into_iter().filter_map(|(what, server)| Some((what, server?))) {
            probe.prove(blocker, &format!("{what}, {}", name(v6)), server, &mut steps)?;
        }
    }
    Ok(steps)
}

fn name(v6: bool) -> &'static str {
    if v6 { "IPv6" } else { "IPv4" }
}

fn is_forwarding(v6: bool) -> bool {
    let path = if v6 { "/proc/sys/net/ipv6/conf/all/forwarding" } else { "/proc/sys/net/ipv4/ip_forward" };
    std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
}

/// The client, its cable and the servers. Gone when dropped, or, after a kill, when the next one is made.
struct Probe {
    /// IPv4 and IPv6 of this host, then of the container.
    ports: [SocketAddr; 4],
}

impl Probe {
    fn new() -> anyhow::Result<Probe> {
        remove();
        for ends in HOST_ENDS.iter().flatten() {
            let network: IpNet = ends.parse()?;
            let taken = ip(&["-o", "address", "show", "to", &network.trunc().to_string()])?;
            if !taken.is_empty() {
                bail!(
                    "this host uses {}, a range for documentation that the proof needs: {}",
                    network.trunc(),
                    taken.trim()
                );
            }
        }
        // From here on what was made is removed again.
        let mut probe = Probe { ports: [SocketAddr::new([0, 0, 0, 0].into(), 0); 4] };
        for ((namespace, here), there) in [CLIENT, CONTAINER].iter().zip(HOST_ENDS).zip([&CLIENTS[..], &BEHIND[..]]) {
            ip(&["netns", "add", namespace])?;
            ip(&["link", "add", namespace, "type", "veth", "peer", "name", "probe", "netns", namespace])?;
            for address in here {
                add_address(&[], address, namespace)?;
            }
            ip(&["link", "set", namespace, "up"])?;
            for address in there {
                add_address(&["-n", namespace], address, "probe")?;
            }
            ip(&["-n", namespace, "link", "set", "probe", "up"])?;
            for gateway in here {
                let gateway: IpNet = gateway.parse()?;
                ip(&["-n", namespace, "route", "add", "default", "via", &gateway.addr().to_string()])?;
            }
        }
        let own = HOST_ENDS[0].map(address);
        let behind = BEHIND.map(address);
        probe.ports = [
            serve(None, own[0])?,
            serve(None, own[1])?,
            serve(Some(CONTAINER), behind[0])?,
            serve(Some(CONTAINER), behind[1])?,
        ];
        Ok(probe)
    }

    /// Bans one of the two clients and sees who gets through.
    fn prove(
        &self,
        blocker: &mut dyn Blocker,
        what: &str,
        server: SocketAddr,
        steps: &mut Vec<Step>,
    ) -> anyhow::Result<()> {
        let clients = if server.is_ipv6() { [CLIENTS[2], CLIENTS[3]] } else { [CLIENTS[0], CLIENTS[1]] };
        let [banned, other] = clients.map(address);
        let target = IpNet::new(banned, if server.is_ipv6() { 64 } else { 32 })?.trunc();
        let mut step = |text: &str, is_good: bool, advice: &'static str| {
            let outcome = if is_good { Outcome::Ok } else { Outcome::Failed };
            let advice = if is_good { "" } else { advice };
            steps.push(Step { what: format!("{what}: {text}"), outcome, advice });
        };
        if !gets_through(banned, server) || !gets_through(other, server) {
            steps.push(Step {
                what: format!("{what}: this host's own firewall drops the probe before anybody is banned"),
                outcome: Outcome::Unproven,
                advice: "let the interfaces palisade-probe0 and palisade-probe1 in while it runs \
                         (ufw: ufw allow in on palisade-probe0; ufw route allow in on palisade-probe0)",
            });
            return Ok(());
        }
        if let Err(error) = blocker.ban(target) {
            step(&format!("the ban was not carried out: {error:#}"), false, "see `palisade status` and [respond]");
            return Ok(());
        }
        step(
            "who is banned is dropped",
            !passes(banned, server),
            "another firewall's rule accepts before Palisade's, or `respond.use` names what this host does not use: \
             look at `nft list ruleset` and `iptables -S`",
        );
        step(
            "who is not banned passes",
            gets_through(other, server),
            "Palisade drops too much: `palisade unban --all`",
        );
        if blocker.allow(target)? {
            step(
                "who is allowed passes at once",
                gets_through(banned, server),
                "see `palisade allow list` and `palisade status`",
            );
            blocker.disallow(target)?;
        } else {
            blocker.unban(target)?;
            step(
                "who is let go passes at once",
                gets_through(banned, server),
                "`palisade unban --all`, and see `palisade status`",
            );
        }
        Ok(())
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        remove();
    }
}

/// What a probe made, also one that was killed.
fn remove() {
    for name in [CLIENT, CONTAINER] {
        // Usually there is none.
        let _ = ip(&["link", "delete", name]);
        let _ = ip(&["netns", "delete", name]);
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.context("the proof needs `ip`: apt-get install iproute2")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn add_address(namespace: &[&str], address: &str, link: &str) -> anyhow::Result<()> {
    let mut arguments = namespace.to_vec();
    arguments.extend(["address", "add", address, "dev", link]);
    if address.contains(':') {
        // Else it could be used after a second only.
        arguments.push("nodad");
    }
    ip(&arguments).map(drop)
}

fn address(text: &str) -> IpAddr {
    text.parse::<IpNet>().map_or(IpAddr::from([0, 0, 0, 0]), |network| network.addr())
}

/// Calls `f` in a thread of its own, which is in `namespace`.
fn inside<T: Send + 'static>(
    namespace: &str,
    f: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let file = File::open(format!("/run/netns/{namespace}"))?;
    let entered = std::thread::spawn(move || {
        setns(file, CloneFlags::CLONE_NEWNET)?;
        f()
    });
    entered.join().map_err(|_| anyhow::anyhow!("the thread in {namespace} failed"))?
}

/// Answers each connection to a free port of `address` with one byte, until the process ends.
fn serve(namespace: Option<&str>, address: IpAddr) -> anyhow::Result<SocketAddr> {
    let listener = match namespace {
        Some(namespace) => inside(namespace, move || Ok(TcpListener::bind((address, 0))?))?,
        None => TcpListener::bind((address, 0))?,
    };
    let port = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Who hung up has seen enough.
            let _ = stream.write_all(b"p");
        }
    });
    Ok(port)
}

/// As [`passes`]; the first of all may take longer.
fn gets_through(from: IpAddr, server: SocketAddr) -> bool {
    (0..3).any(|_| passes(from, server))
}

/// Whether the client's address `from` gets through to `server`.
fn passes(from: IpAddr, server: SocketAddr) -> bool {
    let connect = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stream = runtime.block_on(async {
            let socket =
                if from.is_ipv6() { tokio::net::TcpSocket::new_v6() } else { tokio::net::TcpSocket::new_v4() }?;
            socket.bind((from, 0).into())?;
            let stream = tokio::time::timeout(PATIENCE, socket.connect(server)).await??.into_std()?;
            stream.set_nonblocking(false)?;
            anyhow::Ok(stream)
        });
        let mut stream = stream?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.read_exact(&mut [0])?;
        Ok(())
    };
    inside(CLIENT, connect).is_ok()
}

/// The configured responders without a daemon. The allowlist is left as it is.
pub struct Own {
    runtime: tokio::runtime::Runtime,
    responders: Vec<Box<dyn Responder>>,
    config: Config,
}

impl Own {
    /// # Errors
    /// A responder cannot be made ready.
    pub fn start(config: &Config) -> anyhow::Result<Own> {
        let config = config.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut responders = live::responders(&config, Mode::Enforce)?;
        // Others take seconds to minutes, and block elsewhere.
        responders.retain(|responder| responder.manner().is_quick);
        for responder in &mut responders {
            runtime.block_on(responder.start()).with_context(|| responder_name(&**responder))?;
        }
        Ok(Own { runtime, responders, config })
    }
}

fn responder_name(responder: &dyn Responder) -> String {
    format!("responder {}", responder.name())
}

impl Blocker for Own {
    fn ban(&mut self, target: IpNet) -> anyhow::Result<()> {
        let now = Timestamp::now();
        let surroundings = surroundings::read(&Settings::of(&self.config)?, &[], &Resolved::default(), now);
        let proposal = Proposal {
            id: "self-proof".into(),
            target,
            proposer: Proposer::Operator,
            ground: Ground { reason: "self-proof".into(), ..Ground::default() },
            at: now,
            duration_secs: 60,
            offences: 0,
        };
        let permit = gate(&proposal, &surroundings, &mut Blasts::default(), &Limits::NONE, now)
            .map_err(|refusal| anyhow::anyhow!("the gate refuses: {refusal}"))?;
        for responder in &mut self.responders {
            self.runtime.block_on(responder.apply(std::slice::from_ref(&permit), now))?;
        }
        Ok(())
    }

    fn unban(&mut self, target: IpNet) -> anyhow::Result<()> {
        for responder in &mut self.responders {
            self.runtime.block_on(responder.lift(&[target]))?;
        }
        Ok(())
    }

    fn allow(&mut self, _network: IpNet) -> anyhow::Result<bool> {
        Ok(false)
    }

    fn disallow(&mut self, _network: IpNet) -> anyhow::Result<()> {
        Ok(())
    }
}
