//! From the values of single choices to the value of all of them together.

use candle_core::{D, Result, Tensor};
use candle_nn::VarBuilder;
use policy::agents::ops::linear;

/// The sizes of a mixer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MixerShape {
    /// Z: numbers that describe the whole, known in training only.
    pub state: usize,
    /// K: numbers that describe what a choice is about (an agent, or one of its servers).
    pub entity: usize,
    /// E: width of the mixing layer.
    pub embed: usize,
    /// Width of the networks that make the mixing weights.
    pub hyper: usize,
}

impl MixerShape {
    /// Every tensor of a mixer of these sizes.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let &Self { state, entity, embed, hyper } = self;
        let layers = [
            ("mixer.first.state", hyper, state),
            ("mixer.first.entity", hyper, entity),
            ("mixer.first.out", embed, hyper),
            ("mixer.bias", embed, state),
            ("mixer.second.state", hyper, state),
            ("mixer.second.out", embed, hyper),
            ("mixer.value.state", embed, state),
            ("mixer.value.out", 1, embed),
        ];
        let tensors = layers.into_iter().flat_map(|(name, outputs, inputs): (&str, _, _)| {
            [(format!("{name}.weight"), vec![outputs, inputs]), (format!("{name}.bias"), vec![outputs])]
        });
        tensors.collect()
    }
}

#[derive(Clone, Debug)]
struct Layer {
    weight: Tensor,
    bias: Tensor,
}

impl Layer {
    fn new(params: &VarBuilder<'_>, name: &str, outputs: usize, inputs: usize) -> Result<Self> {
        let layer = params.pp(name);
        Ok(Self { weight: layer.get((outputs, inputs), "weight")?, bias: layer.get(outputs, "bias")? })
    }

    /// `[N, inputs]` to `[N, outputs]`, no less than 0 if `rectified`.
    fn forward(&self, x: &Tensor, rectified: bool) -> Result<Tensor> {
        linear(&x.unsqueeze(0)?, &self.weight, &self.bias.unsqueeze(0)?, rectified)?.squeeze(0)
    }
}

/// QMIX: values mixed with weights that the state makes and that are never negative, so that what is best for one choice is
/// best for the whole.
///
/// ```text
/// W1_u = |F2 relu(F1 [state, entity_u])|        for each choice u: any number of them
/// h    = elu(Σ_u m_u q_u W1_u + b(state))
/// Q    = Σ h |S2 relu(S1 state)| + v(state)
/// ```
///
/// Source: Rashid and others, "QMIX: monotonic value function factorisation for deep multi-agent reinforcement learning", 2018.
#[derive(Clone, Debug)]
pub struct Qmix {
    first_state: Layer,
    first_entity: Layer,
    first_out: Layer,
    bias: Layer,
    second_state: Layer,
    second_out: Layer,
    value_state: Layer,
    value_out: Layer,
}

impl Qmix {
    /// A mixer of the tensors in `params`, named as in [`MixerShape::parameters`].
    pub fn new(shape: MixerShape, params: &VarBuilder<'_>) -> Result<Self> {
        let MixerShape { state, entity, embed, hyper } = shape;
        let mixer = params.pp("mixer");
        Ok(Self {
            first_state: Layer::new(&mixer, "first.state", hyper, state)?,
            first_entity: Layer::new(&mixer, "first.entity", hyper, entity)?,
            first_out: Layer::new(&mixer, "first.out", embed, hyper)?,
            bias: Layer::new(&mixer, "bias", embed, state)?,
            second_state: Layer::new(&mixer, "second.state", hyper, state)?,
            second_out: Layer::new(&mixer, "second.out", embed, hyper)?,
            value_state: Layer::new(&mixer, "value.state", embed, state)?,
            value_out: Layer::new(&mixer, "value.out", 1, embed)?,
        })
    }

    fn mix(&self, choices: &Choices) -> Result<Tensor> {
        let Choices { values, mask, state, entities } = choices;
        let (batch, count, _) = entities.dims3()?;
        let Layer { weight, bias } = &self.first_entity;
        let from_state = self.first_state.forward(state, false)?.broadcast_add(bias)?;
        let first = linear(entities, weight, &from_state, true)?.flatten(0, 1)?;
        let first = self.first_out.forward(&first, false)?.abs()?.reshape((batch, count, ()))?;
        let masked = (values * mask)?.unsqueeze(D::Minus1)?;
        let bias = self.bias.forward(state, false)?;
        let hidden = (first.broadcast_mul(&masked)?.sum(1)? + bias)?.elu(1.0)?;
        let second = self.second_out.forward(&self.second_state.forward(state, true)?, false)?.abs()?;
        let value = self.value_out.forward(&self.value_state.forward(state, true)?, false)?.squeeze(1)?;
        (hidden * second)?.sum(1)? + value
    }
}

/// What is mixed. B is any batch, U the number of choices.
#[derive(Clone, Debug)]
pub struct Choices {
    /// The value of each choice, `[B, U]`.
    pub values: Tensor,
    /// 1 for choices that count, 0 for others, `[B, U]`.
    pub mask: Tensor,
    /// `[B, Z]`.
    pub state: Tensor,
    /// `[B, U, K]`.
    pub entities: Tensor,
}

/// How values are put together.
#[derive(Clone, Debug)]
pub enum Mixer {
    /// By [`Qmix`].
    Qmix(Box<Qmix>),
    /// By their sum: value decomposition networks (Sunehag and others, 2018), the control.
    Vdn,
}

impl Mixer {
    /// The value of all choices together, `[B]`.
    pub fn mix(&self, choices: &Choices) -> Result<Tensor> {
        match self {
            Self::Qmix(mixer) => mixer.mix(choices),
            Self::Vdn => (&choices.values * &choices.mask)?.sum(1),
        }
    }
}
