use std::ffi::{OsStr, OsString};
use std::time::Duration;

/// Where the service manager that started this process listens, and how often it wants to hear: the
/// variables of sd_notify(3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supervision {
    /// A path, or an abstract name after `@`.
    pub notify_socket: Option<OsString>,
    /// After so long without a sign of life it restarts the daemon.
    pub watchdog: Option<Duration>,
}

/// What this process's own environment says.
#[expect(clippy::disallowed_methods, reason = "part of `config`, which alone reads the environment")]
pub fn supervision_from_system() -> Supervision {
    supervision(|name| std::env::var_os(name), std::process::id())
}

/// Device and inode of the stream that goes to the service manager's journal, as `JOURNAL_STREAM` names it.
#[expect(clippy::disallowed_methods, reason = "part of `config`, which alone reads the environment")]
pub fn journal_from_system() -> Option<(u64, u64)> {
    journal(&std::env::var("JOURNAL_STREAM").ok()?)
}

fn journal(stream: &str) -> Option<(u64, u64)> {
    let (device, inode) = stream.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

fn supervision(variable: impl Fn(&str) -> Option<OsString>, own_id: u32) -> Supervision {
    let number = |name| variable(name).as_deref().and_then(OsStr::to_str).and_then(|text| text.parse::<u64>().ok());
    // Where another process is watched, its variables came down to us by mistake.
    let is_ours = number("WATCHDOG_PID").is_none_or(|id| id == u64::from(own_id));
    let watchdog = number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0).map(Duration::from_micros);
    Supervision { notify_socket: variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()), watchdog }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journals_stream_is_two_numbers() {
        assert_eq!(journal("8:12345"), Some((8, 12_345)));
        assert_eq!(journal("8"), None);
    }

    #[test]
    fn a_watchdog_is_this_processs_own() {
        let of = |variables: &'static [(&str, &str)]| {
            let find = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into());
            supervision(find, 42)
        };
        assert_eq!(of(&[]), Supervision::default());
        let set = of(&[("NOTIFY_SOCKET", "@/n"), ("WATCHDOG_USEC", "60000000"), ("WATCHDOG_PID", "42")]);
        assert_eq!((set.notify_socket, set.watchdog), (Some("@/n".into()), Some(Duration::from_mins(1))));
        assert_eq!(of(&[("WATCHDOG_USEC", "60000000"), ("WATCHDOG_PID", "41")]).watchdog, None);
        assert_eq!(of(&[("WATCHDOG_USEC", "soon")]).watchdog, None);
    }
}
