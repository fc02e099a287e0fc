//! The shared-memory region between the data plane and a policy in another process, or in another language.
//!
//! Two channels of frames, each with one writer and any number of readers: statistics from the data plane to
//! the policy, weights back. The format is described byte by byte in `docs/design/region.md`.
//!
//! What lies in the region is hostile: a reader copies it by relaxed atomic loads, checks that the copy is of
//! one piece, validates every field, and only then believes it. No reference to plain data points into it.
//!
//! ```
//! use ipc::region::{Region, Shape, ServerWeight, StatisticsFrame, VipWeights, WeightsFrame};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("weir-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let path = folder.join("region");
//! let now = ipc::clock::monotonic();
//! let region = Region::create(&path, Shape::default())?;
//! let mut policy = region.weights_writer(now)?;
//! let mut frame = WeightsFrame::default();
//! frame.begin(now, 7);
//! frame.vip(VipWeights::new(0, "static")).server(ServerWeight::new(3, 1.5));
//! policy.publish(&mut frame, now)?;
//!
//! let mut weights = region.weights_reader();
//! let frame = weights.latest()?.expect("a new frame");
//! let (vip, servers) = frame.vips().next().expect("one VIP");
//! assert_eq!((vip.policy(), servers[0].weight), ("static", 1.5));
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```

#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod file;
#[cfg(not(loom))]
mod frame;
#[cfg(not(loom))]
mod layout;
#[cfg(not(loom))]
mod lock;
#[cfg(not(loom))]
mod mapping;
#[cfg(not(loom))]
mod reader;
mod seqlock;
#[cfg(not(loom))]
mod statistics;
#[cfg(not(loom))]
mod weights;
#[cfg(not(loom))]
mod writer;

#[cfg(not(loom))]
pub use {
    error::{Fault, FrameError, RegionError},
    file::Region,
    frame::{Content, Entry, Frame, FrameHeader},
    layout::{ChannelBlock, LAYOUT_HASH, MAGIC, RegionHeader, Shape, VERSION},
    reader::{Origin, Reader},
    statistics::{
        KindStatistics, ServerState, ServerStatistics, StatisticsChannel, StatisticsFrame, VipStatistics,
    },
    weights::{
        CLIPPED, FALLBACK, MAX_WEIGHT, SHADOW, ServerWeight, VipWeights, WeightsChannel, WeightsFrame,
    },
    writer::Writer,
};
