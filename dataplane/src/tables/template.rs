//! Outer headers prepared with a generation, to be copied in front of packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytemuck::Zeroable;
use ipc::id::PortId;

use super::{
    encap::{Encap, GueVariant},
    server::Link,
    spec::TunnelSource,
};
use crate::{
    ports::{NoRoom, Packet},
    wire::{
        checksum,
        ethernet::{self, ether_type},
        gre, ipv4, ipv6, protocol, put16, take, udp,
    },
};

/// TTL and hop limit of outer headers.
const OUTER_TTL: u8 = 64;

/// Bytes of a template: Ethernet, IPv6, UDP and GUE are 66; a length that `bytemuck` knows.
const ROOM: usize = 96;

/// The part of a template that nearly all encapsulations fit in: one cache line, copied as a whole.
const SHORT: usize = 64;

/// Bytes that IPIP and GRE without a key add over IPv4.
const IPIP4: usize = ipv4::HEADER_LEN;
const GRE4: usize = ipv4::HEADER_LEN + gre::HEADER_LEN;

/// The addresses of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// IPv4.
    V4 {
        /// Outer source.
        source: Ipv4Addr,
        /// Low bits of the source that carry a flow's entropy; 0: the source is the same for all.
        entropy: u32,
        /// Outer destination.
        destination: Ipv4Addr,
    },
    /// IPv6. Entropy goes into the flow label (RFC 6438).
    V6 {
        /// Outer source.
        source: Ipv6Addr,
        /// Outer destination.
        destination: Ipv6Addr,
    },
}

/// Which fields of the headers depend on the packet, and where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Zeroable)]
#[repr(u8)]
enum Form {
    /// There are no headers.
    None = 0,
    /// An IPv4 header without entropy alone.
    Ipip4,
    /// The same with GRE without a key behind it.
    Gre4,
    /// An IPv4 header with whatever else.
    V4,
    /// An IPv6 header.
    V6,
}

/// Ethernet and outer headers of one server, at the end of a fixed array, and what the way there asks for.
///
/// They are copied as a whole array, of constant length, into the headroom: a few vector moves, whatever the
/// encapsulation. What depends on the packet is patched afterwards.
#[derive(Clone, Copy, Debug, Zeroable)]
#[repr(C, align(64))]
pub struct Template {
    bytes: [u8; ROOM],
    /// Where packets leave, as a number.
    port: u16,
    /// Mask of the entropy bits in an IPv4 source.
    entropy: u32,
    /// The sum over the words of an IPv4 header as prepared, not inverted.
    sum: u16,
    /// One more than the longest IP packet that still fits on its way with outer headers, in bytes; 0 without headers.
    limit: u16,
    /// Bytes in use, at the end of `bytes`; 0: no outer headers.
    len: u8,
    /// Bytes from the outer IP header to the end.
    overhead: u8,
    form: Form,
    /// Whether UDP follows the outer IP header.
    udp: bool,
}

/// What outer headers take from the packet inside.
#[derive(Clone, Copy, Debug)]
pub struct Inner {
    /// Length of the IP packet in bytes.
    pub len: u16,
    /// DSCP and ECN.
    pub tos: u8,
    /// Bits that are equal for a flow's packets and differ between flows.
    pub entropy: u32,
}

impl Template {
    /// No outer headers.
    pub const NONE: Self = Self {
        bytes: [0; ROOM],
        entropy: 0,
        sum: 0,
        limit: 0,
        port: 0,
        len: 0,
        overhead: 0,
        form: Form::None,
        udp: false,
    };

