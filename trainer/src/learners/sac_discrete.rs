//! Soft actor-critic with recurrent networks and levels to choose between.
//!
//! Expectations over levels are computed, not drawn: so the gradient of the value reaches the actor, which it does not through a
//! drawn level. Source: Christodoulou, "Soft actor-critic for discrete action settings", 2019. A joint value is the
//! mean of values of single servers, each of which sees all of them through pooling; so the expectation over joint
//! choices is exact too.

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops::log_softmax;
use policy::agents::{Shape, net::Net};

use super::{
    adam::{self, Adam},
    draws::{Draws, Use},
    entropy::EntropyCoef,
    params::Params,
    replay::{Batch, Layout},
    sac::{Update, minimum},
    unroll::unroll,
    view::{View, over_servers},
};

/// How it learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// What a reward one step later is worth.
    pub discount: f64,
    /// Steps at a sequence's start that only warm the memories up.
    pub burn_in: usize,
    /// The share of the way that target networks go towards the critics at each update.
    pub target_rate: f64,
    /// The entropy that is aimed at, as a share of the largest, ln L.
    pub target_entropy: f64,
    /// What entropy is worth at first.
    pub entropy_coef: f64,
    /// How the actor steps, and what entropy is worth.
    pub actor: adam::Settings,
    /// How the critics step.
    pub critic: adam::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            discount: 0.99,
            burn_in: 0,
            target_rate: 0.005,
            target_entropy: 0.6,
            entropy_coef: 0.2,
            actor: adam::Settings::default(),
            critic: adam::Settings { rate: 1e-3, ..adam::Settings::default() },
        }
    }
}

const CRITICS: [&str; 2] = ["first", "second"];

/// The learner.
#[derive(Debug)]
pub struct Learner {
    layout: Layout,
    settings: Settings,
    actor_params: Params,
    critic_params: Params,
    target_params: Params,
    actor: Net,
    /// The same parameters, without gradients.
    acting: Net,
    critics: Vec<Net>,
    targets: Vec<Net>,
    actor_adam: Adam,
    critic_adam: Adam,
    entropy: EntropyCoef,
}

