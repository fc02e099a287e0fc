//! What entropy is worth: as much as keeps it where it is aimed at.

use super::{
    adam::{self, Adam},
    draws::{Draws, Use},
    params::{Params, set, values},
    saved::{Saved, SavedError},
};

/// The entropy temperature α, learned as its logarithm.
#[derive(Debug)]
pub struct EntropyCoef {
    params: Params,
    adam: Adam,
    target: f64,
}

impl EntropyCoef {
    /// Starts at `first` and aims at an entropy of `target`, for each server that is active.
    pub fn new(first: f64, target: f64, settings: adam::Settings) -> candle_core::Result<Self> {
        let name = "log_entropy_coef".to_owned();
        let params = Params::new([(name, vec![1])], &mut Draws::new(0, Use::Parameters))?;
        params.iter().try_for_each(|(_, var)| set(var, vec![first.ln() as f32]))?;
        Ok(Self { params, adam: Adam::new(settings), target })
    }

    /// What it is now.
    pub fn get(&self) -> candle_core::Result<f64> {
        let (_, var) = self.params.iter().next().expect("there is one");
        Ok(f64::from(values(var)?[0]).exp())
    }

    /// Another learning rate from now on.
    pub const fn set_rate(&mut self, rate: f64) {
        self.adam.set_rate(rate);
    }

    /// The coefficient and its optimiser.
    pub fn save(&self) -> candle_core::Result<Saved> {
        let mut saved = Saved::default();
        saved.put("value", self.params.save()?);
        saved.put("adam", self.adam.save(&self.params));
        Ok(saved)
    }

    /// Takes over what [`EntropyCoef::save`] gave. If anything does not fit, nothing changes.
    pub fn restore(&mut self, saved: &Saved) -> Result<(), SavedError> {
        saved.check(&self.save()?)?;
        self.params.restore(&saved.part("value"))?;
        self.adam.restore(&self.params, &saved.part("adam"))
    }

    /// Steps down log α · (entropy − target): entropy is worth less when there is more of it than aimed at.
    pub fn update(&mut self, entropy: f64) -> candle_core::Result<()> {
        let (_, var) = self.params.iter().next().expect("there is one");
        let loss = (var.as_tensor() * (entropy - self.target))?.sum_all()?;
        self.adam.step(&self.params, &loss.backward()?)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_worth_more_when_there_is_too_little() {
        let mut coef = EntropyCoef::new(0.2, -1.0, adam::Settings::default()).unwrap();
        assert!((coef.get().unwrap() - 0.2).abs() < 1e-6);
        coef.update(-3.0).unwrap();
        let more = coef.get().unwrap();
        assert!(more > 0.2, "{more}");
        for _ in 0..20 {
            coef.update(1.0).unwrap();
        }
        assert!(coef.get().unwrap() < more);
    }
}
