//! A balancer's agent in training: it tries what it would not do by itself, and what it saw and did is written down.

use ipc::sample::Kinds;
use policy::{
    Observation, Policy as _,
    agents::{Agent, Manifest},
    features::Features,
    guard::Bounds,
    rewards::{Objective, movement},
    rules,
    steering::{Circumstances, Proposer, Steering},
};

use crate::{
    evaluate::run::Helm,
    learners::{draws::Draws, squashed},
    sim::{Simulation, ledger::Ledger},
};

/// How corrections are chosen in training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    /// The network's own, and a random walk of each server's on top: so that also worlds with bad weights are seen.
    Wander,
    /// Drawn from what the network says: soft actor-critics.
    Draw,
    /// The network's own, but for this share of levels, which is at random: value learners. Without levels, and with 0: no chance.
    Greedy(f64),
}

/// What an agent saw and did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// What it saw.
    pub features: Features,
    /// What it remembered before, `[S, H]`; empty: nothing.
    pub hidden: Vec<f32>,
    /// A number between −1 and 1, or the number of a level, for each server.
    pub action: Vec<f32>,
    /// ln of the base estimate of each server.
    pub base: Vec<f64>,
    /// The reward that the balancer itself can see.
    pub seen: f64,
    /// By how much the weights moved: the mean of |ln(after / before)|.
    pub moved: f64,
    /// What the choices since the look before cost.
    pub paid: Ledger,
}

/// A random walk forgets 1/e of where it was in so many steps.
const WALK_MEMORY: f64 = 30.0;
/// How far it gets, as a share of the largest correction.
const WALK: f64 = 0.4;

/// The agent, the guard that ships, and what is written down.
#[derive(Debug)]
pub struct Seat {
    agent: Agent,
    steering: Steering,
    manner: Manner,
    draws: Draws,
    objective: Objective,
    walk: Vec<f64>,
    proposal: Vec<f64>,
    before: Vec<f64>,
    /// Whether choices are compared with the base's, and then how many cores all flows keep busy.
    compares: Option<f64>,
    scratch: Vec<f64>,
    looks: Vec<Look>,
}

impl Seat {
    /// An agent before an episode: it does what it would do by itself.
    pub fn new(agent: Agent, objective: Objective, compares: Option<f64>, draws: Draws) -> Self {
        Self {
            agent,
            steering: Steering::new(Proposer::Elsewhere, Box::new(rules::Static), Bounds::default()),
            manner: Manner::Greedy(0.0),
            draws,
            objective,
            walk: Vec::new(),
            proposal: Vec::new(),
            before: Vec::new(),
            compares,
            scratch: Vec::new(),
            looks: Vec::new(),
        }
    }

    /// The episode begins.
    pub fn begin(&mut self, manner: Manner) {
        self.manner = manner;
        self.looks.clear();
    }

    /// What it saw and did, step by step, since the episode began; nothing of that stays here.
    pub fn take_looks(&mut self) -> Vec<Look> {
        std::mem::take(&mut self.looks)
    }

    /// Proposes, and writes down.
    fn look(&mut self, observation: &Observation<'_>) {
        let servers = observation.servers.len();
        let mut look = Look {
            hidden: self.agent.memory().to_vec(),
            action: vec![0.0; servers],
            seen: self.objective.evaluate(observation, 0.0, &mut self.scratch),
            ..Look::default()
        };
        self.walk.resize(servers, 0.0);
        if self.manner == Manner::Wander {
            for place in &mut self.walk {
                let kept = 1.0 - 1.0 / WALK_MEMORY;
                *place = place.mul_add(kept, WALK * (1.0 - kept * kept).sqrt() * self.draws.normal());
            }
        }
        let Self { agent, manner, draws, walk, proposal, .. } = self;
        agent.propose_by(observation, proposal, |manifest, at, head| {
            let (taken, delta) = choose(*manner, manifest, head, walk[at], draws);
            look.action[at] = taken;
            delta
        });
        look.features = agent.features().clone();
        let corrections = agent.corrections().iter().map(|&delta| f64::from(delta));
        look.base.extend(proposal.iter().zip(corrections).map(|(weight, delta)| weight.ln() - delta));
        self.looks.push(look);
    }
}

impl Helm for Seat {
    fn steer(&mut self, simulation: &mut Simulation, balancer: usize, weights: &mut Vec<f64>) {
        let kinds = self.agent.kinds().and(self.steering.kinds()).and(Kinds::of(&[self.objective.kind]));
        for observation in Observation::of(simulation.observe(balancer, kinds)) {
            self.look(&observation);
            let circumstances = Circumstances { proposal: Some(&self.proposal), ..Circumstances::default() };
            let decision = self.steering.step(&observation, circumstances);
            weights.clear();
            weights.extend(decision.weights.iter().map(|guarded| guarded.weight));
        }
        if let Some(look) = self.looks.last_mut() {
            look.moved = movement(&self.before, weights);
            look.paid = simulation.take_ledger(balancer);
            if let Some(offered) = self.compares {
                self.scratch.clear();
                self.scratch.extend(look.base.iter().map(|base| base.exp()));
                simulation.compare(balancer, &self.scratch, offered);
            }
        }
        self.before.clone_from(weights);
    }
}

/// The action to write down, and the δ that it comes to.
fn choose(manner: Manner, manifest: &Manifest, head: &[f32], walk: f64, draws: &mut Draws) -> (f32, f32) {
    let bound = manifest.delta_max;
    let own = policy::agents::correction(manifest.kind, head, &manifest.levels, bound);
    let level = |at: usize| (at as f32, manifest.levels[at]);
    match (manner, manifest.levels.is_empty()) {
        (Manner::Wander, _) => {
            let delta = (own + walk as f32 * bound).clamp(-bound, bound);
            (action(&manifest.levels, bound, delta), delta)
        }
        (Manner::Draw, true) => {
            let drawn = squashed::draw_one(head, draws.normal() as f32);
            (drawn, drawn * bound)
        }
        (Manner::Draw, false) => level(sample(head, draws)),
        (Manner::Greedy(share), false) if draws.uniform() < share => {
            level(draws.below(manifest.levels.len()))
        }
        (Manner::Greedy(_), _) => (action(&manifest.levels, bound, own), own),
    }
}

/// The action that a correction within ±`bound` comes to: the number of the closest level, or without levels its share of the bound.
pub fn action(levels: &[f32], bound: f32, delta: f32) -> f32 {
    let distance = |at: &usize| (levels[*at] - delta).abs();
    let closest = (0..levels.len()).min_by(|a, b| distance(a).total_cmp(&distance(b)));
    closest.map_or(delta / bound, |level| level as f32)
}

/// A level with the probability that the softmax of the logits gives it.
fn sample(logits: &[f32], draws: &mut Draws) -> usize {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights = logits.iter().map(|&logit| f64::from(logit - most).exp());
    let mut left = draws.uniform() * weights.clone().sum::<f64>();
    for (at, weight) in weights.enumerate() {
        left -= weight;
        if left < 0.0 {
            return at;
        }
    }
    logits.len() - 1
}
