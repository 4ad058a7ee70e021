//! Templates: what lines that look alike have in common. A tree of two levels as Drain has it, the shape
//! of a line and then the most similar template of that shape, with a bound on both.

use std::collections::HashMap;
use std::ops::Range;

use foldhash::fast::RandomState;

use super::fields::Fields;

/// So many templates; what comes later and fits none goes to [`OTHER`].
const MAX_TEMPLATES: usize = 2000;
/// Templates of one shape; beyond it a line joins the most similar one, however little it is.
const MAX_OF_SHAPE: usize = 24;
/// Lines are of one template if so large a part of their fields is the same: Drain's own default is 0.4.
const SIMILAR: f64 = 0.5;

/// Lines that no template was made for: each is one field.
pub const OTHER: usize = 0;

/// What lines have in common.
pub struct Template {
    /// The first line of it.
    text: String,
    fields: Vec<Range<usize>>,
    /// Which of its fields vary.
    varies: Vec<bool>,
    /// How many do not.
    constant: usize,
}

impl Template {
    fn of(text: &str, fields: &[Range<usize>]) -> Template {
        let varies = vec![false; fields.len()];
        Template { text: text.to_owned(), fields: fields.to_vec(), varies, constant: fields.len() }
    }

    /// Texts before, between and after the fields that vary: one more than there are such fields.
    pub fn constants(&self) -> Vec<&str> {
        let mut start = 0;
        let mut parts = vec![];
        for (range, _) in self.fields.iter().zip(&self.varies).filter(|(_, varies)| **varies) {
            parts.push(&self.text[start..range.start]);
            start = range.end;
        }
        parts.push(&self.text[start..]);
        parts
    }

    /// What `line` has in the fields that vary.
    pub fn values<'a>(&self, line: &'a str, fields: &Fields) -> Vec<&'a str> {
        let all = fields.ranges.iter().zip(&self.varies);
        all.filter(|(_, varies)| **varies).map(|(range, _)| &line[range.clone()]).collect()
    }

    fn same(&self, line: &str, fields: &Fields) -> usize {
        let pairs = self.fields.iter().zip(&self.varies).zip(&fields.ranges);
        pairs.filter(|((own, varies), range)| !**varies && self.text[(*own).clone()] == line[(*range).clone()]).count()
    }

    fn widen(&mut self, line: &str, fields: &Fields) {
        for ((own, varies), range) in self.fields.iter().zip(&mut self.varies).zip(&fields.ranges) {
            if !*varies && self.text[own.clone()] != line[range.clone()] {
                *varies = true;
                self.constant -= 1;
            }
        }
    }
}

/// The templates of the lines so far.
pub struct Miner {
    pub templates: Vec<Template>,
    by_shape: HashMap<u64, Vec<usize>, RandomState>,
}

impl Miner {
    pub fn new() -> Miner {
        let mut other = Template::of("", std::slice::from_ref(&(0..0)));
        (other.varies[0], other.constant) = (true, 0);
        Miner { templates: vec![other], by_shape: HashMap::default() }
    }

