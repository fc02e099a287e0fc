//! What happens to a burst of packets, from parsing to the verdict.
//!
//! [`process_burst`] tells the story. It works in stages over the whole burst, so that the memory that
//! one packet needs is on its way while others are worked on. What happens to a packet out of the ordinary is told by
//! [`single`].

pub mod counters;
mod icmp;
mod parse;
mod plain;
mod resolve;
mod rewrite;
mod single;
mod track;
pub mod verdict;
pub mod vlan;

use std::{io, net::IpAddr, sync::Arc};

use arrayvec::ArrayVec;
use ipc::id::{LcoreId, PortId, ServerId, VipId};

use self::{
    counters::{Counters, Ledger, Traffic},
    icmp::Allowance,
    plain::{Family, Plain, Reader},
    single::Desk,
};
pub use self::{
    track::Flows,
    verdict::{DropReason, Verdict},
};
use crate::{
    ports::{BURST, Burst, Packet},
    prefetch::{prefetch, prefetch_all},
    tables::{Tables, flow::EntryId, hash::HashKey, route::NextHop, template::Inner},
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
            lanes: Box::new([Lane::default(); BURST]),
        })
    }
}

/// What is left to do with a packet.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// It is plain, and its flow may have this entry.
    Find(Family, EntryId),
    /// It goes to this server.
    ToServer(ServerId),
    /// It is to be looked at closely.
    Single,
    /// Nothing.
    Done(Verdict),
}

/// A packet's place in the burst, one cache line. Stages write its fields and never move it.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Lane {
    plain: Plain,
    step: Step,
}

const _: () = assert!(size_of::<Lane>() == 64);

impl Default for Lane {
    fn default() -> Self {
        Self { plain: Plain::default(), step: Step::Single }
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
    let mut desk = Desk { port, mac, now, tables, flows, counters, allowance, notices: &mut out.notices };

    read(burst, lanes, &Reader::new(mac, tables.hash_key), desk.flows);
    ask_for_entries(lanes, desk.flows);
    find_servers(burst, lanes, &mut desk);
    send_to_servers(burst, lanes, &mut desk);
    hand_over(burst, lanes, port, ledger, out);
}

/// Stage 1. Read the headers of plain packets; ask for the buckets of their flows.
#[inline(always)]
fn read<P: Packet>(burst: &Burst<P>, lanes: &mut [Lane], reader: &Reader, flows: &Flows) {
    let mut ahead = burst.iter();
    for packet in ahead.by_ref().take(PREFETCH_AHEAD) {
        packet.prefetch();
    }
    for (packet, lane) in burst.iter().zip(lanes) {
        if let Some(next) = ahead.next() {
            next.prefetch();
        }
        lane.step = match reader.read(packet, &mut lane.plain) {
            Some(family) => {
                match family {
                    Family::V4 => flows.v4.prefetch_bucket(lane.plain.hash),
                    Family::V6 => flows.v6.prefetch_bucket(lane.plain.hash),
                }
                Step::Find(family, EntryId::NONE)
            }
            None => Step::Single,
        };
    }
}

/// Stage 2. Find the entry that a flow most likely has, and ask for it.
#[inline(always)]
fn ask_for_entries(lanes: &mut [Lane], flows: &Flows) {
    for lane in lanes {
        if let Step::Find(family, entry) = &mut lane.step {
            *entry = match family {
                Family::V4 => flows.v4.prefetch_entry(lane.plain.hash),
                Family::V6 => flows.v6.prefetch_entry(lane.plain.hash),
            };
        }
    }
}

/// Stage 3. A flow that goes on has its server: ask for what is needed there. Every other packet is decided on whole, so
/// that the packets of a flow are seen in order.
#[inline(always)]
fn find_servers<P: Packet>(burst: &mut Burst<P>, lanes: &mut [Lane], desk: &mut Desk<'_>) {
    for (packet, lane) in burst.iter_mut().zip(lanes) {
        let Plain { addresses, word, .. } = &lane.plain;
        let known = match lane.step {
            Step::Find(Family::V4, entry) => desk.flows.v4.goes_on(entry, &addresses[0], *word, desk.now),
            Step::Find(Family::V6, entry) => desk.flows.v6.goes_on(entry, addresses, *word, desk.now),
            _ => None,
        };
        lane.step = match known {
            Some(server) => {
                prefetch_all(desk.tables.template(server));
                prefetch(desk.counters.server(server));
                Step::ToServer(server)
            }
            None => Step::Done(desk.decide(packet)),
        };
    }
}

/// Stage 4. Put the headers of the server in front. What needs more than that, or does not fit, is decided on whole.
#[inline(always)]
fn send_to_servers<P: Packet>(burst: &mut Burst<P>, lanes: &mut [Lane], desk: &mut Desk<'_>) {
    // Packets for the same VIP in a row are counted together.
    let (mut vip, mut traffic) = (VipId(0), Traffic::default());
    for (packet, lane) in burst.iter_mut().zip(lanes) {
        let Step::ToServer(id) = lane.step else { continue };
        let (template, plain) = (desk.tables.template(id), &lane.plain);
        let inner = Inner { len: plain.ip_len, tos: plain.tos, entropy: plain.hash as u32 };
        if template.is_empty() || inner.len > template.most() {
            lane.step = Step::Done(desk.decide(packet));
            continue;
        }
        let one = Traffic { packets: 1, bytes: packet.len() as u64 };
        let verdict = rewrite::tunnel(packet, &inner, template);
        lane.step = Step::Done(verdict);
        if let Verdict::Forward(_) = verdict {
            desk.counters.server(id).add(one);
            if template.vip() != vip {
                desk.counters.vip(vip).add(traffic);
                (vip, traffic) = (template.vip(), Traffic::default());
            }
            traffic += one;
        }
    }
    desk.counters.vip(vip).add(traffic);
}

/// Stage 5. Hand over.
#[inline(always)]
fn hand_over<P: Packet>(
    burst: &mut Burst<P>,
    lanes: &[Lane],
    port: PortId,
    ledger: &mut Ledger,
    out: &mut Outbox<P>,
) {
    if let Some(to) = only_port(lanes)
        && out.tx[to.index()].is_empty()
    {
        return std::mem::swap(burst, &mut out.tx[to.index()]);
    }
    for (packet, lane) in burst.drain(..).zip(lanes) {
        match lane.step {
            Step::Done(Verdict::Forward(to)) => out.tx[to.index()].push(packet),
            Step::Done(Verdict::Reply) => out.tx[port.index()].push(packet),
            Step::Done(Verdict::Wait) => out.waiting.push(packet),
            Step::Done(Verdict::Drop(reason)) => ledger.count_drop(reason),
            // The stages before leave no packet undone.
            Step::Done(Verdict::Punt) | Step::Find(..) | Step::ToServer(_) | Step::Single => {
                let control = ledger.control();
                ledger.count_tx(control, Traffic { packets: 1, bytes: packet.len() as u64 });
            }
        }
    }
}

/// The one port that all packets leave on; `None`: there is no such.
#[inline(always)]
fn only_port(lanes: &[Lane]) -> Option<PortId> {
    let to = |lane: &Lane| match lane.step {
        Step::Done(Verdict::Forward(to)) => Some(to),
        _ => None,
    };
    let first = to(lanes.first()?)?;
    lanes.iter().all(|lane| to(lane) == Some(first)).then_some(first)
}
