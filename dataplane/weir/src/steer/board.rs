//! What others see of the decisions: metrics, and who asks why.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use ipc::{region::ServerStatistics, sample::Kind};
use policy::{
    Observation,
    controller::Controller,
    guard::{GUARDS, Guarded},
    plan::Plan,
    rewards::{Objective, jain},
    steering::{Decision, Reason},
};

use crate::measure::{Histogram, POLICY_STEPS};

/// Decisions that are remembered of each VIP.
const REMEMBERED: usize = 16;

/// A server in a decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerEntry {
    /// Its slot.
    pub server: u32,
    /// Whether it takes new flows.
    pub active: bool,
    /// Its configured weight.
    pub configured: f64,
    /// The weight in force when it was observed.
    pub in_force: f64,
    /// Its live flows.
    pub open: u64,
    /// Flows that ended by FIN or RST since the start.
    pub finished: u64,
    /// Decayed mean of the durations of its live flows, in seconds; `None`: no samples.
    pub duration: Option<f64>,
    /// What was proposed, bounded to what, and by which guards.
    pub weight: Guarded,
}

impl ServerEntry {
    fn new(server: &ServerStatistics, weight: Guarded) -> Self {
        let duration = server.kind(Kind::FlowDuration).map(|said| f64::from(said.decayed_mean) * 1e-9);
        Self {
            server: server.server,
            active: Observation::is_active(server),
            configured: server.configured_weight,
            in_force: server.weight,
            open: server.open,
            finished: Observation::finished(server),
            duration,
            weight,
        }
    }
}

/// A decision with what it went by.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When it was observed, in nanoseconds of the workers' clock.
    pub t: u64,
    /// Why the fallback rule set the weights.
    pub fallback: Option<Reason>,
    /// By server.
    pub servers: Vec<ServerEntry>,
}

/// What is told of a VIP.
#[derive(Clone, Debug)]
pub struct VipBoard {
    /// How it is steered.
    pub plan: Plan,
    /// The last decisions, the oldest first.
    pub entries: VecDeque<Entry>,
    /// Steps so far.
    pub steps: u64,
    /// How often the fallback rule had to step in, by reason.
    pub fallbacks: HashMap<Reason, u64>,
    /// Weights that a guard changed, in the order of [`GUARDS`].
    pub clipped: [u64; GUARDS.len()],
}

/// How a VIP fares, steered or not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fairness {
    /// Jain's index of the servers' mean flow durations, 1/n to 1.
    pub jain: f64,
    /// What the default reward says.
    pub reward: f64,
}

impl VipBoard {
    fn new(plan: Plan) -> Self {
        Self {
            plan,
            entries: VecDeque::new(),
            steps: 0,
            fallbacks: HashMap::new(),
            clipped: [0; GUARDS.len()],
        }
    }

    fn take(&mut self, observation: &Observation<'_>, decision: &Decision) {
        self.steps += 1;
        if let Some(reason) = decision.fallback.filter(|_| decision.fell) {
            *self.fallbacks.entry(reason).or_default() += 1;
        }
        for (count, (bit, _)) in self.clipped.iter_mut().zip(GUARDS) {
            *count += decision.weights.iter().filter(|weight| weight.guards & bit != 0).count() as u64;
        }
        let mut entry = if self.entries.len() < REMEMBERED {
            Entry { t: 0, fallback: None, servers: Vec::new() }
        } else {
            self.entries.pop_front().expect("there are as many as are remembered")
        };
        (entry.t, entry.fallback) = (decision.t, decision.fallback);
        entry.servers.clear();
        let pairs = observation.servers.iter().zip(&decision.weights);
        entry.servers.extend(pairs.map(|(server, &weight)| ServerEntry::new(server, weight)));
        self.entries.push_back(entry);
    }
}

/// Written by policy, read by metrics.
#[derive(Debug)]
pub struct Board(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    vips: BTreeMap<u32, VipBoard>,
    fairness: BTreeMap<u32, Fairness>,
    objective: Objective,
    seconds: Histogram,
}

impl Default for Board {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            vips: BTreeMap::new(),
            fairness: BTreeMap::new(),
            objective: Objective::default(),
            seconds: Histogram::new(POLICY_STEPS),
        }))
    }
}

impl Board {
    /// Takes over what came of a step that took so many seconds.
    pub fn take<'a>(
        &self,
        controller: &Controller,
        observations: impl Iterator<Item = Observation<'a>>,
        seconds: f64,
    ) {
        let mut inner = self.lock();
        inner.seconds.take(seconds);
        inner.fairness.clear();
        let mut times = Vec::new();
        for observation in observations {
            let vip = observation.vip.vip;
            let reward = inner.objective.evaluate(&observation, 0.0, &mut times);
            if !times.is_empty() {
                inner.fairness.insert(vip, Fairness { jain: jain(&times), reward });
            }
            let Some(steered) = controller.vip(vip) else { continue };
            let board = inner.vips.entry(vip).or_insert_with(|| VipBoard::new(steered.plan().clone()));
            if board.plan != *steered.plan() {
                board.plan = steered.plan().clone();
            }
            board.take(&observation, steered.last());
        }
    }

    /// Forgets VIPs that are no longer steered.
    pub fn retain(&self, keep: impl Fn(u32) -> bool) {
        self.lock().vips.retain(|&vip, _| keep(vip));
    }

    /// What is told of a VIP; `None`: it is not steered, or has had no step yet.
    pub fn vip(&self, vip: u32) -> Option<VipBoard> {
        self.lock().vips.get(&vip).cloned()
    }

    /// Has each VIP looked at, by identifier. No step can be taken over meanwhile.
    pub fn visit(&self, mut look: impl FnMut(u32, &VipBoard)) {
        for (&vip, board) in &self.lock().vips {
            look(vip, board);
        }
    }

    /// How each VIP fares that has samples, by identifier.
    pub fn fairness(&self) -> BTreeMap<u32, Fairness> {
        self.lock().fairness.clone()
    }

    /// How long steps took, in seconds.
    pub fn seconds(&self) -> Histogram {
        self.lock().seconds.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
