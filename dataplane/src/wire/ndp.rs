//! Neighbour discovery for IPv6 over Ethernet (RFC 4861): solicitations and advertisements.

use std::net::Ipv6Addr;

use super::{Error, Mac, checksum, ethernet, ipv6, protocol, put16, take};

/// Length of a solicitation or advertisement with one link-layer address option, in bytes.
pub const LEN: usize = 32;

/// Length of a whole frame with one such message, in bytes.
pub const FRAME_LEN: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + LEN;

/// Hop limit of every neighbour discovery packet: one that was routed has less (RFC 4861 §7.1).
pub const HOP_LIMIT: u8 = 255;

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;

/// Flags of an advertisement.
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// A neighbour discovery message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Who has `target`? `source_mac` is the asker's address if it told it.
    Solicitation {
        /// The address asked for.
        target: Ipv6Addr,
        /// Ethernet address of the asker.
        source_mac: Option<Mac>,
    },
    /// `target` is at `target_mac`.
    Advertisement {
        /// The address answered for.
        target: Ipv6Addr,
        /// Its Ethernet address.
        target_mac: Option<Mac>,
    },
}

/// Reads the ICMPv6 message `bytes`, which was sent with `addresses` (source and destination) and
/// `hop_limit`. `None`: ICMPv6, but neither solicitation nor advertisement.
///
/// Applies the validity checks of RFC 4861 §7.1, the checksum included.
pub fn parse(bytes: &[u8], addresses: &[u8; 32], hop_limit: u8) -> Result<Option<Message>, Error> {
    let kind = *bytes.first().ok_or(Error::Truncated)?;
    if !matches!(kind, SOLICITATION | ADVERTISEMENT) {
        return Ok(None);
    }
    if bytes.len() < 24 {
        return Err(Error::Truncated);
    }
    let sum = checksum::add(checksum::pseudo_header(addresses, protocol::ICMPV6, bytes.len()), bytes);
    let target = Ipv6Addr::from(take::<16>(bytes, 8));
    if hop_limit != HOP_LIMIT || bytes[1] != 0 || target.is_multicast() || checksum::fold(sum) != 0xffff {
        return Err(Error::Malformed);
    }
    Ok(Some(if kind == SOLICITATION {
        Message::Solicitation { target, source_mac: link_layer_option(&bytes[24..], SOURCE_LINK_LAYER)? }
    } else {
        Message::Advertisement { target, target_mac: link_layer_option(&bytes[24..], TARGET_LINK_LAYER)? }
    }))
}

/// The address in the option of type `wanted`, if there is one among `options`.
fn link_layer_option(mut options: &[u8], wanted: u8) -> Result<Option<Mac>, Error> {
    let mut found = None;
    while let [kind, units, ..] = *options {
        let len = usize::from(units) * 8;
        if len == 0 {
            return Err(Error::Malformed); // RFC 4861 §4.6: discard
        }
        let option = options.get(..len).ok_or(Error::Truncated)?;
        if kind == wanted {
            found = Some(Mac(take(option, 2)));
        }
        options = &options[len..];
    }
    if found.is_some_and(Mac::is_group) { Err(Error::Malformed) } else { Ok(found) }
}

/// The group that the owner of `address` listens to (RFC 4291 §2.7.1).
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

/// The whole multicast frame in which `source` asks who has `target`.
pub fn solicitation_frame(mac: Mac, source: Ipv6Addr, target: Ipv6Addr) -> [u8; FRAME_LEN] {
    let group = solicited_node(target);
    let to = Mac::for_ipv6_multicast(group);
    frame((mac, to), (source, group), [SOLICITATION, 0], target, (SOURCE_LINK_LAYER, mac))
}

/// The whole frame that answers a solicitation for `target` from `asker` (at `asker_mac`): `target` is
/// at `mac`. A solicitation from the unspecified address is answered to all nodes (RFC 4861 §7.2.4).
pub fn advertisement_frame(mac: Mac, target: Ipv6Addr, asker_mac: Mac, asker: Ipv6Addr) -> [u8; FRAME_LEN] {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let (to_mac, to, flags) = if asker.is_unspecified() {
        (Mac::for_ipv6_multicast(all_nodes), all_nodes, ROUTER | OVERRIDE)
    } else {
        (asker_mac, asker, ROUTER | SOLICITED | OVERRIDE)
    };
    frame((mac, to_mac), (target, to), [ADVERTISEMENT, flags], target, (TARGET_LINK_LAYER, mac))
}

