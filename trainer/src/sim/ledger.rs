//! What choices cost, by one who sees everything.

use super::{server::Server, teacher};

/// A flow that is given to a server that does not answer costs so many times what the best server would.
const LOST: f64 = 10.0;

/// The costs of the choices that a balancer made, and of those that others would have made in the same moments.
///
/// A flow costs (n + 1) / w, with the n flows of all balancers on the server and the weight w that a [`teacher`] wants. For one who sees all
/// flows that is the choice by shortest expected delay, which is within 2 to 3 % of the best there is (`docs/results/training.md`), and with
/// a single balancer the teacher's weights cost least. No choice costs more than ten times the best one.
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
    /// A flow comes, which a balancer with these `counts` gives to the server `own` and others would give to `beside`. Only servers
    /// that are `open` may get it. `chance` is any 64 bits, others for each flow.
    pub fn add(
        &mut self,
        servers: &[Server],
        counts: &[u64],
        open: impl Fn(usize) -> bool,
        (own, beside): (usize, usize),
        chance: u64,
    ) {
        let costs = |at: usize| {
            let server = &servers[at];
            (open(at) && server.is_alive()).then(|| cost(server))
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

fn cost(server: &Server) -> f64 {
    (server.held() as f64 + 1.0) / teacher::taught(server).exp()
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
    fn flow_costs_flows_by_weight_and_a_lost_one_ten_times_the_best() {
        let mut servers =
            [4.0, 1.0, 1.0].map(|speed| Server::new(ServerSpec { speed, ..ServerSpec::default() }));
        let weight = teacher::taught(&servers[0]).exp();
        (0..3).for_each(|_| assert!(servers[0].admit(0, 1.0)));
        (0..1).for_each(|_| assert!(servers[1].admit(0, 1.0)));
        servers[2].die(0);
        let mut ledger = Ledger::default();
        // Four flows by the weight of a fast server, and two by one.
        ledger.add(&servers, &[3, 0, 1], |_| true, (0, 1), 1);
        let best = 4.0 / weight;
        let choice = Moment { counts: vec![3, 0, 1], regrets: vec![0.0, 2.0 - best, 9.0 * best] };
        let regrets = ledger.choice.clone().unwrap().regrets;
        assert!(regrets.iter().zip(&choice.regrets).all(|(a, b)| (a - b).abs() < 1e-12), "{regrets:?}");
        assert_eq!((ledger.flows, ledger.best, ledger.beside, ledger.own), (1, best, 2.0, best));
        ledger.add(&servers, &[4, 0, 1], |_| true, (0, 2), 2);
        assert!((ledger.beside - 2.0 - 10.0 * best).abs() < 1e-12, "{ledger:?}");
        ledger.add(&servers, &[4, 0, 1], |at| at == 2, (2, 2), 3);
        assert_eq!(ledger.flows, 2, "where nobody answers there is nothing to compare");
    }

    #[test]
    fn every_choice_is_as_likely_to_be_kept() {
        let servers = [Server::new(ServerSpec::default())];
        let mut kept = [0; 4];
        for round in 0..4000_u64 {
            let mut ledger = Ledger::default();
            for flow in 0..4 {
                ledger.add(
                    &servers,
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
