//! The region's bytes: header, channels, slots, and a hash that changes when any of them does.
//!
//! `docs/design/region.md` describes them one by one; a test holds both to the same golden bytes.

use std::mem::offset_of;

use super::{
    error::RegionError,
    frame::FrameHeader,
    seqlock::{BLOCK_WORDS, Lane, SLOT_HEAD_WORDS},
    statistics::{KindStatistics, ServerStatistics, VipStatistics},
    weights::{ServerWeight, VipWeights},
};
use crate::sample::Kind;

const _: () = assert!(cfg!(target_endian = "little"), "the format is little-endian");

/// Starts every region.
pub const MAGIC: [u8; 8] = *b"WEIR-IPC";
/// The version of the format.
pub const VERSION: u32 = 1;
/// What the sum of all field names, types and places comes to.
pub const LAYOUT_HASH: u64 = {
    let parts = [
        RegionHeader::LAYOUT,
        ChannelBlock::LAYOUT,
        FrameHeader::LAYOUT,
        VipStatistics::LAYOUT,
        ServerStatistics::LAYOUT,
        KindStatistics::LAYOUT,
        VipWeights::LAYOUT,
        ServerWeight::LAYOUT,
    ];
    let mut hash = FNV_START;
    let mut part = 0;
    while part < parts.len() {
        hash = fnv(hash, &parts[part].to_le_bytes());
        part += 1;
    }
    hash
};

/// FNV-1a of 64 bits: where it starts.
pub const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a of 64 bits: goes on with `bytes`.
pub const fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x100_0000_01b3);
        index += 1;
    }
    hash
}

/// Defines a record of the format: plain data without padding, and `LAYOUT`, the hash of its fields' names, types
/// and offsets.
macro_rules! record {
    ($(#[$about:meta])* pub struct $name:ident { $($(#[$field_about:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct $name { $($(#[$field_about])* pub $field: $type,)* }

        const _: () = assert!(size_of::<$name>() % 8 == 0 && align_of::<$name>() == 8);

        impl $name {
            /// The hash of names, types and offsets of all fields.
            pub(in crate::region) const LAYOUT: u64 = {
                let mut hash = $crate::region::layout::FNV_START;
                $(
                    hash = $crate::region::layout::fnv(hash, stringify!($field).as_bytes());
                    hash = $crate::region::layout::fnv(hash, stringify!($type).as_bytes());
                    hash = $crate::region::layout::fnv(hash, &(std::mem::offset_of!($name, $field) as u64).to_le_bytes());
                )*
                hash
            };
        }
    };
}
pub(super) use record;

record! {
    /// The first bytes of a region. Written once, when it is made.
    pub struct RegionHeader {
        /// [`MAGIC`].
        pub magic: [u8; 8],
        /// [`VERSION`].
        pub version: u32,
        /// Where the first slot is: 384.
        pub header_bytes: u32,
        /// [`LAYOUT_HASH`].
        pub layout_hash: u64,
        /// The size of the file.
        pub region_bytes: u64,
        /// Slots of each channel.
        pub slots: u32,
        /// Kinds of samples in a server's statistics.
        pub kinds: u32,
        /// Most VIPs in a frame.
        pub vips: u32,
        /// Most servers in a frame, of all VIPs together.
        pub servers: u32,
        /// Every VIP's number is below this.
        pub vip_ids: u32,
        /// Every server's number is below this.
        pub server_ids: u32,
        /// From a statistics slot to the next.
        pub statistics_slot_bytes: u64,
        /// From a weights slot to the next.
        pub weights_slot_bytes: u64,
    }
}

record! {
    /// What the writer of a channel says about itself. Written by that writer, read by everybody.
    pub struct ChannelBlock {
        /// The number of the newest complete frame; 0: none yet.
        pub published: u64,
        /// How many writers there have been, this one included.
        pub epoch: u64,
        /// When the writer last was at work, on the machine's monotonic clock.
        pub heartbeat: u64,
        /// The writer's process; 0 when it has ended in order.
        pub pid: u64,
    }
}

/// Where the block of each channel is. They are far enough apart that no two writers share a cache line.
pub const CHANNEL_AT: [usize; 2] = [128, 256];
/// Where a channel's block says whose it is.
pub const PID_AT: u64 = offset_of!(ChannelBlock, pid) as u64;
/// Where the first slot is.
pub const HEADER_BYTES: usize = 384;
/// Slots start at multiples of this: two cache lines, as CPUs fetch them in pairs.
const SLOT_ALIGN: u64 = 128;

const _: () = assert!(size_of::<RegionHeader>() <= CHANNEL_AT[0]);
const _: () = assert!(size_of::<ChannelBlock>() == BLOCK_WORDS * 8);

/// How large a region is made. What it is made for cannot change later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Slots of each channel, 2 to 64: how far a reader may fall behind while it copies.
    pub slots: u32,
    /// Most VIPs in a frame.
    pub vips: u32,
    /// Most servers in a frame, of all VIPs together.
    pub servers: u32,
    /// Every VIP's number is below this.
    pub vip_ids: u32,
    /// Every server's number is below this.
    pub server_ids: u32,
}

