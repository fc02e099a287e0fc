//! What a port counted.

use std::mem::MaybeUninit;

use dpdk_sys as sys;

/// Counters of a port since it was opened, as its driver keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Packets received.
    pub ipackets: u64,
    /// Packets transmitted.
    pub opackets: u64,
    /// Bytes received.
    pub ibytes: u64,
    /// Bytes transmitted.
    pub obytes: u64,
    /// Packets that the port dropped because the receive rings were full.
    pub imissed: u64,
    /// Packets received with an error.
    pub ierrors: u64,
    /// Packets that could not be transmitted. Some software ports count here what a full ring refused,
    /// which is still in the caller's burst.
    pub oerrors: u64,
    /// Times that there was no mbuf to receive into.
    pub rx_nombuf: u64,
}

impl PortStats {
    /// Reads the counters of an open port; all zero where the driver has none.
    pub(super) fn read(port_id: u16) -> Self {
        let mut stats = MaybeUninit::<sys::rte_eth_stats>::zeroed();
        // SAFETY: the port is open; the call fills the structure, or leaves it zeroed, which is valid for
        // plain numbers.
        let stats = unsafe {
            sys::rte_eth_stats_get(port_id, stats.as_mut_ptr());
            stats.assume_init()
        };
        Self {
            ipackets: stats.ipackets,
            opackets: stats.opackets,
            ibytes: stats.ibytes,
            obytes: stats.obytes,
            imissed: stats.imissed,
            ierrors: stats.ierrors,
            oerrors: stats.oerrors,
            rx_nombuf: stats.rx_nombuf,
        }
    }
}
