//! The worker that is measured: the one that `weir run` runs, with flows in its table.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use dataplane::{
    pipeline::{
        DropReason,
        counters::{Counter, burst_bucket_bound},
        measure,
        watch::Watch,
    },
    ports::dpdk::DpdkQueue,
    tables::{
        Builder, Tables,
        encap::{Encap, GueVariant},
        flow::Timeouts,
        hash::HashKey,
        neighbor::Neighbors,
        route::NextHop,
        select::Select,
        server::ServerState,
        spec::{PortSpec, ServerSpec, Spec, TunnelSource, VipSpec},
        vip::Service,
    },
    time::{Clock, cycles},
    wire::{Mac, protocol, tcp::Flags},
    worker::{Handle, Parts, Worker},
};
use ipc::{
    id::{LcoreId, PortId},
    snapshot::{self, Publisher},
};

use crate::{
    cli::{self, Setting},
    error::Error,
    generator::{CLIENT_MAC, Generator, Kind, PORT_MAC, VIP, VIP_PORT, VIP_V6},
};

/// Entries of the flow table by default, as in the configuration.
pub const DEFAULT_ENTRIES: u32 = 1 << 20;

/// What is measured of flows by default. Nobody takes the samples here: the ring is full, which costs as much.
const MEASURED: measure::Settings = measure::Settings { one_in: 1, ring: 1 << 14 };

/// One port, VIPs, servers on the link, and a generator in place of the port's receive side.
pub struct Balancer<W = ()> {
    worker: Worker<Generator, W>,
    handle: Handle,
    /// Whether each packet is a new flow.
    flooded: bool,
    tables: Publisher<Tables>,
    builder: Builder,
    spec: Spec,
    neighbors: Neighbors,
}

impl<W: Watch> Balancer<W> {
    /// A balancer for `setting` with room for `entries` flow entries, whose worker `watch` watches.
    pub fn new(queue: DpdkQueue, setting: Setting, entries: u32, watch: W) -> Result<Self, Error> {
        let Setting { encap, flows, servers, vips, .. } = setting;
        let generator = Generator::new(queue, Kind { v6: encap.is_v6_inside(), vips }, flows.0);
        let spec = spec(setting);
        let gateway = (spec.ports[0].gateways[0], CLIENT_MAC);
        let servers = (0..servers).map(|server| (server_address(encap, server), server_mac(server)));
        let neighbors: Neighbors = std::iter::once(gateway)
            .chain(servers)
            .map(|(address, mac)| (NextHop { port: PortId(0), address }, mac))
            .collect();
        let mut builder = Builder::default();
        let (tables, mut readers) = snapshot::channel(Box::new(builder.build(&spec, &neighbors)?), 1);
        let parts = Parts {
            lcore: LcoreId(0),
            queues: vec![generator],
            tables: readers.pop().expect("one reader was asked for"),
            flow_capacity: entries,
            hash_key: spec.hash_key,
            measure: if setting.measured { MEASURED } else { measure::Settings::OFF },
            clock: Clock::start(),
        };
        let made = Worker::watched(parts, watch).map_err(|cause| Error::FlowTable { entries, cause });
        made.map(|(worker, handle)| Self { worker, handle, flooded: false, tables, builder, spec, neighbors })
    }

    /// Who watches the worker.
    pub const fn watch_mut(&mut self) -> &mut W {
        self.worker.watch_mut()
    }

    /// Opens `flows` connections, in an order that has nothing to do with the one that packets will come in,
    /// and goes on with their ACKs in turn.
    pub fn establish(&mut self, row: &str, flows: u32) -> Result<(), Error> {
        let order = shuffled(flows);
        for flags in [Flags::SYN, Flags::ACK] {
            self.generator().list(order.clone(), flags);
            while self.turn() > 0 {}
        }
        let lcore = &self.handle.counters.lcore;
        let (created, lost) = (lcore.created.get(), lcore.evicted.get() + lcore.untracked.get());
        if (created, lost) != (u64::from(flows), 0) {
            let what = format!("of {flows} flows {created} were entered and {lost} lost");
            return Err(Error::Wrong { row: row.to_owned(), what });
        }
        self.generator().go_around(flows);
        Ok(())
    }

    /// Fills the table of `entries` with SYNs and goes on with ever new ones.
    pub fn flood(&mut self, entries: u32) {
        self.flooded = true;
        self.generator().open_fresh(0);
        let mut left = u64::from(entries) * 2;
        while left > 0 {
            left = left.saturating_sub(self.turn());
        }
    }

    /// One turn of the worker; returns the packets that it received.
    #[inline]
    pub fn turn(&mut self) -> u64 {
        self.worker.turn() as u64
    }

    /// Within how many seconds 99 of 100 packets were through a turn of the worker, rounded up to a bucket's bound.
    pub fn p99_seconds(&self) -> f64 {
        let counts: Vec<u64> = self.handle.counters.bursts().iter().map(Counter::get).collect();
        let most = counts.iter().sum::<u64>() / 100 * 99;
        let mut below = 0;
        let bucket = counts.iter().position(|count| {
            below += count;
            below >= most
        });
        bucket.map_or(f64::INFINITY, burst_bucket_bound)
    }

