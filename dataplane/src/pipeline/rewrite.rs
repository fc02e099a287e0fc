//! The last change before a packet leaves: outer headers, or NAT.

use std::net::IpAddr;

use super::{
    parse::{Flow, L3, Part},
    verdict::{DropReason, Verdict},
};
use crate::{
    ports::{NoRoom, Packet},
    tables::{
        server::Link,
        template::{Inner, Template},
    },
    wire::{
        checksum::Delta,
        ethernet::{self, ether_type},
        ipv4, ipv6, protocol, put16, tcp, udp,
    },
};

/// Puts prepared headers in front of a packet that fits on its way with them: the caller has compared
/// [`Template::limit`].
pub fn tunnel<P: Packet>(packet: &mut P, inner: Inner, template: &Template) -> Verdict {
    match template.put(packet, inner) {
        Ok(()) => Verdict::Forward(template.port()),
        Err(NoRoom) => Verdict::Drop(DropReason::NoHeadroom),
    }
}

/// Which end of a packet is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The source: a reply that gets the VIP's address.
    Source,
    /// The destination: a packet that gets the server's address.
    Destination,
}

/// What a packet's end becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewEnd {
    /// Which end.
    pub end: End,
    /// Its new address.
    pub address: IpAddr,
    /// Its new port; `None` keeps it.
    pub port: Option<u16>,
    /// The packet's new DSCP; `None` keeps it. ECN is kept anyway.
    pub dscp: Option<u8>,
}

/// Rewrites address, port and DSCP, counts the TTL down and points the frame along `link`.
///
/// All checksums are updated incrementally (RFC 1624); a UDP checksum of zero stays zero (RFC 768).
#[inline(never)]
pub fn readdress<P: Packet>(packet: &mut P, flow: &Flow, new: &NewEnd, link: &Link) -> Verdict {
    if usize::from(flow.ip_len) > usize::from(link.mtu) {
        return Verdict::Drop(DropReason::TooBig);
    }
    if flow.ttl <= 1 {
        return Verdict::Drop(DropReason::TtlExpired);
    }
    let data = packet.data_mut();
    let tos = new.dscp.map_or(flow.tos, |dscp| dscp << 2 | flow.tos & 3);
    let addresses = match (new.address, flow.v6) {
        (IpAddr::V4(address), false) => {
            ethernet::emit(data, link.destination, link.source, ether_type::IPV4);
            let ip = &mut data[L3..];
            let field = if new.end == End::Source { ipv4::field::SOURCE } else { ipv4::field::DESTINATION };
            let addresses = replace(ip, field, &address.octets());
            let header = addresses
                .replace(&[flow.ttl, flow.protocol], &[flow.ttl - 1, flow.protocol])
                .replace(&[0, flow.tos], &[0, tos]);
            ip[ipv4::field::TTL] = flow.ttl - 1;
            ip[ipv4::field::TOS] = tos;
            update(ip, ipv4::field::CHECKSUM, header);
            addresses
        }
        (IpAddr::V6(address), true) => {
            ethernet::emit(data, link.destination, link.source, ether_type::IPV6);
            let ip = &mut data[L3..];
            let field = if new.end == End::Source { ipv6::field::SOURCE } else { ipv6::field::DESTINATION };
            ip[0] = 0x60 | tos >> 4;
            ip[1] = tos << 4 | ip[1] & 0xf;
            ip[ipv6::field::HOP_LIMIT] = flow.ttl - 1;
            replace(ip, field, &address.octets())
        }
        // A change of family is refused when the configuration is read.
        _ => return Verdict::Drop(DropReason::NoServer),
    };
    if let Part::Later(_) = flow.part {
        return Verdict::Forward(link.port); // the first fragment's checksum covers these addresses
    }
    let l4 = &mut data[usize::from(flow.l4)..];
    let checksum = match flow.protocol {
        protocol::TCP => tcp::CHECKSUM,
        protocol::UDP => udp::CHECKSUM,
        _ => return Verdict::Forward(link.port),
    };
    let delta = match new.port {
        Some(port) => {
            let at = if new.end == End::Source { 0 } else { 2 };
            let old = [l4[at], l4[at + 1]];
            put16(l4, at, port);
            addresses.replace(&old, &port.to_be_bytes())
        }
        None => addresses,
    };
    if checksum == tcp::CHECKSUM {
        update(l4, checksum, delta);
    } else if l4[checksum..checksum + 2] != [0, 0] {
        update(l4, checksum, delta);
        if l4[checksum..checksum + 2] == [0, 0] {
            put16(l4, checksum, 0xffff); // zero would say that there is none
        }
    }
    Verdict::Forward(link.port)
}

/// Writes `new` at `at`; returns the change for the checksums that cover it.
#[inline]
pub(super) fn replace<const N: usize>(bytes: &mut [u8], at: usize, new: &[u8; N]) -> Delta {
    let delta = Delta::default().replace(&bytes[at..at + N], new);
    bytes[at..at + N].copy_from_slice(new);
    delta
}

#[inline]
pub(super) fn update(bytes: &mut [u8], at: usize, delta: Delta) {
    let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    put16(bytes, at, delta.apply(old));
}
