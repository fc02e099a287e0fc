//! One run: a scenario, a contender, a seed.

use policy::{
    Observation,
    steering::{Circumstances, Steering},
};

use super::{contender::Contender, outcome::Outcome};
use crate::{
    scenario::Scenario,
    sim::{Simulation, teacher},
};

/// Who sets the weights of a balancer.
pub trait Helm {
    /// Looks at the world as far as it may, and says a weight for each server. `balancer` is whose weights they are.
    fn steer(&mut self, simulation: &mut Simulation, balancer: usize, weights: &mut Vec<f64>);
}

impl Helm for Steering {
    /// Sees the statistics that the balancer would publish.
    fn steer(&mut self, simulation: &mut Simulation, balancer: usize, weights: &mut Vec<f64>) {
        for observation in Observation::of(simulation.observe(balancer, self.kinds())) {
            let decision = self.step(&observation, Circumstances::default());
            weights.clear();
            weights.extend(decision.weights.iter().map(|guarded| guarded.weight));
        }
    }
}

/// Who steers those that are compared.
#[derive(Debug)]
pub enum Pilot {
    /// A policy, under the guard that ships.
    Policy(Box<Steering>),
    /// What agents are taught: [`teacher::taught`].
    Teacher,
    /// One who sees all balancers' flows as well: [`teacher::seen`].
    Seer,
}

impl Helm for Pilot {
    fn steer(&mut self, simulation: &mut Simulation, balancer: usize, weights: &mut Vec<f64>) {
        match self {
            Self::Policy(steering) => steering.steer(simulation, balancer, weights),
            Self::Teacher => {
                weights.clear();
                weights.extend(simulation.servers().iter().map(|server| teacher::taught(server).exp()));
            }
            Self::Seer => {
                let seen = teacher::seen(&simulation.balancers()[balancer], simulation.servers());
                weights.clear();
                weights.extend(seen.into_iter().map(f64::exp));
            }
        }
    }
}

/// The balancers of a run, each with who sets its weights if anybody does.
///
/// They act once a period, one after the other and evenly spread over it, as balancers do that know nothing of each
/// other.
#[derive(Debug)]
pub struct Drive<H = Pilot> {
    simulation: Simulation,
    helms: Vec<H>,
    period: u64,
    turn: u64,
    weights: Vec<f64>,
}

impl Drive {
    /// The beginning of a run.
    pub fn new(scenario: &Scenario, contender: &Contender, seed: u64) -> Self {
        let simulation = Simulation::new(scenario.setup(), scenario.arrivals(seed), contender.choice(), seed);
        let pilots = simulation.balancers().iter().filter_map(|_| contender.pilot()).collect();
        Self::of(simulation, pilots, scenario.period())
    }
}

impl<H: Helm> Drive<H> {
    /// A world at its beginning. There is a helm for each balancer, or none at all.
    pub const fn of(simulation: Simulation, helms: Vec<H>, period: u64) -> Self {
        Self { simulation, helms, period, turn: 0, weights: Vec::new() }
    }

    /// Goes on until then, and to the end of a balancer's turn if weights are set. Returns whether the run goes on.
    pub fn advance(&mut self, until: u64) -> bool {
        if self.helms.is_empty() {
            return self.simulation.advance(until);
        }
        while self.simulation.now() < until {
            self.turn += 1;
            let balancers = self.helms.len() as u64;
            let t = u128::from(self.period) * u128::from(self.turn) / u128::from(balancers);
            if !self.simulation.advance(t as u64) {
                return false;
            }
            self.act((self.turn % balancers) as usize);
        }
        true
    }

    /// A balancer's weights are set.
    fn act(&mut self, balancer: usize) {
        self.helms[balancer].steer(&mut self.simulation, balancer, &mut self.weights);
        self.simulation.set_weights(balancer, &self.weights);
    }

    /// The world as it is.
    pub const fn simulation(&self) -> &Simulation {
        &self.simulation
    }

    /// Who sets the weights, by balancer.
    pub fn helms(&self) -> &[H] {
        &self.helms
    }

    /// The same, to tell them something.
    pub fn helms_mut(&mut self) -> &mut [H] {
        &mut self.helms
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
    use ipc::sample::Kinds;
    use policy::rules;

    use super::*;
    use crate::sim::balancer::Balancer;

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
    fn weights_of_those_who_know_are_better_than_wrong_ones_and_than_blind_ones() {
        let (wrong, taught, seen) = (mean("sed"), mean("teacher"), mean("seer"));
        assert!(seen < taught && taught < wrong, "{seen} {taught} {wrong}");
    }

    /// Steers as its policy does that sees samples of all kinds.
    struct SeesAll(Pilot);

    impl Helm for SeesAll {
        fn steer(&mut self, simulation: &mut Simulation, balancer: usize, weights: &mut Vec<f64>) {
            let Pilot::Policy(steering) = &mut self.0 else { return };
            for observation in Observation::of(simulation.observe(balancer, Kinds::ALL)) {
                let decision = steering.step(&observation, Circumstances::default());
                weights.clear();
                weights.extend(decision.weights.iter().map(|guarded| guarded.weight));
            }
        }
    }

    #[test]
    fn samples_that_a_policy_does_not_look_at_change_nothing() {
        let scenario = Scenario::parse(SCENARIO).unwrap();
        for name in rules::NAMES.into_iter().chain(["sac-gru", "qmix"]) {
            let contender: Contender = name.parse().unwrap();
            let mut usual = Drive::new(&scenario, &contender, 1);
            let simulation = Simulation::new(scenario.setup(), scenario.arrivals(1), contender.choice(), 1);
            let seers = [(); 2].map(|()| SeesAll(contender.pilot().unwrap()));
            let mut other = Drive::of(simulation, seers.into(), scenario.period());
            while usual.advance(u64::MAX) {}
            while other.advance(u64::MAX) {}
            let [usual, other] = [usual.simulation(), other.simulation()];
            assert_eq!(usual.record().completed, other.record().completed, "{name}");
            for (usual, other) in usual.balancers().iter().zip(other.balancers()) {
                let weights = |balancer: &Balancer| -> Vec<u64> {
                    balancer.servers().iter().map(|server| server.weight.to_bits()).collect()
                };
                assert_eq!(weights(usual), weights(other), "{name}");
            }
        }
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
