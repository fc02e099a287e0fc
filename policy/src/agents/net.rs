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

use candle_core::{D, Result, Tensor};
use candle_nn::VarBuilder;

use super::shape::Shape;

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

#[derive(Clone, Debug)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// `[N, inputs]` to `[N, outputs]`.
    fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        rows.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)
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

    /// One step. `hidden` is `[B, S, H]`: zeros at the start, then what the step before gave, detached where no gradient
    /// shall flow back in time.
    pub fn step(&self, input: &Input, hidden: &Tensor) -> Result<Output> {
        let (batch, servers, features) = input.servers.dims3()?;
        let width = self.shape.hidden;
        let mask = input.active.reshape((batch, servers, 1))?;
        let encoded = self
            .encoder
            .forward(&input.servers.reshape((batch * servers, features))?)?
            .reshape((batch, servers, width))?;
        let encoded = self.add_context(&encoded, &input.context)?.relu()?;
        let gru_input = encoded.broadcast_add(&self.pool(&encoded, &mask)?)?;
        let hidden = self.cell(
            &gru_input.reshape((batch * servers, width))?,
            &hidden.reshape((batch * servers, width))?,
        )?;
        let mask = mask.reshape((batch * servers, 1))?;
        let hidden = hidden.broadcast_mul(&mask)?;
        let decoded = self.decoder.forward(&hidden)?.relu()?;
        let head = self.head.forward(&decoded)?.broadcast_mul(&mask)?;
        let rows = |tensor: Tensor| tensor.reshape((batch, servers, ()));
        Ok(Output { head: rows(head)?, decoded: rows(decoded)?, hidden: rows(hidden)? })
    }

    /// `[B, S, H]` and `[B, C]` to `[B, S, H]`; Candle has no product over no features.
    fn add_context(&self, encoded: &Tensor, context: &Tensor) -> Result<Tensor> {
        if self.shape.context_features == 0 {
            return Ok(encoded.clone());
        }
        encoded.broadcast_add(&context.matmul(&self.encoder_context.t()?)?.unsqueeze(1)?)
    }

    /// `[B, S, H]` and `[B, S, 1]` to `[B, 1, H]`. Encodings are not negative, so a masked zero never beats the maximum.
    fn pool(&self, encoded: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let masked = encoded.broadcast_mul(mask)?;
        let count = mask.sum(1)?.maximum(1.0)?;
        let mean = masked.sum(1)?.broadcast_div(&count)?;
        let pooled = Tensor::cat(&[mean, masked.max(1)?], D::Minus1)?;
        self.pool.forward(&pooled)?.unsqueeze(1)
    }

    /// `[N, H]` and `[N, H]` to `[N, H]`, with PyTorch's equations: the reset gate acts on `W_hn h + b_hn`.
    fn cell(&self, input: &Tensor, hidden: &Tensor) -> Result<Tensor> {
        let width = self.shape.hidden;
        let from_input = self.input_gates.forward(input)?;
        let from_hidden = self.hidden_gates.forward(hidden)?;
        let gate = |gates: &Tensor, index: usize| gates.narrow(1, index * width, width);
        let sigmoid_of =
            |index| candle_nn::ops::sigmoid(&(gate(&from_input, index)? + gate(&from_hidden, index)?)?);
        let (reset, update) = (sigmoid_of(0)?, sigmoid_of(1)?);
        let new = (gate(&from_input, 2)? + (reset * gate(&from_hidden, 2)?)?)?.tanh()?;
        let kept = (update * (hidden - &new)?)?;
        new + kept
    }
}
