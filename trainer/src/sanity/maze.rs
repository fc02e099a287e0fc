//! T-maze: what is seen at the entrance says which way to turn at the end of a corridor.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::softmax;
use policy::agents::net::{Input, Net};

use super::Finding;
use crate::learners::{
    adam,
    draws::{Draws, Use},
    replay::{Cut, Episode, Layout, Moment, Replay, Taken},
    sac_discrete::Learner,
    soft::Settings,
};

/// Steps from the entrance to the junction.
const CORRIDOR: usize = 5;
const STEPS: usize = CORRIDOR + 1;
const LAYOUT: Layout =
    Layout { agents: 1, servers: 1, server_features: 3, context_features: 0, state: 0, hidden: 16 };

/// The cue, seen at the entrance only, and whether this is the junction.
fn moment(cue: f32, step: usize, hidden: &[f32]) -> Moment {
    let cue = if step == 0 { cue } else { 0.0 };
    let junction = f32::from(u8::from(step == CORRIDOR));
    Moment {
        servers: vec![cue, junction, 1.0],
        active: vec![1.0],
        hidden: hidden.to_vec(),
        ..Moment::default()
    }
}

fn input(moments: &[Moment]) -> Result<Input> {
    let rows = moments.len();
    let servers: Vec<f32> = moments.iter().flat_map(|moment| moment.servers.iter().copied()).collect();
    Ok(Input {
        servers: Tensor::from_vec(servers, (rows, 1, 3), &Device::Cpu)?,
        context: Tensor::from_vec(Vec::<f32>::new(), (rows, 0), &Device::Cpu)?,
        active: Tensor::from_vec(vec![1.0_f32; rows], (rows, 1), &Device::Cpu)?,
    })
}

/// Episodes side by side. `remember`: whether memory is carried on. `draws`: chance in the actions; without, the best level is taken.
fn play(acting: &Net, count: usize, remember: bool, mut draws: Option<&mut Draws>) -> Result<Vec<Episode>> {
    let cues: Vec<f32> = (0..count).map(|index| if index % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let mut episodes = vec![Episode::default(); count];
    let mut hidden = vec![0.0; count * LAYOUT.hidden];
    for step in 0..STEPS {
        let moments: Vec<_> = cues
            .iter()
            .zip(hidden.chunks(LAYOUT.hidden))
            .map(|(&cue, hidden)| moment(cue, step, hidden))
            .collect();
        let before = Tensor::from_slice(&hidden, (count, 1, LAYOUT.hidden), &Device::Cpu)?;
        let output = acting.step(&input(&moments)?, &before)?;
        if remember {
            hidden = output.hidden.flatten_all()?.to_vec1()?;
        }
        let right: Vec<f32> = softmax(&output.head, D::Minus1)?.narrow(2, 1, 1)?.flatten_all()?.to_vec1()?;
        for (((episode, moment), right), cue) in episodes.iter_mut().zip(moments).zip(right).zip(&cues) {
            let threshold = draws.as_mut().map_or(0.5, |draws| draws.uniform());
            let action = f32::from(u8::from(f64::from(right) > threshold));
            let turned = (action > 0.5) == (*cue > 0.0);
            let reward = f32::from(u8::from(step == CORRIDOR && turned));
            episode.taken.push(Taken {
                action: vec![action],
                reward,
                terminal: step == CORRIDOR,
                ..Taken::default()
            });
            episode.moments.push(moment);
        }
    }
    for (episode, cue) in episodes.iter_mut().zip(cues) {
        episode.moments.push(moment(cue, STEPS, &[0.0; LAYOUT.hidden]));
    }
    Ok(episodes)
}

/// The share of right turns, of an agent that learned with or without memory.
fn success(remember: bool, updates: usize, seed: u64) -> Result<f64> {
    let settings = Settings {
        entropy_coef: 0.05,
        target_rate: 0.05,
        remember,
        actor: adam::Settings { rate: 5e-3, ..adam::Settings::default() },
        critic: adam::Settings { rate: 5e-3, ..adam::Settings::default() },
        ..Settings::discrete(2, 0.1)
    };
    let length = if remember { STEPS } else { 1 };
    let mut learner = Learner::new(LAYOUT, 2, settings, seed)?;
    let mut replay = Replay::new(LAYOUT, Cut { length, stride: length }, 6000);
    let (mut actions, mut draws) = (Draws::new(seed, Use::Exploration), Draws::new(seed, Use::Replay));
    for _ in 0..updates {
        play(learner.acting(), 4, remember, Some(&mut actions))?
            .into_iter()
            .for_each(|episode| replay.push(episode));
        learner.update(&replay.sample(32, &mut draws)?)?;
    }
    let episodes = play(learner.acting(), 100, remember, None)?;
    let won =
        episodes.iter().flat_map(|episode| &episode.taken).map(|taken| f64::from(taken.reward)).sum::<f64>();
    Ok(won / 100.0)
}

/// Discrete soft actor-critic in the maze. Known: 1 with memory, and no better than chance without.
pub fn findings(updates: usize, seed: u64) -> Result<Vec<Finding>> {
    Ok(vec![
        Finding::near("with memory, share of right turns", success(true, updates, seed)?, 1.0, 0.01),
        Finding::near("without memory, share of right turns", success(false, updates, seed)?, 0.5, 0.01),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turn_is_remembered_with_memory_and_guessed_without() {
        let findings = findings(250, 1).unwrap();
        assert!(findings.iter().all(Finding::passes), "{findings:#?}");
    }
}