    /// The headers of a tunnel along `link` for packets of a VIP, which is IPv6 or not; none for encapsulations without
    /// outer headers.
    ///
    /// Over IPv4, DF is set and the id zero: the outer packet is never fragmented and so is atomic
    /// (RFC 6864 §4.1). UDP checksums are zero, over IPv6 as RFC 6935 allows for tunnels.
    pub fn new(encap: Encap, ends: Ends, link: &Link, inner_v6: bool) -> Self {
        let (ether_type, inner_protocol) = match inner_v6 {
            false => (ether_type::IPV4, protocol::IPV4),
            true => (ether_type::IPV6, protocol::IPV6),
        };
        let mut shim = Vec::new();
        let outer_protocol = match encap {
            Encap::Ipip => inner_protocol,
            Encap::Gre { key } => {
                let flags = if key.is_some() { gre::KEY_PRESENT } else { 0 };
                shim.extend([flags, 0]);
                shim.extend(ether_type.to_be_bytes());
                shim.extend(key.iter().flat_map(|key| key.to_be_bytes()));
                protocol::GRE
            }
            Encap::Gue { variant, port } => {
                shim.extend([0; udp::HEADER_LEN]);
                put16(&mut shim, 2, port);
                if variant == GueVariant::Header {
                    shim.extend([0, inner_protocol, 0, 0]);
                }
                protocol::UDP
            }
            Encap::L3dsr { .. } | Encap::Nat => return Self::NONE,
        };
        let (ip, ether_type, entropy) = match ends {
            Ends::V4 { source, entropy, destination } => {
                (outer_v4(outer_protocol, source, destination), ether_type::IPV4, entropy)
            }
            Ends::V6 { source, destination } => {
                (outer_v6(outer_protocol, source, destination), ether_type::IPV6, 0)
            }
        };
        let is_v4 = matches!(ends, Ends::V4 { .. });
        let mut header = vec![0; ethernet::HEADER_LEN];
        ethernet::emit(&mut header, link.destination, link.source, ether_type);
        header.extend(&ip);
        header.extend(&shim);
        let mut bytes = [0; ROOM];
        bytes[ROOM - header.len()..].copy_from_slice(&header);
        let overhead = ip.len() + shim.len();
        Self {
            bytes,
            entropy,
            sum: if is_v4 { checksum::fold(checksum::add(0, &ip)) } else { 0 },
            limit: link.mtu.saturating_sub(overhead as u16).saturating_add(1),
            port: link.port.0,
            len: header.len() as u8,
            overhead: overhead as u8,
            form: match (is_v4, encap) {
                (false, _) => Form::V6,
                (true, Encap::Ipip) if entropy == 0 => Form::Ipip4,
                (true, Encap::Gre { key: None }) => Form::Gre4,
                (true, _) => Form::V4,
            },
            udp: outer_protocol == protocol::UDP,
        }
    }

    /// Whether there are no outer headers.
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        matches!(self.form, Form::None)
    }

    /// Length of the headers in bytes, Ethernet included.
    #[inline(always)]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Where packets leave; of no meaning without headers.
    #[inline(always)]
    pub const fn port(&self) -> PortId {
        PortId(self.port)
    }

    /// One more than the longest IP packet that still fits on its way behind these headers, in bytes; 0 without headers.
    #[inline(always)]
    pub const fn limit(&self) -> u16 {
        self.limit
    }

    /// Replaces the Ethernet header of `packet` by these headers, with what depends on the packet: length, DSCP and ECN
    /// (copied, RFC 6040 §4.1 normal mode), entropy, checksum. What is behind the IP packet inside is cut off: Ethernet
    /// padding would become payload of the tunnel.
    #[inline(always)]
    pub fn put<P: Packet>(&self, packet: &mut P, inner: Inner) -> Result<(), NoRoom> {
        // What most packets get has constant lengths and is patched at constant places.
        if self.form == Form::Gre4 {
            self.put_v4::<GRE4, P>(packet, inner)
        } else if self.form == Form::Ipip4 {
            self.put_v4::<IPIP4, P>(packet, inner)
        } else {
            self.put_any(packet, inner)
        }
    }

    /// The same for an outer IPv4 header without entropy, with which `OVERHEAD` bytes begin.
    #[inline(always)]
    fn put_v4<const OVERHEAD: usize, P: Packet>(&self, packet: &mut P, inner: Inner) -> Result<(), NoRoom> {
        let (strip, keep) = (ethernet::HEADER_LEN, usize::from(inner.len));
        // The whole line is written, more than the headers: a few vector moves.
        let front = packet.replace_front::<SHORT>(strip, strip + OVERHEAD, keep)?;
        if let Some(bytes) = self.bytes.last_chunk() {
            *front = *bytes;
        }
        let total = OVERHEAD as u16 + inner.len;
        let ip = &mut front[SHORT - OVERHEAD..];
        ip[..4].copy_from_slice(&ipv4::first_word(inner.tos, total));
        let sum = checksum::add16(checksum::add16(self.sum, total), u16::from(inner.tos));
        put16(ip, ipv4::field::CHECKSUM, !sum);
        Ok(())
    }

    #[inline(never)]
    fn put_any<P: Packet>(&self, packet: &mut P, inner: Inner) -> Result<(), NoRoom> {
        let (strip, keep) = (ethernet::HEADER_LEN, usize::from(inner.len));
        if self.len() > SHORT {
            let front = packet.replace_front::<ROOM>(strip, self.len(), keep)?;
            *front = self.bytes;
            self.patch(front, inner);
        } else {
            let front = packet.replace_front::<SHORT>(strip, self.len(), keep)?;
            if let Some(bytes) = self.bytes.last_chunk() {
                *front = *bytes;
            }
            self.patch(front, inner);
        }
        Ok(())
    }

    /// Patches what depends on the packet inside, whatever the form.
    fn patch(&self, front: &mut [u8], inner: Inner) {
        let at = front.len() - usize::from(self.overhead);
        let outer = &mut front[at..];
        let total = u16::from(self.overhead) + inner.len;
        let upper = if self.form == Form::V6 {
            let word = 6 << 28 | u32::from(inner.tos) << 20 | inner.entropy & 0xf_ffff;
            outer[..4].copy_from_slice(&word.to_be_bytes());
            put16(outer, ipv6::field::PAYLOAD_LEN, total - ipv6::HEADER_LEN as u16);
            ipv6::HEADER_LEN
        } else {
            let source = inner.entropy & self.entropy;
            let sum = checksum::add16(checksum::add16(self.sum, total), u16::from(inner.tos));
            let sum = checksum::add16(checksum::add16(sum, (source >> 16) as u16), source as u16);
            let fixed = u32::from_be_bytes(take(outer, ipv4::field::SOURCE));
            outer[..4].copy_from_slice(&ipv4::first_word(inner.tos, total));
            outer[ipv4::field::SOURCE..ipv4::field::DESTINATION]
                .copy_from_slice(&(fixed | source).to_be_bytes());
            put16(outer, ipv4::field::CHECKSUM, !sum);
            ipv4::HEADER_LEN
        };
        if self.udp {
            // Source ports from 49152 on (RFC 8085 §5.1.1: entropy in the ephemeral range).
            put16(outer, upper, 0xc000 | inner.entropy as u16);
            put16(outer, upper + 4, total - upper as u16);
        }
    }
}

