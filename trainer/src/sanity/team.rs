//! Several agents with one reward: does each learn its own part?
//!
//! Independent soft actor-critic with continuous actions: each agent sees numbers of its own servers and is paid what all of them
//! are paid. One step: reward = −mean over all agents' servers of (a_ij − x_ij / 2)². Known: a_ij = x_ij / 2 reaches 0;
//! to do nothing reaches −E(x²)/4 = −1/12.

use candle_core::{Device, Result, Tensor};
use policy::agents::net::Input;

use super::Finding;
use crate::learners::{
    adam,
    draws::{Draws, Use},
    replay::{Cut, Episode, Layout, Moment, Replay, Taken},
    sac::Learner,
    soft::Settings,
    squashed,
};

const LAYOUT: Layout =
    Layout { agents: 3, servers: 2, server_features: 1, context_features: 1, state: 0, hidden: 16 };
const CHOICES: usize = LAYOUT.agents * LAYOUT.servers;
/// Episodes side by side.
const TOGETHER: usize = 16;

fn moment(draws: &mut Draws) -> Moment {
    Moment {
        servers: (0..CHOICES).map(|_| (draws.uniform() * 2.0 - 1.0) as f32).collect(),
        context: vec![1.0; LAYOUT.agents],
        active: vec![1.0; CHOICES],
        hidden: vec![0.0; CHOICES * LAYOUT.hidden],
        ..Moment::default()
    }
}

fn reward(seen: &[f32], actions: &[f32]) -> f32 {
    let off = seen.iter().zip(actions).map(|(seen, action)| (action - seen / 2.0).powi(2));
    -off.sum::<f32>() / CHOICES as f32
}

/// One step of several episodes: what was seen, and what each was paid for. `chance`: whether actions are drawn.
fn play(learner: &Learner, count: usize, chance: bool, draws: &mut Draws) -> Result<Vec<Episode>> {
    let moments: Vec<_> = (0..count).map(|_| moment(draws)).collect();
    let rows = count * LAYOUT.agents;
    let servers = moments.iter().flat_map(|moment| moment.servers.iter().copied()).collect();
    let tensor = |values: Vec<f32>, shape: &[usize]| Tensor::from_vec(values, shape, &Device::Cpu);
    let input = Input {
        servers: tensor(servers, &[rows, LAYOUT.servers, 1])?,
        context: tensor(vec![1.0; rows], &[rows, 1])?,
        active: tensor(vec![1.0; rows * LAYOUT.servers], &[rows, LAYOUT.servers])?,
    };
    let nothing =
        tensor(vec![0.0; rows * LAYOUT.servers * LAYOUT.hidden], &[rows, LAYOUT.servers, LAYOUT.hidden])?;
    let head = learner.acting().step(&input, &nothing)?.head;
    let actions = if chance {
        let noise = tensor(draws.normals(rows * LAYOUT.servers), &[rows, LAYOUT.servers])?;
        squashed::draw(&head, &noise)?.actions
    } else {
        squashed::median(&head)?
    };
    let actions: Vec<f32> = actions.flatten_all()?.to_vec1()?;
    let episodes = moments.into_iter().zip(actions.chunks(CHOICES)).map(|(moment, action)| {
        let taken = Taken {
            reward: reward(&moment.servers, action),
            action: action.to_vec(),
            terminal: true,
            ..Taken::default()
        };
        Episode { moments: vec![moment.clone(), moment], taken: vec![taken] }
    });
    Ok(episodes.collect())
}

/// Learns the task, and reports the mean reward of 500 episodes without chance.
pub fn findings(updates: usize, seed: u64) -> Result<Vec<Finding>> {
    let adam = adam::Settings { rate: 3e-3, ..adam::Settings::default() };
    let settings = Settings {
        entropy_coef: 0.02,
        target_entropy: -2.0,
        actor: adam,
        critic: adam,
        ..Settings::default()
    };
    let mut learner = Learner::new(LAYOUT, settings, seed)?;
    let mut replay = Replay::new(LAYOUT, Cut { length: 1, stride: 1 }, 20_000);
    let (mut actions, mut draws) = (Draws::new(seed, Use::Exploration), Draws::new(seed, Use::Replay));
    for _ in 0..updates {
        let episodes = play(&learner, TOGETHER, true, &mut actions)?;
        episodes.into_iter().for_each(|episode| replay.push(episode));
        learner.update(&replay.sample(64, &mut draws)?)?;
    }
    let episodes = play(&learner, 500, false, &mut Draws::new(seed, Use::Evaluation))?;
    let reached = episodes.iter().map(|episode| f64::from(episode.taken[0].reward)).sum::<f64>() / 500.0;
    Ok(vec![Finding {
        what: "3 agents with 2 servers each, mean reward".into(),
        reached,
        known: "0; -0.083 for doing nothing".into(),
        least: -0.01,
        most: 0.0,
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_with_one_reward_learn_their_own_parts() {
        let findings = findings(800, 1).unwrap();
        assert!(findings.iter().all(Finding::passes), "{findings:#?}");
    }
}
