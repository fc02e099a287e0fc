//! Ports, queues and packet buffers, as the packet path sees them.
//!
//! Everything from `wire` to `worker` is written against [`Packet`] and [`Queue`]. [`memory`] implements
//! them on plain vectors (tests, fuzzing, the simulator); `dpdk` on real ports.

#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod memory;

use arrayvec::ArrayVec;

/// Most packets that are received, processed and transmitted together.
pub const BURST: usize = 32;

/// Packets on their way through one call.
pub type Burst<P> = ArrayVec<P, BURST>;

/// There was no room for the bytes asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room left in the packet buffer")]
pub struct NoRoom;

/// What the port found out about the checksums of a received packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RxChecksum {
    /// The port did not look, or could not tell.
    #[default]
    Unknown,
    /// IP and L4 checksums are right.
    Good,
    /// The IP or the L4 checksum is wrong.
    Bad,
}

/// An owned packet buffer. Dropping it gives the buffer back to where it came from.
///
/// A frame may continue in further segments that the packet path never looks at: `data` is the
/// first segment, where all headers must lie, and `len` counts the whole frame.
pub trait Packet: Sized {
    /// The bytes of the first segment, from the Ethernet header on.
    fn data(&self) -> &[u8];

    /// The same bytes, writable.
    fn data_mut(&mut self) -> &mut [u8];

    /// Length of the whole frame in bytes, over all segments.
    fn len(&self) -> usize;

    /// Whether the frame has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts `n` bytes in front of the frame; what they hold is unspecified until written.
    fn prepend(&mut self, n: usize) -> Result<(), NoRoom>;

    /// Takes `n` bytes off the front of the first segment.
    fn trim_front(&mut self, n: usize) -> Result<(), NoRoom>;

    /// Puts `n` bytes behind the frame's last segment; what they hold is unspecified until written.
    /// Only single-segment frames can grow.
    fn append(&mut self, n: usize) -> Result<(), NoRoom>;

    /// Cuts a single-segment frame to `len` bytes; longer than it is, or several segments: no effect.
    fn truncate(&mut self, len: usize);

    /// Replaces the first `strip` bytes of the frame by `front` new ones, and cuts a single-segment frame behind the
    /// `keep` bytes that follow. Returns the last `ROOM` bytes in front of those that follow, of which the frame
    /// has taken `front`: they hold the old bytes and anything, and all may be written.
    ///
    /// # Panics
    /// May panic unless `front <= ROOM` and the first segment has `strip` bytes, a single segment `strip + keep`.
    fn replace_front<const ROOM: usize>(
        &mut self,
        strip: usize,
        front: usize,
        keep: usize,
    ) -> Result<&mut [u8; ROOM], NoRoom>;

    /// What the port says of the checksums.
    fn rx_checksum(&self) -> RxChecksum {
        RxChecksum::Unknown
    }

    /// Whether the port says that a checksum is wrong.
    fn has_bad_checksum(&self) -> bool {
        self.rx_checksum() == RxChecksum::Bad
    }

    /// Asks the cache for the first bytes of the frame, which will be read soon.
    fn prefetch(&self) {}
}

/// One receive and one transmit queue of a port, owned by one worker.
pub trait Queue {
    /// The buffers that this queue receives and transmits.
    type Packet: Packet;

    /// Appends received packets to `burst` until it is full or nothing is waiting.
    fn receive(&mut self, burst: &mut Burst<Self::Packet>);

    /// Transmits from the front of `burst`. What the port took is gone from the burst; what it did
    /// not take stays in it, in order.
    fn transmit(&mut self, burst: &mut Burst<Self::Packet>);

    /// An empty packet buffer with headroom, or `None` when the pool is exhausted.
    fn allocate(&mut self) -> Option<Self::Packet>;
}
