//! Watching bursts on their way, for benchmarks: what costs how much.

/// A part of a worker's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Packets are received and counted.
    Receive,
    /// Their headers are read, and flow buckets and entries asked for.
    Read,
    /// Flows are found, and what is out of the ordinary is decided.
    Find,
    /// Headers are put in front.
    Send,
    /// Packets are sorted by where they go.
    HandOver,
    /// Packets are counted and transmitted.
    Transmit,
    /// Housekeeping, counters, and the loop itself.
    Rest,
}

impl Stage {
    /// All, in their order.
    pub const ALL: [Self; 7] =
        [Self::Receive, Self::Read, Self::Find, Self::Send, Self::HandOver, Self::Transmit, Self::Rest];

    /// Its name, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Read => "read headers",
            Self::Find => "find flow",
            Self::Send => "put headers",
            Self::HandOver => "hand over",
            Self::Transmit => "transmit",
            Self::Rest => "rest",
        }
    }
}

/// Is told when a worker goes from one stage to another.
pub trait Watch {
    /// The stage `stage` begins.
    fn enter(&mut self, stage: Stage);
}

/// Nobody watches: nothing is paid.
impl Watch for () {
    #[inline(always)]
    fn enter(&mut self, _: Stage) {}
}
