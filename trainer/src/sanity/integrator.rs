//! A double integrator whose position alone is seen, with noise: no memory, no stability.
//!
//! ```text
//! position' = position + speed        speed' = speed + u + w        w: variance 0.01
//! seen      = position + v            v: variance 0.01              cost = position² + 0.1 u²
//! ```
//!
//! The optimum is known: a Kalman filter and a linear regulator reach a mean cost of 0.115776. No function of what is seen now
//! alone can keep it stable.

use candle_core::Result;

use super::{
    Finding,
    control::{Ended, Plan, Progress, World, evaluate, learn},
};
use crate::learners::{
    draws::{Draws, Use},
    replay::Cut,
    soft,
};

/// The world.
#[derive(Clone, Debug)]
pub struct Integrator {
    position: f64,
    speed: f64,
    seen: f64,
}

const NOISE: f64 = 0.1;
const LARGEST_FORCE: f64 = 2.0;
const FORCE_COST: f64 = 0.1;
/// Whoever is further away has lost it. The best controller is never there.
const LOST: f64 = 3.0;
const LOST_COST: f64 = 50.0;

impl Integrator {
    fn look(&mut self, draws: &mut Draws) {
        self.seen = self.position + NOISE * draws.normal();
    }
}

impl World for Integrator {
    const SEEN: usize = 1;
    const STEPS: usize = 100;

    fn begin(draws: &mut Draws) -> Self {
        let mut world = Self { position: 0.3 * draws.normal(), speed: 0.2 * draws.normal(), seen: 0.0 };
        world.look(draws);
        world
    }

    fn seen(&self) -> Vec<f32> {
        vec![self.seen as f32]
    }

    fn step(&mut self, action: f32, draws: &mut Draws) -> (f64, bool) {
        let force = f64::from(action).clamp(-1.0, 1.0) * LARGEST_FORCE;
        let cost = self.position.powi(2) + FORCE_COST * force.powi(2);
        self.position += self.speed;
        self.speed += force + NOISE * draws.normal();
        self.look(draws);
        let lost = self.position.abs() > LOST;
        (-cost - if lost { LOST_COST } else { 0.0 }, lost)
    }
}

/// The best controller: a Kalman filter's gains and a linear regulator's, each the solution of its Riccati equation.
#[derive(Clone, Debug, Default)]
struct Best {
    position: f64,
    speed: f64,
}

impl Best {
    const FILTER: [f64; 2] = [0.769_087_251_5, 0.480_533_816_2];
    const REGULATOR: [f64; 2] = [0.816_617_139_0, 1.749_930_783_9];

    fn act(&mut self, seen: f32) -> f32 {
        let off = f64::from(seen) - self.position;
        self.position += Self::FILTER[0] * off;
        self.speed += Self::FILTER[1] * off;
        let force = -(Self::REGULATOR[0] * self.position + Self::REGULATOR[1] * self.speed);
        self.position += self.speed;
        self.speed += force;
        (force / LARGEST_FORCE) as f32
    }
}

/// Mean cost of a step of the best controller over so many steps from the same beginnings as [`evaluate`] has.
fn best_cost(episodes: usize, steps: usize, seed: u64) -> f64 {
    let mut draws = Draws::new(seed, Use::Evaluation);
    let mut cost = 0.0;
    for _ in 0..episodes {
        let (mut world, mut best) = (Integrator::begin(&mut draws), Best::default());
        for _ in 0..steps {
            let action = best.act(world.seen()[0]);
            cost -= world.step(action, &mut draws).0;
        }
    }
    cost / (episodes * steps) as f64
}

/// How it is learned with memory.
pub fn plan() -> Plan {
    Plan {
        steps: 60_000,
        random: 1000,
        steps_per_update: 2,
        batch: 32,
        cut: Cut { length: 16, stride: 4 },
        hidden: 32,
        reward_scale: 0.2,
        sac: soft::Settings { discount: 0.95, burn_in: 4, target_rate: 0.01, ..soft::Settings::default() },
    }
}

fn without_memory() -> Plan {
    let sac = soft::Settings { burn_in: 0, remember: false, ..plan().sac };
    Plan { steps: 10_000, batch: 128, cut: Cut { length: 1, stride: 1 }, sac, ..plan() }
}

/// With memory, the optimum within a quarter; without, it is lost.
pub fn findings(seed: u64, mut watch: impl FnMut(Progress)) -> Result<Vec<Finding>> {
    const EPISODES: usize = 200;
    let lost = |ended: &[Ended]| ended.iter().filter(|ended| ended.terminal).count() as f64 / EPISODES as f64;
    let plan = plan();
    let learner = learn::<Integrator>(&plan, seed, &mut watch)?;
    let ended = evaluate::<Integrator>(learner.acting(), &plan, EPISODES, seed)?;
    let cost = -ended.iter().map(|ended| ended.sum).sum::<f64>() / (EPISODES * Integrator::STEPS) as f64;
    let best = best_cost(EPISODES, Integrator::STEPS, seed);
    let plan = without_memory();
    let learner = learn::<Integrator>(&plan, seed, watch)?;
    let blind = evaluate::<Integrator>(learner.acting(), &plan, EPISODES, seed)?;
    Ok(vec![
        Finding {
            what: "with memory, mean cost of a step".into(),
            reached: cost,
            known: format!("0.115776 in the long run; {best:.4} here"),
            least: best * 0.95,
            most: best * 1.25,
        },
        Finding::near("with memory, share of episodes that are lost", lost(&ended), 0.0, 0.0),
        Finding {
            what: "without memory, share of episodes that are lost".into(),
            reached: lost(&blind),
            known: "cannot be stable".into(),
            least: 0.9,
            most: 1.0,
        },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the world itself, in the long run.
    #[test]
    fn best_controller_costs_what_is_known() {
        let cost = best_cost(1, 1_000_000, 1);
        assert!((cost / 0.115_776 - 1.0).abs() < 0.02, "{cost}");
    }
}
