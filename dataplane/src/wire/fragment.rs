//! Where a fragment belongs in its datagram (RFC 791 §3.2, RFC 8200 §4.5).

/// Most bytes that the fragments of a datagram can make up.
const MOST: usize = 65_535;

/// What the headers of a fragment say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The same for all fragments of a datagram.
    pub id: u32,
    /// Where its payload belongs, in bytes; a multiple of eight.
    pub offset: u16,
    /// Whether others belong behind it.
    pub more: bool,
}

impl Fragment {
    /// From the word that holds offset and the bits beside it in multiples of eight bytes.
    pub(super) const fn new(id: u32, offset_units: u16, more: bool) -> Self {
        Self { id, offset: offset_units << 3, more }
    }

    /// Whether it begins its datagram.
    pub const fn is_first(self) -> bool {
        self.offset == 0
    }

    /// Whether a payload of `len` bytes can have this place: it has bytes, all but the last in multiples of eight, and
    /// none beyond the longest datagram.
    pub const fn is_possible(self, len: usize) -> bool {
        len > 0 && (!self.more || len.is_multiple_of(8)) && self.offset as usize + len <= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_fragments_are_told() {
        let fragment = |offset_units, more| Fragment::new(7, offset_units, more);
        assert!(fragment(0, true).is_possible(8) && fragment(0, true).is_first());
        assert!(!fragment(0, true).is_possible(9), "more to come, and not a multiple of eight");
        assert!(fragment(185, false).is_possible(9) && !fragment(185, false).is_first());
        assert!(!fragment(185, false).is_possible(0));
        assert!(fragment(8191, false).is_possible(7) && !fragment(8191, false).is_possible(8));
    }
}
