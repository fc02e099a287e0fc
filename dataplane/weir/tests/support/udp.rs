//! UDP echo: servers that say who they are, and a client that checks what comes back.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::netns::Namespace;

/// Room for any datagram.
const LARGEST: usize = 1 << 16;

/// Echoes datagrams, with the namespace's name in front, as long as it lives.
pub struct Echo {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Echo {
    /// Listens on `address`, and answers from it.
    pub fn start(namespace: &Namespace, address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (name, flag) = (namespace.name().to_owned(), stop.clone());
        let socket = namespace.run(|| UdpSocket::bind(address));
        let socket = socket.unwrap_or_else(|error| panic!("{name}: cannot listen on {address}: {error}"));
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let thread = namespace.spawn(move || {
            let mut buffer = vec![0; LARGEST];
            while !flag.load(Ordering::Relaxed) {
                if let Ok((length, client)) = socket.recv_from(&mut buffer) {
                    let answer = [name.as_bytes(), b" ", &buffer[..length]].concat();
                    let _ = socket.send_to(&answer, client);
                }
            }
        });
        Self { thread: Some(thread), stop }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Sends `exchanges` datagrams, each from a port of its own and each twice: both must come back unchanged and
/// from the same server. Returns the answers by server.
pub fn exchange(client: &Namespace, target: SocketAddr, exchanges: usize) -> BTreeMap<String, u64> {
    // Odd and even lengths: a checksum over an odd number of bytes is padded.
    exchange_of(client, target, exchanges, |number| 1 + number % 1200)
}

/// The same with payloads of these lengths, by the number of the exchange.
pub fn exchange_of(
    client: &Namespace,
    target: SocketAddr,
    exchanges: usize,
    length: impl Fn(usize) -> usize + Sync,
) -> BTreeMap<String, u64> {
    client.run(|| {
        let local: SocketAddr = if target.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
        let mut servers = BTreeMap::new();
        for number in 0..exchanges {
            let socket = UdpSocket::bind(local).expect("a free port");
            socket.connect(target).expect("a route to the VIP");
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
            let payload = vec![number.to_le_bytes()[0]; length(number)];
            let first = ask(&socket, &payload);
            let second = ask(&socket, &payload);
            assert_eq!(first, second, "one UDP flow was answered by two servers");
            *servers.entry(first).or_default() += 1;
        }
        servers
    })
}

fn ask(socket: &UdpSocket, payload: &[u8]) -> String {
    let mut buffer = vec![0; LARGEST];
    socket.send(payload).expect("sending a datagram");
    let length = match socket.recv(&mut buffer) {
        Ok(length) => length,
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no answer to {} bytes", payload.len()),
        Err(error) => panic!("no answer to {} bytes: {error}", payload.len()),
    };
    let space = buffer[..length].iter().position(|&byte| byte == b' ').expect("a server's name");
    assert_eq!(&buffer[space + 1..length], payload, "the echo differs");
    String::from_utf8_lossy(&buffer[..space]).into_owned()
}
