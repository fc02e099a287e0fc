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
const SHARPNESS: f64 = 15.0;
/// Nobody chooses a server that is not active.
const NEVER: f64 = 1e4;
/// Nothing is divided by less.
const LEAST: f64 = 1e-6;

/// What corrections a network says.
#[derive(Clone, Debug, PartialEq)]
pub enum Says {
    /// A mean, whose tangent is the share of the largest correction, and the number for the deviation.
    Mean {
        /// The largest correction.
        bound: f64,
    },
    /// A logit or a value for each of these corrections, in the order of the head.
    Levels(Vec<f32>),
}

/// What is said, and what it costs to change it.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// What corrections are made of.
    pub says: Says,
    /// What a mean change of the corrections by one from step to step costs.
    pub movement: f64,
}

/// The mean cost over agents and steps that count. The first `first` moments only warm the memory up.
pub fn loss(net: &Net, batch: &Batch, terms: &Terms, first: usize) -> Result<Tensor> {
    let (heads, counts) = said(net, batch, first)?;
    let length = heads.dim(0)?;
    let told = batch.told.narrow(0, batch.told.dim(0)? - length, length)?;
    let flows = Flows { score: part(&told, 0)?, costs: part(&told, 1)?, counts };
    let (costs, delta) = match &terms.says {
        Says::Mean { bound } => {
            let delta = (part(&heads, 0)?.tanh()? * *bound)?;
            let restraint = (flows.mean(&part(&heads, 1)?.sqr()?)? * RESTRAINT)?;
            ((flows.by(&delta)? + restraint)?, delta)
        }
        Says::Levels(levels) => flows.by_levels(&softmax(&heads, D::Minus1)?, levels)?,
    };
    costs + (moved(&delta, &flows.counts)? * terms.movement)?
}

fn part(of: &Tensor, index: usize) -> Result<Tensor> {
    of.narrow(D::Minus1, index, 1)?.squeeze(D::Minus1)
}

/// The flows that are looked back at: one for each step and agent, `[T, N, S]` all.
struct Flows {
    /// ln base − ln(q + 1).
    score: Tensor,
    costs: Tensor,
    /// 1 where a server counts.
    counts: Tensor,
}

impl Flows {
    /// What they cost on the mean by weights with these corrections.
    fn by(&self, delta: &Tensor) -> Result<Tensor> {
        // `softmax_last_dim` has no gradient.
        let chosen = softmax(&self.logits(delta)?, D::Minus1)?;
        self.sum(&(chosen * &self.costs)?)
    }

    /// The same where a correction is drawn for one server after the other, by `chances` `[T, N, S, L]`, while the others have their mean
    /// ones; and the mean corrections.
    ///
    /// With E = Σ e_i, C = Σ e_i c_i over what `by` takes the softmax of, a level that makes e_j to e costs (C − e_j c_j + e c_j) /
    /// (E − e_j + e). So a level that is right is chosen for certain: the costs of a mean correction would as well be those of two far
    /// ones, neither of which is right, and the agent acts by the likeliest level.
    fn by_levels(&self, chances: &Tensor, levels: &[f32]) -> Result<(Tensor, Tensor)> {
        let levels = Tensor::new(levels, chances.device())?;
        let delta = chances.broadcast_mul(&levels)?.sum(D::Minus1)?;
        let logits = self.logits(&delta.detach())?;
        let most = logits.max_keepdim(D::Minus1)?;
        let others = logits.broadcast_sub(&most)?.exp()?;
        let weighted = (&others * &self.costs)?;
        let rest = |of: &Tensor| {
            of.sum_keepdim(D::Minus1)?.broadcast_sub(of)?.clamp(0.0, f64::MAX)?.unsqueeze(D::Minus1)
        };
        let with = levels.broadcast_sub(&delta.detach().unsqueeze(D::Minus1)?)?;
        let with = (with * SHARPNESS)?.exp()?.broadcast_mul(&others.unsqueeze(D::Minus1)?)?;
        let above =
            with.broadcast_mul(&self.costs.unsqueeze(D::Minus1)?)?.broadcast_add(&rest(&weighted)?)?;
        let below = with.broadcast_add(&rest(&others)?)?.clamp(LEAST, f64::MAX)?;
        let costs = (chances * (above / below)?)?.sum(D::Minus1)?;
        Ok((self.sum(&costs)?, delta))
    }

