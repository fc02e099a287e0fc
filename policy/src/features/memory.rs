//! What an extractor remembers of a server from one observation to the next.

use ipc::{region::ServerStatistics, sample::Kind};

use crate::{
    Observation,
    state::{self, StateError},
};

/// Seconds after which what happened counts 1/e in the recent counts.
const RECENT: f64 = 1.0;

/// Counts of a server, or of all together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Flows that began.
    pub created: f64,
    /// Flows that ended in order.
    pub finished: f64,
    /// Flows that ended otherwise: by time-out, or because others needed their place.
    pub lost: f64,
    /// SYNs that came again.
    pub retransmits: f64,
}

impl Counts {
    fn of(server: &ServerStatistics) -> [u64; 4] {
        [
            server.created,
            server.finished_fin.saturating_add(server.finished_rst),
            server.finished_timeout.saturating_add(server.evicted),
            server.syn_retransmits,
        ]
    }

    const fn each_mut(&mut self) -> [&mut f64; 4] {
        let Self { created, finished, lost, retransmits } = self;
        [created, finished, lost, retransmits]
    }

    /// Adds those of another server.
    pub fn add(&mut self, other: &Self) {
        self.created += other.created;
        self.finished += other.finished;
        self.lost += other.lost;
        self.retransmits += other.retransmits;
    }
}

/// One server's past.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    open: u64,
    counters: [u64; 4],
    duration: f32,
    /// What happened lately, exponentially forgotten.
    pub recent: Counts,
    /// The share of the time, exponentially forgotten, in which it had an open flow.
    pub busy: f64,
    /// ln((open + 1) / (open before + 1)).
    pub open_change: f64,
    /// ln(flow duration / flow duration before), 0 without either.
    pub duration_change: f64,
}

impl Memory {
    /// Begins with what the record says.
    pub fn new(server: &ServerStatistics) -> Self {
        Self {
            open: server.open,
            counters: Counts::of(server),
            duration: duration(server),
            busy: if server.open > 0 { 1.0 } else { 0.0 },
            ..Self::default()
        }
    }

    /// Goes on to a record that is `seconds` younger.
    pub fn go_on(&mut self, server: &ServerStatistics, seconds: f64) {
        let keep = (-seconds / RECENT).exp();
        let counters = Counts::of(server);
        for ((recent, now), before) in self.recent.each_mut().into_iter().zip(counters).zip(self.counters) {
            // A counter that went back says nothing.
            *recent = *recent * keep + now.saturating_sub(before) as f64;
        }
        let ends = [self.open, server.open];
        let busy = ends.iter().filter(|&&open| open > 0).count() as f64 / 2.0;
        self.busy += (1.0 - keep) * (busy - self.busy);
        self.open_change = ((server.open as f64 + 1.0) / (self.open as f64 + 1.0)).ln();
        let now = duration(server);
        self.duration_change = if now > 0.0 && self.duration > 0.0 {
            (f64::from(now) / f64::from(self.duration)).ln()
        } else {
            0.0
        };
        (self.open, self.counters, self.duration) = (server.open, counters, now);
    }

    /// Writes everything down.
    pub fn save(&self, state: &mut state::Writer) {
        state.u64(self.open);
        self.counters.iter().for_each(|&counter| state.u64(counter));
        state.f64(f64::from(self.duration));
        let Counts { created, finished, lost, retransmits } = self.recent;
        for value in [created, finished, lost, retransmits, self.busy, self.open_change, self.duration_change]
        {
            state.f64(value);
        }
    }

    /// Takes over what [`Memory::save`] has written.
    pub fn restore(state: &mut state::Reader<'_>) -> Result<Self, StateError> {
        let open = state.u64()?;
        let mut counters = [0; 4];
        for counter in &mut counters {
            *counter = state.u64()?;
        }
        let duration = state.f64()? as f32;
        let mut values = [0.0; 7];
        for value in &mut values {
            *value = state.f64()?;
            if !value.is_finite() {
                return Err(StateError::Value);
            }
        }
        let [created, finished, lost, retransmits, busy, open_change, duration_change] = values;
        let recent = Counts { created, finished, lost, retransmits };
        Ok(Self { open, counters, duration, recent, busy, open_change, duration_change })
    }
}

