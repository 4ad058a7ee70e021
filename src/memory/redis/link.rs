//! The connection to Redis: made, kept and made again by one task; shared by all callers, who never
//! wait for it. Where there is none, Redis is away: the breaker is open.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Pipeline, RedisResult, TlsCertificates, Value, pipe};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::backlog::{Backlog, Changes};
use super::trouble::Trouble;
use crate::event::{ClientKey, digest};
use crate::memory::entry::VERSION;
use crate::memory::{Drawer, Entry, MemoryConfig};

/// Between attempts to connect: while nobody refuses, ...
const RETRY: Duration = Duration::from_secs(1);
/// ... and at most, twice as long after each refusal.
const MAX_RETRY: Duration = Duration::from_secs(60);
/// A connection that lasted so long was a good one: its end is news.
const STABLE: Duration = Duration::from_secs(10);
/// Name look-up, TCP, TLS and log-in together.
const CONNECT: Duration = Duration::from_secs(5);
/// So long a connection that died unnoticed stays in use. Hosted plans charge for each command.
const PING: Duration = Duration::from_secs(60);
/// So many answers in a row that came too late are the end of a connection.
const MAX_LATE: u32 = 3;
/// Changes of one kind that travel together.
const BATCH: usize = 64;
/// Troubles of one outage that are told apart in the log.
const MAX_SAID: usize = 8;

/// Writes (or, if the new value is empty, deletes) what nobody has changed since it was read: of two
/// agents that remember one client at once, one reads again, so that nothing is lost. Sent whole
/// each time: it is short, and a server that has forgotten it is no case of its own.
const REPLACE: &str = "if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end \
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end return 1";

/// The key holds something other than a string.
struct WrongType;

pub struct Link {
    config: MemoryConfig,
    deadline: Duration,
    line: Mutex<Line>,
    backlog: Mutex<Backlog>,
    /// Something waits, or the connection is given up.
    wake: Notify,
    /// There is a new connection.
    connected: Notify,
    damaged: AtomicU64,
}

#[derive(Default)]
struct Line {
    connection: Option<MultiplexedConnection>,
    /// Of the connection: who used an earlier one must not end this one.
    serial: u64,
    late: u32,
    /// What was wrong last.
    trouble: Option<Trouble>,
}

impl Link {
    pub fn new(config: MemoryConfig) -> Link {
        Link {
            deadline: Duration::from_millis(config.redis_timeout_millis),
            backlog: Mutex::new(Backlog::new(usize::try_from(config.max_clients).unwrap_or(usize::MAX))),
            config,
            line: Mutex::default(),
            wake: Notify::new(),
            connected: Notify::new(),
            damaged: AtomicU64::new(0),
        }
    }

    pub fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was told, which the task is to bring to Redis.
    pub fn change(&self, change: impl FnOnce(&mut Backlog)) {
        change(&mut self.backlog());
        self.wake.notify_one();
    }

    /// Whether Redis is there, and what was wrong last.
    pub fn health(&self) -> (bool, Option<String>) {
        let line = self.line();
        (line.connection.is_some(), line.trouble.as_ref().map(Trouble::to_string))
    }

    pub fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    pub fn client_key(&self, client: ClientKey) -> String {
        self.key("client", &client.to_string())
    }

    pub fn value_key(&self, drawer: Drawer, key: &str) -> String {
        let is_plain =
            key.len() <= 128 && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:/-_".contains(&byte));
        match is_plain {
            true => self.key(drawer.as_str(), key),
            // Whatever it is made of, it is a short word in Redis.
            false => self.key(drawer.as_str(), &digest(&[key.as_bytes()])),
        }
    }

    fn key(&self, drawer: &str, key: &str) -> String {
        format!("{}:{VERSION}:{drawer}:{key}", self.config.redis_prefix)
    }

    /// What Redis has under `key`, as `read` understands it. What it does not understand is thrown away.
    pub async fn fetch<T>(&self, key: &str, read: impl Fn(&[u8]) -> Option<T>) -> Result<Option<T>, Trouble> {
        let mut answer = self.ask(pipe().get(key)).await;
        if matches!(answer, Err(Trouble::Unreachable(_))) && self.is_back_in_time().await {
            answer = self.ask(pipe().get(key)).await;
        }
        let damaged = match answer?.pop() {
            Some(Ok(Value::BulkString(bytes))) => match read(&bytes) {
                Some(value) => return Ok(Some(value)),
                None => bytes,
            },
            Some(Err(WrongType)) => {
                self.damaged.fetch_add(1, Ordering::Relaxed);
                self.ask(pipe().del(key)).await?;
                return Ok(None);
            }
            _ => return Ok(None),
        };
        self.damaged.fetch_add(1, Ordering::Relaxed);
        let mut discard = pipe();
        push_replace(&mut discard, key, &damaged, "", Duration::ZERO);
        self.ask(&mut discard).await?;
        Ok(None)
    }

