//! How frames cross: one writer, any readers, a ring of slots, each under a sequence lock.
//!
//! Works on bare words, so that the same code runs on a mapping and in the model checker. Orderings after Boehm,
//! "Can seqlocks get along with programming language memory models?", 2012. What must hold, and why it does, is
//! in `docs/design/region.md`. In short: frame n goes to slot (n - 1) mod N, whose sequence is 2n - 1 while n is
//! being written and 2n when it is whole; then `published` becomes n.
//!
//! Loads are relaxed, with fences: the mapping of a reader may be read-only, where no other load is allowed.

use crate::primitive::{AtomicU64, Ordering, fence};

/// In a channel's block: `published`, `epoch`, `heartbeat`, `pid`.
pub const BLOCK_WORDS: usize = 4;
/// In front of the frame in each slot: its sequence, its length in words.
pub const SLOT_HEAD_WORDS: usize = 2;
/// How often a reader tries before it says that the writer is faster.
const TRIES: usize = if cfg!(loom) { 1 } else { 8 };

/// Where a channel is, in words of eight bytes from the region's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The channel's block.
    pub block_at: usize,
    /// The first slot.
    pub slots_at: usize,
    /// From a slot to the next.
    pub stride: usize,
    /// How many slots.
    pub slots: usize,
}

/// A channel: its block and its slots in the words of a region.
#[derive(Clone, Copy, Debug)]
pub struct Channel<'a> {
    words: &'a [AtomicU64],
    lane: Lane,
}

/// The writer overtook the reader at every try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overtaken;

impl<'a> Channel<'a> {
    /// The channel at `lane`, all of which must lie within `words`.
    pub fn new(words: &'a [AtomicU64], lane: Lane) -> Self {
        assert!(
            lane.block_at + BLOCK_WORDS <= words.len() && lane.slots > 0 && lane.stride > SLOT_HEAD_WORDS
        );
        assert!(lane.slots_at + lane.slots * lane.stride <= words.len());
        Self { words, lane }
    }

    /// The number of the newest complete frame.
    pub fn published(self) -> &'a AtomicU64 {
        &self.words[self.lane.block_at]
    }

    /// The slot of frame `number`: sequence, length, words.
    fn slot(self, number: u64) -> (&'a AtomicU64, &'a AtomicU64, &'a [AtomicU64]) {
        let index = (number.wrapping_sub(1) % self.lane.slots as u64) as usize;
        let start = self.lane.slots_at + index * self.lane.stride;
        let slot = &self.words[start..start + self.lane.stride];
        (&slot[0], &slot[1], &slot[SLOT_HEAD_WORDS..])
    }

    /// Writes frame `number` and publishes it. For the one writer. What does not fit the slot is left out, and no
    /// reader will believe the frame.
    pub fn write(self, number: u64, frame: &[u64]) {
        self.begin(number);
        self.fill(number, frame);
        self.finish(number);
    }

    fn begin(self, number: u64) {
        let (sequence, ..) = self.slot(number);
        sequence.store(number.wrapping_mul(2).wrapping_sub(1), Ordering::Relaxed);
        // Release fence: the odd sequence comes before the words; pairs with the reader's second Acquire fence.
        fence(Ordering::Release);
    }

    fn fill(self, number: u64, frame: &[u64]) {
        let (_, length, words) = self.slot(number);
        length.store(frame.len() as u64, Ordering::Relaxed);
        for (word, &value) in words.iter().zip(frame) {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn finish(self, number: u64) {
        let (sequence, ..) = self.slot(number);
        // Release: the words come before the even sequence; pairs with the reader's first Acquire fence.
        sequence.store(number.wrapping_mul(2), Ordering::Release);
        // Release: the whole slot comes before its number; pairs with the Acquire fence after `published`.
        self.published().store(number, Ordering::Release);
    }

    /// Copies the newest frame into `frame` if its number is not `last`, and returns the number.
    pub fn read(self, last: u64, frame: &mut Vec<u64>) -> Result<Option<u64>, Overtaken> {
        for _ in 0..TRIES {
            let number = self.published().load(Ordering::Relaxed);
            // Acquire fence: whoever sees the number sees the slot complete, or taken for a later frame.
            fence(Ordering::Acquire);
            if number == last {
                return Ok(None);
            }
            if self.copy(number, frame) {
                return Ok(Some(number));
            }
        }
        Err(Overtaken)
    }

    /// Copies frame `number`; false when its slot is or was being written.
    fn copy(self, number: u64, frame: &mut Vec<u64>) -> bool {
        let (sequence, length, words) = self.slot(number);
        let complete = number.wrapping_mul(2);
        if sequence.load(Ordering::Relaxed) != complete {
            return false;
        }
        // Acquire fence: pairs with the Release store of the even sequence; the words below are at least as new.
        fence(Ordering::Acquire);
        // A length that is torn, or a lie, is cut to the slot; the check below or the frame's own finds out.
        let length = (length.load(Ordering::Relaxed) as usize).min(words.len());
        frame.clear();
        frame.extend(words[..length].iter().map(|word| word.load(Ordering::Relaxed)));
        // Acquire fence: if a word came from a later frame, the load below sees that frame's odd sequence.
        fence(Ordering::Acquire);
        sequence.load(Ordering::Relaxed) == complete
    }
}

/// What the writer says about itself: single words, in no order with the frames.
#[cfg(not(loom))]
impl<'a> Channel<'a> {
    /// How many writers there have been.
    pub fn epoch(self) -> &'a AtomicU64 {
        &self.words[self.lane.block_at + 1]
    }

    /// When the writer last was at work.
    pub fn heartbeat(self) -> &'a AtomicU64 {
        &self.words[self.lane.block_at + 2]
    }

    /// The writer's process.
    pub fn pid(self) -> &'a AtomicU64 {
        &self.words[self.lane.block_at + 3]
    }
}

