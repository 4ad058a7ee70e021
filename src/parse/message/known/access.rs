//! Remote and local logins: OpenSSH, Dropbear, PAM, sudo, su, login.

use super::Says::{App, Connection, Failure, Success};
use super::{Family, Row};

pub static FAMILIES: &[Family] = &[
    Family { programs: &["sshd", "sshd-session", "sshd-auth"], own_files: false, heads: &[""], rows: SSHD, rest: None },
    Family { programs: &["dropbear"], own_files: true, heads: &[""], rows: DROPBEAR, rest: None },
    Family { programs: &["sudo"], own_files: false, heads: &[""], rows: SUDO, rest: None },
    Family { programs: &["su"], own_files: false, heads: &[""], rows: SU, rest: None },
    Family { programs: &["login"], own_files: false, heads: &[""], rows: LOGIN, rest: None },
    // PAM's modules speak in the name of the program that asks them.
    Family { programs: &[], own_files: false, heads: &[""], rows: PAM, rest: None },
];

// What stands behind `ssh2: ` is the key's type and fingerprint; of a certificate also its id and of
// Kerberos the principal, which somebody else chose.
static SSHD: &[Row] = &[
    Row(
        Failure,
        "Failed {_} for {?invalid user }{user} from {ip} port {port}{? ssh2}{? [preauth]}",
        "Failed password for invalid user alice from 203.0.113.7 port 40022 ssh2",
    ),
    Row(
        Failure,
        "Failed {_} for {?invalid user }{user} from {ip} port {port} ssh2: {_} {_}",
        "Failed publickey for alice from 203.0.113.7 port 40022 ssh2: ED25519 SHA256:5tOk2jV1",
    ),
    Row(
        Failure,
        "Failed {_} for {?invalid user }{user} from {ip} port {port} ssh2: {!}",
        "Failed publickey for alice from 203.0.113.7 port 40022 ssh2: RSA-CERT SHA256:5tOk2jV1 ID a (serial 1) CA RSA SHA256:x",
    ),
    Row(
        Success,
        "Accepted {_} for {user} from {ip} port {port}{? ssh2}",
        "Accepted password for alice from 203.0.113.7 port 40022 ssh2",
    ),
    Row(
        Success,
        "Accepted {_} for {user} from {ip} port {port} ssh2: {!}",
        "Accepted publickey for alice from 203.0.113.7 port 40022 ssh2: ED25519 SHA256:5tOk2jV1",
    ),
    Row(
        App,
        "Postponed {_} for {?invalid user }{user} from {ip} port {port} ssh2{? [preauth]}",
        "Postponed keyboard-interactive for alice from 203.0.113.7 port 40022 ssh2 [preauth]",
    ),
    Row(
        App,
        "Partial {_} for {?invalid user }{user} from {ip} port {port} ssh2{? [preauth]}",
        "Partial publickey for alice from 203.0.113.7 port 40022 ssh2",
    ),
    Row(
        App,
        "Partial {_} for {?invalid user }{user} from {ip} port {port} ssh2: {!}",
        "Partial publickey for alice from 203.0.113.7 port 40022 ssh2: RSA SHA256:5tOk2jV1",
    ),
    Row(Failure, "Invalid user {user} from {ip} port {port}", "Invalid user alice from 203.0.113.7 port 40022"),
    Row(Failure, "Invalid user {user} from {ip}", "Invalid user alice from 203.0.113.7"),
    Row(Failure, "Illegal user {user} from {ip}", "Illegal user alice from 203.0.113.7"),
    Row(
        Failure,
        "User {user} from {ip} not allowed because {*}",
        "User alice from 203.0.113.7 not allowed because not listed in AllowUsers",
    ),
    Row(
        Failure,
        "ROOT LOGIN REFUSED FROM {ip}{? port }{_}{? [preauth]}",
        "ROOT LOGIN REFUSED FROM 203.0.113.7 port 40022 [preauth]",
    ),
    Row(
        Failure,
        "{?error: }maximum authentication attempts exceeded for {?invalid user }{user} from {ip} port {port} ssh2{? [preauth]}",
        "error: maximum authentication attempts exceeded for invalid user alice from 203.0.113.7 port 40022 ssh2 [preauth]",
    ),
    Row(
        Failure,
        "Disconnecting {?authenticating }{?invalid }user {user} {ip} port {port}: Too many authentication failures{? [preauth]}",
        "Disconnecting authenticating user alice 203.0.113.7 port 40022: Too many authentication failures [preauth]",
    ),
    Row(
        App,
        "Disconnecting {?authenticating }{?invalid }user {user} {ip} port {port}: {!}",
        "Disconnecting invalid user alice 203.0.113.7 port 40022: Change of username or service not allowed: (alice,ssh-connection) -> (bob,ssh-connection) [preauth]",
    ),
    Row(
        Failure,
        "Connection {_} by authenticating user {user} {ip} port {port}{? [preauth]}",
        "Connection closed by authenticating user alice 203.0.113.7 port 40022 [preauth]",
    ),
    Row(
        Failure,
        "Connection {_} by invalid user {user} {ip} port {port}{? [preauth]}",
        "Connection reset by invalid user alice 203.0.113.7 port 40022 [preauth]",
    ),
    Row(
        Failure,
        "Disconnected from authenticating user {user} {ip} port {port}{? [preauth]}",
        "Disconnected from authenticating user alice 203.0.113.7 port 40022 [preauth]",
    ),
    Row(
        Failure,
        "Disconnected from invalid user {user} {ip} port {port}{? [preauth]}",
        "Disconnected from invalid user alice 203.0.113.7 port 40022 [preauth]",
    ),
    Row(App, "Disconnected from user {user} {ip} port {port}", "Disconnected from user alice 203.0.113.7 port 40022"),
    Row(
        Connection,
        "Connection {_} by {ip} port {port}{? [preauth]}",
        "Connection closed by 203.0.113.7 port 40022 [preauth]",
    ),
    Row(Connection, "Connection {_} by {ip}{? [preauth]}", "Connection closed by 203.0.113.7 [preauth]"),
    Row(Connection, "Disconnected from {ip} port {port}{? [preauth]}", "Disconnected from 203.0.113.7 port 40022"),
    Row(
        Connection,
        "Received disconnect from {ip} port {port}:{*}",
        "Received disconnect from 203.0.113.7 port 40022:11: Bye Bye [preauth]",
    ),
    Row(
        Connection,
        "Received disconnect from {ip}: {*}",
        "Received disconnect from 203.0.113.7: 11: Bye Bye [preauth]",
    ),
    Row(
        Connection,
        "{?fatal: }Unable to negotiate with {ip} port {port}: {*}",
        "Unable to negotiate with 203.0.113.7 port 40022: no matching host key type found. Their offer: ssh-dss [preauth]",
    ),
    Row(
        Connection,
        "{?error: }{?fatal: }{?banner exchange: }{?ssh_dispatch_run_fatal: }Connection from {ip} port {port}: {*}",
        "banner exchange: Connection from 203.0.113.7 port 40022: invalid format",
    ),
    Row(
        Connection,
        "Connection from {ip} port {port} on {dst} port {dport}{*}",
        "Connection from 203.0.113.7 port 40022 on 192.0.2.1 port 22 rdomain \"\"",
    ),
    Row(Connection, "Connection from {ip} port {port}", "Connection from 203.0.113.7 port 40022"),
    Row(
        Connection,
        "Did not receive identification string from {ip}{? port }{_}{? [preauth]}",
        "Did not receive identification string from 203.0.113.7 port 40022",
    ),
    Row(
        Connection,
        "Bad protocol version identification '{*}' from {ip}{? port }{_}",
        "Bad protocol version identification 'GET / HTTP/1.1' from 203.0.113.7 port 40022",
    ),
    Row(
        Connection,
        "Protocol major versions differ for {ip} port {port}: {*}",
        "Protocol major versions differ for 203.0.113.7 port 40022: SSH-2.0-OpenSSH_9.6 vs. SSH-1.5-x",
    ),
    Row(
        Connection,
        "{?fatal: }Timeout before authentication for {?connection from }{ip}{*}",
        "fatal: Timeout before authentication for 203.0.113.7 port 40022",
    ),
    Row(
        Connection,
        "{?error: }{?drop connection }{?past }{?MaxStartups }#{_} from {ip} on {dst} {*}",
        "drop connection #10 from [203.0.113.7]:40022 on [192.0.2.1]:22 past MaxStartups",
    ),
    Row(Connection, "refused connect from {*} ({ip})", "refused connect from example.org (203.0.113.7)"),
    Row(
        App,
        "Address {ip} maps to {*}",
        "Address 203.0.113.7 maps to example.org, but this does not map back to the address.",
    ),
    Row(
        App,
        "reverse mapping checking getaddrinfo for {_} [{ip}] failed{*}",
        "reverse mapping checking getaddrinfo for example.org [203.0.113.7] failed.",
    ),
    Row(
        App,
        "Starting session: {*} for {user} from {ip} port {port} id {_}",
        "Starting session: shell on pts/0 for alice from 203.0.113.7 port 40022 id 0",
    ),
    Row(
        App,
        "Close session: user {user} from {ip} port {port} id {_}",
        "Close session: user alice from 203.0.113.7 port 40022 id 0",
    ),
];

