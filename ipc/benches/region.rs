//! Frames in shared memory: publishing, and reading with validation. Statistics and weights of several sizes.
#![allow(missing_docs, reason = "criterion's macros define the entry point")]

mod common;

use std::hint::black_box;

use common::CpuTime;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ipc::{
    region::{
        Region, ServerState, ServerStatistics, ServerWeight, Shape, StatisticsFrame, VipStatistics,
        VipWeights, WeightsFrame,
    },
    reservoir::Statistics,
};
use nix::time::ClockId;

/// Servers of one VIP.
const SIZES: [u32; 5] = [4, 16, 32, 64, 1024];

const SAID: Statistics = Statistics {
    count: 128,
    age: 1_000_000,
    mean: 1e6,
    std: 1e5,
    p50: 1e6,
    p90: 1.2e6,
    p99: 1.4e6,
    decayed_mean: 1e6,
    decayed_p90: 1.2e6,
};

fn region(name: &str) -> (tempfile::TempDir, Region) {
    // A memory file system where there is one: nothing here should wait for a disk.
    let memory = std::path::Path::new("/dev/shm");
    let folder =
        if memory.exists() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder");
    let region = Region::create(folder.path().join(name), Shape::default()).expect("a region");
    (folder, region)
}

/// Fills the frame as a period of the control thread does.
fn fill_statistics(frame: &mut StatisticsFrame, servers: u32) {
    frame.begin(1, 1);
    let mut vip = frame.vip(VipStatistics::new(0));
    for server in 0..servers {
        let kinds = [Some(SAID).into(); 7];
        vip.server(ServerStatistics {
            kinds,
            packets: 1,
            ..ServerStatistics::new(server, ServerState::Active)
        });
    }
}

fn fill_weights(frame: &mut WeightsFrame, servers: u32) {
    frame.begin(1, 1);
    let mut vip = frame.vip(VipWeights::new(0, "sac-gru"));
    (0..servers).for_each(|server| {
        vip.server(ServerWeight::new(server, 1.5));
    });
}

fn statistics(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("region/statistics");
    for servers in SIZES {
        let (_folder, region) = region("region");
        let mut writer = region.statistics_writer(0).expect("the only writer");
        let mut frame = StatisticsFrame::default();
        fill_statistics(&mut frame, servers);
        group.bench_function(BenchmarkId::new("fill", servers), |bencher| {
            bencher.iter(|| fill_statistics(black_box(&mut frame), servers));
        });
        group.bench_function(BenchmarkId::new("publish", servers), |bencher| {
            bencher.iter(|| writer.publish(black_box(&mut frame), 1));
        });
        let mut reader = region.statistics_reader();
        group.bench_function(BenchmarkId::new("publish_and_read", servers), |bencher| {
            bencher.iter(|| {
                let _ = writer.publish(black_box(&mut frame), 1);
                assert!(matches!(black_box(reader.latest()), Ok(Some(_))));
            });
        });
    }
    group.finish();
}

fn weights(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("region/weights");
    for servers in SIZES {
        let (_folder, region) = region("region");
        let mut writer = region.weights_writer(0).expect("the only writer");
        let mut frame = WeightsFrame::default();
        fill_weights(&mut frame, servers);
        group.bench_function(BenchmarkId::new("publish", servers), |bencher| {
            bencher.iter(|| writer.publish(black_box(&mut frame), 1));
        });
        let mut reader = region.weights_reader();
        group.bench_function(BenchmarkId::new("publish_and_read", servers), |bencher| {
            bencher.iter(|| {
                let _ = writer.publish(black_box(&mut frame), 1);
                assert!(matches!(black_box(reader.latest()), Ok(Some(_))));
            });
        });
    }
    group.finish();
}

/// A reader that looks when there is nothing new: what the data plane does most of the time.
fn nothing_new(criterion: &mut Criterion<CpuTime>) {
    let (_folder, region) = region("region");
    let mut reader = region.weights_reader();
    criterion.bench_function("region/nothing_new", |bencher| bencher.iter(|| reader.latest().is_ok()));
}

criterion_group! {
    name = benches;
    config = common::criterion(ClockId::CLOCK_THREAD_CPUTIME_ID);
    targets = statistics, weights, nothing_new
}
criterion_main!(benches);
