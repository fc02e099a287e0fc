//! Who is compared: a way to choose servers, and who sets the weights that it goes by.

use std::{fmt, str::FromStr};

use dataplane::tables::select::Select;
use policy::{
    Policy,
    guard::Bounds,
    rules,
    steering::{Proposer, Steering},
};

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
const ORACLES: [(&str, Oracle); 4] = [
    ("oracle", Oracle::LeastDelay),
    ("least-work", Oracle::LeastWork),
    ("gsed", Oracle::GlobalSed),
    ("gsq", Oracle::GlobalQueue),
];

/// One of those that are compared, written as a name, or as a policy's name and a selection rule: `rate/sed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    name: String,
    choice: Choice,
    policy: Option<String>,
}

/// No such contender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

fn names() -> String {
    let fixed = PUBLISHED.iter().chain(&SELECTS).map(|&(name, _)| name);
    list(fixed.chain(rules::NAMES).chain(ORACLES.iter().map(|&(name, _)| name)))
}

fn find<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == name).map(|&(_, what)| what)
}

impl Contender {
    /// Who is called this, with another selection rule if one is named.
    pub fn new(name: &str, select: Option<&str>) -> Result<Self, ContenderError> {
        let asked = match select {
            Some(select) => {
                Some(find(&SELECTS, select).ok_or_else(|| ContenderError::Select(select.into()))?)
            }
            None => None,
        };
        if rules::NAMES.contains(&name) {
            // What AWCMP was published with; the others go with the default of the configuration.
            let own = if name == "active-wcmp" { Select::Alias } else { Select::default() };
            let full = select.map_or_else(|| name.to_owned(), |select| format!("{name}/{select}"));
            let choice = Choice::Rule(asked.unwrap_or(own));
            return Ok(Self { name: full, choice, policy: Some(name.into()) });
        }
        let rule = find(&PUBLISHED, name).or_else(|| find(&SELECTS, name)).map(Choice::Rule);
        let oracle = find(&ORACLES, name).map(Choice::Oracle);
        let choice = rule.or(oracle).ok_or_else(|| ContenderError::Name(name.into()))?;
        match asked {
            Some(_) => Err(ContenderError::NoPolicy(name.into())),
            None => Ok(Self { name: name.into(), choice, policy: None }),
        }
    }

    /// Its name, with the selection rule if that was asked for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How servers are chosen.
    pub const fn choice(&self) -> Choice {
        self.choice
    }

    /// Who sets the weights of a balancer, under the shipping guard; `None`: nobody does.
    pub fn steering(&self) -> Option<Steering> {
        let policy: Box<dyn Policy> = rules::by_name(self.policy.as_ref()?)?;
        let proposer = Proposer::Policy(policy);
        Some(Steering::new(proposer, Box::new(rules::Static), Bounds::default()))
    }
}

impl FromStr for Contender {
    type Err = ContenderError;

    fn from_str(text: &str) -> Result<Self, ContenderError> {
        match text.split_once('/') {
            Some((name, select)) => Self::new(name, Some(select)),
            None => Self::new(text, None),
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
        let choice = |text: &str| text.parse::<Contender>().map(|contender| contender.choice());
        assert_eq!(choice("ecmp"), Ok(Choice::Rule(Select::Hash)));
        assert_eq!(choice("sed"), Ok(Choice::Rule(Select::Sed)));
        assert_eq!(choice("rate"), Ok(Choice::Rule(Select::Sed2)));
        assert_eq!(choice("rate/sed"), Ok(Choice::Rule(Select::Sed)));
        assert_eq!(choice("active-wcmp"), Ok(Choice::Rule(Select::Alias)));
        assert_eq!(choice("oracle"), Ok(Choice::Oracle(Oracle::LeastDelay)));
        assert_eq!(choice("nobody"), Err(ContenderError::Name("nobody".into())));
        assert_eq!(choice("rate/fast"), Err(ContenderError::Select("fast".into())));
        assert_eq!(choice("oracle/sed"), Err(ContenderError::NoPolicy("oracle".into())));
        assert!(ContenderError::Name("x".into()).to_string().contains("rate"));
    }

    #[test]
    fn whoever_sets_weights_can_be_made() {
        for name in rules::NAMES {
            assert!(Contender::new(name, None).unwrap().steering().is_some(), "{name}");
        }
        assert!(Contender::new("sed2", None).unwrap().steering().is_none());
    }
}
