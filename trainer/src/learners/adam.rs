//! Adam, with moments that can be written down.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;

use super::{
    params::{Params, set, values},
    saved::{Saved, SavedError},
};

/// How it steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Learning rate.
    pub rate: f64,
    /// How much of the mean of gradients is kept a step.
    pub first_decay: f64,
    /// The same of their squares.
    pub second_decay: f64,
    /// Keeps the divisor away from 0.
    pub epsilon: f64,
    /// A gradient whose norm over all parameters is larger is scaled down to it.
    pub clip: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { rate: 3e-4, first_decay: 0.9, second_decay: 0.999, epsilon: 1e-8, clip: 10.0 }
    }
}

/// Decayed means of the gradients of a variable, and of their squares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Of the gradients.
    pub first: Vec<f32>,
    /// Of their squares.
    pub second: Vec<f32>,
}

/// The optimiser of some parameters. Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    settings: Settings,
    /// Steps so far.
    pub steps: u64,
    /// By the names of the parameters.
    pub moments: BTreeMap<String, Moments>,
}

impl Adam {
    /// An optimiser that has not stepped.
    pub const fn new(settings: Settings) -> Self {
        Self { settings, steps: 0, moments: BTreeMap::new() }
    }

    /// Another learning rate from now on.
    pub const fn set_rate(&mut self, rate: f64) {
        self.settings.rate = rate;
    }

    /// Moments, steps and the learning rate. `params` are those that it steps.
    pub fn save(&self, params: &Params) -> Saved {
        let mut saved = Saved::default();
        for (name, var) in params.iter() {
            let zeros = || vec![0.0; var.elem_count()];
            let moments = self.moments.get(name);
            let first = moments.map_or_else(zeros, |moments| moments.first.clone());
            let second = moments.map_or_else(zeros, |moments| moments.second.clone());
            saved.put_numbers(format!("first.{name}"), var.dims(), first);
            saved.put_numbers(format!("second.{name}"), var.dims(), second);
        }
        saved.put_words("steps", vec![self.steps]);
        saved.put_words("rate", vec![self.settings.rate.to_bits()]);
        saved
    }

    /// Takes over what [`Adam::save`] gave, for the same `params`. If anything does not fit, nothing changes.
    pub fn restore(&mut self, params: &Params, saved: &Saved) -> Result<(), SavedError> {
        saved.check(&self.save(params))?;
        for (name, _) in params.iter() {
            let moments = |of: &str| Ok::<_, SavedError>(saved.numbers(&format!("{of}.{name}"))?.1.to_vec());
            let moments = Moments { first: moments("first")?, second: moments("second")? };
            self.moments.insert(name.to_owned(), moments);
        }
        self.steps = saved.word("steps")?;
        self.settings.rate = f64::from_bits(saved.word("rate")?);
        Ok(())
    }

    /// One step down the gradients; parameters without one stay. Returns the gradient's norm, before it was clipped.
    ///
    /// Gradients that are not finite change nothing, the moments included.
    pub fn step(&mut self, params: &Params, gradients: &GradStore) -> candle_core::Result<f64> {
        let gradients = gather(params, gradients)?;
        let squares = gradients.iter().flat_map(|(_, gradient)| gradient).map(|&x| f64::from(x).powi(2));
        let norm = squares.sum::<f64>().sqrt();
        if !norm.is_finite() {
            return Ok(norm);
        }
        let Settings { rate, first_decay, second_decay, epsilon, clip } = self.settings;
        let scale = if norm > clip { clip / norm } else { 1.0 };
        self.steps += 1;
        let count = self.steps as f64;
        let first_bias = 1.0 - first_decay.powf(count);
        let second_bias = 1.0 - second_decay.powf(count);
        for ((name, var), gradient) in params.iter().zip(gradients.iter().map(|(_, gradient)| gradient)) {
            let moments = self.moments.entry(name.to_owned()).or_default();
            moments.first.resize(var.elem_count(), 0.0);
            moments.second.resize(var.elem_count(), 0.0);
            let mut numbers = values(var)?;
            let both = moments.first.iter_mut().zip(&mut moments.second);
            for ((value, gradient), (first, second)) in numbers.iter_mut().zip(gradient).zip(both) {
                let gradient = f64::from(*gradient) * scale;
                *first = decayed(*first, gradient, first_decay);
                *second = decayed(*second, gradient * gradient, second_decay);
                let mean = f64::from(*first) / first_bias;
                let deviation = (f64::from(*second) / second_bias).sqrt();
                *value -= (rate * mean / (deviation + epsilon)) as f32;
            }
            set(var, numbers)?;
        }
        Ok(norm)
    }
}

