//! Mail: Postfix, Exim, Sendmail, Dovecot, Courier, Cyrus, Exchange.

use super::Says::{App, Connection, Failure, Mail, Success};
use super::{Family, Row};

pub static FAMILIES: &[Family] = &[
    Family { programs: &["postfix*"], own_files: false, heads: &[""], rows: POSTFIX, rest: None },
    Family { programs: &["exim*"], own_files: true, heads: &[""], rows: EXIM, rest: None },
    Family {
        programs: &["sendmail", "sm-mta", "sm-msp-queue"],
        own_files: false,
        heads: &[""],
        rows: SENDMAIL,
        rest: None,
    },
    Family { programs: &["dovecot"], own_files: true, heads: &[""], rows: DOVECOT, rest: None },
    Family {
        programs: &[
            "imapd",
            "imapd-ssl",
            "pop3d",
            "pop3d-ssl",
            "imaplogin",
            "courierpop3login",
            "courierpop3d",
            "courieresmtpd",
        ],
        own_files: false,
        heads: &[""],
        rows: COURIER,
        rest: None,
    },
    Family {
        programs: &["cyrus*", "imap", "imaps", "pop3", "pop3s", "lmtpunix"],
        own_files: false,
        heads: &[""],
        rows: CYRUS,
        rest: None,
    },
    // The comma behind the time: without it the columns would be others.
    Family { programs: &["exchange*"], own_files: true, heads: &[","], rows: EXCHANGE, rest: None },
];

