//! An HTTP client that believes nothing: every byte of every body is compared.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::Duration;

use super::netns::Namespace;
use super::nginx::Body;

/// Longer than any TCP retransmission that a single lost packet causes.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a request can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    Connect(io::ErrorKind),
    Send(io::ErrorKind),
    Receive(io::ErrorKind),
    Closed,
    NotHttp,
    Status(u16),
    WrongBody,
    /// A connection was answered by another server than before.
    Moved,
}

/// What a load saw.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Answers by server.
    pub servers: BTreeMap<String, u64>,
    pub failures: BTreeMap<Failure, u64>,
    pub bytes: u64,
}

impl Tally {
    pub fn answers(&self) -> u64 {
        self.servers.values().sum()
    }

    pub fn assert_no_failures(&self) {
        assert!(self.failures.is_empty(), "{self}");
    }

    fn add(&mut self, outcome: Result<(String, usize), Failure>) {
        match outcome {
            Ok((server, bytes)) => {
                *self.servers.entry(server).or_default() += 1;
                self.bytes += bytes as u64;
            }
            Err(failure) => *self.failures.entry(failure).or_default() += 1,
        }
    }

    fn merge(mut self, other: Self) -> Self {
        for (server, count) in other.servers {
            *self.servers.entry(server).or_default() += count;
        }
        for (failure, count) in other.failures {
            *self.failures.entry(failure).or_default() += count;
        }
        self.bytes += other.bytes;
        self
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { servers, failures, bytes } = self;
        write!(f, "{} answers {servers:?}, {bytes} bytes, failures {failures:?}", self.answers())
    }
}

/// One connection, with what has been read beyond the last answer.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(target: SocketAddr) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::Connect(error.kind());
        let stream = TcpStream::connect_timeout(&target, PATIENCE).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Asks for a file, checks it, and says which server sent it.
    fn get(&mut self, body: &Body, last: bool) -> Result<String, Failure> {
        let connection = if last { "close" } else { "keep-alive" };
        let request = format!("GET /{} HTTP/1.1\r\nHost: vip\r\nConnection: {connection}\r\n\r\n", body.path);
        self.stream.write_all(request.as_bytes()).map_err(|error| Failure::Send(error.kind()))?;
        let header = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break self.buffer.drain(..end + 4).collect::<Vec<u8>>();
            }
            self.read_more()?;
        };
        let header = String::from_utf8(header).map_err(|_| Failure::NotHttp)?;
        let status: u16 =
            header.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or(Failure::NotHttp)?;
        if status != 200 {
            return Err(Failure::Status(status));
        }
        let length: usize =
            field(&header, "content-length").and_then(|text| text.parse().ok()).ok_or(Failure::NotHttp)?;
        let server = field(&header, "x-server").ok_or(Failure::NotHttp)?.to_owned();
        if length != body.bytes.len() {
            return Err(Failure::WrongBody);
        }
        while self.buffer.len() < length {
            self.read_more()?;
        }
        if self.buffer.drain(..length).as_slice() != body.bytes {
            return Err(Failure::WrongBody);
        }
        Ok(server)
    }

    fn read_more(&mut self) -> Result<(), Failure> {
        let mut chunk = [0; 16_384];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(Failure::Closed),
            Ok(length) => {
                self.buffer.extend_from_slice(&chunk[..length]);
                Ok(())
            }
            Err(error) => Err(Failure::Receive(error.kind())),
        }
    }
}

fn field<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = header.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Opens `connections` one-request connections from 16 threads in `client`, the files in turn.
pub fn short_connections(
    client: &Namespace,
    target: SocketAddr,
    bodies: &Arc<Vec<Body>>,
    connections: usize,
) -> Tally {
    let next = Arc::new(AtomicUsize::new(0));
    let worker = || {
        let (next, bodies) = (next.clone(), bodies.clone());
        move || {
            let mut tally = Tally::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= connections {
                    return tally;
                }
                let body = &bodies[number % bodies.len()];
                let outcome = Connection::open(target).and_then(|mut connection| connection.get(body, true));
                tally.add(outcome.map(|server| (server, body.bytes.len())));
            }
        }
    };
    let threads: Vec<_> = (0..16).map(|_| client.spawn(worker())).collect();
    threads
        .into_iter()
        .map(|thread| thread.join().expect("a load thread"))
        .fold(Tally::default(), Tally::merge)
}

/// Connections that stay open and ask again and again, until they are stopped.
pub struct LongConnections {
    threads: Vec<JoinHandle<Tally>>,
    stop: Arc<AtomicBool>,
    /// How many requests every connection has made at least, per thread.
    rounds: Vec<Arc<AtomicU32>>,
}

impl LongConnections {
    /// Opens `connections` (a multiple of 6) from 6 threads, each with one answer before this returns.
    pub fn open(client: &Namespace, target: SocketAddr, bodies: &Arc<Vec<Body>>, connections: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let opened = Arc::new(Barrier::new(7));
        let mut rounds = Vec::new();
        let threads = (0..6)
            .map(|_| {
                let round = Arc::new(AtomicU32::new(0));
                rounds.push(round.clone());
                let (stop, opened, bodies) = (stop.clone(), opened.clone(), bodies.clone());
                client.spawn(move || long_thread(target, &bodies, connections / 6, &stop, &opened, &round))
            })
            .collect();
        opened.wait();
        Self { threads, stop, rounds }
    }

    /// Waits until every connection has made two further requests.
    pub fn let_all_ask_again(&self) {
        for round in &self.rounds {
            let before = round.load(Ordering::Relaxed);
            super::wait_for("requests on the open connections", 2 * PATIENCE, || {
                // The round under way now may have begun before; the two after it did not.
                (round.load(Ordering::Relaxed) >= before + 3).then_some(())
            });
        }
    }

    /// Ends them; the tally counts every request.
    pub fn close(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let tallies = self.threads.into_iter().map(|thread| thread.join().expect("a load thread"));
        tallies.fold(Tally::default(), Tally::merge)
    }
}

fn long_thread(
    target: SocketAddr,
    bodies: &[Body],
    connections: usize,
    stop: &AtomicBool,
    opened: &Barrier,
    round: &AtomicU32,
) -> Tally {
    let mut tally = Tally::default();
    let mut open = Vec::new();
    for number in 0..connections {
        let body = &bodies[number % bodies.len()];
        let first = Connection::open(target)
            .and_then(|mut connection| connection.get(body, false).map(|server| (connection, server)));
        tally.add(
            first.as_ref().map(|(_, server)| (server.clone(), body.bytes.len())).map_err(|&failure| failure),
        );
        open.extend(first);
    }
    opened.wait();
    while !stop.load(Ordering::Relaxed) {
        let body = &bodies[round.load(Ordering::Relaxed) as usize % bodies.len()];
        open.retain_mut(|(connection, server)| {
            let answer = connection.get(body, false).and_then(|now| {
                if now == *server { Ok((now, body.bytes.len())) } else { Err(Failure::Moved) }
            });
            let kept = answer.is_ok();
            tally.add(answer);
            kept
        });
        round.fetch_add(1, Ordering::Relaxed);
        // Open connections at work, not a load test.
        std::thread::sleep(Duration::from_millis(20));
    }
    tally
}
