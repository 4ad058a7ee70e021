//! What web, file and database servers say besides their access logs.

use super::Says::{App, Connection, Failure, Success, Words};
use super::{Family, Row};

pub static FAMILIES: &[Family] = &[
    Family {
        programs: &["nginx"],
        own_files: true,
        heads: &["{_}#{_}: *{_} ", "[{_}] {_}#{_}: *{_} "],
        rows: NGINX,
        rest: None,
    },
    Family {
        programs: &["litespeed", "lshttpd", "openlitespeed"],
        own_files: true,
        heads: &["[{_}] [{peer}-{_}] ", "[{_}] [{peer}HTTP{_}] ", "[{_}] [{peer}QUIC{_}] "],
        rows: LITESPEED,
        rest: None,
    },
    Family {
        programs: &["apache2", "httpd", "apache"],
        own_files: true,
        heads: &[
            "[php:{_}] [pid {_}] [client {peer}] ",
            "[php:{_}] [pid {_} {_}] [client {peer}] ",
            "[php7:{_}] [pid {_}] [client {peer}] ",
            "[php7:{_}] [pid {_} {_}] [client {peer}] ",
        ],
        rows: PHP,
        rest: None,
    },
    Family {
        programs: &["apache2", "httpd", "apache"],
        own_files: true,
        heads: &[
            "[{_}] [pid {_}] [client {peer}] ",
            "[{_}] [pid {_} {_}] [client {peer}] ",
            "[{_}] [pid {_}] [remote {peer}] ",
            "[{_}] [pid {_} {_}] [remote {peer}] ",
            "[{_}] [client {ip}] ",
        ],
        rows: APACHE,
        rest: Some(App),
    },
    Family { programs: &["sabnzbd"], own_files: true, heads: &["[{_}] "], rows: SABNZBD, rest: None },
    Family { programs: &["vsftpd"], own_files: true, heads: &["[pid {_}] ", ""], rows: VSFTPD, rest: None },
    Family {
        programs: &["proftpd"],
        own_files: false,
        heads: &["{_} ({_}[{ip}]): ", "{_} ({_}[{ip}]) - "],
        rows: PROFTPD,
        rest: Some(App),
    },
    Family {
        programs: &["pure-ftpd"],
        own_files: false,
        heads: &["({_}@{ip}) [{_}] "],
        rows: PURE_FTPD,
        rest: Some(App),
    },
    Family { programs: &["mysqld*", "mariadb*"], own_files: true, heads: &[""], rows: MYSQL, rest: None },
    Family { programs: &["postgres*"], own_files: true, heads: &[""], rows: POSTGRES, rest: None },
    Family { programs: &["sqlservr"], own_files: true, heads: &[""], rows: SQL_SERVER, rest: None },
    Family { programs: &["smbd*", "samba*"], own_files: true, heads: &[""], rows: SAMBA, rest: None },
];

// Paths and what PHP says stand before the address, the request behind it.
static NGINX: &[Row] = &[
    Row(
        Failure,
        "user \"{user}\" was not found in \"{*}, client: {ip}, server: {!}",
        "user \"alice\" was not found in \"/etc/nginx/.htpasswd\", client: 203.0.113.7, server: example.org, request: \"GET / HTTP/1.1\", host: \"example.org\"",
    ),
    Row(
        Failure,
        "user \"{user}\": password mismatch{*}, client: {ip}, server: {!}",
        "user \"alice\": password mismatch, client: 203.0.113.7, server: example.org, request: \"GET / HTTP/1.1\", host: \"example.org\"",
    ),
    Row(
        Failure,
        "client login failed: {*}, client: {ip}, server: {!}",
        "client login failed: \"Invalid login or password\" while in http auth state, client: 203.0.113.7, server: 192.0.2.1:25, login: \"alice\"",
    ),
    Row(
        Words,
        "FastCGI sent in stderr: \"{text}\" while{*}, client: {ip}, server: {!}",
        "FastCGI sent in stderr: \"PHP message: Failed login for alice\" while reading response header from upstream, client: 203.0.113.7, server: _, request: \"POST /login HTTP/1.1\", upstream: \"fastcgi://127.0.0.1:9000\", host: \"example.org\"",
    ),
    Row(Connection, "client {ip} connected to {dst}", "client 203.0.113.7:53044 connected to 0.0.0.0:25"),
    Row(
        App,
        "{*}, client: {ip}, server: {!}",
        "open() \"/var/www/a\" failed (2: No such file or directory), client: 203.0.113.7, server: example.org, request: \"GET /a HTTP/1.1\", host: \"example.org\"",
    ),
];