// Host names come from the DNS, but Postfix calls one `unknown` that has odd characters.
static POSTFIX: &[Row] = &[
    Row(
        Failure,
        "{?warning: }{_}[{ip}]{_} SASL {_} authentication failed: {*}, sasl_username={user}",
        "warning: unknown[203.0.113.7]: SASL LOGIN authentication failed: (reason unavailable), sasl_username=alice",
    ),
    Row(
        Failure,
        "{?warning: }{_}[{ip}]{_} SASL {_} authentication failed:{*}",
        "warning: unknown[203.0.113.7]: SASL LOGIN authentication failed: UGFzc3dvcmQ6",
    ),
    Row(
        Success,
        "{_}: client={_}[{ip}]{_} sasl_method={_} sasl_username={user}",
        "4Xq1Zk0: client=unknown[203.0.113.7], sasl_method=LOGIN, sasl_username=alice",
    ),
    Row(Mail, "{_}: client={_}[{ip}]{*}", "4Xq1Zk0: client=unknown[203.0.113.7]"),
    Row(
        Mail,
        "{_}: reject: {_} from {ip}: {*}",
        "NOQUEUE: reject: RCPT from [203.0.113.7]:40022: 550 5.7.1 Service unavailable",
    ),
    Row(
        Mail,
        "{_}: {_}: {_} from {_}[{ip}]{*}",
        "NOQUEUE: reject: RCPT from unknown[203.0.113.7]: 554 5.7.1 <a@example.org>: Relay access denied",
    ),
    Row(
        Mail,
        "{_}: {_}: {_} {_} from {_}[{ip}]{*}",
        "NOQUEUE: milter-reject: END-OF-MESSAGE x from unknown[203.0.113.7]: 5.7.1 no",
    ),
    Row(Connection, "connect from {_}[{ip}]{*}", "connect from unknown[203.0.113.7]"),
    Row(
        Connection,
        "disconnect from {_}[{ip}]{*}",
        "disconnect from unknown[203.0.113.7] ehlo=1 auth=0/1 commands=1/2",
    ),
    Row(
        Connection,
        "lost connection after {*} from {_}[{ip}]{_}",
        "lost connection after AUTH from unknown[203.0.113.7]",
    ),
    Row(Connection, "timeout after {*} from {_}[{ip}]{_}", "timeout after DATA (17 bytes) from unknown[203.0.113.7]"),
    Row(
        Connection,
        "too many errors after {*} from {_}[{ip}]{_}",
        "too many errors after RCPT from unknown[203.0.113.7]",
    ),
    Row(
        Connection,
        "SSL_accept error from {_}[{ip}]{*}",
        "SSL_accept error from unknown[203.0.113.7]: lost connection",
    ),
    Row(
        Connection,
        "{?warning: }non-SMTP command from {_}[{ip}]{*}",
        "warning: non-SMTP command from unknown[203.0.113.7]: GET / HTTP/1.1",
    ),
    Row(
        Connection,
        "improper command pipelining after {_} from {_}[{ip}]{*}",
        "improper command pipelining after EHLO from unknown[203.0.113.7]: QUIT",
    ),
    Row(
        Connection,
        "warning: hostname {_} does not resolve to address {ip}{*}",
        "warning: hostname a.example.org does not resolve to address 203.0.113.7: Name or service not known",
    ),
    Row(
        Connection,
        "warning: {_} {_} limit exceeded: {_} from {_}[{ip}] for service {_}",
        "warning: Connection rate limit exceeded: 31 from unknown[203.0.113.7] for service smtp",
    ),
    Row(
        Connection,
        "PREGREET {_} after {_} from {ip}: {*}",
        "PREGREET 14 after 0.1 from [203.0.113.7]:40022: EHLO [192.0.2.9]\\r\\n",
    ),
    Row(Connection, "COMMAND {_} LIMIT from {ip} after {*}", "COMMAND COUNT LIMIT from [203.0.113.7]:40022 after RCPT"),
    Row(
        Connection,
        "{_} COMMAND from {ip} after {*}",
        "NON-SMTP COMMAND from [203.0.113.7]:40022 after CONNECT: GET / HTTP/1.1",
    ),
    Row(
        Connection,
        "COMMAND PIPELINING from {ip} after {*}",
        "COMMAND PIPELINING from [203.0.113.7]:40022 after EHLO: QUIT\\r\\n",
    ),
    Row(Connection, "BARE NEWLINE from {ip} after {*}", "BARE NEWLINE from [203.0.113.7]:40022 after EHLO"),
    Row(
        Connection,
        "HANGUP after {_} from {ip} in {*}",
        "HANGUP after 0.8 from [203.0.113.7]:40022 in tests after SMTP handshake",
    ),
    Row(Connection, "DNSBL rank {_} for {ip}", "DNSBL rank 4 for [203.0.113.7]:40022"),
    Row(Connection, "CONNECT from {ip} to {dst}", "CONNECT from [203.0.113.7]:40022 to [192.0.2.1]:25"),
    Row(Connection, "DISCONNECT {ip}", "DISCONNECT [203.0.113.7]:40022"),
    Row(Connection, "PASS {_} {ip}", "PASS NEW [203.0.113.7]:40022"),
    Row(Connection, "{_}LISTED {ip}", "DENYLISTED [203.0.113.7]:40022"),
];

