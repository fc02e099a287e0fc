//! From a frame to a five-tuple: which flow a packet belongs to and where its headers are.

use std::net::IpAddr;

use super::verdict::DropReason;
use crate::{
    ports::{Packet, RxChecksum},
    tables::{flow::FlowKey, hash::HashKey, template::Inner},
    wire::{
        Mac,
        ethernet::{self, ether_type},
        fragment::Fragment,
        ipv4::Ipv4,
        ipv6::Ipv6,
        ndp, protocol, tcp, udp,
    },
};

/// Where IP headers start in a frame.
pub const L3: usize = ethernet::HEADER_LEN;

/// A five-tuple of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// IPv4.
    V4(FlowKey<u64>),
    /// IPv6.
    V6(FlowKey<[u64; 4]>),
}

/// Which part of its datagram an IP packet is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    #[default]
    Whole,
    /// Its first fragment, with this identification; all headers are there.
    First(u32),
    /// Another fragment: there is no upper layer, and no ports.
    Later(u32),
}

impl Part {
    /// Of a packet whose IP header is followed by `len` bytes of this protocol. Errors: that cannot be, or a TCP header
    /// would be written over (RFC 3128).
    fn new(fragment: Option<Fragment>, protocol: u8, len: usize) -> Result<Self, DropReason> {
        let Some(fragment) = fragment else { return Ok(Self::Whole) };
        let overlaps = protocol == protocol::TCP && usize::from(fragment.offset) < tcp::HEADER_LEN;
        match fragment.is_first() {
            _ if !fragment.is_possible(len) => Err(DropReason::BadFragment),
            true => Ok(Self::First(fragment.id)),
            false if overlaps => Err(DropReason::BadFragment),
            false => Ok(Self::Later(fragment.id)),
        }
    }

    /// The ports, as they stand in the packet, and TCP's control bits.
    fn upper_layer(self, bytes: &[u8], protocol: u8) -> Result<(u32, Option<tcp::Flags>), DropReason> {
        match self {
            Self::Whole => upper_layer(bytes, protocol),
            Self::First(_) => upper_layer(bytes, protocol).map_err(|_| DropReason::BadFragment),
            Self::Later(_) => Ok((0, None)),
        }
    }
}

/// What the headers of an IP packet say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Source and destination address as they stand in the packet; IPv4 has both in the first word.
    pub addresses: [u64; 4],
    /// Source port in the low half, destination port in the high half, as they stand in the packet; zero
    /// when the protocol is neither TCP nor UDP, and in a later fragment.
    pub ports: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// Whether it is IPv6.
    pub v6: bool,
    /// DSCP and ECN.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Where the upper layer starts, in bytes from the start of the frame.
    pub l4: u16,
    /// Length of the IP packet in bytes.
    pub ip_len: u16,
    /// TCP's control bits; `None` for other protocols, and in a later fragment.
    pub tcp: Option<tcp::Flags>,
    /// Which part of its datagram it is.
    pub part: Part,
}

impl Flow {
    /// The five-tuple.
    #[inline]
    pub const fn key(&self) -> Key {
        let Self { addresses, ports, protocol, .. } = *self;
        if self.v6 {
            Key::V6(FlowKey { addresses, ports, protocol })
        } else {
            Key::V4(FlowKey { addresses: addresses[0], ports, protocol })
        }
    }

    /// The hash of the five-tuple.
    pub fn hash(&self, hash_key: HashKey) -> u64 {
        match self.key() {
            Key::V4(key) => key.hash(hash_key),
            Key::V6(key) => key.hash(hash_key),
        }
    }

    /// What outer headers take from it, given its hash.
    #[inline]
    pub const fn inner(&self, hash: u64) -> Inner {
        Inner { len: self.ip_len, tos: self.tos, entropy: hash as u32 }
    }

