//! A cable: two ports made of rings, what one transmits being what the other receives.

use std::ffi::{CString, c_void};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dpdk_sys as sys;

use super::device::Device;
use super::eal::Eal;
use super::error::{self, PortError};
use super::mempool::Mempool;
use super::port::{MacAddr, Port, PortConfig};
use super::queue::DpdkQueue;
use super::{log, per_lcore};

/// A cable to lay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CableConfig {
    /// Queues of each port; at most 16. What goes into queue `i` at one end comes out of queue `i` at the
    /// other.
    pub queues: u16,
    /// Frames that each queue holds: a power of two; one less fits.
    pub ring: u16,
    /// MTU of both ports, bytes.
    pub mtu: u16,
    /// The ports' addresses; `None`: made up.
    pub macs: [Option<MacAddr>; 2],
}

impl Default for CableConfig {
    fn default() -> Self {
        Self { queues: 1, ring: 1024, mtu: 1500, macs: [None, None] }
    }
}

/// A port and its queues.
pub type Ends = (Port, Vec<DpdkQueue>);

/// Lays a cable: two ports of DPDK's ring driver, crossed. For the demo, tests and benchmarks; no packet leaves
/// the process.
///
/// Errors: too many queues, a ring that is no power of two, no memory.
pub fn cable(_eal: &Eal, config: &CableConfig, pool: &Mempool) -> Result<(Ends, Ends), PortError> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let there = Rings::new(&format!("cable{number}_ab"), config)?;
    let back = Rings::new(&format!("cable{number}_ba"), config)?;
    let rings = Arc::new([there, back]);
    let [there, back] = &*rings;
    let a = ring_port(&format!("cable{number}a"), back, there)?;
    let a = Device::of_rings(a.0, a.1, Arc::clone(&rings))?;
    let b = ring_port(&format!("cable{number}b"), there, back)?;
    let b = Device::of_rings(b.0, b.1, Arc::clone(&rings))?;
    let [mac_a, mac_b] = config.macs;
    Ok((open(a, mac_a, config, *pool)?, open(b, mac_b, config, *pool)?))
}

fn open(
    device: Device,
    mac: Option<MacAddr>,
    config: &CableConfig,
    pool: Mempool,
) -> Result<Ends, PortError> {
    let port = PortConfig {
        queues: config.queues,
        rx_ring: config.ring,
        tx_ring: config.ring,
        mtu: config.mtu,
        mac,
        ..PortConfig::new(device.name())
    };
    Port::set_up(device, &port, pool)
}

/// Makes a port that receives from `rx` and transmits to `tx`; returns its device name and number.
fn ring_port(name: &str, rx: &Rings, tx: &Rings) -> Result<(String, u16), PortError> {
    let device = format!("net_ring_{name}");
    let name = CString::new(name).expect("no NUL in the name");
    let count = u32::try_from(rx.0.len()).expect("16 rings at most");
    let mark = log::mark();
    // SAFETY: - EAL is started; the name is a C string, copied by the call;
    //         - both arrays hold `count` rings (NonNull is a pointer), which outlive the port: the Device
    //           that will own it keeps them.
    let port_id = unsafe {
        sys::rte_eth_from_rings(name.as_ptr(), rx.0.as_ptr().cast(), count, tx.0.as_ptr().cast(), count, 0)
    };
    match u16::try_from(port_id) {
        Ok(port_id) if u32::from(port_id) < sys::RTE_MAX_ETHPORTS => Ok((device, port_id)),
        _ => Err(PortError::Driver { device, cause: error::cause(mark, per_lcore::errno()) }),
    }
}

/// The rings of one direction, one for each queue. Dropped, they are emptied and freed: then no port uses them.
pub(super) struct Rings(Vec<NonNull<sys::rte_ring>>);

// SAFETY: a ring is used by one producer and one consumer, the owners of the two queues; nothing but the ports
// touches it until the drop, which is alone.
unsafe impl Send for Rings {}
// SAFETY: as above.
unsafe impl Sync for Rings {}

impl Rings {
    fn new(name: &str, config: &CableConfig) -> Result<Self, PortError> {
        let most = 16;
        if config.queues > most {
            return Err(PortError::TooManyQueues { device: "cable".into(), asked: config.queues, most });
        }
        let mut rings = Self(Vec::new());
        for queue in 0..config.queues.max(1) {
            let ring_name = CString::new(format!("{name}{queue}")).expect("no NUL in the name");
            let mark = log::mark();
            // One producer, one consumer: each queue has one owner.
            let flags = sys::RING_F_SP_ENQ | sys::RING_F_SC_DEQ;
            // SAFETY: EAL is started; the name is a C string, copied by the call; the node is any.
            let ring = unsafe { sys::rte_ring_create(ring_name.as_ptr(), u32::from(config.ring), -1, flags) };
            let Some(ring) = NonNull::new(ring) else {
                let errno = per_lcore::errno();
                let (device, cause) = (name.to_owned(), error::cause(mark, errno));
                return Err(match errno {
                    libc::EINVAL => PortError::Arguments { device, cause },
                    _ => PortError::NoMemory { device, cause },
                });
            };
            rings.0.push(ring);
        }
        Ok(rings)
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        for ring in &self.0 {
            // SAFETY: - no port uses the ring any more, so nobody moves its ends;
            //         - from the consumer's tail to the producer's tail lie mbufs that were transmitted and not
            //           received, ours to free, in the array behind the header;
            //         - the ring came from rte_ring_create and is freed once.
            unsafe {
                let ring = ring.as_ptr();
                let slots = ring.add(1).cast::<*mut c_void>();
                let (mut next, end) =
                    ((*ring).__bindgen_anon_2.cons.tail, (*ring).__bindgen_anon_1.prod.tail);
                while next != end {
                    let mut mbuf = (*slots.add((next & (*ring).mask) as usize)).cast::<sys::rte_mbuf>();
                    sys::rte_pktmbuf_free_bulk(&raw mut mbuf, 1);
                    next = next.wrapping_add(1);
                }
                sys::rte_ring_free(ring);
            }
        }
    }
}
