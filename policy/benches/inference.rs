//! One decision of a network: features in, numbers for each server out, with both engines.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros define the entry point; a bench may fail like a test"
)]

#[path = "../../ipc/benches/common/mod.rs"]
mod common;
#[path = "../tests/agents/random.rs"]
mod random;

use common::CpuTime;
use criterion::{BenchmarkId, Criterion, criterion_group};
use nix::time::ClockId;
use policy::{
    agents::{Engine, Kind, Network, Shape},
    features::Schema,
};

/// Servers of one VIP.
const SIZES: [usize; 3] = [8, 64, 512];
fn inference(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("inference");
    let mut rng = fastrand::Rng::with_seed(1);
    for kind in [Kind::SacGru, Kind::Qmix] {
        let manifest = random::manifest(kind, Schema::Native, Shape::HIDDEN);
        let shape = manifest.shape();
        let model = random::model(manifest, &mut rng);
        for (engine, name) in [(Engine::Fused, "fused"), (Engine::Candle, "candle")] {
            let mut network = Network::new(&model, engine).expect("a network");
            for servers in SIZES {
                let features = random::features(shape, servers, &mut rng);
                let mut hidden = vec![0.0; servers * shape.hidden];
                let mut head = vec![0.0; servers * shape.outputs];
                let id = BenchmarkId::new(format!("{}/{name}", kind.name()), servers);
                group.bench_function(id, |bencher| {
                    bencher.iter(|| network.step(&features, &mut hidden, &mut head).expect("numbers"));
                });
            }
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = common::criterion(ClockId::CLOCK_THREAD_CPUTIME_ID);
    targets = inference
}

fn main() {
    policy::threads::use_one().expect("the program can be started over");
    benches();
    Criterion::default().configure_from_args().final_summary();
}
