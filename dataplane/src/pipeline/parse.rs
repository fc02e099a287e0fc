//! From a frame to a five-tuple: which flow a packet belongs to and where its headers are.

use super::verdict::DropReason;
use crate::{
    ports::{Packet, RxChecksum},
    tables::flow::FlowKey,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The five-tuple; both ports are zero when the protocol is neither TCP nor UDP.
    pub key: Key,
    /// Where the upper layer starts, in bytes from the start of the frame.
    pub l4: u16,
    /// Length of the IP packet in bytes.
    pub ip_len: u16,
    /// DSCP and ECN.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TCP's control bits; `None` for other protocols.
    pub tcp: Option<tcp::Flags>,
}

impl Flow {
    /// IP protocol number.
    #[inline]
    pub const fn protocol(&self) -> u8 {
        match self.key {
            Key::V4(key) => key.protocol,
            Key::V6(key) => key.protocol,
        }
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// An IP packet of some flow.
    Flow(Flow),
    /// An ICMP message, but not one of neighbour discovery.
    Icmp(Flow),
    /// An ARP packet.
    Arp,
    /// A neighbour discovery message.
    Ndp(ndp::Message),
}

/// Reads the headers of a frame that a port with the address `mac` received.
#[inline]
pub fn parse<P: Packet>(packet: &P, mac: Mac) -> Result<Parsed, DropReason> {
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
        ether_type::IPV4 if destination == mac => ipv4(&data[L3..], available).map(classify),
        ether_type::IPV6 => ipv6(&data[L3..], available, destination == mac),
        ether_type::ARP => Ok(Parsed::Arp),
        ether_type::IPV4 => Err(DropReason::OtherHost), // broadcast and multicast
        ether_type::VLAN => Err(DropReason::OtherVlan),
        _ => Err(DropReason::UnknownEtherType),
    }
}

#[inline]
fn classify(flow: Flow) -> Parsed {
    match flow.protocol() {
        protocol::ICMP | protocol::ICMPV6 => Parsed::Icmp(flow),
        _ => Parsed::Flow(flow),
    }
}

#[inline]
fn ipv4(bytes: &[u8], available: usize) -> Result<Flow, DropReason> {
    let ip = Ipv4::parse(bytes, available)?;
    if ip.is_fragment() {
        return Err(DropReason::Fragment);
    }
    let (l4, end) = (ip.header_len(), ip.total_len().min(bytes.len()));
    let (ports, tcp) = upper_layer(&bytes[l4..end], ip.protocol())?;
    let key = FlowKey { addresses: u64::from_le_bytes(ip.addresses()), ports, protocol: ip.protocol() };
    Ok(Flow {
        key: Key::V4(key),
        l4: (L3 + l4) as u16,
        ip_len: ip.total_len() as u16,
        tos: ip.tos(),
        ttl: ip.ttl(),
        tcp,
    })
}

#[inline]
fn ipv6(bytes: &[u8], available: usize, unicast: bool) -> Result<Parsed, DropReason> {
    let ip = Ipv6::parse(bytes, available)?;
    let payload = ip.payload()?;
    if payload.fragment {
        return Err(DropReason::Fragment);
    }
    let end = ip.total_len().min(bytes.len());
    let upper = &bytes[payload.offset..end];
    if payload.protocol == protocol::ICMPV6
        && let Some(message) = ndp::parse(upper, &ip.addresses(), ip.hop_limit())?
    {
        return Ok(Parsed::Ndp(message));
    }
    if !unicast {
        return Err(DropReason::OtherHost);
    }
    let (ports, tcp) = upper_layer(upper, payload.protocol)?;
    let words: [[u8; 8]; 4] = bytemuck::must_cast(ip.addresses());
    let key = FlowKey { addresses: words.map(u64::from_le_bytes), ports, protocol: payload.protocol };
    Ok(classify(Flow {
        key: Key::V6(key),
        l4: (L3 + payload.offset) as u16,
        ip_len: u16::try_from(ip.total_len()).map_err(|_| DropReason::TooBig)?,
        tos: ip.traffic_class(),
        ttl: ip.hop_limit(),
        tcp,
    }))
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
