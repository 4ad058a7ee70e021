//! What a provider may still be asked: limits and budgets of the configuration, what the server's own
//! headers say, and a breaker for one that fails. Time is an argument.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::provider::{Allowance, Left, ProviderError, Refused, Usage};
use crate::event::Timestamp;

/// Failures in a row that open the breaker.
const FAILURES: u32 = 3;
/// How long it is open at first, doubled each time up to [`MAX_OPEN`]; then one call is let through.
const OPEN: Duration = Duration::from_secs(5);
const MAX_OPEN: Duration = Duration::from_secs(300);
/// A mistake of the configuration is not cured by asking often.
const OPEN_FOR_MISTAKES: Duration = Duration::from_secs(60);
/// A server that asks for patience longer than this is not believed.
const MAX_PAUSE: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// Why a provider is not asked now.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Barred {
    /// It may be asked after this long.
    #[error("its limits are reached; the next call is in {} s", .0.as_secs())]
    Until(Duration),
    #[error("today's budget is spent")]
    Spent,
    #[error("it fails; it is tried again in {} s", .0.as_secs())]
    Failing(Duration),
}

/// The state of one provider.
#[derive(Debug)]
pub struct Limits {
    requests: Bucket,
    tokens: Bucket,
    caps: Caps,
    today: Today,
    paused_until: Option<Instant>,
    failures: u32,
    /// The breaker is open until then; how long it will be the next time.
    open_until: Option<Instant>,
    open_for: Duration,
    /// One call goes through a breaker that was open, until its outcome is known.
    probing: bool,
}

/// What the present day (UTC) has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Today {
    pub day: i64,
    pub requests: u64,
    pub tokens: u64,
    pub usd: f64,
}

/// What may be used; 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Caps {
    pub requests_per_min: u32,
    pub requests_per_day: u32,
    pub tokens_per_min: u64,
    pub tokens_per_day: u64,
    pub usd_per_day: f64,
}

impl Limits {
    /// `today` is what the day has cost before the start.
    pub fn new(caps: Caps, today: Today, now: Instant) -> Limits {
        Limits {
            requests: Bucket::new(u64::from(caps.requests_per_min), now),
            tokens: Bucket::new(caps.tokens_per_min, now),
            caps,
            today,
            paused_until: None,
            failures: 0,
            open_until: None,
            open_for: OPEN,
            probing: false,
        }
    }

    /// What others asked on this day counts too: `today` is all that is known of, this one's own among it.
    pub fn learn(&mut self, today: Today) {
        if today.day < self.today.day {
            return;
        }
        let own = if today.day == self.today.day { self.today } else { Today::default() };
        self.today = Today {
            day: today.day,
            requests: own.requests.max(today.requests),
            tokens: own.tokens.max(today.tokens),
            usd: own.usd.max(today.usd),
        };
    }

    /// Takes a call's share, `tokens` by estimate.
    ///
    /// # Errors
    /// It may not be asked now.
    pub fn admit(&mut self, tokens: u64, now: Instant, at: Timestamp) -> Result<(), Barred> {
        self.turn_to(at);
        if let Some(until) = self.open_until {
            if now < until || self.probing {
                return Err(Barred::Failing(until.saturating_duration_since(now)));
            }
            self.probing = true;
        }
        let Limits { today, caps, .. } = self;
        let over = |spent: u64, max: u64| max > 0 && spent >= max;
        if over(today.requests, caps.requests_per_day.into())
            || over(today.tokens, caps.tokens_per_day)
            || (caps.usd_per_day > 0.0 && today.usd >= caps.usd_per_day)
        {
            self.probing = false;
            return Err(Barred::Spent);
        }
        let pause = self.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let wait = pause.max(self.requests.wait(1, now)).max(self.tokens.wait(tokens, now));
        if wait > Duration::ZERO {
            self.probing = false;
            return Err(Barred::Until(wait));
        }
        self.requests.take(1, now);
        self.tokens.take(tokens, now);
        self.today.requests += 1;
        Ok(())
    }

    /// The call of an estimate of `estimated` tokens was answered.
    pub fn answered(&mut self, usage: Usage, estimated: u64, usd: f64, allowance: Allowance, now: Instant) {
        (self.failures, self.open_until, self.open_for, self.probing) = (0, None, OPEN, false);
        let tokens = usage.input_tokens + usage.output_tokens;
        self.tokens.correct(estimated, tokens);
        self.today.tokens += tokens;
        self.today.usd += usd;
        for Left { resets_after, .. } in
            [allowance.requests, allowance.tokens].into_iter().flatten().filter(|left| left.remaining == 0)
        {
            self.pause(resets_after, now);
        }
    }

