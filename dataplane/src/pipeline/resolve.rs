//! Address resolution on the packet path: answers for our addresses, and news for the control thread.

use std::net::IpAddr;

use ipc::id::PortId;

use super::{
    Notice,
    parse::L3,
    verdict::{DropReason, Verdict},
};
use crate::{
    ports::Packet,
    tables::{Tables, route::NextHop},
    wire::{
        Error, Mac,
        arp::{self, Arp, Operation},
        ethernet::{self, ether_type},
        ipv6::Ipv6,
        ndp::{self, Message},
    },
};

/// What address resolution makes of a packet: its verdict, and what the control thread should know.
pub type Outcome = (Verdict, Option<Notice>);

const NOT_OURS: Outcome = (Verdict::Drop(DropReason::OtherNeighbor), None);

/// Answers an ARP request for one of our addresses in place; a reply goes to the control thread.
pub fn arp<P: Packet>(packet: &mut P, port: PortId, tables: &Tables) -> Outcome {
    let arp = match Arp::parse(&packet.data()[L3..]) {
        Ok(arp) => arp,
        Err(error) => return (Verdict::Drop(error.into()), None),
    };
    let address = IpAddr::V4(arp.sender);
    // RFC 826: the target of a packet learns its sender. A probe (RFC 5227) has no sender address.
    let seen = (!arp.sender.is_unspecified()).then_some(Notice::Seen { port, address, mac: arp.sender_mac });
    if !tables.answers_for(port, IpAddr::V4(arp.target)) {
        // And whoever knows the sender already takes note of its new address (the merge flag).
        let known = tables.neighbors.get(NextHop { port, address });
        return match known {
            Some(mac) if mac != arp.sender_mac => (Verdict::Punt, seen),
            _ => NOT_OURS,
        };
    }
    if arp.operation == Operation::Reply {
        return (Verdict::Punt, seen);
    }
    let mac = tables.ports[port.index()].mac;
    packet.truncate(L3 + arp::LEN);
    let data = packet.data_mut();
    ethernet::emit(data, arp.sender_mac, mac, ether_type::ARP);
    arp.reply(mac).emit(&mut data[L3..]);
    (Verdict::Reply, seen)
}

/// Answers a neighbour solicitation for one of our addresses; an advertisement goes to the control thread.
pub fn ndp<P: Packet>(packet: &mut P, port: PortId, tables: &Tables) -> Outcome {
    let message = match message(packet.data()) {
        Ok(message) => message,
        Err(error) => return (Verdict::Drop(error.into()), None),
    };
    let seen =
        |address, mac: Option<Mac>| mac.map(|mac| Notice::Seen { port, address: IpAddr::V6(address), mac });
    match message {
        Message::Advertisement { target, target_mac } => (Verdict::Punt, seen(target, target_mac)),
        Message::Solicitation { target, .. } if !tables.answers_for(port, IpAddr::V6(target)) => NOT_OURS,
        Message::Solicitation { target, source_mac } => {
            let data = packet.data();
            let asker_mac = Mac(crate::wire::take(data, 6));
            let asker = match Ipv6::parse(&data[L3..], data.len() - L3) {
                Ok(ip) => ip.source(),
                Err(error) => return (Verdict::Drop(error.into()), None),
            };
            let mac = tables.ports[port.index()].mac;
            let answer = ndp::advertisement_frame(mac, target, source_mac.unwrap_or(asker_mac), asker);
            packet.truncate(ndp::FRAME_LEN);
            let missing = ndp::FRAME_LEN.saturating_sub(packet.data().len());
            if packet.append(missing).is_err() || packet.data().len() != ndp::FRAME_LEN {
                return (Verdict::Drop(DropReason::NoHeadroom), None);
            }
            packet.data_mut().copy_from_slice(&answer);
            // An unspecified asker tests its own address (RFC 4862): not a neighbour yet.
            (Verdict::Reply, seen(asker, source_mac).filter(|_| !asker.is_unspecified()))
        }
    }
}

/// The neighbour discovery message in a frame, which [`parse`](super::parse) found to be one.
fn message(frame: &[u8]) -> Result<Message, Error> {
    let ip = Ipv6::parse(&frame[L3..], frame.len() - L3)?;
    let payload = ip.payload()?;
    let upper = &frame[L3 + payload.offset..(L3 + ip.total_len()).min(frame.len())];
    ndp::parse(upper, &ip.addresses(), ip.hop_limit())?.ok_or(Error::Malformed)
}
