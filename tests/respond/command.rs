//! Programs that write down what they were told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use palisade::event::Timestamp;
use palisade::respond::{Command, CommandConfig, RespondError, Responder};
use tempfile::TempDir;

use super::{apply, lift, net, permits, targets};
use crate::support::daemon::eventually;

/// A script, and what it wrote.
pub struct Recorder {
    dir: TempDir,
}

impl Recorder {
    /// It writes its arguments and its input.
    pub fn new() -> Recorder {
        Recorder::running("echo \"$@\" >> DIR/calls; cat >> DIR/calls")
    }

    /// `DIR` in `script` is a directory of its own.
    pub fn running(script: &str) -> Recorder {
        let recorder = Recorder { dir: tempfile::tempdir().unwrap() };
        let script = script.replace("DIR", &recorder.dir.path().display().to_string());
        fs::write(recorder.script(), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(recorder.script(), fs::Permissions::from_mode(0o755)).unwrap();
        recorder
    }

    pub fn script(&self) -> String {
        self.dir.path().join("script").display().to_string()
    }

    fn line(&self, arguments: &str) -> Vec<String> {
        let mut line = vec![self.script()];
        line.extend(arguments.split(' ').map(String::from));
        line
    }

    pub fn batch(&self) -> CommandConfig {
        CommandConfig { ban: self.line("ban"), unban: self.line("unban"), batch: true, ..CommandConfig::default() }
    }

    fn single(&self) -> Command {
        let ban = self.line("ban {address} {seconds} {expires_at} {id} {category}");
        let config =
            CommandConfig { ban, unban: self.line("unban {address}"), timeout_secs: 2, ..CommandConfig::default() };
        Command::new(&config).unwrap()
    }

    fn absent(&self) -> CommandConfig {
        let ban = ["/nonexistent/x", "{address}"].map(String::from).to_vec();
        CommandConfig { ban, unban: self.line("unban {address}"), ..CommandConfig::default() }
    }

    fn written(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }
}

#[tokio::test]
async fn each_target_is_one_call_with_what_the_placeholders_stand_for() {
    let recorder = Recorder::new();
    let mut responder = recorder.single();
    let permits = permits(&["203.0.113.7", "2001:db8:7::/64"], 600);
    // Not before them: a part of a second counts as a whole one.
    let now = Timestamp::now();
    responder.apply(&permits, now).await.unwrap();
    let calls = recorder.written("calls");
    let expected: String = permits
        .iter()
        .zip(["203.0.113.7", "2001:db8:7::/64"])
        .map(|(permit, address)| format!("ban {address} 600 {} {} none\n", permit.expires_at(), permit.id()))
        .collect();
    assert_eq!(calls, expected);
    lift(&mut responder, &["2001:db8:7::/64", "203.0.113.9"]).await;
    assert_eq!(recorder.written("calls"), expected + "unban 2001:db8:7::/64\nunban 203.0.113.9\n");
    assert_eq!(targets(&mut responder).await, ["203.0.113.7/32"]);
}

#[tokio::test]
async fn a_batch_is_one_call_with_a_line_each() {
    let recorder = Recorder::new();
    let mut responder = Command::new(&recorder.batch()).unwrap();
    let permits = permits(&["203.0.113.7", "2001:db8:7::/64"], 600);
    responder.apply(&permits, Timestamp::now()).await.unwrap();
    responder.apply(&[], Timestamp::now()).await.unwrap();
    lift(&mut responder, &["203.0.113.7", "2001:db8:7::/64"]).await;
    let end = permits[0].expires_at();
    assert_eq!(
        recorder.written("calls"),
        format!(
            "ban\n203.0.113.7 600 {end} 203.0.113.7/32 none\n2001:db8:7::/64 600 {end} 2001:db8:7::/64 none\n\
             unban\n203.0.113.7\n2001:db8:7::/64\n"
        )
    );
}

#[tokio::test]
async fn nothing_is_taken_for_a_shell_s_and_the_environment_is_empty() {
    let recorder = Recorder::running("env > DIR/env; pwd > DIR/pwd");
    apply(&mut recorder.single(), &["203.0.113.7"], 600).await;
    let names: Vec<String> =
        recorder.written("env").lines().map(|line| line.split('=').next().unwrap().to_owned()).collect();
    // The shell itself sets PWD.
    assert_eq!(names.into_iter().filter(|name| name != "PWD" && name != "_").collect::<Vec<_>>(), ["PATH"]);
    assert_eq!(recorder.written("pwd"), "/\n");

    let recorder = Recorder::new();
    let ban = recorder.line("$(id) ;{address}|{id} `x`");
    let config = CommandConfig { ban, unban: recorder.line("{address}"), ..CommandConfig::default() };
    apply(&mut Command::new(&config).unwrap(), &["203.0.113.7"], 600).await;
    assert_eq!(recorder.written("calls"), "$(id) ;203.0.113.7|203.0.113.7/32 `x`\n");
}

#[tokio::test]
async fn how_it_ended_is_told_with_its_first_complaint_as_visible_escapes() {
    let recorder = Recorder::running("printf '\\n\\033[2Jno such \\302\\205 chain\\nmore\\n' >&2; exit 3");
    let error = recorder.single().apply(&permits(&["203.0.113.7"], 600), Timestamp::now()).await.unwrap_err();
    let told = error.to_string();
    assert!(told.contains("refused: exit status: 3: \\u{1b}[2Jno such \\u{85} chain"), "{told}");
    assert!(!told.contains("more"), "{told}");
    let mut absent = Command::new(&recorder.absent()).unwrap();
    let error = absent.apply(&permits(&["203.0.113.7"], 600), Timestamp::now()).await;
    assert!(error.unwrap_err().to_string().contains("it cannot be started: No such file"));
    let recorder = Recorder::running("head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 1");
    let error = recorder.single().apply(&permits(&["203.0.113.7"], 600), Timestamp::now()).await.unwrap_err();
    assert!(error.to_string().len() < 1000, "what it says is cut");
}

#[tokio::test]
async fn one_that_hangs_is_killed_with_its_children_and_one_that_leaves_a_child_is_not() {
    let recorder = Recorder::running("sleep 600 & echo $! > DIR/child; wait");
    let mut responder = recorder.single();
    let error = responder.apply(&permits(&["203.0.113.7"], 600), Timestamp::now()).await.unwrap_err();
    assert!(matches!(error, RespondError::TimedOut { secs: 2, .. }), "{error}");
    assert!(targets(&mut responder).await.is_empty());
    let is_gone = |pid: String| {
        let state = fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
        state.is_empty() || state.contains("Z (zombie)")
    };
    eventually("its child is killed", || is_gone(recorder.written("child")).then_some(()));

    // As soon as nobody waits for it, too.
    let recorder = Recorder::running("sleep 600 & echo $! > DIR/child; wait");
    let mut responder = recorder.single();
    let permits = permits(&["203.0.113.7"], 600);
    tokio::select! {
        _ = responder.apply(&permits, Timestamp::now()) => panic!("it hangs"),
        () = async { while recorder.written("child").trim().is_empty() { tokio::time::sleep(Duration::from_millis(10)).await } } => {}
    }
    eventually("its child is killed", || is_gone(recorder.written("child")).then_some(()));

    let recorder = Recorder::running("sleep 30 >&2 & echo $! > DIR/child");
    let before = Instant::now();
    apply(&mut recorder.single(), &["203.0.113.7"], 600).await;
    assert!(before.elapsed() < Duration::from_secs(2), "it does not wait for what was left behind");
    let child = recorder.written("child");
    assert!(!is_gone(child.clone()));
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.trim().parse().unwrap()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
}

#[tokio::test]
async fn after_a_restart_it_can_still_be_told_to_let_go() {
    let recorder = Recorder::new();
    apply(&mut recorder.single(), &["203.0.113.7"], 600).await;
    let mut again = recorder.single();
    again.start().await.unwrap();
    assert!(targets(&mut again).await.is_empty());
    again.lift(&[net("203.0.113.7")]).await.unwrap();
    assert!(recorder.written("calls").ends_with("unban 203.0.113.7\n"));
}
