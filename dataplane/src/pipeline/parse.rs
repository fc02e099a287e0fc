//! From a frame to a five-tuple: which flow a packet belongs to and where its headers are.

use std::net::IpAddr;

use super::verdict::DropReason;
use crate::{
    ports::{Packet, RxChecksum},
    tables::{flow::FlowKey, template::Inner},
    wire::{
        Mac,
        ethernet::{self, ether_type},
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

/// What the headers of an IP packet say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Source and destination address as they stand in the packet; IPv4 has both in the first word.
    pub addresses: [u64; 4],
    /// Source port in the low half, destination port in the high half, as they stand in the packet; zero
    /// when the protocol is neither TCP nor UDP.
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
    /// TCP's control bits; `None` for other protocols.
    pub tcp: Option<tcp::Flags>,
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
    match flow.protocol {
        protocol::ICMP | protocol::ICMPV6 => Parsed::Icmp,
        _ => Parsed::Flow,
    }
}

fn ipv4(bytes: &[u8], available: usize, flow: &mut Flow) -> Result<Parsed, DropReason> {
    let ip = Ipv4::parse(bytes, available)?;
    if ip.is_fragment() {
        return Err(DropReason::Fragment);
    }
    let (l4, end) = (ip.header_len(), ip.total_len().min(bytes.len()));
    let (ports, tcp) = upper_layer(&bytes[l4..end], ip.protocol())?;
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
    if payload.fragment {
        return Err(DropReason::Fragment);
    }
    let end = ip.total_len().min(bytes.len());
    let upper = &bytes[payload.offset..end];
    if payload.protocol == protocol::ICMPV6 && ndp::parse(upper, &ip.addresses(), ip.hop_limit())?.is_some() {
        return Ok(Parsed::Ndp);
    }
    if !unicast {
        return Err(DropReason::OtherHost);
    }
    let (ports, tcp) = upper_layer(upper, payload.protocol)?;
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
