//! The rules themselves.

use ipc::id::{LcoreId, ServerId, VipId};

use super::{
    Load, Select,
    alias::AliasTable,
    below,
    coupling::Coupling,
    maglev::{Ring, Rings},
    members::{Candidate, Member, Members, eligible},
    remix,
};

/// How often a second server is drawn anew when it is the first one again.
const REDRAWS: u64 = 3;

/// A draw by the weights in force from a draw by the configured ones; `None`: their shares are the same.
type Learned = Option<Box<Coupling>>;

/// A rule with what it needs. Rules that are not a function of the hash alone carry the ring for packets
/// without state.
///
/// Rings, and the alias table of [`Select::Alias`], are of the configured weights, for good: packets without state go
/// by them, whatever is learned. Weights in force, in the members and in the tables of two draws, are for new flows.
#[derive(Clone, Debug)]
pub enum Selector {
    /// [`Select::Hash`].
    Hash(Members),
    /// [`Select::Alias`]; the table draws indices of the members.
    Alias(Members, AliasTable, Learned),
    /// [`Select::Maglev`].
    Maglev(Ring),
    /// [`Select::Lsq`].
    Lsq(Ring),
    /// [`Select::Lsq2`].
    Lsq2(Ring, AliasTable, Learned),
    /// [`Select::Sed`].
    Sed(Ring),
    /// [`Select::Sed2`].
    Sed2(Ring, AliasTable, Learned),
    /// [`Select::RoundRobin`], with the VIP whose turns are counted.
    RoundRobin(Ring, VipId),
}

impl Selector {
    /// The rule over these servers, in any order.
    ///
    /// Rings are shared with others from `rings` that have the same servers and weights.
    pub fn new(rule: Select, vip: VipId, candidates: Vec<Candidate>, rings: &mut Rings) -> Self {
        let candidates = eligible(candidates);
        let mut ring = || Ring::new(&candidates, rings);
        let table = || {
            let weights: Vec<f64> = candidates.iter().map(|candidate| candidate.weight).collect();
            AliasTable::new(&weights)
        };
        match rule {
            Select::Hash => Self::Hash(Members::new(&candidates)),
            Select::Alias => Self::Alias(Members::new(&candidates), table(), None),
            Select::Maglev => Self::Maglev(ring()),
            Select::Lsq => Self::Lsq(ring()),
            Select::Lsq2 => Self::Lsq2(ring(), table(), None),
            Select::Sed => Self::Sed(ring()),
            Select::Sed2 => Self::Sed2(ring(), table(), None),
            Select::RoundRobin => Self::RoundRobin(ring(), vip),
        }
    }

    /// The same rule over the same servers with other weights in force: those that `learned` has, finite and above zero;
    /// servers that it does not have get their configured ones. What does not depend on them is shared.
    ///
    /// Rules that learned weights have no effect on are cloned ([`Select::follows_learned_weights`]).
    #[must_use]
    pub fn reweighed(&self, learned: impl Fn(ServerId) -> Option<f64>) -> Self {
        let weights =
            |members: &Members| -> Vec<f64> { members.iter().map(|member| member.weight).collect() };
        let coupling =
            |members: &Members| Coupling::new(members.configured_weights(), &weights(members)).map(Box::new);
        let table = |members: &Members| AliasTable::new(&weights(members));
        match self {
            Self::Hash(_) | Self::Maglev(_) | Self::Lsq(_) | Self::RoundRobin(..) => self.clone(),
            Self::Alias(members, configured, _) => {
                let members = members.reweighed(learned);
                let coupling = coupling(&members);
                Self::Alias(members, configured.clone(), coupling)
            }
            Self::Sed(ring) => Self::Sed(ring.reweighed(learned)),
            Self::Lsq2(ring, ..) => {
                let ring = ring.reweighed(learned);
                let (table, coupling) = (table(ring.members()), coupling(ring.members()));
                Self::Lsq2(ring, table, coupling)
            }
            Self::Sed2(ring, ..) => {
                let ring = ring.reweighed(learned);
                let (table, coupling) = (table(ring.members()), coupling(ring.members()));
                Self::Sed2(ring, table, coupling)
            }
        }
    }

    /// Which rule it is.
    pub const fn rule(&self) -> Select {
        match self {
            Self::Hash(_) => Select::Hash,
            Self::Alias(..) => Select::Alias,
            Self::Maglev(_) => Select::Maglev,
            Self::Lsq(_) => Select::Lsq,
            Self::Lsq2(..) => Select::Lsq2,
            Self::Sed(_) => Select::Sed,
            Self::Sed2(..) => Select::Sed2,
            Self::RoundRobin(..) => Select::RoundRobin,
        }
    }

    /// The servers that take new flows.
    #[inline]
    pub const fn members(&self) -> &Members {
        match self {
            Self::Hash(members) | Self::Alias(members, ..) => members,
            Self::Maglev(ring)
            | Self::Lsq(ring)
            | Self::Lsq2(ring, ..)
            | Self::Sed(ring)
            | Self::Sed2(ring, ..)
            | Self::RoundRobin(ring, _) => ring.members(),
        }
    }

