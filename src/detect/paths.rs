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
    const ALL: [PathClass; 6] = [
        PathClass::Page,
        PathClass::Asset,
        PathClass::Other,
        PathClass::Login,
        PathClass::Credentials,
        PathClass::Random,
    ];

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

/// The kinds that a path is of, for people.
pub fn path_classes(path: &[u8]) -> impl Iterator<Item = PathClass> {
    let traits = traits(path);
    PathClass::ALL.into_iter().filter(move |class| traits.has(class.of_line()))
}

/// Bytes of a path that are looked at, from its end.
const LOOKED_AT: usize = 256;
/// Extensions of what browsers fetch by themselves, and of parts of media and maps.
fn is_asset(name: &[u8]) -> bool {
    is_in(name, |name| {
        matches!(
            name,
            b"css"
                | b"js"
                | b"mjs"
                | b"map"
                | b"png"
                | b"jpg"
                | b"jpeg"
                | b"gif"
                | b"webp"
                | b"avif"
                | b"svg"
                | b"ico"
                | b"bmp"
                | b"woff"
                | b"woff2"
                | b"ttf"
                | b"otf"
                | b"eot"
                | b"mp4"
                | b"webm"
                | b"m4s"
                | b"ts"
                | b"m3u8"
                | b"mpd"
                | b"mp3"
                | b"ogg"
                | b"wasm"
                | b"pbf"
                | b"mvt"
                | b"vtt"
                | b"webmanifest"
        )
    })
}

/// Extensions of pages.
fn is_page(name: &[u8]) -> bool {
    is_in(name, |name| {
        matches!(
            name,
            b"html"
                | b"htm"
                | b"xhtml"
                | b"shtml"
                | b"php"
                | b"asp"
                | b"aspx"
                | b"jsp"
                | b"jspx"
                | b"do"
                | b"action"
                | b"cgi"
                | b"cfm"
                | b"pl"
        )
    })
}

/// Segments below which programs talk to programs.
fn is_for_programs(name: &[u8]) -> bool {
    is_in(name, |name| {
        matches!(
            name,
            b"api"
                | b"rest"
                | b"graphql"
                | b"rpc"
                | b"jsonrpc"
                | b"remote.php"
                | b"dav"
                | b"webdav"
                | b"caldav"
                | b"carddav"
                | b"ocs"
                | b"wp-json"
                | b"xmlrpc.php"
                | b"admin-ajax.php"
                | b"wp-cron.php"
                | b"socket.io"
                | b"_matrix"
                | b"v1"
                | b"v2"
                | b"v3"
                | b"v4"
                | b"soap"
        )
    })
}

/// Segments, without a page's extension, where something besides a login form takes a proof.
fn takes_proof(name: &[u8]) -> bool {
    is_in(name, |name| {
        matches!(
            name,
            b"session"
                | b"sessions"
                | b"token"
                | b"tokens"
                | b"auth"
                | b"authenticate"
                | b"authentication"
                | b"otp"
                | b"2fa"
                | b"mfa"
                | b"password"
                | b"xmlrpc"
                | b"j_security_check"
                | b"j_acegi_security_check"
                | b"sso"
                | b"saml"
                | b"unlock"
        )
    })
}

/// The traits of a path, which is as the log shows it.
pub fn traits(path: &[u8]) -> Traits {
    let path = &path[path.len().saturating_sub(LOOKED_AT)..];
    let segments = || path.split(|&byte| byte == b'/').filter(|segment| !segment.is_empty());
    let (stem, extension) = split_extension(segments().next_back().unwrap_or_default());
    // Of assets, which are many, nothing else matters.
    if is_asset(extension) {
        return Traits::ASSET;
    }
    let mut found = Traits::default();
    let mut programs = false;
    for segment in segments() {
        let (stem, extension) = split_extension(segment);
        programs |= is_for_programs(segment);
        if names_login(segment) {
            found = found.with(Traits::LOGIN).with(Traits::CREDENTIALS);
        }
        if takes_proof(if is_page(extension) { stem } else { segment }) {
            found = found.with(Traits::CREDENTIALS);
        }
    }
    let for_people = !programs && (extension.is_empty() || is_page(extension));
    if for_people && is_random(stem) {
        found = found.with(Traits::RANDOM);
    }
    found.with(if for_people { Traits::PAGE } else { Traits::OTHER })
}

/// A segment's name and its extension, if it has one that is short enough to be one.
fn split_extension(segment: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memrchr(b'.', segment) {
        Some(at) if at > 0 && (2..=11).contains(&(segment.len() - at - 1)) => (&segment[..at], &segment[at + 1..]),
        _ => (segment, b""),
    }
}

/// Whether a name is one of some, in any case; those have at most as many bytes as there is room for here.
fn is_in(name: &[u8], some: impl Fn(&[u8]) -> bool) -> bool {
    let mut lower = [0; 24];
    let Some(lower) = lower.get_mut(..name.len()) else { return false };
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    some(lower)
}

/// Whether `login`, `signin` and the like begin a word in the segment: `/wp-login.php`, `/userLogin`,
/// and not `/blogindex`.
fn names_login(segment: &[u8]) -> bool {
    const NAMES: &[&[u8]] = &[b"login", b"signin", b"sign-in", b"sign_in", b"log-in", b"log_in", b"logon"];
    let begins = |pair: &[u8]| matches!([pair[0] | 0x20, pair[1] | 0x20], [b'l', b'o'] | [b's', b'i']);
    let mut places = segment.windows(2).enumerate().filter(|(_, pair)| begins(pair)).map(|(at, _)| at);
    places.any(|at| {
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
