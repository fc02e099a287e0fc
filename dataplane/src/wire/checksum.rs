//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// The one's complement sum of `bytes` as big-endian 16-bit words, not folded, added to `sum`.
#[inline]
pub fn add(sum: u32, bytes: &[u8]) -> u32 {
    let mut words = bytes.chunks_exact(2);
    let mut sum = sum;
    for word in &mut words {
        sum += u32::from(u16::from_be_bytes([word[0], word[1]]));
    }
    match words.remainder() {
        [last] => sum + (u32::from(*last) << 8),
        _ => sum,
    }
}

/// Folds a sum to 16 bits.
#[inline]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The one's complement sum of two words.
#[inline(always)]
pub const fn add16(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u16 // no second carry: two words that carry sum to at most 0xfffe without it
}

/// The checksum of `bytes`: what goes into the header when its checksum field counts as zero.
pub fn of(bytes: &[u8]) -> u16 {
    !fold(add(0, bytes))
}

/// The sum over the pseudo-header of IPv4 (RFC 9293 §3.1) or IPv6 (RFC 8200 §8.1), not folded.
///
/// `addresses` is source and destination, one behind the other; `length` that of the upper layer in bytes.
pub fn pseudo_header(addresses: &[u8], protocol: u8, length: usize) -> u32 {
    let length = length as u32; // an IP packet, below 64 KiB
    add(0, addresses) + u32::from(protocol) + (length >> 16) + (length & 0xffff)
}

/// A change of header words, collected first and then applied to any checksum that covers them.
///
/// Equation 3 of RFC 1624: `HC' = ~(~HC + ~m + m')`, which never turns a right checksum into a wrong
/// one, not even around zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delta(u32);

impl Delta {
    /// The replacement of the bytes `old` by `new`, both of the same even length.
    #[inline]
    pub fn replace(self, old: &[u8], new: &[u8]) -> Self {
        let mut sum = self.0;
        for (old, new) in old.chunks_exact(2).zip(new.chunks_exact(2)) {
            sum += u32::from(!u16::from_be_bytes([old[0], old[1]]));
            sum += u32::from(u16::from_be_bytes([new[0], new[1]]));
        }
        Self(sum)
    }

    /// The checksum that takes the place of `checksum`.
    #[inline]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold((!checksum) as u32 + self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn example_of_rfc_1071() {
        assert_eq!(fold(add(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
    }

    #[test]
    fn odd_byte_counts_as_the_high_half() {
        assert_eq!(of(&[0x12]), !0x1200);
    }

    #[test]
    fn example_of_rfc_1624_does_not_give_minus_zero() {
        // §4: HC = 0xdd2f, m = 0x5555, m' = 0x3285 gives 0x0000, not 0xffff.
        assert_eq!(Delta::default().replace(&[0x55, 0x55], &[0x32, 0x85]).apply(0xdd2f), 0x0000);
    }

    proptest! {
        #[test]
        fn words_are_added_as_in_a_wider_sum(a in any::<u16>(), b in any::<u16>()) {
            prop_assert_eq!(add16(a, b), fold(u32::from(a) + u32::from(b)));
        }

        #[test]
        fn incremental_update_equals_recomputation(
            mut bytes in prop::collection::vec(any::<u8>(), 40),
            new in prop::collection::vec(any::<u8>(), 8),
            at in 0usize..16,
        ) {
            let at = at * 2;
            let before = of(&bytes);
            let delta = Delta::default().replace(&bytes[at..at + 8], &new);
            bytes[at..at + 8].copy_from_slice(&new);
            // 0x0000 and 0xffff are the same number; only all-zero data tells them apart.
            prop_assume!(bytes.iter().any(|&byte| byte != 0));
            prop_assert_eq!(delta.apply(before), of(&bytes));
        }
    }
}
