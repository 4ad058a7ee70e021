//! The program as a user has it: a directory with its configuration, the verbs, and the daemon.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::Namespace;

/// How long anything may take that a test waits for, unless it says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `f` again and again until it has something.
///
/// # Panics
/// After a minute: `what` did not happen.
pub fn eventually<T>(what: &str, mut f: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = f() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// A directory in which one Palisade lives: configuration, state, socket. Gone when dropped.
pub struct Home {
    dir: TempDir,
    /// What stands before the program's name: how it comes to where, and whose, it should be.
    prefix: Vec<String>,
    environment: Vec<(String, String)>,
}

/// How a verb ended and what it printed.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Home {
    pub fn new() -> Home {
        let home = Home {
            dir: tempfile::Builder::new().prefix("palisade-test-").tempdir().unwrap(),
            prefix: vec![],
            environment: vec![
                ("PALISADE__LOG__FORMAT".into(), "human".into()),
                // Many daemons run beside each other, and each would want the same port.
                ("PALISADE__DASHBOARD__LISTEN".into(), String::new()),
            ],
        };
        home.configure("");
        home
    }

    /// A home whose Palisade runs in `namespace`.
    pub fn inside(namespace: &Namespace) -> Home {
        Home { prefix: namespace.command(&[]), ..Home::new() }
    }

    /// A home whose Palisade is run by `command`, such as `setpriv`.
    pub fn run_by(command: &[&str]) -> Home {
        Home { prefix: command.iter().map(ToString::to_string).collect(), ..Home::new() }
    }

    pub fn set(&mut self, variable: &str, value: impl Into<String>) {
        self.environment.push((variable.into(), value.into()));
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Lets other users into the directory.
    pub fn open_to_others(&self) {
        fs::set_permissions(self.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Writes the configuration: `text` after the places of state and socket.
    pub fn configure(&self, text: &str) {
        let dir = self.dir.path().display();
        let text = format!("state_dir = \"{dir}/state\"\nsocket = \"{dir}/palisade.sock\"\n{text}");
        fs::write(self.path("palisade.toml"), text).unwrap();
    }

    /// The program with these arguments and this home's configuration.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let config = self.path("palisade.toml").display().to_string();
        self.bare_command(&[&["--config", &config], arguments].concat())
    }

    /// The program with these arguments alone, and an environment of nothing but this home's.
    pub fn bare_command(&self, arguments: &[&str]) -> Command {
        let mut line = self.prefix.clone();
        line.push(self.program());
        line.extend(arguments.iter().map(ToString::to_string));
        let mut command = Command::new(&line[0]);
        command
            .args(&line[1..])
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).current_dir(self.dir.path());
        command
    }

    /// Where another user, who may not look into the build directory, finds the program too.
    fn program(&self) -> String {
        let built = env!("CARGO_BIN_EXE_palisade");
        if self.prefix.is_empty() {
            return built.into();
        }
        let here = self.path("palisade");
        if !here.exists() {
            fs::hard_link(built, &here).or_else(|_| fs::copy(built, &here).map(|_| ())).unwrap();
        }
        here.display().to_string()
    }

    /// Runs a verb.
    pub fn palisade(&self, arguments: &[&str]) -> Ran {
        ran(&mut self.command(arguments))
    }

    /// What a verb that must succeed prints as JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.palisade(&[arguments, &["--output", "json"]].concat());
        assert_eq!(ran.code, 0, "{arguments:?}: {}{}", ran.stdout, ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// What the daemon answers to `GET path`.
    pub fn get(&self, path: &str) -> Option<Value> {
        get(&self.path("palisade.sock"), path)
    }

    /// All findings, in the order of the log.
    pub fn findings(&self) -> Vec<Value> {
        let mut rows = list(self.get("/api/v1/findings?limit=100000"));
        rows.sort_by_key(|row| (row["file"].to_string(), row["generation"].as_u64(), row["offset"].as_u64()));
        rows
    }

    /// All decisions, the oldest first.
    pub fn decisions(&self) -> Vec<Value> {
        let mut rows = list(self.get("/api/v1/decisions?limit=100000"));
        rows.reverse();
        rows
    }

    /// `palisade status`, which may well say that something is wrong.
    pub fn status(&self) -> Value {
        self.get("/api/v1/status").unwrap()
    }

    /// The daemon, answering.
    pub fn start(&self) -> Daemon {
        let mut daemon = self.spawn();
        eventually("the daemon answers", || {
            assert_eq!(daemon.ended(), None, "the daemon ended:\n{}", daemon.said());
            self.get("/api/v1/status")
        });
        daemon
    }

    /// The daemon, which may or may not come up.
    pub fn spawn(&self) -> Daemon {
        self.spawn_command(self.command(&["run"]))
    }

    pub fn spawn_command(&self, mut command: Command) -> Daemon {
        let file = File::options().create(true).append(true).open(self.path("palisade.log")).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        self.watch(command.spawn().unwrap())
    }

    /// A daemon that was started by other means.
    pub fn watch(&self, child: Child) -> Daemon {
        Daemon { child, log: self.path("palisade.log") }
    }
}

/// Runs a command to its end.
pub fn ran(command: &mut Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Ran {
        code: output.status.code().unwrap_or_else(|| -output.status.signal().unwrap_or_default()),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// What the daemon behind `socket` answers to `GET path`; nothing if there is none.
pub fn get(socket: &Path, path: &str) -> Option<Value> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: palisade\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    Some(serde_json::from_str(body).unwrap())
}

fn list(rows: Option<Value>) -> Vec<Value> {
    match rows {
        Some(Value::Array(rows)) => rows,
        other => panic!("no list: {other:?}"),
    }
}

/// A running daemon; killed when dropped. If the test failed, its log is shown.
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that this home's daemons have said.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has said `text`.
    pub fn says(&mut self, text: &str) {
        eventually(&format!("the daemon says {text:?}"), || self.said().contains(text).then_some(()));
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Its exit code, once it has ended by itself.
    pub fn code(&mut self) -> i32 {
        let status = eventually("the daemon ends", || self.ended());
        status.code().unwrap_or_else(|| panic!("ended by {status}"))
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// SIGTERM; gives the exit code.
    pub fn stop(mut self) -> i32 {
        self.signal(Signal::SIGTERM);
        self.code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = self.said();
            let from = said.len().saturating_sub(6000);
            eprintln!("the daemon's log ends:\n{}", String::from_utf8_lossy(&said.as_bytes()[from..]));
        }
    }
}
