//! What ends a benchmark.

use std::{io, path::PathBuf};

use dataplane::{
    pipeline::DropReason,
    ports::dpdk::{EalError, PoolError, PortError},
    tables::builder::BuildError,
};

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Eal(#[from] EalError),
    #[error("{0}")]
    Pool(#[from] PoolError),
    #[error("{0}")]
    Port(#[from] PortError),
    #[error("{0}")]
    Tables(#[from] BuildError),
    #[error("no memory for a flow table of {entries} entries: {cause}")]
    FlowTable { entries: u32, cause: io::Error },
    #[error("this process may use no CPU {cpu}")]
    NoCpu { cpu: usize },
    #[error("no row's name contains {name:?}")]
    NoRow { name: String },
    #[error("{row}: {what} (the measurement is not what it says)")]
    Wrong { row: String, what: String },
    #[error("dpdk-testpmd: {0}")]
    Testpmd(String),
    #[error("cannot write {}: {cause}", file.display())]
    Write { file: PathBuf, cause: io::Error },
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// A packet that was to be forwarded was dropped.
    pub fn dropped(row: &str, reason: DropReason, packets: u64) -> Self {
        Self::Wrong { row: row.to_owned(), what: format!("{packets} packets dropped: {}", reason.name()) }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Eal(error) => error.remedy(),
            Self::Pool(error) => error.remedy(),
            Self::Port(error) => error.remedy(),
            Self::Tables(_) => "lower --servers".into(),
            Self::FlowTable { .. } => "lower --flows, or raise the memory limit".into(),
            Self::NoCpu { .. } => "name another with --cpu".into(),
            Self::NoRow { .. } => "the names are those in --json, for instance worker-gre4-1M".into(),
            Self::Wrong { .. } => "run the tests of dataplane; report this if they pass".into(),
            Self::Testpmd(_) => "try --no-testpmd".into(),
            Self::Write { .. } => "name a file in a directory that exists and may be written".into(),
            Self::Interrupted => "nothing was written; run it again".into(),
        }
    }
}
