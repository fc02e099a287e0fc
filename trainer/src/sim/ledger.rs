//! What choices cost, by one who sees everything.

use super::server::Server;

/// A flow that is given to a server that does not answer counts so many times what the best server would cost.
const LOST: f64 = 10.0;

/// The costs of the choices that a balancer made, and of those that others would have made in the same moments.
///
/// A flow costs max(flows + 1, cores) / capacity, with the server's flows of all balancers and what it can do at that moment: the
/// time that it adds for all flows together, in units of mean work, if work is memoryless and no more flows come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ledger {
    /// Of the best servers.
    pub best: f64,
    /// Of the servers that other weights would have chosen.
    pub beside: f64,
    /// Of those that were chosen.
    pub own: f64,
}

impl Ledger {
    /// A flow comes. `open` are the servers that may get it.
    pub fn add(
        &mut self,
        servers: &[Server],
        open: impl Iterator<Item = usize>,
        (own, beside): (usize, usize),
    ) {
        let alive = open.filter(|&server| servers[server].is_alive());
        let best = alive.map(|server| cost(&servers[server])).fold(f64::INFINITY, f64::min);
        if best.is_finite() {
            let cost = |server: usize| match &servers[server] {
                server if server.is_alive() => cost(server).min(LOST * best),
                _ => LOST * best,
            };
            self.best += best;
            self.beside += cost(beside);
            self.own += cost(own);
        }
    }
}

fn cost(server: &Server) -> f64 {
    (server.held() as f64 + 1.0).max(server.spec().cores) / server.capacity()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::server::ServerSpec;

    #[test]
    fn flow_costs_what_it_adds_for_all_and_a_lost_one_ten_times_the_best() {
        let mut servers = [2.0, 1.0, 1.0]
            .map(|speed| Server::new(ServerSpec { cores: 2.0, speed, ..ServerSpec::default() }));
        (0..3).for_each(|_| assert!(servers[0].admit(0, 1.0)));
        servers[2].die(0);
        let mut ledger = Ledger::default();
        // Four flows on four units of capacity: as long as a core of speed 1 to itself.
        ledger.add(&servers, 0..3, (0, 1));
        assert_eq!(ledger, Ledger { best: 1.0, beside: 1.0, own: 1.0 });
        assert!(servers[0].admit(0, 1.0));
        ledger.add(&servers, 0..3, (0, 2));
        assert_eq!(ledger, Ledger { best: 2.0, beside: 11.0, own: 2.25 });
        ledger.add(&servers, 2..3, (2, 2));
        assert_eq!(ledger.best, 2.0, "where nobody answers there is nothing to compare");
    }
}
