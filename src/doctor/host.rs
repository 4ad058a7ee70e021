use super::{Ailment, Level, ailment, size};

/// A file system that something of ours is on.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// `state_dir`, or a log's path.
    pub subject: String,
    pub free_bytes: u64,
    pub total_bytes: u64,
    pub free_files: u64,
    /// 0 where the file system has no such limit.
    pub total_files: u64,
    /// We write there, and may not.
    pub is_read_only: bool,
}

/// Less is as good as full: a checkpoint and its log take some.
const FULL_BYTES: u64 = 32_000_000;
const LOW_BYTES: u64 = 1_000_000_000;
const LOW_PERCENT: u64 = 5;

/// Whether there is space to write.
pub fn disks(disks: &[Disk]) -> Vec<Ailment> {
    let told = |disk: &Disk| {
        let Disk { subject, free_bytes, total_bytes, free_files, total_files, is_read_only } = disk;
        let advice = "free some: `du -x --max-depth=2 | sort -n | tail` says where it went; `palisade status` says what \
                      is not recorded yet, and [store] how long rows are kept";
        let is_low = |free: u64, total: u64| free * 100 < total * LOW_PERCENT;
        let (level, check, problem) = if *is_read_only {
            (Level::Error, "disk_read_only", "its file system is mounted read-only".to_owned())
        } else if *free_bytes < FULL_BYTES {
            (Level::Error, "disk_full", format!("{} are free of {}", size(*free_bytes), size(*total_bytes)))
        } else if *total_files > 0 && *free_files < 100 {
            (Level::Error, "disk_full", format!("{free_files} more files fit of {total_files}"))
        } else if is_low(*free_bytes, *total_bytes) && *free_bytes < LOW_BYTES {
            (Level::Warning, "disk_low", format!("{} are free of {}", size(*free_bytes), size(*total_bytes)))
        } else if is_low(*free_files, *total_files) {
            (Level::Warning, "disk_low", format!("{free_files} more files fit of {total_files}"))
        } else {
            return None;
        };
        let advice = if *is_read_only { "mount it for writing, or name another state_dir" } else { advice };
        Some(ailment(level, check, subject, problem, advice))
    };
    disks.iter().filter_map(told).collect()
}

/// The local database.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub path: String,
    pub bytes: u64,
    /// Of its write-ahead log.
    pub log_bytes: u64,
    pub keep_days: u32,
    /// Of its file system.
    pub free_bytes: u64,
}

/// Palisade's own checkpoints keep the log far below.
const LOG_BYTES: u64 = 512_000_000;
const LARGE_BYTES: u64 = 10_000_000_000;

/// Whether the database stays within bounds.
pub fn stored(facts: &Stored) -> Vec<Ailment> {
    let Stored { path, bytes, log_bytes, keep_days, free_bytes } = facts;
    let mut found = vec![];
    if *log_bytes > LOG_BYTES {
        let problem = format!("its write-ahead log has {}: another program holds it open", size(*log_bytes));
        let advice = "end what else reads it (`fuser -v` names it): only then its space is used again";
        found.push(ailment(Level::Warning, "database_log_grows", path, problem, advice));
    }
    if *bytes > LARGE_BYTES || *bytes > *free_bytes && *bytes > LOW_BYTES {
        let problem =
            format!("it has {}, with {} free; rows are kept {keep_days} days", size(*bytes), size(*free_bytes));
        let advice = "keep less: store.keep_days, or store.record = \"nothing\"; pruned space is used again, not \
                      given back";
        found.push(ailment(Level::Warning, "database_large", path, problem, advice));
    }
    found
}

/// What the kernel allows this process.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Files open at once; none: no limit.
    pub open_files: Option<u64>,
    /// Files that are followed.
    pub followed: u64,
    /// Why the kernel announces no changes of files.
    pub no_watches: Option<String>,
}

/// Databases, sockets and children, besides logs.
const OTHER_FILES: u64 = 96;

/// Whether the kernel allows what is needed.
pub fn limits(facts: &Limits) -> Vec<Ailment> {
    let Limits { open_files, followed, no_watches } = facts;
    let needed = OTHER_FILES + 2 * followed;
    let files = open_files.filter(|open| *open < needed).map(|open| {
        let problem = format!("{open} files may be open at once, and {needed} are needed with {followed} logs");
        let advice = "raise it: LimitNOFILE=65536 in the unit, or `ulimit -n 65536` before the start";
        ailment(Level::Warning, "few_open_files", "ulimit -n", problem, advice)
    });
    let watches = no_watches.as_ref().map(|why| {
        let problem = format!("the kernel announces no changes of files ({why}), so logs are looked at once a second");
        let advice = "raise the limit: sysctl fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=524288";
        ailment(Level::Warning, "no_inotify", "inotify", problem, advice)
    });
    files.into_iter().chain(watches).collect()
}

#[cfg(test)]
mod tests {
    use super::super::told;
    use super::*;

    #[test]
    fn disks_without_space_are_told() {
        let of = |free_bytes, total_bytes, free_files, total_files, is_read_only| {
            let disk = Disk { subject: "/s".into(), free_bytes, total_bytes, free_files, total_files, is_read_only };
            told(&disks(&[disk])).first().copied()
        };
        const GB: u64 = 1_000_000_000;
        assert_eq!(of(50 * GB, 100 * GB, 5000, 9000, false), None);
        assert_eq!(of(2 * GB, 100 * GB, 5000, 9000, false), None, "two gigabytes are enough whatever the disk");
        assert_eq!(of(GB / 2, 100 * GB, 5000, 9000, false), Some((Level::Warning, "disk_low")));
        assert_eq!(of(GB / 2, GB, 0, 0, false), None, "no limit of files");
        assert_eq!(of(GB / 100, GB, 0, 0, false), Some((Level::Error, "disk_full")));
        assert_eq!(of(50 * GB, 100 * GB, 50, 9000, false), Some((Level::Error, "disk_full")));
        assert_eq!(of(50 * GB, 100 * GB, 200, 9000, false), Some((Level::Warning, "disk_low")));
        assert_eq!(of(50 * GB, 100 * GB, 5000, 9000, true), Some((Level::Error, "disk_read_only")));
    }

    #[test]
    fn a_database_that_grows_is_told() {
        let of = |bytes, log_bytes, free_bytes| {
            let facts = Stored { path: "/s/palisade.db".into(), bytes, log_bytes, keep_days: 90, free_bytes };
            told(&stored(&facts))
        };
        const GB: u64 = 1_000_000_000;
        assert_eq!(of(GB, 1000, GB / 2), [], "a small one may fill a small disk");
        assert_eq!(of(2 * GB, 1000, GB), [(Level::Warning, "database_large")]);
        assert_eq!(of(11 * GB, 1000, 100 * GB), [(Level::Warning, "database_large")]);
        assert_eq!(of(GB, GB, 100 * GB), [(Level::Warning, "database_log_grows")]);
    }

    #[test]
    fn limits_of_the_kernel_are_told() {
        let of = |open_files, followed, no_watches: Option<&str>| {
            told(&limits(&Limits { open_files, followed, no_watches: no_watches.map(str::to_owned) }))
        };
        assert_eq!(of(Some(1024), 10, None), []);
        assert_eq!(of(None, 100_000, None), []);
        assert_eq!(of(Some(1024), 500, None), [(Level::Warning, "few_open_files")]);
        assert_eq!(of(Some(1024), 1, Some("too many open files")), [(Level::Warning, "no_inotify")]);
    }
}
