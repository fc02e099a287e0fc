//! The per-lcore cache of a pool: DPDK's `rte_mempool_generic_get` and `_put`, which it gives only as
//! static inline functions.
//!
//! A cache is an array of free objects that one lcore alone uses. Getting and putting move pointers at its
//! end; only when it runs empty or over does the pool behind it come in (`rte_mempool_ops_table`).

use std::ffi::c_void;
use std::ptr::NonNull;

use dpdk_sys as sys;

use super::per_lcore::lcore_id;

// What the code below takes for granted. A DPDK built with mempool statistics or debugging counts and
// checks in these paths, which we would skip.
const _: () = {
    assert!(std::mem::offset_of!(sys::rte_mempool_cache, objs) == 64, "mempool statistics are compiled in");
    assert!(size_of::<sys::rte_mempool_objhdr>() == 24, "mempool debugging is compiled in");
    assert!(
        size_of::<sys::rte_mempool_cache>() == 64 + 2 * 8 * sys::RTE_MEMPOOL_CACHE_MAX_SIZE as usize,
        "a cache holds twice its greatest size"
    );
};

/// The calling lcore's cache in `pool`, if there is one.
///
/// # Safety
/// `pool` is a live pool. The pointer is for the calling thread alone.
#[inline]
unsafe fn cache_of(pool: NonNull<sys::rte_mempool>) -> Option<*mut sys::rte_mempool_cache> {
    // SAFETY: the pool is live, and these fields do not change after its creation.
    let (size, caches) = unsafe { ((*pool.as_ptr()).cache_size, (*pool.as_ptr()).local_cache) };
    let lcore = lcore_id();
    // SAFETY: a pool with caches has RTE_MAX_LCORE of them.
    (size != 0 && lcore < sys::RTE_MAX_LCORE).then(|| unsafe { caches.add(lcore as usize) })
}

/// The functions behind a pool's caches.
///
/// # Safety
/// `pool` is a live pool.
#[inline]
unsafe fn ops_of(pool: NonNull<sys::rte_mempool>) -> *const sys::rte_mempool_ops {
    // SAFETY: the pool is live; its index names an entry of the table, which does not change once a pool
    // uses it.
    unsafe {
        let index = (*pool.as_ptr()).ops_index.cast_unsigned() as usize;
        (&raw const sys::rte_mempool_ops_table.ops).cast::<sys::rte_mempool_ops>().add(index)
    }
}

/// Takes `count` objects, at most a cache full, from the pool behind the caches: all or none.
///
/// # Safety
/// `pool` is a live pool; `objects` has room for `count` pointers.
#[cold]
unsafe fn dequeue(pool: NonNull<sys::rte_mempool>, objects: *mut *mut c_void, count: usize) -> bool {
    // SAFETY: as the caller promises; every entry in use has this function.
    unsafe {
        (*ops_of(pool)).dequeue.is_some_and(|dequeue| dequeue(pool.as_ptr(), objects, count as u32) == 0)
    }
}

/// Gives `count` objects to the pool behind the caches, which has room for all its objects.
///
/// # Safety
/// `pool` is a live pool; `objects` holds `count` free objects of it, which the caller gives up.
#[cold]
unsafe fn enqueue(pool: NonNull<sys::rte_mempool>, objects: *const *mut c_void, count: usize) {
    // SAFETY: as the caller promises; every entry in use has this function.
    unsafe {
        if let Some(enqueue) = (*ops_of(pool)).enqueue {
            enqueue(pool.as_ptr(), objects, count as u32);
        }
    }
}

/// Takes `count` free objects from `pool`: all or none. At most a burst at a time.
///
/// # Safety
/// `pool` is a live pool; `objects` has room for `count` pointers. On success the objects are the caller's.
#[inline]
pub(super) unsafe fn get(pool: NonNull<sys::rte_mempool>, objects: *mut *mut c_void, count: usize) -> bool {
    // SAFETY: the pool is live, and the cache stays on this thread.
    let Some(cache) = (unsafe { cache_of(pool) }) else {
        // SAFETY: as the caller promises.
        return unsafe { dequeue(pool, objects, count) };
    };
    // SAFETY: only this thread uses the cache.
    let len = unsafe { (*cache).len } as usize;
    if count > len {
        // SAFETY: as the caller promises; the cache is this thread's.
        return unsafe { get_from_behind(pool, cache, objects, count) };
    }
    // SAFETY: - the cache holds `len >= count` free objects, the last put being the warmest;
    //         - `objects` is the caller's array, not the cache's.
    unsafe {
        let first = (&raw mut (*cache).objs).cast::<*mut c_void>().add(len - count);
        std::ptr::copy_nonoverlapping(first, objects, count);
        (*cache).len = (len - count) as u32;
    }
    true
}

/// [`get`] when the cache does not hold enough: fills it up first, to its size and `count` more.
///
/// # Safety
/// As [`get`], and `cache` is the calling lcore's in `pool`.
#[cold]
unsafe fn get_from_behind(
    pool: NonNull<sys::rte_mempool>,
    cache: *mut sys::rte_mempool_cache,
    objects: *mut *mut c_void,
    count: usize,
) -> bool {
    // SAFETY: - only this thread uses the cache, which holds `len` objects and has room for twice
    //           RTE_MEMPOOL_CACHE_MAX_SIZE; `size` is at most once that and `count` at most a burst, so
    //           filling it to `size + count` stays inside;
    //         - a failed dequeue leaves everything as it was, and then the rest is taken one to one;
    //         - `objects` has room for `count`.
    unsafe {
        let held = (&raw mut (*cache).objs).cast::<*mut c_void>();
        let (len, size) = ((*cache).len as usize, (*cache).size as usize);
        let full = size + count;
        debug_assert!(full <= (*cache).objs.len() && len < count);
        if dequeue(pool, held.add(len), full - len) {
            std::ptr::copy_nonoverlapping(held.add(size), objects, count);
            (*cache).len = size as u32;
            return true;
        }
        if dequeue(pool, objects.add(len), count - len) {
            std::ptr::copy_nonoverlapping(held, objects, len);
            (*cache).len = 0;
            return true;
        }
        false
    }
}

/// Gives `count` free objects back to `pool`. At most a burst at a time.
///
/// # Safety
/// `pool` is a live pool; `objects` holds `count` objects of it that nothing refers to and that the caller
/// gives up.
#[inline]
pub(super) unsafe fn put(pool: NonNull<sys::rte_mempool>, objects: *const *mut c_void, count: usize) {
    // SAFETY: the pool is live, and the cache stays on this thread.
    let Some(cache) = (unsafe { cache_of(pool) }) else {
        // SAFETY: as the caller promises.
        return unsafe { enqueue(pool, objects, count) };
    };
    // SAFETY: - only this thread uses the cache, which holds `len` objects;
    //         - `flushthresh` is at most 1.5 times the size, inside the array, and the length stays below it;
    //         - `objects` is the caller's array, not the cache's.
    unsafe {
        let threshold = (*cache).flushthresh as usize;
        let mut len = (*cache).len as usize;
        if count > threshold {
            return enqueue(pool, objects, count);
        }
        let held = (&raw mut (*cache).objs).cast::<*mut c_void>();
        if len + count > threshold {
            enqueue(pool, held, len);
            len = 0;
        }
        std::ptr::copy_nonoverlapping(objects, held.add(len), count);
        (*cache).len = (len + count) as u32;
    }
}
