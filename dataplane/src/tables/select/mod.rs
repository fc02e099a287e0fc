//! Which server a new flow goes to.
//!
//! A [`Selector`] holds what its rule needs, prepared with the generation: choosing allocates nothing, takes no
//! lock and has no randomness of its own. It is given the flow's hash and, for the rules that look at load, a
//! [`Load`]. `docs/design/selection.md` says what each rule promises.

pub mod alias;
pub mod coupling;
pub mod maglev;
pub mod members;
mod selector;
#[cfg(test)]
mod tests;

use ipc::id::{LcoreId, ServerId, VipId};

use super::hash::HashKey;

pub use self::{
    maglev::Rings,
    members::{Candidate, Identity, Members},
    selector::Selector,
};

/// The rules by which a server is chosen for a new flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Select {
    /// By the flow's hash, all servers alike.
    Hash,
    /// A weighted draw from an alias table, driven by the flow's hash.
    Alias,
    /// The weighted Maglev ring, driven by the flow's hash.
    Maglev,
    /// The server with the fewest flows.
    Lsq,
    /// Of two drawn servers the one with fewer flows.
    Lsq2,
    /// The server with the smallest `(flows + 1) / weight`.
    Sed,
    /// Of two drawn servers the one with the smaller `(flows + 1) / weight`.
    #[default]
    Sed2,
    /// One server after the other.
    RoundRobin,
}

impl Select {
    /// Every rule.
    pub const ALL: [Self; 8] = [
        Self::Hash,
        Self::Alias,
        Self::Maglev,
        Self::Lsq,
        Self::Lsq2,
        Self::Sed,
        Self::Sed2,
        Self::RoundRobin,
    ];

    /// Whether the rule looks at the servers' live flows.
    pub const fn counts_flows(self) -> bool {
        matches!(self, Self::Lsq | Self::Lsq2 | Self::Sed | Self::Sed2)
    }

    /// Whether learned weights act. The other rules go by the configured ones, or by none.
    pub const fn follows_learned_weights(self) -> bool {
        matches!(self, Self::Alias | Self::Lsq2 | Self::Sed | Self::Sed2)
    }

    /// Whether the choice depends on nothing but the flow's hash and the generation, so that a packet
    /// without state goes where the flow's first packet went: always while the weights in force are the configured ones,
    /// else as often as can be.
    pub const fn is_stateless(self) -> bool {
        matches!(self, Self::Hash | Self::Alias | Self::Maglev)
    }
}

/// What an lcore knows beyond the generation when it chooses.
pub trait Load {
    /// Live flows of a server over all lcores: exact for this one, at most one period old for the others.
    fn live_flows(&self, server: ServerId) -> u64;

    /// Takes a turn in the rotation of a VIP; returns how many this lcore has taken before.
    fn take_turn(&self, vip: VipId) -> u64;

    /// Which lcore this is.
    fn lcore(&self) -> LcoreId;
}

/// Another hash of the same flow for each `purpose`.
#[inline]
const fn remix(hash: u64, purpose: u64) -> u64 {
    HashKey::fold(hash ^ 0xa409_3822_299f_31d1, 0x9e37_79b9_7f4a_7c15 ^ purpose << 1)
}

/// A number in `0..n` by the high half of `hash`, all alike; 0 when `n` is 0. `n` is below 2^32.
#[inline]
const fn below(hash: u64, n: usize) -> usize {
    (((hash >> 32) * n as u64) >> 32) as usize
}
