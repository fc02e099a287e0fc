//! A balancer in a page, against which the tests and `weir decap` prove themselves.
//!
//! The kernel routes the VIPs into a TUN device; a thread takes the packets from there, wraps them with outer
//! headers that it builds itself (or marks them for L3DSR), and sends them through raw sockets. It shares no code with weir's
//! packet path.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
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
use super::case::{Case, DSCP, Way};
use super::lab::{Lab, PREFIX4, PREFIX6, VIP4, VIP6};

/// The running balancer.
pub struct Reference {
    weights: Arc<Mutex<Weights>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Reference {
    /// Takes the balancer's place in the lab.
    pub fn start(lab: &Lab, case: &Case, weights: Weights) -> Self {
        let (way, outer_ipv6) = (case.way, case.server_ipv6);
        lab.lend_addresses();
        let tun = lab.lb.run(|| Tun::open("vip0")).expect("a TUN device");
        // What is longer does not enter the tunnel.
        lab.lb.ip([format!("link set vip0 mtu {}", case.mtu)]);
        lab.lb.ip([format!("route add {PREFIX4} dev vip0"), format!("route add {PREFIX6} dev vip0")]);
        let weights = Arc::new(Mutex::new(weights));
        let stop = Arc::new(AtomicBool::new(false));
        let own: IpAddr =
            if outer_ipv6 { "fd77::2".parse() } else { "10.77.0.2".parse() }.expect("an address");
        let servers: Vec<_> = lab.servers.iter().map(|server| server.address(outer_ipv6)).collect();
        let (shared, flag) = (weights.clone(), stop.clone());
        let thread = lab.lb.spawn(move || {
            let tunnel = Tunnel::open(way, own, servers);
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
    // All but the last byte: a service may be on the prefix around the VIP.
    let destination = &addresses[addresses.len() / 2..addresses.len() - 1];
    if destination != &VIP4.octets()[..3] && destination != &VIP6.octets()[..15] {
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

/// Sends to several servers from one address.
pub struct Tunnel {
    socket: OwnedFd,
    way: Way,
    own: IpAddr,
    servers: Vec<IpAddr>,
}

const GRE: u8 = 47;
const UDP: u8 = 17;

impl Tunnel {
    /// Opens the socket in the namespace of the calling thread.
    pub fn open(way: Way, own: IpAddr, servers: Vec<IpAddr>) -> Self {
        let family = if own.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        // IPPROTO_RAW: we write the whole IP header.
        let socket = socket(family, SockType::Raw, SockFlag::empty(), SockProtocol::Raw).expect("root");
        Self { socket, way, own, servers }
    }

    /// Sends a packet to a server in the tunnel's way.
    pub fn send(&self, packet: &[u8], server: usize) {
        let ipv4 = packet[0] >> 4 == 4;
        let ether_type: [u8; 2] = if ipv4 { [8, 0] } else { [0x86, 0xDD] };
        let protocol = if ipv4 { 4 } else { 41 };
        match self.way {
            Way::Gre { key: None } => {
                self.send_payload(GRE, &[&[0, 0], &ether_type[..], packet].concat(), server);
            }
            Way::Gre { key: Some(key) } => {
                let header = [&[0x20, 0], &ether_type[..], &key.to_be_bytes()].concat();
                self.send_payload(GRE, &[&header, packet].concat(), server);
            }
            Way::Ipip => self.send_payload(protocol, packet, server),
            Way::Gue { variant: 0 } => {
                self.send_payload(UDP, &self.udp(&[&[0, protocol, 0, 0], packet].concat()), server);
            }
            Way::Gue { .. } => self.send_payload(UDP, &self.udp(packet), server),
            Way::L3dsr => self.send_whole(&marked(packet, self.servers[server]), server),
            Way::Nat => unreachable!("the kernel is the reference for that"),
        }
    }

    /// A UDP header in front, without a checksum: allowed for tunnels over IPv6 too, and what needs most care.
    pub fn udp(&self, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(8 + payload.len()).expect("packets are short").to_be_bytes();
        [&[0xC0, 0][..], &self.way.gue_port().to_be_bytes(), &length, &[0, 0], payload].concat()
    }

    /// Sends what claims to be of an IP protocol.
    pub fn send_payload(&self, protocol: u8, payload: &[u8], server: usize) {
        let length = u16::try_from(payload.len()).expect("packets are short").to_be_bytes();
        let header = match (self.own, self.servers[server]) {
            // The kernel fills in total length, id and checksum.
            (IpAddr::V4(own), IpAddr::V4(server)) => {
                let fixed = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
                [&fixed[..], &own.octets(), &server.octets()].concat()
            }
            (IpAddr::V6(own), IpAddr::V6(server)) => {
                let fixed = [0x60, 0, 0, 0, length[0], length[1], protocol, 64];
                [&fixed[..], &own.octets(), &server.octets()].concat()
            }
            _ => unreachable!("the tunnel's ends are of one family"),
        };
        self.send_whole(&[&header, payload].concat(), server);
    }

    fn send_whole(&self, packet: &[u8], server: usize) {
        let outcome = match self.servers[server] {
            IpAddr::V4(to) => self.send_to(packet, &SockaddrIn::from(SocketAddrV4::new(to, 0))),
            IpAddr::V6(to) => self.send_to(packet, &SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, 0))),
        };
        outcome.expect("the kernel sends what fits the link");
    }

    fn send_to<S: SockaddrLike>(&self, bytes: &[u8], server: &S) -> nix::Result<usize> {
        sendto(self.socket.as_raw_fd(), bytes, server, MsgFlags::empty())
    }
}

/// The packet as L3DSR sends it: another destination, the mark, and a TCP or UDP checksum made anew.
fn marked(packet: &[u8], server: IpAddr) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let (addresses, protocol, transport) = match server {
        IpAddr::V4(server) => {
            packet[1] = DSCP << 2 | packet[1] & 3;
            packet[16..20].copy_from_slice(&server.octets());
            (12..20, packet[9], usize::from(packet[0] & 15) * 4)
        }
        IpAddr::V6(server) => {
            packet[0] = 0x60 | DSCP >> 2;
            packet[1] = DSCP << 6 | packet[1] & 0x3F;
            packet[24..40].copy_from_slice(&server.octets());
            (8..40, packet[6], 40)
        }
    };
    let checksum = transport + if protocol == UDP { 6 } else { 16 };
    packet[checksum..checksum + 2].fill(0);
    let length = u64::try_from(packet.len() - transport).expect("packets are short");
    let words = packet[addresses].chunks(2).chain(packet[transport..].chunks(2));
    let word = |two: &[u8]| u64::from(two[0]) << 8 | two.get(1).map_or(0, |&low| u64::from(low));
    let mut sum = words.map(word).sum::<u64>() + u64::from(protocol) + length;
    while sum >> 16 != 0 {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).expect("folded");
    // In UDP zero means none, and its other form is the same number.
    let sum = if sum == 0 { 0xFFFF } else { sum };
    packet[checksum..checksum + 2].copy_from_slice(&sum.to_be_bytes());
    packet
}
