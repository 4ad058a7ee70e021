use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use crate::event::printable;
use crate::respond::RespondError;

/// All that the program finds in its environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of its complaints that are read, and that are shown.
const READ_BYTES: u64 = 16 * 1024;
const SHOWN_BYTES: usize = 300;
/// What a program wrote is there when it ends; a child that it left behind may keep the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A program to be run once, without a shell.
pub(in crate::respond) struct Program<'a> {
    /// The program, by an absolute path, and its arguments.
    pub line: &'a [String],
    /// What it reads on its standard input.
    pub input: &'a str,
    /// What stands in the line of its complaints that says most; else it is the first.
    pub telling: &'a str,
    pub deadline: Duration,
}

/// Runs it until it ends well. One that is late, or whose future is dropped, is killed with all
/// that it started.
///
/// # Errors
/// It cannot be started, is late, or ends with another code than 0: a line of its complaints is told.
pub(in crate::respond) async fn run(program: Program<'_>) -> Result<(), RespondError> {
    let shown = || printable(program.line.join(" ").as_bytes(), SHOWN_BYTES);
    let refused = |message: String| RespondError::Rejected { program: shown(), message };
    let Some((path, arguments)) = program.line.split_first() else {
        return Err(refused("no program is named".into()));
    };
    let mut child = Command::new(path)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(if program.input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| refused(format!("it cannot be started: {error}; is the path right?")))?;
    let mut group = Group(child.id());
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // If it ends before it has read everything, its code says why.
            let _ = stdin.write_all(program.input.as_bytes()).await;
        }
    };
    let mut said = vec![];
    let listen = async {
        if let Some(mut stderr) = stderr {
            let _ = (&mut stderr).take(READ_BYTES).read_to_end(&mut said).await;
            // A pipe that nobody reads would stop it.
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        }
    };
    let work = async {
        tokio::pin!(listen);
        let end = async { tokio::join!(child.wait(), feed).0 };
        tokio::pin!(end);
        tokio::select! {
            status = &mut end => {
                let _ = timeout(LAST_WORDS, &mut listen).await;
                status
            }
            () = &mut listen => end.await,
        }
    };
    let Ok(status) = timeout(program.deadline, work).await else {
        return Err(RespondError::TimedOut { program: shown(), secs: program.deadline.as_secs() });
    };
    group.0 = None;
    let status = status.map_err(|error| refused(error.to_string()))?;
    if status.success() {
        return Ok(());
    }
    let mut lines = said.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let first = lines.next();
    let tells = |line: &&[u8]| memchr::memmem::find(line, program.telling.as_bytes()).is_some();
    let message = match first.filter(tells).or_else(|| lines.find(tells)).or(first) {
        Some(line) => format!("{status}: {}", printable(line, SHOWN_BYTES)),
        None => format!("{status}, without a word"),
    };
    Err(refused(message))
}

/// The processes of a program that has not ended; killed when dropped.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0.and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
        }
    }
}
