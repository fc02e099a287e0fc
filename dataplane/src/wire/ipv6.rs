//! IPv6 headers and extension headers (RFC 8200).

use std::net::Ipv6Addr;

use super::{Error, be16, be32, fragment::Fragment, take};

/// Length of the fixed header, in bytes.
pub const HEADER_LEN: usize = 40;

/// Most extension headers that are walked; a packet with more is malformed for us.
const MAX_EXTENSIONS: usize = 8;

/// Offsets of the fields that are rewritten.
pub mod field {
    /// Payload length.
    pub const PAYLOAD_LEN: usize = 4;
    /// Protocol of what follows the fixed header.
    pub const NEXT_HEADER: usize = 6;
    /// Hop limit.
    pub const HOP_LIMIT: usize = 7;
    /// Source address.
    pub const SOURCE: usize = 8;
    /// Destination address.
    pub const DESTINATION: usize = 24;
}

/// What follows the fixed header and its extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Protocol of the upper layer.
    pub protocol: u8,
    /// Where it starts, in bytes from the start of the fixed header.
    pub offset: usize,
    /// What a fragment header said that was passed, if the packet is not whole. With a fragment that is not the first
    /// one, what follows that header may be anything.
    pub fragment: Option<Fragment>,
}

/// A packet whose fixed IPv6 header is complete.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6<'a>(&'a [u8]);

impl<'a> Ipv6<'a> {
    /// Checks version and lengths; `available` is how many bytes the frame holds from the header on.
    #[inline]
    pub fn parse(bytes: &'a [u8], available: usize) -> Result<Self, Error> {
        if bytes.len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        if bytes[0] >> 4 != 6 {
            return Err(Error::Malformed);
        }
        let packet = Self(bytes);
        if available < packet.total_len() { Err(Error::Truncated) } else { Ok(packet) }
    }

    /// Length of the whole packet, in bytes. Jumbograms (RFC 2675) are not understood.
    #[inline]
    pub fn total_len(self) -> usize {
        HEADER_LEN + usize::from(be16(self.0, field::PAYLOAD_LEN))
    }

    /// DSCP and ECN.
    #[inline]
    pub fn traffic_class(self) -> u8 {
        (be16(self.0, 0) >> 4) as u8
    }

    /// Hop limit.
    #[inline]
    pub fn hop_limit(self) -> u8 {
        self.0[field::HOP_LIMIT]
    }

    /// Source and destination, one behind the other, as in the packet.
    #[inline]
    pub fn addresses(self) -> [u8; 32] {
        take(self.0, field::SOURCE)
    }

    /// Source address.
    #[inline]
    pub fn source(self) -> Ipv6Addr {
        Ipv6Addr::from(take::<16>(self.0, field::SOURCE))
    }

    /// Destination address.
    #[inline]
    pub fn destination(self) -> Ipv6Addr {
        Ipv6Addr::from(take::<16>(self.0, field::DESTINATION))
    }

