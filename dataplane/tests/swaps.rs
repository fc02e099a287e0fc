//! A worker under load while generations come as fast as they can be built, and a server goes and comes back.
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use dataplane::{
    pipeline::{DropReason, measure},
    ports::{
        Burst, Queue,
        memory::{MemoryPacket, MemoryQueue},
    },
    tables::{
        Builder, Tables, encap::Encap, neighbor::Neighbors, select::Select, server::ServerState, spec::Spec,
    },
    time::Clock,
    worker::{Parts, Worker},
};
use ipc::{
    id::{LcoreId, ServerId, VipId},
    snapshot,
};
use support::*;

const SERVERS: [&str; 3] = ["198.51.100.11", "198.51.100.12", "198.51.100.13"];

/// Generations that are published.
const SWAPS: usize = 1_000_000;

/// Receives connections of its own making, each from SYN to FIN, many at a time.
struct Load {
    frames: Vec<MemoryPacket>,
    at: usize,
    transmitted: Arc<AtomicU64>,
}

impl Load {
    fn new(connections: u16, transmitted: Arc<AtomicU64>) -> Self {
        let segments = [SYN, ACK, ACK, ACK, FIN | ACK];
        let frames = segments.iter().flat_map(|&flags| {
            (0..connections).map(move |client| {
                let ip = Ip::new("203.0.113.77", "203.0.113.10", 6).tcp(1000 + client, 80, flags, b"");
                MemoryPacket::new(&frame(LAN_MAC, CLIENT_MAC, &ip))
            })
        });
        Self { frames: frames.collect(), at: 0, transmitted }
    }
}

impl Queue for Load {
    type Packet = MemoryPacket;

    fn receive(&mut self, burst: &mut Burst<MemoryPacket>) {
        while !burst.is_full() && !self.frames.is_empty() {
            burst.push(self.frames[self.at].clone());
            self.at = (self.at + 1) % self.frames.len();
        }
    }

    fn transmit(&mut self, burst: &mut Burst<MemoryPacket>) {
        self.transmitted.fetch_add(burst.len() as u64, Ordering::Relaxed);
        burst.clear();
    }

    fn allocate(&mut self) -> Option<MemoryPacket> {
        MemoryQueue::default().allocate()
    }
}

/// The next generation: every other one only with other learned weights, sharing the rest with the one before.
fn next(
    builder: &mut Builder,
    current: &Tables,
    spec: &mut Spec,
    neighbors: &Neighbors,
    step: usize,
) -> Tables {
    if !step.is_multiple_of(2) {
        let vip = VipId(0);
        match step % 5 {
            0 => builder.unlearn(vip),
            turn => builder.learn(vip, [(ServerId(turn as u32 % 3), turn as f64)]),
        }
        return builder.reweigh(current, [vip]);
    }
    change(spec, step / 2);
    builder.build(spec, neighbors).unwrap()
}

/// Weights change with every generation; now and then the second server goes down, is removed and comes back.
fn change(spec: &mut Spec, step: usize) {
    let servers = &mut spec.vips[0].servers;
    servers[0].weight = if servers[0].weight > 1.0 { 1.0 } else { 2.0 };
    match step % 4000 {
        1000 => servers[1].state = ServerState::Down,
        2000 => drop(servers.remove(1)),
        3000 => servers.insert(1, server(SERVERS[1], None, 1.0)),
        _ => {}
    }
}

#[test]
fn a_million_generations_under_load_lose_no_packet_and_move_no_flow_that_may_stay() {
    let servers = SERVERS.iter().map(|address| server(address, None, 1.0)).collect();
    let mut vip = vip(service("203.0.113.10", 6, 80), Encap::Gre { key: None }, servers);
    vip.select = Select::Alias;
    let (mut spec, neighbors) = (spec(vec![vip]), neighbors());
    let mut builder = Builder::default();
    let first = builder.build(&spec, &neighbors).unwrap();
    let (mut publisher, mut readers) = snapshot::channel(Box::new(first), 1);
    let transmitted = Arc::new(AtomicU64::new(0));
    let mut silent = Load::new(0, Arc::clone(&transmitted));
    silent.frames.clear();
    let (mut worker, handle) = Worker::new(Parts {
        lcore: LcoreId(0),
        queues: vec![Load::new(2000, Arc::clone(&transmitted)), silent],
        tables: readers.pop().unwrap(),
        flow_capacity: 4096,
        hash_key: spec.hash_key,
        measure: measure::Settings { one_in: 4, ring: 1024 },
        clock: Clock::start(),
    })
    .unwrap();
    let running = thread::spawn(move || {
        worker.run();
        worker
    });
    let mut given_up = 0;
    for step in 0..SWAPS {
        let tables = next(&mut builder, publisher.current(), &mut spec, &neighbors, step);
        publisher.publish(Box::new(tables));
        publisher.reclaim();
        if publisher.settled() {
            let before = builder.servers().count();
            builder.release(&spec, |id| handle.counters.server(id).entries.get() == 0);
            given_up += before - builder.servers().count();
        }
    }
    handle.stop();
    let worker = running.join().unwrap();
    let ledger = worker.ledger();
    assert_eq!((ledger.imbalance(), ledger.in_flight()), (0, 0));
    assert_eq!(DropReason::ALL.iter().filter(|&&reason| ledger.drops(reason) > 0).count(), 0, "{ledger:?}");
    assert_eq!(ledger.rx(0).packets, transmitted.load(Ordering::Relaxed));
    assert!(ledger.rx(0).packets > 10_000, "the worker had a load");
    let lcore = &handle.counters.lcore;
    assert_eq!((lcore.pcc_violations.get(), lcore.evicted.get()), (0, 0));
    let entries: u64 = builder.servers().map(|(id, _)| handle.counters.server(id).entries.get()).sum();
    assert_eq!(entries, lcore.entries.get(), "every entry belongs to a server that is known");
    assert!(given_up > 0, "the server's slot was given up while its flows were flushed");
}
