//! The loop of one lcore: receive, process, transmit, and housekeeping now and then.
//!
//! A worker shares nothing for writing. It passes packets to other workers through bounded rings, reads the table
//! generation through an RCU reader, sends news to the control thread and takes frames from it through bounded
//! lock-free queues, and owns its counters.

mod handover;
mod link;
mod waiting;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ipc::{
    id::{LcoreId, PortId},
    ledger, snapshot,
};

use self::{handover::HandOver, link::Link, waiting::WaitingRoom};
pub use self::{
    handover::most_under_way,
    link::{Handle, InjectedFrame},
};
use crate::{
    pipeline::{
        Core, DropReason, Outbox, Peers,
        counters::{Ledger, Traffic},
        measure, process_burst, vlan,
        watch::{Stage, Watch},
    },
    ports::{Burst, Packet, Queue},
    tables::{Tables, hash::HashKey},
    time::{Clock, Nanos, cycles},
};

/// Turns between two rounds of housekeeping.
const HOUSEKEEPING_TURNS: u32 = 32;

/// In which time every bucket of the flow table is looked at once.
const SWEEP_PERIOD_NANOS: u64 = 4_000_000_000;

/// Most buckets that one round of housekeeping looks at, per family.
const SWEEP_BURST: usize = 64;

/// How often transmission is tried again while the port takes nothing.
const TX_TRIES: u32 = 16;

/// What a worker is made of.
#[derive(Debug)]
pub struct Parts<Q> {
    /// Which worker it is.
    pub lcore: LcoreId,
    /// A queue of every port, in the order of the ports; then one of every exception port, by its number.
    pub queues: Vec<Q>,
    /// The table generations.
    pub tables: snapshot::Reader<Tables>,
    /// Room for flows, per family.
    pub flow_capacity: u32,
    /// The key of the five-tuple hash.
    pub hash_key: HashKey,
    /// What is measured of flows.
    pub measure: measure::Settings,
    /// The time.
    pub clock: Clock,
}

/// One packet loop. Runs where [`Worker::run`] is called, until its handle says stop.
#[derive(Debug)]
pub struct Worker<Q: Queue, W = ()> {
    queues: Vec<Q>,
    tables: snapshot::Reader<Tables>,
    core: Core,
    out: Outbox<Q::Packet>,
    burst: Burst<Q::Packet>,
    waiting: WaitingRoom<Q::Packet>,
    handover: HandOver<Q::Packet>,
    control: Link,
    committed: ledger::Writer,
    clock: Clock,
    turns: u32,
    swept: Nanos,
    stop: Arc<AtomicBool>,
    watch: W,
}

impl<Q: Queue> Worker<Q> {
    /// A worker and the handle by which the control thread talks with it.
    ///
    /// # Errors
    /// When the memory for the flow table or the counters cannot be had.
    pub fn new(parts: Parts<Q>) -> io::Result<(Self, Handle)> {
        Self::watched(parts, ())
    }
}

impl<Q: Queue, W: Watch> Worker<Q, W> {
    /// The same, with somebody who is told what stage each turn is in.
    ///
    /// # Errors
    /// As [`Worker::new`].
    pub fn watched(parts: Parts<Q>, watch: W) -> io::Result<(Self, Handle)> {
        let ports = parts.queues.len();
        let (core, samples) =
            Core::new(parts.lcore, ports, parts.flow_capacity, parts.hash_key, parts.measure)?;
        let (committed, ledger) = ledger::channel(core.ledger.words().len());
        let (control, mut handle) = link::pair(parts.lcore, Arc::clone(&core.counters), ledger, samples);
        let stop = Arc::new(AtomicBool::new(false));
        handle.stop = Arc::clone(&stop);
        let worker = Self {
            queues: parts.queues,
            tables: parts.tables,
            core,
            out: Outbox::new(ports, 0),
            burst: Burst::new(),
            waiting: WaitingRoom::new(),
            handover: HandOver::none(),
            control,
            committed,
            clock: parts.clock,
            turns: 0,
            swept: parts.clock.now(),
            stop,
            watch,
        };
        Ok((worker, handle))
    }

