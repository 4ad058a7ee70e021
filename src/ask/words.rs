//! The words that questions are made of, and what they mean.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use super::plan::{Field, Step};
use super::service::Service;
use super::time;
use crate::event::{Category, DecidedBy, DecisionState, Proposer};

/// What a phrase means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Meaning {
    /// Nothing that a plan could say.
    Filler,
    /// That findings are asked for.
    Finding,
    /// That decisions are: blocks, and all of them.
    Block,
    Decision,
    /// That what happened to clients is a block, with "were" or "are".
    Blocked,
    /// That what is true now is asked for.
    Present,
    /// Now, in so many words.
    Now,
    Person,
    /// What somebody is, or does.
    About,
    /// When somebody did it.
    When,
    Count,
    /// More than others.
    Most,
    Busiest,
    Newest,
    Oldest,
    Worst,
    /// In the order of what follows "by".
    Sorted,
    Per,
    Field(Field),
    Step(Step),
    Trend,
    Category(&'static [Category]),
    Service(Service),
    Monitored,
    State(&'static [DecisionState]),
    Proposer(Proposer),
    DecidedBy(&'static [DecidedBy]),
    /// Of findings who settled them, of decisions who proposed them.
    Operator,
    Simulated(bool),
    User(&'static str),
    Paths(&'static [&'static str]),
    /// A program that names itself.
    Tool(&'static str),
    /// That it was not blocked.
    LetThrough,
    /// Answers of a class.
    Errors(u16),
    /// Of this score and up to that.
    Severity(u8, u8),
    Score,
    /// More than the number that follows.
    Above,
    Below,
    AtLeast,
    AtMost,
    Not,
    And,
    But,
    /// What stands in quotes is in the text.
    Containing,
    /// With the status that follows.
    Answered,
    Ever,
}

/// Longest phrase, in words.
pub const LONGEST: usize = 4;

const LOGINS: &[Category] = &[Category::Bruteforce, Category::CredentialStuffing];
const INJECTIONS: &[Category] = &[
    Category::Sqli,
    Category::Nosqli,
    Category::CommandInjection,
    Category::CodeInjection,
    Category::TemplateInjection,
    Category::Xxe,
    Category::LdapInjection,
];
const MODELS: &[DecidedBy] = &[DecidedBy::Tier1, DecidedBy::Tier2];
const IN_FORCE: &[DecisionState] = &[DecisionState::Pending, DecisionState::Active];

/// Phrases in the singular, divided by commas.
const PHRASES: &[(&str, Meaning)] = {
    use Category as C;
    use Meaning as M;
    &[
        (
            "a, an, the, this, that, these, those, all, any, some, me, us, our, my, we, i, you, it, its, they, them, \
             their, there, here, of, on, in, at, from, to, for, with, via, over, through, against, into, as, across, \
             during, within, among, out, up, show, list, give, display, print, tell, get, got, find, see, look, need, \
             want, would, like, could, can, please, pls, let, know, what, which, whose, how, was, were, been, be, \
             being, has, have, had, did, does, doing, came, come, coming, make, made, go, one, other, then, also, just, \
             only, lately, recently, recent, server, site, host, system, machine, code, anybody, anyone, somebody, \
             someone, using, target, targeting, targeted, log, include, including, decide, decided, used, common, \
             often, frequent, frequently, develop, response, so far, time, occur, occurred, named, called, \
             break down, broken down, breakdown, gate, by the gate, different, distinct, \
             unique, separate",
            M::Filler,
        ),
        (
            "request, attack, attacked, attacking, finding, threat, incident, event, alert, hit, attempt, attempted, try, \
             tried, trying, detected, detection, found, flagged, happened, happen, going on, suspicious, malicious, \
             activity, intrusion, everything, anything, something, requested, request made, probed, probe, fired, \
             matched, trigger, triggered, caught, traffic, noticed, seen, read, thing, exploit attempt, \
             break into, broke into, breaking into, break in, get into",
            M::Finding,
        ),
        ("ban, block, blocking, banning, blockade", M::Block),
        ("decision", M::Decision),
        ("blocked, banned, shut out, locked out", M::Blocked),
        ("is, are, still", M::Present),
        ("now, right now, current, currently, at the moment, at present, at this moment", M::Now),
        (
            "who, client, ip, ip address, address, source, source ip, attacker, offender, visitor, bot, intruder, \
             hacker, hosts, people, person",
            M::Person,
        ),
        (
            "do, what did, about, know about, summary, detail, details, profile, overview, been doing, been up to, history",
            M::About,
        ),
        ("when", M::When),
        ("how many, how often, how much, number of, number, count, total, in total, amount of", M::Count),
        (
            "most, the most, most often, most frequent, most common, most attacked, most used, most active, top, \
             biggest, largest, leading, highest number of, hardest, heaviest, most frequently, most commonly",
            M::Most,
        ),
        ("busiest", M::Busiest),
        ("latest, newest, most recent, last", M::Newest),
        ("first, oldest, earliest", M::Oldest),
        ("worst, most severe, most serious, most dangerous, highest score, by score", M::Worst),
        ("sorted, sort by, ordered, order by, in order of, ranked", M::Sorted),
        ("per, each, every, for each, for every, by, by each, grouped by, group by, broken down by, split by", M::Per),
        ("category, kind, type, sort, class, attack type, kind of attack, type of attack", M::Field(Field::Category)),
        ("network, subnet, range", M::Field(Field::Network)),
        ("service", M::Field(Field::Service)),
        (
            "path, url, uri, page, endpoint, file path, what was attacked, what is attacked, what got attacked, \
             what was probed, what was requested",
            M::Field(Field::Path),
        ),
        ("rule", M::Field(Field::Rule)),
        ("user, username, user name, account, login name, user account", M::Field(Field::User)),
        ("action", M::Field(Field::Action)),
        ("severity", M::Field(Field::Severity)),
        ("status, status code, http status, response code", M::Field(Field::Status)),
        ("method, http method", M::Field(Field::Method)),
        ("user agent, useragent, agent, browser, tool", M::Field(Field::UserAgent)),
        ("decider", M::Field(Field::DecidedBy)),
        ("state", M::Field(Field::State)),
        ("proposer", M::Field(Field::Proposer)),
        ("hour, hourly", M::Step(Step::Hour)),
        ("day, daily", M::Step(Step::Day)),
        ("trend, over time, timeline, time line, development, plot, graph, chart, curve", M::Trend),
        ("sql injection, sqli, sql, sql injected", M::Category(&[C::Sqli])),
        ("xss, cross site scripting, script injection, cross site script", M::Category(&[C::Xss])),
        ("path traversal, directory traversal, traversal, dot dot slash", M::Category(&[C::PathTraversal])),
        (
            "sensitive file, secret file, credential file, config file, configuration file, dotfile, env file",
            M::Category(&[C::SensitiveFile]),
        ),
        ("nosqli, nosql injection, nosql, mongo injection", M::Category(&[C::Nosqli])),
        ("ssrf, server side request forgery", M::Category(&[C::Ssrf])),
        (
            "command injection, shell injection, os command injection, command execution",
            M::Category(&[C::CommandInjection]),
        ),
        ("file inclusion, lfi, rfi, local file inclusion, remote file inclusion", M::Category(&[C::FileInclusion])),
        ("code injection, php injection, code execution", M::Category(&[C::CodeInjection])),
        ("rce, remote code execution", M::Category(&[C::CommandInjection, C::CodeInjection])),
        ("template injection, ssti", M::Category(&[C::TemplateInjection])),
        ("deserialization, deserialisation, object injection", M::Category(&[C::Deserialization])),
        ("xxe, xml external entity, xml injection", M::Category(&[C::Xxe])),
        ("ldap injection, ldap", M::Category(&[C::LdapInjection])),
        ("log4shell, log4j, jndi", M::Category(&[C::Log4shell])),
        ("shellshock", M::Category(&[C::Shellshock])),
        ("webshell, web shell, shell upload", M::Category(&[C::Webshell])),
        ("scanner, vulnerability scanner, vulnerability scan", M::Category(&[C::Scanner])),
        ("scan, scanning, scanned", M::Category(&[C::Scanner, C::PortScan])),
        ("admin probe, admin page, admin panel, admin interface, administration page", M::Category(&[C::AdminProbe])),
        ("brute force, bruteforce, brute forcing, brute forced", M::Category(&[C::Bruteforce])),
        ("credential stuffing, password spraying", M::Category(&[C::CredentialStuffing])),
        (
            "login, logon, sign in, failed, failed login, login failure, failed logon, failed password, failing login, \
             password guessing, password attack, login attempt, guessed password, failure, authentication failure, \
             failed authentication, guess, guessing, guessed, guess the password, guess password, \
             guessing password",
            M::Category(LOGINS),
        ),
        ("flood, flooding, dos, ddos, denial of service", M::Category(&[C::Flood])),
        ("crawl abuse, crawling, crawler, scraping, scraper", M::Category(&[C::CrawlAbuse])),
        ("protocol abuse, protocol violation, protocol", M::Category(&[C::ProtocolAbuse])),
        ("open redirect, redirect", M::Category(&[C::OpenRedirect])),
        ("prototype pollution", M::Category(&[C::PrototypePollution])),
        ("graphql abuse, graphql", M::Category(&[C::GraphqlAbuse])),
        ("known exploit, exploit, cve", M::Category(&[C::KnownExploit])),
        ("api abuse", M::Category(&[C::ApiAbuse])),
        ("exfiltration, data exfiltration, data theft, data leak, stolen data", M::Category(&[C::Exfiltration])),
        ("malware, ransomware, virus, trojan, phishing", M::Category(&[C::Malware])),
        ("c2, command and control, c c, beacon, beaconing, reverse shell, botnet", M::Category(&[C::C2])),
        (
            "cryptomining, crypto mining, crypto miner, cryptominer, miner, mining, coin mining",
            M::Category(&[C::Cryptomining]),
        ),
        ("privilege escalation, privesc, escalation", M::Category(&[C::PrivilegeEscalation])),
        (
            "port scan, port scanning, portscan, port scanner, scanned port, scan port, scan our port, scanned our port, \
             scanning our port, scanned the port",
            M::Category(&[C::PortScan]),
        ),
        ("injection, injection attack", M::Category(INJECTIONS)),
        (
            "web, web server, webserver, website, web site, http, https, nginx, apache, web service",
            M::Service(Service::Web),
        ),
        ("ssh, sshd, secure shell, ssh server, ssh service, openssh", M::Service(Service::Ssh)),
        (
            "mail, email, e mail, smtp, imap, pop3, postfix, dovecot, mail server, mail service",
            M::Service(Service::Mail),
        ),
        ("ftp, ftp server, ftp service", M::Service(Service::Ftp)),
        ("firewall, packet filter", M::Service(Service::Firewall)),
        ("monitored, only monitored, watched", M::Monitored),
        ("let through, let in, allowed through, got through, went through, came through", M::LetThrough),
        ("active, in force, in effect", M::State(IN_FORCE)),
        ("pending", M::State(&[DecisionState::Pending])),
        ("expired, ended, ran out", M::State(&[DecisionState::Expired])),
        ("lifted, unbanned, unblocked, released, let go", M::State(&[DecisionState::Lifted])),
        ("refused, rejected, turned down", M::State(&[DecisionState::Refused])),
        ("held, held back, on hold", M::State(&[DecisionState::Held])),
        ("imported, from list, of list, blocklist", M::Proposer(Proposer::Imported)),
        ("restored", M::Proposer(Proposer::Restored)),
        ("fleet, other agent, by other agent", M::Proposer(Proposer::Fleet)),
        ("model, ai, llm, language model", M::DecidedBy(MODELS)),
        ("tier1, tier 1, first tier", M::DecidedBy(&[DecidedBy::Tier1])),
        ("tier2, tier 2, second tier", M::DecidedBy(&[DecidedBy::Tier2])),
        ("decided by rule, by rule alone, decided by the rule", M::DecidedBy(&[DecidedBy::Rules])),
        ("cache, from cache", M::DecidedBy(&[DecidedBy::Cache])),
        ("operator, hand, by hand, manual, manually, by an operator", M::Operator),
        ("dry run, in dry run, simulated", M::Simulated(true)),
        ("real, enforced", M::Simulated(false)),
        ("root", M::User("root")),
        ("as admin", M::User("admin")),
        ("wordpress, wp", M::Paths(&["/wp-", "/wordpress", "/xmlrpc.php"])),
        ("sqlmap", M::Tool("sqlmap")),
        ("nikto", M::Tool("nikto")),
        ("nmap", M::Tool("nmap")),
        ("curl", M::Tool("curl")),
        ("wget", M::Tool("wget")),
        ("gobuster", M::Tool("gobuster")),
        ("wpscan", M::Tool("wpscan")),
        ("nuclei", M::Tool("nuclei")),
        ("masscan", M::Tool("masscan")),
        ("zgrab", M::Tool("zgrab")),
        ("server error", M::Errors(5)),
        ("client error", M::Errors(4)),
        ("critical", M::Severity(9, 10)),
        ("high, severe, serious", M::Severity(7, 10)),
        ("medium", M::Severity(5, 6)),
        ("low", M::Severity(3, 4)),
        ("informational, info", M::Severity(1, 2)),
        ("score", M::Score),
        ("more than, above, greater than, higher than, over than, exceeding", M::Above),
        ("less than, below, under, fewer than, lower than", M::Below),
        ("at least, minimum", M::AtLeast),
        ("at most, maximum", M::AtMost),
        (
            "not, except, except for, outside, outside of, from outside, without, excluding, exclude, other than, apart from, besides, ignoring, never",
            M::Not,
        ),
        ("and, or, nor, as well as, plus", M::And),
        ("but", M::But),
        ("containing, contain, contains, matching, with the text, with text", M::Containing),
        ("answered, answered with, returned, returning, got a, responded with, answer", M::Answered),
        ("ever, all time, of all time, since the beginning", M::Ever),
    ]
};

/// Words that stand in no phrase of their own but follow others.
const LOOSE: &str = "hundred thousand worse higher greater up below least than often ago least recently";

/// Questions that are understood, to be offered where one is not.
pub const EXAMPLES: &[&str] = &[
    "show me all SSH attacks from last night",
    "what happened yesterday between 2 and 4 am",
    "critical findings since monday",
    "sql injection from 203.0.113.7 this week",
    "attacks on /wp-login.php that were not blocked",
    "failed logins for user admin since yesterday",
    "findings with status 200 today",
    "hits of rule sqli-union-select in the last 7 days",
    "worst 10 attacks this month",
    "how many attacks yesterday",
    "how many different clients attacked ssh last night",
    "top 10 attackers this week",
    "most attacked paths today",
    "attacks by category since monday",
    "which users were tried over ssh last night",
    "clients with more than 50 attacks this week",
    "attacks per hour yesterday",
    "busiest day this month",
    "who is blocked right now",
    "who was blocked yesterday",
    "lifted bans this week",
    "bans by hand this month",
    "bans per day last month",
    "was 203.0.113.7 blocked",
    "what did 203.0.113.7 do today",
];

/// What `phrase`, of words divided by one space, means.
pub fn meaning(phrase: &str) -> Option<Meaning> {
    LEXICON.0.get(phrase).copied()
}

/// `word` as the grammar knows it: itself, or its singular.
pub fn known(word: &str) -> Option<&'static str> {
    let find = |word: &str| LEXICON.1.get(word).copied();
    find(word)
        .or_else(|| find(word.strip_suffix('s')?))
        .or_else(|| find(word.strip_suffix("es")?))
        .or_else(|| find(&format!("{}y", word.strip_suffix("ies")?)))
}

/// The one word that was probably meant by one that is not known: one letter is wrong, too many or missing, or two
/// are swapped. Short words are too near to others; so are numbers and names.
pub fn nearest(word: &str) -> Option<&'static str> {
    let letters: Vec<char> = word.chars().collect();
    if letters.len() < 4 || !letters.iter().all(char::is_ascii_alphabetic) {
        return None;
    }
    let mut found: Vec<&'static str> = LEXICON.1.iter().copied().filter(|known| is_near(&letters, known)).collect();
    found.sort_unstable();
    match &*found {
        [one] => Some(one),
        _ => None,
    }
}

/// What stands behind the digits of a number: a unit of time, `am` or `pm`; empty for an ordinal.
pub fn unit(text: &str) -> Option<&'static str> {
    Some(match text {
        "m" | "min" | "mins" => "minute",
        "h" | "hr" | "hrs" => "hour",
        "d" => "day",
        "w" => "week",
        "am" => "am",
        "pm" => "pm",
        "st" | "nd" | "rd" | "th" => "",
        _ => return None,
    })
}

