//! How a VIP is to be steered, as plain data: from a configuration, or from a decision log.

use std::{borrow::Cow, fmt, fs, io, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    Policy,
    agents::{self, Agent, Engine, Model, ModelError},
    guard::Bounds,
    rules,
    steering::{Mode, Proposer, Steering},
};

/// A rule or an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The configured weights.
    Static,
    /// Configured weights divided by what is open.
    ActiveWcmp,
    /// By mean flow durations.
    Aquarius,
    /// By Kalman-filtered flow durations.
    Hlb,
    /// By completions in busy time: the base estimate that agents correct.
    Rate,
    /// A recurrent actor, trained by soft actor-critic.
    SacGru,
    /// A recurrent value network, trained by QMIX.
    Qmix,
}

impl Kind {
    /// Whether it is a network, which needs a model.
    pub const fn is_agent(self) -> bool {
        matches!(self, Self::SacGru | Self::Qmix)
    }

    /// The name in configurations, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::ActiveWcmp => "active-wcmp",
            Self::Aquarius => "aquarius",
            Self::Hlb => "hlb",
            Self::Rate => "rate",
            Self::SacGru => "sac-gru",
            Self::Qmix => "qmix",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A trained model: a file, or the one that ships.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFile {
    /// Where it is; `None`: it is the one that the program carries for the policy.
    pub path: Option<PathBuf>,
    /// A hash of its bytes, by which a changed file is noticed; 0: it could not be read.
    pub hash: u64,
}

impl ModelFile {
    /// The file as it is now.
    pub fn at(path: PathBuf) -> Self {
        let hash = fs::read(&path).map_or(0, |bytes| hash(&bytes));
        Self { path: Some(path), hash }
    }

    /// The model that ships for a policy.
    pub fn shipped(policy: Kind) -> Self {
        Self { path: None, hash: agents::shipped(policy.as_str()).map_or(0, hash) }
    }

    fn read(&self, policy: Kind) -> io::Result<Cow<'static, [u8]>> {
        match &self.path {
            Some(path) => fs::read(path).map(Cow::Owned),
            None => Ok(Cow::Borrowed(agents::shipped(policy.as_str()).unwrap_or_default())),
        }
    }
}

impl fmt::Display for ModelFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => path.display().fmt(f),
            None => f.write_str("that ships with weir"),
        }
    }
}

/// FNV-1a, which never gives 0 here.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step).max(1)
}

/// How a VIP is to be steered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Who proposes.
    pub policy: Kind,
    /// Whether its weights are applied.
    pub mode: Mode,
    /// The agent's model.
    pub model: Option<ModelFile>,
    /// Whether another process makes the proposals.
    pub elsewhere: bool,
    /// Who stands in: a rule.
    pub fallback: Kind,
    /// What the weights have to keep to.
    pub bounds: Bounds,
}

/// Why a plan cannot be carried out; the fallback rule steers instead.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// An agent without a model.
    #[error("policy {0} needs a model")]
    NoModel(Kind),
    /// The model cannot be read.
    #[error("cannot read the model {model}: {source}")]
    Unreadable {
        /// The file.
        model: ModelFile,
        /// What the system says.
        source: io::Error,
    },
    /// The model is not one for this policy.
    #[error("the model {model}: {source}")]
    Model {
        /// The file.
        model: ModelFile,
        /// What is wrong with it.
        source: Box<ModelError>,
    },
    /// The model is not the one that the plan was made for.
    #[error("the model {model} has changed since")]
    Changed {
        /// The file.
        model: ModelFile,
    },
}

impl PlanError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::NoModel(_) => "name one with model = \"FILE\", or none, for the one that ships".into(),
            Self::Unreadable { .. } => "check the path and who may read it".into(),
            Self::Model { source, .. } => source.remedy().to_string(),
            Self::Changed { .. } => {
                "put the model back that was in use, or the release of weir that carries it".into()
            }
        }
    }
}

impl Plan {
    /// Steering by this plan. With an error comes steering by the fallback rule alone.
    pub fn steering(&self) -> (Steering, Option<PlanError>) {
        let (proposer, error) = match self.policy() {
            _ if self.elsewhere => (Proposer::Elsewhere, None),
            Ok(policy) => (Proposer::Policy(policy), None),
            Err(error) => (Proposer::Missing, Some(error)),
        };
        (Steering::new(proposer, rule(self.fallback), self.bounds), error)
    }

    /// Whether it can be carried out: whether its model is there and fits.
    pub fn check(&self) -> Result<(), PlanError> {
        self.policy().map(drop)
    }

    /// The policy that proposes.
    fn policy(&self) -> Result<Box<dyn Policy>, PlanError> {
        if !self.policy.is_agent() {
            return Ok(rule(self.policy));
        }
        let file = self.model.as_ref().ok_or(PlanError::NoModel(self.policy))?;
        let model = || file.clone();
        let bytes =
            file.read(self.policy).map_err(|source| PlanError::Unreadable { model: model(), source })?;
        if file.hash != 0 && hash(&bytes) != file.hash {
            return Err(PlanError::Changed { model: model() });
        }
        let agent = Model::of_policy(&bytes, self.policy.as_str());
        match agent.and_then(|model| Agent::new(model, Engine::default())) {
            Ok(agent) => Ok(Box::new(agent)),
            Err(source) => Err(PlanError::Model { model: model(), source: Box::new(source) }),
        }
    }
}

/// A rule that needs nothing but its name. Agents are none, and count as the configured weights here.
fn rule(kind: Kind) -> Box<dyn Policy> {
    rules::by_name(kind.as_str()).unwrap_or_else(|| Box::new(rules::Static))
}
