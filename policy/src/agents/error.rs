//! What can be wrong with a model, by name.

use std::{io, path::PathBuf};

use super::manifest::{Manifest, SchemaId};
use crate::features::NormaliserError;

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be read.
    #[error("cannot read {path:?}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not a safetensors file, or it is cut off.
    #[error("is not a whole safetensors file: {0}")]
    Container(#[from] safetensors::SafeTensorError),
    /// It says nothing about itself.
    #[error("has no manifest under {:?} in its metadata", Manifest::KEY)]
    NoManifest,
    /// What it says about itself is not what a manifest says: a key is unknown, missing or of another type.
    #[error("has a manifest that cannot be read: {0}")]
    Manifest(#[source] serde_json::Error),
    /// Another version of the manifest.
    #[error("has manifest format {found}; this program has {}", Manifest::FORMAT)]
    Format {
        /// The version in the file.
        found: u64,
    },
    /// Another kind of agent than configured.
    #[error("is of kind {found}; the configured policy is {expected}")]
    Kind {
        /// What it is.
        found: &'static str,
        /// What is configured.
        expected: String,
    },
    /// Trained on other features.
    #[error("was trained on features {}; this program has {}", show(found), show(expected))]
    Schema {
        /// What it was trained on.
        found: SchemaId,
        /// What it would be given.
        expected: SchemaId,
    },
    /// A number of the manifest that makes no sense.
    #[error("has {what} {found}; it has to be {expected}")]
    Number {
        /// Which number.
        what: &'static str,
        /// What it is.
        found: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// The normaliser does not fit the features.
    #[error("has a normaliser for other features: {0}")]
    Normaliser(#[from] NormaliserError),
    /// Candle cannot make a network of it.
    #[error("cannot be run: {0}")]
    Candle(#[source] candle_core::Error),
    /// A tensor is not there.
    #[error("has no tensor {name:?}, which should be {expected:?}")]
    Missing {
        /// Its name.
        name: &'static str,
        /// Its shape.
        expected: Vec<usize>,
    },
    /// A tensor that no network has.
    #[error("has a tensor {name:?} that this network does not have")]
    Unknown {
        /// Its name.
        name: String,
    },
    /// A tensor of another shape than the manifest says.
    #[error("has tensor {name:?} of shape {found:?}; by its manifest it should be {expected:?}")]
    TensorShape {
        /// Which tensor.
        name: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that follows from the manifest.
        expected: Vec<usize>,
    },
    /// A tensor of another type than f32.
    #[error("has tensor {name:?} of type {found}; it has to be F32")]
    Type {
        /// Which tensor.
        name: &'static str,
        /// Its type.
        found: String,
    },
    /// A parameter that is not a number.
    #[error("has {found} as parameter {index} of tensor {name:?}; parameters have to be finite")]
    NotFinite {
        /// Which tensor.
        name: &'static str,
        /// Which of its numbers.
        index: usize,
        /// What it is.
        found: f32,
    },
}

impl ModelError {
    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Read { .. } => "give `model` a file that exists and can be read by the user that runs this",
            Self::Container(_) => "copy the file again; it was made by `weir-train train`",
            Self::NoManifest | Self::Manifest(_) | Self::Number { .. } | Self::Normaliser(_) => {
                "export the model again with `weir-train train`"
            }
            Self::Format { .. } => "use a model and a program of the same release",
            Self::Kind { .. } => {
                "set `policy` to the model's kind, or `model` to a file of the policy's kind"
            }
            Self::Schema { .. } => "train the model on this program's features, or use one that was",
            Self::Missing { .. } | Self::Unknown { .. } | Self::TensorShape { .. } | Self::Type { .. } => {
                "export the model again: its tensors and its manifest are not of one network"
            }
            Self::Candle(_) => "use the fused engine, and report this",
            Self::NotFinite { .. } => "use an earlier checkpoint: training has diverged",
        }
    }
}

fn show(schema: &SchemaId) -> String {
    let SchemaId { name, version, server_features, context_features } = schema;
    format!("{name} version {version} ({server_features} for each server, {context_features} for the VIP)")
}
