//! Slots in the order of their values, kept from one look at them to the next.

use super::slots::SLOTS;

/// If more slots than these have changed, they are not put in their places one by one: a plain sort is as fast by then.
const FEW: u32 = 16;
/// Slots by the bits of so many words.
const WORDS: usize = SLOTS / u64::BITS as usize;

// Slots, and how many there are, are told in bytes.
const _: () = assert!(SLOTS <= u8::MAX as usize && SLOTS.is_multiple_of(u64::BITS as usize));

/// The order of the slots in use when they were looked at last, and which have got another sample since.
#[derive(Clone, Debug)]
pub struct Order {
    /// Rising by their keys; the first `known` of them.
    slots: [u8; SLOTS],
    /// 0: not known.
    known: u8,
    changed: [u64; WORDS],
}

impl Order {
    /// Of no slots.
    pub const EMPTY: Self = Self { slots: [0; SLOTS], known: 0, changed: [0; WORDS] };

    /// A slot gets another sample.
    #[inline]
    pub const fn touch(&mut self, slot: usize) {
        self.changed[slot / u64::BITS as usize] |= 1 << (slot % u64::BITS as usize);
    }

    /// Writes `keys`, one for each slot in use, to `sorted` in rising order.
    ///
    /// Keys of slots without another sample may have changed too. As long as their order is what it was, this is cheap; if
    /// not, it is a sort.
    pub fn sort(&mut self, keys: &[u64], sorted: &mut [u64]) {
        let changed = std::mem::take(&mut self.changed);
        if changed.iter().map(|word| word.count_ones()).sum::<u32>() > FEW {
            self.known = 0;
            sorted.copy_from_slice(keys);
            sorted.sort_unstable();
            return;
        }
        if self.known == 0 {
            self.find_out(keys);
        } else {
            self.put_in_place(keys, changed);
        }
        for (key, &slot) in sorted.iter_mut().zip(&self.slots) {
            *key = keys[slot as usize];
        }
        if !sorted.is_sorted() {
            sorted.sort_unstable();
        }
    }

    /// The order from nothing.
    fn find_out(&mut self, keys: &[u64]) {
        let slots = &mut self.slots[..keys.len()];
        for (slot, number) in slots.iter_mut().zip(0..) {
            *slot = number;
        }
        slots.sort_unstable_by_key(|&slot| keys[slot as usize]);
        self.known = keys.len() as u8;
    }

    /// The order from the one before.
    fn put_in_place(&mut self, keys: &[u64], changed: [u64; WORDS]) {
        let mut count = 0;
        for at in 0..self.known as usize {
            let slot = self.slots[at];
            self.slots[count] = slot;
            count += usize::from(!is_in(&changed, slot));
        }
        for (word, mut bits) in changed.into_iter().enumerate() {
            while bits != 0 {
                let slot = word * u64::BITS as usize + bits.trailing_zeros() as usize;
                let place = self.slots[..count].partition_point(|&other| keys[other as usize] < keys[slot]);
                self.slots.copy_within(place..count, place + 1);
                self.slots[place] = slot as u8;
                count += 1;
                bits &= bits - 1;
            }
        }
        self.known = count as u8;
    }
}

/// Whether the bit of a slot is set.
#[inline]
const fn is_in(bits: &[u64; WORDS], slot: u8) -> bool {
    bits[slot as usize / u64::BITS as usize] >> (slot as u32 % u64::BITS) & 1 != 0
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few slots change between two looks, or many; values come more than once; and now and then keys change in
        /// which nothing was put.
        #[test]
        fn sorted_keys_are_those_of_a_plain_sort(
            looks in prop::collection::vec(
                (prop::collection::vec((0..SLOTS, 0..40_u64), 0..40), prop::option::of(0..SLOTS)), 1..20),
        ) {
            let (mut order, mut keys) = (Order::EMPTY, Vec::new());
            for (puts, meddled) in looks {
                for (slot, key) in puts {
                    let slot = slot.min(keys.len());
                    keys.resize(keys.len().max(slot + 1), 0);
                    keys[slot] = key;
                    order.touch(slot);
                }
                if let Some(key) = meddled.and_then(|slot| keys.get_mut(slot)) {
                    *key += 7;
                }
                let mut expected = keys.clone();
                expected.sort_unstable();
                let mut sorted = vec![0; keys.len()];
                order.sort(&keys, &mut sorted);
                prop_assert_eq!(sorted, expected);
            }
        }
    }
}
