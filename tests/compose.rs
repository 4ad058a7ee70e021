//! docker-compose.yml with a real Docker Engine: it comes up, blocks who attacks the site, stands restarts
//! and rotations, and goes away. One Debian stands in for the public images.

mod services;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::Namespace;
use crate::support::daemon::eventually;
use crate::support::docker::{Engine, docker_or_skip, run, stripped_program};
use crate::support::web::Client;

const ATTACK: &str = "/?id=1%27%20UNION%20SELECT%20username,password%20FROM%20users--%20-";

/// A copy of what an operator has, with the binary where .env says that it is.
struct Checkout<'a> {
    engine: &'a Engine<'a>,
    dir: TempDir,
}

impl<'a> Checkout<'a> {
    fn new(engine: &'a Engine<'a>) -> Checkout<'a> {
        let dir = tempfile::tempdir().unwrap();
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let parts = ["Dockerfile", ".dockerignore", "docker-compose.yml", "Cargo.toml", "Cargo.lock", "deploy"];
        run(Command::new("cp").arg("-a").args(parts.map(|part| here.join(part))).arg(dir.path()));
        fs::create_dir_all(dir.path().join("target/release")).unwrap();
        stripped_program(&dir.path().join("target/release/palisade"));
        Checkout { engine, dir }
    }

    /// Writes .env: the stand-ins, and `more`.
    fn set(&self, more: &str) {
        let images = ["BUILD", "BASE", "SITE", "REDIS"].map(|name| format!("{name}_IMAGE=stand-in\n"));
        let services = "POSTGRES_IMAGE=stand-in-postgres\nOLLAMA_IMAGE=stand-in-ollama\n";
        let text = format!("{}{services}BINARY=target/release/palisade\n{more}", images.concat());
        fs::write(self.dir.path().join(".env"), text).unwrap();
    }

    /// Takes the comment away from the example of a model.
    fn configure_model(&self) {
        let file = self.dir.path().join("deploy/compose/palisade/palisade.toml");
        let text = fs::read_to_string(&file).unwrap();
        let keys = ["[[tier]]", "name =", "provider ="];
        let line = |line: &str| match line.strip_prefix('#') {
            Some(rest) if keys.iter().any(|key| rest.starts_with(key)) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        };
        let text: String = text.lines().map(line).collect();
        assert!(text.contains("\n[[tier]]\n"), "{text}");
        fs::write(file, text).unwrap();
    }

    fn compose(&self, arguments: &[&str]) -> String {
        run(Command::new("docker-compose")
            .args(["--project-name", "shop"])
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DOCKER_HOST", self.engine.host())
            .env("DOCKER_BUILDKIT", "0"))
    }

    fn palisade(&self, verb: &str) -> Value {
        // What is not well makes `status` fail after it has said so.
        let line = format!("palisade {verb} --output json || true");
        serde_json::from_str(&self.compose(&["exec", "-T", "palisade", "sh", "-c", &line])).unwrap()
    }

    /// What the engine knows of the container of `service`.
    fn inspect(&self, service: &str) -> Value {
        let id = self.compose(&["ps", "--quiet", service]);
        let all: Value = serde_json::from_str(&self.engine.docker(&["inspect", &id])).unwrap();
        all[0].clone()
    }

    fn is_healthy(&self) -> bool {
        self.inspect("palisade")["State"]["Health"]["Status"] == "healthy"
    }
}

