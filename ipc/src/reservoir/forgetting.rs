//! A reservoir that forgets exponentially: each accepted sample drives out a random one.

use super::{
    slots::{SLOTS, Slots},
    statistics::{Decay, Statistics},
};

/// Bits of a random number that choose the slot.
const SLOT_BITS: u32 = SLOTS.trailing_zeros();
/// The others choose whether a sample is accepted.
const ACCEPTANCE_BITS: u32 = u64::BITS - SLOT_BITS;

const _: () = assert!(SLOTS.is_power_of_two());

/// The probability with which a reservoir accepts a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acceptance(u64);

impl Acceptance {
    /// Accepts every sample.
    pub const ALWAYS: Self = Self(1 << ACCEPTANCE_BITS);

    /// Accepts with this probability, above 0 and at most 1, as exactly as 57 bits can; `None` outside.
    pub fn new(probability: f64) -> Option<Self> {
        let scaled = (probability * (1_u64 << ACCEPTANCE_BITS) as f64).round();
        (probability <= 1.0 && scaled >= 1.0).then_some(Self(scaled as u64))
    }

    const fn accepts(self, random: u64) -> bool {
        random >> SLOT_BITS < self.0
    }
}

/// An exponentially forgetting reservoir.
///
/// A sample survives each later accepted one with probability 1 - 1/[`SLOTS`]: ages, counted in accepted
/// samples, are geometric with mean [`SLOTS`] - 1.
#[derive(Clone, Debug)]
pub struct Forgetting {
    slots: Slots,
}

impl Default for Forgetting {
    fn default() -> Self {
        Self { slots: Slots::EMPTY }
    }
}

impl Forgetting {
    /// Offers a sample; `random` is 64 fresh random bits. Returns the slot that it went into, if it was accepted.
    ///
    /// The low bits of `random` choose the slot and the others decide on acceptance, so that neither says
    /// anything about the other.
    #[inline]
    pub fn offer(&mut self, t: u64, value: u64, acceptance: Acceptance, random: u64) -> Option<usize> {
        let slot = random as usize % SLOTS;
        acceptance.accepts(random).then(|| self.slots.put(slot, t, value))
    }

