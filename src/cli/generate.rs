//! Man pages and completions, from the command line's own description.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

#[derive(clap::Args)]
pub struct Arguments {
    /// Where `man1` and a directory for each shell are made.
    directory: PathBuf,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    match generate(&arguments.directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("palisade: {}: {error}", arguments.directory.display());
            ExitCode::from(super::FAILED)
        }
    }
}

fn generate(directory: &Path) -> io::Result<()> {
    // Each verb's page would otherwise repeat what stands on the first one.
    let command = || -> Command { super::Arguments::command().disable_help_subcommand(true) };
    let pages = directory.join("man1");
    fs::create_dir_all(&pages)?;
    clap_mangen::generate_to(command(), pages)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let place = directory.join(shell.to_string());
        fs::create_dir_all(&place)?;
        clap_complete::generate_to(shell, &mut command(), "palisade", place)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page_and_is_completed() {
        let dir = tempfile::tempdir().unwrap();
        generate(dir.path()).unwrap();
        let bash = fs::read_to_string(dir.path().join("bash/palisade.bash")).unwrap();
        for file in ["zsh/_palisade", "fish/palisade.fish", "man1/palisade.1"] {
            assert!(fs::metadata(dir.path().join(file)).unwrap().len() > 1000, "{file}");
        }
        for verb in super::super::Arguments::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let page = fs::read_to_string(dir.path().join(format!("man1/palisade-{}.1", verb.get_name())));
            assert!(page.unwrap().contains(".SH SYNOPSIS"), "{}", verb.get_name());
            assert!(bash.contains(verb.get_name()), "{}", verb.get_name());
        }
    }
}
