//! What a lesson costs, on one core: the mean over a dozen worlds that training would draw.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

#[path = "../../ipc/benches/common/mod.rs"]
mod common;

use std::path::Path;

use common::CpuTime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use nix::time::ClockId;
use policy::agents::{Model, shipped};
use trainer::training::{
    config::{Config, Pay},
    lesson::{Lesson, Terms},
    seat::Manner,
    worlds::numbered,
};

/// As in `weir-train`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const LESSONS: u64 = 12;

fn lessons(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("lessons");
    group.sample_size(10).throughput(Throughput::Elements(LESSONS));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/train/sac-gru.toml");
    let config = Config::read(&file).unwrap();
    let model = Model::of_policy(shipped("sac-gru").unwrap(), "sac-gru").unwrap();
    let cases = [
        ("alone", config.reward, false),
        ("choices compared", Pay::Choices, true),
        ("beside a twin", Pay::LogHeld, false),
    ];
    for (name, pay, compares) in cases {
        let terms = Terms {
            choice: config.choice(),
            period: config.period.nanos(),
            steps: config.steps(),
            pay,
            compares,
            movement: config.movement,
        };
        let hold = |number| {
            let seed = numbered(config.seed, number);
            let world = config.worlds.draw(seed, config.episode.nanos());
            Lesson::hold(&world, &model, Manner::Draw, &terms, seed).unwrap()
        };
        group.bench_function(name, |bencher| {
            bencher.iter(|| (0..LESSONS).map(|number| hold(number).mean_reward()).sum::<f64>());
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = common::criterion(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    targets = lessons
}
criterion_main!(benches);