static DROPBEAR: &[Row] = &[
    Row(
        Failure,
        "Bad {?PAM }password attempt for '{user}' from {ip}",
        "Bad password attempt for 'alice' from 203.0.113.7:40022",
    ),
    Row(
        Failure,
        "Login attempt for nonexistent user from {ip}",
        "Login attempt for nonexistent user from 203.0.113.7:40022",
    ),
    Row(
        Failure,
        "Login attempt for nonexistent user '{user}' from {ip}",
        "Login attempt for nonexistent user 'alice' from 203.0.113.7:40022",
    ),
    Row(
        Failure,
        "Login attempt with wrong user {user} from {ip}",
        "Login attempt with wrong user alice from 203.0.113.7:40022",
    ),
    Row(
        Failure,
        "Exit before auth from <{ip}>: (user '{user}', {_} fails): {*}",
        "Exit before auth from <203.0.113.7:40022>: (user 'alice', 3 fails): Exited normally",
    ),
    Row(Connection, "Exit before auth from <{ip}>: {*}", "Exit before auth from <203.0.113.7:40022>: Exited normally"),
    Row(
        Failure,
        "Exit before auth (user '{user}', {_} fails): Max auth tries reached - user '{*}' from {ip}",
        "Exit before auth (user 'alice', 10 fails): Max auth tries reached - user 'alice' from 203.0.113.7:40022",
    ),
    Row(
        Success,
        "{?PAM p}{?P}assword auth succeeded for '{user}' from {ip}",
        "Password auth succeeded for 'alice' from 203.0.113.7:40022",
    ),
    Row(
        Success,
        "Pubkey auth succeeded for '{user}' with {*} from {ip}",
        "Pubkey auth succeeded for 'alice' with ssh-ed25519 key SHA256:5tOk2jV1 from 203.0.113.7:40022",
    ),
    Row(App, "Exit ({user}) from <{ip}>: {*}", "Exit (alice) from <203.0.113.7:40022>: Disconnect received"),
    Row(Connection, "Child connection from {ip}", "Child connection from 203.0.113.7:40022"),
];

