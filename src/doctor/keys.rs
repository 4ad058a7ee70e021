use super::{Ailment, Level, ailment};
use crate::event::Secret;

/// A key or password that the configuration names.
#[derive(Debug)]
pub struct Key {
    /// Its name in the configuration.
    pub name: String,
    /// What it is, or why it cannot be had.
    pub text: Result<Secret, String>,
    pub shape: Shape,
    /// Where it is read from, if from a file of its own.
    pub file: Option<KeyFile>,
}

#[derive(Clone, Debug)]
pub struct KeyFile {
    pub path: String,
    pub mode: u32,
}

/// What such a key looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Any,
    /// It begins so.
    Prefix(&'static str),
    /// So many hexadecimal digits.
    Hex(usize),
    /// 8-4-4-4-12 hexadecimal digits.
    Uuid,
    /// Azure's secrets have an id of that form, which is often taken for the secret.
    NoUuid,
    /// A URL with a password in it.
    Url,
}

/// What stands in examples, in lower case. `[your-password]` is Supabase's.
const PLACEHOLDERS: [&str; 9] =
    ["your", "changeme", "change-me", "placeholder", "replace", "xxxx", "example", "insert", "todo"];
const URL_PLACEHOLDERS: [&str; 5] = ["[your", "%5byour", "<password", "changeme", "your-password"];
/// Shorter is none.
const LEAST_CHARS: usize = 8;
/// Where container engines and service managers put secrets, which nobody else can look into.
const OWN_PLACES: [&str; 2] = ["/run/secrets/", "/run/credentials/"];

/// Whether keys can be what they should be. What they are is not repeated.
pub fn keys(keys: &[Key]) -> Vec<Ailment> {
    keys.iter().flat_map(|key| readable_by_all(key).into_iter().chain(wrong(key))).collect()
}

fn readable_by_all(key: &Key) -> Option<Ailment> {
    let KeyFile { path, mode } = key.file.as_ref()?;
    if mode & 0o004 == 0 || OWN_PLACES.iter().any(|place| path.starts_with(place)) {
        return None;
    }
    let problem = format!("{path} may be read by everybody on this host (mode {mode:03o})");
    let advice = format!("chown root:palisade {path} && chmod 640 {path}");
    Some(ailment(Level::Warning, "key_readable_by_all", &key.name, problem, advice))
}

fn wrong(key: &Key) -> Option<Ailment> {
    let text = match &key.text {
        Ok(text) => text.reveal(),
        Err(why) => {
            let advice = "let palisade's user read it, or name another file";
            return Some(ailment(Level::Error, "key_unreadable", &key.name, why, advice));
        }
    };
    let lower = text.to_lowercase();
    let is_hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    let parts: Vec<&str> = text.split('-').collect();
    let is_uuid = parts.len() == 5 && parts.iter().zip([8, 4, 4, 4, 12]).all(|(part, length)| is_hex(part, length));
    let placeholders: &[&str] = if key.shape == Shape::Url { &URL_PLACEHOLDERS } else { &PLACEHOLDERS };
    let problem = if placeholders.iter().any(|word| lower.contains(word)) || lower.starts_with('<') {
        "is the text of an example, not a key".to_owned()
    } else if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "has white space in it".to_owned()
    } else if text.starts_with(['"', '\'']) {
        "begins with a quote, which no key does".to_owned()
    } else {
        match key.shape {
            Shape::Prefix(prefix) if !text.starts_with(prefix) => format!("does not begin with \"{prefix}\""),
            Shape::Hex(length) if !is_hex(text, length) => {
                format!("is not {length} hexadecimal digits, but {} characters", text.chars().count())
            }
            Shape::Uuid if !is_uuid => "is not of the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx".to_owned(),
            Shape::NoUuid if is_uuid => "is a secret's id; its value was shown once, when it was made".to_owned(),
            Shape::Any | Shape::Prefix(_) | Shape::NoUuid if text.chars().count() < LEAST_CHARS => {
                "is too short to be a key".to_owned()
            }
            _ => return None,
        }
    };
    let advice = "copy it anew from the service's own page; a wrong key is no key, and some services lock one out";
    Some(ailment(Level::Error, "key_looks_wrong", &key.name, problem, advice))
}

#[cfg(test)]
mod tests {
    use super::super::told;
    use super::*;

    fn key(text: &str, shape: Shape) -> Key {
        Key { name: "tier[0].api_key".into(), text: Ok(text.to_owned().into()), shape, file: None }
    }

    #[test]
    fn keys_that_cannot_be_right_are_told_and_never_repeated() {
        let hex = "0123456789abcdef".repeat(5);
        let uuid = "00112233-4455-6677-8899-aabbccddeeff";
        for (text, shape) in [
            ("gsk_0123456789abcdef", Shape::Prefix("gsk_")),
            (&hex, Shape::Hex(80)),
            (uuid, Shape::Uuid),
            ("abc8Q~0123456789", Shape::NoUuid),
            ("redis://:s3cret@redis.example.com:6379", Shape::Url),
            ("whatever-it-is", Shape::Any),
        ] {
            assert_eq!(keys(&[key(text, shape)]), [], "{text}");
        }
        for (text, shape, said) in [
            ("your-api-key", Shape::Any, "an example"),
            ("sk-xxxxxxxxxxxxxxxx", Shape::Prefix("sk-"), "an example"),
            ("<key-of-mine>", Shape::Any, "an example"),
            ("postgres://u:[YOUR-PASSWORD]@h/d", Shape::Url, "an example"),
            ("gsk_0123 456789", Shape::Prefix("gsk_"), "white space"),
            ("\"gsk_0123456789\"", Shape::Prefix("gsk_"), "quote"),
            ("sk-0123456789", Shape::Prefix("gsk_"), "begin with \"gsk_\""),
            (&hex[..64], Shape::Hex(80), "64 characters"),
            ("subscription", Shape::Uuid, "form"),
            (uuid, Shape::NoUuid, "secret's id"),
            ("abc", Shape::Any, "too short"),
        ] {
            let found = keys(&[key(text, shape)]);
            assert_eq!(told(&found), [(Level::Error, "key_looks_wrong")], "{text}");
            assert!(found[0].problem.contains(said), "{text}: {found:?}");
            let shown = format!("{found:?}{:?}", key(text, shape));
            assert!(!shown.contains(text), "{shown}");
        }
    }

    #[test]
    fn a_file_that_everybody_may_read_or_nobody_can_is_told() {
        let of = |path: &str, mode| {
            let file = Some(KeyFile { path: path.into(), mode });
            keys(&[Key { file, ..key("whatever-it-is", Shape::Any) }])
        };
        assert_eq!(told(&of("/etc/palisade/k", 0o644)), [(Level::Warning, "key_readable_by_all")]);
        assert_eq!(of("/etc/palisade/k", 0o640), []);
        assert_eq!(of("/run/secrets/k", 0o444), []);
        let gone = Key { text: Err("/k cannot be read: gone".into()), ..key("", Shape::Any) };
        assert_eq!(told(&keys(&[gone])), [(Level::Error, "key_unreadable")]);
    }
}
