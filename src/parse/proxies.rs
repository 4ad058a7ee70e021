//! Who stands behind the proxies: X-Forwarded-For, Forwarded (RFC 7239) and headers with one
//! address, such as CF-Connecting-IP.

use std::net::IpAddr;

use ipnet::IpNet;

use super::address::address_and_port;
use crate::event::Event;

/// Puts the client in place of the proxy that handed its request on: the right-most address of
/// the header that is no trusted proxy. Each proxy adds the peer it saw at the right; what stands
/// left of an untrusted address is that client's own text.
pub fn resolve(event: &mut Event<'_>, trusted: &[IpNet]) {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let Some(header) = event.http().map(|http| http.forwarded) else { return };
    if header.is_empty() || !event.source_ip.as_ref().is_some_and(is_trusted) {
        return;
    }
    for element in header.rsplit(|&byte| byte == b',') {
        // `unknown`, or nonsense: who is before it cannot be known, and the last one who can is a proxy.
        let Some(address) = hop(element.trim_ascii()) else { return };
        (event.source_ip, event.via_proxy) = (Some(address), true);
        if !is_trusted(&address) {
            return;
        }
    }
}

/// Whom a header probably names where the log has no peer: the right-most address that is not a
/// private one. A client may have sent the whole header.
pub fn guess(header: &[u8]) -> Option<IpAddr> {
    let private = |address: &IpAddr| match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    };
    let mut last = None;
    for element in header.rsplit(|&byte| byte == b',') {
        let Some(address) = hop(element.trim_ascii()) else { break };
        if !private(&address) {
            return Some(address);
        }
        last = last.or(Some(address));
    }
    last
}

/// The address that one element names: bare, or as `for=` among its parameters.
fn hop(element: &[u8]) -> Option<IpAddr> {
    let named = |pair: &&[u8]| pair.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"for="));
    let value = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii).find(named).map(|pair| &pair[4..]);
    // A quoted value; as logs write the quotes, they may be escaped.
    let quote = |byte: &u8| matches!(byte, b'"' | b'\\');
    let value = value.unwrap_or(element);
    let start = value.iter().position(|byte| !quote(byte))?;
    let end = value.iter().rposition(|byte| !quote(byte))?;
    address_and_port(&value[start..=end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Http, Kind};

    fn client(peer: &str, forwarded: &str) -> String {
        let trusted: Vec<IpNet> = ["192.0.2.0/24", "2001:db8:cd::/48"].map(|net| net.parse().unwrap()).into();
        let http = Http { forwarded: forwarded.as_bytes(), ..Http::default() };
        let mut event = Event { source_ip: Some(peer.parse().unwrap()), ..Event::of(Kind::Http(http)) };
        resolve(&mut event, &trusted);
        let client = event.source_ip.unwrap().to_string();
        assert_eq!(event.via_proxy, client != peer, "who is named by a proxy is behind it");
        client
    }

    #[test]
    fn the_right_most_untrusted_address_is_the_client() {
        for (header, expected) in [
            ("203.0.113.7", "203.0.113.7"),
            ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
            ("198.51.100.1, 203.0.113.7, 192.0.2.8", "203.0.113.7"),
            ("203.0.113.7,192.0.2.8,2001:db8:cd::1", "203.0.113.7"),
            ("203.0.113.7:4711", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("for=198.51.100.1, for=203.0.113.7;proto=https;by=192.0.2.1", "203.0.113.7"),
            (r#"for=198.51.100.1, For="[2001:db8::7]:4711""#, "2001:db8::7"),
            (r#"proto=http; for=\"203.0.113.7:80\""#, "203.0.113.7"),
            // Nothing but proxies: the farthest of them.
            ("192.0.2.9, 192.0.2.8", "192.0.2.9"),
        ] {
            assert_eq!(client("192.0.2.1", header), expected, "{header}");
        }
    }

    #[test]
    fn where_there_is_no_peer_the_nearest_public_address_is_a_guess() {
        let guess = |header: &str| guess(header.as_bytes()).map(|address| address.to_string());
        assert_eq!(guess("198.51.100.1, 203.0.113.7, 10.0.0.1").as_deref(), Some("203.0.113.7"));
        assert_eq!(guess("10.0.0.2, 10.0.0.1").as_deref(), Some("10.0.0.1"));
        assert_eq!(guess("198.51.100.1, nonsense, 10.0.0.1").as_deref(), Some("10.0.0.1"));
        assert_eq!(guess("nonsense"), None);
    }

    #[test]
    fn a_client_cannot_name_another() {
        for forged in ["198.51.100.1", "for=198.51.100.1", "198.51.100.1, 192.0.2.8"] {
            assert_eq!(client("203.0.113.7", forged), "203.0.113.7", "the peer is no proxy: {forged}");
            assert_eq!(client("192.0.2.1", &format!("{forged}, 203.0.113.7")), "203.0.113.7", "{forged}");
        }
        for nonsense in ["", "unknown", "for=_hidden", "198.51.100.1, nonsense", "198.51.100.1,", "a b", "\""] {
            assert_eq!(client("192.0.2.1", nonsense), "192.0.2.1", "{nonsense}");
        }
        assert_eq!(client("192.0.2.1", "198.51.100.1, unknown, 192.0.2.8"), "192.0.2.8");
    }
}
