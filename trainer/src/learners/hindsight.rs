//! Learning from what every choice would have cost.
//!
//! The simulator knows for each flow what any server would have cost ([`Moment`](crate::sim::ledger::Moment)), and how a balancer would
//! have chosen by other weights is known as well: by (q + 1) / w. So the expected cost of the weights that an agent sets has a gradient,
//! without a critic and without trying: by weights w, a flow that finds q of its balancer's flows on each server goes to server j with
//!
//! ```text
//! p_j = softmax_j(κ (ln w_j − ln(q_j + 1)))        ln w = ln base + δ        cost: Σ p_j c_j − min c
//! ```
//!
//! For κ to infinity that is the choice by shortest expected delay. It is the policy gradient over all actions, with the costs of each in
//! place of an estimate (Sutton and Barto, 2018, chapter 13; Foerster and others, "Counterfactual multi-agent policy gradients", 2018).
//! What comes of a choice after the flow has been placed it does not see: that is for rewards.

use candle_core::{D, Result, Tensor};
use candle_nn::ops::softmax;
use policy::agents::net::Net;

use super::{
    imitation::{RESTRAINT, said},
    replay::Batch,
};

/// Numbers that hindsight says of a server: ln base − ln(q + 1), and its cost less that of the best one, for all flows of the step.
pub const TOLD: usize = 2;
/// κ: weights that differ by 7 per cent are told apart with e to 1.
/// κ: weights that differ by 7 per cent are told apart with e to 1.
const SHARPNESS: f64 = 15.0;
/// Nobody chooses a server that is not active.
const NEVER: f64 = 1e4;

/// How corrections are made of actions, and what it costs to change them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// The largest correction, that of an action of 1.
    pub bound: f64,
    /// What a mean change of the corrections by one from step to step costs.
    pub movement: f64,
}

/// The mean cost over agents and steps that count. The first `first` moments only warm the memory up.
pub fn loss(net: &Net, batch: &Batch, terms: Terms, first: usize) -> Result<Tensor> {
    let (heads, counts) = said(net, batch, first)?;
    let length = heads.dim(0)?;
    let part = |of: &Tensor, index| of.narrow(D::Minus1, index, 1)?.squeeze(D::Minus1);
    let told = batch.told.narrow(0, batch.told.dim(0)? - length, length)?;
    let delta = (part(&heads, 0)?.tanh()? * terms.bound)?;
    let moved = moved(&delta, &counts)?;
    let score = ((part(&told, 0)? + delta)? * SHARPNESS)?;
    // `softmax_last_dim` has no gradient.
    let chosen = softmax(&(score + ((&counts - 1.0)? * NEVER)?)?, D::Minus1)?;
    let costs = (chosen * part(&told, 1)?)?.mul(&counts)?.sum(D::Minus1)?;
    let restraint = (part(&heads, 1)?.sqr()? * &counts)?.sum_all()? / counts.sum_all()?.maximum(1.0)?;
    let agents = counts.max(D::Minus1)?.sum_all()?.maximum(1.0)?;
    ((costs.sum_all()? / agents)? + (moved * terms.movement)?)? + (restraint? * RESTRAINT)?
}

/// The mean of |δ − δ before| over servers that counted both times.
fn moved(delta: &Tensor, counts: &Tensor) -> Result<Tensor> {
    let later = delta.dim(0)? - 1;
    let change = (delta.narrow(0, 1, later)? - delta.narrow(0, 0, later)?)?.abs()?;
    let counts = (counts.narrow(0, 1, later)? * counts.narrow(0, 0, later)?)?;
    (change * &counts)?.sum_all()? / counts.sum_all()?.maximum(1.0)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learners::{
        adam::{self, Adam},
        draws::{Draws, Use},
        params::Params,
        replay::{Cut, Episode, Layout, Moment, Replay, Taken},
    };

    /// A feature says which of two servers is twice as fast. Both have as many flows, so it costs half as much, and the weights
    /// must say so; the third server is not active, and told to cost nothing.
    #[test]
    fn weights_come_to_choose_what_would_have_cost_least() {
        let layout =
            Layout { agents: 1, servers: 3, server_features: 1, context_features: 0, state: 0, hidden: 8 };
        let mut draws = Draws::new(1, Use::World);
        let mut replay = Replay::new(layout, Cut { length: 6, stride: 2 }, 1000);
        for _ in 0..10 {
            let faster: Vec<f32> = (0..=20).map(|_| draws.below(2) as f32).collect();
            let moment = |&faster: &f32| Moment {
                servers: vec![faster, 1.0 - faster, 0.0],
                active: vec![1.0, 1.0, 0.0],
                hidden: vec![0.0; 3 * layout.hidden],
                ..Moment::default()
            };
            let taken = |&faster: &f32| Taken {
                action: vec![0.0; 3],
                told: vec![0.0, 1.0 - faster, 0.0, faster, 0.0, -5.0],
                ..Taken::default()
            };
            replay.push(Episode {
                moments: faster.iter().map(moment).collect(),
                taken: faster[..20].iter().map(taken).collect(),
            });
        }
        let shape = layout.shape(2);
        let names = shape.parameters().into_iter().map(|(name, shape)| (name.to_owned(), shape));
        let params = Params::new(names, &mut Draws::new(2, Use::Parameters)).unwrap();
        let net = Net::new(shape, &params.trained()).unwrap();
        let mut adam = Adam::new(adam::Settings { rate: 1e-2, ..adam::Settings::default() });
        let mut losses = Vec::new();
        for _ in 0..100 {
            let batch = replay.sample(16, &mut draws).unwrap();
            let loss = loss(&net, &batch, Terms { bound: 0.5, movement: 0.0 }, 1).unwrap();
            losses.push(loss.to_scalar::<f32>().unwrap());
            adam.step(&params, &loss.backward().unwrap()).unwrap();
        }
        assert!(losses[0] > 0.2 && losses[99] < 0.01, "{} {}", losses[0], losses[99]);
    }

    #[test]
    fn movement_is_the_mean_change_of_servers_that_counted_both_times() {
        let tensor = |values: &[f32], shape: &[usize]| {
            Tensor::from_slice(values, shape, &candle_core::Device::Cpu).unwrap()
        };
        let delta = tensor(&[0.1, 0.2, 0.4, -0.2, 0.4, 0.9], &[3, 1, 2]);
        let counts = tensor(&[1.0, 1.0, 1.0, 1.0, 1.0, 0.0], &[3, 1, 2]);
        let found = moved(&delta, &counts).unwrap().to_scalar::<f32>().unwrap();
        assert!((found - 0.7 / 3.0).abs() < 1e-6, "{found}");
    }
}