    /// Walks the extension headers (hop-by-hop, routing, destination options, fragment) to the upper
    /// layer: at most eight of them, none beyond the first segment or the packet's stated end.
    #[inline]
    pub fn payload(self) -> Result<Payload, Error> {
        let end = self.0.len().min(self.total_len());
        let mut payload =
            Payload { protocol: self.0[field::NEXT_HEADER], offset: HEADER_LEN, fragment: None };
        for _ in 0..MAX_EXTENSIONS {
            let header = payload.offset;
            let len = match payload.protocol {
                0 | 43 | 60 if header + 8 <= end => (usize::from(self.0[header + 1]) + 1) * 8,
                44 if header + 8 <= end => {
                    // An atomic fragment (RFC 6946: offset 0, no more to come) is a whole packet.
                    let word = be16(self.0, header + 2);
                    if word & 0xfff9 != 0 {
                        let id = be32(self.0, header + 4);
                        payload.fragment = Some(Fragment::new(id, word >> 3, word & 1 != 0));
                    }
                    8
                }
                0 | 43 | 44 | 60 => return Err(Error::Truncated),
                _ => return Ok(payload),
            };
            payload.protocol = self.0[header];
            payload.offset = header + len;
            if payload.offset > end {
                return Err(Error::Truncated);
            }
            if payload.fragment.is_some_and(|fragment| !fragment.is_first()) {
                return Ok(payload);
            }
        }
        Err(Error::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x6b, 0x90, 0, 0, 0, 0, next_header, 64];
        bytes[5] = u8::try_from(payload.len()).unwrap();
        bytes.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets());
        bytes.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2).octets());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn header_is_deconstructed() {
        let bytes = packet(6, &[0; 20]);
        let ip = Ipv6::parse(&bytes, bytes.len()).unwrap();
        assert_eq!((ip.total_len(), ip.traffic_class(), ip.hop_limit()), (60, 0xb9, 64));
        assert_eq!(ip.source(), "2001:db8::1".parse::<Ipv6Addr>().unwrap());
        assert_eq!(ip.destination(), "2001:db8::2".parse::<Ipv6Addr>().unwrap());
        assert_eq!(ip.payload(), Ok(Payload { protocol: 6, offset: 40, fragment: None }));
    }

    #[test]
    fn extension_headers_are_walked_to_the_upper_layer() {
        let mut payload = vec![0; 24 + 20];
        payload[0] = 60; // hop-by-hop, then destination options of 16 bytes
        payload[8] = 17;
        payload[9] = 1;
        let bytes = packet(0, &payload);
        let ip = Ipv6::parse(&bytes, bytes.len()).unwrap();
        assert_eq!(ip.payload(), Ok(Payload { protocol: 17, offset: 64, fragment: None }));
    }

    #[test]
    fn fragments_are_told_and_atomic_ones_are_whole() {
        let piece = |offset, more| Some(Fragment { id: 0x1234_5678, offset, more });
        for (offset_and_more, fragment) in
            [(0u16, None), (1, piece(0, true)), (9, piece(8, true)), (0xfff8, piece(0xfff8, false))]
        {
            let mut payload = vec![0; 28];
            payload[0] = 6;
            payload[2..4].copy_from_slice(&offset_and_more.to_be_bytes());
            payload[4..8].copy_from_slice(&0x1234_5678u32.to_be_bytes());
            let bytes = packet(44, &payload);
            let ip = Ipv6::parse(&bytes, bytes.len()).unwrap();
            assert_eq!(
                ip.payload(),
                Ok(Payload { protocol: 6, offset: 48, fragment }),
                "{offset_and_more:#x}"
            );
        }
    }

    #[test]
    fn only_the_first_fragment_is_walked_to_its_upper_layer() {
        let options = [[17, 0].as_slice(), &[0; 6], &[0; 8]].concat();
        for (offset_and_more, protocol, offset) in [(1u16, 17, 56), (9, 60, 48)] {
            let fragment = [&[60, 0][..], &offset_and_more.to_be_bytes(), &[0; 4], &options].concat();
            let bytes = packet(44, &fragment);
            let payload = Ipv6::parse(&bytes, bytes.len()).unwrap().payload().unwrap();
            assert_eq!((payload.protocol, payload.offset), (protocol, offset), "{offset_and_more:#x}");
        }
    }

    #[test]
    fn wrong_packets_are_refused() {
        let bytes = packet(6, &[0; 20]);
        assert_eq!(Ipv6::parse(&bytes[..39], 60).unwrap_err(), Error::Truncated);
        assert_eq!(Ipv6::parse(&bytes, 59).unwrap_err(), Error::Truncated);
        assert_eq!(Ipv6::parse(&[0x45; 60], 60).unwrap_err(), Error::Malformed);
        let cut = packet(0, &[6, 9, 0, 0, 0, 0, 0, 0]); // an extension header longer than the packet
        assert_eq!(Ipv6::parse(&cut, cut.len()).unwrap().payload(), Err(Error::Truncated));
        let endless = packet(0, &[0; 96]);
        assert_eq!(Ipv6::parse(&endless, endless.len()).unwrap().payload(), Err(Error::Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_the_slice(mut bytes in prop::collection::vec(any::<u8>(), 0..160)) {
            if let Some(first) = bytes.first_mut() {
                *first = 0x60;
            }
            if let Ok(ip) = Ipv6::parse(&bytes, bytes.len())
                && let Ok(payload) = ip.payload()
            {
                prop_assert!(payload.offset <= ip.total_len());
                prop_assert!(payload.offset <= bytes.len());
            }
        }
    }
}
