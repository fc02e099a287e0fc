//! Everything beyond the balancer's port: clients that open connections, servers that answer them.
//!
//! One thread at the far end of a cable. It speaks real frames: it answers ARP, takes GRE off, and keeps
//! each client's connection through SYN, ACK, request, response and FIN. What goes from servers to clients
//! does not pass the balancer (direct server return) and is an event here.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::Ipv4Addr,
};

use dataplane::{
    ports::{BURST, Burst, Packet, Queue},
    time::Nanos,
    wire::{
        Mac,
        arp::{Arp, Operation},
        checksum, ethernet,
        ipv4::Ipv4,
        protocol, tcp,
    },
};

use super::service::ProcessorSharing;

/// One way between a client and a server.
const DELAY: u64 = 100_000;

/// After this a client sends again what was not answered.
const RETRY: u64 = 1_000_000_000;

/// Ports that one client address uses.
const PORTS: u64 = 50_000;

const ACK: u8 = tcp::Flags::ACK;
const PUSH: u8 = 0x08;

/// What the demo plays.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where clients connect to.
    pub vip: (Ipv4Addr, u16),
    /// Each server's address and speed.
    pub servers: Vec<(Ipv4Addr, f64)>,
    /// New connections per second; arrivals are Poisson.
    pub rate: f64,
    /// Mean work of a request, at speed 1; exponential.
    pub work: Nanos,
    /// Seed of arrivals and work.
    pub seed: u64,
}

/// What the world has seen of a server in the current phase.
#[derive(Clone, Debug, Default)]
pub struct ServerTally {
    /// Connections that began here.
    pub connections: u64,
    /// Requests in service now.
    pub active: usize,
    /// Completion times of connections that began in this phase, in seconds.
    pub completions: Vec<f32>,
}

/// What the world has seen.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By server.
    pub servers: Vec<ServerTally>,
    /// Connections that some packet reached another server of. Must stay zero.
    pub moved: u64,
    /// SYNs and requests sent again.
    pub retries: u64,
    /// Connections that were opened, and that were completed, over all phases.
    pub opened: u64,
    /// Connections that got their response.
    pub completed: u64,
}

#[derive(Debug)]
struct Connection {
    opened: Nanos,
    phase: u32,
    server: Option<usize>,
    /// Whether its request has reached the server.
    requested: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The client has the server's SYN-ACK.
    Accepted(u64),
    /// The client has the response.
    Answered(u64),
    /// The client looks whether its SYN or its request was lost.
    Impatient(u64),
}

/// Clients and servers at the far end of `queue`.
#[derive(Debug)]
pub struct World<Q: Queue> {
    queue: Q,
    mac: Mac,
    balancer: Mac,
    scenario: Scenario,
    servers: Vec<ProcessorSharing>,
    connections: HashMap<u64, Connection>,
    events: BinaryHeap<Reverse<(Nanos, Event)>>,
    rng: fastrand::Rng,
    next_arrival: Nanos,
    phase: u32,
    tally: Tally,
    out: Burst<Q::Packet>,
}

impl<Q: Queue> World<Q> {
    /// A world without a connection; the first one opens after `start`.
    pub fn new(queue: Q, (mac, balancer): (Mac, Mac), scenario: Scenario, start: Nanos) -> Self {
        let servers =
            scenario.servers.iter().map(|&(_, speed)| ProcessorSharing::new(speed, start)).collect();
        let tally =
            Tally { servers: vec![ServerTally::default(); scenario.servers.len()], ..Tally::default() };
        Self {
            queue,
            mac,
            balancer,
            servers,
            connections: HashMap::new(),
            events: BinaryHeap::new(),
            rng: fastrand::Rng::with_seed(scenario.seed),
            scenario,
            next_arrival: start,
            phase: 0,
            tally,
            out: Burst::new(),
        }
    }

    /// What was seen so far.
    pub fn tally(&self) -> Tally {
        let mut tally = self.tally.clone();
        for (tally, server) in tally.servers.iter_mut().zip(&self.servers) {
            tally.active = server.len();
        }
        tally
    }

