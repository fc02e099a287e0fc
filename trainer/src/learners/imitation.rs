//! Learning to do what a teacher would have done.
//!
//! Actions of the batch are the teacher's. So a learner begins with rewards where a rule that knows more would have ended, and need
//! not find that by chance. Source: Pomerleau, "Efficient training of artificial neural networks for autonomous navigation", 1991.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::ops::log_softmax;
use policy::agents::net::Net;

use super::{
    replay::Batch,
    unroll::{Memory, unroll},
};

/// How a head's numbers are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A mean, whose tangent is the action, and the number for the deviation.
    Squashed,
    /// A logit for each level.
    Levels,
}

/// What keeps the number for the deviation near zero: it is not taught, and is to be free to move afterwards.
pub(super) const RESTRAINT: f64 = 0.01;

/// The mean over active servers and steps that count of (tanh mean − a)², or of −log p(a).
///
/// The first `first` moments only warm the memory up.
pub fn loss(net: &Net, batch: &Batch, head: Head, first: usize) -> Result<Tensor> {
    let (heads, counts) = said(net, batch, first)?;
    let (length, rows, servers, _) = heads.dims4()?;
    let taught = batch.actions.narrow(0, batch.actions.dim(0)? - length, length)?;
    let losses = match head {
        Head::Squashed => {
            let part = |index| heads.narrow(D::Minus1, index, 1)?.squeeze(D::Minus1);
            let miss = (part(0)?.tanh()? - taught)?.sqr()?;
            (miss + (part(1)?.sqr()? * RESTRAINT)?)?
        }
        Head::Levels => {
            let index = taught.to_dtype(DType::U32)?.reshape((length, rows, servers, 1))?;
            log_softmax(&heads, D::Minus1)?.gather(&index, D::Minus1)?.squeeze(D::Minus1)?.neg()?
        }
    };
    (losses * &counts)?.sum_all()? / counts.sum_all()?.maximum(1.0)?
}

/// What a network says after the first `first` moments, `[T, N, S, O]`, and 1 where that counts, `[T, N, S]`: for servers that are active
/// in steps that there were.
pub(super) fn said(net: &Net, batch: &Batch, first: usize) -> Result<(Tensor, Tensor)> {
    let (steps, rows) = (batch.steps(), batch.rows());
    let first = first.min(steps - 1);
    let length = steps - first;
    let heads = unroll(net, &batch.inputs, steps, &batch.hidden, Memory::From(first))?;
    let (_, servers, outputs) = heads.dims3()?;
    let active = batch.inputs.moments(rows, first, length)?.active.reshape((length, rows, servers))?;
    let count = batch.mask.dim(1)?;
    let mask = batch.mask.narrow(0, first, length)?.unsqueeze(2)?;
    let mask = mask.broadcast_as((length, count, rows / count))?.reshape((length, rows, 1))?;
    Ok((heads.reshape((length, rows, servers, outputs))?, active.broadcast_mul(&mask)?))
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

    /// The teacher does what a feature says; the server beyond is not active, and taught nonsense.
    #[test]
    fn imitation_learns_what_is_taught() {
        let layout =
            Layout { agents: 1, servers: 2, server_features: 1, context_features: 0, state: 0, hidden: 8 };
        let mut draws = Draws::new(1, Use::World);
        for (head, outputs) in [(Head::Squashed, 2), (Head::Levels, 3)] {
            let mut replay = Replay::new(layout, Cut { length: 6, stride: 2 }, 1000);
            for _ in 0..10 {
                let levels: Vec<usize> = (0..=20).map(|_| draws.below(3)).collect();
                let moment = |&level: &usize| Moment {
                    servers: vec![level as f32 - 1.0, 0.0],
                    active: vec![1.0, 0.0],
                    hidden: vec![0.0; 2 * layout.hidden],
                    ..Moment::default()
                };
                let taken = |&level: &usize| Taken {
                    action: match head {
                        Head::Squashed => vec![0.5 * (level as f32 - 1.0), 0.9],
                        Head::Levels => vec![level as f32, 2.0],
                    },
                    ..Taken::default()
                };
                replay.push(Episode {
                    moments: levels.iter().map(moment).collect(),
                    taken: levels[..20].iter().map(taken).collect(),
                });
            }
            let shape = layout.shape(outputs);
            let names = shape.parameters().into_iter().map(|(name, shape)| (name.to_owned(), shape));
            let params = Params::new(names, &mut Draws::new(2, Use::Parameters)).unwrap();
            let net = Net::new(shape, &params.trained()).unwrap();
            let mut adam = Adam::new(adam::Settings { rate: 1e-2, ..adam::Settings::default() });
            let mut last = f32::INFINITY;
            for _ in 0..150 {
                let batch = replay.sample(16, &mut draws).unwrap();
                let loss = loss(&net, &batch, head, 1).unwrap();
                last = loss.to_scalar().unwrap();
                adam.step(&params, &loss.backward().unwrap()).unwrap();
            }
            assert!(last < 0.02, "{head:?}: {last}");
        }
    }
}
