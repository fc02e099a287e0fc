//! A GRE balancer in a page, against which the tests and `weir decap` prove themselves.
//!
//! The kernel routes the VIPs into a TUN device; a thread takes the packets from there, wraps them with outer
//! headers that it builds itself, and sends them through raw sockets. It shares no code with weir's
//! packet path.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, sendto,
    socket,
};
use weir::decap::Tun;

use super::balancer::{Balancer, Weights};
use super::lab::{Lab, VIP4, VIP6};

/// The running balancer.
pub struct Reference {
    weights: Arc<Mutex<Weights>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Reference {
    /// Takes the balancer's place in the lab, with tunnels over the family given.
    pub fn start(lab: &Lab, outer_ipv6: bool, weights: Weights) -> Self {
        lab.lend_addresses();
        let tun = lab.lb.run(|| Tun::open("vip0")).expect("a TUN device");
        lab.lb.ip([format!("route add {VIP4} dev vip0"), format!("route add {VIP6} dev vip0")]);
        let weights = Arc::new(Mutex::new(weights));
        let stop = Arc::new(AtomicBool::new(false));
        let own: IpAddr =
            if outer_ipv6 { "fd77::2".parse() } else { "10.77.0.2".parse() }.expect("an address");
        let servers: Vec<_> = lab.servers.iter().map(|server| server.address(outer_ipv6)).collect();
        let (shared, flag) = (weights.clone(), stop.clone());
        let thread = lab.lb.spawn(move || {
            let tunnel = Tunnel::open(own, servers);
            let mut flows = HashMap::new();
            let mut buffer = [0; 2048];
            while !flag.load(Ordering::Relaxed) {
                match tun.take(&mut buffer) {
                    Ok(length) => {
                        let packet = &buffer[..length];
                        let Some((flow, opens)) = flow_of(packet) else { continue };
                        let weights = *shared.lock().expect("no thread panics with the lock");
                        let fresh = pick(&flow, weights);
                        let server = flows.entry(flow).or_insert(fresh);
                        if opens {
                            *server = fresh; // a reused port is a new connection
                        }
                        tunnel.send(packet, *server);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        std::thread::sleep(Duration::from_micros(100));
                    }
                    Err(error) => panic!("cannot read the TUN device: {error}"),
                }
            }
        });
        Self { weights, stop, thread }
    }
}

impl Balancer for Reference {
    fn set_weights(&mut self, weights: Weights) {
        *self.weights.lock().expect("no thread panics with the lock") = weights;
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the reference balancer");
    }
}

/// Addresses, protocol and ports as bytes, and whether the packet opens a TCP connection.
fn flow_of(packet: &[u8]) -> Option<(Vec<u8>, bool)> {
    let (protocol, addresses, transport) = match packet.first()? >> 4 {
        4 => (packet[9], &packet[12..20], usize::from(packet[0] & 15) * 4),
        6 => (packet[6], &packet[8..40], 40),
        _ => return None,
    };
    if !addresses.ends_with(&VIP4.octets()) && !addresses.ends_with(&VIP6.octets()) {
        return None; // the kernel's own multicast
    }
    let ports = packet.get(transport..transport + 4)?;
    let opens = protocol == 6 && packet.get(transport + 13)? & 0x12 == 0x02; // SYN without ACK
    Some(([&[protocol], addresses, ports].concat(), opens))
}

/// A server by weight and the flow's hash (FNV-1a, then mixed: its low bits alone are poor).
fn pick(flow: &[u8], weights: Weights) -> usize {
    let fnv = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    let mut hash = flow.iter().fold(0xCBF2_9CE4_8422_2325, fnv);
    hash = (hash ^ hash >> 33).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    hash ^= hash >> 33;
    let mut point = hash % weights.iter().map(|&weight| u64::from(weight)).sum::<u64>();
    for (server, &weight) in weights.iter().enumerate() {
        match point.checked_sub(u64::from(weight)) {
            Some(rest) => point = rest,
            None => return server,
        }
    }
    unreachable!("the point lies below the sum of the weights")
}

/// Sends GRE from one address to several servers.
pub struct Tunnel {
    socket: OwnedFd,
    own: IpAddr,
    servers: Vec<IpAddr>,
}

impl Tunnel {
    /// Opens the socket in the namespace of the calling thread.
    pub fn open(own: IpAddr, servers: Vec<IpAddr>) -> Self {
        let family = if own.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        // IPPROTO_RAW: we write the whole IP header.
        let socket = socket(family, SockType::Raw, SockFlag::empty(), SockProtocol::Raw).expect("root");
        Self { socket, own, servers }
    }

    /// Wraps a packet in plain GRE.
    pub fn send(&self, packet: &[u8], server: usize) {
        let protocol: [u8; 2] = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xDD] };
        self.send_gre(&[&[0, 0], &protocol[..], packet].concat(), server);
    }

    /// Sends what claims to be GRE.
    pub fn send_gre(&self, payload: &[u8], server: usize) {
        let length = u16::try_from(payload.len()).expect("packets are short").to_be_bytes();
        let outcome = match (self.own, self.servers[server]) {
            (IpAddr::V4(own), IpAddr::V4(server)) => {
                // The kernel fills in total length, id and checksum.
                let fixed = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, 47, 0, 0];
                let wrapped = [&fixed[..], &own.octets(), &server.octets(), payload].concat();
                self.send_to(&wrapped, &SockaddrIn::from(std::net::SocketAddrV4::new(server, 0)))
            }
            (IpAddr::V6(own), IpAddr::V6(server)) => {
                let fixed = [0x60, 0, 0, 0, length[0], length[1], 47, 64];
                let wrapped = [&fixed[..], &own.octets(), &server.octets(), payload].concat();
                self.send_to(&wrapped, &SockaddrIn6::from(std::net::SocketAddrV6::new(server, 0, 0, 0)))
            }
            _ => unreachable!("the tunnel's ends are of one family"),
        };
        outcome.expect("the kernel sends what fits the link");
    }

    fn send_to<S: SockaddrLike>(&self, bytes: &[u8], server: &S) -> nix::Result<usize> {
        sendto(self.socket.as_raw_fd(), bytes, server, MsgFlags::empty())
    }
}
