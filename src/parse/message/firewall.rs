//! Lines of the Linux kernel: packets that netfilter logged, and the audit.

use std::net::IpAddr;

use memchr::memmem;

use super::super::context::Context;
use super::super::time::{number, unix};
use super::Draft;
use super::fields::Fields;
use super::pattern::leading_address;
use crate::event::{Connection, Event, Kind};

/// Who hands on what netfilter logs; some firewalls leave the program out.
const PROGRAMS: &[&[u8]] = &[b"", b"kernel", b"ulogd", b"nflog"];

/// A packet: `… IN=eth0 OUT= … SRC=203.0.113.7 DST=192.0.2.1 … PROTO=TCP SPT=40022 DPT=22 …`.
pub fn packet(mut draft: Draft<'_>) -> Option<Event<'_>> {
    let text = draft.message.text;
    if !PROGRAMS.contains(&draft.message.program) {
        return None;
    }
    // An ICMP error quotes the packet that it is about behind the fields of its own.
    let value = |name: &[u8]| {
        let at = memmem::find_iter(text, name).find(|&at| at == 0 || matches!(text[at - 1], b' ' | b':' | b']'))?;
        let rest = &text[at + name.len()..];
        Some(&rest[..memchr::memchr(b' ', rest).unwrap_or(rest.len())])
    };
    let address = |name: &[u8]| -> Option<IpAddr> {
        let value = value(name)?;
        leading_address(value).filter(|(_, len)| *len == value.len()).map(|(ip, _)| ip)
    };
    value(b"IN=")?;
    draft.source_ip = Some(address(b"SRC=")?);
    Some(draft.event(Kind::Connection(Connection {
        destination: Some(address(b"DST=")?),
        destination_port: value(b"DPT=").and_then(number).and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
        transport: value(b"PROTO=")?,
        message: draft.message,
    })))
}

/// A record of the audit: `type=USER_LOGIN msg=audit(1767616245.123:2995): pid=1 … addr=203.0.113.7 …`.
/// The kernel spells what a user chose in hex, so that it is no pair.
pub fn audit<'a>(mut draft: Draft<'a>, context: &Context<'a>) -> Option<Event<'a>> {
    let text = draft.message.text;
    let at = memmem::find(&text[..text.len().min(128)], b"type=")?;
    let id = memmem::find(&text[..text.len().min(256)], b" msg=audit(")? + b" msg=audit(".len();
    let node = text[..at].trim_ascii();
    if !(node.is_empty() || node.starts_with(b"node=")) || id < at {
        return None;
    }
    let colon = memchr::memchr(b':', &text[id..])?;
    draft.time = unix(&text[id..id + colon]);
    let record = &text[id + colon..];
    // A program's own record is a text within.
    let start = memmem::find(record, b" msg='").map_or(0, |at| at + b" msg='".len());
    let (fields, _) = Fields::of_pairs(&record[start..], context);
    draft.message.user = fields.user;
    draft.source_ip = fields.client;
    Some(draft.event(Kind::Audit(draft.message)))
}