/// The decayed mean flow duration, in nanoseconds; 0 without samples.
fn duration(server: &ServerStatistics) -> f32 {
    server.kind(Kind::FlowDuration).map_or(0.0, |said| said.decayed_mean)
}

/// What the active servers have in common.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pool {
    /// How many are active.
    pub active: f64,
    /// Open flows, on the mean.
    pub open: f64,
    /// Mean of ln weight in force, over those that have one.
    pub weight: f64,
    /// Mean of ln configured weight.
    pub configured: f64,
    /// Mean of ln((open + 1) / base).
    pub load: f64,
    /// Standard deviation of it.
    pub load_spread: f64,
    /// The largest of it, less the mean.
    pub load_most: f64,
    /// Sum of the bases.
    pub base: f64,
    /// Sum of recent counts.
    pub recent: Counts,
    /// Mean share of busy time.
    pub busy: f64,
    /// Mean of ln decayed mean by kind, over those that have samples.
    pub kinds: [f64; Kind::COUNT],
    /// The same, as a share of one.
    pub sampled: [f64; Kind::COUNT],
}

impl Pool {
    /// Sums up; `base` and `memories` stand in the order of the servers.
    pub fn of<'a>(
        observation: &Observation<'_>,
        base: &[f64],
        memories: impl Iterator<Item = &'a Memory>,
    ) -> Self {
        let mut pool = Self::default();
        let (mut weighted, mut squares, mut most) = (0.0, 0.0, f64::NEG_INFINITY);
        for ((server, &base), memory) in observation.servers.iter().zip(base).zip(memories) {
            if !Observation::is_active(server) {
                continue;
            }
            pool.active += 1.0;
            pool.open += server.open as f64;
            if server.weight > 0.0 {
                (pool.weight, weighted) = (pool.weight + server.weight.ln(), weighted + 1.0);
            }
            pool.configured += server.configured_weight.ln();
            let load = load(server, base);
            (pool.load, squares, most) = (pool.load + load, squares + load * load, most.max(load));
            pool.base += base;
            pool.recent.add(&memory.recent);
            pool.busy += memory.busy;
            pool.add_kinds(server);
        }
        pool.finish(weighted, squares, most);
        pool
    }

    fn add_kinds(&mut self, server: &ServerStatistics) {
        for kind in Kind::ALL {
            if let Some(said) = server.kind(kind) {
                self.kinds[kind.index()] += log(said.decayed_mean);
                self.sampled[kind.index()] += 1.0;
            }
        }
    }

    fn finish(&mut self, weighted: f64, squares: f64, most: f64) {
        let active = self.active.max(1.0);
        for sum in [&mut self.open, &mut self.configured, &mut self.load, &mut self.busy] {
            *sum /= active;
        }
        self.weight /= f64::max(weighted, 1.0);
        self.load_spread = (squares / active - self.load * self.load).max(0.0).sqrt();
        self.load_most = if self.active > 0.0 { most - self.load } else { 0.0 };
        for (sum, sampled) in self.kinds.iter_mut().zip(&mut self.sampled) {
            *sum /= sampled.max(1.0);
            *sampled /= active;
        }
    }
}

/// ln((open + 1) / base): what the choice of a server goes by.
pub fn load(server: &ServerStatistics, base: f64) -> f64 {
    ((server.open as f64 + 1.0) / base.max(1e-12)).ln()
}

/// ln of a statistic, of which nothing is below one nanosecond or byte.
pub fn log(value: f32) -> f64 {
    f64::from(value).max(1.0).ln()
}
