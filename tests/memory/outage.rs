//! Redis shared, away, late, damaged, locked: nobody waits, nothing panics, it is told once.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use palisade::memory::{self, Drawer, Memory, MemoryConfig};

use super::server::{Server, free_port, redis_or_skip};
use super::{client, config, finding, findings, open, run, settled, until};

const HOUR: Duration = Duration::from_secs(3600);
/// A call's deadline is 150 ms; the rest is for a busy machine.
const PROMPT: Duration = Duration::from_millis(1500);

/// Every call once, of client `n`; each must be prompt.
async fn prompt_calls(memory: &dyn Memory, n: u32, offset: u64) {
    let key = offset.to_string();
    let slowest = Instant::now();
    let mut last = slowest;
    let mut check = |what: &str| {
        assert!(last.elapsed() < PROMPT, "{what} took {:?}", last.elapsed());
        last = Instant::now();
    };
    memory.remember(&finding(n, offset)).await;
    check("remember");
    memory.recall(client(n)).await;
    check("recall");
    memory.recent(client(n), 5).await;
    check("recent");
    memory.put(Drawer::Benign, &key, key.clone(), HOUR).await;
    check("put");
    memory.get(Drawer::Benign, &key).await;
    check("get");
    memory.get(Drawer::Malicious, "absent").await;
    check("get of what is not there");
    memory.discard(Drawer::Malicious, &key).await;
    check("discard");
    memory.forget(client(n + 1000)).await;
    check("forget");
    memory.state();
    check("state");
}

#[test]
fn two_agents_on_one_redis_share_and_lose_nothing() {
    if !redis_or_skip("two_agents_on_one_redis") {
        return;
    }
    let server = Server::start();
    run(async {
        let agents = [open(&config(&server.url())).await, open(&config(&server.url())).await];
        let elsewhere = MemoryConfig { redis_prefix: "other".into(), ..config(&server.url()) };
        let elsewhere = open(&elsewhere).await;
        for round in 0..100 {
            for (n, agent) in agents.iter().enumerate() {
                for client in 0..5 {
                    let (agent, offset) = (agent.clone(), n as u64 * 1_000_000 + round * 5 + u64::from(client));
                    tokio::spawn(async move { agent.remember(&finding(client, offset)).await });
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for agent in &agents {
            until("both have seen all", async || {
                let mut all = true;
                for n in 0..5 {
                    all &= findings(&**agent, n).await == 200;
                }
                all
            })
            .await;
            settled(&**agent).await;
        }
        for n in 0..5 {
            assert_eq!(findings(&*agents[0], n).await, 200, "and none twice");
        }
        let [one, other] = &agents;
        one.put(Drawer::Malicious, "aa", "true".into(), HOUR).await;
        settled(&**one).await;
        assert_eq!(other.get(Drawer::Malicious, "aa").await.as_deref(), Some("true"));
        other.discard(Drawer::Malicious, "aa").await;
        other.forget(client(1)).await;
        settled(&**other).await;
        assert_eq!(one.get(Drawer::Malicious, "aa").await, None);
        assert_eq!((findings(&**one, 1).await, findings(&**one, 2).await), (0, 200));
        assert_eq!(findings(&*elsewhere, 2).await, 0, "another prefix, another memory");
        let keys = server.ask(&["KEYS", "*"]);
        assert!(keys.contains("palisade:1:client:203.0.113.2"), "{keys}");
        let ttl: i64 = server.ask(&["TTL", "palisade:1:client:203.0.113.2"])[1..].trim().parse().unwrap();
        assert!((3500..=3600).contains(&ttl), "{ttl}");
        assert!(!server.ask(&["GET", "palisade:1:client:203.0.113.2"]).contains("ignore"), "no raw text");
    });
}

#[test]
fn a_killed_redis_costs_nobody_time_and_what_was_told_meanwhile_comes_back() {
    if !redis_or_skip("a_killed_redis") {
        return;
    }
    let mut server = Server::start();
    run(async {
        let memory = open(&config(&server.url())).await;
        let other = open(&config(&server.url())).await;
        for offset in 0..10 {
            memory.remember(&finding(1, offset)).await;
        }
        other.remember(&finding(1, 100)).await;
        settled(&*memory).await;
        settled(&*other).await;
        assert_eq!(findings(&*memory, 1).await, 11);
        server.kill();
        for offset in 10..60 {
            prompt_calls(&*memory, 1, offset).await;
        }
        let state = memory.state();
        assert!(!state.healthy && state.waiting > 0, "{state:?}");
        assert!(state.last_error.unwrap().starts_with("Redis "), "says what is wrong");
        assert_eq!(findings(&*memory, 1).await, 60, "what this process was told");
        assert_eq!(memory.get(Drawer::Benign, "30").await.as_deref(), Some("30"));
        server.start_again();
        until("it is shared again", async || memory.state().healthy && memory.state().waiting == 0).await;
        assert_eq!(findings(&*memory, 1).await, 61);
        until("the other one sees it too", async || findings(&*other, 1).await == 61).await;
        assert_eq!(other.get(Drawer::Benign, "30").await.as_deref(), Some("30"));
        assert_eq!(memory.state().lost, 0);
    });
}

#[test]
fn a_connection_that_was_closed_meanwhile_is_replaced_while_the_next_call_waits() {
    if !redis_or_skip("a_connection_that_was_closed") {
        return;
    }
    let server = Server::start();
    run(async {
        let since = Instant::now();
        let memory = open(&MemoryConfig { redis_timeout_millis: 2000, ..config(&server.url()) }).await;
        let other = open(&config(&server.url())).await;
        other.remember(&finding(1, 1)).await;
        settled(&*other).await;
        // Connections are a second apart; this one is old enough.
        until("a second is over", async || since.elapsed() > Duration::from_millis(1100)).await;
        assert!(server.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).starts_with(":2"));
        assert_eq!(findings(&*memory, 1).await, 1, "not what this process knows alone");
    });
}

#[test]
fn a_redis_that_stops_answering_is_given_up_and_taken_back() {
    if !redis_or_skip("a_redis_that_stops_answering") {
        return;
    }
    let server = Server::start();
    run(async {
        let memory = open(&config(&server.url())).await;
        memory.remember(&finding(1, 1)).await;
        settled(&*memory).await;
        server.signal(Signal::SIGSTOP);
        for offset in 2..8 {
            prompt_calls(&*memory, 1, offset).await;
        }
        until("it is given up", async || !memory.state().healthy).await;
        // Now without waiting for the deadline each time.
        let started = Instant::now();
        for _ in 0..1000 {
            assert_eq!(findings(&*memory, 1).await, 7);
        }
        assert!(started.elapsed() < Duration::from_secs(2), "a thousand calls took {:?}", started.elapsed());
        server.signal(Signal::SIGCONT);
        until("it is taken back", async || memory.state().healthy && memory.state().waiting == 0).await;
        assert_eq!(findings(&*memory, 1).await, 7);
    });
}

#[test]
fn a_server_that_accepts_and_never_answers_holds_nobody_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://127.0.0.1:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        let mut kept = vec![];
        listener.incoming().for_each(|stream| kept.push(stream));
    });
    run(async {
        let memory = memory::open(&config(&url));
        for offset in 0..20 {
            prompt_calls(&*memory, 1, offset).await;
        }
        assert_eq!(findings(&*memory, 1).await, 20);
        until("it is told", async || memory.state().last_error.is_some()).await;
        assert_eq!(
            memory.state().last_error.unwrap(),
            "Redis cannot be reached: no log-in within 5 s; rediss:// is with TLS, redis:// without"
        );
        prompt_calls(&*memory, 1, 20).await;
    });
}

