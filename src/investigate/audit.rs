//! Who did what, for an audit: logins and failures by user, changes to accounts, rights and services,
//! and who touched what is worth protecting. Lists are bounded; what did not fit in is counted.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use regex_automata::meta::Regex;
use regex_automata::util::syntax;

use super::Seen;
use super::text;
use crate::event::analysis::{AuditEntry, Compliance, UserActivity};
use crate::event::{AuthOutcome, Kind, printable};

/// Users that are told of, and that are counted.
const MAX_USERS: usize = 500;
const MAX_COUNTED: usize = 50_000;
/// Entries of each list.
const MAX_ENTRIES: usize = 1000;
/// Bytes of an entry's text.
const WHAT_BYTES: usize = 240;

/// Accounts, groups, rights, configuration, services.
const CHANGES: &str = r"\b(?:new (?:user|group): name=|user(?:add|mod|del)\b|group(?:add|mod|del)\b|delete user |add '[^']+' to (?:shadow )?group|(?:password|passwd) (?:for \S+ )?changed|changed password|changed? (?:user|group|ownership|permissions|role|policy|configuration|setting)|chage\[|sudo(?:ers)?\b.*\bcommand=|(?:un)?lock(?:ed)? (?:user|account)|account (?:was )?(?:created|deleted|disabled|enabled|locked|unlocked|modified)|user (?:account )?\S+ (?:was )?(?:created|deleted|disabled|enabled|added|removed)|(?:added|removed) (?:\S+ ){1,4}(?:to|from) (?:the )?(?:\S+ )?(?:group|role)|(?:granted|revoked|assigned)\b.{0,60}\b(?:role|rights?|privileges?|permissions?|access)|(?:create|drop|alter|grant|revoke) (?:user|role|table|database|all|select|policy)|(?:attach|detach|put|delete)(?:user|role|group)policy|createuser|deleteuser|createaccesskey|(?:config(?:uration)?|policy|firewall rule|rule|setting)s? (?:was |were |has been )?(?:changed|modified|updated|deleted|added|created)|(?:installed|upgraded|removed)[: ]+\S+:(?:amd64|arm64|all)|(?:crontab|cron)\[\d+\]: \(\S+\) (?:replace|begin edit)|(?:started|stopped|reloaded|restarted|reloading) .{1,60}\.service|mode (?:was )?changed)";

/// What is worth protecting.
const SENSITIVE: &str = r"(?:/etc/(?:shadow|gshadow|sudoers|ssl/private)|/\.ssh/|\bid_(?:rsa|ed25519|ecdsa)\b|\.aws/credentials|\.kube/config|/\.env\b|\.pem\b|\.pfx\b|\.kdbx\b|ntds\.dit|\bsam hive\b|wp-config\.php|\b(?:payroll|salar(?:y|ies)|customer[_ -]?(?:data(?:base)?|records?|list)|personnel|medical[_ -]records?|patient[_ -]?(?:data|records?)|credit[_ -]?cards?|ssn|confidential|trade secrets?|hr[_/-]|financial[_ -]records?|board[_ -]minutes)\b)";

/// See the module.
pub struct Audit {
    changes: Regex,
    sensitive: Regex,
    users: HashMap<Vec<u8>, User>,
    out: Compliance,
}

#[derive(Default)]
struct User {
    logins: u64,
    failed: u64,
    changes: u64,
    lines: u64,
    addresses: BTreeSet<IpAddr>,
}

impl Audit {
    /// # Errors
    /// A pattern is wrong, which a test rules out.
    pub fn new() -> anyhow::Result<Audit> {
        let syntax = syntax::Config::new().unicode(false).utf8(false).case_insensitive(true);
        let build = |pattern| -> anyhow::Result<Regex> { Ok(Regex::builder().syntax(syntax).build(pattern)?) };
        Ok(Audit {
            changes: build(CHANGES)?,
            sensitive: build(SENSITIVE)?,
            users: HashMap::new(),
            out: Compliance::default(),
        })
    }

    /// Takes a line; whether it touches what is worth protecting.
    pub fn see(&mut self, seen: &Seen<'_>) -> bool {
        let (user, outcome) = match &seen.event.kind {
            Kind::Http(http) => (http.user, None),
            Kind::Auth(auth) => (auth.message.user, Some(auth.outcome)),
            kind => (kind.message().map_or(&b""[..], |message| message.user), None),
        };
        let is_request = seen.event.http().is_some();
        // Whoever asks a web server for /.env did not get it: requests are told of as threats.
        let (changed, touched) = if is_request || outcome.is_some() {
            (false, false)
        } else {
            (self.changes.is_match(seen.text), self.sensitive.is_match(seen.text))
        };
        let named =
            if user.is_empty() && (changed || touched) { text::user(seen.text).unwrap_or_default() } else { user };
        if !named.is_empty() && (self.users.len() < MAX_COUNTED || self.users.contains_key(named)) {
            if !self.users.contains_key(named) {
                self.users.insert(named.to_vec(), User::default());
            }
            if let Some(known) = self.users.get_mut(named) {
                known.lines += 1;
                known.logins += u64::from(outcome == Some(AuthOutcome::Success));
                known.failed += u64::from(outcome == Some(AuthOutcome::Failure));
                known.changes += u64::from(changed);
                if let Some(address) = seen.event.source_ip.filter(|_| known.addresses.len() < 50) {
                    known.addresses.insert(address);
                }
            }
        } else if !named.is_empty() {
            self.out.left_out += 1;
        }
        if !(changed || touched) {
            return false;
        }
        let entry = || AuditEntry {
            line: seen.line,
            time: seen.event.time,
            user: (!named.is_empty()).then(|| printable(named, 128)),
            what: printable(seen.event.kind.message().map_or(seen.text, |message| message.text), WHAT_BYTES),
        };
        for (is, list) in [(changed, &mut self.out.changes), (touched, &mut self.out.sensitive_access)] {
            if is && list.len() < MAX_ENTRIES {
                list.push(entry());
            } else {
                self.out.left_out += u64::from(is);
            }
        }
        touched
    }

    /// The view, with so many logins in all.
    pub fn finish(self, logins: u64, failed_logins: u64) -> Compliance {
        let mut users: Vec<(Vec<u8>, User)> = self.users.into_iter().collect();
        users.sort_by(|a, b| b.1.lines.cmp(&a.1.lines).then_with(|| a.0.cmp(&b.0)));
        let left_out = self.out.left_out + users.len().saturating_sub(MAX_USERS) as u64;
        users.truncate(MAX_USERS);
        let told = users.into_iter().map(|(name, user)| UserActivity {
            user: printable(&name, 128),
            logins: user.logins,
            failed_logins: user.failed,
            changes: user.changes,
            lines: user.lines,
            addresses: user.addresses.into_iter().collect(),
        });
        Compliance { users: told.collect(), logins, failed_logins, left_out, ..self.out }
    }
}
