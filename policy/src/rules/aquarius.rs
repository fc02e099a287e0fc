//! `aquarius`: a softmax over flow durations.

use ipc::{
    region::ServerStatistics,
    sample::{Kind, Kinds},
};

use super::mean;
use crate::{
    Observation, PerServer, Policy,
    state::{self, StateError},
};

/// How much a new weight counts beside the one before.
const BLEND: f64 = 0.5;

/// w ← ½ w + ½ softmax(−d), d the mean flow duration in seconds.
///
/// Source: Aquarius (arXiv 2110.15788) as its simulator has it; meant for SED. A server without samples gets the mean of
/// the others' durations, and is not fast for that. The first weight of a server is its softmax alone.
#[derive(Clone, Debug, Default)]
pub struct Aquarius {
    /// `None` until it was active once.
    weights: PerServer<Option<f64>>,
}

impl Policy for Aquarius {
    fn name(&self) -> &str {
        "aquarius"
    }

    fn propose(&mut self, observation: &Observation<'_>, proposal: &mut Vec<f64>) {
        self.weights.align(observation, |_| None);
        let active = || observation.servers.iter().filter(|server| Observation::is_active(server));
        let common = mean(active().filter_map(duration)).unwrap_or(0.0);
        let seconds = |server| duration(server).unwrap_or(common);
        // The smallest duration becomes the exponent 0: the same quotient, and nothing underflows everywhere.
        let least = active().map(seconds).fold(f64::INFINITY, f64::min);
        let total: f64 = active().map(|server| (least - seconds(server)).exp()).sum();
        proposal.clear();
        for (weight, server) in self.weights.iter_mut().zip(observation.servers) {
            if Observation::is_active(server) {
                let new = (least - seconds(server)).exp() / total;
                *weight = Some(weight.map_or(new, |before| before + BLEND * (new - before)));
            }
            proposal.push(weight.unwrap_or(0.0));
        }
    }

    fn kinds(&self) -> Kinds {
        Kinds::of(&[Kind::FlowDuration])
    }

    fn reset(&mut self) {
        self.weights.clear();
    }

    fn save(&self, state: &mut state::Writer) {
        self.weights.save(state, |weight, state| {
            state.u64(u64::from(weight.is_some()));
            state.f64(weight.unwrap_or(0.0));
        });
    }

    fn restore(&mut self, state: &mut state::Reader<'_>) -> Result<(), StateError> {
        self.weights.restore(state, |state| {
            let known = state.u64()? > 0;
            let weight = state.f64()?;
            if weight.is_finite() { Ok(known.then_some(weight)) } else { Err(StateError::Value) }
        })
    }
}

/// The mean flow duration in seconds.
fn duration(server: &ServerStatistics) -> Option<f64> {
    server.kind(Kind::FlowDuration).map(|said| f64::from(said.mean) / 1e9)
}
