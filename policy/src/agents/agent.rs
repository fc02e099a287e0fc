//! An agent as a policy: features in, a bounded correction on the base estimate out.

use ipc::sample::Kinds;

use super::{Engine, Manifest, Model, ModelError, Network, action::correction, fused::math};
use crate::{
    Observation, PerServer, Policy,
    base::{Grounds, RateEstimate},
    features::{Extractor, Features, Own},
    state::{self, StateError},
};

/// A network that corrects a rate estimate: w_j = base_j · e^δ_j, |δ_j| ≤ δ_max.
///
/// Its memory, one row for each server, is carried from observation to observation and starts over, as a whole, when the
/// servers or their order change. A server that is not active has no correction and no memory. Corrections are without chance.
#[derive(Debug)]
pub struct Agent {
    model: Model,
    network: Network,
    base: RateEstimate,
    grounds: Vec<Grounds>,
    extractor: Extractor,
    servers: PerServer<()>,
    /// `[S, H]`.
    hidden: Vec<f32>,
    /// δ of the observation before, `[S]`: what the extractor gets to see.
    previous: Vec<f32>,
    features: Features,
    /// `[S, O]`.
    head: Vec<f32>,
}

impl Agent {
    /// An agent of a model, which makes its features with the model's normaliser.
    pub fn new(model: Model, engine: Engine) -> Result<Self, ModelError> {
        let extractor = Extractor::new(model.schema(), model.manifest().normaliser.clone())?;
        Ok(Self {
            network: Network::new(&model, engine).map_err(ModelError::Candle)?,
            model,
            base: RateEstimate::default(),
            grounds: Vec::new(),
            extractor,
            servers: PerServer::default(),
            hidden: Vec::new(),
            previous: Vec::new(),
            features: Features::default(),
            head: Vec::new(),
        })
    }

    /// The corrections δ of the newest observation, in the order of its servers.
    pub fn corrections(&self) -> &[f32] {
        &self.previous
    }

    /// What it remembers of the servers, `[S, H]`.
    pub fn memory(&self) -> &[f32] {
        &self.hidden
    }

    /// The features of the newest observation, as the network saw them.
    pub const fn features(&self) -> &Features {
        &self.features
    }

    /// The model that it runs.
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// Proposes as [`Policy::propose`] does, by other corrections: `choose` gets the model's manifest, an active server's place in
    /// the observation and what the network says of it, and returns its δ. So training tries what it would not do by itself.
    ///
    /// A correction, or something remembered, that is not finite costs the proposal and the memory.
    pub fn propose_by(
        &mut self,
        observation: &Observation<'_>,
        proposal: &mut Vec<f64>,
        choose: impl FnMut(&Manifest, usize, &[f32]) -> f32,
    ) {
        self.align(observation);
        self.base.estimate(observation, proposal);
        self.grounds.clear();
        self.grounds.extend(self.base.grounds());
        let own = Own { base: proposal, grounds: &self.grounds, corrections: &self.previous };
        self.extractor.extract(observation, own, &mut self.features);
        if !self.correct(choose) {
            self.forget();
            proposal.clear();
            return;
        }
        for (weight, &delta) in proposal.iter_mut().zip(&self.previous) {
            *weight *= f64::from(math::exp(delta));
        }
    }

    /// Goes by a new observation; memory of other servers is none.
    fn align(&mut self, observation: &Observation<'_>) {
        if self.servers.align(observation, |_| ()) {
            self.forget();
        }
        self.previous.resize(observation.servers.len(), 0.0);
    }

    fn forget(&mut self) {
        self.hidden.clear();
        self.previous.clear();
    }

    /// Runs the network and has `choose` make corrections of what it says; false if there is not one for every server.
    fn correct(&mut self, mut choose: impl FnMut(&Manifest, usize, &[f32]) -> f32) -> bool {
        let manifest = self.model.manifest();
        let (shape, rows) = (manifest.shape(), self.features.active.len());
        self.hidden.resize(rows * shape.hidden, 0.0);
        self.head.resize(rows * shape.outputs, 0.0);
        if self.network.step(&self.features, &mut self.hidden, &mut self.head).is_err() {
            return false;
        }
        let heads = self.head.chunks_exact(shape.outputs);
        let rows = self.previous.iter_mut().zip(heads).zip(&self.features.active);
        for (at, ((delta, head), &active)) in rows.enumerate() {
            *delta = if active { choose(manifest, at, head) } else { 0.0 };
        }
        self.previous.iter().chain(&self.hidden).all(|value| value.is_finite())
    }
}

impl Policy for Agent {
    fn name(&self) -> &str {
        self.model.manifest().kind.policy()
    }

    /// A network whose numbers are not finite proposes nothing, for which the guard falls back, and starts from nothing at
    /// the next observation.
    fn propose(&mut self, observation: &Observation<'_>, proposal: &mut Vec<f64>) {
        self.propose_by(observation, proposal, |manifest, _, head| {
            correction(manifest.kind, head, &manifest.levels, manifest.delta_max)
        });
    }

    fn kinds(&self) -> Kinds {
        self.extractor.kinds()
    }

    fn reset(&mut self) {
        self.base.reset();
        self.extractor.reset();
        self.servers.clear();
        self.forget();
    }

    fn save(&self, state: &mut state::Writer) {
        self.base.save(state);
        self.extractor.save(state);
        self.servers.save(state, |(), _| ());
        state.f32s(&self.hidden);
        state.f32s(&self.previous);
    }

    fn restore(&mut self, state: &mut state::Reader<'_>) -> Result<(), StateError> {
        let outcome = self.take_over(state);
        if outcome.is_err() {
            self.reset();
        }
        outcome
    }
}

impl Agent {
    fn take_over(&mut self, state: &mut state::Reader<'_>) -> Result<(), StateError> {
        self.base.restore(state)?;
        self.extractor.restore(state)?;
        self.servers.restore(state, |_| Ok(()))?;
        self.hidden = state.f32s()?;
        self.previous = state.f32s()?;
        let forgotten = self.hidden.is_empty() && self.previous.is_empty();
        let servers = self.servers.iter().count();
        let rows = self.extractor.schema().rows().unwrap_or(servers);
        let whole =
            self.hidden.len() == rows * self.model.manifest().hidden && self.previous.len() == servers;
        if whole || forgotten { Ok(()) } else { Err(StateError::Value) }
    }
}
