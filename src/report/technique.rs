//! Names and tactics of the techniques of MITRE ATT&CK, version 16, that threats are given.

/// The version of ATT&CK that these names are from.
pub const ATTACK_VERSION: &str = "16.1";

/// What is known of a technique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Technique {
    pub id: &'static str,
    pub name: &'static str,
    /// Its first tactic, as ATT&CK's kill chain names it.
    pub tactic: &'static str,
}

/// The technique called `id`, as far as it is known.
pub fn technique(id: &str) -> Option<Technique> {
    let (id, name, tactic) = *TECHNIQUES.iter().find(|(known, _, _)| *known == id)?;
    Some(Technique { id, name, tactic })
}

/// The page of the technique called `id`; none for what is no such id.
pub fn url(id: &str) -> Option<String> {
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = id.strip_prefix('T')?;
    let (technique, sub) = number.split_once('.').map_or((number, None), |(technique, sub)| (technique, Some(sub)));
    let is_one = digits(technique, 4) && sub.is_none_or(|sub| digits(sub, 3));
    let path = id.replace('.', "/");
    is_one.then(|| format!("https://attack.mitre.org/techniques/{path}/"))
}

/// For people: `T1110 Brute Force`.
pub fn titles(ids: &[String]) -> Vec<String> {
    let title = |id: &String| technique(id).map_or(id.clone(), |known| format!("{id} {}", known.name));
    ids.iter().map(title).collect()
}

const TECHNIQUES: &[(&str, &str, &str)] = &[
    ("T1003", "OS Credential Dumping", "credential-access"),
    ("T1005", "Data from Local System", "collection"),
    ("T1014", "Rootkit", "defense-evasion"),
    ("T1021", "Remote Services", "lateral-movement"),
    ("T1021.004", "SSH", "lateral-movement"),
    ("T1027", "Obfuscated Files or Information", "defense-evasion"),
    ("T1030", "Data Transfer Size Limits", "exfiltration"),
    ("T1036", "Masquerading", "defense-evasion"),
    ("T1041", "Exfiltration Over C2 Channel", "exfiltration"),
    ("T1046", "Network Service Discovery", "discovery"),
    ("T1048", "Exfiltration Over Alternative Protocol", "exfiltration"),
    ("T1053", "Scheduled Task/Job", "execution"),
    ("T1053.003", "Cron", "execution"),
    ("T1055", "Process Injection", "defense-evasion"),
    ("T1059", "Command and Scripting Interpreter", "execution"),
    ("T1059.001", "PowerShell", "execution"),
    ("T1059.004", "Unix Shell", "execution"),
    ("T1059.007", "JavaScript", "execution"),
    ("T1068", "Exploitation for Privilege Escalation", "privilege-escalation"),
    ("T1070", "Indicator Removal", "defense-evasion"),
    ("T1071", "Application Layer Protocol", "command-and-control"),
    ("T1071.001", "Web Protocols", "command-and-control"),
    ("T1078", "Valid Accounts", "defense-evasion"),
    ("T1083", "File and Directory Discovery", "discovery"),
    ("T1087", "Account Discovery", "discovery"),
    ("T1090", "Proxy", "command-and-control"),
    ("T1095", "Non-Application Layer Protocol", "command-and-control"),
    ("T1098", "Account Manipulation", "persistence"),
    ("T1102", "Web Service", "command-and-control"),
    ("T1105", "Ingress Tool Transfer", "command-and-control"),
    ("T1110", "Brute Force", "credential-access"),
    ("T1110.001", "Password Guessing", "credential-access"),
    ("T1110.003", "Password Spraying", "credential-access"),
    ("T1110.004", "Credential Stuffing", "credential-access"),
    ("T1119", "Automated Collection", "collection"),
    ("T1133", "External Remote Services", "persistence"),
    ("T1136", "Create Account", "persistence"),
    ("T1190", "Exploit Public-Facing Application", "initial-access"),
    ("T1203", "Exploitation for Client Execution", "execution"),
    ("T1204", "User Execution", "execution"),
    ("T1210", "Exploitation of Remote Services", "lateral-movement"),
    ("T1485", "Data Destruction", "impact"),
    ("T1486", "Data Encrypted for Impact", "impact"),
    ("T1489", "Service Stop", "impact"),
    ("T1490", "Inhibit System Recovery", "impact"),
    ("T1496", "Resource Hijacking", "impact"),
    ("T1498", "Network Denial of Service", "impact"),
    ("T1499", "Endpoint Denial of Service", "impact"),
    ("T1505.003", "Web Shell", "persistence"),
    ("T1531", "Account Access Removal", "impact"),
    ("T1543", "Create or Modify System Process", "persistence"),
    ("T1548", "Abuse Elevation Control Mechanism", "privilege-escalation"),
    ("T1548.003", "Sudo and Sudo Caching", "privilege-escalation"),
    ("T1552", "Unsecured Credentials", "credential-access"),
    ("T1562", "Impair Defenses", "defense-evasion"),
    ("T1566", "Phishing", "initial-access"),
    ("T1567", "Exfiltration Over Web Service", "exfiltration"),
    ("T1568", "Dynamic Resolution", "command-and-control"),
    ("T1571", "Non-Standard Port", "command-and-control"),
    ("T1573", "Encrypted Channel", "command-and-control"),
    ("T1588", "Obtain Capabilities", "resource-development"),
    ("T1590", "Gather Victim Network Information", "reconnaissance"),
    ("T1592", "Gather Victim Host Information", "reconnaissance"),
    ("T1595", "Active Scanning", "reconnaissance"),
    ("T1595.001", "Scanning IP Blocks", "reconnaissance"),
    ("T1595.002", "Vulnerability Scanning", "reconnaissance"),
    ("T1595.003", "Wordlist Scanning", "reconnaissance"),
];
