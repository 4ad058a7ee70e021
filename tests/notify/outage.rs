//! SIEMs that are away for a while: what is recorded waits, over a crash too, and comes once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::real_servers_or_skip;
use super::syslog::Rsyslog;
use crate::support::daemon::{Home, eventually};
use crate::support::log::attack;
use crate::support::postgres::free_port;
use crate::support::standin::{Answer, Request, Standin};

/// Records that arrived, by id and step, and how often.
type Records = Arc<Mutex<BTreeMap<String, u32>>>;

fn count(records: &Records, id: String) {
    *records.lock().unwrap().entry(id).or_default() += 1;
}

/// Of a record in ECS.
fn id_of(record: &Value) -> String {
    record["event"]["id"].as_str().unwrap().to_owned()
}

/// Of a message of syslog.
fn id_in(message: &str) -> String {
    let field =
        |name: &str| message.split(&format!(" {name}=\"")).nth(1).unwrap().split('"').next().unwrap().to_owned();
    if field("what") == "finding" { field("id") } else { format!("{}-{}", field("id"), field("action")) }
}

/// A receiver of syslog by TCP.
struct Receiver {
    port: u16,
    records: Records,
    /// While it listens: the listener's and the connections' own ends.
    open: Option<Arc<Mutex<Vec<TcpStream>>>>,
}

impl Receiver {
    fn new() -> Receiver {
        Receiver { port: free_port(), records: Records::default(), open: None }
    }

    fn start(&mut self) {
        let listener = eventually("the port is free", || TcpListener::bind(("127.0.0.1", self.port)).ok());
        let (open, records) = (Arc::<Mutex<Vec<TcpStream>>>::default(), self.records.clone());
        self.open = Some(open.clone());
        std::thread::spawn(move || {
            // The first byte of a connection that ends it all is a full stop.
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut first = [0];
                if stream.peek(&mut first).is_ok_and(|_| first == *b".") {
                    return;
                }
                open.lock().unwrap().push(stream.try_clone().unwrap());
                let records = records.clone();
                std::thread::spawn(move || read(stream, &records));
            }
        });
    }

    fn stop(&mut self) {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap().write_all(b".").unwrap();
        for stream in self.open.take().unwrap().lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Messages with their length in front.
fn read(stream: TcpStream, records: &Records) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = vec![];
        if reader.read_until(b' ', &mut length).unwrap_or(0) == 0 {
            return;
        }
        let length: usize = std::str::from_utf8(&length).unwrap().trim().parse().expect("a length");
        let mut message = vec![0; length];
        reader.read_exact(&mut message).expect("a whole message");
        count(records, id_in(std::str::from_utf8(&message).unwrap()));
    }
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Away,
    There,
}

/// A collector that takes a batch whole, and says later that it has indexed it.
fn splunk(state: &Arc<Mutex<State>>) -> (Standin, Records) {
    let (standin, records, state) = (Standin::start(), Records::default(), state.clone());
    let (heard, asked) = (records.clone(), Mutex::new(BTreeSet::new()));
    standin.otherwise(move |request| {
        if *state.lock().unwrap() == State::Away {
            return Answer::json(503, &json!({ "text": "Server is busy", "code": 9 }));
        }
        if request.path.starts_with("/services/collector/ack") {
            let id = request.json()["acks"][0].to_string();
            return Answer::json(200, &json!({ "acks": { &id: !asked.lock().unwrap().insert(id.clone()) } }));
        }
        let number = heard.lock().unwrap().len();
        lines(request).iter().for_each(|line| count(&heard, id_of(&line["event"])));
        Answer::json(200, &json!({ "text": "Success", "code": 0, "ackId": number }))
    });
    (standin, records)
}

/// An index in which each third record finds no room the first time, and one is never understood.
fn elasticsearch(state: &Arc<Mutex<State>>, nonsense: &Arc<Mutex<String>>) -> (Standin, Records) {
    let (standin, records, state, nonsense) = (Standin::start(), Records::default(), state.clone(), nonsense.clone());
    let (docs, seen) = (records.clone(), Mutex::new(BTreeSet::new()));
    standin.otherwise(move |request| {
        if *state.lock().unwrap() == State::Away {
            return Answer::text(503, "");
        }
        let mut items = vec![];
        for pair in lines(request).chunks(2) {
            let id = pair[0]["index"]["_id"].as_str().unwrap().to_owned();
            assert_eq!(id, id_of(&pair[1]));
            let is_new = seen.lock().unwrap().insert(id.clone());
            let (status, error) = match (&id, is_new && seen.lock().unwrap().len() % 3 == 0) {
                (id, _) if *id == *nonsense.lock().unwrap() => (400, "mapper_parsing_exception"),
                (_, true) => (429, "es_rejected_execution_exception"),
                _ => (201, ""),
            };
            let mut item = json!({ "_index": "palisade", "_id": &id, "status": status });
            match error {
                // With the same id it is the same document.
                "" => drop(docs.lock().unwrap().insert(id, 1)),
                _ => item["error"] = json!({ "type": error, "reason": "because" }),
            }
            items.push(json!({ "index": item }));
        }
        let errors = items.iter().any(|item| item["index"].get("error").is_some());
        Answer::json(200, &json!({ "took": 1, "errors": errors, "items": items }))
    });
    (standin, records)
}

