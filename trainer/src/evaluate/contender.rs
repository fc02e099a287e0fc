//! Who is compared: a way to choose servers, and who sets the weights that it goes by.

use std::{borrow::Cow, fmt, fs, path::Path, str::FromStr, sync::Arc};

use dataplane::tables::select::Select;
use policy::{
    agents::{self, Agent, Engine, Model, ModelError},
    guard::Bounds,
    rules,
    steering::{Proposer, Steering},
};

use super::run::Pilot;
use crate::sim::{Choice, Oracle};

/// The selection rules by their names in the configuration.
const SELECTS: [(&str, Select); 8] = [
    ("hash", Select::Hash),
    ("alias", Select::Alias),
    ("maglev", Select::Maglev),
    ("lsq", Select::Lsq),
    ("lsq2", Select::Lsq2),
    ("sed", Select::Sed),
    ("sed2", Select::Sed2),
    ("rr", Select::RoundRobin),
];

/// Other names for rules on the configured weights, as publications have them.
const PUBLISHED: [(&str, Select); 2] = [("ecmp", Select::Hash), ("wcmp", Select::Alias)];

/// What no balancer can know.
const ORACLES: [(&str, Oracle); 5] = [
    ("oracle", Oracle::LeastDelay),
    ("least-work", Oracle::LeastWork),
    ("gsed", Oracle::GlobalSed),
    ("price", Oracle::LowestPrice),
    ("gsq", Oracle::GlobalQueue),
];

/// Those who set weights by what no balancer can know.
const KNOWING: [(&str, Policies); 2] = [("teacher", Policies::Teacher), ("seer", Policies::Seer)];

/// Agents whose models ship.
const AGENTS: [&str; 2] = ["sac-gru", "qmix"];

/// A trained model's file ends so.
const MODEL: &str = ".safetensors";

/// One of those that are compared, written as a name, or as a policy's name and a selection rule: `rate/sed`. An agent is written as its
/// model's file, `FILE.safetensors/sed`, and called by the file's name; those that ship are called `sac-gru` and `qmix`.
#[derive(Clone, Debug, PartialEq)]
pub struct Contender {
    name: String,
    choice: Choice,
    policy: Option<Policies>,
}

/// Who sets the weights.
#[derive(Clone, Debug, PartialEq)]
enum Policies {
    Rule(String),
    Agent(Arc<Model>),
    Teacher,
    Seer,
}

/// No such contender.
#[derive(Debug, thiserror::Error)]
pub enum ContenderError {
    /// Nobody is called that.
    #[error("nobody is called `{0}`: there are {names}", names = names())]
    Name(String),
    /// No selection rule is called that.
    #[error("no selection rule is called `{0}`: there are {rules}", rules = list(SELECTS.map(|(name, _)| name)))]
    Select(String),
    /// It chooses in a way of its own.
    #[error("`{0}` sets no weights, so no selection rule can go by them")]
    NoPolicy(String),
    /// The file is there, and no agent can be made of it.
    #[error("{file}: {source}")]
    Model {
        /// The file.
        file: String,
        /// Why not.
        source: Box<ModelError>,
    },
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

fn names() -> String {
    let fixed = PUBLISHED.iter().chain(&SELECTS).map(|&(name, _)| name);
    list(
        fixed
            .chain(rules::NAMES)
            .chain(AGENTS)
            .chain(KNOWING.map(|(name, _)| name))
            .chain(ORACLES.iter().map(|&(name, _)| name)),
    )
}

fn find<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == name).map(|&(_, what)| what)
}

/// What the agent is called that this is the name or the file of, and its model; `None`: no agent is meant.
fn model(name: &str) -> Option<(Cow<'_, str>, Result<Model, ModelError>)> {
    if let Some(shipped) = agents::shipped(name) {
        return Some((name.into(), Model::of_any_policy(shipped)));
    }
    let path = name.ends_with(MODEL).then(|| Path::new(name))?;
    let bytes = fs::read(path).map_err(|source| ModelError::Read { path: path.into(), source });
    let called = path.file_stem().unwrap_or_default().to_string_lossy();
    Some((called, bytes.and_then(|bytes| Model::of_any_policy(&bytes))))
}

/// The selection rule of this name in a configuration.
pub fn select(name: &str) -> Option<Select> {
    find(&SELECTS, name)
}