    /// Turns until told to stop; leaves nothing untransmitted that a port would take.
    pub fn run(&mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            self.turn();
        }
        // What others have passed on is taken over still, until they have ended too. Nothing is passed on any more.
        self.handover.close();
        while !self.handover.is_finished() {
            self.take_over(self.clock.now());
            std::thread::yield_now();
        }
        self.housekeeping(self.clock.now());
        self.commit();
    }

    /// One turn: a burst from every port, and housekeeping when it is due. Returns the packets received.
    pub fn turn(&mut self) -> usize {
        let start = cycles();
        let now = self.clock.at(start);
        let mut packets = 0;
        for at in 0..self.queues.len() {
            self.watch.enter(Stage::Receive);
            self.queues[at].receive(&mut self.burst);
            if self.burst.is_empty() {
                continue;
            }
            packets += self.burst.len();
            self.burst.iter().for_each(Packet::prefetch);
            self.core.ledger.count_rx(at, traffic(&self.burst));
            let ports = &self.tables.read().ports;
            if at >= ports.len() {
                self.send_for_host(PortId(at as u16));
                continue;
            }
            if let Some(vlan) = ports[at].vlan {
                each(&mut self.burst, &mut self.core.ledger, |packet| vlan::untag(packet, vlan));
            }
            self.process(PortId(at as u16), now, now);
        }
        if self.handover.senders() > 0 {
            packets += self.take_over(now);
        }
        self.watch.enter(Stage::Rest);
        self.turns += 1;
        if self.turns >= HOUSEKEEPING_TURNS {
            self.turns = 0;
            self.housekeeping(now);
            self.commit();
        } else if packets > 0 {
            self.commit();
        }
        let end = cycles();
        let elapsed = end.wrapping_sub(start);
        let lcore = &self.core.counters.lcore;
        lcore.cycles.add(elapsed);
        if packets > 0 {
            lcore.busy_cycles.add(elapsed);
            lcore.packets.add(packets as u64);
            let nanos = self.clock.at(end).0.saturating_sub(now.0);
            self.core.counters.count_burst(nanos, packets as u64);
        }
        packets
    }

    /// Processes the burst at hand, whose packets came in on `port` and wait since `since` if they have to.
    #[inline(always)]
    fn process(&mut self, port: PortId, now: Nanos, since: Nanos) {
        let tables = self.tables.read();
        process_burst(&mut self.burst, port, tables, &mut self.core, &mut self.out, now, &mut self.watch);
        self.watch.enter(Stage::Transmit);
        let ledger = &mut self.core.ledger;
        self.waiting.admit(&mut self.out.waiting, port, since, ledger);
        self.handover.pass(&mut self.out.handover, port, self.core.peers.hops, ledger);
        self.flush();
    }

    /// Transmits the burst at hand, which the host sent by an exception port, on the port that this one belongs to.
    #[cold]
    fn send_for_host(&mut self, exception: PortId) {
        let ports = &self.tables.read().ports;
        match ports.iter().position(|port| port.exception == Some(exception)) {
            Some(at) => std::mem::swap(&mut self.burst, &mut self.out.tx[at]),
            None => {
                let dropped = self.burst.drain(..);
                dropped.for_each(|_| self.core.ledger.count_drop(DropReason::NoRoute));
            }
        }
        self.flush();
    }

    /// Takes over what other workers have passed on, a burst from each; returns the number of packets.
    #[inline(never)]
    fn take_over(&mut self, now: Nanos) -> usize {
        let place = self.core.ledger.handover();
        let mut packets = 0;
        for sender in 0..self.handover.senders() {
            let Some((port, hops)) = self.handover.take(sender, &mut self.burst) else { continue };
            packets += self.burst.len();
            self.core.ledger.count_rx(place, traffic(&self.burst));
            self.core.peers.hops = hops;
            self.process(port, now, now);
        }
        self.core.peers.hops = 0;
        packets
    }

    /// Who watches.
    pub const fn watch_mut(&mut self) -> &mut W {
        &mut self.watch
    }

    /// The counters that are read together, as of now.
    pub const fn ledger(&self) -> &Ledger {
        &self.core.ledger
    }

    /// The queue of a port.
    pub fn queue_mut(&mut self, port: PortId) -> &mut Q {
        &mut self.queues[port.index()]
    }

    /// Transmits everything in the outbox.
    fn flush(&mut self) {
        for (at, (queue, tx)) in self.queues.iter_mut().zip(&mut self.out.tx).enumerate() {
            if tx.is_empty() {
                continue;
            }
            // An exception port has no VLAN: the kernel's frames get that of the port that they leave on.
            if let Some(vlan) = self.tables.read().ports.get(at).and_then(|port| port.vlan) {
                each(tx, &mut self.core.ledger, |packet| vlan::tag(packet, vlan));
            }
            transmit(queue, tx, at, &mut self.core.ledger);
        }
    }

    /// What need not happen every turn, each part bounded.
    #[cold]
    fn housekeeping(&mut self, now: Nanos) {
        self.retry_waiting(now);
        self.inject();
        self.control.send(&mut self.out.notices);
        self.core.measure(self.tables.read().hash_key, now);
        let elapsed = now.0.saturating_sub(self.swept.0);
        let flows = &mut self.core.flows;
        let buckets = flows.v4.bucket_count() as u64;
        let due = elapsed.saturating_mul(buckets) / SWEEP_PERIOD_NANOS;
        if due > 0 {
            self.swept = now;
            let due = (due as usize).min(SWEEP_BURST);
            flows.sweep(due, now.tick(), self.tables.read(), &self.core.counters);
        }
    }

    /// Lets waiting packets go whose next hop may be known by now, and drops those that waited too long.
    fn retry_waiting(&mut self, now: Nanos) {
        if self.waiting.is_empty() {
            return;
        }
        let generation = self.tables.read().generation;
        for _ in 0..self.waiting.len() {
            let Some((packet, port, since)) = self.waiting.next_due(now, generation, &mut self.core.ledger)
            else {
                break;
            };
            self.burst.push(packet);
            self.process(port, now, since);
        }
        self.waiting.tried(generation, &mut self.core.ledger);
    }

    /// Transmits frames of the control thread.
    fn inject(&mut self) {
        let control = self.core.ledger.control();
        while let Some(frame) = self.control.next_frame() {
            let bytes = frame.bytes.len() as u64;
            self.core.ledger.count_rx(control, Traffic { packets: 1, bytes });
            let at = frame.port.index();
            match self.queues.get_mut(at).and_then(|queue| frame.packet(queue)) {
                Some(packet) => {
                    self.out.tx[at].push(packet);
                    self.flush();
                }
                None => self.core.ledger.count_drop(DropReason::NoBuffer),
            }
        }
    }

    fn commit(&mut self) {
        self.committed.commit(self.core.ledger.words());
    }
}

