//! Soft actor-critic with recurrent networks and levels to choose between.
//!
//! Expectations over levels are computed, not drawn: so the gradient of the value reaches the actor, which it does not through a
//! drawn level. Source: Christodoulou, "Soft actor-critic for discrete action settings", 2019. A joint value is the
//! mean of values of single servers, each of which sees all of them through pooling; so the expectation over joint
//! choices is exact too.

use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::log_softmax;
use policy::agents::{Shape, net::Net};

use super::{
    params::Params,
    replay::{Batch, Layout},
    saved::{Saved, SavedError},
    soft::{CRITICS, Kind, Networks, Settings, Update, minimum},
    unroll::unroll,
    view::{View, over_servers},
};

/// A critic is the network that acts, with values of levels in place of logits.
const KIND: Kind<Net> = Kind { parameters: owned, build: Net::new };

fn owned(shape: Shape) -> Vec<(String, Vec<usize>)> {
    shape.parameters().into_iter().map(|(name, shape)| (name.to_owned(), shape)).collect()
}

/// The learner.
#[derive(Debug)]
pub struct Learner {
    networks: Networks<Net>,
}

impl Learner {
    /// A learner of agents that choose between `levels` for each server. The actor's last layer starts at zero.
    pub fn new(layout: Layout, levels: usize, settings: Settings, seed: u64) -> candle_core::Result<Self> {
        Ok(Self { networks: Networks::new(layout, levels, KIND, settings, seed)? })
    }

    /// The network that acts, as it is now and follows what is learned.
    pub const fn acting(&self) -> &Net {
        &self.networks.acting
    }

    /// The actor, with gradients to [`Learner::params`].
    pub const fn actor(&self) -> &Net {
        &self.networks.actor
    }

    /// The actor's parameters, by the names of the model's format.
    pub const fn params(&self) -> &Params {
        self.networks.actor_params()
    }

    /// From now on all learning rates are this share of the settings'.
    pub const fn scale_rates(&mut self, share: f64) {
        self.networks.scale_rates(share);
    }

    /// Everything that is learned, and where it stands.
    pub fn save(&self) -> candle_core::Result<Saved> {
        self.networks.save()
    }

    /// Takes over what [`Learner::save`] gave. If anything does not fit, nothing changes.
    pub fn restore(&mut self, saved: &Saved) -> Result<(), SavedError> {
        self.networks.restore(saved)
    }

    /// One update on sequences: critics, then actor, then what entropy is worth, then targets.
    ///
    /// ```text
    /// V(s)   = mean_j Σ_l π_j(l|s) (min_i Q'_ij(s, l) − α log π_j(l|s))
    /// y      = r + γ (1 − terminal) V(s')
    /// critic = Σ_i Σ m (mean_j Q_ij(s, a_j) − y)² / Σ m
    /// actor  = Σ m mean_j Σ_l π_j(l|s) (α log π_j(l|s) − min_i Q_ij(s, l)) / Σ m
    /// ```
    pub fn update(&mut self, batch: &Batch) -> candle_core::Result<Update> {
        let steps = batch.steps();
        let view = View::new(batch, self.networks.settings().memory(steps))?;
        let coef = self.networks.entropy_coef()?;
        let logits = unroll(&self.networks.actor, &batch.inputs, steps + 1, &batch.hidden, view.memory)?;
        let log_policy = log_softmax(&logits, D::Minus1)?;
        let goal = self.goal(batch, &view, &log_policy.detach(), coef)?;

        let nothing = batch.hidden.zeros_like()?;
        let values = self.networks.critics.iter();
        let values = values.map(|net| unroll(net, &batch.inputs, steps, &nothing, view.memory));
        let values = values.collect::<candle_core::Result<Vec<_>>>()?;
        let taken = view.taken(batch)?.to_dtype(DType::U32)?.unsqueeze(D::Minus1)?;
        let mut critic_loss = Tensor::zeros((), logits.dtype(), &Device::Cpu)?;
        let mut value = 0.0;
        for values in &values {
            let of_servers = view.steps(values)?.gather(&taken, D::Minus1)?.squeeze(D::Minus1)?;
            let joint = over_servers(&of_servers, &view.steps(&view.active)?)?;
            value += view.mean(&joint)?.to_scalar::<f32>()? / CRITICS as f32;
            critic_loss = (critic_loss + view.mean(&(joint - &goal)?.sqr()?)?)?;
        }
        let least = minimum(values.iter().map(|values| Ok(values.detach())))?;
        let soft = soft_value(&view.steps(&view.active)?, &view.steps(&log_policy)?, &least, coef)?;
        let actor_loss = view.mean(&soft)?.neg()?;
        let entropy = (log_policy.exp()? * &log_policy)?.sum(D::Minus1)?.neg()?;
        let entropy = over_servers(&entropy, &view.active)?;
        let entropy = f64::from(view.mean(&view.steps(&entropy)?)?.to_scalar::<f32>()?);

        self.networks.step(&critic_loss.backward()?, &actor_loss.backward()?, entropy)?;
        Ok(Update {
            critic_loss: f64::from(critic_loss.to_scalar::<f32>()?) / CRITICS as f64,
            actor_loss: f64::from(actor_loss.to_scalar::<f32>()?),
            entropy_coef: coef,
            entropy,
            value: f64::from(value),
        })
    }

    /// y, `[T·N]`, without gradient.
    fn goal(
        &self,
        batch: &Batch,
        view: &View,
        log_policy: &Tensor,
        coef: f64,
    ) -> candle_core::Result<Tensor> {
        let nothing = batch.hidden.zeros_like()?;
        let targets = self.networks.targets.iter();
        let moments = batch.steps() + 1;
        let values = targets.map(|net| unroll(net, &batch.inputs, moments, &nothing, view.memory));
        let soft = view.later(&soft_value(&view.active, log_policy, &minimum(values)?, coef)?)?;
        let going_on = (1.0 - view.of_steps(&batch.terminal)?)?;
        Ok((view.of_steps(&batch.rewards)? + ((going_on * soft)? * self.networks.settings().discount)?)?
            .detach())
    }
}

/// What states are worth to a policy, entropy included, `[M]`; `active` is `[M, S]`, the others `[M, S, L]`.
fn soft_value(
    active: &Tensor,
    log_policy: &Tensor,
    values: &Tensor,
    coef: f64,
) -> candle_core::Result<Tensor> {
    let each = (log_policy.exp()? * (values - (log_policy * coef)?)?)?.sum(D::Minus1)?;
    over_servers(&each, active)
}
