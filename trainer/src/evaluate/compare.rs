//! Scenarios × contenders × seeds, compared in pairs: every contender meets the same clients.

use super::{
    contender::Contender,
    interval::Interval,
    outcome::{Outcome, Pooled},
    run::runs,
};
use crate::scenario::Scenario;

/// A scenario with its name, and at which load it is run.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The load that it is run at; `None`: as it is written.
    pub load: Option<f64>,
    /// The world.
    pub scenario: Scenario,
}

impl Case {
    /// A case for each load; one as it is written if there are none.
    pub fn each(name: &str, scenario: &Scenario, loads: &[f64]) -> Vec<Self> {
        if loads.is_empty() {
            return vec![Self { name: name.into(), load: None, scenario: scenario.clone() }];
        }
        let at = |&load: &f64| {
            let mut scenario = scenario.clone();
            scenario.set_load(load);
            Self { name: name.into(), load: Some(load), scenario }
        };
        loads.iter().map(at).collect()
    }

    /// Name and load.
    pub fn title(&self) -> String {
        self.load.map_or_else(|| self.name.clone(), |load| format!("{}, load {load}", self.name))
    }
}

/// What became of a contender in a case.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Its runs.
    pub pooled: Pooled,
    /// Its mean latency by that of the baseline with the same seeds, less one, over seeds.
    pub mean_change: Interval,
    /// The same of the 99th percentile.
    pub p99_change: Interval,
}

/// A comparison.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What it was made in.
    pub cases: Vec<Case>,
    /// Who was compared.
    pub contenders: Vec<Contender>,
    /// Which of them the others are compared with.
    pub baseline: usize,
    /// Runs of each in each.
    pub seeds: u64,
    /// By case, then by contender.
    pub cells: Vec<Vec<Cell>>,
}

impl Comparison {
    /// Runs everything on so many threads; `done` is told of each run that has ended.
    pub fn make(
        cases: Vec<Case>,
        contenders: Vec<Contender>,
        baseline: usize,
        seeds: u64,
        threads: usize,
        done: &(dyn Fn() + Sync),
    ) -> Self {
        let jobs: Vec<(&Scenario, &Contender, u64)> = cases
            .iter()
            .flat_map(|case| contenders.iter().map(move |contender| (&case.scenario, contender)))
            .flat_map(|(scenario, contender)| (1..=seeds).map(move |seed| (scenario, contender, seed)))
            .collect();
        let outcomes = runs(&jobs, threads, done);
        let per_cell = seeds as usize;
        let per_case = per_cell * contenders.len();
        let cells = outcomes
            .chunks_exact(per_case)
            .map(|case| {
                let base = &case[baseline * per_cell..][..per_cell];
                case.chunks_exact(per_cell).map(|runs| Cell::new(runs, base)).collect()
            })
            .collect();
        Self { cases, contenders, baseline, seeds, cells }
    }
}

impl Cell {
    fn new(runs: &[Outcome], base: &[Outcome]) -> Self {
        let change = |what: fn(&Outcome) -> f64| {
            let pairs = runs.iter().zip(base);
            Interval::of(&pairs.map(|(run, base)| what(run) / what(base) - 1.0).collect::<Vec<_>>())
        };
        let (mean_change, p99_change) = (change(|run| run.mean), change(|run| run.p99));
        Self { pooled: Pooled::of(runs.to_vec()), mean_change, p99_change }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contenders_are_compared_in_pairs() {
        let scenario = Scenario::parse(
            r#"
            load    = 0.5
            flows   = 500
            service = { kind = "exponential", mean = "10ms" }
            [[server]]
            count = 3
            "#,
        )
        .unwrap();
        let cases = Case::each("small", &scenario, &[0.3, 0.8]);
        let contenders: Vec<Contender> = ["ecmp", "lsq"].map(|name| name.parse().unwrap()).into();
        let comparison = Comparison::make(cases, contenders, 0, 3, 1, &|| {});
        assert_eq!(comparison.cases[1].title(), "small, load 0.8");
        for cells in &comparison.cells {
            let [base, other] = &cells[..] else { panic!("two contenders") };
            assert_eq!((base.mean_change.mean, base.p99_change.half), (0.0, 0.0));
            assert!(other.mean_change.mean < 0.0);
            let pairs = other.pooled.seeds.iter().zip(&base.pooled.seeds);
            let expected = pairs.map(|(run, base)| run.mean / base.mean - 1.0).sum::<f64>() / 3.0;
            assert!((other.mean_change.mean - expected).abs() < 1e-12);
        }
        let means: Vec<f64> = comparison.cells.iter().map(|cells| cells[0].pooled.mean).collect();
        assert!(means[0] < means[1], "more load takes longer: {means:?}");
    }
}
