use std::path::Path;

use serde_json::Value;

use super::compose::{effective, lines};
use super::{Loaded, Origin, check, schema, tree};

/// The configuration in effect as TOML, which reads back as the same one. Each value says where
/// it comes from: `# default`, `# profile small`, `# from FILE:LINE` or `# from PALISADE__…`.
pub fn show(loaded: &Loaded) -> String {
    let text = match effective(&loaded.config) {
        Ok(text) => text,
        Err(error) => return format!("# cannot be shown as TOML: {error}\n"),
    };
    let keys = lines(&text);
    let mut out = String::with_capacity(text.len() * 2);
    let mut next = keys.iter().peekable();
    for (index, line) in text.lines().enumerate() {
        out.push_str(line);
        if let Some((key, _)) = next.next_if(|(_, at)| *at == index + 1) {
            // A comment would end up inside a string of several lines.
            if !line.ends_with("\"\"\"") && !line.ends_with("'''") {
                out.push_str(&format!("  # {}", origin(loaded, key)));
            }
        }
        out.push('\n');
    }
    let unset = check::keys(&schema()).into_iter().filter(|key| !key.contains("[]"));
    let unset: Vec<String> = unset.filter(|key| !keys.iter().any(|(other, _)| other == key)).collect();
    if !unset.is_empty() {
        out.push_str(&format!("\n# not set: {}\n", unset.join(", ")));
    }
    out
}

/// The same as rows: each key that is set, its value without secrets, and where it comes from.
pub fn rows(loaded: &Loaded) -> Vec<(String, Value, String)> {
    let text = effective(&loaded.config).unwrap_or_default();
    let (tree, _) = tree::parse(Path::new(""), text.as_bytes());
    let mut leaves: Vec<_> = tree.leaves().into_iter().collect();
    leaves.sort_by_key(|(_, node)| node.origin.line());
    let row = |(key, node): (String, &tree::Node)| {
        let origin = origin(loaded, &key);
        (key, node.clone().into_json(), origin)
    };
    leaves.into_iter().map(row).collect()
}

fn origin(loaded: &Loaded, key: &str) -> String {
    let of_key = |(other, _): &&(String, Origin)| other == key;
    if let Some((_, origin @ Origin::Profile(_))) = loaded.origins.iter().find(of_key) {
        return origin.to_string();
    }
    let origins = loaded.origins.iter().filter(|(other, origin)| other == key && *origin != Origin::Default);
    let origins: Vec<String> = origins.map(|(_, origin)| origin.to_string()).collect();
    if origins.is_empty() { "default".to_owned() } else { format!("from {}", origins.join(", ")) }
}
