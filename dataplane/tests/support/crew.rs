//! Several workers on in-memory ports, turned by hand.

use std::sync::LazyLock;

use dataplane::{
    pipeline::{DropReason, counters::Ledger},
    ports::Packet,
    ports::memory::{MemoryPacket, MemoryQueue},
    tables::{Builder, Tables, neighbor::Neighbors, spec::Spec},
    time::Clock,
    worker::{Handle, Parts, Worker, connect},
};
use ipc::{
    id::{LcoreId, PortId},
    snapshot::{self, Publisher},
};

use super::{Outcome, neighbors, places};

/// Starting a clock takes ten milliseconds.
static CLOCK: LazyLock<Clock> = LazyLock::new(Clock::start);

/// Workers that share two ports, each with a queue of both.
pub struct Crew {
    pub workers: Vec<Worker<MemoryQueue>>,
    pub handles: Vec<Handle>,
    pub publisher: Publisher<Tables>,
    pub builder: Builder,
    pub spec: Spec,
    pub neighbors: Neighbors,
}

impl Crew {
    pub fn new(spec: Spec, count: u16) -> Self {
        let (mut builder, neighbors) = (Builder::default(), neighbors());
        let tables = builder.build(&spec, &neighbors).unwrap();
        let (publisher, readers) = snapshot::channel(Box::new(tables), usize::from(count));
        let parts = |(lcore, tables)| Parts {
            lcore: LcoreId(lcore),
            queues: (0..places(&spec)).map(|_| MemoryQueue::default()).collect(),
            tables,
            flow_capacity: 4096,
            hash_key: spec.hash_key,
            measure: dataplane::pipeline::measure::Settings { one_in: 4, ring: 1024 },
            clock: *CLOCK,
        };
        let made = (0..count).zip(readers).map(|part| Worker::new(parts(part)).unwrap());
        let (mut workers, handles): (Vec<_>, Vec<_>) = made.unzip();
        connect(&mut workers);
        Self { workers, handles, publisher, builder, spec, neighbors }
    }

    /// Publishes a generation of the spec as it is now.
    pub fn publish(&mut self) {
        let tables = self.builder.build(&self.spec, &self.neighbors).unwrap();
        self.publisher.publish(Box::new(tables));
    }

    pub fn enqueue(&mut self, worker: usize, port: u16, frame: &[u8]) {
        self.workers[worker].queue_mut(PortId(port)).incoming.push_back(MemoryPacket::new(frame));
    }

    /// Turns one worker after the other until a packet that was passed on as often as possible has arrived.
    pub fn settle(&mut self) {
        for _ in 0..=self.workers.len() {
            for worker in &mut self.workers {
                worker.turn();
            }
        }
        self.assert_law();
        let handover = self.sum(|ledger| ledger.rx(ledger.handover()).packets);
        assert_eq!(handover, self.sum(|ledger| ledger.tx(ledger.handover()).packets), "lost between workers");
    }

    /// Sends one frame into a port of one worker and says what came of it.
    pub fn send(&mut self, worker: usize, port: u16, frame: &[u8]) -> Outcome {
        let before = self.drops();
        self.enqueue(worker, port, frame);
        self.settle();
        let mut out = self.drain(0).into_iter().map(|frame| (0, frame)).collect::<Vec<_>>();
        out.extend(self.drain(1).into_iter().map(|frame| (1, frame)));
        assert!(out.len() <= 1, "{} frames of one", out.len());
        if let Some((port, frame)) = out.pop() {
            return Outcome::Out(port, frame);
        }
        let after = self.drops();
        let reason =
            DropReason::ALL.iter().zip(before.iter().zip(after)).find(|(_, (before, after))| *before < after);
        reason.map_or(Outcome::Held, |(&reason, _)| Outcome::Dropped(reason))
    }

    /// All frames that the workers have transmitted on a port.
    pub fn drain(&mut self, port: u16) -> Vec<Vec<u8>> {
        let queues = self.workers.iter_mut().map(|worker| worker.queue_mut(PortId(port)));
        queues.flat_map(|queue| queue.outgoing.drain(..)).map(|packet| packet.data().to_vec()).collect()
    }

    pub fn sum(&self, read: impl Fn(&Ledger) -> u64) -> u64 {
        self.workers.iter().map(|worker| read(worker.ledger())).sum()
    }

    pub fn drops(&self) -> Vec<u64> {
        DropReason::ALL.iter().map(|&reason| self.sum(|ledger| ledger.drops(reason))).collect()
    }

    /// How many packets were passed from worker to worker.
    pub fn passed(&self) -> u64 {
        self.sum(|ledger| ledger.tx(ledger.handover()).packets)
    }

    pub fn assert_law(&self) {
        for worker in &self.workers {
            assert_eq!(worker.ledger().imbalance(), 0, "{:?}", worker.ledger());
        }
    }

    /// Live flows and entries, over all workers and servers.
    pub fn flows(&self) -> (u64, u64) {
        let ids: Vec<_> = self.builder.servers().map(|(id, _)| id).collect();
        let counters =
            self.handles.iter().flat_map(|handle| ids.iter().map(|&id| handle.counters.server(id)));
        counters.fold((0, 0), |(live, entries), server| {
            (live + server.flows.get(), entries + server.entries.get())
        })
    }
}