#[test]
fn without_redis_it_starts_and_takes_up_redis_when_it_comes() {
    if !redis_or_skip("without_redis_it_starts") {
        return;
    }
    let mut server = Server::start();
    server.kill();
    run(async {
        let memory = memory::open(&MemoryConfig { max_clients: 50, ..config(&server.url()) });
        for n in 0..200 {
            prompt_calls(&*memory, n, n.into()).await;
        }
        let state = memory.state();
        // 50 clients and 50 values at most; the rest is this process's own.
        assert!(!state.healthy && state.waiting <= 100 && state.lost >= 300, "{state:?}");
        server.start_again();
        until("it is shared", async || memory.state().healthy && memory.state().waiting == 0).await;
        let keys: usize = server.ask(&["DBSIZE"])[1..].trim().parse().unwrap();
        assert!((1..=101).contains(&keys), "{keys}");
    });
}

#[test]
fn what_is_damaged_is_thrown_away_and_counted() {
    if !redis_or_skip("what_is_damaged") {
        return;
    }
    let server = Server::start();
    run(async {
        let memory = open(&config(&server.url())).await;
        let key = |n: u32| format!("palisade:1:client:203.0.113.{n}");
        memory.remember(&finding(1, 1)).await;
        settled(&*memory).await;
        let whole = server.ask(&["GET", &key(1)]);
        let half = &whole[whole.find('{').unwrap()..whole.len() / 2];
        server.ask(&["SET", &key(1), half]);
        server.ask(&["SET", &key(2), "{\"version\":1}"]);
        server.ask(&["LPUSH", &key(3), "a list"]);
        server.ask(&["LPUSH", "palisade:1:benign:ab", "a list"]);
        server.ask(&["SET", "palisade:1:benign:cd", &"x".repeat(20_000)]);
        for n in [1, 3] {
            // By one who remembers, who reads before he writes ...
            memory.remember(&finding(n, 9)).await;
            settled(&*memory).await;
            assert_eq!(findings(&*memory, n).await, 1, "treated as absent");
        }
        assert_eq!(memory.state().damaged, 2);
        // ... and by those who ask.
        for key in ["ab", "cd", "ab", "cd"] {
            assert_eq!(memory.get(Drawer::Benign, key).await, None);
        }
        assert_eq!(findings(&*memory, 2).await, 0);
        assert_eq!((memory.state().damaged, memory.state().healthy), (5, true), "each once");
        assert_eq!(server.ask(&["EXISTS", &key(2), "palisade:1:benign:ab", "palisade:1:benign:cd"]), ":0\r\n");
    });
}

