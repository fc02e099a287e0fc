//! Tasks with known answers: does a learner reach what can be reached, and fail where it must?

pub mod control;
pub mod games;
pub mod integrator;
pub mod matrix;
pub mod maze;
pub mod pendulum;
pub mod team;

use std::fmt;

/// A number that was reached, beside what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What it is.
    pub what: String,
    /// What was reached.
    pub reached: f64,
    /// What is known, in words or figures.
    pub known: String,
    /// The least that passes.
    pub least: f64,
    /// The most that passes.
    pub most: f64,
}

impl Finding {
    /// A finding that passes within `off` of a known number.
    pub fn near(what: impl Into<String>, reached: f64, known: f64, off: f64) -> Self {
        let known_text = format!("{known}");
        Self { what: what.into(), reached, known: known_text, least: known - off, most: known + off }
    }

    /// Whether it is what is known.
    pub fn passes(&self) -> bool {
        (self.least..=self.most).contains(&self.reached)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, reached, known, least, most } = self;
        let verdict = if self.passes() { "pass" } else { "FAIL" };
        write!(
            f,
            "{verdict}  {what:<52} {reached:>10.3}   known: {known} (passes from {least:.3} to {most:.3})"
        )
    }
}
