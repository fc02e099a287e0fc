//! Asking the cache for a line that will be read soon.

/// Starts loading the cache line of `value` for reading.
#[inline(always)]
pub fn prefetch<T: ?Sized>(value: &T) {
    load(std::ptr::from_ref(value).cast());
}

/// Starts loading all cache lines of `value`, which begins with one.
#[inline(always)]
pub fn prefetch_all<T>(value: &T) {
    const LINE: usize = 64;
    for at in (0..size_of::<T>()).step_by(LINE) {
        load(std::ptr::from_ref(value).cast::<u8>().wrapping_add(at));
    }
}

#[inline(always)]
#[allow(unsafe_code)]
fn load(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch never faults and changes no memory; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
