//! Where a database is, by its URL, and how the way there is protected.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use reqwest::Url;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::trouble::Trouble;
use crate::record::StoreConfig;

/// What is wrong with a URL. It holds a password, so it is not repeated.
const NO_URL: &str = "no URL such as \"postgres://USER:PASSWORD@HOST:5432/DATABASE\"; write characters of the \
                      password that have a meaning in URLs as %40, %2F, …";
const NO_USER: &str = "names no user: \"postgres://USER:PASSWORD@HOST:5432/DATABASE\"";
const NO_HOST: &str =
    "names no host; a directory with the server's socket is \"postgres:///DATABASE?host=/run/postgresql&user=USER\"";
const NO_MODE: &str = "sslmode is disable, require, verify-ca or verify-full";

/// A database's place.
#[derive(Clone)]
pub struct Place {
    /// A host, or the directory of the server's socket.
    pub host: String,
    pub port: u16,
    pub user: String,
    password: String,
    pub database: String,
    mode: PgSslMode,
    /// Certificates and a key, in PEM.
    root: Option<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
}

/// Without the password.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "Postgres at {host}:{} (database {:?}, user {:?})", self.port, self.database, self.user)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Place {
    /// The place that `config` names, with its files read; `None` if it names none.
    ///
    /// # Errors
    /// A file cannot be read, or it is no URL.
    pub fn of(config: &StoreConfig) -> Result<Option<Place>, Trouble> {
        let url = match &config.database_url_file {
            None => config.database_url.reveal().to_owned(),
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                Trouble::Config(format!("store.database_url_file {} cannot be read: {error}", path.display()))
            })?,
        };
        if url.trim().is_empty() {
            return Ok(None);
        }
        let mut place =
            Place::parse(url.trim()).map_err(|why| Trouble::Config(format!("store.database_url is {why}")))?;
        if let Some(ca) = &config.database_ca_file {
            std::fs::File::open(ca).map_err(|error| {
                Trouble::Config(format!("store.database_ca_file {} cannot be read: {error}", ca.display()))
            })?;
            place.trust(ca.clone());
        }
        Ok(Some(place))
    }

    pub fn parse(url: &str) -> Result<Place, &'static str> {
        let url = Url::parse(url).map_err(|_| NO_URL)?;
        if !["postgres", "postgresql"].contains(&url.scheme()) {
            return Err(NO_URL);
        }
        let mut place = Place {
            host: decoded(url.host_str().unwrap_or_default().trim_matches(['[', ']']))?,
            port: url.port().unwrap_or(5432),
            user: decoded(url.username())?,
            password: decoded(url.password().unwrap_or_default())?,
            database: decoded(url.path().trim_start_matches('/'))?,
            mode: PgSslMode::VerifyFull,
            root: None,
            client: None,
        };
        let (mut mode, mut certificate, mut key) = (None, None, None);
        for (name, value) in url.query_pairs() {
            match &*name {
                "host" | "hostaddr" => place.host = value.into_owned(),
                "port" => place.port = value.parse().map_err(|_| NO_URL)?,
                "user" => place.user = value.into_owned(),
                "password" => place.password = value.into_owned(),
                "dbname" => place.database = value.into_owned(),
                "sslmode" | "ssl-mode" => mode = Some(value.into_owned()),
                "sslrootcert" => place.root = Some(PathBuf::from(&*value)),
                "sslcert" => certificate = Some(PathBuf::from(&*value)),
                "sslkey" => key = Some(PathBuf::from(&*value)),
                // Of other programs, such as `pgbouncer=true` or `connect_timeout`.
                _ => {}
            }
        }
        if place.user.is_empty() {
            return Err(NO_USER);
        }
        if place.host.is_empty() {
            return Err(NO_HOST);
        }
        if place.database.is_empty() {
            place.database.clone_from(&place.user);
        }
        place.client = certificate.zip(key);
        place.mode = match (mode.as_deref(), place.is_near()) {
            (Some("disable"), _) => PgSslMode::Disable,
            (Some("require"), _) => PgSslMode::Require,
            (Some("verify-ca"), _) => PgSslMode::VerifyCa,
            (None | Some("prefer" | "allow"), true) => PgSslMode::Prefer,
            // What may fall back to plain text does not, outside this host.
            (None | Some("verify-full" | "prefer" | "allow"), _) => PgSslMode::VerifyFull,
            (Some(_), _) => return Err(NO_MODE),
        };
        if let Some(root) = place.root.take() {
            place.trust(root);
        }
        Ok(place)
    }

    /// On this host: nobody else is on the way there.
    pub fn is_near(&self) -> bool {
        let is_loopback = self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        is_loopback || self.host.starts_with('/') || self.host == "localhost"
    }

    /// Whether the way there is neither on this host nor safe from others.
    pub fn is_unsafe(&self) -> bool {
        !self.is_near() && matches!(self.mode, PgSslMode::Disable | PgSslMode::Require)
    }

    /// Whether it is said who signed the server's certificate.
    pub fn has_authority(&self) -> bool {
        self.root.is_some()
    }

    /// Who names an authority wants to know that it is the server, as `libpq` does.
    fn trust(&mut self, root: PathBuf) {
        self.root = Some(root);
        self.mode = match self.mode {
            PgSslMode::Require => PgSslMode::VerifyCa,
            PgSslMode::Prefer => PgSslMode::VerifyFull,
            mode => mode,
        };
    }

    /// Nothing of these relies on a session: a transaction pooler refuses settings at the start of one
    /// that it does not know, and shares named statements among clients.
    pub fn options(&self) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass().port(self.port).username(&self.user);
        let options = options.password(&self.password).database(&self.database).ssl_mode(self.mode);
        let options = options.application_name("palisade").extra_float_digits(None).statement_cache_capacity(0);
        let mut options = options.host(&self.host).disable_statement_logging();
        if self.host.starts_with('/') {
            options = options.socket(&self.host);
        }
        if let Some(root) = &self.root {
            options = options.ssl_root_cert(root);
        }
        if let Some((certificate, key)) = &self.client {
            options = options.ssl_client_cert(certificate).ssl_client_key(key);
        }
        options
    }
}

