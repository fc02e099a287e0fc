//! Ports on DPDK: the safe layer over `dpdk-sys`, and the only code that uses it.
//!
//! ```text
//!   Eal::init ──> Mempool::new ──> Port::open / cable ──> Port (control) + DpdkQueue (one per worker)
//!      │                                                         receive, transmit: Mbuf
//!      └──> launch (worker lcores), register_thread (any other thread)
//! ```
//!
//! **Ownership.** An [`Mbuf`] is owned by whoever holds it and goes back to its pool when dropped; a
//! transmitted one belongs to the port and is gone from the burst. A [`DpdkQueue`] has one owner. A port
//! stops and closes when its [`Port`] and all its queues are dropped.
//!
//! **What lives for ever.** EAL and the pools are never torn down: an mbuf may be in a driver's ring or
//! in another thread's hands at any time, and its memory has to outlive it. The operating system takes
//! both back at the end of the process.
//!
//! **What is inlined.** Reading a queue's functions from `rte_eth_fp_ops`, the per-lcore cache of a pool
//! and all access to an mbuf are written in Rust on the bindings, so they compile into the packet loop.
#![allow(unsafe_code)]

mod cable;
mod cache;
mod capture;
mod device;
mod eal;
mod error;
mod launch;
mod log;
mod mbuf;
mod mempool;
mod per_lcore;
mod port;
mod queue;
mod stats;

pub use cable::{CableConfig, Ends, cable};
pub use eal::{Eal, EalConfig, RegisteredThread};
pub use error::{EalError, LaunchError, PoolError, PortError, WorkerPanic};
pub use launch::WorkerHandle;
pub use log::{Level, LogLine};
pub use mbuf::{Mbuf, free_bulk};
pub use mempool::{Mempool, PoolConfig};
pub use port::{Capabilities, Link, MacAddr, Port, PortConfig};
pub use queue::DpdkQueue;
pub use stats::PortStats;
