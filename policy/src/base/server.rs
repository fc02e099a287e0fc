//! What is known of one server.

use ipc::region::ServerStatistics;

use super::{
    Grounds, Settings, completed,
    standing::Standing,
    window::{FINITE, Frame, LEVELS, Window, sum},
};
use crate::state::{self, StateError};

/// What is believed of the levels before anything is seen: that a server has one worker, or a few, or is never full.
const BELIEF: [f64; LEVELS.len()] = [0.18, 0.15, 0.12, 0.06, 0.03, 0.02, 0.44];
/// Completions come in bursts that a Poisson count does not have, so evidence about the build counts half.
const TEMPER: f64 = 0.5;
/// A server that is never full is taken for slow when its flows take this many times as long as others'.
const SLOW: f64 = 1.25;

/// Frames of less credit say nothing, and would only add rounding errors.
const LEAST_CREDIT: f64 = 0.01;
/// Fewer completions say nothing.
const LEAST_COMPLETED: f64 = 1e-6;

/// One server's counts and windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    created: u64,
    finished: u64,
    open: u64,
    standing: Standing,
    slow: Window,
    fast: Window,
    build: Build,
    /// How much each level is believed, after `build`; the sum is 1.
    belief: [f64; LEVELS.len()],
}

impl Track {
    /// Begins with what the counters say now.
    pub fn new(server: &ServerStatistics) -> Self {
        Self {
            created: server.created,
            finished: server.finished_fin.saturating_add(server.finished_rst),
            open: server.open,
            standing: Standing::new(server.open as f64),
            slow: Window::default(),
            fast: Window::default(),
            build: Build::default(),
            belief: BELIEF,
        }
    }

    /// What the server did since the observation before.
    pub fn frame(&mut self, server: &ServerStatistics, seconds: f64) -> Frame {
        self.standing.go_on(seconds, server.open as f64);
        let moving = |open: u64| (open as f64 - self.standing.flows()).max(0.0);
        let frame = Frame {
            seconds,
            came: server.created.saturating_sub(self.created) as f64,
            completed: completed(server, self.finished),
            open: [moving(self.open), moving(server.open)],
        };
        self.created = server.created;
        self.finished = server.finished_fin.saturating_add(server.finished_rst);
        self.open = server.open;
        frame
    }

    /// Takes in a frame, of whose flows the share `brief` is gone at once.
    pub fn learn(&mut self, frame: &Frame, brief: f64, settings: &Settings) {
        let frame = &self.slow.without_brief(frame, brief * credit(frame, &self.slow));
        // Where little completes, the windows are longer, so that they hold enough to go by.
        let stretch = (settings.enough / self.slow.completed.max(1.0)).clamp(1.0, settings.stretch);
        let keep = |memory: f64| (-frame.seconds / memory).exp();
        self.slow.add(frame, keep(settings.memory * stretch));
        self.fast.add(frame, keep(settings.fast_memory * stretch));
        self.build.add(frame, keep(settings.structure_memory), &self.slow);
        self.belief = self.build.belief();
        if self.has_changed(settings.change) {
            self.slow = self.fast;
        }
    }

    /// Whether the last moments cannot have the rate of the time before, by the count that is expected of them.
    fn has_changed(&self, deviations: f64) -> bool {
        let level = self.likeliest();
        if self.slow.service[level] <= 0.0 {
            return false;
        }
        let expected = self.slow.completed / self.slow.service[level] * self.fast.service[level];
        (self.fast.completed - expected).abs()
            > deviations * expected.max(self.fast.completed).max(1.0).sqrt()
    }

    /// The rate at which the server completes flows when it has as many as it can serve.
    ///
    /// `expected` is what the configuration says of it, worth `prior` completions; `flow_rate` is at which rate a flow of
    /// the pool completes. The result is the geometric mean over the levels, by how much each is believed. What is
    /// found for a level is the least that can be true for a higher one: nothing completes faster than it can.
    pub fn rate(&self, expected: f64, flow_rate: f64, prior: f64) -> f64 {
        let (mut log, mut least) = (0.0, 0.0_f64);
        for (level, &belief) in self.belief[..FINITE].iter().enumerate() {
            let completions = self.slow.saturated_completions(level) + prior;
            let seconds = self.slow.saturated[level] + prior / expected;
            least = least.max(completions / seconds);
            log += belief * least.ln();
        }
        let as_pool = self.slow.service[FINITE] * flow_rate;
        let pace = (self.slow.completed + prior) / (as_pool + prior);
        let unbounded = (expected * (SLOW * pace).min(1.0)).max(self.least(expected, prior));
        (log + self.belief[FINITE] * unbounded.ln()).exp()
    }

    /// What is known, and how much of it.
    pub const fn grounds(&self) -> Grounds {
        Grounds { completed: self.slow.completed, seconds: self.slow.seconds, unbounded: self.belief[FINITE] }
    }

    /// Completions per busy time: the least that the rate can be, whatever the server's build.
    fn least(&self, expected: f64, prior: f64) -> f64 {
        (self.slow.completed + prior) / (self.slow.saturated[0] + prior / expected)
    }

