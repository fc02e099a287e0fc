//! What choices cost, by one who sees everything.

use super::{price::Price, server::Server};

/// A flow that is given to a server that does not answer costs so many times what the best server would.
const LOST: f64 = 10.0;

/// The costs of the choices that a balancer made, and of those that others would have made in the same moments.
///
/// A flow costs the server's [`Price`] on top of the flows of all balancers. No choice costs more than ten times the best one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    /// Flows.
    pub flows: u64,
    /// Of the best servers.
    pub best: f64,
    /// Of the servers that other weights would have chosen.
    pub beside: f64,
    /// Of those that were chosen.
    pub own: f64,
    /// One of the choices, each as likely as any other.
    pub choice: Option<Moment>,
}

/// A choice: what the balancer saw, and what each server would have cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moment {
    /// The balancer's own flows on each server.
    pub counts: Vec<u64>,
    /// The cost of each, less that of the best.
    pub regrets: Vec<f64>,
}

impl Ledger {
    /// A flow comes to servers with these `prices`, which a balancer with these `counts` gives to the server `own` and others would give to `beside`. Only servers
    /// that are `open` may get it. `chance` is any 64 bits, others for each flow.
    pub fn add(
        &mut self,
        servers: &[Server],
        prices: &[Price],
        counts: &[u64],
        open: impl Fn(usize) -> bool,
        (own, beside): (usize, usize),
        chance: u64,
    ) {
        let costs = |at: usize| {
            let server = &servers[at];
            (open(at) && server.is_alive()).then(|| prices[at].at(server.held()))
        };
        let best = (0..servers.len()).filter_map(costs).fold(f64::INFINITY, f64::min);
        if best.is_infinite() {
            return;
        }
        let bounded = |at: usize| costs(at).unwrap_or(f64::INFINITY).min(LOST * best);
        self.flows += 1;
        self.best += best;
        self.beside += bounded(beside);
        self.own += bounded(own);
        if scrambled(chance).is_multiple_of(self.flows) {
            self.choice = Some(Moment {
                counts: counts.to_vec(),
                regrets: (0..servers.len()).map(|at| bounded(at) - best).collect(),
            });
        }
    }
}

/// Other bits, so that what the hash of a flow decides elsewhere does not matter here.
const fn scrambled(bits: u64) -> u64 {
    (bits ^ (bits >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::server::ServerSpec;

    #[test]
    fn flow_costs_its_servers_price_and_a_lost_one_ten_times_the_best() {
        let mut servers =
            [4.0, 1.0, 1.0].map(|speed| Server::new(ServerSpec { speed, ..ServerSpec::default() }));
        let prices: Vec<_> = servers.iter().map(|server| server.price(0.5)).collect();
        (0..3).for_each(|_| assert!(servers[0].admit(0, 1.0)));
        servers[2].die(0);
        let mut ledger = Ledger::default();
        // Four flows on a half of four units, one on a half of one.
        ledger.add(&servers, &prices, &[3, 0, 1], |_| true, (0, 1), 1);
        let close =
            |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        assert_eq!(ledger.choice.clone().unwrap().counts, [3, 0, 1]);
        for (regret, known) in ledger.choice.clone().unwrap().regrets.into_iter().zip([0.0, 0.0, 18.0]) {
            close(regret, known);
        }
        assert!(servers[0].admit(0, 1.0));
        ledger.add(&servers, &prices, &[4, 0, 1], |_| true, (0, 2), 2);
        assert_eq!(ledger.flows, 2);
        for (sum, known) in [(ledger.best, 4.0), (ledger.beside, 22.0), (ledger.own, 4.5)] {
            close(sum, known);
        }
        ledger.add(&servers, &prices, &[4, 0, 1], |at| at == 2, (2, 2), 3);
        assert_eq!(ledger.flows, 2, "where nobody answers there is nothing to compare");
    }

    #[test]
    fn every_choice_is_as_likely_to_be_kept() {
        let servers = [Server::new(ServerSpec::default())];
        let prices = [servers[0].price(0.5)];
        let mut kept = [0; 4];
        for round in 0..4000_u64 {
            let mut ledger = Ledger::default();
            for flow in 0..4 {
                ledger.add(
                    &servers,
                    &prices,
                    &[flow],
                    |_| true,
                    (0, 0),
                    (4 * round + flow).wrapping_mul(0x5851_f42d_4c95_7f2d),
                );
            }
            kept[ledger.choice.unwrap().counts[0] as usize] += 1;
        }
        assert!(kept.iter().all(|&count| (850..1150).contains(&count)), "{kept:?}");
    }
}