    /// How many samples are held.
    pub const fn count(&self) -> usize {
        self.slots.used()
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

    /// Offers samples numbered by acceptance, and returns the ages of what is held at the end of each of
    /// `rounds` rounds of 10 × SLOTS accepted samples.
    fn ages(seed: u64, probability: f64, rounds: u64) -> Vec<u64> {
        let acceptance = Acceptance::new(probability).expect("a probability");
        let (mut reservoir, mut rng) = (Forgetting::default(), SplitMix64::new(seed));
        let (mut accepted, mut found) = (0, Vec::new());
        for round in 1..=rounds {
            while accepted < round * 10 * SLOTS as u64 {
                accepted += u64::from(reservoir.offer(accepted, 1, acceptance, rng.bits()).is_some());
            }
            found.extend(reservoir.slots.samples().0.iter().map(|t| accepted - 1 - t));
        }
        found
    }

    /// Largest difference between the shares of ages and 1 - (1 - 1/K)^(a + 1), the geometric law.
    fn distance_to_the_law(mut ages: Vec<u64>) -> f64 {
        ages.sort_unstable();
        let survival = 1.0 - 1.0 / SLOTS as f64;
        let law = |age: u64| 1.0 - survival.powf(age as f64 + 1.0);
        (0..1000)
            .map(|age| ages.partition_point(|&found| found <= age) as f64 / ages.len() as f64 - law(age))
            .fold(0.0, |largest, difference| difference.abs().max(largest))
    }

    #[test]
    fn ages_follow_the_geometric_law() {
        for (seed, probability) in [(1, 1.0), (2, 0.25), (3, 1.0 / 128.0)] {
            let ages = ages(seed, probability, 1000);
            let mean = ages.iter().sum::<u64>() as f64 / ages.len() as f64;
            assert!((mean - (SLOTS as f64 - 1.0)).abs() < 2.0, "mean age {mean}");
            let distance = distance_to_the_law(ages);
            assert!(distance < 0.006, "p = {probability}: the law is off by {distance}");
        }
    }

    #[test]
    fn a_sample_survives_each_later_one_alike_from_the_first_on() {
        // Also while the reservoir fills: after n more samples the first is held with (1 - 1/K)^n.
        for later in [16, 64, 128, 384] {
            let mut rng = SplitMix64::new(later);
            let held = (0..20_000).filter(|_| {
                let mut reservoir = Forgetting::default();
                for t in 0..=later {
                    reservoir.offer(t, 1, Acceptance::ALWAYS, rng.bits());
                }
                reservoir.slots.samples().0.contains(&0)
            });
            let (held, law) = (held.count() as f64 / 20_000.0, (1.0 - 1.0 / SLOTS as f64).powf(later as f64));
            assert!((held - law).abs() < 0.012, "after {later}: {held} instead of {law}");
        }
    }

    #[test]
    fn samples_are_accepted_with_the_probability_asked_for() {
        for probability in [1.0, 0.5, 1.0 / 3.0, 1.0 / 128.0] {
            let acceptance = Acceptance::new(probability).unwrap();
            let mut rng = SplitMix64::new(7);
            let accepted = (0..1_000_000).filter(|_| acceptance.accepts(rng.bits())).count() as f64 / 1e6;
            assert!((accepted - probability).abs() < 0.002, "{accepted} instead of {probability}");
        }
        for wrong in [0.0, -0.5, 1.1, f64::NAN, f64::INFINITY, 1e-30] {
            assert_eq!(Acceptance::new(wrong), None, "{wrong}");
        }
        assert_eq!(Acceptance::new(1.0), Some(Acceptance::ALWAYS));
    }

    #[test]
    fn slots_are_chosen_evenly_whatever_the_acceptance() {
        // A probability of 1/K or a multiple is where one number used for both decisions would show.
        for probability in [1.0, 0.5, 1.0 / 128.0] {
            let acceptance = Acceptance::new(probability).unwrap();
            let (mut reservoir, mut rng) = (Forgetting::default(), SplitMix64::new(11));
            let mut accepted = 0;
            let mut hits = [0_u32; SLOTS];
            while accepted < 1280 + 128_000 {
                if let Some(slot) = reservoir.offer(0, 1, acceptance, rng.bits()) {
                    accepted += 1;
                    hits[slot] += u32::from(accepted > 1280); // all slots are in use by then
                }
            }
            let expected = f64::from(hits.iter().sum::<u32>()) / SLOTS as f64;
            let chi2: f64 = hits.iter().map(|&hit| (f64::from(hit) - expected).powi(2) / expected).sum();
            assert!(chi2 < 182.0, "p = {probability}: chi-squared {chi2} with 127 degrees of freedom");
        }
    }

    #[test]
    fn slot_and_acceptance_say_nothing_about_each_other() {
        let acceptance = Acceptance::new(0.3).unwrap();
        let mut rng = SplitMix64::new(13);
        let mut table = [[0_u32; SLOTS]; 2];
        for _ in 0..1_000_000 {
            let random = rng.bits();
            table[usize::from(acceptance.accepts(random))][random as usize % SLOTS] += 1;
        }
        let total = 1e6;
        let chi2: f64 = (0..2)
            .flat_map(|row| (0..SLOTS).map(move |slot| (row, slot)))
            .map(|(row, slot)| {
                let rows = f64::from(table[row].iter().sum::<u32>());
                let expected = rows * f64::from(table[0][slot] + table[1][slot]) / total;
                (f64::from(table[row][slot]) - expected).powi(2) / expected
            })
            .sum();
        assert!(chi2 < 182.0, "chi-squared {chi2} with 127 degrees of freedom");
    }
}