/// An IPv4 header; its checksum depends on the packet.
fn outer_v4(protocol: u8, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, OUTER_TTL, protocol, 0, 0];
    ip.extend(source.octets());
    ip.extend(destination.octets());
    ip
}

fn outer_v6(protocol: u8, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let mut ip = vec![0x60, 0, 0, 0, 0, 0, protocol, OUTER_TTL];
    ip.extend(source.octets());
    ip.extend(destination.octets());
    ip
}

impl Ends {
    /// The ends of a tunnel to `destination`, from what the operator gives as sources; `None`: no source of
    /// that family.
    pub fn new(encap: Encap, destination: IpAddr, sources: &TunnelSource) -> Option<Self> {
        match destination {
            IpAddr::V4(destination) => {
                // Only IPIP has no other field for entropy.
                let network = sources.ipip.filter(|_| encap == Encap::Ipip);
                let source = network.map(|network| network.network()).or(sources.v4)?;
                let entropy = network.map_or(0, |network| network.hostmask().to_bits());
                Some(Self::V4 { source, entropy, destination })
            }
            IpAddr::V6(destination) => Some(Self::V6 { source: sources.v6?, destination }),
        }
    }
}

/// A link for templates that are only measured.
#[cfg(test)]
pub(crate) const TEST_LINK: Link = Link {
    port: ipc::id::PortId(0),
    source: crate::wire::Mac([2, 0, 0, 0, 0, 1]),
    destination: crate::wire::Mac([2, 0, 0, 0, 0, 2]),
    mtu: 1500,
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ports::memory::MemoryPacket, wire::ipv4::Ipv4};

    const V4: Ends = Ends::V4 {
        source: Ipv4Addr::new(192, 0, 2, 2),
        entropy: 0,
        destination: Ipv4Addr::new(198, 51, 100, 11),
    };

    fn v6() -> Ends {
        Ends::V6 { source: "2001:db8::2".parse().unwrap(), destination: "2001:db8::b".parse().unwrap() }
    }

    fn encaps() -> Vec<Encap> {
        vec![
            Encap::Gre { key: None },
            Encap::Gre { key: Some(42) },
            Encap::Ipip,
            Encap::Gue { variant: GueVariant::Header, port: 6080 },
            Encap::Gue { variant: GueVariant::Direct, port: 6080 },
        ]
    }

    fn template(encap: Encap, ends: Ends, inner_v6: bool) -> Template {
        Template::new(encap, ends, &TEST_LINK, inner_v6)
    }

    /// The headers as they stand in front of a packet, which is otherwise untouched.
    fn written(encap: Encap, ends: Ends, inner_v6: bool, inner: &Inner) -> Vec<u8> {
        let template = template(encap, ends, inner_v6);
        let mut packet = MemoryPacket::new(&vec![0xaa; ethernet::HEADER_LEN + usize::from(inner.len) + 3]);
        template.put(&mut packet, *inner).unwrap();
        let mut frame = packet.data().to_vec();
        let inside = frame.split_off(template.len());
        assert_eq!(inside, vec![0xaa; usize::from(inner.len)]);
        frame
    }

    #[test]
    fn template_is_two_cache_lines() {
        assert_eq!((size_of::<Template>(), align_of::<Template>()), (128, 64));
    }

    #[test]
    fn overhead_is_that_of_the_encapsulation() {
        let overhead = |encap, ends| TEST_LINK.mtu + 1 - template(encap, ends, false).limit();
        assert_eq!(
            encaps().into_iter().map(|encap| overhead(encap, V4)).collect::<Vec<_>>(),
            [24, 28, 20, 32, 28]
        );
        assert_eq!(
            encaps().into_iter().map(|encap| overhead(encap, v6())).collect::<Vec<_>>(),
            [44, 48, 40, 52, 48]
        );
        assert!(template(Encap::Nat, V4, false).is_empty());
    }

    #[test]
    fn gue_names_the_family_or_leaves_it_to_the_packet() {
        let inner = Inner { len: 60, tos: 0, entropy: 0x1234 };
        let frame = written(Encap::Gue { variant: GueVariant::Header, port: 6080 }, V4, true, &inner);
        assert_eq!(frame[34..46], [0xd2, 0x34, 0x17, 0xc0, 0, 72, 0, 0, 0, 41, 0, 0]);
        let frame = written(Encap::Gue { variant: GueVariant::Direct, port: 6080 }, v6(), true, &inner);
        assert_eq!(frame[54..62], [0xd2, 0x34, 0x17, 0xc0, 0, 68, 0, 0]);
    }

    #[test]
    fn gre_key_is_announced() {
        let inner = Inner { len: 60, tos: 0, entropy: 0 };
        assert_eq!(
            written(Encap::Gre { key: Some(42) }, V4, false, &inner)[34..42],
            [0x20, 0, 8, 0, 0, 0, 0, 42]
        );
    }

    #[test]
    fn ipip_puts_entropy_into_the_low_bits_of_its_source() {
        let ends = Ends::V4 {
            source: Ipv4Addr::new(172, 16, 0, 0),
            entropy: 0xffff,
            destination: Ipv4Addr::new(198, 51, 100, 11),
        };
        let inner = Inner { len: 60, tos: 0, entropy: 0xdead_beef };
        let frame = written(Encap::Ipip, ends, false, &inner);
        assert_eq!(Ipv4::parse(&frame[14..], 80).unwrap().source(), Ipv4Addr::new(172, 16, 0xbe, 0xef));
        assert_eq!(checksum::of(&frame[14..34]), 0);
    }

    proptest! {
        #[test]
        fn outer_headers_are_right_for_every_packet(
            encap in prop::sample::select(encaps()),
            over_v6 in any::<bool>(),
            v6_inside in any::<bool>(),
            len in 20u16..65_000,
            tos in any::<u8>(),
            entropy in any::<u32>(),
        ) {
            let ends = if over_v6 { v6() } else { V4 };
            let inner = Inner { len, tos, entropy };
            let mut frame = written(encap, ends, v6_inside, &inner);
            frame.resize(frame.len() + usize::from(len), 0);
            let outer = &frame[ethernet::HEADER_LEN..];
            let (total, outer_tos, next) = if over_v6 {
                let ip = ipv6::Ipv6::parse(outer, outer.len()).unwrap();
                prop_assert_eq!(ip.hop_limit(), 64);
                prop_assert_eq!(u32::from_be_bytes(outer[..4].try_into().unwrap()) & 0xf_ffff, entropy & 0xf_ffff);
                (ip.total_len(), ip.traffic_class(), ip.payload().unwrap().protocol)
            } else {
                let ip = Ipv4::parse(outer, outer.len()).unwrap();
                prop_assert_eq!(checksum::of(&outer[..20]), 0);
                prop_assert_eq!(ip.ttl(), 64);
                (ip.total_len(), ip.tos(), ip.protocol())
            };
            prop_assert_eq!(total, outer.len());
            prop_assert_eq!(outer_tos, tos);
            let expected = match encap {
                Encap::Gre { .. } => 47,
                Encap::Gue { .. } => 17,
                _ => if v6_inside { 41 } else { 4 },
            };
            prop_assert_eq!(next, expected);
        }
    }
}
