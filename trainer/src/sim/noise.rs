//! What else runs on a server's machine.

use super::rng::{Purpose, Stream};

/// Something that takes a share of a server's speed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// The share, at least 0 and below 1.
    pub share: f64,
    /// It comes and goes: how long it takes its share and how long it does not, on average, in nanoseconds; both
    /// times are exponential. `None`: it stays.
    pub bursts: Option<(f64, f64)>,
}

/// A server's neighbour.
#[derive(Clone, Debug)]
pub struct Neighbor {
    stream: Stream,
    noise: Noise,
    is_on: bool,
    number: u32,
}

impl Neighbor {
    /// Nobody yet, with randomness of its server's own.
    pub fn new(seed: u64, server: u64) -> Self {
        let stream = Stream::numbered(seed, Purpose::Noise, server);
        Self { stream, noise: Noise { share: 0.0, bursts: None }, is_on: false, number: 0 }
    }

    /// Another one moves in, instead of who was there; returns its number.
    pub const fn replace(&mut self, noise: Noise) -> u32 {
        self.number += 1;
        self.noise = noise;
        self.is_on = false;
        self.number
    }

    /// It begins or ends. Returns the share that it takes now, and after how long to ask again; `None`: this one has
    /// moved out.
    pub fn turn(&mut self, number: u32) -> Option<(f64, Option<u64>)> {
        if number != self.number {
            return None;
        }
        self.is_on = !self.is_on;
        let stay = self.noise.bursts.map(|(on, off)| {
            let mean = if self.is_on { on } else { off };
            (mean * self.stream.exponential()) as u64
        });
        Some((if self.is_on { self.noise.share } else { 0.0 }, stay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_without_bursts_stays_until_there_is_other() {
        let mut neighbor = Neighbor::new(1, 0);
        let first = neighbor.replace(Noise { share: 0.5, bursts: None });
        assert_eq!(neighbor.turn(first), Some((0.5, None)));
        let second = neighbor.replace(Noise { share: 0.0, bursts: None });
        assert_eq!((neighbor.turn(first), neighbor.turn(second)), (None, Some((0.0, None))));
    }

    #[test]
    fn bursts_last_as_long_as_they_should_on_average() {
        let mut neighbor = Neighbor::new(1, 0);
        let number = neighbor.replace(Noise { share: 0.3, bursts: Some((2e6, 6e6)) });
        let (mut on, mut off) = (0, 0);
        for _ in 0..20_000 {
            let (share, Some(stay)) = neighbor.turn(number).unwrap() else { panic!("it comes and goes") };
            *(if share > 0.0 { &mut on } else { &mut off }) += stay;
        }
        assert!(
            (on as f64 / 10_000.0 / 2e6 - 1.0).abs() < 0.04 && (off as f64 / on as f64 - 3.0).abs() < 0.15
        );
    }
}
