//! Palisade with a real Postgres.

use crate::support::postgres::{Pooler, Server, pooler_or_skip};

#[test]
fn a_server_comes_back_after_it_was_killed_and_answers_through_a_pooler() {
    if !pooler_or_skip("a server of a test's own") {
        return;
    }
    let mut server = Server::start();
    let url = server.database();
    let pooler = Pooler::start(&server);
    server.kill();
    server.start_again();
    let through = pooler.url(&server, &url);
    let output = std::process::Command::new("psql").args(["-XqAtc", "SELECT 1", &through]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n", "{}", String::from_utf8_lossy(&output.stderr));
    server.stop();
}
