//! `static`: the configured weights.

use ipc::sample::Kinds;

use crate::{
    Observation, Policy,
    state::{self, StateError},
};

/// w_j = the configured weight. With `select = "alias"` that is WCMP, with `sed` it is SED as published.
#[derive(Clone, Copy, Debug, Default)]
pub struct Static;

impl Policy for Static {
    fn name(&self) -> &str {
        "static"
    }

    fn propose(&mut self, observation: &Observation<'_>, proposal: &mut Vec<f64>) {
        proposal.clear();
        proposal.extend(observation.servers.iter().map(|server| server.configured_weight));
    }

    fn kinds(&self) -> Kinds {
        Kinds::NONE
    }

    fn reset(&mut self) {}

    fn save(&self, _: &mut state::Writer) {}

    fn restore(&mut self, _: &mut state::Reader<'_>) -> Result<(), StateError> {
        Ok(())
    }
}
