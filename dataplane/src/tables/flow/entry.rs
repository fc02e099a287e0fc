//! What the flow table stores of a flow.

use std::{fmt::Debug, net::IpAddr};

use bytemuck::{Pod, Zeroable};
use ipc::id::ServerId;

use crate::{tables::hash::HashKey, time::Tick};

/// Source and destination address as they stand in the packet, read as little-endian words.
pub trait Addresses: Pod + Eq {
    /// What fills an entry up to a size that divides cache lines.
    type Padding: Pod + Debug;

    /// The five-tuple hash; ports and protocol as in [`FlowKey::word`].
    fn hash(self, key: HashKey, word: u64) -> u64;

    /// The destination's bytes followed by the source's.
    fn swapped(self) -> Self;
}

/// IPv4: source in the low half, destination in the high half.
impl Addresses for u64 {
    type Padding = [u64; 0];

    #[inline(always)]
    fn hash(self, key: HashKey, word: u64) -> u64 {
        key.v4(self, word)
    }

    fn swapped(self) -> Self {
        self.rotate_left(32)
    }
}

/// IPv6: source in the first two words, destination in the last two.
impl Addresses for [u64; 4] {
    type Padding = [u64; 1];

    #[inline(always)]
    fn hash(self, key: HashKey, word: u64) -> u64 {
        key.v6(self, word)
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
        self.addresses.hash(key, self.word())
    }

    /// The destination port in host order.
    #[inline]
    pub const fn destination_port(&self) -> u16 {
        ((self.ports >> 16) as u16).swap_bytes()
    }

    /// The destination address.
    #[inline]
    pub fn destination(&self) -> IpAddr {
        let bytes = bytemuck::bytes_of(&self.addresses);
        let (_, destination) = bytes.split_at(bytes.len() / 2);
        match *destination {
            [a, b, c, d] => IpAddr::from([a, b, c, d]),
            _ => {
                let mut octets = [0; 16];
                octets.copy_from_slice(destination);
                IpAddr::from(octets)
            }
        }
    }

