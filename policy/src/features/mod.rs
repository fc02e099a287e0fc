//! What a network gets to see of an observation: named, versioned schemas, extracted and normalised.
//!
//! A [`Schema`] says which numbers there are, an [`Extractor`] makes them from observations, and a [`Normaliser`] brings
//! them to the scale that a model was trained with. What each number means is in `docs/design/features.md`.

mod extractor;
mod memory;
mod native;
mod normaliser;
mod published;
mod schema;

pub use self::{
    extractor::{Extractor, Own},
    normaliser::{Normaliser, NormaliserError, Running},
    schema::Schema,
};

/// No feature is larger than this before it is normalised, nor smaller than its negative.
pub const LIMIT: f32 = 1e6;

/// A network's inputs at one moment: the same number for every server, and some of all of them together.
///
/// A schema of a fixed size has that many rows, whatever the number of servers is: rows of servers that there are
/// not are those of servers that are not active, and servers beyond are not seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    /// Row by row, one for each server of the observation. Rows of servers that are not active are zero.
    pub servers: Vec<f32>,
    /// Of the VIP as a whole.
    pub context: Vec<f32>,
    /// Which servers are active: no other one gets a weight, or counts when rows are pooled.
    pub active: Vec<bool>,
}

impl Features {
    /// Appends what one agent of a partitioned arrangement sees: the rows of its `size` servers, and the context.
    ///
    /// With [`Schema::Grouped18`] and four servers these are 18 numbers.
    pub fn append_group(&self, group: usize, size: usize, out: &mut Vec<f32>) {
        let width = self.servers.len().checked_div(self.active.len()).unwrap_or(0);
        out.extend(self.servers.iter().skip(group * size * width).take(size * width));
        out.extend(&self.context);
    }

    /// Appends everything: all rows, then the context. With [`Schema::Flat74`] these are 74 numbers.
    pub fn append_flat(&self, out: &mut Vec<f32>) {
        out.extend(&self.servers);
        out.extend(&self.context);
    }
}

/// What fits into a feature: finite, and not beyond [`LIMIT`].
fn bounded(value: f64) -> f32 {
    if value.is_nan() { 0.0 } else { value.clamp(f64::from(-LIMIT), f64::from(LIMIT)) as f32 }
}
