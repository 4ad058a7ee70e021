use std::net::SocketAddr;

/// A source that is no file, as its path names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stream {
    /// `-`
    Stdin,
    /// `journal:` or `journal:UNIT`
    Journal(Option<String>),
    /// `udp://ADDRESS:PORT`
    Udp(SocketAddr),
    /// `tcp://ADDRESS:PORT`
    Tcp(SocketAddr),
}

impl Stream {
    /// What `path` names, if it is no path of files.
    ///
    /// # Errors
    /// It was meant to be a stream and is none; a sentence without a subject that says why.
    pub fn parse(path: &str) -> Result<Option<Stream>, String> {
        if path == "-" {
            return Ok(Some(Stream::Stdin));
        }
        if let Some(unit) = path.strip_prefix("journal:") {
            return journal(unit).map(Some);
        }
        let Some((scheme, rest)) = path.split_once("://") else { return Ok(None) };
        let of: fn(SocketAddr) -> Stream = match scheme {
            "udp" => Stream::Udp,
            "tcp" => Stream::Tcp,
            _ => {
                return Err("names no source: known are files, \"-\", \"journal:\", \"udp://\" and \"tcp://\"".into());
            }
        };
        match rest.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => Ok(Some(of(address))),
            _ => {
                Err(format!("needs an address and a port, such as {scheme}://127.0.0.1:5514 or {scheme}://[::1]:5514"))
            }
        }
    }

    /// Whether other hosts can send to it.
    pub fn is_open_to_others(&self) -> bool {
        matches!(self, Stream::Udp(address) | Stream::Tcp(address) if !address.ip().to_canonical().is_loopback())
    }
}

fn journal(unit: &str) -> Result<Stream, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    match unit {
        "" => Ok(Stream::Journal(None)),
        unit if unit.bytes().all(fits) => Ok(Stream::Journal(Some(unit.to_owned()))),
        _ => Err("needs the name of a unit, such as journal:ssh.service, or none: journal:".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_files_or_streams() {
        let address = |text: &str| text.parse().unwrap();
        for (path, stream) in [
            ("-", Stream::Stdin),
            ("journal:", Stream::Journal(None)),
            ("journal:ssh@1-2.service", Stream::Journal(Some("ssh@1-2.service".into()))),
            ("udp://127.0.0.1:5514", Stream::Udp(address("127.0.0.1:5514"))),
            ("tcp://[::1]:601", Stream::Tcp(address("[::1]:601"))),
        ] {
            assert_eq!(Stream::parse(path), Ok(Some(stream)));
        }
        for path in ["/var/log/nginx/access.log", "./-", "logs/*.log", "journal", "udp:/x", ""] {
            assert_eq!(Stream::parse(path), Ok(None), "{path}");
        }
        for path in ["udp://", "tcp://127.0.0.1", "tcp://localhost:514", "udp://127.0.0.1:0", "http://127.0.0.1:80"] {
            assert!(Stream::parse(path).is_err(), "{path}");
        }
        for path in ["journal:a b", "journal:*", "journal:x --file=y", "journal:a/b"] {
            assert!(Stream::parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn only_loopback_is_closed_to_others() {
        for (path, open) in [
            ("tcp://127.0.0.1:1", false),
            ("udp://127.9.9.9:1", false),
            ("tcp://[::1]:1", false),
            ("tcp://[::ffff:127.0.0.1]:1", false),
            ("udp://0.0.0.0:1", true),
            ("tcp://[::]:1", true),
            ("tcp://192.0.2.1:1", true),
            ("-", false),
        ] {
            assert_eq!(Stream::parse(path).unwrap().unwrap().is_open_to_others(), open, "{path}");
        }
    }
}
