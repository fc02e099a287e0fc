//! DPDK's packet buffer.

use std::ffi::c_void;
use std::fmt;
use std::mem::offset_of;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use dpdk_sys as sys;

use super::cache;
use crate::ports::{Burst, NoRoom, Packet, RxChecksum};

// The layout is part of DPDK's binary interface, the same from 22.11 to 25.11; what changes is in which
// anonymous union a field is declared.
const _: () = {
    assert!(size_of::<sys::rte_mbuf>() == 128 && align_of::<sys::rte_mbuf>() == 64);
    assert!(offset_of!(sys::rte_mbuf, buf_addr) == 0);
    assert!(offset_of!(sys::rte_mbuf, ol_flags) == 24);
    assert!(offset_of!(sys::rte_mbuf, pool) == 56);
    assert!(offset_of!(sys::rte_mbuf, next) == 64);
    assert!(size_of::<Mbuf>() == size_of::<*mut sys::rte_mbuf>());
    assert!(size_of::<Option<Mbuf>>() == size_of::<*mut sys::rte_mbuf>());
};
#[cfg(not(dpdk_24_11))]
const _: () = {
    assert!(offset_of!(sys::rte_mbuf, data_off) == 16);
    assert!(offset_of!(sys::rte_mbuf, refcnt) == 18);
    assert!(offset_of!(sys::rte_mbuf, nb_segs) == 20);
    assert!(offset_of!(sys::rte_mbuf, port) == 22);
    assert!(offset_of!(sys::rte_mbuf, pkt_len) == 36);
    assert!(offset_of!(sys::rte_mbuf, data_len) == 40);
    assert!(offset_of!(sys::rte_mbuf, buf_len) == 54);
};

/// A field of the eight bytes that a driver rearms: `data_off`, `refcnt`, `nb_segs`, `port`.
#[cfg(not(dpdk_24_11))]
macro_rules! rearm {
    ($mbuf:expr, $field:ident) => {
        (*$mbuf).$field
    };
}
#[cfg(dpdk_24_11)]
macro_rules! rearm {
    ($mbuf:expr, $field:ident) => {
        (*$mbuf).__bindgen_anon_1.__bindgen_anon_1.$field
    };
}

/// A field that a driver sets when it receives: `pkt_len`, `data_len`, `buf_len`, `__bindgen_anon_1` (the
/// packet type).
#[cfg(not(dpdk_24_11))]
macro_rules! received {
    ($mbuf:expr, $field:ident) => {
        (*$mbuf).$field
    };
}
#[cfg(dpdk_24_11)]
macro_rules! received {
    ($mbuf:expr, $field:ident) => {
        (*$mbuf).__bindgen_anon_2.__bindgen_anon_1.$field
    };
}

/// Free bytes in front of a new frame.
const HEADROOM: u16 = sys::RTE_PKTMBUF_HEADROOM as u16;

/// The marks of an mbuf whose bytes are not its own.
const NOT_DIRECT: u64 = sys::RTE_MBUF_F_INDIRECT | sys::RTE_MBUF_F_EXTERNAL;

/// An owned packet buffer of DPDK. Dropped, it goes back to its pool.
///
/// Holds the only reference to the mbuf and to all its further segments: no code of ours shares one, and
/// drivers hand over only what they let go.
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

// SAFETY: an Mbuf is the only reference to its mbuf, which is plain memory; pools are thread-safe.
unsafe impl Send for Mbuf {}
// SAFETY: through a shared reference an Mbuf is only read.
unsafe impl Sync for Mbuf {}

impl Mbuf {
    /// Takes over an mbuf that was just taken from its pool, and empties it.
    ///
    /// # Safety
    /// `mbuf` is a free mbuf out of a pool made by `rte_pktmbuf_pool_create`, and nobody else's.
    #[inline]
    pub(super) unsafe fn from_free(mbuf: NonNull<sys::rte_mbuf>) -> Self {
        // SAFETY: as the caller promises.
        unsafe { Self::empty(mbuf.as_ptr()) };
        Self(mbuf)
    }

