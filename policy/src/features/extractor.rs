//! From observations to features.

use ipc::{
    region::ServerStatistics,
    sample::{Kind, Kinds},
};

use super::{
    Features, Normaliser, NormaliserError, Schema, bounded,
    memory::{Memory, Pool},
    native::{self, Said},
    published,
};
use crate::{
    Observation, PerServer,
    base::Grounds,
    rewards::Objective,
    state::{self, StateError},
};

/// What an agent itself says of the servers, in the order of the observation's; where it is too short, the base is 1 and the
/// rest 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Own<'a> {
    /// The base estimate.
    pub base: &'a [f64],
    /// What that rests on.
    pub grounds: &'a [Grounds],
    /// The corrections (logarithms) that were added to it last.
    pub corrections: &'a [f32],
}

/// Makes the features of one VIP. It remembers, for those that speak of change and of the recent past.
#[derive(Clone, Debug)]
pub struct Extractor {
    schema: Schema,
    normaliser: Normaliser,
    objective: Objective,
    t: Option<u64>,
    servers: PerServer<Memory>,
    scratch: Vec<f64>,
}

impl Extractor {
    /// Refuses a normaliser of another schema.
    pub fn new(schema: Schema, normaliser: Normaliser) -> Result<Self, NormaliserError> {
        normaliser.check(schema)?;
        Ok(Self {
            schema,
            normaliser,
            objective: Objective::default(),
            t: None,
            servers: PerServer::default(),
            scratch: Vec::new(),
        })
    }

    /// The reward that is a feature of [`Schema::Native`]; without this, the default one.
    #[must_use]
    pub fn with_objective(mut self, objective: Objective) -> Self {
        self.objective = objective;
        self
    }

    /// Which features it makes.
    pub const fn schema(&self) -> Schema {
        self.schema
    }

    /// The kinds of samples that they depend on.
    pub const fn kinds(&self) -> Kinds {
        self.schema.kinds().and(Kinds::of(&[self.objective.kind]))
    }

    /// What brings them to scale.
    pub const fn normaliser(&self) -> &Normaliser {
        &self.normaliser
    }

    /// Extracts and normalises.
    ///
    /// Shapes of `out`: `servers` is rows × [`Schema::per_server`], `context` is [`Schema::context`], `active` is rows. Every
    /// number is finite and within the normaliser's limit.
    pub fn extract(&mut self, observation: &Observation<'_>, own: Own<'_>, out: &mut Features) {
        self.extract_raw(observation, own, out);
        self.normaliser.apply(out);
    }

    /// Extracts as [`Extractor::extract`] does, without normalising: what [`Normaliser::update`] learns from.
    pub fn extract_raw(&mut self, observation: &Observation<'_>, own: Own<'_>, out: &mut Features) {
        let seconds = self.remember(observation);
        let bases =
            observation.servers.iter().enumerate().map(|(at, _)| own.base.get(at).copied().unwrap_or(1.0));
        self.scratch.clear();
        self.scratch.extend(bases.map(|base| if base > 1e-12 && base < 1e12 { base } else { 1.0 }));
        let pool = Pool::of(observation, &self.scratch, self.servers.iter());
        self.rows(observation, own, &pool, out);
        self.context(observation, &pool, seconds, &mut out.context);
    }

    /// Forgets everything but what it was made of.
    pub fn reset(&mut self) {
        self.t = None;
        self.servers.clear();
    }

    /// Writes down all that later features depend on.
    pub fn save(&self, state: &mut state::Writer) {
        state.option(self.t);
        self.servers.save(state, Memory::save);
    }

    /// Takes over what [`Extractor::save`] of one like this has written. On an error it is as after a reset.
    pub fn restore(&mut self, state: &mut state::Reader<'_>) -> Result<(), StateError> {
        self.reset();
        let t = state.option()?;
        self.servers.restore(state, Memory::restore)?;
        self.t = t;
        Ok(())
    }

    /// Goes on to an observation; returns the seconds since the one before, 0 if it is not newer.
    fn remember(&mut self, observation: &Observation<'_>) -> f64 {
        self.servers.align(observation, Memory::new);
        let before = self.t.unwrap_or(observation.t);
        self.t = Some(before.max(observation.t));
        let seconds = observation.t.saturating_sub(before) as f64 / 1e9;
        if seconds > 0.0 {
            for (memory, server) in self.servers.iter_mut().zip(observation.servers) {
                memory.go_on(server, seconds);
            }
        }
        seconds
    }

    fn rows(&self, observation: &Observation<'_>, own: Own<'_>, pool: &Pool, out: &mut Features) {
        let servers = observation.servers;
        let rows = self.schema.rows().unwrap_or(servers.len());
        let width = self.schema.per_server();
        out.active.clear();
        out.active.extend(servers.iter().take(rows).map(Observation::is_active));
        out.active.resize(rows, false);
        out.servers.clear();
        out.servers.resize(rows * width, 0.0);
        let places = out.servers.chunks_exact_mut(width);
        for (at, ((place, server), memory)) in places.zip(servers).zip(self.servers.iter()).enumerate() {
            if Observation::is_active(server) {
                let said = Said {
                    base: self.scratch[at],
                    grounds: own.grounds.get(at).copied().unwrap_or_default(),
                    correction: own.corrections.get(at).copied().unwrap_or(0.0),
                };
                self.row(server, memory, said, pool, place);
            }
        }
    }

    fn row(&self, server: &ServerStatistics, memory: &Memory, said: Said, pool: &Pool, place: &mut [f32]) {
        let mut eleven = [0.0; 11];
        match self.schema {
            Schema::Native => put(&native::row(server, memory, said, pool), place),
            Schema::Orig11 => {
                published::statistics(server, &[Kind::FlowCompletion, Kind::FlowDuration], pool, &mut eleven);
                put(&eleven, place);
            }
            Schema::Orig6 => {
                published::statistics(server, &[Kind::FlowDuration], pool, &mut eleven[..6]);
                put(&eleven[..6], place);
            }
            Schema::Grouped18 | Schema::Flat74 => put(&published::four(server, memory, pool), place),
        }
    }

    fn context(&mut self, observation: &Observation<'_>, pool: &Pool, seconds: f64, context: &mut Vec<f32>) {
        context.clear();
        context.resize(self.schema.context(), 0.0);
        match self.schema {
            Schema::Orig11 | Schema::Orig6 => {}
            Schema::Native => {
                let reward = self.objective.evaluate(observation, 0.0, &mut self.scratch);
                put(&native::context(observation, pool, seconds, reward), context);
            }
            Schema::Grouped18 => put(&published::two(pool), context),
            Schema::Flat74 => {
                let mut active = observation.servers.iter().map(Observation::is_active);
                for (server, load) in observation.servers.iter().zip(&mut self.scratch) {
                    *load = (server.open as f64 + 1.0) / *load;
                }
                self.scratch.retain(|_| active.next().unwrap_or(false));
                put(&published::ten(observation, pool, &self.scratch), context);
            }
        }
    }
}

fn put(values: &[f64], place: &mut [f32]) {
    for (place, &value) in place.iter_mut().zip(values) {
        *place = bounded(value);
    }
}

#[cfg(test)]
mod tests;
