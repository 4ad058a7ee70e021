//! A server that answers what it is told, in place of a model or a reputation service.
//!
//! Answers that are queued by [`Standin::then`] are given first, in turn; after them, whatever
//! [`Standin::otherwise`] says. What a real service would answer is in [`bodies`].

pub mod bodies;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// A running server, one thread a connection; stopped when dropped.
pub struct Standin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Mutex<VecDeque<Answer>>,
    otherwise: Mutex<Otherwise>,
    heard: Mutex<Vec<Request>>,
    left: AtomicUsize,
    closing: AtomicBool,
}

type Otherwise = Box<dyn Fn(&Request) -> Answer + Send>;

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What is answered, and how.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub manner: Manner,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    Plain,
    /// Waits first.
    Delay(Duration),
    /// Says nothing until the client leaves.
    Hang,
    /// The head and half of the body, then nothing until the client leaves.
    Stall,
    /// The body byte for byte, with so long a wait after each.
    Drip(Duration),
    /// The head and half of the body, then the end of the connection.
    Cut,
    /// The end of the connection at once.
    Close,
    /// The body alone, as if it were a head too.
    Raw,
}

impl Standin {
    /// Listens on 127.0.0.1, in the calling thread's network namespace.
    pub fn start() -> Standin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::default(),
            otherwise: Mutex::new(Box::new(|_| Answer::text(500, "the script is over"))),
            heard: Mutex::default(),
            left: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        });
        let server = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if server.closing.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&server);
                // Who leaves early is counted; an error in between is the client's.
                thread::spawn(move || stream.map(|stream| shared.serve(stream)));
            }
        });
        Standin { address, shared }
    }

    /// Queues an answer.
    pub fn then(&self, answer: Answer) -> &Standin {
        self.shared.script.lock().unwrap().push_back(answer);
        self
    }

    /// What is answered when the queue is empty.
    pub fn otherwise(&self, answer: impl Fn(&Request) -> Answer + Send + 'static) -> &Standin {
        *self.shared.otherwise.lock().unwrap() = Box::new(answer);
        self
    }

    /// Such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.heard.lock().unwrap().clone()
    }

    /// So many clients left before they had their whole answer.
    pub fn left(&self) -> usize {
        self.shared.left.load(Ordering::Relaxed)
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

impl Request {
    /// One request of `stream`; none when it is no whole one.
    fn read(stream: &TcpStream) -> Option<Request> {
        let mut reader = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            Some(line.trim_end().to_owned())
        };
        let first = line()?;
        let mut words = first.split(' ').map(String::from);
        let (method, path) = (words.next()?, words.next()?);
        let mut headers = vec![];
        while let Some((name, value)) = line()?.split_once(": ") {
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        let mut request = Request { method, path, headers, body: vec![] };
        request.body = vec![0; request.header("content-length").map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut request.body).ok()?;
        Some(request)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// # Panics
    /// When the body is no JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Answer {
    pub fn json(status: u16, body: &Value) -> Answer {
        Answer::text(status, &body.to_string()).header("content-type", "application/json")
    }

    pub fn text(status: u16, body: &str) -> Answer {
        Answer { status, headers: vec![], body: body.into(), manner: Manner::Plain }
    }

    pub fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn manner(mut self, manner: Manner) -> Answer {
        self.manner = manner;
        self
    }

    fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} Scripted\r\nconnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        format!("{head}content-length: {}\r\n\r\n", self.body.len())
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let Some(request) = Request::read(&stream) else { return };
        self.heard.lock().unwrap().push(request.clone());
        let queued = self.script.lock().unwrap().pop_front();
        let answer = queued.unwrap_or_else(|| self.otherwise.lock().unwrap()(&request));
        if self.tell(&mut stream, &answer).is_err() {
            self.left.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tell(&self, stream: &mut TcpStream, answer: &Answer) -> std::io::Result<()> {
        let half = &answer.body[..answer.body.len() / 2];
        match answer.manner {
            Manner::Close => return Ok(()),
            Manner::Raw => return stream.write_all(&answer.body),
            Manner::Hang => return self.wait_until_left(stream),
            Manner::Delay(delay) => thread::sleep(delay),
            Manner::Plain | Manner::Stall | Manner::Drip(_) | Manner::Cut => {}
        }
        stream.write_all(answer.head().as_bytes())?;
        match answer.manner {
            Manner::Cut => stream.write_all(half),
            Manner::Stall => {
                stream.write_all(half)?;
                self.wait_until_left(stream)
            }
            Manner::Drip(wait) => answer.body.iter().try_for_each(|byte| {
                thread::sleep(wait);
                stream.write_all(&[*byte])
            }),
            _ => stream.write_all(&answer.body),
        }
    }

    /// Fails when the client closes the connection.
    fn wait_until_left(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        while !self.closing.load(Ordering::Relaxed) {
            if matches!(stream.read(&mut [0]), Ok(0)) {
                return Err(std::io::ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(())
    }
}
