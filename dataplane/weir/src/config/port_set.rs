//! The destination ports of a VIP.

use std::ops::RangeInclusive;

/// Ports in the order of the file, as ranges that do not overlap; none at all stands for every port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct PortSet(Vec<RangeInclusive<u16>>);

impl PortSet {
    /// The ports of `ranges`; none: every port.
    pub(super) fn new(ranges: Vec<RangeInclusive<u16>>) -> Self {
        Self(ranges)
    }

    /// The ranges in the order of the file; empty: every port.
    pub fn ranges(&self) -> &[RangeInclusive<u16>] {
        &self.0
    }

    /// The port that the VIP is known by; `None`: it takes every port.
    pub fn first(&self) -> Option<u16> {
        self.0.first().map(|range| *range.start())
    }

    /// The port, if it is a single one.
    pub fn single(&self) -> Option<u16> {
        match self.0.as_slice() {
            [range] if range.start() == range.end() => Some(*range.start()),
            _ => None,
        }
    }

    /// How many there are; 0: every port.
    pub fn count(&self) -> usize {
        self.0.iter().map(|range| range.len()).sum()
    }
}

/// A range as the file writes it: `80`, or `8000-8010`.
pub(super) fn show_range(range: &RangeInclusive<u16>) -> String {
    let (first, last) = (range.start(), range.end());
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}
