//! The GUE header: draft-ietf-intarea-gue, variants 0 and 1.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 0|C|  Hlen   |  Proto/ctype  |             Flags             |   variant 0
//!  Fields, as the flags say, and private data: Hlen words of 4 bytes
//!
//!  0 1 0 0 …   an IPv4 packet                                         variant 1
//!  0 1 1 0 …   an IPv6 packet
//! ```

use super::DropReason;
use super::packet::{InnerFamily, be16};

const CONTROL: u8 = 0x20;
const HLEN: u8 = 0x1F;

/// The protocol numbers of packets inside.
const IPV4: u8 = 4;
const IPV6: u8 = 41;

/// Takes the GUE header off: which family follows, and the bytes that follow.
///
/// Private data is skipped, although the draft would have a receiver know it: some balancers put the next
/// servers to try there, and a server that hands nothing on may ignore them. A flag, though, announces a field
/// that can change what the packet means (a fragment, a transformed payload): such packets are refused.
pub fn strip(datagram: &mut [u8]) -> Result<(InnerFamily, &mut [u8]), DropReason> {
    let first = *datagram.first().ok_or(DropReason::GueShort)?;
    match first >> 4 {
        0b0000..=0b0011 => {}
        4 => return Ok((InnerFamily::Ipv4, datagram)),
        6 => return Ok((InnerFamily::Ipv6, datagram)),
        _ => return Err(DropReason::GueVersion),
    }
    let protocol = *datagram.get(1).ok_or(DropReason::GueShort)?;
    let flags = be16(datagram, 2).ok_or(DropReason::GueShort)?;
    if first & CONTROL != 0 {
        return Err(DropReason::GueControl);
    }
    if flags != 0 {
        return Err(DropReason::GueFlags);
    }
    let family = match protocol {
        IPV4 => InnerFamily::Ipv4,
        IPV6 => InnerFamily::Ipv6,
        _ => return Err(DropReason::InnerProtocol),
    };
    let length = 4 + usize::from(first & HLEN) * 4;
    let inner = datagram.get_mut(length..).ok_or(DropReason::GueShort)?;
    Ok((family, inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip_copy(bytes: &[u8]) -> Result<(InnerFamily, Vec<u8>), DropReason> {
        let mut datagram = bytes.to_vec();
        strip(&mut datagram).map(|(family, rest)| (family, rest.to_vec()))
    }

    #[test]
    fn variant_0_is_four_bytes_and_the_words_it_states() {
        assert_eq!(strip_copy(&[0, 4, 0, 0, 0xAA]), Ok((InnerFamily::Ipv4, vec![0xAA])));
        assert_eq!(strip_copy(&[0, 41, 0, 0]), Ok((InnerFamily::Ipv6, vec![])));
        assert_eq!(strip_copy(&[1, 4, 0, 0, 1, 2, 3, 4, 0xAA]), Ok((InnerFamily::Ipv4, vec![0xAA])));
        let longest = [&[31, 41, 0, 0][..], &[7; 124], &[0xAA]].concat();
        assert_eq!(strip_copy(&longest), Ok((InnerFamily::Ipv6, vec![0xAA])));
    }

    #[test]
    fn variant_1_is_told_by_the_first_nibble() {
        assert_eq!(strip_copy(&[0x45]), Ok((InnerFamily::Ipv4, vec![0x45])));
        assert_eq!(strip_copy(&[0x60, 1]), Ok((InnerFamily::Ipv6, vec![0x60, 1])));
    }

    #[test]
    fn each_fault_has_its_name() {
        let cases: [(&[u8], DropReason); 14] = [
            (&[], DropReason::GueShort),
            (&[0], DropReason::GueShort),
            (&[0, 4, 0], DropReason::GueShort),
            (&[1, 4, 0, 0, 1, 2, 3], DropReason::GueShort),
            (&[0x50, 0, 0, 0], DropReason::GueVersion),
            (&[0x70, 0, 0, 0], DropReason::GueVersion),
            (&[0x80, 4, 0, 0], DropReason::GueVersion),
            (&[0xC0, 4, 0, 0], DropReason::GueVersion),
            (&[0x20, 4, 0, 0], DropReason::GueControl),
            (&[0x3F, 1, 0, 0], DropReason::GueControl),
            (&[0, 4, 0x80, 0], DropReason::GueFlags),
            (&[0, 4, 0, 1], DropReason::GueFlags),
            (&[0, 47, 0, 0], DropReason::InnerProtocol),
            (&[0, 59, 0, 0], DropReason::InnerProtocol),
        ];
        for (bytes, reason) in cases {
            assert_eq!(strip_copy(bytes), Err(reason), "{bytes:02x?}");
        }
    }
}
