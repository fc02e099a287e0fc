//! How many things happen a second in the simulator, on one core.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

#[path = "../../ipc/benches/common/mod.rs"]
mod common;

use common::CpuTime;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use nix::time::ClockId;
use trainer::{
    evaluate::{contender::Contender, run::Drive},
    scenario::Scenario,
};

/// As in `weir-train`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Two balancers before so many servers, half of them of four cores and half of two.
fn scenario(servers: usize, delay: &str) -> Scenario {
    let text = format!(
        "balancers = 2\nload = 0.8\nflows = 50_000\ndelay = \"{delay}\"\n\
         service = {{ kind = \"exponential\", mean = \"100ms\" }}\n\
         [[server]]\ncount = {half}\ncores = 2\n[[server]]\ncount = {half}\ncores = 4\n",
        half = servers / 2
    );
    Scenario::parse(&text).unwrap()
}

/// A whole run; returns how much has happened.
fn whole(scenario: &Scenario, contender: &Contender) -> u64 {
    let mut drive = Drive::new(scenario, contender, 1);
    while drive.advance(u64::MAX) {}
    drive.simulation().happened()
}

fn events(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("events");
    group.sample_size(10);
    let cases = [
        ("sed2", 8, "0s"),
        ("sed2", 8, "1ms"),
        ("sed", 8, "0s"),
        ("sed2", 64, "0s"),
        ("sed2", 64, "1ms"),
        ("sed", 64, "0s"),
        ("rate/sed2", 8, "0s"),
        ("sac-gru/sed2", 8, "0s"),
    ];
    for (name, servers, delay) in cases {
        let (scenario, contender) = (scenario(servers, delay), name.parse().unwrap());
        group.throughput(Throughput::Elements(whole(&scenario, &contender)));
        let id = BenchmarkId::new(name, format!("{servers} servers, delay {delay}"));
        group.bench_function(id, |bencher| bencher.iter(|| whole(&scenario, &contender)));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = common::criterion(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    targets = events
}
criterion_main!(benches);
