//! The hash of a five-tuple: one per packet, used for the flow bucket, the tag and the choice of server.
//!
//! Folded multiplication (as in wyhash): two multiplications for IPv4. Keyed, so that whoever does not
//! know the key cannot aim at one bucket; equal keys make several balancers agree.

/// The key of the hash; instances behind one router use the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKey([u64; 4]);

impl HashKey {
    /// The key that `seed` stands for.
    pub const fn new(seed: u64) -> Self {
        // Odd constants from the digits of pi, so that no seed gives a zero factor for all inputs.
        Self([
            0x243f_6a88_85a3_08d3 ^ seed,
            0x1319_8a2e_0370_7345,
            0xa409_3822_299f_31d1 ^ seed.rotate_left(32),
            0x082e_fa98_ec4e_6c89,
        ])
    }

    /// Mixes two words into one.
    #[inline(always)]
    pub(in crate::tables) const fn fold(a: u64, b: u64) -> u64 {
        let product = a as u128 * b as u128;
        product as u64 ^ (product >> 64) as u64
    }

    /// The hash of IPv4 addresses (source and destination) with ports and protocol as
    /// [`FlowKey::word`](super::flow::FlowKey::word) has them.
    #[inline(always)]
    pub const fn v4(self, addresses: u64, word: u64) -> u64 {
        Self::fold(Self::fold(addresses ^ self.0[0], word ^ self.0[1]) ^ self.0[2], self.0[3])
    }

    /// The same of IPv6 addresses.
    #[inline(always)]
    pub const fn v6(self, addresses: [u64; 4], word: u64) -> u64 {
        let source = Self::fold(addresses[0] ^ self.0[0], addresses[1] ^ self.0[1]);
        let destination = Self::fold(addresses[2] ^ self.0[2], addresses[3] ^ self.0[3]);
        Self::fold(Self::fold(source ^ word, destination ^ self.0[1]) ^ self.0[2], self.0[3])
    }
}

impl Default for HashKey {
    fn default() -> Self {
        Self::new(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chi-square of `counts` against uniform, in standard deviations.
    fn deviation(counts: &[u32]) -> f64 {
        let expected = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
        let chi: f64 = counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
        let freedom = counts.len() as f64 - 1.0;
        (chi - freedom) / (2.0 * freedom).sqrt()
    }

    #[test]
    fn neighbouring_flows_spread_over_low_middle_and_high_bits() {
        let key = HashKey::default();
        for shift in [0, 24, 56] {
            let mut counts = [0u32; 256];
            for flow in 0..100_000u64 {
                let client = 0x0a00_0000 + flow / 50_000;
                let sport = flow % 50_000 + 1024;
                let hash = key.v4(client << 32 | 0xcb00_710a, 6 << 32 | sport << 16 | 80);
                counts[(hash >> shift) as usize & 0xff] += 1;
            }
            assert!(deviation(&counts).abs() < 5.0, "bits from {shift}: {} sigma", deviation(&counts));
        }
    }

    #[test]
    fn every_word_and_the_seed_matter() {
        let key = HashKey::default();
        let base = key.v6([1, 2, 3, 4], 5);
        for changed in [
            key.v6([9, 2, 3, 4], 5),
            key.v6([1, 9, 3, 4], 5),
            key.v6([1, 2, 9, 4], 5),
            key.v6([1, 2, 3, 9], 5),
            key.v6([1, 2, 3, 4], 9),
            key.v6([1, 2, 3, 4], 5 | 1 << 32),
            HashKey::new(1).v6([1, 2, 3, 4], 5),
        ] {
            assert_ne!(base, changed);
        }
    }
}