    /// Replaces the generation by another of the same setting; returns the cycles of the turn that takes it over.
    pub fn swap(&mut self) -> Result<u64, Error> {
        let tables = self.builder.build(&self.spec, &self.neighbors)?;
        self.turn(); // what building has pushed out of the cache is no part of it
        self.tables.publish(Box::new(tables));
        let start = cycles();
        self.turn();
        let taken = cycles() - start;
        self.tables.reclaim();
        Ok(taken)
    }

    /// Whether everything that came in went out, and the packet law holds.
    pub fn check(&self, row: &str) -> Result<(), Error> {
        let ledger = self.worker.ledger();
        if let Some(&reason) = DropReason::ALL.iter().find(|&&reason| ledger.drops(reason) > 0) {
            return Err(Error::dropped(row, reason, ledger.drops(reason)));
        }
        if ledger.imbalance() != 0 || ledger.in_flight() != 0 {
            let what = format!("{} packets unaccounted for", ledger.imbalance());
            return Err(Error::Wrong { row: row.to_owned(), what });
        }
        let (lcore, packets) = (&self.handle.counters.lcore, ledger.rx(0).packets);
        let (created, untracked) = (lcore.created.get(), lcore.untracked.get());
        // In a full table a flow whose two buckets are empty finds nothing to evict: one in some millions.
        if self.flooded && (created + untracked != packets || untracked > packets / 100_000) {
            let what = format!("{packets} packets opened {created} flows, {untracked} found no room");
            return Err(Error::Wrong { row: row.to_owned(), what });
        }
        Ok(())
    }

    fn generator(&mut self) -> &mut Generator {
        self.worker.queue_mut(PortId(0))
    }
}

fn spec(setting: Setting) -> Spec {
    let Setting { encap: named, servers, vips, .. } = setting;
    let (encap, port) = match named {
        cli::Encap::Ipip4 => (Encap::Ipip, None),
        cli::Encap::Gue4 => (Encap::Gue { variant: GueVariant::Header, port: 6080 }, None),
        cli::Encap::L3dsr4 => (Encap::L3dsr { dscp: 7 }, None),
        cli::Encap::Nat4 => (Encap::Nat, Some(8080)),
        cli::Encap::Gre4 | cli::Encap::Gre4In6 | cli::Encap::Gre6In4 | cli::Encap::Gre6In6 => {
            (Encap::Gre { key: None }, None)
        }
    };
    let server = |server| ServerSpec {
        address: server_address(named, server),
        port,
        weight: 1.0,
        state: ServerState::Active,
    };
    let vip = |vip: u16| {
        let address: IpAddr = match named.is_v6_inside() {
            false => Ipv4Addr::from_bits(VIP.to_bits() + u32::from(vip)).into(),
            true => Ipv6Addr::from_bits(VIP_V6.to_bits() + u128::from(vip)).into(),
        };
        VipSpec {
            service: Service { network: address.into(), protocol: Some(protocol::TCP), port: Some(VIP_PORT) },
            encap,
            mss: None,
            ports: vec![VIP_PORT..=VIP_PORT],
            select: Select::Alias,
            servers: (0..servers).map(server).collect(),
        }
    };
    let hour = Duration::from_secs(3600);
    let net = |text: &str| text.parse().expect("a prefix");
    Spec {
        ports: vec![PortSpec {
            mac: PORT_MAC,
            mtu: 1500,
            vlan: None,
            exception: None,
            addresses: vec![net("192.0.2.2/24"), net("198.18.255.254/16"), net("2001:db8::ffff/64")],
            gateways: vec![Ipv4Addr::new(192, 0, 2, 1).into()],
        }],
        vips: (0..vips).map(vip).collect(),
        tunnel_source: TunnelSource {
            v4: Some(Ipv4Addr::new(192, 0, 2, 2)),
            ipip: None,
            v6: Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xffff)),
        },
        // Established flows stay for the whole run, however long other rows take.
        timeouts: Timeouts::new(hour, hour, Duration::from_secs(10), Duration::from_secs(5)),
        hash_key: HashKey::default(),
    }
}

fn server_address(encap: cli::Encap, server: u16) -> IpAddr {
    if encap.is_v6_outside() {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, server).into()
    } else {
        Ipv4Addr::from_bits(0xc612_0000 + 1 + u32::from(server)).into()
    }
}

fn server_mac(server: u16) -> Mac {
    let [high, low] = server.to_be_bytes();
    Mac([2, 0, 0, 1, high, low])
}

/// The numbers below `count` in a random order, always the same.
fn shuffled(count: u32) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..count).collect();
    let mut state = 1u64;
    for at in (1..numbers.len()).rev() {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        numbers.swap(at, ((state >> 32) as usize * (at + 1)) >> 32);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffled_numbers_are_all_there_and_out_of_order() {
        let mut numbers = shuffled(1000);
        assert!(numbers.iter().zip(0..).filter(|&(&number, at)| number == at).count() < 20);
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(0..1000));
    }
}
