//! Plain packets: TCP or UDP directly behind IPv4 without options or behind IPv6, whole, for us. Nearly all are.

use super::parse::{Flow, L3, Part};
use crate::{
    ports::Packet,
    tables::{flow::State, hash::HashKey},
    wire::{Mac, be16, ipv4, ipv6, protocol, take, tcp, udp},
};

/// TCP's control bits that open or end a connection.
const CHANGING: u8 = tcp::Flags::SYN | tcp::Flags::FIN | tcp::Flags::RST;

/// Bytes of Ethernet, IP and TCP headers without options. Shorter datagrams are not plain.
const LEN_V4: usize = L3 + ipv4::HEADER_LEN + tcp::HEADER_LEN;
const LEN_V6: usize = L3 + ipv6::HEADER_LEN + tcp::HEADER_LEN;

/// Ethernet type, version and header length or traffic class as a little-endian word, and the bits of it that count.
const START_V4: u32 = 0x0045_0008;
const MASK_V4: u32 = 0x00ff_ffff;
const START_V6: u32 = 0x0060_dd86;
const MASK_V6: u32 = 0x00f0_ffff;

/// More fragments, or a place that is not the first, of a fragment word as it stands in the packet.
const FRAGMENT: u16 = u16::from_be(0x3fff);

/// What a packet is, as far as a quick look tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Not plain: [`parse`](super::parse::parse) has to say what it is.
    #[default]
    Other,
    /// Plain over IPv4.
    V4,
    /// Plain over IPv6.
    V6,
}

/// What the headers of a plain packet say. Whole words, so that nothing is read in wider pieces than it was written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plain {
    /// Source and destination address as they stand in the packet; IPv4 has both in the first word.
    pub addresses: [u64; 4],
    /// Ports, protocol, and the state of a flow that this packet changes nothing about ([`State::word`]).
    pub word: u64,
    /// The five-tuple hash.
    pub hash: u64,
    /// Length of the IP packet in bytes.
    pub ip_len: u16,
    /// DSCP and ECN.
    pub tos: u8,
    /// Whether it is plain; if not, the other fields mean nothing.
    pub kind: Kind,
}

impl Plain {
    /// The same as a closer look would tell it, but for TCP's control bits; `frame` is the packet's.
    pub fn flow(&self, frame: &[u8]) -> Flow {
        let v6 = self.kind == Kind::V6;
        let (header_len, ttl) = match v6 {
            false => (ipv4::HEADER_LEN, ipv4::field::TTL),
            true => (ipv6::HEADER_LEN, ipv6::field::HOP_LIMIT),
        };
        Flow {
            addresses: self.addresses,
            ports: self.word as u32,
            protocol: (self.word >> 32) as u8,
            v6,
            tos: self.tos,
            ttl: frame[L3 + ttl],
            l4: (L3 + header_len) as u16,
            ip_len: self.ip_len,
            tcp: None,
            part: Part::Whole,
        }
    }
}

/// A port as plain packets are read on it.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// Its Ethernet address as the first six bytes of a little-endian word.
    mac: u64,
    hash_key: HashKey,
}

impl Reader {
    /// For packets that were received on a port with the address `mac`.
    pub fn new(Mac(mac): Mac, hash_key: HashKey) -> Self {
        let mut word = [0; 8];
        word[2..].copy_from_slice(&mac);
        Self { mac: u64::from_le_bytes(word), hash_key }
    }

    /// Reads a packet if it is plain, and says so in `plain.kind`.
    #[inline(always)]
    pub fn read<P: Packet>(&self, packet: &P, plain: &mut Plain) {
        plain.kind = Kind::Other;
        let Some(frame) = packet.data().first_chunk::<LEN_V4>() else { return };
        let for_us = u64::from_le_bytes(take(frame, 0)) << 16 == self.mac;
        let start = u32::from_le_bytes(take(frame, 12));
        if !for_us || packet.has_bad_checksum() {
            return;
        }
        if start & MASK_V4 == START_V4 {
            self.read_v4(frame, packet.len(), plain);
        } else if start & MASK_V6 == START_V6
            && let Some(frame) = packet.data().first_chunk::<LEN_V6>()
        {
            self.read_v6(frame, packet.len(), plain);
        }
    }

