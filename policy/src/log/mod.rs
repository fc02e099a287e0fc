//! The decision log: what every step was given and what it said, so that it can be repeated.
//!
//! A log is a sequence of records of little-endian words: kind, number of payload words, check, payload. A
//! [`Record::Start`] has the plans of all VIPs and all that their steps so far have left behind, so a log can be read
//! from any of them. A [`Record::Step`] has the statistics of the steered VIPs, in the words of the region's frames, and
//! the weights. `docs/design/steering.md` describes it byte by byte.

mod file;
mod format;
mod replay;

pub use self::{
    file::LogFile,
    format::{Record, RecordError, Records, Start, Step, VipStart, check},
    replay::{Difference, Replay, ReplayError},
};
