//! What files look like from outside: another print, another content.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::{Config, Place, fragments};
use crate::pipeline::replay::rule_files;

/// The prints of all files of a configuration that exist.
#[derive(Clone, PartialEq, Eq)]
pub struct Prints(Vec<(PathBuf, Print)>);

/// Inode and device change when a file is replaced, the second time also when it is let be read.
#[derive(Clone, PartialEq, Eq)]
struct Print {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Prints {
    /// Looks at the main file, the fragments and the rules; what is named otherwise, as editors name their
    /// temporary files, is not looked at.
    pub fn of(place: &Place, config: &Config) -> Prints {
        let main = place.main_file();
        let mut paths: Vec<PathBuf> = main.iter().map(|path| path.to_path_buf()).collect();
        paths.extend(main.and_then(|main| fragments(main).ok()).unwrap_or_default());
        let beside = main.map(|main| main.parent().unwrap_or(Path::new("")).join("rules.d"));
        let rules = config.detect.rules_dir.clone().or(beside);
        paths.extend(rules.as_ref().and_then(|directory| rule_files(directory).ok()).unwrap_or_default());
        paths.extend(rules);
        Prints(paths.into_iter().filter_map(|path| Print::of(&path).map(|print| (path, print))).collect())
    }
}

impl Print {
    fn of(path: &Path) -> Option<Print> {
        let metadata = fs::metadata(path).ok()?;
        if metadata.is_dir() {
            // It is there; what is in it is looked at by itself.
            return Some(Print { file: (0, 0), size: 0, modified: (0, 0), changed: (0, 0) });
        }
        Some(Print {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_change_a_file_shows_and_temporary_files_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for directory in ["conf.d", "rules.d"] {
            fs::create_dir(at(directory)).unwrap();
        }
        fs::write(at("palisade.toml"), "a").unwrap();
        let place = Place::File(at("palisade.toml"));
        let look = || Prints::of(&place, &Config::default());
        let mut last = look();
        let mut shows = |expected: bool, what: &str| {
            let now = look();
            assert_eq!(now != last, expected, "{what}");
            last = now;
        };
        shows(false, "nothing");
        for temporary in ["conf.d/.x.toml.swp", "conf.d/x.toml~", "conf.d/4913", "rules.d/.#x.toml", "rules.d/README"] {
            fs::write(at(temporary), "x").unwrap();
        }
        fs::write(at(".palisade.toml.swp"), "x").unwrap();
        shows(false, "temporary files");
        fs::write(at("new"), "b").unwrap();
        fs::rename(at("new"), at("palisade.toml")).unwrap();
        shows(true, "a file of the same size in its place");
        fs::write(at("conf.d/10.toml"), "").unwrap();
        shows(true, "a fragment");
        fs::rename(at("conf.d/10.toml"), at("conf.d/20.toml")).unwrap();
        shows(true, "another name");
        fs::write(at("rules.d/own.toml"), "").unwrap();
        shows(true, "a rule file");
        fs::remove_file(at("palisade.toml")).unwrap();
        shows(true, "it is gone");
        std::os::unix::fs::symlink(at("conf.d/20.toml"), at("palisade.toml")).unwrap();
        shows(true, "a link");
        fs::write(at("conf.d/20.toml"), "longer").unwrap();
        shows(true, "what it links to");
    }
}