fn decayed(mean: f32, value: f64, decay: f64) -> f32 {
    (f64::from(mean) * decay + value * (1.0 - decay)) as f32
}

/// The gradient of each parameter, zeros where there is none.
fn gather(params: &Params, gradients: &GradStore) -> candle_core::Result<Vec<(String, Vec<f32>)>> {
    let gradient = |(name, var): (&str, &candle_core::Var)| {
        let gradient = match gradients.get(var.as_tensor()) {
            Some(gradient) => gradient.flatten_all()?.to_vec1()?,
            None => vec![0.0; var.elem_count()],
        };
        Ok((name.to_owned(), gradient))
    };
    params.iter().map(gradient).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;

    use super::*;
    use crate::learners::draws::{Draws, Use};

    fn params() -> Params {
        let params = Params::new([("x".to_owned(), vec![2])], &mut Draws::new(1, Use::Parameters)).unwrap();
        set(params.iter().next().unwrap().1, vec![1.0, -2.0]).unwrap();
        params
    }

    /// x² + 3xy + 5y², whose gradient is (2x + 3y, 3x + 10y).
    fn loss(params: &Params) -> Tensor {
        let x = params.iter().next().unwrap().1.as_tensor().clone();
        let (x, y) = (x.get(0).unwrap(), x.get(1).unwrap());
        let squares = (x.sqr().unwrap() + (y.sqr().unwrap() * 5.0).unwrap()).unwrap();
        (squares + ((x * y).unwrap() * 3.0).unwrap()).unwrap()
    }

    fn steps(adam: &mut Adam, params: &Params, count: usize) -> Vec<f64> {
        (0..count).map(|_| adam.step(params, &loss(params).backward().unwrap()).unwrap()).collect()
    }

    /// The numbers are those of the paper's equations, computed apart in double precision.
    #[test]
    fn steps_are_those_of_the_paper() {
        let params = params();
        let mut adam = Adam::new(Settings { rate: 0.1, clip: f64::INFINITY, ..Settings::default() });
        let norms = steps(&mut adam, &params, 3);
        let found = values(params.iter().next().unwrap().1).unwrap();
        for (found, known) in found.iter().zip([1.2977777848370198, -1.701085628212755]) {
            assert!((f64::from(*found) - known).abs() < 1e-6, "{found} instead of {known}");
        }
        assert!((norms[0] - 17.46424919657298).abs() < 1e-6, "{norms:?}");
    }

    #[test]
    fn a_copy_goes_on_to_the_same_bits() {
        let (params, mut adam) = (params(), Adam::new(Settings::default()));
        steps(&mut adam, &params, 5);
        let (other_params, mut other) = (params.copy().unwrap(), adam.clone());
        steps(&mut adam, &params, 5);
        steps(&mut other, &other_params, 5);
        let bits = |params: &Params| {
            values(params.iter().next().unwrap().1).unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        assert_eq!((bits(&params), adam), (bits(&other_params), other));
    }

    #[test]
    fn gradients_that_are_not_finite_change_nothing() {
        let (params, mut adam) = (params(), Adam::new(Settings::default()));
        let (before, fresh) = (values(params.iter().next().unwrap().1).unwrap(), adam.clone());
        let broken = (loss(&params) * f64::NAN).unwrap();
        assert!(adam.step(&params, &broken.backward().unwrap()).unwrap().is_nan());
        assert_eq!((values(params.iter().next().unwrap().1).unwrap(), adam), (before, fresh));
    }
}
