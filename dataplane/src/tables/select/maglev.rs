//! The Maglev ring: weighted, even, and little changed when servers come and go.
//!
//! Source: Eisenbud and others, "Maglev: A fast and reliable software network load balancer", NSDI 2016, §3.4.
//! Weights are ours: each server takes exactly its share of the slots, and servers take turns as their shares say.

use std::{collections::HashMap, sync::Arc};

use ipc::id::ServerId;

use super::{
    below,
    members::{Candidate, Identity, Member, Members},
};

/// Slots of the ring for up to a hundredth as many servers. A prime, as every step must reach every slot.
pub const SLOTS: usize = 65_537;

/// Slots of the ring for more servers than that.
pub const MANY_SLOTS: usize = 655_373;

/// How many slots the ring of so many servers has.
///
/// Two sizes only: a ring of another size has nothing in common with the one before.
const fn slots_for(servers: usize) -> usize {
    if servers * 100 <= SLOTS { SLOTS } else { MANY_SLOTS }
}

/// The hash ring of a VIP: a server for each hash, in one load.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    members: Members,
    /// Indices of members; shared with every VIP that has the same servers. Empty without members.
    slots: Arc<[u32]>,
}

impl Ring {
    /// The ring of [`super::members::eligible`] candidates.
    pub(super) fn new(candidates: &[Candidate], rings: &mut Rings) -> Self {
        if candidates.is_empty() {
            return Self::default();
        }
        Self { members: Members::new(candidates), slots: rings.slots(candidates) }
    }

    /// The same ring, of the configured weights as before, whose members have other weights in force.
    pub(super) fn reweighed(&self, learned: impl Fn(ServerId) -> Option<f64>) -> Self {
        Self { members: self.members.reweighed(learned), slots: Arc::clone(&self.slots) }
    }

    /// The server for this hash; `None` when there is none.
    #[inline]
    pub fn get(&self, hash: u64) -> Option<&Member> {
        self.members.get(self.index(hash)?)
    }

    /// Its place among the members.
    #[inline]
    pub(super) fn index(&self, hash: u64) -> Option<usize> {
        Some(*self.slots.get(below(hash, self.slots.len()))? as usize)
    }

    /// Its servers.
    #[inline]
    pub const fn members(&self) -> &Members {
        &self.members
    }

    /// The slots, as indices of members.
    pub fn slots(&self) -> &[u32] {
        &self.slots
    }
}

/// The servers of a ring, each with how many slots it has: what its slots are made from.
type Pool = Arc<[(Identity, u32)]>;

/// The slots of all rings of a generation, kept for the next: a ring is built only when its servers or their
/// shares change, and once for all VIPs that have the same.
#[derive(Clone, Debug, Default)]
pub struct Rings {
    current: HashMap<Pool, Arc<[u32]>>,
    previous: HashMap<Pool, Arc<[u32]>>,
}

impl Rings {
    /// Begins a generation.
    pub fn begin(&mut self) {
        self.previous = std::mem::take(&mut self.current);
    }

    /// Ends a generation: rings that it has not asked for are forgotten.
    pub fn end(&mut self) {
        self.previous = HashMap::new();
    }

    /// Number of rings of this generation.
    pub fn len(&self) -> usize {
        self.current.len()
    }

    /// Whether this generation has no ring.
    pub fn is_empty(&self) -> bool {
        self.current.is_empty()
    }

    fn slots(&mut self, candidates: &[Candidate]) -> Arc<[u32]> {
        let weights: Vec<f64> = candidates.iter().map(|candidate| candidate.weight).collect();
        let quotas = quotas(&weights, slots_for(candidates.len()));
        let pool: Pool = candidates.iter().map(|candidate| candidate.identity).zip(quotas).collect();
        if let Some(slots) = self.current.get(&pool) {
            return Arc::clone(slots);
        }
        let slots = self.previous.remove(&pool).unwrap_or_else(|| fill(&pool).into());
        self.current.insert(pool, Arc::clone(&slots));
        slots
    }
}

