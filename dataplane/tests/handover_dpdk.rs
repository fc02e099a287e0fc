//! Two workers on lcores, ports of two queues: NAT there and back, whatever queue a packet comes in on.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::{Duration, Instant};

use dataplane::{
    ports::{
        Burst, Packet, Queue,
        dpdk::{CableConfig, DpdkQueue, Eal, EalConfig, Ends, Mempool, PoolConfig, cable},
    },
    tables::{Builder, encap::Encap},
    time::Clock,
    worker::{Parts, Worker, connect},
};
use ipc::{id::LcoreId, snapshot};
use support::*;

const VIP: &str = "203.0.113.10";
const CLIENT: &str = "203.0.113.77";
const FLOWS: u16 = 500;

/// Transmits frames on the far end of a cable, on the queue that each names.
fn transmit(queues: &mut [DpdkQueue], frames: impl IntoIterator<Item = (usize, Vec<u8>)>) {
    for (queue, frame) in frames {
        let mut mbuf = queues[queue].allocate().unwrap();
        mbuf.append(frame.len()).unwrap();
        mbuf.data_mut().copy_from_slice(&frame);
        let mut burst: Burst<_> = std::iter::once(mbuf).collect();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !burst.is_empty() {
            queues[queue].transmit(&mut burst);
            assert!(Instant::now() < deadline, "nobody takes the frames");
        }
    }
}

/// Receives this many frames from all queues of a far end.
fn receive(queues: &mut [DpdkQueue], count: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while frames.len() < count {
        for queue in &mut *queues {
            let mut burst = Burst::new();
            queue.receive(&mut burst);
            frames.extend(burst.iter().map(|mbuf| mbuf.data().to_vec()));
        }
        assert!(Instant::now() < deadline, "{} frames of {count} came", frames.len());
    }
    frames
}

#[test]
fn two_workers_on_ports_of_two_queues_translate_whatever_queue_a_packet_comes_in_on() {
    let eal = Eal::init(&EalConfig {
        main_cpus: vec![0],
        worker_cpus: vec![0, 0],
        args: ["--no-huge", "-m", "64"].map(str::to_owned).to_vec(),
        pci_devices: Vec::new(),
    });
    let eal = eal.unwrap();
    let pool = Mempool::new(&eal, &PoolConfig { mbufs: 8191, ..PoolConfig::default() }).unwrap();
    let lay = || -> (Ends, Ends) {
        cable(&eal, &CableConfig { queues: 2, ring: 1024, ..CableConfig::default() }, &pool).unwrap()
    };
    let ((lan, lan_queues), (clients, mut at_clients)) = lay();
    let ((net, net_queues), (servers, mut at_servers)) = lay();

    let addresses = ["198.51.100.11", "198.51.100.12", "198.51.100.13"];
    let pool_of_servers = addresses.iter().map(|address| server(address, Some(8080), 1.0)).collect();
    let spec = spec(vec![vip(service(VIP, 6, 80), Encap::Nat, pool_of_servers)]);
    let tables = Builder::default().build(&spec, &neighbors()).unwrap();
    let (_publisher, readers) = snapshot::channel(Box::new(tables), 2);
    let clock = Clock::start();
    let queues = lan_queues.into_iter().zip(net_queues).zip(readers);
    let made = (0..).zip(queues).map(|(lcore, ((lan, net), tables))| {
        let (lcore, queues) = (LcoreId(lcore), vec![lan, net]);
        Worker::new(Parts {
            lcore,
            queues,
            tables,
            flow_capacity: 4096,
            hash_key: spec.hash_key,
            measure: dataplane::pipeline::measure::Settings { one_in: 4, ring: 1024 },
            clock,
        })
        .unwrap()
    });
    let (mut workers, handles): (Vec<_>, Vec<_>) = made.unzip();
    connect(&mut workers);
    let running: Vec<_> = workers
        .into_iter()
        .enumerate()
        .map(|(at, mut worker)| eal.launch(at, move || worker.run()).unwrap())
        .collect();

    for flags in [SYN, ACK, ACK | FIN] {
        let there = (0..FLOWS).map(|flow| {
            let ip = Ip::new(CLIENT, VIP, 6).tcp(1000 + flow, 80, flags, b"there");
            (usize::from(flow / 2 % 2), frame(LAN_MAC, CLIENT_MAC, &ip))
        });
        transmit(&mut at_clients, there);
        let arrived = receive(&mut at_servers, FLOWS.into());
        // Each server answers, on the queue that the flow's number names.
        let back = arrived.iter().map(|out| {
            let (sport, last) = (u16::from_be_bytes([out[34], out[35]]), out[5]);
            assert_eq!(
                (out[33], &out[36..38]),
                (last, &8080u16.to_be_bytes()[..]),
                "address and port of the server"
            );
            let ip = Ip::new(addresses[usize::from(last) - 11], CLIENT, 6).tcp(8080, sport, flags, b"back");
            (usize::from(sport % 2), frame(SERVER_NET_MAC, server_mac(last), &ip))
        });
        transmit(&mut at_servers, back.collect::<Vec<_>>());
        let mut seen = receive(&mut at_clients, FLOWS.into());
        seen.sort_by_key(|out| [out[36], out[37]]);
        for (flow, out) in (0..FLOWS).zip(seen) {
            let ip = Ip { ttl: 63, ..Ip::new(VIP, CLIENT, 6) }.tcp(80, 1000 + flow, flags, b"back");
            assert_eq!(out, frame(GATEWAY_MAC, LAN_MAC, &ip));
        }
    }

    for handle in &handles {
        handle.stop();
    }
    for worker in running {
        worker.join().unwrap();
    }
    let mut ledger = handles[0].ledger().unwrap();
    ledger.merge(&handles[1].ledger().unwrap());
    assert_eq!((ledger.imbalance(), ledger.all_drops()), (0, 0), "{ledger:?}");
    let place = ledger.handover();
    assert_eq!(ledger.rx(place), ledger.tx(place));
    assert!(
        ledger.rx(place).packets > u64::from(FLOWS),
        "about half of six packets of each flow: {ledger:?}"
    );
    drop((lan, net, clients, servers, at_clients, at_servers));
    assert_eq!(pool.in_use(), 0);
}
