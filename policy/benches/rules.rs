//! What a step costs before a network sees anything: base estimate, features, rules.
#![allow(missing_docs, reason = "criterion's macros define the entry point")]

#[path = "../../ipc/benches/common/mod.rs"]
mod common;

use std::hint::black_box;

use common::CpuTime;
use criterion::{Bencher, BenchmarkId, Criterion, criterion_group, criterion_main};
use ipc::{
    region::{KindStatistics, ServerState, ServerStatistics, StatisticsFrame, VipStatistics},
    reservoir::Statistics,
};
use nix::time::ClockId;
use policy::{
    Observation,
    base::RateEstimate,
    features::{Extractor, Features, Normaliser, Own, Schema},
    rules,
};

const SERVERS: [u32; 3] = [8, 64, 512];
/// Frames that a bench goes through again and again.
const FRAMES: u64 = 64;

/// One VIP at a step: flows come and complete at each server, and all reservoirs hold samples.
fn frame(step: u64, servers: u32) -> StatisticsFrame {
    let mut frame = StatisticsFrame::default();
    frame.begin(step * 50_000_000, 1);
    let mut vip = frame.vip(VipStatistics { flow_rate: 1e4, packet_rate: 1e5, ..VipStatistics::new(0) });
    for id in 0..servers {
        let wave = fastrand::Rng::with_seed(step << 32 | u64::from(id)).u64(0..20);
        let said = Statistics {
            count: 128,
            age: 1_000_000,
            mean: 1e6 * (wave + 5) as f32,
            std: 1e6,
            p50: 1e6,
            p90: 3e6,
            p99: 5e6,
            decayed_mean: 1e6 * (wave + 5) as f32,
            decayed_p90: 3e6,
        };
        vip.server(ServerStatistics {
            configured_weight: f64::from(id % 4 + 1),
            weight: 1.0,
            open: wave,
            created: 1000 * step + wave,
            finished_fin: 1000 * step,
            kinds: [KindStatistics::from(Some(said)); 7],
            ..ServerStatistics::new(id, ServerState::Active)
        });
    }
    frame
}

/// Runs `work` on one observation after the other. Time goes on over the rounds; what counts flows does so too.
fn over_frames(bench: &mut Bencher<'_, CpuTime>, servers: u32, mut work: impl FnMut(&Observation<'_>)) {
    let frames: Vec<_> = (0..FRAMES).map(|step| frame(step, servers)).collect();
    let mut records: Vec<Vec<_>> = frames
        .iter()
        .map(|frame| frame.vips().next().map(|(_, servers)| servers.to_vec()).unwrap_or_default())
        .collect();
    let vip = *frames[0].vips().next().expect("a VIP").0;
    let mut t = 0;
    bench.iter(|| {
        let at = (t / 50_000_000 % FRAMES) as usize;
        t += 50_000_000;
        work(&Observation { t, vip: &vip, servers: &records[at] });
        // The next time this frame comes, a round later.
        for server in &mut records[at] {
            server.created += 1000 * FRAMES;
            server.finished_fin += 1000 * FRAMES;
        }
    });
}

fn steps(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("step");
    for servers in SERVERS {
        for name in rules::NAMES {
            group.bench_function(BenchmarkId::new(name, servers), |bench| {
                // Made anew with each round of frames: time and counters begin anew too.
                let (mut rule, mut proposal) = (rules::by_name(name).expect("a rule"), Vec::new());
                over_frames(bench, servers, |observation| {
                    rule.propose(observation, &mut proposal);
                    black_box(&proposal);
                });
            });
        }
        for schema in Schema::ALL {
            group.bench_function(BenchmarkId::new(format!("features {}", schema.name()), servers), |bench| {
                let (base, previous) = (vec![1.0; servers as usize], vec![0.1; servers as usize]);
                let (mut extractor, mut out) = (extractor(schema), Features::default());
                over_frames(bench, servers, |observation| {
                    let own = Own { base: &base, corrections: &previous, ..Own::default() };
                    extractor.extract(observation, own, &mut out);
                    black_box(&out);
                });
            });
        }
        group.bench_function(BenchmarkId::new("rate and features native", servers), |bench| {
            let (mut estimate, mut base) = (RateEstimate::default(), Vec::new());
            let (mut extractor, mut out) = (extractor(Schema::Native), Features::default());
            over_frames(bench, servers, |observation| {
                estimate.estimate(observation, &mut base);
                extractor.extract(observation, Own { base: &base, ..Own::default() }, &mut out);
                black_box(&out);
            });
        });
    }
    group.finish();
}

fn extractor(schema: Schema) -> Extractor {
    Extractor::new(schema, Normaliser::identity(schema)).expect("they fit")
}

criterion_group! {
    name = benches;
    config = common::criterion(ClockId::CLOCK_THREAD_CPUTIME_ID);
    targets = steps
}
criterion_main!(benches);
