//! A path without the words of who asked for it: what it is like, not what it says.

/// Segments that are looked at; what comes after them is one sign.
const DEPTH: usize = 6;
/// Stands for all segments beyond [`DEPTH`].
const DEEPER: &str = "**";
/// What stands for a segment. Each stands for itself too, so that a skeleton's skeleton is itself.
const CLASSES: [&str; 6] = ["{number}", "{id}", "{word}", "{name}", "{odd}", DEEPER];

/// Names that so many sites have, or so many attackers ask for, that they tell nothing else. Sorted.
const CUSTOMARY: &[&str] = &[
    ".",
    "..",
    ".aws",
    ".env",
    ".git",
    ".htaccess",
    ".htpasswd",
    ".ssh",
    ".svn",
    ".well-known",
    "_ignition",
    "account",
    "actuator",
    "admin",
    "administrator",
    "ajax",
    "api",
    "assets",
    "auth",
    "backup",
    "blog",
    "cart",
    "cgi-bin",
    "checkout",
    "config",
    "console",
    "containers",
    "css",
    "docs",
    "download",
    "favicon.ico",
    "files",
    "graphql",
    "images",
    "img",
    "includes",
    "index.html",
    "index.php",
    "js",
    "login",
    "logout",
    "manager",
    "media",
    "phpinfo.php",
    "phpmyadmin",
    "plugins",
    "products",
    "public",
    "register",
    "robots.txt",
    "search",
    "server-status",
    "setup",
    "shop",
    "sitemap.xml",
    "static",
    "themes",
    "upload",
    "uploads",
    "user",
    "users",
    "v1",
    "v2",
    "v3",
    "vendor",
    "wordpress",
    "wp-admin",
    "wp-content",
    "wp-includes",
    "wp-json",
    "wp-login.php",
    "xmlrpc.php",
];

/// Extensions that say what is asked for. Sorted.
const EXTENSIONS: &[&str] = &[
    "action", "asp", "aspx", "bak", "cfg", "cgi", "conf", "css", "csv", "db", "do", "env", "gif", "gz", "htm", "html",
    "ico", "inc", "ini", "jpg", "js", "json", "jsp", "key", "log", "map", "mdb", "old", "pdf", "pem", "php", "pl",
    "png", "py", "rar", "sh", "sql", "svg", "swp", "tar", "tgz", "txt", "war", "webp", "xml", "yaml", "yml", "zip",
];

/// The skeleton of a URI's path: customary names and extensions stay, every other segment is one of
/// a few classes. Nothing in it was chosen by the client but the order of such words.
pub(super) fn skeleton(uri: &str) -> String {
    let path = uri.split(['?', '#']).next().unwrap_or("");
    let Some(path) = path.strip_prefix('/') else { return "{odd}".into() };
    let mut out = String::new();
    for (index, segment) in path.split('/').enumerate() {
        out.push('/');
        if index == DEPTH {
            out.push_str(DEEPER);
            break;
        }
        push_class(segment, &mut out);
    }
    out
}

/// Whether `path` is what [`skeleton`] gives.
pub(super) fn is_skeleton(path: &str) -> bool {
    path == "{odd}" || skeleton(path) == path
}

fn push_class(segment: &str, out: &mut String) {
    // Longer than any customary name; nothing is copied that may be megabytes.
    if segment.len() <= 32 {
        let lower = segment.to_ascii_lowercase();
        if CUSTOMARY.binary_search(&lower.as_str()).is_ok() {
            return out.push_str(&lower);
        }
        if let Some((stem, extension)) = lower.rsplit_once('.')
            && !stem.is_empty()
            && EXTENSIONS.binary_search(&extension).is_ok()
        {
            out.push_str(class(stem));
            out.push('.');
            return out.push_str(extension);
        }
    }
    out.push_str(class(segment));
}

fn class(segment: &str) -> &'static str {
    if segment.is_empty() {
        return "";
    }
    if let Some(class) = CLASSES.iter().find(|class| **class == segment) {
        return class;
    }
    let all = |fits: fn(&u8) -> bool| segment.bytes().all(|byte| fits(&byte));
    if all(u8::is_ascii_digit) {
        "{number}"
    } else if all(|byte| byte.is_ascii_alphabetic() || b"-_".contains(byte)) {
        "{word}"
    } else if segment.len() >= 8 && all(|byte| byte.is_ascii_hexdigit() || *byte == b'-') {
        "{id}"
    } else if all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte)) {
        "{name}"
    } else {
        "{odd}"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_skeleton_shows_what_a_path_is_like() {
        for (uri, expected) in [
            ("/", "/"),
            ("/products/17?id=1%27", "/products/{number}"),
            ("/WP-Login.php", "/wp-login.php"),
            ("/shop/item.php/", "/shop/{word}.php/"),
            ("/u/3f2b8c1d-77aa/x9.tar#top", "/{word}/{id}/{name}.tar"),
            ("/a%00b/ignore-all-previous-instructions", "/{odd}/{word}"),
            ("/../../.env", "/../../.env"),
            ("/1/2/3/4/5/6/7/8", "/{number}/{number}/{number}/{number}/{number}/{number}/**"),
            ("http://example.com/", "{odd}"),
            ("", "{odd}"),
            ("/.php/{word}", "/{name}/{word}"),
        ] {
            assert_eq!(skeleton(uri), expected, "{uri}");
        }
    }

    #[test]
    fn the_lists_are_sorted() {
        assert!(CUSTOMARY.is_sorted() && EXTENSIONS.is_sorted());
        assert!(CUSTOMARY.iter().all(|name| name.len() <= 32));
    }

    proptest! {
        #[test]
        fn a_skeleton_is_short_and_its_own_skeleton(uri in "/?([a-zA-Z0-9.%{}*_-]{0,9}/){0,9}\\PC{0,40}") {
            let once = skeleton(&uri);
            prop_assert!(once.len() <= 200, "{once}");
            prop_assert!(is_skeleton(&once), "{once} of {uri}");
        }
    }
}
