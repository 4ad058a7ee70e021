//! Files of networks that are never blocked, one a line: `client.allow_files`, `client.cdn_files`. For a
//! thread that may block.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::config::network;
use crate::event::printable;

/// A larger file is no list of networks: about a hundred thousand of them, which the gate looks
/// through one by one.
const MAX_BYTES: u64 = 2 << 20;
/// Mistakes of one file that are told.
const TOLD: usize = 20;

/// What the files said last.
pub struct AllowFiles(Vec<AllowFile>);

struct AllowFile {
    path: PathBuf,
    networks: Vec<IpNet>,
    /// What is wrong with it now.
    problems: Vec<String>,
}

/// A file that must be there cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {} cannot be read: {why}; make it, or take it out", .path.display())]
pub struct Unreadable {
    setting: &'static str,
    path: PathBuf,
    why: io::Error,
}

impl AllowFiles {
    /// Those that `setting` names.
    ///
    /// # Errors
    /// One of them cannot be read. Wrong lines are [problems](AllowFiles::problems).
    pub fn open(setting: &'static str, paths: &[PathBuf]) -> Result<AllowFiles, Unreadable> {
        let open = |path: &PathBuf| match read(path) {
            Ok((networks, problems)) => Ok(AllowFile { path: path.clone(), networks, problems }),
            Err(why) => Err(Unreadable { setting, path: path.clone(), why }),
        };
        paths.iter().map(open).collect::<Result<_, _>>().map(AllowFiles)
    }

    /// Reads them again. Of one that cannot be read, what it said last holds: who was safe stays safe.
    pub fn refresh(&mut self) {
        for file in &mut self.0 {
            match read(&file.path) {
                Ok((networks, problems)) => (file.networks, file.problems) = (networks, problems),
                Err(why) => {
                    file.problems =
                        vec![format!("{} cannot be read: {why}; what it said last holds", file.path.display())];
                }
            }
        }
    }

    pub fn networks(&self) -> impl Iterator<Item = IpNet> {
        self.0.iter().flat_map(|file| file.networks.iter().copied())
    }

    /// What is wrong with them, a line each.
    pub fn problems(&self) -> impl Iterator<Item = &String> {
        self.0.iter().flat_map(|file| &file.problems)
    }
}

fn read(path: &Path) -> io::Result<(Vec<IpNet>, Vec<String>)> {
    let mut bytes = vec![];
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("larger than 2 MiB"));
    }
    Ok(parse(path, &bytes))
}

/// The networks of a file's lines, and what is wrong with the others. `#` begins a comment.
fn parse(path: &Path, bytes: &[u8]) -> (Vec<IpNet>, Vec<String>) {
    let (mut networks, mut problems, mut untold) = (vec![], vec![], 0);
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let entry = line.split(|&byte| byte == b'#').next().unwrap_or_default().trim_ascii();
        match std::str::from_utf8(entry).ok().and_then(network) {
            Some(network) => networks.push(network),
            None if entry.is_empty() => {}
            None if problems.len() == TOLD => untold += 1,
            None => problems.push(format!(
                "{}:{}: not an address or network: {:?}",
                path.display(),
                index + 1,
                printable(entry, 60)
            )),
        }
    }
    if untold > 0 {
        problems.push(format!("{}: {untold} more lines are wrong", path.display()));
    }
    (networks, problems)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &[u8]) -> (Vec<String>, Vec<String>) {
        let (networks, problems) = parse(Path::new("allow.txt"), text);
        (networks.iter().map(ToString::to_string).collect(), problems)
    }

    #[test]
    fn a_line_is_a_network_a_comment_or_a_mistake() {
        let (networks, problems) = of(b"\xef\xbb\xbf# office\r\n192.0.2.7\r\n\n  198.51.100.9/24 # host bits\n2001:db8::1\nfd00::/8\n::ffff:203.0.113.0/120\n10.0.0.0/33\nlocalhost\n\x1b[2J\xff\n203.0.113.9");
        assert_eq!(
            networks,
            ["192.0.2.7/32", "198.51.100.0/24", "2001:db8::1/128", "fd00::/8", "203.0.113.0/24", "203.0.113.9/32"]
        );
        assert_eq!(problems.len(), 3);
        assert_eq!(problems[0], "allow.txt:8: not an address or network: \"10.0.0.0/33\"");
        assert!(problems[1].starts_with("allow.txt:9: ") && !problems[2].contains('\x1b'), "{problems:?}");
        let (_, many) = of("x\n".repeat(1000).as_bytes());
        assert_eq!((many.len(), many[TOLD].as_str()), (TOLD + 1, "allow.txt: 980 more lines are wrong"));
    }

    #[test]
    fn what_cannot_be_read_is_an_error_first_and_holds_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("allow.txt");
        let told = AllowFiles::open("client.allow_files", std::slice::from_ref(&path)).err().unwrap().to_string();
        assert!(told.contains("client.allow_files") && told.contains("allow.txt"), "{told}");
        std::fs::write(&path, "192.0.2.7\n").unwrap();
        let mut files = AllowFiles::open("client.allow_files", std::slice::from_ref(&path)).unwrap();
        std::fs::write(&path, "192.0.2.8\nx\n").unwrap();
        files.refresh();
        assert_eq!((files.networks().collect(), files.problems().count()), (vec!["192.0.2.8/32".parse().unwrap()], 1));
        for break_it in
            [|path: &Path| std::fs::remove_file(path), |path: &Path| std::fs::write(path, "#".repeat(3 << 20))]
        {
            break_it(&path).unwrap();
            files.refresh();
            assert_eq!(files.networks().count(), 1);
            assert!(files.problems().all(|problem| problem.contains("what it said last holds")));
        }
    }

    proptest! {
        #[test]
        fn bytes_never_panic_and_every_line_is_accounted_for(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let (networks, problems) = parse(Path::new("a"), &bytes);
            prop_assert!(networks.len() + problems.len() <= bytes.iter().filter(|&&byte| byte == b'\n').count() + 1);
        }
    }
}