    /// Ports (low 32 bits, as in `ports`) and protocol (the next eight) in one word.
    #[inline(always)]
    pub const fn word(&self) -> u64 {
        self.ports as u64 | (self.protocol as u64) << PROTOCOL_AT
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

    /// The second word of an entry in this state that has the ports and protocol of `word`
    /// ([`FlowKey::word`]) and is no reply.
    #[inline(always)]
    pub const fn word(self, word: u64) -> u64 {
        word | (self as u64) << STATE_AT
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
pub struct EntryId(pub u32);

impl EntryId {
    /// No entry has it.
    pub const NONE: Self = Self(NO_PEER);
}

/// "No entry" in [`Entry::peer`].
pub(super) const NO_PEER: u32 = u32::MAX;

/// Where [`Entry::word`] has what: ports in the low half, then a byte each.
const PROTOCOL_AT: u32 = 32;
const STATE_AT: u32 = 40;
const FLAGS_AT: u32 = 48;

/// The part of a word that belongs to the key.
const KEY: u64 = (1 << STATE_AT) - 1;

/// Flag: the entry stands for the replies of a flow under NAT; its peer is the flow.
const REPLY: u64 = 1 << FLAGS_AT;
/// Flag: the entry lies in the second bucket of its hash.
const DISPLACED: u64 = 2 << FLAGS_AT;
/// Flag: the flow is measured, and its packets are to be looked at.
const WATCHED: u64 = 4 << FLAGS_AT;

/// Stamps are renewed when they are this old, in ticks (134 ms): a flow of many packets then does not make its
/// line of the cache dirty with each of them. No time-out is that short.
const STAMP_AGE: u32 = 2048;

/// A flow. 32 bytes for IPv4, 64 for IPv6, and never across two lines of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Entry<A: Addresses> {
    addresses: A,
    /// Ports, protocol, state and flags, so that one comparison tells whether a packet changes nothing.
    word: u64,
    /// The server's slot.
    server: u32,
    /// Under NAT the entry of the other direction, else none; in a free entry the next free one.
    pub(super) peer: u32,
    /// When the last packet came, to within [`STAMP_AGE`].
    seen: Tick,
    /// When the first packet came.
    started: Tick,
    padding: A::Padding,
}

const _: () = assert!(size_of::<Entry<u64>>() == 32 && size_of::<Entry<[u64; 4]>>() == 64);

#[allow(unsafe_code)]
// SAFETY: all fields are integers (`Tick` is a transparent u32) or `Pod`, and zero is a value of each.
unsafe impl<A: Addresses> Zeroable for Entry<A> {}

impl<A: Addresses> Entry<A> {
    pub(super) fn new(key: &FlowKey<A>, server: ServerId, state: State, now: Tick) -> Self {
        Self {
            addresses: key.addresses,
            word: key.word() | (state as u64) << STATE_AT,
            server: server.0,
            peer: NO_PEER,
            seen: now,
            started: now,
            padding: A::Padding::zeroed(),
        }
    }

    /// Whether this is the flow of `key`, by all of it.
    #[inline(always)]
    pub fn is(&self, key: &FlowKey<A>) -> bool {
        self.addresses == key.addresses && self.word & KEY == key.word()
    }

    /// Whether this is the flow of a packet with these addresses and this [`State::word`], in that state, not watched and
    /// no reply: then the packet changes nothing about it but when it was last seen.
    #[inline(always)]
    pub fn goes_on(&self, addresses: &A, word: u64) -> bool {
        self.addresses == *addresses && self.word & !DISPLACED == word
    }

    /// The five-tuple.
    pub const fn key(&self) -> FlowKey<A> {
        let (ports, protocol) = (self.word as u32, (self.word >> PROTOCOL_AT) as u8);
        FlowKey { addresses: self.addresses, ports, protocol }
    }

    /// The server that the flow is on.
    #[inline]
    pub const fn server(&self) -> ServerId {
        ServerId(self.server)
    }

    /// Where the flow is in its life.
    #[inline]
    pub const fn state(&self) -> State {
        State::from_byte((self.word >> STATE_AT) as u8)
    }

    /// Sets where the flow is in its life.
    #[inline]
    pub const fn set_state(&mut self, state: State) {
        self.word = self.word & !(0xff << STATE_AT) | (state as u64) << STATE_AT;
    }

    /// When the last packet came, at most 134 ms too early.
    pub const fn seen(&self) -> Tick {
        self.seen
    }

    /// Notes that a packet came; writes only when the stamp is old.
    #[inline]
    pub const fn touch(&mut self, now: Tick) {
        if now.since(self.seen) >= STAMP_AGE {
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
        self.word & REPLY != 0
    }

    /// Makes this the reply entry of `flow`.
    pub(super) const fn set_reply_of(&mut self, flow: EntryId) {
        self.word |= REPLY;
        self.peer = flow.0;
    }

    /// Under NAT the entry of the other direction.
    #[inline]
    pub const fn peer(&self) -> Option<EntryId> {
        if self.peer == NO_PEER { None } else { Some(EntryId(self.peer)) }
    }

    /// Whether the flow is measured, so that none of its packets takes the short way.
    #[inline]
    pub const fn is_watched(&self) -> bool {
        self.word & WATCHED != 0
    }

    pub(super) const fn set_watched(&mut self, is_watched: bool) {
        self.word = if is_watched { self.word | WATCHED } else { self.word & !WATCHED };
    }

    /// Whether it lies in the second bucket of its hash.
    #[inline]
    pub(super) const fn is_displaced(&self) -> bool {
        self.word & DISPLACED != 0
    }

    /// Notes that it lies in the other bucket of its hash now.
    #[inline]
    pub(super) const fn displace(&mut self) {
        self.word ^= DISPLACED;
    }
}
