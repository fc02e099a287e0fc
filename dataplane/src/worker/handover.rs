//! Packets that one worker passes to another: a bounded ring for each pair of workers and direction.
//!
//! In the packet law the other workers count as one more place: passed on is transmitted, taken over is received.

use ipc::id::PortId;
use rtrb::{Consumer, Producer, RingBuffer};

use crate::{
    pipeline::{
        DropReason,
        counters::{Ledger, Traffic},
    },
    ports::{BURST, Burst, Packet},
};

/// Packets that may be on their way to one worker from all others together, where those are few.
pub const CAPACITY: usize = 1024;

/// Least room of one ring: two bursts.
const LEAST: usize = 2 * BURST;

/// Room of each ring among so many workers.
fn room(workers: usize) -> usize {
    (CAPACITY / workers.saturating_sub(1).max(1)).max(LEAST)
}

/// Most packets that may be on their way among so many workers.
pub fn most_under_way(workers: usize) -> usize {
    workers * workers.saturating_sub(1) * room(workers)
}

/// A packet on its way, as it came from its port, but without its VLAN tag.
#[derive(Debug)]
struct Passed<P> {
    packet: P,
    port: PortId,
    hops: u8,
}

/// A worker's ends of the rings. Without other workers there are none.
#[derive(Debug)]
pub(super) struct HandOver<P> {
    /// To each worker by its number; none to itself.
    to: Vec<Option<Producer<Passed<P>>>>,
    /// From each other worker.
    from: Vec<Consumer<Passed<P>>>,
}

impl<P> HandOver<P> {
    /// For a worker that is alone.
    pub(super) const fn none() -> Self {
        Self { to: Vec::new(), from: Vec::new() }
    }

    /// The ends for `workers` workers, in their order.
    pub(super) fn between(workers: usize) -> Vec<Self> {
        let mut all: Vec<Self> = (0..workers).map(|_| Self::none()).collect();
        for sender in 0..workers {
            for receiver in 0..workers {
                let producer = (sender != receiver).then(|| {
                    let (producer, consumer) = RingBuffer::new(room(workers));
                    all[receiver].from.push(consumer);
                    producer
                });
                all[sender].to.push(producer);
            }
        }
        all
    }
}

impl<P: Packet> HandOver<P> {
    /// Passes packets on, by worker, that came in on `port` and were passed on `hops` times before; drops by name
    /// what finds no room.
    #[inline(always)]
    pub(super) fn pass(&mut self, packets: &mut [Burst<P>], port: PortId, hops: u8, ledger: &mut Ledger) {
        for (at, packets) in packets.iter_mut().enumerate() {
            if !packets.is_empty() {
                self.pass_to(at, packets, port, hops.saturating_add(1), ledger);
            }
        }
    }

    #[inline(never)]
    fn pass_to(&mut self, to: usize, packets: &mut Burst<P>, port: PortId, hops: u8, ledger: &mut Ledger) {
        let mut passed = Traffic::default();
        if let Some(Some(ring)) = self.to.get_mut(to) {
            let fits = ring.slots().min(packets.len());
            if let Ok(slots) = ring.write_chunk_uninit(fits) {
                // All become visible to the other worker at once.
                slots.fill_from_iter(packets.drain(..fits).map(|packet| {
                    passed.packets += 1;
                    passed.bytes += packet.len() as u64;
                    Passed { packet, port, hops }
                }));
            }
        }
        ledger.count_tx(ledger.handover(), passed);
        for _ in packets.drain(..) {
            ledger.count_drop(DropReason::HandoverFull);
        }
    }

    /// Number of workers to take from.
    #[inline(always)]
    pub(super) const fn senders(&self) -> usize {
        self.from.len()
    }

    /// Appends packets from one of the other workers to `burst`, at most until it is full: those that came on the
    /// same port and were passed on as often. Says on which and how often.
    #[inline]
    pub(super) fn take(&mut self, sender: usize, burst: &mut Burst<P>) -> Option<(PortId, u8)> {
        let from = &mut self.from[sender];
        let Passed { packet, port, hops } = from.pop().ok()?;
        burst.push(packet);
        while !burst.is_full()
            && from.peek().is_ok_and(|next| (next.port, next.hops) == (port, hops))
            && let Ok(next) = from.pop()
        {
            burst.push(next.packet);
        }
        Some((port, hops))
    }

    /// Ends passing on: from now on what would be passed is dropped, and the others know that nothing will come.
    pub(super) fn close(&mut self) {
        self.to.clear();
    }

    /// Whether nothing more can come from anybody.
    pub(super) fn is_finished(&self) -> bool {
        // In this order: what was pushed before a producer was dropped can be seen after that was.
        self.from.iter().all(|from| from.is_abandoned() && from.is_empty())
    }
}
