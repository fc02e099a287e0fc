//! What a model says about itself, and what it is held to.

use serde::{Deserialize, Serialize};

use super::{error::ModelError, shape::Shape};
use crate::features::{Normaliser, Schema};

/// The kinds of agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Soft actor-critic with a GRU; a mean and a log standard deviation for each server.
    SacGru,
    /// The same with a logit for each level of each server.
    SacGruDiscrete,
    /// The value of each level of each server.
    Qmix,
}

impl Kind {
    /// Its name in a manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SacGru => "sac-gru",
            Self::SacGruDiscrete => "sac-gru-discrete",
            Self::Qmix => "qmix",
        }
    }

    /// The name of the policy that it is, as the configuration has it: `sac-gru` may have either head.
    pub const fn policy(self) -> &'static str {
        match self {
            Self::SacGru | Self::SacGruDiscrete => "sac-gru",
            Self::Qmix => "qmix",
        }
    }
}

/// The features that a network was trained on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaId {
    /// The schema's name.
    pub name: String,
    /// Its version: another one has other features by the same name.
    pub version: u32,
    /// Features of each server.
    pub server_features: usize,
    /// Features of the VIP.
    pub context_features: usize,
}

impl From<Schema> for SchemaId {
    fn from(schema: Schema) -> Self {
        Self {
            name: schema.name().to_owned(),
            version: schema.version(),
            server_features: schema.per_server(),
            context_features: schema.context(),
        }
    }
}

/// What is known of a model beside its parameters. In the file it is JSON, under [`Manifest::KEY`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`Manifest::FORMAT`].
    pub format: u32,
    /// What kind of agent it is.
    pub kind: Kind,
    /// What it sees.
    pub schema: SchemaId,
    /// H of [`Shape`].
    pub hidden: usize,
    /// The corrections δ between which a discrete head chooses, in increasing order, 0 among them. Empty for `sac-gru`.
    pub levels: Vec<f32>,
    /// The largest |δ|: a weight is between base·e^−δ and base·e^δ.
    pub delta_max: f32,
    /// Brings features to the scale of training.
    pub normaliser: Normaliser,
    /// The seed of the training run.
    pub seed: u64,
    /// The revision of the code that trained it.
    pub revision: String,
}

impl Manifest {
    /// The version of this form.
    pub const FORMAT: u32 = 1;
    /// Where in a file's metadata it stands.
    pub const KEY: &'static str = "weir";
    /// The largest |δ| unless a model says otherwise: a weight at most doubles or halves.
    pub const DELTA_MAX: f32 = std::f32::consts::LN_2;
    /// Nothing larger makes sense: the guard's range of weights is a factor of 20 to each side.
    const DELTA_BOUND: f32 = 3.0;
    /// Nothing wider is believed, so that a broken file does not cost all memory.
    const HIDDEN_BOUND: usize = 1024;

    /// The sizes of its network.
    pub const fn shape(&self) -> Shape {
        Shape {
            server_features: self.schema.server_features,
            context_features: self.schema.context_features,
            hidden: self.hidden,
            outputs: match self.kind {
                Kind::SacGru => 2,
                Kind::SacGruDiscrete | Kind::Qmix => self.levels.len(),
            },
        }
    }

    /// Checks that it can be run as the configured policy on the features at hand.
    pub fn check(&self, expected: &Expected<'_>) -> Result<(), ModelError> {
        if self.kind.policy() != expected.policy {
            return Err(ModelError::Kind { found: self.kind.name(), expected: expected.policy.to_owned() });
        }
        let schema = SchemaId::from(expected.schema);
        if self.schema != schema {
            return Err(ModelError::Schema { found: self.schema.clone(), expected: schema });
        }
        self.normaliser.check(expected.schema)?;
        self.check_numbers()
    }

    fn check_numbers(&self) -> Result<(), ModelError> {
        let number = |what, found, expected| Err(ModelError::Number { what, found, expected });
        if !(1..=Self::HIDDEN_BOUND).contains(&self.hidden) {
            return number("hidden", self.hidden as f64, "1 to 1024");
        }
        let bound = self.delta_max;
        if !(bound > 0.0 && bound <= Self::DELTA_BOUND) {
            return number("delta_max", f64::from(bound), "above 0 and at most 3");
        }
        let discrete = self.kind != Kind::SacGru;
        if discrete != (self.levels.len() > 1) {
            let expected = if discrete { "two or more" } else { "none" };
            return number("count of levels", self.levels.len() as f64, expected);
        }
        if let Some(&level) = self.levels.iter().find(|level| level.is_nan() || level.abs() > bound) {
            return number("level", f64::from(level), "at most delta_max to either side");
        }
        if let Some(pair) = self.levels.windows(2).find(|pair| pair[0] >= pair[1]) {
            return number("level", f64::from(pair[1]), "above the one before it");
        }
        if discrete && !self.levels.contains(&0.0) {
            return number("count of zero levels", 0.0, "1");
        }
        Ok(())
    }
}

/// What a model has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// The configured policy: `sac-gru` or `qmix`.
    pub policy: &'a str,
    /// The features that it will be given.
    pub schema: Schema,
}
