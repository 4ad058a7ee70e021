//! Signs in text: what a line must say, with what around it, for how much it then counts. No sign is a
//! bare word: each is a statement (`malware … detected`), a command (`vssadmin delete shadows`) or a fact
//! with its figures (`4,500 records downloaded`). What takes meaning away stands in [`HARMLESS`].

use super::text;
use crate::event::analysis::ThreatKind::{self, *};

/// What must be so besides the pattern.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    Nothing,
    /// An address of the internet on the far side.
    PublicDestination,
    /// The same, and a port there that tools of attackers listen on.
    ListenerPort,
    /// So many of one of these.
    Count(&'static [&'static str], u64),
    /// So many bytes.
    Bytes(u64),
}

/// A row of the table.
pub struct Sign {
    pub id: &'static str,
    pub kind: ThreatKind,
    /// 8 is a threat by itself; less needs company of the same actor.
    pub weight: u8,
    /// Matched anywhere in a line, letters of either case.
    pub pattern: &'static str,
    /// What takes it away again; empty: nothing but [`HARMLESS`].
    pub unless: &'static str,
    pub need: Need,
}

const fn sign(id: &'static str, kind: ThreatKind, weight: u8, pattern: &'static str) -> Sign {
    Sign { id, kind, weight, pattern, unless: "", need: Need::Nothing }
}

impl Sign {
    const fn unless(self, unless: &'static str) -> Sign {
        Sign { unless, ..self }
    }

    const fn with(self, need: Need) -> Sign {
        Sign { need, ..self }
    }
}

/// A statement that something is there: the thing, and a word that says so, before or behind it.
macro_rules! told {
    ($thing:literal) => {
        concat!(
            r"\b(?:detect(?:ed|s|ion)?|identified|observed|discovered|alert(?:ed)?|alarm|suspected|possible|confirmed|flagged|quarantined|blocked|prevented|triggered|found|in progress|ongoing|warning|critical|under)\b[^{}]*\b(?:",
            $thing,
            r")|\b(?:",
            $thing,
            r")(?:\W[^{}]*)?\b(?:detected|identified|observed|discovered|alert|suspected|confirmed|flagged|quarantined|blocked|prevented|triggered|found|in progress|ongoing|underway|installed|attempt(?:ed|s)?|against|from|dropped|mitigated|infection|infected|activity|behaviou?r|caught|received|started by)\b"
        )
    };
}

/// Lines that speak of threats and tell of none: results without a finding, updates, settings, exercises,
/// what people read and write about.
pub const HARMLESS: &[&str] = &[
    r"\b(?:no|zero|without(?: any)?|none|never|nothing|free of|not any)(?: [\w'-]+){0,3}? (?:malware|virus(?:es)?|trojans?|threats?|infections?|infected|ransomware|rootkits?|backdoors?|attacks?|anomal\w+|suspicious|intrusions?|breach\w*|compromis\w+|phishing|exfiltration|miners?|mining|beacons?|scans?|vulnerabilit\w+|exploits?|unauthori[sz]ed|issues?|alerts?|problems?|detections?|matches|violations?|unusual|webshells?|evidence|signs?|c2|dos|ddos|flood|privilege)\b",
    r"\b(?:infected(?: files)?|threats?|malware|virus(?:es)?|detections?|infections?|rootkits?|alerts?|violations?|warnings?|suspicious(?: files)?|issues|findings|matches)(?: (?:files|found|detected|count|total|items?))*\s*[:=]?\s*(?:0|none|no)\b",
    r"\b0 (?:infected|threats?|malware|virus(?:es)?|detections?|alerts?|suspicious|attacks?|anomal\w+|vulnerabilit\w+|findings|issues|phishing|unauthori[sz]ed|possible rootkits?)\b",
    r"\bnot (?:been )?(?:detected|found|infected|compromised|affected|vulnerable|suspicious|malicious|observed|a (?:threat|attack|virus))\b|\bnot[ _]found\b|\bnothing (?:found|detected|suspicious)\b|\bharmless\b|\bbenign\b",
    r"\bscan(?:ning)? (?:completed?|finished|done|result)\b[^{}]*\b(?:clean|ok|passed|success\w*)\b|\bverdict[\x22 ]*[:=][\x22 ]*clean\b|\bstatus[\x22 ]*[:=][\x22 ]*clean\b",
    r"\b(?:drill|simulat(?:ion|ed|or)|exercise|table-?top|awareness|eicar|unit[- ]tests?|test suite|test run|integration tests?|pentest|penetration test\w*|red team|training|webinar|workshop|course|lesson|lecture|curriculum|false[- ]positive|allow-?listed|white-?listed|honeypot (?:deployed|started|configured))\b",
    r"\b(?:signatures?|definitions?|rules?|rule ?sets?|iocs?|feeds?|patterns?|virus database|blocklists?|playbooks?|policy|policies|heuristics|models?|yara)\b[^{}]*\b(?:updated?|updates|loaded|reloaded|downloaded|installed|refreshed|imported|synchroni[sz]ed|synced|compiled|published|enabled|added|deployed|applied|is (?:current|up to date))\b",
    r"\b(?:updated?|updating|loaded|loading|reloaded|downloaded|downloading|refreshed|imported|synced|compil(?:ed|ing)|enabl(?:ed|ing)|deployed|initiali[sz](?:ed|ing))\b[^{}]*\b(?:signatures?|definitions?|rules|rule ?sets?|iocs|feeds?|virus database|blocklists?|policy|policies|heuristics|yara|module|plugin|engine|detector|detection|protection|sensor|scanner|dashboard)\b",
    r"\b(?:protection|prevention|guard|shield|module|plugin|service|sensor|engine|detector|daemon|feature|monitoring|monitor|filter(?:ing)?|collector|mitigation|detection|scanner)(?: (?:service|module|engine|daemon))? (?:is )?(?:enabled|started|active|loaded|running|ready|initiali[sz]ed|registered|healthy|up|listening|stopped gracefully)\b",
    r"\b(?:search(?:ed|ing|es)? for|search query|query string|subject|title|headline|article|blog|newsletter|podcast|book|chapter|whitepaper|documentation|readme|wiki|faq|comment(?:ed)?|posted|reply|ticket|issue #?\d+|pull request|commit|changelog|release notes|merge[ds]?)\b[^{}]*\b(?:malware|virus|ransomware|phishing|attack\w*|exploit\w*|zero[- ]day|0-?day|ddos|dos|apt\d*|c2|botnet|backdoor|trojan|exfiltration|mining|miner|scan\w*|breach|threat\w*|incident|unauthori[sz]ed|suspicious|unusual|insider|injection)\b",
    r"\b(?:scheduled|authori[sz]ed|approved|planned|routine|weekly|monthly|quarterly|nightly|daily) (?:\w+ )?(?:port |vulnerability |network |security |malware |antivirus |av )?(?:scan|assessment|audit|test|review|report|summary|digest)\b",
    r"\b(?:retention|subscription|licen[cs]e|trial|certificate|password|account|token)\b[^{}]*\b(?:0|zero) days?\b",
];

