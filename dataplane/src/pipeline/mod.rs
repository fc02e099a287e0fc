//! What happens to a burst of packets, from parsing to the verdict.
//!
//! [`process_burst`] tells the story. It works in stages over the whole burst, so that the memory that
//! one packet needs is on its way while others are worked on.

pub mod counters;
mod icmp;
mod parse;
mod resolve;
mod rewrite;
mod track;
pub mod verdict;
pub mod vlan;

use std::{io, net::IpAddr, sync::Arc};

use arrayvec::ArrayVec;
use ipc::id::{PortId, ServerId, VipId};

use self::{
    counters::{Counters, Ledger, Traffic},
    icmp::{Allowance, Complaint},
    parse::{Flow, Key, Parsed},
    rewrite::{End, NewEnd},
    track::Arrival,
};
pub use self::{
    track::Flows,
    verdict::{DropReason, Verdict},
};
use crate::{
    ports::{BURST, Burst, Packet},
    prefetch::prefetch,
    tables::{
        Tables,
        encap::Encap,
        flow::{Addresses, EntryId, FlowKey},
        hash::HashKey,
        route::NextHop,
        server::Hop,
    },
    time::Tick,
    wire::Mac,
};

/// How many packets ahead the first bytes of a frame are asked for.
const PREFETCH_AHEAD: usize = 4;

/// News for the control thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A packet waits for this next hop.
    Wanted(NextHop),
    /// A neighbour told its Ethernet address.
    Seen {
        /// The port it was heard on.
        port: PortId,
        /// Its IP address.
        address: IpAddr,
        /// Its Ethernet address.
        mac: Mac,
    },
}

/// Where packets go after the pipeline: one batch per port, those that wait, and news.
#[derive(Debug)]
pub struct Outbox<P> {
    /// Packets to transmit, by port.
    pub tx: Box<[Burst<P>]>,
    /// Packets as they came, whose next hop is not resolved.
    pub waiting: Burst<P>,
    /// News for the control thread; what does not fit is lost, and will be news again.
    pub notices: ArrayVec<Notice, BURST>,
}

impl<P> Outbox<P> {
    /// An empty outbox for `ports` ports.
    pub fn new(ports: usize) -> Self {
        Self {
            tx: (0..ports).map(|_| Burst::new()).collect(),
            waiting: Burst::new(),
            notices: ArrayVec::new(),
        }
    }
}

/// What a worker owns of the pipeline's state.
#[derive(Debug)]
pub struct Core {
    /// The flows of this lcore.
    pub flows: Flows,
    /// Counters that others read one by one.
    pub counters: Arc<Counters>,
    /// Counters that others read together.
    pub ledger: Ledger,
    /// How many ICMP errors may be sent still.
    allowance: Allowance,
    lanes: Box<[Lane; BURST]>,
}

impl Core {
    /// State for `ports` ports and `flow_capacity` flows of each family.
    pub fn new(ports: usize, flow_capacity: u32, hash_key: HashKey) -> io::Result<Self> {
        Ok(Self {
            flows: Flows::new(flow_capacity, hash_key)?,
            counters: Arc::new(Counters::new()?),
            ledger: Ledger::new(ports),
            allowance: Allowance::default(),
            lanes: Box::new([Lane { step: Step::Done(Verdict::Punt), hash: 0 }; BURST]),
        })
    }
}

/// How far a packet has come.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Its headers are read.
    Parsed(Parsed),
    /// It is for this VIP.
    ForVip(Flow, VipId),
    /// It is for no VIP, and may be a server's reply under NAT.
    Stray(Flow),
    /// It goes to this server.
    ToServer(Flow, VipId, ServerId),
    /// It is a server's reply to this flow.
    ToClient(Flow, EntryId),
    /// Nothing is left to decide.
    Done(Verdict),
}

/// A packet's place in the burst.
#[derive(Clone, Copy, Debug)]
struct Lane {
    step: Step,
    /// The five-tuple hash, from the second stage on.
    hash: u64,
}

