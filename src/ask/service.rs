//! Which service a finding is about, and whom: what is recorded of a line that is no request is its message.

use serde::{Deserialize, Serialize};

/// What was attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    Web,
    Ssh,
    Mail,
    Ftp,
    Firewall,
}

/// What messages of a service contain; the first service that fits is it. Only programs write these parts, but a
/// name in a message may contain any of them: a client can at most have its own finding listed elsewhere.
const SIGNS: &[(Service, &[&str])] = &[
    (Service::Firewall, &["[UFW ", " SRC=", "DPT=", ",match,block,"]),
    (
        Service::Mail,
        &["SASL", "NOQUEUE", "RCPT", "imap", "pop3", "smtp", "SMTP", "authenticator failed for", "relay=", "dovecot"],
    ),
    (Service::Ftp, &["ftp", "FTP"]),
    (
        Service::Ssh,
        &[
            "ssh",
            "[preauth]",
            "Failed password for ",
            "Failed publickey for ",
            "Failed none for ",
            "Invalid user ",
            "Illegal user ",
            "ROOT LOGIN REFUSED",
            "authenticating user ",
            "not allowed because ",
        ],
    ),
];

/// What stands before a user's name in messages of logins, the surest first.
const BEFORE_USER: &[&str] = &["invalid user ", "illegal user ", "authenticating user ", "set_id=", " user=", "user "];

impl Service {
    pub const ALL: [Service; 5] = [Service::Web, Service::Ssh, Service::Mail, Service::Ftp, Service::Firewall];

    pub fn as_str(self) -> &'static str {
        match self {
            Service::Web => "web",
            Service::Ssh => "ssh",
            Service::Mail => "mail",
            Service::Ftp => "ftp",
            Service::Firewall => "firewall",
        }
    }

    /// Of a finding with this method, empty for what is no request, and this message. None: another one.
    pub fn of(method: &str, message: &str, rules: &[String]) -> Option<Service> {
        if !method.is_empty() {
            return Some(Service::Web);
        }
        if rules.iter().any(|rule| rule.starts_with("mail-")) {
            return Some(Service::Mail);
        }
        if rules.iter().any(|rule| rule.starts_with("port-scan") || rule.starts_with("connections-refused")) {
            return Some(Service::Firewall);
        }
        // Programs say what it is about first; names come later.
        let start = |signs: &[&str]| signs.iter().filter_map(|sign| message.find(sign)).min();
        let found = SIGNS.iter().filter_map(|(service, signs)| Some((start(signs)?, *service)));
        found.min_by_key(|(start, _)| *start).map(|(_, service)| service)
    }
}

/// The user whom a message of a login names; none in a request.
pub fn user_of<'a>(method: &str, message: &'a str) -> Option<&'a str> {
    if !method.is_empty() {
        return None;
    }
    let lower = message.to_ascii_lowercase();
    let named = BEFORE_USER.iter().find_map(|before| Some(lower.find(before)? + before.len()));
    // "Failed password for alice from 203.0.113.7"
    let start = named.or_else(|| Some(lower.find(" for ")? + " for ".len()))?;
    let rest = message.get(start..)?.trim_start_matches(['<', '"', '\'']);
    let end = rest.find([' ', '>', '"', '\'', ',', ')', ':', ';']).unwrap_or(rest.len());
    rest.get(..end).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_users_are_told_from_messages() {
        use Service::*;
        for (method, message, service, user) in [
            ("GET", "/ssh?user=x", Some(Web), None),
            ("", "Failed password for invalid user alice from 203.0.113.7 port 40022 ssh2", Some(Ssh), Some("alice")),
            ("", "Failed password for root from 203.0.113.7 port 40022 ssh2", Some(Ssh), Some("root")),
            ("", "Failed password for invalid user ftp from 203.0.113.7 port 22 ssh2", Some(Ssh), Some("ftp")),
            ("", "Invalid user smtp from 203.0.113.7", Some(Ssh), Some("smtp")),
            ("", "Connection closed by authenticating user bob 203.0.113.7 port 22 [preauth]", Some(Ssh), Some("bob")),
            (
                "",
                "pam_unix(sshd:auth): authentication failure; logname= uid=0 tty=ssh ruser= rhost=203.0.113.7  user=root",
                Some(Ssh),
                Some("root"),
            ),
            (
                "",
                "warning: unknown[203.0.113.7]: SASL LOGIN authentication failed: authentication failure",
                Some(Mail),
                None,
            ),
            ("", "login authenticator failed for (x) [203.0.113.7]: 535 (set_id=alice)", Some(Mail), Some("alice")),
            ("", "[UFW BLOCK] IN=eth0 OUT= SRC=203.0.113.7 DST=192.0.2.1 DPT=22", Some(Firewall), None),
            ("", "a job of a queue is late", None, None),
        ] {
            assert_eq!(Service::of(method, message, &[]), service, "{message}");
            assert_eq!(user_of(method, message), user, "{message}");
        }
        assert_eq!(Service::of("", "refused", &["mail-refused".into()]), Some(Mail));
        assert_eq!(Service::of("", "x", &["port-scan-slow".into()]), Some(Firewall));
    }
}
