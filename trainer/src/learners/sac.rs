//! Soft actor-critic with recurrent networks and continuous corrections.
//!
//! One learner for each agent, or one for all of them with the rows of a batch side by side (independent learning with shared
//! parameters). Source: Haarnoja and others, "Soft actor-critic algorithms and applications", 2018; recurrent as in Ni and others,
//! "Recurrent model-free RL can be a strong baseline for many POMDPs", 2022: actor and critics have memories of their own.

use candle_core::{Device, Result, Tensor};
use policy::agents::{
    Shape,
    net::{Input, Net},
};

use super::{
    adam::{self, Adam},
    critic::{self, Critic, Seen},
    draws::{Draws, Use},
    entropy::EntropyCoef,
    params::Params,
    replay::{Batch, Layout},
    squashed::{self, Drawn},
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
    /// The entropy that is aimed at, for each server that is active.
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
            target_entropy: -1.0,
            entropy_coef: 0.2,
            actor: adam::Settings::default(),
            critic: adam::Settings { rate: 1e-3, ..adam::Settings::default() },
        }
    }
}

/// What an update was like, for the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Mean squared temporal difference, the mean of both critics.
    pub critic_loss: f64,
    /// The actor's.
    pub actor_loss: f64,
    /// What entropy is worth.
    pub entropy_coef: f64,
    /// Mean entropy of a server's action, as estimated from the draws.
    pub entropy: f64,
    /// Mean value of what was done.
    pub value: f64,
}

const CRITICS: [&str; 2] = ["first", "second"];

fn critics(shape: Shape, params: &candle_nn::VarBuilder<'_>) -> Result<Vec<Critic>> {
    CRITICS.iter().map(|name| Critic::new(shape, &params.pp(name))).collect()
}

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
    critics: Vec<Critic>,
    /// The same parameters, without gradients.
    judging: Vec<Critic>,
    targets: Vec<Critic>,
    actor_adam: Adam,
    critic_adam: Adam,
    entropy: EntropyCoef,
    noise: Draws,
}

impl Learner {
    /// A learner. The actor's last layer starts at zero.
    pub fn new(layout: Layout, settings: Settings, seed: u64) -> Result<Self> {
        let shape = Shape {
            server_features: layout.server_features,
            context_features: layout.context_features,
            hidden: layout.hidden,
            outputs: 2,
        };
        let mut draws = Draws::new(seed, Use::Parameters);
        let names = shape.parameters().into_iter().map(|(name, shape)| (name.to_owned(), shape));
        let actor_params = Params::new(names, &mut draws)?;
        actor_params.zero("head.")?;
        let names = CRITICS.iter().flat_map(|name| critic::parameters(shape, name));
        let critic_params = Params::new(names, &mut draws)?;
        let target_params = critic_params.copy()?;
        Ok(Self {
            layout,
            settings,
            actor: Net::new(shape, &actor_params.trained())?,
            acting: Net::new(shape, &actor_params.frozen())?,
            critics: critics(shape, &critic_params.trained())?,
            judging: critics(shape, &critic_params.frozen())?,
            targets: critics(shape, &target_params.frozen())?,
            actor_adam: Adam::new(settings.actor),
            critic_adam: Adam::new(settings.critic),
            entropy: EntropyCoef::new(settings.entropy_coef, settings.target_entropy, settings.actor)?,
            actor_params,
            critic_params,
            target_params,
            noise: Draws::new(seed, Use::Actions),
        })
    }

    /// The network that acts, as it is now and follows what is learned.
    pub const fn acting(&self) -> &Net {
        &self.acting
    }

    /// From now on all learning rates are this share of the settings'.
    pub const fn scale_rates(&mut self, share: f64) {
        self.actor_adam.set_rate(self.settings.actor.rate * share);
        self.critic_adam.set_rate(self.settings.critic.rate * share);
        self.entropy.set_rate(self.settings.actor.rate * share);
    }

