use super::{Ailment, Followed, Level, ailment};
use crate::event::Timestamp;

/// Who keeps this host's clock, as far as it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// Somebody who says nothing of how well, or another host.
    Somebody,
    Synchronised,
    /// Who should do it has not reached a server yet.
    Waiting,
    Nobody,
}

/// A log that is written at all was written within this time.
const RECENT_MILLIS: i64 = 10 * 60_000;
/// Servers write a line when a request ends, and some gather lines.
const LATE_MILLIS: i64 = 10 * 60_000;
const AHEAD_MILLIS: i64 = 2 * 60_000;
/// Answers of servers come in whole seconds, and late.
const APART_MILLIS: i64 = 10_000;
/// Zones differ by these.
const ZONE_MILLIS: i64 = 15 * 60_000;

/// Whether the times in logs, of servers and of this host agree. Of `servers` by how far their clocks are ahead
/// of ours, in milliseconds.
pub fn clock(now: Timestamp, keeper: Keeper, servers: &[(String, i64)], sources: &[Followed]) -> Vec<Ailment> {
    let host = match keeper {
        Keeper::Somebody | Keeper::Synchronised => None,
        Keeper::Waiting => Some(ailment(
            Level::Warning,
            "clock_not_synchronised",
            "systemd-timesyncd",
            "has not reached a time server yet",
            "let it reach one over UDP port 123, or set NTP= in /etc/systemd/timesyncd.conf; see `timedatectl`",
        )),
        Keeper::Nobody => Some(ailment(
            Level::Note,
            "clock_not_kept",
            "this host's clock",
            "no program that keeps it is seen here",
            "unless the hypervisor does it: apt-get install systemd-timesyncd",
        )),
    };
    let apart = servers.iter().filter(|(_, ahead)| ahead.abs() > APART_MILLIS).map(|(name, ahead)| {
        let direction = if *ahead > 0 { "ahead of" } else { "behind" };
        let problem = format!("its clock is {} {direction} this host's", span(*ahead));
        ailment(Level::Warning, "clock_apart", name, problem, "agents and databases need one time: set up NTP on both")
    });
    let logs = sources.iter().flat_map(|source| &source.files).filter_map(|log| {
        let tail = log.tail.as_ref().ok()?;
        let (newest, written) = (tail.newest?.0, tail.written.0);
        let ahead = newest - now.0.max(written);
        let behind = written - newest;
        let (check, off, direction) = if ahead > AHEAD_MILLIS {
            ("log_ahead", ahead, "ahead of")
        } else if behind > LATE_MILLIS && now.0 - written < RECENT_MILLIS {
            ("log_behind", behind, "behind")
        } else {
            return None;
        };
        // In the coat of a zone the rest is small.
        let rest = off % ZONE_MILLIS;
        let is_zone = rest.min(ZONE_MILLIS - rest) < AHEAD_MILLIS && off < 15 * 3_600_000;
        let advice = if is_zone {
            "whole quarters of an hour are a time zone: set `timezone` to that of the log's times; a ban counts from \
             what the log says"
        } else {
            "set the clock of the host that writes this log, as by NTP; a ban counts from what the log says"
        };
        let problem = format!("its last lines are {} {direction} the time at which they were written", span(off));
        Some(ailment(Level::Error, check, &log.path, problem, advice))
    });
    host.into_iter().chain(apart).chain(logs).collect()
}

fn span(millis: i64) -> String {
    match millis.unsigned_abs() / 1000 {
        secs @ 0..300 => format!("{secs} s"),
        secs @ 300..7200 => format!("{} min", (secs + 30) / 60),
        secs => format!("{:.1} h", secs as f64 / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Log, Tail, told};
    use super::*;

    const HOUR: i64 = 3_600_000;
    const NOW: i64 = 1_767_616_245_000;

    /// A log written `ago`, whose newest line is `ahead` of that.
    fn log(ago: i64, ahead: i64) -> Vec<Followed> {
        let written = NOW - ago;
        let newest = Some(Timestamp(written + ahead));
        let tail = Tail { newest, written: Timestamp(written), ..Tail::default() };
        let files = vec![Log { path: "/l".into(), tail: Ok(tail) }];
        vec![Followed { files, ..Followed::default() }]
    }

    #[test]
    fn times_that_do_not_agree_are_told() {
        let of = |keeper, ahead: i64, sources: &[Followed]| {
            clock(Timestamp(NOW), keeper, &[("postgres".into(), ahead)], sources)
        };
        for (keeper, ahead, sources, expected) in [
            (Keeper::Synchronised, 9_000, log(0, 0), None),
            (Keeper::Somebody, 0, log(1000, -9 * 60_000), None),
            (Keeper::Synchronised, 0, log(3 * HOUR, -2 * HOUR), None),
            (Keeper::Waiting, 0, vec![], Some((Level::Warning, "clock_not_synchronised"))),
            (Keeper::Nobody, 0, vec![], Some((Level::Note, "clock_not_kept"))),
            (Keeper::Synchronised, -30_000, vec![], Some((Level::Warning, "clock_apart"))),
            (Keeper::Synchronised, 0, log(0, 3 * 60_000), Some((Level::Error, "log_ahead"))),
            (Keeper::Synchronised, 0, log(5 * HOUR, HOUR), None),
            (Keeper::Synchronised, 0, log(0, -HOUR), Some((Level::Error, "log_behind"))),
        ] {
            assert_eq!(told(&of(keeper, ahead, &sources)).first().copied(), expected, "{keeper:?} {ahead} {sources:?}");
        }
        let zone = of(Keeper::Synchronised, 0, &log(0, -2 * HOUR - 20_000));
        assert!(zone[0].advice.contains("`timezone`") && zone[0].problem.contains("2.0 h behind"), "{zone:?}");
        let clock = of(Keeper::Synchronised, 0, &log(0, 37 * 60_000));
        assert!(clock[0].advice.contains("NTP") && clock[0].problem.contains("37 min ahead"), "{clock:?}");
    }
}