    /// Begins a new phase: servers' tallies start again; returns those of the old one.
    pub fn next_phase(&mut self) -> Tally {
        let old = self.tally();
        self.phase += 1;
        self.tally.servers.fill_with(ServerTally::default);
        old
    }

    /// Connections that have not got their response yet.
    pub fn open_connections(&self) -> usize {
        self.connections.len()
    }

    /// Everything that happens up to `now`; new connections open only while `arriving`.
    pub fn turn(&mut self, now: Nanos, arriving: bool) {
        let mut burst = Burst::new();
        self.queue.receive(&mut burst);
        for packet in burst.drain(..) {
            self.hear(packet.data(), now);
        }
        for at in 0..self.servers.len() {
            while let Some((connection, done)) = self.servers[at].next_done(now) {
                self.events.push(Reverse((done.later(DELAY), Event::Answered(connection))));
            }
        }
        while let Some(&Reverse((at, event))) = self.events.peek()
            && at <= now
        {
            self.events.pop();
            self.happen(event, at);
        }
        while arriving && self.next_arrival <= now {
            self.open(now);
            let gap = self.exponential(1e9 / self.scenario.rate);
            self.next_arrival = self.next_arrival.later(gap as u64);
        }
        self.flush();
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.rng.f64()).ln() * mean
    }

    fn open(&mut self, now: Nanos) {
        let id = self.tally.opened;
        self.tally.opened += 1;
        self.connections
            .insert(id, Connection { opened: now, phase: self.phase, server: None, requested: false });
        self.events.push(Reverse((now.later(RETRY), Event::Impatient(id))));
        self.send(id, tcp::Flags::SYN, b"");
    }

    fn happen(&mut self, event: Event, at: Nanos) {
        match event {
            Event::Accepted(id) => {
                self.send(id, ACK, b"");
                self.send(id, ACK | PUSH, b"GET / HTTP/1.1\r\n\r\n");
            }
            Event::Answered(id) => {
                let Some(connection) = self.connections.remove(&id) else { return };
                self.send(id, ACK | tcp::Flags::FIN, b"");
                self.tally.completed += 1;
                if let Some(server) = connection.server
                    && connection.phase == self.phase
                {
                    let seconds = at.0.saturating_sub(connection.opened.0) as f32 / 1e9;
                    self.tally.servers[server].completions.push(seconds);
                }
            }
            Event::Impatient(id) => {
                let Some(connection) = self.connections.get(&id).filter(|connection| !connection.requested)
                else {
                    return;
                };
                let accepted = connection.server.is_some();
                self.tally.retries += 1;
                self.events.push(Reverse((at.later(RETRY), Event::Impatient(id))));
                if accepted {
                    self.events.push(Reverse((at, Event::Accepted(id))));
                } else {
                    self.send(id, tcp::Flags::SYN, b"");
                }
            }
        }
    }

    /// A frame from the balancer: an ARP request, or a client's packet in a tunnel to a server.
    fn hear(&mut self, frame: &[u8], now: Nanos) {
        let Ok(header) = ethernet::Frame::parse(frame) else { return };
        let payload = &frame[ethernet::HEADER_LEN..];
        match header.ether_type() {
            ethernet::ether_type::ARP => {
                if let Ok(arp) = Arp::parse(payload)
                    && arp.operation == Operation::Request
                {
                    self.answer_arp(&arp);
                }
            }
            ethernet::ether_type::IPV4 => {
                if let Some((server, id, flags, len)) = self.decapsulate(payload) {
                    self.serve(server, id, flags, len, now);
                }
            }
            _ => {}
        }
    }

    /// Server, connection, control bits and payload length of a tunnelled packet.
    fn decapsulate(&self, outer: &[u8]) -> Option<(usize, u64, tcp::Flags, usize)> {
        let ip = Ipv4::parse(outer, outer.len()).ok().filter(|ip| ip.protocol() == protocol::GRE)?;
        let server = self.scenario.servers.iter().position(|&(address, _)| address == ip.destination())?;
        let inner = outer.get(ip.header_len() + 4..ip.total_len())?;
        let ip = Ipv4::parse(inner, inner.len()).ok()?;
        let segment = inner.get(ip.header_len()..ip.total_len())?;
        let flags = tcp::flags(segment).ok()?;
        let sport = u16::from_be_bytes([segment[0], segment[1]]);
        let id = u64::from(ip.source().to_bits() - FIRST_CLIENT) * PORTS + u64::from(sport - FIRST_PORT);
        Some((server, id, flags, segment.len() - tcp::HEADER_LEN))
    }

    /// A client's packet at a server.
    fn serve(&mut self, server: usize, id: u64, flags: tcp::Flags, len: usize, now: Nanos) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match connection.server {
            Some(known) if known != server => self.tally.moved += 1,
            Some(_) => {}
            None => {
                connection.server = Some(server);
                if connection.phase == self.phase {
                    self.tally.servers[server].connections += 1;
                }
            }
        }
        if flags.opens() {
            self.events.push(Reverse((now.later(2 * DELAY), Event::Accepted(id))));
        } else if len > 0 && !std::mem::replace(&mut connection.requested, true) {
            let work = self.exponential(self.scenario.work.0 as f64);
            self.servers[server].arrive(id, work, now);
        }
    }

    fn answer_arp(&mut self, request: &Arp) {
        let mut frame = [0; ethernet::HEADER_LEN + dataplane::wire::arp::LEN];
        ethernet::emit(&mut frame, request.sender_mac, self.mac, ethernet::ether_type::ARP);
        request.reply(self.mac).emit(&mut frame[ethernet::HEADER_LEN..]);
        self.transmit(&frame);
    }

    /// Sends a segment of a client's connection to the VIP.
    fn send(&mut self, id: u64, flags: u8, payload: &[u8]) {
        let client = Ipv4Addr::from_bits(FIRST_CLIENT + (id / PORTS) as u32);
        let sport = FIRST_PORT + (id % PORTS) as u16;
        let (vip, dport) = self.scenario.vip;
        let mut segment = Vec::with_capacity(tcp::HEADER_LEN + payload.len());
        segment.extend(sport.to_be_bytes());
        segment.extend(dport.to_be_bytes());
        segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(payload);
        let addresses = [client.octets(), vip.octets()].concat();
        let sum = checksum::pseudo_header(&addresses, protocol::TCP, segment.len());
        let sum = !checksum::fold(checksum::add(sum, &segment));
        segment[tcp::CHECKSUM..tcp::CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());

        let mut header = [0; ethernet::HEADER_LEN + 20];
        ethernet::emit(&mut header, self.balancer, self.mac, ethernet::ether_type::IPV4);
        let ip = &mut header[ethernet::HEADER_LEN..];
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&((20 + segment.len()) as u16).to_be_bytes());
        ip[6] = 0x40;
        ip[8] = 64;
        ip[9] = protocol::TCP;
        ip[12..20].copy_from_slice(&addresses);
        let sum = checksum::of(ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        self.transmit(&[&header[..], &segment].concat());
    }

    fn transmit(&mut self, frame: &[u8]) {
        if let Some(mut packet) = self.queue.allocate()
            && packet.append(frame.len()).is_ok()
        {
            packet.data_mut().copy_from_slice(frame);
            self.out.push(packet);
        }
        if self.out.len() == BURST {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.queue.transmit(&mut self.out);
        self.out.clear(); // what the cable did not take is lost, as on a real one
    }
}

/// Clients have addresses from 198.18.0.1 on: the range for benchmarks (RFC 2544).
const FIRST_CLIENT: u32 = 0xc612_0001;

const FIRST_PORT: u16 = 1024;

trait Later {
    fn later(self, nanos: u64) -> Self;
}

impl Later for Nanos {
    fn later(self, nanos: u64) -> Self {
        Self(self.0 + nanos)
    }
}
