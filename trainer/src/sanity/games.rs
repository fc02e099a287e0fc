//! Two agents, a table of rewards: what monotonic mixing can say, and what it cannot.

use candle_core::{Device, Result, Tensor};
use policy::agents::net::Input;

use super::Finding;
use crate::learners::{
    draws::{Draws, Use},
    qmix::{Learner, Settings, nothing},
    replay::{Cut, Episode, Layout, Moment, Replay, Taken},
};

/// A game of two agents in a few states, each of which has a table of rewards and of next states.
#[derive(Clone, Copy, Debug)]
pub struct Game {
    /// How many actions each agent has.
    pub actions: usize,
    /// The most steps there are.
    pub steps: usize,
    /// The reward and the next state of a state and two actions; no next state: the end.
    pub play: fn(state: usize, actions: [usize; 2]) -> (f32, Option<usize>),
}

const STATES: usize = 3;
const LAYOUT: Layout =
    Layout { agents: 2, servers: 1, server_features: STATES, context_features: 2, state: STATES, hidden: 32 };

/// The first action of the first agent leads to a table that pays 7 everywhere, or to one that pays 0, 1, 1, 8.
///
/// Source: Rashid and others, QMIX, 2018, section 5.1.
pub const TWO_STEP: Game = Game { actions: 2, steps: 2, play: two_step };

fn two_step(state: usize, [first, second]: [usize; 2]) -> (f32, Option<usize>) {
    match state {
        0 => (0.0, Some(1 + first)),
        1 => (7.0, None),
        _ => ([[0.0, 1.0], [1.0, 8.0]][first][second], None),
    }
}

/// The best joint action is one that each agent regrets unless the other joins in.
///
/// Source: Son and others, QTRAN, 2019, section 5.1.
pub const REGRET: Game = Game { actions: 3, steps: 1, play: regret };

fn regret(_: usize, [first, second]: [usize; 2]) -> (f32, Option<usize>) {
    ([[8.0, -12.0, -12.0], [-12.0, 0.0, 0.0], [-12.0, 0.0, 0.0]][first][second], None)
}

fn moment(state: usize) -> Moment {
    let one_hot: Vec<f32> = (0..STATES).map(|index| f32::from(u8::from(index == state))).collect();
    Moment {
        servers: one_hot.repeat(2),
        context: vec![1.0, 0.0, 0.0, 1.0],
        active: vec![1.0; 2],
        state: one_hot,
        hidden: vec![0.0; 2 * LAYOUT.hidden],
    }
}

/// One of all the ways to play: the digits of `way` are the joint actions.
fn play(game: Game, mut way: usize) -> Episode {
    let mut episode = Episode { moments: vec![moment(0)], taken: Vec::new() };
    let mut state = Some(0);
    while let Some(now) = state {
        let joint = way % (game.actions * game.actions);
        way /= game.actions * game.actions;
        let actions = [joint / game.actions, joint % game.actions];
        let (reward, next) = (game.play)(now, actions);
        let action = actions.map(|action| action as f32).to_vec();
        episode.taken.push(Taken { action, reward, terminal: next.is_none(), ..Taken::default() });
        episode.moments.push(moment(next.unwrap_or(now)));
        state = next;
    }
    episode
}

/// Learns a game from uniform exploration: every way to play it, once. The learning rate falls to 0 in the end.
pub fn learn(game: Game, settings: Settings, updates: usize, seed: u64) -> Result<Learner> {
    let mut learner = Learner::new(LAYOUT, game.actions, settings, seed)?;
    let mut replay = Replay::new(LAYOUT, Cut { length: game.steps, stride: game.steps }, usize::MAX);
    let ways = (game.actions * game.actions).pow(game.steps as u32);
    (0..ways).for_each(|way| replay.push(play(game, way)));
    let mut draws = Draws::new(seed, Use::Replay);
    for update in 0..updates {
        learner.set_rate(settings.adam.rate * (1.0 - update as f64 / updates as f64));
        learner.update(&replay.sample(32, &mut draws)?)?;
    }
    Ok(learner)
}

fn input(moment: &Moment) -> Result<Input> {
    let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu);
    Ok(Input {
        servers: tensor(&moment.servers, &[2, 1, STATES])?,
        context: tensor(&moment.context, &[2, 2])?,
        active: tensor(&moment.active, &[2, 1])?,
    })
}

/// Memory after the states in front of the last of `path`.
fn remembered(learner: &Learner, path: &[usize]) -> Result<Tensor> {
    let mut hidden = nothing(2, LAYOUT)?;
    for &state in &path[..path.len() - 1] {
        hidden = learner.acting().step(&input(&moment(state))?, &hidden)?.hidden;
    }
    Ok(hidden)
}

