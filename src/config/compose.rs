//! Files, environment and user → configuration. Pure: everything has been read already.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value as Json;

use super::mistake::{Mistake, Mistakes, Origin};
use super::profile::Profile;
use super::renamed::{Renamed, accept};
use super::tree::{self, Node, Value, join};
use super::{Config, Known, Loaded, check, relations, schema, services};

/// The lists that every file and variable adds to, because a fragment that forgets whom another
/// one protects must not lift that protection.
const ADD_UP: &[&str] = &["client.allow", "client.allow_files", "client.allow_names"];

/// What a variable that sets a key begins with.
const PREFIX: &str = "PALISADE__";

/// Everything that the outcome depends on.
#[derive(Default)]
pub(super) struct Input<'a> {
    /// The files in the order in which they apply, and their bytes.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// What could not be read.
    pub mistakes: Vec<Mistake>,
    /// Directory of rules that exists beside the main file.
    pub rules_dir: Option<PathBuf>,
    /// Variables that may set keys.
    pub settings: &'a [(OsString, OsString)],
    /// Variables that say where this user's files belong.
    pub surroundings: &'a [(OsString, OsString)],
    pub uid: u32,
    /// Keys that are set over everything, and their values.
    pub set: &'a [(String, String)],
    /// Old names that are accepted.
    pub renamed: &'a [Renamed],
}

pub(super) fn compose(input: Input<'_>, known: &Known<'_>) -> Result<Loaded, Mistakes> {
    match understand(input, known) {
        (Some(loaded), mistakes) if mistakes.is_empty() => Ok(loaded),
        (_, mistakes) => Err(Mistakes(mistakes)),
    }
}

/// What is left when everything wrong is taken out, and what that is.
pub(super) fn understand(input: Input<'_>, known: &Known<'_>) -> (Option<Loaded>, Vec<Mistake>) {
    let schema = schema();
    let (mut mistakes, mut warnings) = (input.mistakes, vec![]);
    let mut set = Node::table(Origin::Default);
    for (path, bytes) in &input.files {
        let (mut node, errors) = tree::parse(path, bytes);
        let mut wrong = vec![];
        accept(&mut node, input.renamed, &mut warnings, &mut wrong);
        check::check(&mut node, &schema, &mut wrong);
        mistakes.extend(believable(wrong, &errors, bytes));
        mistakes.extend(errors);
        set.merge(node, "", ADD_UP);
    }
    let mut variables: Vec<_> =
        input.settings.iter().filter_map(|(name, value)| Some((setting(name)?, value))).collect();
    variables.sort();
    for (name, value) in variables {
        match variable(&name, value, &schema) {
            Ok(mut node) => {
                accept(&mut node, input.renamed, &mut warnings, &mut mistakes);
                check::check(&mut node, &schema, &mut mistakes);
                set.merge(node, "", ADD_UP);
            }
            Err(mistake) => mistakes.push(mistake),
        }
    }
    for (key, value) in input.set {
        let path = key.splitn(8, '.').map(str::to_owned).collect();
        let mut node = stands_for(path, value, Origin::Set, &schema);
        accept(&mut node, input.renamed, &mut warnings, &mut mistakes);
        check::check(&mut node, &schema, &mut mistakes);
        set.merge(node, "", ADD_UP);
    }

    // What is no profile was a mistake, and is taken out.
    let profile = set.entry("profile").and_then(|node| Profile::deserialize(node.clone().into_json()).ok());
    let mut all = profile.unwrap_or_default().defaults();
    all.merge(set, "", ADD_UP);
    let set = all;

    let files: Vec<PathBuf> = input.files.into_iter().map(|(path, _)| path).collect();
    let loaded = Config::deserialize(set.clone().into_json()).map_err(anyhow::Error::from).and_then(|mut config| {
        settle(&mut config, &set, input.rules_dir, input.surroundings, input.uid);
        Ok(Loaded { origins: origins(&config, &set)?, config, files: files.clone(), warnings })
    });
    let loaded = match loaded {
        Ok(loaded) => {
            relations::check(&loaded.config, &loaded.origins, known, &mut mistakes);
            Some(loaded)
        }
        // Such as a path that is not UTF-8; whatever can be told with its place was told above.
        Err(error) => {
            let message = format!("cannot be used: {error}");
            mistakes.push(Mistake { origin: Origin::Default, key: String::new(), message });
            None
        }
    };
    sort(&mut mistakes, &files);
    (loaded, mistakes)
}

/// Brings mistakes into the order in which files and variables apply.
fn sort(mistakes: &mut [Mistake], files: &[PathBuf]) {
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    mistakes.sort_by_cached_key(|mistake| match &mistake.origin {
        Origin::File { path, line, column } => {
            (files.iter().position(|file| file == path).unwrap_or_default(), *line, *column)
        }
        _ => (files.len(), 0, 0),
    });
}

/// The settled configuration as TOML, the tables in the order of its fields.
pub(super) fn effective(config: &Config) -> Result<String, toml::ser::Error> {
    toml::to_string(config)
}