/// Decides on every packet of `burst`, rewrites what goes on, and empties the burst into `out`.
///
/// `out.tx` has room for a burst per port. The caller has counted the packets as received, and counts
/// what it transmits. Nothing here allocates, locks, logs or calls the system.
pub fn process_burst<P: Packet>(
    burst: &mut Burst<P>,
    port: PortId,
    tables: &Tables,
    core: &mut Core,
    out: &mut Outbox<P>,
    now: Tick,
) {
    let mac = tables.ports[port.index()].mac;
    let Core { flows, counters, ledger, allowance, lanes } = core;
    let lanes = &mut lanes[..burst.len()];

    // 1. Parse all.
    for packet in burst.iter().take(PREFETCH_AHEAD) {
        packet.prefetch();
    }
    for (at, lane) in lanes.iter_mut().enumerate() {
        if let Some(ahead) = burst.get(at + PREFETCH_AHEAD) {
            ahead.prefetch();
        }
        lane.step = match parse::parse(&burst[at], mac) {
            Ok(parsed) => Step::Parsed(parsed),
            Err(reason) => Step::Done(Verdict::Drop(reason)),
        };
    }

    // 2. Find the VIP; ask for the flow's bucket.
    for lane in lanes.iter_mut() {
        if let Step::Parsed(Parsed::Flow(flow)) = lane.step {
            lane.step = match find_vip(tables, &flow.key) {
                Some(vip) => Step::ForVip(flow, vip),
                None => Step::Stray(flow),
            };
            match &flow.key {
                Key::V4(key) => {
                    lane.hash = key.hash(tables.hash_key);
                    flows.v4.prefetch_bucket(lane.hash);
                }
                Key::V6(key) => {
                    lane.hash = key.hash(tables.hash_key);
                    flows.v6.prefetch_bucket(lane.hash);
                }
            }
        }
    }

    // 3. Ask for the flow's entry.
    for lane in lanes.iter() {
        if let Step::ForVip(flow, _) | Step::Stray(flow) = &lane.step {
            match flow.key {
                Key::V4(_) => flows.v4.prefetch_entry(lane.hash),
                Key::V6(_) => flows.v6.prefetch_entry(lane.hash),
            }
        }
    }

    // 4. Find or create the flow; ask for the server's headers.
    for lane in lanes.iter_mut() {
        lane.step = match lane.step {
            Step::ForVip(flow, vip) => {
                let server = match &flow.key {
                    Key::V4(key) => {
                        let arrival = Arrival { key, hash: lane.hash, tcp: flow.tcp, vip, now };
                        arrival.server(&mut flows.v4, tables, counters)
                    }
                    Key::V6(key) => {
                        let arrival = Arrival { key, hash: lane.hash, tcp: flow.tcp, vip, now };
                        arrival.server(&mut flows.v6, tables, counters)
                    }
                };
                match server {
                    Ok(server) => {
                        if let Some(prepared) = tables.server(server) {
                            prefetch(&prepared.template);
                            prefetch(&prepared.hop);
                        }
                        Step::ToServer(flow, vip, server)
                    }
                    Err(reason) => Step::Done(Verdict::Drop(reason)),
                }
            }
            Step::Stray(flow) => stray(&flow, lane.hash, port, tables, flows, counters, now),
            step => step,
        };
    }

    // 5. Rewrite; every packet has its verdict. 6. Hand over.
    for (mut packet, lane) in burst.drain(..).zip(lanes.iter()) {
        let verdict = match &lane.step {
            Step::ToServer(flow, vip, server) => {
                to_server(&mut packet, flow, lane.hash, (*vip, *server), tables, counters, &mut out.notices)
            }
            Step::ToClient(flow, entry) => {
                to_client(&mut packet, flow, *entry, flows, tables, &mut out.notices)
            }
            Step::Done(verdict) => *verdict,
            other => {
                let (verdict, notice) = match *other {
                    Step::Parsed(Parsed::Icmp(flow)) => (icmp(&mut packet, &flow, port, tables, flows), None),
                    Step::Parsed(Parsed::Ndp(message)) => resolve::ndp(&mut packet, message, port, tables),
                    _ => resolve::arp(&mut packet, port, tables),
                };
                tell(&mut out.notices, notice);
                verdict
            }
        };
        let verdict = match (verdict, &lane.step) {
            (Verdict::Drop(reason), Step::ToServer(flow, ..) | Step::ToClient(flow, _)) => {
                let mtu = path_mtu(&lane.step, tables);
                complain(&mut packet, flow, reason, (mac, now), mtu, allowance).unwrap_or(verdict)
            }
            _ => verdict,
        };
        match verdict {
            Verdict::Forward(to) => out.tx[to.index()].push(packet),
            Verdict::Reply => out.tx[port.index()].push(packet),
            Verdict::Wait => out.waiting.push(packet),
            Verdict::Punt => {
                let control = ledger.control();
                ledger.count_tx(control, Traffic { packets: 1, bytes: packet.len() as u64 });
            }
            Verdict::Drop(reason) => ledger.count_drop(reason),
        }
    }
}

