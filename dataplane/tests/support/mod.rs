//! Frames written byte by byte from the RFCs, and a worker on in-memory ports to send them through.
//!
//! Nothing here uses the code under test to build or check a packet: checksums are recomputed from
//! scratch by the plain definition of RFC 1071.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses its part; one that cannot go on fails"
)]

pub mod crew;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use dataplane::{
    pipeline::DropReason,
    ports::memory::{MemoryPacket, MemoryQueue},
    ports::{Packet, Queue},
    tables::{
        Builder, Tables,
        encap::Encap,
        flow::Timeouts,
        hash::HashKey,
        neighbor::Neighbors,
        route::NextHop,
        select::Select,
        server::ServerState,
        spec::{PortSpec, ServerSpec, Spec, TunnelSource, VipSpec},
        vip::Service,
    },
    time::Clock,
    wire::Mac,
    worker::{Handle, Parts, Worker},
};
use ipc::{
    id::{LcoreId, PortId, ServerId},
    snapshot::{self, Publisher},
};

/// GRE without a key.
pub const GRE: Encap = Encap::Gre { key: None };

pub const CLIENT_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xc1]);
pub const GATEWAY_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xfe]);
pub const LAN_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
pub const SERVER_NET_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);

/// The RFC 1071 checksum, by its definition.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

pub fn ethernet(to: Mac, from: Mac, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&to.0[..], &from.0, &ether_type.to_be_bytes(), payload].concat()
}

pub fn frame(to: Mac, from: Mac, ip: &[u8]) -> Vec<u8> {
    ethernet(to, from, if ip[0] >> 4 == 4 { 0x0800 } else { 0x86dd }, ip)
}

/// An IP header around an upper layer; the family is that of the addresses.
#[derive(Clone, Copy, Debug)]
pub struct Ip {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub tos: u8,
    pub ttl: u8,
    /// IPv4: flags and fragment offset. IPv6: flow label.
    pub misc: u32,
}

impl Ip {
    pub fn new(source: &str, destination: &str, protocol: u8) -> Self {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Self { source, destination, protocol, tos: 0, ttl: 64, misc: 0 }
    }

    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut header = vec![0x45, self.tos];
                header.extend(((20 + payload.len()) as u16).to_be_bytes());
                header.extend([0, 0]);
                header.extend((self.misc as u16).to_be_bytes());
                header.extend([self.ttl, self.protocol, 0, 0]);
                header.extend(from.octets());
                header.extend(to.octets());
                let sum = checksum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                [&header[..], payload].concat()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let word = 6u32 << 28 | u32::from(self.tos) << 20 | self.misc;
                let len = (payload.len() as u16).to_be_bytes();
                let rest = [self.protocol, self.ttl];
                [&word.to_be_bytes()[..], &len, &rest, &from.octets(), &to.octets(), payload].concat()
            }
            _ => panic!("one family"),
        }
    }

    /// The pseudo-header's bytes followed by the upper layer.
    pub fn summed(&self, upper: &[u8]) -> Vec<u8> {
        let mut bytes = match (self.source, self.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
            (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
            _ => panic!("one family"),
        };
        bytes.extend((upper.len() as u32).to_be_bytes());
        bytes.extend([0, 0, 0, self.protocol]);
        bytes.extend(upper);
        bytes
    }

    /// A whole packet with a TCP segment in it, checksums right.
    pub fn tcp(mut self, sport: u16, dport: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
        self.protocol = 6;
        let mut segment =
            [&sport.to_be_bytes()[..], &dport.to_be_bytes(), &[0, 0, 0, 1, 0, 0, 0, 2]].concat();
        segment.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
        segment.extend(payload);
        let sum = checksum(&self.summed(&segment));
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        self.packet(&segment)
    }

    /// A whole packet with a SYN in it that asks for segments of at most `mss` bytes.
    pub fn syn(mut self, sport: u16, dport: u16, flags: u8, mss: u16) -> Vec<u8> {
        self.protocol = 6;
        let mut segment =
            [&sport.to_be_bytes()[..], &dport.to_be_bytes(), &[0, 0, 0, 1, 0, 0, 0, 2]].concat();
        segment.extend([0x70, flags, 0x20, 0, 0, 0, 0, 0, 1, 2, 4]);
        segment.extend(mss.to_be_bytes());
        segment.extend([4, 2, 0]);
        let sum = checksum(&self.summed(&segment));
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        self.packet(&segment)
    }

    /// A whole packet with a UDP datagram in it; `sum`: whether it has a checksum.
    pub fn udp(mut self, sport: u16, dport: u16, payload: &[u8], sum: bool) -> Vec<u8> {
        self.protocol = 17;
        let len = (8 + payload.len()) as u16;
        let mut datagram =
            [&sport.to_be_bytes()[..], &dport.to_be_bytes(), &len.to_be_bytes(), &[0, 0], payload].concat();
        if sum {
            let sum = match checksum(&self.summed(&datagram)) {
                0 => 0xffff,
                sum => sum,
            };
            datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        }
        self.packet(&datagram)
    }
}

