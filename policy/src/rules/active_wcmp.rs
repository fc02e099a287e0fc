//! `active-wcmp`: configured weights, less where a server is busy.

use ipc::sample::Kinds;

use crate::{
    Observation, Policy,
    state::{self, StateError},
};

/// w_j = configured_j / (busy_j + 1).
///
/// Source: AWCMP (Spotlight), as the published balancers compare with it; it is meant for `select = "alias"`. There
/// the busy threads of each server are polled. A balancer under DSR cannot ask: its own open flows stand in for them.
/// The published division by the largest weight changes no ratio, and is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct ActiveWcmp;

impl Policy for ActiveWcmp {
    fn name(&self) -> &str {
        "active-wcmp"
    }

    fn propose(&mut self, observation: &Observation<'_>, proposal: &mut Vec<f64>) {
        proposal.clear();
        proposal.extend(
            observation.servers.iter().map(|server| server.configured_weight / (server.open as f64 + 1.0)),
        );
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