    /// The call failed.
    pub fn failed(&mut self, error: &ProviderError, now: Instant) {
        self.probing = false;
        match error {
            ProviderError::Refused { refusal: Refused::TooMany, retry_after, .. } => {
                self.pause(retry_after.unwrap_or(self.open_for), now);
                self.open_for = (self.open_for * 2).min(MAX_OPEN);
            }
            ProviderError::Refused { refusal: Refused::Key | Refused::Payment | Refused::NoModel, .. } => {
                self.open_until = Some(now + OPEN_FOR_MISTAKES);
            }
            // It was answered: the request is at fault.
            ProviderError::Refused { refusal: Refused::TooLong | Refused::Unsupported | Refused::Request, .. } => {}
            _ => {
                self.failures += 1;
                if self.failures >= FAILURES || self.open_until.is_some() {
                    let open_for = error.retry_after().map_or(self.open_for, |asked| asked.max(self.open_for));
                    self.open_until = Some(now + open_for.min(MAX_PAUSE));
                    self.open_for = (self.open_for * 2).min(MAX_OPEN);
                }
            }
        }
    }

    /// A call that was admitted was given up before its outcome was known.
    pub fn abandoned(&mut self) {
        self.probing = false;
    }

    fn pause(&mut self, duration: Duration, now: Instant) {
        let until = now + duration.min(MAX_PAUSE);
        self.paused_until = Some(self.paused_until.map_or(until, |earlier| earlier.max(until)));
    }

    fn turn_to(&mut self, at: Timestamp) {
        let day = at.0.div_euclid(86_400_000);
        if day != self.today.day {
            self.today = Today { day, ..Today::default() };
        }
    }
}

/// What a mutex holds.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Numbers are whole after a panic too.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So much a minute, refilled steadily; what was not used in a minute is lost.
#[derive(Debug)]
struct Bucket {
    /// 0: no limit.
    per_minute: f64,
    /// Below zero when more was used than was estimated.
    level: f64,
    at: Instant,
}

impl Bucket {
    fn new(per_minute: u64, now: Instant) -> Bucket {
        Bucket { per_minute: per_minute as f64, level: per_minute as f64, at: now }
    }

