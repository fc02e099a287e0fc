//! Everything beyond the balancer's port: clients that open connections, servers that answer them.
//!
//! One thread at the far end of a cable. It speaks real frames: it answers ARP, takes GRE off, and keeps
//! each client's connection through SYN, ACK, request, response and FIN. What goes from servers to clients
//! does not pass the balancer (direct server return) and is an event here.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
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

use super::{
    service::ProcessorSharing,
    tally::{Completion, ServerTally, Tally},
};

/// One way between a client and a server.
const DELAY: u64 = 100_000;

/// After this a client sends again what was not answered.
const RETRY: u64 = 1_000_000_000;

/// Later than anything.
const LATER: Nanos = Nanos(u64::MAX >> 1);

/// Most bursts that are heard in a turn.
const BURSTS: usize = 16;

/// Ports that one client address uses.
const PORTS: u64 = 50_000;

const ACK: u8 = tcp::Flags::ACK;
const PUSH: u8 = 0x08;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
/// Bytes of a response: the client's last segment acknowledges them.
const RESPONSE: u32 = 1000;

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

/// What happens now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// Nobody arrives.
    Empty,
    /// Connections are opened.
    Arrivals,
    /// Nobody arrives any more, and who waits for a response gets it without the wait: once all requests are at
    /// their servers, it is certain when each will be done, and that time is what counts.
    Ending,
}

#[derive(Debug)]
struct Connection {
    opened: Nanos,
    server: Option<usize>,
    /// Work of its request, in nanoseconds at speed 1.
    work: f64,
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
    began: Nanos,
    next_arrival: Nanos,
    /// The next connection's number, which its addresses are made from: never used twice.
    next_id: u64,
    /// Connections whose request has not reached its server yet.
    asking: usize,
    tally: Tally,
    /// Frames that the cable has no room for yet.
    waiting: VecDeque<Vec<u8>>,
    out: Burst<Q::Packet>,
}

impl<Q: Queue> World<Q> {
    /// A world without a connection.
    pub fn new(queue: Q, (mac, balancer): (Mac, Mac), scenario: Scenario, start: Nanos) -> Self {
        let mut world = Self {
            queue,
            mac,
            balancer,
            servers: Vec::new(),
            connections: HashMap::new(),
            events: BinaryHeap::new(),
            rng: fastrand::Rng::with_seed(scenario.seed),
            scenario,
            began: start,
            next_arrival: start,
            next_id: 0,
            asking: 0,
            tally: Tally::default(),
            waiting: VecDeque::new(),
            out: Burst::new(),
        };
        world.begin(start);
        world
    }

    /// Begins again: idle servers, an empty tally, and the same arrivals with the same work as every time. What was
    /// not answered before never will be.
    pub fn begin(&mut self, now: Nanos) {
        let servers = &self.scenario.servers;
        self.servers = servers.iter().map(|&(_, speed)| ProcessorSharing::new(speed, now)).collect();
        self.tally = Tally { servers: vec![ServerTally::default(); servers.len()], ..Tally::default() };
        self.rng = fastrand::Rng::with_seed(self.scenario.seed);
        (self.began, self.next_arrival, self.asking) = (now, now, 0);
        self.connections.clear();
        self.events.clear();
    }

    /// What was seen so far.
    pub fn tally(&self) -> Tally {
        let mut tally = self.tally.clone();
        for (tally, server) in tally.servers.iter_mut().zip(&self.servers) {
            tally.active = server.len();
        }
        tally
    }

    /// Whether every connection has got its response, and the balancer every frame.
    pub fn is_over(&self) -> bool {
        self.connections.is_empty() && self.waiting.is_empty() && self.out.is_empty()
    }

    /// Everything that happens up to `now`.
    pub fn turn(&mut self, now: Nanos, scene: Scene) {
        let mut burst = Burst::new();
        for _ in 0..BURSTS {
            self.queue.receive(&mut burst);
            let all = burst.len() < BURST;
            for packet in burst.drain(..) {
                self.hear(packet.data(), now);
            }
            if all {
                break;
            }
        }
        for at in 0..self.servers.len() {
            while let Some((connection, done)) = self.servers[at].next_done(now) {
                self.events.push(Reverse((done.later(DELAY), Event::Answered(connection))));
            }
        }
        if scene == Scene::Ending && self.asking == 0 {
            self.skip_the_wait();
        }
        while let Some(&Reverse((at, event))) = self.events.peek()
            && at <= now
        {
            self.events.pop();
            self.happen(event, at);
        }
        while scene == Scene::Arrivals && self.next_arrival <= now {
            self.open(now);
            let gap = self.exponential(1e9 / self.scenario.rate);
            self.next_arrival = self.next_arrival.later(gap as u64);
        }
        self.flush();
    }

