//! Firewalls, name servers, VPNs, telephony.

use super::Says::{App, Connection, Failure, Success};
use super::{Family, Row};

pub static FAMILIES: &[Family] = &[
    Family {
        programs: &["kernel"],
        own_files: false,
        heads: &["[{_}] ", "[ {_}] ", "[  {_}] ", "[   {_}] ", ""],
        rows: KERNEL,
        rest: None,
    },
    Family { programs: &["filterlog"], own_files: false, heads: &[""], rows: FILTERLOG, rest: None },
    Family { programs: &["named"], own_files: true, heads: &["{_}: {_}: ", "{_}: ", ""], rows: NAMED, rest: None },
    Family { programs: &["suricata", "snort"], own_files: true, heads: &[""], rows: SURICATA, rest: None },
    // RouterOS names topics where others name the program.
    Family { programs: &["firewall", "system"], own_files: true, heads: &[""], rows: ROUTEROS, rest: None },
    Family { programs: &["openvpn*", "ovpn*"], own_files: true, heads: &[""], rows: OPENVPN, rest: None },
    Family {
        programs: &["charon*", "ipsec"],
        own_files: false,
        heads: &["{_}[{_}] <{_}> ", "{_}[{_}] "],
        rows: STRONGSWAN,
        rest: None,
    },
    Family {
        programs: &["asterisk"],
        own_files: true,
        heads: &["{_}[{_}]: {_} in {_}: ", "{_}[{_}]: {_} {_}: ", "{_}[{_}]: {_}: ", "{_}[{_}] {_}: "],
        rows: ASTERISK,
        rest: None,
    },
];

static KERNEL: &[Row] = &[
    Row(
        Connection,
        "wireguard: {_}: Invalid handshake initiation from {ip}",
        "wireguard: wg0: Invalid handshake initiation from 203.0.113.7:51820",
    ),
    Row(
        Connection,
        "wireguard: {_}: Packet has unallowed src IP ({_}) from peer {_} ({ip})",
        "wireguard: wg0: Packet has unallowed src IP (192.0.2.3) from peer 1 (203.0.113.7:51820)",
    ),
];

// pf's log in fields: rule, sub rule, anchor, tracker, interface, reason, action, direction, version.
static FILTERLOG: &[Row] = &[
    Row(
        Connection,
        "{_},{_},{_},{_},{_},{_},{_},{_},4,{_},{_},{_},{_},{_},{_},{_},{proto},{_},{ip},{dst},{port},{dport},{*}",
        "53,,,1000000301,em0,match,block,in,4,0x0,,64,420,0,none,6,tcp,460,203.0.113.7,192.0.2.1,53742,22,420,PA,2963:2964,361,65535,,",
    ),
    Row(
        Connection,
        "{_},{_},{_},{_},{_},{_},{_},{_},4,{_},{_},{_},{_},{_},{_},{_},{proto},{_},{ip},{dst},{*}",
        "53,,,1000000301,em0,match,block,in,4,0x0,,64,420,0,none,1,icmp,84,203.0.113.7,192.0.2.1,request,1,2,64",
    ),
    Row(
        Connection,
        "{_},{_},{_},{_},{_},{_},{_},{_},6,{_},{_},{_},{proto},{_},{_},{ip},{dst},{port},{dport},{*}",
        "53,,,1000000301,em0,match,block,in,6,0x00,0x0,64,UDP,17,44,203.0.113.7,192.0.2.1,53742,53,36",
    ),
    Row(
        Connection,
        "{_},{_},{_},{_},{_},{_},{_},{_},6,{_},{_},{_},{proto},{_},{_},{ip},{dst},{*}",
        "53,,,1000000301,em0,match,block,in,6,0x00,0x0,64,ICMPv6,58,44,203.0.113.7,192.0.2.1,",
    ),
];

