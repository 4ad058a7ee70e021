//! A real Postgres, and a pooler in front of it. Needs nothing of its neighbours, so that unit tests
//! include this file too.

use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::unistd::{Uid, User, chown};
use tempfile::TempDir;

/// Of the superuser `postgres`, by TCP; by the socket nobody is asked for one.
pub const PASSWORD: &str = "pa ss:w@rd";
/// The same as it is written in a URL.
const PASSWORD_IN_URL: &str = "pa%20ss%3Aw%40rd";

/// The URL of a new and empty database on this process's server, for the superuser. `None`, when there is
/// no Postgres to start: says so on the real stderr, or fails when `PALISADE_REQUIRE_POSTGRES=1`.
pub fn database(what: &str) -> Option<String> {
    shared(what).map(Server::database)
}

/// This process's server, with fsync off: started once, gone when the process ends.
pub fn shared(what: &str) -> Option<&'static Server> {
    static SERVER: OnceLock<Server> = OnceLock::new();
    postgres_or_skip(what).then(|| SERVER.get_or_init(Server::start))
}

/// Whether there is a Postgres to start: see [`database`].
#[expect(clippy::disallowed_methods, reason = "the one thing that who runs the tests may ask of them")]
pub fn postgres_or_skip(what: &str) -> bool {
    if bin().is_some() {
        return true;
    }
    let required = std::env::var("PALISADE_REQUIRE_POSTGRES").is_ok_and(|value| value == "1");
    assert!(!required, "Postgres is required, but {what} cannot find it");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what} needs postgresql");
    false
}

/// Whether there is a pgbouncer besides.
#[expect(clippy::disallowed_methods, reason = "the one thing that who runs the tests may ask of them")]
pub fn pooler_or_skip(what: &str) -> bool {
    if !postgres_or_skip(what) {
        return false;
    }
    if Command::new("pgbouncer").arg("--version").stdout(Stdio::null()).status().is_ok() {
        return true;
    }
    let required = std::env::var("PALISADE_REQUIRE_POSTGRES").is_ok_and(|value| value == "1");
    assert!(!required, "pgbouncer is required, but {what} cannot find it");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what} needs pgbouncer");
    false
}

/// A running Postgres with a directory and a port of its own; stopped and deleted when dropped, or when
/// the test's process ends in whatever way.
pub struct Server {
    keeper: Child,
    prefix: Vec<String>,
    dir: PathBuf,
    /// That it listens at.
    pub host: String,
    pub port: u16,
    databases: AtomicU32,
}

impl Server {
    pub fn start() -> Server {
        Server::start_with("")
    }

    /// With more lines of `postgresql.conf`, in which `DIR` is the server's directory.
    pub fn start_with(config: &str) -> Server {
        Server::start_in(&[], "127.0.0.1", config)
    }

    /// Run by `prefix`, such as the command line that enters a namespace, at an address there.
    pub fn start_in(prefix: &[String], host: &str, config: &str) -> Server {
        let (dir, port) = (directory("palisade-postgres-"), free_port());
        let server = Server {
            keeper: keeper(KEEP_SERVER, dir.path()),
            prefix: prefix.to_vec(),
            dir: dir.keep(),
            host: host.to_owned(),
            port,
            databases: AtomicU32::new(0),
        };
        fs::write(server.path("password"), PASSWORD).unwrap();
        let shown = server.dir.display();
        server.tool(
            "initdb",
            &format!("-D {shown}/data -U postgres -A trust --pwfile={shown}/password -E UTF8 --no-locale -N"),
        );
        let own = format!(
            "listen_addresses = '{host}'\nport = {port}\nunix_socket_directories = '{shown}'\nmax_connections = 200\n\
             fsync = off\nfull_page_writes = off\nshared_buffers = 64MB\n{}\n",
            config.replace("DIR", &shown.to_string())
        );
        fs::write(server.path("data/postgresql.conf"), own).unwrap();
        let hba = "local all all trust\nhost all all 0.0.0.0/0 scram-sha-256\nhost all all ::/0 scram-sha-256\n";
        fs::write(server.path("data/pg_hba.conf"), hba).unwrap();
        server.start_again();
        server
    }

