//! The commands, each in a file of its own, and how they fail.

pub mod compare;
pub mod sanity;
pub mod sim;
pub mod trace;
pub mod train;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use policy::agents::ModelError;
use trainer::{
    evaluate::{contender::ContenderError, plot::PlotError},
    scenario::ScenarioError,
    training::{config::ConfigError, judge::JudgeError, run::RunError},
};

/// Why a command ends.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The scenario cannot be used.
    #[error("{file}: {error}")]
    Scenario {
        /// Its file.
        file: String,
        /// Why not.
        error: ScenarioError,
    },
    /// There is no such policy.
    #[error(transparent)]
    Contender(#[from] ContenderError),
    /// The configuration of a training run cannot be used.
    #[error("{file}: {error}")]
    Training {
        /// Its file.
        file: String,
        /// Why not.
        error: ConfigError,
    },
    /// A scenario to be judged by cannot be used.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// The training run cannot go on.
    #[error(transparent)]
    Run(Box<RunError>),
    /// There is a run already.
    #[error("there is a run in {0} already")]
    Begun(String),
    /// A model cannot be made.
    #[error(transparent)]
    Model(Box<ModelError>),
    /// Nobody can be compared with who is not there.
    #[error("`{0}` is not one of the policies that are compared")]
    Baseline(String),
    /// A result cannot be kept.
    #[error("cannot write {file}: {error}")]
    Save {
        /// Its file.
        file: String,
        /// Why not.
        error: io::Error,
    },
    /// A trace cannot be used or made.
    #[error(transparent)]
    Trace(#[from] trace::CommandError),
    /// A picture cannot be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// A network cannot be computed.
    #[error("cannot learn: {0}")]
    Learn(#[from] candle_core::Error),
    /// A learner has not reached what is known.
    #[error("{0} of the numbers are not what is known")]
    Sanity(usize),
    /// Standard output is gone.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self::Run(Box::new(error))
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Self::Model(Box::new(error))
    }
}

/// What to do about a run that cannot go on, and the exit code.
fn remedy(error: &RunError) -> (&'static str, u8) {
    match error {
        RunError::Config => ("go on with the configuration and seed of that run, or give another --out", 1),
        RunError::Saved(_) | RunError::Normaliser(_) => ("begin anew without --resume, in another --out", 1),
        RunError::Model(error) => (error.remedy(), 4),
        RunError::Learn(_) => ("report this with the configuration", 4),
    }
}

impl Failure {
    /// Writes one line of cause and one of remedy to standard error; returns the exit code: 1 for what was given,
    /// 3 for the machine.
    pub fn report(&self) -> ExitCode {
        let (remedy, code) = match self {
            Self::Training { .. } => ("docs/design/training.md has every key of a training run", 1),
            Self::Run(error) => remedy(error),
            Self::Begun(_) => ("go on with --resume, or give another --out", 1),
            Self::Model(error) => (error.remedy(), 1),
            Self::Scenario { .. } | Self::Judge(_) => {
                ("docs/design/simulator.md has every key of a scenario", 1)
            }
            Self::Trace(error) if error.is_of_the_machine() => {
                ("look at the path, its rights and the space there", 3)
            }
            Self::Trace(_) => {
                ("docs/design/traces.md has the formats, weir-train trace --help what can be made", 1)
            }
            Self::Contender(_) => ("weir-train sim --help says what each is", 1),
            Self::Learn(_) => ("report this with what was asked for", 4),
            Self::Sanity(_) => ("try another --seed; if it fails too, the learner is broken", 1),
            Self::Baseline(_) => ("add it to --policies", 1),
            Self::Plot(_) => ("leave --out out to have the tables alone", 3),
            Self::Save { .. } => ("give --out a place that can be written to", 3),
            Self::Write(_) => ("write to a file or a terminal that stays", 3),
        };
        // If standard error is gone too, nobody is there to be told.
        let _ = writeln!(io::stderr(), "error: {self}\nhelp: {remedy}");
        ExitCode::from(code)
    }
}

/// So many threads, or as many as there are CPUs.
pub fn threads(asked: Option<u16>) -> usize {
    let cpus = || std::thread::available_parallelism().map_or(1, usize::from);
    asked.map_or_else(cpus, usize::from)
}
