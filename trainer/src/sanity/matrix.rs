//! Repeated games of two independent learners: how far those come who take each other for the weather.
//!
//! Discrete soft actor-critic, a learner for each agent. It learns what its own action is worth while the other does what it
//! does. So what is bad on average is avoided, even if it were best together: relative
//! over-generalisation. Source of the games: Claus and Boutilier, "The dynamics of reinforcement learning in cooperative
//! multiagent systems", 1998.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::softmax;
use policy::agents::net::Input;

use super::Finding;
use crate::learners::{
    adam,
    draws::{Draws, Use},
    replay::{Cut, Episode, Layout, Moment, Replay, Taken},
    sac_discrete::Learner,
    soft::Settings,
};

/// Rewards of both agents' actions.
pub type Table = [[f32; 3]; 3];

/// 11 is possible, next to −30 for whoever misses it.
pub const CLIMBING: Table = [[11.0, -30.0, 0.0], [-30.0, 7.0, 0.0], [0.0, 6.0, 5.0]];

/// 10 is possible in two ways; to mix them up costs.
pub const fn penalty(cost: f32) -> Table {
    [[cost, 0.0, 10.0], [0.0, 2.0, 0.0], [10.0, 0.0, cost]]
}

/// How often a game is played in a row.
const REPEATS: f64 = 25.0;
const LAYOUT: Layout =
    Layout { agents: 1, servers: 1, server_features: 1, context_features: 0, state: 0, hidden: 16 };
const SCALE: f32 = 0.1;

fn moment() -> Moment {
    Moment { servers: vec![1.0], active: vec![1.0], hidden: vec![0.0; LAYOUT.hidden], ..Moment::default() }
}

/// The shares of an agent's actions.
fn shares(learner: &Learner) -> Result<Vec<f32>> {
    let tensor = |values: Vec<f32>, shape: &[usize]| Tensor::from_vec(values, shape, &Device::Cpu);
    let Moment { servers, active, hidden, .. } = moment();
    let input = Input {
        servers: tensor(servers, &[1, 1, 1])?,
        context: tensor(Vec::new(), &[1, 0])?,
        active: tensor(active, &[1, 1])?,
    };
    let head = learner.acting().step(&input, &tensor(hidden, &[1, 1, LAYOUT.hidden])?)?.head;
    softmax(&head, D::Minus1)?.flatten_all()?.to_vec1()
}

fn draw(shares: &[f32], draws: &mut Draws) -> usize {
    let mut left = draws.uniform() as f32;
    shares
        .iter()
        .position(|share| {
            left -= share;
            left < 0.0
        })
        .unwrap_or(shares.len() - 1)
}

fn episode(action: usize, reward: f32) -> Episode {
    let taken =
        Taken { action: vec![action as f32], reward: SCALE * reward, terminal: true, ..Taken::default() };
    Episode { moments: vec![moment(), moment()], taken: vec![taken] }
}

/// An agent that learns by itself.
struct Agent {
    learner: Learner,
    /// What the other did long ago says nothing about what it does: so it is short.
    replay: Replay,
    actions: Draws,
    draws: Draws,
}

impl Agent {
    fn new(seed: u64) -> Result<Self> {
        let adam = |rate| adam::Settings { rate, ..adam::Settings::default() };
        let settings = Settings {
            entropy_coef: 0.5,
            actor: adam(2e-3),
            critic: adam(1e-2),
            remember: false,
            ..Settings::discrete(3, 0.03)
        };
        Ok(Self {
            learner: Learner::new(LAYOUT, 3, settings, seed)?,
            replay: Replay::new(LAYOUT, Cut { length: 1, stride: 1 }, 200),
            actions: Draws::new(seed, Use::Exploration),
            draws: Draws::new(seed, Use::Replay),
        })
    }

    fn learn(&mut self) -> Result<()> {
        self.learner.update(&self.replay.sample(64, &mut self.draws)?).map(|_| ())
    }

    fn best(&self) -> Result<usize> {
        let shares = shares(&self.learner)?;
        let most = shares.iter().copied().fold(0.0, f32::max);
        Ok(shares.iter().position(|&share| share >= most).unwrap_or(0))
    }
}

/// Learns a game; the reward of what both prefer in the end, times 25.
pub fn score(table: &Table, updates: usize, seed: u64) -> Result<f64> {
    let [mut first, mut second] = [Agent::new(2 * seed)?, Agent::new(2 * seed + 1)?];
    for _ in 0..updates {
        let (row, column) = (shares(&first.learner)?, shares(&second.learner)?);
        for _ in 0..8 {
            let both = [draw(&row, &mut first.actions), draw(&column, &mut second.actions)];
            let reward = table[both[0]][both[1]];
            first.replay.push(episode(both[0], reward));
            second.replay.push(episode(both[1], reward));
        }
        first.learn()?;
        second.learn()?;
    }
    Ok(f64::from(table[first.best()?][second.best()?]) * REPEATS)
}

/// Known: independent learners reach 175 of 275 in the climbing game, 250 of 250 in the penalty game without a penalty, and with one
/// at least the 50 of what is safe.
pub fn findings(updates: usize, seed: u64) -> Result<Vec<Finding>> {
    let score = |table: &Table| score(table, updates, seed);
    let penalised = |cost: i8| {
        Ok::<_, candle_core::Error>(Finding {
            what: format!("penalty of {cost}, 25 times"),
            reached: score(&penalty(f32::from(cost)))?,
            known: "50 is safe, 250 possible".into(),
            least: 50.0,
            most: 250.0,
        })
    };
    Ok(vec![
        Finding::near("climbing, 25 times (275 were possible)", score(&CLIMBING)?, 175.0, 0.0),
        Finding::near("penalty of 0, 25 times (250 were possible)", score(&penalty(0.0))?, 250.0, 0.0),
        penalised(-25)?,
        penalised(-100)?,
    ])
}
