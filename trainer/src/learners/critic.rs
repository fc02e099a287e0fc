//! What an action is worth: a recurrent trunk of its own, and a head that sees the action.

use candle_core::{D, Result, Tensor};
use candle_nn::VarBuilder;
use policy::agents::{Shape, net::Net};

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
        let rows = |tensor: &Tensor| tensor.reshape((batch * servers, ()));
        let from_features = rows(&seen.features)?.matmul(&self.features.t()?)?;
        let from_action = actions.reshape((batch * servers, 1))?.matmul(&self.action.t()?)?;
        let about =
            (rows(&seen.trunk)? + from_features)?.add(&from_action)?.broadcast_add(&self.bias)?.relu()?;
        let pooled =
            mean(&about.reshape((batch, servers, width))?, &seen.active)?.matmul(&self.pooled.t()?)?;
        let own = about.matmul(&self.own.t()?)?.reshape((batch, servers, width))?;
        let joint = own.broadcast_add(&pooled.unsqueeze(1)?)?.broadcast_add(&self.joint_bias)?.relu()?;
        let pooled = mean(&joint, &seen.active)?;
        pooled.matmul(&self.out.t()?)?.broadcast_add(&self.out_bias)?.squeeze(D::Minus1)
    }
}

/// The mean of `[M, S, X]` over servers that count, `[M, X]`.
fn mean(rows: &Tensor, active: &Tensor) -> Result<Tensor> {
    let count = active.sum_keepdim(1)?.maximum(1.0)?;
    rows.broadcast_mul(&active.unsqueeze(2)?)?.sum(1)?.broadcast_div(&count)
}