    /// How long until `amount` can be taken; more than a minute's worth goes when it is full.
    fn wait(&mut self, amount: u64, now: Instant) -> Duration {
        if self.per_minute <= 0.0 {
            return Duration::ZERO;
        }
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * self.per_minute / MINUTE.as_secs_f64()).min(self.per_minute);
        self.at = now;
        let missing = (amount as f64).min(self.per_minute) - self.level;
        // A millisecond of rounding would be waited for for ever.
        if missing <= 1e-6 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(missing * MINUTE.as_secs_f64() / self.per_minute)
        }
    }

    fn take(&mut self, amount: u64, now: Instant) {
        self.wait(amount, now);
        self.level -= amount as f64;
    }

    fn correct(&mut self, estimated: u64, real: u64) {
        self.level += estimated as f64 - real as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Caps =
        Caps { requests_per_min: 0, requests_per_day: 0, tokens_per_min: 0, tokens_per_day: 0, usd_per_day: 0.0 };

    fn limits(caps: Caps, now: Instant) -> Limits {
        Limits::new(caps, Today::default(), now)
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    const DAY: Timestamp = Timestamp(86_400_000);

    fn used(input_tokens: u64) -> Usage {
        Usage { input_tokens, ..Usage::default() }
    }

    fn server_fails() -> ProviderError {
        ProviderError::Refused { refusal: Refused::Server, status: 500, text: String::new(), retry_after: None }
    }

    #[test]
    fn requests_and_tokens_are_held_to_a_minute() {
        let now = Instant::now();
        let mut limits = limits(Caps { requests_per_min: 2, tokens_per_min: 600, ..NONE }, now);
        assert_eq!(limits.admit(100, now, DAY), Ok(()));
        assert_eq!(limits.admit(100, now, DAY), Ok(()));
        assert_eq!(limits.admit(100, now, DAY), Err(Barred::Until(secs(30))));
        assert_eq!(limits.admit(100, now + secs(30), DAY), Ok(()));
        // The server counted more than was estimated: 400 were left and 300 came back.
        limits.answered(used(1000), 100, 0.0, Allowance::default(), now + secs(30));
        let Err(Barred::Until(wait)) = limits.admit(100, now + secs(60), DAY) else { panic!("not barred") };
        assert!(wait > secs(10), "{wait:?}");
        assert_eq!(limits.admit(100, now + secs(180), DAY), Ok(()));
        // More than fits into a minute is let through once the bucket is full.
        assert_eq!(limits.admit(5000, now + secs(400), DAY), Ok(()));
    }

    #[test]
    fn a_day_has_its_budget_and_the_next_its_own() {
        let now = Instant::now();
        for caps in [
            Caps { requests_per_day: 1, ..NONE },
            Caps { tokens_per_day: 50, ..NONE },
            Caps { usd_per_day: 0.5, ..NONE },
        ] {
            let mut limits = limits(caps, now);
            assert_eq!(limits.admit(10, now, DAY), Ok(()));
            limits.answered(used(60), 10, 0.6, Allowance::default(), now);
            assert_eq!(limits.admit(10, now, DAY), Err(Barred::Spent), "{caps:?}");
            assert_eq!(limits.admit(10, now, DAY.plus_secs(86_400)), Ok(()), "{caps:?}");
        }
        let today = Today { day: 1, requests: 0, tokens: 60, usd: 0.0 };
        let mut resumed = Limits::new(Caps { tokens_per_day: 50, ..NONE }, today, now);
        assert_eq!(resumed.admit(1, now, DAY), Err(Barred::Spent), "what was spent before a restart counts");
    }

    #[test]
    fn what_others_spent_counts_and_nothing_twice() {
        let now = Instant::now();
        let day = |day, requests| Today { day, requests, ..Today::default() };
        let mut limits = limits(Caps { requests_per_day: 3, ..NONE }, now);
        assert_eq!(limits.admit(1, now, DAY), Ok(()));
        limits.learn(day(1, 1));
        assert_eq!(limits.admit(1, now, DAY), Ok(()), "that was its own");
        limits.learn(day(0, 9));
        limits.learn(day(1, 3));
        assert_eq!(limits.admit(1, now, DAY), Err(Barred::Spent));
        assert_eq!(limits.admit(1, now, DAY.plus_secs(86_400)), Ok(()));
    }

    #[test]
    fn what_the_server_says_is_left_is_heeded() {
        let now = Instant::now();
        let mut limits = limits(NONE, now);
        let left = Some(Left { remaining: 0, resets_after: secs(12) });
        limits.answered(Usage::default(), 0, 0.0, Allowance { tokens: left, requests: None }, now);
        assert_eq!(limits.admit(1, now + secs(2), DAY), Err(Barred::Until(secs(10))));
        assert_eq!(limits.admit(1, now + secs(12), DAY), Ok(()));
        let too_many = |retry_after| ProviderError::Refused {
            refusal: Refused::TooMany,
            status: 429,
            text: String::new(),
            retry_after,
        };
        limits.failed(&too_many(Some(secs(40))), now + secs(20));
        assert_eq!(limits.admit(1, now + secs(20), DAY), Err(Barred::Until(secs(40))));
        limits.failed(&too_many(Some(secs(1_000_000))), now + secs(60));
        assert_eq!(limits.admit(1, now + secs(60), DAY), Err(Barred::Until(MAX_PAUSE)));
    }

    #[test]
    fn who_fails_is_left_alone_and_then_tried_once() {
        let now = Instant::now();
        let mut limits = limits(NONE, now);
        for _ in 0..FAILURES {
            assert_eq!(limits.admit(1, now, DAY), Ok(()));
            limits.failed(&server_fails(), now);
        }
        assert_eq!(limits.admit(1, now, DAY), Err(Barred::Failing(OPEN)));
        let later = now + OPEN;
        assert_eq!(limits.admit(1, later, DAY), Ok(()), "a probe");
        assert!(matches!(limits.admit(1, later, DAY), Err(Barred::Failing(_))), "one at a time");
        limits.failed(&server_fails(), later);
        assert_eq!(limits.admit(1, later, DAY), Err(Barred::Failing(OPEN * 2)), "and longer each time");
        let much_later = later + OPEN * 2;
        assert_eq!(limits.admit(1, much_later, DAY), Ok(()));
        limits.abandoned();
        assert_eq!(limits.admit(1, much_later, DAY), Ok(()), "a probe that was given up bars nobody");
        limits.answered(Usage::default(), 1, 0.0, Allowance::default(), much_later);
        assert_eq!(limits.admit(1, much_later, DAY), Ok(()));
        assert_eq!(limits.admit(1, much_later, DAY), Ok(()));
    }

    #[test]
    fn a_request_that_does_not_fit_says_nothing_of_the_server() {
        let now = Instant::now();
        let mut limits = limits(NONE, now);
        for refusal in [Refused::TooLong, Refused::Unsupported, Refused::Request] {
            for _ in 0..9 {
                let error = ProviderError::Refused { refusal, status: 400, text: String::new(), retry_after: None };
                limits.failed(&error, now);
            }
            assert_eq!(limits.admit(1, now, DAY), Ok(()), "{refusal:?}");
        }
        let error =
            ProviderError::Refused { refusal: Refused::Key, status: 401, text: String::new(), retry_after: None };
        limits.failed(&error, now);
        assert_eq!(limits.admit(1, now, DAY), Err(Barred::Failing(OPEN_FOR_MISTAKES)), "a wrong key at once");
    }
}
