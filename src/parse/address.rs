use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wide::u8x16;

use crate::event::canonical;

/// The client address in a field, canonical: IPv4-mapped IPv6 as IPv4, without zone or brackets.
#[inline]
pub fn address(field: &[u8]) -> Option<IpAddr> {
    match leading_v4(field) {
        Some((address, len)) if len == field.len() => Some(address),
        _ => v6(field),
    }
}

/// The client address in a field that may carry a port: `1.2.3.4:2817`, `[2001:db8::1]:443`.
pub fn address_and_port(field: &[u8]) -> Option<IpAddr> {
    address(field).or_else(|| {
        let (host, port) = field.split_at(memchr::memrchr(b':', field)?);
        let bracketed = host.starts_with(b"[") && host.ends_with(b"]");
        let ported = (2..=6).contains(&port.len()) && port[1..].iter().all(u8::is_ascii_digit);
        // Without brackets, the last group of an IPv6 address would pass for a port.
        address(host).filter(|address| ported && (bracketed || address.is_ipv4() && !host.contains(&b':')))
    })
}

/// The IPv4 address that `text` begins with, up to its end or a space, and its length: dotted
/// decimal, four numbers without leading zeros (which some readers take for octal).
#[inline(always)] // What it gives would go through memory.
pub fn leading_v4(text: &[u8]) -> Option<(IpAddr, usize)> {
    // The longest address, what ends it, and four bytes from where its last number may begin; at the
    // end of the text a copy stands in.
    let mut copy = [0; LOOKED_AT];
    let text = text.first_chunk().unwrap_or_else(|| {
        copy[..text.len()].copy_from_slice(text);
        &copy
    });
    // No branch depends on how many digits there are: clients differ from line to line.
    let lanes = u8x16::new(*text.first_chunk().unwrap_or(&[0; 16]));
    let digits = (lanes - u8x16::splat(b'0')).simd_le(u8x16::splat(9)).to_bitmask();
    let dots = lanes.simd_eq(u8x16::splat(b'.')).to_bitmask();
    let mut others = !digits;
    let (mut bits, mut start, mut wrong) = (0, 0, false);
    for octet in 0..4 {
        let end = others.trailing_zeros();
        others &= others.wrapping_sub(1);
        let len = end.wrapping_sub(start);
        let from = (start & 15) as usize;
        let number = u32::from_le_bytes(*text[from..].first_chunk().unwrap_or(&[0; 4])) ^ 0x3030_3030;
        let [_, hundreds, tens, ones] = number.wrapping_shl(32u32.wrapping_sub(8 * len)).to_le_bytes().map(u32::from);
        let value = hundreds * 100 + tens * 10 + ones;
        let leading_zero = len > 1 && number & 0xff == 0;
        let ends = if octet < 3 { dots >> (end & 15) & 1 != 0 } else { matches!(text[(end & 15) as usize], b' ' | 0) };
        wrong |= len.wrapping_sub(1) > 2 || value > 255 || leading_zero || !ends;
        if octet == 0 && wrong {
            return None; // As a rule, an IPv6 address.
        }
        bits = bits << 8 | value & 255;
        start = end + 1;
    }
    (!wrong).then(|| (Ipv4Addr::from_bits(bits).into(), start as usize - 1))
}

/// Bytes that [`leading_v4`] looks at.
const LOOKED_AT: usize = 19;

#[inline]
fn v6(field: &[u8]) -> Option<IpAddr> {
    match v6_hex(field) {
        Some(bits) => Some(canonical(Ipv6Addr::from_bits(bits).into())),
        None => v6_unusual(field),
    }
}