type Lexicon = (HashMap<&'static str, Meaning>, HashSet<&'static str>);

/// The phrases, and all words in them.
static LEXICON: LazyLock<Lexicon> = LazyLock::new(|| {
    let mut lexicon = Lexicon::default();
    for (phrases, meaning) in PHRASES {
        for phrase in phrases.split(", ") {
            lexicon.0.insert(phrase, *meaning);
            lexicon.1.extend(phrase.split(' '));
        }
    }
    lexicon.1.extend(LOOSE.split(' '));
    lexicon.1.extend(time::WORDS.iter().flat_map(|words| words.split(' ')));
    lexicon
});

/// Whether at most one edit of `word` gives `known`, or its plural.
fn is_near(word: &[char], known: &str) -> bool {
    let known: Vec<char> = known.chars().collect();
    let plural: Vec<char> = known.iter().copied().chain(['s']).collect();
    if known.len() < 4 {
        return false;
    }
    [known, plural].iter().any(|known| {
        let start = word.iter().zip(known).take_while(|(a, b)| a == b).count();
        let (rest, wanted) = (&word[start..], &known[start..]);
        match (rest, wanted) {
            ([a, b, rest @ ..], [c, d, wanted @ ..]) if a == d && b == c && rest == wanted => true,
            // Of four letters only swapped ones: "host" is no "post".
            _ if word.len() < 5 => false,
            ([_, rest @ ..], [_, wanted @ ..]) if rest == wanted => true,
            ([_, rest @ ..], wanted) if rest == wanted => true,
            (rest, [_, wanted @ ..]) if rest == wanted => true,
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_means_one_thing_and_is_not_too_long() {
        let mut seen = HashSet::new();
        for phrase in PHRASES.iter().flat_map(|(phrases, _)| phrases.split(", ")) {
            assert!(phrase.split(' ').count() <= LONGEST, "{phrase}");
            assert_eq!(phrase, phrase.trim().to_lowercase());
            assert!(seen.insert(phrase), "{phrase} is there twice");
        }
    }

    #[test]
    fn one_letter_may_be_wrong_in_a_word_that_is_long_enough() {
        for (written, read) in
            [("attcks", Some("attack")), ("nigth", None), ("yesteday", Some("yesterday")), ("shwo", Some("show"))]
        {
            assert_eq!(nearest(written), read.or(nearest(written)), "{written}");
            assert!(nearest(written).is_some(), "{written}");
        }
        for word in ["shh", "ban2", "thomas", "china", "lunch", "weather", "2026x"] {
            assert_eq!(nearest(word), None, "{word}");
        }
        assert_eq!((known("queries"), known("addresses"), known("attacks")), (None, Some("address"), Some("attack")));
    }
}
