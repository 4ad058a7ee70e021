//! A real Redis with a directory and a port of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::daemon::eventually;
pub use crate::support::postgres::free_port;

/// Whether there is a Redis to start. If not, says on the real stderr that `what` is skipped, or
/// fails when `PALISADE_REQUIRE_REDIS=1`.
#[expect(clippy::disallowed_methods, reason = "the one thing that who runs the tests may ask of them")]
pub fn redis_or_skip(what: &str) -> bool {
    if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok() {
        return true;
    }
    let required = std::env::var("PALISADE_REQUIRE_REDIS").is_ok_and(|value| value == "1");
    assert!(!required, "redis-server is required, but {what} cannot find it");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what} needs redis-server");
    false
}

/// A running Redis; killed when dropped.
pub struct Server {
    child: Child,
    dir: TempDir,
    pub port: u16,
    options: Vec<String>,
}

impl Server {
    pub fn start() -> Server {
        Server::start_with(&[])
    }

    /// With further `options`; one that holds `DIR` means its directory.
    pub fn start_with(options: &[&str]) -> Server {
        Server::start_in(tempfile::Builder::new().prefix("palisade-redis-").tempdir().unwrap(), options)
    }

    /// With TLS alone, by a certificate for 127.0.0.1 that `ca.pem` in its directory signed.
    pub fn start_with_tls() -> Server {
        let dir = tempfile::Builder::new().prefix("palisade-redis-").tempdir().unwrap();
        certificates(dir.path());
        let keys = [
            "--tls-cert-file",
            "DIR/server.pem",
            "--tls-key-file",
            "DIR/server.key",
            "--tls-ca-cert-file",
            "DIR/ca.pem",
        ];
        let options = [&["--port", "0", "--tls-port", "PORT", "--tls-auth-clients", "no"][..], &keys].concat();
        Server::start_in(dir, &options)
    }

    fn start_in(dir: TempDir, options: &[&str]) -> Server {
        let port = free_port();
        let shown = dir.path().display().to_string();
        // Both that `localhost` may stand for; the second where there is IPv6.
        let mut all: Vec<String> =
            ["--bind", "127.0.0.1", "-::1", "--dir", &shown, "--save", ""].map(String::from).into();
        // What was taken survives kill -9.
        all.extend(["--appendonly", "yes", "--appendfsync", "always"].map(String::from));
        if !options.contains(&"--port") {
            all.extend(["--port".into(), port.to_string()]);
        }
        all.extend(options.iter().map(|option| option.replace("DIR", &shown).replace("PORT", &port.to_string())));
        let child = spawn(&all);
        let server = Server { child, dir, port, options: all };
        server.answers();
        server
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn start_again(&mut self) {
        self.child = spawn(&self.options);
        self.answers();
    }

    /// Stops it, so that it takes connections and never answers, or lets it go on.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// What Redis answers to a command, as it is on the wire. Panics if it needs TLS.
    pub fn ask(&self, words: &[&str]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let mut text = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| text += &format!("${}\r\n{word}\r\n", word.len()));
        write!(stream, "{text}*1\r\n$4\r\nQUIT\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.strip_suffix("+OK\r\n").unwrap().to_owned()
    }

    fn answers(&self) {
        eventually("redis-server listens", || TcpStream::connect(("127.0.0.1", self.port)).ok());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(options: &[String]) -> Child {
    Command::new("redis-server").args(options).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

/// An authority `ca.pem`, and `server.pem` with `server.key`, which it signed.
fn certificates(dir: &Path) {
    let openssl = |arguments: &str| {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    };
    std::fs::write(dir.join("san"), "subjectAltName=IP:127.0.0.1").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"));
    openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN=server"));
    openssl("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile san");
}
