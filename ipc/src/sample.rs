//! What a packet core measures, one number at a time.
//!
//! ```
//! use ipc::{id::{ServerId, VipId}, sample::{Kind, Sample}};
//!
//! let sample = Sample { t: 1_000_000, vip: VipId(0), server: ServerId(3), kind: Kind::Handshake, value: 250_000 };
//! assert_eq!((sample.kind.name(), sample.kind.unit().name()), ("handshake", "ns"));
//! ```

use crate::id::{ServerId, VipId};

/// One measurement. `Copy`, 32 bytes: two to a cache line, and none lies across two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, in nanoseconds of the clock of the workers.
    pub t: u64,
    /// How much, in the unit of the kind.
    pub value: u64,
    /// The VIP that the flow came to.
    pub vip: VipId,
    /// The server that the flow is on.
    pub server: ServerId,
    /// What was measured.
    pub kind: Kind,
}

const _: () = assert!(size_of::<Sample>() == 32);

/// What a sample measures. The numbers are part of the region's format: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// From a flow's first packet to its end by FIN or RST.
    FlowCompletion = 0,
    /// From a flow's first packet to now, while it lives.
    FlowDuration = 1,
    /// From a SYN to the client's first ACK.
    Handshake = 2,
    /// Between causally paired packets of the client: a request, and what the answer to it caused.
    RequestLatency = 3,
    /// Between a packet of a flow and its next one.
    PacketGap = 4,
    /// Between a flow's begin on the server and the one before.
    FlowGap = 5,
    /// What a flow's client sent, when the flow ended.
    FlowBytes = 6,
}

impl Kind {
    /// How many kinds there are.
    pub const COUNT: usize = 7;

    /// Every kind, by its number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::FlowCompletion,
        Self::FlowDuration,
        Self::Handshake,
        Self::RequestLatency,
        Self::PacketGap,
        Self::FlowGap,
        Self::FlowBytes,
    ];

    /// The kind's number, as an array index.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The kind with this number.
    pub fn from_index(index: usize) -> Option<Self> {
        Self::ALL.get(index).copied()
    }

    /// The name in features, metrics and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FlowCompletion => "flow_completion",
            Self::FlowDuration => "flow_duration",
            Self::Handshake => "handshake",
            Self::RequestLatency => "request_latency",
            Self::PacketGap => "packet_gap",
            Self::FlowGap => "flow_gap",
            Self::FlowBytes => "flow_bytes",
        }
    }

    /// What the values count.
    pub const fn unit(self) -> Unit {
        match self {
            Self::FlowBytes => Unit::Bytes,
            _ => Unit::Nanoseconds,
        }
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// Every kind.
    pub const ALL: Self = Self::of(&Kind::ALL);
    /// No kind.
    pub const NONE: Self = Self(0);

    /// These.
    pub const fn of(kinds: &[Kind]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < kinds.len() {
            bits |= 1 << kinds[at].index();
            at += 1;
        }
        Self(bits)
    }

    /// Those of both together.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether a kind is one of them.
    #[inline]
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 >> kind.index() & 1 != 0
    }
}

/// What a sample's value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Time.
    Nanoseconds,
    /// Size.
    Bytes,
}

impl Unit {
    /// The unit's symbol.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Bytes => "B",
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_stable_numbers_and_names_of_their_own() {
        let names = [
            "flow_completion",
            "flow_duration",
            "handshake",
            "request_latency",
            "packet_gap",
            "flow_gap",
            "flow_bytes",
        ];
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!((kind.index(), kind.name()), (index, names[index]));
            assert_eq!(Kind::from_index(index), Some(kind));
        }
        assert_eq!(Kind::from_index(Kind::COUNT), None);
        assert_eq!((Kind::FlowBytes.unit(), Kind::FlowGap.unit()), (Unit::Bytes, Unit::Nanoseconds));
    }

    #[test]
    fn sets_of_kinds_contain_what_they_are_made_of() {
        let both = Kinds::of(&[Kind::FlowGap]).and(Kinds::of(&[Kind::Handshake, Kind::FlowGap]));
        for kind in Kind::ALL {
            assert!(Kinds::ALL.contains(kind) && !Kinds::NONE.contains(kind));
            assert_eq!(both.contains(kind), [Kind::FlowGap, Kind::Handshake].contains(&kind));
        }
    }
}
