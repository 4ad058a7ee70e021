//! What the service manager that started the daemon is told, as sd_notify(3) says: that it reads, how
//! it is doing, and, again and again, that it does not hang. Nobody is told where nobody asked.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use super::reader::ReaderStatus;
use crate::config::Supervision;
use crate::event::printable;
use crate::show::{Command, Request};

/// The line of `systemctl status` is renewed this often.
const STATUS_SECS: u64 = 10;
const MAX_STATUS_BYTES: usize = 300;

/// Who started the daemon and wants to hear of it, if anybody.
#[derive(Default)]
pub struct Supervisor {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// # Errors
    /// Its socket is not there.
    pub fn connect(supervision: &Supervision) -> io::Result<Supervisor> {
        let Some(name) = supervision.notify_socket.as_ref().map(|name| name.as_bytes()) else {
            return Ok(Supervisor::default());
        };
        let address = match name.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(supervision.notify_socket.clone().unwrap_or_default())?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // Whoever listens must not keep the daemon waiting.
        socket.set_nonblocking(true)?;
        Ok(Supervisor { socket: Some(socket), watchdog: supervision.watchdog })
    }

    /// Says `state`, lines of `NAME=value`. Nobody who hears it is no failure: there is the watchdog.
    fn say(&self, state: &str) {
        if let Some(Err(error)) = self.socket.as_ref().map(|socket| socket.send(state.as_bytes())) {
            tracing::debug!("the service manager was not told {state:?}: {error}");
        }
    }

    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=stopping");
    }

    /// Says that the daemon is ready once the reader has spoken, and then that it lives as long as it
    /// answers to [`Command::Ping`].
    pub async fn attend(&self, mut reader: watch::Receiver<ReaderStatus>, commands: mpsc::Sender<Request>) {
        if self.socket.is_none() || reader.changed().await.is_err() {
            return;
        }
        self.say("READY=1");
        // Looked at early enough, and answered in time, for one that was late to be no hang.
        let usual = Duration::from_secs(STATUS_SECS);
        let (every, patience) =
            self.watchdog.map_or((usual, usual), |watchdog| (usual.min(watchdog / 4), watchdog / 3));
        let mut lives = true;
        loop {
            let pong = tokio::time::timeout(patience, ask(&commands, Command::Ping)).await;
            match pong.as_ref().map_err(ToString::to_string).and_then(|pong| pong.clone()) {
                Ok(_) => {
                    self.say("WATCHDOG=1");
                    lives = true;
                }
                Err(problem) if lives => {
                    tracing::error!("the daemon hangs: {problem}");
                    self.say(&format!("STATUS=hangs: {}", printable(problem.as_bytes(), MAX_STATUS_BYTES)));
                    lives = false;
                }
                Err(_) => {}
            }
            if lives && let Ok(Ok(status)) = tokio::time::timeout(patience / 3, ask(&commands, Command::Status)).await {
                self.say(&format!("STATUS={}", summary(&status)));
            }
            tokio::time::sleep(every).await;
        }
    }
}

pub(super) async fn ask(commands: &mpsc::Sender<Request>, command: Command) -> Result<Value, String> {
    let stopping = || "the decider has ended".to_owned();
    let (reply, answer) = oneshot::channel();
    commands.send(Request { command, reply }).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())?.map_err(|problem| problem.to_string())
}

/// One line for `systemctl status`.
fn summary(status: &Value) -> String {
    let text = |name: &str| status[name].as_str().unwrap_or_default();
    let problems: Vec<&str> = status["problems"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let figures = format!("{}, {} blocked, {} lines read", text("mode"), status["active"], status["lines"]);
    let line = match problems.as_slice() {
        [] => figures,
        [first, ..] => format!("{figures}; {} wrong: {first}", problems.len()),
    };
    printable(line.as_bytes(), MAX_STATUS_BYTES)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A service manager with this watchdog, and what it hears.
    fn manager(watchdog: Option<Duration>) -> (Supervisor, UnixDatagram, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        heard.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let supervision = Supervision { notify_socket: Some(path.into()), watchdog };
        (Supervisor::connect(&supervision).unwrap(), heard, dir)
    }

    fn next(heard: &UnixDatagram) -> String {
        let mut bytes = [0; 1024];
        let length = heard.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn an_abstract_socket_is_told_too_and_one_that_is_gone_is_an_error() {
        let name = format!("palisade-test-{}", std::process::id());
        let heard = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let at = |name: String| Supervision { notify_socket: Some(name.into()), watchdog: None };
        Supervisor::connect(&at(format!("@{name}"))).unwrap().stopping();
        assert_eq!(next(&heard), "STOPPING=1\nSTATUS=stopping");
        assert!(Supervisor::connect(&at("/nonexistent/notify".into())).is_err());
        Supervisor::connect(&Supervision::default()).unwrap().stopping();
    }

    /// The first ping is answered, the next is not.
    #[tokio::test(flavor = "multi_thread")]
    async fn it_is_ready_when_the_reader_speaks_and_lives_as_long_as_the_decider_answers() {
        let (supervisor, heard, _dir) = manager(Some(Duration::from_millis(200)));
        let (speak, reader) = watch::channel(ReaderStatus::default());
        let (commands, mut asked) = mpsc::channel::<Request>(8);
        let attending = tokio::spawn(async move { supervisor.attend(reader, commands).await });
        heard.set_nonblocking(true).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(heard.recv(&mut [0; 9]).is_err(), "nothing is ready yet");
        heard.set_nonblocking(false).unwrap();
        speak.send_replace(ReaderStatus::default());
        assert_eq!(next(&heard), "READY=1");
        let ping = asked.recv().await.unwrap();
        assert!(matches!(ping.command, Command::Ping));
        ping.reply.send(Ok(json!({}))).unwrap();
        assert_eq!(next(&heard), "WATCHDOG=1");
        let status = asked.recv().await.unwrap();
        let answer = json!({ "mode": "enforce", "active": 3, "lines": 17, "problems": ["the disk\nis full", "b"] });
        status.reply.send(Ok(answer)).unwrap();
        assert_eq!(next(&heard), "STATUS=enforce, 3 blocked, 17 lines read; 2 wrong: the disk\\nis full");
        // Kept, so that it waits.
        let _unanswered = asked.recv().await.unwrap();
        assert!(next(&heard).starts_with("STATUS=hangs"));
        heard.set_nonblocking(true).unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert!(heard.recv(&mut [0; 99]).is_err(), "no sign of life");
        attending.abort();
    }
}
