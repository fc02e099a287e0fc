//! How a balancer chooses: by a rule that ships, or by what nobody could know.

use dataplane::tables::select::Select;

use super::{balancer::Balancer, flows::Flow, server::Server};

/// How new flows find their servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// By the code that ships.
    Rule(Select),
    /// By the truth.
    Oracle(Oracle),
}

/// Rules that see every server as it is, over all balancers and at once. Nothing can be built that does: they say how
/// much there is to gain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oracle {
    /// The server that has the fewest flows.
    GlobalQueue,
    /// The server with the smallest `(flows + 1) / capacity`, ties to the slower one.
    GlobalSed,
    /// The server that would be the first to have done all its work and this flow's.
    LeastWork,
    /// The server where this flow costs all flows together the least time, its own included.
    LeastDelay,
    /// The server with the lowest [`Price`](super::price::Price), if all are loaded to 0.8.
    LowestPrice,
}

impl Choice {
    /// The rule that a balancer has; oracles leave theirs aside.
    pub const fn rule(self) -> Select {
        match self {
            Self::Rule(rule) => rule,
            Self::Oracle(_) => Select::Hash,
        }
    }

    /// The server for a new flow; `None`: no server takes any.
    #[inline]
    pub(super) fn choose(
        self,
        balancer: &Balancer,
        servers: &[Server],
        flow: &Flow,
        now: u64,
    ) -> Option<usize> {
        match self {
            Self::Rule(_) => balancer.choose(flow.hash),
            Self::Oracle(oracle) => oracle.choose(balancer, servers, flow, now),
        }
    }
}

impl Oracle {
    fn choose(self, balancer: &Balancer, servers: &[Server], flow: &Flow, now: u64) -> Option<usize> {
        // From a place by the flow's hash, so that equals are chosen equally often.
        let start = (((flow.hash >> 32) * servers.len() as u64) >> 32) as usize;
        let order = (start..servers.len()).chain(0..start);
        let open = order.filter(|&server| balancer.is_active(server));
        let costs = open.map(|at| (self.cost(&servers[at], flow, now), at));
        costs.min_by(|(a, _), (b, _)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))).map(|(_, at)| at)
    }

    /// What is to be small, and what decides among equals.
    fn cost(self, server: &Server, flow: &Flow, now: u64) -> (f64, f64) {
        let (held, capacity) = (server.held() as f64, server.capacity());
        match self {
            Self::GlobalQueue => (held, 0.0),
            Self::GlobalSed => ((held + 1.0) / capacity, held),
            Self::LeastWork => {
                let own = flow.cpu * f64::from(flow.stages / 2);
                (server.backlog_time(now) + own / capacity, 0.0)
            }
            Self::LowestPrice => (server.price(0.8).at(server.held()), 0.0),
            Self::LeastDelay => (server.delay_of(now, flow.cpu * f64::from(flow.stages / 2)), 0.0),
        }
    }
}