    /// Completions a second while there are any flows.
    pub fn busy_rate(&self) -> f64 {
        self.slow.rate(0)
    }

    fn likeliest(&self) -> usize {
        (1..LEVELS.len())
            .fold(0, |best, level| if self.belief[level] > self.belief[best] { level } else { best })
    }

    /// Writes everything down.
    pub fn save(&self, state: &mut state::Writer) {
        state.u64(self.created);
        state.u64(self.finished);
        state.u64(self.open);
        self.standing.save(state);
        self.slow.save(state);
        self.fast.save(state);
        self.build.save(state);
    }

    /// Takes over what [`Track::save`] has written.
    pub fn restore(state: &mut state::Reader<'_>) -> Result<Self, StateError> {
        let (created, finished, open) = (state.u64()?, state.u64()?, state.u64()?);
        let standing = Standing::restore(state)?;
        let (slow, fast) = (Window::restore(state)?, Window::restore(state)?);
        let build = Build::restore(state)?;
        let belief = build.belief();
        Ok(Self { created, finished, open, standing, slow, fast, build, belief })
    }
}

/// What speaks for each level: how completions went with the flows in service.
#[derive(Clone, Debug, Default, PartialEq)]
struct Build {
    completed: f64,
    /// Σ completions · ln(flows in service), by level.
    logs: [f64; LEVELS.len()],
    /// Flow-seconds in service, by level.
    service: [f64; LEVELS.len()],
}

impl Build {
    fn add(&mut self, frame: &Frame, keep: f64, recent: &Window) {
        let weight = credit(frame, recent);
        if weight < LEAST_CREDIT || frame.open[0] < 1.0 {
            return;
        }
        let completed = weight * frame.completed;
        self.completed = self.completed * keep + completed;
        for (level, &most) in LEVELS.iter().enumerate() {
            let in_service = recent.foreseen(frame, level).min(most);
            self.logs[level] = self.logs[level] * keep + completed * in_service.ln();
            self.service[level] = self.service[level] * keep + weight * frame.seconds * in_service;
        }
    }

    /// How much each level is believed; the sum is 1.
    fn belief(&self) -> [f64; LEVELS.len()] {
        if self.completed < LEAST_COMPLETED {
            return BELIEF;
        }
        let mut belief = self.likelihoods();
        let most = belief.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        for (belief, prior) in belief.iter_mut().zip(BELIEF) {
            *belief = prior * (TEMPER * (*belief - most)).exp();
        }
        let sum: f64 = belief.iter().sum();
        belief.map(|belief| belief / sum)
    }

    /// Logarithms of the Poisson likelihoods, each at its best rate, less what they have in common.
    fn likelihoods(&self) -> [f64; LEVELS.len()] {
        std::array::from_fn(|level| self.logs[level] - self.completed * self.service[level].ln())
    }

    fn save(&self, state: &mut state::Writer) {
        state.f64(self.completed);
        self.logs.iter().chain(&self.service).for_each(|&sum| state.f64(sum));
    }

    fn restore(state: &mut state::Reader<'_>) -> Result<Self, StateError> {
        let mut build = Self { completed: sum(state)?, ..Self::default() };
        for log in &mut build.logs {
            *log = state.f64()?;
            if !log.is_finite() {
                return Err(StateError::Value);
            }
        }
        for service in &mut build.service {
            *service = sum(state)?;
        }
        Ok(build)
    }
}

/// How far a frame can tell how completions go with open flows: not at all when flows live shorter than it lasts.
fn credit(frame: &Frame, recent: &Window) -> f64 {
    // Little's law: a flow lives for flow-seconds / completions.
    (1.0 - frame.seconds * recent.completed / recent.service[FINITE].max(f64::MIN_POSITIVE)).max(0.0)
}

/// What all active servers show together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence {
    completions: f64,
    /// Saturated seconds, times what the configuration promises of each.
    promised: f64,
    completed: f64,
    flow_seconds: f64,
    seconds: f64,
}

impl Evidence {
    /// Adds a server.
    pub fn add(&mut self, track: &Track, configured: f64) {
        for (level, &belief) in track.belief[..FINITE].iter().enumerate() {
            self.completions += belief * track.slow.saturated_completions(level);
            self.promised += belief * track.slow.saturated[level] * configured;
        }
        self.completed += track.slow.completed;
        self.flow_seconds += track.slow.service[FINITE];
        self.seconds += track.slow.seconds;
    }

    /// Open flows of a server, on the mean.
    pub fn open(&self) -> f64 {
        if self.seconds > 0.0 { self.flow_seconds / self.seconds } else { 0.0 }
    }

    /// Completions a second for each unit of configured weight; `None` while none are seen.
    pub fn scale(&self) -> Option<f64> {
        let scale = self.completions / self.promised;
        (scale.is_finite() && scale > 0.0).then_some(scale)
    }

    /// Completions for each second that a flow is open.
    pub fn flow_rate(&self) -> f64 {
        if self.flow_seconds > 0.0 { self.completed / self.flow_seconds } else { 0.0 }
    }
}
