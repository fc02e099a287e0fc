//! What computes a network: Candle, or the same by hand.

use candle_core::{Device, Result, Tensor};

use super::{
    fused::Fused,
    model::Model,
    net::{Input, Net},
};
use crate::features::Features;

/// The choice of what computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// By hand: faster, without allocation, and the same bits on every machine, which replay of decisions needs.
    #[default]
    Fused,
    /// Candle, the code that training runs. Its products depend on what the processor offers.
    Candle,
}

/// A network, ready to run.
#[derive(Clone, Debug)]
pub enum Network {
    /// By hand.
    Fused(Fused),
    /// On Candle.
    Candle(Net),
}

impl Network {
    /// The network of a model. Errors: Candle's own only, and none with the fused engine.
    pub fn new(model: &Model, engine: Engine) -> Result<Self> {
        Ok(match engine {
            Engine::Fused => Self::Fused(Fused::new(model)),
            Engine::Candle => Self::Candle(Net::new(model.manifest().shape(), &model.var_builder()?)?),
        })
    }

    /// One step for S servers: `hidden`, `[S, H]`, moves on, and `head`, `[S, O]`, gets what comes out. Errors: as above.
    pub fn step(&mut self, features: &Features, hidden: &mut [f32], head: &mut [f32]) -> Result<()> {
        match self {
            Self::Fused(fused) => {
                fused.step(features, hidden, head);
                Ok(())
            }
            Self::Candle(net) => step(net, features, hidden, head),
        }
    }
}

fn step(net: &Net, features: &Features, hidden: &mut [f32], head: &mut [f32]) -> Result<()> {
    let servers = features.active.len();
    if servers == 0 {
        return Ok(());
    }
    let shape = net.shape();
    let active: Vec<f32> = features.active.iter().map(|&active| f32::from(u8::from(active))).collect();
    let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu);
    let input = Input {
        servers: tensor(&features.servers, &[1, servers, shape.server_features])?,
        context: tensor(&features.context, &[1, shape.context_features])?,
        active: tensor(&active, &[1, servers])?,
    };
    let output = net.step(&input, &tensor(hidden, &[1, servers, shape.hidden])?)?;
    hidden.copy_from_slice(&output.hidden.flatten_all()?.to_vec1()?);
    head.copy_from_slice(&output.head.flatten_all()?.to_vec1()?);
    Ok(())
}