/// The learned value of every joint action in the last state of `path`, row by row.
pub fn table(learner: &Learner, game: Game, path: &[usize]) -> Result<Vec<f64>> {
    let here = moment(path[path.len() - 1]);
    let hidden = remembered(learner, path)?;
    let state = Tensor::from_slice(&here.state, (1, STATES), &Device::Cpu)?;
    let mut table = Vec::new();
    for first in 0..game.actions {
        for second in 0..game.actions {
            let levels = Tensor::from_slice(&[first as f32, second as f32], (1, 2, 1), &Device::Cpu)?;
            let value = learner.joint_value(&input(&here)?, &state, &hidden, &levels)?;
            table.push(f64::from(value.squeeze(0)?.to_scalar::<f32>()?));
        }
    }
    Ok(table)
}

/// The sum of rewards when each agent takes what it values most.
pub fn greedy_return(learner: &Learner, game: Game) -> Result<f64> {
    let (mut path, mut sum) = (vec![0], 0.0);
    loop {
        let state = path[path.len() - 1];
        let head = learner.acting().step(&input(&moment(state))?, &remembered(learner, &path)?)?.head;
        let best: Vec<u32> = head.argmax(2)?.flatten_all()?.to_vec1()?;
        let (reward, next) = (game.play)(state, [best[0] as usize, best[1] as usize]);
        sum += f64::from(reward);
        match next {
            Some(next) => path.push(next),
            None => return Ok(sum),
        }
    }
}

fn tables(name: &str, found: &[f64], known: &[f64], off: f64) -> Vec<Finding> {
    let width = if known.len() == 4 { 2 } else { 3 };
    let findings = found.iter().zip(known).enumerate().map(|(index, (&found, &known))| {
        Finding::near(
            format!("{name}, value of actions {} and {}", index / width, index % width),
            found,
            known,
            off,
        )
    });
    findings.collect()
}

fn settings(embed: Option<usize>) -> Settings {
    let adam = crate::learners::adam::Settings { rate: 5e-3, ..Settings::default().adam };
    Settings { embed, adam, target_every: 50, ..Settings::default() }
}

/// The two-step game. Known: QMIX can represent it and reaches 8; the sum of values cannot, and prefers the safe 7.
pub fn two_step_findings(updates: usize, seed: u64) -> Result<Vec<Finding>> {
    let qmix = learn(TWO_STEP, settings(Some(32)), updates, seed)?;
    let vdn = learn(TWO_STEP, settings(None), updates, seed)?;
    let mut findings = vec![
        Finding::near("QMIX, greedy return", greedy_return(&qmix, TWO_STEP)?, 8.0, 0.0),
        Finding::near("VDN, greedy return", greedy_return(&vdn, TWO_STEP)?, 7.0, 0.0),
    ];
    findings.extend(tables("QMIX", &table(&qmix, TWO_STEP, &[0, 2])?, &[0.0, 1.0, 1.0, 8.0], 0.3));
    findings.extend(tables("VDN", &table(&vdn, TWO_STEP, &[0, 2])?, &[-1.5, 2.5, 2.5, 6.5], 0.5));
    Ok(findings)
}

/// The game of regret. Known: no monotonic mixing can represent it, so QMIX must fail with a payoff of 0.
pub fn regret_findings(updates: usize, seed: u64) -> Result<Vec<Finding>> {
    let qmix = learn(REGRET, settings(Some(32)), updates, seed)?;
    let vdn = learn(REGRET, settings(None), updates, seed)?;
    let projection = [-8.0, -8.0, -8.0, -8.0, 0.0, 0.0, -8.0, 0.0, 0.0];
    let sums = [-6.22, -4.89, -4.89, -4.89, -3.56, -3.56, -4.89, -3.56, -3.56];
    let mut findings = vec![
        Finding::near("QMIX, greedy return (8 were possible)", greedy_return(&qmix, REGRET)?, 0.0, 0.0),
        Finding::near("VDN, greedy return (8 were possible)", greedy_return(&vdn, REGRET)?, 0.0, 0.0),
    ];
    findings.extend(tables("QMIX", &table(&qmix, REGRET, &[0])?, &projection, 0.5));
    findings.extend(tables("VDN", &table(&vdn, REGRET, &[0])?, &sums, 0.5));
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_all(findings: &[Finding]) {
        assert!(findings.iter().all(Finding::passes), "{findings:#?}");
    }

    #[test]
    fn qmix_reaches_eight_where_the_sum_of_values_prefers_seven() {
        assert_all(&two_step_findings(600, 1).unwrap());
    }

    #[test]
    fn monotonic_mixing_fails_where_it_must() {
        assert_all(&regret_findings(1000, 1).unwrap());
    }
}
