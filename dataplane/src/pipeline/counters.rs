//! What a worker counts: written by it alone, read by the metrics and control threads.

use std::{
    io,
    ops::AddAssign,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use bytemuck::Zeroable;
use ipc::{
    id::{LcoreId, ServerId, VipId},
    ledger,
};

use super::verdict::DropReason;
use crate::tables::{
    builder::{MAX_SERVERS, MAX_VIPS},
    huge::HugeArray,
    select::Load,
};

/// A counter with one writer: adding is a plain load and store, no locked instruction.
#[derive(Debug, Default, Zeroable)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owner calls this.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes `n` away. Only the owner calls this.
    #[inline]
    pub fn subtract(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    /// Replaces the value. Only the owner calls this.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value, perhaps a moment old.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one lcore knows of a server.
#[derive(Debug, Default, Zeroable)]
#[repr(C, align(64))]
pub struct ServerCounters {
    /// Packets forwarded to it.
    pub packets: Counter,
    /// Their frames' bytes, before encapsulation.
    pub bytes: Counter,
    /// Flows that were given to it.
    pub created: Counter,
    /// TCP flows that got past their first packet: the client had an answer to its SYN.
    pub established: Counter,
    /// Live flows now: one up when a flow begins, one down when it ends.
    pub flows: Counter,
    /// Flow entries that refer to it now, ended ones included.
    pub entries: Counter,
}

impl ServerCounters {
    /// Counts forwarded packets.
    #[inline(always)]
    pub fn add(&self, traffic: Traffic) {
        self.packets.add(traffic.packets);
        self.bytes.add(traffic.bytes);
    }
}

/// How a server's flows end, and what else happens to them. Apart from [`ServerCounters`]: no packet of a flow that
/// goes on touches these.
#[derive(Debug, Default, Zeroable)]
#[repr(C, align(64))]
pub struct ServerEvents {
    /// Flows that ended with a FIN.
    pub finished_fin: Counter,
    /// Flows that ended with a RST.
    pub finished_rst: Counter,
    /// Live flows that timed out.
    pub timed_out: Counter,
    /// Live flows that made room for others.
    pub evicted: Counter,
    /// SYNs that came again before the client went on.
    pub syn_retransmits: Counter,
    /// When the last flow began, in nanoseconds of the workers' clock, and how long after the one before; 0: never.
    pub last_begin: Counter,
    /// See `last_begin`.
    pub begin_gap: Counter,
}

/// Buckets of the histogram of how long bursts take.
pub const BURST_BUCKETS: usize = 18;

/// Least upper bound of these buckets, in nanoseconds; each next one is twice that.
const FIRST_BURST_BOUND: u64 = 256;

/// The upper bound of a bucket of the histogram of bursts, in seconds; the last one has none.
pub fn burst_bucket_bound(bucket: usize) -> f64 {
    if bucket + 1 >= BURST_BUCKETS { f64::INFINITY } else { (FIRST_BURST_BOUND << bucket) as f64 * 1e-9 }
}

/// Flow table events and load of one lcore.
#[derive(Debug, Default)]
pub struct LcoreCounters {
    /// Flows entered.
    pub created: Counter,
    /// Flows whose entries timed out.
    pub expired: Counter,
    /// Flows whose entries made room for others.
    pub evicted: Counter,
    /// Packets forwarded by hash because their flow did not fit.
    pub untracked: Counter,
    /// First fragments of datagrams.
    pub fragments_first: Counter,
    /// Later ones that follow their first.
    pub fragments_followed: Counter,
    /// Later ones whose first was not seen.
    pub fragments_unknown: Counter,
    /// Entries in use now, of both families.
    pub entries: Counter,
    /// Established flows that changed their server although it was not down. Must stay zero.
    pub pcc_violations: Counter,
    /// Cycles of loop turns that had packets.
    pub busy_cycles: Counter,
    /// Cycles of all loop turns.
    pub cycles: Counter,
    /// Packets received in busy turns.
    pub packets: Counter,
    /// Samples handed over, and those that found the ring full.
    pub samples_pushed: Counter,
    /// See `samples_pushed`.
    pub samples_lost: Counter,
    /// Flows that are watched now.
    pub watched: Counter,
}

/// All that a worker shares by plain counters.
#[derive(Debug)]
pub struct Counters {
    /// Flow table events and load.
    pub lcore: LcoreCounters,
    id: LcoreId,
    servers: HugeArray<ServerCounters>,
    events: HugeArray<ServerEvents>,
    /// Packets by how long the turn took that they came in, in buckets of [`burst_bucket_bound`].
    bursts: [Counter; BURST_BUCKETS],
    /// Turns taken in each VIP's rotation.
    turns: HugeArray<Counter>,
    /// Live flows that the other lcores have on each server. Written by control, read by this worker; apart
    /// from the worker's own counters, whose cache lines stay with it.
    elsewhere: HugeArray<AtomicU32>,
}

impl Counters {
    /// Counters at zero. Memory is committed as it is used.
    pub fn new(id: LcoreId) -> io::Result<Self> {
        Ok(Self {
            lcore: LcoreCounters::default(),
            id,
            servers: HugeArray::zeroed(MAX_SERVERS)?,
            events: HugeArray::zeroed(MAX_SERVERS)?,
            bursts: Default::default(),
            turns: HugeArray::zeroed(MAX_VIPS)?,
            elsewhere: HugeArray::zeroed(MAX_SERVERS)?,
        })
    }

    /// What happened to the flows of a server.
    #[inline]
    pub fn events(&self, id: ServerId) -> &ServerEvents {
        &self.events[id.index() % MAX_SERVERS]
    }

    /// How many packets came in turns of each length, by bucket.
    pub const fn bursts(&self) -> &[Counter] {
        &self.bursts
    }

    /// Counts packets that came in a turn of so many nanoseconds.
    #[inline]
    pub fn count_burst(&self, nanos: u64, packets: u64) {
        let bucket = (u64::BITS - (nanos / FIRST_BURST_BOUND).leading_zeros()) as usize;
        self.bursts[bucket.min(BURST_BUCKETS - 1)].add(packets);
    }

    /// The counters of all servers, by [`ServerId`].
    #[inline]
    pub fn servers(&self) -> &[ServerCounters] {
        &self.servers
    }

    /// The counters of a server.
    #[inline]
    pub fn server(&self, id: ServerId) -> &ServerCounters {
        &self.servers[id.index() % MAX_SERVERS]
    }

    /// Tells each of `lcores` how many live flows the others have on these servers, as of now.
    ///
    /// For the control thread, once a period: until the next time, the rules that look at load go by this.
    pub fn exchange_live_flows(lcores: &[&Self], servers: impl IntoIterator<Item = ServerId>) {
        let mut own = vec![0; lcores.len()];
        for server in servers {
            for (own, lcore) in own.iter_mut().zip(lcores) {
                *own = lcore.server(server).flows.get();
            }
            let all: u64 = own.iter().sum();
            for (own, lcore) in own.iter().zip(lcores) {
                let others = u32::try_from(all - own).unwrap_or(u32::MAX);
                let elsewhere = &lcore.elsewhere[server.index() % MAX_SERVERS];
                // Relaxed: a number on its own. Not written when it is the same: its line stays shared.
                if elsewhere.load(Ordering::Relaxed) != others {
                    elsewhere.store(others, Ordering::Relaxed);
                }
            }
        }
    }
}

impl Load for Counters {
    #[inline]
    fn live_flows(&self, server: ServerId) -> u64 {
        let elsewhere = self.elsewhere[server.index() % MAX_SERVERS].load(Ordering::Relaxed);
        self.server(server).flows.get() + u64::from(elsewhere)
    }

    #[inline]
    fn take_turn(&self, vip: VipId) -> u64 {
        let turns = &self.turns[vip.index() % MAX_VIPS];
        let taken = turns.get();
        turns.set(taken.wrapping_add(1));
        taken
    }

    #[inline]
    fn lcore(&self) -> LcoreId {
        self.id
    }
}

/// Packets and bytes in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Number of packets.
    pub packets: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

impl AddAssign for Traffic {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// The packet law of one lcore: what came in, what went out, what ended here and why.
///
/// `rx = tx + drops + in flight` over all places. Behind the ports come two places that are none: the control
/// thread, which "transmits" the frames it injects and "receives" what is punted to it, and the other workers,
/// which packets are passed on to and taken over from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    words: Vec<u64>,
}

/// How often a reader waits for a worker that is in the middle of a commit, and how long each time.
const READ_TRIES: u32 = 500;
const READ_PAUSE: Duration = Duration::from_millis(1);

/// Places that are no ports: the control thread, and the other workers.
const OTHER_PLACES: usize = 2;

/// Words per place: packets and bytes received, packets and bytes transmitted.
const PORT_WORDS: usize = 4;

impl Ledger {
    /// A ledger for `ports` ports, the control thread and the other workers, all zero.
    pub fn new(ports: usize) -> Self {
        Self { words: vec![0; (ports + OTHER_PLACES) * PORT_WORDS + DropReason::COUNT + 1] }
    }

    /// Number of places that packets come from and go to: ports, control thread, other workers.
    pub fn places(&self) -> usize {
        (self.words.len() - DropReason::COUNT - 1) / PORT_WORDS
    }

    /// Number of ports alone.
    pub fn ports(&self) -> usize {
        self.places() - OTHER_PLACES
    }

    /// The ledger as the writer of an `ipc` ledger sees it.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The newest commit; `None` when none could be read whole in half a second.
    ///
    /// A worker that lost its CPU in the middle of a commit is waited for. Not for packet cores.
    pub fn read(reader: &ledger::Reader) -> Option<Self> {
        for _ in 0..READ_TRIES {
            if let Some(words) = reader.read() {
                return Some(Self { words });
            }
            std::thread::sleep(READ_PAUSE);
        }
        None
    }

    /// The index that stands for the control thread.
    pub fn control(&self) -> usize {
        self.ports()
    }

    /// The index that stands for the other workers.
    pub fn handover(&self) -> usize {
        self.ports() + 1
    }

    /// Counts a packet received on port `port`.
    #[inline]
    pub fn count_rx(&mut self, port: usize, traffic: Traffic) {
        self.words[port * PORT_WORDS] += traffic.packets;
        self.words[port * PORT_WORDS + 1] += traffic.bytes;
    }

    /// Counts a packet transmitted on port `port`.
    #[inline]
    pub fn count_tx(&mut self, port: usize, traffic: Traffic) {
        self.words[port * PORT_WORDS + 2] += traffic.packets;
        self.words[port * PORT_WORDS + 3] += traffic.bytes;
    }

    fn drops_at(&self) -> usize {
        self.words.len() - DropReason::COUNT - 1
    }

    /// Counts a packet that ends here.
    #[inline]
    pub fn count_drop(&mut self, reason: DropReason) {
        let at = self.drops_at() + reason as usize;
        self.words[at] += 1;
    }

    /// Sets how many packets are held.
    #[inline]
    pub fn set_in_flight(&mut self, packets: usize) {
        if let Some(last) = self.words.last_mut() {
            *last = packets as u64;
        }
    }

    /// What was received on port `port`.
    pub fn rx(&self, port: usize) -> Traffic {
        Traffic { packets: self.words[port * PORT_WORDS], bytes: self.words[port * PORT_WORDS + 1] }
    }

    /// What was transmitted on port `port`.
    pub fn tx(&self, port: usize) -> Traffic {
        Traffic { packets: self.words[port * PORT_WORDS + 2], bytes: self.words[port * PORT_WORDS + 3] }
    }

    /// How many packets ended for `reason`.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.words[self.drops_at() + reason as usize]
    }

    /// How many packets ended here for any reason.
    pub fn all_drops(&self) -> u64 {
        DropReason::ALL.iter().map(|&reason| self.drops(reason)).sum()
    }

    /// How many packets are held.
    pub fn in_flight(&self) -> u64 {
        self.words.last().copied().unwrap_or(0)
    }

    /// Adds another lcore's ledger of as many ports.
    pub fn merge(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word += other;
        }
    }

    /// How far the packet law is off: received minus transmitted, dropped and held. Zero when it holds.
    pub fn imbalance(&self) -> i128 {
        let rx: u64 = (0..self.places()).map(|place| self.rx(place).packets).sum();
        let tx: u64 = (0..self.places()).map(|place| self.tx(place).packets).sum();
        i128::from(rx) - i128::from(tx) - i128::from(self.all_drops()) - i128::from(self.in_flight())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_is_balanced_by_transmission_drop_and_flight() {
        let mut ledger = Ledger::new(2);
        assert_eq!((ledger.ports(), ledger.control(), ledger.handover(), ledger.places()), (2, 2, 3, 4));
        ledger.count_rx(0, Traffic { packets: 3, bytes: 300 });
        assert_eq!(ledger.imbalance(), 3);
        ledger.count_tx(1, Traffic { packets: 1, bytes: 124 });
        ledger.count_drop(DropReason::NoServer);
        ledger.set_in_flight(1);
        assert_eq!(ledger.imbalance(), 0);
        assert_eq!(
            (ledger.rx(0).bytes, ledger.tx(1).bytes, ledger.drops(DropReason::NoServer)),
            (300, 124, 1)
        );
        let copy = ledger.clone();
        ledger.merge(&copy);
        assert_eq!((ledger.rx(0).packets, ledger.imbalance()), (6, 0));
    }

    #[test]
    fn bursts_are_counted_below_their_bound() {
        let counters = Counters::new(LcoreId(0)).unwrap();
        for (nanos, bucket) in [(0, 0), (255, 0), (256, 1), (1000, 2), (u64::MAX, BURST_BUCKETS - 1)] {
            let before = counters.bursts()[bucket].get();
            counters.count_burst(nanos, 3);
            assert_eq!(counters.bursts()[bucket].get(), before + 3);
            assert!((nanos as f64) * 1e-9 < burst_bucket_bound(bucket), "{nanos}");
        }
    }

    #[test]
    fn gauges_go_down_as_well() {
        let counter = Counter::default();
        counter.add(2);
        counter.subtract(1);
        assert_eq!(counter.get(), 1);
    }
}
