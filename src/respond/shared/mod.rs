//! What several responders need: who is held until when, a program that is run once, requests over
//! HTTP, a key from a file. Never decides and knows no backend.

mod held;
mod http;
mod program;

pub(super) use held::Held;
#[cfg(feature = "azure")]
pub(super) use http::root_cause;
pub(super) use http::{Failure, Http};
pub(super) use program::{Program, run};

use std::path::{Path, PathBuf};

use crate::event::{Secret, Timestamp};
use crate::respond::RespondError;

/// A moment as [`Timestamp`] prints it.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|moment| Timestamp(moment.as_millisecond()))
}

/// The key that is set, or that stands alone in `file`.
///
/// # Errors
/// Both are set, or neither; the file cannot be read.
pub(super) fn key(key: &Secret, file: Option<&PathBuf>, name: &str) -> Result<Secret, RespondError> {
    let wrong = |why: String| Err(RespondError::Settings(why));
    match (key.is_empty(), file) {
        (false, None) => Ok(key.clone()),
        (false, Some(_)) => wrong(format!("`{name}` and `{name}_file` are both set; remove one of the two")),
        (true, None) => wrong(format!("set `{name}`, or `{name}_file` to a file that holds it")),
        (true, Some(file)) => match std::fs::read_to_string(file) {
            Ok(text) if !text.trim().is_empty() => Ok(Secret::from(text.trim().to_owned())),
            Ok(_) => wrong(format!("`{name}_file`: {} is empty", file.display())),
            Err(error) => wrong(format!("`{name}_file`: {} cannot be read: {error}", file.display())),
        },
    }
}

/// # Errors
/// `path`, the value of `name`, depends on where we are started.
pub(super) fn absolute(path: &Path, name: &str) -> Result<(), RespondError> {
    if path.is_absolute() {
        return Ok(());
    }
    let shown = path.display();
    Err(RespondError::Settings(format!("`{name}` needs an absolute path such as \"/usr/sbin/nginx\", not \"{shown}\"")))
}