pub const SYN: u8 = 0x02;
pub const ACK: u8 = 0x10;
pub const FIN: u8 = 0x01;
pub const RST: u8 = 0x04;

/// `address` is one address or a prefix.
pub fn service(address: &str, protocol: u8, port: u16) -> Service {
    let network = address.parse().unwrap_or_else(|_| address.parse::<IpAddr>().unwrap().into());
    Service { network, protocol: Some(protocol), port: Some(port) }
}

pub fn server(address: &str, port: Option<u16>, weight: f64) -> ServerSpec {
    ServerSpec { address: address.parse().unwrap(), port, weight, state: ServerState::Active }
}

pub fn vip(service: Service, encap: Encap, servers: Vec<ServerSpec>) -> VipSpec {
    let ports = service.port.map(|port| port..=port).into_iter().collect();
    VipSpec { service, ports, encap, mss: None, select: Select::Alias, servers }
}

/// Two ports: 0 towards clients (192.0.2.2/24, 2001:db8::2/64, gateways .1 and ::1), 1 towards servers
/// (198.51.100.2/24, 2001:db8:1::2/64).
pub fn spec(vips: Vec<VipSpec>) -> Spec {
    let seconds = Duration::from_secs;
    let port = |mac, addresses: [&str; 2], gateways: &[&str]| PortSpec {
        mac,
        mtu: 1500,
        vlan: None,
        exception: None,
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        gateways: gateways.iter().map(|text| text.parse().unwrap()).collect(),
    };
    Spec {
        ports: vec![
            port(LAN_MAC, ["192.0.2.2/24", "2001:db8::2/64"], &["192.0.2.1", "2001:db8::1"]),
            port(SERVER_NET_MAC, ["198.51.100.2/24", "2001:db8:1::2/64"], &[]),
        ],
        vips,
        tunnel_source: TunnelSource {
            v4: Some(Ipv4Addr::new(198, 51, 100, 2)),
            ipip: None,
            v6: Some("2001:db8:1::2".parse::<Ipv6Addr>().unwrap()),
        },
        timeouts: Timeouts::new(seconds(300), seconds(30), seconds(10), seconds(5)),
        hash_key: HashKey::default(),
    }
}

/// The Ethernet address that the tests give a server, by the last byte of its address.
pub fn server_mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 1, last])
}

/// Both gateways and servers .11 to .19 and ::11 to ::19 (hexadecimal) are resolved.
pub fn neighbors() -> Neighbors {
    let hop = |port, address: &str| NextHop { port: PortId(port), address: address.parse().unwrap() };
    let mut entries = vec![(hop(0, "192.0.2.1"), GATEWAY_MAC), (hop(0, "2001:db8::1"), GATEWAY_MAC)];
    for last in 11..20u8 {
        entries.push((hop(1, &format!("198.51.100.{last}")), server_mac(last)));
        entries.push((hop(1, &format!("2001:db8:1::{last}")), server_mac(last)));
    }
    entries.into_iter().collect()
}

/// What came of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Transmitted: port and frame.
    Out(usize, Vec<u8>),
    /// Ended for this reason.
    Dropped(DropReason),
    /// Taken by the control thread.
    Punted,
    /// Held.
    Held,
}

/// Number of ports, exception ports included.
fn places(spec: &Spec) -> u16 {
    let exceptions = spec.ports.iter().filter(|port| port.exception.is_some()).count();
    (spec.ports.len() + exceptions) as u16
}

/// A worker on two in-memory ports.
pub struct Rig {
    pub worker: Worker<MemoryQueue>,
    pub handle: Handle,
    pub publisher: Publisher<Tables>,
    pub builder: Builder,
    pub spec: Spec,
    pub neighbors: Neighbors,
}

impl Rig {
    pub fn new(vips: Vec<VipSpec>) -> Self {
        Self::with(spec(vips), neighbors(), 4096)
    }

