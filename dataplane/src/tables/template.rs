//! Outer headers prepared with a generation, to be copied in front of packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    encap::{Encap, GueVariant},
    server::Link,
    spec::TunnelSource,
};
use crate::wire::{checksum, ethernet, gre, ipv4, ipv6, protocol, put16, udp};

/// TTL and hop limit of outer headers.
const OUTER_TTL: u8 = 64;

/// Length of a GUE header of variant 0 without optional fields, in bytes.
const GUE_LEN: usize = 4;

/// Bytes of a template: Ethernet, IPv6, UDP and GUE are 66.
const ROOM: usize = 80;

/// The part of a template that nearly all encapsulations fit in: one cache line, copied as a whole.
const SHORT: usize = 64;

/// Bytes that GRE without a key adds over IPv4; IPv6 alone is longer.
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

/// What stands between the outer IP header and the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shim {
    /// Nothing: the protocol field tells the family.
    Ipip,
    /// GRE: the type field tells the family.
    Gre,
    /// UDP, with nothing or a GUE header behind it.
    Gue(GueVariant),
}

/// Ethernet and outer headers of one server, at the end of a fixed array.
///
/// They are copied as a whole array, of constant length, into the headroom: a few vector moves, whatever the
/// encapsulation. What depends on the packet is patched afterwards.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Template {
    bytes: [u8; ROOM],
    /// Bytes in use, at the end of `bytes`; 0: no outer headers.
    len: u8,
    /// Bytes from the outer IP header to the end.
    outer_len: u8,
    outer_v6: bool,
    shim: Shim,
    /// The sum over the words of an IPv4 header as prepared, not inverted.
    sum: u16,
    /// Mask of the entropy bits in an IPv4 source.
    entropy: u32,
}

/// What outer headers take from the packet inside.
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

    #[inline]
    const fn protocol(&self) -> u8 {
        if self.v6 { protocol::IPV6 } else { protocol::IPV4 }
    }
}

impl Template {
    /// No outer headers.
    pub const NONE: Self = Self {
        bytes: [0; ROOM],
        len: 0,
        outer_len: 0,
        outer_v6: false,
        shim: Shim::Ipip,
        sum: 0,
        entropy: 0,
    };

