use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde_json::Value as Json;
use toml::de::{DeInteger, DeTable, DeValue};

use super::mistake::{Mistake, Origin};

/// A value of a file or variable that still knows where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub origin: Origin,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A string, a boolean or a number.
    Scalar(Json),
    /// What TOML knows and no key takes, in words.
    Foreign(&'static str),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl Node {
    pub fn table(origin: Origin) -> Node {
        Node { origin, value: Value::Table(BTreeMap::new()) }
    }

    /// The value under `name`, if this is a table that has one.
    pub fn entry(&self, name: &str) -> Option<&Node> {
        match &self.value {
            Value::Table(entries) => entries.get(name),
            _ => None,
        }
    }

    /// The value at a key path through tables.
    pub fn at(&self, path: &str) -> Option<&Node> {
        path.split('.').try_fold(self, |node, name| node.entry(name))
    }

    /// Takes the value at a key path out.
    pub fn take(&mut self, path: &str) -> Option<Node> {
        let Value::Table(entries) = &mut self.value else { return None };
        match path.split_once('.') {
            None => entries.remove(path),
            Some((table, rest)) => entries.get_mut(table)?.take(rest),
        }
    }

    /// Puts `value` at a key path, with the tables on the way to it.
    pub fn put(&mut self, path: &str, value: Node) {
        let Value::Table(entries) = &mut self.value else { return };
        match path.split_once('.') {
            None => {
                entries.insert(path.to_owned(), value);
            }
            Some((table, rest)) => {
                let origin = value.origin.clone();
                entries.entry(table.to_owned()).or_insert_with(|| Node::table(origin)).put(rest, value);
            }
        }
    }

    /// The items of the list under `name`.
    pub fn items_mut(&mut self, name: &str) -> impl Iterator<Item = &mut Node> {
        let list = match &mut self.value {
            Value::Table(entries) => entries.get_mut(name),
            _ => None,
        };
        let items = list.and_then(|list| match &mut list.value {
            Value::List(items) => Some(items.iter_mut()),
            _ => None,
        });
        items.into_iter().flatten()
    }

    /// Every value that is no table or list of tables, by its key path.
    pub fn leaves(&self) -> BTreeMap<String, &Node> {
        fn collect<'a>(node: &'a Node, key: String, leaves: &mut BTreeMap<String, &'a Node>) {
            match &node.value {
                Value::Table(entries) => {
                    entries.iter().for_each(|(name, node)| collect(node, join(&key, name), leaves));
                }
                Value::List(items) if items.iter().any(is_table) => {
                    items.iter().enumerate().for_each(|(index, node)| collect(node, format!("{key}[{index}]"), leaves));
                }
                _ => {
                    leaves.insert(key, node);
                }
            }
        }
        let mut leaves = BTreeMap::new();
        collect(self, String::new(), &mut leaves);
        leaves
    }

    /// What serde reads. Foreign values become null, which no key accepts.
    pub fn into_json(self) -> Json {
        match self.value {
            Value::Scalar(scalar) => scalar,
            Value::Foreign(_) => Json::Null,
            Value::List(items) => items.into_iter().map(Node::into_json).collect(),
            Value::Table(entries) => entries.into_iter().map(|(name, node)| (name, node.into_json())).collect(),
        }
    }

    /// Puts `later` over this: tables merge, scalars and plain lists replace, lists of tables
    /// append (the same name or path: replace), and the lists at `add_up` add up.
    pub fn merge(&mut self, later: Node, key: &str, add_up: &[&str]) {
        match (&mut self.value, later.value) {
            (Value::Table(entries), Value::Table(others)) => {
                for (name, node) in others {
                    match entries.get_mut(&name) {
                        Some(entry) => entry.merge(node, &join(key, &name), add_up),
                        None => {
                            entries.insert(name, node);
                        }
                    }
                }
            }
            (Value::List(items), Value::List(others)) if add_up.contains(&key) => {
                let mut present: HashSet<Option<String>> = items.iter().map(text).collect();
                items.extend(others.into_iter().filter(|other| present.insert(text(other))));
            }
            (Value::List(items), Value::List(others)) if items.iter().chain(&others).any(is_table) => {
                // Only what earlier files said is replaced; twice the same in one file is a mistake.
                let earlier = items.len();
                for other in others {
                    let known = identity(&other, key);
                    let same = |item: &&mut Node| known.is_some() && identity(item, key) == known;
                    match items.iter_mut().take(earlier).find(same) {
                        Some(item) => *item = other,
                        None => items.push(other),
                    }
                }
            }
            (value, other) => {
                *value = other;
                self.origin = later.origin;
            }
        }
    }
}

