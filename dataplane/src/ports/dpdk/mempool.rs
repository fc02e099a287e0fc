//! Pools of mbufs.

use std::ffi::{CString, c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use dpdk_sys as sys;

use super::eal::Eal;
use super::error::{self, PoolError};
use super::mbuf::Mbuf;
use super::{cache, log, per_lcore};
use crate::ports::Burst;

/// Mbufs that an lcore keeps at hand, in a pool that is large enough: eight bursts.
const CACHE: u32 = 256;

/// How large a pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// How many mbufs. Enough are: all descriptors of all queues, and for each thread that uses the pool
    /// 512 (one and a half caches, and a burst in hand). One less than a power of two wastes least. A thousand
    /// take 2.4 MiB; without hugepages 4 MiB.
    pub mbufs: u32,
    /// Bytes for the frame in each, without the headroom of 128.
    pub data_room_bytes: u16,
    /// The NUMA node whose memory to use; `None`: any.
    pub numa_node: Option<u32>,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self { mbufs: 16383, data_room_bytes: 2048, numa_node: None }
    }
}

/// A pool of mbufs, on one NUMA node.
///
/// A handle to copy about: the pool itself is never freed. Its mbufs may be anywhere, in a driver's
/// ring, on another lcore, in flight over a cable, and each has to find its memory there to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mempool {
    pool: NonNull<sys::rte_mempool>,
}

// SAFETY: the pool lives for ever; DPDK's pool functions may be called from any thread (the default
// pools are for many producers and many consumers), and a cache is only touched by the thread it belongs to.
unsafe impl Send for Mempool {}
// SAFETY: as above.
unsafe impl Sync for Mempool {}

impl Mempool {
    /// Makes a pool.
    pub fn new(_eal: &Eal, config: &PoolConfig) -> Result<Self, PoolError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = CString::new(format!("weir{}", NUMBER.fetch_add(1, Ordering::Relaxed)))
            .expect("no NUL in the name");
        // DPDK wants a cache to overflow only into a pool that can feed another: 1.5 caches fit.
        let cache = CACHE.min(config.mbufs / 2);
        let mark = log::mark();
        let room = config.data_room_bytes.checked_add(sys::RTE_PKTMBUF_HEADROOM as u16);
        let node = config.numa_node.map_or(-1, |node| c_int::try_from(node).unwrap_or(-1));
        let pool = room.and_then(|room| {
            // SAFETY: EAL is started; the name is a C string, copied by the call.
            NonNull::new(unsafe {
                sys::rte_pktmbuf_pool_create(name.as_ptr(), config.mbufs, cache, 0, room, node)
            })
        });
        pool.map(|pool| Self { pool }).ok_or_else(|| {
            let errno = if room.is_some() { per_lcore::errno() } else { libc::EINVAL };
            let cause = error::cause(mark, errno);
            let PoolConfig { mbufs, data_room_bytes, .. } = *config;
            match errno {
                libc::EINVAL => PoolError::Size { mbufs, data_room_bytes, cause },
                _ => PoolError::NoMemory { mbufs, mebibytes: config.bytes().div_ceil(1 << 20), cause },
            }
        })
    }

    /// Mbufs that are out of the pool now: with a driver, in a burst, on a cable. Walks the caches of all
    /// lcores; exact only while nobody takes or gives.
    pub fn in_use(&self) -> u32 {
        // SAFETY: the pool is live.
        unsafe { sys::rte_mempool_in_use_count(self.pool.as_ptr()) }
    }

    /// How many mbufs the pool has.
    pub fn mbufs(&self) -> u32 {
        // SAFETY: the pool is live, and its size does not change.
        unsafe { (*self.pool.as_ptr()).size }
    }

    /// An empty mbuf, or `None` when there is none left.
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        let mut object: *mut c_void = std::ptr::null_mut();
        // SAFETY: the pool is live; there is room for one.
        if !unsafe { cache::get(self.pool, &raw mut object, 1) } {
            return None;
        }
        // SAFETY: a free object of a pool of mbufs, now ours.
        NonNull::new(object.cast()).map(|mbuf| unsafe { Mbuf::from_free(mbuf) })
    }

    /// Appends up to `count` empty mbufs to the burst, as far as there is room in it: all or none. False when
    /// the pool has not enough.
    #[inline]
    #[must_use]
    pub fn alloc_bulk(&self, burst: &mut Burst<Mbuf>, count: usize) -> bool {
        let count = count.min(burst.remaining_capacity());
        let len = burst.len();
        // SAFETY: - the pool is live; behind the burst's `len` there is room for `count` mbufs, each a pointer;
        //         - on success these are free objects of a pool of mbufs, now ours, and each is emptied before
        //           the burst's length covers it.
        unsafe {
            let behind = burst.as_mut_ptr().add(len);
            if !cache::get(self.pool, behind.cast(), count) {
                return false;
            }
            for index in 0..count {
                Mbuf::empty(*behind.add(index).cast());
            }
            burst.set_len(len + count);
        }
        true
    }

    /// The pool, as DPDK knows it.
    pub(super) fn as_ptr(self) -> *mut sys::rte_mempool {
        self.pool.as_ptr()
    }

    /// Bytes for a frame in each mbuf, behind the headroom.
    pub(super) fn data_room_bytes(self) -> u32 {
        // SAFETY: the pool is live, and its sizes do not change. An element is a mbuf and its buffer.
        let element = unsafe { (*self.pool.as_ptr()).elt_size };
        element.saturating_sub(size_of::<sys::rte_mbuf>() as u32 + sys::RTE_PKTMBUF_HEADROOM)
    }
}

impl PoolConfig {
    /// Memory that the pool takes, about.
    fn bytes(&self) -> u64 {
        let each = size_of::<sys::rte_mbuf>() as u64 + 64 + u64::from(self.data_room_bytes) + 128;
        // SAFETY: EAL is started.
        let hugepages = unsafe { sys::rte_eal_has_hugepages() } != 0;
        // A buffer must not cross the end of a page: of small pages each takes its own.
        u64::from(self.mbufs) * if hugepages { each } else { each.next_multiple_of(4096) }
    }
}
