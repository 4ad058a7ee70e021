//! Where Palisade's own messages go: standard error, the journal, or files that are rotated by size. Of each
//! kind of message only so many are written in a while; the others are counted, and that is said.

mod limit;
mod line;
mod rotated;

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context as _;
use tracing::callsite::Identifier;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogLevel};
use limit::{LeftOut, Limiter, WINDOW};
use line::{Form, Line};
use rotated::RotatedFile;

/// Starts writing messages as `config` says. `journal` is the file that the service manager says is its
/// journal's stream, as device and inode. What is left out is said when the guard is dropped, at the latest.
///
/// # Errors
/// The file cannot be opened; the message names it.
pub fn start(config: &LogConfig, journal: Option<(u64, u64)>) -> anyhow::Result<Guard> {
    let (out, form): (Box<dyn Write + Send>, Form) = match &config.file {
        None => {
            let is_journal = journal.is_some_and(stderr_is);
            (Box::new(io::stderr()), Form::of(config.format, io::stderr().is_terminal(), is_journal))
        }
        Some(path) => {
            let file = RotatedFile::open(path, u64::from(config.max_size_mb) * 1_000_000, config.max_files);
            let file = file.with_context(|| format!("cannot write the log file {} (log.file)", path.display()))?;
            (Box::new(file), Form::of(config.format, false, false))
        }
    };
    let level = match config.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let log = Arc::new(OwnLog { form, state: Mutex::new((Limiter::default(), out)) });
    let subscriber = tracing_subscriber::registry().with(level).with(Messages(log.clone()));
    // A second start in one process (tests) keeps the first.
    let _ = subscriber.try_init();
    let told = Arc::downgrade(&log);
    // When messages stop coming, what was left out is said all the same.
    std::thread::Builder::new().name("own-log".into()).spawn(move || {
        while let Some(log) = told.upgrade() {
            log.say_left_out(Instant::now());
            drop(log);
            std::thread::sleep(WINDOW);
        }
    })?;
    Ok(Guard(log))
}

/// Says at its end what was left out.
pub struct Guard(Arc<OwnLog>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.say_left_out(Instant::now() + WINDOW);
    }
}

/// Whether standard error is this file.
fn stderr_is((device, inode): (u64, u64)) -> bool {
    nix::sys::stat::fstat(io::stderr()).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (device, inode))
}

struct OwnLog {
    form: Form,
    state: Mutex<(Limiter<Identifier>, Box<dyn Write + Send>)>,
}

impl OwnLog {
    fn write(&self, kind: Identifier, line: &Line, now: Instant) {
        let (limiter, out) = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for left_out in limiter.ended(now) {
            self.say(out, left_out);
        }
        if limiter.admits(kind, line, now) {
            // Nobody has to listen to the daemon.
            let _ = out.write_all(self.form.render(line).as_bytes());
        }
    }

    fn say_left_out(&self, now: Instant) {
        let (limiter, out) = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for left_out in limiter.ended(now) {
            self.say(out, left_out);
        }
    }

    fn say(&self, out: &mut impl Write, LeftOut { count, level, like }: LeftOut) {
        let secs = WINDOW.as_secs();
        let message = format!("{count} more messages within {secs} s are left out, such as: {like}");
        let line = Line { level, message, fields: vec![] };
        let _ = out.write_all(self.form.render(&line).as_bytes());
    }
}

/// What `tracing` calls.
struct Messages(Arc<OwnLog>);

impl<S: Subscriber> Layer<S> for Messages {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.write(event.metadata().callsite(), &Line::of(event), Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogFormat;

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let config = LogConfig { file: Some("/nowhere/at/all.log".into()), ..LogConfig::default() };
        let error = format!("{:#}", start(&config, None).err().unwrap());
        assert!(error.contains("/nowhere/at/all.log") && error.contains("log.file"), "{error}");
    }

    #[test]
    fn a_flood_of_one_kind_is_cut_counted_and_said_and_others_pass() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("own.log");
        let file = RotatedFile::open(&path, 10_000_000, 2).unwrap();
        let form = Form::of(LogFormat::Human, false, false);
        let log = Arc::new(OwnLog { form, state: Mutex::new((Limiter::default(), Box::new(file))) });
        let guard = Guard(log.clone());
        let subscriber = tracing_subscriber::registry().with(LevelFilter::INFO).with(Messages(log));
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..100_000 {
                tracing::warn!(n, client = "\u{1b}[31m\nWARN forged", "a flood of \u{202e} {}", "x\ny");
                tracing::debug!("not at this level");
            }
            tracing::info!("of another kind");
        });
        drop(guard);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("    ")).collect();
        let flood = lines.iter().filter(|line| line.contains(" WARN a flood of ")).count();
        assert!((100..1000).contains(&flood), "{flood} lines in {} bytes", text.len());
        assert!(lines.iter().any(|line| line.contains(" INFO of another kind")), "{text}");
        let told: u64 = lines
            .iter()
            .filter_map(|line| line.split_once(" more messages")?.0.rsplit(' ').next()?.parse::<u64>().ok())
            .sum();
        assert_eq!(told + flood as u64, 100_000, "each is written or counted");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}') && !text.contains("\nWARN"), "{text}");
        assert!(!text.contains("not at this level"));
    }
}
