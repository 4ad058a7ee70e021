mod hostile;
mod layers;
mod mistakes;
mod shown;

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::compose::{Input, compose};
use super::files::{Absent, read};
use super::renamed::{RENAMED, Renamed};
use super::*;

const KNOWN: Known<'_> =
    Known { responders: &["nftables", "iptables"], formats: &["nginx_combined", "apache_combined", "apache_common"] };

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// Root's configuration from these files and variables.
fn root(files: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Loaded, Mistakes> {
    let files = files.iter().map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec())).collect();
    compose(Input { files, settings: &variables(environment), ..Input::default() }, &KNOWN)
}

fn file(text: &str) -> Result<Loaded, Mistakes> {
    root(&[("palisade.toml", text)], &[])
}

fn load(place: &Place, known: &Known<'_>, environment: &[(OsString, OsString)], uid: u32) -> Result<Loaded, Mistakes> {
    Text::read(place, environment, uid).compose(known, &[])
}

fn mistakes(text: &str, expected: Expect) {
    expected.assert_eq(&file(text).expect_err("mistakes").to_string());
}

fn origin(loaded: &Loaded, key: &str) -> String {
    let found = loaded.origins.iter().filter(|(other, _)| other == key).map(|(_, origin)| origin.to_string());
    found.collect::<Vec<_>>().join(", ")
}

// What is refused, and how it is said.

/// The example with its machine-dependent settings switched on as well.
fn whole_example() -> String {
    let switched_on = |line: &str| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(|first: char| first.is_ascii_lowercase() || first == '[') => {
            setting.to_owned()
        }
        _ => line.to_owned(),
    };
    example().lines().map(switched_on).collect::<Vec<_>>().join("\n")
}
