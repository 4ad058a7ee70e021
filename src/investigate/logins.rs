//! Logins: who guesses, and whose guess was right. Each address has its account of failures since its
//! last success; guessing that many addresses share is seen by the user.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::net::IpAddr;

use super::Seen;
use super::evidence::{Actor, Evidence};
use crate::event::analysis::{ThreatKind, ThreatOutcome};
use crate::event::{Auth, AuthOutcome, Category, ClientKey, Timestamp};

/// Clients and users that are followed.
const MAX_FOLLOWED: usize = 20_000;
/// A success after so many failures is taken for a guess that was right.
const GUESSES: u64 = 5;
/// Users of one client from which guessing is taken for trying stolen pairs, and how few guesses each got.
const STUFFED_USERS: usize = 8;

/// Failures of one client, or of one user.
#[derive(Default)]
struct Account {
    evidence: Evidence,
    failures: u64,
    /// Since the last success.
    running: u64,
    /// The most of that.
    in_a_row: u64,
    /// A window overflowed.
    flagged: u8,
    succeeded_as: BTreeSet<String>,
    last: Option<Timestamp>,
}

/// See the module.
#[derive(Default)]
pub struct Logins {
    clients: HashMap<ClientKey, Account>,
    users: HashMap<Vec<u8>, Account>,
    pub succeeded: u64,
    pub failed: u64,
    done: Vec<(ThreatKind, Actor, Evidence)>,
    enough: u64,
}

/// Who logs in with more rights than others.
pub fn is_privileged(user: &[u8]) -> bool {
    const NAMES: &[&str] = &[
        "root",
        "admin",
        "administrator",
        "sa",
        "postgres",
        "oracle",
        "sysadmin",
        "superuser",
        "toor",
        "system",
        "domainadmin",
    ];
    let user = user.rsplit(|byte| *byte == b'\\').next().unwrap_or(user);
    NAMES.iter().any(|name| user.eq_ignore_ascii_case(name.as_bytes()))
}

impl Logins {
    /// `enough` failures are guessing, though no window overflowed.
    pub fn new(enough: u64) -> Logins {
        Logins { enough, ..Logins::default() }
    }

    /// A login, and with what score and under which rules it was flagged; `shared` if only for what several
    /// clients did together.
    pub fn see(&mut self, seen: &Seen<'_>, auth: &Auth<'_>, gap_millis: i64) {
        let user = auth.message.user;
        let failed = auth.outcome == AuthOutcome::Failure;
        *(if failed { &mut self.failed } else { &mut self.succeeded }) += 1;
        let client = seen.event.source_ip.map(|address| ClientKey::of(address, ClientKey::V6_PREFIX));
        if let Some(key) = client
            && (self.clients.len() < MAX_FOLLOWED || self.clients.contains_key(&key))
        {
            let account = self.clients.entry(key).or_default();
            let over = seen.event.time.zip(account.last).is_some_and(|(now, last)| (now.0 - last.0).abs() > gap_millis);
            if over {
                let ended = std::mem::take(account);
                self.done.extend(ended.judged(Actor::Client(key), self.enough));
            }
            let account = self.clients.entry(key).or_default();
            if failed {
                account.fail(seen, user, !seen.shared)
            } else {
                account.succeed(seen, user)
            }
            account.last = seen.event.time.or(account.last);
        }
        if failed && !user.is_empty() && (self.users.len() < MAX_FOLLOWED || self.users.contains_key(user)) {
            // What one client did is told of the client.
            self.users.entry(user.to_vec()).or_default().fail(seen, user, seen.shared || client.is_none());
        }
    }

    /// Every guesser, once.
    pub fn finish(mut self) -> Vec<(ThreatKind, Actor, Evidence)> {
        let enough = self.enough;
        let mut out = std::mem::take(&mut self.done);
        let mut clients: Vec<_> = self.clients.into_iter().collect();
        clients.sort_by_key(|(key, _)| *key);
        for (key, account) in clients {
            out.extend(account.judged(Actor::Client(key), enough));
        }
        let told: BTreeSet<IpAddr> =
            out.iter().flat_map(|(_, _, evidence)| evidence.addresses.iter().copied()).collect();
        let mut users: Vec<_> = self.users.into_iter().collect();
        users.sort_by(|a, b| a.0.cmp(&b.0));
        for (user, mut account) in users {
            let from = &account.evidence.addresses;
            if !from.is_empty() {
                if from.len() < 4 || from.iter().all(|one| told.contains(one)) {
                    continue;
                }
                account.evidence.notes.insert("from many addresses");
            }
            out.extend(account.judged(Actor::User(crate::event::printable(&user, 128)), enough));
        }
        out
    }
}

impl Account {
    fn fail(&mut self, seen: &Seen<'_>, user: &[u8], is_its_finding: bool) {
        self.failures += 1;
        self.running += 1;
        self.in_a_row = self.in_a_row.max(self.running);
        let evidence = &mut self.evidence;
        evidence.line(seen);
        evidence.user(user);
        if let Some(address) = seen.event.source_ip {
            evidence.address(address);
        }
        if is_privileged(user) {
            evidence.notes.insert("a privileged account");
        }
        if super::text::behind(seen.text, b"locked").is_some() {
            evidence.notes.insert("the account was locked");
        }
        if let Some(finding) = seen.finding.filter(|finding| is_its_finding && is_guessing(finding.category)) {
            self.flagged = self.flagged.max(finding.score);
            finding.rule_ids.iter().for_each(|id| evidence.sign(id.clone(), finding.score));
            evidence.category = evidence.category.max(Some((finding.score, finding.category)));
        }
    }

    fn succeed(&mut self, seen: &Seen<'_>, user: &[u8]) {
        // A key is not guessed.
        let by_key = super::text::behind(seen.text, b"publickey").is_some();
        let guessed = self.running >= GUESSES && !by_key;
        let known = self.evidence.users.contains(&crate::event::printable(user, 128)) || self.evidence.users.len() > 2;
        if guessed && (known || user.is_empty()) {
            self.succeeded_as.insert(crate::event::printable(user, 128));
            self.evidence.line(seen);
            self.evidence.user(user);
        }
        self.running = 0;
    }

    fn judged(mut self, actor: Actor, enough: u64) -> Option<(ThreatKind, Actor, Evidence)> {
        let worked = !self.succeeded_as.is_empty();
        if self.flagged == 0 && self.in_a_row < enough && !worked {
            return None;
        }
        let evidence = &mut self.evidence;
        evidence.outcome(if worked { ThreatOutcome::Succeeded } else { ThreatOutcome::Failed });
        let many_users = evidence.users.len() >= STUFFED_USERS && self.failures < 3 * evidence.users.len() as u64;
        if self.failures >= 10 {
            evidence.sign("many-failures", 7);
        }
        evidence.sign("failed-logins", if worked { 8 } else { 5 });
        let kind = if worked {
            evidence.sign("success-after-failures", 9);
            ThreatKind::AccountCompromise
        } else if many_users {
            ThreatKind::CredentialStuffing
        } else {
            ThreatKind::BruteForce
        };
        Some((kind, actor, self.evidence))
    }
}

/// Whether findings of this category are about logins.
pub fn is_guessing(category: Category) -> bool {
    matches!(category, Category::Bruteforce | Category::CredentialStuffing)
}
