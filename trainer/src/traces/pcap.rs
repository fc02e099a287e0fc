//! Flows of a packet capture in the classic pcap format.
//!
//! A TCP flow begins with a SYN and ends when both ends have sent FIN, at a RST, or when nothing comes any more; a UDP flow begins
//! with its first packet and ends when nothing comes. Both directions belong to it. Other packets are passed over, and TCP flows
//! whose begin is not in the capture too. Source of the format: draft-ietf-opsawg-pcap.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    io::Read,
};

use dataplane::wire::{ethernet, ipv4::Ipv4, ipv6::Ipv6, protocol, tcp};

use super::{Ask, Entry, Source, TraceError};

/// Nanoseconds without a packet after which a flow has ended.
pub const IDLE: u64 = 60_000_000_000;
/// No captured packet is longer; a longer one says that the file is broken.
const LONGEST: u32 = 1 << 18;

/// Whether a file that begins with these bytes is a capture, of either byte order, in micro- or nanoseconds.
pub fn is_magic(bytes: [u8; 4]) -> bool {
    Order::of(bytes).is_some()
}

#[derive(Clone, Copy, Debug)]
struct Order {
    is_little: bool,
    /// Nanoseconds in a unit of the second word of a time.
    fraction: u64,
}

impl Order {
    const fn of(magic: [u8; 4]) -> Option<Self> {
        let (is_little, fraction) = match magic {
            [0xd4, 0xc3, 0xb2, 0xa1] => (true, 1000),
            [0x4d, 0x3c, 0xb2, 0xa1] => (true, 1),
            [0xa1, 0xb2, 0xc3, 0xd4] => (false, 1000),
            [0xa1, 0xb2, 0x3c, 0x4d] => (false, 1),
            _ => return None,
        };
        Some(Self { is_little, fraction })
    }

    fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let word = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if self.is_little { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) }
    }
}

/// What packets are behind, by link type.
#[derive(Clone, Copy, Debug)]
enum Link {
    Ethernet,
    Ip,
    Any,
}

impl Link {
    const fn of(number: u32) -> Result<Self, TraceError> {
        // The upper bits say how long a frame check sequence is, if there is one.
        match number & 0xffff {
            1 => Ok(Self::Ethernet),
            101 => Ok(Self::Ip),
            113 => Ok(Self::Any),
            other => Err(TraceError::LinkType(other)),
        }
    }

    /// The IP packet of a frame.
    fn ip(self, frame: &[u8]) -> Option<&[u8]> {
        let (mut at, mut ether_type) = match self {
            Self::Ip => return Some(frame),
            Self::Ethernet => (ethernet::HEADER_LEN, ethernet::Frame::parse(frame).ok()?.ether_type()),
            Self::Any => (16, u16::from_be_bytes([*frame.get(14)?, *frame.get(15)?])),
        };
        // 802.1Q and 802.1ad tags.
        while matches!(ether_type, 0x8100 | 0x88a8) {
            ether_type = u16::from_be_bytes([*frame.get(at + 2)?, *frame.get(at + 3)?]);
            at += 4;
        }
        matches!(ether_type, 0x0800 | 0x86dd).then(|| frame.get(at..)).flatten()
    }
}

/// One end of a flow.
type End = ([u8; 16], u16);

/// Both ends, the smaller one first, and the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key(End, End, u8);

/// What a packet says about its flow.
#[derive(Clone, Copy, Debug)]
struct Packet {
    key: Key,
    /// Whether it goes from the smaller end to the larger one.
    is_up: bool,
    flags: Option<tcp::Flags>,
    bytes: u64,
}

impl Packet {
    /// Reads as much of an IP packet as was captured; `None` for what is no TCP or UDP, or a later fragment.
    fn of(bytes: &[u8]) -> Option<Self> {
        let (source, destination, protocol, offset, total) = match bytes.first()? >> 4 {
            4 => {
                let packet = Ipv4::parse(bytes, usize::MAX).ok()?;
                if packet.fragment().is_some_and(|fragment| !fragment.is_first()) {
                    return None;
                }
                let [source, destination] =
                    [packet.source(), packet.destination()].map(|ip| ip.to_ipv6_mapped().octets());
                (source, destination, packet.protocol(), packet.header_len(), packet.total_len())
            }
            6 => {
                let packet = Ipv6::parse(bytes, usize::MAX).ok()?;
                let payload = packet.payload().ok()?;
                if payload.fragment.is_some_and(|fragment| !fragment.is_first()) {
                    return None;
                }
                let [source, destination] = [packet.source(), packet.destination()].map(|ip| ip.octets());
                (source, destination, payload.protocol, payload.offset, packet.total_len())
            }
            _ => return None,
        };
        let segment = bytes.get(offset..)?;
        let flags = match protocol {
            protocol::TCP => Some(tcp::flags(segment).ok()?),
            protocol::UDP => None,
            _ => return None,
        };
        let [sport, dport] = [0, 2].map(|at| segment.get(at..at + 2).map(|port| [port[0], port[1]]));
        let source = (source, u16::from_be_bytes(sport?));
        let destination = (destination, u16::from_be_bytes(dport?));
        let is_up = source <= destination;
        let (low, high) = if is_up { (source, destination) } else { (destination, source) };
        Some(Self { key: Key(low, high, protocol), is_up, flags, bytes: total as u64 })
    }
}

/// A flow that has begun and was not handed out yet.
#[derive(Debug)]
struct Flow {
    key: Key,
    started: u64,
    last: u64,
    bytes: u64,
    /// FIN seen from the smaller end, and from the larger one.
    fins: [bool; 2],
    is_over: bool,
}

