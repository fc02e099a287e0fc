//! `hlb`: a Kalman filter of relative flow durations for each server.

use ipc::{
    region::ServerStatistics,
    sample::{Kind, Kinds},
};

use super::mean;
use crate::{
    Observation, PerServer, Policy,
    state::{self, StateError},
};

/// What a step adds to the variance of the estimate.
const SYSTEM: f64 = 0.01 * 0.01;
/// The variance of a measurement.
const SENSOR: f64 = 0.4 * 0.4;
/// Where an estimate begins.
const START: Estimate = Estimate { mean: 0.5, variance: 10.0 * 10.0, newest: 0 };
/// How much of it the adaptive variance of a measurement keeps in a step.
const KEEP: f64 = 0.99;
/// No relative duration counts as more: beyond, e to its negative is as good as nothing anyway.
const LARGEST: f64 = 100.0;

/// w = softmax(−μ), where μ_j is a scalar Kalman filter's estimate of z_j = d_j / mean d, d the mean flow duration.
///
/// For each server, at each step: variance += 0.01²; then, if there is a measurement, gain = variance / (variance + s),
/// μ += gain (z − μ), variance ×= 1 − gain, with s = 0.4². It begins as N(0.5, 10²). Meant for SED: the data plane
/// divides by the weight once (the published code does so twice in one branch).
///
/// `hlb-ada` lets s follow the measurements: s ← 0.99 s + 0.01 Var z + 0.01², Var over the servers.
///
/// Source: HLB (IEEE/ACM ToN 2022). A measurement is one only if samples came since the one before; a server without any is
/// taken for an average one, z = 1, when the weights are made.
#[derive(Clone, Debug)]
pub struct Hlb {
    adaptive: bool,
    sensor: f64,
    servers: PerServer<Estimate>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Estimate {
    mean: f64,
    variance: f64,
    /// When the newest sample that was used was taken, plus 1; 0: none was.
    newest: u64,
}

impl Estimate {
    fn step(&mut self, measured: Option<f64>, sensor: f64) {
        self.variance += SYSTEM;
        if let Some(z) = measured {
            let gain = self.variance / (self.variance + sensor);
            self.mean += gain * (z - self.mean);
            self.variance *= 1.0 - gain;
        }
    }

    /// The estimate; an average server's without any measurement.
    const fn or_average(&self) -> f64 {
        if self.newest > 0 { self.mean } else { 1.0 }
    }
}

impl Hlb {
    /// With a fixed variance of the measurements.
    pub fn new() -> Self {
        Self { adaptive: false, sensor: SENSOR, servers: PerServer::default() }
    }

    /// With one that follows them.
    pub fn adaptive() -> Self {
        Self { adaptive: true, ..Self::new() }
    }

    fn take_in(&mut self, observation: &Observation<'_>) {
        self.servers.align(observation, |_| START);
        let active = || observation.servers.iter().filter(|server| Observation::is_active(server));
        let Some(common) = mean(active().filter_map(duration)).filter(|common| *common > 0.0) else { return };
        let measured = |server: &ServerStatistics| Some((duration(server)? / common).min(LARGEST));
        if self.adaptive {
            let mean_z = mean(active().filter_map(measured)).unwrap_or(1.0);
            let variance = mean(active().filter_map(measured).map(|z| (z - mean_z).powi(2))).unwrap_or(0.0);
            self.sensor = KEEP * self.sensor + (1.0 - KEEP) * variance + SYSTEM;
        }
        let sensor = self.sensor;
        for (estimate, server) in self.servers.iter_mut().zip(observation.servers) {
            if Observation::is_active(server) {
                let newest = server
                    .kind(Kind::FlowDuration)
                    .map_or(0, |said| observation.t.saturating_sub(said.age).saturating_add(1));
                let fresh = newest > estimate.newest;
                estimate.step(measured(server).filter(|_| fresh), sensor);
                estimate.newest = estimate.newest.max(newest);
            }
        }
    }
}

impl Default for Hlb {
    fn default() -> Self {
        Self::new()
    }
}

impl Policy for Hlb {
    fn name(&self) -> &str {
        if self.adaptive { "hlb-ada" } else { "hlb" }
    }

    fn propose(&mut self, observation: &Observation<'_>, proposal: &mut Vec<f64>) {
        self.take_in(observation);
        proposal.clear();
        proposal.extend(self.servers.iter().zip(observation.servers).map(|(estimate, server)| {
            if Observation::is_active(server) { (-estimate.or_average()).exp() } else { 0.0 }
        }));
        let total: f64 = proposal.iter().sum();
        if total > 0.0 {
            proposal.iter_mut().for_each(|weight| *weight /= total);
        }
    }

    fn kinds(&self) -> Kinds {
        Kinds::of(&[Kind::FlowDuration])
    }

    fn reset(&mut self) {
        self.sensor = SENSOR;
        self.servers.clear();
    }

    fn save(&self, state: &mut state::Writer) {
        state.f64(self.sensor);
        self.servers.save(state, |estimate, state| {
            state.f64(estimate.mean);
            state.f64(estimate.variance);
            state.u64(estimate.newest);
        });
    }

    fn restore(&mut self, state: &mut state::Reader<'_>) -> Result<(), StateError> {
        self.reset();
        let sensor = state.f64()?;
        self.servers.restore(state, |state| {
            let (mean, variance, newest) = (state.f64()?, state.f64()?, state.u64()?);
            let sound = mean.is_finite() && variance.is_finite() && variance >= 0.0;
            if sound { Ok(Estimate { mean, variance, newest }) } else { Err(StateError::Value) }
        })?;
        if !(sensor.is_finite() && sensor > 0.0) {
            self.reset();
            return Err(StateError::Value);
        }
        self.sensor = sensor;
        Ok(())
    }
}

/// The mean flow duration in nanoseconds.
fn duration(server: &ServerStatistics) -> Option<f64> {
    server.kind(Kind::FlowDuration).map(|said| f64::from(said.mean))
}