    /// The answers to `commands`, each by the deadline.
    async fn ask(&self, commands: &mut Pipeline) -> Result<Vec<Result<Value, WrongType>>, Trouble> {
        let (connection, serial) = {
            let line = self.line();
            (line.connection.clone(), line.serial)
        };
        let mut connection = connection.ok_or(Trouble::Away)?;
        let answers = answers(&mut connection, commands, self.deadline).await;
        let mut line = self.line();
        if line.serial != serial {
            return answers;
        }
        match &answers {
            Ok(_) => line.late = 0,
            Err(trouble) => {
                line.late += 1;
                if !matches!(trouble, Trouble::TimedOut(_)) || line.late >= MAX_LATE {
                    line.connection = None;
                    line.trouble = Some(trouble.clone());
                    self.wake.notify_one();
                }
            }
        }
        answers
    }

    /// Whether a connection that has just turned out dead, as after long silence, is replaced by the deadline.
    async fn is_back_in_time(&self) -> bool {
        let connected = self.connected.notified();
        // From here on it is told of a connection; one that is there already tells nobody any more.
        self.line().connection.is_some() || timeout(self.deadline, connected).await.is_ok()
    }

    /// A connection over which everything that is needed works.
    async fn connect(&self) -> Result<MultiplexedConnection, Trouble> {
        let mut connection = connect(&self.config).await?;
        let mut probe = pipe();
        push_replace(&mut probe, &self.key("probe", "1"), b"", "1", RETRY);
        answers(&mut connection, &mut probe, self.deadline).await?;
        Ok(connection)
    }

    /// Brings changes to Redis until the connection is given up; says why it is.
    async fn serve(&self, serial: u64) -> Trouble {
        loop {
            let brought = self.bring().await;
            {
                let line = self.line();
                if line.connection.is_none() || line.serial != serial {
                    return line.trouble.clone().unwrap_or(Trouble::Away);
                }
            }
            if brought.is_err() {
                continue;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                // An answer that does not come is noticed there.
                () = sleep(PING) => { _ = self.ask(pipe().cmd("PING")).await; }
            }
        }
    }

    /// Brings all that waits to Redis.
    async fn bring(&self) -> Result<(), Trouble> {
        loop {
            let Some(changes) = self.backlog().send(BATCH) else { return Ok(()) };
            match self.write(&changes).await {
                Ok(missed) => self.backlog().settle(&missed),
                Err(trouble) => {
                    self.backlog().restore();
                    return Err(trouble);
                }
            }
        }
    }

    /// Writes `changes`; gives the clients that another agent wrote at the same time.
    async fn write(&self, changes: &Changes) -> Result<Vec<ClientKey>, Trouble> {
        for drawer in &changes.cleared {
            self.clear(*drawer).await?;
        }
        let mut writes = pipe();
        for ((drawer, key), kept) in &changes.values {
            let key = self.value_key(*drawer, key);
            match kept.as_ref().map(|kept| (kept, left(kept.until))) {
                Some((kept, left)) if left > Duration::ZERO => {
                    writes.cmd("SET").arg(key).arg(&kept.value).arg("PX").arg(millis(left));
                }
                _ => _ = writes.del(key),
            }
        }
        for (client, _) in changes.clients.iter().filter(|(_, change)| change.forgotten) {
            writes.del(self.client_key(*client));
        }
        self.ask(&mut writes).await?;
        let parts: Vec<(ClientKey, &Entry, Duration)> = changes
            .clients
            .iter()
            .filter_map(|(client, change)| Some((*client, change.part.as_ref()?, left(change.until))))
            .collect();
        let mut reads = pipe();
        parts.iter().for_each(|(client, ..)| _ = reads.get(self.client_key(*client)));
        let known = self.ask(&mut reads).await?;
        let mut merges = pipe();
        for ((client, part, left), known) in parts.iter().zip(known) {
            let key = self.client_key(*client);
            let old = match known {
                Ok(Value::BulkString(bytes)) => bytes,
                Ok(_) => vec![],
                Err(WrongType) => {
                    self.damaged.fetch_add(1, Ordering::Relaxed);
                    self.ask(pipe().del(&key)).await?;
                    vec![]
                }
            };
            let mut entry = Entry::decode(&old);
            if entry.is_none() && !old.is_empty() {
                self.damaged.fetch_add(1, Ordering::Relaxed);
            }
            match &mut entry {
                Some(entry) => entry.merge(part),
                None => entry = Some((*part).clone()),
            }
            push_replace(&mut merges, &key, &old, &entry.map(|entry| entry.encode()).unwrap_or_default(), *left);
        }
        let merged = self.ask(&mut merges).await?;
        let missed = parts.iter().zip(merged).filter(|(_, answer)| !matches!(answer, Ok(Value::Int(1))));
        Ok(missed.map(|((client, ..), _)| *client).collect())
    }

