//! One run: a scenario, a contender, a seed.

use policy::{
    Observation,
    steering::{Circumstances, Steering},
};

use super::{contender::Contender, outcome::Outcome};
use crate::{scenario::Scenario, sim::Simulation};

/// The balancers of a run, each with its policy if there are to be any.
///
/// They act once a period, one after the other and evenly spread over it, as balancers do that know nothing of each
/// other.
#[derive(Debug)]
pub struct Drive {
    simulation: Simulation,
    steerings: Vec<Steering>,
    period: u64,
    turn: u64,
    weights: Vec<f64>,
}

impl Drive {
    /// The beginning of a run.
    pub fn new(scenario: &Scenario, contender: &Contender, seed: u64) -> Self {
        let simulation = Simulation::new(scenario.setup(), scenario.arrivals(seed), contender.choice(), seed);
        let steerings = simulation.balancers().iter().filter_map(|_| contender.steering()).collect();
        Self { simulation, steerings, period: scenario.period(), turn: 0, weights: Vec::new() }
    }

    /// Goes on until then, and to the end of a balancer's turn if policies act. Returns whether the run goes on.
    pub fn advance(&mut self, until: u64) -> bool {
        if self.steerings.is_empty() {
            return self.simulation.advance(until);
        }
        while self.simulation.now() < until {
            self.turn += 1;
            let balancers = self.steerings.len() as u64;
            let t = u128::from(self.period) * u128::from(self.turn) / u128::from(balancers);
            if !self.simulation.advance(t as u64) {
                return false;
            }
            self.act((self.turn % balancers) as usize);
        }
        true
    }

    /// A balancer's policy looks at its statistics and sets its weights.
    fn act(&mut self, balancer: usize) {
        let steering = &mut self.steerings[balancer];
        for observation in Observation::of(self.simulation.observe(balancer)) {
            let decision = steering.step(&observation, Circumstances::default());
            self.weights.clear();
            self.weights.extend(decision.weights.iter().map(|guarded| guarded.weight));
        }
        self.simulation.set_weights(balancer, &self.weights);
    }

    /// The world as it is.
    pub const fn simulation(&self) -> &Simulation {
        &self.simulation
    }
}

/// A whole run.
pub fn run(scenario: &Scenario, contender: &Contender, seed: u64) -> Outcome {
    let mut drive = Drive::new(scenario, contender, seed);
    while drive.advance(u64::MAX) {}
    Outcome::of(drive.simulation().record(), seed)
}

/// Runs with seeds from `first` on, on so many threads; `done` is told of each that has ended. The outcomes are in the
/// order of the seeds.
pub fn runs(jobs: &[(&Scenario, &Contender, u64)], threads: usize, done: &(dyn Fn() + Sync)) -> Vec<Outcome> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let mut outcomes: Vec<(usize, Outcome)> = std::thread::scope(|scope| {
        let work = || {
            let mut own = Vec::new();
            loop {
                // Relaxed: it only hands out numbers; the threads are joined before anything is read.
                let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(&(scenario, contender, seed)) = jobs.get(at) else { return own };
                own.push((at, run(scenario, contender, seed)));
                done();
            }
        };
        let threads: Vec<_> = (0..threads.clamp(1, jobs.len().max(1))).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a run does not panic")).collect()
    });
    outcomes.sort_by_key(|&(at, _)| at);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCENARIO: &str = r#"
        balancers = 2
        load      = 0.8
        flows     = 4000
        service   = { kind = "exponential", mean = "100ms" }
        [[server]]
        count = 2
        [[server]]
        speed = 4.0
        weight = 1.0
    "#;

    fn mean(name: &str) -> f64 {
        let scenario = Scenario::parse(SCENARIO).unwrap();
        let contender = name.parse().unwrap();
        (1..=4).map(|seed| run(&scenario, &contender, seed).mean).sum()
    }

    #[test]
    fn policy_that_sees_rates_beats_wrong_weights() {
        let (wrong, learned, truth) = (mean("sed"), mean("rate/sed"), mean("oracle"));
        assert!(truth < learned && learned < wrong, "{truth} {learned} {wrong}");
    }

    #[test]
    fn threads_change_nothing() {
        let scenario = Scenario::parse(SCENARIO).unwrap();
        let contender: Contender = "hlb".parse().unwrap();
        let jobs: Vec<_> = (1..=3).map(|seed| (&scenario, &contender, seed)).collect();
        let done = std::sync::atomic::AtomicUsize::new(0);
        let count = || {
            done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        assert_eq!(runs(&jobs, 1, &count), runs(&jobs, 3, &count));
        assert_eq!(done.into_inner(), 6);
    }
}