fn frame(
    (from_mac, to_mac): (Mac, Mac),
    (from, to): (Ipv6Addr, Ipv6Addr),
    [kind, flags]: [u8; 2],
    target: Ipv6Addr,
    (option, option_mac): (u8, Mac),
) -> [u8; FRAME_LEN] {
    let mut frame = [0; FRAME_LEN];
    ethernet::emit(&mut frame, to_mac, from_mac, ethernet::ether_type::IPV6);
    let ip = &mut frame[ethernet::HEADER_LEN..];
    ip[0] = 0x60;
    put16(ip, ipv6::field::PAYLOAD_LEN, LEN as u16);
    ip[6] = protocol::ICMPV6;
    ip[7] = HOP_LIMIT;
    ip[8..24].copy_from_slice(&from.octets());
    ip[24..40].copy_from_slice(&to.octets());
    let addresses: [u8; 32] = take(ip, ipv6::field::SOURCE);
    let message = &mut ip[ipv6::HEADER_LEN..];
    message[0] = kind;
    message[4] = flags;
    message[8..24].copy_from_slice(&target.octets());
    message[24] = option;
    message[25] = 1;
    message[26..32].copy_from_slice(&option_mac.0);
    let sum = checksum::add(checksum::pseudo_header(&addresses, protocol::ICMPV6, LEN), message);
    put16(message, 2, !checksum::fold(sum));
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn parse_frame(frame: &[u8]) -> Result<Option<Message>, Error> {
        let ip = ipv6::Ipv6::parse(&frame[14..], frame.len() - 14).unwrap();
        parse(&frame[54..], &ip.addresses(), ip.hop_limit())
    }

    #[test]
    fn solicitation_is_understood_and_goes_to_the_solicited_node_group() {
        let frame = solicitation_frame(MAC, address("fe80::1"), address("2001:db8::12:3456"));
        assert_eq!(
            parse_frame(&frame),
            Ok(Some(Message::Solicitation { target: address("2001:db8::12:3456"), source_mac: Some(MAC) }))
        );
        let ip = ipv6::Ipv6::parse(&frame[14..], 72).unwrap();
        assert_eq!(ip.destination(), address("ff02::1:ff12:3456"));
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
    }

    #[test]
    fn advertisement_answers_the_asker_or_all_nodes() {
        let frame = advertisement_frame(MAC, address("2001:db8::1"), OTHER, address("2001:db8::2"));
        let advertisement = Message::Advertisement { target: address("2001:db8::1"), target_mac: Some(MAC) };
        assert_eq!(parse_frame(&frame), Ok(Some(advertisement)));
        assert_eq!(frame[..6], OTHER.0);
        assert_eq!(frame[58] & SOLICITED, SOLICITED);
        let probe = advertisement_frame(MAC, address("2001:db8::1"), OTHER, Ipv6Addr::UNSPECIFIED);
        assert_eq!(probe[..6], [0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(probe[58] & SOLICITED, 0);
    }

    #[test]
    fn routed_corrupt_and_malformed_messages_are_refused() {
        let frame = solicitation_frame(MAC, address("fe80::1"), address("fe80::2"));
        for (at, value) in [(21, 254), (55, 1), (80, 9), (79, 0)] {
            let mut wrong = frame;
            wrong[at] = value; // hop limit, code, a byte under the checksum, option length
            assert!(parse_frame(&wrong).is_err(), "byte {at}");
        }
        assert_eq!(parse(&[135; 23], &[0; 32], 255), Err(Error::Truncated));
        assert_eq!(parse(&[128; 8], &[0; 32], 64), Ok(None), "an echo request is not ours to read");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_the_slice(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&bytes, &[0; 32], HOP_LIMIT);
            let _ = link_layer_option(&bytes, SOURCE_LINK_LAYER);
        }
    }
}