    /// With a certificate for `name` (`IP:127.0.0.1`, `DNS:localhost`) that `ca.pem` in its directory signed,
    /// and which nobody gets in without.
    pub fn start_with_tls(name: &str) -> Server {
        let mut server = Server::start();
        certificates(&server.dir, name);
        for file in ["server.pem", "server.key"] {
            give(&server.path(file));
        }
        server.configure("ssl = on\nssl_cert_file = 'DIR/server.pem'\nssl_key_file = 'DIR/server.key'\n");
        fs::write(server.path("data/pg_hba.conf"), "local all all trust\nhostssl all all 0.0.0.0/0 scram-sha-256\n")
            .unwrap();
        server.stop();
        server.start_again();
        server
    }

    /// Adds lines to `postgresql.conf`; they count at its next start.
    pub fn configure(&mut self, config: &str) {
        let mut file = File::options().append(true).open(self.path("data/postgresql.conf")).unwrap();
        file.write_all(config.replace("DIR", &self.dir.display().to_string()).as_bytes()).unwrap();
    }

    /// A file in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Of `database`, for the superuser.
    pub fn url(&self, database: &str) -> String {
        self.url_for("postgres", PASSWORD_IN_URL, database)
    }

    pub fn url_for(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@{}:{}/{database}", self.host, self.port)
    }

    /// Makes a database; its URL for the superuser.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// What `psql` prints for `sql` in `database`: columns apart by `|`.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.sql_as("postgres", database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The same for another user, who may be refused.
    pub fn sql_as(&self, user: &str, database: &str, sql: &str) -> Result<String, String> {
        let port = self.port.to_string();
        let dir = self.dir.display().to_string();
        let arguments = ["-XqAt", "-v", "ON_ERROR_STOP=1", "-h", &dir, "-p", &port, "-U", user, "-d", database, "-c"];
        let output = Command::new("psql").args(arguments).arg(sql).output().unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap().trim_end().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    /// Stops it in an orderly way, with whatever its clients were at.
    pub fn stop(&mut self) {
        self.tool("pg_ctl", &format!("stop -m fast -w -D {}/data", self.dir.display()));
    }

    /// `kill -9`; its children go by themselves soon.
    pub fn kill(&mut self) {
        let pid = fs::read_to_string(self.path("data/postmaster.pid")).unwrap();
        let pid: i32 = pid.lines().next().unwrap().parse().unwrap();
        // Those who serve a connection, too: they would go on for a moment.
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let all = std::iter::once(pid).chain(children.split(' ').filter_map(|child| child.parse().ok()));
        for one in all {
            let killed = nix::sys::signal::kill(nix::unistd::Pid::from_raw(one), nix::sys::signal::Signal::SIGKILL);
            assert!(one != pid || killed.is_ok(), "{killed:?}");
        }
    }

    /// Starts it after [`stop`](Self::stop) or [`kill`](Self::kill); it answers then.
    pub fn start_again(&self) {
        let shown = self.dir.display();
        let start = format!("start -w -t 60 -s -D {shown}/data -l {shown}/log");
        let deadline = Instant::now() + Duration::from_secs(60);
        // Children of one that was killed may still hold its memory.
        while let Err(error) = self.try_tool("pg_ctl", &start) {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "Postgres does not start: {error}\n{log}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn tool(&self, name: &str, arguments: &str) {
        self.try_tool(name, arguments).unwrap_or_else(|error| panic!("{name} {arguments}: {error}"));
    }

    fn try_tool(&self, name: &str, arguments: &str) -> Result<(), String> {
        let program = bin().unwrap().join(name).display().to_string();
        let line = [self.prefix.clone(), as_postgres(), vec![program]].concat();
        let output: Output = Command::new(&line[0])
            .args(&line[1..])
            .args(arguments.split(' '))
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.keeper);
    }
}

/// A pgbouncer in transaction mode, with few connections to the server and no prepared statements: a
/// client has another session of the server after each transaction.
pub struct Pooler {
    keeper: Child,
    pub port: u16,
}

impl Pooler {
    pub fn start(server: &Server) -> Pooler {
        let (dir, port) = (directory("palisade-pgbouncer-"), free_port());
        let shown = dir.path().display();
        fs::write(dir.path().join("users"), format!("\"postgres\" \"{PASSWORD}\"\n")).unwrap();
        let config = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {shown}/users\npool_mode = transaction\n\
             default_pool_size = 3\nmax_client_conn = 200\nlogfile = {shown}/log\n",
            server.host, server.port
        );
        fs::write(dir.path().join("pgbouncer.ini"), config).unwrap();
        for file in ["users", "pgbouncer.ini"] {
            give(&dir.path().join(file));
        }
        let pooler = Pooler { keeper: keeper(KEEP_POOLER, &dir.keep()), port };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "pgbouncer does not listen");
            std::thread::sleep(Duration::from_millis(25));
        }
        pooler
    }

    /// The same database through it.
    pub fn url(&self, server: &Server, url: &str) -> String {
        url.replace(&format!("{}:{}", server.host, server.port), &format!("127.0.0.1:{}", self.port))
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        end(&mut self.keeper);
    }
}

