//! A packet core's cost of a sample: the ring in use (`ipc::ring`, on rtrb) beside crossbeam's `ArrayQueue`.
#![allow(missing_docs, reason = "criterion's macros define the entry point")]

mod common;

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use common::CpuTime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_queue::ArrayQueue;
use ipc::{
    id::{ServerId, VipId},
    ring,
    sample::{Kind, Sample},
};
use nix::time::ClockId;

const CAPACITY: usize = 1 << 16;
/// Samples between two visits of the consumer, in the benches on one thread.
const ROUND: u64 = 1024;

fn sample(value: u64) -> Sample {
    Sample { t: value, value, vip: VipId(1), server: ServerId(2), kind: Kind::FlowDuration }
}

/// Both ends on one thread: pushes a round, takes it out again. Time per sample.
fn one_thread(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("ring/one_thread");
    group.throughput(Throughput::Elements(ROUND));
    group.bench_function("ipc_batches", |bencher| {
        let (mut producer, mut consumer) = ring::channel(CAPACITY);
        bencher.iter(|| {
            (0..ROUND).for_each(|value| producer.push(black_box(sample(value))));
            producer.flush();
            let mut sum = 0;
            consumer.drain(CAPACITY, |samples| samples.iter().for_each(|sample| sum += sample.value));
            sum
        });
    });
    group.bench_function("rtrb_single", |bencher| {
        let (mut producer, mut consumer) = rtrb::RingBuffer::new(CAPACITY);
        bencher.iter(|| {
            for value in 0..ROUND {
                let _ = black_box(producer.push(black_box(sample(value))));
            }
            let mut sum = 0;
            while let Ok(sample) = consumer.pop() {
                sum += sample.value;
            }
            sum
        });
    });
    group.bench_function("array_queue_single", |bencher| {
        let queue = ArrayQueue::new(CAPACITY);
        bencher.iter(|| {
            for value in 0..ROUND {
                let _ = black_box(queue.push(black_box(sample(value))));
            }
            let mut sum = 0;
            while let Some(sample) = queue.pop() {
                sum += sample.value;
            }
            sum
        });
    });
    group.finish();
}

/// What the producer pays while a consumer runs on another core, which looks in every 10 µs.
fn beside_a_consumer(
    bencher: &mut criterion::Bencher<'_, CpuTime>,
    mut push: impl FnMut(Sample),
    mut drain: impl FnMut() -> u64 + Send + 'static,
) {
    let stop = Arc::new(AtomicBool::new(false));
    let consumer = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut sum: u64 = 0;
            while !stop.load(Ordering::Relaxed) {
                sum = sum.wrapping_add(drain());
                let until = Instant::now() + Duration::from_micros(10);
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
            }
            sum
        }
    });
    bencher.iter(|| (0..ROUND).for_each(|value| push(black_box(sample(value)))));
    stop.store(true, Ordering::Relaxed);
    let _ = consumer.join();
}

fn two_threads(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("ring/producer_beside_consumer");
    group.throughput(Throughput::Elements(ROUND));
    group.bench_function("ipc_batches", |bencher| {
        let (mut producer, mut consumer) = ring::channel(CAPACITY);
        beside_a_consumer(
            bencher,
            |sample| producer.push(sample),
            move || {
                let mut sum = 0;
                consumer.drain(CAPACITY, |samples| samples.iter().for_each(|sample| sum += sample.value));
                sum
            },
        );
    });
    group.bench_function("rtrb_single", |bencher| {
        let (mut producer, mut consumer) = rtrb::RingBuffer::new(CAPACITY);
        beside_a_consumer(
            bencher,
            |sample| {
                let _ = black_box(producer.push(sample));
            },
            move || {
                let mut sum = 0;
                while let Ok(sample) = consumer.pop() {
                    sum += sample.value;
                }
                sum
            },
        );
    });
    group.bench_function("array_queue_single", |bencher| {
        let queue = Arc::new(ArrayQueue::new(CAPACITY));
        let other = Arc::clone(&queue);
        beside_a_consumer(
            bencher,
            |sample| {
                let _ = black_box(queue.push(sample));
            },
            move || {
                let mut sum = 0;
                while let Some(sample) = other.pop() {
                    sum += sample.value;
                }
                sum
            },
        );
    });
    group.finish();
}

/// A ring that nobody empties: every sample is lost.
fn full(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("ring/full");
    group.throughput(Throughput::Elements(ROUND));
    group.bench_function("ipc_batches", |bencher| {
        let (mut producer, _consumer) = ring::channel(ring::BATCH);
        bencher.iter(|| (0..ROUND).for_each(|value| producer.push(black_box(sample(value)))));
    });
    group.bench_function("array_queue_single", |bencher| {
        let queue = ArrayQueue::new(ring::BATCH);
        bencher.iter(|| {
            for value in 0..ROUND {
                let _ = black_box(queue.push(black_box(sample(value))));
            }
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = common::criterion(ClockId::CLOCK_THREAD_CPUTIME_ID);
    targets = one_thread, two_threads, full
}
criterion_main!(benches);
