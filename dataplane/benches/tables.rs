//! What is built with a generation, and what a new flow is decided by.
#![allow(missing_docs, reason = "criterion's macros define the entry point")]
#![allow(clippy::unwrap_used, reason = "a bench may fail like a test")]

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use dataplane::{
    pipeline::counters::Counters,
    tables::{
        Builder,
        encap::Encap,
        flow::{FlowKey, FlowTable, State, Timeouts},
        hash::HashKey,
        neighbor::Neighbors,
        route::NextHop,
        select::{Candidate, Identity, Rings, Select, Selector, alias::AliasTable},
        server::ServerState,
        spec::{PortSpec, ServerSpec, Spec, TunnelSource, VipSpec},
        vip::Service,
    },
    time::Tick,
    wire::Mac,
};
use ipc::id::{LcoreId, PortId, ServerId, VipId};

fn server_address(server: u32) -> IpAddr {
    Ipv4Addr::from_bits(0xc612_0001 + server).into()
}

fn candidates(servers: u32) -> Vec<Candidate> {
    (0..servers)
        .map(|server| Candidate {
            identity: Identity { address: server_address(server), port: None },
            server: ServerId(server),
            weight: 1.0 + f64::from(server % 7),
        })
        .collect()
}

fn timeouts() -> Timeouts {
    let second = Duration::from_secs(1);
    Timeouts::new(second * 300, second * 30, second * 10, second * 5)
}

/// The tables of a rule.
fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build");
    for servers in [8, 64, 1000] {
        let weights: Vec<f64> = candidates(servers).iter().map(|candidate| candidate.weight).collect();
        group.bench_function(BenchmarkId::new("alias", servers), |bencher| {
            bencher.iter(|| AliasTable::new(black_box(&weights)));
        });
        let candidates = candidates(servers);
        group.bench_function(BenchmarkId::new("maglev", servers), |bencher| {
            bencher.iter(|| {
                let mut rings = Rings::default();
                Selector::new(Select::Maglev, VipId(0), candidates.clone(), &mut rings)
            });
        });
    }
    group.finish();
}

/// Which server a new flow gets, of 64.
fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("new_flow_of_64_servers");
    let counters = Counters::new(LcoreId(0)).unwrap();
    for rule in Select::ALL {
        let selector = Selector::new(rule, VipId(0), candidates(64), &mut Rings::default());
        group.bench_function(format!("{rule:?}"), |bencher| {
            let mut flow = 0u64;
            bencher.iter(|| {
                flow += 1;
                let server = selector.select(HashKey::default().v4(flow, 80), &counters).unwrap();
                counters.server(server).flows.add(1);
                server
            });
        });
    }
    group.finish();
}

/// New weights of a VIP with 64 servers, alone and beside 1000 VIPs with 100 servers each; the generation before is
/// freed in the same time, as the control thread does.
fn reweigh(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reweigh_64_servers");
    for others in [0, 1000] {
        let mut spec = spec(others + 1);
        spec.vips[0].servers.truncate(64);
        let mut builder = Builder::default();
        let mut tables = builder.build(&spec, &Neighbors::default()).unwrap();
        let vip = builder.vips().find(|(_, service)| **service == spec.vips[0].service).unwrap().0;
        let servers = tables.vip(vip).unwrap().selector.members().iter().map(|member| member.server);
        let servers: Vec<ServerId> = servers.collect();
        group.bench_function(BenchmarkId::new("beside_vips", others), |bencher| {
            let mut round = 0u32;
            bencher.iter(|| {
                round += 1;
                let weight = |server: &ServerId| 1.0 + f64::from((server.0 + round) % 7);
                builder.learn(vip, servers.iter().map(|server| (*server, weight(server))));
                tables = builder.reweigh(&tables, [vip]);
            });
        });
    }
    group.finish();
}

/// A whole generation of VIPs with 100 servers each, all the same hosts.
fn generation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("generation");
    group.sample_size(10);
    for vips in [1, 1000] {
        let spec = spec(vips);
        let neighbors: Neighbors = (0..100)
            .map(|server| {
                let next = NextHop { port: PortId(0), address: server_address(server) };
                (next, Mac([2, 0, 0, 0, 0, server as u8]))
            })
            .collect();
        let mut builder = Builder::default();
        builder.build(&spec, &neighbors).unwrap();
        group.bench_function(BenchmarkId::new("rebuild", vips), |bencher| {
            bencher.iter(|| builder.build(&spec, &neighbors).unwrap());
        });
        let tables = builder.build(&spec, &neighbors).unwrap();
        group.bench_function(BenchmarkId::new("find_vip", vips), |bencher| {
            let mut vip = 0;
            bencher.iter(|| {
                vip = if vip + 1 == vips { 0 } else { vip + 1 };
                tables.lookup.v4(0xcb00_710a + u32::from(vip), 6, 80).unwrap()
            });
        });
    }
    group.finish();
}

fn spec(vips: u16) -> Spec {
    let server = |server| ServerSpec {
        address: server_address(server),
        port: None,
        weight: 1.0,
        state: ServerState::Active,
    };
    let vip = |vip: u16| VipSpec {
        service: Service {
            network: IpAddr::from(Ipv4Addr::from_bits(0xcb00_710a + u32::from(vip))).into(),
            protocol: Some(6),
            port: Some(80),
        },
        ports: vec![80..=80],
        encap: Encap::Gre { key: None },
        mss: None,
        select: Select::Sed2,
        servers: (0..100).map(server).collect(),
    };
    Spec {
        ports: vec![PortSpec {
            mac: Mac([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            vlan: None,
            addresses: vec!["198.18.255.254/16".parse().unwrap()],
            gateways: Vec::new(),
            exception: None,
        }],
        vips: (0..vips).map(vip).collect(),
        tunnel_source: TunnelSource { v4: Some(Ipv4Addr::new(192, 0, 2, 2)), ..TunnelSource::default() },
        timeouts: timeouts(),
        hash_key: HashKey::default(),
    }
}

/// Flows in a table of a million entries, one after the other: the worker does a burst at once.
fn flows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flow_table");
    let key = |flow: u64| FlowKey { addresses: flow, ports: 80 << 24, protocol: 6 };
    for flows in [1000, 1_000_000] {
        let mut table = FlowTable::new(1 << 20, HashKey::default()).unwrap();
        for flow in 0..flows {
            let hash = key(flow).hash(HashKey::default());
            table.insert(&key(flow), hash, (ServerId(0), State::Established), Tick(0), &timeouts()).unwrap();
        }
        group.bench_function(BenchmarkId::new("find", flows), |bencher| {
            let mut flow = 0;
            bencher.iter(|| {
                flow = (flow + 7919) % flows;
                table.find(&key(flow), key(flow).hash(HashKey::default())).unwrap()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, build, decide, reweigh, generation, flows);
criterion_main!(benches);
