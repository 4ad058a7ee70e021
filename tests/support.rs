//! What several tests need: network namespaces of their own, the program, a web server.

#[cfg(feature = "azure")]
pub mod arm;
pub mod browser;
pub mod cloudflare;
pub mod daemon;
pub mod docker;
pub mod http;
pub mod log;
pub mod mmdb;
#[allow(dead_code, reason = "unit tests include it too and use the rest")]
pub mod postgres;
pub mod standin;
pub mod web;

use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};

/// Whether network namespaces with nftables can be made here. If not, says on the real stderr
/// that `what` is skipped, or fails when `PALISADE_REQUIRE_NAMESPACES=1`.
#[expect(clippy::disallowed_methods, reason = "the one thing that who runs the tests may ask of them")]
pub fn namespaces_or_skip(what: &str) -> bool {
    let Err(reason) = Namespace::make().and_then(|namespace| run(&namespace.command(&["nft", "list", "tables"])))
    else {
        return true;
    };
    let required = std::env::var("PALISADE_REQUIRE_NAMESPACES").is_ok_and(|value| value == "1");
    assert!(!required, "namespaces are required, but {what} cannot run: {reason}");
    // Not eprintln!, which the test harness swallows when a test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what} needs root, ip and nft: {reason}");
    false
}

/// Whether `program` of Debian's package `package` is here. If not, says so on the real stderr, or fails when
/// `PALISADE_REQUIRE_TOOLS=1`.
#[expect(clippy::disallowed_methods, reason = "the one thing that who runs the tests may ask of them")]
pub fn tool_or_skip(program: &str, package: &str) -> bool {
    let is_here = Command::new(program).arg("--version").output().is_ok();
    let required = std::env::var("PALISADE_REQUIRE_TOOLS").is_ok_and(|value| value == "1");
    assert!(is_here || !required, "{program} of Debian's package {package} is required");
    if !is_here {
        let _ = writeln!(std::io::stderr(), "SKIPPED: what needs {program} of Debian's package {package}");
    }
    is_here
}

/// A network namespace with its loopback up; gone when dropped.
pub struct Namespace {
    pub name: String,
}

impl Namespace {
    /// # Panics
    /// When it cannot be made: see [`namespaces_or_skip`].
    pub fn new() -> Namespace {
        Namespace::make().unwrap()
    }

    fn make() -> Result<Namespace, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("palisade-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        run(&["ip", "netns", "add", &name].map(String::from))?;
        let namespace = Namespace { name };
        run(&namespace.command(&["ip", "link", "set", "lo", "up"]))?;
        Ok(namespace)
    }

    /// The command line that runs `command` in here.
    pub fn command(&self, command: &[&str]) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].iter().chain(command).map(ToString::to_string).collect()
    }

    /// Runs `command`, words separated by spaces, in here.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, command: &str) {
        run(&self.command(&command.split(' ').collect::<Vec<_>>())).unwrap();
    }

    /// The same for a line of the shell.
    ///
    /// # Panics
    /// When it fails.
    pub fn run_in_shell(&self, line: &str) {
        run(&self.command(&["sh", "-ec", line])).unwrap();
    }

    /// What `command`, words separated by spaces, prints in here.
    pub fn output(&self, command: &str) -> String {
        let line = self.command(&command.split(' ').collect::<Vec<_>>());
        String::from_utf8_lossy(&Command::new(&line[0]).args(&line[1..]).output().unwrap().stdout).into_owned()
    }

    /// Calls `f` in here: the sockets that it makes stay here.
    pub fn inside<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        let enter = move || {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            f()
        };
        // A thread that ends: the namespace is a property of the thread.
        std::thread::spawn(enter).join().unwrap()
    }

    /// Joins two namespaces by a cable, with these addresses (with their prefix length) at each end.
    pub fn join(here: (&Namespace, &[&str]), there: (&Namespace, &[&str])) {
        let (a, b) = (here.0, there.0);
        a.run(&format!("ip link add to-{} type veth peer name to-{} netns {}", b.short(), a.short(), b.name));
        for ((namespace, addresses), peer) in [(here, b), (there, a)] {
            let link = format!("to-{}", peer.short());
            for address in addresses {
                // Duplicate address detection would keep an IPv6 address unusable for a second.
                let nodad = if address.contains(':') { " nodad" } else { "" };
                namespace.run(&format!("ip address add {address} dev {link}{nodad}"));
            }
            namespace.run(&format!("ip link set {link} up"));
        }
    }

    /// Short enough for an interface name.
    fn short(&self) -> &str {
        self.name.strip_prefix("palisade-").unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = run(&["ip", "netns", "delete", &self.name].map(String::from));
    }
}

fn run(command: &[String]) -> Result<(), String> {
    let line = command.join(" ");
    let output = Command::new(&command[0])
        .args(&command[1..])
        .env("HOME", "/dev/null")
        .output()
        .map_err(|error| format!("{line}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
