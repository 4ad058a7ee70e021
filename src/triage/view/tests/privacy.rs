//! No secret and nothing personal leaves, wherever it stands and however it is written.

use super::*;

/// Characters in a row that count as a part of a secret.
const PART: usize = 4;

/// Numbers that look random and are always the same.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }

    /// `len` characters of `alphabet`.
    fn of(&mut self, alphabet: &str, len: usize) -> String {
        let bytes = alphabet.as_bytes();
        (0..len).map(|_| char::from(bytes[self.next(bytes.len())])).collect()
    }
}

const DIGITS: &str = "0123456789";
const HEX: &str = "0123456789abcdef";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const LOWER: &str = "bcdfghjklmnpqrtvwxz";

/// A secret of each kind by its template: of `{X n}` are n characters drawn. Upper-case letters name the
/// alphabet: D digits, H hexadecimal, U capitals, B letters and digits, L letters.
const KINDS: &[(&str, &str)] = &[
    ("AWS access key", "AKIA{U 16}"),
    ("AWS secret key", "{B 20}/{B 19}"),
    ("AWS session token", "IQoJb3JpZ2lu{B 90}=="),
    ("Azure storage key", "AccountKey={B 86}=="),
    ("Azure client secret", "{B 3}8Q~{B 34}"),
    ("Azure SAS signature", "sig={B 43}%3D"),
    ("Google API key", "AIza{B 35}"),
    ("Google OAuth token", "ya29.{B 60}"),
    ("Google service account", "{L 8}@{L 6}-{D 6}.iam.gserviceaccount.com"),
    ("GitHub token", "ghp_{B 36}"),
    ("GitHub fine-grained token", "github_pat_{B 22}_{B 59}"),
    ("GitLab token", "glpat-{B 20}"),
    ("Slack token", "xoxb-{D 12}-{D 12}-{B 24}"),
    ("Slack webhook", "https://hooks.slack.com/services/T{U 8}/B{U 8}/{B 24}"),
    ("Stripe key", "sk_live_{B 24}"),
    ("Twilio account", "AC{H 32}"),
    ("SendGrid key", "SG.{B 22}.{B 43}"),
    ("Mailgun key", "key-{H 32}"),
    ("OpenAI key", "sk-proj-{B 48}"),
    ("Anthropic key", "sk-ant-api03-{B 93}"),
    ("Hugging Face token", "hf_{B 34}"),
    ("npm token", "npm_{B 36}"),
    ("PyPI token", "pypi-AgEIcHlwaS5vcmc{B 60}"),
    ("DigitalOcean token", "dop_v1_{H 64}"),
    ("Telegram bot token", "{D 9}:AA{B 33}"),
    ("Discord token", "{B 24}.{B 6}.{B 27}"),
    ("Heroku key", "{H 8}-{H 4}-{H 4}-{H 4}-{H 12}"),
    ("JWT", "eyJ{B 20}.eyJ{B 60}.{B 43}"),
    ("bearer token", "Bearer {B 40}"),
    ("basic credentials", "Basic {B 24}=="),
    ("cookie of PHP", "PHPSESSID={L 5}{D 3}{L 18}"),
    ("cookie of Java", "JSESSIONID={H 32}.node1"),
    ("cookie of ASP.NET", "ASP.NET_SessionId={L 24}"),
    ("cookie of Express", "connect.sid=s:{B 32}.{B 43}"),
    ("session in a path", ";jsessionid={H 32}"),
    ("CSRF token", "csrf_token={B 40}"),
    ("RSA private key", "-----BEGIN RSA PRIVATE KEY-----{B 64}-----END RSA PRIVATE KEY-----"),
    ("SSH public key", "ssh-ed25519 AAAAC3{B 62} {L 6}@{L 7}"),
    ("password in words", "{L 6}-{L 7}-{L 5}-{D 2}"),
    ("password with signs", "{B 4}!{B 3}${L 5}#{D 3}"),
    ("password and user", "{L 7}:{B 10}@"),
    ("password hash", "$2b$12${B 53}"),
    ("database URL", "postgres://{L 6}:{B 12}@{L 7}.{L 6}.internal:5432/{L 8}"),
    ("Redis URL", "rediss://:{B 20}@{L 6}.example.net:6380"),
    ("TOTP seed", "otpauth://totp/{L 7}?secret={U 32}"),
    ("one-time code", "{D 6}"),
    ("e-mail", "{L 6}.{L 8}@{L 7}.example.com"),
    ("e-mail with a tag", "{L 6}+{L 5}@{L 7}.example.org"),
    ("phone number", "+49 170 {D 8}"),
    ("phone number with brackets", "(0{D 2}) {D 4}-{D 4}"),
    ("card number", "4{D 3} {D 4} {D 4} {D 4}"),
    ("card number without spaces", "5{D 15}"),
    ("IBAN", "DE{D 20}"),
    ("SSN", "{D 3}-{D 2}-{D 4}"),
    ("tax id", "DE{D 9}"),
    ("passport number", "C{U 2}{D 6}"),
    ("name", "{L 7} {L 9}"),
    ("name in Cyrillic", "\u{418}\u{432}\u{430}\u{43d} \u{41f}\u{435}\u{442}\u{440}\u{43e}\u{432}"),
    ("postal address", "{L 9}strasse {D 2}, {D 5} {L 8}"),
    ("date of birth", "19{D 2}-0{D 1}-1{D 1}"),
    ("internal host", "{L 5}-{D 2}.{L 6}.corp.local"),
    ("internal URL", "http://{L 6}.{L 7}.internal:8080/{L 8}"),
    ("internal address", "10.{D 2}.1{D 2}.{D 2}"),
    ("IPv6 address", "fd12:{H 4}:{H 4}::{H 4}"),
    ("MAC address", "{H 2}:{H 2}:{H 2}:{H 2}:{H 2}:{H 2}"),
    ("coordinates", "52.{D 6},13.{D 6}"),
    ("UUID", "{H 8}-{H 4}-4{H 3}-a{H 3}-{H 12}"),
    ("order number", "ORD-{D 4}-{U 6}"),
    ("IMEI", "35{D 13}"),
    ("number plate", "B-{U 2} {D 4}"),
    ("free text", "{L 5} {L 4} hat {L 7} und {L 6} wegen {L 8} in {L 6} angerufen"),
    ("diagnosis", "{L 8} {L 6} seit {D 4} {L 9}"),
];