static NAMED: &[Row] = &[
    Row(
        Connection,
        "client @{_} {ip}#{port} {*}",
        "client @0x7f65100ee4d8 203.0.113.7#3076 (example.org): query (cache) 'example.org/ANY/IN' denied",
    ),
    Row(Connection, "client @{_} {ip}#{port}: {*}", "client @0x7f65100ee4d8 203.0.113.7#3076: message parsing failed"),
    Row(
        Connection,
        "client {ip}#{port} {*}",
        "client 203.0.113.7#3076 (example.org): query (cache) 'example.org/ANY/IN' denied",
    ),
    Row(Connection, "client {ip}#{port}: {*}", "client 203.0.113.7#3076: query (cache) 'example.org/ANY/IN' denied"),
];

static SURICATA: &[Row] = &[Row(
    Connection,
    "[**] [{_}] {*} [**] {*}{{}{proto}} {ip} -> {dst}",
    "[**] [1:2008578:4] ET SCAN x [**] [Classification: Attempted Information Leak] [Priority: 2] {UDP} 203.0.113.7:5116 -> 192.0.2.1:5060",
)];

static ROUTEROS: &[Row] = &[
    Row(
        Connection,
        "firewall,{_} {*} proto {*}, {ip}->{dst}, {*}",
        "firewall,info drop input: in:ether1 out:(unknown 0), connection-state:new src-mac 00:17:10:88:bc:02, proto TCP (SYN), 203.0.113.7:59388->192.0.2.1:23, len 40",
    ),
    Row(
        Failure,
        "system,error,critical login failure for user {user} from {ip} via {_}",
        "system,error,critical login failure for user alice from 203.0.113.7 via winbox",
    ),
    Row(
        Success,
        "system,info,account user {user} logged in from {ip} via {_}",
        "system,info,account user alice logged in from 203.0.113.7 via winbox",
    ),
];

static OPENVPN: &[Row] = &[
    Row(
        Failure,
        "{ip} TLS Auth Error: {*}",
        "203.0.113.7:1194 TLS Auth Error: Auth Username/Password verification failed for peer",
    ),
    Row(Connection, "{ip} TLS Error: {*}", "203.0.113.7:1194 TLS Error: TLS handshake failed"),
    Row(
        Success,
        "{ip} [{user}] Peer Connection Initiated with {_}",
        "203.0.113.7:1194 [alice] Peer Connection Initiated with [AF_INET]203.0.113.7:1194",
    ),
    Row(
        Connection,
        "{ip} TLS: Initial packet from {*}",
        "203.0.113.7:1194 TLS: Initial packet from [AF_INET]203.0.113.7:1194, sid=6d1 2c8",
    ),
    Row(
        Failure,
        "{ip} VERIFY ERROR: {*}",
        "203.0.113.7:1194 VERIFY ERROR: depth=0, error=certificate has expired: CN=x",
    ),
    Row(
        Connection,
        "TCP connection established with [AF_INET{?6}]{ip}",
        "TCP connection established with [AF_INET]203.0.113.7:1194",
    ),
];

static STRONGSWAN: &[Row] = &[
    Row(
        Connection,
        "received packet: from {ip}[{port}] to {dst}[{dport}] ({_} bytes)",
        "received packet: from 203.0.113.7[4500] to 192.0.2.1[500] (144 bytes)",
    ),
    Row(
        Connection,
        "sending packet: from {dst}[{_}] to {ip}[{port}] ({_} bytes)",
        "sending packet: from 192.0.2.1[500] to 203.0.113.7[4500] (144 bytes)",
    ),
    Row(Connection, "{ip} is initiating a{*} IKE_SA", "203.0.113.7 is initiating a Main Mode IKE_SA"),
    Row(
        Connection,
        "deleting half open IKE_SA with {ip} after timeout",
        "deleting half open IKE_SA with 203.0.113.7 after timeout",
    ),
];

