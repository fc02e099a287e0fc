//! What Prometheus scrapes: `/metrics`, `/healthz` and `/readyz`.

mod families;
mod page;
mod policies;
mod server;

use std::net::IpAddr;
use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use dataplane::{ports::dpdk::PortStats, worker::Handle};

pub use self::{
    families::{render, whole_ledger},
    server::serve,
};
use crate::{control::Directory, health::HealthStatus, measure::Findings};

/// What the control thread tells the metrics about things that workers do not count.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Names of VIPs and servers.
    pub directory: Arc<Directory>,
    /// The generation in force.
    pub generation: u64,
    /// Ports: name, whether the link is up, and what the device counted.
    pub ports: Vec<(String, bool, PortStats)>,
    /// VIPs that no active server can be reached for.
    pub unreachable_vips: Vec<String>,
    /// Servers and gateways that have not answered ARP or NDP.
    pub unresolved: Vec<IpAddr>,
    /// By worker: how busy it was lately.
    pub load: Vec<Load>,
    /// What the health checks say.
    pub health: HealthStatus,
}

/// How busy a worker was over an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Share of time in loop turns that had packets.
    pub busy_ratio: f64,
    /// Time-stamp cycles per packet in such turns; 0 without packets.
    pub cycles_per_packet: f64,
}

/// Takes the workers' load from one look at their counters to the next.
#[derive(Debug, Default)]
pub struct LoadMeter {
    last: Vec<[u64; 3]>,
}

impl LoadMeter {
    /// Each worker's load since the last call, or since the start.
    pub fn measure(&mut self, workers: &[Handle]) -> Vec<Load> {
        self.last.resize(workers.len(), [0; 3]);
        workers
            .iter()
            .zip(&mut self.last)
            .map(|(worker, last)| {
                let counters = &worker.counters.lcore;
                let now = [counters.cycles.get(), counters.busy_cycles.get(), counters.packets.get()];
                let [all, busy, packets] = [0, 1, 2].map(|at| now[at].saturating_sub(last[at]) as f64);
                *last = now;
                let cycles_per_packet = if packets > 0.0 { busy / packets } else { 0.0 };
                Load { busy_ratio: if all > 0.0 { busy / all } else { 0.0 }, cycles_per_packet }
            })
            .collect()
    }
}

/// What the metrics read. The control thread writes it, scrapes read it; no worker touches it.
#[derive(Debug)]
pub struct Source {
    /// The workers' counters.
    pub workers: Vec<Handle>,
    /// What the policy thread has found out.
    pub findings: Arc<Findings>,
    status: RwLock<Arc<Status>>,
    /// Reloads that took effect.
    pub reloads: AtomicU64,
    /// Reloads that were refused.
    pub refused_reloads: AtomicU64,
    /// Panics that the control thread went on after.
    pub control_panics: AtomicU64,
    /// Rounds of the control thread, to tell whether it is alive.
    pub heartbeat: AtomicU64,
}

impl Source {
    /// Metrics of these workers, and of the thread that has these findings.
    pub fn new(workers: Vec<Handle>, findings: Arc<Findings>) -> Self {
        Self {
            workers,
            findings,
            status: RwLock::default(),
            reloads: AtomicU64::new(0),
            refused_reloads: AtomicU64::new(0),
            control_panics: AtomicU64::new(0),
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
    /// Returns what is worth knowing nevertheless, a line each. Errors: what is missing, a line each.
    pub fn ready(&self) -> Result<String, String> {
        let status = self.status();
        let configured = status.directory.vips.iter().filter(|vip| vip.configured).count();
        if status.generation == 0 {
            Err("starting".into())
        } else if status.unreachable_vips.len() == configured {
            let names = status.unreachable_vips.join("\n");
            let silent: String =
                status.unresolved.iter().map(|address| format!("\nno answer: {address}")).collect();
            Err(format!("no VIP has a server that can be reached; waiting for ARP or NDP:\n{names}{silent}"))
        } else {
            let unhealthy = status.health.vips.iter().filter(|(_, unhealthy)| *unhealthy);
            let line = |(vip, _): &(String, bool)| {
                format!("all servers of VIP {vip} fail their checks: the last good ones stay in service\n")
            };
            let silent =
                status.unresolved.iter().map(|address| format!("no answer to ARP or NDP: {address}\n"));
            Ok(unhealthy.map(line).chain(silent).collect())
        }
    }
}
