//! What kind of thing a path is: what people navigate to, what browsers fetch by themselves, where
//! one logs in. By names that are customary; never by what a server answers.

use serde::Deserialize;

use super::record::Traits;

/// A kind of path that windows tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathClass {
    /// What people navigate to: no extension or a page's, outside APIs.
    Page,
    /// What browsers fetch by themselves: styles, scripts, images, fonts, media.
    Asset,
    /// Neither: APIs, WebDAV, downloads.
    Other,
    /// Where one logs in with a form.
    Login,
    /// Where a password or another proof of identity is taken: login forms, sessions, tokens.
    Credentials,
    /// Its last segment looks made up by a machine.
    Random,
}

impl PathClass {
    /// The trait of a line whose path is of this kind.
    pub fn of_line(self) -> Traits {
        match self {
            PathClass::Page => Traits::PAGE,
            PathClass::Asset => Traits::ASSET,
            PathClass::Other => Traits::OTHER,
            PathClass::Login => Traits::LOGIN,
            PathClass::Credentials => Traits::CREDENTIALS,
            PathClass::Random => Traits::RANDOM,
        }
    }
}

/// Bytes of a path that are looked at, from its end.
const LOOKED_AT: usize = 256;
/// Extensions of what browsers fetch by themselves, and of parts of media and maps.
const ASSETS: &[&str] = &[
    "css",
    "js",
    "mjs",
    "map",
    "png",
    "jpg",
    "jpeg",
    "gif",
    "webp",
    "avif",
    "svg",
    "ico",
    "bmp",
    "woff",
    "woff2",
    "ttf",
    "otf",
    "eot",
    "mp4",
    "webm",
    "m4s",
    "ts",
    "m3u8",
    "mpd",
    "mp3",
    "ogg",
    "wasm",
    "pbf",
    "mvt",
    "vtt",
    "webmanifest",
];
/// Extensions of pages.
const PAGES: &[&str] =
    &["html", "htm", "xhtml", "shtml", "php", "asp", "aspx", "jsp", "jspx", "do", "action", "cgi", "cfm", "pl"];
/// Segments below which programs talk to programs.
const PROGRAMS: &[&str] = &[
    "api",
    "rest",
    "graphql",
    "rpc",
    "jsonrpc",
    "remote.php",
    "dav",
    "webdav",
    "caldav",
    "carddav",
    "ocs",
    "wp-json",
    "xmlrpc.php",
    "admin-ajax.php",
    "wp-cron.php",
    "socket.io",
    "_matrix",
    "v1",
    "v2",
    "v3",
    "v4",
    "soap",
];
/// Segments, without a page's extension, where something besides a login form takes a proof.
const PROOFS: &[&str] = &[
    "session",
    "sessions",
    "token",
    "tokens",
    "auth",
    "authenticate",
    "authentication",
    "otp",
    "2fa",
    "mfa",
    "password",
    "xmlrpc",
    "j_security_check",
    "j_acegi_security_check",
    "sso",
    "saml",
    "unlock",
];

/// The traits of a path, which is as the log shows it.
pub fn traits(path: &[u8]) -> Traits {
    let path = &path[path.len().saturating_sub(LOOKED_AT)..];
    let mut found = Traits::default();
    let mut last: &[u8] = b"";
    let mut programs = false;
    for segment in path.split(|&byte| byte == b'/').filter(|segment| !segment.is_empty()) {
        let (stem, extension) = split_extension(segment);
        programs |= is_one_of(segment, PROGRAMS);
        if names_login(segment) {
            found = found.with(Traits::LOGIN).with(Traits::CREDENTIALS);
        }
        if is_one_of(if is_one_of(extension, PAGES) { stem } else { segment }, PROOFS) {
            found = found.with(Traits::CREDENTIALS);
        }
        last = segment;
    }
    let (stem, extension) = split_extension(last);
    if is_one_of(extension, ASSETS) {
        return Traits::ASSET;
    }
    let is_page = !programs && (extension.is_empty() || is_one_of(extension, PAGES));
    if is_page && is_random(stem) {
        found = found.with(Traits::RANDOM);
    }
    found.with(if is_page { Traits::PAGE } else { Traits::OTHER })
}

