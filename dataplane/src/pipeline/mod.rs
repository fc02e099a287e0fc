//! What happens to a burst of packets, from parsing to the verdict.
//!
//! [`process_burst`] tells the story. It works in stages over the whole burst, so that the memory that
//! one packet needs is on its way while others are worked on. What happens to a packet out of the ordinary is told by
//! `single`.

pub mod counters;
mod errors;
mod fragments;
mod host;
mod icmp;
pub mod measure;
mod mss;
mod parse;
mod peers;
mod plain;
mod resolve;
mod rewrite;
mod single;
mod track;
pub mod verdict;
pub mod vlan;
pub mod watch;

use std::{io, net::IpAddr, sync::Arc};

use arrayvec::ArrayVec;
use ipc::{
    id::{LcoreId, PortId, ServerId},
    ring::Consumer,
};

pub(crate) use self::peers::Peers;
use self::{
    counters::{Counters, Ledger, Traffic},
    host::Pace,
    icmp::Allowance,
    measure::Watches,
    plain::{Kind, Plain, Reader},
    single::Desk,
    watch::{Stage, Watch},
};
pub use self::{
    track::Flows,
    verdict::{DropReason, Verdict},
};
use crate::{
    ports::{BURST, Burst, Packet},
    prefetch::{prefetch, prefetch_all},
    tables::{Tables, flow::EntryId, fragments::Fragments, hash::HashKey, route::NextHop, template::Inner},
    time::Nanos,
    wire::Mac,
};

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
    /// Packets as they came, for other workers, by worker.
    pub handover: Box<[Burst<P>]>,
    /// Packets as they came, whose next hop is not resolved.
    pub waiting: Burst<P>,
    /// News for the control thread; what does not fit is lost, and will be news again.
    pub notices: ArrayVec<Notice, BURST>,
}

