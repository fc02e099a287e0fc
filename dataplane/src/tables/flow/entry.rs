//! What the flow table stores of a flow.

use bytemuck::{Pod, Zeroable};
use ipc::id::ServerId;

use crate::{tables::hash::HashKey, time::Tick};

/// Source and destination address as they stand in the packet, read as little-endian words.
pub trait Addresses: Pod + Eq {
    /// The five-tuple hash.
    fn hash(self, key: HashKey, ports: u32, protocol: u8) -> u64;

    /// The destination's bytes followed by the source's.
    fn swapped(self) -> Self;
}

/// IPv4: source in the low half, destination in the high half.
impl Addresses for u64 {
    #[inline(always)]
    fn hash(self, key: HashKey, ports: u32, protocol: u8) -> u64 {
        key.v4(self, ports, protocol)
    }

    fn swapped(self) -> Self {
        self.rotate_left(32)
    }
}

/// IPv6: source in the first two words, destination in the last two.
impl Addresses for [u64; 4] {
    #[inline(always)]
    fn hash(self, key: HashKey, ports: u32, protocol: u8) -> u64 {
        key.v6(self, ports, protocol)
    }

    fn swapped(self) -> Self {
        let [a, b, c, d] = self;
        [c, d, a, b]
    }
}

/// A five-tuple: the full key of a flow, never only a hash of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey<A> {
    /// Source and destination address.
    pub addresses: A,
    /// Source port in the low half, destination port in the high half, as they stand in the packet.
    pub ports: u32,
    /// IP protocol number.
    pub protocol: u8,
}

impl<A: Addresses> FlowKey<A> {
    /// The five-tuple hash.
    #[inline(always)]
    pub fn hash(&self, key: HashKey) -> u64 {
        self.addresses.hash(key, self.ports, self.protocol)
    }
}

/// Where a flow is in its life, as far as the packets that we see tell.
///
/// Under direct server return only the client's packets come by, so a connection is established with
/// the first packet after the SYN and closes with the client's FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// No flow: the entry is free.
    Free = 0,
    /// One packet was seen: a SYN, or a packet of a connection that began before us.
    Embryonic = 1,
    /// The client went on after its first packet.
    Established = 2,
    /// A FIN was seen.
    Closing = 3,
    /// A RST was seen.
    Closed = 4,
    /// Not TCP: alive while packets come.
    Datagram = 5,
}

impl State {
    /// Number of states.
    pub const COUNT: usize = 6;

    /// Whether the flow counts as one of its server's.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Embryonic | Self::Established | Self::Datagram)
    }

    const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Embryonic,
            2 => Self::Established,
            3 => Self::Closing,
            4 => Self::Closed,
            5 => Self::Datagram,
            _ => Self::Free,
        }
    }
}

/// Which entry of a flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryId(pub(super) u32);

/// "No entry" in [`Entry::peer`].
pub(super) const NO_PEER: u32 = u32::MAX;

/// Flag: the entry stands for the replies of a flow under NAT; its peer is the flow.
const REPLY: u8 = 1;
/// Flag: the entry lies in the second bucket of its hash.
pub(super) const DISPLACED: u8 = 2;

/// A flow. 32 bytes for IPv4, 56 for IPv6.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Entry<A> {
    addresses: A,
    ports: u32,
    protocol: u8,
    state: u8,
    pub(super) flags: u8,
    spare: u8,
    /// The server's slot.
    server: u32,
    /// Under NAT the entry of the other direction, else none; in a free entry the next free one.
    pub(super) peer: u32,
    /// When the last packet came.
    seen: Tick,
    /// When the first packet came.
    started: Tick,
}

const _: () = assert!(size_of::<Entry<u64>>() == 32 && size_of::<Entry<[u64; 4]>>() == 56);

#[allow(unsafe_code)]
// SAFETY: all fields are integers (`Tick` is a transparent u32) or `A: Pod`, and zero is a value of each.
unsafe impl<A: Addresses> Zeroable for Entry<A> {}

impl<A: Addresses> Entry<A> {
    pub(super) fn new(key: &FlowKey<A>, server: ServerId, state: State, now: Tick) -> Self {
        Self {
            addresses: key.addresses,
            ports: key.ports,
            protocol: key.protocol,
            state: state as u8,
            flags: 0,
            spare: 0,
            server: server.0,
            peer: NO_PEER,
            seen: now,
            started: now,
        }
    }

    /// Whether this is the flow of `key`, by all of it.
    #[inline(always)]
    pub fn is(&self, key: &FlowKey<A>) -> bool {
        self.addresses == key.addresses && self.ports == key.ports && self.protocol == key.protocol
    }

    /// The five-tuple.
    pub const fn key(&self) -> FlowKey<A> {
        FlowKey { addresses: self.addresses, ports: self.ports, protocol: self.protocol }
    }

    /// The server that the flow is on.
    #[inline]
    pub const fn server(&self) -> ServerId {
        ServerId(self.server)
    }

    /// Where the flow is in its life.
    #[inline]
    pub const fn state(&self) -> State {
        State::from_byte(self.state)
    }

    /// Sets where the flow is in its life.
    #[inline]
    pub const fn set_state(&mut self, state: State) {
        self.state = state as u8;
    }

    /// When the last packet came.
    pub const fn seen(&self) -> Tick {
        self.seen
    }

    /// Notes that a packet came; writes only when the stamp changes.
    #[inline]
    pub fn touch(&mut self, now: Tick) {
        if self.seen != now {
            self.seen = now;
        }
    }

    /// When the first packet came.
    pub const fn started(&self) -> Tick {
        self.started
    }

    /// Whether the entry stands for the replies of a flow under NAT.
    #[inline]
    pub const fn is_reply(&self) -> bool {
        self.flags & REPLY != 0
    }

    /// Makes this the reply entry of `flow`.
    pub(super) const fn set_reply_of(&mut self, flow: EntryId) {
        self.flags |= REPLY;
        self.peer = flow.0;
    }

    /// Under NAT the entry of the other direction.
    #[inline]
    pub const fn peer(&self) -> Option<EntryId> {
        if self.peer == NO_PEER { None } else { Some(EntryId(self.peer)) }
    }
}
