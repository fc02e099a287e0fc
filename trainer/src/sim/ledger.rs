//! What choices cost, by one who sees everything.

use super::{price::Price, server::Server, teacher};

/// A flow that is given to a server that does not answer costs so many times what the best server would.
const LOST: f64 = 10.0;
/// Servers are not taken to be loaded more than this.
const MOST_LOAD: f64 = 0.95;

/// The costs of the choices that a balancer made, and of those that others would have made in the same moments.
///
/// What a flow costs is a [`Cost`]; no choice costs more than ten times the best one.
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
    /// A flow comes to servers with these `costs`, which a balancer with these `counts` gives to the server `own` and others
    /// would give to `beside`. Only servers that are `open` may get it. `chance` is any 64 bits, others for each flow.
    pub fn add(
        &mut self,
        servers: &[Server],
        costs: &[Cost],
        counts: &[u64],
        open: impl Fn(usize) -> bool,
        (own, beside): (usize, usize),
        chance: u64,
    ) {
        let cost = |at: usize| {
            let server = &servers[at];
            (open(at) && server.is_alive()).then(|| costs[at].at(server.held()))
        };
        let best = (0..servers.len()).filter_map(cost).fold(f64::INFINITY, f64::min);
        if best.is_infinite() {
            return;
        }
        let bounded = |at: usize| cost(at).unwrap_or(f64::INFINITY).min(LOST * best);
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

/// What a flow costs on a server, by the flows of all balancers there.
///
/// ```text
/// c(n) = share (n + 1) / w + (1 − share) (1 − load) D(n)
/// ```
///
/// A balancer answers to the flows that it chooses servers for: for them the weights w that a [`teacher`] wants are the best. The other
/// balancers' flows come whatever it does, and D is the [`Price`] where flows do that. Both are in units of mean work.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    own: f64,
    others: f64,
    price: Price,
}

impl Cost {
    /// Of each server, for a balancer that has this share of the flows, which keep so many cores of speed 1 busy.
    pub fn of(servers: &[Server], share: f64, offered: f64) -> Vec<Self> {
        let alive = || servers.iter().filter(|server| server.is_alive());
        let capacity: f64 = alive().map(Server::capacity).sum();
        let weights: f64 = alive().map(weight).sum();
        let load = (offered / capacity).min(MOST_LOAD);
        let of = |server: &Server| Self {
            own: share * weights / capacity / weight(server),
            others: (1.0 - share) * (1.0 - load),
            price: server.price(load),
        };
        servers.iter().map(of).collect()
    }

    /// On top of so many flows.
    pub fn at(&self, flows: usize) -> f64 {
        self.own.mul_add(flows as f64 + 1.0, self.others * self.price.at(flows))
    }
}

fn weight(server: &Server) -> f64 {
    teacher::taught(server).exp()
}

/// Other bits, so that what the hash of a flow decides elsewhere does not matter here.
const fn scrambled(bits: u64) -> u64 {
    (bits ^ (bits >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::server::ServerSpec;

    /// One balancer: flows by weight. Most flows from others: what a flow adds where flows come whatever it does.
    #[test]
    fn balancer_answers_for_its_own_share() {
        let servers = [4.0, 1.0].map(|speed| Server::new(ServerSpec { speed, ..ServerSpec::default() }));
        let [fast, slow] = &Cost::of(&servers, 1.0, 3.0)[..] else { panic!() };
        let ratio = 4.0_f64.ln() * 0.85;
        assert!(((slow.at(0) / fast.at(0)).ln() - ratio).abs() < 1e-9);
        assert!((fast.at(3) - 4.0 * fast.at(0)).abs() < 1e-9);
        let [fast, slow] = &Cost::of(&servers, 0.0, 3.0)[..] else { panic!() };
        assert!((slow.at(0) - 1.0).abs() < 1e-9 && (fast.at(2) - 0.75).abs() < 1e-9);
    }

    #[test]
    fn lost_flow_costs_ten_times_the_best() {
        let mut servers =
            [4.0, 1.0, 1.0].map(|speed| Server::new(ServerSpec { speed, ..ServerSpec::default() }));
        let costs = Cost::of(&servers, 0.0, 3.0);
        (0..3).for_each(|_| assert!(servers[0].admit(0, 1.0)));
        servers[2].die(0);
        let mut ledger = Ledger::default();
        // Four flows on a server four times as fast, or one alone.
        ledger.add(&servers, &costs, &[3, 0, 1], |_| true, (0, 1), 1);
        let choice = ledger.choice.clone().unwrap();
        assert_eq!(choice.counts, [3, 0, 1]);
        let close = |found: f64, known: f64| assert!((found - known).abs() < 1e-9, "{found} {known}");
        choice.regrets.into_iter().zip([0.0, 0.0, 9.0]).for_each(|(found, known)| close(found, known));
        assert!(servers[0].admit(0, 1.0));
        ledger.add(&servers, &costs, &[4, 0, 1], |_| true, (0, 2), 2);
        for (sum, known) in [(ledger.best, 2.0), (ledger.beside, 11.0), (ledger.own, 2.25)] {
            close(sum, known);
        }
        ledger.add(&servers, &costs, &[4, 0, 1], |at| at == 2, (2, 2), 3);
        assert_eq!(ledger.flows, 2, "where nobody answers there is nothing to compare");
    }

    #[test]
    fn every_choice_is_as_likely_to_be_kept() {
        let servers = [Server::new(ServerSpec::default())];
        let costs = Cost::of(&servers, 1.0, 0.5);
        let mut kept = [0; 4];
        for round in 0..4000_u64 {
            let mut ledger = Ledger::default();
            for flow in 0..4 {
                ledger.add(
                    &servers,
                    &costs,
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