/// Copies and ciphers that are somebody's work.
const BACKUP: &str = r"\b(?:back-?ups?|restic|borg(?:backup|matic)?|duplicity|duplicati|veeam|bacula|bareos|rsnapshot|archiv\w+|snapshots?|replicat\w+|replica|mirror\w*|migrat\w+|sync(?:ed|ing|hroni\w+)?|at[- ]rest|luks|dm-crypt|kms|gpg|pgp|sops|ansible-vault|vault|disk encryption|bitlocker|filevault|wal-g|pgbackrest|pg_dump|mysqldump|barman|deploy\w*|release|build|artifact\w*|ci|cdn|download of update|package)\b";

/// The table. Each kind has statements of products that detect, then what attackers do.
pub const SIGNS: &[Sign] = &[
    // Ransomware.
    sign("ransomware-told", Ransomware, 9, told!(r"ransomware|ransom[- ]?note|crypto-?locker|wannacry|lockbit|file[- ]encrypting malware")),
    sign("shadow-copies-deleted", Ransomware, 8, r"\bvssadmin(?:\.exe)?[\x22' ]+delete[\x22' ]+shadows\b|\bshadowcopy[\x22' ]+delete\b|\bwbadmin(?:\.exe)?[\x22' ]+delete[\x22' ]+(?:catalog|systemstatebackup|backup)|\bwin32_shadowcopy\b.*\bdelete\b"),
    sign("recovery-disabled", Ransomware, 7, r"\bbcdedit\b.*\brecoveryenabled[\x22' ]+no\b|\bbcdedit\b.*\bignoreallfailures\b"),
    sign("ransom-note", Ransomware, 7, r"\b(?:how[-_ ]to[-_ ](?:decrypt|recover|restore)(?:[-_ ](?:your|my|files))*|readme[-_ ]?(?:for|to)[-_ ]?(?:decrypt|recover)\w*|(?:decrypt|recover|restore)[-_](?:my|your|all)?[-_]?(?:files|data|instructions?)|recovery[-_]instructions?|_readme|ransom_?note)\.(?:txt|html?|hta|png|bmp)\b|\byour (?:\w+ )?files (?:have been|are|were) (?:now )?encrypted\b|\bpay\b.{0,60}\b(?:bitcoins?|btc|monero|xmr)\b"),
    sign("files-of-ransom", Ransomware, 4, r"\b(?:renam\w+|encrypt\w+|overwr\w+|moved|rename|write|created|modified)\b[^{}]*\.\w{2,5}\.(?:locked|locky|crypt|crypted|encrypted|wncry|wcry|ryuk|ryk|conti|lockbit\d?|akira|blackcat|medusa|cerber\d?|phobos|dharma|zepto|royal|hive|clop|babyk|revil|rhysida)\b").unless(BACKUP),
    sign("many-files-changed", Ransomware, 5, r"\bfiles?\b[^{}]*\b(?:encrypted|renamed|overwritten|modified)\b|\b(?:encrypted|renamed|overwrit\w+|modified|encrypting|renaming)\b[^{}]*\bfiles?\b").with(Need::Count(&["files"], 100)).unless(BACKUP),
    sign("fast-entropy", Ransomware, 4, r"\b(?:high|rising|increased|abnormal)\b.{0,20}\bentropy\b[^{}]*\b(?:write|files?|share|volume)\b|\bmass (?:file )?(?:encryption|rename|modification|renaming)\b"),
    // Command and control.
    sign("c2-told", CommandAndControl, 8, told!(r"c2 (?:server|traffic|channel|beacon\w*|communication|callback|connection|domain|activity|infrastructure)|c&c (?:server|traffic|channel|communication|connection)|command[- ](?:and|&)[- ]control|beaconing|botnet (?:traffic|activity|communication|c2|node|client|checkin)|malicious (?:callback|beacon)|callback to (?:known )?malicious")),
    sign("c2-tool", CommandAndControl, 7, r"\b(?:cobalt ?strike|meterpreter|metasploit (?:payload|session|handler)|sliver (?:implant|beacon)|mythic agent|brute ratel|havoc demon|empire agent|poshc2|merlin agent|njrat|asyncrat|quasar ?rat|remcos|agent tesla|emotet|trickbot|qakbot|qbot|icedid|dridex)\b"),
    sign("known-bad-destination", CommandAndControl, 7, r"\b(?:connect\w*|traffic|request|lookup|resolv\w*|query|communicat\w*|contact\w*|outbound|destination)\b[^{}]*\b(?:known[- ]malicious|malicious (?:ip|domain|host|address|url)|blacklisted (?:ip|domain|host|address)|threat[- ]intel\w* (?:match|hit)|bad reputation|sinkhole[d]?)\b|\b(?:known[- ]malicious|malicious) (?:ip|domain|host|address|url)\b[^{}]*\b(?:contacted|connection|connect\w*|resolved|queried|communicat\w*)\b"),
    sign("tor", CommandAndControl, 4, r"\b(?:connect\w*|traffic|outbound|request|lookup|circuit)\b[^{}]*\b(?:tor (?:exit|node|relay|network|entry)|[a-z2-7]{16,56}\.onion)\b").unless(r"\b(?:from|visitor|client|inbound|incoming)\b"),
    sign("generated-names", CommandAndControl, 4, r"\b(?:dga|domain generation algorithm|algorithmically generated)\b|\bquery(?:\[\w+\])?:? [^{}]*\b[a-z0-9]*\d[a-z0-9]{14,}\.(?:xyz|top|tk|pw|cc|su|gq|ml|cf|ga|biz|click|icu)\b"),
    sign("dns-tunnel", CommandAndControl, 6, told!(r"dns[- ]tunnel\w*|iodine|dnscat2?|icmp[- ]tunnel\w*")),
    // Outbound traffic.
    sign("outbound-odd", SuspiciousOutbound, 8, r"\b(?:unusual|suspicious|unexpected|anomalous|abnormal|unauthori[sz]ed|unknown|malicious|rogue|uncommon)\b(?: \w+){0,3} (?:outbound|egress|outgoing|external)\b|\b(?:outbound|egress|outgoing)\b(?: \w+){0,4} (?:is |was |looks |flagged )?(?:unusual|suspicious|unexpected|anomalous|abnormal|unauthori[sz]ed|malicious)\b").with(Need::PublicDestination),
    sign("outbound-listener", SuspiciousOutbound, 6, r"\b(?:outbound|egress|outgoing|connect(?:ed|ion|ing)?|established|dst|dest\w*|session|allow(?:ed)?|accept(?:ed)?)\b").with(Need::ListenerPort).unless(r"\b(?:inbound|refused|scan|timed out)\b|\bin=\w+ out= "),
    sign("outbound-shell", SuspiciousOutbound, 6, r"\b(?:bash|sh|dash|zsh|python\d?(?:\.\d+)?|perl|ruby|php|powershell(?:\.exe)?|cmd(?:\.exe)?|rundll32(?:\.exe)?|regsvr32(?:\.exe)?|mshta(?:\.exe)?|wscript(?:\.exe)?|winword(?:\.exe)?|excel(?:\.exe)?)\b[^{}]*\b(?:outbound|connect(?:ed|ion|ing)?|opened (?:a )?(?:tcp|socket))\b").with(Need::ListenerPort),
    // Mining.
    sign("mining-told", Cryptomining, 8, told!(r"crypto-?(?:currency)?[- ]?min(?:er|ing)(?: (?:malware|activity|process|script|software))?|crypto-?jack\w*|coin-?hive|coin ?miner|bitcoin miner|monero miner|mining (?:pool|malware|botnet|process)|xmrig|stratum protocol")).unless(r"\bmining (?:company|industry|equipment|sector|engineer\w*)\b"),
    sign("pool", Cryptomining, 8, r"\bstratum\d?\+(?:tcp|ssl|tls)://|\b(?:pool|xmr|eth|btc|mine|mining)[\w.-]*\.(?:minexmr|supportxmr|nanopool|moneroocean|hashvault|2miners|f2pool|ethermine|c3pool|herominers)\.\w+|\b(?:minexmr|supportxmr|nanopool|moneroocean|hashvault|c3pool|herominers)\.(?:com|org|stream|pro|st)\b"),
    sign("pool-port", Cryptomining, 5, r"\b(?:min(?:er|ing)|pool|hash ?rate|xmr|monero)\b[^{}]*:(?:3333|4444|5555|7777|14433|14444|45560|45700)\b").unless(r"\bconnection pool\b|\bdata mining\b"),
    sign("hash-rate", Cryptomining, 5, r"\b\d+(?:\.\d+)? ?[kmg]?h/s\b[^{}]*\b(?:accepted|share|pool|miner|difficulty|diff)\b|\b(?:accepted|share|pool|miner|speed)\b[^{}]*\b\d+(?:\.\d+)? ?[kmg]?h/s\b|\bshare accepted\b[^{}]*\bdiff"),
    sign("miner-program", Cryptomining, 8, r"\b(?:xmrig|kdevtmpfsi|kinsing|minerd|ccminer|cgminer|bfgminer|ethminer|nbminer|phoenixminer|t-rex miner|xmr-stak|cpuminer(?:-\w+)?)\b(?:[\x22' ]*(?:-|$|,|\)|:|\[|started|running|process|pid|using|executed|spawned|launched|cpu))|\b(?:process|exe|comm|cmd|executed|spawned|started|launched|running)\b[^{}]*\b(?:xmrig|kdevtmpfsi|kinsing|minerd|ccminer|xmr-stak|cpuminer)\b"),
    sign("busy-processor", Cryptomining, 3, r"\b(?:sustained|constant|continuous|abnormal|unusual|persistent|unexpected)\b.{0,30}\b(?:cpu|gpu)\b.{0,40}\b(?:9\d|100)(?:\.\d+)? ?%|\b(?:cpu|gpu)\b.{0,40}\b(?:9\d|100)(?:\.\d+)? ?%.{0,60}\b(?:unknown|unrecogni[sz]ed|unfamiliar|/tmp/|/dev/shm/|/var/tmp/)"),
    // Phishing.
    sign("phishing-told", Phishing, 8, told!(r"(?:spear[- ]?)?phishing(?: (?:e-?mail|message|link|site|page|url|attempt|campaign|attack|domain|kit))?|credential[- ]harvest\w*|fake login page|business e-?mail compromise")),
    sign("link-clicked", Phishing, 7, r"\b(?:clicked|opened|visited|followed|accessed)\b.{0,40}\b(?:phishing|malicious|suspicious|spoofed|fraudulent|fake)\b.{0,20}\b(?:links?|urls?|sites?|pages?|attachments?|e-?mails?|domains?)\b"),
    sign("credentials-given", Phishing, 8, r"\bcredentials?\b.{0,40}\b(?:entered|submitted|harvested|stolen|posted|captured|leaked)\b.{0,80}\b(?:fake|spoofed|suspicious|phishing|look-?alike|unknown|external|fraudulent)\b|\b(?:entered|submitted|posted)\b.{0,30}\b(?:credentials?|password)\b.{0,60}\b(?:fake|spoofed|suspicious|phishing|look-?alike|fraudulent)\b"),
    sign("sender-spoofed", Phishing, 4, r"\bspoofed (?:sender|domain|from|address|display name)\b|\b(?:sender|domain|display name|from address) (?:is )?(?:spoof(?:ed|ing)|impersonat\w+)\b|\bimpersonat(?:es|ing|ion of)\b.{0,30}\b(?:ceo|cfo|executive|director|bank|microsoft|paypal|helpdesk|it support)\b|\blook-?alike domain\b"),
    sign("mail-unproven", Phishing, 3, r"\bspf[=: ]+(?:fail|hardfail|softfail)\b[^{}]*\bdkim[=: ]+(?:fail|none|invalid)\b|\bdmarc[=: ]+(?:fail|reject)\b"),
    sign("attachment-disguised", Phishing, 6, r"\b[\w-]+\.(?:pdf|docx?|xlsx?|jpe?g|png|txt|zip)\.(?:exe|scr|js|jse|vbs|vbe|iso|img|lnk|hta|bat|cmd|ps1|wsf)\b|\battachments?\b[^{}]*\.(?:exe|scr|js|vbs|iso|lnk|hta|docm|xlsm)\b").unless(r"\b(?:removed by policy|stripped by policy)\b"),
    sign("reply-elsewhere", Phishing, 3, r"\breply-?to\b.{0,40}\b(?:differs|mismatch|does not match|different domain)\b|\burgent\b.{0,40}\b(?:wire transfer|verify your account|gift cards?|invoice|password expires)\b"),
    // Insiders.
    sign("insider-told", InsiderThreat, 8, told!(r"insider threat|data theft by (?:employee|insider|user)|policy violation by (?:employee|insider)|rogue (?:employee|insider|administrator|admin)")),
    sign("bulk-taken", InsiderThreat, 6, r"\b(?:download(?:ed|ing|s)?|export(?:ed|ing|s)?|copied|copying|access(?:ed|es)?|retriev\w+|quer(?:ied|y returned)|read|dump(?:ed)?|printed)\b[^{}]*\b(?:records|documents|files|rows|customers|contacts|e-?mails|entries|pages)\b|\b(?:bulk|mass)\b.{0,20}\b(?:download|export|copy|access)\b").with(Need::Count(&["records", "documents", "files", "rows", "customers", "contacts", "emails", "entries", "pages"], 1000)).unless(BULK_WORK),
    sign("bulk-sensitive", InsiderThreat, 5, r"\b(?:bulk|mass|large|excessive)\b.{0,20}\b(?:download|export|copy|copying|access|extraction)\b[^{}]*\b(?:by|user|employee|account)\b|\b(?:user|employee)\b[^{}]*\b(?:bulk|mass|excessive)\b.{0,20}\b(?:download|export|copy|extraction)\w*").unless(BULK_WORK),
    sign("removable-media", InsiderThreat, 5, r"\b(?:cop(?:ied|ying|y)|moved|transferr?(?:ed|ing)?|wr(?:itten|ote)|saved|backed up)\b[^{}]*\b(?:usb(?: drive| stick| device| storage| mass storage)?|removable (?:media|drive|storage|device|disk)|thumb drive|flash drive|external (?:drive|disk|hdd))\b").unless(BACKUP),
    sign("to-own-mail", InsiderThreat, 6, r"\b(?:e-?mailed|sent|forward(?:ed|ing)|auto-?forward\w*|upload(?:ed|ing)?)\b[^{}]*\b(?:personal (?:e-?mail|account|gmail|cloud|dropbox|onedrive|drive|address)|private (?:e-?mail|gmail|mailbox))\b"),
    sign("outside-hours", InsiderThreat, 3, r"\b(?:outside|after|off)[- ](?:of )?(?:normal )?(?:business|working|office|work)?[- ]?hours\b|\bat (?:an )?unusual (?:hour|time)\b").unless(r"\bsupport\b|\bon-?call\b|\bopening hours\b"),
    sign("sensitive-read", InsiderThreat, 2, r"\b(?:access(?:ed|es)?|opened|read|viewed|download(?:ed|s)?|copied|export(?:ed|s)?|quer(?:ied|y))\b[^{}]*\b(?:salary|salaries|payroll|customer[_ -]?(?:database|data|list|records?)|confidential|trade secrets?|source code|executive|board minutes|merger|hr[_ /-](?:files|records|share|db|database)|personnel files?|medical records?|ssn|credit cards?|intellectual property|financial records?|designs?)\b"),
    sign("leaving", InsiderThreat, 3, r"\b(?:resign(?:ed|ation)|notice period|termination (?:notice|date|pending)|last working day|offboarding)\b"),
    sign("controls-off", InsiderThreat, 5, r"\b(?:disabled|turned off|stopped|bypassed|cleared|deleted|wiped|truncated)\b.{0,30}\b(?:audit (?:log(?:ging|s)?|trail)|dlp|data loss prevention|logging|event logs?|security log|history)\b").unless(r"\b(?:rotat\w+|retention|expired|logrotate|debug|verbose|access) ?(?:log\w*)?\b"),
    sign("dlp", InsiderThreat, 8, r"\b(?:dlp|data loss prevention)\b[^{}]*\b(?:violation|alert|incident|blocked|match(?:ed)?|triggered|detected)\b"),
    // Data leaving.
    sign("exfiltration-told", DataExfiltration, 8, told!(r"(?:data )?exfiltrat\w+|data (?:leak(?:age)?|theft|breach)|stolen data|unauthori[sz]ed (?:data )?(?:transfer|upload|export)")),
    sign("much-sent", DataExfiltration, 6, r"\b(?:upload(?:ed|ing)?|sent|transferr?(?:ed|ing)?|outbound|egress|posted|outgoing|bytes_out|copied)\b").with(Need::Bytes(1_000_000_000)).unless(BULK_COPY),
    sign("to-drop-site", DataExfiltration, 6, r"\b(?:upload(?:ed|ing)?|post(?:ed)?|put|sent|rclone|curl|transfer\w*|scp)\b[^{}]*\b(?:mega(?:\.co)?\.nz|transfer\.sh|anonfiles?\.com|gofile\.io|file\.io|temp\.sh|pastebin\.com|wetransfer\.com|sendspace\.com|catbox\.moe|0x0\.st|bashupload\.com|termbin\.com|mediafire\.com|ufile\.io)\b"),
    sign("packed-to-go", DataExfiltration, 4, r"\b(?:7z|7za|rar|zip|tar)(?:\.exe)?\b.{0,30}(?: -p\S*| -hp\S*| a | c[zjf]+ | -[a-z]*c[a-z]*f? ).{0,60}(?:/etc/|/home|customers?|payroll|finance|database|\.sql|confidential|users|/var/lib)").unless(BACKUP),
    // Unknown exploits and their authors.
    sign("zero-day-told", ZeroDay, 8, told!(r"(?:zero|0)[- ]?day (?:exploit\w*|attack|vulnerability|payload|threat)|(?:unknown|novel|unpatched) (?:exploit|vulnerability)")),
    sign("apt-told", ZeroDay, 7, told!(r"advanced persistent threat|apt[- ]?\d{1,3}|apt (?:group|actor|campaign|activity|malware|infrastructure)|nation[- ]state (?:actor|attack\w*|activity)|lazarus group|fancy bear|cozy bear|sandworm|equation group")),
    sign("exploited", ZeroDay, 7, r"\bexploit(?:ed|ation|ing)?\b[^{}]*\b(?:cve-\d{4}-\d{4,}|heap overflow|buffer overflow|use[- ]after[- ]free|remote code execution|rce|memory corruption|type confusion)\b[^{}]*\b(?:detected|attempt\w*|in the wild|against|succe\w+|blocked|observed|payload)\b|\b(?:cve-\d{4}-\d{4,})\b[^{}]*\b(?:exploit(?:ed|ation)? (?:attempt|detected|succe\w+|observed)|being exploited|actively exploited)\b"),
    sign("lateral", ZeroDay, 5, told!(r"lateral movement|pass[- ]the[- ](?:hash|ticket)|golden ticket|kerberoast\w*|dcsync")),
    sign("no-signature", ZeroDay, 4, r"\b(?:unknown|unrecogni[sz]ed|no (?:known )?matching)\b.{0,20}\b(?:exploit|shellcode|payload|attack) (?:signature|pattern|technique|chain)\b|\bshellcode\b.{0,40}\b(?:detected|injected|executed|in memory)\b|\b(?:memory|code) injection\b.{0,40}\b(?:detected|into)\b"),
    // Access without leave.
    sign("unauthorized-told", UnauthorizedAccess, 8, r"\bunauthori[sz]ed (?:access|login|log-?in|entry|user|intrusion|modification|remote access|connection|attempt|physical access|privileged access)\b[^{}]*\b(?:detected|attempt\w*|from|by|to|on|alert|blocked)\b|\b(?:detected|attempted|alert|blocked|warning|critical|possible)\b[^{}]*\bunauthori[sz]ed (?:access|login|log-?in|entry|intrusion|modification|connection)\b|\b(?:intrusion|break-?in|security breach|system compromise) (?:detected|attempt|alert|confirmed|in progress)\b|\bpossible break-?in attempt\b").unless(r"\b(?:401 unauthori[sz]ed|http[^{}]{0,12}401|status[\x22=: ]+401|banner|reverse mapping|warning banner)\b|\bprohibited\b"),
    sign("restricted-denied", UnauthorizedAccess, 3, r"\b(?:access|permission|authori[sz]ation) (?:was )?(?:denied|refused|rejected)\b[^{}]*\b(?:restricted|sensitive|confidential|admin(?:istrative)?|payroll|secret|vault|/etc/shadow|private key|classified|finance|hr)\b|\b(?:denied|refused|forbidden)\b.{0,30}\baccess\b[^{}]*\b(?:restricted|confidential|/etc/shadow|admin (?:panel|area|console)|classified)\b"),
    sign("stolen-session", UnauthorizedAccess, 8, told!(r"session hijack\w*|stolen (?:credentials?|session|token|cookie)|token (?:replay|theft)|impossible travel|mfa (?:fatigue|bombing)|compromised (?:account|credentials?|host|server|user)|account takeover")).unless(r"\bcompromised (?:by|due|performance)\b"),
    sign("disabled-account", UnauthorizedAccess, 4, r"\b(?:login|log-?in|logon|authentication|access|attempt\w*)\b[^{}]*\b(?:disabled|terminated|former|dormant|revoked|deactivated) (?:account|user|employee)\b"),
    // Processes.
    sign("malware-told", SuspiciousProcess, 8, told!(r"malware|trojan(?: horse)?|rootkit|spyware|key-?logger|worm:|info-?stealer|malicious (?:process|file|software|code|payload|executable|macro|script|binary|dll|program)|virus(?:es)? (?:found|detected|in|named|infection)")),
    sign("virus-named", SuspiciousProcess, 9, r"\b(?:win|unix|linux|js|html|php|doc|pdf|osx|andr|java|xls|vbs)\.(?:trojan|malware|worm|virus|ransomware|backdoor|downloader|dropper|exploit|packer|coinminer|webshell)\.[\w.-]+|\b(?:trojan|worm|virus|backdoor|ransom|hacktool|behavior|exploit|trojandownloader|trojanspy|pws):(?:win32|win64|linux|msil|js|vbs|powershell|php|html|o97m|script)/[\w.!-]+|\b[\w./-]+: [\w.-]+ found$").unless(r"\b(?:packages?|update|version|command|module|library|device|bios|not|modprobe|driver)\b"),
    sign("process-odd", SuspiciousProcess, 8, r"\b(?:suspicious|malicious|unknown|unauthori[sz]ed|rogue|unrecogni[sz]ed|hidden|anomalous) (?:\w+ )?(?:process|executable|binary|script|powershell|child process|command(?: line)?)\b[^{}]*\b(?:detected|started|spawned|running|executed|launched|created|terminated|killed|blocked|found|from|injected|observed)\b|\b(?:detected|started|spawned|executed|launched|killed|blocked|terminated)\b[^{}]*\b(?:suspicious|malicious|unauthori[sz]ed|rogue|hidden) (?:\w+ )?(?:process|executable|binary|script|command)\b"),
    sign("office-child", SuspiciousProcess, 8, r"\b(?:winword|excel|outlook|powerpnt|acrord32|onenote|mspub)(?:\.exe)?\b[^{}]*(?:spawn\w*|->|=>|started|launched|created|parent|child)[^{}]*\b(?:powershell|cmd|wscript|cscript|mshta|rundll32|regsvr32|certutil|bitsadmin)(?:\.exe)?\b|\b(?:powershell|cmd|wscript|cscript|mshta|rundll32|regsvr32)(?:\.exe)?\b[^{}]*\bparent\w*[\x22=: ]+(?:[a-z]:[^ ]*\\+)?(?:winword|excel|outlook|powerpnt|acrord32|onenote)(?:\.exe)?"),
    sign("server-child", SuspiciousProcess, 8, r"\b(?:w3wp|httpd|apache2|nginx|tomcat\d*|java|php-fpm|sqlservr|mysqld|postgres|node)(?:\.exe)?\b[^{}]*(?:spawned|->|=>|launched|forked)[^{}]*\b(?:powershell|cmd\.exe|/bin/(?:ba)?sh|bash -[ci]|nc|ncat|whoami)\b"),
    sign("powershell-hidden", SuspiciousProcess, 8, r"\bpowershell(?:\.exe)?\b[^{}]*(?:\s-e(?:nc(?:odedcommand)?)?\s+[a-z0-9+/=]{16,}|\bdownloadstring\b|\biex\b|\binvoke-(?:expression|mimikatz|webrequest[^{}]*\biex)\b|\bfrombase64string\b|-w(?:indowstyle)? hidden[^{}]*-(?:nop|noni|exec|ep|e)\b|-nop[^{}]*-w(?:indowstyle)? hidden)"),
    sign("own-tools-misused", SuspiciousProcess, 8, r"\bcertutil(?:\.exe)?\b[^{}]*-(?:urlcache|decode)\b|\bregsvr32(?:\.exe)?\b[^{}]*(?:/i:https?:|scrobj)|\bmshta(?:\.exe)?[\x22' ]+(?:https?:|javascript:|vbscript:)|\brundll32(?:\.exe)?[\x22' ]+javascript:|\bbitsadmin(?:\.exe)?\b[^{}]*/transfer|\bwmic(?:\.exe)?\b[^{}]*process call create"),
    sign("secrets-dumped", SuspiciousProcess, 9, r"\b(?:mimikatz|sekurlsa|lsadump|secretsdump|lazagne|procdump(?:64)?(?:\.exe)?[^{}]*\blsass|comsvcs\.dll[^{}]*minidump|lsass(?:\.exe)?[^{}]*\b(?:memory (?:dump\w*|access|read)|dump\w*)|ntds\.dit[^{}]*\b(?:copied|dump\w*|extract\w*))\b"),
    sign("run-from-temp", SuspiciousProcess, 4, r"\b(?:exe[c=\x22: ]|execut\w+|spawn\w*|started|launched|running|process|cmd)\b[^{}]*(?:[\x22' =(](?:/tmp/|/dev/shm/|/var/tmp/)\.?[\w.-]+|\\(?:temp|appdata\\local\\temp|users\\public|programdata)\\[\w.-]+\.(?:exe|dll|ps1|bat|vbs|js|scr))").unless(r"\b(?:systemd-private|npm|pip|cargo|gradle|maven|yarn|go-build|ansible|pytest|apt|dpkg|setup|installer|update\w*|jenkins|runner|sess_\w+|mysql\.sock|docker-?build|tmpwatch|tmpfiles|cleanup)\b|/tmp/(?:pip|npm|go-|ansible|tmp\.|hsperf|systemd)"),
    sign("defences-off", SuspiciousProcess, 5, r"\b(?:real-?time protection|windows defender|defender|antivirus|edr(?: agent)?|endpoint protection|auditd|selinux|apparmor|falco|crowdstrike|tamper protection)\b.{0,40}\b(?:disabled|turned off|tampered|killed|uninstalled|stopped unexpectedly|terminated)\b|\bset-mppreference\b[^{}]*-disable\w+ (?:\$true|1)|\bsetenforce 0\b|\bsystemctl (?:stop|disable|mask) (?:auditd|falcon-sensor|clamav-daemon|wazuh-agent|osqueryd)\b"),
    // Backdoors.
    sign("backdoor-told", Backdoor, 9, told!(r"back-?door(?: (?:account|access|user|installed|trojan|connection|listener))?|reverse[- ]shell|bind[- ]shell|web-?shell|remote access trojan|persistence mechanism")),
    sign("shell-served", Backdoor, 8, r"\bbash -i\b[^{}]*/dev/tcp/|\b(?:nc|ncat|netcat)(?:\.traditional)? (?:-\w+ )*-\w*e\w* ?/?(?:\w+/)*(?:ba|z)?sh\b|\bsocat\b[^{}]*\bexec:|\bpython\d? -c\b[^{}]*\bsocket\b[^{}]*\b(?:subprocess|pty)\b"),
    sign("listener-new", Backdoor, 6, r"\b(?:listen(?:ing|er)?|bind|bound|opened port|new port)\b[^{}]*[: ](?:4444|31337|1337|12345|54321|6666|6667|5554|9999|27374)\b[^{}]*\b(?:unknown|unexpected|unauthori[sz]ed|new|suspicious|/tmp|nc|ncat|bash|sh|python\w*|perl)\b|\b(?:unknown|unexpected|unauthori[sz]ed|suspicious|new) (?:process |service |program )?(?:listen\w*|opened port)\b"),
    sign("key-planted", Backdoor, 5, r"\bauthorized_keys\b[^{}]*\b(?:modified|changed|appended|added|written|write|updated by)\b|\b(?:added|appended|wrote|echo)\b[^{}]*\bssh-(?:rsa|ed25519|dss)\b[^{}]*\bauthorized_keys\b|>>\s*\S*authorized_keys\b").unless(r"\b(?:ansible|puppet|chef|salt|terraform|cloud-init|google_guest_agent|waagent|provision\w*|ldap|ipa|configuration management)\b"),
    sign("job-planted", Backdoor, 8, r"\bcron\w*\b[^{}]*\b(?:curl|wget)\b[^{}]*\|\s*(?:sudo )?(?:ba|z|da)?sh\b|\*[^{}]*\*[^{}]*\b(?:curl|wget)\b[^{}]*\|\s*(?:ba|z|da)?sh\b|\bschtasks(?:\.exe)?\b[^{}]*/create[^{}]*(?:powershell|\\temp\\|appdata|\\users\\public|mshta|https?:)"),
    sign("start-planted", Backdoor, 6, r"\\currentversion\\+run(?:once)?\b[^{}]*(?:\\temp\\|appdata|\\users\\public|powershell|mshta|wscript|rundll32)|\b(?:crontab|cron\.d|rc\.local|systemd/system|init\.d|profile\.d|\.bashrc|ld\.so\.preload)\b[^{}]*(?:/tmp/|/dev/shm/|/var/tmp/)|\bexecstart=\s*(?:/tmp/|/dev/shm/|/var/tmp/)"),
    sign("shell-uploaded", Backdoor, 7, r"\b(?:created|written|uploaded|wrote|dropped|new file)\b[^{}]*/(?:uploads?|images?|media|tmp|cache|static|files)/[\w./-]*\.(?:php\d?|phtml|jsp|jspx|aspx?|ashx)\b|\b(?:c99|r57|b374k|wso|weevely|china ?chopper|antsword|behinder|godzilla)\b[^{}]*\b(?:shell|\.php|\.aspx?|\.jsp|detected)\b").unless(r"\b(?:views?/cache|twig|smarty|blade|compiled|opcache|composer|deploy\w*|release|blocked by extension)\b"),
    // Becoming more.
    sign("escalation-told", PrivilegeEscalation, 8, told!(r"privilege escalation|elevation of privilege|privilege (?:abuse|elevation)|uac bypass|sudo exploit|dirty ?(?:pipe|cow)|pwnkit|kernel exploit|container escape")),
    sign("su-failed", PrivilegeEscalation, 3, r"\bfailed su \(to root\)|\bsu: (?:authentication failure|failed)\b|\bauthentication failure\b[^{}]*\b(?:tty=\S+ )?ruser=\w+[^{}]*\buser=root\b"),
    sign("group-of-power", PrivilegeEscalation, 5, r"\b(?:added|add|granted|assigned|promoted|elevated)\b[^{}]*\b(?:domain admins?|enterprise admins?|administrators(?: group)?|(?:group )?(?:wheel|sudo|sudoers)\b|root group|global administrator|cluster-admin|superuser|owner role|adm?inistratoraccess)").unless(r"\b(?:ansible|puppet|chef|salt|terraform|cloud-init|approved|change[- ]?(?:request|ticket)|chg\d+|onboarding|apt|dpkg|setup)\b"),
    sign("suid", PrivilegeEscalation, 6, r"\bchmod\b[^{}]*(?:u?\+s|\b[46][0-7]{3}\b)[^{}]*(?:/tmp/|/bin/(?:ba)?sh|/dev/shm/)|\bnew (?:suid|setuid) (?:binary|file|program)\b"),
    sign("sudoers-changed", PrivilegeEscalation, 5, r"/etc/sudoers(?:\.d/\S*)?\b[^{}]*\b(?:modified|changed|written|appended)\b|\bnopasswd: ?all\b").unless(r"\b(?:ansible|puppet|chef|salt|terraform|cloud-init|visudo|apt|dpkg|packer)\b"),
    // Floods.
    sign("flood-told", RequestFlood, 8, told!(r"(?:distributed )?denial[- ]of[- ]service|ddos(?: attack)?|dos attack|(?:syn|udp|icmp|http|request|packet|connection|ack|dns|ntp|slowloris)[- ]flood(?:ing)?(?: attack)?|(?:dns|ntp|memcached|reflection|amplification) (?:amplification|reflection|attack)|volumetric attack|slowloris|layer ?7 attack")).unless(r"\b(?:flood (?:insurance|warning|plain|risk|relief|zone|light)|possible syn flooding)\b"),
    sign("syn-flood-kernel", RequestFlood, 6, r"\bpossible syn flooding on port\b"),
    sign("rate-told", RequestFlood, 6, r"\b(?:requests?|packets?|connections?|req|pps|rps|hits|queries|qps)\b[^{}]*\b(?:exceed\w*|spike|surge|flood\w*|abnormal\w*|threshold|overwhelm\w*|from)\b|\b(?:exceed\w*|spike|surge|abnormal|overwhelm\w*)\b[^{}]*\b(?:requests?|packets?|connections?|rps|pps)\b").with(Need::Count(&["requests", "req", "packets", "connections", "pps", "rps", "hits", "queries", "qps"], 10_000)).unless(r"\b(?:cache\w*|total|processed|served|handled|completed|today|since|lifetime|statistics|stats|report|summary|benchmark|load test\w*|capacity|wrk|k6|locust|jmeter|average)\b"),
    sign("exhausted", RequestFlood, 3, r"\bnf_conntrack: (?:nf_conntrack: )?table full\b|\bserver reached (?:pm\.max_children|maxrequestworkers)|\bworker_connections are not enough\b|\bbackend (?:pool )?(?:overwhelmed|exhausted)\b[^{}]*\brequests\b"),
    // Scans of ports.
    sign("scan-told", PortScan, 8, told!(r"port[- ]?scan(?:ning|s)?|(?:syn|xmas|null|fin|stealth|tcp|udp|nmap|masscan|zmap|host|network)[- ](?:port )?scan(?:ning)?|host sweep|port sweep|network (?:reconnaissance|sweep)|nmap|masscan")).unless(r"\b(?:installed|package|nmap scan report|inventory|asset discovery|nessus|qualys|openvas|rapid7|tenable|internal scanner|scan window)\b"),
    sign("ports-counted", PortScan, 8, r"\b(?:probed|scanned|scanning|tried|attempted|connections? to|connected to|hit|touched|knock\w*)\b[^{}]*\bports\b").with(Need::Count(&["ports"], 10)).unless(r"\b(?:switch|vlan|nessus|qualys|openvas|rapid7|usb|serial|interface)\b"),
    // Text for models.
    sign("model-addressed", PromptInjection, 8, r"\b(?:ignore|disregard|forget|override)\b.{0,30}\b(?:all |any |the |your |my )*(?:previous|prior|above|earlier|preceding|system)\b.{0,20}\b(?:instructions?|prompts?|rules|directives?|context)\b|\byou are now (?:a|an|in|the)\b.{0,40}\b(?:mode|assistant|model|ai|unrestricted|dan)\b|<\|(?:im_start|system|endoftext)\|>|\[/?inst\]|\b(?:classify|mark|report|treat) (?:this|these|the (?:request|log|line|entry)s?)\b.{0,40}\bas (?:benign|harmless|safe|clean)\b"),
    // What is odd and no more is known of.
    sign("odd-login", UnusualPattern, 6, r"\b(?:unusual|anomalous|suspicious|abnormal|atypical|irregular)\b(?: \w+){0,2} (?:log-?in|sign-?in|logon|authentication|access)\b|\b(?:log-?in|sign-?in|logon)\b.{0,40}\bfrom (?:a |an )?(?:new|unknown|unusual|unfamiliar|unexpected|unrecogni[sz]ed) (?:country|location|device|ip|address|network|region|city)\b"),
    sign("odd-activity", UnusualPattern, 6, r"\b(?:unusual|anomalous|suspicious|abnormal|malicious)\b(?: \w+){0,2} (?:activity|pattern|behaviou?r|traffic|request\w*|quer(?:y|ies)|volume|api calls?|event)\b[^{}]*\b(?:detected|from|by|observed|on|for|in|reported|alert)\b|\banomaly (?:detected|score (?:0\.9|[89]\d|100))\b").unless(r"\b(?:baseline (?:learned|updated)|detector|threshold set|score (?:0\.[0-5]|[0-5]?\d)\b)"),
];

