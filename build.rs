//! What takes long and is the same in every run: which literals the patterns of the built-in rules
//! cannot match without.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

/// The modules that find literals, as in the crate.
#[path = "src/detect"]
#[allow(dead_code, reason = "only literals are asked for")]
mod detect {
    mod decode;
    mod lanes;
    pub mod literals;
    mod ordinary;
}

#[allow(clippy::disallowed_methods, reason = "cargo speaks to build scripts through the environment")]
fn main() -> Result<(), Box<dyn Error>> {
    // `sqlx::migrate!` reads the migrations while it compiles, and cargo does not see that.
    for path in ["build.rs", "migrations", "rules", "src/detect"] {
        println!("cargo:rerun-if-changed={path}");
    }
    let mut all = vec![];
    for file in fs::read_dir("rules")? {
        let rules: toml::Table = toml::from_str(&fs::read_to_string(file?.path())?)?;
        let rules = rules.get("rule").and_then(toml::Value::as_array);
        all.extend(rules.into_iter().flatten().filter_map(with_literals));
    }
    all.sort();
    let out = Path::new(&env::var("OUT_DIR")?).join("literals.rs");
    Ok(fs::write(out, format!("&[\n{}]", all.concat()))?)
}

/// The id of a rule with its literals, as an element of an array; none for a rule that is wrong,
/// of which the crate says what is.
fn with_literals(rule: &toml::Value) -> Option<String> {
    let text = |key| rule.get(key).and_then(toml::Value::as_str);
    let literals = detect::literals::required(&detect::literals::parse(text("pattern")?).ok()?)?;
    let literals: Vec<String> = literals.iter().map(|literal| format!("b\"{}\"", literal.escape_ascii())).collect();
    Some(format!("({:?}, &[{}]),\n", text("id")?, literals.join(", ")))
}
