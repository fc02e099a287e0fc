//! When flows arrive.

use std::fmt;

use super::{
    law::Law,
    rng::{Purpose, Stream},
};

/// What a flow asks of its server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// Nanoseconds of a core at speed 1; above zero.
    pub cpu: f64,
    /// Nanoseconds of the disk, alone on it; zero or more.
    pub io: f64,
}

/// A flow's begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    /// When, in nanoseconds from the beginning; never before the one before.
    pub t: f64,
    /// What it asks for; `None`: drawn from the law of the run.
    pub demand: Option<Demand>,
}

/// Where flows come from: a generator, or a trace.
///
/// It owns its randomness, so that nothing else in a run can shift it.
pub trait Arrivals: fmt::Debug + Send {
    /// The next flow; `None` when there are no more.
    fn next(&mut self) -> Option<Arrival>;
}

/// Independent arrivals at an even rate.
#[derive(Clone, Debug)]
pub struct Poisson {
    stream: Stream,
    gap: f64,
    t: f64,
}

impl Poisson {
    /// So many flows a second, above zero.
    pub fn new(rate: f64, seed: u64) -> Self {
        Self { stream: Stream::new(seed, Purpose::Arrivals), gap: 1e9 / rate, t: 0.0 }
    }
}

impl Arrivals for Poisson {
    fn next(&mut self) -> Option<Arrival> {
        self.t += self.gap * self.stream.exponential();
        Some(Arrival { t: self.t, demand: None })
    }
}

/// Independent arrivals at a rate that jumps between two values (a Markov-modulated Poisson process).
#[derive(Clone, Debug)]
pub struct Mmpp {
    stream: Stream,
    /// Mean gap and mean stay of each state, calm and busy.
    states: [(f64, f64); 2],
    state: usize,
    /// Where in time it is, and when the state ends.
    t: f64,
    ends: f64,
}

impl Mmpp {
    /// So many flows a second on average, all above zero. While it is busy there are `burst` times as many as while it
    /// is calm; it stays busy and calm for exponential times with these means, in nanoseconds.
    pub fn new(rate: f64, burst: f64, busy: f64, calm: f64, seed: u64) -> Self {
        let calm_rate = rate * (busy + calm) / burst.mul_add(busy, calm);
        let states = [(1e9 / calm_rate, calm), (1e9 / (burst * calm_rate), busy)];
        let mut stream = Stream::new(seed, Purpose::Arrivals);
        let state = usize::from(stream.open01() < busy / (busy + calm));
        let ends = states[state].1 * stream.exponential();
        Self { stream, states, state, t: 0.0, ends }
    }
}

impl Arrivals for Mmpp {
    fn next(&mut self) -> Option<Arrival> {
        // What is left of a gap is used up at the rate of each state in turn: it has no memory.
        let mut left = self.stream.exponential();
        loop {
            let (gap, _) = self.states[self.state];
            let t = self.t + left * gap;
            if t <= self.ends {
                self.t = t;
                return Some(Arrival { t, demand: None });
            }
            left -= (self.ends - self.t) / gap;
            self.t = self.ends;
            self.state = 1 - self.state;
            self.ends += self.states[self.state].1 * self.stream.exponential();
        }
    }
}

/// Arrivals whose gaps follow any law, independent of each other.
#[derive(Clone, Debug)]
pub struct Renewal {
    stream: Stream,
    gaps: Law,
    t: f64,
}

impl Renewal {
    /// Gaps of this law, which has been checked.
    pub fn new(gaps: Law, seed: u64) -> Self {
        Self { stream: Stream::new(seed, Purpose::Arrivals), gaps, t: 0.0 }
    }
}

impl Arrivals for Renewal {
    fn next(&mut self) -> Option<Arrival> {
        self.t += self.gaps.draw(&mut self.stream);
        Some(Arrival { t: self.t, demand: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flows in each of so many seconds.
    fn counts(arrivals: &mut dyn Arrivals, seconds: usize) -> Vec<f64> {
        let mut counts = vec![0.0; seconds];
        while let Some(arrival) = arrivals.next() {
            match counts.get_mut((arrival.t / 1e9) as usize) {
                Some(count) => *count += 1.0,
                None => break,
            }
        }
        counts
    }

    /// The mean of counts, and their variance divided by it (the index of dispersion).
    fn moments(counts: &[f64]) -> (f64, f64) {
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        let variance = counts.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / counts.len() as f64;
        (mean, variance / mean)
    }

    #[test]
    fn poisson_counts_have_their_mean_as_variance() {
        let (mean, dispersion) = moments(&counts(&mut Poisson::new(100.0, 1), 5000));
        assert!((mean - 100.0).abs() < 0.6 && (dispersion - 1.0).abs() < 0.08, "{mean} {dispersion}");
    }

    #[test]
    fn bursts_keep_the_mean_and_raise_the_dispersion() {
        let mut arrivals = Mmpp::new(100.0, 5.0, 1e9, 4e9, 1);
        let (mean, dispersion) = moments(&counts(&mut arrivals, 50_000));
        assert!((mean - 100.0).abs() < 2.5, "{mean}");
        // Var N(T) = mean T + 2 p q D² τ² (T/τ - 1 + e^(-T/τ)), with rates D apart and 1/τ = 1/busy + 1/calm.
        let (p, tau): (f64, f64) = (0.2, 0.8);
        let apart: f64 = 100.0 / 1.8 * 4.0;
        let variance =
            100.0 + 2.0 * p * (1.0 - p) * (apart * tau).powi(2) * (1.0 / tau - 1.0 + (-1.0 / tau).exp());
        assert!(
            (dispersion / (variance / 100.0) - 1.0).abs() < 0.05,
            "{dispersion}, not {}",
            variance / 100.0
        );
    }

    #[test]
    fn constant_gaps_are_constant() {
        let mut arrivals = Renewal::new(Law::Constant { mean: 1e7 }, 1);
        assert_eq!(counts(&mut arrivals, 3), [99.0, 100.0, 100.0]);
    }
}