impl StoreConfig {
    /// What is wrong with `database_url`, which is not repeated: it holds a password.
    ///
    /// # Errors
    /// It is no URL of a Postgres.
    pub fn check_url(&self) -> Result<(), &'static str> {
        if self.database_url.is_empty() { Ok(()) } else { Place::parse(self.database_url.reveal()).map(drop) }
    }
}

/// `%41` is `A`.
fn decoded(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match (byte, hex) {
            (b'%', Some(hex)) => {
                bytes.push(u8::from_str_radix(hex, 16).map_err(|_| NO_URL)?);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| NO_URL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_how() {
        let place = Place::parse("postgresql://ag%65nt:p%40%2F%C3%BC@db.example.com:6543/logs").unwrap();
        assert_eq!(place.to_string(), r#"Postgres at db.example.com:6543 (database "logs", user "agent")"#);
        assert_eq!(place.password, "p@/ü");
        let socket = Place::parse("postgres:///logs?host=/run/postgresql&user=agent").unwrap();
        assert_eq!((&*socket.host, socket.port, &*socket.database), ("/run/postgresql", 5432, "logs"));
        assert_eq!(socket.options().get_socket(), Some(&"/run/postgresql".into()));
        assert_eq!(Place::parse("postgres://a:b@[2001:db8::1]").unwrap().host, "2001:db8::1");
        for (url, why) in [
            ("db.example.com", NO_URL),
            ("mysql://a:b@h/d", NO_URL),
            ("postgres://a:%FF@h/d", NO_URL),
            ("postgres://a:%zz@h/d", NO_URL),
            ("postgres://a:b@h:99999/d", NO_URL),
            ("postgres://h/d", NO_USER),
            ("postgres:///d?user=a", NO_HOST),
            ("postgres://a:b@h/d?sslmode=on", NO_MODE),
        ] {
            assert_eq!(Place::parse(url).map(drop), Err(why), "{url}");
        }
    }

    #[test]
    fn only_who_says_so_goes_without_tls_or_trusts_whoever_answers() {
        use PgSslMode::*;
        let mode = |url: &str| Place::parse(url).unwrap().mode as u8;
        for (host, query, expected) in [
            ("127.0.0.1", "", Prefer),
            ("localhost", "", Prefer),
            ("127.0.0.1", "?sslmode=disable", Disable),
            ("127.0.0.1", "?sslmode=verify-full", VerifyFull),
            ("127.0.0.1", "?sslrootcert=/ca.pem", VerifyFull),
            ("192.0.2.1", "", VerifyFull),
            ("db.example.com", "?sslmode=prefer", VerifyFull),
            ("db.example.com", "?sslmode=allow", VerifyFull),
            ("db.example.com", "?sslmode=require", Require),
            ("db.example.com", "?sslmode=require&sslrootcert=/ca.pem", VerifyCa),
            ("db.example.com", "?sslmode=disable", Disable),
        ] {
            assert_eq!(mode(&format!("postgres://a:b@{host}/d{query}")), expected as u8, "{host}{query}");
        }
        let unsafe_ = |url: &str| Place::parse(url).unwrap().is_unsafe();
        assert!(unsafe_("postgres://a:b@10.0.0.1/d?sslmode=disable") && unsafe_("postgres://a:b@h/d?sslmode=require"));
        assert!(!unsafe_("postgres://a:b@127.0.0.1/d?sslmode=disable") && !unsafe_("postgres://a:b@h/d"));
    }
}