impl Default for Shape {
    /// 4 slots for 64 VIPs with 1024 servers in all: 1.7 MB.
    fn default() -> Self {
        Self { slots: 4, vips: 64, servers: 1024, vip_ids: 1 << 14, server_ids: 1 << 17 }
    }
}

impl Shape {
    /// The bounds of each field: so many as to never stand in the way, and so few that sizes cannot overflow.
    const BOUNDS: [(&'static str, u32, u32); 5] = [
        ("slots", 2, 64),
        ("vips", 1, 1 << 20),
        ("servers", 1, 1 << 24),
        ("vip_ids", 1, u32::MAX),
        ("server_ids", 1, u32::MAX),
    ];

    const fn fields(self) -> [u32; 5] {
        [self.slots, self.vips, self.servers, self.vip_ids, self.server_ids]
    }

    /// Whether a region can have this shape.
    pub(super) fn check(self) -> Result<Self, RegionError> {
        for ((field, least, most), found) in Self::BOUNDS.into_iter().zip(self.fields()) {
            if !(least..=most).contains(&found) {
                return Err(RegionError::OutOfBounds { field, found, least, most });
            }
        }
        Ok(self)
    }

    /// Whether the region that was found is the one that was asked for.
    pub(super) fn same_as(self, wanted: Self) -> Result<(), RegionError> {
        for (((field, ..), found), wanted) in Self::BOUNDS.into_iter().zip(self.fields()).zip(wanted.fields())
        {
            if found != wanted {
                return Err(RegionError::Shape { field, found, wanted });
            }
        }
        Ok(())
    }

    /// The header of a region of this shape.
    pub(super) fn header(self) -> RegionHeader {
        let [statistics, weights] = self.lanes();
        RegionHeader {
            magic: MAGIC,
            version: VERSION,
            header_bytes: HEADER_BYTES as u32,
            layout_hash: LAYOUT_HASH,
            region_bytes: (weights.slots_at + weights.slots * weights.stride) as u64 * 8,
            slots: self.slots,
            kinds: Kind::COUNT as u32,
            vips: self.vips,
            servers: self.servers,
            vip_ids: self.vip_ids,
            server_ids: self.server_ids,
            statistics_slot_bytes: statistics.stride as u64 * 8,
            weights_slot_bytes: weights.stride as u64 * 8,
        }
    }

    /// Where the two channels are: statistics, weights.
    pub(super) fn lanes(self) -> [Lane; 2] {
        let slot_words = |vip: usize, server: usize| {
            let records = u64::from(self.vips) * vip as u64 + u64::from(self.servers) * server as u64;
            let bytes = (SLOT_HEAD_WORDS * 8 + size_of::<FrameHeader>()) as u64 + records;
            (bytes.next_multiple_of(SLOT_ALIGN) / 8) as usize
        };
        let statistics = Lane {
            block_at: CHANNEL_AT[0] / 8,
            slots_at: HEADER_BYTES / 8,
            stride: slot_words(size_of::<VipStatistics>(), size_of::<ServerStatistics>()),
            slots: self.slots as usize,
        };
        let weights = Lane {
            block_at: CHANNEL_AT[1] / 8,
            slots_at: statistics.slots_at + statistics.slots * statistics.stride,
            stride: slot_words(size_of::<VipWeights>(), size_of::<ServerWeight>()),
            slots: self.slots as usize,
        };
        [statistics, weights]
    }

    /// The shape in a header that somebody else wrote, if a region of this size can have it.
    pub(super) fn of(header: &RegionHeader, file_bytes: u64) -> Result<Self, RegionError> {
        if header.magic != MAGIC {
            return Err(RegionError::Magic { found: header.magic });
        }
        if header.version != VERSION {
            return Err(RegionError::Version { found: header.version });
        }
        if header.layout_hash != LAYOUT_HASH {
            return Err(RegionError::LayoutHash { found: header.layout_hash });
        }
        let &RegionHeader { slots, vips, servers, vip_ids, server_ids, .. } = header;
        let shape = Self { slots, vips, servers, vip_ids, server_ids }.check()?;
        let expected = shape.header();
        if expected.region_bytes != file_bytes || expected != *header {
            return Err(RegionError::Size { found: file_bytes, expected: expected.region_bytes });
        }
        Ok(shape)
    }
}

/// The header's own bytes as words, for reading and writing the mapping.
pub const HEADER_WORDS: usize = size_of::<RegionHeader>() / 8;

/// The header that these words are.
pub fn header_of(words: [u64; HEADER_WORDS]) -> RegionHeader {
    bytemuck::must_cast(words)
}

/// The words of a header.
pub fn words_of(header: RegionHeader) -> [u64; HEADER_WORDS] {
    bytemuck::must_cast(header)
}