impl Learner {
    /// A learner of agents that choose between `levels` for each server. The actor's last layer starts at zero.
    pub fn new(layout: Layout, levels: usize, settings: Settings, seed: u64) -> Result<Self> {
        let shape = Shape {
            server_features: layout.server_features,
            context_features: layout.context_features,
            hidden: layout.hidden,
            outputs: levels,
        };
        let mut draws = Draws::new(seed, Use::Parameters);
        let named = |prefix: &str| {
            let names = shape.parameters().into_iter();
            names.map(|(name, shape)| (format!("{prefix}{name}"), shape)).collect::<Vec<_>>()
        };
        let actor_params = Params::new(named(""), &mut draws)?;
        actor_params.zero("head.")?;
        let names = CRITICS.iter().flat_map(|name| named(&format!("{name}.")));
        let critic_params = Params::new(names, &mut draws)?;
        let target_params = critic_params.copy()?;
        let critics = |params: candle_nn::VarBuilder<'_>| {
            CRITICS.iter().map(|name| Net::new(shape, &params.pp(name))).collect::<Result<Vec<_>>>()
        };
        let entropy = settings.target_entropy * (levels as f64).ln();
        Ok(Self {
            layout,
            settings,
            actor: Net::new(shape, &actor_params.trained())?,
            acting: Net::new(shape, &actor_params.frozen())?,
            critics: critics(critic_params.trained())?,
            targets: critics(target_params.frozen())?,
            actor_adam: Adam::new(settings.actor),
            critic_adam: Adam::new(settings.critic),
            entropy: EntropyCoef::new(settings.entropy_coef, entropy, settings.actor)?,
            actor_params,
            critic_params,
            target_params,
        })
    }

    /// The network that acts, as it is now and follows what is learned.
    pub const fn acting(&self) -> &Net {
        &self.acting
    }

    /// One update on sequences: critics, then actor, then what entropy is worth, then targets.
    ///
    /// ```text
    /// V(s)   = mean_j Σ_l π_j(l|s) (min_i Q'_ij(s, l) − α log π_j(l|s))
    /// y      = r + γ (1 − terminal) V(s')
    /// critic = Σ_i Σ m (mean_j Q_ij(s, a_j) − y)² / Σ m
    /// actor  = Σ m mean_j Σ_l π_j(l|s) (α log π_j(l|s) − min_i Q_ij(s, l)) / Σ m
    /// ```
    pub fn update(&mut self, batch: &Batch) -> Result<Update> {
        let first = self.settings.burn_in.min(batch.inputs.len() - 2);
        let view = View::new(batch, self.layout, first)?;
        let coef = self.entropy.get()?;
        let logits = Tensor::cat(&unroll(&self.actor, &batch.inputs, &batch.hidden, first)?, 0)?;
        let log_policy = log_softmax(&logits, D::Minus1)?;
        let goal = self.goal(batch, &view, &log_policy.detach(), coef)?;

        let nothing = batch.hidden.zeros_like()?;
        let steps = &batch.inputs[..batch.inputs.len() - 1];
        let values = self.critics.iter().map(|net| Tensor::cat(&unroll(net, steps, &nothing, first)?, 0));
        let values = values.collect::<Result<Vec<_>>>()?;
        let taken = view.taken(batch)?.to_dtype(DType::U32)?.unsqueeze(D::Minus1)?;
        let mut critic_loss = Tensor::zeros((), logits.dtype(), &Device::Cpu)?;
        let mut value = 0.0;
        for values in &values {
            let of_servers = view.steps(values)?.gather(&taken, D::Minus1)?.squeeze(D::Minus1)?;
            let joint = over_servers(&of_servers, &view.steps(&view.active)?)?;
            value += view.mean(&joint)?.to_scalar::<f32>()? / CRITICS.len() as f32;
            critic_loss = (critic_loss + view.mean(&(joint - &goal)?.sqr()?)?)?;
        }
        let least = minimum(values.iter().map(|values| Ok(values.detach())))?;
        let soft = soft_value(&view.steps(&view.active)?, &view.steps(&log_policy)?, &least, coef)?;
        let actor_loss = view.mean(&soft)?.neg()?;
        let entropy = (log_policy.exp()? * &log_policy)?.sum(D::Minus1)?.neg()?;
        let entropy = over_servers(&entropy, &view.active)?;
        let entropy = f64::from(view.mean(&view.steps(&entropy)?)?.to_scalar::<f32>()?);

        self.critic_adam.step(&self.critic_params, &critic_loss.backward()?)?;
        self.actor_adam.step(&self.actor_params, &actor_loss.backward()?)?;
        self.entropy.update(entropy)?;
        self.target_params.approach(&self.critic_params, self.settings.target_rate)?;
        Ok(Update {
            critic_loss: f64::from(critic_loss.to_scalar::<f32>()?) / CRITICS.len() as f64,
            actor_loss: f64::from(actor_loss.to_scalar::<f32>()?),
            entropy_coef: coef,
            entropy,
            value: f64::from(value),
        })
    }

    /// y, `[T·N]`, without gradient.
    fn goal(&self, batch: &Batch, view: &View, log_policy: &Tensor, coef: f64) -> Result<Tensor> {
        let nothing = batch.hidden.zeros_like()?;
        let targets = self.targets.iter();
        let values = targets.map(|net| Tensor::cat(&unroll(net, &batch.inputs, &nothing, view.first)?, 0));
        let soft = view.later(&soft_value(&view.active, log_policy, &minimum(values)?, coef)?)?;
        let going_on = (1.0 - view.of_steps(&batch.terminal)?)?;
        Ok((view.of_steps(&batch.rewards)? + ((going_on * soft)? * self.settings.discount)?)?.detach())
    }
}

/// What states are worth to a policy, entropy included, `[M]`; `active` is `[M, S]`, the others `[M, S, L]`.
fn soft_value(active: &Tensor, log_policy: &Tensor, values: &Tensor, coef: f64) -> Result<Tensor> {
    let each = (log_policy.exp()? * (values - (log_policy * coef)?)?)?.sum(D::Minus1)?;
    over_servers(&each, active)
}
