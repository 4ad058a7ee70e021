//! Lists of addresses and networks as people share them: one a line, alone, before a comment, or as
//! the first column of CSV.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::Serialize;

use crate::config::network;
use crate::event::printable;
use crate::show::MAX_IMPORT;

/// Wrong lines that are told; the others are counted.
const TOLD: usize = 20;

/// What a list says.
#[derive(Debug, Default)]
pub struct List {
    /// Each once.
    pub targets: BTreeSet<IpNet>,
    pub wrong: WrongLines,
    /// Lines left out because the list is longer than one import may be.
    pub over: u64,
}

/// Lines that hold neither an address nor a network.
#[derive(Debug, Default, Serialize)]
pub struct WrongLines {
    pub count: u64,
    /// The first of them, by number, for people.
    pub first: Vec<WrongLine>,
}

#[derive(Debug, Serialize)]
pub struct WrongLine {
    pub line_number: u64,
    pub text: String,
}

/// Reads a list. `#` and `;` begin a comment, as in Spamhaus' DROP; of columns, between commas, tabs or
/// spaces, the first counts.
pub fn parse(bytes: &[u8]) -> List {
    let mut list = List::default();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (line, line_number) in bytes.split(|&byte| byte == b'\n').zip(1..) {
        let line = line.split(|byte| b"#;".contains(byte)).next().unwrap_or_default().trim_ascii();
        if line.is_empty() {
            continue;
        }
        let entry = line.split(|byte| b", \t\r".contains(byte)).next().unwrap_or_default();
        let quoted = entry.strip_prefix(b"\"").and_then(|entry| entry.strip_suffix(b"\""));
        match std::str::from_utf8(quoted.unwrap_or(entry)).ok().and_then(network) {
            Some(target) if list.targets.len() < MAX_IMPORT || list.targets.contains(&target) => {
                list.targets.insert(target);
            }
            Some(_) => list.over += 1,
            None => {
                list.wrong.count += 1;
                if list.wrong.first.len() < TOLD {
                    list.wrong.first.push(WrongLine { line_number, text: printable(line, 60) });
                }
            }
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &[u8]) -> (Vec<String>, Vec<(u64, String)>) {
        let List { targets, wrong, .. } = parse(text);
        let wrong = wrong.first.into_iter().map(|wrong| (wrong.line_number, wrong.text));
        (targets.iter().map(ToString::to_string).collect(), wrong.collect())
    }

    #[test]
    fn a_line_begins_with_an_address_or_network_is_a_comment_or_is_told() {
        let text = b"\xef\xbb\xbf# a list\r\n203.0.113.9\r\n\n203.0.113.9 # twice\n198.51.100.0/24 ; SBL1\n\"192.0.2.7\",\"spam\",3\n; 2 lists\n2001:db8::/48;x\n\t192.0.2.8\tDE\n::ffff:192.0.2.9\n";
        let targets =
            ["192.0.2.7/32", "192.0.2.8/32", "192.0.2.9/32", "198.51.100.0/24", "203.0.113.9/32", "2001:db8::/48"];
        assert_eq!(of(text), (targets.map(String::from).into(), vec![]));
        let (targets, wrong) =
            of(b"ip,reason\n192.0.2.300\n192.0.2.1\nhost.example\n1.2.3.4/33\n\x1b[2J\xff\n\"192.0.2.7\n");
        assert_eq!(targets, ["192.0.2.1/32"]);
        let told = ["ip,reason", "192.0.2.300", "host.example", "1.2.3.4/33", "\\u{1b}[2J\\xFF", "\"192.0.2.7"];
        assert_eq!(wrong, [1, 2, 4, 5, 6, 7].into_iter().zip(told.map(String::from)).collect::<Vec<_>>());
    }

    #[test]
    fn a_list_is_bounded_and_says_what_it_left_out() {
        let text: String = (0..MAX_IMPORT as u32 + 5).map(|n| format!("{}\n", std::net::Ipv4Addr::from(n))).collect();
        let list = parse(text.as_bytes());
        assert_eq!((list.targets.len(), list.over), (MAX_IMPORT, 5));
        let wrong = parse("x\n".repeat(1000).as_bytes()).wrong;
        assert_eq!((wrong.count, wrong.first.len()), (1000, TOLD));
    }

    proptest! {
        #[test]
        fn bytes_never_panic_and_every_line_is_accounted_for(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let list = parse(&bytes);
            let lines = bytes.iter().filter(|&&byte| byte == b'\n').count() + 1;
            prop_assert!(list.targets.len() + list.wrong.count as usize <= lines);
        }
    }
}
