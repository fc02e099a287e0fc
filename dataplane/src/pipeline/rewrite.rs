//! The last change before a packet leaves: outer headers, or NAT.

use std::net::IpAddr;

use super::{
    parse::{Flow, Key, L3},
    verdict::{DropReason, Verdict},
};
use crate::{
    ports::Packet,
    tables::server::{Inner, Link, Server},
    wire::{
        checksum::Delta,
        ethernet::{self, ether_type},
        ipv4, ipv6, protocol, put16, tcp, udp,
    },
};

/// Puts the server's prepared headers in front of the packet.
#[inline]
pub fn tunnel<P: Packet>(packet: &mut P, flow: &Flow, hash: u64, server: &Server, link: &Link) -> Verdict {
    let inner_len = usize::from(flow.ip_len);
    let header_len = server.template.len();
    if header_len - L3 + inner_len > usize::from(link.mtu) {
        return Verdict::Drop(DropReason::TooBig);
    }
    packet.truncate(L3 + inner_len); // Ethernet padding would become payload of the tunnel
    if packet.prepend(header_len - L3).is_err() {
        return Verdict::Drop(DropReason::NoHeadroom);
    }
    let v6 = matches!(flow.key, Key::V6(_));
    let inner = Inner { v6, len: inner_len, tos: flow.tos, entropy: hash as u32 };
    server.template.write(packet.data_mut(), &inner);
    Verdict::Forward(link.port)
}

/// Which end of a packet NAT rewrites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The source: a reply that gets the VIP's address.
    Source,
    /// The destination: a packet that gets the server's address.
    Destination,
}

/// Rewrites address and port of one end, counts the TTL down and points the frame along `link`.
///
/// All checksums are updated incrementally (RFC 1624); a UDP checksum of zero stays zero (RFC 768).
#[inline]
pub fn nat<P: Packet>(
    packet: &mut P,
    flow: &Flow,
    end: End,
    (address, port): (IpAddr, Option<u16>),
    link: &Link,
) -> Verdict {
    if usize::from(flow.ip_len) > usize::from(link.mtu) {
        return Verdict::Drop(DropReason::TooBig);
    }
    if flow.ttl <= 1 {
        return Verdict::Drop(DropReason::TtlExpired);
    }
    let data = packet.data_mut();
    let delta = match (address, flow.key) {
        (IpAddr::V4(new), Key::V4(_)) => {
            ethernet::emit(data, link.destination, link.source, ether_type::IPV4);
            let ip = &mut data[L3..];
            let field = if end == End::Source { ipv4::field::SOURCE } else { ipv4::field::DESTINATION };
            let addresses = replace(ip, field, &new.octets());
            let ttl = [flow.ttl, flow.protocol()];
            let header = addresses.replace(&ttl, &[flow.ttl - 1, flow.protocol()]);
            ip[ipv4::field::TTL] = flow.ttl - 1;
            update(ip, ipv4::field::CHECKSUM, header);
            addresses
        }
        (IpAddr::V6(new), Key::V6(_)) => {
            ethernet::emit(data, link.destination, link.source, ether_type::IPV6);
            let ip = &mut data[L3..];
            let field = if end == End::Source { ipv6::field::SOURCE } else { ipv6::field::DESTINATION };
            ip[7] = flow.ttl - 1;
            replace(ip, field, &new.octets())
        }
        // NAT between families is refused when the configuration is read.
        _ => return Verdict::Drop(DropReason::NoServer),
    };
    let l4 = &mut data[usize::from(flow.l4)..];
    let checksum = match flow.protocol() {
        protocol::TCP => tcp::CHECKSUM,
        protocol::UDP => udp::CHECKSUM,
        _ => return Verdict::Forward(link.port),
    };
    let delta = match port {
        Some(port) => {
            let at = if end == End::Source { 0 } else { 2 };
            let old = [l4[at], l4[at + 1]];
            put16(l4, at, port);
            delta.replace(&old, &port.to_be_bytes())
        }
        None => delta,
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
fn replace<const N: usize>(bytes: &mut [u8], at: usize, new: &[u8; N]) -> Delta {
    let delta = Delta::default().replace(&bytes[at..at + N], new);
    bytes[at..at + N].copy_from_slice(new);
    delta
}

#[inline]
fn update(bytes: &mut [u8], at: usize, delta: Delta) {
    let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    put16(bytes, at, delta.apply(old));
}
