//! The parameters of networks, by name and in the order of their names.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;

use super::{
    draws::Draws,
    saved::{Saved, SavedError},
};

/// Named variables.
///
/// In the order of their names always: a sum over all of them (the norm of a gradient) has the same bits in every run.
#[derive(Clone, Debug)]
pub struct Params {
    vars: BTreeMap<String, Var>,
}

impl Params {
    /// Fresh parameters, each evenly within ±1/√n, n being the last size of its shape, or for a bias that of the weight in
    /// front: PyTorch's way for linear layers, and for a GRU whose input is as wide as its state.
    pub fn new(
        parameters: impl IntoIterator<Item = (String, Vec<usize>)>,
        draws: &mut Draws,
    ) -> candle_core::Result<Self> {
        let mut vars = BTreeMap::new();
        let mut bound = 1.0;
        for (name, shape) in parameters {
            if shape.len() > 1 {
                bound = 1.0 / (shape[shape.len() - 1].max(1) as f64).sqrt();
            }
            let count: usize = shape.iter().product();
            let values: Vec<f32> =
                (0..count).map(|_| ((draws.uniform() * 2.0 - 1.0) * bound) as f32).collect();
            vars.insert(name, Var::from_vec(values, shape, &Device::Cpu)?);
        }
        Ok(Self { vars })
    }

    /// Variables of their own with the same values.
    pub fn copy(&self) -> candle_core::Result<Self> {
        let copies = self.vars.iter().map(|(name, var)| Ok((name.clone(), Var::from_tensor(&var.copy()?)?)));
        Ok(Self { vars: copies.collect::<candle_core::Result<_>>()? })
    }

    /// To build networks on through which gradients flow.
    pub fn trained(&self) -> VarBuilder<'static> {
        self.builder(|var| var.as_tensor().clone())
    }

    /// To build networks on that follow the same values and through which no gradients flow.
    pub fn frozen(&self) -> VarBuilder<'static> {
        self.builder(Var::as_detached_tensor)
    }

    fn builder(&self, tensor: impl Fn(&Var) -> Tensor) -> VarBuilder<'static> {
        let tensors = self.vars.iter().map(|(name, var)| (name.clone(), tensor(var))).collect();
        VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.vars.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.vars.get(name)
    }

    /// All numbers, by the names.
    pub fn save(&self) -> candle_core::Result<Saved> {
        let mut saved = Saved::default();
        for (name, var) in self.iter() {
            saved.put_numbers(name, var.dims(), values(var)?);
        }
        Ok(saved)
    }

    /// Takes over what [`Params::save`] gave. If anything does not fit, nothing changes.
    pub fn restore(&self, saved: &Saved) -> Result<(), SavedError> {
        saved.check(&self.save()?)?;
        for (name, var) in self.iter() {
            set(var, saved.numbers(name)?.1.to_vec())?;
        }
        Ok(())
    }

    /// Sets those to zero whose names start with `prefix`: so that a head says nothing before it has learned.
    pub fn zero(&self, prefix: &str) -> candle_core::Result<()> {
        self.iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .try_for_each(|(_, var)| var.set(&var.zeros_like()?))
    }

    /// Moves each value the share `rate` of the way to that of `other`, which has the same names: 1 copies.
    pub fn approach(&self, other: &Self, rate: f64) -> candle_core::Result<()> {
        for (name, var) in &self.vars {
            let there = values(&other.vars[name])?;
            let here = values(var)?;
            let moved = here.iter().zip(there).map(|(here, there)| here + rate as f32 * (there - here));
            set(var, moved.collect())?;
        }
        Ok(())
    }
}

/// The numbers of a variable.
pub fn values(var: &Var) -> candle_core::Result<Vec<f32>> {
    var.as_tensor().flatten_all()?.to_vec1()
}

/// Gives a variable other numbers.
pub fn set(var: &Var, values: Vec<f32>) -> candle_core::Result<()> {
    var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu)?)
}
