//! Messages of known programs. Each family has its programs and, row by row, what they write, with
//! an example in which the client is 203.0.113.7 and the user alice.
//!
//! Rows stand from the strictest to the loosest: the first that fits counts. A row must not let what
//! a client writes stand on both sides of the address, unless it ends in `{!}`.

mod access;
mod apps;
mod mail;
mod network;
mod servers;

use super::pattern::{self, Holes};

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Says {
    Failure,
    Success,
    /// A connection, with no word on a login.
    Connection,
    Mail,
    App,
    /// An application's own words behind the head of its server: outcome and user are looked for.
    Words,
}

/// What a program writes: a pattern, and an example without the family's head.
pub struct Row(
    pub Says,
    pub &'static str,
    #[cfg_attr(not(test), allow(dead_code, reason = "tests read it; beside its pattern it explains it"))]
    pub  &'static str,
);

/// Programs that write the same.
pub struct Family {
    /// As envelopes name them; `name*` stands for all that begin so. Empty: any program.
    pub programs: &'static [&'static str],
    /// They write files of their own too, with a time and a level in front: there the shape is all
    /// that tells who wrote.
    pub own_files: bool,
    /// What stands before every message; the first that fits.
    pub heads: &'static [&'static str],
    pub rows: &'static [Row],
    /// What a message says that has a head with an address and fits no row.
    pub rest: Option<Says>,
}

/// What a known message tells.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub says: Says,
    pub holes: Holes<'a>,
    /// The message behind the head.
    pub text: &'a [u8],
}

pub static FAMILIES: &[&[Family]] =
    &[access::FAMILIES, apps::FAMILIES, mail::FAMILIES, network::FAMILIES, servers::FAMILIES];

/// What `text` says, if `program` is known to write so; of an empty `program` its shape decides.
pub fn read<'a>(program: &[u8], text: &'a [u8]) -> Option<Known<'a>> {
    FAMILIES.iter().copied().flatten().filter(|family| family.is_of(program)).find_map(|family| family.read(text))
}

impl Family {
    fn is_of(&self, program: &[u8]) -> bool {
        if program.is_empty() {
            return self.own_files;
        }
        self.programs.is_empty()
            || self.programs.iter().any(|name| match name.strip_suffix('*') {
                Some(start) => program.starts_with(start.as_bytes()),
                None => program == name.as_bytes(),
            })
    }

    fn read<'a>(&self, text: &'a [u8]) -> Option<Known<'a>> {
        let (holes, text) = self.heads.iter().find_map(|head| pattern::start(head, text))?;
        for Row(says, pattern, _) in self.rows {
            if let Some(holes) = pattern::whole(pattern, text, holes) {
                return Some(Known { says: *says, holes, text });
            }
        }
        self.rest.filter(|_| holes.has_ip).map(|says| Known { says, holes, text })
    }
}
