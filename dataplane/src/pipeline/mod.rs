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
use ipc::id::{LcoreId, PortId, ServerId, VipId};

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
    prefetch::prefetch_all,
    tables::{
        Tables,
        encap::Encap,
        flow::{Addresses, EntryId, FlowKey},
        hash::HashKey,
        route::NextHop,
        server::{Hop, Server},
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
    /// State of an lcore for `ports` ports and `flow_capacity` flows of each family.
    pub fn new(lcore: LcoreId, ports: usize, flow_capacity: u32, hash_key: HashKey) -> io::Result<Self> {
        Ok(Self {
            flows: Flows::new(flow_capacity, hash_key)?,
            counters: Arc::new(Counters::new(lcore)?),
            ledger: Ledger::new(ports),
            allowance: Allowance::default(),
            lanes: Box::new([Lane::new(); BURST]),
        })
    }
}

/// How far a packet has come.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// It is for this VIP.
    ForVip(VipId),
    /// It is for no VIP, and may be a server's reply under NAT.
    Stray,
    /// It goes to this server.
    ToServer(VipId, ServerId),
    /// It is a server's reply to this flow.
    ToClient(EntryId),
    /// It is an ICMP message.
    Icmp,
    /// It asks or tells an Ethernet address.
    Arp,
    /// The same for IPv6.
    Ndp,
    /// Nothing is left to decide.
    Done(Verdict),
}

/// A packet's place in the burst. Stages write its fields and never move it.
#[derive(Clone, Copy, Debug)]
struct Lane {
    step: Step,
    /// The entry that its flow most likely has, from the third stage on.
    guess: Option<EntryId>,
    /// The five-tuple hash, if it belongs to a flow.
    hash: u64,
    /// What its headers say, if it belongs to a flow.
    flow: Flow,
}

impl Lane {
    #[inline(always)]
    const fn arrival<A>(&self, key: FlowKey<A>, vip: VipId, now: Tick) -> Arrival<A> {
        Arrival { key, hash: self.hash, tcp: self.flow.tcp, vip, now }
    }

    /// The next step of a packet to `vip` whose flow begins, ends, moves or is not where it was expected.
    #[inline(never)]
    fn choose(&self, vip: VipId, flows: &mut Flows, tables: &Tables, counters: &Counters, now: Tick) -> Step {
        let server = match self.flow.key() {
            Key::V4(key) => self.arrival(key, vip, now).server(&mut flows.v4, tables, counters),
            Key::V6(key) => self.arrival(key, vip, now).server(&mut flows.v6, tables, counters),
        };
        match server {
            Ok(server) => Step::ToServer(vip, server),
            Err(reason) => Step::Done(Verdict::Drop(reason)),
        }
    }

    fn new() -> Self {
        Self { step: Step::Done(Verdict::Punt), guess: None, hash: 0, flow: Flow::default() }
    }
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

    // 1. Parse all. 2. Find the VIP; ask for the flow's bucket.
    let mut ahead = burst.iter();
    for packet in ahead.by_ref().take(PREFETCH_AHEAD) {
        packet.prefetch();
    }
    for (packet, lane) in burst.iter().zip(lanes.iter_mut()) {
        if let Some(next) = ahead.next() {
            next.prefetch();
        }
        lane.step = match parse::parse(packet, mac, &mut lane.flow) {
            Ok(Parsed::Flow) => {
                let key = lane.flow.key();
                match &key {
                    Key::V4(key) => {
                        lane.hash = key.hash(tables.hash_key);
                        flows.v4.prefetch_bucket(lane.hash);
                    }
                    Key::V6(key) => {
                        lane.hash = key.hash(tables.hash_key);
                        flows.v6.prefetch_bucket(lane.hash);
                    }
                }
                find_vip(tables, &key).map_or(Step::Stray, Step::ForVip)
            }
            Ok(Parsed::Icmp) => Step::Icmp,
            Ok(Parsed::Arp) => Step::Arp,
            Ok(Parsed::Ndp) => Step::Ndp,
            Err(reason) => Step::Done(Verdict::Drop(reason)),
        };
    }

