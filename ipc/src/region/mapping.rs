//! The region's memory: the one place with `unsafe` code of the region.
#![allow(unsafe_code)]

use std::{fs::File, io, slice};

use memmap2::{MmapOptions, MmapRaw};

use crate::primitive::AtomicU64;

/// A shared mapping of a whole file, seen as atomic words.
#[derive(Debug)]
pub struct Mapping {
    map: MmapRaw,
}

const _: () = assert!(size_of::<AtomicU64>() == 8 && align_of::<AtomicU64>() == 8);

impl Mapping {
    /// Maps `bytes` bytes of `file`; without `writable`, storing into a word ends the process.
    pub fn new(file: &File, bytes: usize, writable: bool) -> io::Result<Self> {
        let mut options = MmapOptions::new();
        options.len(bytes);
        let map = if writable { options.map_raw(file)? } else { options.map_raw_read_only(file)? };
        Ok(Self { map })
    }

    /// The words; bytes behind the last whole word are left out.
    pub fn words(&self) -> &[AtomicU64] {
        let start: *const AtomicU64 = self.map.as_ptr().cast();
        // SAFETY: - `start` is not null, and aligned to a page: that is what mmap returns, at offset 0;
        //         - the mapping has `len` bytes, hence `len / 8` words, and is not unmapped before `self` is
        //           dropped, which the borrow outlives not; a length of at most isize::MAX was mmap's condition;
        //         - every bit pattern is a valid `AtomicU64`, whose layout is that of `u64` (asserted above);
        //         - this process reaches the memory through these atomics only, so none of its accesses race;
        //           what other processes do to the words is as if by atomic stores of theirs;
        //         - `&AtomicU64` may be shared while its value changes. In a mapping for reading there are
        //           relaxed loads only (`seqlock`), which std allows on memory that cannot be written.
        // Whoever truncates the file makes the accesses fault (SIGBUS): the file is ours alone, mode 0600.
        unsafe { slice::from_raw_parts(start, self.map.len() / 8) }
    }
}
