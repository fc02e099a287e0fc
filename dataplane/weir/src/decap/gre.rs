//! The GRE header: RFC 2784, with the key and sequence number of RFC 2890.
//!
//! ```text
//!  0                   1                   2                   3
//!  C R K S s Recur  Reserved  Ver |  Protocol type
//!  Checksum (if C)                |  Reserved1 (if C)
//!  Key (if K)
//!  Sequence number (if S)
//! ```

use dataplane::wire::checksum;
use dataplane::wire::ethernet::ether_type;

use super::DropReason;
use super::packet::{InnerFamily, be16};

const CHECKSUM: u16 = 0x8000;
const ROUTING: u16 = 0x4000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
/// Bits 4 and 5. RFC 2784 section 2.3: discard when any of bits 1 to 5 is set, of which RFC 2890 gave
/// 2 and 3 a meaning. Bits 6 to 12 must be ignored.
const MUST_BE_ZERO: u16 = 0x0C00;
const VERSION: u16 = 0x0007;

/// Takes the GRE header off: which family follows, and the bytes that follow.
///
/// `key`: the only key accepted; `None` accepts any and none. Sequence numbers are skipped: RFC 2890 asks
/// for no order from a receiver that does not want one.
pub fn strip(datagram: &mut [u8], key: Option<u32>) -> Result<(InnerFamily, &mut [u8]), DropReason> {
    let flags = be16(datagram, 0).ok_or(DropReason::GreShort)?;
    let protocol = be16(datagram, 2).ok_or(DropReason::GreShort)?;
    if flags & VERSION != 0 {
        return Err(DropReason::GreVersion);
    }
    if flags & ROUTING != 0 {
        return Err(DropReason::GreRouting);
    }
    if flags & MUST_BE_ZERO != 0 {
        return Err(DropReason::GreReserved);
    }
    let mut length = 4;
    if flags & CHECKSUM != 0 {
        length += 4;
    }
    let key_at = length;
    if flags & KEY != 0 {
        length += 4;
    }
    if flags & SEQUENCE != 0 {
        length += 4;
    }
    if datagram.len() < length {
        return Err(DropReason::GreShort);
    }
    // The checksum covers the header and the whole payload; over both, its own field included, it sums to zero.
    if flags & CHECKSUM != 0 && checksum::of(datagram) != 0 {
        return Err(DropReason::GreChecksum);
    }
    if let Some(wanted) = key {
        let found = (flags & KEY != 0).then(|| &datagram[key_at..key_at + 4]);
        if found != Some(&wanted.to_be_bytes()) {
            return Err(DropReason::GreKey);
        }
    }
    let family = match protocol {
        ether_type::IPV4 => InnerFamily::Ipv4,
        ether_type::IPV6 => InnerFamily::Ipv6,
        _ => return Err(DropReason::InnerProtocol),
    };
    Ok((family, &mut datagram[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip_copy(header: &[u8], key: Option<u32>) -> Result<(InnerFamily, Vec<u8>), DropReason> {
        let mut datagram = header.to_vec();
        strip(&mut datagram, key).map(|(family, rest)| (family, rest.to_vec()))
    }

    #[test]
    fn plain_header_is_four_bytes() {
        assert_eq!(strip_copy(&[0, 0, 8, 0, 0xAA], None), Ok((InnerFamily::Ipv4, vec![0xAA])));
        assert_eq!(strip_copy(&[0, 0, 0x86, 0xDD], None), Ok((InnerFamily::Ipv6, vec![])));
    }

    #[test]
    fn optional_fields_are_skipped() {
        let key_and_sequence = [0x30, 0, 8, 0, 0, 0, 0, 42, 0, 0, 0, 7, 0xAA];
        assert_eq!(strip_copy(&key_and_sequence, None), Ok((InnerFamily::Ipv4, vec![0xAA])));
        // 0xB000 + 0x0800 + 42 + 7 + 0xAA00, folded, is 0x6232; the checksum is its complement.
        let all = [0xB0, 0, 8, 0, 0x9D, 0xCD, 0, 0, 0, 0, 0, 42, 0, 0, 0, 7, 0xAA];
        assert_eq!(strip_copy(&all, Some(42)), Ok((InnerFamily::Ipv4, vec![0xAA])));
    }

    #[test]
    fn ignorable_bits_are_ignored() {
        // Bits 6 to 12: recursion control's lower bits and the reserved flags.
        assert_eq!(strip_copy(&[0x03, 0xF8, 8, 0], None), Ok((InnerFamily::Ipv4, vec![])));
    }

    #[test]
    fn each_fault_has_its_name() {
        let cases: [(&[u8], DropReason); 11] = [
            (&[], DropReason::GreShort),
            (&[0, 0, 8], DropReason::GreShort),
            (&[0x20, 0, 8, 0, 0, 0, 0], DropReason::GreShort),
            (&[0xB0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], DropReason::GreShort),
            (&[0x30, 1, 0x88, 0x0B, 0, 0, 0, 0, 0, 0, 0, 0], DropReason::GreVersion),
            (&[0x40, 0, 8, 0, 0, 0, 0, 0], DropReason::GreRouting),
            (&[0x08, 0, 8, 0], DropReason::GreReserved),
            (&[0x04, 0, 8, 0], DropReason::GreReserved),
            (&[0x80, 0, 8, 0, 0x12, 0x34, 0, 0], DropReason::GreChecksum),
            (&[0, 0, 0x65, 0x58], DropReason::InnerProtocol),
            (&[0, 0, 0x88, 0x47], DropReason::InnerProtocol),
        ];
        for (bytes, reason) in cases {
            assert_eq!(strip_copy(bytes, None), Err(reason), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_wanted_key_must_be_there_and_right() {
        let keyed = [0x20, 0, 8, 0, 0, 0, 0, 42];
        assert!(strip_copy(&keyed, Some(42)).is_ok());
        assert!(strip_copy(&keyed, None).is_ok());
        assert_eq!(strip_copy(&keyed, Some(43)), Err(DropReason::GreKey));
        assert_eq!(strip_copy(&[0, 0, 8, 0], Some(42)), Err(DropReason::GreKey));
    }
}