    pub fn with(spec: Spec, neighbors: Neighbors, flow_capacity: u32) -> Self {
        let mut builder = Builder::default();
        let tables = builder.build(&spec, &neighbors).unwrap();
        let (publisher, mut readers) = snapshot::channel(Box::new(tables), 1);
        let parts = Parts {
            lcore: LcoreId(0),
            queues: (0..places(&spec)).map(|_| MemoryQueue::default()).collect(),
            tables: readers.pop().unwrap(),
            flow_capacity,
            hash_key: spec.hash_key,
            measure: dataplane::pipeline::measure::Settings { one_in: 4, ring: 1024 },
            clock: Clock::start(),
        };
        let (worker, handle) = Worker::new(parts).unwrap();
        Self { worker, handle, publisher, builder, spec, neighbors }
    }

    /// Publishes a generation of the spec as it is now.
    pub fn publish(&mut self) {
        let tables = self.builder.build(&self.spec, &self.neighbors).unwrap();
        self.publisher.publish(Box::new(tables));
    }

    /// Publishes a generation with these weights in force on the servers of the first VIP; `None`: the configured ones.
    pub fn reweigh(&mut self, weights: Option<&[(&str, f64)]>) {
        let service = self.spec.vips[0].service;
        let (vip, _) = self.builder.vips().find(|(_, known)| **known == service).unwrap();
        match weights {
            Some(weights) => {
                let weights: Vec<_> =
                    weights.iter().map(|&(address, weight)| (self.server_id(address), weight)).collect();
                self.builder.learn(vip, weights);
            }
            None => self.builder.unlearn(vip),
        }
        let tables = self.builder.reweigh(self.publisher.current(), [vip]);
        self.publisher.publish(Box::new(tables));
    }

    /// Sends one frame into a port and says what came of it.
    pub fn send(&mut self, port: u16, frame: &[u8]) -> Outcome {
        self.send_packet(port, MemoryPacket::new(frame))
    }

    pub fn send_packet(&mut self, port: u16, packet: MemoryPacket) -> Outcome {
        let before = self.worker.ledger().clone();
        self.worker.queue_mut(PortId(port)).incoming.push_back(packet);
        self.worker.turn();
        self.assert_law();
        for at in 0..places(&self.spec) {
            if let Some(packet) = self.worker.queue_mut(PortId(at)).outgoing.pop() {
                return Outcome::Out(usize::from(at), packet.data().to_vec());
            }
        }
        let after = self.worker.ledger();
        if let Some(&reason) =
            DropReason::ALL.iter().find(|&&reason| after.drops(reason) > before.drops(reason))
        {
            return Outcome::Dropped(reason);
        }
        if after.in_flight() > before.in_flight() { Outcome::Held } else { Outcome::Punted }
    }

    /// Turns until housekeeping has run.
    pub fn settle(&mut self) {
        for _ in 0..64 {
            self.worker.turn();
        }
        self.publisher.reclaim();
        self.assert_law();
    }

    pub fn assert_law(&self) {
        assert_eq!(self.worker.ledger().imbalance(), 0, "{:?}", self.worker.ledger());
    }

    /// The slot of a server by its address.
    pub fn server_id(&self, address: &str) -> ServerId {
        let address: IpAddr = address.parse().unwrap();
        self.builder.servers().find(|(_, key)| key.address == address).unwrap().0
    }

    /// Live flows and entries of a server.
    pub fn flows(&self, address: &str) -> (u64, u64) {
        let server = self.handle.counters.server(self.server_id(address));
        (server.flows.get(), server.entries.get())
    }

    /// The last byte of the server that a frame to the VIP went to, by its Ethernet address.
    pub fn server_of(&mut self, frame: &[u8]) -> Option<u8> {
        match self.send(0, frame) {
            Outcome::Out(1, out) => Some(out[5]),
            _ => None,
        }
    }
}

/// A packet pushed straight into a queue, for tests that look at several at once.
pub fn enqueue(rig: &mut Rig, port: u16, frame: &[u8]) {
    rig.worker.queue_mut(PortId(port)).incoming.push_back(MemoryPacket::new(frame));
}

/// All frames that a port has transmitted.
pub fn drain(rig: &mut Rig, port: u16) -> Vec<Vec<u8>> {
    let queue = rig.worker.queue_mut(PortId(port));
    debug_assert!(queue.allocate().is_some());
    queue.outgoing.drain(..).map(|packet| packet.data().to_vec()).collect()
}