// Exim refuses a HELO with odd characters, so host and HELO are words: `name (helo) [ip]:port`.
static EXIM: &[Row] = &[
    Row(
        Failure,
        "{_} authenticator failed for {ip}: 535 Incorrect authentication data (set_id={user})",
        "plain authenticator failed for [203.0.113.7]:40022: 535 Incorrect authentication data (set_id=alice)",
    ),
    Row(
        Failure,
        "{_} authenticator failed for {_} [{ip}]{_} 535 Incorrect authentication data (set_id={user})",
        "plain authenticator failed for (example.org) [203.0.113.7]:40022: 535 Incorrect authentication data (set_id=alice)",
    ),
    Row(
        Failure,
        "{_} authenticator failed for {_} {_} [{ip}]{_} 535 Incorrect authentication data (set_id={user})",
        "login authenticator failed for host.example.org ([192.0.2.9]) [203.0.113.7]: 535 Incorrect authentication data (set_id=alice)",
    ),
    Row(
        Failure,
        "{_} authenticator failed for {_} [{ip}]{_} 535 {*}",
        "login authenticator failed for (example.org) [203.0.113.7]: 535 Incorrect authentication data",
    ),
    Row(
        Failure,
        "{_} authenticator failed for {_} {_} [{ip}]{_} 535 {*}",
        "login authenticator failed for host.example.org (me) [203.0.113.7]: 535 Incorrect authentication data",
    ),
    Row(
        Mail,
        "H=[{ip}]{*}",
        "H=[203.0.113.7]:40022 F=<a@example.org> rejected RCPT <b@example.org>: relay not permitted",
    ),
    Row(
        Mail,
        "H={_} [{ip}]{*}",
        "H=(example.org) [203.0.113.7]:40022 F=<a@example.org> rejected RCPT <b@example.org>: relay not permitted",
    ),
    Row(
        Mail,
        "H={_} {_} [{ip}]{*}",
        "H=host.example.org (example.org) [203.0.113.7]:40022 F=<a@example.org> rejected RCPT <b@example.org>: relay not permitted",
    ),
    Row(
        Mail,
        "{_} <= {_} H={_} [{ip}]{*}",
        "1tUvWx-000001-2Y <= a@example.org H=(example.org) [203.0.113.7] P=esmtp S=612",
    ),
    Row(
        Mail,
        "{_} <= {_} H={_} {_} [{ip}]{*}",
        "1tUvWx-000001-2Y <= a@example.org H=host.example.org (example.org) [203.0.113.7] P=esmtp S=612",
    ),
    Row(
        Mail,
        "{_} H={_} [{ip}]{*}",
        "1tUvWx-000001-2Y H=(example.org) [203.0.113.7] F=<a@example.org> rejected after DATA: spam",
    ),
    Row(
        Mail,
        "{_} H={_} {_} [{ip}]{*}",
        "1tUvWx-000001-2Y H=host.example.org (example.org) [203.0.113.7] F=<a@example.org> rejected after DATA: spam",
    ),
    Row(
        Connection,
        "SMTP connection from {?(}[{ip}]{*}",
        "SMTP connection from [203.0.113.7]:40022 (TCP/IP connection count = 1)",
    ),
    Row(
        Connection,
        "SMTP connection from {_} [{ip}]{*}",
        "SMTP connection from host.example.org [203.0.113.7]:40022 lost",
    ),
    Row(
        Connection,
        "unexpected disconnection while reading SMTP command from {_} [{ip}]{*}",
        "unexpected disconnection while reading SMTP command from (example.org) [203.0.113.7]:40022 D=1s",
    ),
    Row(
        Connection,
        "TLS error on connection from {_} [{ip}]{*}",
        "TLS error on connection from (example.org) [203.0.113.7]:40022 (SSL_accept): timed out",
    ),
    Row(App, "no host name found for IP address {ip}", "no host name found for IP address 203.0.113.7"),
];