fn tell(notices: &mut ArrayVec<Notice, BURST>, notice: Option<Notice>) {
    if let Some(notice) = notice {
        let _ = notices.try_push(notice); // what does not fit will be news again
    }
}

#[inline]
fn find_vip(tables: &Tables, key: &Key) -> Option<VipId> {
    match key {
        Key::V4(key) => {
            let destination = ((key.addresses >> 32) as u32).swap_bytes();
            tables.lookup.v4(destination, key.protocol, destination_port(key))
        }
        Key::V6(key) => {
            let [_, _, high, low] = key.addresses.map(u64::swap_bytes);
            let destination = u128::from(high) << 64 | u128::from(low);
            tables.lookup.v6(destination, key.protocol, destination_port(key))
        }
    }
}

/// The destination port in host order.
#[inline]
const fn destination_port<A: Copy>(key: &FlowKey<A>) -> u16 {
    ((key.ports >> 16) as u16).swap_bytes()
}

/// The destination address of an IPv4 or IPv6 key.
fn destination<A: Addresses>(key: &FlowKey<A>) -> IpAddr {
    let bytes = bytemuck::bytes_of(&key.addresses);
    let (_, destination) = bytes.split_at(bytes.len() / 2);
    match *destination {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        _ => {
            let mut octets = [0; 16];
            octets.copy_from_slice(destination);
            IpAddr::from(octets)
        }
    }
}

fn flow_destination(flow: &Flow) -> IpAddr {
    match &flow.key {
        Key::V4(key) => destination(key),
        Key::V6(key) => destination(key),
    }
}

/// A packet that is for no VIP: a server's reply under NAT, or something to drop by its right name.
fn stray(
    flow: &Flow,
    hash: u64,
    port: PortId,
    tables: &Tables,
    flows: &mut Flows,
    counters: &Counters,
    now: Tick,
) -> Step {
    if tables.nat {
        let entry = match &flow.key {
            Key::V4(key) => track::reply_of(&mut flows.v4, key, hash, flow.tcp, now, counters),
            Key::V6(key) => track::reply_of(&mut flows.v6, key, hash, flow.tcp, now, counters),
        };
        if let Some(entry) = entry {
            return Step::ToClient(*flow, entry);
        }
    }
    let ours = tables.answers_for(port, flow_destination(flow));
    Step::Done(Verdict::Drop(if ours { DropReason::ForHost } else { DropReason::NotAVip }))
}

