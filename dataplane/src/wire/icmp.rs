//! ICMP for IPv4 (RFC 792) and IPv6 (RFC 4443): echo, errors and what they quote.

use super::{Error, be16, protocol};

/// Length of the header of an echo or error message, in bytes.
pub const HEADER_LEN: usize = 8;

/// Offset of the checksum.
pub const CHECKSUM: usize = 2;

/// Message types of one family that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Types {
    /// Echo request.
    pub echo_request: u8,
    /// Echo reply.
    pub echo_reply: u8,
    /// Type and code of "too big".
    pub too_big: (u8, u8),
    /// Type and code of "TTL ran out on the way".
    pub time_exceeded: (u8, u8),
    /// Types that quote the packet they are about.
    pub errors: &'static [u8],
}

/// ICMP for IPv4.
pub const V4: Types =
    Types { echo_request: 8, echo_reply: 0, too_big: (3, 4), time_exceeded: (11, 0), errors: &[3, 11, 12] };

/// ICMP for IPv6.
pub const V6: Types = Types {
    echo_request: 128,
    echo_reply: 129,
    too_big: (2, 0),
    time_exceeded: (3, 0),
    errors: &[1, 2, 3, 4],
};

/// What an error message quotes: the start of the packet that caused it, possibly cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Protocol of the quoted packet.
    pub protocol: u8,
    /// Where its upper layer starts, in bytes from the quoted IP header.
    pub l4: usize,
    /// Both ports as they stand in the packet; zero for other protocols than TCP and UDP.
    pub ports: u32,
}

/// Reads the IP header that an error message quotes, of the family `v6`, and the ports behind it.
///
/// At least eight bytes of the upper layer are quoted (RFC 792). Extension headers are not walked.
pub fn quoted(bytes: &[u8], v6: bool) -> Result<Quoted, Error> {
    let version = bytes.first().ok_or(Error::Truncated)? >> 4;
    let (l4, protocol) = match (version, v6) {
        (4, false) if bytes.len() >= 20 => (usize::from(bytes[0] & 0xf) * 4, bytes[9]),
        (6, true) if bytes.len() >= 40 => (40, bytes[6]),
        (4, false) | (6, true) => return Err(Error::Truncated),
        _ => return Err(Error::Malformed),
    };
    if l4 < 20 || !v6 && be16(bytes, 6) & 0x1fff != 0 {
        return Err(Error::Malformed); // a later fragment has no ports
    }
    let ports = bytes.get(l4..l4 + 4).ok_or(Error::Truncated)?;
    let has_ports = matches!(protocol, protocol::TCP | protocol::UDP);
    let ports = if has_ports { u32::from_le_bytes([ports[0], ports[1], ports[2], ports[3]]) } else { 0 };
    Ok(Quoted { protocol, l4, ports })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quoted_header_is_read_up_to_its_ports() {
        let mut bytes = vec![0; 28];
        bytes[0] = 0x45;
        bytes[9] = 6;
        bytes[20..24].copy_from_slice(&[0, 80, 4, 0]);
        let ports = u32::from_le_bytes([0, 80, 4, 0]);
        assert_eq!(quoted(&bytes, false), Ok(Quoted { protocol: 6, l4: 20, ports }));
        assert_eq!(quoted(&bytes[..23], false), Err(Error::Truncated));
        assert_eq!(quoted(&bytes, true), Err(Error::Malformed));
        bytes[7] = 1;
        assert_eq!(quoted(&bytes, false), Err(Error::Malformed), "a later fragment");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_the_slice(bytes in prop::collection::vec(any::<u8>(), 0..80), v6 in any::<bool>()) {
            if let Ok(quoted) = quoted(&bytes, v6) {
                prop_assert!(quoted.l4 + 4 <= bytes.len());
            }
        }
    }
}