static SENDMAIL: &[Row] = &[
    Row(
        Failure,
        "{_}: AUTH failure ({_}): {*}, relay={_} [{ip}]{? (may be forged)}",
        "5A1B2C: AUTH failure (LOGIN): authentication failure (-13) SASL(-13), relay=host.example.org [203.0.113.7]",
    ),
    Row(
        Failure,
        "{_}: AUTH failure ({_}): {*}, relay=[{ip}]",
        "5A1B2C: AUTH failure (LOGIN): user not found (-20) SASL(-13), relay=[203.0.113.7]",
    ),
    Row(
        Success,
        "{?AUTH=server, }relay={_} [{ip}]{? (may be forged)}, authid={user}, mech={_} bits={_}",
        "AUTH=server, relay=host.example.org [203.0.113.7], authid=alice, mech=LOGIN, bits=0",
    ),
    Row(
        Success,
        "{?AUTH=server, }relay=[{ip}], authid={user}, mech={_} bits={_}",
        "AUTH=server, relay=[203.0.113.7], authid=alice, mech=LOGIN, bits=0",
    ),
    Row(
        Mail,
        "{_}: ruleset={_} {*}, relay={_} [{ip}]{? (may be forged)}, reject={!}",
        "5A1B2C: ruleset=check_rcpt, arg1=<b@example.org>, relay=host.example.org [203.0.113.7], reject=550 5.7.1 <b@example.org>... Relaying denied",
    ),
    Row(
        Mail,
        "{_}: ruleset={_} {*}, relay=[{ip}], reject={!}",
        "5A1B2C: ruleset=check_rcpt, arg1=<b@example.org>, relay=[203.0.113.7], reject=550 5.7.1 <b@example.org>... Relaying denied",
    ),
    Row(
        Connection,
        "{_}: [{ip}]{? (may be forged)} did not issue {*}",
        "5A1B2C: [203.0.113.7] did not issue MAIL/EXPN/VRFY/ETRN during connection to MTA",
    ),
    Row(
        Connection,
        "{_}: {_} [{ip}]{? (may be forged)} did not issue {*}",
        "5A1B2C: host.example.org [203.0.113.7] did not issue MAIL/EXPN/VRFY/ETRN during connection to MTA",
    ),
    Row(
        Connection,
        "{_}: {_} [{ip}]{? (may be forged)}: possible SMTP attack: {*}",
        "5A1B2C: host.example.org [203.0.113.7]: possible SMTP attack: command=AUTH, count=3",
    ),
];

// `user` and `given password` are the client's words, `rip` and what follows it Dovecot's.
static DOVECOT: &[Row] = &[
    Row(
        Failure,
        "{_}-login: {?Info: }{*}(auth failed, {*}: user=<{user}>, {*}rip={ip}, lip={*}",
        "imap-login: Disconnected (auth failed, 1 attempts in 6 secs): user=<alice>, method=PLAIN, rip=203.0.113.7, lip=192.0.2.1, TLS, session=<oEOptynO>",
    ),
    Row(
        Success,
        "{_}-login: {?Info: }Login: user=<{user}>, {*}rip={ip}, lip={*}",
        "imap-login: Login: user=<alice>, method=PLAIN, rip=203.0.113.7, lip=192.0.2.1, mpid=18, TLS, session=<oEOptynO>",
    ),
    Row(
        Connection,
        "{_}-login: {?Info: }{*}: user=<{user}>, {*}rip={ip}, lip={*}",
        "pop3-login: Disconnected (no auth attempts in 0 secs): user=<alice>, rip=203.0.113.7, lip=192.0.2.1, session=<oEOptynO>",
    ),
    Row(
        Connection,
        "{_}-login: {?Info: }{*} rip={ip}, lip={*}",
        "imap-login: Disconnected: Too many invalid commands (no auth attempts): rip=203.0.113.7, lip=192.0.2.1",
    ),
    Row(App, "auth: Error: {*}", "auth: Error: ldap(alice,192.0.2.9): Connection lost to the LDAP server"),
    Row(
        App,
        "auth-worker({_}): Error: {*}",
        "auth-worker(24544): Error: sql(alice,192.0.2.9): Password query failed: timed out",
    ),
    Row(
        Failure,
        "auth{*}({user},{ip}{_}): {!}",
        "auth-worker(24544): conn unix:auth-worker (pid=919,uid=112): auth-worker<1>: sql(alice,203.0.113.7,<oEOptynO>): unknown user (given password: secret)",
    ),
];

