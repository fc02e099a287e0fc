//! Servers and the headers prepared for them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipc::id::{PortId, VipId};

use super::route::NextHop;
use crate::wire::{Mac, checksum, ethernet, gre, ipv4, ipv6, protocol};

/// What a server does with flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// Takes new flows and keeps its own.
    Active,
    /// Takes no new flows and keeps its own.
    Draining,
    /// Takes nothing; its flows move to live servers.
    Down,
}

/// TTL and hop limit of outer headers.
const OUTER_TTL: u8 = 64;

/// Where the Ethernet header of a packet points: out of `port` from `source` to `destination`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Outgoing port.
    pub port: PortId,
    /// Ethernet address of that port.
    pub source: Mac,
    /// Ethernet address of the next hop.
    pub destination: Mac,
    /// Longest IP packet that the port carries, in bytes.
    pub mtu: u16,
}

/// How the next hop towards a server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Resolved: packets can go.
    Link(Link),
    /// Known, but ARP or NDP has not answered yet.
    Unresolved(NextHop),
    /// No prefix and no gateway leads there.
    NoRoute,
}

/// Ethernet, outer IP and GRE, ready to be copied in front of a packet.
///
/// The longest is Ethernet + IPv6 + GRE = 58 bytes, so a template is one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Template {
    bytes: [u8; 62],
    /// Bytes in use: [`Template::GRE4`], [`Template::GRE6`] or 0 (no header: NAT).
    len: u8,
    _pad: u8,
}

impl Template {
    /// Length of Ethernet + IPv4 + GRE.
    pub const GRE4: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + gre::HEADER_LEN;
    /// Length of Ethernet + IPv6 + GRE.
    pub const GRE6: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + gre::HEADER_LEN;
    /// No outer header.
    pub const NONE: Self = Self { bytes: [0; 62], len: 0, _pad: 0 };

    /// The headers of a GRE tunnel over IPv4 along `link`.
    ///
    /// DF is set and the id zero: the outer packet is never fragmented and so is atomic (RFC 6864 §4.1).
    pub fn gre4(link: &Link, source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        let mut bytes = [0; 62];
        ethernet::emit(&mut bytes, link.destination, link.source, ethernet::ether_type::IPV4);
        let ip = &mut bytes[ethernet::HEADER_LEN..Self::GRE4];
        ip[0] = 0x45;
        ip[6] = 0x40;
        ip[8] = OUTER_TTL;
        ip[9] = protocol::GRE;
        ip[12..16].copy_from_slice(&source.octets());
        ip[16..20].copy_from_slice(&destination.octets());
        let sum = checksum::fold(checksum::add(0, &ip[..ipv4::HEADER_LEN]));
        ip[10..12].copy_from_slice(&sum.to_be_bytes()); // not inverted: `write` adds to it
        Self { bytes, len: Self::GRE4 as u8, _pad: 0 }
    }

    /// The headers of a GRE tunnel over IPv6 along `link`.
    pub fn gre6(link: &Link, source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        let mut bytes = [0; 62];
        ethernet::emit(&mut bytes, link.destination, link.source, ethernet::ether_type::IPV6);
        let ip = &mut bytes[ethernet::HEADER_LEN..Self::GRE6];
        ip[0] = 0x60;
        ip[6] = protocol::GRE;
        ip[7] = OUTER_TTL;
        ip[8..24].copy_from_slice(&source.octets());
        ip[24..40].copy_from_slice(&destination.octets());
        Self { bytes, len: Self::GRE6 as u8, _pad: 0 }
    }

    /// Length of the headers in bytes, Ethernet included.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are no outer headers.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes the headers over the front of `frame` and patches what depends on the packet: length,
    /// DSCP and ECN (copied from the inner header, RFC 6040 §4.1 normal mode), payload type, flow label
    /// (RFC 6438: entropy from the inner flow), checksum.
    ///
    /// `frame` has at least [`Template::len`] bytes before the inner packet.
    #[inline]
    pub fn write(&self, frame: &mut [u8], inner: &Inner) {
        // Constant lengths, so that each copy is a few vector moves.
        if self.len() == Self::GRE4 {
            let header: &mut [u8; Self::GRE4] =
                (&mut frame[..Self::GRE4]).try_into().expect("cut to this length");
            header.copy_from_slice(&self.bytes[..Self::GRE4]);
            let total = (ipv4::HEADER_LEN + gre::HEADER_LEN + inner.len) as u16;
            let base = u16::from_be_bytes([header[24], header[25]]);
            let sum = u32::from(base) + u32::from(total) + u32::from(inner.tos);
            header[15] = inner.tos;
            header[16..18].copy_from_slice(&total.to_be_bytes());
            header[24..26].copy_from_slice(&(!checksum::fold(sum)).to_be_bytes());
            header[36..38].copy_from_slice(&inner.ether_type().to_be_bytes());
        } else {
            let header: &mut [u8; Self::GRE6] =
                (&mut frame[..Self::GRE6]).try_into().expect("cut to this length");
            header.copy_from_slice(&self.bytes[..Self::GRE6]);
            let word = 6 << 28 | u32::from(inner.tos) << 20 | inner.entropy & 0xf_ffff;
            header[14..18].copy_from_slice(&word.to_be_bytes());
            header[18..20].copy_from_slice(&((gre::HEADER_LEN + inner.len) as u16).to_be_bytes());
            header[56..58].copy_from_slice(&inner.ether_type().to_be_bytes());
        }
    }
}

