//! Buffers that are full, and pools that are empty: the packet ends with the right name.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use dataplane::{
    pipeline::DropReason::{NoBuffer, NoHeadroom},
    ports::{
        Burst, Packet, Queue,
        memory::{MemoryPacket, MemoryQueue},
    },
    tables::{Builder, hash::HashKey},
    time::Clock,
    worker::{InjectedFrame, Parts, Worker},
};
use ipc::{
    id::{LcoreId, PortId},
    snapshot,
};
use support::*;

/// A frame in a buffer with this much room in front.
fn with_headroom(frame: &[u8], headroom: usize) -> MemoryPacket {
    let full = 128;
    let mut packet = MemoryPacket::new(&frame[full - headroom..]);
    packet.prepend(full - headroom).unwrap();
    packet.data_mut().copy_from_slice(frame);
    packet
}

#[test]
fn packet_without_room_for_its_tunnel_or_tag_is_dropped_by_name() {
    let servers = vec![server("198.51.100.11", None, 1.0)];
    let mut spec = spec(vec![vip(service("203.0.113.10", 6, 80), GRE, servers)]);
    let ip = Ip::new("203.0.113.77", "203.0.113.10", 6).tcp(1000, 80, ACK, &[7; 200]);
    let frame = frame(LAN_MAC, CLIENT_MAC, &ip);
    for (vlan, too_little) in [(None, 23), (Some(100), 27)] {
        spec.ports[1].vlan = vlan;
        let mut rig = Rig::with(spec.clone(), neighbors(), 64);
        // The first packet of a flow and those that follow go different ways.
        for _ in 0..3 {
            let sent = rig.send_packet(0, with_headroom(&frame, too_little));
            assert_eq!(sent, Outcome::Dropped(NoHeadroom), "{vlan:?}");
        }
        assert!(matches!(rig.send_packet(0, with_headroom(&frame, 100)), Outcome::Out(1, _)));
    }
}

/// A queue whose pool is empty.
#[derive(Debug, Default)]
struct Poor(MemoryQueue);

impl Queue for Poor {
    type Packet = MemoryPacket;

    fn receive(&mut self, burst: &mut Burst<MemoryPacket>) {
        self.0.receive(burst);
    }

    fn transmit(&mut self, burst: &mut Burst<MemoryPacket>) {
        self.0.transmit(burst);
    }

    fn allocate(&mut self) -> Option<MemoryPacket> {
        None
    }
}

#[test]
fn frame_of_the_control_thread_without_a_buffer_is_dropped_by_name() {
    let tables = Builder::default().build(&spec(Vec::new()), &neighbors()).unwrap();
    let (_publisher, mut readers) = snapshot::channel(Box::new(tables), 1);
    let parts = Parts {
        lcore: LcoreId(0),
        queues: vec![Poor::default(), Poor::default()],
        tables: readers.pop().unwrap(),
        flow_capacity: 64,
        hash_key: HashKey::default(),
        measure: dataplane::pipeline::measure::Settings::OFF,
        clock: Clock::start(),
    };
    let (mut worker, handle) = Worker::new(parts).unwrap();
    assert!(handle.inject(InjectedFrame::new(PortId(0), &[0; 60]).unwrap()));
    for _ in 0..64 {
        worker.turn();
    }
    assert_eq!((worker.ledger().drops(NoBuffer), worker.ledger().imbalance()), (1, 0));
}