    /// Answers connections now that will be done later: a few in each turn, as ports have so much room.
    fn skip_the_wait(&mut self) {
        for _ in 0..BURST {
            let Some((id, done)) = self.servers.iter_mut().find_map(|server| server.next_done(LATER)) else {
                return;
            };
            self.happen(Event::Answered(id), done.later(DELAY));
        }
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.rng.f64()).ln() * mean
    }

    fn open(&mut self, now: Nanos) {
        let id = self.next_id;
        self.next_id += 1;
        self.tally.opened += 1;
        self.asking += 1;
        let work = self.exponential(self.scenario.work.0 as f64);
        self.connections.insert(id, Connection { opened: now, server: None, work, requested: false });
        self.events.push(Reverse((now.later(RETRY), Event::Impatient(id))));
        self.send(id, tcp::Flags::SYN, (0, 0), b"");
    }

    fn happen(&mut self, event: Event, at: Nanos) {
        match event {
            Event::Accepted(id) => {
                self.send(id, ACK, (1, 1), b"");
                self.send(id, ACK | PUSH, (1, 1), REQUEST);
            }
            Event::Answered(id) => {
                let Some(connection) = self.connections.remove(&id) else { return };
                let numbers = (1 + REQUEST.len() as u32, 1 + RESPONSE);
                self.send(id, ACK | tcp::Flags::FIN, numbers, b"");
                self.tally.completed += 1;
                if let Some(server) = connection.server {
                    let seconds = |from: Nanos, to: Nanos| to.0.saturating_sub(from.0) as f32 / 1e9;
                    self.tally.servers[server].completions.push(Completion {
                        opened: seconds(self.began, connection.opened),
                        seconds: seconds(connection.opened, at),
                    });
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
                    self.send(id, tcp::Flags::SYN, (0, 0), b"");
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
                self.tally.servers[server].connections += 1;
            }
        }
        if flags.opens() {
            self.events.push(Reverse((now.later(2 * DELAY), Event::Accepted(id))));
        } else if len > 0 && !std::mem::replace(&mut connection.requested, true) {
            self.asking -= 1;
            self.servers[server].arrive(id, connection.work, now);
            let longest = &mut self.tally.servers[server].longest;
            *longest = self.servers[server].len().max(*longest);
        }
    }

    fn answer_arp(&mut self, request: &Arp) {
        let mut frame = [0; ethernet::HEADER_LEN + dataplane::wire::arp::LEN];
        ethernet::emit(&mut frame, request.sender_mac, self.mac, ethernet::ether_type::ARP);
        request.reply(self.mac).emit(&mut frame[ethernet::HEADER_LEN..]);
        self.transmit(&frame);
    }

    /// Sends a segment of a client's connection to the VIP: with this sequence number, and acknowledging up to that one.
    fn send(&mut self, id: u64, flags: u8, (sequence, acknowledged): (u32, u32), payload: &[u8]) {
        let client = Ipv4Addr::from_bits(FIRST_CLIENT + (id / PORTS) as u32);
        let sport = FIRST_PORT + (id % PORTS) as u16;
        let (vip, dport) = self.scenario.vip;
        let mut segment = Vec::with_capacity(tcp::HEADER_LEN + payload.len());
        segment.extend(sport.to_be_bytes());
        segment.extend(dport.to_be_bytes());
        segment.extend(sequence.to_be_bytes());
        segment.extend(acknowledged.to_be_bytes());
        segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
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
        self.waiting.push_back(frame.to_vec());
    }

    /// Puts on the cable what it has room for. Clients' machines keep the rest: what is lost is lost by the balancer.
    fn flush(&mut self) {
        loop {
            while self.out.len() < BURST
                && let Some(frame) = self.waiting.front()
                && let Some(mut packet) = self.queue.allocate()
                && packet.append(frame.len()).is_ok()
            {
                packet.data_mut().copy_from_slice(frame);
                self.out.push(packet);
                self.waiting.pop_front();
            }
            let wanted = self.out.len();
            self.queue.transmit(&mut self.out);
            if wanted == 0 || !self.out.is_empty() {
                return;
            }
        }
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

#[cfg(test)]
mod tests {
    use dataplane::ports::memory::MemoryQueue;

    use super::*;

    const MAC: Mac = Mac([2; 6]);

    fn world() -> World<MemoryQueue> {
        let servers = vec![(Ipv4Addr::new(198, 51, 100, 11), 1.0), (Ipv4Addr::new(198, 51, 100, 12), 2.0)];
        let vip = (Ipv4Addr::new(203, 0, 113, 10), 80);
        let scenario = Scenario { vip, servers, rate: 5000.0, work: Nanos(1_000_000), seed: 7 };
        World::new(MemoryQueue::default(), (MAC, MAC), scenario, Nanos(0))
    }

    /// The connections that are opened in an act that begins at `start`: in each millisecond, and their work.
    fn arrivals(world: &mut World<MemoryQueue>, start: u64) -> (Vec<u64>, Vec<f64>) {
        world.begin(Nanos(start));
        let opened = (0..100).map(|step| {
            world.turn(Nanos(start + step * 1_000_000), Scene::Arrivals);
            world.tally().opened
        });
        let opened = opened.collect();
        let mut connections: Vec<_> = world.connections.iter().collect();
        connections.sort_by_key(|&(id, _)| *id);
        (opened, connections.iter().map(|(_, connection)| connection.work).collect())
    }

    #[test]
    fn every_act_has_the_same_arrivals_with_the_same_work() {
        let mut world = world();
        let first = arrivals(&mut world, 0);
        assert!(first.1.len() > 300, "{}", first.1.len());
        assert_eq!(arrivals(&mut world, 1_234_567_890), first);
        assert_eq!(world.next_id as usize, 2 * first.1.len(), "but no client address and port comes again");
    }

    #[test]
    fn at_the_end_nobody_waits_and_times_are_as_if_all_had() {
        let mut world = world();
        for _ in 0..2 {
            world.open(Nanos(0));
        }
        for (id, work) in [(0, 1e9), (1, 3e9)] {
            world.connections.get_mut(&id).unwrap().work = work;
        }
        world.serve(0, 0, tcp::Flags(ACK), 18, Nanos(0));
        world.turn(Nanos(1000), Scene::Ending);
        assert!(!world.is_over(), "a request is still on its way");
        world.serve(0, 1, tcp::Flags(ACK), 18, Nanos(0));
        world.turn(Nanos(2000), Scene::Ending);
        assert!(world.is_over());
        let server = &world.tally().servers[0];
        let seconds: Vec<f32> = server.completions.iter().map(|completion| completion.seconds).collect();
        let delay = DELAY as f32 / 1e9; // of the response: they share the server for two seconds
        assert!(
            (seconds[0] - 2.0 - delay).abs() < 1e-4 && (seconds[1] - 4.0 - delay).abs() < 1e-4,
            "{seconds:?}"
        );
        assert_eq!((server.longest, world.tally().completed), (2, 2));
    }

    /// By that the balancer tells how long a request took.
    #[test]
    fn client_acknowledges_the_response_with_its_last_segment() {
        let mut world = world();
        world.open(Nanos(0));
        world.happen(Event::Accepted(0), Nanos(1));
        world.happen(Event::Answered(0), Nanos(2));
        let numbers = |frame: &Vec<u8>| {
            let segment = &frame[ethernet::HEADER_LEN + 20..];
            [4, 8].map(|at| u32::from_be_bytes(segment[at..at + 4].try_into().unwrap()))
        };
        let sent: Vec<_> = world.waiting.iter().map(numbers).collect();
        let request = REQUEST.len() as u32;
        assert_eq!(sent, [[0, 0], [1, 1], [1, 1], [1 + request, 1 + RESPONSE]]);
    }

    #[test]
    fn packet_at_another_server_than_the_first_is_noticed() {
        let mut world = world();
        world.open(Nanos(0));
        world.serve(0, 0, tcp::Flags(tcp::Flags::SYN), 0, Nanos(0));
        world.serve(0, 0, tcp::Flags(ACK), 0, Nanos(0));
        assert_eq!(world.tally().moved, 0);
        world.serve(1, 0, tcp::Flags(ACK), 0, Nanos(0));
        assert_eq!(world.tally().moved, 1);
    }
}
