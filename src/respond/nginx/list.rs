//! The file: what stands in it, and how it changes from one whole list to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ipnet::IpNet;

use super::NginxFormat;
use crate::event::{Timestamp, printable, shown};
use crate::respond::RespondError;
use crate::respond::shared::moment;

/// How the first line begins, by which the file is known to be ours.
const HEADER: &str = "# Written by Palisade, which replaces the whole file; do not edit. ";
/// Between a target and its end.
const UNTIL: &str = " # until ";
/// Half a million targets; a file beyond it is hardly ours.
const MAX_BYTES: u64 = 64 << 20;

/// Who is refused until when, and who passes all the same.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    pub held: BTreeMap<IpNet, Timestamp>,
    pub allowed: BTreeSet<IpNet>,
}

impl List {
    /// The lines below the header.
    pub fn body(&self, format: NginxFormat) -> String {
        let mut body = String::new();
        let mut line = |text: std::fmt::Arguments<'_>| {
            // A String takes everything.
            let _ = body.write_fmt(text);
        };
        match format {
            // nginx takes the first line that fits.
            NginxFormat::Deny => {
                for network in &self.allowed {
                    line(format_args!("allow {};\n", shown(*network)));
                }
                for (target, end) in &self.held {
                    line(format_args!("deny {};{UNTIL}{end}\n", shown(*target)));
                }
            }
            // nginx takes the narrowest network that fits, so an allowed one around a target says
            // nothing of it.
            NginxFormat::Geo => {
                for network in self.allowed.iter().filter(|network| !self.held.contains_key(*network)) {
                    if network.prefix_len() > 0 {
                        line(format_args!("{} 0;\n", shown(*network)));
                    }
                }
                for (target, end) in &self.held {
                    let value = u8::from(!self.passes(target));
                    line(format_args!("{} {value};{UNTIL}{end}\n", shown(*target)));
                }
            }
        }
        body
    }

    /// Whether an allowed network holds all of `target`.
    fn passes(&self, target: &IpNet) -> bool {
        (0..=target.prefix_len()).any(|prefix| {
            let around = IpNet::new(target.addr(), prefix).map(|network| network.trunc());
            around.is_ok_and(|around| self.allowed.contains(&around))
        })
    }
}

/// The targets in `text`, or the number of the first line that is not ours.
pub(super) fn parse(text: &str) -> Result<BTreeMap<IpNet, Timestamp>, usize> {
    let mut held = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        if number == 0 && line.starts_with(HEADER) {
            continue;
        }
        held.extend(entry(line).filter(|_| number > 0).ok_or(number + 1)?);
    }
    Ok(held)
}

/// The target of a line that we may have written, if it is one that holds somebody.
fn entry(line: &str) -> Option<Option<(IpNet, Timestamp)>> {
    let (directive, end) = match line.split_once(UNTIL) {
        Some((directive, end)) => (directive, Some(moment(end)?)),
        None => (line, None),
    };
    let words = directive.strip_suffix(';')?;
    let network = match (words.split_once(' ')?, end) {
        (("deny", network), Some(_)) | (("allow", network), None) => network,
        ((network, "0" | "1"), Some(_)) | ((network, "0"), None) => network,
        _ => return None,
    };
    let network: IpNet = network.parse().or_else(|_| network.parse().map(|one: std::net::IpAddr| one.into())).ok()?;
    Some(end.map(|end| (network.trunc(), end)))
}

/// A file as it was left: what it says and what tells whether somebody else wrote it.
#[derive(Clone, Debug)]
pub(super) struct Stamp {
    pub body: String,
    pub file: Meta,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    inode: u64,
    size: u64,
    written: Option<SystemTime>,
}

/// Where the file is and how it may be read.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub file: PathBuf,
    pub mode: u32,
}

impl Place {
    /// What the file holds; nothing when it is not there or empty.
    ///
    /// # Errors
    /// It cannot be read, or somebody else wrote in it.
    pub fn read(&self) -> Result<BTreeMap<IpNet, Timestamp>, RespondError> {
        let bytes = self.bytes()?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        parse(&text).map_err(|number| {
            let line = text.lines().nth(number - 1).unwrap_or_default();
            self.refused(format!(
                "line {number} is not Palisade's: {:?}; it writes the whole file, so keep your own lines in another, \
                 and remove this file or name a new one",
                printable(line.as_bytes(), 80)
            ))
        })
    }

    /// Writes a header and `body` in place of what is there; gives what was there.
    ///
    /// # Errors
    /// It cannot be written, or somebody else wrote in it.
    pub fn replace(&self, body: String, now: Timestamp) -> Result<(Option<Vec<u8>>, Stamp), RespondError> {
        self.read()?;
        let before = self.bytes()?;
        self.write(format!("{HEADER}{now}\n{body}").as_bytes())?;
        let file = self.stamp().ok_or_else(|| self.refused("it went away while it was written".into()))?;
        Ok((before, Stamp { body, file }))
    }

