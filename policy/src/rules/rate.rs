//! `rate`: the base estimate itself. An agent that corrects nothing is this rule.

use ipc::sample::Kinds;

use crate::{
    Observation, Policy,
    base::{RateEstimate, Settings},
    state::{self, StateError},
};

/// w_j = the estimated service rate ([`RateEstimate`]).
#[derive(Clone, Debug, Default)]
pub struct Rate {
    estimate: RateEstimate,
}

impl Rate {
    /// With other settings than the default ones.
    pub fn new(settings: Settings) -> Self {
        Self { estimate: RateEstimate::new(settings) }
    }
}

impl Policy for Rate {
    fn name(&self) -> &str {
        "rate"
    }

    fn propose(&mut self, observation: &Observation<'_>, proposal: &mut Vec<f64>) {
        self.estimate.estimate(observation, proposal);
    }

    fn kinds(&self) -> Kinds {
        Kinds::NONE
    }

    fn reset(&mut self) {
        self.estimate.reset();
    }

    fn save(&self, state: &mut state::Writer) {
        self.estimate.save(state);
    }

    fn restore(&mut self, state: &mut state::Reader<'_>) -> Result<(), StateError> {
        self.estimate.restore(state)
    }
}
