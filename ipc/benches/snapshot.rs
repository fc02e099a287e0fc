//! Generations: what a worker pays for a burst, and the control thread for a swap.
#![allow(missing_docs, reason = "criterion's macros define the entry point")]

mod common;

use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use common::CpuTime;
use criterion::{Criterion, criterion_group, criterion_main};
use ipc::snapshot;
use nix::time::ClockId;

fn read(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("snapshot/read");
    group.bench_function("nothing_new", |bencher| {
        let (_publisher, mut readers) = snapshot::channel(Box::new([0_u64; 8]), 1);
        bencher.iter(|| black_box(readers[0].read())[0]);
    });
    group.bench_function("after_every_swap", |bencher| {
        let (mut publisher, mut readers) = snapshot::channel(Box::new([0_u64; 8]), 1);
        bencher.iter(|| {
            publisher.publish(Box::new([0; 8]));
            let word = black_box(readers[0].read())[0];
            publisher.reclaim();
            word
        });
    });
    group.finish();
}

fn swap(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("snapshot/publish_and_reclaim");
    group.bench_function("no_reader", |bencher| {
        let (mut publisher, _) = snapshot::channel(Box::new([0_u64; 8]), 0);
        bencher.iter(|| {
            publisher.publish(Box::new([0; 8]));
            publisher.reclaim()
        });
    });
    group.bench_function("reader_on_another_core", |bencher| {
        let (mut publisher, mut readers) = snapshot::channel(Box::new([0_u64; 8]), 1);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    black_box(readers[0].read());
                }
            });
            bencher.iter(|| {
                publisher.publish(Box::new([0; 8]));
                publisher.reclaim()
            });
            stop.store(true, Ordering::Relaxed);
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = common::criterion(ClockId::CLOCK_THREAD_CPUTIME_ID);
    targets = read, swap
}
criterion_main!(benches);
