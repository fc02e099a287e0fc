//! The randomness of a learner: initial parameters, exploration, and which sequences are replayed.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use serde::{Deserialize, Serialize};

use super::saved::{Saved, SavedError, shape};

/// What a stream is drawn for. The numbers are part of what a seed means: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Use {
    /// Initial parameters.
    Parameters = 1 << 32,
    /// A learner's own draws of actions.
    Actions,
    /// Actions while data is gathered.
    Exploration,
    /// Which sequences are replayed.
    Replay,
    /// What a task's own world draws.
    World,
    /// The worlds of an evaluation.
    Evaluation,
}

/// A stream of random numbers: ChaCha with 8 rounds. Candle's own cannot be seeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draws {
    seed: u64,
    rng: ChaCha8Rng,
}

/// Where a stream stands: what a checkpoint has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    seed: u64,
    stream: u64,
    /// In words of 32 bits.
    word: u64,
}

impl Position {
    /// Seed, stream and word.
    pub const fn words(self) -> [u64; 3] {
        [self.seed, self.stream, self.word]
    }

    /// The reverse.
    pub const fn of_words([seed, stream, word]: [u64; 3]) -> Self {
        Self { seed, stream, word }
    }
}

impl Draws {
    /// The stream of a use, from its beginning.
    pub fn new(seed: u64, of: Use) -> Self {
        Self::at(Position { seed, stream: of as u64, word: 0 })
    }

    /// Goes on from where a stream stood.
    pub fn at(position: Position) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(position.seed);
        rng.set_stream(position.stream);
        rng.set_word_pos(position.word.into());
        Self { seed: position.seed, rng }
    }

    /// Where it stands.
    pub fn position(&self) -> Position {
        let word = self.rng.get_word_pos();
        let word = u64::try_from(word).expect("no run draws 2^64 words");
        Position { seed: self.seed, stream: self.rng.get_stream(), word }
    }

    /// Puts down where it stands, under a name.
    pub fn save(&self, name: &str, saved: &mut Saved) {
        saved.put_words(name, self.position().words().to_vec());
    }

    /// A stream that goes on from what [`Draws::save`] put down.
    pub fn restored(name: &str, saved: &Saved) -> Result<Self, SavedError> {
        let words = saved.words(name)?;
        let position = words.try_into().map_err(|_| shape(name, vec![words.len()], vec![3]))?;
        Ok(Self::at(Position::of_words(position)))
    }

    /// Evenly from 0 to 1, 1 excluded.
    pub fn uniform(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Evenly from the numbers below `bound`, which is above 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.rng.next_u64()) * bound as u128) >> 64) as usize
    }

    /// From a normal law with mean 0 and variance 1. Source: Box and Muller, 1958.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// So many of [`Draws::normal`].
    pub fn normals(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.normal() as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_goes_on_from_where_it_stood() {
        let mut draws = Draws::new(7, Use::Actions);
        draws.normals(13);
        let mut other = Draws::at(draws.position());
        let mut saved = Saved::default();
        draws.save("noise", &mut saved);
        let mut restored = Draws::restored("noise", &saved).unwrap();
        assert_eq!(draws.normals(20), other.normals(20));
        assert_eq!(draws, other);
        restored.normals(20);
        assert_eq!(draws, restored);
        assert_ne!(Draws::new(7, Use::Replay).uniform(), Draws::new(7, Use::Actions).uniform());
    }

    #[test]
    fn numbers_have_the_moments_of_their_laws() {
        let mut draws = Draws::new(1, Use::World);
        let count = 100_000;
        let normals = draws.normals(count);
        let mean = normals.iter().sum::<f32>() / count as f32;
        let variance = normals.iter().map(|x| x * x).sum::<f32>() / count as f32;
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        let thirds = (0..count).filter(|_| draws.below(3) == 2).count();
        assert!((thirds as f64 / count as f64 - 1.0 / 3.0).abs() < 0.01);
    }
}
