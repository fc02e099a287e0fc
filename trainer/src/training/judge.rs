//! What a model is worth: its runs beside those of the base, with the same clients.

use std::{path::PathBuf, sync::Arc};

use dataplane::tables::select::Select;
use policy::agents::Model;

use super::config::Judged;
use crate::{
    evaluate::{contender::Contender, outcome::Outcome, run::runs},
    scenario::{Scenario, ScenarioError},
    sim::setup::End,
};

/// Scenarios, and what the base reached in them.
#[derive(Debug)]
pub struct Judge {
    scenarios: Vec<Scenario>,
    select: Select,
    seeds: u64,
    base: Vec<Outcome>,
}

/// A scenario that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct JudgeError {
    path: PathBuf,
    error: ScenarioError,
}

/// The seeds of judgements begin here, so that no table of results is made with the clients that a model was chosen by.
const FIRST_SEED: u64 = 1_000_000;

impl Judge {
    /// Lets the base run. `name` is that of a rule, and `select` of the selection rule.
    pub fn new(judged: &Judged, name: &str, select: Select) -> Result<Self, JudgeError> {
        let read = |path: &PathBuf| {
            let mut scenario =
                Scenario::read(path).map_err(|error| JudgeError { path: path.clone(), error })?;
            scenario.setup_mut().end = End::Flows(judged.flows);
            Ok(scenario)
        };
        let scenarios = judged.scenarios.iter().map(read).collect::<Result<_, _>>()?;
        let mut judge = Self { scenarios, select, seeds: judged.seeds, base: Vec::new() };
        judge.base = judge.outcomes(&Contender::rule(name, select));
        Ok(judge)
    }

    /// Half of ln(mean / mean of the base) and half of the same of the 99th percentiles, averaged over scenarios and seeds:
    /// below 0 is better than the base.
    pub fn score(&self, model: Model) -> f64 {
        let outcomes = self.outcomes(&Contender::of("agent".into(), Arc::new(model), self.select));
        let pairs = outcomes.iter().zip(&self.base);
        let ratio = |(agent, base): (&Outcome, &Outcome)| {
            0.5 * ((agent.mean / base.mean).ln() + (agent.p99 / base.p99).ln())
        };
        pairs.map(ratio).sum::<f64>() / outcomes.len().max(1) as f64
    }

    fn outcomes(&self, contender: &Contender) -> Vec<Outcome> {
        let seeds =
            |scenario| (FIRST_SEED..FIRST_SEED + self.seeds).map(move |seed| (scenario, contender, seed));
        let jobs: Vec<_> = self.scenarios.iter().flat_map(seeds).collect();
        runs(&jobs, 1, &|| ())
    }
}
