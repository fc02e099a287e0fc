//! Scenarios: TOML that says what world a policy is tried in.
//!
//! ```
//! let scenario = trainer::scenario::Scenario::parse(
//!     r#"
//!     load    = 0.7
//!     flows   = 1000
//!     service = { kind = "exponential", mean = "100ms" }
//!     [[server]]
//!     count = 2
//!     [[server]]
//!     speed = 2.0
//!     "#,
//! )?;
//! assert_eq!(scenario.rate(), 28.0); // 0.7 of four units of capacity, 100 ms each
//! # Ok::<(), trainer::scenario::ScenarioError>(())
//! ```

mod file;
mod people;
pub mod values;

use std::path::{Path, PathBuf};

use self::{file::File, people::People};
use crate::{
    sim::{Setup, arrivals::Arrivals, server::ServerSpec},
    traces::TraceError,
};

/// A world and who comes to it.
#[derive(Clone, Debug)]
pub struct Scenario {
    setup: Setup,
    people: People,
    /// Flows a second.
    rate: f64,
    /// How often policies act, in nanoseconds.
    period: u64,
}

/// Why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// It is not the TOML of a scenario. Says where.
    #[error("{0}")]
    Syntax(#[from] Box<toml::de::Error>),
    /// One of two keys is needed, and not both.
    #[error("give either `{0}` or `{1}`")]
    Either(&'static str, &'static str),
    /// A value is out of range.
    #[error("`{key}` is {found}: it must be {must}")]
    Value {
        /// Where.
        key: String,
        /// What it is.
        found: f64,
        /// What it has to be.
        must: &'static str,
    },
    /// The trace that it names cannot be used.
    #[error("{}: {error}", path.display())]
    Trace {
        /// Its file.
        path: PathBuf,
        /// Why not.
        error: TraceError,
    },
    /// There is no server.
    #[error("there is no server: add [[server]]")]
    NoServer,
    /// An event names a server that does not exist.
    #[error("event {event} is about server {server}, but they are numbered from 0 to {last}")]
    NoSuchServer {
        /// Which event, from 0.
        event: usize,
        /// The number.
        server: usize,
        /// The last server's.
        last: usize,
    },
    /// An event says nothing, or more than one thing.
    #[error("event {0} must say one thing: speed, weight, noise, add, remove, fail, recover or traffic")]
    OneThing(usize),
    /// An event is about a server and does not say which, or the other way round.
    #[error("event {0}: every event but `traffic` is about a `server`")]
    Whose(usize),
    /// An event does not end.
    #[error("event {0}: only noise and fail can have `for`, and only noise `on` and `off`")]
    For(usize),
}

impl Scenario {
    /// Reads a file. A trace that it names is looked for from its folder.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ScenarioError::Read { path: path.into(), error })?;
        Self::parse_in(&text, path.parent().unwrap_or(Path::new("")))
    }

    /// A scenario from its TOML.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        Self::parse_in(text, Path::new(""))
    }

    fn parse_in(text: &str, folder: &Path) -> Result<Self, ScenarioError> {
        toml::from_str::<File>(text).map_err(Box::new)?.check(folder)
    }

    /// The world.
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The world, to change.
    pub const fn setup_mut(&mut self) -> &mut Setup {
        &mut self.setup
    }

    /// Flows a second, on average.
    pub const fn rate(&self) -> f64 {
        self.rate
    }

    /// Changes how many flows come: so much of what the servers can do that are there at the beginning.
    pub fn set_load(&mut self, load: f64) {
        self.rate = load * capacity(&self.setup.servers) / self.setup.service.cpu.mean() * 1e9;
    }

    /// How often policies act, in nanoseconds.
    pub const fn period(&self) -> u64 {
        self.period
    }

    /// Who comes when, for a seed.
    pub fn arrivals(&self, seed: u64) -> Box<dyn Arrivals> {
        self.people.arrivals(self.rate, &self.setup.service.cpu, seed)
    }
}

/// What servers can do together that are there from the beginning.
fn capacity(servers: &[ServerSpec]) -> f64 {
    servers.iter().filter(|server| server.present).map(ServerSpec::capacity).sum()
}

#[cfg(test)]
mod tests;