    /// The destination address.
    pub fn destination(&self) -> IpAddr {
        match &self.key() {
            Key::V4(key) => key.destination(),
            Key::V6(key) => key.destination(),
        }
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// An IP packet of some flow.
    Flow,
    /// An ICMP message of some flow, but not one of neighbour discovery.
    Icmp,
    /// A part of an IP packet of some flow, or of an ICMP message.
    Fragment,
    /// An ARP packet.
    Arp,
    /// A neighbour discovery message, valid.
    Ndp,
}

/// Reads the headers of a frame that a port with the address `mac` received; those of an IP packet into `flow`.
pub fn parse<P: Packet>(packet: &P, mac: Mac, flow: &mut Flow) -> Result<Parsed, DropReason> {
    let data = packet.data();
    let frame = ethernet::Frame::parse(data)?;
    let destination = frame.destination();
    if destination != mac && !destination.is_group() {
        return Err(DropReason::OtherHost);
    }
    if packet.rx_checksum() == RxChecksum::Bad {
        return Err(DropReason::BadChecksum);
    }
    let available = packet.len() - L3;
    match frame.ether_type() {
        ether_type::IPV4 if destination == mac => ipv4(&data[L3..], available, flow),
        ether_type::IPV6 => ipv6(&data[L3..], available, destination == mac, flow),
        ether_type::ARP => Ok(Parsed::Arp),
        ether_type::IPV4 => Err(DropReason::OtherHost), // broadcast and multicast
        ether_type::VLAN => Err(DropReason::OtherVlan),
        _ => Err(DropReason::UnknownEtherType),
    }
}

const fn kind(flow: &Flow) -> Parsed {
    match (flow.part, flow.protocol) {
        (Part::First(_) | Part::Later(_), _) => Parsed::Fragment,
        (Part::Whole, protocol::ICMP | protocol::ICMPV6) => Parsed::Icmp,
        _ => Parsed::Flow,
    }
}

fn ipv4(bytes: &[u8], available: usize, flow: &mut Flow) -> Result<Parsed, DropReason> {
    let ip = Ipv4::parse(bytes, available)?;
    let (l4, end) = (ip.header_len(), ip.total_len().min(bytes.len()));
    flow.part = Part::new(ip.fragment(), ip.protocol(), ip.total_len() - l4)?;
    let (ports, tcp) = flow.part.upper_layer(&bytes[l4..end], ip.protocol())?;
    flow.addresses[0] = u64::from_le_bytes(ip.addresses());
    (flow.ports, flow.tcp) = (ports, tcp);
    (flow.protocol, flow.v6) = (ip.protocol(), false);
    (flow.tos, flow.ttl) = (ip.tos(), ip.ttl());
    (flow.l4, flow.ip_len) = ((L3 + l4) as u16, ip.total_len() as u16);
    Ok(kind(flow))
}

fn ipv6(bytes: &[u8], available: usize, unicast: bool, flow: &mut Flow) -> Result<Parsed, DropReason> {
    let ip = Ipv6::parse(bytes, available)?;
    let payload = ip.payload()?;
    let end = ip.total_len().min(bytes.len());
    let upper = &bytes[payload.offset..end];
    flow.part = Part::new(payload.fragment, payload.protocol, ip.total_len() - payload.offset)?;
    let whole = flow.part == Part::Whole; // neighbour discovery in fragments does not count (RFC 6980)
    if whole
        && payload.protocol == protocol::ICMPV6
        && ndp::parse(upper, &ip.addresses(), ip.hop_limit())?.is_some()
    {
        return Ok(Parsed::Ndp);
    }
    if !unicast {
        return Err(DropReason::OtherHost);
    }
    let (ports, tcp) = flow.part.upper_layer(upper, payload.protocol)?;
    let words: [[u8; 8]; 4] = bytemuck::must_cast(ip.addresses());
    flow.ip_len = u16::try_from(ip.total_len()).map_err(|_| DropReason::TooBig)?;
    flow.addresses = words.map(u64::from_le_bytes);
    (flow.ports, flow.tcp) = (ports, tcp);
    (flow.protocol, flow.v6) = (payload.protocol, true);
    (flow.tos, flow.ttl) = (ip.traffic_class(), ip.hop_limit());
    flow.l4 = (L3 + payload.offset) as u16;
    Ok(kind(flow))
}

/// The ports, as they stand in the packet, and TCP's control bits.
#[inline]
fn upper_layer(bytes: &[u8], protocol: u8) -> Result<(u32, Option<tcp::Flags>), DropReason> {
    let tcp = match protocol {
        protocol::TCP => Some(tcp::flags(bytes)?),
        protocol::UDP => {
            udp::check(bytes)?;
            None
        }
        _ => return Ok((0, None)),
    };
    Ok((u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]), tcp))
}