    // 3. Ask for the flow's entry.
    for lane in lanes.iter_mut() {
        if let Step::ForVip(_) | Step::Stray = lane.step {
            lane.guess = match lane.flow.v6 {
                false => flows.v4.prefetch_entry(lane.hash),
                true => flows.v6.prefetch_entry(lane.hash),
            };
        }
    }

    // 4. Find or create the flow; ask for the server's headers.
    for lane in lanes.iter_mut() {
        match lane.step {
            Step::ForVip(vip) => {
                let known = match lane.flow.key() {
                    Key::V4(key) => lane.arrival(key, vip, now).goes_on(&mut flows.v4, lane.guess),
                    Key::V6(key) => lane.arrival(key, vip, now).goes_on(&mut flows.v6, lane.guess),
                };
                lane.step = match known {
                    Some(server) => Step::ToServer(vip, server),
                    None => lane.choose(vip, flows, tables, counters, now),
                };
                if let Step::ToServer(_, server) = lane.step
                    && let Some(slot) = tables.servers.get(server.index())
                {
                    prefetch_all(slot);
                }
            }
            Step::Stray => lane.step = stray(lane, port, tables, flows, counters, now),
            _ => {}
        }
    }

    // 5. Rewrite; every packet has its verdict.
    for (packet, lane) in burst.iter_mut().zip(lanes.iter_mut()) {
        let mut verdict = if let Step::ToServer(vip, id) = lane.step
            && let Some(server) = tables.server(id).filter(|server| server.is_up())
        {
            to_server(packet, lane, (vip, id, server), counters, &mut out.notices)
        } else {
            if let Step::ToServer(vip, _) = lane.step {
                lane.step = lane.choose(vip, flows, tables, counters, now); // its server is down: the flow moves
            }
            otherwise(packet, lane, port, tables, flows, counters, &mut out.notices)
        };
        if let Verdict::Drop(reason) = verdict {
            verdict = complain(packet, lane, reason, (mac, now), tables, allowance).unwrap_or(verdict);
        }
        lane.step = Step::Done(verdict);
    }

    // 6. Hand over.
    for (packet, lane) in burst.drain(..).zip(lanes.iter()) {
        match lane.step {
            Step::Done(Verdict::Forward(to)) => out.tx[to.index()].push(packet),
            Step::Done(Verdict::Reply) => out.tx[port.index()].push(packet),
            Step::Done(Verdict::Wait) => out.waiting.push(packet),
            Step::Done(Verdict::Drop(reason)) => ledger.count_drop(reason),
            _ => {
                let control = ledger.control();
                ledger.count_tx(control, Traffic { packets: 1, bytes: packet.len() as u64 });
            }
        }
    }
}

/// The verdict on a packet that does not simply go to the server of its flow.
#[inline(never)]
fn otherwise<P: Packet>(
    packet: &mut P,
    lane: &Lane,
    port: PortId,
    tables: &Tables,
    flows: &Flows,
    counters: &Counters,
    notices: &mut ArrayVec<Notice, BURST>,
) -> Verdict {
    let (verdict, notice) = match lane.step {
        Step::Done(verdict) => (verdict, None),
        Step::ToServer(vip, id) => match tables.server(id) {
            Some(server) => return to_server(packet, lane, (vip, id, server), counters, notices),
            None => (Verdict::Drop(DropReason::NoServer), None),
        },
        Step::ToClient(entry) => return to_client(packet, &lane.flow, entry, flows, tables, notices),
        Step::Icmp => (icmp(packet, &lane.flow, port, tables, flows), None),
        Step::Arp => resolve::arp(packet, port, tables),
        Step::Ndp => resolve::ndp(packet, port, tables),
        // The stages before have taken these further.
        Step::ForVip(_) | Step::Stray => (Verdict::Drop(DropReason::NotAVip), None),
    };
    tell(notices, notice);
    verdict
}

fn tell(notices: &mut ArrayVec<Notice, BURST>, notice: Option<Notice>) {
    if let Some(notice) = notice {
        let _ = notices.try_push(notice); // what does not fit will be news again
    }
}

