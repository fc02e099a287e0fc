//! Choosing by load, over several lcores: the others' flows count, at most one exchange late.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::HashMap;

use dataplane::{
    pipeline::counters::Counters,
    ports::{
        Packet,
        memory::{MemoryPacket, MemoryQueue},
    },
    tables::{Builder, Tables, select::Select},
    time::Clock,
    worker::{Handle, Parts, Worker},
};
use ipc::{
    id::{LcoreId, PortId},
    snapshot::{self, Publisher},
};
use support::*;

const VIP: &str = "203.0.113.10";

/// Two workers on the same generation, as `weir run` has them.
struct Pair {
    workers: Vec<Worker<MemoryQueue>>,
    handles: Vec<Handle>,
    publisher: Publisher<Tables>,
    sport: u16,
}

impl Pair {
    fn new(select: Select, weights: &[f64]) -> Self {
        let servers =
            (11..).zip(weights).map(|(last, &weight)| server(&format!("198.51.100.{last}"), None, weight));
        let mut vip = vip(service(VIP, 6, 80), GRE, servers.collect());
        vip.select = select;
        let spec = spec(vec![vip]);
        let tables = Builder::default().build(&spec, &neighbors()).unwrap();
        let (publisher, readers) = snapshot::channel(Box::new(tables), 2);
        let (mut workers, mut handles) = (Vec::new(), Vec::new());
        for (lcore, tables) in (0u16..).map(LcoreId).zip(readers) {
            let parts = Parts {
                lcore,
                queues: vec![MemoryQueue::default(), MemoryQueue::default()],
                tables,
                flow_capacity: 4096,
                hash_key: spec.hash_key,
                measure: dataplane::pipeline::measure::Settings { one_in: 4, ring: 1024 },
                clock: Clock::start(),
            };
            let (worker, handle) = Worker::new(parts).unwrap();
            workers.push(worker);
            handles.push(handle);
        }
        Self { workers, handles, publisher, sport: 1000 }
    }

    /// Opens flows on a worker; returns how many each server got, by its last byte.
    fn open(&mut self, worker: usize, flows: u32) -> HashMap<u8, u32> {
        let mut servers = HashMap::new();
        for _ in 0..flows {
            self.sport += 1;
            let ip = Ip::new("203.0.113.77", VIP, 6).tcp(self.sport, 80, SYN, b"");
            let worker = &mut self.workers[worker];
            let incoming = &mut worker.queue_mut(PortId(0)).incoming;
            incoming.push_back(MemoryPacket::new(&frame(LAN_MAC, CLIENT_MAC, &ip)));
            worker.turn();
            let out = worker.queue_mut(PortId(1)).outgoing.pop().unwrap();
            *servers.entry(out.data()[5]).or_default() += 1;
        }
        servers
    }

    /// What the control thread does once a period.
    fn exchange(&self) {
        let lcores: Vec<&Counters> = self.handles.iter().map(|handle| &*handle.counters).collect();
        Counters::exchange_live_flows(&lcores, self.publisher.current().servers_by_load());
    }
}

#[test]
fn flows_of_the_other_lcore_count_from_the_next_exchange_on() {
    for select in [Select::Lsq, Select::Sed] {
        let mut pair = Pair::new(select, &[1.0, 1.0]);
        // Lcore 0 fills both, then loses all of one server's.
        pair.open(0, 100);
        let tables = pair.publisher.current();
        let [first, second] = tables.servers_by_load().collect::<Vec<_>>()[..] else { panic!("two") };
        let mine = &pair.handles[0].counters;
        mine.server(second).flows.subtract(50);

        // Lcore 1 has not heard of it and fills both alike; then it has, and evens them out.
        assert_eq!(pair.open(1, 10).values().copied().collect::<Vec<_>>(), [5, 5], "{select:?}");
        pair.exchange();
        let now = pair.open(1, 50);
        assert_eq!(now.values().sum::<u32>(), 50);
        assert_eq!(now.len(), 1, "{select:?}: all to the server that lost its flows: {now:?}");
        let counts = |at: usize, server| pair.handles[at].counters.server(server).flows.get();
        assert_eq!((counts(0, first) + counts(1, first), counts(0, second) + counts(1, second)), (55, 55));
    }
}

#[test]
fn own_flows_are_counted_at_once_and_never_twice() {
    let mut pair = Pair::new(Select::Sed, &[1.0, 2.0, 3.0]);
    for round in 0..10u32 {
        for worker in [0, 1] {
            pair.open(worker, 30);
            pair.exchange();
            let flows: Vec<u64> = pair
                .publisher
                .current()
                .servers_by_load()
                .map(|id| pair.handles.iter().map(|handle| handle.counters.server(id).flows.get()).sum())
                .collect();
            let total = u64::from(round * 60 + if worker == 0 { 30 } else { 60 });
            for (flows, weight) in flows.iter().zip([1, 2, 3]) {
                assert!(flows.abs_diff(total * weight / 6) <= 1, "{flows} of {total} for weight {weight}");
            }
        }
    }
}

#[test]
fn lcores_rotate_from_different_places() {
    let mut pair = Pair::new(Select::RoundRobin, &[1.0; 4]);
    let (first, second) = (pair.open(0, 2), pair.open(1, 2));
    assert_eq!((first.len(), second.len()), (2, 2));
    assert!(first.keys().all(|server| !second.contains_key(server)), "{first:?} {second:?}");
}

#[test]
fn only_servers_of_rules_by_load_are_exchanged() {
    for select in Select::ALL {
        let pair = Pair::new(select, &[1.0; 3]);
        let expected = if select.counts_flows() { 3 } else { 0 };
        assert_eq!(pair.publisher.current().servers_by_load().count(), expected, "{select:?}");
    }
}