#[test]
fn the_compose_file_comes_up_blocks_and_goes_away() {
    if !docker_or_skip("docker-compose.yml", &["docker-compose"]) {
        return;
    }
    let (server, clients) = (Namespace::new(), Namespace::new());
    let addresses = ["198.51.100.20", "198.51.100.65", "198.51.100.66", "198.51.100.67", "198.51.100.68"];
    let networks = addresses.map(|address| format!("{address}/24"));
    Namespace::join((&server, &["198.51.100.1/24"]), (&clients, &networks.each_ref().map(String::as_str)));
    let client = |from| Client { namespace: &clients, from, server: "198.51.100.1:8080" };
    let [visitor, first, second, third, doubtful] = addresses.map(client);
    let is_open = |client: &Client<'_>| client.get("/", "Mozilla/5.0", 3) == Some(200);
    let engine = Engine::start(&server);
    engine.import("stand-in");
    let checkout = Checkout::new(&engine);
    run(&mut Command::new(checkout.dir.path().join("deploy/compose/make-secrets")));

    // As it comes: a dry run, without Redis.
    checkout.set("");
    checkout.compose(&["up", "--detach", "--build"]);
    eventually("the site is open", || is_open(&visitor).then_some(()));
    eventually("palisade is healthy", || checkout.is_healthy().then_some(()));
    first.get(ATTACK, "curl/8", 3);
    let told = eventually("the attacker is told", || checkout.palisade("banned").get(0).cloned());
    assert_eq!((&told["target"], &told["simulated"]), (&"198.51.100.65".into(), &true.into()), "{told}");
    eventually("and not blocked", || is_open(&first).then_some(()));

    // Enforcing, with Redis and Postgres behind their passwords, and a model.
    services::postgres(&engine, "stand-in-postgres", "stand-in");
    services::ollama_that_is_sure(&engine, "stand-in-ollama", "stand-in");
    checkout.configure_model();
    checkout.set(
        "PALISADE__MODE=enforce\nCOMPOSE_PROFILES=full,ollama\nSECRETS=./deploy/compose/secrets\n\
         PALISADE__MEMORY__REDIS_URL_FILE=/run/secrets/redis_url\n\
         PALISADE__STORE__DATABASE_URL_FILE=/run/secrets/database_url\n",
    );
    checkout.compose(&["up", "--detach"]);
    eventually("palisade is healthy again", || checkout.is_healthy().then_some(()));
    // An answer that is late is none either: the kernel is asked who is shut out.
    let shut_out = |client: &Client<'_>| {
        eventually(&format!("the kernel shuts {} out", client.from), || {
            server.output("nft list table inet palisade").contains(client.from).then_some(())
        });
        assert!(client.is_shut_out(), "{}", client.from);
    };
    second.get(ATTACK, "curl/8", 3);
    shut_out(&second);
    for client in [&visitor, &first] {
        eventually("others are served", || is_open(client).then_some(()));
    }
    // Redis and Postgres may have come after it.
    let status = eventually("all is well", || Some(checkout.palisade("status")).filter(|all| all["healthy"] == true));
    assert_eq!(status["mode"], "enforce", "{status:#}");
    assert_eq!(status["memory"]["kind"], "redis", "{:#}", status["memory"]);
    assert_eq!(doubtful.get("/backup.zip", "Mozilla/5.0", 30), Some(404));
    shut_out(&doubtful);
    eventually("Postgres has all of it", || {
        let postgres = &checkout.palisade("status")["services"]["postgres"];
        (postgres["healthy"] == true && postgres["waiting"] == 0).then_some(())
    });

    // What it may, and what is known of it.
    let container = checkout.inspect("palisade");
    let host = &container["HostConfig"];
    assert_eq!((&host["ReadonlyRootfs"], &host["NetworkMode"]), (&true.into(), &"host".into()));
    assert_eq!((&host["CapDrop"], &host["CapAdd"]), (&vec!["ALL"].into(), &vec!["NET_ADMIN"].into()));
    assert_eq!(container["Config"]["User"], "10001:10001");
    let mounts = container["Mounts"].as_array().unwrap();
    let writable = mounts.iter().filter(|mount| mount["RW"] == true).filter_map(|mount| mount["Destination"].as_str());
    assert_eq!(writable.collect::<Vec<_>>(), ["/var/lib/palisade"], "{mounts:#?}");
    for (of, service) in [("redis", "redis"), ("redis", "palisade"), ("postgres", "postgres"), ("postgres", "palisade")]
    {
        let file = format!("deploy/compose/secrets/{of}_password");
        let password = fs::read_to_string(checkout.dir.path().join(file)).unwrap();
        assert_eq!(password.len(), 48);
        assert!(!checkout.inspect(service).to_string().contains(&password), "{service} shows the password of {of}");
    }

    // The log is rotated, and palisade started again.
    checkout.compose(&[
        "exec",
        "-T",
        "site",
        "sh",
        "-ec",
        "cd /var/log/site; mv access.log access.log.1; nginx -s reopen",
    ]);
    eventually("nginx has a new log", || {
        is_open(&visitor);
        let lines = checkout.compose(&["exec", "-T", "site", "sh", "-c", "cat /var/log/site/access.log || true"]);
        lines.contains("198.51.100.20").then_some(())
    });
    third.get(ATTACK, "curl/8", 3);
    shut_out(&third);
    checkout.compose(&["restart", "palisade"]);
    eventually("palisade is healthy after its restart", || checkout.is_healthy().then_some(()));
    let banned = checkout.palisade("banned");
    let enforced = banned.as_array().unwrap().iter().filter(|ban| ban["simulated"] == false);
    let mut targets: Vec<&str> = enforced.filter_map(|ban| ban["target"].as_str()).collect();
    targets.sort();
    assert_eq!(targets, ["198.51.100.66", "198.51.100.67", "198.51.100.68"]);
    assert!(second.is_shut_out() && third.is_shut_out());
    eventually("visitors are served", || is_open(&visitor).then_some(()));

    // The way to a private host cannot be had here; what would be started is read.
    let services = checkout.compose(&["--profile", "tailscale", "config"]);
    for line in ["image: tailscale/tailscale:stable", "TS_AUTHKEY: file:/run/secrets/tailscale_key", "- /dev/net/tun"] {
        assert!(services.contains(line), "{line} is missing in\n{services}");
    }
    checkout.compose(&["down", "--volumes"]);
    assert_eq!(engine.docker(&["ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project=shop"]), "");
    assert_eq!(engine.docker(&["volume", "ls", "--quiet", "--filter", "name=shop_"]), "");
}