/// The value of each hex digit; 255 for all other bytes.
const HEX: [u8; 256] = {
    let mut values = [255; 256];
    let mut digit = 0;
    while digit < 16 {
        values[b"0123456789abcdef"[digit] as usize] = digit as u8;
        values[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

/// Groups of hex digits with at most one `::`, as every server writes them.
fn v6_hex(field: &[u8]) -> Option<u128> {
    if field.len() > 39 || field.starts_with(b":") {
        return None;
    }
    // `bits` are the groups so far; at `::`, the groups before it move to `head`.
    let (mut bits, mut groups, mut group, mut digits) = (0u128, 0u32, 0u32, 0u32);
    let mut head: Option<(u128, u32)> = None;
    for &byte in field {
        if byte == b':' {
            if digits == 0 {
                if head.is_some() {
                    return None;
                }
                head = Some((bits, groups));
                (bits, groups) = (0, 0);
            } else {
                bits = bits << 16 | u128::from(group);
                (groups, group, digits) = (groups + 1, 0, 0);
            }
            continue;
        }
        let digit = HEX[usize::from(byte)];
        group = group << 4 | u32::from(digit);
        digits += 1;
        if digit > 15 || digits > 4 {
            return None;
        }
    }
    if digits > 0 {
        bits = bits << 16 | u128::from(group);
        groups += 1;
    } else if !field.ends_with(b"::") {
        return None;
    }
    match head {
        None if groups == 8 => Some(bits),
        Some((before, count)) if count + groups < 8 => Some(before << (16 * (8 - count)) | bits),
        _ => None,
    }
}

/// Brackets, a zone, an embedded IPv4 address, a leading `::`: by the standard library.
#[cold]
fn v6_unusual(field: &[u8]) -> Option<IpAddr> {
    let field = field.strip_prefix(b"[").and_then(|inner| inner.strip_suffix(b"]")).unwrap_or(field);
    let zone = memchr::memchr(b'%', field).unwrap_or(field.len());
    let address: Ipv6Addr = std::str::from_utf8(&field[..zone]).ok()?.parse().ok()?;
    Some(canonical(address.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_out_canonical_or_not_at_all() {
        let shown = |text: &str| address(text.as_bytes()).map(|address| address.to_string());
        for (text, expected) in [
            ("203.0.113.7", "203.0.113.7"),
            ("0.0.0.0", "0.0.0.0"),
            ("255.255.255.255", "255.255.255.255"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("fe80::1%eth0", "fe80::1"),
            ("[2001:db8::1]", "2001:db8::1"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected));
        }
        for text in
            ["", "-", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1..3.4", "1.2.3.", "unix:", "host", "1.2.3.4 "]
        {
            assert_eq!(shown(text), None, "{text}");
        }
    }

    #[test]
    fn a_port_may_follow() {
        let shown = |text: &str| address_and_port(text.as_bytes()).map(|address| address.to_string());
        for (text, expected) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.7:2817", "203.0.113.7"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[::ffff:203.0.113.7]:443", "203.0.113.7"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected));
        }
        for text in ["", ":", ":80", "203.0.113.7:", "203.0.113.7:x", "203.0.113.7:123456", "1:2:3:4:5:6:7:8:443"] {
            assert_eq!(shown(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn reads_ipv6_as_the_standard_library_does(
            groups in proptest::array::uniform8(proptest::prelude::prop_oneof![
                proptest::prelude::Just(0u16), proptest::prelude::any::<u16>()]),
            text in "[0-9a-fA-F:.]{0,42}",
        ) {
            let written = std::net::Ipv6Addr::from(groups).to_string();
            for text in [written, text] {
                let known = text.parse::<std::net::IpAddr>().ok().map(crate::event::canonical);
                assert_eq!(address(text.as_bytes()), known, "{text}");
            }
        }
    }

    #[test]
    fn agrees_with_the_standard_library() {
        for bits in (0..=u32::MAX).step_by(65_537 * 31) {
            let text = std::net::Ipv4Addr::from_bits(bits).to_string();
            assert_eq!(address(text.as_bytes()), text.parse().ok());
            assert_eq!(leading_v4(format!("{text} - -").as_bytes()).map(|(_, len)| len), Some(text.len()));
        }
    }
}
