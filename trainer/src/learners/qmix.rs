//! QMIX, and value decomposition as its control.
//!
//! Every agent has the same recurrent network, which values each level of each of its servers. What they choose is
//! mixed into the value of the whole, which is what is learned: central training, decentral execution.

use candle_core::{D, DType, Device, Tensor};
use policy::agents::net::{Input, Net};

use super::{
    adam::{self, Adam},
    draws::{Draws, Use},
    mixer::{Choices, Mixer, MixerShape, Qmix},
    params::Params,
    replay::{Batch, Layout},
    saved::{Saved, SavedError},
    unroll::{Memory, unroll},
};

/// How it learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// What a reward one step later is worth.
    pub discount: f64,
    /// Steps at a sequence's start that only warm the memory up.
    pub burn_in: usize,
    /// Updates after which the target network becomes what is learned by then.
    pub target_every: u64,
    /// How parameters step.
    pub adam: adam::Settings,
    /// Width of the mixing layer; `None`: the values are summed up (VDN).
    pub embed: Option<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            discount: 0.99,
            burn_in: 0,
            target_every: 200,
            adam: adam::Settings { rate: 5e-4, ..adam::Settings::default() },
            embed: Some(32),
        }
    }
}

/// What an update was like, for the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Mean squared temporal difference.
    pub loss: f64,
    /// Norm of the gradient, before it was clipped.
    pub norm: f64,
    /// Mean value of what was chosen.
    pub value: f64,
}

/// Networks that share parameters with an optimiser.
#[derive(Debug)]
struct Value {
    net: Net,
    mixer: Mixer,
}

/// The learner.
#[derive(Debug)]
pub struct Learner {
    settings: Settings,
    params: Params,
    target_params: Params,
    value: Value,
    /// The same parameters, without gradients.
    acting: Net,
    target: Value,
    adam: Adam,
    updates: u64,
}

impl Learner {
    /// A learner of agents that choose between `levels` for each server. The last layer of their network starts at zero.
    pub fn new(layout: Layout, levels: usize, settings: Settings, seed: u64) -> candle_core::Result<Self> {
        let shape = layout.shape(levels);
        let mixer = settings.embed.map(|embed| MixerShape {
            state: layout.state,
            entity: layout.server_features + layout.context_features,
            embed,
            hyper: 2 * embed,
        });
        let names = shape.parameters().into_iter().map(|(name, shape)| (name.to_owned(), shape));
        let names = names.chain(mixer.map(|shape| shape.parameters()).unwrap_or_default());
        let params = Params::new(names, &mut Draws::new(seed, Use::Parameters))?;
        params.zero("head.")?;
        let target_params = params.copy()?;
        let build = |params: candle_nn::VarBuilder<'_>| {
            let mixer = match mixer {
                Some(shape) => Mixer::Qmix(Box::new(Qmix::new(shape, &params)?)),
                None => Mixer::Vdn,
            };
            Ok::<_, candle_core::Error>(Value { net: Net::new(shape, &params)?, mixer })
        };
        Ok(Self {
            settings,
            value: build(params.trained())?,
            acting: Net::new(shape, &params.frozen())?,
            target: build(target_params.frozen())?,
            params,
            target_params,
            adam: Adam::new(settings.adam),
            updates: 0,
        })
    }

    /// The network that acts, as it is now and follows what is learned.
    pub const fn acting(&self) -> &Net {
        &self.acting
    }

    /// The network that learns, with gradients to [`Learner::params`].
    pub const fn actor(&self) -> &Net {
        &self.value.net
    }

    /// What is learned: the network's parameters, by the names of the model's format, and the mixer's.
    pub const fn params(&self) -> &Params {
        &self.params
    }

    /// Makes all values smaller by this factor, those of the target as well: their order stays.
    pub fn shrink_values(&mut self, share: f64) -> candle_core::Result<()> {
        let mut heads = self.params.iter().filter(|(name, _)| name.starts_with("head."));
        heads.try_for_each(|(_, var)| var.set(&(var.as_tensor() * share)?))?;
        self.target_params.approach(&self.params, 1.0)
    }

    /// From now on the learning rate is this share of the settings'.
    pub const fn scale_rates(&mut self, share: f64) {
        self.adam.set_rate(self.settings.adam.rate * share);
    }

    /// Another learning rate from now on.
    pub const fn set_rate(&mut self, rate: f64) {
        self.adam.set_rate(rate);
    }

    /// The value of joint choices, `[B]`, of levels `[B, A, S]`, seen at a moment with these memories.
    pub fn joint_value(
        &self,
        input: &Input,
        state: &Tensor,
        hidden: &Tensor,
        levels: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let head = self.acting.step(input, hidden)?.head;
        let (_, agents, servers) = levels.dims3()?;
        let chosen = chosen(&head, &levels.flatten(0, 1)?)?;
        mix(&self.value.mixer, agents * servers, &chosen, &input.active, state, &entities(input)?)
    }

    /// One update on sequences: double Q-learning towards a target network, through the mixer.
    ///
    /// ```text
    /// y = r + γ (1 − terminal) Q'_tot(s', argmax of Q over each choice)       loss = Σ m (Q_tot(s, a) − y)² / Σ m
    /// ```
    pub fn update(&mut self, batch: &Batch) -> candle_core::Result<Update> {
        let steps = batch.steps();
        let first = self.settings.burn_in.min(steps - 1);
        let unroll = |net| unroll(net, &batch.inputs, steps + 1, &batch.hidden, Memory::From(first));
        let (heads, target_heads) = (unroll(&self.value.net)?, unroll(&self.target.net)?);
        let learned = steps - first;
        let tail = |tensor: &Tensor| tensor.narrow(0, first, learned);

        let counted = batch.inputs.moments(batch.rows(), first, learned + 1)?;
        let about = entities(&counted)?;
        let rows = |tensor: &Tensor, from| {
            let each = tensor.dim(0)? / (learned + 1);
            tensor.narrow(0, from * each, learned * each)
        };
        let state = batch.state.narrow(0, first, learned + 1)?.flatten(0, 1)?;

        let now = chosen(&rows(&heads, 0)?, &tail(&batch.actions)?.flatten(0, 1)?)?;
        let choices = batch.layout.agents * batch.layout.servers;
        let mix = |value: &Value, values: &Tensor, from| {
            mix(
                &value.mixer,
                choices,
                values,
                &rows(&counted.active, from)?,
                &rows(&state, from)?,
                &rows(&about, from)?,
            )
        };
        let now = mix(&self.value, &now, 0)?;
        let best = rows(&heads, 1)?.detach().argmax(D::Minus1)?;
        let next = chosen(&rows(&target_heads, 1)?, &best)?;
        let next = mix(&self.target, &next, 1)?;

        let going_on = (1.0 - tail(&batch.terminal)?.flatten_all()?)?;
        let goal =
            (tail(&batch.rewards)?.flatten_all()? + (going_on * next)? * self.settings.discount)?.detach();
        let mask = tail(&batch.mask)?.flatten_all()?;
        let count = mask.sum_all()?.maximum(1.0)?;
        let loss = (((&now - goal)?.sqr()? * &mask)?.sum_all()? / &count)?;
        let value = ((now * mask)?.sum_all()? / count)?;
        let norm = self.adam.step(&self.params, &loss.backward()?)?;
        self.updates += 1;
        if self.updates.is_multiple_of(self.settings.target_every) {
            self.target_params.approach(&self.params, 1.0)?;
        }
        let number = |tensor: Tensor| Ok::<_, candle_core::Error>(f64::from(tensor.to_scalar::<f32>()?));
        Ok(Update { loss: number(loss)?, norm, value: number(value)? })
    }

    /// Everything that is learned, and where it stands.
    pub fn save(&self) -> candle_core::Result<Saved> {
        let mut saved = Saved::default();
        saved.put("value", self.params.save()?);
        saved.put("target", self.target_params.save()?);
        saved.put("adam", self.adam.save(&self.params));
        saved.put_words("updates", vec![self.updates]);
        Ok(saved)
    }

    /// Takes over what [`Learner::save`] gave. If anything does not fit, nothing changes.
    pub fn restore(&mut self, saved: &Saved) -> Result<(), SavedError> {
        saved.check(&self.save()?)?;
        self.params.restore(&saved.part("value"))?;
        self.target_params.restore(&saved.part("target"))?;
        self.adam.restore(&self.params, &saved.part("adam"))?;
        self.updates = saved.word("updates")?;
        Ok(())
    }
}

