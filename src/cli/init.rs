//! `palisade config init`: five questions, and a configuration that answers them.

use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use ipnet::IpNet;

use super::{BAD_CONFIG, load_config, stdout};
use crate::config::{Config, DEFAULT_FILE, Place, network};
use crate::event::{Timestamp, shown};
use crate::pipeline::discover::ServerLogs;
use crate::pipeline::names::Resolved;
use crate::pipeline::{live, surroundings};

#[derive(clap::Args)]
pub struct Arguments {
    /// Where it is written; `-` is standard output. Default: where Palisade looks for it.
    #[arg(long = "to", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Ask nothing: take what is found on this machine.
    #[arg(long)]
    yes: bool,
    /// Write over a file that is there.
    #[arg(long)]
    force: bool,
}

/// What was answered.
#[derive(Clone, Debug, Default)]
struct Answers {
    /// Paths and patterns; none: what Palisade finds at each start.
    logs: Vec<String>,
    enforce: bool,
    allow: Vec<IpNet>,
    proxies: Vec<IpNet>,
    /// The URL of an Ollama and the model.
    model: Option<String>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let file = arguments.file.clone().unwrap_or_else(|| DEFAULT_FILE.into());
    let to_stdout = file.as_os_str() == "-";
    if !to_stdout && !arguments.force && file.symlink_metadata().is_ok() {
        bail!("{} is there already; --force writes over it, --to names another file", file.display());
    }
    let found = find();
    let asks = !arguments.yes && std::io::stdin().is_terminal();
    let answers = match asks {
        true => ask(&found, &mut std::io::stdin().lock(), &mut std::io::stderr())?,
        false => {
            if !arguments.yes {
                eprintln!("palisade: nobody to ask (no terminal): what was found on this machine is taken");
            }
            found.answers.clone()
        }
    };
    let text = render(&answers);
    if to_stdout {
        let mut out = stdout();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    write(&file, &text)
}

/// Writes it beside its place first, and puts it there when it holds.
fn write(file: &Path, text: &str) -> anyhow::Result<ExitCode> {
    if let Some(directory) = file.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    std::fs::write(&new, text).with_context(|| format!("cannot write {}", new.display()))?;
    if let Err(mistakes) = load_config(&Place::File(new.clone())) {
        // It is of no use to anybody.
        let _ = std::fs::remove_file(&new);
        eprintln!("{mistakes}");
        return Ok(ExitCode::from(BAD_CONFIG));
    }
    std::fs::rename(&new, file).with_context(|| format!("cannot write {}", file.display()))?;
    let mut out = stdout();
    writeln!(out, "{} is written. Next: palisade doctor, palisade run", file.display())?;
    Ok(out.flush().map(|()| ExitCode::SUCCESS)?)
}

/// What this machine suggests.
struct Found {
    answers: Answers,
    logs: Vec<PathBuf>,
}

fn find() -> Found {
    let config = Config::default();
    let sources = live::sources(&config, &ServerLogs::read(&config.server_configs));
    let logs = live::present(&sources);
    let now = Timestamp::now();
    // Without files that it names, there is nothing that cannot be read.
    let peers = surroundings::Settings::of(&config)
        .map(|settings| surroundings::read(&settings, &[], &Resolved::default(), now).ssh_peers)
        .unwrap_or_default();
    let allow = peers.into_iter().filter(|peer| !peer.is_loopback()).map(IpNet::from).collect();
    Found { answers: Answers { allow, ..Answers::default() }, logs }
}

/// Asks on `out`, reads from `input`; an empty line, and the end, take what was found.
fn ask(found: &Found, input: &mut dyn BufRead, out: &mut dyn Write) -> anyhow::Result<Answers> {
    let mut answers = found.answers.clone();
    writeln!(out, "Five questions; Enter takes what stands in [brackets].\n")?;
    match found.logs.as_slice() {
        [] => writeln!(out, "No log of nginx, Apache or sshd is found on this machine.")?,
        logs => {
            writeln!(out, "Found:")?;
            logs.iter().try_for_each(|log| writeln!(out, "  {}", log.display()))?;
        }
    }
    let logs = "1. Which logs? Paths or patterns, with spaces between [what is found, at each start]: ";
    answers.logs = question(logs, input, out, |text| Ok(text.split_whitespace().map(str::to_owned).collect()))?
        .unwrap_or_default();
    let enforce = "2. Block attackers (enforce), or only tell at first (dry_run)? [dry_run]: ";
    answers.enforce = question(enforce, input, out, |text| match text {
        "dry_run" | "dry-run" | "d" => Ok(false),
        "enforce" | "e" => Ok(true),
        _ => Err("enforce or dry_run".into()),
    })?
    .unwrap_or_default();
    let own = list(&answers.allow);
    let allow = format!("3. Who is never blocked: your own addresses and networks, or none? [{own}]: ");
    answers.allow = question(&allow, input, out, networks)?.unwrap_or(answers.allow);
    let proxies = "4. Proxies or a CDN in front, whose word on the client counts: networks? [none]: ";
    answers.proxies = question(proxies, input, out, networks)?.unwrap_or_default();
    let model = "5. A model for doubtful cases: none, ollama (on this host), or the URL of an Ollama? [none]: ";
    answers.model = question(model, input, out, |text| match text {
        "none" => Ok(None),
        "ollama" => Ok(Some(String::new())),
        url if url.starts_with("http://") || url.starts_with("https://") => Ok(Some(url.to_owned())),
        _ => Err("none, ollama or a URL such as http://192.0.2.7:11434".into()),
    })?
    .flatten();
    Ok(answers)
}

/// One question, until it is answered with something that `parse` takes.
fn question<T>(
    text: &str,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
    parse: impl Fn(&str) -> Result<T, String>,
) -> anyhow::Result<Option<T>> {
    loop {
        write!(out, "{text}")?;
        out.flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(None);
        }
        match parse(line.trim()) {
            Ok(answer) => return Ok(Some(answer)),
            Err(why) => writeln!(out, "   {why}")?,
        }
    }
}

fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    if text == "none" {
        return Ok(vec![]);
    }
    let words = text.split([' ', ',']).filter(|word| !word.is_empty());
    words.map(|word| network(word).ok_or(format!("{word:?} is no address or network"))).collect()
}

fn list(networks: &[IpNet]) -> String {
    match networks {
        [] => "none".into(),
        networks => networks.iter().map(|network| shown(*network)).collect::<Vec<_>>().join(" "),
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn render(answers: &Answers) -> String {
    let networks = |networks: &[IpNet]| {
        let each: Vec<String> = networks.iter().map(|network| quoted(&shown(*network))).collect();
        format!("[{}]", each.join(", "))
    };
    let mut text = String::from(
        "# Palisade's configuration. `palisade config check` reports every mistake, `palisade config show` what is\n\
         # in effect; all keys stand with their defaults in docs/configuration.md and the example file.\n\n",
    );
    let mode = if answers.enforce { "enforce" } else { "dry_run" };
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "# \"dry_run\" only tells whom it would block; \"enforce\" blocks.\nmode = \"{mode}\"\n\n\
         [client]\n# Never blocked: your own addresses and networks.\nallow = {}\n\
         # Proxies in front, whose word on the client counts. They are never blocked either.\ntrusted_proxies = {}\n\n\
         [respond]\n# How a block is carried out; see docs/responders.md.\nuse = [\"nftables\"]\n",
        networks(&answers.allow),
        networks(&answers.proxies)
    );
    text.push_str(match answers.logs.as_slice() {
        [] => {
            "\n# What is followed: logs of nginx, Apache and sshd are found at each start. To name them:\n\
               #[[source]]\n#path = \"/var/log/nginx/*access.log\"\n"
        }
        _ => "\n# What is followed, one [[source]] each.\n",
    });
    for log in &answers.logs {
        let _ = writeln!(text, "[[source]]\npath = {}", quoted(log));
    }
    match answers.model.as_deref() {
        None => text.push_str("\n# No model: rules and behaviour decide alone. See docs/models.md for [[tier]].\n"),
        Some(url) => {
            text.push_str("\n# Asked about doubtful findings.\n[[tier]]\nname = \"local\"\nprovider = \"ollama\"\n");
            if !url.is_empty() {
                let _ = writeln!(text, "url = {}", quoted(url));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(lines: &str) -> (Answers, String) {
        let answers = Answers { allow: vec!["192.0.2.7/32".parse().unwrap()], ..Answers::default() };
        let found = Found { answers, logs: vec!["/var/log/nginx/access.log".into()] };
        let mut out = vec![];
        let answers = ask(&found, &mut lines.as_bytes(), &mut out).unwrap();
        (answers, String::from_utf8(out).unwrap())
    }

    /// The configuration that these answers make, read as any other.
    fn made(answers: &Answers) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("palisade.toml");
        std::fs::write(&file, render(answers)).unwrap();
        load_config(&Place::File(file)).unwrap().config
    }

    #[test]
    fn enter_takes_what_was_found() {
        let (answers, said) = answered("\n\n\n\n\n");
        assert!(said.contains("  /var/log/nginx/access.log\n") && said.contains("[192.0.2.7]"), "{said}");
        let config = made(&answers);
        assert_eq!(config.mode, crate::config::Mode::DryRun);
        assert_eq!(config.client.allow, ["192.0.2.7/32".parse().unwrap()]);
        assert!(config.source.is_empty() && config.tier.is_empty() && config.client.trusted_proxies.is_empty());
    }

    #[test]
    fn answers_stand_in_the_file_and_wrong_ones_are_asked_again() {
        let lines = "/srv/a\"b.log /srv/*.log\nyes\nenforce\nhome\n10.0.0.0/8, 2001:db8::1\n192.0.2.0/24\nhttp://192.0.2.9:11434\n";
        let (answers, said) = answered(lines);
        assert!(said.contains("   enforce or dry_run") && said.contains("\"home\" is no address"), "{said}");
        let config = made(&answers);
        assert_eq!(config.mode, crate::config::Mode::Enforce);
        assert_eq!(
            config.source.iter().map(|source| &*source.path).collect::<Vec<_>>(),
            ["/srv/a\"b.log", "/srv/*.log"]
        );
        assert_eq!(list(&config.client.allow), "10.0.0.0/8 2001:db8::1");
        assert_eq!(list(&config.client.trusted_proxies), "192.0.2.0/24");
        assert_eq!(config.tier[0].url, "http://192.0.2.9:11434");
        let (none, _) = answered("\n\nnone\n\nollama\n");
        assert!(made(&none).client.allow.is_empty());
        assert_eq!(made(&none).tier.len(), 1);
    }
}
