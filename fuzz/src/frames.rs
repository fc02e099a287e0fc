//! Any frames, in any number of bursts, through two whole workers with every kind of VIP.

use dataplane::tables::{
    encap::{Encap, GueVariant},
    spec::{Spec, VipSpec},
};
use ipc::id::PortId;

use crate::{
    input::Input,
    support::{GRE, LAN_MAC, SERVER_NET_MAC, crew::Crew, server, service, spec, vip},
};

/// Most frames of one input.
const MOST: usize = 256;

/// In the word before each frame: its length, which worker it comes to, on which port, whether it gets the port's
/// Ethernet address, and whether the workers turn before it.
pub mod word {
    /// Length of the frame.
    pub const LENGTH: u16 = 0x07ff;
    /// It comes to the second worker.
    pub const SECOND_WORKER: u16 = 0x0800;
    /// It comes in on the servers' port.
    pub const SERVERS: u16 = 0x1000;
    /// Its destination is the port's Ethernet address.
    pub const FOR_US: u16 = 0x2000;
    /// The workers turn first.
    pub const TURN: u16 = 0x4000;
}

/// VIPs of both families by every encapsulation, an exception port, and a VLAN.
pub fn configuration() -> Spec {
    let v4 = |encap, port, protocol| {
        let servers = ["198.51.100.11", "198.51.100.12"].map(|address| server(address, nat_port(encap), 1.0));
        vip(service("203.0.113.10", protocol, port), encap, servers.to_vec())
    };
    let v6 = |encap, port, protocol| {
        let servers =
            ["2001:db8:1::11", "2001:db8:1::12"].map(|address| server(address, nat_port(encap), 1.0));
        vip(service("2001:db8:5::10", protocol, port), encap, servers.to_vec())
    };
    let ways = [
        GRE,
        Encap::Gre { key: Some(42) },
        Encap::Ipip,
        Encap::Gue { variant: GueVariant::Header, port: 6080 },
        Encap::Gue { variant: GueVariant::Direct, port: 6081 },
        Encap::L3dsr { dscp: 7 },
        Encap::Nat,
    ];
    let mut vips: Vec<VipSpec> = Vec::new();
    for (port, &encap) in (80..).zip(&ways) {
        for protocol in [6, 17] {
            vips.push(v4(encap, port, protocol));
            vips.push(v6(encap, port, protocol));
        }
    }
    vips.push(vip(service("203.0.113.16/28", 6, 80), GRE, vec![server("2001:db8:1::13", None, 1.0)]));
    vips.iter_mut().step_by(3).for_each(|vip| vip.mss = Some(1300));
    let mut spec = spec(vips);
    spec.ports[0].exception = Some(PortId(2));
    spec.ports[1].vlan = Some(100);
    spec
}

fn nat_port(encap: Encap) -> Option<u16> {
    (encap == Encap::Nat).then_some(8080)
}

/// One verdict for each frame, the packet law at every moment, exact counts of flows.
pub fn run(input: &[u8]) {
    crate::without_huge_pages();
    let mut crew = Crew::new(configuration(), 2);
    let (mut input, mut frames, mut sent) = (Input(input), 0, 0);
    while frames < MOST
        && let Some(word) = input.word()
    {
        if word & word::TURN != 0 {
            sent += turn(&mut crew);
        }
        let mut frame = input.bytes(usize::from(word & word::LENGTH)).to_vec();
        let to_servers = word & word::SERVERS != 0;
        if word & word::FOR_US != 0 && frame.len() >= 6 {
            frame[..6].copy_from_slice(&if to_servers { SERVER_NET_MAC } else { LAN_MAC }.0);
        }
        let worker = usize::from(word & word::SECOND_WORKER != 0);
        crew.enqueue(worker, u16::from(to_servers), &frame);
        frames += 1;
    }
    for _ in 0..MOST.div_ceil(32) {
        sent += turn(&mut crew);
    }
    crew.settle();
    sent += drain(&mut crew);
    let received = crew.sum(|ledger| ledger.rx(0).packets + ledger.rx(1).packets);
    assert_eq!(received, frames as u64);
    assert_eq!(crew.sum(|ledger| (0..3).map(|port| ledger.tx(port).packets).sum()), sent as u64);
    let (live, entries) = crew.flows();
    assert!(live <= entries && entries <= frames as u64, "{live} live of {entries} entries");
}

fn turn(crew: &mut Crew) -> usize {
    for worker in &mut crew.workers {
        worker.turn();
    }
    crew.assert_law();
    drain(crew)
}

/// Takes what was transmitted; returns how many frames that were, none of them empty.
fn drain(crew: &mut Crew) -> usize {
    let frames: Vec<Vec<u8>> = (0..3).flat_map(|port| crew.drain(port)).collect();
    assert!(frames.iter().all(|frame| frame.len() >= 14));
    frames.len()
}