/// Ends what it keeps once its standard input ends: when the test's process does, or before.
const KEEP_SERVER: &str = "trap '' INT TERM HUP; cat; \
    pid=$(head -n 1 \"$0/data/postmaster.pid\" 2>/dev/null) && kill -QUIT \"$pid\" \
    && while kill -0 \"$pid\" 2>/dev/null; do sleep 0.02; done; rm -rf \"$0\"";
const KEEP_POOLER: &str = "trap '' INT TERM HUP; \"$@\" pgbouncer -q \"$0/pgbouncer.ini\" </dev/null & \
    cat; kill -KILL $!; rm -rf \"$0\"";

fn keeper(script: &str, dir: &Path) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(dir).args(as_postgres()).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn end(keeper: &mut Child) {
    drop(keeper.stdin.take());
    let _ = keeper.wait();
}

/// Where the newest installed Postgres has its programs.
fn bin() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let newest = versions.max_by_key(|entry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()))?;
    Some(newest.path().join("bin")).filter(|bin| bin.join("initdb").exists())
}

/// What has to stand before a program that root may not run.
fn as_postgres() -> Vec<String> {
    let words = if Uid::effective().is_root() { "setpriv --reuid=postgres --regid=postgres --init-groups" } else { "" };
    words.split_whitespace().map(String::from).collect()
}

fn directory(prefix: &str) -> TempDir {
    let dir = tempfile::Builder::new().prefix(prefix).tempdir().unwrap();
    give(dir.path());
    dir
}

/// Makes it the property of who runs the server.
fn give(path: &Path) {
    if Uid::effective().is_root() {
        let user = User::from_name("postgres").unwrap().unwrap();
        chown(path, Some(user.uid), Some(user.gid)).unwrap();
    }
    let mode = if path.is_dir() { 0o700 } else { 0o600 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An authority `ca.pem`, `server.pem` with `server.key`, which it signed, and `other.pem`, an authority
/// that signed nothing.
pub fn certificates(dir: &Path, name: &str) {
    let openssl = |arguments: &str| {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    };
    fs::write(dir.join("san"), format!("subjectAltName={name}")).unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for authority in ["ca", "other"] {
        openssl(&format!("req -x509 {key} -keyout {authority}.key -out {authority}.pem -subj /CN={authority} -days 2"));
    }
    openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN=server"));
    openssl("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile san");
}
