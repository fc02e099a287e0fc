//! What the workers have counted for a server slot, summed over all of them.

use dataplane::worker::Handle;
use ipc::id::ServerId;

/// Counters of a server slot that only grow, over all lcores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets forwarded to the server.
    pub packets: u64,
    /// Their bytes, before encapsulation.
    pub bytes: u64,
    /// Flows that were given to it.
    pub created: u64,
    /// TCP flows that got past their first packet.
    pub established: u64,
    /// Flows that ended with a FIN.
    pub finished_fin: u64,
    /// Flows that ended with a RST.
    pub finished_rst: u64,
    /// Live flows that timed out.
    pub timed_out: u64,
    /// Live flows that made room for others.
    pub evicted: u64,
    /// SYNs that came again.
    pub syn_retransmits: u64,
}

impl Totals {
    /// What the slot has counted up to now, whoever it belonged to.
    pub fn of(id: ServerId, workers: &[Handle]) -> Self {
        workers.iter().fold(Self::default(), |sum, worker| {
            let (server, events) = (worker.counters.server(id), worker.counters.events(id));
            sum.plus(Self {
                packets: server.packets.get(),
                bytes: server.bytes.get(),
                created: server.created.get(),
                established: server.established.get(),
                finished_fin: events.finished_fin.get(),
                finished_rst: events.finished_rst.get(),
                timed_out: events.timed_out.get(),
                evicted: events.evicted.get(),
                syn_retransmits: events.syn_retransmits.get(),
            })
        })
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.zip(other, u64::wrapping_add)
    }

    /// What was counted after `base` had been.
    #[must_use]
    pub fn since(self, base: Self) -> Self {
        self.zip(base, u64::saturating_sub)
    }

    fn zip(self, other: Self, both: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            packets: both(self.packets, other.packets),
            bytes: both(self.bytes, other.bytes),
            created: both(self.created, other.created),
            established: both(self.established, other.established),
            finished_fin: both(self.finished_fin, other.finished_fin),
            finished_rst: both(self.finished_rst, other.finished_rst),
            timed_out: both(self.timed_out, other.timed_out),
            evicted: both(self.evicted, other.evicted),
            syn_retransmits: both(self.syn_retransmits, other.syn_retransmits),
        }
    }
}

/// Live flows on the server slot now, over all lcores.
pub fn live_flows(id: ServerId, workers: &[Handle]) -> u64 {
    let sum = |sum: u64, worker: &Handle| sum.wrapping_add(worker.counters.server(id).flows.get());
    workers.iter().fold(0, sum)
}