#[inline(always)]
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
    match &flow.key() {
        Key::V4(key) => destination(key),
        Key::V6(key) => destination(key),
    }
}

/// A packet that is for no VIP: a server's reply under NAT, or something to drop by its right name.
#[inline(never)]
fn stray(
    lane: &Lane,
    port: PortId,
    tables: &Tables,
    flows: &mut Flows,
    counters: &Counters,
    now: Tick,
) -> Step {
    let Lane { flow, hash, .. } = lane;
    if tables.nat {
        let entry = match &flow.key() {
            Key::V4(key) => track::reply_of(&mut flows.v4, key, *hash, flow.tcp, now, counters),
            Key::V6(key) => track::reply_of(&mut flows.v6, key, *hash, flow.tcp, now, counters),
        };
        if let Some(entry) = entry {
            return Step::ToClient(entry);
        }
    }
    let ours = tables.answers_for(port, flow_destination(flow));
    Step::Done(Verdict::Drop(if ours { DropReason::ForHost } else { DropReason::NotAVip }))
}

#[inline(always)]
fn to_server<P: Packet>(
    packet: &mut P,
    lane: &Lane,
    (vip, server_id, server): (VipId, ServerId, &Server),
    counters: &Counters,
    notices: &mut ArrayVec<Notice, BURST>,
) -> Verdict {
    let link = match &server.hop {
        Hop::Link(link) => link,
        hop => return no_link(*hop, notices),
    };
    let bytes = packet.len() as u64;
    let verdict = if server.encap.is_tunnel() {
        rewrite::tunnel(packet, &lane.flow, lane.hash, &server.template, link)
    } else {
        let dscp = if let Encap::L3dsr { dscp } = server.encap { Some(dscp) } else { None };
        let new = NewEnd { end: End::Destination, address: server.address, port: server.port, dscp };
        rewrite::readdress(packet, &lane.flow, &new, link)
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
    lane: &Lane,
    reason: DropReason,
    (mac, now): (Mac, Tick),
    tables: &Tables,
    allowance: &mut Allowance,
) -> Option<Verdict> {
    let (hop, overhead) = match lane.step {
        Step::ToServer(_, server) => {
            let server = tables.server(server)?;
            (server.hop, server.template.overhead())
        }
        Step::ToClient(_) => (tables.hop(flow_destination(&lane.flow)), 0),
        _ => return None,
    };
    let complaint = match (reason, hop) {
        // The largest IP packet of this flow that still fits on its way.
        (DropReason::TooBig, Hop::Link(link)) => Complaint::TooBig(link.mtu.saturating_sub(overhead as u16)),
        (DropReason::TtlExpired, _) => Complaint::TimeExceeded,
        _ => return None,
    };
    icmp::complain(packet, &lane.flow, complaint, mac, allowance, now)
}

/// An ICMP message: an echo request for us, an error about a packet of a server, or nothing of ours.
fn icmp<P: Packet>(packet: &mut P, flow: &Flow, port: PortId, tables: &Tables, flows: &Flows) -> Verdict {
    let ours = tables.answers_for(port, flow_destination(flow));
    if ours && let Some(verdict) = icmp::echo(packet, flow, tables.ports[port.index()].mac) {
        return verdict;
    }
    let steered = match flow.key() {
        Key::V4(_) => icmp::steer(packet, flow, &flows.v4, tables, |key| find_vip(tables, &Key::V4(*key))),
        Key::V6(_) => icmp::steer(packet, flow, &flows.v6, tables, |key| find_vip(tables, &Key::V6(*key))),
    };
    let reason = if ours { DropReason::ForHost } else { DropReason::NotAVip };
    steered.unwrap_or(Verdict::Drop(reason))
}

/// Translates a server's reply back: its source becomes what the client has sent to.
#[inline(never)]
fn to_client<P: Packet>(
    packet: &mut P,
    flow: &Flow,
    entry: EntryId,
    flows: &Flows,
    tables: &Tables,
    notices: &mut ArrayVec<Notice, BURST>,
) -> Verdict {
    let (vip, port) = match flow.key() {
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
