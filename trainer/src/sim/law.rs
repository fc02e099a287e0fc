//! Laws of sizes: of work, delays, pauses.

use super::rng::Stream;

/// A law of sizes above zero. Everything is drawn by inversion, from the same number of random numbers each time, so
/// that a change of one parameter does not shift what is drawn later.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Law {
    /// Always the mean.
    Constant {
        /// The mean, in nanoseconds, as in all laws.
        mean: f64,
    },
    /// Evenly between two bounds.
    Uniform {
        /// The smallest.
        min: f64,
        /// The largest.
        max: f64,
    },
    /// Memoryless.
    Exponential {
        /// The mean.
        mean: f64,
    },
    /// The exponential of a normal law.
    Lognormal {
        /// The mean.
        mean: f64,
        /// Variance divided by the square of the mean.
        cv2: f64,
    },
    /// Heavy-tailed, within bounds.
    Pareto {
        /// The mean.
        mean: f64,
        /// The exponent of the tail; the smaller the heavier.
        shape: f64,
        /// The largest divided by the smallest.
        spread: f64,
    },
    /// One of two exponential laws, each of which brings half of the work.
    Hyperexponential {
        /// The mean.
        mean: f64,
        /// Variance divided by the square of the mean, at least 1.
        cv2: f64,
    },
}

/// What is wrong with a law.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum LawError {
    /// A parameter out of its range.
    #[error("{name} is {found}: it must be {must}")]
    Parameter {
        /// Which.
        name: &'static str,
        /// What it is.
        found: f64,
        /// What it has to be.
        must: &'static str,
    },
}

/// Refuses what does not hold.
fn check(name: &'static str, found: f64, holds: bool, must: &'static str) -> Result<(), LawError> {
    if holds && found.is_finite() { Ok(()) } else { Err(LawError::Parameter { name, found, must }) }
}

impl Law {
    /// Refuses parameters that make no sense.
    pub fn check(&self) -> Result<(), LawError> {
        let mean = self.mean();
        check("mean", mean, mean > 0.0, "above zero")?;
        match *self {
            Self::Constant { .. } | Self::Exponential { .. } => Ok(()),
            Self::Uniform { min, max } => {
                check("min", min, min >= 0.0, "zero or more")?;
                check("max", max, max >= min, "at least min")
            }
            Self::Lognormal { cv2, .. } => check("cv2", cv2, cv2 > 0.0, "above zero"),
            Self::Pareto { shape, spread, .. } => {
                check("shape", shape, shape > 0.0, "above zero")?;
                check("spread", spread, spread > 1.0, "above one")
            }
            Self::Hyperexponential { cv2, .. } => check("cv2", cv2, cv2 >= 1.0, "at least one"),
        }
    }

    /// The mean.
    pub const fn mean(&self) -> f64 {
        match *self {
            Self::Uniform { min, max } => f64::midpoint(min, max),
            Self::Constant { mean }
            | Self::Exponential { mean }
            | Self::Lognormal { mean, .. }
            | Self::Pareto { mean, .. }
            | Self::Hyperexponential { mean, .. } => mean,
        }
    }

    /// The same law with another mean.
    #[must_use]
    pub fn with_mean(self, to: f64) -> Self {
        let factor = to / self.mean();
        match self {
            Self::Uniform { min, max } => Self::Uniform { min: min * factor, max: max * factor },
            Self::Constant { .. } => Self::Constant { mean: to },
            Self::Exponential { .. } => Self::Exponential { mean: to },
            Self::Lognormal { cv2, .. } => Self::Lognormal { mean: to, cv2 },
            Self::Pareto { shape, spread, .. } => Self::Pareto { mean: to, shape, spread },
            Self::Hyperexponential { cv2, .. } => Self::Hyperexponential { mean: to, cv2 },
        }
    }

