use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Stream;

/// One `[[source]]`: files to follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// A path or glob, such as `/var/log/nginx/*access.log`, or what [`Stream::parse`] understands:
    /// `-`, `journal:`, `journal:UNIT`, `udp://ADDRESS:PORT`, `tcp://ADDRESS:PORT`.
    pub path: String,
    /// A name of `palisade config formats`, a format string of nginx or Apache such as
    /// `$remote_addr [$time_local] "$request"`, or `auto`: learned from the file's first lines.
    /// Behind `regex:` stands a regular expression for the whole line, whose groups are named
    /// `source_ip`, `time`, `request` and so on.
    #[serde(default = "auto")]
    pub format: String,
    /// Lines that `format` must understand, or the configuration does not hold.
    #[serde(default)]
    pub samples: Vec<String>,
    /// Where reading starts the first time a file is seen.
    #[serde(default)]
    pub start: Start,
}

/// Where reading starts the first time a file is seen: `end`, `beginning`, or how far back, as `-30m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("format" = "start"))]
pub enum Start {
    /// Only what is written from now on. (A file that appears later is read whole.)
    #[default]
    End,
    /// The whole file.
    Beginning,
    /// From the first line on that is not older than so many seconds; as `End` where lines have no
    /// time that can be read.
    Ago(u32),
}

/// What `start` may say, for messages.
pub const START: &str = r#"expected "end", "beginning" or how far back, such as "-30m", "-1h" or "-7d""#;

/// Seconds of the units that [`Start::Ago`] is written in.
const UNITS: [(char, u32); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

impl TryFrom<String> for Start {
    type Error = String;

    fn try_from(text: String) -> Result<Start, String> {
        let ago = |text: &str| {
            let number = text.strip_prefix('-')?;
            let (unit, secs) = UNITS.into_iter().find(|(unit, _)| number.ends_with(*unit))?;
            let number = number.strip_suffix(unit).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))?;
            number.parse::<u32>().ok()?.checked_mul(secs).map(Start::Ago)
        };
        match text.as_str() {
            "end" => Ok(Start::End),
            "beginning" => Ok(Start::Beginning),
            other => ago(other).ok_or_else(|| START.to_owned()),
        }
    }
}

impl From<Start> for String {
    fn from(start: Start) -> String {
        match start {
            Start::End => "end".into(),
            Start::Beginning => "beginning".into(),
            Start::Ago(secs) => {
                let fits = |(_, unit): &(char, u32)| secs.is_multiple_of(*unit);
                let (name, unit) = UNITS.into_iter().find(fits).unwrap_or(('s', 1));
                format!("-{}{name}", secs / unit)
            }
        }
    }
}

impl SourceConfig {
    /// What is at `path`, in the formats that it shows.
    pub fn new(path: impl Into<String>, start: Start) -> SourceConfig {
        SourceConfig { path: path.into(), format: auto(), samples: vec![], start }
    }

    /// What it is if it is no file.
    pub fn stream(&self) -> Option<Stream> {
        Stream::parse(&self.path).ok().flatten()
    }
}

fn auto() -> String {
    "auto".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_read_and_written_alike() {
        for (text, secs) in [("-90s", 90), ("-30m", 1800), ("-1h", 3600), ("-7d", 604_800)] {
            assert_eq!(Start::try_from(text.to_owned()), Ok(Start::Ago(secs)));
            assert_eq!(String::from(Start::Ago(secs)), text);
        }
        assert_eq!(String::from(Start::Ago(0)), "-0d");
        for text in ["", "-", "1h", "-h", "-1", "-+1h", "-1w", "-1.5h", "--1h", "-50000d", "End"] {
            assert_eq!(Start::try_from(text.to_owned()), Err(START.to_owned()), "{text}");
        }
    }
}