// These are local: they know no address.
static SUDO: &[Row] = &[
    Row(
        Failure,
        "{user} : {_} incorrect password attempt{*}",
        "alice : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/id",
    ),
    Row(
        Failure,
        "{user} : user NOT in sudoers ; {*}",
        "alice : user NOT in sudoers ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/id",
    ),
    Row(
        Failure,
        "{user} : command not allowed ; {*}",
        "alice : command not allowed ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/id",
    ),
    Row(App, "{_} : TTY={*}", "alice : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/id"),
];

static SU: &[Row] = &[
    Row(Failure, "FAILED SU (to {_}) {user} on {_}", "FAILED SU (to root) alice on pts/0"),
    Row(Failure, "FAILED su for {_} by {user}", "FAILED su for root by alice"),
    Row(Success, "(to {_}) {user} on {_}", "(to root) alice on pts/0"),
    Row(Success, "Successful su for {_} by {user}", "Successful su for root by alice"),
];

static LOGIN: &[Row] = &[
    Row(
        Failure,
        "FAILED LOGIN {_} FROM {ip} FOR {user}, {_} {_}",
        "FAILED LOGIN 1 FROM 203.0.113.7 FOR alice, Authentication failure",
    ),
    Row(
        Failure,
        "FAILED LOGIN ({_}) on '{_}' from '{ip}' FOR '{user}', {*}",
        "FAILED LOGIN (1) on '/dev/pts/1' from '203.0.113.7' FOR 'alice', Authentication failure",
    ),
    Row(
        Failure,
        "FAILED LOGIN ({_}) on '{_}' FOR '{user}', {*}",
        "FAILED LOGIN (1) on '/dev/tty1' FOR 'alice', Authentication failure",
    ),
    Row(Success, "LOGIN ON {_} BY {user} FROM {ip}", "LOGIN ON pts/1 BY alice FROM 203.0.113.7"),
    Row(Success, "LOGIN ON {_} BY {user}", "LOGIN ON tty1 BY alice"),
];

