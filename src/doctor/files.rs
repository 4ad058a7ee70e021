use super::{Ailment, Level, ailment};

/// A file or directory that says what Palisade does.
#[derive(Clone, Debug, Default)]
pub struct OwnFile {
    pub path: String,
    pub mode: u32,
    /// Whose it is.
    pub uid: u32,
    /// It has a key or password in it.
    pub has_secret: bool,
}

/// Whether nobody else can change what Palisade does, or read its keys: it may change the firewall and start
/// programs. `uid` is the user who asks.
pub fn files(files: &[OwnFile], uid: u32) -> Vec<Ailment> {
    files.iter().flat_map(|file| changeable(file, uid).into_iter().chain(readable(file))).collect()
}

fn changeable(file: &OwnFile, uid: u32) -> Option<Ailment> {
    let OwnFile { path, mode, .. } = file;
    // Whoever may write to a sticky directory, such as /tmp, cannot replace others' files there.
    let (problem, advice) = if mode & 0o1002 == 0o002 {
        (format!("everybody on this host may change it (mode {mode:03o})"), format!("chmod o-w {path}"))
    } else if file.uid != 0 && file.uid != uid {
        (format!("it belongs to user {}, who may change it", file.uid), format!("chown root {path}"))
    } else {
        return None;
    };
    Some(ailment(Level::Error, "config_changeable", path, problem, advice))
}

fn readable(file: &OwnFile) -> Option<Ailment> {
    let OwnFile { path, mode, .. } = file;
    (file.has_secret && mode & 0o004 != 0).then(|| {
        let problem = format!("it holds a key, and everybody on this host may read it (mode {mode:03o})");
        let advice = format!("chown root:palisade {path} && chmod 640 {path}, or put the key into a file of its own");
        ailment(Level::Warning, "key_readable_by_all", path, problem, advice)
    })
}

/// Keys that have another name now, each with its place and what to write.
pub fn renamed(warnings: &[(String, String)]) -> Vec<Ailment> {
    let told = |(place, message): &(String, String)| {
        let advice = "write the new name; the old one ends with the next release";
        ailment(Level::Warning, "key_renamed", place, message, advice)
    };
    warnings.iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::super::told;
    use super::*;

    #[test]
    fn files_that_others_may_change_or_read_are_told() {
        for (mode, owner, has_secret, expected) in [
            (0o644, 0, false, vec![]),
            (0o644, 1000, false, vec![]),
            (0o640, 0, true, vec![]),
            (0o1777, 0, false, vec![]),
            (0o666, 0, false, vec![(Level::Error, "config_changeable")]),
            (0o644, 33, false, vec![(Level::Error, "config_changeable")]),
            (0o644, 0, true, vec![(Level::Warning, "key_readable_by_all")]),
            (0o646, 0, true, vec![(Level::Error, "config_changeable"), (Level::Warning, "key_readable_by_all")]),
        ] {
            let file = OwnFile { path: "/etc/palisade/palisade.toml".into(), mode, uid: owner, has_secret };
            assert_eq!(told(&files(std::slice::from_ref(&file), 1000)), expected, "{file:?}");
        }
    }

    #[test]
    fn a_renamed_key_is_told_with_its_place() {
        let found = renamed(&[("/etc/palisade/palisade.toml:3".into(), "log.max_mb is called log.max_size_mb".into())]);
        assert_eq!(told(&found), [(Level::Warning, "key_renamed")]);
    }
}