    #[inline(always)]
    fn read_v4(&self, frame: &[u8; LEN_V4], len: usize, plain: &mut Plain) {
        const L4: usize = L3 + ipv4::HEADER_LEN;
        let protocol = frame[L3 + ipv4::field::PROTOCOL];
        let ip_len = be16(frame, L3 + ipv4::field::TOTAL_LEN);
        let fragment = u16::from_ne_bytes(take(frame, L3 + ipv4::field::FRAGMENT)) & FRAGMENT;
        let whole = usize::from(ip_len) >= LEN_V4 - L3 && usize::from(ip_len) + L3 <= len;
        if fragment != 0 || !whole {
            return;
        }
        let Some(state) = state(protocol, frame, L4) else { return };
        let key = u64::from(u32::from_le_bytes(take(frame, L4))) | u64::from(protocol) << 32;
        plain.addresses[0] = u64::from_le_bytes(take(frame, L3 + ipv4::field::SOURCE));
        plain.word = key | state;
        plain.hash = self.hash_key.v4(plain.addresses[0], key);
        plain.ip_len = ip_len;
        plain.tos = frame[L3 + ipv4::field::TOS];
        plain.kind = Kind::V4;
    }

    #[inline(always)]
    fn read_v6(&self, frame: &[u8; LEN_V6], len: usize, plain: &mut Plain) {
        const L4: usize = L3 + ipv6::HEADER_LEN;
        let protocol = frame[L3 + ipv6::field::NEXT_HEADER];
        let ip_len = ipv6::HEADER_LEN + usize::from(be16(frame, L3 + ipv6::field::PAYLOAD_LEN));
        if ip_len < LEN_V6 - L3 || ip_len + L3 > len || ip_len > usize::from(u16::MAX) {
            return;
        }
        let Some(state) = state(protocol, frame, L4) else { return };
        let key = u64::from(u32::from_le_bytes(take(frame, L4))) | u64::from(protocol) << 32;
        for (at, word) in (L3 + ipv6::field::SOURCE..).step_by(8).zip(&mut plain.addresses) {
            *word = u64::from_le_bytes(take(frame, at));
        }
        plain.word = key | state;
        plain.hash = self.hash_key.v6(plain.addresses, key);
        plain.ip_len = ip_len as u16;
        plain.tos = (be16(frame, L3) >> 4) as u8;
        plain.kind = Kind::V6;
    }
}

