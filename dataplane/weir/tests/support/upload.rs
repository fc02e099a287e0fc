//! Uploads: a server that takes whatever comes, and a client that sends much at once.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use super::netns::Namespace;

const PATIENCE: Duration = Duration::from_secs(10);

/// A server that takes connections as long as the test's process lives.
pub struct Sink {
    _thread: JoinHandle<()>,
}

impl Sink {
    /// Listens on `address`; answers each upload with a sum over its bytes.
    pub fn start(namespace: &Namespace, address: SocketAddr) -> Self {
        let listener = namespace.run(|| TcpListener::bind(address)).expect("a free port");
        let thread = namespace.spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut bytes = Vec::new();
                if stream.read_to_end(&mut bytes).is_ok() {
                    let _ = stream.write_all(&digest(&bytes).to_be_bytes());
                }
            }
        });
        Self { _thread: thread }
    }
}

/// Sends `length` bytes, and believes only the server's digest of them.
pub fn upload(client: &Namespace, target: SocketAddr, length: usize) {
    client.run(|| {
        let bytes: Vec<u8> = (0..length).map(|index| ((index * 31) >> 3).to_le_bytes()[0]).collect();
        let mut stream = TcpStream::connect_timeout(&target, PATIENCE).expect("a connection to the VIP");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(&bytes).expect("sending the upload");
        stream.shutdown(Shutdown::Write).expect("ending the upload");
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).expect("the upload arrives");
        assert_eq!(u64::from_be_bytes(answer), digest(&bytes), "the upload arrives unchanged");
    });
}

/// What the client has learned about the way to an address; `None`: nothing.
pub fn path_mtu(client: &Namespace, target: IpAddr) -> Option<u16> {
    let route = client.output("ip", &format!("-o route get {target}"));
    let mut words = route.split_whitespace().skip_while(|&word| word != "mtu");
    words.nth(1).and_then(|mtu| mtu.parse().ok())
}

/// FNV-1a.
fn digest(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}