/// Divides `slots` among weights (finite, above zero) by largest remainder: nobody is off by a whole slot.
fn quotas(weights: &[f64], slots: usize) -> Vec<u32> {
    // Dividing by the largest first keeps the sum finite, whatever the scale of the weights.
    let largest = weights.iter().copied().fold(0.0, f64::max);
    let total: f64 = weights.iter().map(|weight| weight / largest).sum();
    let shares: Vec<f64> = weights.iter().map(|weight| weight / largest / total * slots as f64).collect();
    let mut quotas: Vec<u32> = shares.iter().map(|share| *share as u32).collect();
    let given: usize = quotas.iter().map(|&quota| quota as usize).sum();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|&a, &b| shares[b].fract().total_cmp(&shares[a].fract())); // stable: ties by identity
    for &member in order.iter().cycle().take(slots.saturating_sub(given)) {
        quotas[member] += 1;
    }
    quotas
}

/// Who takes a slot when. The largest takes one a round; member `i` takes its `k`th in round
/// `k * largest / quota_i`, in the order of identities within a round.
fn turns(quotas: &[u32]) -> Vec<u32> {
    let largest = u64::from(quotas.iter().copied().max().unwrap_or(0));
    let rounds = |quota: u32| {
        let quota = u64::from(quota);
        (1..=quota).map(move |k| if quota == largest { k } else { k * largest / quota } as usize)
    };
    // A counting sort by round.
    let mut starts = vec![0u32; largest as usize + 2];
    for round in quotas.iter().flat_map(|&quota| rounds(quota)) {
        starts[round + 1] += 1;
    }
    for round in 1..starts.len() {
        starts[round] += starts[round - 1];
    }
    let mut turns = vec![0; quotas.iter().map(|&quota| quota as usize).sum()];
    for (member, &quota) in (0u32..).zip(quotas) {
        for round in rounds(quota) {
            turns[starts[round] as usize] = member;
            starts[round] += 1;
        }
    }
    turns
}

/// A server's order of preference: every slot once, in steps of `skip` from where it stands.
struct Preference {
    at: usize,
    skip: usize,
}

impl Preference {
    fn of(identity: &Identity, slots: usize) -> Self {
        let (offset, skip) = (identity.hash(1), identity.hash(2));
        Self { at: (offset % slots as u64) as usize, skip: (skip % (slots as u64 - 1)) as usize + 1 }
    }

    /// The most preferred slot that nobody has.
    fn next_free(&mut self, slots: &[u32]) -> usize {
        loop {
            let at = self.at;
            self.at += self.skip;
            if self.at >= slots.len() {
                self.at -= slots.len();
            }
            if slots[at] == FREE {
                return at;
            }
        }
    }
}

/// Nobody's slot.
const FREE: u32 = u32::MAX;

