//! What Prometheus scrapes: `/metrics`, `/healthz` and `/readyz`.

mod families;
mod server;

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use dataplane::{ports::dpdk::PortStats, worker::Handle};

pub use self::{
    families::{render, whole_ledger},
    server::serve,
};
use crate::control::Directory;

/// What the control thread tells the metrics about things that workers do not count.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Names of VIPs and servers.
    pub directory: Directory,
    /// The generation in force.
    pub generation: u64,
    /// Ports: name, whether the link is up, and what the device counted.
    pub ports: Vec<(String, bool, PortStats)>,
    /// VIPs that no active server can be reached for.
    pub unreachable_vips: Vec<String>,
}

/// What the metrics read. The control thread writes it, scrapes read it; no worker touches it.
#[derive(Debug)]
pub struct Source {
    /// The workers' counters.
    pub workers: Vec<Handle>,
    status: RwLock<Arc<Status>>,
    /// Reloads that took effect.
    pub reloads: AtomicU64,
    /// Reloads that were refused.
    pub refused_reloads: AtomicU64,
    /// Rounds of the control thread, to tell whether it is alive.
    pub heartbeat: AtomicU64,
}

impl Source {
    /// Metrics of these workers.
    pub fn new(workers: Vec<Handle>) -> Self {
        Self {
            workers,
            status: RwLock::default(),
            reloads: AtomicU64::new(0),
            refused_reloads: AtomicU64::new(0),
            heartbeat: AtomicU64::new(0),
        }
    }

    /// What the control thread last said.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says what holds now.
    pub fn set_status(&self, status: Status) {
        *self.status.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(status);
        self.heartbeat.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether traffic can be sent here: some VIP has a server that can be reached.
    ///
    /// Errors: what is missing, a line each.
    pub fn ready(&self) -> Result<(), String> {
        let status = self.status();
        let configured = status.directory.vips.iter().filter(|vip| vip.configured).count();
        if status.generation == 0 {
            Err("starting".into())
        } else if status.unreachable_vips.len() == configured {
            let names = status.unreachable_vips.join("\n");
            Err(format!("no VIP has a server that can be reached; waiting for ARP or NDP:\n{names}"))
        } else {
            Ok(())
        }
    }
}
