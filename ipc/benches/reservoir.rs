//! What the learning thread pays for a sample, and for statistics of all servers.
#![allow(missing_docs, reason = "criterion's macros define the entry point")]

mod common;

use std::hint::black_box;

use common::CpuTime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ipc::{
    id::{ServerId, VipId},
    reservoir::{Acceptance, Bank, Decay, Settings},
    rng::SplitMix64,
    sample::{Kind, Sample},
};
use nix::time::ClockId;

const SERVERS: u32 = 64;
const KINDS: usize = 6;
const ROUND: usize = 4096;

fn bank() -> Bank {
    Bank::new(Settings {
        seed: 1,
        acceptance: [Acceptance::ALWAYS; Kind::COUNT],
        decay: Decay::per_second(0.9).expect("0.9 is a share"),
        servers: SERVERS as usize,
    })
}

/// Samples of random servers and kinds, with log-uniform values from 1 µs to 1 s.
fn samples(count: usize) -> Vec<Sample> {
    let mut rng = SplitMix64::new(2);
    (0..count as u64)
        .map(|index| Sample {
            t: index * 10_000,
            value: (1_000.0 * 1e6_f64.powf(rng.bits() as f64 / u64::MAX as f64)) as u64,
            vip: VipId(0),
            server: ServerId(rng.bits() as u32 % SERVERS),
            kind: Kind::ALL[rng.bits() as usize % KINDS],
        })
        .collect()
}

fn offer(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("reservoir/offer");
    group.throughput(Throughput::Elements(ROUND as u64));
    group.bench_function("64_servers_6_kinds", |bencher| {
        let (mut bank, samples) = (bank(), samples(ROUND));
        bencher.iter(|| samples.iter().for_each(|sample| bank.offer(black_box(sample))));
    });
    group.finish();
}

fn statistics(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("reservoir/statistics");
    group.bench_function("64_servers_6_kinds", |bencher| {
        let mut bank = bank();
        samples(1 << 20).iter().for_each(|sample| bank.offer(sample));
        bencher.iter(|| {
            let mut sum = 0.0;
            for server in (0..SERVERS).map(ServerId) {
                for kind in Kind::ALL.into_iter().take(KINDS) {
                    sum += bank.statistics(server, kind, black_box(1 << 40)).map_or(0.0, |found| found.p99);
                }
            }
            sum
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = common::criterion(ClockId::CLOCK_THREAD_CPUTIME_ID);
    targets = offer, statistics
}
criterion_main!(benches);
