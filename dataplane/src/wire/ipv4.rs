//! IPv4 headers (RFC 791).

use std::net::Ipv4Addr;

use super::{Error, be16, be32, fragment::Fragment, take};

/// Length of a header without options, in bytes.
pub const HEADER_LEN: usize = 20;

/// Offsets of the fields that are rewritten.
pub mod field {
    /// Type of service: DSCP and ECN.
    pub const TOS: usize = 1;
    /// Total length.
    pub const TOTAL_LEN: usize = 2;
    /// Identification.
    pub const IDENTIFICATION: usize = 4;
    /// Fragment flags and place.
    pub const FRAGMENT: usize = 6;
    /// Time to live.
    pub const TTL: usize = 8;
    /// Protocol of the payload.
    pub const PROTOCOL: usize = 9;
    /// Header checksum.
    pub const CHECKSUM: usize = 10;
    /// Source address.
    pub const SOURCE: usize = 12;
    /// Destination address.
    pub const DESTINATION: usize = 16;
}

/// The first four bytes of a header without options: version and length, type of service, total length.
#[inline(always)]
pub(crate) const fn first_word(tos: u8, total_len: u16) -> [u8; 4] {
    // Composed in a register: one store instead of three.
    (0x45 | (tos as u32) << 8 | (u16::from_le_bytes(total_len.to_be_bytes()) as u32) << 16).to_le_bytes()
}

/// A packet whose IPv4 header, options included, is complete.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a>(&'a [u8]);

impl<'a> Ipv4<'a> {
    /// Checks version and lengths. `bytes` starts with the header; `available` is how many bytes the
    /// frame holds from there on, over all its segments.
    #[inline]
    pub fn parse(bytes: &'a [u8], available: usize) -> Result<Self, Error> {
        if bytes.len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        let packet = Self(bytes);
        if bytes[0] >> 4 != 4 || packet.header_len() < HEADER_LEN || packet.total_len() < packet.header_len()
        {
            return Err(Error::Malformed);
        }
        if bytes.len() < packet.header_len() || available < packet.total_len() {
            return Err(Error::Truncated);
        }
        Ok(packet)
    }

    /// Length of the header with its options, in bytes.
    #[inline]
    pub fn header_len(self) -> usize {
        usize::from(self.0[0] & 0xf) * 4
    }

    /// Length of the whole packet, in bytes.
    #[inline]
    pub fn total_len(self) -> usize {
        usize::from(be16(self.0, field::TOTAL_LEN))
    }

    /// DSCP and ECN.
    #[inline]
    pub fn tos(self) -> u8 {
        self.0[field::TOS]
    }

    /// What it says if it is a fragment: the first, a middle or the last one.
    #[inline]
    pub fn fragment(self) -> Option<Fragment> {
        let word = be16(self.0, field::FRAGMENT);
        (word & 0x3fff != 0).then(|| {
            Fragment::new(be16(self.0, field::IDENTIFICATION).into(), word & 0x1fff, word & 0x2000 != 0)
        })
    }

    /// Time to live.
    #[inline]
    pub fn ttl(self) -> u8 {
        self.0[field::TTL]
    }

    /// Protocol of the payload.
    #[inline]
    pub fn protocol(self) -> u8 {
        self.0[field::PROTOCOL]
    }

    /// Source and destination, one behind the other, as in the packet.
    #[inline]
    pub fn addresses(self) -> [u8; 8] {
        take(self.0, field::SOURCE)
    }

    /// Source address.
    #[inline]
    pub fn source(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(be32(self.0, field::SOURCE))
    }

    /// Destination address.
    #[inline]
    pub fn destination(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(be32(self.0, field::DESTINATION))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) const HEADER: [u8; HEADER_LEN] =
        [0x45, 0xb9, 0x00, 0x28, 0x12, 0x34, 0x40, 0x00, 0x40, 0x06, 0, 0, 198, 51, 100, 1, 203, 0, 113, 10];

    #[test]
    fn header_is_deconstructed() {
        let ip = Ipv4::parse(&HEADER, 40).unwrap();
        assert_eq!(
            (ip.header_len(), ip.total_len(), ip.tos(), ip.ttl(), ip.protocol()),
            (20, 40, 0xb9, 64, 6)
        );
        assert_eq!(ip.source(), Ipv4Addr::new(198, 51, 100, 1));
        assert_eq!(ip.destination(), Ipv4Addr::new(203, 0, 113, 10));
        assert_eq!(ip.addresses(), [198, 51, 100, 1, 203, 0, 113, 10]);
        assert_eq!(ip.fragment(), None, "DF alone is not a fragment");
    }

    #[test]
    fn wrong_lengths_and_versions_are_refused() {
        assert_eq!(Ipv4::parse(&HEADER[..19], 40).unwrap_err(), Error::Truncated);
        assert_eq!(Ipv4::parse(&HEADER, 39).unwrap_err(), Error::Truncated);
        for (at, value, error) in [
            (0, 0x65, Error::Malformed), // version 6
            (0, 0x44, Error::Malformed), // header of 16 bytes
            (0, 0x46, Error::Truncated), // options that are not there
            (3, 19, Error::Malformed),   // shorter than its header
        ] {
            let mut bytes = HEADER;
            bytes[at] = value;
            assert_eq!(Ipv4::parse(&bytes, 40).unwrap_err(), error, "byte {at} = {value:#x}");
        }
    }

    #[test]
    fn first_middle_and_last_fragments_are_told() {
        let piece = |offset, more| Some(Fragment { id: 0xabcd, offset, more });
        for (flags, fragment) in [
            (0x2000u16, piece(0, true)),
            (0x2001, piece(8, true)),
            (0x5fff, piece(0xfff8, false)),
            (0x4000, None),
            (0x8000, None),
        ] {
            let mut bytes = HEADER;
            bytes[4..6].copy_from_slice(&[0xab, 0xcd]);
            bytes[6..8].copy_from_slice(&flags.to_be_bytes());
            assert_eq!(Ipv4::parse(&bytes, 40).unwrap().fragment(), fragment, "{flags:#x}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_the_slice(bytes in prop::collection::vec(any::<u8>(), 0..80), available in 0usize..2000) {
            if let Ok(ip) = Ipv4::parse(&bytes, available) {
                prop_assert!(ip.header_len() <= bytes.len());
                prop_assert!(ip.total_len() <= available);
                let _ = (ip.source(), ip.destination(), ip.tos(), ip.ttl(), ip.protocol(), ip.fragment());
            }
        }
    }
}
