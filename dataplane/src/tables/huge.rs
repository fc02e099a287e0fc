//! Large zeroed arrays on huge pages.

use std::{io, marker::PhantomData, ops, ptr::NonNull, sync::Arc};

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

/// An array that is no longer written: clones refer to the same memory, which the last of them frees.
///
/// The address lies in the struct itself, so that reading costs no more than from a [`HugeArray`].
#[derive(Debug)]
pub struct SharedArray<T> {
    first: NonNull<T>,
    len: usize,
    owner: Arc<HugeArray<T>>,
}

// SAFETY: a `SharedArray` is an `Arc<HugeArray<T>>` with a pointer to the array's elements, which are only read: it may
//         be sent and shared where that `Arc` may.
#[allow(unsafe_code)]
unsafe impl<T: Send + Sync> Send for SharedArray<T> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl<T: Send + Sync> Sync for SharedArray<T> {}

impl<T: Zeroable> From<HugeArray<T>> for SharedArray<T> {
    fn from(array: HugeArray<T>) -> Self {
        let owner = Arc::new(array);
        Self { first: NonNull::from(&**owner).cast(), len: owner.len(), owner }
    }
}

impl<T> Clone for SharedArray<T> {
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner), ..*self }
    }
}

impl<T> ops::Deref for SharedArray<T> {
    type Target = [T];

    #[inline(always)]
    #[allow(unsafe_code)]
    fn deref(&self) -> &[T] {
        // SAFETY: - `first` and `len` are those of the slice that `owner` dereferences to: non-null, aligned, initialised;
        //         - the elements are in its mapping, not in the struct, so they stay where they are when it moves;
        //         - `owner` lives as long as `self`, and nobody writes: an `Arc` gives no `&mut`, and none is asked for.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
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

    #[test]
    fn clone_of_a_shared_array_is_the_same_memory_and_outlives_the_original() {
        let mut array = HugeArray::<u64>::zeroed(1000).unwrap();
        array[999] = 7;
        let shared = SharedArray::from(array);
        let clone = shared.clone();
        assert_eq!(clone.as_ptr(), shared.as_ptr());
        drop(shared);
        assert_eq!((clone.len(), clone[0], clone[999]), (1000, 0, 7));
        assert!(SharedArray::from(HugeArray::<u64>::zeroed(0).unwrap()).is_empty());
    }
}
