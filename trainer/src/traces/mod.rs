//! Traces: who came when, and asked for what. They are read, made, summed up, and replayed in the simulator.
//!
//! * [`tsv`]: `time<TAB>query`, the format of the published traces; reader and writer.
//! * [`pcap`]: flows of a packet capture.
//! * [`wikipedia`]: a synthetic day of an encyclopaedia.
//! * [`Replay`]: arrivals of the simulator from any of them; [`Summary`]: what is in one.
//!
//! Everything streams: a trace may be longer than memory. `docs/design/traces.md` has formats and laws.

pub mod ask;
mod error;
pub mod generate;
pub mod pcap;
mod replay;
mod summary;
pub mod tsv;
pub mod wikipedia;

use std::{
    fmt,
    fs::File,
    io::{BufReader, Read as _, Seek as _},
    path::Path,
};

pub use self::{
    ask::{Ask, Costs},
    error::TraceError,
    replay::Replay,
    summary::Summary,
};

/// One flow of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// When it begins, in nanoseconds from the trace's zero; never before the one before.
    pub t: f64,
    /// What it asks for.
    pub ask: Ask,
}

/// Where entries come from, one after the other.
pub trait Source: fmt::Debug + Send {
    /// The next entry; `None` at the end. After an error there is nothing to be had.
    fn next(&mut self) -> Result<Option<Entry>, TraceError>;
}

/// Opens a file: a capture if it begins like one, else `time<TAB>query`.
pub fn open(path: &Path) -> Result<Box<dyn Source>, TraceError> {
    let failed = |error| TraceError::Read { path: path.into(), error };
    let mut file = File::open(path).map_err(failed)?;
    let mut magic = [0; 4];
    let found = file.read(&mut magic).map_err(failed)?;
    file.rewind().map_err(failed)?;
    let reader = BufReader::with_capacity(1 << 16, file);
    Ok(if found == magic.len() && pcap::is_magic(magic) {
        Box::new(pcap::Flows::new(reader, pcap::IDLE)?)
    } else {
        Box::new(tsv::Reader::new(reader)?)
    })
}
