//! Connections that come back like clockwork: a program that asks whether there are orders.

use std::collections::HashMap;
use std::net::IpAddr;

use super::Seen;
use super::evidence::{Actor, Evidence};
use super::text;
use crate::event::Connection;
use crate::event::analysis::{IndicatorKind, ThreatKind, ThreatOutcome};

/// Pairs of hosts that are followed.
const MAX_PAIRS: usize = 10_000;
/// Connections and seconds between two of them, at least.
const LEAST: u64 = 8;
const LEAST_SECS: f64 = 5.0;
/// Deviation of the pauses from their mean, as a share of it, at most.
const MOST_JITTER: f64 = 0.12;
/// Ports on which much that is honest comes back regularly.
const USUAL_PORTS: &[u16] = &[
    0, 22, 25, 53, 80, 110, 123, 143, 161, 443, 465, 514, 587, 853, 873, 993, 995, 1194, 1514, 3306, 3478, 5044, 5222,
    5228, 5432, 6379, 6514, 8080, 8086, 8125, 8443, 8883, 9092, 9100, 9418, 9997, 10050, 10051, 51820,
];

/// See the module.
#[derive(Default)]
pub struct Beacons(HashMap<(Option<IpAddr>, IpAddr, u16), Pulse>);

/// Mean and spread of the pauses, by Welford's method.
#[derive(Default)]
struct Pulse {
    last_millis: i64,
    pauses: u64,
    mean: f64,
    squares: f64,
    evidence: Evidence,
}

impl Beacons {
    pub fn see(&mut self, seen: &Seen<'_>, connection: &Connection<'_>) {
        let (Some(destination), Some(time)) = (connection.destination, seen.event.time) else { return };
        let key = (seen.event.source_ip, destination, connection.destination_port);
        let inside = seen.event.source_ip.is_none_or(|source| !text::is_public(source));
        if !inside || !text::is_public(destination) || self.0.len() >= MAX_PAIRS && !self.0.contains_key(&key) {
            return;
        }
        let pulse = self.0.entry(key).or_default();
        if pulse.evidence.events > 0 {
            let pause = (time.0 - pulse.last_millis) as f64 / 1000.0;
            pulse.pauses += 1;
            let off = pause - pulse.mean;
            pulse.mean += off / pulse.pauses as f64;
            pulse.squares += off * (pause - pulse.mean);
        }
        pulse.last_millis = time.0;
        pulse.evidence.line(seen);
    }

    /// Those that are regular, by whom they call.
    pub fn finish(self) -> Vec<(ThreatKind, Actor, Evidence)> {
        let regular = |((source, destination, port), pulse): ((Option<IpAddr>, IpAddr, u16), Pulse)| {
            let spread = (pulse.squares / pulse.pauses.max(1) as f64).sqrt();
            let like_clockwork =
                pulse.pauses + 1 >= LEAST && pulse.mean >= LEAST_SECS && spread <= MOST_JITTER * pulse.mean;
            if !like_clockwork {
                return None;
            }
            let mut evidence = pulse.evidence;
            evidence.signs.insert("regular-intervals".into(), (if USUAL_PORTS.contains(&port) { 2 } else { 8 }, 1));
            evidence.outcome(ThreatOutcome::Unknown);
            evidence.listener = super::signs::LISTENER_PORTS.contains(&port);
            source.into_iter().chain([destination]).for_each(|address| evidence.address(address));
            evidence.indicator(IndicatorKind::Port, port.to_string());
            Some((ThreatKind::CommandAndControl, Actor::Destination(destination), evidence))
        };
        self.0.into_iter().filter_map(regular).collect()
    }
}