    /// Empties an mbuf that was just taken from its pool.
    ///
    /// # Safety
    /// As [`from_free`](Self::from_free).
    #[inline]
    pub(super) unsafe fn empty(mbuf: *mut sys::rte_mbuf) {
        // SAFETY: - the mbuf is the caller's alone;
        //         - a free mbuf has one reference, one segment and no next one, which need not be written
        //           (the second cache line stays untouched); its buffer holds the headroom, as the pool was
        //           made with room for it.
        unsafe {
            rearm!(mbuf, data_off) = HEADROOM;
            rearm!(mbuf, port) = u16::MAX;
            (*mbuf).ol_flags &= sys::RTE_MBUF_F_EXTERNAL;
            received!(mbuf, __bindgen_anon_1).packet_type = 0;
            received!(mbuf, pkt_len) = 0;
            received!(mbuf, data_len) = 0;
        }
    }

    /// Free bytes in front of the frame.
    #[inline]
    pub fn headroom(&self) -> usize {
        usize::from(self.data_off())
    }

    /// Free bytes behind the first segment.
    #[inline]
    pub fn tailroom(&self) -> usize {
        // SAFETY: the mbuf is ours.
        let buf_len = unsafe { received!(self.raw(), buf_len) };
        usize::from(buf_len.saturating_sub(self.data_off()).saturating_sub(self.data_len()))
    }

    /// How many segments the frame has.
    #[inline]
    pub fn segments(&self) -> u16 {
        // SAFETY: the mbuf is ours.
        unsafe { rearm!(self.raw(), nb_segs) }
    }

    #[inline]
    fn raw(&self) -> *mut sys::rte_mbuf {
        self.0.as_ptr()
    }

    #[inline]
    fn data_off(&self) -> u16 {
        // SAFETY: the mbuf is ours.
        unsafe { rearm!(self.raw(), data_off) }
    }

    #[inline]
    fn data_len(&self) -> u16 {
        // SAFETY: the mbuf is ours.
        unsafe { received!(self.raw(), data_len) }
    }

    #[inline]
    fn pkt_len(&self) -> u32 {
        // SAFETY: the mbuf is ours.
        unsafe { received!(self.raw(), pkt_len) }
    }

    /// Where the frame starts.
    #[inline]
    fn start(&self) -> *mut u8 {
        // SAFETY: the mbuf is ours, and `data_off` lies inside its buffer.
        unsafe { (*self.raw()).buf_addr.cast::<u8>().add(usize::from(self.data_off())) }
    }

    /// Sets what changes when bytes come or go: where the first segment starts and how long things are.
    #[inline]
    fn set_extent(&mut self, data_off: u16, data_len: u16, pkt_len: u32) {
        // SAFETY: the mbuf is ours.
        unsafe {
            rearm!(self.raw(), data_off) = data_off;
            received!(self.raw(), data_len) = data_len;
            received!(self.raw(), pkt_len) = pkt_len;
        }
    }

    /// Whether it can go back to its pool as it is: one reference, one segment, its own bytes. All but never
    /// false here.
    #[inline]
    fn is_plain(&self) -> bool {
        // SAFETY: - the mbuf is ours;
        //         - `refcnt` is aligned and only accessed atomically while it is shared.
        unsafe {
            let refcnt = AtomicU16::from_ptr(&raw mut rearm!(self.raw(), refcnt));
            // Relaxed: one means that nobody else has a reference, as in DPDK's own free.
            refcnt.load(Ordering::Relaxed) == 1
                && rearm!(self.raw(), nb_segs) == 1
                && (*self.raw()).ol_flags & NOT_DIRECT == 0
        }
    }

    /// The pool it came from.
    #[inline]
    fn pool(&self) -> Option<NonNull<sys::rte_mempool>> {
        // SAFETY: the mbuf is ours.
        NonNull::new(unsafe { (*self.raw()).pool })
    }

    /// Frees an mbuf by DPDK's own code, which knows every kind.
    #[cold]
    fn free_any(mbuf: *mut sys::rte_mbuf) {
        let mut mbuf = mbuf;
        // SAFETY: the caller gives up the mbuf, of which it had the only reference.
        unsafe { sys::rte_pktmbuf_free_bulk(&raw mut mbuf, 1) };
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        match self.pool() {
            Some(pool) if self.is_plain() => {
                let object: *mut c_void = self.raw().cast();
                // SAFETY: - the pool of an mbuf lives for ever;
                //         - the mbuf is plain, so after this drop nothing refers to it, and it is as a free
                //           mbuf has to be: one reference, one segment (hence no next one).
                unsafe { cache::put(pool, &raw const object, 1) };
            }
            _ => Self::free_any(self.raw()),
        }
    }
}