/// A segment's name and its extension, if it has one that is short enough to be one.
fn split_extension(segment: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memrchr(b'.', segment) {
        Some(at) if at > 0 && (2..=11).contains(&(segment.len() - at - 1)) => (&segment[..at], &segment[at + 1..]),
        _ => (segment, b""),
    }
}

/// Whether a name is one of some, in any case. Few names begin as one of them does.
fn is_one_of(name: &[u8], known: &[&str]) -> bool {
    let Some(first) = name.first() else { return false };
    known.iter().any(|known| {
        known.as_bytes().first().is_some_and(|begins| begins.eq_ignore_ascii_case(first))
            && name.eq_ignore_ascii_case(known.as_bytes())
    })
}

/// Whether `login`, `signin` and the like begin a word in the segment: `/wp-login.php`, `/userLogin`,
/// and not `/blogindex`.
fn names_login(segment: &[u8]) -> bool {
    const NAMES: &[&[u8]] = &[b"login", b"signin", b"sign-in", b"sign_in", b"log-in", b"log_in", b"logon"];
    let begins = |byte: u8| byte | 0x20 == b'l' || byte | 0x20 == b's';
    (0..segment.len()).filter(|&at| begins(segment[at])).any(|at| {
        let begins_word = at == 0
            || !segment[at - 1].is_ascii_alphabetic()
            || segment[at].is_ascii_uppercase() && segment[at - 1].is_ascii_lowercase();
        begins_word
            && NAMES
                .iter()
                .any(|name| segment.get(at..at + name.len()).is_some_and(|text| text.eq_ignore_ascii_case(name)))
    })
}

/// Whether a name looks made up by a machine: nothing but letters and digits, and either changing
/// between capitals, small letters and digits at every third place, or with consonants in a row as no
/// language has them.
fn is_random(name: &[u8]) -> bool {
    const LEAST: usize = 8;
    const CONSONANTS: usize = 6;
    if name.len() < LEAST || !name.iter().all(u8::is_ascii_alphanumeric) {
        return false;
    }
    let kind = |byte: &u8| (byte.is_ascii_digit(), byte.is_ascii_uppercase());
    let changes = name.windows(2).filter(|pair| kind(&pair[0]) != kind(&pair[1])).count();
    let is_consonant = |byte: &u8| byte.is_ascii_alphabetic() && !b"aeiouy".contains(&byte.to_ascii_lowercase());
    let consonants = name.split(|byte| !is_consonant(byte)).map(<[u8]>::len).max().unwrap_or(0);
    changes * 3 >= name.len() || consonants >= CONSONANTS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_told_apart_by_customary_names() {
        use PathClass::*;
        for (path, classes) in [
            ("/", &[Page][..]),
            ("/docs/sql-select.html", &[Page]),
            ("/index.php", &[Page]),
            ("/assets/app.00000017.js", &[Asset]),
            ("/login.css", &[Asset]),
            ("/backup.zip", &[Other]),
            ("/.env", &[Page]),
            ("/remote.php/dav/files/alice/a", &[Other]),
            ("/API/v1/users/7", &[Other]),
            ("/wp-login.php", &[Page, Login, Credentials]),
            ("/userLogin", &[Page, Login, Credentials]),
            ("/users/sign_in", &[Page, Login, Credentials]),
            ("/api/login", &[Other, Login, Credentials]),
            ("/blogindex", &[Page]),
            ("/xmlrpc.php", &[Other, Credentials]),
            ("/oauth/token", &[Page, Credentials]),
            ("/session", &[Page, Credentials]),
            ("/authors", &[Page]),
            ("/aB3xK9fQ2z", &[Page, Random]),
            ("/qzxvkjwh", &[Page, Random]),
            ("/strengthening", &[Page]),
            ("/product20", &[Page]),
            ("/3f2504e0-4f89-11d3-9a0c-0305e82c3301", &[Page]),
        ] {
            let expected = classes.iter().fold(Traits::default(), |all, class| all.with(class.of_line()));
            assert_eq!(traits(path.as_bytes()), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_of_one_kind(path: Vec<u8>) {
            let found = traits(&path);
            let kinds = [Traits::PAGE, Traits::ASSET, Traits::OTHER];
            prop_assert_eq!(kinds.into_iter().filter(|&kind| found.has(kind)).count(), 1);
        }
    }
}
