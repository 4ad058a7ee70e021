//! A real Docker Engine of a test's own, and a Debian to make images of.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use super::daemon::eventually;
use super::{Namespace, namespaces_or_skip};

/// Whether Docker and debootstrap are here, and `more`. If not, says so on the real stderr, or fails when
/// `PALISADE_REQUIRE_DOCKER=1`.
#[expect(clippy::disallowed_methods, reason = "the one thing that who runs the tests may ask of them")]
pub fn docker_or_skip(what: &str, more: &[&str]) -> bool {
    let missing = ["dockerd", "docker", "debootstrap"]
        .into_iter()
        .chain(more.iter().copied())
        .find(|program| !["/usr/sbin", "/usr/bin"].iter().any(|place| Path::new(place).join(program).exists()));
    let Some(missing) = missing else { return namespaces_or_skip(what) };
    let required = std::env::var("PALISADE_REQUIRE_DOCKER").is_ok_and(|value| value == "1");
    assert!(!required, "Docker is required, but there is no {missing}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what} needs {missing}");
    false
}

/// A Debian with nginx and all else that stands in for public images, made once.
fn root() -> &'static Path {
    const PACKAGES: &str = "ca-certificates,dbus,libcap2-bin,nftables,nginx-light,redis-server,systemd,systemd-sysv";
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian-root.tar");
        if !made.exists() {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("root");
            let packages = format!("--include={PACKAGES}");
            run(Command::new("debootstrap").args(["--variant=minbase", &packages, "bookworm"]).arg(&root));
            let part = made.with_extension("part");
            let without = ["--exclude=./var/cache/apt/archives/*.deb", "--exclude=./usr/share/doc", "-cf"];
            run(Command::new("tar").arg("-C").arg(&root).args(without).arg(&part).arg("."));
            fs::rename(part, &made).unwrap();
        }
        made
    })
}

/// Runs a command that must succeed; gives what it prints.
pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {printed}{said}");
    printed.trim().to_owned()
}

/// The program without what debuggers want: tens of megabytes.
pub fn stripped_program(to: &Path) {
    run(Command::new("strip").arg("-o").arg(to).arg(env!("CARGO_BIN_EXE_palisade")));
}

/// A Docker Engine of its own in a namespace of its own. Its containers end with it.
pub struct Engine<'a> {
    namespace: &'a Namespace,
    dir: TempDir,
    process: Child,
}

impl<'a> Engine<'a> {
    pub fn start(namespace: &'a Namespace) -> Engine<'a> {
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

    /// Where it listens.
    pub fn host(&self) -> String {
        format!("unix://{}", self.dir.path().join("socket").display())
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/docker");
        command.arg("--host").arg(self.host()).args(arguments);
        command
    }

    pub fn docker(&self, arguments: &[&str]) -> String {
        run(&mut self.command(arguments))
    }

    /// Makes an image of the Debian, which starts nginx.
    pub fn import(&self, name: &str) {
        let start = "CMD [\"nginx\",\"-g\",\"daemon off;\"]";
        self.docker(&["import", "--change", start, &root().display().to_string(), name]);
    }

    fn wait(&self) {
        eventually("Docker answers", || self.command(&["info"]).output().unwrap().status.success().then_some(()));
    }

    fn stop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }

    pub fn restart(&mut self) {
        self.stop();
        self.process = Engine::spawn(self.namespace, self.dir.path());
        self.wait();
    }
}

impl Drop for Engine<'_> {
    fn drop(&mut self) {
        let all = self.command(&["ps", "--all", "--quiet"]).output();
        let all = all.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let ids: Vec<&str> = all.split_whitespace().collect();
        let _ = self.command(&[&["rm", "--force"], &ids[..]].concat()).output();
        self.stop();
        // It leaves its namespace mounted, and the directory could not go.
        let _ = Command::new("umount").arg(self.dir.path().join("exec/netns/default")).output();
    }
}
