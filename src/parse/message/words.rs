//! Whether a message of a program that is not known speaks of a login, and how that ended.

use crate::event::AuthOutcome;

const LOGIN: &[&str] = &[
    "login",
    "logins",
    "logon",
    "signin",
    "auth",
    "authentication",
    "authenticate",
    "authenticated",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "credentials",
    "1fa",
    "2fa",
    "mfa",
    "otp",
    "totp",
];
const USER: &[&str] = &["user", "username", "account", "identifier"];
const FAILED: &[&str] = &["failed", "failure", "failures", "fail", "unsuccessful", "unsuccessfully"];
const WRONG: &[&str] = &[
    "invalid",
    "incorrect",
    "wrong",
    "bad",
    "denied",
    "rejected",
    "refused",
    "unknown",
    "nonexistent",
    "mismatch",
    "locked",
    "unauthorized",
    "mistyped",
    "illegal",
];
/// Failures behind a `not`.
const NOT: &[&str] = &[
    "found",
    "allowed",
    "exist",
    "authorized",
    "authenticated",
    "permitted",
    "valid",
    "recognized",
    "registered",
    "match",
];
const SUCCEEDED: &[&str] = &["accepted", "succeeded", "successful", "successfully", "success", "granted"];

/// What the words of some texts say together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Words {
    login: bool,
    user: bool,
    failed: bool,
    wrong: bool,
    succeeded: bool,
}

impl Words {
    /// Adds the words of `text`. A word ends where letters do, or a capital follows a small letter.
    pub fn read(&mut self, text: &[u8]) {
        let (mut at, mut before) = (0, Word::default());
        while at < text.len() {
            let start = at;
            while let Some(byte) = text.get(at)
                && byte.is_ascii_alphanumeric()
                && !(at > start && byte.is_ascii_uppercase() && text[at - 1].is_ascii_lowercase())
            {
                at += 1;
            }
            if at == start {
                at += 1;
                continue;
            }
            let word = Word::of(&text[start..at]);
            self.word(word.as_str(), before.as_str());
            before = word;
        }
    }

    fn word(&mut self, word: &str, before: &str) {
        let is = |list: &[&str], word: &str| list.contains(&word);
        let signed_in = matches!(word, "in" | "on") && matches!(before, "logged" | "signed");
        self.login |=
            is(LOGIN, word) || signed_in || word == "in" && matches!(before, "log" | "sign" | "logging" | "signing");
        self.user |= is(USER, word);
        self.failed |= is(FAILED, word) || word == "attempt" && matches!(before, "bruteforce" | "force");
        self.wrong |= is(WRONG, word)
            || before == "not" && is(NOT, word)
            || before == "such" && is(USER, word)
            || word == "error" && is(LOGIN, before);
        self.succeeded |= is(SUCCEEDED, word) || signed_in;
    }

    /// Failed, whatever the subject was.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// Whether something failed or was refused, a login or not.
    pub fn failed(&self) -> bool {
        self.failed || self.wrong
    }

    pub fn outcome(&self) -> Option<AuthOutcome> {
        // `failed to save the user's picture` is no login.
        if self.login && self.failed() || self.user && self.wrong {
            return Some(AuthOutcome::Failure);
        }
        (self.login && self.succeeded).then_some(AuthOutcome::Success)
    }
}

/// Longest word that counts, in bytes.
const MAX_WORD: usize = 16;

/// A word in small letters; empty if it is longer than any that counts.
#[derive(Clone, Copy, Default)]
pub struct Word {
    bytes: [u8; MAX_WORD],
    len: usize,
}

impl Word {
    pub fn of(text: &[u8]) -> Word {
        let mut word = Word::default();
        if let Some(bytes) = word.bytes.get_mut(..text.len()) {
            bytes.copy_from_slice(text);
            bytes.make_ascii_lowercase();
            word.len = text.len();
        }
        word
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}
