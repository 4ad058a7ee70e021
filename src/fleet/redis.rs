//! Messages in a stream of the Redis that `[memory]` names.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, RedisResult, Value, cmd, pipe};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{Answer, Bus, BusError, Posted, Signed};
use crate::event::Timestamp;
use crate::memory::{self, MemoryConfig, Trouble};

/// Messages that the stream keeps at most, about; beyond it the oldest go.
const MAX_MESSAGES: u32 = 100_000;
/// Messages that are taken at once, or looked at when old ones are deleted.
const PAGE: u32 = 200;
/// What Redis does not answer by then, it does not answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// A message that cannot be understood goes after a year, which no ban outlasts.
const MAX_AGE_MILLIS: i64 = 365 * 86_400_000;

/// Agents with the same Redis and the same prefix.
pub struct RedisBus {
    config: MemoryConfig,
    stream: String,
    /// One that waits for messages, and one that waits for nothing.
    taking: Mutex<Option<MultiplexedConnection>>,
    giving: Mutex<Option<MultiplexedConnection>>,
}

impl RedisBus {
    pub fn new(config: &MemoryConfig) -> RedisBus {
        let stream = format!("{}:1:fleet", config.redis_prefix);
        RedisBus { config: config.clone(), stream, taking: Mutex::default(), giving: Mutex::default() }
    }

    /// Runs `work` on a connection that is made as needed, and given up when something goes wrong.
    async fn with<T>(
        &self,
        line: &Mutex<Option<MultiplexedConnection>>,
        patience: Duration,
        work: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, BusError> {
        let mut line = line.lock().await;
        let mut connection = match line.take() {
            Some(connection) => connection,
            None => memory::connect(&self.config).await.map_err(said)?,
        };
        let answer = timeout(patience, work(&mut connection)).await;
        let answer = answer.map_err(|_| said(Trouble::TimedOut(patience)))?;
        let answer = answer.map_err(|error| said(Trouble::of(&error)))?;
        *line = Some(connection);
        Ok(answer)
    }

    fn command(&self, name: &str) -> Cmd {
        let mut command = cmd(name);
        command.arg(&self.stream);
        command
    }
}

impl Bus for RedisBus {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn publish<'a>(&'a self, messages: &'a [Signed]) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut commands = pipe();
            for Signed { body, mac } in messages {
                let add = commands.cmd("XADD").arg(&self.stream).arg("MAXLEN").arg("~").arg(MAX_MESSAGES).arg("*");
                add.arg("m").arg(body).arg("s").arg(mac).ignore();
            }
            self.with(&self.giving, PATIENCE, async |connection| commands.query_async::<()>(connection).await).await
        })
    }

    fn take<'a>(&'a self, after: &'a str, wait: Duration) -> Answer<'a, Vec<Posted>> {
        Box::pin(async move {
            let mut read = cmd("XREAD");
            // 0 would be for ever.
            let wait_millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            read.arg("COUNT").arg(PAGE).arg("BLOCK").arg(wait_millis).arg("STREAMS").arg(&self.stream);
            read.arg(if after.is_empty() { "0" } else { after });
            let query = async |connection: &mut MultiplexedConnection| read.query_async::<Value>(connection).await;
            let answer = self.with(&self.taking, wait + PATIENCE, query).await?;
            let streams = match answer {
                Value::Map(streams) => streams.into_iter().next().map(|(_, entries)| entries),
                Value::Array(streams) => streams.into_iter().next().and_then(|stream| array(stream).pop()),
                _ => None,
            };
            Ok(streams.map(entries).unwrap_or_default())
        })
    }

    fn knows<'a>(&'a self, cursor: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut newest = self.command("XREVRANGE");
            newest.arg("+").arg("-").arg("COUNT").arg(1);
            let query = async |connection: &mut MultiplexedConnection| newest.query_async::<Value>(connection).await;
            let newest = entries(self.with(&self.giving, PATIENCE, query).await?).pop();
            Ok(newest.is_some_and(|newest| place(&newest.cursor) >= place(cursor)))
        })
    }

    fn prune(&self) -> Answer<'_, u64> {
        Box::pin(async move {
            let (now, mut from, mut deleted) = (Timestamp::now(), "-".to_owned(), 0);
            loop {
                let mut range = self.command("XRANGE");
                range.arg(&from).arg("+").arg("COUNT").arg(PAGE);
                let query = async |connection: &mut MultiplexedConnection| range.query_async::<Value>(connection).await;
                let page = entries(self.with(&self.giving, PATIENCE, query).await?);
                let is_over = |posted: &&Posted| match posted.signed.expires_at() {
                    Some(end) => end <= now,
                    None => place(&posted.cursor).0 < now.0.saturating_sub(MAX_AGE_MILLIS).cast_unsigned(),
                };
                let over: Vec<&str> = page.iter().filter(is_over).map(|posted| posted.cursor.as_str()).collect();
                if !over.is_empty() {
                    let mut delete = self.command("XDEL");
                    delete.arg(&over);
                    let query =
                        async |connection: &mut MultiplexedConnection| delete.query_async::<u64>(connection).await;
                    deleted += self.with(&self.giving, PATIENCE, query).await?;
                }
                match page.last() {
                    Some(last) if page.len() >= PAGE as usize => from = format!("({}", last.cursor),
                    _ => return Ok(deleted),
                }
            }
        })
    }
}

fn said(trouble: Trouble) -> BusError {
    BusError(match trouble {
        Trouble::Refused(text) if text.contains("NOPERM") => format!(
            "the user of memory.redis_url may not do what sharing bans needs, which is XADD, XREAD, XRANGE, XREVRANGE \
             and XDEL on its keys: {text}"
        ),
        other => other.to_string(),
    })
}

/// The entries of a stream. One that is no message is an empty one, which nobody's key has signed.
fn entries(value: Value) -> Vec<Posted> {
    let entry = |entry: Value| {
        let mut parts = array(entry).into_iter();
        let cursor = text(parts.next()?);
        let mut signed = Signed::default();
        let mut fields = match parts.next() {
            Some(Value::Map(fields)) => fields.into_iter().flat_map(|(name, value)| [name, value]).collect(),
            Some(fields) => array(fields),
            None => vec![],
        }
        .into_iter();
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            match &*text(name) {
                "m" => signed.body = text(value),
                "s" => signed.mac = text(value),
                _ => {}
            }
        }
        Some(Posted { cursor, signed })
    };
    array(value).into_iter().filter_map(entry).collect()
}

fn array(value: Value) -> Vec<Value> {
    if let Value::Array(values) = value { values } else { vec![] }
}

/// What is not UTF-8 is no message of ours, and its signature will not be right.
fn text(value: Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::SimpleString(text) => text,
        _ => String::new(),
    }
}

/// The numbers of an entry's id, which tell what comes first.
fn place(id: &str) -> (u64, u64) {
    let (millis, number) = id.split_once('-').unwrap_or((id, "0"));
    (millis.parse().unwrap_or(0), number.parse().unwrap_or(0))
}