/// The state of a flow that a packet with this upper layer changes nothing about, as part of a word; `None`: it is
/// neither TCP nor UDP, or wrong.
#[inline(always)]
fn state<const LEN: usize>(protocol: u8, frame: &[u8; LEN], l4: usize) -> Option<u64> {
    /// No flow is in this state: the packet opens or ends one.
    const NONE: u64 = 0xff << 40;
    match protocol {
        protocol::TCP if frame[l4 + 12] >= 0x50 => {
            Some(if frame[l4 + 13] & CHANGING == 0 { State::Established.word(0) } else { NONE })
        }
        protocol::UDP if usize::from(be16(frame, l4 + 4)) >= udp::HEADER_LEN => Some(State::Datagram.word(0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        pipeline::parse::{Key, Parsed, parse},
        ports::{RxChecksum, memory::MemoryPacket},
    };

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn read(packet: &MemoryPacket, mac: Mac) -> Plain {
        let mut plain = Plain::default();
        Reader::new(mac, HashKey::default()).read(packet, &mut plain);
        plain
    }

    /// A TCP or UDP packet that is plain.
    fn plain_frame(kind: Kind, protocol: u8, payload: usize) -> Vec<u8> {
        let (len, l4) = match kind {
            Kind::V4 => (LEN_V4, L3 + ipv4::HEADER_LEN),
            _ => (LEN_V6, L3 + ipv6::HEADER_LEN),
        };
        let mut frame = vec![0; len + payload];
        frame[..6].copy_from_slice(&MAC.0);
        if kind == Kind::V4 {
            frame[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
            frame[16..18].copy_from_slice(&((len - L3 + payload) as u16).to_be_bytes());
            (frame[22], frame[23]) = (64, protocol);
            frame[26..34].copy_from_slice(&[198, 51, 100, 7, 203, 0, 113, 10]);
        } else {
            frame[12..16].copy_from_slice(&[0x86, 0xdd, 0x6b, 0x90]);
            frame[18..20].copy_from_slice(&((len - l4 + payload) as u16).to_be_bytes());
            (frame[20], frame[21]) = (protocol, 64);
            (frame[22..38]).copy_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
            (frame[38..54]).copy_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10]);
        }
        frame[l4..l4 + 4].copy_from_slice(&[0x9c, 0x40, 0, 80]);
        frame[l4 + 12] = 0x50;
        frame[l4 + 4..l4 + 6].copy_from_slice(if protocol == protocol::UDP { &[0, 20] } else { &[0, 0] });
        frame
    }

    proptest! {
        #[test]
        fn plain_packets_are_read_as_a_closer_look_would(
            v6 in any::<bool>(),
            tcp in any::<bool>(),
            payload in 0usize..40,
            changes in prop::collection::vec((0usize..LEN_V6, any::<u8>()), 0..4),
            cut in 0usize..100,
        ) {
            let kind = if v6 { Kind::V6 } else { Kind::V4 };
            let mut frame = plain_frame(kind, if tcp { protocol::TCP } else { protocol::UDP }, payload);
            for (at, byte) in changes {
                if let Some(changed) = frame.get_mut(at) {
                    *changed = byte;
                }
            }
            frame.truncate(frame.len().saturating_sub(cut.saturating_sub(60)));
            let packet = MemoryPacket::new(&frame);
            let plain = read(&packet, MAC);
            if plain.kind != Kind::Other {
                let mut flow = Flow::default();
                prop_assert_eq!(parse(&packet, MAC, &mut flow), Ok(Parsed::Flow));
                let (key_word, hash, expected) = match flow.key() {
                    Key::V4(key) => (key.word(), key.hash(HashKey::default()), Kind::V4),
                    Key::V6(key) => (key.word(), key.hash(HashKey::default()), Kind::V6),
                };
                prop_assert_eq!((plain.kind, plain.hash), (expected, hash));
                prop_assert_eq!((plain.ip_len, plain.tos), (flow.ip_len, flow.tos));
                let state = match flow.tcp {
                    None => State::Datagram.word(0),
                    Some(tcp::Flags(bits)) if bits & 7 == 0 => State::Established.word(0),
                    Some(_) => 0xff << 40,
                };
                prop_assert_eq!(plain.word, key_word | state);
                let mut addresses = flow.addresses;
                if kind == Kind::V4 {
                    addresses[1..].copy_from_slice(&plain.addresses[1..]);
                }
                prop_assert_eq!(plain.flow(&frame), Flow { tcp: None, addresses, ..flow });
            }
        }
    }

    #[test]
    fn usual_packets_are_plain() {
        for kind in [Kind::V4, Kind::V6] {
            for protocol in [protocol::TCP, protocol::UDP] {
                let packet = MemoryPacket::new(&plain_frame(kind, protocol, 6));
                assert_eq!(read(&packet, MAC).kind, kind);
                assert_eq!(read(&packet, Mac([2, 0, 0, 0, 0, 9])).kind, Kind::Other);
                assert_eq!(read(&packet.with_rx_checksum(RxChecksum::Bad), MAC).kind, Kind::Other);
            }
        }
    }
}
