//! Randomness: one stream for each purpose, all from one seed.
//!
//! What clients do is drawn from streams that nothing else draws from. So runs with the same seed have the same
//! arrivals, sizes and hashes, whatever policy they meet (common random numbers), and can be compared in pairs.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

/// What a stream is drawn for. The numbers are part of what a seed means: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// When flows arrive.
    Arrivals = 0,
    /// How much work they bring.
    Service = 1,
    /// Their hashes, for the router and the balancers.
    Hashes = 2,
    /// How far away their clients are.
    Delays = 3,
    /// What disturbs servers.
    Noise = 4,
    /// The reservoirs; a balancer's number is added.
    Reservoirs = 1 << 16,
}

/// A stream of random numbers: ChaCha with 8 rounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of a purpose, from its beginning.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Self::numbered(seed, purpose, 0)
    }

    /// One of several streams of a purpose.
    pub fn numbered(seed: u64, purpose: Purpose, number: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(purpose as u64 + number);
        Self(rng)
    }

    /// The next 64 bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number above 0 and below 1, on a grid of 2^-53.
    #[inline]
    pub fn open01(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        ((self.bits() >> 12) as f64).mul_add(2.0 * STEP, STEP)
    }

    /// From an exponential law with mean 1.
    #[inline]
    pub fn exponential(&mut self) -> f64 {
        -self.open01().ln()
    }

    /// From a normal law with mean 0 and variance 1. Source: Box and Muller, 1958.
    pub fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (std::f64::consts::TAU * self.open01()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_the_same_for_the_same_seed_and_differ_by_purpose_and_number() {
        let first = |seed, purpose, number| Stream::numbered(seed, purpose, number).bits();
        let streams = [
            first(1, Purpose::Arrivals, 0),
            first(1, Purpose::Service, 0),
            first(2, Purpose::Arrivals, 0),
            first(1, Purpose::Reservoirs, 0),
            first(1, Purpose::Reservoirs, 1),
        ];
        let different: std::collections::HashSet<_> = streams.into_iter().collect();
        assert_eq!(different.len(), streams.len());
        assert_eq!(streams[0], Stream::new(1, Purpose::Arrivals).bits());
    }

    #[test]
    fn numbers_have_the_moments_of_their_laws() {
        let mut stream = Stream::new(7, Purpose::Noise);
        let mut moments = |draw: fn(&mut Stream) -> f64| {
            let n = 200_000;
            let draws: Vec<f64> = (0..n).map(|_| draw(&mut stream)).collect();
            let mean = draws.iter().sum::<f64>() / f64::from(n);
            (mean, draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n))
        };
        let close = |(mean, variance): (f64, f64), expected: (f64, f64)| {
            assert!((mean - expected.0).abs() < 0.01 && (variance - expected.1).abs() < 0.02);
        };
        close(moments(Stream::open01), (0.5, 1.0 / 12.0));
        close(moments(Stream::exponential), (1.0, 1.0));
        close(moments(Stream::normal), (0.0, 1.0));
    }
}
