//! ICMP: echo answered, and errors of our own.

use super::{
    parse::{Flow, L3},
    verdict::Verdict,
};
use crate::{
    ports::Packet,
    time::Tick,
    wire::{
        Mac, checksum,
        ethernet::{self, ether_type},
        icmp::{self, CHECKSUM, HEADER_LEN, Types},
        ipv4, ipv6, protocol, put16, take,
    },
};

/// Most errors that one lcore sends in a second, and most that it asks other workers about.
const ERRORS_PER_SECOND: u32 = 1000;

/// Most bytes of our error messages, IP header included: every host takes as much (RFC 1812 §4.3.2.3,
/// RFC 4443 §2.4).
const MAX_ERROR_V4: usize = 576;
const MAX_ERROR_V6: usize = 1280;

/// TTL and hop limit of our own messages.
const TTL: u8 = 64;

/// How many errors may be dealt with still: a bucket that fills up once a second.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    left: u32,
    filled: Option<Tick>,
}

impl Allowance {
    /// All of a second's.
    pub const fn new() -> Self {
        Self { left: 0, filled: None }
    }

    /// Takes one; `false`: there is none left.
    pub fn take(&mut self, now: Tick) -> bool {
        let second = 1_000_000_000 >> 16;
        if self.filled.is_none_or(|filled| now.since(filled) >= second) {
            *self = Self { left: ERRORS_PER_SECOND, filled: Some(now) };
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

pub(super) const fn types(flow: &Flow) -> &'static Types {
    if flow.v6 { &icmp::V6 } else { &icmp::V4 }
}

/// The checksum over the ICMP message that starts at `l4` of a frame, computed as if its field were zero.
pub(super) fn message_checksum(data: &[u8], l4: usize, v6: bool) -> u16 {
    let message = &data[l4..];
    let pseudo = if v6 {
        let addresses: [u8; 32] = take(data, L3 + ipv6::field::SOURCE);
        checksum::pseudo_header(&addresses, protocol::ICMPV6, message.len())
    } else {
        0
    };
    let sum = checksum::add(checksum::add(pseudo, &message[..CHECKSUM]), &message[CHECKSUM + 2..]);
    !checksum::fold(sum)
}

/// Exchanges both Ethernet and both IP addresses; the TTL starts anew.
fn turn_round(data: &mut [u8], mac: Mac, v6: bool) {
    let sender = Mac(take(data, 6));
    let ether_type = if v6 { ether_type::IPV6 } else { ether_type::IPV4 };
    ethernet::emit(data, sender, mac, ether_type);
    let ip = &mut data[L3..];
    if v6 {
        let source: [u8; 16] = take(ip, ipv6::field::SOURCE);
        ip.copy_within(ipv6::field::DESTINATION..ipv6::HEADER_LEN, ipv6::field::SOURCE);
        ip[ipv6::field::DESTINATION..ipv6::HEADER_LEN].copy_from_slice(&source);
        ip[ipv6::field::HOP_LIMIT] = TTL;
    } else {
        let source: [u8; 4] = take(ip, ipv4::field::SOURCE);
        ip.copy_within(ipv4::field::DESTINATION..ipv4::HEADER_LEN, ipv4::field::SOURCE);
        ip[ipv4::field::DESTINATION..ipv4::HEADER_LEN].copy_from_slice(&source);
        ip[ipv4::field::TTL] = TTL;
        finish_ipv4(ip);
    }
}

/// Computes the header checksum of an IPv4 header, options included.
fn finish_ipv4(ip: &mut [u8]) {
    put16(ip, ipv4::field::CHECKSUM, 0);
    let header_len = usize::from(ip[0] & 0xf) * 4;
    let sum = checksum::of(&ip[..header_len]);
    put16(ip, ipv4::field::CHECKSUM, sum);
}

/// Answers an echo request in place; `None`: it is none. The caller has made sure that it is for us.
pub fn echo<P: Packet>(packet: &mut P, flow: &Flow, mac: Mac) -> Option<Verdict> {
    let v6 = flow.v6;
    packet.truncate(L3 + usize::from(flow.ip_len));
    let l4 = usize::from(flow.l4);
    let data = packet.data_mut();
    let (&kind, types) = (data.get(l4)?, types(flow));
    if kind != types.echo_request || data.len() < l4 + HEADER_LEN {
        return None;
    }
    turn_round(data, mac, v6);
    // The type is the high byte of the first word; nothing else under the checksum changes.
    let delta = checksum::Delta::default().replace(&[types.echo_request, 0], &[types.echo_reply, 0]);
    data[l4] = types.echo_reply;
    let old = u16::from_be_bytes([data[l4 + CHECKSUM], data[l4 + CHECKSUM + 1]]);
    put16(data, l4 + CHECKSUM, delta.apply(old));
    Some(Verdict::Reply)
}

/// Sends a later fragment of an echo request back, as a fragment of the reply. The caller has made sure that it is one.
pub fn echo_rest<P: Packet>(packet: &mut P, flow: &Flow, mac: Mac) -> Verdict {
    packet.truncate(L3 + usize::from(flow.ip_len));
    turn_round(packet.data_mut(), mac, flow.v6);
    Verdict::Reply
}

/// Which error we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// The packet does not fit; the largest IP packet that would, in bytes.
    TooBig(u16),
    /// The TTL or hop limit ran out.
    TimeExceeded,
}

/// Turns a packet into the error about it, from its destination to its source; `None`: not possible or not allowed
/// (IPv4 without DF for "too big", more than [`ERRORS_PER_SECOND`]).
pub fn complain<P: Packet>(
    packet: &mut P,
    flow: &Flow,
    complaint: Complaint,
    mac: Mac,
    allowance: &mut Allowance,
    now: Tick,
) -> Option<Verdict> {
    let v6 = flow.v6;
    let dont_fragment = v6 || packet.data().get(L3 + 6)? & 0x40 != 0;
    if matches!(complaint, Complaint::TooBig(_)) && !dont_fragment || !allowance.take(now) {
        return None;
    }
    let header_len = if v6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
    let most = if v6 { MAX_ERROR_V6 } else { MAX_ERROR_V4 };
    let quoted = usize::from(flow.ip_len).min(most - header_len - HEADER_LEN);
    packet.truncate(L3 + quoted);
    if packet.data().len() != L3 + quoted {
        return None; // several segments: nothing that is worth an error
    }
    packet.prepend(header_len + HEADER_LEN).ok()?;
    let data = packet.data_mut();
    let original = L3 + header_len + HEADER_LEN;
    data.copy_within(header_len + HEADER_LEN..original, 0); // the Ethernet header
    let l4 = L3 + header_len;
    let (kind, code) = match complaint {
        Complaint::TooBig(_) => types(flow).too_big,
        Complaint::TimeExceeded => types(flow).time_exceeded,
    };
    data[l4..l4 + HEADER_LEN].fill(0);
    data[l4] = kind;
    data[l4 + 1] = code;
    if let Complaint::TooBig(mtu) = complaint {
        put16(data, l4 + 6, mtu); // RFC 1191: the low half; RFC 4443: of a 32-bit field
    }
    // The header of the error is the original's, whose addresses are then exchanged.
    let payload_len = HEADER_LEN + quoted;
    if v6 {
        data.copy_within(original..original + ipv6::HEADER_LEN, L3);
        let ip = &mut data[L3..];
        ip[..4].copy_from_slice(&[0x60, 0, 0, 0]);
        put16(ip, ipv6::field::PAYLOAD_LEN, payload_len as u16);
        ip[ipv6::field::NEXT_HEADER] = protocol::ICMPV6;
    } else {
        data.copy_within(original..original + ipv4::HEADER_LEN, L3);
        let ip = &mut data[L3..];
        ip[..2].copy_from_slice(&[0x45, 0]);
        put16(ip, ipv4::field::TOTAL_LEN, (ipv4::HEADER_LEN + payload_len) as u16);
        ip[4..8].fill(0);
        ip[ipv4::field::PROTOCOL] = protocol::ICMP;
    }
    turn_round(data, mac, v6);
    let sum = message_checksum(data, l4, v6);
    put16(data, l4 + CHECKSUM, sum);
    Some(Verdict::Reply)
}