/// The flows of a capture, in the order in which they begin.
///
/// A flow is handed out when it has ended, and not before those that began before it: what is held are flows that began since the
/// oldest one that lives.
pub struct Flows<R> {
    input: R,
    order: Order,
    link: Link,
    offset: u64,
    /// When the first packet came; times are from then on.
    zero: Option<u64>,
    now: u64,
    idle: u64,
    waiting: VecDeque<Flow>,
    /// How many flows were handed out: the number of the first one that waits.
    handed_out: u64,
    /// The number of each flow that goes on. Only looked up, so its order does not matter.
    live: HashMap<Key, u64>,
    is_at_end: bool,
    frame: Vec<u8>,
}

impl<R> fmt::Debug for Flows<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flows")
            .field("offset", &self.offset)
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

impl<R: Read> Flows<R> {
    /// Reads the file's header. A flow ends after `idle` nanoseconds without a packet.
    pub fn new(mut input: R, idle: u64) -> Result<Self, TraceError> {
        let mut header = [0; 24];
        let broken = TraceError::Capture { offset: 0, what: "no header of a capture" };
        if fill(&mut input, &mut header)? < header.len() {
            return Err(broken);
        }
        let order = Order::of([header[0], header[1], header[2], header[3]]).ok_or(broken)?;
        let link = Link::of(order.u32(&header, 20))?;
        Ok(Self {
            input,
            order,
            link,
            offset: header.len() as u64,
            zero: None,
            now: 0,
            idle,
            waiting: VecDeque::new(),
            handed_out: 0,
            live: HashMap::new(),
            is_at_end: false,
            frame: Vec::new(),
        })
    }

    /// Takes in the next record; `false` at the end.
    fn record(&mut self) -> Result<bool, TraceError> {
        let mut header = [0; 16];
        let found = fill(&mut self.input, &mut header)?;
        if found == 0 {
            return Ok(false);
        }
        let broken = |what| TraceError::Capture { offset: self.offset, what };
        if found < header.len() {
            return Err(broken("it ends within the header of a record"));
        }
        let captured = self.order.u32(&header, 8);
        if captured > LONGEST {
            return Err(broken("a record is longer than any packet"));
        }
        self.frame.resize(captured as usize, 0);
        if fill(&mut self.input, &mut self.frame)? < self.frame.len() {
            return Err(broken("it ends within a packet"));
        }
        self.offset += (header.len() + self.frame.len()) as u64;
        let [seconds, fraction] = [0, 4].map(|at| u64::from(self.order.u32(&header, at)));
        let t = seconds * 1_000_000_000 + fraction * self.order.fraction;
        let t = t.saturating_sub(*self.zero.get_or_insert(t));
        // Captures of several queues are not quite in order; time does not go back for that.
        self.now = self.now.max(t);
        if let Some(packet) = self.link.ip(&self.frame).and_then(Packet::of) {
            self.take_in(packet);
        }
        Ok(true)
    }

    fn take_in(&mut self, packet: Packet) {
        let opens = packet.flags.is_some_and(tcp::Flags::opens);
        let number = self.live.get(&packet.key).copied();
        let known = number.filter(|number| {
            let flow = &self.waiting[(number - self.handed_out) as usize];
            // A SYN after the flow was closed from one end is a new one on the same ports.
            self.now - flow.last <= self.idle && !(opens && flow.fins != [false; 2])
        });
        let number = match known {
            Some(number) => number,
            None if opens || packet.flags.is_none() => self.begin(packet.key, number),
            None => return,
        };
        let flow = &mut self.waiting[(number - self.handed_out) as usize];
        flow.last = self.now;
        flow.bytes += packet.bytes;
        if let Some(flags) = packet.flags {
            flow.fins[usize::from(packet.is_up)] |= flags.finishes();
            if flags.resets() || flow.fins == [true; 2] {
                flow.is_over = true;
                self.live.remove(&packet.key);
            }
        }
    }

    /// Begins a flow in place of `former`; returns its number.
    fn begin(&mut self, key: Key, former: Option<u64>) -> u64 {
        if let Some(former) = former {
            self.waiting[(former - self.handed_out) as usize].is_over = true;
        }
        let number = self.handed_out + self.waiting.len() as u64;
        let (started, last) = (self.now, self.now);
        self.waiting.push_back(Flow { key, started, last, bytes: 0, fins: [false; 2], is_over: false });
        self.live.insert(key, number);
        number
    }

    /// The oldest flow, if it has ended.
    fn hand_out(&mut self) -> Option<Flow> {
        let oldest = self.waiting.front()?;
        if !(oldest.is_over || self.is_at_end || self.now - oldest.last > self.idle) {
            return None;
        }
        if self.live.get(&oldest.key) == Some(&self.handed_out) {
            self.live.remove(&oldest.key);
        }
        self.handed_out += 1;
        self.waiting.pop_front()
    }
}

impl<R: Read + Send> Source for Flows<R> {
    fn next(&mut self) -> Result<Option<Entry>, TraceError> {
        loop {
            if let Some(flow) = self.hand_out() {
                return Ok(Some(Entry { t: flow.started as f64, ask: Ask::Bytes(flow.bytes) }));
            }
            if self.is_at_end {
                return Ok(None);
            }
            self.is_at_end = !self.record()?;
        }
    }
}

/// Reads until the buffer is full or the input ends; returns how much it is.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
