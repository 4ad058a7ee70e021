//! A container's published port: a real Docker Engine, nginx in a container, Palisade on the host.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::Namespace;
use crate::support::daemon::{Home, eventually};
use crate::support::docker::{Engine, docker_or_skip};
use crate::support::web::Client;

const ATTACK: &str = "/products?id=1%27%20UNION%20SELECT%20username,password%20FROM%20users--%20-";

/// Whether an open connection still answers a request.
fn answers(connection: &mut TcpStream) -> bool {
    let request = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n";
    let mut answer = [0; 4096];
    connection.write_all(request).is_ok() && connection.read(&mut answer).is_ok_and(|read| read > 0)
}

#[test]
fn a_containers_published_port_is_shut_too() {
    if !docker_or_skip("a container's port", &[]) {
        return;
    }
    let (server, clients) = (Namespace::new(), Namespace::new());
    Namespace::join(
        (&server, &["198.51.100.1/24"]),
        (&clients, &["198.51.100.66/24", "198.51.100.20/24", "198.51.100.67/24"]),
    );
    let mut engine = Engine::start(&server);
    engine.import("shop");
    let home = Home::inside(&server);
    let log = home.path("log");
    fs::create_dir(&log).unwrap();
    let mount = format!("{}:/var/log/nginx", log.display());
    engine.docker(&[
        "run",
        "--detach",
        "--restart",
        "always",
        "--name",
        "shop",
        "--publish",
        "8080:80",
        "--volume",
        &mount,
        "shop",
    ]);
    let client = |from| Client { namespace: &clients, from, server: "198.51.100.1:8080" };
    let [attacker, visitor, second] = ["198.51.100.66", "198.51.100.20", "198.51.100.67"].map(client);
    let is_open = |client: &Client<'_>| client.get("/", "Mozilla/5.0", 3) == Some(200);
    eventually("the shop is open", || is_open(&visitor).then_some(()));
    home.configure(&format!("mode = \"enforce\"\n[[source]]\npath = \"{}/access.log\"\n", log.display()));
    let daemon = home.start();

    let mut connection = clients.inside(|| TcpStream::connect("198.51.100.1:8080").unwrap());
    connection.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    assert!(answers(&mut connection));
    attacker.get(ATTACK, "curl/8", 3);
    eventually("the attacker is shut out of the container", || attacker.is_shut_out().then_some(()));
    assert!(!answers(&mut connection), "his open connection is dead too");
    assert!(is_open(&visitor), "nobody else is");

    // A restart of the firewall takes everybody's rules along, Docker's too, which its restart makes again.
    server.run("nft flush ruleset");
    engine.restart();
    eventually("the shop is open again", || is_open(&visitor).then_some(()));
    assert!(attacker.is_shut_out());

    // Bans are the kernel's: they need no daemon. The next one takes them over.
    daemon.kill();
    assert!(attacker.is_shut_out() && is_open(&visitor));
    engine.docker(&["restart", "shop"]);
    let daemon = home.start();
    eventually("the container is back", || is_open(&visitor).then_some(()));
    assert!(attacker.is_shut_out());
    second.get(ATTACK, "curl/8", 3);
    eventually("the next attacker is shut out", || second.is_shut_out().then_some(()));
    home.json(&["unban", "198.51.100.66"]);
    assert!(is_open(&attacker));
    assert_eq!(daemon.stop(), 0);
}
