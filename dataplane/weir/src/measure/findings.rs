//! What the policy thread shares with the others.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::Thread,
};

use dataplane::time::Nanos;
use ipc::{
    id::ServerId,
    sample::{Kind, Sample},
};

use super::histogram::{DURATIONS, HANDSHAKES, Histogram, POLICY_LOOPS};
use crate::{
    control::{Directory, Weights},
    steer::{Board, Wishes},
};

/// How long the watched flows of a server take.
#[derive(Clone, Debug, PartialEq)]
pub struct Latencies {
    /// From a flow's first packet to its FIN or RST.
    pub duration: Histogram,
    /// From a SYN to the client's first ACK.
    pub handshake: Histogram,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { duration: Histogram::new(DURATIONS), handshake: Histogram::new(HANDSHAKES) }
    }
}

/// What the policy thread is told and what it has found; no worker touches it.
#[derive(Debug, Default)]
pub struct Findings {
    /// Written by control, read by policy.
    directory: RwLock<Arc<Directory>>,
    /// How which VIPs are to be steered. Written by control, read by policy.
    wishes: RwLock<Arc<Wishes>>,
    /// What was decided. Written by policy, read by metrics.
    pub board: Board,
    /// Written by policy, read by metrics.
    latencies: Mutex<HashMap<ServerId, Latencies>>,
    /// Frames of statistics published into the region. This and all below are written by policy, read by metrics.
    pub frames_published: AtomicU64,
    /// Frames of statistics that could not be published.
    pub frames_failed: AtomicU64,
    /// Frames of weights that were read and are valid.
    pub weights_read: AtomicU64,
    /// Frames of weights that were not believed.
    pub weights_refused: AtomicU64,
    /// Steps that are missing in the decision log.
    pub log_lost: AtomicU64,
    /// How often the thread was started again after a panic.
    pub restarts: AtomicU64,
    /// Written by control, read by policy.
    stop: AtomicBool,
    /// The mailbox: written by policy, emptied by control.
    weights: Mutex<Option<Weights>>,
    /// Who empties it. Written once by control, woken by policy.
    control: OnceLock<Thread>,
    /// From observations to every worker using the weights made of them. Written by control, read by metrics.
    policy_loop: Mutex<PolicyLoop>,
}

/// How long the way from an observation to new weights in force was.
#[derive(Debug)]
struct PolicyLoop(Histogram);

impl Default for PolicyLoop {
    fn default() -> Self {
        Self(Histogram::new(POLICY_LOOPS))
    }
}

impl Findings {
    /// Says what VIPs and servers there are now; costs next to nothing when that is the same as before.
    pub fn follow(&self, directory: &Arc<Directory>) {
        if !Arc::ptr_eq(&self.directory(), directory) {
            *self.directory.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(directory);
        }
    }

    /// What VIPs and servers there are.
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says how VIPs are to be steered from now on.
    pub fn wish(&self, wishes: Wishes) {
        *self.wishes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(wishes);
    }

    /// How VIPs are to be steered.
    pub fn wishes(&self) -> Arc<Wishes> {
        Arc::clone(&self.wishes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes samples into the histograms of their servers.
    pub fn take(&self, samples: &[Sample]) {
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        for sample in samples {
            let seconds = sample.value as f64 * 1e-9;
            match sample.kind {
                Kind::FlowCompletion => latencies.entry(sample.server).or_default().duration.take(seconds),
                Kind::Handshake => latencies.entry(sample.server).or_default().handshake.take(seconds),
                _ => {}
            }
        }
    }

    /// Forgets servers whose slots mean something else now.
    pub fn forget(&self, servers: &[ServerId]) {
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        for server in servers {
            latencies.remove(server);
        }
    }

    /// The histograms of a server; `None`: none of its flows was watched yet.
    pub fn latencies(&self, server: ServerId) -> Option<Latencies> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).get(&server).cloned()
    }

    /// Has the control thread put `weights` in force, at once. What it has not taken yet of older ones is dropped, VIP by
    /// VIP.
    pub fn put_weights(&self, weights: Weights) {
        let mut mailbox = self.weights.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *mailbox {
            Some(waiting) => waiting.merge(weights),
            None => *mailbox = Some(weights),
        }
        drop(mailbox);
        if let Some(control) = self.control.get() {
            control.unpark();
        }
    }

    /// What was put since the last call.
    pub fn take_weights(&self) -> Option<Weights> {
        self.weights.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Has [`Findings::put_weights`] wake `control`; the first call counts.
    pub fn wake(&self, control: Thread) {
        self.control.get_or_init(|| control);
    }

    /// Weights made of what was observed then are used by every worker now.
    pub fn weights_in_force(&self, observed: Nanos, now: Nanos) {
        let seconds = now.0.saturating_sub(observed.0) as f64 * 1e-9;
        self.policy_loop.lock().unwrap_or_else(PoisonError::into_inner).0.take(seconds);
    }

    /// From observations to every worker using the weights made of them, in seconds.
    pub fn policy_loop(&self) -> Histogram {
        self.policy_loop.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Counts one more.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks the thread to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether the thread was asked to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