    /// The headers of a tunnel along `link`; none for encapsulations without outer headers.
    ///
    /// Over IPv4, DF is set and the id zero: the outer packet is never fragmented and so is atomic
    /// (RFC 6864 §4.1). UDP checksums are zero, over IPv6 as RFC 6935 allows for tunnels.
    pub fn new(encap: Encap, ends: Ends, link: &Link) -> Self {
        let mut shim_bytes = Vec::new();
        let shim = match encap {
            Encap::Gre { key } => {
                shim_bytes.extend([0; gre::HEADER_LEN]);
                if let Some(key) = key {
                    shim_bytes[0] = gre::KEY_PRESENT;
                    shim_bytes.extend(key.to_be_bytes());
                }
                Shim::Gre
            }
            Encap::Ipip => Shim::Ipip,
            Encap::Gue { variant, port } => {
                shim_bytes.extend([0; udp::HEADER_LEN]);
                put16(&mut shim_bytes, 2, port);
                if variant == GueVariant::Header {
                    shim_bytes.extend([0; GUE_LEN]);
                }
                Shim::Gue(variant)
            }
            Encap::L3dsr { .. } | Encap::Nat => return Self::NONE,
        };
        let protocol = match shim {
            Shim::Gre => protocol::GRE,
            Shim::Gue(_) => protocol::UDP,
            Shim::Ipip => 0, // patched with the family of the packet
        };
        let (ip, ether_type, entropy) = match ends {
            Ends::V4 { source, entropy, destination } => {
                (outer_v4(protocol, source, destination), ethernet::ether_type::IPV4, entropy)
            }
            Ends::V6 { source, destination } => {
                (outer_v6(protocol, source, destination), ethernet::ether_type::IPV6, 0)
            }
        };
        let mut header = vec![0; ethernet::HEADER_LEN];
        ethernet::emit(&mut header, link.destination, link.source, ether_type);
        header.extend(&ip);
        header.extend(&shim_bytes);
        let mut bytes = [0; ROOM];
        bytes[ROOM - header.len()..].copy_from_slice(&header);
        Self {
            bytes,
            len: header.len() as u8,
            outer_len: (ip.len() + shim_bytes.len()) as u8,
            outer_v6: matches!(ends, Ends::V6 { .. }),
            shim,
            sum: if matches!(ends, Ends::V4 { .. }) { checksum::fold(checksum::add(0, &ip)) } else { 0 },
            entropy,
        }
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

    /// What the headers add to an IP packet, in bytes.
    #[inline]
    pub const fn overhead(&self) -> usize {
        self.outer_len as usize
    }

    /// Bytes that [`Template::write`] needs in front of the packet inside: more than [`Template::len`].
    #[inline]
    pub const fn room(&self) -> usize {
        if self.len() <= SHORT { SHORT } else { ROOM }
    }

    /// Writes the headers over the first [`Template::room`] bytes of `frame`, behind which the packet inside begins,
    /// and patches what depends on it: length, DSCP and ECN (copied, RFC 6040 §4.1 normal mode), payload type,
    /// entropy, checksum. The first `room - len` bytes hold nothing of use afterwards.
    #[inline(always)]
    pub fn write(&self, frame: &mut [u8], inner: &Inner) {
        // Constant lengths, so that each copy is a few vector moves.
        let header = if self.len() <= SHORT {
            let header = &mut frame[..SHORT];
            header.copy_from_slice(&self.bytes[ROOM - SHORT..]);
            // What most packets get, at constant places.
            if self.shim == Shim::Gre && self.overhead() == GRE4 {
                self.patch_v4(&mut header[SHORT - GRE4..], inner, 0);
                return put16(header, SHORT - 2, inner.ether_type());
            }
            header
        } else {
            let header = &mut frame[..ROOM];
            header.copy_from_slice(&self.bytes);
            header
        };
        let at = header.len() - self.overhead();
        self.patch(&mut header[at..], inner);
    }

    /// Patches what depends on the packet inside an outer IPv4 header.
    #[inline(always)]
    fn patch_v4(&self, outer: &mut [u8], inner: &Inner, protocol: u8) {
        let total = (self.overhead() + inner.len) as u16;
        let sum = u32::from(self.sum) + u32::from(inner.tos) + u32::from(total) + u32::from(protocol);
        let source = inner.entropy & self.entropy;
        let sum = sum + (source >> 16) + (source & 0xffff);
        outer[ipv4::field::TOS] = inner.tos;
        put16(outer, ipv4::field::TOTAL_LEN, total);
        put16(outer, ipv4::field::CHECKSUM, !checksum::fold(sum));
    }

    #[inline(never)]
    fn patch(&self, outer: &mut [u8], inner: &Inner) {
        let protocol = if self.shim == Shim::Ipip { inner.protocol() } else { 0 };
        let shim_at = if self.outer_v6 {
            let word = 6 << 28 | u32::from(inner.tos) << 20 | inner.entropy & 0xf_ffff;
            outer[..4].copy_from_slice(&word.to_be_bytes());
            put16(outer, ipv6::field::PAYLOAD_LEN, (self.overhead() - ipv6::HEADER_LEN + inner.len) as u16);
            outer[ipv6::field::NEXT_HEADER] |= protocol;
            ipv6::HEADER_LEN
        } else {
            self.patch_v4(outer, inner, protocol);
            outer[ipv4::field::PROTOCOL] |= protocol;
            let source = inner.entropy & self.entropy;
            if source != 0 {
                outer[14] |= (source >> 8) as u8;
                outer[15] |= source as u8;
                outer[13] |= (source >> 16) as u8;
                outer[12] |= (source >> 24) as u8;
            }
            ipv4::HEADER_LEN
        };
        match self.shim {
            Shim::Ipip => {}
            Shim::Gre => put16(outer, shim_at + 2, inner.ether_type()),
            Shim::Gue(variant) => {
                // Source ports from 49152 on (RFC 8085 §5.1.1: entropy in the ephemeral range).
                put16(outer, shim_at, 0xc000 | inner.entropy as u16);
                put16(outer, shim_at + 4, (self.overhead() - shim_at + inner.len) as u16);
                if variant == GueVariant::Header {
                    outer[shim_at + udp::HEADER_LEN + 1] = inner.protocol();
                }
            }
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
    use crate::wire::ipv4::Ipv4;

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

    /// The headers as they stand in front of a packet whose bytes are all 0xaa.
    fn written(encap: Encap, ends: Ends, inner: &Inner) -> Vec<u8> {
        let template = Template::new(encap, ends, &TEST_LINK);
        let mut frame = vec![0xaa; template.room() + inner.len];
        template.write(&mut frame, inner);
        assert!(frame[template.room()..].iter().all(|&byte| byte == 0xaa), "the packet inside is untouched");
        frame.drain(..template.room() - template.len());
        frame
    }

    #[test]
    fn template_is_two_cache_lines() {
        assert_eq!((size_of::<Template>(), align_of::<Template>()), (128, 64));
    }

    #[test]
    fn overhead_is_that_of_the_encapsulation() {
        let overhead = |encap, ends| Template::new(encap, ends, &TEST_LINK).overhead();
        assert_eq!(
            encaps().into_iter().map(|encap| overhead(encap, V4)).collect::<Vec<_>>(),
            [24, 28, 20, 32, 28]
        );
        assert_eq!(
            encaps().into_iter().map(|encap| overhead(encap, v6())).collect::<Vec<_>>(),
            [44, 48, 40, 52, 48]
        );
        assert!(Template::new(Encap::Nat, V4, &TEST_LINK).is_empty());
    }

    #[test]
    fn gue_names_the_family_or_leaves_it_to_the_packet() {
        let inner = Inner { v6: true, len: 60, tos: 0, entropy: 0x1234 };
        let frame = written(Encap::Gue { variant: GueVariant::Header, port: 6080 }, V4, &inner);
        assert_eq!(frame[34..46], [0xd2, 0x34, 0x17, 0xc0, 0, 72, 0, 0, 0, 41, 0, 0]);
        let frame = written(Encap::Gue { variant: GueVariant::Direct, port: 6080 }, v6(), &inner);
        assert_eq!(frame[54..62], [0xd2, 0x34, 0x17, 0xc0, 0, 68, 0, 0]);
    }

    #[test]
    fn gre_key_is_announced() {
        let inner = Inner { v6: false, len: 60, tos: 0, entropy: 0 };
        assert_eq!(written(Encap::Gre { key: Some(42) }, V4, &inner)[34..42], [0x20, 0, 8, 0, 0, 0, 0, 42]);
    }

    #[test]
    fn ipip_puts_entropy_into_the_low_bits_of_its_source() {
        let ends = Ends::V4 {
            source: Ipv4Addr::new(172, 16, 0, 0),
            entropy: 0xffff,
            destination: Ipv4Addr::new(198, 51, 100, 11),
        };
        let inner = Inner { v6: false, len: 60, tos: 0, entropy: 0xdead_beef };
        let frame = written(Encap::Ipip, ends, &inner);
        assert_eq!(Ipv4::parse(&frame[14..], 80).unwrap().source(), Ipv4Addr::new(172, 16, 0xbe, 0xef));
        assert_eq!(checksum::of(&frame[14..34]), 0);
    }

    proptest! {
        #[test]
        fn outer_headers_are_right_for_every_packet(
            encap in prop::sample::select(encaps()),
            over_v6 in any::<bool>(),
            v6_inside in any::<bool>(),
            len in 20usize..65_000,
            tos in any::<u8>(),
            entropy in any::<u32>(),
        ) {
            let ends = if over_v6 { v6() } else { V4 };
            let inner = Inner { v6: v6_inside, len, tos, entropy };
            let frame = written(encap, ends, &inner);
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