/// Those of `wrong` that the syntax `errors` of the same file leave standing. After an error the
/// parser goes on as well as it can: what it makes of the same line is a guess, and below a
/// broken `[table]` header nobody knows which table the keys belong to.
fn believable(mut wrong: Vec<Mistake>, errors: &[Mistake], bytes: &[u8]) -> Vec<Mistake> {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let is_header = |line: &usize| {
        let text = line.checked_sub(1).and_then(|index| lines.get(index));
        text.is_some_and(|text| text.trim_ascii_start().starts_with(b"["))
    };
    let broken: BTreeSet<usize> = errors.iter().map(|error| error.origin.line()).collect();
    let end = broken.iter().copied().find(is_header).unwrap_or(usize::MAX);
    wrong.retain(|mistake| mistake.origin.line() < end && !broken.contains(&mistake.origin.line()));
    wrong
}

/// The name of a variable that sets a key.
fn setting(name: &OsStr) -> Option<String> {
    Some(name.to_string_lossy().into_owned()).filter(|name| name.starts_with(PREFIX))
}

/// The tree that a variable such as `PALISADE__THRESHOLDS__BLOCK` stands for.
fn variable(name: &str, value: &OsStr, schema: &Json) -> Result<Node, Mistake> {
    let path = name.strip_prefix(PREFIX).unwrap_or_default();
    // No key lies deeper; a tree does not get deep either.
    let path: Vec<String> = path.splitn(8, "__").map(str::to_ascii_lowercase).collect();
    let origin = Origin::Environment(name.to_owned());
    let Some(text) = value.to_str() else {
        let key = path.iter().fold(String::new(), |key, name| join(&key, name));
        return Err(Mistake { origin, key, message: "not UTF-8 text".to_owned() });
    };
    Ok(stands_for(path, text, origin, schema))
}

/// The tree with one value, `text` as TOML or plain, at this path.
fn stands_for(path: Vec<String>, text: &str, origin: Origin, schema: &Json) -> Node {
    let plain = || Node { origin: origin.clone(), value: Value::Scalar(text.into()) };
    let is_text = |node: &Node| matches!(&node.value, Value::Scalar(Json::String(_)));
    // `PALISADE__SOCKET=1` names a file, not a number.
    let parsed = tree::parse_value(text, &origin).filter(|node| is_text(node) || !check::wants_text(schema, &path));
    path.into_iter().rev().fold(parsed.unwrap_or_else(plain), |node, name| Node {
        origin: origin.clone(),
        value: Value::Table([(name, node)].into()),
    })
}

/// Fills in what depends on the machine, where nobody set it.
fn settle(
    config: &mut Config,
    set: &Node,
    rules_dir: Option<PathBuf>,
    surroundings: &[(OsString, OsString)],
    uid: u32,
) {
    // The XDG base directory specification has relative paths ignored.
    let directory = |name: &str| {
        let (_, value) = surroundings.iter().find(|(variable, _)| variable == name)?;
        Some(Path::new(value)).filter(|path| path.is_absolute())
    };
    if let Some(Node { value: Value::List(items), .. }) = set.entry("exclusion") {
        for (exclusion, item) in config.exclusion.iter_mut().zip(items) {
            exclusion.place = item.origin.place();
        }
    }
    services::settle(config, surroundings);
    let thresholds = set.entry("thresholds");
    let is_set = |key: &str| thresholds.and_then(|thresholds| thresholds.entry(key)).is_some();
    let (flag, block) = config.thresholds.sensitivity.flag_and_block();
    if !is_set("flag") {
        config.thresholds.flag = flag;
    }
    if !is_set("block") {
        config.thresholds.block = block;
    }
    if config.detect.rules_dir.is_none() {
        config.detect.rules_dir = rules_dir;
    }
    if uid == 0 {
        return;
    }
    if set.entry("state_dir").is_none() {
        let state = directory("XDG_STATE_HOME").map(Path::to_owned);
        if let Some(state) = state.or_else(|| Some(directory("HOME")?.join(".local/state"))) {
            config.state_dir = state.join("palisade");
        }
    }
    if set.entry("socket").is_none() {
        config.socket = directory("XDG_RUNTIME_DIR").unwrap_or(&config.state_dir).join("palisade.sock");
    }
}

/// The origin of each value of `config`, of which `set` was written by somebody.
fn origins(config: &Config, set: &Node) -> Result<Vec<(String, Origin)>, toml::ser::Error> {
    let set = set.leaves();
    let mut origins = vec![];
    for (key, _) in lines(&effective(config)?) {
        match set.get(&key) {
            Some(Node { value: Value::List(items), .. }) if ADD_UP.contains(&&*key) && !items.is_empty() => {
                let mut each: Vec<Origin> = items.iter().map(|item| item.origin.clone()).collect();
                each.dedup_by_key(|origin| origin.to_string());
                origins.extend(each.into_iter().map(|origin| (key.clone(), origin)));
            }
            Some(node) => origins.push((key, node.origin.clone())),
            None => origins.push((key, Origin::Default)),
        }
    }
    Ok(origins)
}

/// Each key path of a TOML text and its line, from the first to the last.
pub(super) fn lines(text: &str) -> Vec<(String, usize)> {
    let (tree, _) = tree::parse(Path::new(""), text.as_bytes());
    let mut lines: Vec<_> = tree.leaves().into_iter().map(|(key, node)| (key, node.origin.line())).collect();
    lines.sort_by_key(|(_, line)| *line);
    lines
}
