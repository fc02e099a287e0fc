//! A model: a manifest and parameters, as a safetensors file.

use std::{collections::HashMap, fs, path::Path};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::Deserialize;

use super::{
    error::ModelError,
    manifest::{Expected, Manifest},
    shape::Parameter,
};
use crate::features::Schema;

/// Parameters that fit what is said about them, all finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    manifest: Manifest,
    schema: Schema,
    /// In the order of [`super::Shape::parameters`].
    tensors: Vec<Vec<f32>>,
}

/// The part of a manifest that every version has.
#[derive(Deserialize)]
struct Version {
    format: u64,
}

impl Model {
    /// A model of these parameters, which are asked for by name and shape; `expected` is what it will be run as.
    pub fn new(
        manifest: Manifest,
        expected: &Expected<'_>,
        mut tensor: impl FnMut(&Parameter) -> Result<Vec<f32>, ModelError>,
    ) -> Result<Self, ModelError> {
        manifest.check(expected)?;
        let parameters = manifest.shape().parameters();
        let tensors = parameters.iter().map(|parameter| {
            let values = tensor(parameter)?;
            check(parameter, &[values.len()], &[parameter.1.iter().product()])?;
            match values.iter().position(|value| !value.is_finite()) {
                Some(index) => Err(ModelError::NotFinite { name: parameter.0, index, found: values[index] }),
                None => Ok(values),
            }
        });
        Ok(Self { tensors: tensors.collect::<Result<_, _>>()?, manifest, schema: expected.schema })
    }

    /// Reads a file.
    pub fn load(path: &Path, expected: &Expected<'_>) -> Result<Self, ModelError> {
        let bytes = fs::read(path).map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
        Self::from_bytes(&bytes, expected)
    }

    /// Reads what a file of either policy holds, as what it says it is.
    pub fn of_any_policy(bytes: &[u8]) -> Result<Self, ModelError> {
        Self::of_policy(bytes, Manifest::of(bytes)?.kind.policy())
    }

    /// Reads what a file holds, as a model of this policy on the features that it was trained on. Of a profile of features that
    /// there is not, the error says so.
    pub fn of_policy(bytes: &[u8], policy: &str) -> Result<Self, ModelError> {
        let schema = Schema::parse(&Manifest::of(bytes)?.schema.name).unwrap_or(Schema::Native);
        Self::from_bytes(bytes, &Expected { policy, schema })
    }

    /// Reads what a file holds.
    pub fn from_bytes(bytes: &[u8], expected: &Expected<'_>) -> Result<Self, ModelError> {
        let manifest = Manifest::of(bytes)?;
        let file = SafeTensors::deserialize(bytes)?;
        manifest.check(expected)?;
        let known = manifest.shape().parameters();
        let mut names = file.names();
        names.sort_unstable();
        if let Some(name) = names.into_iter().find(|name| known.iter().all(|(known, _)| known != name)) {
            return Err(ModelError::Unknown { name: name.to_owned() });
        }
        Self::new(manifest, expected, |parameter| {
            let (name, shape) = parameter;
            let view =
                file.tensor(name).map_err(|_| ModelError::Missing { name, expected: shape.clone() })?;
            check(parameter, view.shape(), shape)?;
            if view.dtype() != Dtype::F32 {
                return Err(ModelError::Type { name, found: format!("{:?}", view.dtype()) });
            }
            // The file is little-endian and its numbers need not be aligned.
            let words = view.data().chunks_exact(size_of::<f32>());
            Ok(words.map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect())
        })
    }

    /// What a file holds. The same model gives the same bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        let parameters = self.manifest.shape().parameters();
        let data = parameters.iter().zip(&self.tensors).map(|((name, shape), values)| {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (*name, shape, bytes)
        });
        let data: Vec<_> = data.collect();
        let views = data.iter().map(|(name, shape, bytes)| {
            Ok::<_, ModelError>((*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes)?))
        });
        let views = views.collect::<Result<Vec<_>, _>>()?;
        let text = serde_json::to_string(&self.manifest).map_err(ModelError::Manifest)?;
        let metadata = HashMap::from([(Manifest::KEY.to_owned(), text)]);
        Ok(safetensors::serialize(views, Some(metadata))?)
    }

    /// What it says about itself.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The features that it sees.
    pub const fn schema(&self) -> Schema {
        self.schema
    }

    /// The numbers of a tensor, row by row.
    ///
    /// # Panics
    ///
    /// If no network has a tensor of this name.
    pub fn tensor(&self, name: &str) -> &[f32] {
        let parameters = self.manifest.shape().parameters();
        let index = parameters.iter().position(|&(known, _)| known == name);
        &self.tensors[index.expect("names are those of `Shape::parameters`")]
    }

    /// Its parameters as plain tensors, through which no gradient flows.
    pub fn var_builder(&self) -> candle_core::Result<VarBuilder<'static>> {
        let parameters = self.manifest.shape().parameters();
        let tensors = parameters.into_iter().zip(&self.tensors).map(|((name, shape), values)| {
            Ok((name.to_owned(), Tensor::from_slice(values, shape, &Device::Cpu)?))
        });
        let tensors = tensors.collect::<candle_core::Result<_>>()?;
        Ok(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))
    }
}

impl Manifest {
    /// What a file says about itself.
    pub fn of(bytes: &[u8]) -> Result<Self, ModelError> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let metadata = header.metadata().as_ref().ok_or(ModelError::NoManifest)?;
        let text = metadata.get(Manifest::KEY).ok_or(ModelError::NoManifest)?;
        let version: Version = serde_json::from_str(text).map_err(ModelError::Manifest)?;
        if version.format != u64::from(Manifest::FORMAT) {
            return Err(ModelError::Format { found: version.format });
        }
        serde_json::from_str(text).map_err(ModelError::Manifest)
    }
}

fn check((name, _): &Parameter, found: &[usize], expected: &[usize]) -> Result<(), ModelError> {
    if found == expected {
        return Ok(());
    }
    Err(ModelError::TensorShape { name, found: found.to_vec(), expected: expected.to_vec() })
}
