//! From a packet core to the thread that learns: a bounded queue of samples, one of each end.
//!
//! The packet core never waits. It collects samples in a small buffer of its own and hands them over in
//! batches, so that the shared cursor moves once for many samples; what does not fit is counted as lost.
//! The queue itself is `rtrb` (`docs/decisions.md` has the comparison): cursors on cache lines of their own,
//! each end with a copy of the other's cursor that it refreshes only when it has to.
//!
//! What must hold (`docs/design/samples.md`): `pushed + lost + waiting` is the number of samples given to
//! [`Producer::push`], and the consumer gets the pushed ones, each once, in order.
//!
//! ```
//! use ipc::{id::{ServerId, VipId}, ring, sample::{Kind, Sample}};
//!
//! let (mut worker, mut policy) = ring::channel(1024);
//! worker.push(Sample { t: 5, vip: VipId(0), server: ServerId(1), kind: Kind::FlowGap, value: 9 });
//! worker.flush();
//! let mut seen = Vec::new();
//! policy.drain(1024, |samples| seen.extend_from_slice(samples));
//! assert_eq!(seen[0].value, 9);
//! ```

use arrayvec::ArrayVec;

use crate::{
    id::{ServerId, VipId},
    sample::{Kind, Sample},
};

/// How many samples a packet core collects before it hands them over.
pub const BATCH: usize = 32;

/// A ring with room for `capacity` samples.
///
/// Touches all of its memory, so that the packet core will not fault pages in.
pub fn channel(capacity: usize) -> (Producer, Consumer) {
    let (mut producer, mut consumer) = rtrb::RingBuffer::new(capacity);
    let nothing = Sample { t: 0, value: 0, vip: VipId(0), server: ServerId(0), kind: Kind::FlowGap };
    while producer.push(nothing).is_ok() {}
    while consumer.pop().is_ok() {}
    (Producer { ring: producer, batch: ArrayVec::new(), pushed: 0, lost: 0 }, Consumer { ring: consumer })
}

/// The packet core's end.
#[derive(Debug)]
pub struct Producer {
    ring: rtrb::Producer<Sample>,
    /// Samples that have not been handed over yet.
    batch: ArrayVec<Sample, BATCH>,
    pushed: u64,
    lost: u64,
}

impl Producer {
    /// Takes a sample; hands the batch over when it is full. Never waits.
    #[inline]
    pub fn push(&mut self, sample: Sample) {
        self.batch.push(sample); // there is room: a full batch does not stay
        if self.batch.is_full() {
            self.hand_over();
        }
    }

    /// Hands over what has been collected; what does not fit is lost. For the end of a turn of the loop.
    #[inline]
    pub fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.hand_over();
        }
    }

    #[inline(never)]
    fn hand_over(&mut self) {
        let (pushed, lost) = self.ring.push_partial_slice(&self.batch);
        self.pushed += pushed.len() as u64;
        self.lost += lost.len() as u64;
        self.batch.clear();
    }

    /// Samples handed over since the start.
    pub const fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Samples that found the ring full since the start.
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

/// The learning thread's end.
#[derive(Debug)]
pub struct Consumer {
    ring: rtrb::Consumer<Sample>,
}

impl Consumer {
    /// Gives at most `limit` samples to `take`, oldest first, in at most two slices; returns how many.
    pub fn drain(&mut self, limit: usize, mut take: impl FnMut(&[Sample])) -> usize {
        let waiting = self.ring.slots().min(limit);
        let Ok(chunk) = self.ring.read_chunk(waiting) else { return 0 };
        let (first, second) = chunk.as_slices();
        take(first);
        take(second);
        chunk.commit_all();
        waiting
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn numbered(value: u64) -> Sample {
        Sample { t: value, value, vip: VipId(1), server: ServerId(2), kind: Kind::Handshake }
    }

    fn drained(consumer: &mut Consumer, limit: usize) -> Vec<u64> {
        let mut values = Vec::new();
        let count = consumer.drain(limit, |samples| values.extend(samples.iter().map(|sample| sample.value)));
        assert_eq!(count, values.len());
        values
    }

    #[test]
    fn samples_arrive_in_order_when_the_batch_is_full_or_flushed() {
        let (mut producer, mut consumer) = channel(100);
        for value in 0..=BATCH as u64 {
            producer.push(numbered(value));
        }
        assert_eq!(drained(&mut consumer, 100), (0..BATCH as u64).collect::<Vec<_>>());
        producer.flush();
        assert_eq!(drained(&mut consumer, 100), [BATCH as u64]);
        producer.flush();
        assert_eq!(drained(&mut consumer, 100), []);
        assert_eq!((producer.pushed(), producer.lost()), (BATCH as u64 + 1, 0));
    }

    #[test]
    fn drain_takes_no_more_than_its_limit_and_leaves_the_rest() {
        let (mut producer, mut consumer) = channel(8);
        for value in 0..6 {
            producer.push(numbered(value));
        }
        producer.flush();
        assert_eq!(drained(&mut consumer, 4), [0, 1, 2, 3]);
        assert_eq!(drained(&mut consumer, 4), [4, 5]);
    }

    #[test]
    fn full_ring_loses_the_newest_and_counts_them() {
        let (mut producer, mut consumer) = channel(40);
        for value in 0..100 {
            producer.push(numbered(value));
        }
        producer.flush();
        assert_eq!((producer.pushed(), producer.lost()), (40, 60));
        assert_eq!(drained(&mut consumer, 100), (0..40).collect::<Vec<_>>());
        producer.push(numbered(100));
        producer.flush();
        assert_eq!(drained(&mut consumer, 100), [100]);
    }

    #[test]
    fn every_sample_arrives_once_or_is_counted_lost_while_both_ends_run() {
        const SAMPLES: u64 = 300_000;
        let (mut producer, mut consumer) = channel(256);
        std::thread::scope(|scope| {
            let worker = scope.spawn(move || {
                for value in 0..SAMPLES {
                    producer.push(numbered(value));
                    if value % 200 == 0 {
                        std::thread::yield_now(); // or the consumer never runs beside us on a busy machine
                    }
                }
                producer.flush();
                (producer.pushed(), producer.lost())
            });
            let (mut received, mut next, mut ended) = (0, 0, false);
            while !ended {
                ended = worker.is_finished();
                loop {
                    let values = drained(&mut consumer, 64);
                    if values.is_empty() {
                        break;
                    }
                    for value in values {
                        assert!(value >= next, "{value} came after {next} was due");
                        next = value + 1;
                        received += 1;
                    }
                }
            }
            let (pushed, lost) = worker.join().unwrap();
            assert_eq!((pushed, pushed + lost), (received, SAMPLES));
        });
    }
}