static LITESPEED: &[Row] = &[Row(Words, "{text}", "User 'alice' failed to authenticate.")];

static PHP: &[Row] = &[
    Row(Words, "{text}, referer: {*}", "Failed login for alice, referer: https://example.org/login"),
    Row(Words, "{text}", "Failed login for alice"),
];

static APACHE: &[Row] = &[
    Row(
        Failure,
        "{?AH01617: }user {user}: authentication failure for \"{*}\": {*}",
        "AH01617: user alice: authentication failure for \"/a\": Password Mismatch",
    ),
    Row(Failure, "{?AH01618: }user {user} not found: {*}", "AH01618: user alice not found: /a"),
    Row(
        Failure,
        "AH01790: user `{user}' in realm `{*}' not found: {*}",
        "AH01790: user `alice' in realm `private' not found: /a",
    ),
    Row(Failure, "AH01792: invalid nonce {*}", "AH01792: invalid nonce x received - hash is not y"),
    Row(Failure, "AH01794: user {user}: password mismatch: {*}", "AH01794: user alice: password mismatch: /a"),
    Row(
        Words,
        "{?AH01071: }Got error 'PHP message: {text}'{*}",
        "AH01071: Got error 'PHP message: user alice authentication failure', referer: https://example.org/",
    ),
];

// The name comes first, and a command, path or password last.
// What follows the address is the header's and the user agent's text, which clients write.
static SABNZBD: &[Row] = &[
    Row(
        Failure,
        "Unsuccessful login attempt from {ip} (X-Forwarded-For: {*}",
        "Unsuccessful login attempt from 203.0.113.7 (X-Forwarded-For: 198.51.100.1) [Mozilla/5.0]",
    ),
    Row(
        Failure,
        "Unsuccessful login attempt from {ip} [{*}",
        "Unsuccessful login attempt from 203.0.113.7 [Mozilla/5.0]",
    ),
];

static VSFTPD: &[Row] = &[
    Row(Failure, "[{user}] FAIL LOGIN{*}: Client \"{ip}\"{!}", "[alice] FAIL LOGIN: Client \"203.0.113.7\""),
    Row(
        Success,
        "[{user}] OK LOGIN{*}: Client \"{ip}\"{!}",
        "[alice] OK LOGIN: Client \"203.0.113.7\", anon password \"?\"",
    ),
    Row(
        App,
        "[{user}] {*}: Client \"{ip}\"{!}",
        "[alice] FTP response: Client \"203.0.113.7\", \"530 Permission denied.\"",
    ),
    Row(Connection, "CONNECT: Client \"{ip}\"{*}", "CONNECT: Client \"203.0.113.7\""),
    Row(App, "FTP {_} Client \"{ip}\", \"{*}", "FTP command: Client \"203.0.113.7\", \"USER x\""),
];

static PROFTPD: &[Row] = &[
    Row(
        Failure,
        "USER {user}: no such user found from {*}",
        "USER alice: no such user found from host.example.org [203.0.113.7] to 192.0.2.1:21",
    ),
    Row(Failure, "USER {user} (Login failed): {*}", "USER alice (Login failed): Incorrect password"),
    Row(Success, "USER {user}: Login successful{*}", "USER alice: Login successful."),
    Row(Failure, "SECURITY VIOLATION: {user} login attempted{*}", "SECURITY VIOLATION: Root login attempted."),
    Row(Connection, "FTP session {*}", "FTP session opened."),
];

static PURE_FTPD: &[Row] = &[
    Row(Failure, "Authentication failed for user [{user}]", "Authentication failed for user [alice]"),
    Row(Success, "{user} is now logged in", "alice is now logged in"),
    Row(Connection, "New connection from {*}", "New connection from 203.0.113.7"),
];

