//! One check: a TCP connection or an HTTP GET from the kernel's own addresses.

use std::{io, net::SocketAddr, time::Duration};

use axum::http::{Request as HttpRequest, header};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

/// What is asked, where and how often. Servers of several VIPs may share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    /// Whom it asks.
    pub target: SocketAddr,
    /// What it asks.
    pub request: Request,
    /// Time between two of them.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// That a TCP connection opens.
    Connect,
    /// That a GET is answered with a status from 200 to 399; redirects are not followed.
    Get {
        /// Path and query.
        path: String,
        /// The `Host` field.
        host: String,
    },
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Ok,
    /// Nothing listens there.
    Refused,
    /// No answer in time.
    Timeout,
    /// HTTP, with a status of an error.
    BadStatus,
    /// Anything else: no route, a reset, an answer that is not HTTP.
    Error,
}

impl Outcome {
    /// Every outcome, in the order of [`Outcome::index`].
    pub const ALL: [Self; 5] = [Self::Ok, Self::Refused, Self::Timeout, Self::BadStatus, Self::Error];

    /// Its place in [`Outcome::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::BadStatus => "bad_status",
            Self::Error => "error",
        }
    }
}

/// Carries out one check; takes at most its time-out.
pub async fn probe(check: &Check) -> Outcome {
    tokio::time::timeout(check.timeout, attempt(check)).await.unwrap_or(Outcome::Timeout)
}

async fn attempt(check: &Check) -> Outcome {
    let stream = match TcpStream::connect(check.target).await {
        Ok(stream) => stream,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::ConnectionRefused => Outcome::Refused,
                io::ErrorKind::TimedOut => Outcome::Timeout,
                _ => Outcome::Error,
            };
        }
    };
    match &check.request {
        Request::Connect => Outcome::Ok,
        Request::Get { path, host } => match get(stream, path, host).await {
            Ok(200..=399) => Outcome::Ok,
            Ok(_) => Outcome::BadStatus,
            Err(_) => Outcome::Error,
        },
    }
}

/// The status of the answer to a GET. The body is not read: the connection ends with this function.
async fn get(
    stream: TcpStream,
    path: &str,
    host: &str,
) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    let request = HttpRequest::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("weir/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(String::new())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new(); // ends the connection when it is dropped, also by the time-out
    driver.spawn(connection);
    Ok(sender.send_request(request).await?.status().as_u16())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread,
    };

    use super::*;

    fn run(target: SocketAddr, request: Request) -> Outcome {
        let timeout = Duration::from_millis(300);
        let check = Check { target, request, interval: Duration::from_secs(1), timeout };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(probe(&check))
    }

    fn get() -> Request {
        Request::Get { path: "/healthz?deep=1".into(), host: "www.example.org".into() }
    }

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Sends `answer` to the first client; returns its request.
    fn answering(answer: &'static str) -> (thread::JoinHandle<String>, SocketAddr) {
        let (listener, address) = listener();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        (server, address)
    }

    #[test]
    fn connection_that_opens_is_enough_for_tcp() {
        let (_listener, address) = listener();
        assert_eq!(run(address, Request::Connect), Outcome::Ok, "not even accepted");
    }

    #[test]
    fn closed_port_refuses() {
        let (listener, address) = listener();
        drop(listener);
        assert_eq!(run(address, Request::Connect), Outcome::Refused);
        assert_eq!(run(address, get()), Outcome::Refused);
    }

    #[test]
    fn full_backlog_is_a_timeout() {
        use nix::sys::socket::{
            AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect, getsockname, listen,
            socket,
        };
        let new = |flags| socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
        let server = new(SockFlag::empty());
        let fd = std::os::fd::AsRawFd::as_raw_fd(&server);
        bind(fd, &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
        listen(&server, Backlog::new(0).unwrap()).unwrap();
        let address: SockaddrIn = getsockname(fd).unwrap();
        // Nobody accepts, and there is room for one: the SYNs of later ones are dropped.
        let fillers: Vec<_> = (0..4).map(|_| new(SockFlag::SOCK_NONBLOCK)).collect();
        for filler in &fillers {
            let _ = connect(std::os::fd::AsRawFd::as_raw_fd(filler), &address);
        }
        let target = SocketAddr::from(([127, 0, 0, 1], address.port()));
        assert_eq!(run(target, Request::Connect), Outcome::Timeout);
    }

    #[test]
    fn status_decides_for_http() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Outcome::Ok),
            ("HTTP/1.1 204 No Content\r\n\r\n", Outcome::Ok),
            ("HTTP/1.0 302 Found\r\nLocation: /x\r\n\r\n", Outcome::Ok),
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Outcome::BadStatus),
            ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 100000\r\n\r\n", Outcome::BadStatus),
            ("SSH-2.0-OpenSSH_9.2\r\n", Outcome::Error),
            ("", Outcome::Error),
        ] {
            let (server, address) = answering(answer);
            assert_eq!(run(address, get()), expected, "{answer:?}");
            let request = server.join().unwrap();
            assert!(request.starts_with("GET /healthz?deep=1 HTTP/1.1\r\n"), "{request}");
            assert!(request.to_lowercase().contains("\r\nhost: www.example.org\r\n"), "{request}");
        }
    }

    #[test]
    fn server_that_accepts_and_says_nothing_is_a_timeout() {
        let (listener, address) = listener();
        let (seen, ended) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            seen.send(()).unwrap();
        });
        assert_eq!(run(address, get()), Outcome::Timeout);
        // The connection of a check that has timed out does not stay open.
        ended.recv_timeout(Duration::from_secs(5)).unwrap();
    }
}
