//! Ping, with every byte of the answer compared.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::netns::Namespace;

/// Sends echo requests with payloads of these lengths; each must be answered in kind.
pub fn ping(client: &Namespace, target: IpAddr, lengths: &[usize]) {
    // Lets every group open ping sockets, for which the kernel fills in and checks id and checksum.
    client.sysctl("net/ipv4/ping_group_range", "0 2147483647");
    client.run(|| {
        let (family, protocol, request, reply) = match target {
            IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8, 0),
            IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128, 129),
        };
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(family, SockType::Datagram, flags, protocol).expect("a ping socket");
        // Not UDP, but a connected datagram socket like it.
        let socket = UdpSocket::from(socket);
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        socket.connect((target, 0)).expect("a route");
        for (sequence, &length) in (1u8..).zip(lengths) {
            let payload: Vec<u8> = (0..length).map(|index| index.to_le_bytes()[0] ^ sequence).collect();
            let message = [&[request, 0, 0, 0, 0, 0, 0, sequence], &payload[..]].concat();
            socket.send(&message).expect("sending an echo request");
            let mut buffer = vec![0; 1 << 16];
            let received = socket.recv(&mut buffer);
            let received =
                received.unwrap_or_else(|error| panic!("{target}: no answer to {length} bytes: {error}"));
            assert_eq!(buffer[..2], [reply, 0], "{target}: type and code");
            assert_eq!(buffer[6..8], [0, sequence], "{target}: sequence number");
            assert_eq!(&buffer[8..received], payload, "{target}: the echo differs");
        }
    });
}
