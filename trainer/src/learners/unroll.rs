//! Networks through time.

use candle_core::{Result, Tensor};
use policy::agents::net::{Input, Net};

/// How memory goes from moment to moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// What is remembered is carried on; moments before this one only warm it up: no gradient flows through them.
    From(usize),
    /// Nothing is remembered, whatever was kept: each moment from this one on stands for itself.
    Nothing(usize),
}

/// What a network says from the first moment that counts on, moment by moment.
pub fn unroll(net: &Net, inputs: &[Input], hidden: &Tensor, memory: Memory) -> Result<Vec<Tensor>> {
    let first = match memory {
        Memory::From(first) => first,
        Memory::Nothing(first) => {
            let nothing = hidden.zeros_like()?;
            return inputs[first..].iter().map(|input| Ok(net.step(input, &nothing)?.head)).collect();
        }
    };
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

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::learners::{
        draws::{Draws, Use},
        params::Params,
        replay::Layout,
    };

    /// What is before the burn-in's end, and what was kept, matters to those who remember alone.
    #[test]
    fn without_memory_each_moment_stands_for_itself() {
        let layout =
            Layout { agents: 1, servers: 2, server_features: 3, context_features: 1, state: 0, hidden: 4 };
        let mut draws = Draws::new(1, Use::Parameters);
        let shape = layout.shape(2);
        let names = shape.parameters().into_iter().map(|(name, shape)| (name.to_owned(), shape));
        let net = Net::new(shape, &Params::new(names, &mut draws).unwrap().frozen()).unwrap();
        let mut tensor = |shape: &[usize]| {
            Tensor::from_vec(draws.normals(shape.iter().product()), shape, &Device::Cpu).unwrap()
        };
        let input = |servers: &Tensor, context: &Tensor| Input {
            servers: servers.clone(),
            context: context.clone(),
            active: Tensor::ones((1, 2), DType::F32, &Device::Cpu).unwrap(),
        };
        let (servers, context) = (tensor(&[1, 2, 3]), tensor(&[1, 1]));
        let last = input(&servers, &context);
        let [one, other] = [input(&tensor(&[1, 2, 3]), &context), input(&tensor(&[1, 2, 3]), &context)];
        let hidden = tensor(&[1, 2, 4]);
        let said = |before: &Input, memory| {
            let heads = unroll(&net, &[before.clone(), last.clone()], &hidden, memory).unwrap();
            heads.last().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(said(&one, Memory::Nothing(0)), said(&other, Memory::Nothing(0)));
        assert_eq!(said(&one, Memory::Nothing(0)), said(&one, Memory::Nothing(1)));
        assert_ne!(said(&one, Memory::From(1)), said(&other, Memory::From(1)));
    }
}