/// Has the servers take turns until every slot is someone's.
fn fill(pool: &[(Identity, u32)]) -> Vec<u32> {
    let quotas: Vec<u32> = pool.iter().map(|&(_, quota)| quota).collect();
    let turns = turns(&quotas);
    let mut slots = vec![FREE; turns.len()];
    let mut preferences: Vec<Preference> =
        pool.iter().map(|(identity, _)| Preference::of(identity, turns.len())).collect();
    for member in turns {
        let slot = preferences[member as usize].next_free(&slots);
        slots[slot] = member;
    }
    slots
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::tables::select::members::eligible;

    /// A server whose address is `at` places behind the first.
    fn candidate(at: u32, weight: f64) -> Candidate {
        let address = IpAddr::V4((0xc633_6400 + at).into());
        Candidate { identity: Identity { address, port: None }, server: ServerId(at), weight }
    }

    fn pool(weights: &[f64]) -> Vec<Candidate> {
        eligible((0..).zip(weights).map(|(at, &weight)| candidate(at, weight)).collect())
    }

    fn ring(candidates: &[Candidate]) -> Ring {
        Ring::new(candidates, &mut Rings::default())
    }

    /// The server of each slot.
    fn servers(ring: &Ring) -> Vec<ServerId> {
        ring.slots().iter().map(|&member| ring.members()[member as usize].server).collect()
    }

    fn counts(ring: &Ring) -> Vec<u32> {
        let mut counts = vec![0; ring.members().len()];
        for &member in ring.slots() {
            counts[member as usize] += 1;
        }
        counts
    }

    #[test]
    fn sizes_are_prime_and_a_hundred_slots_for_each_server_while_they_can_be() {
        for size in [SLOTS, MANY_SLOTS] {
            assert!((2..size).take_while(|n| n * n <= size).all(|n| !size.is_multiple_of(n)), "{size}");
        }
        assert_eq!((slots_for(1), slots_for(655), slots_for(656)), (SLOTS, SLOTS, MANY_SLOTS));
    }

    #[test]
    fn equal_servers_have_equally_many_slots() {
        for servers in [1, 2, 3, 10, 100, 655, 1000] {
            let counts = counts(&ring(&pool(&vec![1.0; servers])));
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most - least <= 1, "{servers} servers: {least} to {most} slots");
        }
    }

    #[test]
    fn ring_without_servers_gives_none() {
        let ring = ring(&[]);
        assert_eq!((ring.get(0), ring.get(u64::MAX)), (None, None));
    }

    #[test]
    fn hashes_reach_every_slot_and_no_other() {
        let ring = ring(&pool(&[1.0, 2.0]));
        let last = ring.members()[ring.slots()[SLOTS - 1] as usize];
        assert_eq!(ring.get(u64::MAX), Some(&last));
        assert_eq!(ring.get(0), Some(&ring.members()[ring.slots()[0] as usize]));
    }

    /// Slots that change their server although it is still there, out of those that need not.
    fn disturbed(before: &Ring, after: &Ring) -> f64 {
        let stays = |server| after.members().iter().any(|member| member.server == server);
        let mut need_not = 0u32;
        let mut moved = 0u32;
        for (old, new) in servers(before).into_iter().zip(servers(after)) {
            if stays(old) {
                need_not += 1;
                moved += u32::from(old != new);
            }
        }
        f64::from(moved) / f64::from(need_not)
    }

    #[test]
    fn a_server_that_leaves_or_comes_moves_little_beyond_its_own_share() {
        for (servers, most) in [(2, 0.0), (3, 0.10), (10, 0.05), (100, 0.02), (500, 0.02)] {
            for weights in [vec![1.0; servers], (0..servers).map(|at| 1.0 + (at % 7) as f64).collect()] {
                let all = pool(&weights);
                for gone in [0, servers / 2, servers - 1] {
                    let mut rest = all.clone();
                    rest.remove(gone);
                    let disturbed = disturbed(&ring(&all), &ring(&rest));
                    assert!(disturbed <= most, "{gone} of {servers} servers: {:.2} %", disturbed * 100.0);
                }
            }
        }
    }

    #[test]
    fn a_change_of_one_weight_moves_little_beyond_the_change() {
        let mut weights = vec![4.0; 100];
        let before = ring(&pool(&weights));
        weights[17] = 5.0;
        let after = ring(&pool(&weights));
        let moved = servers(&before).iter().zip(servers(&after)).filter(|&(old, new)| *old != new).count();
        // Its share grows from 1.000 % to 1.247 % of the slots.
        assert!(moved as f64 <= 0.02 * SLOTS as f64, "{moved} slots");
    }

    #[test]
    fn ring_is_built_once_for_all_that_have_the_same_servers_and_kept_while_they_stay() {
        let mut rings = Rings::default();
        let (two, three) = (pool(&[1.0, 2.0]), pool(&[1.0, 1.0, 1.0]));
        rings.begin();
        let first = Ring::new(&two, &mut rings);
        let mut elsewhere = two.clone();
        elsewhere.iter_mut().for_each(|candidate| candidate.server.0 += 100);
        assert!(Arc::ptr_eq(&first.slots, &Ring::new(&elsewhere, &mut rings).slots));
        assert!(!Arc::ptr_eq(&first.slots, &Ring::new(&three, &mut rings).slots));
        rings.end();
        rings.begin();
        assert!(Arc::ptr_eq(&first.slots, &Ring::new(&two, &mut rings).slots));
        rings.end();
        assert_eq!((rings.len(), rings.is_empty()), (1, false));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nobody_is_off_its_share_by_a_whole_slot(
            weights in prop::collection::vec(prop_oneof![0.001..1000.0f64, Just(1.0), Just(1000.0)], 1..200),
        ) {
            let candidates = pool(&weights);
            let ring = ring(&candidates);
            prop_assert_eq!(ring.slots().len(), slots_for(weights.len()));
            let total: f64 = weights.iter().sum();
            for (count, candidate) in counts(&ring).iter().zip(&candidates) {
                let share = candidate.weight / total * ring.slots().len() as f64;
                prop_assert!((f64::from(*count) - share).abs() < 1.0 + 1e-6, "{} slots for {}", count, share);
            }
        }

        #[test]
        fn quotas_of_any_weights_fill_the_ring(
            weights in prop::collection::vec(prop::num::f64::POSITIVE, 1..50),
        ) {
            prop_assert_eq!(quotas(&weights, SLOTS).iter().map(|&quota| quota as usize).sum::<usize>(), SLOTS);
        }
    }

    /// `cargo test --release -p dataplane --lib measure_rings -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement, for docs/design/selection.md"]
    fn measure_rings() {
        println!(
            "| servers | slots | build, ms | off the share, worst | moved when one leaves | beyond its share |"
        );
        for servers in [2, 4, 10, 16, 100, 500, 655, 1000, 6000] {
            let all = pool(&vec![1.0; servers]);
            let mut times: Vec<f64> = Vec::new();
            for _ in 0..9 {
                let start = Instant::now();
                std::hint::black_box(ring(&all));
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            times.sort_by(f64::total_cmp);
            let before = ring(&all);
            let share = before.slots().len() as f64 / servers as f64;
            let off = counts(&before).iter().map(|&n| (f64::from(n) / share - 1.0).abs()).fold(0.0, f64::max);
            let mut rest = all.clone();
            rest.remove(servers / 2);
            let after = ring(&rest);
            let both = servers_of_both(&before, &after);
            let moved = both.filter(|(old, new)| old != new).count() as f64 / before.slots().len() as f64;
            println!(
                "| {servers} | {} | {:.2} ({:.2} to {:.2}) | {:.3} % | {:.2} % | {:.2} % |",
                before.slots().len(),
                times[4],
                times[0],
                times[8],
                off * 100.0,
                moved * 100.0,
                (moved - 1.0 / servers as f64) * 100.0
            );
        }
        for (name, weights) in [
            ("one of 1000, 99 of 1", [vec![1000.0], vec![1.0; 99]].concat()),
            ("1 to 100", (1..=100).map(f64::from).collect()),
        ] {
            let start = Instant::now();
            let all = pool(&weights);
            let before = ring(&all);
            let built = start.elapsed().as_secs_f64() * 1e3;
            let mut rest = all.clone();
            rest.remove(50);
            println!("{name}: {built:.2} ms, {:.2} % disturbed", disturbed(&before, &ring(&rest)) * 100.0);
        }
    }

    fn servers_of_both(before: &Ring, after: &Ring) -> impl Iterator<Item = (ServerId, ServerId)> {
        servers(before).into_iter().zip(servers(after))
    }
}