/// Gives all mbufs of a burst back to their pools: at once where they share one, which is cheaper than dropping
/// them one by one.
#[inline]
pub fn free_bulk(burst: &mut Burst<Mbuf>) {
    let Some(pool) = burst.first().and_then(Mbuf::pool) else {
        burst.clear();
        return;
    };
    if burst.iter().all(|mbuf| mbuf.pool() == Some(pool) && mbuf.is_plain()) {
        let len = burst.len();
        // SAFETY: - the length is zero before the mbufs go, so they are not dropped again;
        //         - all are plain mbufs of this pool, given up here (see `drop`); an Mbuf is a pointer.
        unsafe {
            burst.set_len(0);
            cache::put(pool, burst.as_ptr().cast(), len);
        }
    }
    burst.clear();
}

impl Packet for Mbuf {
    #[inline]
    fn data(&self) -> &[u8] {
        // SAFETY: the first segment's bytes lie inside its buffer, which is ours with the mbuf and is
        // initialised memory; nobody writes it while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.start(), usize::from(self.data_len())) }
    }

    #[inline]
    fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as `data`, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start(), usize::from(self.data_len())) }
    }

    #[inline]
    fn len(&self) -> usize {
        self.pkt_len() as usize
    }

    #[inline]
    fn prepend(&mut self, n: usize) -> Result<(), NoRoom> {
        let data_off = self.data_off();
        if n > usize::from(data_off) {
            return Err(NoRoom);
        }
        // Fits in 16 bits: offset and length together are within the buffer's 16-bit length.
        let n = n as u16;
        self.set_extent(data_off - n, self.data_len() + n, self.pkt_len() + u32::from(n));
        Ok(())
    }

    #[inline]
    fn trim_front(&mut self, n: usize) -> Result<(), NoRoom> {
        let data_len = self.data_len();
        if n > usize::from(data_len) {
            return Err(NoRoom);
        }
        let n = n as u16;
        self.set_extent(self.data_off() + n, data_len - n, self.pkt_len() - u32::from(n));
        Ok(())
    }

    #[inline]
    fn append(&mut self, n: usize) -> Result<(), NoRoom> {
        if self.segments() != 1 || n > self.tailroom() {
            return Err(NoRoom);
        }
        let n = n as u16;
        self.set_extent(self.data_off(), self.data_len() + n, self.pkt_len() + u32::from(n));
        Ok(())
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        if self.segments() == 1 && len < usize::from(self.data_len()) {
            self.set_extent(self.data_off(), len as u16, len as u32);
        }
    }

    #[inline(always)]
    fn replace_front<const ROOM: usize>(
        &mut self,
        strip: usize,
        front: usize,
        keep: usize,
    ) -> Result<&mut [u8; ROOM], NoRoom> {
        let (data_len, pkt_len) = (usize::from(self.data_len()), self.pkt_len());
        let rest = usize::from(self.data_off()) + strip;
        if rest < ROOM {
            return Err(NoRoom);
        }
        let is_whole = data_len == pkt_len as usize;
        assert!(front <= ROOM && strip + if is_whole { keep } else { 0 } <= data_len);
        // All fit in 16 bits: they lie within the buffer, whose length is a 16-bit number.
        if is_whole {
            self.set_extent((rest - front) as u16, (front + keep) as u16, (front + keep) as u32);
        } else {
            let data_len = (data_len - strip + front) as u16;
            self.set_extent((rest - front) as u16, data_len, pkt_len - strip as u32 + front as u32);
        }
        // SAFETY: - `ROOM` bytes before `rest`, which lies in the buffer as the first segment has `strip` bytes, are
        //           in the buffer too, and an array of bytes needs no alignment;
        //         - it is initialised memory, ours with the mbuf, and `self` is borrowed alone.
        unsafe {
            let buffer = (*self.raw()).buf_addr.cast::<u8>();
            Ok(&mut *buffer.add(rest - ROOM).cast())
        }
    }

    #[inline]
    fn rx_checksum(&self) -> RxChecksum {
        // SAFETY: the mbuf is ours; the packet type is a plain number.
        let (flags, packet_type) =
            unsafe { ((*self.raw()).ol_flags, received!(self.raw(), __bindgen_anon_1).packet_type) };
        rx_checksum(flags, packet_type)
    }

    #[inline(always)]
    fn has_bad_checksum(&self) -> bool {
        const BAD: u64 = (sys::RTE_MBUF_F_RX_IP_CKSUM_BAD | sys::RTE_MBUF_F_RX_L4_CKSUM_BAD) as u64;
        // SAFETY: the mbuf is ours.
        let flags = unsafe { (*self.raw()).ol_flags };
        // The marks of "bad" are part of "none" as well.
        flags & BAD != 0 && self.rx_checksum() == RxChecksum::Bad
    }

    #[inline]
    fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch has no effect but on the cache, whatever the address.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.start().cast::<i8>().cast_const());
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        unsafe {
            std::arch::asm!("prfm pldl1keep, [{}]", in(reg) self.start(), options(readonly, nostack, preserves_flags));
        }
    }
}

