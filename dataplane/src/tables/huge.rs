//! Large zeroed arrays on huge pages.

use std::{io, marker::PhantomData, ops};

use bytemuck::Zeroable;
use memmap2::{Advice, MmapMut, MmapOptions};

/// A zeroed array of fixed length, on huge pages where the kernel has them, touched only as it is used.
///
/// A flow table of a million flows is 40 MiB: on 4 KiB pages every lookup misses the TLB as well.
#[derive(Debug)]
pub struct HugeArray<T> {
    map: MmapMut,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Zeroable> HugeArray<T> {
    /// An array of `len` elements, all bytes zero. Fails when the address space or the memory limit is exhausted.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let map = MmapOptions::new().len(bytes.max(1)).map_anon()?;
        // Advice only: without it the array works, more slowly.
        let _ = map.advise(Advice::HugePage);
        const { assert!(align_of::<T>() <= 4096, "a mapping is aligned to a page, not to more") };
        Ok(Self { map, len, element: PhantomData })
    }
}

impl<T> ops::Deref for HugeArray<T> {
    type Target = [T];

    #[inline]
    #[allow(unsafe_code)]
    fn deref(&self) -> &[T] {
        // SAFETY: - the mapping holds at least `len * size_of::<T>()` bytes and lives as long as `self`;
        //         - it is page-aligned, and `zeroed` asserts that `T` asks for no more;
        //         - the bytes were zero or are what `DerefMut` wrote as `T`, and `T: Zeroable`;
        //         - writes go through `&mut self`, so there is none while this borrow lives.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.len) }
    }
}

impl<T> ops::DerefMut for HugeArray<T> {
    #[inline]
    #[allow(unsafe_code)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `&mut self` makes this the only borrow.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_is_zero_and_keeps_what_is_written() {
        let mut array = HugeArray::<u64>::zeroed(1000).unwrap();
        assert_eq!(array.len(), 1000);
        assert!(array.iter().all(|&word| word == 0));
        array[999] = 7;
        assert_eq!(array[999], 7);
        assert!(HugeArray::<u64>::zeroed(0).unwrap().is_empty());
        assert!(HugeArray::<u64>::zeroed(usize::MAX).is_err());
    }
}