/// Names of parameters that carry secrets, in turn.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "pass",
    "pw",
    "passphrase",
    "user_password",
    "new_password",
    "token",
    "access_token",
    "refresh_token",
    "id_token",
    "api_key",
    "apikey",
    "key",
    "secret",
    "client_secret",
    "auth",
    "authorization",
    "sid",
    "session",
    "sessionid",
    "jwt",
    "code",
    "otp",
    "pin",
    "cvv",
    "card",
    "iban",
    "ssn",
    "email",
    "phone",
    "name",
    "address",
    "dob",
    "q",
    "message",
    "comment",
    "lat",
    "signature",
];

fn secret(template: &str, random: &mut Random) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (what, after) = after.split_once('}').unwrap();
        let (alphabet, len) = what.split_once(' ').unwrap();
        let alphabet = match alphabet {
            "D" => DIGITS,
            "H" => HEX,
            "U" => UPPER,
            "B" => BASE64,
            _ => LOWER,
        };
        out.push_str(before);
        out.push_str(&random.of(alphabet, len.parse().unwrap()));
        rest = after;
    }
    out + rest
}

fn base64(text: &str) -> String {
    let alphabet: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            out.push(if at > three.len() { '=' } else { alphabet[(bits >> (18 - 6 * at)) as usize & 63] });
        }
    }
    out
}

/// The words in a view that are no mask and none of its own, by which a secret could leave.
fn foreign(view: &str) -> Vec<String> {
    let own = "request answer parameter parameters plain more than agent rule in looks like counted over many lines \
               browser other library scanner attack none claims to be a crawler or monitor served cut one sqli message \
               args user_agent GET OTHER w word longword prose N ID address private loopback metadata host control 1 2 3";
    let own: HashSet<&str> = own.split_whitespace().collect();
    (view.split(|c: char| !c.is_alphanumeric() && c != '_'))
        .filter(|word| !word.is_empty() && !own.contains(word))
        .map(str::to_owned)
        .collect()
}

/// What is left of a view when words of the vocabulary and its own are taken out.
fn remains(view: &str) -> String {
    let mut out = String::new();
    for word in view.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_') {
        out.extend(word.chars().last().filter(|c| !c.is_alphanumeric() && *c != '_'));
    }
    out
}

#[test]
fn no_secret_and_nothing_personal_leaves() {
    let mut random = Random(0x5eed);
    let mut tried = 0;
    assert!(KINDS.len() >= 40);
    for (at, (kind, template)) in KINDS.iter().enumerate() {
        for round in 0..2 {
            let secret = secret(template, &mut random);
            let name = NAMES[(at * 2 + round) % NAMES.len()];
            let mut texts = encodings(&secret);
            texts.extend([secret.clone(), base64(&secret), base64(&secret).replace('+', "%2B").replace('=', "%3D")]);
            for text in texts {
                let mut findings = fields(&text);
                findings.push(finding(&format!("/item?id=1'&{name}={text}&{name}='{text}'"), &[&format!("'{text}")]));
                for finding in findings {
                    tried += 1;
                    let view = View::of(&finding);
                    let asked = prompt::case(&view, "malicious, 2 of 10", &prompt::known_of(None));
                    let asked = asked.strip_prefix(view.as_str()).unwrap();
                    assert_eq!(
                        asked,
                        "\nfirst opinion: malicious, 2 of 10\nmemory: nothing else is known of this client"
                    );
                    // Each word is from a closed list, and that list is public.
                    for word in foreign(view.as_str()) {
                        let words = words();
                        let is_known = words.shown.contains(&*word) || words.functions.contains(&*word);
                        assert!(is_known, "{kind}: {word} of {text:?} in {}", view.as_str());
                    }
                    let (rest, parts): (String, Vec<char>) = (remains(view.as_str()), secret.chars().collect());
                    for part in parts.windows(PART).map(|part| part.iter().collect::<String>()) {
                        let is_drawn = !part.chars().all(|c| matches!(c, '-' | ' ' | '/' | ':'));
                        assert!(
                            !is_drawn || !rest.contains(&part),
                            "{kind}: {part:?} of {text:?} in {}",
                            view.as_str()
                        );
                    }
                }
            }
        }
    }
    assert!(tried >= 10_000, "{tried}");
}

#[test]
fn what_looks_for_secrets_finds_one() {
    assert_eq!(foreign("parameter word = N' hunter_2"), ["hunter_2"]);
    assert_eq!(remains("parameter pass = !$#%"), "  = !$#%");
}