/// Model-checked with loom: every interleaving that the memory model allows.
#[cfg(all(test, loom))]
mod models {
    use loom::{sync::Arc, thread};

    use super::*;

    /// A region of one channel with `slots` slots for frames of two words.
    fn region(slots: usize) -> (Arc<Vec<AtomicU64>>, Lane) {
        let lane = Lane { block_at: 0, slots_at: BLOCK_WORDS, stride: SLOT_HEAD_WORDS + 2, slots };
        let words = BLOCK_WORDS + slots * lane.stride;
        (Arc::new((0..words).map(|_| AtomicU64::new(0)).collect()), lane)
    }

    /// Reads once; whatever is believed must be a whole frame.
    fn check(channel: Channel<'_>, last: u64) -> u64 {
        let mut frame = Vec::new();
        match channel.read(last, &mut frame) {
            Ok(Some(number)) => {
                assert_eq!(frame, [number, number], "a frame of parts");
                assert!(number > last, "an older frame");
                number
            }
            Ok(None) | Err(Overtaken) => last,
        }
    }

    #[test]
    fn no_reader_believes_parts_of_two_frames() {
        // One slot: every frame overwrites the one that is being read.
        loom::model(|| {
            let (words, lane) = region(1);
            let writer = {
                let words = Arc::clone(&words);
                thread::spawn(move || {
                    Channel::new(&words, lane).write(1, &[1, 1]);
                    Channel::new(&words, lane).write(2, &[2, 2]);
                })
            };
            check(Channel::new(&words, lane), 0);
            writer.join().unwrap();
            assert_eq!(check(Channel::new(&words, lane), 0), 2);
        });
    }

    #[test]
    fn frames_are_seen_in_order_and_the_last_one_is_seen() {
        loom::model(|| {
            let (words, lane) = region(2);
            let writer = {
                let words = Arc::clone(&words);
                thread::spawn(move || {
                    Channel::new(&words, lane).write(1, &[1, 1]);
                    Channel::new(&words, lane).write(2, &[2, 2]);
                })
            };
            let channel = Channel::new(&words, lane);
            let first = check(channel, 0);
            check(channel, first);
            writer.join().unwrap();
            let last = check(channel, first);
            assert_eq!(last.max(first), 2);
        });
    }

    #[test]
    fn a_writer_that_died_in_the_middle_costs_its_frame_only() {
        // The first writer ends after each possible step of frame 1; another one goes on from `published`.
        for steps in 0..4 {
            loom::model(move || {
                let (words, lane) = region(1);
                let writer = {
                    let words = Arc::clone(&words);
                    thread::spawn(move || {
                        let channel = Channel::new(&words, lane);
                        channel.begin(1);
                        channel.fill(1, &[7, 7][..steps.min(2)]);
                        if steps == 3 {
                            let (sequence, ..) = channel.slot(1);
                            sequence.store(2, Ordering::Release);
                        }
                        // Killed here. The successor sees what the dead process wrote (the kernel's lock orders them).
                        let next = channel.published().load(Ordering::Relaxed) + 1;
                        channel.write(next, &[next, next]);
                        channel.write(next + 1, &[next + 1, next + 1]);
                    })
                };
                check(Channel::new(&words, lane), 0);
                writer.join().unwrap();
                assert_eq!(check(Channel::new(&words, lane), 0), 2);
            });
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const LANE: Lane = Lane { block_at: 0, slots_at: BLOCK_WORDS, stride: SLOT_HEAD_WORDS + 3, slots: 2 };

    fn region() -> Vec<AtomicU64> {
        (0..BLOCK_WORDS + 2 * LANE.stride).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn newest_frame_is_read_once() {
        let words = region();
        let (channel, mut frame) = (Channel::new(&words, LANE), Vec::new());
        assert_eq!(channel.read(0, &mut frame), Ok(None));
        channel.write(1, &[10]);
        channel.write(2, &[20, 21, 22]);
        assert_eq!(channel.read(0, &mut frame), Ok(Some(2)));
        assert_eq!(frame, [20, 21, 22]);
        assert_eq!(channel.read(2, &mut frame), Ok(None));
    }

    #[test]
    fn unfinished_frame_leaves_the_one_before_readable() {
        let words = region();
        let (channel, mut frame) = (Channel::new(&words, LANE), Vec::new());
        channel.write(1, &[10]);
        channel.begin(2);
        channel.fill(2, &[20]);
        assert_eq!(channel.read(0, &mut frame), Ok(Some(1)));
        assert_eq!(frame, [10]);
    }

    #[test]
    fn slot_in_use_is_not_read_and_a_wild_length_stays_in_the_slot() {
        let words = region();
        let (channel, mut frame) = (Channel::new(&words, LANE), Vec::new());
        channel.write(1, &[10]);
        channel.write(2, &[20]);
        channel.begin(2);
        assert_eq!(channel.read(0, &mut frame), Err(Overtaken));
        channel.finish(2);
        words[BLOCK_WORDS + LANE.stride + 1].store(u64::MAX, Ordering::Relaxed);
        assert_eq!(channel.read(0, &mut frame), Ok(Some(2)));
        assert_eq!(frame, [20, 0, 0]);
        channel.published().store(u64::MAX, Ordering::Relaxed);
        assert_eq!(channel.read(0, &mut frame), Err(Overtaken));
    }
}
