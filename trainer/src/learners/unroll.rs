//! Networks through time.

use candle_core::{Result, Tensor};
use policy::agents::net::{Input, Net};

/// What a network says from moment `first` on, moment by moment; what is before only warms the memory up.
pub fn unroll(net: &Net, inputs: &[Input], hidden: &Tensor, first: usize) -> Result<Vec<Tensor>> {
    let mut hidden = hidden.clone();
    let mut heads = Vec::new();
    for (time, input) in inputs.iter().enumerate() {
        let output = net.step(input, &hidden)?;
        hidden = if time < first { output.hidden.detach() } else { output.hidden };
        if time >= first {
            heads.push(output.head);
        }
    }
    Ok(heads)
}
