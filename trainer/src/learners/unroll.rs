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

/// What a network says from the first moment that counts on, of so many of a batch: `[(T − first)·N, S, O]`, moment by moment.
/// `hidden` is from before all of them, `[N, S, H]`.
pub fn unroll(net: &Net, inputs: &Input, moments: usize, hidden: &Tensor, memory: Memory) -> Result<Tensor> {
    let rows = hidden.dim(0)?;
    let (Memory::From(first) | Memory::Nothing(first)) = memory;
    let counted = inputs.moments(rows, first, moments - first)?;
    let hidden = match memory {
        // All at once, none after another.
        Memory::Nothing(_) => hidden.zeros_like()?.repeat((moments - first, 1, 1))?,
        Memory::From(0) => hidden.clone(),
        Memory::From(first) => {
            let warm = net.detach().sequence(&inputs.moments(rows, 0, first)?, hidden)?.hidden;
            warm.narrow(0, (first - 1) * rows, rows)?
        }
    };
    Ok(net.sequence(&counted, &hidden)?.head)
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
        let last = tensor(&[1, 2, 3]);
        let [one, other] = [tensor(&[1, 2, 3]), tensor(&[1, 2, 3])];
        let (context, hidden) = (tensor(&[2, 1]), tensor(&[1, 2, 4]));
        let said = |before: &Tensor, memory| {
            let inputs = Input {
                servers: Tensor::cat(&[before, &last], 0).unwrap(),
                context: context.clone(),
                active: Tensor::ones((2, 2), DType::F32, &Device::Cpu).unwrap(),
            };
            let heads = unroll(&net, &inputs, 2, &hidden, memory).unwrap();
            let heads = heads.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            heads[heads.len() - 4..].to_vec()
        };
        assert_eq!(said(&one, Memory::Nothing(0)), said(&other, Memory::Nothing(0)));
        assert_eq!(said(&one, Memory::Nothing(0)), said(&one, Memory::Nothing(1)));
        assert_ne!(said(&one, Memory::From(1)), said(&other, Memory::From(1)));
    }
}
