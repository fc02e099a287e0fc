//! A receive and a transmit queue: DPDK's `rte_eth_rx_burst` and `rte_eth_tx_burst`.
//!
//! DPDK gives these only as static inline functions over the exported table `rte_eth_fp_ops`, one entry per
//! port. Reading the table here costs the same as in C and inlines into the loop. Callbacks (as
//! `dpdk-dumpcap` installs them) are not run.

use std::mem::{MaybeUninit, offset_of};
use std::sync::Arc;

use dpdk_sys as sys;

use super::device::Device;
use super::mbuf::Mbuf;
use super::mempool::Mempool;
use crate::ports::{BURST, Burst, Queue};

const _: () = {
    assert!(size_of::<sys::rte_eth_fp_ops>() == 128 && align_of::<sys::rte_eth_fp_ops>() == 64);
    assert!(offset_of!(sys::rte_eth_fp_ops, rx_pkt_burst) == 0);
    assert!(offset_of!(sys::rte_eth_fp_ops, rxq) == 24);
    assert!(offset_of!(sys::rte_eth_fp_ops, tx_pkt_burst) == 64);
    assert!(offset_of!(sys::rte_eth_fp_ops, txq) == 88);
    assert!(BURST <= u16::MAX as usize);
};

/// One receive and one transmit queue of a started port. It has one owner, who may pass it to another thread,
/// and keeps the port open.
pub struct DpdkQueue {
    /// The port's entry in DPDK's table.
    ops: *const sys::rte_eth_fp_ops,
    queue_id: u16,
    pool: Mempool,
    device: Arc<Device>,
}

// SAFETY: a queue may be used by any thread, one at a time: there is one DpdkQueue for each, it is not Clone,
// and receiving and transmitting take `&mut self`. The table outlives it.
unsafe impl Send for DpdkQueue {}

impl DpdkQueue {
    /// The queue `queue_id` of a started port.
    ///
    /// # Safety
    /// The device is started with more queues than `queue_id`, and no other value for this queue exists.
    pub(super) unsafe fn new(device: Arc<Device>, queue_id: u16, pool: Mempool) -> Self {
        let table = (&raw const sys::rte_eth_fp_ops).cast::<sys::rte_eth_fp_ops>();
        // SAFETY: the table has an entry for every port id.
        let ops = unsafe { table.add(usize::from(device.port_id())) };
        Self { ops, queue_id, pool, device }
    }

    /// DPDK's number of the port.
    pub fn port_id(&self) -> u16 {
        self.device.port_id()
    }

    /// The number of the queue in its port.
    pub fn queue_id(&self) -> u16 {
        self.queue_id
    }

    /// The pool that it receives into and allocates from.
    pub fn pool(&self) -> Mempool {
        self.pool
    }
}

impl Queue for DpdkQueue {
    type Packet = Mbuf;

    #[inline]
    fn receive(&mut self, burst: &mut Burst<Mbuf>) {
        let (start, room) = (burst.len(), burst.remaining_capacity());
        if room == 0 {
            return;
        }
        // SAFETY: - `self` keeps the port started, so its entry is filled and does not change, and
        //           `rxq.data` has this queue;
        //         - the function writes at most `room` pointers to mbufs, which become ours, behind the
        //           burst's `start`; an Mbuf is such a pointer;
        //         - `&mut self` makes us the only one to receive on this queue.
        unsafe {
            let ops = &*self.ops;
            let Some(rx_burst) = ops.rx_pkt_burst else { return };
            let queue = *ops.rxq.data.add(usize::from(self.queue_id));
            let received = rx_burst(queue, burst.as_mut_ptr().add(start).cast(), room as u16);
            burst.set_len(start + usize::from(received));
        }
    }

    #[inline]
    fn transmit(&mut self, burst: &mut Burst<Mbuf>) {
        let len = burst.len();
        if len == 0 {
            return;
        }
        // SAFETY: - as in `receive`, for the transmit side;
        //         - the function takes the first `sent` mbufs and leaves the others alone;
        //         - the length is zero before their bits are moved, so none is dropped or owned twice.
        unsafe {
            let ops = &*self.ops;
            let Some(tx_burst) = ops.tx_pkt_burst else { return };
            let queue = *ops.txq.data.add(usize::from(self.queue_id));
            let sent = usize::from(tx_burst(queue, burst.as_mut_ptr().cast(), len as u16));
            if sent == 0 {
                return;
            }
            burst.set_len(0);
            if sent < len {
                let first = burst.as_mut_ptr().cast::<MaybeUninit<Mbuf>>();
                std::ptr::copy(first.add(sent), first, len - sent);
                burst.set_len(len - sent);
            }
        }
    }

    #[inline]
    fn allocate(&mut self) -> Option<Mbuf> {
        self.pool.alloc()
    }
}

impl std::fmt::Debug for DpdkQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DpdkQueue")
            .field("port_id", &self.port_id())
            .field("queue_id", &self.queue_id)
            .finish_non_exhaustive()
    }
}
