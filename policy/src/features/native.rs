//! Features without a scale of their own: each server beside what the VIP's servers have in common.

use ipc::{region::ServerStatistics, sample::Kind};

use super::memory::{Memory, Pool, load, log};
use crate::{Observation, base::Grounds};

/// Kinds of samples that a server is known by, in their order.
pub const KINDS: [Kind; 4] =
    [Kind::FlowDuration, Kind::FlowCompletion, Kind::Handshake, Kind::RequestLatency];
/// Samples that a reservoir holds.
const SLOTS: f64 = ipc::reservoir::SLOTS as f64;
/// No ratio counts as larger than e to this.
const LARGEST: f64 = 8.0;

/// Names of a server's features.
pub const SERVER: [&str; 40] = [
    "open",
    "weight",
    "base",
    "configured_weight",
    "load",
    "flow_duration_mean",
    "flow_duration_p90",
    "flow_duration_std",
    "flow_duration_count",
    "flow_duration_age",
    "flow_duration_present",
    "flow_completion_mean",
    "flow_completion_p90",
    "flow_completion_std",
    "flow_completion_count",
    "flow_completion_age",
    "flow_completion_present",
    "handshake_mean",
    "handshake_p90",
    "handshake_std",
    "handshake_count",
    "handshake_age",
    "handshake_present",
    "request_latency_mean",
    "request_latency_p90",
    "request_latency_std",
    "request_latency_count",
    "request_latency_age",
    "request_latency_present",
    "finished",
    "created",
    "lost",
    "retransmits",
    "busy",
    "open_change",
    "flow_duration_change",
    "correction",
    "base_completed",
    "base_seconds",
    "base_unbounded",
];

/// Names of the features of the VIP.
pub const CONTEXT: [&str; 14] = [
    "flow_rate",
    "packet_rate",
    "byte_rate",
    "finished",
    "active",
    "open",
    "busy",
    "load_spread",
    "load_most",
    "flow_duration",
    "flow_duration_sampled",
    "retransmits",
    "interval",
    "reward",
];

/// What the agent itself says of a server.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    /// The base estimate.
    pub base: f64,
    /// What that rests on.
    pub grounds: Grounds,
    /// What was added to its logarithm last.
    pub correction: f32,
}

/// A row of one active server.
pub fn row(server: &ServerStatistics, memory: &Memory, said: Said, pool: &Pool) -> [f64; SERVER.len()] {
    let Said { base, grounds, correction } = said;
    let recent = &memory.recent;
    let share = base / pool.base.max(1e-12);
    let mut row = [0.0; SERVER.len()];
    row[..5].copy_from_slice(&[
        ((server.open as f64 + 1.0) / (pool.open + 1.0)).ln(),
        if server.weight > 0.0 { server.weight.ln() - pool.weight } else { -LARGEST },
        (base * pool.active / pool.base.max(1e-12)).max(1e-12).ln(),
        server.configured_weight.ln() - pool.configured,
        load(server, base) - pool.load,
    ]);
    for (place, kind) in row[5..].chunks_exact_mut(6).zip(KINDS) {
        place.copy_from_slice(&statistics(server, kind, pool));
    }
    row[29..].copy_from_slice(&[
        rate(recent.finished, share, pool.recent.finished),
        rate(recent.created, share, pool.recent.created),
        (recent.lost / (recent.created + 1.0)).ln_1p(),
        (recent.retransmits / (recent.created + 1.0)).ln_1p(),
        memory.busy,
        memory.open_change,
        memory.duration_change,
        f64::from(correction),
        grounds.completed.ln_1p(),
        grounds.seconds.ln_1p(),
        grounds.unbounded,
    ]);
    row.map(|value| value.clamp(-LARGEST, LARGEST))
}

/// What the samples of one kind say, beside those of the pool: all zero without any.
fn statistics(server: &ServerStatistics, kind: Kind, pool: &Pool) -> [f64; 6] {
    let pooled = pool.kinds[kind.index()];
    server.kind(kind).map_or([0.0; 6], |said| {
        [
            log(said.decayed_mean) - pooled,
            log(said.p90) - pooled,
            log(said.std) - pooled,
            f64::from(said.count) / SLOTS,
            (said.age as f64 / 1e9).ln_1p(),
            1.0,
        ]
    })
}

/// ln of a recent count beside the share of all that the base would give the server.
fn rate(count: f64, share: f64, total: f64) -> f64 {
    ((count + 1.0) / (share * total + 1.0)).ln()
}

/// The context; `seconds` since the observation before, and the reward of this one.
pub fn context(
    observation: &Observation<'_>,
    pool: &Pool,
    seconds: f64,
    reward: f64,
) -> [f64; CONTEXT.len()] {
    let vip = observation.vip;
    let duration = Kind::FlowDuration.index();
    let sampled = pool.sampled[duration];
    let seconds_of_duration = if sampled > 0.0 { pool.kinds[duration] - 1e9_f64.ln() } else { 0.0 };
    [
        vip.flow_rate.ln_1p(),
        vip.packet_rate.ln_1p(),
        vip.byte_rate.ln_1p(),
        pool.recent.finished.ln_1p(),
        pool.active.max(1.0).ln(),
        pool.open.ln_1p(),
        pool.busy,
        pool.load_spread,
        pool.load_most,
        seconds_of_duration,
        sampled,
        (pool.recent.retransmits / (pool.recent.created + 1.0)).ln_1p(),
        seconds.ln_1p(),
        reward,
    ]
    .map(|value| value.clamp(-64.0, 64.0))
}
