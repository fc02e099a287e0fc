//! The servers that take a VIP's new flows.

use std::{net::IpAddr, ops, sync::Arc};

use ipc::id::ServerId;

use crate::tables::hash::HashKey;

/// What a server is, whatever slot it has and wherever it stands in the list: the same on every balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Its address.
    pub address: IpAddr,
    /// The port that NAT rewrites to, if to one.
    pub port: Option<u16>,
}

/// Not the key of the flows: that one may be secret and differ, and servers cannot be chosen by clients.
const IDENTITIES: HashKey = HashKey::new(0x7765_6972);

impl Identity {
    /// A hash of the identity; different for every `purpose`.
    pub fn hash(&self, purpose: u64) -> u64 {
        let address = match self.address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let bits = address.to_bits();
        let port = self.port.map_or(0, |port| 1 << 16 | u64::from(port));
        IDENTITIES.v6([(bits >> 64) as u64, bits as u64, purpose, 0], port)
    }
}

/// A server that may take new flows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// What it is.
    pub identity: Identity,
    /// Its slot in this generation.
    pub server: ServerId,
    /// Its configured weight; takes no new flows unless this is finite and above zero.
    pub weight: f64,
}

/// Leaves those that take new flows, in the order of their identities, so that nothing that is built from them
/// depends on how the operator listed them.
pub fn eligible(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.retain(|candidate| candidate.weight.is_finite() && candidate.weight > 0.0);
    candidates.sort_unstable_by_key(|candidate| candidate.identity);
    candidates
}

/// One server as the rules see it: 16 bytes, so that a scan of all reads four per cache line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    /// Its slot.
    pub server: ServerId,
    /// Bits of its identity's hash, for ties.
    salt: u32,
    /// Its weight in force, finite and above zero.
    pub weight: f64,
}

impl Member {
    /// Its place among equals for this flow: the highest wins. Every member wins equally often.
    #[inline]
    pub(super) const fn rank(&self, hash: u64) -> u64 {
        HashKey::fold(hash ^ 0x9e37_79b9_7f4a_7c15, (self.salt as u64) << 32 | 0x85eb_ca6b)
    }
}

/// The servers that take new flows, in the order of their identities, one after the other in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members {
    members: Box<[Member]>,
    /// The same in every generation of one configuration.
    configured_weights: Arc<[f64]>,
}

impl Members {
    /// The members that [`eligible`] candidates are.
    pub(super) fn new(candidates: &[Candidate]) -> Self {
        let member = |candidate: &Candidate| Member {
            server: candidate.server,
            salt: (candidate.identity.hash(0) >> 32) as u32,
            weight: candidate.weight,
        };
        Self {
            members: candidates.iter().map(member).collect(),
            configured_weights: candidates.iter().map(|candidate| candidate.weight).collect(),
        }
    }

    /// The same servers with other weights in force: those that `learned` has and that are finite and above zero, else
    /// the configured ones.
    pub(super) fn reweighed(&self, learned: impl Fn(ServerId) -> Option<f64>) -> Self {
        let usable = |weight: &f64| weight.is_finite() && *weight > 0.0;
        let weight =
            |member: &Member, configured| learned(member.server).filter(usable).unwrap_or(configured);
        let members = self.members.iter().zip(&*self.configured_weights);
        Self {
            members: members
                .map(|(member, &configured)| Member { weight: weight(member, configured), ..*member })
                .collect(),
            configured_weights: Arc::clone(&self.configured_weights),
        }
    }

    /// Their weights in the configuration, in their order.
    pub fn configured_weights(&self) -> &[f64] {
        &self.configured_weights
    }
}

impl ops::Deref for Members {
    type Target = [Member];

    #[inline]
    fn deref(&self) -> &[Member] {
        &self.members
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(address: &str, port: Option<u16>) -> Identity {
        Identity { address: address.parse().unwrap(), port }
    }

    #[test]
    fn identities_differ_by_address_port_and_purpose() {
        let hashes: std::collections::HashSet<u64> = [
            identity("198.51.100.11", None),
            identity("198.51.100.12", None),
            identity("198.51.100.11", Some(0)),
            identity("198.51.100.11", Some(80)),
            identity("2001:db8::11", None),
        ]
        .iter()
        .flat_map(|identity| [identity.hash(0), identity.hash(1)])
        .collect();
        assert_eq!(hashes.len(), 10);
    }

    #[test]
    fn only_weighted_servers_are_eligible_in_the_order_of_their_identities() {
        let candidate = |last: u8, weight| Candidate {
            identity: identity(&format!("198.51.100.{last}"), None),
            server: ServerId(u32::from(last)),
            weight,
        };
        let weights = [1.0, 0.0, -1.0, f64::NAN, f64::INFINITY, 1e-300];
        let candidates = (1..).zip(weights).map(|(at, weight)| candidate(20 - at, weight)).collect();
        let eligible: Vec<u32> = eligible(candidates).iter().map(|candidate| candidate.server.0).collect();
        assert_eq!(eligible, [14, 19]);
    }

    #[test]
    fn every_member_wins_ties_equally_often() {
        let candidates: Vec<Candidate> = (0..5)
            .map(|at| Candidate {
                identity: identity(&format!("198.51.100.{}", 11 + at), None),
                server: ServerId(at),
                weight: 1.0,
            })
            .collect();
        let members = Members::new(&candidates);
        let mut wins = [0u32; 5];
        for flow in 0..50_000u64 {
            let hash = HashKey::default().v4(flow, 80);
            let winner = members.iter().max_by_key(|member| member.rank(hash)).unwrap();
            wins[winner.server.index()] += 1;
        }
        for count in wins {
            assert!((f64::from(count) - 10_000.0).abs() < 5.0 * 90.0, "{wins:?}"); // 5 standard deviations
        }
    }
}
