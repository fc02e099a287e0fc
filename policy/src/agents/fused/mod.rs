//! The network of [`super::net`] by hand: plain slices, no allocation, the same bits on every machine.

mod dense;
pub mod math;

use std::sync::Arc;

use self::{
    dense::Dense,
    math::{sigmoid, tanh},
};
use super::{model::Model, shape::Shape};
use crate::features::Features;

/// Servers that go through the recurrent part together: their gates stay in the first-level cache.
const BLOCK: usize = 16;

#[derive(Debug)]
struct Layers {
    shape: Shape,
    server: Dense,
    context: Dense,
    pool: Dense,
    input_gates: Dense,
    hidden_gates: Dense,
    decoder: Dense,
    head: Dense,
}

/// The network with the room it works in. Clones share the parameters.
#[derive(Clone, Debug)]
pub struct Fused {
    layers: Arc<Layers>,
    /// `[S, H]`; grows with the largest number of servers seen.
    encoded: Vec<f32>,
    context: Vec<f32>,
    /// Mean, then maximum.
    pooled: Vec<f32>,
    projected: Vec<f32>,
    /// `[BLOCK, 3H]` each.
    from_input: Vec<f32>,
    from_hidden: Vec<f32>,
    /// `[BLOCK, H]`.
    decoded: Vec<f32>,
}

impl Fused {
    /// The network of a model.
    pub fn new(model: &Model) -> Self {
        let shape = model.manifest().shape();
        let Shape { server_features, context_features, hidden, outputs } = shape;
        let dense = |weight, bias, inputs, outputs| {
            Dense::new(model.tensor(weight), model.tensor(bias), inputs, outputs)
        };
        let layers = Layers {
            shape,
            server: dense("encoder.server.weight", "encoder.bias", server_features, hidden),
            context: Dense::new(model.tensor("encoder.context.weight"), &[], context_features, hidden),
            pool: dense("pool.weight", "pool.bias", 2 * hidden, hidden),
            input_gates: dense("gru.weight_ih_l0", "gru.bias_ih_l0", hidden, 3 * hidden),
            hidden_gates: dense("gru.weight_hh_l0", "gru.bias_hh_l0", hidden, 3 * hidden),
            decoder: dense("decoder.weight", "decoder.bias", hidden, hidden),
            head: dense("head.weight", "head.bias", hidden, outputs),
        };
        Self {
            layers: Arc::new(layers),
            encoded: Vec::new(),
            context: vec![0.0; hidden],
            pooled: vec![0.0; 2 * hidden],
            projected: vec![0.0; hidden],
            from_input: vec![0.0; BLOCK * 3 * hidden],
            from_hidden: vec![0.0; BLOCK * 3 * hidden],
            decoded: vec![0.0; BLOCK * hidden],
        }
    }

    /// One step for S servers: `hidden`, `[S, H]`, moves on, and `head`, `[S, O]`, gets what comes out.
    pub fn step(&mut self, features: &Features, hidden: &mut [f32], head: &mut [f32]) {
        let layers = Arc::clone(&self.layers);
        let Shape { server_features, hidden: width, outputs, .. } = layers.shape;
        self.encode(&layers, features);
        self.pool(&layers, &features.active);
        debug_assert_eq!(features.servers.len(), features.active.len() * server_features);
        let blocks = self.encoded.chunks_mut(BLOCK * width).zip(features.active.chunks(BLOCK));
        let ends = hidden.chunks_mut(BLOCK * width).zip(head.chunks_mut(BLOCK * outputs));
        for ((input, active), (hidden, head)) in blocks.zip(ends) {
            for row in input.chunks_exact_mut(width) {
                add(row, &self.projected);
            }
            let from_input = &mut self.from_input[..3 * input.len()];
            let from_hidden = &mut self.from_hidden[..3 * input.len()];
            layers.input_gates.apply(input, from_input);
            layers.hidden_gates.apply(hidden, from_hidden);
            gate(from_input, from_hidden, hidden, width);
            clear(hidden, active, width);
            let decoded = &mut self.decoded[..input.len()];
            layers.decoder.apply(hidden, decoded);
            relu(decoded);
            layers.head.apply(decoded, head);
            clear(head, active, outputs);
        }
    }

    fn encode(&mut self, layers: &Layers, features: &Features) {
        let width = layers.shape.hidden;
        self.encoded.resize(features.active.len() * width, 0.0);
        layers.server.apply(&features.servers, &mut self.encoded);
        layers.context.apply(&features.context, &mut self.context);
        for row in self.encoded.chunks_exact_mut(width) {
            add(row, &self.context);
            relu(row);
        }
    }

    fn pool(&mut self, layers: &Layers, active: &[bool]) {
        let width = layers.shape.hidden;
        self.pooled.fill(0.0);
        let (mean, max) = self.pooled.split_at_mut(width);
        let mut count = 0.0_f32;
        for (row, _) in self.encoded.chunks_exact(width).zip(active).filter(|&(_, &active)| active) {
            count += 1.0;
            add(mean, row);
            for (max, value) in max.iter_mut().zip(row) {
                *max = max.max(*value);
            }
        }
        for mean in mean {
            *mean /= count.max(1.0);
        }
        layers.pool.apply(&self.pooled, &mut self.projected);
    }
}

/// The GRU's gates: rows of (reset, update, new), `[rows, 3 width]` each, and the state, `[rows, width]`.
fn gate(from_input: &[f32], from_hidden: &[f32], hidden: &mut [f32], width: usize) {
    let rows = from_input.chunks_exact(3 * width).zip(from_hidden.chunks_exact(3 * width));
    for ((input, recurrent), hidden) in rows.zip(hidden.chunks_exact_mut(width)) {
        // All of one length that the compiler knows of, so that it needs no checks and uses vectors.
        let hidden = &mut hidden[..width];
        let [input_reset, input_update, input_new] = thirds(input, width);
        let [recurrent_reset, recurrent_update, recurrent_new] = thirds(recurrent, width);
        for unit in 0..width {
            let reset = sigmoid(input_reset[unit] + recurrent_reset[unit]);
            let update = sigmoid(input_update[unit] + recurrent_update[unit]);
            let new = tanh(input_new[unit] + reset * recurrent_new[unit]);
            hidden[unit] = new + update * (hidden[unit] - new);
        }
    }
}

fn thirds(gates: &[f32], width: usize) -> [&[f32]; 3] {
    [0, 1, 2].map(|index| &gates[index * width..][..width])
}

fn add(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

/// Lets what is not a number pass, so that it shows in the end.
fn relu(values: &mut [f32]) {
    for value in values {
        *value = if *value < 0.0 { 0.0 } else { *value };
    }
}

/// Zeros the rows of servers that are not active.
fn clear(rows: &mut [f32], active: &[bool], width: usize) {
    for (row, _) in rows.chunks_exact_mut(width).zip(active).filter(|&(_, &active)| !active) {
        row.fill(0.0);
    }
}
