//! What a network gets to see of an observation.

/// A network's inputs at one moment: the same number for every server, and some of all of them together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    /// Row by row, one for each server of the observation. Rows of servers that are not active are zero.
    pub servers: Vec<f32>,
    /// Of the VIP as a whole.
    pub context: Vec<f32>,
    /// Which servers are active: no other one gets a weight, or counts when rows are pooled.
    pub active: Vec<bool>,
}