#[inline]
fn to_server<P: Packet>(
    packet: &mut P,
    flow: &Flow,
    hash: u64,
    (vip, server_id): (VipId, ServerId),
    tables: &Tables,
    counters: &Counters,
    notices: &mut ArrayVec<Notice, BURST>,
) -> Verdict {
    let Some(server) = tables.server(server_id) else { return Verdict::Drop(DropReason::NoServer) };
    let link = match &server.hop {
        Hop::Link(link) => link,
        hop => return no_link(*hop, notices),
    };
    let bytes = packet.len() as u64;
    let verdict = if server.encap.is_tunnel() {
        rewrite::tunnel(packet, flow, hash, &server.template, link)
    } else {
        let dscp = if let Encap::L3dsr { dscp } = server.encap { Some(dscp) } else { None };
        let new = NewEnd { end: End::Destination, address: server.address, port: server.port, dscp };
        rewrite::readdress(packet, flow, &new, link)
    };
    if let Verdict::Forward(_) = verdict {
        let (vip, server) = (counters.vip(vip), counters.server(server_id));
        vip.packets.add(1);
        vip.bytes.add(bytes);
        server.packets.add(1);
        server.bytes.add(bytes);
    }
    verdict
}

/// The ICMP error that the sender of a dropped packet should get, if any.
#[cold]
fn complain<P: Packet>(
    packet: &mut P,
    flow: &Flow,
    reason: DropReason,
    (mac, now): (Mac, Tick),
    mtu: u16,
    allowance: &mut Allowance,
) -> Option<Verdict> {
    let complaint = match reason {
        DropReason::TooBig => Complaint::TooBig(mtu),
        DropReason::TtlExpired => Complaint::TimeExceeded,
        _ => return None,
    };
    icmp::complain(packet, flow, complaint, mac, allowance, now)
}

/// The largest IP packet of this flow that still fits on its way, in bytes.
fn path_mtu(step: &Step, tables: &Tables) -> u16 {
    let hop = match step {
        Step::ToServer(_, _, server) => {
            tables.server(*server).map(|server| (server.hop, server.template.overhead()))
        }
        Step::ToClient(flow, _) => Some((tables.hop(flow_destination(flow)), 0)),
        _ => None,
    };
    match hop {
        Some((Hop::Link(link), overhead)) => link.mtu.saturating_sub(overhead as u16),
        _ => 0,
    }
}

/// An ICMP message: an echo request for us, an error about a packet of a server, or nothing of ours.
fn icmp<P: Packet>(packet: &mut P, flow: &Flow, port: PortId, tables: &Tables, flows: &Flows) -> Verdict {
    let ours = tables.answers_for(port, flow_destination(flow));
    if ours && let Some(verdict) = icmp::echo(packet, flow, tables.ports[port.index()].mac) {
        return verdict;
    }
    let steered = match flow.key {
        Key::V4(_) => icmp::steer(packet, flow, &flows.v4, tables, |key| find_vip(tables, &Key::V4(*key))),
        Key::V6(_) => icmp::steer(packet, flow, &flows.v6, tables, |key| find_vip(tables, &Key::V6(*key))),
    };
    let reason = if ours { DropReason::ForHost } else { DropReason::NotAVip };
    steered.unwrap_or(Verdict::Drop(reason))
}

/// Translates a server's reply back: its source becomes what the client has sent to.
fn to_client<P: Packet>(
    packet: &mut P,
    flow: &Flow,
    entry: EntryId,
    flows: &Flows,
    tables: &Tables,
    notices: &mut ArrayVec<Notice, BURST>,
) -> Verdict {
    let (vip, port) = match flow.key {
        Key::V4(_) => {
            let key = flows.v4.entry(entry).key();
            (destination(&key), destination_port(&key))
        }
        Key::V6(_) => {
            let key = flows.v6.entry(entry).key();
            (destination(&key), destination_port(&key))
        }
    };
    match tables.hop(flow_destination(flow)) {
        Hop::Link(link) => {
            let new = NewEnd { end: End::Source, address: vip, port: Some(port), dscp: None };
            rewrite::readdress(packet, flow, &new, &link)
        }
        hop => no_link(hop, notices),
    }
}

/// What happens to a packet whose next hop is not resolved.
fn no_link(hop: Hop, notices: &mut ArrayVec<Notice, BURST>) -> Verdict {
    match hop {
        Hop::Unresolved(next) => {
            tell(notices, Some(Notice::Wanted(next)));
            Verdict::Wait
        }
        _ => Verdict::Drop(DropReason::NoRoute),
    }
}
