//! What an update of a learner costs, on one core: two agents before eight servers, sequences of twenty steps, 32 of them.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

#[path = "../../ipc/benches/common/mod.rs"]
mod common;

use std::hint::black_box;

use common::CpuTime;
use criterion::{Criterion, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use nix::time::ClockId;
use policy::agents::net::Net;
use trainer::learners::{
    adam::{self, Adam},
    draws::{Draws, Use},
    imitation::{self, Head},
    params::Params,
    qmix,
    replay::{Batch, Cut, Episode, Layout, Moment, Replay, Taken},
    sac, sac_discrete, soft,
};

/// As in `weir-train`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const LAYOUT: Layout =
    Layout { agents: 2, servers: 8, server_features: 18, context_features: 4, state: 20, hidden: 32 };
const LEVELS: usize = 5;

/// Numbers as good as any other; all servers are active.
fn batch(levels: bool) -> Batch {
    let mut draws = Draws::new(1, Use::World);
    let rows = LAYOUT.agents * LAYOUT.servers;
    let mut replay = Replay::new(LAYOUT, Cut { length: 20, stride: 10 }, 100_000);
    for _ in 0..10 {
        let moments = (0..=200).map(|_| Moment {
            servers: draws.normals(rows * LAYOUT.server_features),
            context: draws.normals(LAYOUT.agents * LAYOUT.context_features),
            active: vec![1.0; rows],
            state: draws.normals(LAYOUT.state),
            hidden: vec![0.0; rows * LAYOUT.hidden],
        });
        let moments = moments.collect();
        let taken = (0..200).map(|_| Taken {
            action: match levels {
                true => (0..rows).map(|_| draws.below(LEVELS) as f32).collect(),
                false => draws.normals(rows).into_iter().map(f32::tanh).collect(),
            },
            reward: draws.normal() as f32,
            terminal: false,
            ..Taken::default()
        });
        replay.push(Episode { moments, taken: taken.collect() });
    }
    replay.sample(32, &mut draws).unwrap()
}

fn updates(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("updates");
    group.sample_size(20);
    let (continuous, discrete) = (batch(false), batch(true));

    let mut learner = sac::Learner::new(LAYOUT, soft::Settings::default(), 1).unwrap();
    group.bench_function("sac", |bencher| bencher.iter(|| learner.update(&continuous).unwrap()));

    let mut learner = sac_discrete::Learner::new(LAYOUT, LEVELS, soft::Settings::default(), 1).unwrap();
    group.bench_function("sac-discrete", |bencher| bencher.iter(|| learner.update(&discrete).unwrap()));

    let mut learner = qmix::Learner::new(LAYOUT, LEVELS, qmix::Settings::default(), 1).unwrap();
    group.bench_function("qmix", |bencher| bencher.iter(|| learner.update(&discrete).unwrap()));

    for (name, head, outputs, batch) in
        [("imitation", Head::Squashed, 2, &continuous), ("imitation-levels", Head::Levels, LEVELS, &discrete)]
    {
        let shape = LAYOUT.shape(outputs);
        let names = shape.parameters().into_iter().map(|(name, shape)| (name.to_owned(), shape));
        let params = Params::new(names, &mut Draws::new(2, Use::Parameters)).unwrap();
        let net = Net::new(shape, &params.trained()).unwrap();
        let mut adam = Adam::new(adam::Settings::default());
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let loss = imitation::loss(&net, batch, head, 0).unwrap();
                black_box(adam.step(&params, &loss.backward().unwrap()).unwrap())
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = common::criterion(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    targets = updates
}
criterion_main!(benches);
