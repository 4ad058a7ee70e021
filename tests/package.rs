//! The packages: what is in them, and the Debian one's whole life on a real systemd.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::daemon::eventually;
use crate::support::docker::{Engine, docker_or_skip, run, stripped_program};
use crate::support::web::Client;
use crate::support::{Namespace, tool_or_skip};

const ATTACK: &str = "/?id=1%27%20UNION%20SELECT%20username,password%20FROM%20users--%20-";

/// What a package holds, of any kind.
const FILES: &[&str] = &[
    "usr/bin/palisade",
    "etc/palisade/palisade.toml",
    "usr/lib/systemd/system/palisade.service",
    "usr/lib/sysusers.d/palisade.conf",
    "usr/share/man/man1/palisade.1.gz",
    "usr/share/man/man1/palisade-scan.1.gz",
    "usr/share/bash-completion/completions/palisade",
    "usr/share/fish/vendor_completions.d/palisade.fish",
    "usr/share/doc/palisade/copyright",
];

/// Makes the Debian package of `version` of the program that was built.
fn package(dir: &Path, version: &str) -> PathBuf {
    package_by("build-deb", dir, version)
}

fn package_by(script: &str, dir: &Path, version: &str) -> PathBuf {
    let binary = dir.join("palisade");
    if !binary.exists() {
        stripped_program(&binary);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(script);
    run(Command::new(script).arg(dir).arg(binary).arg(version).env("XZ_LEVEL", "0").env("RPM_LEVEL", "1")).into()
}

#[test]
fn the_package_holds_what_it_should() {
    if !Path::new("/usr/bin/dpkg-deb").exists() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let deb = package(dir.path(), "1.2.3");
    let field = |name| run(Command::new("dpkg-deb").arg("--field").arg(&deb).arg(name));
    assert_eq!((&*field("Package"), &*field("Version")), ("palisade", "1.2.3"));
    assert!(field("Depends").contains("libc6 (>= 2."), "{}", field("Depends"));
    let list = run(Command::new("dpkg-deb").arg("--contents").arg(&deb));
    for line in list.lines() {
        assert!(line.contains(" root/root "), "{line}");
        let may_write = line.as_bytes()[5] == b'w' || line.as_bytes()[8] == b'w';
        assert!(!may_write, "others may write {line}");
    }
    for path in FILES.iter().chain(&["usr/share/zsh/vendor-completions/_palisade"]) {
        assert!(list.lines().any(|line| line.ends_with(&format!(" ./{path}"))), "{path} is missing:\n{list}");
    }
    let control = dir.path().join("control");
    run(Command::new("dpkg-deb").arg("--control").arg(&deb).arg(&control));
    assert_eq!(fs::read_to_string(control.join("conffiles")).unwrap(), "/etc/palisade/palisade.toml\n");
    for script in ["postinst", "prerm", "postrm"] {
        run(Command::new("sh").arg("-n").arg(control.join(script)));
    }
}

#[test]
fn the_rpm_holds_the_same_and_belongs_to_root() {
    if !tool_or_skip("rpmbuild", "rpm") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let rpm = package_by("build-rpm", dir.path(), "1.2.3");
    let asked = |question: &[&str]| run(Command::new("rpm").arg("--query").args(question).arg("--package").arg(&rpm));
    assert_eq!(asked(&["--queryformat", "%{NAME} %{VERSION} %{LICENSE}"]), "palisade 1.2.3 MIT");
    let list = asked(&["--queryformat", "[%{FILEUSERNAME} %{FILEMODES:perms} %{FILENAMES}\n]"]);
    for line in list.lines() {
        assert!(line.starts_with("root -rw") && line.as_bytes()[10] == b'-' && line.as_bytes()[13] == b'-', "{line}");
    }
    for path in FILES.iter().chain(&["usr/share/zsh/site-functions/_palisade"]) {
        assert!(list.lines().any(|line| line.ends_with(&format!(" /{path}"))), "{path} is missing:\n{list}");
    }
    assert_eq!(asked(&["--configfiles"]), "/etc/palisade/palisade.toml");
    assert!(asked(&["--requires"]).contains("libc.so.6(GLIBC_2."));
    for tag in ["PREUN", "POSTIN", "POSTUN"] {
        let script = dir.path().join(tag);
        fs::write(&script, asked(&["--queryformat", &format!("%{{{tag}}}")])).unwrap();
        run(Command::new("sh").arg("-n").arg(script));
    }
}

#[test]
fn the_bill_of_materials_lists_what_is_in_the_binary_and_nothing_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bill: Value = serde_json::from_str(&run(&mut Command::new(root.join("deploy/sbom")))).unwrap();
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let components = bill["components"].as_array().unwrap();
    for one in components {
        let checksum = one["hashes"][0]["content"].as_str().unwrap_or_default();
        assert!(checksum.len() == 64 && one["licenses"][0]["expression"].is_string(), "{one:#}");
    }
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let names: BTreeSet<String> = components.iter().map(|one| text(&one["name"])).collect();
    for name in ["sqlx-sqlite", "libsqlite3-sys", "rustls", "azure_core"] {
        assert!(names.contains(name), "{name} is missing: {names:?}");
    }
    // What tests need, what builds need, and what features that are off would bring.
    for name in ["expect-test", "cc", "sqlx-mysql", "prost"] {
        assert!(!names.contains(name), "{name} is not in the binary");
    }
    let refs: BTreeSet<String> = components.iter().map(|one| text(&one["bom-ref"])).collect();
    let needed = bill["dependencies"].as_array().unwrap().iter().flat_map(|one| one["dependsOn"].as_array().unwrap());
    let needed: BTreeSet<String> = needed.map(text).collect();
    assert_eq!(needed, refs, "each is there because another one needs it");
}