#[test]
fn tls_is_spoken_with_a_server_that_is_trusted_and_with_no_other() {
    if !redis_or_skip("tls_is_spoken") {
        return;
    }
    let server = Server::start_with_tls();
    let url = format!("rediss://127.0.0.1:{}", server.port);
    run(async {
        let ca = Some(server.dir().join("ca.pem"));
        let trusting = open(&MemoryConfig { redis_ca_file: ca.clone(), ..config(&url) }).await;
        trusting.remember(&finding(1, 1)).await;
        settled(&*trusting).await;
        assert_eq!(findings(&*trusting, 1).await, 1);
        let absent = Some(server.dir().join("absent"));
        for (config, says) in [
            (config(&url), "the certificate of Redis is not trusted; memory.redis_ca_file"),
            (MemoryConfig { redis_ca_file: absent, ..config(&url) }, "memory.redis_ca_file cannot be read"),
            (
                MemoryConfig { redis_ca_file: ca.clone(), ..config(&url.replace("rediss", "redis")) },
                "memory.redis_ca_file",
            ),
            (config(&url.replace("127.0.0.1", "localhost")), "certificate"),
        ] {
            told(&config, says, "").await;
        }
        let plain = Server::start();
        told(&config(&plain.url().replace("redis", "rediss")), "rediss:// is with TLS", "").await;
        // One that is full says so at once, and not in TLS.
        let full = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("rediss://127.0.0.1:{}", full.local_addr().unwrap().port());
        std::thread::spawn(move || {
            for mut stream in full.incoming().flatten() {
                let _ = stream.write_all(b"-ERR max number of clients reached\r\n");
                let _ = stream.read(&mut [0; 4096]);
            }
        });
        told(&config(&url), "does not speak TLS", "").await;
    });
}

#[test]
fn a_wrong_password_is_told_and_never_shown() {
    if !redis_or_skip("a_wrong_password") {
        return;
    }
    let server = Server::start_with(&["--requirepass", "p@ss/word"]);
    let url = |user: &str, password: &str| format!("redis://{user}:{password}@127.0.0.1:{}", server.port);
    run(async {
        let memory = open(&config(&url("default", "p%40ss%2Fword"))).await;
        memory.remember(&finding(1, 1)).await;
        settled(&*memory).await;
        let file = server.dir().join("url");
        std::fs::write(&file, format!("{}\n", url("", "p%40ss%2Fword"))).unwrap();
        let from_file = MemoryConfig { redis_url_file: Some(file), ..config("") };
        assert_eq!(findings(&*open(&from_file).await, 1).await, 1);
        for (config, says) in [
            (config(&url("default", "hunter2")), "does not take the user and password"),
            (config(&server.url()), "does not take the user and password"),
            (
                MemoryConfig { redis_url_file: Some("/hunter2/absent".into()), ..config("") },
                "redis_url_file cannot be read",
            ),
        ] {
            told(&config, says, "hunter2").await;
        }
    });
}

#[test]
fn a_used_up_quota_and_other_refusals_are_told_in_words() {
    for (answer, says) in [
        ("-ERR max daily request limit exceeded. Limit: 10000, Usage: 10000.", "the quota of this Redis is used up"),
        ("-ERR max requests limit exceeded. Limit: 500000", "the quota of this Redis is used up"),
        ("-READONLY You can't write against a read only replica.", "must name the primary"),
        ("-NOPERM this user has no permissions to run the 'eval' command", "may not do what memory needs"),
        ("-LOADING Redis is loading the dataset in memory", "cannot be reached"),
        ("-ERR unknown command 'AUTH', with args beginning with: 'hunter2'", "Redis "),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "Redis"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut buffer = [0; 4096];
                // One answer to each command of what came: a command begins with a star.
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    let commands = buffer[..read].iter().filter(|byte| **byte == b'*').count();
                    let _ = stream.write_all(format!("{answer}\r\n").repeat(commands).as_bytes());
                }
            }
        });
        let user = if answer.contains("AUTH") { "default:hunter2@" } else { "" };
        run(told(&config(&format!("redis://{user}127.0.0.1:{port}")), says, "hunter2"));
    }
}

#[test]
fn nobody_listening_is_told() {
    run(told(&config(&format!("redis://127.0.0.1:{}", free_port())), "cannot be reached", ""));
}

/// The memory of `config` works, does not get at Redis, and `says` so without the `secret`.
async fn told(config: &MemoryConfig, says: &str, secret: &str) {
    let memory = memory::open(config);
    until(says, async || memory.state().last_error.is_some()).await;
    let state = memory.state();
    let error = state.last_error.unwrap();
    assert!(!state.healthy && error.contains(says), "{error:?} does not say {says:?}");
    assert!(secret.is_empty() || !error.contains(secret), "{error}");
    prompt_calls(&*memory, 1, 1).await;
    assert_eq!(findings(&*memory, 1).await, 1);
}
