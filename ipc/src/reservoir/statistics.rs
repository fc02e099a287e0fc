//! What is said about the samples in a reservoir.

use super::slots::{SLOTS, Slots};

/// How fast a sample loses weight in the decayed statistics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decay {
    /// The logarithm to base 2 of the weight that is left after a nanosecond.
    log2_per_nano: f32,
}

impl Decay {
    /// A sample keeps this share of its weight each second: above 0 and at most 1, else `None`.
    ///
    /// The published systems use 0.9.
    pub fn per_second(share: f64) -> Option<Self> {
        (share > 0.0 && share <= 1.0).then(|| Self { log2_per_nano: (share.log2() / 1e9) as f32 })
    }

    /// The weight that a sample has left after `age` nanoseconds.
    fn weight(self, age: u64) -> f32 {
        (age as f32 * self.log2_per_nano).exp2()
    }
}

/// Statistics of at least one sample. Values are in the unit of their kind.
///
/// That there are no samples is `None`, wherever this type is used: no value stands for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// How many samples these are from, 1 to [`SLOTS`].
    pub count: u32,
    /// Nanoseconds since the newest accepted sample was taken.
    pub age: u64,
    /// Arithmetic mean.
    pub mean: f32,
    /// Standard deviation of the samples (divided by their number, not by one less).
    pub std: f32,
    /// Median, interpolated between neighbours like `p90` and `p99`.
    pub p50: f32,
    /// 90th percentile.
    pub p90: f32,
    /// 99th percentile.
    pub p99: f32,
    /// Mean in which a sample weighs less the older it is: Σ b^age v / Σ b^age.
    pub decayed_mean: f32,
    /// The smallest value such that it and all smaller ones have 90 % of the weights b^age.
    pub decayed_p90: f32,
}

impl Statistics {
    /// `None` when there are no samples.
    pub(super) fn of(slots: &mut Slots, now: u64, decay: Decay) -> Option<Self> {
        let (t, values) = slots.samples();
        if values.is_empty() {
            return None;
        }
        let count = values.len() as f64;
        // Weights relative to the newest sample: the quotients are the same at any later time, and nothing
        // underflows because everything is old.
        let (mut keys, mut sorted) = ([0; SLOTS], [0; SLOTS]);
        let (keys, sorted) = (&mut keys[..values.len()], &mut sorted[..values.len()]);
        let (mut sum, mut weights, mut weighted) = (0.0, 0.0, 0.0);
        for ((key, &t), &value) in keys.iter_mut().zip(t).zip(values) {
            let weight = decay.weight(slots.newest() - t);
            *key = ordered(value, weight);
            sum += f64::from(value);
            weights += f64::from(weight);
            weighted += f64::from(weight) * f64::from(value);
        }
        let mean = sum / count;
        let variance = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count;
        slots.sort(keys, sorted);
        Some(Self {
            count: sorted.len() as u32,
            age: now.saturating_sub(slots.newest()),
            mean: mean as f32,
            std: variance.sqrt() as f32,
            p50: quantile(sorted, 0.5),
            p90: quantile(sorted, 0.9),
            p99: quantile(sorted, 0.99),
            decayed_mean: (weighted / weights) as f32,
            decayed_p90: weighted_quantile(sorted, 0.9 * weights),
        })
    }
}

/// A key that sorts by value and carries the weight: the bits of floats that are not negative sort as they do.
const fn ordered(value: f32, weight: f32) -> u64 {
    (value.to_bits() as u64) << 32 | weight.to_bits() as u64
}

const fn value(key: u64) -> f32 {
    f32::from_bits((key >> 32) as u32)
}

const fn weight(key: u64) -> f32 {
    f32::from_bits(key as u32)
}

/// The value at `share` of the way from the smallest to the largest, interpolated between its neighbours.
fn quantile(sorted: &[u64], share: f64) -> f32 {
    let position = share * (sorted.len() - 1) as f64;
    let below = position as usize;
    let above = (below + 1).min(sorted.len() - 1);
    let (low, high) = (f64::from(value(sorted[below])), f64::from(value(sorted[above])));
    (low + (high - low) * (position - below as f64)) as f32
}

