//! Weights that nobody can know: what agents are taught, and what weights could be worth at most.

use super::{balancer::Balancer, server::Server};

/// Weights are a little more alike than capacities, so that of servers that are about as good the one with fewer flows gets the next
/// one, also where weights are not exact: between 0.75 and 0.9 nothing is lost with any number of balancers, beyond 1 much is
/// (`docs/results/training.md`).
const LEVEL: f64 = 0.85;
/// How much of what a balancer does not see the seer takes into account.
const UNSEEN: f64 = 0.5;
/// The same of cores that a flow would find idle.
const UNCROWDED: f64 = 0.15;

/// The logarithm of the weight that a server should have by what it can do now.
pub fn taught(server: &Server) -> f64 {
    LEVEL * server.capacity().ln()
}

/// The logarithms of the weights that a balancer should have at this moment, by one who sees all balancers' flows.
///
/// ```text
/// ln w = 0.85 ln capacity + ½ ln((own + 1) / (all + 1)) + 0.15 ln min(1, (all + 1) / cores)
/// ```
///
/// The second term is for what the balancer does not see: it compares (own + 1) / w, and should compare all flows. The third is for a
/// flow that has a core to itself: more cores do not make it faster. Both go only part of the way, as weights stand for a period in
/// which flows come and go.
pub fn seen(balancer: &Balancer, servers: &[Server]) -> Vec<f64> {
    let weight = |(at, server): (usize, &Server)| {
        let own = balancer.live_flows(at) as f64;
        let all = own.max(server.held() as f64);
        let seen = ((own + 1.0) / (all + 1.0)).ln();
        let crowded = ((all + 1.0) / server.spec().cores).min(1.0).ln();
        UNCROWDED.mul_add(crowded, UNSEEN.mul_add(seen, taught(server)))
    };
    servers.iter().enumerate().map(weight).collect()
}
