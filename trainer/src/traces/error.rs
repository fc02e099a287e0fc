//! Why a trace cannot be used.

use std::path::PathBuf;

/// Why a trace cannot be used: where, what, and what to do about it. Lines and columns count from 1.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be opened or read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// Reading failed midway.
    #[error("cannot read on: {0}")]
    Io(#[from] std::io::Error),
    /// The first line is not the header.
    #[error("line 1, column 1: {found:?} is not the header: make the first line `time<TAB>query`")]
    Header {
        /// What is there.
        found: String,
    },
    /// A line without a tab.
    #[error("line {line}, column {column}: no tab: write seconds, a tab, and a URL path")]
    NoTab {
        /// Where.
        line: u64,
        /// Where the line ends.
        column: usize,
    },
    /// A time that is none.
    #[error(
        "line {line}, column 1: {found:?} is not a time: write seconds from 0 on as a decimal number, like 0.25"
    )]
    Time {
        /// Where.
        line: u64,
        /// What is there.
        found: String,
    },
    /// A time before the one before.
    #[error(
        "line {line}, column 1: {found} s comes after {before} s: sort the lines by time \
         (`(head -n 1 F; tail -n +2 F | sort -g) > G`)"
    )]
    Back {
        /// Where.
        line: u64,
        /// What is there.
        found: f64,
        /// What was in the line before.
        before: f64,
    },
    /// A query that is none.
    #[error("line {line}, column {column}: {found:?} is not a query: {remedy}")]
    Query {
        /// Where.
        line: u64,
        /// Where in it.
        column: usize,
        /// What is there.
        found: String,
        /// What to write instead.
        remedy: &'static str,
    },
    /// Bytes that are not text.
    #[error(
        "line {line}, column {column}: not UTF-8: is this a trace? A capture begins with the magic of pcap"
    )]
    Text {
        /// Where.
        line: u64,
        /// Where in it.
        column: usize,
    },
    /// A line that is too long.
    #[error("line {line}, column {limit}: the line goes on: no query is longer than {limit} bytes")]
    TooLong {
        /// Where.
        line: u64,
        /// The largest length.
        limit: usize,
    },
    /// A capture of a kind that is not read.
    #[error("link type {0} is not read: capture on Ethernet (1), raw IP (101) or `any` (113)")]
    LinkType(u32),
    /// A capture that ends in a record, or has one that cannot be.
    #[error("byte {offset}: {what}: the capture is cut or broken; `editcap` can save what is before")]
    Capture {
        /// Where the record begins.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Nothing in it.
    #[error("the trace has no flows")]
    Empty,
}
