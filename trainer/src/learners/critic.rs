//! What an action is worth: a recurrent trunk of its own, and a head that sees the action.

use candle_core::{D, Result, Tensor};
use candle_nn::VarBuilder;
use policy::agents::{
    Shape,
    net::Net,
    ops::{average, linear, product, spread},
};

/// One critic.
///
/// The trunk is the network that acts, with a memory of its own, and says H numbers d_j of each server. With features x_j and
/// action a_j, and means over active servers:
///
/// ```text
/// f_j = relu(d_j + W_x x_j + w_a a_j + b)
/// k_j = relu(W_f f_j + W_p mean(f) + b_k)         Q = mean(w k_j + b_q)
/// ```
#[derive(Clone, Debug)]
pub struct Critic {
    trunk: Net,
    features: Tensor,
    action: Tensor,
    bias: Tensor,
    own: Tensor,
    pooled: Tensor,
    joint_bias: Tensor,
    out: Tensor,
    out_bias: Tensor,
}

/// What a critic knows before it sees actions; M is any batch.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What the trunk says, `[M, S, H]`.
    pub trunk: Tensor,
    /// `[M, S, F]`.
    pub features: Tensor,
    /// 1 or 0, `[M, S]`.
    pub active: Tensor,
}

impl Seen {
    /// The same, with no gradient to the trunk.
    pub fn detach(&self) -> Self {
        Self { trunk: self.trunk.detach(), ..self.clone() }
    }
}

/// The sizes of the trunk of a critic whose actor has these.
const fn trunk(actor: Shape) -> Shape {
    Shape { outputs: actor.hidden, ..actor }
}

/// Every tensor of a critic.
pub fn parameters(actor: Shape) -> Vec<(String, Vec<usize>)> {
    let (width, features) = (actor.hidden, actor.server_features);
    let head = [
        ("action.features.weight", vec![width, features]),
        ("action.weight", vec![width, 1]),
        ("action.bias", vec![width]),
        ("joint.own.weight", vec![width, width]),
        ("joint.pooled.weight", vec![width, width]),
        ("joint.bias", vec![width]),
        ("value.weight", vec![1, width]),
        ("value.bias", vec![1]),
    ];
    trunk(actor).parameters().into_iter().chain(head).map(|(name, shape)| (name.to_owned(), shape)).collect()
}

impl Critic {
    /// A critic of the tensors in `params`, named as in [`parameters`].
    pub fn new(actor: Shape, params: &VarBuilder<'_>) -> Result<Self> {
        let (width, features) = (actor.hidden, actor.server_features);
        Ok(Self {
            trunk: Net::new(trunk(actor), params)?,
            features: params.get((width, features), "action.features.weight")?,
            action: params.get((width, 1), "action.weight")?,
            bias: params.get(width, "action.bias")?,
            own: params.get((width, width), "joint.own.weight")?,
            pooled: params.get((width, width), "joint.pooled.weight")?,
            joint_bias: params.get(width, "joint.bias")?,
            out: params.get((1, width), "value.weight")?,
            out_bias: params.get(1, "value.bias")?,
        })
    }

    /// The trunk, to unroll.
    pub const fn trunk(&self) -> &Net {
        &self.trunk
    }

    /// The value of actions `[M, S]`, `[M]`.
    pub fn value(&self, seen: &Seen, actions: &Tensor) -> Result<Tensor> {
        let (batch, servers, width) = seen.trunk.dims3()?;
        let all = batch * servers;
        let features = seen.features.reshape((1, all, ()))?;
        let about = linear(&features, &self.features, &self.bias.unsqueeze(0)?, false)?;
        let from_action = product(&actions.reshape((all, 1))?, &self.action)?;
        let about = spread(&about.reshape((all, 1, width))?, &from_action, false)?;
        let about = spread(&about, &seen.trunk.reshape((all, width))?, true)?;
        let about = about.reshape((batch, servers, width))?;
        let pooled = average(&about, &seen.active)?.unsqueeze(0)?;
        let pooled = linear(&pooled, &self.pooled, &self.joint_bias.unsqueeze(0)?, false)?.squeeze(0)?;
        let joint = linear(&about, &self.own, &pooled, true)?;
        let pooled = average(&joint, &seen.active)?;
        product(&pooled, &self.out)?.broadcast_add(&self.out_bias)?.squeeze(D::Minus1)
    }
}
