//! How large a network is, and which tensors it is made of.

/// The sizes of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// F: numbers for each server.
    pub server_features: usize,
    /// C: numbers for the VIP as a whole.
    pub context_features: usize,
    /// H: width of every layer, and of the state kept for each server.
    pub hidden: usize,
    /// O: numbers that come out for each server.
    pub outputs: usize,
}

/// A tensor of a network: its name in the file, and its shape.
pub type Parameter = (&'static str, Vec<usize>);

impl Shape {
    /// Width of the layers unless a model says otherwise.
    pub const HIDDEN: usize = 32;

    /// Every tensor of a network of these sizes. The GRU's are named and ordered (reset, update, new) as in PyTorch.
    pub fn parameters(&self) -> Vec<Parameter> {
        let &Self { server_features, context_features, hidden, outputs } = self;
        vec![
            ("encoder.server.weight", vec![hidden, server_features]),
            ("encoder.context.weight", vec![hidden, context_features]),
            ("encoder.bias", vec![hidden]),
            ("pool.weight", vec![hidden, 2 * hidden]),
            ("pool.bias", vec![hidden]),
            ("gru.weight_ih_l0", vec![3 * hidden, hidden]),
            ("gru.weight_hh_l0", vec![3 * hidden, hidden]),
            ("gru.bias_ih_l0", vec![3 * hidden]),
            ("gru.bias_hh_l0", vec![3 * hidden]),
            ("decoder.weight", vec![hidden, hidden]),
            ("decoder.bias", vec![hidden]),
            ("head.weight", vec![outputs, hidden]),
            ("head.bias", vec![outputs]),
        ]
    }
}
