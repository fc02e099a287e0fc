//! From a frame to a five-tuple: which flow a packet belongs to and where its headers are.

use super::verdict::DropReason;
use crate::{
    ports::{Packet, RxChecksum},
    tables::flow::FlowKey,
    wire::{
        Mac, be16,
        ethernet::{self, ether_type},
        ipv4::{self, Ipv4},
        ipv6::Ipv6,
        ndp, protocol, take, tcp, udp,
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
///
/// Plain fields, which stay where [`parse`] writes them. Moving a whole flow from stage to stage reads
/// in wide words what was just written in narrow ones, and the core stalls each time until the writes
/// have reached its cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Source and destination address as they stand in the packet; IPv4 has both in the first word.
    addresses: [u64; 4],
    /// Source port in the low half, destination port in the high half, as they stand in the packet; zero
    /// when the protocol is neither TCP nor UDP.
    ports: u32,
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
    #[inline(always)]
    pub const fn key(&self) -> Key {
        let Self { addresses, ports, protocol, .. } = *self;
        if self.v6 {
            Key::V6(FlowKey { addresses, ports, protocol })
        } else {
            Key::V4(FlowKey { addresses: addresses[0], ports, protocol })
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
#[inline(always)]
pub fn parse<P: Packet>(packet: &P, mac: Mac, flow: &mut Flow) -> Result<Parsed, DropReason> {
    if plain(packet, mac, flow) { Ok(Parsed::Flow) } else { look_closer(packet, mac, flow) }
}

/// Bytes of Ethernet, IPv4 and TCP headers without options. No frame on a wire is shorter.
const PLAIN_LEN: usize = L3 + ipv4::HEADER_LEN + tcp::HEADER_LEN;

/// Reads the headers of nearly every packet with few tests: TCP or UDP over IPv4 without options, whole, for
/// us. False: something is not so, and [`look_closer`] has to say what the packet is.
#[inline(always)]
fn plain<P: Packet>(packet: &P, mac: Mac, flow: &mut Flow) -> bool {
    let Some(frame) = packet.data().first_chunk::<PLAIN_LEN>() else { return false };
    let (l4, ip_len) = (L3 + ipv4::HEADER_LEN, usize::from(be16(frame, L3 + ipv4::field::TOTAL_LEN)));
    let protocol = frame[L3 + 9];
    let (tcp, upper_len, upper_valid) = match protocol {
        protocol::TCP => (Some(tcp::Flags(frame[l4 + 13])), tcp::HEADER_LEN, frame[l4 + 12] >= 0x50),
        protocol::UDP => (None, udp::HEADER_LEN, usize::from(be16(frame, l4 + 4)) >= udp::HEADER_LEN),
        _ => return false,
    };
    let plain = Mac(take(frame, 0)) == mac
        && (be16(frame, 12), frame[L3]) == (ether_type::IPV4, 0x45)
        && be16(frame, L3 + 6) & 0x3fff == 0
        && upper_valid
        && ip_len >= ipv4::HEADER_LEN + upper_len
        && ip_len <= packet.len() - L3
        && packet.rx_checksum() != RxChecksum::Bad;
    if plain {
        flow.addresses[0] = u64::from_le_bytes(take(frame, L3 + ipv4::field::SOURCE));
        (flow.ports, flow.tcp) = (u32::from_le_bytes(take(frame, l4)), tcp);
        (flow.protocol, flow.v6) = (protocol, false);
        (flow.tos, flow.ttl) = (frame[L3 + ipv4::field::TOS], frame[L3 + ipv4::field::TTL]);
        (flow.l4, flow.ip_len) = (l4 as u16, ip_len as u16);
    }
    plain
}

/// [`parse`] for whatever may come.
#[inline(never)]
fn look_closer<P: Packet>(packet: &P, mac: Mac, flow: &mut Flow) -> Result<Parsed, DropReason> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ports::memory::MemoryPacket;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    /// A TCP or UDP packet that is plain.
    fn plain_frame(protocol: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0; PLAIN_LEN + payload];
        frame[..6].copy_from_slice(&MAC.0);
        frame[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
        frame[16..18].copy_from_slice(&((PLAIN_LEN - L3 + payload) as u16).to_be_bytes());
        (frame[22], frame[23]) = (64, protocol);
        frame[26..38].copy_from_slice(&[198, 51, 100, 7, 203, 0, 113, 10, 0x9c, 0x40, 0, 80]);
        frame[46] = 0x50;
        frame[38..40].copy_from_slice(if protocol == protocol::UDP { &[0, 20] } else { &[0, 0] });
        frame
    }

    proptest! {
        #[test]
        fn plain_packets_are_read_as_a_closer_look_would(
            tcp in any::<bool>(),
            payload in 0usize..40,
            changes in prop::collection::vec((0usize..PLAIN_LEN, any::<u8>()), 0..4),
            cut in 0usize..100,
        ) {
            let mut frame = plain_frame(if tcp { protocol::TCP } else { protocol::UDP }, payload);
            for (at, byte) in changes {
                frame[at] = byte;
            }
            frame.truncate(frame.len().saturating_sub(cut.saturating_sub(60)));
            let packet = MemoryPacket::new(&frame);
            let (mut quick, mut thorough) = (Flow::default(), Flow::default());
            let parsed = look_closer(&packet, MAC, &mut thorough);
            if plain(&packet, MAC, &mut quick) {
                prop_assert_eq!((parsed, quick), (Ok(Parsed::Flow), thorough));
            } else {
                prop_assert_eq!(quick, Flow::default());
            }
        }
    }

    #[test]
    fn usual_packets_are_plain() {
        for protocol in [protocol::TCP, protocol::UDP] {
            let packet = MemoryPacket::new(&plain_frame(protocol, 6));
            assert!(plain(&packet, MAC, &mut Flow::default()));
            assert!(!plain(&packet, Mac([2, 0, 0, 0, 0, 9]), &mut Flow::default()));
            let wrong = packet.with_rx_checksum(RxChecksum::Bad);
            assert!(!plain(&wrong, MAC, &mut Flow::default()));
        }
    }
}