/// A server with systemd, nginx and the packages.
struct Vps<'a>(&'a Engine<'a>);

impl Vps<'_> {
    fn start(&self, packages: &Path) {
        let mount = format!("{}:/packages:ro", packages.display());
        let mut line = vec!["run", "--detach", "--name", "vps", "--stop-signal", "SIGRTMIN+3", "--publish", "8080:80"];
        line.extend(["--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN"]);
        line.extend(["--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"]);
        line.extend(["--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp"]);
        line.extend(["--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--volume", &mount, "debian", "/sbin/init"]);
        self.0.docker(&line);
        self.has_come_up();
    }

    fn has_come_up(&self) {
        eventually("systemd is up", || {
            let state = self.0.command(&["exec", "vps", "systemctl", "is-system-running"]).output().unwrap();
            ["running", "degraded"].contains(&String::from_utf8_lossy(&state.stdout).trim()).then_some(())
        });
    }

    fn run(&self, words: &str) -> String {
        let line: Vec<&str> = ["exec", "vps"].into_iter().chain(words.split(' ')).collect();
        self.0.docker(&line)
    }

    fn shell(&self, line: &str) -> String {
        self.0.docker(&["exec", "vps", "sh", "-ec", line])
    }

    /// What systemd says of the service.
    fn property(&self, name: &str) -> String {
        self.run(&format!("systemctl show palisade --value --property {name}"))
    }

    fn is_active(&self) -> bool {
        self.property("ActiveState") == "active"
    }

    fn bans(&self) -> Vec<String> {
        let bans: Value = serde_json::from_str(&self.run("palisade banned --output json")).unwrap();
        bans.as_array().unwrap().iter().map(|ban| ban["target"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn the_package_lives_and_goes_on_a_real_systemd() {
    if !docker_or_skip("the package", &["dpkg-deb"]) {
        return;
    }
    let packages = tempfile::tempdir().unwrap();
    let [old, new] = ["0.1.0", "0.2.0"].map(|version| {
        format!("/packages/{}", package(packages.path(), version).file_name().unwrap().to_string_lossy())
    });
    let (server, clients) = (Namespace::new(), Namespace::new());
    Namespace::join(
        (&server, &["198.51.100.1/24"]),
        (&clients, &["198.51.100.20/24", "198.51.100.66/24", "198.51.100.67/24"]),
    );
    let client = |from| Client { namespace: &clients, from, server: "198.51.100.1:8080" };
    let [visitor, attacker, second] = ["198.51.100.20", "198.51.100.66", "198.51.100.67"].map(client);
    let is_open = |client: &Client<'_>| client.get("/", "Mozilla/5.0", 3) == Some(200);
    let engine = Engine::start(&server);
    engine.import("debian");
    let vps = Vps(&engine);
    vps.start(packages.path());

    vps.run(&format!("dpkg --install {old}"));
    assert!(vps.is_active(), "{}", vps.property("Result"));
    assert_eq!(vps.run("id --groups --name palisade"), "palisade adm");
    assert!(vps.property("StatusText").starts_with("dry_run"), "{}", vps.property("StatusText"));
    // An exposure of 2.0 at most.
    vps.run("systemd-analyze security --offline=true --threshold=20 /usr/lib/systemd/system/palisade.service");
    vps.shell("sed -i '0,/^mode = .*/s//mode = \"enforce\"/' /etc/palisade/palisade.toml");
    vps.run("systemctl reload palisade");
    eventually("it enforces", || vps.run("palisade ping").ends_with("in mode enforce").then_some(()));
    eventually("the site is open", || is_open(&visitor).then_some(()));
    attacker.get(ATTACK, "curl/8", 3);
    eventually("the attacker is shut out", || attacker.is_shut_out().then_some(()));
    assert!(is_open(&visitor));

    let still_holds = |what: &str| {
        eventually(what, || vps.is_active().then_some(()));
        assert_eq!(vps.bans(), ["198.51.100.66"], "{what}");
        assert!(attacker.is_shut_out() && is_open(&visitor), "{what}");
    };
    vps.run("systemctl restart palisade");
    still_holds("a restart");
    let before = vps.property("MainPID");
    vps.run(&format!("dpkg --install {new}"));
    assert_ne!(vps.property("MainPID"), before, "an upgrade starts the new program");
    still_holds("an upgrade");
    assert_eq!(vps.shell("grep -m 1 ^mode /etc/palisade/palisade.toml"), "mode = \"enforce\"");
    engine.docker(&["restart", "--time", "20", "vps"]);
    vps.has_come_up();
    still_holds("a reboot");

    // A secret comes as a credential, from a file that only root reads; its own log may be a file; and the
    // watchdog finds out that it does nothing any more.
    vps.shell(
        "umask 077; echo http://127.0.0.1:9/ > /etc/hook; \
         printf '\\n[[alert]]\\nname = \"hook\"\\nchannel = \"webhook\"\\n\
         url_file = \"/run/credentials/palisade.service/hook\"\\n\
         key_file = \"/run/credentials/palisade.service/hook\"\\n' >> /etc/palisade/palisade.toml; \
         mkdir -m 755 /run/systemd/system/palisade.service.d; \
         printf '[Service]\\nLoadCredential=hook:/etc/hook\\nWatchdogSec=6\\n\
         Environment=PALISADE__LOG__FILE=/var/log/palisade/palisade.log\\n' \
         > /run/systemd/system/palisade.service.d/own.conf; \
         systemctl daemon-reload; systemctl restart palisade",
    );
    let status: Value = serde_json::from_str(&vps.shell("palisade status --output json || true")).unwrap();
    assert!(status["services"]["alert hook"].is_object(), "{status:#}");
    vps.shell("grep -q 'palisade runs' /var/log/palisade/palisade.log");
    let hanging = vps.property("MainPID");
    vps.shell(&format!("kill -STOP {hanging}"));
    eventually("another daemon", || (vps.property("NRestarts") == "1" && vps.is_active()).then_some(()));
    assert_ne!(vps.property("MainPID"), hanging);
    still_holds("a hanging daemon");
    second.get(ATTACK, "curl/8", 3);
    eventually("the new one reads", || second.is_shut_out().then_some(()));

    // Removed, it lets everybody go and keeps what it knows; purged, it never was there.
    vps.run("dpkg --remove palisade");
    assert!(is_open(&attacker), "nobody is there to let him go");
    vps.shell("test -s /var/lib/palisade/palisade.db && test -s /etc/palisade/palisade.toml && id palisade");
    vps.run("dpkg --purge palisade");
    vps.shell("rm -r /run/systemd/system/palisade.service.d");
    let left = vps.shell(
        "find / -xdev '(' -path /proc -o -path /packages ')' -prune -o -name '*palisade*' -print; \
         getent passwd palisade || true; getent group palisade || true; nft list tables | grep palisade || true",
    );
    assert_eq!(left, "");
}
