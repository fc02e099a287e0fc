//! A read-only hash map for the packet path.

/// A key of at most a few words that hashes itself.
pub trait Key: Copy + Eq {
    /// A hash whose low bits are good.
    fn hash(&self) -> u64;
}

/// An immutable map from `K` to an index, by open addressing at most half full.
///
/// Built by the control thread with a generation; a lookup touches one cache line as a rule.
#[derive(Clone, Debug)]
pub struct Exact<K> {
    slots: Box<[Option<(K, u32)>]>,
}

impl<K: Key> Exact<K> {
    /// A map of `entries`; of equal keys the first one counts.
    pub fn new(entries: &[(K, u32)]) -> Self {
        let mut slots = vec![None; (entries.len() * 2 + 1).next_power_of_two()].into_boxed_slice();
        let mask = slots.len() - 1;
        for &(key, value) in entries {
            let mut at = key.hash() as usize & mask;
            while slots[at].is_some_and(|(other, _)| other != key) {
                at = (at + 1) & mask;
            }
            slots[at].get_or_insert((key, value));
        }
        Self { slots }
    }

    /// The value of `key`.
    #[inline]
    pub fn get(&self, key: K) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = key.hash() as usize & mask;
        // Ends: at least half of the slots are empty.
        while let Some((other, value)) = self.slots[at & mask] {
            if other == key {
                return Some(value);
            }
            at += 1;
        }
        None
    }

    /// Whether there is nothing in the map.
    pub fn is_empty(&self) -> bool {
        self.slots.len() == 1
    }
}

impl<K: Key> Default for Exact<K> {
    fn default() -> Self {
        Self::new(&[])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    impl Key for u8 {
        fn hash(&self) -> u64 {
            u64::from(*self & 7) // collide on purpose
        }
    }

    proptest! {
        #[test]
        fn map_agrees_with_the_standard_one(entries in prop::collection::vec((any::<u8>(), any::<u32>()), 0..200)) {
            let map = Exact::new(&entries);
            let model: HashMap<_, _> = entries.iter().rev().copied().collect();
            for key in 0..=u8::MAX {
                prop_assert_eq!(map.get(key), model.get(&key).copied());
            }
            prop_assert_eq!(map.is_empty(), entries.is_empty());
        }
    }
}
