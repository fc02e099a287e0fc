//! Who is at which Ethernet address, as known when a generation was built.

use std::collections::HashMap;

use super::route::NextHop;
use crate::wire::Mac;

/// The resolved neighbours of all ports.
///
/// The packet path reads it for the rare packet without a prepared header (a NAT reply to a client);
/// the control thread keeps it up to date by ARP, NDP and the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbors(HashMap<NextHop, Mac>);

impl Neighbors {
    /// The Ethernet address of `hop`, if it is resolved.
    pub fn get(&self, hop: NextHop) -> Option<Mac> {
        self.0.get(&hop).copied()
    }

    /// How many neighbours are resolved.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is resolved.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(NextHop, Mac)> for Neighbors {
    fn from_iter<I: IntoIterator<Item = (NextHop, Mac)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}
