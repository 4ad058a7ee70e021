//! Who is connected to this host's SSH ports. The kernel is asked for exactly that (sock_diag):
//! 0.4 ms however many other sockets there are. Where it cannot be asked, `/proc/net/tcp` is read, which
//! took 2 ms for the empty table and 1–3 ms per thousand sockets.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::event::canonical;

/// The other ends of established connections to `ports` of this host.
pub(super) fn peers(ports: &BTreeSet<u16>) -> anyhow::Result<Vec<IpAddr>> {
    let peers = match asked(ports) {
        Ok(peers) => peers,
        // A kernel without inet_diag, or a sandbox that forbids netlink.
        Err(_) => listed(ports)?,
    };
    Ok(peers.into_iter().collect())
}

const TCP_ESTABLISHED: u8 = 1;

fn asked(ports: &BTreeSet<u16>) -> nix::Result<BTreeSet<IpAddr>> {
    let kernel = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)?;
    setsockopt(&kernel, sockopt::ReceiveTimeout, &TimeVal::seconds(1))?;
    let mut peers = BTreeSet::new();
    let mut datagram = vec![0; 65_536];
    for family in [nix::libc::AF_INET as u8, nix::libc::AF_INET6 as u8] {
        for port in ports {
            send(kernel.as_raw_fd(), &question(family, *port), MsgFlags::empty())?;
            loop {
                let len = recv(kernel.as_raw_fd(), &mut datagram, MsgFlags::empty())?;
                if read_answer(datagram.get(..len).unwrap_or_default(), &mut peers)? == Answer::Complete {
                    break;
                }
            }
        }
    }
    Ok(peers)
}

// From linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const HEADER: usize = 16;

/// A request for all established TCP sockets of `family` whose own port is `port`.
fn question(family: u8, port: u16) -> Vec<u8> {
    let mut message = Vec::with_capacity(72);
    message.extend(72u32.to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    // Sequence number and sender, which nobody looks at.
    message.extend([0; 8]);
    // struct inet_diag_req_v2: family, protocol, no extensions, padding, set of states, own port;
    // the rest (the other port, addresses, interface, cookie) is left open.
    message.extend([family, nix::libc::IPPROTO_TCP as u8, 0, 0]);
    message.extend((1u32 << TCP_ESTABLISHED).to_ne_bytes());
    message.extend(port.to_be_bytes());
    message.resize(72, 0);
    message
}

#[derive(Debug, PartialEq)]
enum Answer {
    Partial,
    Complete,
}

/// Adds the peers in one datagram of the kernel's answer.
fn read_answer(mut datagram: &[u8], peers: &mut BTreeSet<IpAddr>) -> nix::Result<Answer> {
    while let Some((len, kind)) = header(datagram) {
        let (Some(message), true) = (datagram.get(..len), len >= HEADER) else {
            return Err(Errno::EBADMSG);
        };
        match kind {
            // A dump that could not be made (tcp_diag is missing) ends like one that was, but
            // for the status.
            NLMSG_DONE | NLMSG_ERROR => {
                let status = message.get(HEADER..HEADER + 4).and_then(|bytes| bytes.try_into().ok());
                return match status.map(i32::from_ne_bytes) {
                    Some(0) if kind == NLMSG_DONE => Ok(Answer::Complete),
                    // An error's number comes with its sign turned.
                    Some(status) => Err(Errno::from_raw(status.wrapping_neg())),
                    None => Err(Errno::EBADMSG),
                };
            }
            SOCK_DIAG_BY_FAMILY => peers.extend(remote(message)),
            _ => {}
        }
        datagram = datagram.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Answer::Partial)
}

fn header(bytes: &[u8]) -> Option<(usize, u16)> {
    let len = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    Some((usize::try_from(len).ok()?, kind))
}

/// The remote address in a struct inet_diag_msg: after four bytes, two ports and the local address.
fn remote(message: &[u8]) -> Option<IpAddr> {
    let address: [u8; 16] = message.get(HEADER + 24..HEADER + 40)?.try_into().ok()?;
    let [a, b, c, d, ..] = address;
    match i32::from(*message.get(HEADER)?) {
        nix::libc::AF_INET => Some(Ipv4Addr::new(a, b, c, d).into()),
        nix::libc::AF_INET6 => Some(canonical(Ipv6Addr::from(address).into())),
        _ => None,
    }
}

fn listed(ports: &BTreeSet<u16>) -> anyhow::Result<BTreeSet<IpAddr>> {
    let mut peers = BTreeSet::new();
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match add_peers(path, ports, &mut peers) {
            // A host without IPv6.
            Err(error) if error.kind() == ErrorKind::NotFound && path.ends_with('6') => {}
            answer => answer.with_context(|| format!("{path} cannot be read"))?,
        }
    }
    Ok(peers)
}