/// Work that takes many records.
const BULK_WORK: &str = r"\b(?:back-?ups?|etl|batch|cron\w*|nightly|scheduled|migrat\w+|import(?:ed|er)?|index(?:ed|er|ing)?|sync(?:ed|ing|hroni\w+)?|replicat\w+|report(?:ing)? (?:job|service|server)|analytics|pipeline|worker|queue|cache\w*|warehouse|airflow|dbt|spark|flush(?:ed)?|vacuum\w*|service account|svc[-_]\w+|crawl\w*|pagination|rendered|build|compil\w+|artifact\w*|npm|pip|apt|yum|dnf|docker|image|layer|git|clone|cdn|logrotate|scan(?:ned|ning)?|antivirus|clamscan|inotify|garbage|test\w*)\b";

/// Transfers that are somebody's work.
const BULK_COPY: &str = r"\b(?:back-?ups?|restic|borg\w*|duplicity|veeam|rsync|replica\w*|replicat\w+|snapshot\w*|mirror\w*|sync\w*|migrat\w+|archive\w*|s3://|gs://|azblob|cdn|video|stream\w*|image|docker|layer|registry|push(?:ed|ing)?|artifact\w*|ci|build|deploy\w*|wal|pg_\w+|mysqldump|dump\w*|log shipping|interface|eth\d|ens\w+|uptime|total|since boot|statistics|quota|vpn|openvpn|wireguard|session (?:closed|ended)|accounting|download(?:ed|s)?|received|cache\w*|iso|update\w*|peer|torrent|seed\w*|memory|ram|heap|swap|disk|free|used|available)\b";

/// Ports that tools of attackers listen on unless told otherwise: Metasploit, Netcat examples, old
/// backdoors, IRC bots, Tor's, pools for mining.
pub const LISTENER_PORTS: &[u16] = &[
    1337, 3333, 4443, 4444, 4445, 5554, 5555, 6660, 6666, 6667, 6697, 7777, 9001, 9050, 12345, 13337, 14444, 27374,
    31337, 45560, 45700, 54321,
];

impl Need {
    /// Whether `line` fulfils it.
    pub fn is_met(self, line: &[u8], peers: &[text::Peer]) -> bool {
        let to_public = || peers.iter().filter(|peer| peer.way != text::Way::From && text::is_public(peer.address));
        match self {
            Need::Nothing => true,
            Need::PublicDestination => to_public().next().is_some(),
            Need::ListenerPort => to_public().any(|peer| LISTENER_PORTS.contains(&peer.port)),
            Need::Count(what, least) => text::count_of(line, what) >= least,
            Need::Bytes(least) => text::size_bytes(line) >= least,
        }
    }
}
