//! The network, on Candle: one GRU shared by all servers, with pooled context.
//!
//! For server j with features x_j, context g, and a mask m_j that is 1 for active servers and 0 for others:
//!
//! ```text
//! e_j  = relu(W_s x_j + W_c g + b_e)                      encoder
//! p    = W_p [mean of e_j over active j; max of e_j over active j] + b_p
//! u_j  = e_j + p                                          p once for all servers: cost S·H², not S·2H²
//! h'_j = m_j · GRU(u_j, h_j)                              a server that is not active forgets
//! z_j  = relu(W_d h'_j + b_d)                             decoder
//! o_j  = m_j · (W_o z_j + b_o)                            head
//! ```
//!
//! To permute servers is to permute outputs, and no size depends on their number. Training calls this very code, with a
//! batch dimension and with variables in place of plain tensors.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::{
    ops::{gru, linear, pool, product, spread},
    shape::Shape,
};

/// What a step gets to see. B is any batch, S the number of servers.
#[derive(Clone, Debug)]
pub struct Input {
    /// Features of each server, `[B, S, F]`.
    pub servers: Tensor,
    /// Features of the VIP, `[B, C]`.
    pub context: Tensor,
    /// 1 for active servers, 0 for others, `[B, S]`.
    pub active: Tensor,
}

/// What a step gives.
#[derive(Clone, Debug)]
pub struct Output {
    /// The head's numbers, `[B, S, O]`; zero for servers that are not active.
    pub head: Tensor,
    /// The decoder's, `[B, S, H]`: what a head of another form can be put on.
    pub decoded: Tensor,
    /// The state for the next step, `[B, S, H]`; zero for servers that are not active.
    pub hidden: Tensor,
}

impl Input {
    /// Moments one after another, of which this has `rows` rows each, from `first` on.
    pub fn moments(&self, rows: usize, first: usize, count: usize) -> Result<Self> {
        let part = |tensor: &Tensor| tensor.narrow(0, first * rows, count * rows);
        Ok(Self { servers: part(&self.servers)?, context: part(&self.context)?, active: part(&self.active)? })
    }
}

#[derive(Clone, Debug)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// `[N, inputs]` to `[N, outputs]`.
    fn forward(&self, rows: &Tensor, rectified: bool) -> Result<Tensor> {
        linear(&rows.unsqueeze(0)?, &self.weight, &self.bias.unsqueeze(0)?, rectified)?.squeeze(0)
    }
}

/// The network's layers.
#[derive(Clone, Debug)]
pub struct Net {
    shape: Shape,
    encoder: Linear,
    encoder_context: Tensor,
    pool: Linear,
    input_gates: Linear,
    hidden_gates: Linear,
    decoder: Linear,
    head: Linear,
}

impl Net {
    /// A network of the tensors in `params`, named as in [`Shape::parameters`].
    ///
    /// Whether gradients flow into them is the caller's choice: variables in, gradients; plain tensors in, none. Errors: a
    /// tensor that is missing or has another shape.
    pub fn new(shape: Shape, params: &VarBuilder<'_>) -> Result<Self> {
        let Shape { server_features, context_features, hidden, outputs } = shape;
        let linear = |name: &str, inputs: usize, outputs: usize| {
            let layer = params.pp(name);
            Ok::<_, candle_core::Error>(Linear {
                weight: layer.get((outputs, inputs), "weight")?,
                bias: layer.get(outputs, "bias")?,
            })
        };
        let encoder = params.pp("encoder");
        let gru = params.pp("gru");
        let gates = |weight: &str, bias: &str| {
            Ok::<_, candle_core::Error>(Linear {
                weight: gru.get((3 * hidden, hidden), weight)?,
                bias: gru.get(3 * hidden, bias)?,
            })
        };
        Ok(Self {
            shape,
            encoder: Linear {
                weight: encoder.pp("server").get((hidden, server_features), "weight")?,
                bias: encoder.get(hidden, "bias")?,
            },
            encoder_context: encoder.pp("context").get((hidden, context_features), "weight")?,
            pool: linear("pool", 2 * hidden, hidden)?,
            input_gates: gates("weight_ih_l0", "bias_ih_l0")?,
            hidden_gates: gates("weight_hh_l0", "bias_hh_l0")?,
            decoder: linear("decoder", hidden, hidden)?,
            head: linear("head", hidden, outputs)?,
        })
    }

    /// Its sizes.
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// The same, through which no gradient flows.
    pub fn detach(&self) -> Self {
        let linear = |layer: &Linear| Linear { weight: layer.weight.detach(), bias: layer.bias.detach() };
        Self {
            shape: self.shape,
            encoder: linear(&self.encoder),
            encoder_context: self.encoder_context.detach(),
            pool: linear(&self.pool),
            input_gates: linear(&self.input_gates),
            hidden_gates: linear(&self.hidden_gates),
            decoder: linear(&self.decoder),
            head: linear(&self.head),
        }
    }

    /// One step. `hidden` is `[B, S, H]`: zeros at the start, then what the step before gave, detached where no gradient
    /// shall flow back in time.
    pub fn step(&self, input: &Input, hidden: &Tensor) -> Result<Output> {
        self.sequence(input, hidden)
    }

    /// Steps one after another: input and output have T·B rows in place of B, step by step, and `hidden`, `[B, S, H]`, is from
    /// before the first. Only the GRU goes through them in order, all else through all of them at once.
    pub fn sequence(&self, input: &Input, hidden: &Tensor) -> Result<Output> {
        let (moments, servers, _) = input.servers.dims3()?;
        let (batch, width) = (hidden.dim(0)?, self.shape.hidden);
        let (steps, rows, all) = (moments / batch.max(1), batch * servers, moments * servers);
        let encoded = self.encode(input)?;
        let pooled = self.pool.forward(&pool(&encoded, &input.active)?, false)?;
        let gru_input = spread(&encoded, &pooled, false)?.reshape((all, width))?;
        let hidden = gru(
            &product(&gru_input, &self.input_gates.weight)?.reshape((steps, rows, 3 * width))?,
            &self.hidden_gates.weight,
            [&self.input_gates.bias, &self.hidden_gates.bias],
            &hidden.reshape((rows, width))?,
            &input.active.reshape((steps, rows))?,
        )?
        .reshape((all, width))?;
        let decoded = self.decoder.forward(&hidden, true)?;
        let head = self.head.forward(&decoded, false)?.broadcast_mul(&input.active.reshape((all, 1))?)?;
        let rows = |tensor: Tensor| tensor.reshape((moments, servers, ()));
        Ok(Output { head: rows(head)?, decoded: rows(decoded)?, hidden: rows(hidden)? })
    }

    /// `[M, S, F]` and `[M, C]` to `[M, S, H]`; Candle has no product over no features.
    fn encode(&self, input: &Input) -> Result<Tensor> {
        let (moments, servers, features) = input.servers.dims3()?;
        let width = self.shape.hidden;
        if self.shape.context_features == 0 {
            let rows = input.servers.reshape((moments * servers, features))?;
            return self.encoder.forward(&rows, true)?.reshape((moments, servers, width));
        }
        let context = Linear { weight: self.encoder_context.clone(), bias: self.encoder.bias.clone() };
        linear(&input.servers, &self.encoder.weight, &context.forward(&input.context, false)?, true)
    }
}