    /// Draws one. The law has been checked.
    #[inline]
    pub fn draw(&self, stream: &mut Stream) -> f64 {
        match *self {
            Self::Constant { mean } => mean,
            Self::Uniform { min, max } => (max - min).mul_add(stream.open01(), min),
            Self::Exponential { mean } => mean * stream.exponential(),
            Self::Lognormal { mean, cv2 } => {
                let variance = cv2.ln_1p();
                mean * variance.sqrt().mul_add(stream.normal(), -variance / 2.0).exp()
            }
            Self::Pareto { mean, shape, spread } => {
                let smallest = mean / bounded_pareto_moment(shape, spread, 1.0);
                let tail = spread.powf(-shape);
                smallest * stream.open01().mul_add(tail - 1.0, 1.0).powf(-1.0 / shape)
            }
            Self::Hyperexponential { mean, cv2 } => {
                let share = 0.5 * (1.0 + ((cv2 - 1.0) / (cv2 + 1.0)).sqrt());
                let share = if stream.open01() < share { share } else { 1.0 - share };
                mean / (2.0 * share) * stream.exponential()
            }
        }
    }
}

/// A moment of the Pareto law between 1 and `spread`.
fn bounded_pareto_moment(shape: f64, spread: f64, order: f64) -> f64 {
    let over = order - shape;
    let whole = match over.abs() < 1e-9 {
        true => spread.ln(),
        false => (spread.powf(over) - 1.0) / over,
    };
    shape * whole / (1.0 - spread.powf(-shape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::rng::Purpose;

    fn moments(law: Law, draws: u32) -> (f64, f64) {
        law.check().unwrap();
        let mut stream = Stream::new(3, Purpose::Service);
        let draws: Vec<f64> = (0..draws).map(|_| law.draw(&mut stream)).collect();
        assert!(draws.iter().all(|&size| size > 0.0 && size.is_finite()));
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        (mean, variance / (mean * mean))
    }

    #[test]
    fn draws_have_the_mean_and_the_variation_of_their_law() {
        let mean = 5e6;
        let pareto = |shape, spread| {
            let [first, second] = [1.0, 2.0].map(|order| bounded_pareto_moment(shape, spread, order));
            second / (first * first) - 1.0
        };
        for (law, cv2) in [
            (Law::Constant { mean }, 0.0),
            (Law::Uniform { min: 0.0, max: 2.0 * mean }, 1.0 / 3.0),
            (Law::Exponential { mean }, 1.0),
            (Law::Lognormal { mean, cv2: 4.0 }, 4.0),
            (Law::Hyperexponential { mean, cv2: 10.0 }, 10.0),
            (Law::Pareto { mean, shape: 1.5, spread: 100.0 }, pareto(1.5, 100.0)),
            (Law::Pareto { mean, shape: 1.0, spread: 30.0 }, pareto(1.0, 30.0)),
        ] {
            let (found_mean, found_cv2) = moments(law, 1_000_000);
            assert!((found_mean / mean - 1.0).abs() < 0.015, "{law:?}: mean {found_mean}");
            assert!((found_cv2 - cv2).abs() <= 0.06 * cv2, "{law:?}: cv2 {found_cv2}, not {cv2}");
        }
    }

    #[test]
    fn pareto_stays_within_its_bounds() {
        let law = Law::Pareto { mean: 100.0, shape: 1.2, spread: 1000.0 };
        let mut stream = Stream::new(1, Purpose::Service);
        let draws: Vec<f64> = (0..100_000).map(|_| law.draw(&mut stream)).collect();
        let (min, max) = draws.iter().fold((f64::MAX, 0.0_f64), |(a, b), &x| (a.min(x), b.max(x)));
        assert!(max / min <= 1000.0 * (1.0 + 1e-9) && max / min > 500.0, "{min} {max}");
    }

    #[test]
    fn laws_that_make_no_sense_are_refused() {
        let mean = 1.0;
        for (law, name) in [
            (Law::Constant { mean: 0.0 }, "mean"),
            (Law::Exponential { mean: f64::NAN }, "mean"),
            (Law::Exponential { mean: f64::INFINITY }, "mean"),
            (Law::Uniform { min: -1.0, max: 4.0 }, "min"),
            (Law::Uniform { min: 4.0, max: 1.0 }, "max"),
            (Law::Lognormal { mean, cv2: 0.0 }, "cv2"),
            (Law::Pareto { mean, shape: 0.0, spread: 2.0 }, "shape"),
            (Law::Pareto { mean, shape: 1.0, spread: 1.0 }, "spread"),
            (Law::Hyperexponential { mean, cv2: 0.5 }, "cv2"),
        ] {
            let Err(LawError::Parameter { name: found, .. }) = law.check() else { panic!("{law:?}") };
            assert_eq!(found, name);
        }
    }
}