impl<P> Outbox<P> {
    /// An empty outbox for `ports` ports and, where there are several, `workers` workers.
    pub fn new(ports: usize, workers: usize) -> Self {
        Self {
            tx: (0..ports).map(|_| Burst::new()).collect(),
            handover: (0..workers).map(|_| Burst::new()).collect(),
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
    /// The other workers.
    pub(crate) peers: Peers,
    /// Datagrams whose first fragment was seen.
    fragments: Fragments,
    /// The flows that are measured.
    watches: Watches,
    /// How many ICMP errors may be sent still.
    allowance: Allowance,
    /// How much the host may get still.
    pace: Pace,
    lanes: Box<[Lane; BURST]>,
}

impl Core {
    /// State of an lcore for `ports` ports and `flow_capacity` flows of each family; and the samples of those that are
    /// measured.
    pub fn new(
        lcore: LcoreId,
        ports: usize,
        flow_capacity: u32,
        hash_key: HashKey,
        measure: measure::Settings,
    ) -> io::Result<(Self, Option<Consumer>)> {
        let (watches, samples) = Watches::new(measure)?;
        let core = Self {
            flows: Flows::new(flow_capacity, hash_key)?,
            counters: Arc::new(Counters::new(lcore)?),
            ledger: Ledger::new(ports),
            peers: Peers::new(lcore, 1),
            fragments: Fragments::new(hash_key),
            watches,
            allowance: Allowance::new(),
            pace: Pace::new(),
            lanes: Box::new([Lane::default(); BURST]),
        };
        Ok((core, samples))
    }

    /// What need not happen every turn, bounded: samples are handed over, and watched flows looked at.
    pub fn measure(&mut self, hash_key: HashKey, now: Nanos) {
        self.watches.housekeeping(&mut self.flows, hash_key, now, &self.counters);
    }
}

/// A packet's place in the burst, one cache line. Stages write its fields and never move it.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Lane {
    plain: Plain,
    /// The number of the [`EntryId`] that the flow of a plain packet may have; then of the [`ServerId`] that it goes to,
    /// or [`NOWHERE`] when it has its verdict.
    target: u32,
    verdict: Verdict,
}

const _: () = assert!(size_of::<Lane>() == 64);

/// No entry and no server has this number.
const NOWHERE: u32 = u32::MAX;

impl Default for Lane {
    fn default() -> Self {
        Self { plain: Plain::default(), target: NOWHERE, verdict: Verdict::Punt }
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
    now: Nanos,
    watch: &mut impl Watch,
) {
    watch.enter(Stage::Read);
    let mac = tables.ports[port.index()].mac;
    let Core { flows, counters, ledger, peers, fragments, watches, allowance, pace, lanes } = core;
    let lanes = &mut lanes[..burst.len()];
    let notices = &mut out.notices;
    let mut desk =
        Desk { port, mac, now, tables, flows, fragments, counters, peers, watches, allowance, pace, notices };

    read(burst, lanes, &Reader::new(mac, tables.hash_key), desk.flows);
    watch.enter(Stage::Find);
    find_servers(burst, lanes, &mut desk);
    watch.enter(Stage::Send);
    let only = send_to_servers(burst, lanes, &mut desk);
    watch.enter(Stage::HandOver);
    hand_over(burst, lanes, port, only, tables, ledger, out);
}

/// How many packets a bucket gets to arrive from memory.
const LAG: usize = 18;

/// Stages 1 and 2. Read the headers of plain packets and ask for the buckets of their flows; [`LAG`] packets later, find
/// in the bucket which entry the flow most likely has, and ask for that.
#[inline(always)]
fn read<P: Packet>(burst: &Burst<P>, lanes: &mut [Lane], reader: &Reader, flows: &Flows) {
    for (at, packet) in burst.iter().enumerate() {
        let Some(Lane { plain, .. }) = lanes.get_mut(at) else { break };
        reader.read(packet, plain);
        match plain.kind {
            Kind::V4 => flows.v4.prefetch_bucket(plain.hash),
            Kind::V6 => flows.v6.prefetch_bucket(plain.hash),
            Kind::Other => {}
        }
        if let Some(lane) = at.checked_sub(LAG).and_then(|at| lanes.get_mut(at)) {
            ask_for_entry(lane, flows);
        }
    }
    let asked = lanes.len().saturating_sub(LAG);
    for lane in &mut lanes[asked..] {
        ask_for_entry(lane, flows);
    }
}

#[inline(always)]
fn ask_for_entry(Lane { plain, target, .. }: &mut Lane, flows: &Flows) {
    let EntryId(entry) = match plain.kind {
        Kind::V4 => flows.v4.prefetch_entry(plain.hash),
        Kind::V6 => flows.v6.prefetch_entry(plain.hash),
        Kind::Other => EntryId(NOWHERE),
    };
    *target = entry;
}

/// Stage 3. A flow that goes on has its server: ask for what is needed there. Every other packet is decided on whole,
/// so that the packets of a flow are seen in order.
#[inline(always)]
fn find_servers<P: Packet>(burst: &mut Burst<P>, lanes: &mut [Lane], desk: &mut Desk<'_>) {
    let (tables, counters, now) = (desk.tables, desk.counters.servers(), desk.now.tick());
    for (packet, Lane { plain, target, verdict }) in burst.iter_mut().zip(lanes) {
        let (Plain { addresses, word, .. }, entry) = (&*plain, EntryId(*target));
        let known = match plain.kind {
            Kind::V4 => desk.flows.v4.goes_on(entry, &addresses[0], *word, now),
            Kind::V6 => desk.flows.v6.goes_on(entry, addresses, *word, now),
            Kind::Other => None,
        };
        if let Some(server) = known {
            prefetch_all(tables.template(server));
            if let Some(counters) = counters.get(server.index()) {
                prefetch(counters);
            }
            *target = server.0;
        } else {
            *verdict = desk.decide(packet);
            *target = NOWHERE;
        }
    }
}

/// Stage 4. Put the headers of the server in front. What needs more than that, or does not fit, is decided on.
/// Returns the port if all packets leave on one.
#[inline(always)]
fn send_to_servers<P: Packet>(
    burst: &mut Burst<P>,
    lanes: &mut [Lane],
    desk: &mut Desk<'_>,
) -> Option<PortId> {
    let (tables, counters) = (desk.tables, desk.counters.servers());
    let only = tables.template(ServerId(lanes.first()?.target)).port();
    let mut others = 0;
    for (packet, Lane { plain, target, verdict }) in burst.iter_mut().zip(lanes) {
        let id = ServerId(*target);
        let template = tables.template(id);
        // Without headers nothing fits.
        if plain.ip_len >= template.limit() {
            if *target != NOWHERE {
                *verdict = desk.decide_known(packet, plain, id);
                *target = NOWHERE;
            }
            others |= u16::from(*verdict != Verdict::Forward(only));
            continue;
        }
        let traffic = Traffic { packets: 1, bytes: packet.len() as u64 };
        let inner = Inner { len: plain.ip_len, tos: plain.tos, entropy: plain.hash as u32 };
        if template.put(packet, inner).is_err() {
            (*target, *verdict) = (NOWHERE, Verdict::Drop(DropReason::NoHeadroom));
            others = 1;
            continue;
        }
        others |= template.port().0 ^ only.0;
        if let Some(server) = counters.get(id.index()) {
            server.add(traffic);
        }
    }
    (others == 0).then_some(only)
}

/// Stage 5. Hand over, all at once where packets leave on the one port `only`.
#[inline(always)]
fn hand_over<P: Packet>(
    burst: &mut Burst<P>,
    lanes: &[Lane],
    port: PortId,
    only: Option<PortId>,
    tables: &Tables,
    ledger: &mut Ledger,
    out: &mut Outbox<P>,
) {
    if let Some(only) = only
        && out.tx[only.index()].is_empty()
    {
        return std::mem::swap(burst, &mut out.tx[only.index()]);
    }
    for (packet, lane) in burst.drain(..).zip(lanes) {
        let verdict = match lane.target {
            NOWHERE => lane.verdict,
            server => Verdict::Forward(tables.template(ServerId(server)).port()),
        };
        match verdict {
            Verdict::Forward(to) => out.tx[to.index()].push(packet),
            Verdict::Reply => out.tx[port.index()].push(packet),
            Verdict::HandOver(to) => out.handover[to.index()].push(packet),
            Verdict::Wait => out.waiting.push(packet),
            Verdict::Drop(reason) => ledger.count_drop(reason),
            Verdict::Punt => {
                let control = ledger.control();
                ledger.count_tx(control, Traffic { packets: 1, bytes: packet.len() as u64 });
            }
        }
    }
}