impl Contender {
    /// Who is called this, with another selection rule if one is named.
    pub fn new(name: &str, asked: Option<&str>) -> Result<Self, ContenderError> {
        let with_rule =
            |name: &str| asked.map_or_else(|| name.to_owned(), |select| format!("{name}/{select}"));
        let full = with_rule(name);
        let asked = match asked {
            Some(asked) => Some(select(asked).ok_or_else(|| ContenderError::Select(asked.into()))?),
            None => None,
        };
        if let Some((called, model)) = model(name) {
            let wrong = |source| ContenderError::Model { file: name.into(), source: Box::new(source) };
            let model = Arc::new(model.map_err(wrong)?);
            return Ok(Self::of(with_rule(&called), model, asked.unwrap_or(Select::Sed)));
        }
        if let Some((_, policy)) = KNOWING.into_iter().find(|(known, _)| *known == name) {
            let choice = Choice::Rule(asked.unwrap_or(Select::Sed));
            return Ok(Self { name: full, choice, policy: Some(policy) });
        }
        if rules::NAMES.contains(&name) {
            // What AWCMP was published with; the others go with what the configuration gives a VIP of few servers.
            let own = match name {
                "active-wcmp" => Select::Alias,
                "static" => Select::default(),
                _ => Select::Sed,
            };
            let choice = Choice::Rule(asked.unwrap_or(own));
            return Ok(Self { name: full, choice, policy: Some(Policies::Rule(name.into())) });
        }
        let rule = find(&PUBLISHED, name).or_else(|| find(&SELECTS, name)).map(Choice::Rule);
        let oracle = find(&ORACLES, name).map(Choice::Oracle);
        let choice = rule.or(oracle).ok_or_else(|| ContenderError::Name(name.into()))?;
        match asked {
            Some(_) => Err(ContenderError::NoPolicy(name.into())),
            None => Ok(Self { name: name.into(), choice, policy: None }),
        }
    }

    /// A rule that sets weights, which a selection rule goes by.
    pub fn rule(name: &str, select: Select) -> Self {
        Self { name: name.into(), choice: Choice::Rule(select), policy: Some(Policies::Rule(name.into())) }
    }

    /// The agent of a model, by this name, whose weights a selection rule goes by.
    pub const fn of(name: String, model: Arc<Model>, select: Select) -> Self {
        Self { name, choice: Choice::Rule(select), policy: Some(Policies::Agent(model)) }
    }

    /// Its name, with the selection rule if that was asked for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How servers are chosen.
    pub const fn choice(&self) -> Choice {
        self.choice
    }

    /// Who sets the weights of a balancer; `None`: nobody does.
    pub fn pilot(&self) -> Option<Pilot> {
        let proposer = match self.policy.as_ref()? {
            Policies::Rule(name) => Proposer::Policy(rules::by_name(name)?),
            Policies::Agent(model) => match Agent::new(Model::clone(model), Engine::Fused) {
                Ok(agent) => Proposer::Policy(Box::new(agent)),
                Err(_) => Proposer::Missing,
            },
            Policies::Teacher => return Some(Pilot::Teacher),
            Policies::Seer => return Some(Pilot::Seer),
        };
        Some(Pilot::Policy(Box::new(Steering::new(proposer, Box::new(rules::Static), Bounds::default()))))
    }
}

impl FromStr for Contender {
    type Err = ContenderError;

    fn from_str(text: &str) -> Result<Self, ContenderError> {
        // A file's path may hold slashes, and what follows the last one need not be a selection rule.
        match text.rsplit_once('/') {
            Some((name, select)) if !select.ends_with(MODEL) => Self::new(name, Some(select)),
            _ => Self::new(text, None),
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contenders_are_called_by_their_names() {
        let choice = |text: &str| {
            text.parse::<Contender>().map(|contender| contender.choice()).map_err(|error| error.to_string())
        };
        let error = |error: ContenderError| Err(error.to_string());
        assert_eq!(choice("ecmp"), Ok(Choice::Rule(Select::Hash)));
        assert_eq!(choice("sed"), Ok(Choice::Rule(Select::Sed)));
        assert_eq!(choice("rate"), Ok(Choice::Rule(Select::Sed)));
        assert_eq!(choice("rate/sed2"), Ok(Choice::Rule(Select::Sed2)));
        assert_eq!(choice("static"), Ok(Choice::Rule(Select::Sed2)));
        assert_eq!(choice("active-wcmp"), Ok(Choice::Rule(Select::Alias)));
        assert_eq!(choice("oracle"), Ok(Choice::Oracle(Oracle::LeastDelay)));
        assert_eq!(choice("nobody"), error(ContenderError::Name("nobody".into())));
        assert_eq!(choice("rate/fast"), error(ContenderError::Select("fast".into())));
        assert_eq!(choice("oracle/sed"), error(ContenderError::NoPolicy("oracle".into())));
        assert!(ContenderError::Name("x".into()).to_string().contains("rate"));
    }

    #[test]
    fn agents_are_called_by_the_files_of_their_models() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.safetensors");
        std::fs::write(&file, agents::shipped("qmix").unwrap()).unwrap();
        let file = file.display().to_string();
        let contender: Contender = format!("{file}/lsq").parse().unwrap();
        assert_eq!((contender.name(), contender.choice()), ("mine/lsq", Choice::Rule(Select::Lsq)));
        let contender: Contender = file.parse().unwrap();
        assert_eq!((contender.name(), contender.choice()), ("mine", Choice::Rule(Select::Sed)));
        std::fs::write(&file, "no model").unwrap();
        let error = file.parse::<Contender>().unwrap_err();
        assert!(matches!(error, ContenderError::Model { .. }), "{error}");
    }

    #[test]
    fn whoever_sets_weights_can_be_made() {
        for name in rules::NAMES.into_iter().chain(AGENTS) {
            assert!(Contender::new(name, None).unwrap().pilot().is_some(), "{name}");
        }
        assert!(Contender::new("sed2", None).unwrap().pilot().is_none());
    }
}
