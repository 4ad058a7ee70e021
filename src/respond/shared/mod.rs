//! What several responders need: who is held until when, and a program that is run once. Never decides
//! and knows no backend.

mod held;
mod program;

pub(super) use held::Held;
pub(super) use program::{Program, run};

use std::path::Path;

use crate::event::Timestamp;
use crate::respond::RespondError;

/// A moment as [`Timestamp`] prints it.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|moment| Timestamp(moment.as_millisecond()))
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
