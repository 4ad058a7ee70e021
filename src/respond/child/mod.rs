//! Runs a program of the firewall once: what it is told goes into its input, what it says comes back.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::RespondError;

/// For a large script or a listing: 131,072 targets take a second or two, on a busy machine more.
const DEADLINE: Duration = Duration::from_secs(30);

/// Where Debian and others put `program`; absolute, since an ordinary user's search path lacks /usr/sbin.
pub(super) fn find(program: &str) -> Option<String> {
    let places = ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"];
    let mut places = places.into_iter().map(|place| format!("{place}/{program}"));
    places.find(|place| std::path::Path::new(place).exists())
}

/// Starts `command`, the program and its arguments. It is killed when it is dropped.
///
/// # Errors
/// It is missing or may not be run.
pub(super) fn spawn<'a>(command: impl IntoIterator<Item = &'a str>, stdout: Stdio) -> Result<Child, RespondError> {
    let mut parts = command.into_iter();
    let program = parts.next().unwrap_or_default();
    Command::new(program)
        .args(parts)
        // An interactive nft writes every line into ~/.nft.history, and reads it at start.
        .env("HOME", "/dev/null")
        .env("TERM", "dumb")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| not_run(program, &error))
}

/// Runs `command` to its end; gives what it printed, or, if it failed, what it complained of.
///
/// # Errors
/// It is missing, may not be run, or does not end in time.
pub(super) async fn run(command: &[&str], input: &str) -> Result<Result<Vec<u8>, String>, RespondError> {
    let program = || command.first().copied().unwrap_or_default();
    let mut child = spawn(command.iter().copied(), Stdio::piped())?;
    let stdin = child.stdin.take();
    let feed = async move {
        if let Some(mut stdin) = stdin {
            // If it ends before it has read everything, its status says why.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    // In this order: what is dropped early must kill the program before its input ends, or it would
    // take half a script for a whole one.
    let work = async { tokio::join!(child.wait_with_output(), feed).0 };
    let output = match timeout(DEADLINE, work).await {
        Ok(output) => output.map_err(|error| not_run(program(), &error))?,
        Err(_) => return Err(RespondError::TimedOut { program: program().into(), secs: DEADLINE.as_secs() }),
    };
    Ok(match output.status.success() {
        true => Ok(output.stdout),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    })
}

fn not_run(program: &str, error: &std::io::Error) -> RespondError {
    let program = program.to_owned();
    match error.kind() {
        std::io::ErrorKind::NotFound => RespondError::Missing { program },
        std::io::ErrorKind::PermissionDenied => RespondError::NotPermitted { program },
        _ => RespondError::Died { program, reason: error.to_string() },
    }
}