// The account is the client's word, and so may be what stands behind the address.
static ASTERISK: &[Row] = &[
    Row(
        Failure,
        "SecurityEvent=\"InvalidPassword\",{*},AccountID=\"{user}\",SessionID={*},RemoteAddress=\"{_}/{_}/{ip}/{port}\"{!}",
        "SecurityEvent=\"InvalidPassword\",EventTV=\"2026-01-05T12:30:45.192+0000\",Severity=\"Error\",Service=\"PJSIP\",EventVersion=\"1\",AccountID=\"alice\",SessionID=\"2kOi\",LocalAddress=\"IPV4/UDP/192.0.2.1/5060\",RemoteAddress=\"IPV4/UDP/203.0.113.7/5060\",Challenge=\"x\"",
    ),
    Row(
        Failure,
        "SecurityEvent=\"InvalidAccountID\",{*},AccountID=\"{user}\",SessionID={*},RemoteAddress=\"{_}/{_}/{ip}/{port}\"{!}",
        "SecurityEvent=\"InvalidAccountID\",EventTV=\"x\",AccountID=\"alice\",SessionID=\"2kOi\",LocalAddress=\"IPV4/UDP/192.0.2.1/5060\",RemoteAddress=\"IPV4/UDP/203.0.113.7/5060\"",
    ),
    Row(
        Failure,
        "SecurityEvent=\"ChallengeResponseFailed\",{*},AccountID=\"{user}\",SessionID={*},RemoteAddress=\"{_}/{_}/{ip}/{port}\"{!}",
        "SecurityEvent=\"ChallengeResponseFailed\",EventTV=\"x\",AccountID=\"alice\",SessionID=\"2kOi\",LocalAddress=\"IPV4/UDP/192.0.2.1/5060\",RemoteAddress=\"IPV4/UDP/203.0.113.7/5060\",Challenge=\"x\",Response=\"y\",ExpectedResponse=\"z\"",
    ),
    Row(
        Failure,
        "SecurityEvent=\"FailedACL\",{*},AccountID=\"{user}\",SessionID={*},RemoteAddress=\"{_}/{_}/{ip}/{port}\"{!}",
        "SecurityEvent=\"FailedACL\",EventTV=\"x\",AccountID=\"alice\",SessionID=\"2kOi\",LocalAddress=\"IPV4/UDP/192.0.2.1/5060\",RemoteAddress=\"IPV4/UDP/203.0.113.7/5060\",ACLName=\"x\"",
    ),
    Row(
        Success,
        "SecurityEvent=\"SuccessfulAuth\",{*},AccountID=\"{user}\",SessionID={*},RemoteAddress=\"{_}/{_}/{ip}/{port}\"{!}",
        "SecurityEvent=\"SuccessfulAuth\",EventTV=\"x\",AccountID=\"alice\",SessionID=\"2kOi\",LocalAddress=\"IPV4/UDP/192.0.2.1/5060\",RemoteAddress=\"IPV4/UDP/203.0.113.7/5060\",UsingPassword=\"1\"",
    ),
    Row(
        App,
        "SecurityEvent=\"{*},AccountID=\"{user}\",SessionID={*},RemoteAddress=\"{_}/{_}/{ip}/{port}\"{!}",
        "SecurityEvent=\"ChallengeSent\",EventTV=\"x\",AccountID=\"alice\",SessionID=\"2kOi\",LocalAddress=\"IPV4/UDP/192.0.2.1/5060\",RemoteAddress=\"IPV4/UDP/203.0.113.7/5060\",Challenge=\"x\"",
    ),
    Row(
        Failure,
        "Registration from '{user}' failed for '{ip}' - {*}",
        "Registration from 'alice' failed for '203.0.113.7:5060' - Wrong password",
    ),
    Row(
        Failure,
        "Request '{_}' from '{user}' failed for '{ip}' (callid: {!}",
        "Request 'REGISTER' from 'alice' failed for '203.0.113.7:5060' (callid: 1-2@192.0.2.9) - Failed to authenticate",
    ),
    Row(
        Failure,
        "Host {ip} failed MD5 authentication for '{user}' ({*})",
        "Host 203.0.113.7 failed MD5 authentication for 'alice' (x != y)",
    ),
    Row(
        Failure,
        "No registration for peer '{user}' (from {ip})",
        "No registration for peer 'alice' (from 203.0.113.7)",
    ),
    Row(
        Connection,
        "Call from '{user}' ({ip}) to extension '{!}",
        "Call from 'alice' (203.0.113.7:5060) to extension '900' rejected because extension not found in context 'default'.",
    ),
];
