//! Soft actor-critic with recurrent networks and continuous corrections.
//!
//! One learner for each agent, or one for all of them with the rows of a batch side by side (independent learning with shared
//! parameters). Source: Haarnoja and others, "Soft actor-critic algorithms and applications", 2018; recurrent as in Ni and others,
//! "Recurrent model-free RL can be a strong baseline for many POMDPs", 2022: actor and critics have memories of their own.

use candle_core::{Device, Tensor};
use policy::agents::net::Net;

use super::{
    critic::{self, Critic, Seen},
    draws::{Draws, Use},
    params::Params,
    replay::{Batch, Layout},
    saved::{Saved, SavedError},
    soft::{CRITICS, Kind, Networks, Settings, Update, minimum},
    squashed::{self, Drawn},
    unroll::unroll,
    view::{View, over_servers},
};

const KIND: Kind<Critic> = Kind { parameters: critic::parameters, build: Critic::new };

/// The learner.
#[derive(Debug)]
pub struct Learner {
    networks: Networks<Critic>,
    noise: Draws,
}

impl Learner {
    /// A learner. The actor's last layer starts at zero.
    pub fn new(layout: Layout, settings: Settings, seed: u64) -> candle_core::Result<Self> {
        let networks = Networks::new(layout, 2, KIND, settings, seed)?;
        Ok(Self { networks, noise: Draws::new(seed, Use::Actions) })
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
        let mut saved = Saved::default();
        saved.put("networks", self.networks.save()?);
        self.noise.save("noise", &mut saved);
        Ok(saved)
    }

    /// Takes over what [`Learner::save`] gave. If anything does not fit, nothing changes.
    pub fn restore(&mut self, saved: &Saved) -> Result<(), SavedError> {
        saved.check(&self.save()?)?;
        let noise = Draws::restored("noise", saved)?;
        self.networks.restore(&saved.part("networks"))?;
        self.noise = noise;
        Ok(())
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
    pub fn update(&mut self, batch: &Batch) -> candle_core::Result<Update> {
        let steps = batch.steps();
        let view = View::new(batch, self.networks.settings().memory(steps))?;
        let coef = self.networks.entropy_coef()?;

        let heads = unroll(&self.networks.actor, &batch.inputs, steps + 1, &batch.hidden, view.memory)?;
        let drawn = self.draw(&heads)?;
        let log_density = over_servers(&drawn.log_density, &view.active)?;
        let goal = self.goal(batch, &view, &drawn.actions, &log_density, coef)?;

        let trunks = self.seen(&self.networks.critics, steps, batch, &view)?;
        let taken = view.taken(batch)?;
        let mut critic_loss = Tensor::zeros((), heads.dtype(), &Device::Cpu)?;
        let mut value = 0.0;
        for (critic, seen) in self.networks.critics.iter().zip(&trunks) {
            let values = critic.value(&view.now(seen)?, &taken)?;
            value += view.mean(&values)?.to_scalar::<f32>()? / CRITICS as f32;
            critic_loss = (critic_loss + view.mean(&(values - &goal)?.sqr()?)?)?;
        }
        let actor_loss = self.actor_loss(&view, &trunks, &drawn.actions, &log_density, coef)?;

        // Both before either steps: the actor's gradient goes through the critics' parameters.
        let (critic_gradients, actor_gradients) = (critic_loss.backward()?, actor_loss.backward()?);
        let entropy = -f64::from(view.mean(&view.steps(&log_density)?)?.to_scalar::<f32>()?);
        self.networks.step(&critic_gradients, &actor_gradients, entropy)?;
        Ok(Update {
            critic_loss: f64::from(critic_loss.to_scalar::<f32>()?) / CRITICS as f64,
            actor_loss: f64::from(actor_loss.to_scalar::<f32>()?),
            entropy_coef: coef,
            entropy,
            value: f64::from(value),
        })
    }

    fn draw(&mut self, heads: &Tensor) -> candle_core::Result<Drawn> {
        let (rows, servers, _) = heads.dims3()?;
        let noise = Tensor::from_vec(self.noise.normals(rows * servers), (rows, servers), &Device::Cpu)?;
        squashed::draw(heads, &noise)
    }

    /// What critics know at so many moments, from the first that counts on. Their memories start from nothing.
    fn seen(
        &self,
        critics: &[Critic],
        moments: usize,
        batch: &Batch,
        view: &View,
    ) -> candle_core::Result<Vec<Seen>> {
        let nothing = batch.hidden.zeros_like()?;
        let seen = critics.iter().map(|critic| {
            let trunk = unroll(critic.trunk(), &batch.inputs, moments, &nothing, view.memory)?;
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
    ) -> candle_core::Result<Tensor> {
        let seen = self.seen(&self.networks.targets, batch.steps() + 1, batch, view)?;
        let actions = view.later(&actions.detach())?;
        let values = self
            .networks
            .targets
            .iter()
            .zip(&seen)
            .map(|(critic, seen)| critic.value(&view.next(seen)?, &actions));
        let least = minimum(values)?;
        let soft = (least - (view.later(log_density)?.detach() * coef)?)?;
        let going_on = (1.0 - view.of_steps(&batch.terminal)?)?;
        Ok((view.of_steps(&batch.rewards)? + ((going_on * soft)? * self.networks.settings().discount)?)?
            .detach())
    }

    fn actor_loss(
        &self,
        view: &View,
        trunks: &[Seen],
        actions: &Tensor,
        log_density: &Tensor,
        coef: f64,
    ) -> candle_core::Result<Tensor> {
        let actions = view.steps(actions)?;
        let values = self.networks.judging.iter().zip(trunks);
        let values = values.map(|(critic, seen)| critic.value(&view.now(&seen.detach())?, &actions));
        let least = minimum(values)?;
        view.mean(&((view.steps(log_density)? * coef)? - least)?)
    }
}