    /// The template of `line`, which is widened so that it fits.
    pub fn take(&mut self, line: &str, fields: &Fields) -> usize {
        let shape = fields.shape(line);
        let candidates = self.by_shape.get(&shape).map_or(&[][..], Vec::as_slice);
        // Of two that hash alike the numbers of fields may differ.
        let fitting = candidates.iter().filter(|&&of| self.templates[of].fields.len() == fields.ranges.len());
        let mut best = None;
        for &of in fitting {
            let template = &self.templates[of];
            // Of equals the oldest: one that cannot have more in common is not compared.
            if best.is_none_or(|(most, _)| template.constant > most) {
                let same = template.same(line, fields);
                best = best.filter(|(most, _)| *most >= same).or(Some((same, of)));
            }
        }
        let enough = (fields.ranges.len() as f64 * SIMILAR).ceil() as usize;
        match best {
            Some((same, of)) if same >= enough || candidates.len() >= MAX_OF_SHAPE => {
                self.templates[of].widen(line, fields);
                of
            }
            _ if self.templates.len() >= MAX_TEMPLATES => OTHER,
            _ => {
                let of = self.templates.len();
                self.templates.push(Template::of(line, &fields.ranges));
                self.by_shape.entry(shape).or_default().push(of);
                of
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mine(lines: &[String]) -> (Miner, Vec<usize>) {
        let (mut miner, mut fields) = (Miner::new(), Fields::default());
        let mut of = vec![];
        for line in lines {
            fields.split(line);
            of.push(miner.take(line, &fields));
        }
        (miner, of)
    }

    #[test]
    fn what_varies_becomes_a_column_and_every_line_is_made_of_its_template() {
        let lines: Vec<String> = (0..50)
            .map(|n| match n % 2 {
                0 => format!("Nov 21 22:33:{n:02} web sshd[{n}]: Failed password for user{n} from 192.0.2.{n} port 9"),
                _ => format!("Nov 21 22:33:{n:02} web cron[{n}]: (root) CMD (/bin/true)"),
            })
            .collect();
        let (miner, of) = mine(&lines);
        assert_eq!(miner.templates.len(), 3, "two, and the one for others");
        let failed = miner.templates[of[0]].constants().join("<>");
        assert_eq!(failed, "Nov 21 <> web sshd[<>]: Failed password for <> from <> port 9");
        let mut fields = Fields::default();
        for (line, of) in lines.iter().zip(of) {
            fields.split(line);
            let template = &miner.templates[of];
            let (constants, values) = (template.constants(), template.values(line, &fields));
            let filled: String = constants.iter().zip(values.iter().chain([&""])).flat_map(|(a, b)| [*a, *b]).collect();
            assert_eq!(filled, *line);
        }
    }

    #[test]
    fn hostile_lines_make_no_more_templates_than_are_allowed() {
        let shapes: Vec<String> = (0..20_000u64)
            .map(|n| {
                format!("x{}", &"a=b,[c]".repeat(9)[..(n % 60) as usize])
                    + &format!("{:b}", n).replace('0', ";").replace('1', "|w")
            })
            .collect();
        let (miner, _) = mine(&shapes);
        assert!(miner.templates.len() <= MAX_TEMPLATES);
        let words: Vec<String> = (0..3000).map(|n| format!("k{n} l{n} m{n} n{n}")).collect();
        assert!(mine(&words).0.templates.len() <= MAX_OF_SHAPE + 1);
    }

    /// Lines of a host, of nine kinds.
    fn host_log() -> Vec<String> {
        let users = ["root", "alice", "bob", "deploy", "backup"];
        (0..900usize)
            .map(|n| {
                let (user, last, port, second) = (users[n * 7 % 5], n * 13 % 250, 1024 + n * 37 % 60_000, n % 60);
                let head = format!("Nov 21 22:{:02}:{second:02} web", n / 60);
                match n * 31 % 9 {
                    0 => format!("{head} sshd[{port}]: Failed password for {user} from 192.0.2.{last} port {port} ssh2"),
                    1 => format!("{head} sshd[{port}]: Failed password for invalid user {user} from 192.0.2.{last} port {port} ssh2"),
                    2 => format!("{head} sshd[{port}]: Accepted publickey for {user} from 198.51.100.{last} port {port} ssh2"),
                    3 => format!("{head} CRON[{port}]: ({user}) CMD (run-parts /etc/cron.hourly)"),
                    4 => format!("{head} kernel: [UFW BLOCK] IN=eth0 OUT= SRC=203.0.113.{last} DST=192.0.2.1 LEN=40 DPT={port} SYN"),
                    5 => format!("{head} systemd[1]: Started Session {n} of user {user}."),
                    6 => format!("{head} postfix/smtpd[{port}]: connect from unknown[203.0.113.{last}]"),
                    7 => format!("{head} postfix/smtpd[{port}]: lost connection after AUTH from unknown[203.0.113.{last}]"),
                    _ => format!("{head} sudo: {user} : TTY=pts/{} ; PWD=/home/{user} ; USER=root ; COMMAND=/usr/bin/id", n % 4),
                }
            })
            .collect()
    }

    /// Against drain3, the miner that others measure theirs by: `./test` fetches it.
    #[test]
    #[ignore = "needs a python3 that has drain3"]
    fn groups_agree_with_those_of_drain3() {
        use std::io::Write;
        use std::process::{Command, Stdio};

        let lines = host_log();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/template_groups.py");
        let mut child =
            Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
        let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let theirs: Vec<&str> = output.lines().collect();
        let (_, ours) = mine(&lines);
        assert_eq!(theirs.len(), ours.len());
        let pairs = (0..lines.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
        let (mut same, mut all) = (0u32, 0u32);
        for (a, b) in pairs {
            same += u32::from((ours[a] == ours[b]) == (theirs[a] == theirs[b]));
            all += 1;
        }
        let agreement = f64::from(same) / f64::from(all);
        println!("of all pairs of lines {:.1} % are together in both or apart in both", 100.0 * agreement);
        assert!(agreement > 0.95, "{agreement}");
    }

    #[test]
    fn kinds_of_lines_are_told_apart() {
        let (miner, of) = mine(&host_log());
        assert!(
            (10..=14).contains(&miner.templates.len()),
            "nine kinds, of which sudo's begins with one of five users, and the one for others: {}",
            miner.templates.len()
        );
        let kinds: std::collections::HashSet<(usize, usize)> =
            of.iter().enumerate().map(|(n, of)| (n * 31 % 9, *of)).collect();
        let templates: std::collections::HashSet<usize> = of.iter().copied().collect();
        assert_eq!(kinds.len(), templates.len(), "no template has lines of two kinds");
    }
}