    /// What the softmax over servers says who is chosen of.
    fn logits(&self, delta: &Tensor) -> Result<Tensor> {
        let score = ((&self.score + delta)? * SHARPNESS)?;
        score + ((&self.counts - 1.0)? * NEVER)?
    }

    /// Summed up over servers, the mean over steps and agents.
    fn sum(&self, of: &Tensor) -> Result<Tensor> {
        let agents = self.counts.max(D::Minus1)?.sum_all()?.maximum(1.0)?;
        (of * &self.counts)?.sum_all()? / agents
    }

    /// The mean over servers that count.
    fn mean(&self, of: &Tensor) -> Result<Tensor> {
        (of * &self.counts)?.sum_all()? / self.counts.sum_all()?.maximum(1.0)?
    }
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
    use candle_core::Device;

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
        learns(&Terms { says: Says::Mean { bound: 0.5 }, movement: 0.0 }, 2, [0.2, 0.01]);
        // Each server's cost counts, so what nothing can be done about counts three times.
        learns(&Terms { says: Says::Levels(vec![-0.5, 0.0, 0.5]), movement: 0.0 }, 3, [0.6, 0.03]);
    }

    fn learns(terms: &Terms, outputs: usize, [before, after]: [f32; 2]) {
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
        let shape = layout.shape(outputs);
        let names = shape.parameters().into_iter().map(|(name, shape)| (name.to_owned(), shape));
        let params = Params::new(names, &mut Draws::new(2, Use::Parameters)).unwrap();
        let net = Net::new(shape, &params.trained()).unwrap();
        let mut adam = Adam::new(adam::Settings { rate: 1e-2, ..adam::Settings::default() });
        let mut losses = Vec::new();
        for _ in 0..100 {
            let batch = replay.sample(16, &mut draws).unwrap();
            let loss = loss(&net, &batch, terms, 1).unwrap();
            losses.push(loss.to_scalar::<f32>().unwrap());
            adam.step(&params, &loss.backward().unwrap()).unwrap();
        }
        assert!(losses[0] > before && losses[99] < after, "{} {}", losses[0], losses[99]);
    }

    /// Whoever is certain of a level pays for each server what those corrections cost; who is not, the mean over levels.
    #[test]
    fn levels_cost_what_their_corrections_cost() {
        let tensor =
            |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu).unwrap();
        let flows = Flows {
            score: tensor(&[0.3, -0.2, 0.1, 0.0], &[1, 1, 4]),
            costs: tensor(&[0.0, 0.7, 0.4, 9.0], &[1, 1, 4]),
            counts: tensor(&[1.0, 1.0, 1.0, 0.0], &[1, 1, 4]),
        };
        let levels = [-0.25, 0.0, 0.25];
        let number = |of: Tensor| of.to_scalar::<f32>().unwrap();
        let by = |delta: [f32; 3]| {
            number(flows.by(&tensor(&[delta[0], delta[1], delta[2], 0.0], &[1, 1, 4])).unwrap())
        };
        let chances = |second: [f32; 3]| {
            let [certain, nobody] = [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]];
            let rows = [certain, second, nobody, nobody].concat();
            let (costs, delta) = flows.by_levels(&tensor(&rows, &[1, 1, 4, 3]), &levels).unwrap();
            (number(costs), delta.flatten_all().unwrap().to_vec1::<f32>().unwrap())
        };
        let (costs, delta) = chances([1.0, 0.0, 0.0]);
        assert_eq!(delta, [0.25, -0.25, 0.0, 0.0]);
        assert!((costs / 3.0 - by([0.25, -0.25, 0.0])).abs() < 1e-5, "{costs}");
        let (costs, _) = chances([0.5, 0.0, 0.5]);
        let of_the_second = 0.5 * (by([0.25, -0.25, 0.0]) + by([0.25, 0.25, 0.0]));
        assert!((costs - 2.0 * by([0.25, 0.0, 0.0]) - of_the_second).abs() < 1e-5, "{costs}");
    }

    #[test]
    fn movement_is_the_mean_change_of_servers_that_counted_both_times() {
        let tensor =
            |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu).unwrap();
        let delta = tensor(&[0.1, 0.2, 0.4, -0.2, 0.4, 0.9], &[3, 1, 2]);
        let counts = tensor(&[1.0, 1.0, 1.0, 1.0, 1.0, 0.0], &[3, 1, 2]);
        let found = moved(&delta, &counts).unwrap().to_scalar::<f32>().unwrap();
        assert!((found - 0.7 / 3.0).abs() < 1e-6, "{found}");
    }
}