/// Line by line: a busy server's table is tens of megabytes long.
fn add_peers(path: &str, ports: &BTreeSet<u16>, peers: &mut BTreeSet<IpAddr>) -> std::io::Result<()> {
    let mut table = BufReader::with_capacity(65_536, File::open(path)?);
    let mut line = String::new();
    while table.read_line(&mut line)? > 0 {
        peers.extend(peer(&line, ports));
        line.clear();
    }
    Ok(())
}

/// The other end of an established connection to one of `ports` of this host, in a line of
/// `/proc/net/tcp` or `/proc/net/tcp6`.
fn peer(line: &str, ports: &BTreeSet<u16>) -> Option<IpAddr> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    if u8::from_str_radix(state, 16).ok()? != TCP_ESTABLISHED
        || !ports.contains(&u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?)
    {
        return None;
    }
    let address = remote.rsplit_once(':')?.0;
    v4(address).map(IpAddr::V4).or_else(|| v6(address).map(IpAddr::V6)).map(canonical)
}

/// The kernel prints the four bytes of an address as one number in the host's byte order.
pub(super) fn v4(hex: &str) -> Option<Ipv4Addr> {
    (hex.len() == 8).then(|| u32::from_str_radix(hex, 16).ok())?.map(|number| number.to_ne_bytes().into())
}

/// In `/proc/net/tcp6`: four such numbers.
fn v6(hex: &str) -> Option<Ipv6Addr> {
    if hex.len() != 32 {
        return None;
    }
    let mut bytes = [0; 16];
    for (i, four) in bytes.chunks_exact_mut(4).enumerate() {
        four.copy_from_slice(&v4(hex.get(8 * i..8 * i + 8)?)?.octets());
    }
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn ssh_peers_are_the_far_ends_of_established_connections_to_sshd() {
        let ssh = BTreeSet::from([22]);
        let peers = |table: &str| table.lines().filter_map(|line| peer(line, &ssh)).collect::<Vec<_>>();
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 017100CB:0016 166433C6:D431 01 00000000:00000000 02:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
   2: 017100CB:0050 176433C6:D431 01 00000000:00000000 02:00000000 00000000     0        0 3 1 0 20 4 30 10 -1
   3: 017100CB:0016 186433C6:D431 06 00000000:00000000 02:00000000 00000000     0        0 4 1 0 20 4 30 10 -1
   4: 017100CB:8AE2 196433C6:0016 01 00000000:00000000 02:00000000 00000000     0        0 5 1 0 20 4 30 10 -1
";
        assert_eq!(peers(tcp), ips(&["198.51.100.22"]));
        let tcp6 =
            "  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: B80D0120000001000000000001000000:0016 B80D0120000002000000000007000000:D431 01 00000000:00000000
   1: 0000000000000000FFFF0000017100CB:0016 0000000000000000FFFF0000166433C6:D432 01 00000000:00000000
";
        assert_eq!(peers(tcp6), ips(&["2001:db8:2::7", "198.51.100.22"]));
    }

    #[test]
    fn both_ways_see_who_is_connected_to_a_port_and_nobody_else() {
        for (address, peer) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1")] {
            let listener = std::net::TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            let ports = BTreeSet::from([port]);
            assert_eq!(asked(&ports), Ok(BTreeSet::new()), "{address}: it only listens");
            let client = std::net::TcpStream::connect((peer, port)).unwrap();
            let other = BTreeSet::from([port, client.local_addr().unwrap().port()]);
            let there = BTreeSet::from([peer.parse().unwrap()]);
            assert_eq!(asked(&ports), Ok(there.clone()), "{address}");
            assert_eq!(asked(&other), Ok(there.clone()), "{address}");
            assert_eq!(listed(&ports).unwrap(), there, "{address}");
        }
    }

    #[test]
    fn a_refusal_or_nonsense_from_the_kernel_is_an_error_not_an_empty_answer() {
        let message = |len: u32, kind: u16, payload: &[u8]| {
            [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], payload].concat()
        };
        let read = |datagram: &[u8]| read_answer(datagram, &mut BTreeSet::new());
        for kind in [NLMSG_ERROR, NLMSG_DONE] {
            assert_eq!(read(&message(20, kind, &(-2i32).to_ne_bytes())), Err(Errno::ENOENT));
            assert!(read(&message(20, kind, &(-524i32).to_ne_bytes())).is_err(), "an error that only kernels know");
        }
        assert_eq!(read(&message(20, NLMSG_DONE, &[0; 4])), Ok(Answer::Complete));
        for broken in [message(0, 20, &[]), message(4000, 20, &[]), message(16, NLMSG_ERROR, &[])] {
            assert_eq!(read(&broken), Err(Errno::EBADMSG));
        }
    }
}
