//! The samples that a reservoir holds.

use super::order::Order;

/// How many samples a reservoir holds at most.
pub const SLOTS: usize = 128;

/// Up to [`SLOTS`] samples in no order.
#[derive(Clone, Debug)]
pub struct Slots {
    used: usize,
    newest: u64,
    /// When each sample was taken, in nanoseconds.
    t: [u64; SLOTS],
    values: [f32; SLOTS],
    order: Order,
}

impl Slots {
    pub const EMPTY: Self =
        Self { used: 0, newest: 0, t: [0; SLOTS], values: [0.0; SLOTS], order: Order::EMPTY };

    /// Puts a sample into slot `slot`, or into the next empty one if that is not in use. Returns where it went.
    #[inline]
    pub fn put(&mut self, slot: usize, t: u64, value: u64) -> usize {
        let slot = slot.min(self.used).min(SLOTS - 1);
        self.used = self.used.max(slot + 1);
        self.newest = self.newest.max(t);
        self.t[slot] = t;
        self.values[slot] = value as f32;
        self.order.touch(slot);
        slot
    }

    /// How many slots are in use.
    pub const fn used(&self) -> usize {
        self.used
    }

    /// When the newest sample that was ever put in was taken. Meaningless while nothing is in use.
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    /// When the samples were taken, and their values.
    pub fn samples(&self) -> (&[u64], &[f32]) {
        (&self.t[..self.used], &self.values[..self.used])
    }

    /// Writes `keys`, one for each sample, to `sorted` in rising order. That is cheaper than a sort where few samples are new
    /// and keys sort as values do.
    pub fn sort(&mut self, keys: &[u64], sorted: &mut [u64]) {
        self.order.sort(keys, sorted);
    }
}