/// Lets workers pass packets to each other: those of one program, numbered from 0 in this order.
pub fn connect<Q: Queue>(workers: &mut [Worker<Q>]) {
    let count = workers.len();
    for ((at, worker), handover) in (0u16..).zip(workers).zip(HandOver::between(count)) {
        worker.core.peers = Peers::new(LcoreId(at), count as u16);
        worker.out = Outbox::new(worker.queues.len(), count);
        worker.handover = handover;
    }
}

fn traffic<P: Packet>(burst: &Burst<P>) -> Traffic {
    Traffic { packets: burst.len() as u64, bytes: burst.iter().map(|packet| packet.len() as u64).sum() }
}

/// Does something to every packet of a burst; those that it fails for are dropped by name.
fn each<P: Packet>(
    burst: &mut Burst<P>,
    ledger: &mut Ledger,
    mut action: impl FnMut(&mut P) -> Result<(), DropReason>,
) {
    burst.retain(|packet| action(packet).map_err(|reason| ledger.count_drop(reason)).is_ok());
}

/// Transmits `tx` on `queue`; what the port will not take is dropped by name.
fn transmit<Q: Queue>(queue: &mut Q, tx: &mut Burst<Q::Packet>, port: usize, ledger: &mut Ledger) {
    let offered = traffic(tx);
    for _ in 0..TX_TRIES {
        queue.transmit(tx);
        if tx.is_empty() {
            break;
        }
    }
    let left = traffic(tx);
    let sent = Traffic { packets: offered.packets - left.packets, bytes: offered.bytes - left.bytes };
    ledger.count_tx(port, sent);
    for _ in tx.drain(..) {
        ledger.count_drop(DropReason::TxFull);
    }
}
