//! The load that every balancer must carry.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::balancer::{Balancer, Weights};
use super::http::{LongConnections, short_connections};
use super::lab::Lab;
use super::udp;

const BEFORE: Weights = [1, 2, 4];
const AFTER: Weights = [4, 2, 1];

/// Sizes of the load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub short: usize,
    pub long: usize,
}

impl Load {
    /// Several thousand connections; `WEIR_E2E_CONNECTIONS` changes the number.
    pub fn standard() -> Self {
        let wanted = std::env::var("WEIR_E2E_CONNECTIONS").ok().and_then(|number| number.parse().ok());
        Self { short: wanted.unwrap_or(4000), long: 60 }
    }

    /// For one of many combinations: enough for every kind of packet, a few seconds long.
    pub fn small() -> Self {
        Self { short: 400, long: 12 }
    }
}

/// Short connections beside open ones, and a change of weights in the middle: nothing fails, nothing moves,
/// and new connections follow the weights of the moment. The balancer starts with weights 1 : 2 : 4.
pub fn carry_web_load<B: Balancer>(lab: &Lab, balancer: &mut B, target: SocketAddr, load: Load) {
    let bodies = lab.site.bodies.clone();
    let long = LongConnections::open(&lab.client, target, &bodies, load.long);

    let tally = short_connections(&lab.client, target, &bodies, load.short);
    eprintln!("weights {BEFORE:?}: {tally}");
    tally.assert_no_failures();
    assert_shares(&tally.servers, BEFORE);

    balancer.set_weights(AFTER);
    long.let_all_ask_again();
    let tally = short_connections(&lab.client, target, &bodies, load.short / 2);
    eprintln!("weights {AFTER:?}: {tally}");
    tally.assert_no_failures();
    assert_shares(&tally.servers, AFTER);

    balancer.offer_wrong_config();
    let tally = short_connections(&lab.client, target, &bodies, load.short / 4);
    eprintln!("after a wrong configuration: {tally}");
    tally.assert_no_failures();
    assert_shares(&tally.servers, AFTER);

    long.let_all_ask_again();
    let tally = long.close();
    eprintln!("{} open connections: {tally}", load.long);
    tally.assert_no_failures();
}

/// UDP flows reach servers by weight, and stay.
pub fn carry_udp_load(lab: &Lab, target: SocketAddr, flows: usize) {
    let servers = udp::exchange(&lab.client, target, flows);
    eprintln!("UDP: {servers:?}");
    assert_shares(&servers, BEFORE);
}

/// Each server's count lies within five standard deviations of its share, which a right balancer misses once
/// in a million runs. Needs a balancer that draws by weight alone (`select = "alias"`).
pub fn assert_shares(servers: &BTreeMap<String, u64>, weights: Weights) {
    let count = |index: usize| servers.get(&format!("s{}", index + 1)).copied().unwrap_or(0) as f64;
    let total = servers.values().sum::<u64>() as f64;
    let weight_sum: u32 = weights.iter().sum();
    for (index, &weight) in weights.iter().enumerate() {
        let share = f64::from(weight) / f64::from(weight_sum);
        let tolerance = 5.0 * (total * share * (1.0 - share)).sqrt();
        let off = count(index) - total * share;
        assert!(
            off.abs() <= tolerance,
            "s{} got {} of {total}, {off:+.0} off its share; {tolerance:.0} is five sigma. \
             Weights {weights:?}, all: {servers:?}",
            index + 1,
            count(index),
        );
    }
}
