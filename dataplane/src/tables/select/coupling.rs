//! Draws by learned weights that are draws by the configured weights as often as can be.

use super::{alias::AliasTable, remix};

/// Weights whose shares differ by less than this, relatively, are the same.
const SAME: f64 = 1e-9;

/// What [`remix`] is for here: whether a draw stays, and where it goes.
const STAY: u64 = 5;
const GO: u64 = 6;

/// Turns a draw by one list of weights into a draw by another, and leaves it as it is as often as can be.
///
/// A draw of item `i`, which has the share `c_i` and is to have `w_i`, stays with probability `min(1, w_i / c_i)`. Else
/// it becomes a draw by what the others lack, `max(0, w_j - c_j)`. So item `i` comes with probability
/// `min(c_i, w_i) + max(0, w_i - c_i) = w_i`, and draws change with probability `Σ max(0, w_j - c_j)`: half the
/// difference of the shares, and no pair of draws can differ less often (the maximal coupling).
#[derive(Clone, Debug, PartialEq)]
pub struct Coupling {
    /// By item: its draw stays when 32 bits of the flow's hash are not above this.
    stay: Box<[u32]>,
    lacking: AliasTable,
}

impl Coupling {
    /// From draws by `configured` to draws by `wanted`: of one length, finite and above zero. `None`: their shares are
    /// the same.
    pub fn new(configured: &[f64], wanted: &[f64]) -> Option<Self> {
        let (configured, wanted) = (shares(configured), shares(wanted));
        let ratios = || configured.iter().zip(&wanted).map(|(configured, wanted)| wanted / configured);
        if ratios().all(|ratio| (ratio - 1.0).abs() <= SAME) {
            return None;
        }
        let stay = ratios().map(|ratio| if ratio >= 1.0 { u32::MAX } else { (ratio * 2f64.powi(32)) as u32 });
        let lacking: Vec<f64> = configured
            .iter()
            .zip(&wanted)
            .map(|(configured, wanted)| (wanted - configured).max(0.0))
            .collect();
        Some(Self { stay: stay.collect(), lacking: AliasTable::new(&lacking) })
    }

    /// What becomes of a draw of item `drawn` for the flow with this hash.
    #[inline]
    pub fn apply(&self, drawn: usize, hash: u64) -> usize {
        match self.stay.get(drawn) {
            Some(&limit) if remix(hash, STAY) as u32 > limit => {
                self.lacking.draw(remix(hash, GO)).unwrap_or(drawn)
            }
            _ => drawn,
        }
    }
}

/// Parts of one, whatever the scale.
fn shares(weights: &[f64]) -> Vec<f64> {
    // Dividing by the largest first keeps the sum finite; and none is zero, so that ratios are numbers.
    let largest = weights.iter().copied().fold(0.0, f64::max);
    let scaled: Vec<f64> = weights.iter().map(|weight| (weight / largest).max(f64::MIN_POSITIVE)).collect();
    let total: f64 = scaled.iter().sum();
    scaled.into_iter().map(|weight| weight / total).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tables::hash::HashKey;

    #[test]
    fn equal_shares_need_no_coupling() {
        assert_eq!(Coupling::new(&[1.0, 2.0, 3.0], &[10.0, 20.0, 30.0]), None);
        assert_eq!(Coupling::new(&[0.1; 3], &[0.3; 3]), None);
        assert_eq!(Coupling::new(&[1e300, 1e-300], &[1e300, 1e-300]), None);
        assert!(Coupling::new(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.001]).is_some());
    }

    /// The shares that come out, exactly but for the rounding of thresholds.
    fn outcome(configured: &[f64], coupling: &Coupling) -> Vec<f64> {
        let mut outcome = vec![0.0; configured.len()];
        let mut moved = 0.0;
        for (item, share) in shares(configured).into_iter().enumerate() {
            let stays = share * (f64::from(coupling.stay[item]) + 1.0) / 2f64.powi(32);
            outcome[item] += stays;
            moved += share - stays;
        }
        for (item, probability) in coupling.lacking.probabilities() {
            outcome[item] += moved * probability;
        }
        outcome
    }

    proptest! {
        #[test]
        fn draws_become_draws_by_the_wanted_weights(
            weights in prop::collection::vec((0.001..1000.0f64, 0.001..1000.0f64), 2..100),
        ) {
            let (configured, wanted): (Vec<f64>, Vec<f64>) = weights.into_iter().unzip();
            prop_assume!(shares(&configured).iter().zip(shares(&wanted)).any(|(a, b)| (a / b - 1.0).abs() > 1e-6));
            let coupling = Coupling::new(&configured, &wanted).unwrap();
            for (found, wanted) in outcome(&configured, &coupling).into_iter().zip(shares(&wanted)) {
                prop_assert!((found - wanted).abs() < 1e-8, "{found} for {wanted}");
            }
        }

        #[test]
        fn any_weights_keep_draws_within_the_list(
            weights in prop::collection::vec((prop::num::f64::POSITIVE, prop::num::f64::POSITIVE), 1..20),
            hashes in prop::collection::vec(any::<u64>(), 1..50),
        ) {
            let finite = |weight: f64| if weight.is_finite() && weight > 0.0 { weight } else { 1.0 };
            let (configured, wanted): (Vec<f64>, Vec<f64>) =
                weights.iter().map(|&(a, b)| (finite(a), finite(b))).unzip();
            if let Some(coupling) = Coupling::new(&configured, &wanted) {
                for hash in hashes {
                    for drawn in 0..configured.len() {
                        prop_assert!(coupling.apply(drawn, hash) < configured.len());
                    }
                }
            }
        }
    }

    #[test]
    fn no_more_draws_change_than_the_shares_differ() {
        let (configured, wanted) = ([1.0, 1.0, 1.0, 1.0], [1.2, 1.0, 1.0, 0.8]);
        let coupling = Coupling::new(&configured, &wanted).unwrap();
        let flows = 100_000;
        let changed = (0..flows).filter(|&flow| {
            let drawn = (flow % 4) as usize;
            coupling.apply(drawn, HashKey::default().v4(flow, 80)) != drawn
        });
        let changed = changed.count() as f64 / flows as f64;
        assert!((changed - 0.05).abs() < 0.004, "{changed}"); // 5 standard deviations
    }
}