/// `[B·A, S]` values, masks and what they are about to `[B]`; `choices` is A·S.
fn mix(
    mixer: &Mixer,
    choices: usize,
    values: &Tensor,
    active: &Tensor,
    state: &Tensor,
    entities: &Tensor,
) -> candle_core::Result<Tensor> {
    mixer.mix(&Choices {
        values: values.reshape(((), choices))?,
        mask: active.reshape(((), choices))?,
        state: state.clone(),
        entities: entities.reshape(((), choices, entities.dim(D::Minus1)?))?,
    })
}

/// Draws a level for each row: with probability `epsilon` any, else the best of `head`, `[N, S, O]`. Row by row, `[N, S]`.
pub fn explore(head: &Tensor, epsilon: f64, draws: &mut Draws) -> candle_core::Result<Vec<f32>> {
    let levels = head.dim(D::Minus1)?;
    let best: Vec<u32> = head.argmax(D::Minus1)?.flatten_all()?.to_vec1()?;
    let drawn = best
        .into_iter()
        .map(|best| if draws.uniform() < epsilon { draws.below(levels) as f32 } else { best as f32 });
    Ok(drawn.collect())
}

/// `[N, S, O]` and numbers of levels `[N, S]` to `[N, S]`.
fn chosen(head: &Tensor, levels: &Tensor) -> candle_core::Result<Tensor> {
    head.gather(&levels.to_dtype(DType::U32)?.unsqueeze(D::Minus1)?, D::Minus1)?.squeeze(D::Minus1)
}

/// What each choice is about: the server's features and those of its agent, `[N, S, F + C]`.
fn entities(input: &Input) -> candle_core::Result<Tensor> {
    let (rows, servers, _) = input.servers.dims3()?;
    let context = input.context.dim(1)?;
    if context == 0 {
        return Ok(input.servers.clone());
    }
    let context = input.context.unsqueeze(1)?.broadcast_as((rows, servers, context))?;
    Tensor::cat(&[&input.servers, &context], D::Minus1)
}

/// Memory of nothing, `[rows, S, H]`.
pub fn nothing(rows: usize, layout: Layout) -> candle_core::Result<Tensor> {
    Tensor::zeros((rows, layout.servers, layout.hidden), DType::F32, &Device::Cpu)
}