    /// One update on sequences: critics, then actor, then what entropy is worth, then targets.
    ///
    /// ```text
    /// y      = r + γ (1 − terminal) (min_i Q'_i(s', a') − α log π(a'|s'))                 a' drawn now
    /// critic = Σ_i Σ m (Q_i(s, a) − y)² / Σ m        actor = Σ m (α log π(ã|s) − min_i Q_i(s, ã)) / Σ m
    /// α      : log α (−log π − target)               targets: Q' += rate (Q − Q')
    /// ```
    ///
    /// log π is the mean over active servers, so that α means the same for any number of them.
    pub fn update(&mut self, batch: &Batch) -> Result<Update> {
        let first = self.settings.burn_in.min(batch.inputs.len() - 2);
        let view = View::new(batch, self.layout, first)?;
        let coef = self.entropy.get()?;

        let heads = Tensor::cat(&unroll(&self.actor, &batch.inputs, &batch.hidden, first)?, 0)?;
        let drawn = self.draw(&heads)?;
        let log_density = over_servers(&drawn.log_density, &view.active)?;
        let goal = self.goal(batch, &view, &drawn.actions, &log_density, coef)?;

        let steps = &batch.inputs[..batch.inputs.len() - 1];
        let trunks = self.seen(&self.critics, steps, batch, &view)?;
        let taken = view.taken(batch)?;
        let mut critic_loss = Tensor::zeros((), heads.dtype(), &Device::Cpu)?;
        let mut value = 0.0;
        for (critic, seen) in self.critics.iter().zip(&trunks) {
            let values = critic.value(&view.now(seen)?, &taken)?;
            value += view.mean(&values)?.to_scalar::<f32>()? / CRITICS.len() as f32;
            critic_loss = (critic_loss + view.mean(&(values - &goal)?.sqr()?)?)?;
        }
        let actor_loss = self.actor_loss(&view, &trunks, &drawn.actions, &log_density, coef)?;

        // Both before either steps: the actor's gradient goes through the critics' parameters.
        let (critic_gradients, actor_gradients) = (critic_loss.backward()?, actor_loss.backward()?);
        self.critic_adam.step(&self.critic_params, &critic_gradients)?;
        self.actor_adam.step(&self.actor_params, &actor_gradients)?;
        let entropy = -f64::from(view.mean(&view.steps(&log_density)?)?.to_scalar::<f32>()?);
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

    fn draw(&mut self, heads: &Tensor) -> Result<Drawn> {
        let (rows, servers, _) = heads.dims3()?;
        let noise = Tensor::from_vec(self.noise.normals(rows * servers), (rows, servers), &Device::Cpu)?;
        squashed::draw(heads, &noise)
    }

    /// What critics know at these moments, from the first that counts on. Their memories start from nothing.
    fn seen(&self, critics: &[Critic], inputs: &[Input], batch: &Batch, view: &View) -> Result<Vec<Seen>> {
        let nothing = batch.hidden.zeros_like()?;
        let seen = critics.iter().map(|critic| {
            let trunk = Tensor::cat(&unroll(critic.trunk(), inputs, &nothing, view.first)?, 0)?;
            Ok(Seen { trunk, features: view.features.clone(), active: view.active.clone() })
        });
        seen.collect()
    }

    /// y, `[T·N]`, without gradient.
    fn goal(
        &self,
        batch: &Batch,
        view: &View,
        actions: &Tensor,
        log_density: &Tensor,
        coef: f64,
    ) -> Result<Tensor> {
        let seen = self.seen(&self.targets, &batch.inputs, batch, view)?;
        let actions = view.later(&actions.detach())?;
        let values =
            self.targets.iter().zip(&seen).map(|(critic, seen)| critic.value(&view.next(seen)?, &actions));
        let least = minimum(values)?;
        let soft = (least - (view.later(log_density)?.detach() * coef)?)?;
        let going_on = (1.0 - view.of_steps(&batch.terminal)?)?;
        Ok((view.of_steps(&batch.rewards)? + ((going_on * soft)? * self.settings.discount)?)?.detach())
    }

    fn actor_loss(
        &self,
        view: &View,
        trunks: &[Seen],
        actions: &Tensor,
        log_density: &Tensor,
        coef: f64,
    ) -> Result<Tensor> {
        let actions = view.steps(actions)?;
        let values = self.judging.iter().zip(trunks);
        let values = values.map(|(critic, seen)| critic.value(&view.now(&seen.detach())?, &actions));
        let least = minimum(values)?;
        view.mean(&((view.steps(log_density)? * coef)? - least)?)
    }
}

/// The least of what critics say.
pub(super) fn minimum(mut values: impl Iterator<Item = Result<Tensor>>) -> Result<Tensor> {
    let first = values.next().expect("there are two critics")?;
    values.try_fold(first, |least, value| least.minimum(&value?))
}
