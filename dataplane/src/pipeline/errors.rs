//! ICMP errors about packets that passed us, led to whoever has sent those: server or client.
//!
//! An error quotes the packet that caused it. A server's packet has a VIP as its source, so the error comes to the
//! VIP and goes on to the server of the flow. A client's packet can be met by an error that comes to us only under
//! NAT, where we are on the servers' way back; it goes on to the client, who knows nothing but the VIP.

use std::net::IpAddr;

use ipc::id::{LcoreId, ServerId};

use super::{
    icmp,
    parse::{Flow, Key, L3},
    peers::{Owner, Peers},
    rewrite::{self, End, NewEnd},
    single::Desk,
    verdict::{DropReason, Verdict},
};
use crate::{
    ports::Packet,
    tables::{
        Tables,
        encap::Encap,
        flow::{Addresses, FlowKey, FlowTable},
        server::Hop,
    },
    time::Tick,
    wire::{
        icmp::{self as message, CHECKSUM, HEADER_LEN},
        ipv4, ipv6, protocol, put16, tcp, udp,
    },
};

/// The packet that an error is about, as far as it is quoted.
#[derive(Clone, Copy, Debug)]
struct Quote {
    /// Where its IP header starts in the frame.
    at: usize,
    /// Where its upper layer starts, from there.
    l4: usize,
    /// Its protocol.
    protocol: u8,
}

/// Who has sent the quoted packet.
#[derive(Clone, Copy, Debug)]
enum Sender {
    /// This server, to a client whose packets have this hash.
    Server(u64, ServerId),
    /// A client, to this VIP's address and port.
    Client(IpAddr, u16),
    /// This worker may know.
    Elsewhere(LcoreId),
}

impl Desk<'_> {
    /// Sends an error on to the one whose packet it is about. `None`: not an error about a flow of ours.
    pub fn forward_error<P: Packet>(&mut self, packet: &mut P, flow: &Flow) -> Option<Verdict> {
        let (tables, peers, now) = (self.tables, &mut *self.peers, self.now);
        let (quote, sender) = match flow.key() {
            Key::V4(_) => sender(packet.data(), flow, &self.flows.v4, tables, peers, now.tick())?,
            Key::V6(_) => sender(packet.data(), flow, &self.flows.v6, tables, peers, now.tick())?,
        };
        match sender {
            Sender::Elsewhere(worker) => Some(Verdict::HandOver(worker)),
            Sender::Server(hash, server) => self.error_to_server(packet, flow, &quote, hash, server),
            Sender::Client(vip, port) => Some(self.error_to_client(packet, flow, &quote, vip, port)),
        }
    }

    fn error_to_server<P: Packet>(
        &mut self,
        packet: &mut P,
        flow: &Flow,
        quote: &Quote,
        hash: u64,
        id: ServerId,
    ) -> Option<Verdict> {
        let server = self.tables.server(id)?;
        let link = match &server.hop {
            Hop::Link(link) => link,
            hop => return Some(self.no_link(*hop)),
        };
        if server.encap.is_tunnel() {
            let (template, inner) = (self.tables.template(id), flow.inner(hash));
            let fits = inner.len < template.limit();
            return Some(if fits {
                rewrite::tunnel(packet, inner, template)
            } else {
                Verdict::Drop(DropReason::TooBig)
            });
        }
        let mut dscp = None;
        match server.encap {
            Encap::Nat => {
                let new = NewEnd { end: End::Source, address: server.address, port: server.port, dscp: None };
                requote(packet.data_mut(), flow, quote, &new);
            }
            Encap::L3dsr { dscp: mark } => dscp = Some(mark),
            _ => {}
        }
        let new = NewEnd { end: End::Destination, address: server.address, port: None, dscp };
        let verdict = rewrite::readdress(packet, flow, &new, link);
        finish(packet, flow);
        Some(verdict)
    }

    /// Under NAT what the error quotes becomes what the client has sent.
    ///
    /// It comes from the VIP then, as an error through the kernel's NAT does: routers behind us may have addresses
    /// that mean nothing on the client's side.
    fn error_to_client<P: Packet>(
        &mut self,
        packet: &mut P,
        flow: &Flow,
        quote: &Quote,
        vip: IpAddr,
        port: u16,
    ) -> Verdict {
        let link = match self.tables.hop(flow.destination()) {
            Hop::Link(link) => link,
            hop => return self.no_link(hop),
        };
        let has_ports = matches!(quote.protocol, protocol::TCP | protocol::UDP);
        let port = has_ports.then_some(port);
        requote(
            packet.data_mut(),
            flow,
            quote,
            &NewEnd { end: End::Destination, address: vip, port, dscp: None },
        );
        let new = NewEnd { end: End::Source, address: vip, port: None, dscp: None };
        let verdict = rewrite::readdress(packet, flow, &new, &link);
        finish(packet, flow);
        verdict
    }
}