/// What an outer header takes from the packet inside.
#[derive(Clone, Copy, Debug)]
pub struct Inner {
    /// Whether it is IPv6.
    pub v6: bool,
    /// Length of the IP packet in bytes.
    pub len: usize,
    /// DSCP and ECN.
    pub tos: u8,
    /// Bits that are equal for a flow's packets and differ between flows.
    pub entropy: u32,
}

impl Inner {
    #[inline]
    const fn ether_type(&self) -> u16 {
        if self.v6 { ethernet::ether_type::IPV6 } else { ethernet::ether_type::IPV4 }
    }
}

/// A server slot as the packet path sees it.
#[derive(Clone, Debug)]
pub struct Server {
    /// Headers for tunnelled packets; empty for NAT and while `hop` is not a link.
    pub template: Template,
    /// The way there.
    pub hop: Hop,
    /// Where flows go.
    pub address: IpAddr,
    /// Port that NAT rewrites to, in host order; `None` keeps the client's destination port.
    pub port: Option<u16>,
    /// Whether packets reach it by a rewritten destination rather than in a tunnel.
    pub nat: bool,
    /// Whether the server takes new flows and keeps old ones.
    pub state: ServerState,
    /// The VIP it belongs to.
    pub vip: VipId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ipv4::Ipv4;

    const LINK: Link = Link {
        port: PortId(0),
        source: Mac([2, 0, 0, 0, 0, 1]),
        destination: Mac([2, 0, 0, 0, 0, 2]),
        mtu: 1500,
    };

    #[test]
    fn template_is_one_cache_line() {
        assert_eq!((size_of::<Template>(), align_of::<Template>()), (64, 64));
    }

    #[test]
    fn outer_ipv4_header_is_right_for_every_length_and_tos() {
        let template = Template::gre4(&LINK, Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(198, 51, 100, 11));
        for (len, tos) in [(20, 0), (40, 0xff), (1500, 0xb8), (65_511, 1)] {
            let mut frame = vec![0xaa; Template::GRE4 + len];
            template.write(&mut frame, &Inner { v6: true, len, tos, entropy: 0 });
            let ip = Ipv4::parse(&frame[14..], frame.len() - 14).unwrap();
            assert_eq!(checksum::of(&frame[14..34]), 0);
            assert_eq!((ip.total_len(), ip.tos(), ip.ttl(), ip.protocol()), (len + 24, tos, 64, 47));
            assert_eq!(ip.destination(), Ipv4Addr::new(198, 51, 100, 11));
            assert_eq!(frame[34..38], [0, 0, 0x86, 0xdd]);
            assert!(frame[38..].iter().all(|&byte| byte == 0xaa));
        }
    }

    #[test]
    fn outer_ipv6_header_carries_length_class_and_entropy() {
        let (from, to): (Ipv6Addr, Ipv6Addr) =
            ("2001:db8::2".parse().unwrap(), "2001:db8::b".parse().unwrap());
        let mut frame = vec![0xaa; Template::GRE6 + 40];
        let inner = Inner { v6: false, len: 40, tos: 0xb9, entropy: 0xffab_cdef };
        Template::gre6(&LINK, from, to).write(&mut frame, &inner);
        let ip = ipv6::Ipv6::parse(&frame[14..], frame.len() - 14).unwrap();
        assert_eq!((ip.total_len(), ip.traffic_class(), ip.hop_limit()), (84, 0xb9, 64));
        assert_eq!((ip.source(), ip.destination()), (from, to));
        assert_eq!(frame[15..18], [0x9b, 0xcd, 0xef]);
        assert_eq!(frame[20], 47);
        assert_eq!(frame[54..58], [0, 0, 8, 0]);
    }
}
