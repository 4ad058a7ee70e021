//! Passwords: argon2id, and how long somebody waits who guesses.

use std::collections::HashMap;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};

use crate::event::Timestamp;

/// Letters of a password at least: what NIST SP 800-63B asks of one that is chosen alone is eight; this is
/// the key to a firewall.
pub(super) const MIN_LETTERS: usize = 10;
/// Bytes at most, so that nobody has us hash a book.
pub(super) const MAX_BYTES: usize = 500;
/// Guesses that nobody waits for: of one user from one address, ...
const FREE_OF_USER: u32 = 5;
/// ... and of any user from one address.
const FREE_OF_ADDRESS: u32 = 20;
const MAX_WAIT_SECS: u64 = 900;
/// Who guessed, at once. Beyond it who waits the least is forgotten.
const MAX_KNOWN: usize = 10_000;

/// A password's hash, as a PHC string with its parameters (OWASP's for argon2id) and its salt.
///
/// # Errors
/// The kernel has no randomness.
pub(super) fn hashed(password: &str) -> Result<String, argon2::password_hash::Error> {
    let hash: PasswordHash = Argon2::default().hash_password(password.as_bytes())?;
    Ok(hash.to_string())
}

/// Whether `password` is the one with this hash. Without a hash it takes as long, so that the time of an
/// answer does not tell who is known here.
pub(super) fn matches(password: &str, hash: Option<&str>) -> bool {
    let nobody = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let Ok(known) = PasswordHash::new(hash.unwrap_or(nobody)) else { return false };
    Argon2::default().verify_password(password.as_bytes(), &known).is_ok() && hash.is_some()
}

/// Who guessed how often, and when last.
#[derive(Default)]
pub struct Throttle(HashMap<String, (u32, Timestamp)>);

impl Throttle {
    /// Seconds that somebody at `address` waits until the next guess at `user`'s password.
    pub(super) fn wait_secs(&self, user: &str, address: &str, now: Timestamp) -> u64 {
        let wait = |key: String, free: u32| {
            let Some((guesses, last)) = self.0.get(&key) else { return 0 };
            let Some(more) = guesses.checked_sub(free) else { return 0 };
            let wait = 2_u64.saturating_pow(more.min(20)).min(MAX_WAIT_SECS);
            now.secs_until(last.plus_secs(wait))
        };
        wait(of_user(user, address), FREE_OF_USER).max(wait(address.to_owned(), FREE_OF_ADDRESS))
    }

    pub(super) fn failed(&mut self, user: &str, address: &str, now: Timestamp) {
        for key in [of_user(user, address), address.to_owned()] {
            if self.0.len() >= MAX_KNOWN && !self.0.contains_key(&key) {
                self.0.retain(|_, (_, last)| last.secs_until(now) < MAX_WAIT_SECS);
                let least = self.0.iter().min_by_key(|(_, known)| **known).map(|(key, _)| key.clone());
                least.filter(|_| self.0.len() >= MAX_KNOWN).and_then(|key| self.0.remove(&key));
            }
            let known = self.0.entry(key).or_insert((0, now));
            // Who has waited long begins anew.
            let guesses = if known.1.secs_until(now) > MAX_WAIT_SECS { 0 } else { known.0 };
            *known = (guesses.saturating_add(1), now);
        }
    }

    /// Who knows the password has not guessed.
    pub(super) fn succeeded(&mut self, user: &str, address: &str) {
        self.0.remove(&of_user(user, address));
    }
}

fn of_user(user: &str, address: &str) -> String {
    format!("{address} {}", user.get(..64).unwrap_or(user))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "203.0.113.7";

    #[test]
    fn only_the_password_matches_its_hash() {
        let hash = hashed("correct horse battery").unwrap();
        assert!(hash.starts_with("$argon2id$"));
        assert_ne!(hash, hashed("correct horse battery").unwrap());
        assert!(matches("correct horse battery", Some(&hash)));
        assert!(!matches("correct horse batterz", Some(&hash)));
        assert!(!matches("correct horse battery", Some("nonsense")));
        assert!(!matches("", None));
    }

    #[test]
    fn who_guesses_waits_longer_and_longer_and_locks_nobody_else_out() {
        let mut throttle = Throttle::default();
        let now = Timestamp(1_000_000);
        for _ in 0..FREE_OF_USER {
            assert_eq!(throttle.wait_secs("alice", AT, now), 0);
            throttle.failed("alice", AT, now);
        }
        assert_eq!(throttle.wait_secs("alice", AT, now), 1);
        (0..3).for_each(|_| throttle.failed("alice", AT, now));
        assert_eq!(throttle.wait_secs("alice", AT, now), 8);
        assert_eq!(throttle.wait_secs("alice", AT, now.plus_secs(8)), 0);
        assert_eq!(throttle.wait_secs("alice", "192.0.2.1", now), 0, "from elsewhere she may sign in");
        assert_eq!(throttle.wait_secs("bob", AT, now), 0);
        (0..FREE_OF_ADDRESS).for_each(|n| throttle.failed(&format!("user{n}"), AT, now));
        assert!(throttle.wait_secs("bob", AT, now) > 0, "an address that tries everybody waits for all");
        (0..30).for_each(|_| throttle.failed("alice", AT, now));
        assert_eq!(throttle.wait_secs("alice", AT, now), MAX_WAIT_SECS);
        throttle.succeeded("alice", AT);
        throttle.failed("alice", AT, now.plus_secs(MAX_WAIT_SECS + 1));
        assert_eq!(throttle.wait_secs("alice", AT, now.plus_secs(MAX_WAIT_SECS + 1)), 0);
    }

    #[test]
    fn who_is_remembered_is_bounded() {
        let mut throttle = Throttle::default();
        for n in 0..2 * MAX_KNOWN as i64 {
            throttle.failed("alice", &format!("2001:db8::{n:x}"), Timestamp(n));
        }
        assert!(throttle.0.len() <= MAX_KNOWN + 1, "{}", throttle.0.len());
    }
}
