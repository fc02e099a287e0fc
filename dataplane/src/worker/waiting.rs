//! Packets that wait for ARP or NDP to resolve their next hop.

use std::collections::VecDeque;

use ipc::id::Generation;
use ipc::id::PortId;

use crate::{
    pipeline::{DropReason, counters::Ledger},
    ports::Burst,
    time::Nanos,
};

/// Most packets that wait on one lcore.
const CAPACITY: usize = 256;

/// How long a packet waits before it is dropped.
const PATIENCE_NANOS: u64 = 1_000_000_000;

/// A bounded queue of packets as they came, each with its port and the time of its arrival.
#[derive(Debug)]
pub struct WaitingRoom<P> {
    packets: VecDeque<(P, PortId, Nanos)>,
    /// The generation under which all were last tried.
    tried: Generation,
}

impl<P> WaitingRoom<P> {
    pub fn new() -> Self {
        Self { packets: VecDeque::with_capacity(CAPACITY), tried: Generation(0) }
    }

    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Takes packets in that came on `port` at `since`; drops by name what does not fit.
    #[inline]
    pub fn admit(&mut self, waiting: &mut Burst<P>, port: PortId, since: Nanos, ledger: &mut Ledger) {
        if waiting.is_empty() {
            return;
        }
        for packet in waiting.drain(..) {
            if self.packets.len() < CAPACITY {
                self.packets.push_back((packet, port, since));
            } else {
                ledger.count_drop(DropReason::WaitingFull);
            }
        }
        ledger.set_in_flight(self.packets.len());
    }

    /// The next packet to try again: none while the generation is the one that was tried already.
    /// Packets that have waited too long are dropped by name on the way.
    pub fn next_due(
        &mut self,
        now: Nanos,
        generation: Generation,
        ledger: &mut Ledger,
    ) -> Option<(P, PortId, Nanos)> {
        while let Some((_, _, since)) = self.packets.front() {
            if now.0.saturating_sub(since.0) > PATIENCE_NANOS {
                self.packets.pop_front();
                ledger.count_drop(DropReason::Unresolved);
            } else if generation == self.tried {
                return None;
            } else {
                return self.packets.pop_front();
            }
        }
        None
    }

    /// Notes that every packet was tried under `generation`.
    pub fn tried(&mut self, generation: Generation, ledger: &mut Ledger) {
        self.tried = generation;
        ledger.set_in_flight(self.packets.len());
    }
}
