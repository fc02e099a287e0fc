//! One cache line of the flow table: twelve tags, compared at once, and where their entries are.

use bytemuck::Zeroable;

/// Entries that a bucket refers to.
pub const LANES: usize = 12;

/// Tags, and where entries are.
#[derive(Clone, Copy, Debug, Zeroable)]
#[repr(C, align(64))]
pub struct Bucket {
    /// A tag per lane, 0 for an empty lane; the last four bytes make the vector whole, and hold `overflow`.
    tags: [u8; 16],
    entries: [u32; LANES],
}

const _: () = assert!(size_of::<Bucket>() == 64);

/// The lanes in which something was found, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matches(u32);

impl Iterator for Matches {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let lane = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(lane)
    }
}

impl Bucket {
    /// The lanes that hold `tag`.
    #[inline(always)]
    pub fn matching(&self, tag: u8) -> Matches {
        Matches(equal_bytes(self.tags, tag) & ((1 << LANES) - 1))
    }

    /// How many entries that belong here lie in the second bucket of their hash.
    #[inline]
    pub const fn overflow(&self) -> u32 {
        let [.., a, b, c, d] = self.tags;
        u32::from_le_bytes([a, b, c, d])
    }

    /// Notes that one more or one less does.
    pub fn change_overflow(&mut self, by: i32) {
        let overflow = self.overflow().wrapping_add_signed(by);
        self.tags[LANES..].copy_from_slice(&overflow.to_le_bytes());
    }

    /// An empty lane.
    #[inline]
    pub fn vacant(&self) -> Option<usize> {
        self.matching(0).next()
    }

    /// The lanes in use.
    pub fn occupied(&self) -> Matches {
        Matches(!self.matching(0).0 & ((1 << LANES) - 1))
    }

    /// The entry that `lane` refers to.
    #[inline]
    pub const fn entry(&self, lane: usize) -> u32 {
        self.entries[lane]
    }

    /// The tag of `lane`, 0 when it is empty.
    pub const fn tag(&self, lane: usize) -> u8 {
        self.tags[lane]
    }

    /// Makes `lane` refer to `entry` under `tag`.
    pub const fn fill(&mut self, lane: usize, tag: u8, entry: u32) {
        self.tags[lane] = tag;
        self.entries[lane] = entry;
    }

    /// Empties `lane`.
    pub const fn clear(&mut self, lane: usize) {
        self.tags[lane] = 0;
    }
}

/// Bit `i` says whether byte `i` of `bytes` is `byte`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(unsafe_code)]
fn equal_bytes(bytes: [u8; 16], byte: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set1_epi8};
    let vector = bytemuck::must_cast(bytes);
    // SAFETY: SSE2 is part of x86-64.
    unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(vector, _mm_set1_epi8(byte.cast_signed()))).cast_unsigned() }
}

#[cfg(not(target_arch = "x86_64"))]
fn equal_bytes(bytes: [u8; 16], byte: u8) -> u32 {
    (0..16).fold(0, |mask, at| mask | u32::from(bytes[at] == byte) << at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_found_by_tag() {
        let mut bucket = Bucket::zeroed();
        bucket.change_overflow(0x0707_0707); // must not look like tags
        for (lane, tag, entry) in [(0, 7, 100), (3, 255, 103), (11, 7, 111)] {
            bucket.fill(lane, tag, entry);
        }
        assert_eq!(bucket.matching(7).collect::<Vec<_>>(), [0, 11]);
        assert_eq!(bucket.matching(255).map(|lane| bucket.entry(lane)).collect::<Vec<_>>(), [103]);
        assert_eq!(bucket.matching(8).next(), None);
        assert_eq!(bucket.occupied().collect::<Vec<_>>(), [0, 3, 11]);
        assert_eq!(bucket.vacant(), Some(1));
        bucket.clear(0);
        assert_eq!(bucket.vacant(), Some(0));
    }
}
