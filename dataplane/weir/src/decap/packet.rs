//! From an outer datagram to a valid inner packet: pure functions over bytes, without allocation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dataplane::wire::checksum::Delta;

use super::{DropReason, gre, gue};

/// How the kernel hands over an outer datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outer {
    /// With its IPv4 header in front: what raw IPv4 sockets do.
    WithIpv4Header,
    /// Without any IP header, as raw IPv6 and all UDP sockets do; the traffic class comes beside it.
    Bare {
        /// The outer header's traffic class, of which the low two bits (ECN) matter.
        traffic_class: u8,
    },
}

/// What stands between the outer IP (and UDP) header and the inner packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// A GRE header.
    Gre,
    /// Nothing: the outer header's protocol number says what follows.
    Nothing(InnerFamily),
    /// A GUE header, or in its variant 1 nothing.
    Gue,
}

/// The family that the encapsulation announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InnerFamily {
    /// An IPv4 packet.
    Ipv4,
    /// An IPv6 packet.
    Ipv6,
}

/// What is accepted.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The only GRE key accepted; `None` for any.
    pub key: Option<u32>,
    /// Inner destinations accepted; empty for any.
    pub vips: Vec<IpAddr>,
}

/// Strips everything around the inner packet and checks what the kernel will rely on.
///
/// Returns the inner packet, cut to the length that its own header states, with the outer congestion mark
/// carried over.
pub fn decapsulate<'a>(
    rules: &Rules,
    header: Header,
    outer: Outer,
    datagram: &'a mut [u8],
) -> Result<&'a mut [u8], DropReason> {
    let (traffic_class, payload) = match outer {
        Outer::WithIpv4Header => strip_ipv4_header(datagram)?,
        Outer::Bare { traffic_class } => (traffic_class, datagram),
    };
    let (family, inner) = match header {
        Header::Gre => gre::strip(payload, rules.key)?,
        Header::Nothing(family) => (family, payload),
        Header::Gue => gue::strip(payload)?,
    };
    let inner = trim(family, inner)?;
    if !rules.vips.is_empty() && !rules.vips.contains(&destination(family, inner)) {
        return Err(DropReason::NotAVip);
    }
    carry_congestion(traffic_class, family, inner)?;
    Ok(inner)
}

/// Takes the outer IPv4 header off: its type-of-service byte and the payload, without trailing bytes.
fn strip_ipv4_header(datagram: &mut [u8]) -> Result<(u8, &mut [u8]), DropReason> {
    let (header, total) = ipv4_lengths(datagram).ok_or(DropReason::OuterHeader)?;
    Ok((datagram[1], &mut datagram[header..total]))
}

/// Cuts the inner packet to its stated length. After `Ok`, its fixed header is there and complete.
fn trim(family: InnerFamily, bytes: &mut [u8]) -> Result<&mut [u8], DropReason> {
    let version = bytes.first().ok_or(DropReason::InnerLength)? >> 4;
    let length = match (family, version) {
        (InnerFamily::Ipv4, 4) => ipv4_lengths(bytes).map(|(_, total)| total),
        (InnerFamily::Ipv6, 6) => ipv6_length(bytes),
        _ => return Err(DropReason::InnerVersion),
    };
    length.and_then(|length| bytes.get_mut(..length)).ok_or(DropReason::InnerLength)
}

/// Header and total length of an IPv4 packet, if both lie within `bytes`.
fn ipv4_lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    let first = *bytes.first()?;
    let header = usize::from(first & 0x0F) * 4;
    let total = usize::from(be16(bytes, 2)?);
    (first >> 4 == 4 && header >= 20 && header <= total && total <= bytes.len()).then_some((header, total))
}

/// Length of an IPv6 packet, if it lies within `bytes`. (Jumbograms state 0 and come out as a bare header.)
fn ipv6_length(bytes: &[u8]) -> Option<usize> {
    let total = 40 + usize::from(be16(bytes, 4)?);
    (total <= bytes.len()).then_some(total)
}

fn destination(family: InnerFamily, packet: &[u8]) -> IpAddr {
    let mut address = [0; 16];
    match family {
        InnerFamily::Ipv4 => {
            address[..4].copy_from_slice(&packet[16..20]);
            Ipv4Addr::new(address[0], address[1], address[2], address[3]).into()
        }
        InnerFamily::Ipv6 => {
            address.copy_from_slice(&packet[24..40]);
            Ipv6Addr::from(address).into()
        }
    }
}

/// The two ECN bits of RFC 3168.
const NOT_CAPABLE: u8 = 0b00;
const ECT_1: u8 = 0b01;
const ECT_0: u8 = 0b10;
const CONGESTED: u8 = 0b11;

/// The tunnel's end of RFC 6040 (table in section 4.2): a mark made on the way must reach the inner packet.
fn carry_congestion(traffic_class: u8, family: InnerFamily, packet: &mut [u8]) -> Result<(), DropReason> {
    let inner = match family {
        InnerFamily::Ipv4 => packet[1] & 0b11,
        InnerFamily::Ipv6 => packet[1] >> 4 & 0b11,
    };
    let result = match (inner, traffic_class & 0b11) {
        (NOT_CAPABLE, CONGESTED) => return Err(DropReason::EcnNotCapable),
        (ECT_0 | ECT_1, CONGESTED) => CONGESTED,
        (ECT_0, ECT_1) => ECT_1,
        (unchanged, _) => unchanged,
    };
    if result == inner {
        return Ok(());
    }
    match family {
        InnerFamily::Ipv4 => {
            let before = [packet[0], packet[1]];
            packet[1] = packet[1] & !0b11 | result;
            // Updated, not computed anew: a header that came with a wrong sum must not leave with a right one.
            let sum = Delta::default().replace(&before, &packet[..2]).apply(be16(packet, 10).unwrap_or(0));
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        InnerFamily::Ipv6 => packet[1] = packet[1] & !0b0011_0000 | result << 4,
    }
    Ok(())
}

/// The big-endian word at `offset`, if it is there.
pub fn be16(bytes: &[u8], offset: usize) -> Option<u16> {
    let word = bytes.get(offset..offset + 2)?;
    Some(u16::from_be_bytes([word[0], word[1]]))
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
