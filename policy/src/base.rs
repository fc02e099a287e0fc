//! How fast each server is, told from what completes while it has work: the base that an agent corrects.
//!
//! A [`RateEstimate`] is a discounted Gamma-Poisson filter for each server, over a few hypotheses of how many flows it
//! serves at once. The maths is in `docs/design/rules.md`.

mod brief;
mod server;
mod standing;
mod window;

use ipc::region::ServerStatistics;

use self::{
    brief::Brief,
    server::{Evidence, Track},
};
use crate::{
    Observation, PerServer,
    state::{self, StateError},
};

/// How a [`RateEstimate`] remembers and believes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Seconds after which a completion counts 1/e of what it did.
    pub memory: f64,
    /// The same of the window that is compared with the longer one to notice a change.
    pub fast_memory: f64,
    /// Both are longer, up to `stretch` times, while the longer one holds fewer completions than this.
    pub enough: f64,
    /// See `enough`.
    pub stretch: f64,
    /// The same of what is learned about how many flows a server serves at once: that is its build, and changes rarely.
    pub structure_memory: f64,
    /// How many completions the configured weight is worth.
    pub prior: f64,
    /// How many standard deviations of a Poisson count both windows must be apart for the longer one to be dropped.
    pub change: f64,
    /// An estimate stays within this factor of the configured weight, relative to the pool.
    pub range: f64,
    /// How much less than the rates the weights differ, while servers have few flows: ln w = (1 − `levelling`) ln rate.
    pub levelling: f64,
    /// How many open flows for each server halve the levelling.
    pub many: f64,
    /// Seconds between two observations from which on nothing is concluded from both.
    pub gap: f64,
}

impl Settings {
    /// What is used where nobody says otherwise.
    pub const DEFAULT: Self = Self {
        memory: 8.0,
        fast_memory: 0.5,
        enough: 100.0,
        stretch: 4.0,
        structure_memory: 60.0,
        prior: 10.0,
        change: 4.0,
        range: 6.0,
        levelling: 0.25,
        many: 16.0,
        gap: 5.0,
    };
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What the estimate of a server rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Grounds {
    /// Completions that the estimate remembers.
    pub completed: f64,
    /// Seconds that it remembers: few after a change was noticed.
    pub seconds: f64,
    /// How much it is believed that the server is never full, 0 to 1.
    pub unbounded: f64,
}

/// Estimates each server's service rate, shrunk towards the configured weight.
#[derive(Clone, Debug)]
pub struct RateEstimate {
    settings: Settings,
    /// When the observation before was measured.
    t: Option<u64>,
    brief: Brief,
    servers: PerServer<Track>,
}

impl Default for RateEstimate {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl RateEstimate {
    /// Knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, t: None, brief: Brief::default(), servers: PerServer::default() }
    }

    /// Takes in an observation and says how fast each of its servers is.
    ///
    /// `base` is emptied first. It gets a number for each server, in their order: relative weights, positive and with
    /// mean 1 over the active servers, 0 for the others. Without data they are the configured weights.
    /// An observation that is not newer than the one before teaches nothing.
    pub fn estimate(&mut self, observation: &Observation<'_>, base: &mut Vec<f64>) {
        self.take_in(observation);
        base.clear();
        let total = self.evidence(observation);
        for (track, server) in self.servers.iter().zip(observation.servers) {
            base.push(if Observation::is_active(server) {
                self.rate(track, configured(server), &total)
            } else {
                0.0
            });
        }
        if total.scale().is_some() {
            self.level(total.open(), base);
        }
        to_mean_one(base);
    }

    /// What the newest estimate rests on, in the order of the observation's servers.
    pub fn grounds(&self) -> impl Iterator<Item = Grounds> {
        self.servers.iter().map(Track::grounds)
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.t = None;
        self.brief = Brief::default();
        self.servers.clear();
    }

    /// Writes down all that later estimates depend on.
    pub fn save(&self, state: &mut state::Writer) {
        state.option(self.t);
        self.brief.save(state);
        self.servers.save(state, Track::save);
    }

    /// Takes over what [`RateEstimate::save`] has written. On an error it is as after a reset.
    pub fn restore(&mut self, state: &mut state::Reader<'_>) -> Result<(), StateError> {
        self.reset();
        let (t, brief) = (state.option()?, Brief::restore(state)?);
        self.servers.restore(state, Track::restore)?;
        (self.t, self.brief) = (t, brief);
        Ok(())
    }

    fn take_in(&mut self, observation: &Observation<'_>) {
        self.servers.align(observation, Track::new);
        let seconds = match self.t {
            Some(before) if observation.t > before => (observation.t - before) as f64 / 1e9,
            Some(_) => return,
            None => 0.0,
        };
        self.t = Some(observation.t);
        // What went on in a long gap, the counts at both ends do not say.
        let usable = seconds > 0.0 && seconds <= self.settings.gap;
        let brief = self.brief.share();
        self.brief.forget((-seconds / self.settings.structure_memory).exp());
        for (track, server) in self.servers.iter_mut().zip(observation.servers) {
            let frame = track.frame(server, seconds);
            if usable {
                self.brief.add(&frame, track.busy_rate());
                track.learn(&frame, brief, &self.settings);
            }
        }
    }

    /// What all active servers show together: the scale that makes configured weights rates.
    fn evidence(&self, observation: &Observation<'_>) -> Evidence {
        let mut total = Evidence::default();
        for (track, server) in self.servers.iter().zip(observation.servers) {
            if Observation::is_active(server) {
                total.add(track, configured(server));
            }
        }
        total
    }

    /// Brings rates closer to each other, the less the fewer flows are `open` on a server.
    ///
    /// Counts are whole numbers, so with few flows a weight matters only where it changes who is next. A fast server that
    /// is rated a little too fast keeps slow ones idle while flows wait on it; one rated too slow by as much costs little.
    fn level(&self, open: f64, base: &mut [f64]) {
        let exponent = 1.0 - self.settings.levelling / (1.0 + open / self.settings.many);
        base.iter_mut().filter(|rate| **rate > 0.0).for_each(|rate| *rate = rate.powf(exponent));
    }

    fn rate(&self, track: &Track, configured: f64, total: &Evidence) -> f64 {
        let Some(scale) = total.scale() else { return configured };
        let expected = scale * configured;
        let rate = track.rate(expected, total.flow_rate(), self.settings.prior);
        rate.clamp(expected / self.settings.range, expected * self.settings.range)
    }
}

/// The configured weight, kept so far from zero that quotients of any two are numbers.
fn configured(server: &ServerStatistics) -> f64 {
    server.configured_weight.max(1e-9)
}

/// Divides by the mean of those that are not zero.
fn to_mean_one(base: &mut [f64]) {
    let (sum, count) =
        base.iter().filter(|&&rate| rate > 0.0).fold((0.0, 0.0), |(sum, n), rate| (sum + rate, n + 1.0));
    if count > 0.0 {
        let mean = sum / count;
        base.iter_mut().for_each(|rate| *rate /= mean);
    }
}

/// Flows that ended in order, as far as a counter that went back lets know.
fn completed(server: &ServerStatistics, before: u64) -> f64 {
    server.finished_fin.saturating_add(server.finished_rst).saturating_sub(before) as f64
}

#[cfg(test)]
mod tests;