/// What an error quotes, and whose packet that is. `None`: not an error, or about no flow of ours.
fn sender<A: Addresses>(
    data: &[u8],
    flow: &Flow,
    table: &FlowTable<A>,
    tables: &Tables,
    peers: &mut Peers,
    now: Tick,
) -> Option<(Quote, Sender)> {
    let (quote, answer) = read(data, flow)?;
    let hash = answer.hash(tables.hash_key);
    let sender = match table.find(&answer, hash).map(|id| table.entry(id)) {
        Some(entry) if !entry.is_reply() => Sender::Server(hash, entry.server()),
        Some(reply) => {
            let sent = table.entry(reply.peer()?).key();
            Sender::Client(sent.destination(), sent.destination_port())
        }
        None => {
            let vip = tables.lookup.find(&answer);
            let asked = match peers.owner(&answer, vip, tables) {
                Owner::Other(owner) => Some(owner),
                Owner::Me => None,
                // Any worker may have the flow, or none.
                Owner::Nobody => vip.and_then(|_| peers.next(now)),
            };
            match asked {
                Some(worker) => Sender::Elsewhere(worker),
                None => Sender::Server(hash, tables.vip(vip?)?.stateless(hash)?),
            }
        }
    };
    Some((quote, sender))
}

/// What an error quotes, and the five-tuple of an answer to that. `None`: not an error, or it quotes too little.
fn read<A: Addresses>(data: &[u8], flow: &Flow) -> Option<(Quote, FlowKey<A>)> {
    let at = usize::from(flow.l4) + HEADER_LEN;
    let end = (L3 + usize::from(flow.ip_len)).min(data.len());
    let kind = data.get(usize::from(flow.l4))?;
    if !icmp::types(flow).errors.contains(kind) {
        return None;
    }
    let inner = data.get(at..end)?;
    let quoted = message::quoted(inner, flow.v6).ok()?;
    let source = if flow.v6 { ipv6::field::SOURCE } else { ipv4::field::SOURCE };
    let addresses = inner.get(source..source + size_of::<A>())?;
    let addresses: A = bytemuck::try_pod_read_unaligned(addresses).ok()?;
    let answer = FlowKey {
        addresses: addresses.swapped(),
        ports: quoted.ports.rotate_left(16),
        protocol: quoted.protocol,
    };
    Some((Quote { at, l4: quoted.l4, protocol: quoted.protocol }, answer))
}

/// Changes one end of the packet that an error quotes, and its checksums as far as they are quoted.
fn requote(data: &mut [u8], flow: &Flow, quote: &Quote, new: &NewEnd) {
    let end = (L3 + usize::from(flow.ip_len)).min(data.len());
    let Some(ip) = data.get_mut(quote.at..end) else { return };
    let (source, destination) = if flow.v6 {
        (ipv6::field::SOURCE, ipv6::field::DESTINATION)
    } else {
        (ipv4::field::SOURCE, ipv4::field::DESTINATION)
    };
    let at = if new.end == End::Source { source } else { destination };
    let mut delta = match (new.address, flow.v6) {
        (IpAddr::V4(address), false) => rewrite::replace(ip, at, &address.octets()),
        (IpAddr::V6(address), true) => rewrite::replace(ip, at, &address.octets()),
        _ => return,
    };
    if !flow.v6 {
        rewrite::update(ip, ipv4::field::CHECKSUM, delta);
    }
    let port_at = quote.l4 + if new.end == End::Source { 0 } else { 2 };
    if let Some(port) = new.port
        && ip.len() >= port_at + 2
    {
        delta = delta.replace(&[ip[port_at], ip[port_at + 1]], &port.to_be_bytes());
        put16(ip, port_at, port);
    }
    // Whoever gets the error may compare it with what it has sent, checksum included (RFC 5508 §4.2).
    let checksum = match quote.protocol {
        protocol::TCP => quote.l4 + tcp::CHECKSUM,
        protocol::UDP => quote.l4 + udp::CHECKSUM,
        _ => return,
    };
    match ip.get(checksum..checksum + 2) {
        Some([0, 0]) if quote.protocol == protocol::UDP => {} // it has none
        Some(_) => rewrite::update(ip, checksum, delta),
        None => {}
    }
}

/// Computes the checksum of the error anew.
fn finish<P: Packet>(packet: &mut P, flow: &Flow) {
    let data = packet.data_mut();
    let end = (L3 + usize::from(flow.ip_len)).min(data.len());
    let l4 = usize::from(flow.l4);
    let sum = icmp::message_checksum(&data[..end], l4, flow.v6);
    put16(data, l4 + CHECKSUM, sum);
}
