//! What can be wrong with a region or with a frame, by name.

use std::{io, path::PathBuf};

use super::layout::{LAYOUT_HASH, MAGIC, VERSION};

/// Why a region cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// A system call failed.
    #[error("cannot {action} {path:?}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a region.
    #[error("is not a region: it starts with {found:02x?} instead of {MAGIC:02x?}")]
    Magic {
        /// The first bytes.
        found: [u8; 8],
    },
    /// Another version of the format.
    #[error("has format version {found}; this program has {VERSION}")]
    Version {
        /// The version in the header.
        found: u32,
    },
    /// Another layout of the same version.
    #[error("has layout hash {found:#018x}; this program has {LAYOUT_HASH:#018x}")]
    LayoutHash {
        /// The hash in the header.
        found: u64,
    },
    /// File and header do not agree on sizes.
    #[error(
        "is {found} bytes long, or says other sizes than the {expected} bytes that follow from its shape"
    )]
    Size {
        /// The file's size.
        found: u64,
        /// The size that the header's numbers come to.
        expected: u64,
    },
    /// A number that no region can have.
    #[error("{field} is {found}; it has to be {least} to {most}")]
    OutOfBounds {
        /// Which number.
        field: &'static str,
        /// What it is.
        found: u32,
        /// The least that it can be.
        least: u32,
        /// The most.
        most: u32,
    },
    /// The region was made for something else.
    #[error("was made with {field} = {found}, not {wanted}")]
    Shape {
        /// Which number.
        field: &'static str,
        /// What the region has.
        found: u32,
        /// What was asked for.
        wanted: u32,
    },
    /// Others than the owner may open the file.
    #[error("has mode {found:04o}: others may read or write it")]
    Mode {
        /// The permission bits.
        found: u32,
    },
    /// The channel has a writer that is alive.
    #[error("process {pid} is writing {channel}")]
    Writer {
        /// Statistics or weights.
        channel: &'static str,
        /// What the region says about who it is.
        pid: u64,
    },
    /// Writing was asked of a region that was opened for reading.
    #[error("was opened for reading only")]
    ReadOnly,
    /// A frame is larger than the region was made for.
    #[error(
        "the frame has {vips} VIPs and {servers} servers; the region has room for {most_vips} and {most_servers}"
    )]
    TooLarge {
        /// VIPs of the frame.
        vips: u32,
        /// Servers of the frame.
        servers: u32,
        /// Most VIPs.
        most_vips: u32,
        /// Most servers.
        most_servers: u32,
    },
}

impl RegionError {
    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Io { .. } => "check that the folder exists and belongs to the user that runs this",
            Self::Magic { .. } => "name another path; this file is not ours to touch",
            Self::Version { .. } | Self::LayoutHash { .. } => {
                "run data plane and policy from the same release, or remove the file and restart the data plane"
            }
            Self::Size { .. } => "remove the file and restart the data plane, which makes a new one",
            Self::OutOfBounds { .. } => "choose a number within the bounds",
            Self::Shape { .. } => {
                "stop data plane and policy, remove the file, and start the data plane first"
            }
            Self::Mode { .. } => "chmod 600 the file, or remove it and restart the data plane",
            Self::Writer { .. } => "stop that process first; there is one writer for each direction",
            Self::ReadOnly => "open the region for writing",
            Self::TooLarge { .. } => "make the region for more VIPs and servers: remove the file and restart",
        }
    }
}

/// Why there is no new frame although one was published.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// The writer wrote over the frame each time it was being copied. Try again at the next tick.
    #[error("the writer is faster than the reader")]
    Overtaken,
    /// The frame says something that cannot be. The frame before stays the one to go by.
    #[error("frame {number} is not to be believed: {fault}")]
    Unbelievable {
        /// The frame's number.
        number: u64,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Fault {
    /// Its length is not what its counts come to.
    #[error("{words} words do not hold what the frame counts")]
    Length {
        /// Words of the frame.
        words: usize,
    },
    /// It says that it is another frame.
    #[error("it says that it is frame {found}")]
    Number {
        /// The number in its header.
        found: u64,
    },
    /// More of something than the region was made for, or than the frame's own header says.
    #[error("{found} {what} where there are at most {most}")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many.
        found: u32,
        /// How many there may be.
        most: u32,
    },
    /// An identifier that does not exist.
    #[error("{what} {found} where all are below {below}")]
    Id {
        /// Of what.
        what: &'static str,
        /// The identifier.
        found: u32,
        /// All are below this.
        below: u32,
    },
    /// A number that is not finite, negative, too large, or not one of those that mean something.
    #[error("{what} of {of} is {found}")]
    Value {
        /// Which number.
        what: &'static str,
        /// Of which VIP or server.
        of: u32,
        /// What it is.
        found: f64,
    },
    /// Text that is not text.
    #[error("the policy's name of VIP {of} is not up to 32 printable ASCII characters")]
    Name {
        /// Of which VIP.
        of: u32,
    },
}
