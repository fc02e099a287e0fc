//! Algorithm R: an even draw from all samples there ever were.

use super::{
    slots::{SLOTS, Slots},
    statistics::{Decay, Statistics},
};

/// A reservoir in which every sample ever offered is held with the same probability.
///
/// For analysis after the fact. It is the wrong law for control: a new sample enters with probability
/// [`SLOTS`]/n, so that what it says freezes as traffic accumulates.
/// Source: Vitter, "Random sampling with a reservoir", 1985.
#[derive(Clone, Debug)]
pub struct Uniform {
    slots: Slots,
    offered: u64,
}

impl Default for Uniform {
    fn default() -> Self {
        Self { slots: Slots::EMPTY, offered: 0 }
    }
}

impl Uniform {
    /// Offers a sample; `random` is 64 fresh random bits. Returns the slot that it went into, if it was accepted.
    ///
    /// The position is `random` scaled to the number of samples, which is even but for n/2^64.
    pub fn offer(&mut self, t: u64, value: u64, random: u64) -> Option<usize> {
        self.offered += 1;
        if self.slots.used() < SLOTS {
            return Some(self.slots.put(SLOTS, t, value));
        }
        let position = ((u128::from(random) * u128::from(self.offered)) >> 64) as u64;
        (position < SLOTS as u64).then(|| self.slots.put(position as usize, t, value))
    }

    /// How many samples were offered.
    pub const fn offered(&self) -> u64 {
        self.offered
    }

    /// What can be said about the samples at time `now`; `None` when there are none.
    pub fn statistics(&mut self, now: u64, decay: Decay) -> Option<Statistics> {
        Statistics::of(&mut self.slots, now, decay)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::rng::SplitMix64;

    #[test]
    fn every_sample_ever_offered_is_held_alike() {
        const OFFERED: u64 = 2000;
        let mut rng = SplitMix64::new(17);
        let mut held = [0_u32; 10];
        for _ in 0..2000 {
            let mut reservoir = Uniform::default();
            for t in 0..OFFERED {
                reservoir.offer(t, 1, rng.bits());
            }
            assert_eq!(reservoir.offered(), OFFERED);
            for t in reservoir.slots.samples().0 {
                held[(t * 10 / OFFERED) as usize] += 1;
            }
        }
        for tenth in held {
            let share = f64::from(tenth) / f64::from(held.iter().sum::<u32>());
            assert!((share - 0.1).abs() < 0.003, "{held:?}");
        }
    }

    #[test]
    fn everything_is_held_until_the_slots_are_full() {
        let mut reservoir = Uniform::default();
        for t in 0..SLOTS as u64 {
            assert_eq!(reservoir.offer(t, t, u64::MAX), Some(t as usize));
        }
        assert_eq!(reservoir.offer(SLOTS as u64, 0, u64::MAX), None);
        assert_eq!(reservoir.offer(SLOTS as u64 + 1, 0, 0), Some(0));
    }
}