static COURIER: &[Row] = &[
    Row(Failure, "LOGIN FAILED, user={user}, ip={ip}", "LOGIN FAILED, user=alice, ip=[::ffff:203.0.113.7]"),
    Row(
        Failure,
        "LOGIN FAILED, user={user}, ip={ip}, port=[{port}]",
        "LOGIN FAILED, user=alice, ip=[::ffff:203.0.113.7], port=[40022]",
    ),
    Row(Failure, "LOGIN FAILED, method={_} ip={ip}", "LOGIN FAILED, method=PLAIN, ip=[::ffff:203.0.113.7]"),
    Row(
        Success,
        "LOGIN, user={user}, ip={ip}, {_}{? protocol=}{_}",
        "LOGIN, user=alice, ip=[::ffff:203.0.113.7], port=[40022], protocol=IMAP",
    ),
    Row(Success, "LOGIN, user={user}, ip={ip}, {_}", "LOGIN, user=alice, ip=[::ffff:203.0.113.7], protocol=IMAP"),
    Row(Connection, "Connection, ip={ip}{*}", "Connection, ip=[::ffff:203.0.113.7]"),
    Row(
        Failure,
        "error,relay={ip},{*}535 Authentication failed.",
        "error,relay=::ffff:203.0.113.7,from=<a@example.org>,to=<b@example.org>: 535 Authentication failed.",
    ),
    Row(Mail, "error,relay={ip},{*}", "error,relay=::ffff:203.0.113.7,msg=\"502 ESMTP command error\",cmd: x"),
];

static CYRUS: &[Row] = &[
    Row(
        Failure,
        "badlogin: {_} [{ip}] {_} {user} SASL(-13): {*}",
        "badlogin: host.example.org [203.0.113.7] plaintext alice SASL(-13): authentication failure: checkpass failed",
    ),
    Row(
        Failure,
        "badlogin: {_} [{ip}] {*}",
        "badlogin: host.example.org [203.0.113.7] PLAIN [SASL(-13): authentication failure: Password verification failed]",
    ),
    Row(
        Failure,
        "badlogin: [{ip}] {_} {user} SASL(-13): {*}",
        "badlogin: [203.0.113.7] plaintext alice SASL(-13): authentication failure: checkpass failed",
    ),
    Row(
        Failure,
        "badlogin: [{ip}] {*}",
        "badlogin: [203.0.113.7] PLAIN [SASL(-13): authentication failure: Password verification failed]",
    ),
    Row(
        Success,
        "login: {_} [{ip}] {user} {_} User logged in{*}",
        "login: host.example.org [203.0.113.7] alice plaintext User logged in",
    ),
    Row(Success, "login: [{ip}] {user} {_} User logged in{*}", "login: [203.0.113.7] alice plaintext User logged in"),
];

// The protocol logs of IMAP and POP3: session, number, server, client, user, three sizes, command.
static EXCHANGE: &[Row] = &[
    Row(
        Failure,
        "{_},{_},{dst},{ip},{user},{_},{_},{_},authenticate,{*}AuthFailed:{*}",
        "000000000000000E,2,192.0.2.1:143,203.0.113.7:40022,alice,168,31,31,authenticate,PLAIN,\"R=\"\"2 NO AUTHENTICATE failed.\"\";Msg=\"\"AuthFailed:LogonDenied,User: x\"\"\",",
    ),
    Row(
        Failure,
        "{_},{_},{dst},{ip},{user},{_},{_},{_},login,{*}AuthFailed:{*}",
        "000000000000000E,2,192.0.2.1:143,203.0.113.7:40022,alice,168,31,31,login,x *****,\"R=\"\"2 NO LOGIN failed.\"\";Msg=\"\"AuthFailed:LogonDenied,User: x\"\"\",",
    ),
    Row(
        Failure,
        "{_},{_},{dst},{ip},{user},{_},{_},{_},auth,{*}AuthFailed:{*}",
        "000000000000000E,2,192.0.2.1:143,203.0.113.7:40022,alice,168,31,31,auth,PLAIN,\"R=\"\"-ERR Authentication failure\"\";Msg=\"\"AuthFailed:LogonDenied,User: x\"\"\",",
    ),
    Row(
        Failure,
        "{_},{_},{dst},{ip},{user},{_},{_},{_},pass,{*}AuthFailed:{*}",
        "000000000000000E,2,192.0.2.1:143,203.0.113.7:40022,alice,168,31,31,pass,*****,\"R=\"\"-ERR Logon failure\"\";Msg=\"\"AuthFailed:LogonDenied,User: x\"\"\",",
    ),
];