static MYSQL: &[Row] = &[
    Row(
        Failure,
        "Access denied for user '{user}'@'{ip}' (using password: {_})",
        "Access denied for user 'alice'@'203.0.113.7' (using password: YES)",
    ),
    Row(Failure, "Access denied for user '{user}'@'{ip}'", "Access denied for user 'alice'@'203.0.113.7'"),
    Row(
        Failure,
        "Access denied for user '{user}'@'{ip}' to database '{!}",
        "Access denied for user 'alice'@'203.0.113.7' to database 'shop'",
    ),
    Row(
        Failure,
        "{_} Connect{?\t}{*}Access denied for user '{user}'@'{ip}' (using password: {_})",
        "14 Connect\tAccess denied for user 'alice'@'203.0.113.7' (using password: YES)",
    ),
    Row(
        Connection,
        "Aborted connection {_} to db: '{*}' user: '{user}' host: '{ip}' ({*})",
        "Aborted connection 13 to db: 'shop' user: 'alice' host: '203.0.113.7' (Got an error reading communication packets)",
    ),
];

// As with `log_line_prefix` set to `%m [%p] `, `%m [%p] %h %u@%d ` and `%t:%r:%u@%d:[%p]:`.
static POSTGRES: &[Row] = &[
    Row(
        Failure,
        "[{_}] {ip} {user}@{_} FATAL:  {_} authentication failed for user \"{*}\"",
        "[147] 203.0.113.7 alice@shop FATAL:  password authentication failed for user \"alice\"",
    ),
    Row(
        Failure,
        ":{ip}({_}):{user}@{_}:[{_}]:FATAL:  {_} authentication failed for user \"{*}\"",
        ":203.0.113.7(5432):alice@shop:[127]:FATAL:  password authentication failed for user \"alice\"",
    ),
    Row(
        Failure,
        "[{_}] {user}@{_} FATAL:  {_} authentication failed for user \"{*}\"",
        "[147] alice@shop FATAL:  password authentication failed for user \"alice\"",
    ),
    Row(
        Failure,
        "[{_}] FATAL:  {_} authentication failed for user \"{user}\"",
        "[147] FATAL:  password authentication failed for user \"alice\"",
    ),
    Row(
        Failure,
        "[{_}] FATAL:  no pg_hba.conf entry for host \"{ip}\", user \"{user}\", database \"{*}",
        "[147] FATAL:  no pg_hba.conf entry for host \"203.0.113.7\", user \"alice\", database \"shop\", no encryption",
    ),
    Row(
        Failure,
        "[{_}] {user}@{_} FATAL:  no pg_hba.conf entry for host \"{ip}\", user \"{!}",
        "[147] alice@shop FATAL:  no pg_hba.conf entry for host \"203.0.113.7\", user \"alice\", database \"shop\", no encryption",
    ),
    Row(
        Connection,
        "[{_}] {?LOG:  }connection received: host={ip} port={port}",
        "[147] LOG:  connection received: host=203.0.113.7 port=40022",
    ),
];

static SQL_SERVER: &[Row] = &[Row(
    Failure,
    "Logon {*}Login failed for user '{user}'. {*}[CLIENT: {ip}]",
    "Logon       Login failed for user 'alice'. Reason: Password did not match that for the login provided. [CLIENT: 203.0.113.7]",
)];

// Account, domain and workstation are the client's words.
static SAMBA: &[Row] = &[
    Row(
        Success,
        "Auth: [{_} user [{_}]\\[{user}] at [{*}] with [{_}] status [NT_STATUS_OK] {*} remote host [ipv4:{ip}] {!}",
        "Auth: [SMB2,(null)] user [WORKGROUP]\\[alice] at [Mon, 05 Jan 2026 12:30:45.023984 UTC] with [NTLMv2] status [NT_STATUS_OK] workstation [PC] remote host [ipv4:203.0.113.7:44890] mapped to [WORKGROUP]\\[alice]. local host [ipv4:192.0.2.1:445]",
    ),
    Row(
        Failure,
        "Auth: [{_} user [{_}]\\[{user}] at [{*}] with [{_}] status [{_}] {*} remote host [ipv4:{ip}] {!}",
        "Auth: [SMB2,(null)] user [WORKGROUP]\\[alice] at [Mon, 05 Jan 2026 12:30:45.023984 UTC] with [NTLMv2] status [NT_STATUS_NO_SUCH_USER] workstation [PC] remote host [ipv4:203.0.113.7:44890] mapped to [WORKGROUP]\\[alice]. local host [ipv4:192.0.2.1:445]",
    ),
];
