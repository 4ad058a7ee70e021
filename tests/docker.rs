//! A container's published port: a real Docker Engine, nginx in a container, Palisade on the host.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::daemon::{Home, eventually};
use crate::support::web::Client;
use crate::support::{Namespace, namespaces_or_skip};

const ATTACK: &str = "/products?id=1%27%20UNION%20SELECT%20username,password%20FROM%20users--%20-";

/// Whether Docker and debootstrap are here. If not, says so on the real stderr, or fails when
/// `PALISADE_REQUIRE_DOCKER=1`.
#[expect(clippy::disallowed_methods, reason = "the one thing that who runs the tests may ask of them")]
fn docker_or_skip() -> bool {
    let missing = ["dockerd", "docker", "debootstrap"]
        .into_iter()
        .find(|program| !["/usr/sbin", "/usr/bin"].iter().any(|place| Path::new(place).join(program).exists()));
    let Some(missing) = missing else { return namespaces_or_skip("a container's port") };
    let required = std::env::var("PALISADE_REQUIRE_DOCKER").is_ok_and(|value| value == "1");
    assert!(!required, "Docker is required, but there is no {missing}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: a container's port needs {missing}");
    false
}

/// A Debian with nginx, made once.
fn root() -> PathBuf {
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docker-root.tar");
    if !made.exists() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        run(Command::new("debootstrap").args(["--variant=minbase", "--include=nginx-light", "bookworm"]).arg(&root));
        let part = made.with_extension("part");
        run(Command::new("tar")
            .arg("-C")
            .arg(&root)
            .args(["--exclude=./var/cache", "--exclude=./usr/share/doc", "-cf"])
            .arg(&part)
            .arg("."));
        fs::rename(part, &made).unwrap();
    }
    made
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A Docker Engine of its own in a namespace of its own.
struct Engine<'a> {
    namespace: &'a Namespace,
    dir: TempDir,
    process: Child,
}

impl<'a> Engine<'a> {
    fn start(namespace: &'a Namespace) -> Engine<'a> {
        let dir = tempfile::Builder::new().prefix("palisade-docker-").tempdir().unwrap();
        let process = Engine::spawn(namespace, dir.path());
        let engine = Engine { namespace, dir, process };
        engine.wait();
        engine
    }

    fn spawn(namespace: &Namespace, dir: &Path) -> Child {
        // nsenter and not `ip netns exec`, which hides the control groups.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", namespace.name)).arg("dockerd");
        for (option, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            command.arg(option).arg(dir.join(name));
        }
        command.arg("--host").arg(format!("unix://{}", dir.join("socket").display()));
        let log = fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
        command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/docker");
        command.arg("--host").arg(format!("unix://{}", self.dir.path().join("socket").display())).args(arguments);
        command
    }

    fn docker(&self, arguments: &[&str]) -> String {
        run(&mut self.command(arguments))
    }

    fn wait(&self) {
        eventually("Docker answers", || self.command(&["info"]).output().unwrap().status.success().then_some(()));
    }

    fn stop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }

    fn restart(&mut self) {
        self.stop();
        self.process = Engine::spawn(self.namespace, self.dir.path());
        self.wait();
    }
}

impl Drop for Engine<'_> {
    fn drop(&mut self) {
        let _ = self.command(&["rm", "--force", "shop"]).output();
        self.stop();
    }
}

/// Whether an open connection still answers a request.
fn answers(connection: &mut TcpStream) -> bool {
    let request = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n";
    let mut answer = [0; 4096];
    connection.write_all(request).is_ok() && connection.read(&mut answer).is_ok_and(|read| read > 0)
}

#[test]
fn a_containers_published_port_is_shut_too() {
    if !docker_or_skip() {
        return;
    }
    let root = root();
    let (server, clients) = (Namespace::new(), Namespace::new());
    Namespace::join(
        (&server, &["198.51.100.1/24"]),
        (&clients, &["198.51.100.66/24", "198.51.100.20/24", "198.51.100.67/24"]),
    );
    let mut engine = Engine::start(&server);
    engine.docker(&[
        "import",
        "--change",
        "CMD [\"nginx\",\"-g\",\"daemon off;\"]",
        &root.display().to_string(),
        "shop",
    ]);
    let home = Home::inside(&server);
    let log = home.path("log");
    fs::create_dir(&log).unwrap();
    let mount = format!("{}:/var/log/nginx", log.display());
    engine.docker(&[
        "run",
        "--detach",
        "--restart",
        "always",
        "--name",
        "shop",
        "--publish",
        "8080:80",
        "--volume",
        &mount,
        "shop",
    ]);
    let client = |from| Client { namespace: &clients, from, server: "198.51.100.1:8080" };
    let [attacker, visitor, second] = ["198.51.100.66", "198.51.100.20", "198.51.100.67"].map(client);
    let is_open = |client: &Client<'_>| client.get("/", "Mozilla/5.0", 3) == Some(200);
    eventually("the shop is open", || is_open(&visitor).then_some(()));
    home.configure(&format!("mode = \"enforce\"\n[[source]]\npath = \"{}/access.log\"\n", log.display()));
    let daemon = home.start();

    let mut connection = clients.inside(|| TcpStream::connect("198.51.100.1:8080").unwrap());
    connection.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    assert!(answers(&mut connection));
    attacker.get(ATTACK, "curl/8", 3);
    eventually("the attacker is shut out of the container", || attacker.is_shut_out().then_some(()));
    assert!(!answers(&mut connection), "his open connection is dead too");
    assert!(is_open(&visitor), "nobody else is");

    // A restart of the firewall takes everybody's rules along, Docker's too, which its restart makes again.
    server.run("nft flush ruleset");
    engine.restart();
    eventually("the shop is open again", || is_open(&visitor).then_some(()));
    assert!(attacker.is_shut_out());

    // Bans are the kernel's: they need no daemon. The next one takes them over.
    daemon.kill();
    assert!(attacker.is_shut_out() && is_open(&visitor));
    engine.docker(&["restart", "shop"]);
    let daemon = home.start();
    eventually("the container is back", || is_open(&visitor).then_some(()));
    assert!(attacker.is_shut_out());
    second.get(ATTACK, "curl/8", 3);
    eventually("the next attacker is shut out", || second.is_shut_out().then_some(()));
    home.json(&["unban", "198.51.100.66"]);
    assert!(is_open(&attacker));
    assert_eq!(daemon.stop(), 0);
}
