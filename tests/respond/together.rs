//! Several responders at once, by the daemon.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{command, webhook};
use crate::support::daemon::{Home, eventually};

/// Who is told by the webhook's server, by event.
fn told(receiver: &crate::support::standin::Standin) -> Vec<(String, String)> {
    let message = |body: Value| {
        let event = body["event"].as_str().unwrap().to_owned();
        let target = |decision: &Value| decision["target"].as_str().unwrap().to_owned();
        let decisions = body["decisions"].as_array().unwrap().clone();
        decisions.into_iter().map(move |decision| (event.clone(), target(&decision)))
    };
    receiver.requests().iter().flat_map(|request| message(request.json())).collect()
}

#[test]
fn a_command_that_hangs_and_one_that_fails_delay_neither_a_webhook_nor_the_daemon() {
    for (script, problem) in
        [("exec sleep 600", "did not answer"), ("echo 'no route to the edge' >&2; exit 4", "no route")]
    {
        let (receiver, recorder, home) = (webhook::receiver(), command::Recorder::running(script), Home::new());
        let line = |word: &str| format!("[\"{}\", \"{word}\"]", recorder.script());
        home.configure(&format!(
            "mode = \"enforce\"\n[respond]\nuse = [\"command\", \"webhook\"]\n\
             [respond.command]\nban = {}\nunban = {}\nbatch = true\ntimeout_secs = 3\n\
             [respond.webhook]\nurl = \"{}/hook\"\nkey = \"0123456789abcdef\"\n[[source]]\npath = \"{}\"\n",
            line("ban"),
            line("unban"),
            receiver.url(),
            home.path("access.log").display()
        ));
        let daemon = home.start();
        let before = Instant::now();
        home.json(&["ban", "203.0.113.7", "--for", "1h"]);
        home.json(&["ban", "203.0.113.8", "--for", "2s"]);
        assert!(before.elapsed() < Duration::from_secs(2), "the daemon is not delayed: {:?}", before.elapsed());
        let ban = |target: &str| ("ban".to_owned(), target.to_owned());
        eventually("the webhook is told", || {
            let told = told(&receiver);
            (told.contains(&ban("203.0.113.7")) && told.contains(&ban("203.0.113.8"))).then_some(())
        });
        assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
        eventually("the end of a ban is told", || {
            told(&receiver).contains(&("unban".into(), "203.0.113.8".into())).then_some(())
        });
        eventually("what is wrong is shown", || home.status()["problems"].to_string().contains(problem).then_some(()));
        let decision = |decisions: &[Value]| decisions[0]["state"].clone();
        assert_eq!(decision(&home.decisions()), "pending", "not all have done it");
        home.json(&["unban", "203.0.113.7"]);
        eventually("the webhook is told", || {
            told(&receiver).contains(&("unban".into(), "203.0.113.7".into())).then_some(())
        });
        assert_eq!(daemon.stop(), 0);
    }
}

#[test]
fn settings_that_are_missing_end_the_start_with_the_way_out() {
    let home = Home::new();
    home.configure("mode = \"enforce\"\n[respond]\nuse = [\"webhook\"]\n");
    let mut daemon = home.spawn();
    assert_ne!(daemon.code(), 0);
    assert!(
        daemon.said().contains("respond.webhook: set `key`, or `key_file` to a file that holds it"),
        "{}",
        daemon.said()
    );
}