    /// Writes what was there before. A file that was not there stays as one without targets: the
    /// configuration may include it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put_back(&self, before: Option<Vec<u8>>) -> Result<(), RespondError> {
        self.write(&before.unwrap_or_else(|| format!("{HEADER}{}\n", Timestamp::now()).into_bytes()))
    }

    /// None when the file is not there.
    pub fn stamp(&self) -> Option<Meta> {
        let meta = fs::metadata(&self.file).ok()?;
        Some(Meta { inode: meta.ino(), size: meta.len(), written: meta.modified().ok() })
    }

    fn bytes(&self) -> Result<Option<Vec<u8>>, RespondError> {
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = vec![];
            File::open(&self.file)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) if bytes.len() as u64 > MAX_BYTES => {
                Err(self.refused("it is larger than 64 MB, so hardly Palisade's".into()))
            }
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.refused(format!("it cannot be read: {error}"))),
        }
    }

    /// All or nothing, also when the power fails: a second file, renamed over the first.
    fn write(&self, bytes: &[u8]) -> Result<(), RespondError> {
        // Behind a link, the file that it leads to.
        let file = fs::canonicalize(&self.file).unwrap_or_else(|_| self.file.clone());
        let (Some(directory), Some(name)) = (file.parent(), file.file_name()) else {
            return Err(self.refused("it is no file".into()));
        };
        let new = directory.join(format!(".{}.new", name.to_string_lossy()));
        let owner = fs::metadata(&file).ok().map(|meta| (meta.uid(), meta.gid()));
        let written = write_new(&new, bytes, self.mode, owner)
            .and_then(|()| fs::rename(&new, &file))
            .and_then(|()| File::open(directory)?.sync_all());
        written.map_err(|error| {
            let _ = fs::remove_file(&new);
            self.refused(format!("it cannot be written: {error}; Palisade needs its directory and its owner's rights"))
        })
    }

    fn refused(&self, message: String) -> RespondError {
        RespondError::Rejected { program: self.file.display().to_string(), message }
    }
}

fn write_new(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    // Of a writer that was killed.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let ours = file.metadata()?;
    if let Some((user, group)) = owner.filter(|owner| *owner != (ours.uid(), ours.gid())) {
        fchown(&file, Some(user), Some(group))?;
    }
    file.write_all(bytes)?;
    // Whatever the umask says.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn list(held: &[&str], allowed: &[&str]) -> List {
        let end = Timestamp(1_767_571_200_123);
        List {
            held: held.iter().map(|one| (net(one), end)).collect(),
            allowed: allowed.iter().map(|one| net(one)).collect(),
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_who_is_allowed_stands_first() {
        let list = list(&["203.0.113.7/32", "2001:db8:7::/64"], &["203.0.113.0/24"]);
        let body = list.body(NginxFormat::Deny);
        assert_eq!(
            body,
            "allow 203.0.113.0/24;\n\
             deny 203.0.113.7; # until 2026-01-05T00:00:00.123Z\n\
             deny 2001:db8:7::/64; # until 2026-01-05T00:00:00.123Z\n"
        );
        for format in [NginxFormat::Deny, NginxFormat::Geo] {
            let text = format!("{HEADER}{}\n{}", Timestamp(0), list.body(format));
            assert_eq!(parse(&text).unwrap(), list.held, "{format:?}");
        }
        assert_eq!(parse("").unwrap(), BTreeMap::new());
    }

    #[test]
    fn in_a_geo_block_who_is_allowed_passes_though_the_narrowest_network_counts() {
        let body = list(
            &["203.0.113.7/32", "198.51.100.0/24", "192.0.2.1/32", "192.0.2.0/30"],
            &["0.0.0.0/0", "192.0.2.0/30"],
        )
        .body(NginxFormat::Geo);
        let values: Vec<&str> = body.lines().map(|line| line.split(UNTIL).next().unwrap()).collect();
        assert_eq!(values, ["192.0.2.0/30 0;", "192.0.2.1 0;", "198.51.100.0/24 0;", "203.0.113.7 0;"]);
        let body =
            list(&["203.0.113.7/32", "198.51.100.0/24"], &["198.51.100.9/32", "203.0.113.0/24"]).body(NginxFormat::Geo);
        let values: Vec<&str> = body.lines().map(|line| line.split(UNTIL).next().unwrap()).collect();
        assert_eq!(values, ["198.51.100.9 0;", "203.0.113.0/24 0;", "198.51.100.0/24 1;", "203.0.113.7 0;"]);
    }

    #[test]
    fn a_line_of_somebody_else_is_found() {
        let ours = format!("{HEADER}2026-01-05T00:00:00.123Z\ndeny 203.0.113.7; # until 2026-01-05T00:00:00.123Z\n");
        for (line, number) in [
            ("deny 203.0.113.8;", 3),
            ("deny 203.0.113.8; # until tomorrow", 3),
            ("deny all;", 3),
            ("", 3),
            ("# mine", 3),
            ("allow 192.0.2.1; deny all;", 3),
            ("include x;", 3),
        ] {
            assert_eq!(parse(&format!("{ours}{line}\n")), Err(number), "{line}");
        }
        assert_eq!(parse(&ours).unwrap().len(), 1);
        assert_eq!(parse(ours.split_once('\n').unwrap().1), Err(1), "without its header it is not ours");
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_read_as_what_we_would_write(
            lines in proptest::collection::vec("(deny|allow|[0-9./:]{1,9})? ?[0-9a-f./:]{0,12};?( # until [0-9TZ:.-]{0,24})?|\\PC*", 0..5),
        ) {
            let text = format!("{HEADER}x\n{}", lines.join("\n"));
            if let Ok(held) = parse(&text) {
                let again = List { held: held.clone(), allowed: BTreeSet::new() }.body(NginxFormat::Deny);
                prop_assert_eq!(parse(&format!("{HEADER}x\n{again}")).unwrap(), held);
            }
        }
    }
}