fn lines(request: &Request) -> Vec<Value> {
    std::str::from_utf8(&request.body).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_a_siem_missed_comes_when_it_is_back_each_record_once() {
    if !real_servers_or_skip("the test of SIEMs that are away") {
        return;
    }
    let home = Home::new();
    let dir = home.dir().display().to_string();
    let (state, nonsense) = (Arc::new(Mutex::new(State::Away)), Arc::<Mutex<String>>::default());
    let ((splunk, indexed), (elastic, documents)) = (splunk(&state), elasticsearch(&state, &nonsense));
    let (mut tcp, mut rsyslog) = (Receiver::new(), Rsyslog::away());
    let export = |name: &str, via: &str, url: &str, more: &str| {
        format!("[[export]]\nname = \"{name}\"\nvia = \"{via}\"\nurl = \"{url}\"\ntimeout_secs = 5\n{more}\n")
    };
    let exports = [
        export("file", "file", &format!("file://{dir}/later/records.ndjson"), ""),
        export("tcp", "syslog", &format!("tcp://127.0.0.1:{}", tcp.port), ""),
        export("tls", "syslog", &rsyslog.tls_url(), &format!("ca_file = \"{}\"", rsyslog.ca_file())),
        export("splunk", "splunk", &splunk.url(), "key = \"k3y\""),
        export("elastic", "elasticsearch", &elastic.url(), ""),
    ];
    home.configure(&format!("[[source]]\npath = \"{dir}/access.log\"\nstart = \"beginning\"\n{}", exports.concat()));
    fs::write(home.path("access.log"), "").unwrap();
    let mut written = 0;
    let mut write = |count: usize| {
        let text: String = (written..written + count).map(|n| attack(&format!("198.51.100.{}", n % 20), n)).collect();
        let mut file = fs::File::options().append(true).open(home.path("access.log")).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        written += count;
        eventually("all is found", || (home.findings().len() == written).then_some(()));
    };
    let wait = || {
        eventually("all of them wait", || {
            let services = home.status()["services"].clone();
            let waits = |name: &str| {
                let one = &services[format!("export {name}")];
                one["healthy"] == false && one["waiting"].as_u64() > Some(0)
            };
            ["file", "tcp", "tls", "splunk", "elastic"].iter().all(|name| waits(name)).then_some(())
        });
    };
    let records = |path: &str, id: &dyn Fn(&str) -> String| {
        let mut records = BTreeMap::new();
        for line in fs::read_to_string(path).unwrap_or_default().lines() {
            *records.entry(id(line)).or_insert(0) += 1;
        }
        records
    };

    let daemon = home.start();
    write(60);
    wait();
    daemon.kill();
    let daemon = home.start();
    write(40);
    wait();
    *nonsense.lock().unwrap() = home.findings()[0]["id"].as_str().unwrap().to_owned();
    for round in 1..=2 {
        fs::create_dir(home.path("later")).unwrap();
        tcp.start();
        rsyslog.start();
        *state.lock().unwrap() = State::There;
        let found: BTreeSet<String> =
            home.findings().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
        let arrived = eventually("everything arrives everywhere", || {
            let ecs = |line: &str| id_of(&serde_json::from_str(line).unwrap());
            let mut file = records(&format!("{dir}/later/records.ndjson"), &ecs);
            // The file of the first round was put aside.
            file.extend(records(&format!("{dir}/first.ndjson"), &ecs));
            let tls = records(&rsyslog.path("tls"), &|line| id_in(line));
            let (tcp, indexed) = (tcp.records.lock().unwrap().clone(), indexed.lock().unwrap().clone());
            let all = [file, tcp, tls, indexed];
            let is_all = all.iter().all(|one| found.iter().all(|id| one.contains_key(id)) && one.len() == all[0].len());
            (is_all && documents.lock().unwrap().len() + 1 == all[0].len()).then_some(all)
        });
        assert!(arrived[0].len() > found.len(), "each step of a decision, too");
        for one in &arrived {
            assert_eq!(one, &arrived[0]);
            assert!(one.values().all(|times| *times == 1), "round {round}: {one:?}");
        }
        let mut documents: BTreeSet<String> = documents.lock().unwrap().keys().cloned().collect();
        assert!(documents.insert(nonsense.lock().unwrap().clone()), "what is refused for good is not there");
        assert_eq!(documents, arrived[0].keys().cloned().collect());
        eventually("status says that all is well, but for what was refused", || {
            let services = home.status()["services"].clone();
            let of = |name: &str, what: &str| services[format!("export {name}")][what].clone();
            let well = ["file", "tcp", "tls", "splunk", "elastic"].iter().all(|name| of(name, "waiting") == 0);
            let told = of("elastic", "problem").as_str()?.contains("1 records were refused for good");
            (well && told && of("elastic", "dropped") == 1).then_some(())
        });
        if round == 1 {
            *state.lock().unwrap() = State::Away;
            tcp.stop();
            rsyslog.stop();
            fs::rename(home.path("later/records.ndjson"), home.path("first.ndjson")).unwrap();
            fs::remove_dir(home.path("later")).unwrap();
            write(50);
            wait();
        }
    }
    assert_eq!(daemon.stop(), 0);
}
