//! Weights that a policy has set, on their way to the workers.

use dataplane::time::Nanos;
use ipc::id::{ServerId, VipId};

/// New weights of one or more VIPs, made from one observation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// When what they were made from was observed.
    pub t: Nanos,
    /// The generation of the directory that they were made by: a slot that got its meaning later is not meant.
    pub generation: u64,
    /// By VIP, each at most once.
    pub vips: Vec<VipWeights>,
}

/// New weights of a VIP.
#[derive(Clone, Debug, PartialEq)]
pub struct VipWeights {
    /// Which VIP.
    pub vip: VipId,
    /// Weights in any unit, finite and above zero; servers that are not listed keep theirs. `None`: all servers back to
    /// their configured weights.
    pub servers: Option<Vec<(ServerId, f64)>>,
}

impl Weights {
    /// Adds what `newer` says; where both speak of a VIP, only the newer counts.
    ///
    /// The observation is the older one as long as something of it is left.
    pub fn merge(&mut self, newer: Self) {
        self.vips.retain(|own| newer.vips.iter().all(|other| other.vip != own.vip));
        if self.vips.is_empty() {
            *self = newer;
        } else {
            // The older generation believes less.
            self.generation = self.generation.min(newer.generation);
            self.vips.extend(newer.vips);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(t: u64, vips: &[(u32, f64)]) -> Weights {
        let of =
            |&(vip, weight)| VipWeights { vip: VipId(vip), servers: Some(vec![(ServerId(vip), weight)]) };
        Weights { t: Nanos(t), generation: t, vips: vips.iter().map(of).collect() }
    }

    #[test]
    fn newest_weights_of_each_vip_count() {
        let mut merged = weights(1, &[(0, 1.0), (1, 1.0)]);
        merged.merge(weights(2, &[(1, 2.0)]));
        assert_eq!(merged, Weights { generation: 1, ..weights(1, &[(0, 1.0), (1, 2.0)]) });
        merged.merge(weights(3, &[(1, 3.0), (0, 3.0)]));
        assert_eq!(merged, weights(3, &[(1, 3.0), (0, 3.0)]), "nothing is left of the older ones");
    }
}