/// What the port's marks say of the checksums.
///
/// A checksum that the port knows to be left out ("none": a virtual machine's peer did not compute it) counts
/// as unknown, not as good: the bytes in the packet are not right.
#[inline]
fn rx_checksum(flags: u64, packet_type: u32) -> RxChecksum {
    const IP_BAD: u64 = sys::RTE_MBUF_F_RX_IP_CKSUM_BAD as u64;
    const IP_GOOD: u64 = sys::RTE_MBUF_F_RX_IP_CKSUM_GOOD as u64;
    const L4_BAD: u64 = sys::RTE_MBUF_F_RX_L4_CKSUM_BAD as u64;
    const L4_GOOD: u64 = sys::RTE_MBUF_F_RX_L4_CKSUM_GOOD as u64;
    let ip = flags & sys::RTE_MBUF_F_RX_IP_CKSUM_MASK as u64;
    let l4 = flags & sys::RTE_MBUF_F_RX_L4_CKSUM_MASK as u64;
    // IPv6 has no checksum of its own, and ports differ in what they say of it.
    let l3 = packet_type & sys::RTE_PTYPE_L3_MASK;
    let is_ipv6 = l3 == sys::RTE_PTYPE_L3_IPV6
        || l3 == sys::RTE_PTYPE_L3_IPV6_EXT
        || l3 == sys::RTE_PTYPE_L3_IPV6_EXT_UNKNOWN;
    if ip == IP_BAD || l4 == L4_BAD {
        RxChecksum::Bad
    } else if l4 == L4_GOOD && (ip == IP_GOOD || is_ipv6) {
        RxChecksum::Good
    } else {
        RxChecksum::Unknown
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf")
            .field("len", &self.len())
            .field("segments", &self.segments())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_marks_are_read() {
        let ip = |text| match text {
            "good" => u64::from(sys::RTE_MBUF_F_RX_IP_CKSUM_GOOD),
            "bad" => u64::from(sys::RTE_MBUF_F_RX_IP_CKSUM_BAD),
            "none" => u64::from(sys::RTE_MBUF_F_RX_IP_CKSUM_NONE),
            _ => 0,
        };
        let l4 = |text| match text {
            "good" => u64::from(sys::RTE_MBUF_F_RX_L4_CKSUM_GOOD),
            "bad" => u64::from(sys::RTE_MBUF_F_RX_L4_CKSUM_BAD),
            "none" => u64::from(sys::RTE_MBUF_F_RX_L4_CKSUM_NONE),
            _ => 0,
        };
        let v4 = 0x10;
        for (ip_says, l4_says, packet_type, expected) in [
            ("good", "good", v4, RxChecksum::Good),
            ("good", "bad", v4, RxChecksum::Bad),
            ("bad", "good", v4, RxChecksum::Bad),
            ("bad", "", v4, RxChecksum::Bad),
            ("good", "", v4, RxChecksum::Unknown),
            ("", "good", v4, RxChecksum::Unknown),
            ("", "good", sys::RTE_PTYPE_L3_IPV6, RxChecksum::Good),
            ("good", "none", v4, RxChecksum::Unknown),
            ("none", "none", v4, RxChecksum::Unknown),
            ("", "", v4, RxChecksum::Unknown),
        ] {
            let found = rx_checksum(ip(ip_says) | l4(l4_says), packet_type);
            assert_eq!(found, expected, "{ip_says:?} {l4_says:?} {packet_type:#x}");
        }
    }
}
