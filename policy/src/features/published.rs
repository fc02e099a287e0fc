//! The observations of the published systems, as far as one can see from the client's side of a flow.
//!
//! What a balancer under DSR cannot see has a stand-in; `docs/design/features.md` says which.

use ipc::{region::ServerStatistics, sample::Kind};

use super::memory::{Memory, Pool};
use crate::{Observation, rewards::jain};

/// Names of the published eleven.
pub const ORIG11: [&str; 11] = [
    "open",
    "flow_completion_mean",
    "flow_completion_p90",
    "flow_completion_std",
    "flow_completion_decayed_mean",
    "flow_completion_decayed_p90",
    "flow_duration_mean",
    "flow_duration_p90",
    "flow_duration_std",
    "flow_duration_decayed_mean",
    "flow_duration_decayed_p90",
];

/// Names of the six that the published agents see.
pub const ORIG6: [&str; 6] = [
    "open",
    "flow_duration_mean",
    "flow_duration_p90",
    "flow_duration_std",
    "flow_duration_decayed_mean",
    "flow_duration_decayed_p90",
];

/// Names of the four numbers of each server in the fixed arrangements.
pub const FOUR: [&str; 4] = ["open", "cpu", "queue", "response_time"];
/// Names of the two numbers beside them for each of four agents.
pub const TWO: [&str; 2] = ["open", "cpu_mean"];
/// Names of the ten numbers beside them for one agent.
pub const TEN: [&str; 10] = [
    "requests",
    "throughput",
    "latency",
    "fairness",
    "utilisation",
    "load_std",
    "load_max",
    "load_min",
    "progress",
    "agents",
];

/// Open flows and the statistics of these kinds, in seconds.
pub fn statistics(server: &ServerStatistics, kinds: &[Kind], pool: &Pool, row: &mut [f64]) {
    row[0] = server.open as f64;
    for (place, &kind) in row[1..].chunks_exact_mut(5).zip(kinds) {
        // Zeros would say that the server is fast. What the others have in common says nothing.
        let common = pooled_seconds(pool, kind);
        place.copy_from_slice(&server.kind(kind).map_or([common, common, 0.0, common, common], |said| {
            [said.mean, said.p90, said.std, said.decayed_mean, said.decayed_p90]
                .map(|nanos| f64::from(nanos) / 1e9)
        }));
    }
}

/// The four numbers of a server in the fixed arrangements.
pub fn four(server: &ServerStatistics, memory: &Memory, pool: &Pool) -> [f64; 4] {
    let open = server.open as f64;
    [open / 100.0, memory.busy, (open - 1.0).max(0.0) / 100.0, response_time(server, pool)]
}

/// Seconds: flow completion, else flow duration, else what the servers have in common.
fn response_time(server: &ServerStatistics, pool: &Pool) -> f64 {
    let own = server.kind(Kind::FlowCompletion).or_else(|| server.kind(Kind::FlowDuration));
    own.map_or_else(|| common_latency(pool), |said| f64::from(said.decayed_mean) / 1e9)
}

fn common_latency(pool: &Pool) -> f64 {
    let completed = pool.sampled[Kind::FlowCompletion.index()] > 0.0;
    pooled_seconds(pool, if completed { Kind::FlowCompletion } else { Kind::FlowDuration })
}

/// The geometric mean of the servers' decayed means; 0 without any.
fn pooled_seconds(pool: &Pool, kind: Kind) -> f64 {
    if pool.sampled[kind.index()] > 0.0 { pool.kinds[kind.index()].exp() / 1e9 } else { 0.0 }
}

/// The two numbers of the VIP beside four agents' servers.
pub fn two(pool: &Pool) -> [f64; 2] {
    [pool.open * pool.active / 1000.0, pool.busy]
}

/// The ten numbers of the VIP beside sixteen servers. `loads` are (open + 1) / base of active servers.
pub fn ten(observation: &Observation<'_>, pool: &Pool, loads: &[f64]) -> [f64; 10] {
    let count = loads.len().max(1) as f64;
    let mean = loads.iter().sum::<f64>() / count;
    let std = (loads.iter().map(|load| (load - mean).powi(2)).sum::<f64>() / count).sqrt();
    let most = loads.iter().copied().fold(0.0, f64::max);
    let least = loads.iter().copied().fold(f64::INFINITY, f64::min).min(most);
    [
        (observation.vip.created as f64).ln_1p() / 10.0,
        observation.vip.flow_rate / 1000.0,
        common_latency(pool),
        jain(loads),
        pool.busy,
        std / 100.0,
        most / 100.0,
        least / 100.0,
        0.0,
        1.0,
    ]
}
