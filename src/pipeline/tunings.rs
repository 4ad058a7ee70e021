//! What operators set while the daemon runs, until it ends. A file in the state directory keeps what has
//! an end over a restart.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::TUNABLE;
use crate::event::Timestamp;

/// One key that is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuning {
    pub key: String,
    /// As it would stand in the file.
    pub value: String,
    /// In milliseconds since 1970. Without an end it holds until the daemon stops.
    pub until_millis: Option<i64>,
    /// Whose word it is.
    pub by: String,
}

impl Tuning {
    fn is_over(&self, now: Timestamp) -> bool {
        self.until_millis.is_some_and(|until| until <= now.0)
    }

    /// As `status` shows it.
    pub fn shown(&self) -> Value {
        json!({ "key": self.key, "value": self.value, "until": self.until_millis.map(Timestamp), "by": self.by })
    }
}

/// Everything that is set, and its file.
pub struct Tunings {
    path: PathBuf,
    pub list: Vec<Tuning>,
}

impl Tunings {
    /// What was set before the start and has not ended. A file that cannot be read counts as none.
    pub fn open(state_dir: &Path, now: Timestamp) -> Tunings {
        let path = state_dir.join("set.json");
        let mut list: Vec<Tuning> = read_list(&path);
        list.retain(|tuning| tuning.until_millis.is_some() && !tuning.is_over(now) && is_tunable(&tuning.key));
        Tunings { path, list }
    }

    /// Takes out what has ended.
    pub fn take_over(&mut self, now: Timestamp) -> Vec<Tuning> {
        self.list.extract_if(.., |tuning| tuning.is_over(now)).collect()
    }

    /// With `tuning` in place of what its key was set to, if it was.
    pub fn with(&self, tuning: Tuning) -> Vec<Tuning> {
        let mut list = self.list.clone();
        list.retain(|other| other.key != tuning.key);
        list.push(tuning);
        list
    }

    /// Writes what has an end.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn save(&self) -> io::Result<()> {
        let kept: Vec<&Tuning> = self.list.iter().filter(|tuning| tuning.until_millis.is_some()).collect();
        write_list(&self.path, &kept)
    }
}

/// What operators set or switched off before the start. A file that cannot be read counts as none.
pub fn read_list<T: DeserializeOwned>(path: &Path) -> Vec<T> {
    let lost = |error: &dyn std::fmt::Display| {
        tracing::error!(path = %path.display(), "what was set before the start is lost: {error}");
        vec![]
    };
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => vec![],
        Err(error) => lost(&error),
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| lost(&error)),
    }
}

/// Replaces the file as a whole; of an empty list there is none.
///
/// # Errors
/// The directory cannot be written.
pub fn write_list<T: Serialize>(path: &Path, list: &[&T]) -> io::Result<()> {
    if list.is_empty() {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec_pretty(list)?)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// Keys and values for the configuration.
pub fn pairs(list: &[Tuning]) -> Vec<(String, String)> {
    list.iter().map(|tuning| (tuning.key.clone(), tuning.value.clone())).collect()
}

pub fn is_tunable(key: &str) -> bool {
    TUNABLE.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuning(key: &str, value: &str, until: Option<i64>) -> Tuning {
        Tuning { key: key.into(), value: value.into(), until_millis: until, by: "root".into() }
    }

    #[test]
    fn what_has_an_end_is_kept_until_then() {
        let dir = tempfile::tempdir().unwrap();
        let mut tunings = Tunings::open(dir.path(), Timestamp(0));
        tunings.list = tunings.with(tuning("thresholds.block", "7", Some(50)));
        tunings.list = tunings.with(tuning("thresholds.flag", "3", None));
        tunings.list = tunings.with(tuning("thresholds.block", "9", Some(100)));
        tunings.save().unwrap();
        let again = |now| Tunings::open(dir.path(), Timestamp(now)).list;
        assert_eq!(again(99), [tuning("thresholds.block", "9", Some(100))]);
        assert_eq!(again(100), []);
        assert_eq!(tunings.take_over(Timestamp(100)), [tuning("thresholds.block", "9", Some(100))]);
        assert_eq!(tunings.list, [tuning("thresholds.flag", "3", None)]);
        tunings.save().unwrap();
        assert!(!dir.path().join("set.json").exists());
    }

    #[test]
    fn a_file_of_others_is_no_way_past_the_closed_list() {
        let dir = tempfile::tempdir().unwrap();
        let other = tuning("client.block_private", "true", Some(100));
        fs::write(dir.path().join("set.json"), serde_json::to_vec(&[other]).unwrap()).unwrap();
        assert_eq!(Tunings::open(dir.path(), Timestamp(0)).list, []);
        fs::write(dir.path().join("set.json"), "{torn").unwrap();
        assert_eq!(Tunings::open(dir.path(), Timestamp(0)).list, []);
    }
}
