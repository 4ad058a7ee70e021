use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use glob::{GlobError, MatchOptions};

use super::unpack::is_compressed;
use super::{SourceConfig, Start};

/// One source's path or glob, absolute.
pub(super) struct Pattern {
    pub start: Start,
    kind: Kind,
}

enum Kind {
    Path(PathBuf),
    Glob(glob::Pattern),
}

/// As the shell does it: `*` stays within one directory.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

impl Pattern {
    /// # Errors
    /// A glob that cannot be understood.
    pub fn parse(source: &SourceConfig) -> anyhow::Result<Pattern> {
        let text = source.path.as_str();
        let kind = if text.contains(['*', '?', '[']) {
            let here = std::env::current_dir().unwrap_or_default();
            let full = match Path::new(text).is_absolute() {
                true => text.to_string(),
                false => format!("{}/{text}", glob::Pattern::escape(&here.to_string_lossy())),
            };
            Kind::Glob(glob::Pattern::new(&full).map_err(|error| {
                anyhow!("source path `{text}` is not a valid glob: {error}; write [[] for a literal bracket")
            })?)
        } else {
            Kind::Path(std::path::absolute(text).with_context(|| format!("source path `{text}` is empty"))?)
        };
        Ok(Pattern { start: source.start, kind })
    }

    /// The path itself, there or not; of a glob what is there now, and the directories that cannot
    /// be listed.
    pub fn paths(&self) -> Vec<Result<PathBuf, GlobError>> {
        match &self.kind {
            Kind::Path(path) => vec![Ok(path.clone())],
            Kind::Glob(pattern) => glob::glob_with(pattern.as_str(), OPTIONS)
                .map(|paths| paths.filter(|path| !path.as_ref().is_ok_and(|path| is_compressed(path))).collect())
                .unwrap_or_default(),
        }
    }

    pub fn matches(&self, path: &Path) -> bool {
        match &self.kind {
            Kind::Path(own) => own == path,
            Kind::Glob(pattern) => pattern.matches_path_with(path, OPTIONS) && !is_compressed(path),
        }
    }

    /// Whether `path` is followed even while it is not there.
    pub fn names(&self, path: &Path) -> bool {
        matches!(&self.kind, Kind::Path(own) if own == path)
    }

    /// The directory in which, or below which, files appear.
    pub fn directory(&self) -> PathBuf {
        match &self.kind {
            Kind::Path(path) => path.parent().unwrap_or(path).to_path_buf(),
            Kind::Glob(pattern) => {
                let text = pattern.as_str();
                let literal = text.split(['*', '?', '[']).next().unwrap_or_default();
                let end = literal.rfind('/').unwrap_or_default();
                PathBuf::from(text.get(..end).filter(|directory| !directory.is_empty()).unwrap_or("/"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(path: &str) -> anyhow::Result<Pattern> {
        Pattern::parse(&SourceConfig::new(path, Start::End))
    }

    #[test]
    fn globs_stay_in_their_directory_and_leave_packed_files() {
        let glob = pattern("/var/log/*/access.log*").unwrap();
        assert!(glob.matches(Path::new("/var/log/nginx/access.log.1")));
        assert!(!glob.matches(Path::new("/var/log/nginx/access.log.2.gz")));
        assert!(!glob.matches(Path::new("/var/log/nginx/old/access.log")));
        assert_eq!(glob.directory(), Path::new("/var/log"));
        assert_eq!(pattern("/*.log").unwrap().directory(), Path::new("/"));
        assert_eq!(pattern("/a/b.log").unwrap().directory(), Path::new("/a"));
        assert!(pattern("relative/*.log").unwrap().directory().is_absolute());
    }

    #[test]
    fn a_bad_glob_names_itself() {
        let message = pattern("/var/log/[a").err().unwrap().to_string();
        assert!(message.contains("`/var/log/[a`"), "{message}");
    }
}
