//! A histogram with fixed buckets.

/// Upper bounds for flow durations, in seconds.
pub const DURATIONS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0];

/// Upper bounds for handshakes, in seconds.
pub const HANDSHAKES: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

/// Upper bounds for the way from an observation to new weights in force, in seconds.
pub const POLICY_LOOPS: &[f64] =
    &[0.000_05, 0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0];

/// Upper bounds for steps of all policies together, in seconds.
pub const POLICY_STEPS: &[f64] =
    &[0.000_01, 0.000_025, 0.000_05, 0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.01, 0.1, 1.0];

/// How many values there were up to each bound, and their sum.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    bounds: &'static [f64],
    /// By bucket, the one above all bounds last; not cumulative.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// Without values. `bounds` ascend.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Counts a value.
    pub fn take(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        self.counts[bucket] += 1;
        self.sum += value;
    }

    /// Each bound with the number of values up to it.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        self.bounds.iter().zip(&self.counts).scan(0, |sum, (&bound, count)| {
            *sum += count;
            Some((bound, *sum))
        })
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    pub const fn sum(&self) -> f64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_up_to_their_bound() {
        let mut histogram = Histogram::new(&[0.1, 1.0]);
        for value in [0.05, 0.1, 0.5, 2.0, 3.0] {
            histogram.take(value);
        }
        assert_eq!(histogram.cumulative().collect::<Vec<_>>(), [(0.1, 2), (1.0, 3)]);
        assert_eq!((histogram.count(), histogram.sum()), (5, 5.65));
    }

    #[test]
    fn bounds_ascend() {
        assert!([DURATIONS, HANDSHAKES, POLICY_LOOPS, POLICY_STEPS].iter().all(|bounds| bounds.is_sorted()));
    }
}