// The name comes last: what it holds cannot come before the address.
static PAM: &[Row] = &[
    Row(
        Failure,
        "pam_{_}({_}): authentication failure; logname={_} uid={_} euid={_} tty={_} ruser={_} rhost={ip}{? }{? }user={user}",
        "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.7  user=alice",
    ),
    Row(
        Failure,
        "pam_{_}({_}): authentication failure; logname={_} uid={_} euid={_} tty={_} ruser={_} rhost={ip}{? }{? }",
        "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.7 ",
    ),
    Row(
        Failure,
        "pam_{_}({_}): authentication failure; logname={_} uid={_} euid={_} tty={_} ruser={_} rhost={_} {? }user={user}",
        "pam_unix(sudo:auth): authentication failure; logname=bob uid=1000 euid=0 tty=/dev/pts/0 ruser=bob rhost=  user=alice",
    ),
    Row(
        Failure,
        "PAM {_} more authentication failure{?s}; logname={_} uid={_} euid={_} tty={_} ruser={_} rhost={ip}{? }{? }user={user}",
        "PAM 2 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.7  user=alice",
    ),
    Row(
        Failure,
        "PAM {_} more authentication failure{?s}; logname={_} uid={_} euid={_} tty={_} ruser={_} rhost={ip}{? }{? }",
        "PAM 2 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.7 ",
    ),
    Row(Failure, "pam_{_}({_}): check pass; user unknown", "pam_unix(sshd:auth): check pass; user unknown"),
    Row(
        Failure,
        "pam_{_}({_}): Consecutive login failures for user {user} account temporarily locked",
        "pam_faillock(sshd:auth): Consecutive login failures for user alice account temporarily locked",
    ),
    Row(
        App,
        "pam_{_}({_}): session opened for user {user} by {*}",
        "pam_unix(sshd:session): session opened for user alice by (uid=0)",
    ),
    Row(App, "pam_{_}({_}): session closed for user {user}", "pam_unix(sshd:session): session closed for user alice"),
];