    /// Deletes every key of `drawer`: the one call that looks through all keys.
    async fn clear(&self, drawer: Drawer) -> Result<(), Trouble> {
        let pattern = format!("{}*", escape_glob(&self.key(drawer.as_str(), "")));
        let mut cursor = b"0".to_vec();
        loop {
            let mut scan = pipe();
            scan.cmd("SCAN").arg(&cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(500);
            let answer = self.ask(&mut scan).await?.pop();
            let Some(Ok(Value::Array(parts))) = answer else { return Ok(()) };
            let Ok([Value::BulkString(next), Value::Array(keys)]) = <[Value; 2]>::try_from(parts) else {
                return Ok(());
            };
            if !keys.is_empty() {
                let mut unlink = pipe();
                unlink.cmd("UNLINK");
                keys.into_iter().filter_map(bytes).for_each(|key| _ = unlink.arg(key));
                self.ask(&mut unlink).await?;
            }
            if next == b"0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to the Redis of `config`, which waits for answers as long as its caller does.
///
/// # Errors
/// There is none, or it lets nobody in. It holds neither the URL nor the password.
pub async fn connect(config: &MemoryConfig) -> Result<MultiplexedConnection, Trouble> {
    // Were two providers linked, the first TLS connection would panic for want of a choice. Another part may
    // have made it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = url(config)?;
    let client = match &config.redis_ca_file {
        None => Client::open(url),
        Some(path) => {
            let unreadable = |error| Trouble::Refused(format!("memory.redis_ca_file cannot be read: {error}"));
            let root_cert = Some(std::fs::read(path).map_err(unreadable)?);
            Client::build_with_tls(url, TlsCertificates { client_tls: None, root_cert })
        }
    };
    let client = client.map_err(|error| Trouble::of(&error))?;
    // Deadlines are ours: its own would end calls without our notice.
    let options = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let connecting = timeout(CONNECT, client.get_multiplexed_async_connection_with_config(&options));
    let silent = |_| {
        Trouble::Unreachable(format!(
            "no log-in within {} s; rediss:// is with TLS, redis:// without",
            CONNECT.as_secs()
        ))
    };
    connecting.await.map_err(silent)?.map_err(|error| Trouble::of(&error))
}

fn url(config: &MemoryConfig) -> Result<String, Trouble> {
    let Some(path) = &config.redis_url_file else { return Ok(config.redis_url.reveal().to_owned()) };
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(Trouble::Refused(format!("memory.redis_url_file cannot be read: {error}"))),
    }
}

/// Connects, and again whenever the connection is given up, for as long as it is let run.
pub async fn keep(link: Arc<Link>) {
    let (mut pause, mut said, mut is_back) = (RETRY, Vec::<Trouble>::new(), false);
    loop {
        let (trouble, lasted) = match link.connect().await {
            Ok(connection) => {
                let since = Instant::now();
                let serial = {
                    let mut line = link.line();
                    (line.connection, line.late) = (Some(connection), 0);
                    line.serial += 1;
                    line.serial
                };
                link.connected.notify_waiters();
                if !std::mem::replace(&mut is_back, true) {
                    tracing::info!("memory is shared through Redis");
                }
                (link.serve(serial).await, since.elapsed())
            }
            Err(trouble) => {
                link.line().trouble = Some(trouble.clone());
                (trouble, Duration::ZERO)
            }
        };
        if lasted >= STABLE {
            (pause, is_back) = (RETRY, false);
            said.clear();
        }
        if !said.contains(&trouble) && said.len() < MAX_SAID {
            tracing::warn!("{trouble}; meanwhile this process remembers alone");
            is_back = false;
            said.push(trouble.clone());
        }
        sleep(pause.saturating_sub(lasted)).await;
        pause = if matches!(trouble, Trouble::Refused(_)) { (pause * 2).min(MAX_RETRY) } else { RETRY };
    }
}

async fn answers(
    connection: &mut MultiplexedConnection,
    commands: &mut Pipeline,
    deadline: Duration,
) -> Result<Vec<Result<Value, WrongType>>, Trouble> {
    if commands.is_empty() {
        return Ok(vec![]);
    }
    let asked = commands.ignore_errors().query_async::<Vec<RedisResult<Value>>>(connection);
    let answered = timeout(deadline, asked).await.map_err(|_| Trouble::TimedOut(deadline))?;
    let answers = answered.map_err(|error| Trouble::of(&error))?;
    let understood = |answer: RedisResult<Value>| match answer {
        Ok(value) => Ok(Ok(value)),
        Err(error) if error.code() == Some("WRONGTYPE") => Ok(Err(WrongType)),
        Err(error) => Err(Trouble::of(&error)),
    };
    answers.into_iter().map(understood).collect()
}

fn push_replace(commands: &mut Pipeline, key: &str, old: &[u8], new: &str, ttl: Duration) {
    commands.cmd("EVAL").arg(REPLACE).arg(1).arg(key).arg(old).arg(new).arg(millis(ttl));
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// For Redis, which refuses 0.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64 / 2)
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    if let Value::BulkString(bytes) = value { Some(bytes) } else { None }
}

/// `text` as itself in a pattern.
fn escape_glob(text: &str) -> String {
    text.chars().flat_map(|c| if r"*?[]\^-".contains(c) { vec!['\\', c] } else { vec![c] }).collect()
}
