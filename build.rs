//! What takes long and is the same in every run: the built-in rules' patterns, compiled, and which literals they
//! cannot match without. And which migrations there are: sqlx's own macro for it needs sqlx compiled twice.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use detect::automaton::Program;
use detect::gram::Gram;

/// The modules that take patterns apart, as in the crate.
#[path = "src/detect"]
#[allow(dead_code, reason = "nothing is matched here")]
mod detect {
    pub mod automaton;
    mod decode;
    pub mod gram;
    mod lanes;
    pub mod literals;
    mod ordinary;
}

fn main() -> Result<(), Box<dyn Error>> {
    for path in ["build.rs", "migrations", "rules", "src/detect"] {
        println!("cargo:rerun-if-changed={path}");
    }
    let mut all = vec![];
    for file in fs::read_dir("rules")? {
        let rules: toml::Table = toml::from_str(&fs::read_to_string(file?.path())?)?;
        let rules = rules.get("rule").and_then(toml::Value::as_array);
        all.extend(rules.into_iter().flatten().filter_map(compiled));
    }
    all.sort();
    write("patterns.rs", &all)?;
    write("sqlite.rs", &migrations("migrations/sqlite")?)?;
    write("postgres.rs", &migrations("migrations/postgres")?)
}

/// Writes an array for the crate to include.
#[allow(clippy::disallowed_methods, reason = "cargo speaks to build scripts through the environment")]
fn write(name: &str, elements: &[String]) -> Result<(), Box<dyn Error>> {
    let out = Path::new(&env::var("OUT_DIR")?).join(name);
    Ok(fs::write(out, format!("&[\n{}]", elements.concat()))?)
}

/// The version, name and text of each file of a directory, in order.
fn migrations(directory: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let mut files: Vec<_> = fs::read_dir(directory)?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs::DirEntry::path);
    let element = |file: &fs::DirEntry| {
        let path = file.path();
        let stem = path.file_stem()?.to_str()?;
        let (version, name) = stem.split_once('_')?;
        let text = format!("include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/{}\"))", path.display());
        Some(format!("({}, {name:?}, {text}),\n", version.parse::<i64>().ok()?))
    };
    files.iter().map(|file| element(file).ok_or(format!("{file:?} is not NUMBER_NAME.sql").into())).collect()
}

/// The pattern of a rule as an element of an array of `BuiltInPattern`; none for a rule that is wrong, of which the
/// crate says what is.
fn compiled(rule: &toml::Value) -> Option<String> {
    let text = |key| rule.get(key).and_then(toml::Value::as_str);
    let hir = detect::literals::parse(text("pattern")?).ok()?;
    let literals = detect::literals::required(&hir)?;
    let with_gram =
        |literal: &Vec<u8>| format!("(Cow::Borrowed(b\"{}\"), {:?})", literal.escape_ascii(), Gram::of(literal));
    let literals: Vec<String> = literals.iter().map(with_gram).collect();
    let Program { classes, bytes, sets, places, steps, also, start, looks } = Program::new(&hir, usize::MAX).ok()?;
    Some(format!(
        "BuiltInPattern {{ rule: {:?}, literals: &[{}], pattern: Pattern {{ tells_digits: {}, program: Program {{
            classes: Cow::Borrowed(&{classes:?}), bytes: Cow::Borrowed(&{bytes:?}), sets: Cow::Borrowed(&{sets:?}),
            places: Cow::Borrowed(&{places:?}), steps: Cow::Borrowed(&{steps:?}), also: Cow::Borrowed(&{also:?}),
            start: Cow::Borrowed(&{start:?}), looks: {looks}
        }} }} }},\n",
        text("id")?,
        literals.join(", "),
        detect::literals::tells_digits(&hir),
    ))
}
