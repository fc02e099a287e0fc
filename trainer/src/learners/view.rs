//! A batch as the rows that losses are made of.

use candle_core::{D, Result, Tensor};
use policy::agents::net::Input;

use super::{critic::Seen, replay::Batch, unroll::Memory};

/// A batch as rows, moment by moment: `[(T + 1)·N, ..]`, from the first moment that counts on.
pub(super) struct View {
    /// How memory goes to the moment from which on there is a loss.
    pub memory: Memory,
    first: usize,
    /// Steps that count.
    steps: usize,
    rows: usize,
    agents: usize,
    /// `[(T + 1)·N, S, F]`.
    pub features: Tensor,
    /// `[(T + 1)·N, S]`.
    pub active: Tensor,
    /// 1 for steps that there were and agents with an active server, `[T·N]`.
    mask: Tensor,
}

impl View {
    pub fn new(batch: &Batch, memory: Memory) -> Result<Self> {
        let (Memory::From(first) | Memory::Nothing(first)) = memory;
        let (rows, steps) = (batch.rows(), batch.steps() - first);
        let Input { servers: features, active, .. } = batch.inputs.moments(rows, first, steps + 1)?;
        let there = active.max(D::Minus1)?;
        let mut view =
            Self { memory, first, steps, rows, agents: batch.layout.agents, features, active, mask: there };
        view.mask = (view.of_steps(&batch.mask)? * view.steps(&view.mask)?)?;
        Ok(view)
    }

    /// Of rows at every moment those of all but the last one, `[T·N, ..]`.
    pub fn steps(&self, rows: &Tensor) -> Result<Tensor> {
        rows.narrow(0, 0, self.steps * self.rows)
    }

    /// Of rows at every moment those of all but the first one.
    pub fn later(&self, rows: &Tensor) -> Result<Tensor> {
        rows.narrow(0, self.rows, self.steps * self.rows)
    }

    pub fn now(&self, seen: &Seen) -> Result<Seen> {
        let Seen { trunk, features, active } = seen;
        Ok(Seen { trunk: self.steps(trunk)?, features: self.steps(features)?, active: self.steps(active)? })
    }

    pub fn next(&self, seen: &Seen) -> Result<Seen> {
        let Seen { trunk, features, active } = seen;
        Ok(Seen { trunk: self.later(trunk)?, features: self.later(features)?, active: self.later(active)? })
    }

    /// `[T, B]` of a batch to `[T·N]`: each agent gets what is the whole's.
    pub fn of_steps(&self, values: &Tensor) -> Result<Tensor> {
        let values = values.narrow(0, self.first, self.steps)?.unsqueeze(2)?;
        let (steps, count, _) = values.dims3()?;
        values.broadcast_as((steps, count, self.agents))?.flatten_all()
    }

    /// What was done, `[T·N, S]`.
    pub fn taken(&self, batch: &Batch) -> Result<Tensor> {
        batch.actions.narrow(0, self.first, self.steps)?.flatten(0, 1)
    }

    /// The mean over rows that count; 0 if none does.
    pub fn mean(&self, values: &Tensor) -> Result<Tensor> {
        (values * &self.mask)?.sum_all()? / self.mask.sum_all()?.maximum(1.0)?
    }
}

/// The mean over servers that count, `[M, S]` each, `[M]`.
pub(super) fn over_servers(values: &Tensor, active: &Tensor) -> Result<Tensor> {
    let count = active.sum(D::Minus1)?.maximum(1.0)?;
    (values * active)?.sum(D::Minus1)? / count
}