/// The smallest value that with all smaller ones weighs at least `enough`.
fn weighted_quantile(sorted: &[u64], enough: f64) -> f32 {
    let mut weights = 0.0;
    for &key in sorted {
        weights += f64::from(weight(key));
        if weights >= enough {
            return value(key);
        }
    }
    value(sorted[sorted.len() - 1]) // only by rounding
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn decay() -> Decay {
        Decay::per_second(0.9).expect("a share")
    }

    fn filled(samples: &[(u64, u64)]) -> Slots {
        let mut slots = Slots::EMPTY;
        for &(t, value) in samples {
            slots.put(SLOTS, t, value);
        }
        slots
    }

    #[test]
    fn no_data_is_not_a_value() {
        assert_eq!(Statistics::of(&mut filled(&[]), 5, decay()), None);
        let zero = Statistics::of(&mut filled(&[(5, 0)]), 5, decay()).unwrap();
        assert_eq!((zero.count, zero.age, zero.mean, zero.p99), (1, 0, 0.0, 0.0));
    }

    /// The numbers are numpy's: mean, std, and percentile with its default, linear interpolation.
    #[test]
    fn numbers_are_those_of_the_definitions() {
        let samples: Vec<_> = [10, 20, 30, 40, 100].into_iter().map(|value| (SECOND, value)).collect();
        let found = Statistics::of(&mut filled(&samples), 3 * SECOND, decay()).unwrap();
        assert_eq!((found.count, found.age), (5, 2 * SECOND));
        assert_eq!((found.mean, found.std, found.p50), (40.0, 31.622_776, 30.0));
        assert_eq!((found.p90, found.p99), (76.0, 97.6));
        assert_eq!((found.decayed_mean, found.decayed_p90), (40.0, 100.0));
    }

    #[test]
    fn decayed_mean_is_normalised_and_stays_while_nothing_comes() {
        // 0.9 of a weight is left after one second: (0.9 * 100 + 1 * 200) / 1.9.
        let mut slots = filled(&[(SECOND, 100), (2 * SECOND, 200)]);
        let at_once = Statistics::of(&mut slots, 2 * SECOND, decay()).unwrap();
        assert!((at_once.decayed_mean - 152.631_58).abs() < 1e-3, "{at_once:?}");
        let days_later = Statistics::of(&mut slots, 1_000_000 * SECOND, decay()).unwrap();
        assert_eq!(Statistics { age: 0, ..days_later }, Statistics { age: 0, ..at_once });
    }

    #[test]
    fn shares_that_make_no_sense_are_refused() {
        for wrong in [0.0, -1.0, 1.01, f64::NAN] {
            assert_eq!(Decay::per_second(wrong), None);
        }
        assert_eq!(Decay::per_second(1.0).unwrap().weight(u64::MAX), 1.0);
    }

    /// The definitions again, in plain words and f64.
    fn reference(samples: &[(u64, u64)], now: u64) -> [f64; 7] {
        let newest = samples.iter().map(|sample| sample.0).max().expect("at least one sample");
        assert!(newest <= now);
        let mut sorted: Vec<(f64, f64)> = samples
            .iter()
            .map(|&(t, value)| (value as f64, 0.9_f64.powf((newest - t) as f64 / 1e9)))
            .collect();
        sorted.sort_by(|left, right| left.0.total_cmp(&right.0));
        let count = sorted.len() as f64;
        let mean = sorted.iter().map(|sample| sample.0).sum::<f64>() / count;
        let variance = sorted.iter().map(|sample| (sample.0 - mean).powi(2)).sum::<f64>() / count;
        let percentile = |share: f64| {
            let position = share * (count - 1.0);
            let (low, high) = (sorted[position.floor() as usize].0, sorted[position.ceil() as usize].0);
            low + (high - low) * position.fract()
        };
        let weights: f64 = sorted.iter().map(|sample| sample.1).sum();
        let decayed = sorted.iter().map(|(value, weight)| value * weight).sum::<f64>() / weights;
        let mut reached = 0.0;
        let heavy = sorted.iter().find(|(_, weight)| {
            reached += weight;
            reached >= 0.9 * weights
        });
        let p90 = heavy.map_or(sorted[sorted.len() - 1].0, |sample| sample.0);
        [mean, variance.sqrt(), percentile(0.5), percentile(0.9), percentile(0.99), decayed, p90]
    }

    proptest! {
        /// Few samples come between two looks, or many; values come more than once, and times do not rise.
        #[test]
        fn statistics_are_the_same_however_often_they_were_asked_for(
            looks in prop::collection::vec(
                prop::collection::vec((0..SLOTS, 0..100 * SECOND, 0..20_u64), 0..40), 1..20),
        ) {
            let (mut asked, mut unasked) = (Slots::EMPTY, Slots::EMPTY);
            for samples in looks {
                for (slot, t, value) in samples {
                    asked.put(slot, t, value);
                    unasked.put(slot, t, value);
                }
                let found = Statistics::of(&mut asked, 100 * SECOND, decay());
                prop_assert_eq!(found, Statistics::of(&mut unasked.clone(), 100 * SECOND, decay()));
            }
        }

        #[test]
        fn statistics_agree_with_a_plain_computation(
            samples in prop::collection::vec((0..100 * SECOND, 0..60 * SECOND), 1..=SLOTS),
        ) {
            let found = Statistics::of(&mut filled(&samples), 100 * SECOND, decay()).unwrap();
            let expected = reference(&samples, 100 * SECOND);
            let got =
                [found.mean, found.std, found.p50, found.p90, found.p99, found.decayed_mean];
            for (got, expected) in got.into_iter().zip(expected) {
                prop_assert!((f64::from(got) - expected).abs() <= 2e-6 * expected.abs() + 1.0, "{got} {expected}");
            }
            // Rounding of the weights may choose the neighbour, when the weights below it are 90 % almost exactly.
            let values = samples.iter().map(|sample| sample.1 as f32);
            prop_assert!(values.clone().any(|value| value == found.decayed_p90));
            let weight = |sample: &(u64, u64)| 0.9_f64.powf((100 * SECOND - sample.0) as f64 / 1e9);
            let total: f64 = samples.iter().map(weight).sum();
            let below = |limit: f32| -> f64 {
                samples.iter().filter(|sample| (sample.1 as f32) < limit).map(weight).sum::<f64>() / total
            };
            prop_assert!(below(found.decayed_p90) < 0.9 + 1e-5);
            prop_assert!(below(found.decayed_p90.next_up()) > 0.9 - 1e-5);
        }
    }
}
