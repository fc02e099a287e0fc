//! What both soft actor-critics have: an actor, two critics with targets, what steps them, and what entropy is worth.

use candle_core::{Tensor, backprop::GradStore};
use candle_nn::VarBuilder;
use policy::agents::{Shape, net::Net};

use super::{
    adam::{self, Adam},
    draws::{Draws, Use},
    entropy::EntropyCoef,
    params::Params,
    replay::Layout,
    saved::{Saved, SavedError},
    unroll::Memory,
};

/// How it learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// What a reward one step later is worth.
    pub discount: f64,
    /// Steps at a sequence's start that only warm the memories up.
    pub burn_in: usize,
    /// Whether anything is remembered. If not, each moment stands for itself.
    pub remember: bool,
    /// Updates at the beginning in which critics learn and nothing else does: for an actor that knows something already.
    pub actor_delay: u64,
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
            remember: true,
            actor_delay: 0,
            target_rate: 0.005,
            target_entropy: -1.0,
            entropy_coef: 0.2,
            actor: adam::Settings::default(),
            critic: adam::Settings { rate: 1e-3, ..adam::Settings::default() },
        }
    }
}

impl Settings {
    /// Settings for a choice between `levels`: at an entropy of the share `share` of the largest, ln L.
    pub fn discrete(levels: usize, share: f64) -> Self {
        Self { target_entropy: share * (levels as f64).ln(), ..Self::default() }
    }

    /// How memory goes through sequences of so many steps, one of which counts at least.
    pub fn memory(&self, steps: usize) -> Memory {
        let first = self.burn_in.min(steps - 1);
        if self.remember { Memory::From(first) } else { Memory::Nothing(first) }
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
    /// Mean entropy of a server's action.
    pub entropy: f64,
    /// Mean value of what was done.
    pub value: f64,
}

/// How many critics there are.
pub const CRITICS: usize = 2;
const NAMES: [&str; CRITICS] = ["first", "second"];

/// A kind of critic: the tensors it is made of, and how it is built on them.
#[derive(Clone, Copy, Debug)]
pub struct Kind<C> {
    /// Names without prefix, and shapes.
    pub parameters: fn(Shape) -> Vec<(String, Vec<usize>)>,
    /// A critic of tensors of these names.
    pub build: fn(Shape, &VarBuilder<'_>) -> candle_core::Result<C>,
}

impl<C> Kind<C> {
    fn critics(&self, shape: Shape, params: &VarBuilder<'_>) -> candle_core::Result<Vec<C>> {
        NAMES.iter().map(|name| (self.build)(shape, &params.pp(name))).collect()
    }
}

/// Networks and what steps them; C is a critic.
#[derive(Debug)]
pub struct Networks<C> {
    settings: Settings,
    actor_params: Params,
    critic_params: Params,
    target_params: Params,
    /// With gradients.
    pub actor: Net,
    /// The actor's parameters, without gradients.
    pub acting: Net,
    /// With gradients.
    pub critics: Vec<C>,
    /// The critics' parameters, without gradients.
    pub judging: Vec<C>,
    /// Which follow the critics.
    pub targets: Vec<C>,
    actor_adam: Adam,
    critic_adam: Adam,
    entropy: EntropyCoef,
    updates: u64,
}

impl<C> Networks<C> {
    /// Fresh ones, of an actor that says `outputs` numbers for each server. The actor's last layer starts at zero.
    pub fn new(
        layout: Layout,
        outputs: usize,
        kind: Kind<C>,
        settings: Settings,
        seed: u64,
    ) -> candle_core::Result<Self> {
        let shape = layout.shape(outputs);
        let mut draws = Draws::new(seed, Use::Parameters);
        let names = shape.parameters().into_iter().map(|(name, shape)| (name.to_owned(), shape));
        let actor_params = Params::new(names, &mut draws)?;
        actor_params.zero("head.")?;
        let prefixed = |prefix: &&str| {
            let named = |(name, shape): (String, Vec<usize>)| (format!("{prefix}.{name}"), shape);
            (kind.parameters)(shape).into_iter().map(named).collect::<Vec<_>>()
        };
        let critic_params = Params::new(NAMES.iter().flat_map(prefixed), &mut draws)?;
        let target_params = critic_params.copy()?;
        Ok(Self {
            settings,
            actor: Net::new(shape, &actor_params.trained())?,
            acting: Net::new(shape, &actor_params.frozen())?,
            critics: kind.critics(shape, &critic_params.trained())?,
            judging: kind.critics(shape, &critic_params.frozen())?,
            targets: kind.critics(shape, &target_params.frozen())?,
            actor_adam: Adam::new(settings.actor),
            critic_adam: Adam::new(settings.critic),
            entropy: EntropyCoef::new(settings.entropy_coef, settings.target_entropy, settings.actor)?,
            actor_params,
            critic_params,
            target_params,
            updates: 0,
        })
    }

    /// How they learn.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What entropy is worth now.
    pub fn entropy_coef(&self) -> candle_core::Result<f64> {
        self.entropy.get()
    }

    /// The actor's parameters.
    pub const fn actor_params(&self) -> &Params {
        &self.actor_params
    }

    /// From now on all learning rates are this share of the settings'.
    pub const fn scale_rates(&mut self, share: f64) {
        self.actor_adam.set_rate(self.settings.actor.rate * share);
        self.critic_adam.set_rate(self.settings.critic.rate * share);
        self.entropy.set_rate(self.settings.actor.rate * share);
    }

    /// Steps critics, then, once they had their time alone, the actor and what entropy is worth; then moves the targets.
    pub fn step(&mut self, critics: &GradStore, actor: &GradStore, entropy: f64) -> candle_core::Result<()> {
        self.critic_adam.step(&self.critic_params, critics)?;
        if self.updates >= self.settings.actor_delay {
            self.actor_adam.step(&self.actor_params, actor)?;
            self.entropy.update(entropy)?;
        }
        self.updates += 1;
        self.target_params.approach(&self.critic_params, self.settings.target_rate)
    }

    /// Everything that is learned, and where it stands.
    pub fn save(&self) -> candle_core::Result<Saved> {
        let mut saved = Saved::default();
        saved.put("actor", self.actor_params.save()?);
        saved.put("critic", self.critic_params.save()?);
        saved.put("target", self.target_params.save()?);
        saved.put("actor_adam", self.actor_adam.save(&self.actor_params));
        saved.put("critic_adam", self.critic_adam.save(&self.critic_params));
        saved.put("entropy", self.entropy.save()?);
        saved.put_words("updates", vec![self.updates]);
        Ok(saved)
    }

    /// Takes over what [`Networks::save`] gave. If anything does not fit, nothing changes.
    pub fn restore(&mut self, saved: &Saved) -> Result<(), SavedError> {
        saved.check(&self.save()?)?;
        self.actor_params.restore(&saved.part("actor"))?;
        self.critic_params.restore(&saved.part("critic"))?;
        self.target_params.restore(&saved.part("target"))?;
        self.actor_adam.restore(&self.actor_params, &saved.part("actor_adam"))?;
        self.critic_adam.restore(&self.critic_params, &saved.part("critic_adam"))?;
        self.entropy.restore(&saved.part("entropy"))?;
        self.updates = saved.word("updates")?;
        Ok(())
    }
}

/// The least of what critics say.
pub fn minimum(mut values: impl Iterator<Item = candle_core::Result<Tensor>>) -> candle_core::Result<Tensor> {
    let first = values.next().expect("there are two critics")?;
    values.try_fold(first, |least, value| least.minimum(&value?))
}
