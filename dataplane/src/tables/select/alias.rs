//! Weighted choice in O(1): the alias method.

use std::sync::Arc;

use super::below;

/// One slot: below `threshold` the draw is `own`, from there on `alias`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slot {
    threshold: u32,
    own: u32,
    alias: u32,
}

/// Draws from a list in proportion to weights.
///
/// Built in O(n) by Vose's method ("A linear algorithm for generating random numbers with a given
/// distribution", 1991). Equal inputs give equal tables, so every lcore and every balancer agrees. A clone shares the
/// memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AliasTable {
    slots: Arc<[Slot]>,
}

impl AliasTable {
    /// A table over a list of at most 2^32 items with these weights.
    ///
    /// Weights that are not finite and above zero count as zero. When none is left, the table is empty.
    pub fn new(weights: &[f64]) -> Self {
        let items: Vec<(u32, f64)> =
            (0u32..).zip(weights.iter().copied()).filter(|&(_, w)| w.is_finite() && w > 0.0).collect();
        // Dividing by the largest first keeps the sum finite, whatever the scale of the weights.
        let largest = items.iter().map(|&(_, weight)| weight).fold(0.0, f64::max);
        let total: f64 = items.iter().map(|&(_, weight)| weight / largest).sum();
        let mean = total / items.len() as f64;
        // What each slot still has to give away, in units of a full slot.
        let mut share: Vec<f64> = items.iter().map(|&(_, weight)| weight / largest / mean).collect();
        let mut slots: Vec<Slot> =
            items.iter().map(|&(item, _)| Slot { threshold: u32::MAX, own: item, alias: item }).collect();
        let (mut small, mut large): (Vec<_>, Vec<_>) = (0..share.len()).partition(|&slot| share[slot] < 1.0);
        while let (Some(&under), Some(&over)) = (small.last(), large.last()) {
            small.pop();
            slots[under].threshold = threshold(share[under]);
            slots[under].alias = items[over].0;
            share[over] -= 1.0 - share[under];
            if share[over] < 1.0 {
                large.pop();
                small.push(over);
            }
        }
        Self { slots: slots.into() }
    }

    /// The index of the item that is drawn, or `None` when nothing has a weight.
    ///
    /// `hash` is the five-tuple hash; its high 32 bits choose the slot, its low 32 the side.
    #[inline]
    pub fn draw(&self, hash: u64) -> Option<usize> {
        let slot = self.slots.get(below(hash, self.slots.len()))?;
        Some(if (hash as u32) < slot.threshold { slot.own } else { slot.alias } as usize)
    }

    /// The probability of each item, as the table realises it; an item may come several times.
    pub fn probabilities(&self) -> impl Iterator<Item = (usize, f64)> {
        let weight = 1.0 / self.slots.len() as f64;
        self.slots.iter().flat_map(move |slot| {
            let own = f64::from(slot.threshold) / 2f64.powi(32) * weight;
            [(slot.own as usize, own), (slot.alias as usize, weight - own)]
        })
    }
}

/// A share in 0..1 of the range of `u32`.
fn threshold(share: f64) -> u32 {
    (share * 2f64.powi(32)) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn shares(table: &AliasTable) -> HashMap<usize, f64> {
        let mut shares = HashMap::new();
        for (item, probability) in table.probabilities() {
            *shares.entry(item).or_default() += probability;
        }
        shares
    }

    #[test]
    fn nothing_is_drawn_without_weights() {
        for weights in [&[][..], &[0.0], &[f64::NAN, -1.0, f64::INFINITY]] {
            assert_eq!(AliasTable::new(weights).draw(u64::MAX), None);
        }
    }

    #[test]
    fn scale_of_the_weights_does_not_matter() {
        for scale in [1e-300, 1e-7, 1.0, 1e300] {
            let shares = shares(&AliasTable::new(&[scale, 2.0 * scale, 4.0 * scale]));
            for (item, expected) in [(0, 1.0 / 7.0), (1, 2.0 / 7.0), (2, 4.0 / 7.0)] {
                assert!((shares[&item] - expected).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn corners_of_the_hash_are_drawn() {
        let table = AliasTable::new(&[1.0, 3.0]);
        for hash in [0, u64::MAX, u64::from(u32::MAX), u64::from(u32::MAX) << 32] {
            assert!(table.draw(hash).is_some());
        }
    }

    proptest! {
        #[test]
        fn probabilities_are_the_weights(weights in prop::collection::vec(0.0..20.0f64, 1..200)) {
            let table = AliasTable::new(&weights);
            let total: f64 = weights.iter().sum();
            prop_assume!(total > 0.0);
            let shares = shares(&table);
            for (item, weight) in weights.iter().enumerate() {
                let share = shares.get(&item).copied().unwrap_or(0.0);
                prop_assert!((share - weight / total).abs() < 1e-8, "item {item}");
                prop_assert!(*weight > 0.0 || share == 0.0);
            }
        }
    }
}