    /// The server for a new flow with this five-tuple hash; `None` when no server takes new flows.
    ///
    /// O(1), except [`Select::Lsq`] and [`Select::Sed`], which look at every server.
    #[inline]
    pub fn select<L: Load>(&self, hash: u64, load: &L) -> Option<ServerId> {
        let member = match self {
            Self::Hash(_) | Self::Maglev(_) => return self.stateless(hash),
            Self::Alias(members, table, learned) => members.get(follow(learned, table.draw(hash)?, hash)),
            Self::Lsq(ring) => of_all(ring, Cost::Flows, hash, load),
            Self::Sed(ring) => of_all(ring, Cost::Delay, hash, load),
            Self::Lsq2(ring, table, learned) => of_two(ring, (table, learned), Cost::Flows, hash, load),
            Self::Sed2(ring, table, learned) => of_two(ring, (table, learned), Cost::Delay, hash, load),
            Self::RoundRobin(ring, vip) => next(ring.members(), load.take_turn(*vip), load.lcore()),
        };
        Some(member?.server)
    }

    /// The server for a packet that has no flow entry and begins no flow: the same on every lcore and, by
    /// equal configurations, on every balancer, whatever is learned. `None` when no server takes new flows.
    #[inline]
    pub fn stateless(&self, hash: u64) -> Option<ServerId> {
        let member = match self {
            Self::Hash(members) => members.get(below(hash, members.len())),
            Self::Alias(members, table, _) => members.get(table.draw(hash)?),
            Self::Maglev(ring)
            | Self::Lsq(ring)
            | Self::Lsq2(ring, ..)
            | Self::Sed(ring)
            | Self::Sed2(ring, ..)
            | Self::RoundRobin(ring, _) => ring.get(hash),
        };
        Some(member?.server)
    }

    /// Servers to try when `first` cannot take the flow: each of the others once, from a place that depends
    /// on the flow, so that all are tried equally often.
    pub fn others(&self, hash: u64, first: ServerId) -> impl Iterator<Item = ServerId> {
        let members = self.members();
        let start = below(remix(hash, 0), members.len());
        let order = members[start..].iter().chain(&members[..start]);
        order.map(|member| member.server).filter(move |&server| server != first)
    }
}

/// What is to be small.
#[derive(Clone, Copy)]
enum Cost {
    /// Live flows.
    Flows,
    /// Live flows with the new one, for the weight: how long it would have to wait.
    Delay,
}

impl Cost {
    /// A quotient is rounded correctly, so equal costs are found equal, whatever the weights.
    #[inline]
    fn of(self, flows: u64, member: &Member) -> f64 {
        match self {
            Self::Flows => flows as f64,
            Self::Delay => (flows + 1) as f64 / member.weight,
        }
    }
}

/// A server with what it would cost now.
#[derive(Clone, Copy)]
struct Bid<'a> {
    member: &'a Member,
    flows: u64,
    cost: f64,
}

impl<'a> Bid<'a> {
    #[inline]
    fn new<L: Load>(member: &'a Member, cost: Cost, load: &L) -> Self {
        let flows = load.live_flows(member.server);
        Self { member, flows, cost: cost.of(flows, member) }
    }

    /// By cost; among equals by flows.
    #[inline]
    fn beats(&self, other: &Self) -> bool {
        self.cost < other.cost || self.cost == other.cost && self.flows < other.flows
    }
}

/// The cheapest of all. Among equals in cost and flows: the ring's choice if it is one of them, as packets
/// without state go there; else by rank.
#[inline]
fn of_all<'a, L: Load>(ring: &'a Ring, cost: Cost, hash: u64, load: &L) -> Option<&'a Member> {
    let home = ring.get(hash)?;
    let mut best = Bid::new(home, cost, load);
    for member in ring.members().iter() {
        let bid = Bid::new(member, cost, load);
        let ties = || bid.cost == best.cost && bid.flows == best.flows && best.member.server != home.server;
        if bid.beats(&best) || ties() && member.rank(hash) > best.member.rank(hash) {
            best = bid;
        }
    }
    Some(best.member)
}

/// The draw that a draw by the configured weights becomes.
#[inline]
fn follow(learned: &Learned, drawn: usize, hash: u64) -> usize {
    learned.as_ref().map_or(drawn, |coupling| coupling.apply(drawn, hash))
}

/// The cheaper of two draws by weight, of different servers where there are two. The first draw is the ring's as far as
/// the weights in force allow, and it wins ties: packets without state go where most of the flows went.
#[inline]
fn of_two<'a, L: Load>(
    ring: &'a Ring,
    (table, learned): (&AliasTable, &Learned),
    cost: Cost,
    hash: u64,
    load: &L,
) -> Option<&'a Member> {
    let members = ring.members();
    let first = follow(learned, ring.index(hash)?, hash);
    let mut second = first;
    for redraw in 1..=REDRAWS {
        second = table.draw(remix(hash, redraw))?;
        if second != first {
            break;
        }
    }
    if second == first && members.len() > 1 {
        // One server has nearly all the weight: any of the others, all alike.
        second = (first + 1 + below(remix(hash, REDRAWS + 1), members.len() - 1)) % members.len();
    }
    let first = Bid::new(members.get(first)?, cost, load);
    let second = Bid::new(members.get(second)?, cost, load);
    Some(if second.beats(&first) { second.member } else { first.member })
}

/// Whose turn it is. Lcores begin at places that are far apart for any number of them (van der Corput), so
/// that together they are even.
#[inline]
fn next(members: &Members, turn: u64, lcore: LcoreId) -> Option<&Member> {
    let start = below(u64::from(lcore.0.reverse_bits()) << 48, members.len());
    let at = (start as u64).wrapping_add(turn).checked_rem(members.len() as u64)?;
    members.get(at as usize)
}
