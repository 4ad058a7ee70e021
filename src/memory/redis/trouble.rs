use std::time::Duration;

use redis::{ErrorKind, RedisError};

use crate::event::printable;

/// Bytes of a server's own words that are repeated.
const SAID_BYTES: usize = 200;

/// Why Redis does not do what it is asked. Holds neither the URL nor the password.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Trouble {
    #[error("Redis is away")]
    Away,
    #[error("Redis does not answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("Redis cannot be reached: {0}")]
    Unreachable(String),
    /// Somebody has to change something, so it is asked ever more rarely.
    #[error("{0}")]
    Refused(String),
}

impl Trouble {
    pub fn of(error: &RedisError) -> Trouble {
        let text = printable(error.to_string().as_bytes(), SAID_BYTES);
        let has = |words: &[&str]| words.iter().all(|word| text.contains(word));
        let refused = match (error.kind(), error.code()) {
            (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH")) => {
                format!("Redis does not take the user and password of memory.redis_url: {text}")
            }
            (_, Some("NOPERM")) => format!(
                "the user of memory.redis_url may not do what memory needs, \
                 which is PING, GET, SET, DEL, SCAN, UNLINK and EVAL on its keys: {text}"
            ),
            (_, Some("READONLY")) => {
                format!("this Redis takes no changes; memory.redis_url must name the primary: {text}")
            }
            // Over by itself, as after a restart.
            (_, Some("LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY")) => {
                return Trouble::Unreachable(text);
            }
            (ErrorKind::InvalidClientConfig, _) => {
                format!("memory.redis_url or memory.redis_ca_file cannot be used: {text}")
            }
            // As Upstash says it: max requests limit exceeded, max daily request limit exceeded.
            (_, Some(_)) if has(&["max", "request", "exceeded"]) => {
                format!("the quota of this Redis is used up; a larger plan or tomorrow helps: {text}")
            }
            _ if has(&["certificate"]) => {
                format!("the certificate of Redis is not trusted; memory.redis_ca_file may name who signed it: {text}")
            }
            _ if has(&["corrupt message"]) => {
                format!("Redis does not speak TLS at this port; redis:// is without: {text}")
            }
            (ErrorKind::Parse, _) => format!("what answers at memory.redis_url is no Redis: {text}"),
            (_, Some(_)) => format!("Redis refuses: {text}"),
            _ => return Trouble::Unreachable(text),
        };
        Trouble::Refused(refused)
    }
}
