//! Sums over the recent past, by how many flows a server had.

use crate::state::{self, StateError};

/// How many flows a server may serve at once, by hypothesis; the last: more than it ever has.
pub const LEVELS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, f64::INFINITY];
/// Hypotheses of servers that can be saturated.
pub const FINITE: usize = LEVELS.len() - 1;

/// What one server did between two observations.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// How long it was.
    pub seconds: f64,
    /// Flows that began in it.
    pub came: f64,
    /// Flows that completed in it.
    pub completed: f64,
    /// Flows that were open at its beginning and end.
    pub open: [f64; 2],
}

impl Frame {
    /// Flows in service, if there can be no more than `level`: the mean of both ends.
    pub fn in_service(&self, level: f64) -> f64 {
        self.open.iter().map(|open| open.min(level)).sum::<f64>() / 2.0
    }

    /// The share of the ends at which there were at least `level` flows.
    fn at_least(&self, level: f64) -> f64 {
        self.open.iter().filter(|&&open| open >= level).count() as f64 / 2.0
    }
}

/// Exponentially forgotten sums.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    /// Time.
    pub seconds: f64,
    /// Completions.
    pub completed: f64,
    /// Flow-seconds in service, by level.
    pub service: [f64; LEVELS.len()],
    /// Seconds with at least as many flows as the level.
    pub saturated: [f64; FINITE],
}

impl Window {
    /// Takes in a frame; what was before keeps this share.
    pub fn add(&mut self, frame: &Frame, keep: f64) {
        self.seconds = self.seconds * keep + frame.seconds;
        self.completed = self.completed * keep + frame.completed;
        for (service, &level) in self.service.iter_mut().zip(&LEVELS) {
            *service = *service * keep + frame.seconds * frame.in_service(level);
        }
        for (saturated, &level) in self.saturated.iter_mut().zip(&LEVELS) {
            *saturated = *saturated * keep + frame.seconds * frame.at_least(level);
        }
    }

    /// Completions for each second of a flow in service, if `LEVELS[level]` flows saturate the server; 0 without any.
    pub fn rate(&self, level: usize) -> f64 {
        if self.service[level] > 0.0 { self.completed / self.service[level] } else { 0.0 }
    }

    /// The frame less the completions, as far as one knows, of flows that were gone at once: of the share `brief` of those that came.
    pub fn without_brief(&self, frame: &Frame, brief: f64) -> Frame {
        let (brief, others) = (brief * frame.came, self.rate(FINITE) * frame.seconds * frame.open[0]);
        let gone =
            if brief > 0.0 { (frame.completed * brief / (brief + others)).min(frame.came) } else { 0.0 };
        Frame { completed: frame.completed - gone, ..*frame }
    }

    /// Flows open on the mean of a frame, foreseen at its beginning, if `LEVELS[level]` flows saturate the server.
    ///
    /// What came and went in the frame must not be looked at: a completion leaves a flow less, and brings the next one at once
    /// where the balancer waits for it. Either would say something about how completions go with open flows.
    pub fn foreseen(&self, frame: &Frame, level: usize) -> f64 {
        let [open, _] = frame.open;
        if self.service[level] <= 0.0 {
            return open;
        }
        let come = self.completed * frame.seconds / self.seconds;
        let go = self.completed * frame.seconds / self.service[level] * open.min(LEVELS[level]);
        (open + (come - go.min(open)) / 2.0).max(0.5)
    }

    /// Completions that speak of the capacity, if `LEVELS[level]` flows saturate the server: those of its saturated time.
    pub fn saturated_completions(&self, level: usize) -> f64 {
        if self.service[level] > 0.0 {
            self.completed * LEVELS[level] * self.saturated[level] / self.service[level]
        } else {
            0.0
        }
    }

    /// Writes all sums down.
    pub fn save(&self, state: &mut state::Writer) {
        state.f64(self.seconds);
        state.f64(self.completed);
        self.service.iter().chain(&self.saturated).for_each(|&sum| state.f64(sum));
    }

    /// Takes over what [`Window::save`] has written.
    pub fn restore(state: &mut state::Reader<'_>) -> Result<Self, StateError> {
        let mut window = Self { seconds: sum(state)?, completed: sum(state)?, ..Self::default() };
        for place in window.service.iter_mut().chain(&mut window.saturated) {
            *place = sum(state)?;
        }
        Ok(window)
    }
}

/// A sum that can be one: finite and not negative.
pub fn sum(state: &mut state::Reader<'_>) -> Result<f64, StateError> {
    let value = state.f64()?;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err(StateError::Value) }
}