/// The key path of `name` inside `key`, quoted as TOML would where it is no bare key.
pub(super) fn join(key: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let name = if bare { name.to_owned() } else { super::check::quoted(name) };
    if key.is_empty() { name } else { format!("{key}.{name}") }
}

/// The tree of a TOML file, and its syntax errors (at most one a line), past which the parser
/// goes on with what it understands.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> (Node, Vec<Mistake>) {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => {
            let valid = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
            let origin = Lines::new(path, valid).at(valid.len());
            let message = "not UTF-8 text; save the file as UTF-8".to_owned();
            let node = Node::table(origin.clone());
            return (node, vec![Mistake { origin, key: String::new(), message }]);
        }
    };
    let lines = Lines::new(path, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut mistakes: Vec<Mistake> = vec![];
    let mut errors: Vec<_> = errors.iter().map(|error| (error.span().unwrap_or_default().start, error)).collect();
    errors.sort_by_key(|(start, _)| *start);
    for (start, error) in errors {
        let origin = lines.at(start);
        let same_line = |mistake: &Mistake| mistake.origin.line() == origin.line();
        if !mistakes.last().is_some_and(same_line) {
            let line = text.lines().nth(origin.line().saturating_sub(1)).unwrap_or_default();
            let hint =
                if mistakes.is_empty() && is_yaml(line) { "; this looks like YAML, write KEY = VALUE" } else { "" };
            let message = format!("syntax error: {}{hint}", error.message());
            mistakes.push(Mistake { origin, key: String::new(), message });
        }
    }
    let root = Node { origin: lines.whole(), value: from_table(table.get_ref(), &|offset| lines.at(offset)) };
    (root, mistakes)
}

/// Whether this is `key: value` or an item of a list as YAML has them.
fn is_yaml(line: &str) -> bool {
    let is_name =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let line = line.trim();
    line.starts_with("- ") || line.split_once(':').is_some_and(|(name, _)| is_name(name))
}

/// The tree of one value that stands in no file.
pub(super) fn parse_value(text: &str, origin: &Origin) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    Some(Node { origin: origin.clone(), value: from_value(value.get_ref(), &|_| origin.clone()) })
}

fn from_table(table: &DeTable<'_>, at: &dyn Fn(usize) -> Origin) -> Value {
    let entries = table.iter().map(|(name, value)| {
        let node = Node { origin: at(name.span().start), value: from_value(value.get_ref(), at) };
        (name.get_ref().to_string(), node)
    });
    Value::Table(entries.collect())
}

fn from_value(value: &DeValue<'_>, at: &dyn Fn(usize) -> Origin) -> Value {
    match value {
        DeValue::String(text) => Value::Scalar(text.as_ref().into()),
        DeValue::Boolean(truth) => Value::Scalar((*truth).into()),
        DeValue::Integer(number) => integer(number),
        DeValue::Float(number) => match number.as_str().parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
            Some(number) => Value::Scalar(number.into()),
            None => Value::Foreign("no finite number"),
        },
        DeValue::Datetime(_) => Value::Foreign("a date or time"),
        DeValue::Array(items) => {
            let node = |item: &toml::Spanned<DeValue<'_>>| Node {
                origin: at(item.span().start),
                value: from_value(item.get_ref(), at),
            };
            Value::List(items.iter().map(node).collect())
        }
        DeValue::Table(table) => from_table(table, at),
    }
}

fn integer(number: &DeInteger<'_>) -> Value {
    match i64::from_str_radix(number.as_str(), number.radix()) {
        Ok(number) => Value::Scalar(number.into()),
        Err(_) => Value::Foreign("a number beyond 64 bits"),
    }
}

fn is_table(node: &Node) -> bool {
    matches!(node.value, Value::Table(_))
}

/// What makes two tables of the list `key` the same one. Exclusions are never the same: a path is one
/// of their conditions.
fn identity<'a>(node: &'a Node, key: &str) -> Option<&'a Json> {
    let named = node.entry("name").or_else(|| node.entry("path").filter(|_| key == "source"))?;
    match &named.value {
        Value::Scalar(scalar) => Some(scalar),
        _ => None,
    }
}

fn text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Scalar(scalar) => scalar.as_str().map(str::to_owned),
        _ => None,
    }
}

/// Where each line of a text begins.
struct Lines {
    path: String,
    starts: Vec<usize>,
}

impl Lines {
    fn new(path: &Path, text: &str) -> Lines {
        let starts = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1)).collect();
        Lines { path: path.display().to_string(), starts }
    }

    fn whole(&self) -> Origin {
        Origin::File { path: self.path.clone(), line: 0, column: 0 }
    }

    fn at(&self, offset: usize) -> Origin {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        Origin::File { path: self.path.clone(), line, column: offset.saturating_sub(start) + 1 }
    }
}
