//! Pendulum-v1: swing up a pendulum with too little torque, and keep it there.

use std::f64::consts::PI;

use candle_core::Result;

use super::{
    Finding,
    control::{Plan, Progress, World, evaluate, learn, mean},
};
use crate::learners::{draws::Draws, replay::Cut, soft};

/// The world. Angle 0 is up. Source: Gymnasium, Pendulum-v1.
#[derive(Clone, Debug)]
pub struct Pendulum {
    angle: f64,
    speed: f64,
}

const LARGEST_SPEED: f64 = 8.0;
const LARGEST_TORQUE: f64 = 2.0;
const GRAVITY: f64 = 10.0;
const STEP: f64 = 0.05;

impl World for Pendulum {
    const SEEN: usize = 3;
    const STEPS: usize = 200;

    fn begin(draws: &mut Draws) -> Self {
        Self { angle: (draws.uniform() * 2.0 - 1.0) * PI, speed: draws.uniform() * 2.0 - 1.0 }
    }

    fn seen(&self) -> Vec<f32> {
        [self.angle.cos(), self.angle.sin(), self.speed / LARGEST_SPEED].map(|value| value as f32).to_vec()
    }

    fn step(&mut self, action: f32, _: &mut Draws) -> (f64, bool) {
        let torque = f64::from(action).clamp(-1.0, 1.0) * LARGEST_TORQUE;
        let angle = (self.angle + PI).rem_euclid(2.0 * PI) - PI;
        let cost = angle.powi(2) + 0.1 * self.speed.powi(2) + 0.001 * torque.powi(2);
        let speed = self.speed + (1.5 * GRAVITY * self.angle.sin() + 3.0 * torque) * STEP;
        self.speed = speed.clamp(-LARGEST_SPEED, LARGEST_SPEED);
        self.angle += self.speed * STEP;
        (-cost, false)
    }
}

/// The same with its speed hidden: what is not remembered is not known.
#[derive(Clone, Debug)]
pub struct Masked(Pendulum);

impl World for Masked {
    const SEEN: usize = 2;
    const STEPS: usize = Pendulum::STEPS;

    fn begin(draws: &mut Draws) -> Self {
        Self(Pendulum::begin(draws))
    }

    fn seen(&self) -> Vec<f32> {
        let mut seen = self.0.seen();
        seen.truncate(Self::SEEN);
        seen
    }

    fn step(&mut self, action: f32, draws: &mut Draws) -> (f64, bool) {
        self.0.step(action, draws)
    }
}

/// How the pendulum is learned by an agent without memory.
pub fn plan() -> Plan {
    Plan {
        steps: 10_000,
        random: 1000,
        steps_per_update: 1,
        batch: 128,
        cut: Cut { length: 1, stride: 1 },
        hidden: 64,
        reward_scale: 0.1,
        sac: soft::Settings {
            discount: 0.98,
            target_rate: 0.01,
            remember: false,
            ..soft::Settings::default()
        },
    }
}

/// How the masked one is learned: by sequences, of which the first steps warm the memory up.
pub fn masked_plan() -> Plan {
    let sac = soft::Settings { burn_in: 4, remember: true, ..plan().sac };
    Plan { steps: 20_000, steps_per_update: 2, batch: 32, cut: Cut { length: 16, stride: 6 }, sac, ..plan() }
}

/// Random torque reaches −1235.6, none −1226, a nearly optimal controller (dynamic programming) −139.9.
pub fn findings(seed: u64, watch: impl FnMut(Progress)) -> Result<Vec<Finding>> {
    let plan = plan();
    let learner = learn::<Pendulum>(&plan, seed, watch)?;
    let (reached, _) = mean(&evaluate::<Pendulum>(learner.acting(), &plan, 200, seed)?);
    Ok(vec![Finding {
        what: "mean return of 200 episodes without chance".into(),
        reached,
        known: "-139.9 nearly optimal, -157 published".into(),
        least: -200.0,
        most: -125.0,
    }])
}

/// An agent with memory comes close to what is possible with full sight; one without cannot.
pub fn masked_findings(seed: u64, mut watch: impl FnMut(Progress)) -> Result<Vec<Finding>> {
    let (with, without) = (masked_plan(), plan());
    let learner = learn::<Masked>(&with, seed, &mut watch)?;
    let (reached, _) = mean(&evaluate::<Masked>(learner.acting(), &with, 200, seed)?);
    let learner = learn::<Masked>(&without, seed, watch)?;
    let (blind, _) = mean(&evaluate::<Masked>(learner.acting(), &without, 200, seed)?);
    Ok(vec![
        Finding {
            what: "with memory, mean return of 200 episodes".into(),
            reached,
            known: "-157 with full sight".into(),
            least: -215.0,
            most: -125.0,
        },
        Finding {
            what: "without memory, mean return of 200 episodes".into(),
            reached: blind,
            known: "clearly worse".into(),
            least: f64::NEG_INFINITY,
            most: reached - 100.0,
        },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learners::draws::Use;

    /// What is known of controllers that learn nothing.
    #[test]
    fn world_is_the_one_that_is_known() {
        let returns = |random: bool| {
            let (mut draws, episodes) = (Draws::new(1, Use::World), 2000);
            let run = |_| {
                let mut world = Pendulum::begin(&mut draws);
                let step = |_| {
                    let action = if random { (draws.uniform() * 2.0 - 1.0) as f32 } else { 0.0 };
                    world.step(action, &mut draws).0
                };
                (0..Pendulum::STEPS).map(step).sum::<f64>()
            };
            (0..episodes).map(run).sum::<f64>() / f64::from(episodes)
        };
        assert!((returns(false) + 1226.0).abs() < 25.0, "{}", returns(false));
        assert!((returns(true) + 1235.6).abs() < 25.0, "{}", returns(true));
    }

    #[test]
    fn same_seed_learns_the_same_to_the_bit() {
        let plan = Plan { steps: 410, random: 400, batch: 4, hidden: 8, ..masked_plan() };
        let returns = || {
            let learner = learn::<Masked>(&plan, 3, |_| ()).unwrap();
            evaluate::<Masked>(learner.acting(), &plan, 3, 1)
                .unwrap()
                .into_iter()
                .map(|ended| ended.sum.to_bits())
                .collect::<Vec<_>>()
        };
        assert_eq!(returns(), returns());
    }
}
