//! Ethernet II frames and 802.1Q tags (IEEE 802.3, 802.1Q).

use std::{fmt, str::FromStr};

use super::{Error, be16, put16, take};

/// Length of an Ethernet header without a tag, in bytes.
pub const HEADER_LEN: usize = 14;

/// EtherType values.
pub mod ether_type {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// An 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether the group bit is set: broadcast or multicast.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The group address that an IPv6 multicast address maps to (RFC 2464 §7).
    pub const fn for_ipv6_multicast(address: std::net::Ipv6Addr) -> Self {
        let [.., a, b, c, d] = address.octets();
        Self([0x33, 0x33, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six hexadecimal bytes separated by colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ethernet address: six hexadecimal bytes separated by colons, for instance 02:00:00:00:00:01")]
pub struct ParseMacError;

impl FromStr for Mac {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(ParseMacError)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| ParseMacError)?;
        }
        parts.next().map_or(Ok(Self(bytes)), |_| Err(ParseMacError))
    }
}

/// A frame whose Ethernet header is complete.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a>(&'a [u8]);

impl<'a> Frame<'a> {
    /// Checks that the header is there.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        if bytes.len() < HEADER_LEN { Err(Error::Truncated) } else { Ok(Self(bytes)) }
    }

    /// Destination address.
    #[inline]
    pub fn destination(self) -> Mac {
        Mac(take(self.0, 0))
    }

    /// Source address.
    #[inline]
    pub fn source(self) -> Mac {
        Mac(take(self.0, 6))
    }

    /// EtherType of the payload.
    #[inline]
    pub fn ether_type(self) -> u16 {
        be16(self.0, 12)
    }
}

/// Writes an Ethernet header over the first 14 bytes of `bytes`.
#[inline]
pub fn emit(bytes: &mut [u8], destination: Mac, source: Mac, ether_type: u16) {
    bytes[0..6].copy_from_slice(&destination.0);
    bytes[6..12].copy_from_slice(&source.0);
    put16(bytes, 12, ether_type);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_read_as_it_was_written() {
        let mut bytes = [0; HEADER_LEN];
        let (to, from) = (Mac([1, 2, 3, 4, 5, 6]), Mac([7, 8, 9, 10, 11, 12]));
        emit(&mut bytes, to, from, ether_type::IPV6);
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!((frame.destination(), frame.source(), frame.ether_type()), (to, from, 0x86dd));
        assert_eq!(Frame::parse(&bytes[..13]).unwrap_err(), Error::Truncated);
    }

    #[test]
    fn mac_is_read_as_it_is_shown() {
        let mac = Mac([0x02, 0, 0xab, 0, 0, 0x0b]);
        assert_eq!(mac.to_string(), "02:00:ab:00:00:0b");
        assert_eq!("02:00:ab:00:00:0b".parse(), Ok(mac));
        for wrong in ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "0:0:0:0:0:0", "zz:00:00:00:00:00"] {
            assert_eq!(wrong.parse::<Mac>(), Err(ParseMacError), "{wrong}");
        }
    }
}
