//! Every rule against its definition.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use proptest::prelude::*;

use super::*;
use crate::tables::hash::HashKey;

/// Counts and turns as a test wants them.
#[derive(Default)]
struct Fake {
    flows: RefCell<HashMap<ServerId, u64>>,
    turns: Cell<u64>,
    lcore: u16,
}

impl Load for Fake {
    fn live_flows(&self, server: ServerId) -> u64 {
        self.flows.borrow().get(&server).copied().unwrap_or(0)
    }

    fn take_turn(&self, _: VipId) -> u64 {
        self.turns.replace(self.turns.get() + 1)
    }

    fn lcore(&self) -> LcoreId {
        LcoreId(self.lcore)
    }
}

fn candidate(at: usize, weight: f64) -> Candidate {
    let address = IpAddr::V4((0xc633_6400 + at as u32).into());
    Candidate { identity: Identity { address, port: None }, server: ServerId(at as u32), weight }
}

fn pool(weights: &[f64]) -> Vec<Candidate> {
    weights.iter().enumerate().map(|(at, &weight)| candidate(at, weight)).collect()
}

fn selector(rule: Select, weights: &[f64]) -> Selector {
    Selector::new(rule, VipId(0), pool(weights), &mut Rings::default())
}

fn hash(flow: u64) -> u64 {
    HashKey::default().v4(flow, 80)
}

#[test]
fn nothing_is_chosen_where_no_server_has_a_weight() {
    for rule in Select::ALL {
        for weights in [&[][..], &[0.0], &[f64::NAN, -1.0]] {
            let selector = selector(rule, weights);
            assert_eq!(selector.select(hash(1), &Fake::default()), None);
            assert_eq!(selector.stateless(hash(1)), None);
            assert_eq!(selector.others(hash(1), ServerId(0)).count(), 0);
            assert_eq!(selector.rule(), rule);
        }
    }
}

#[test]
fn the_only_server_with_a_weight_gets_everything() {
    for rule in Select::ALL {
        let selector = selector(rule, &[0.0, 3.0, 0.0]);
        for flow in [0, 1, u64::MAX, 1 << 32] {
            assert_eq!(selector.select(flow, &Fake::default()), Some(ServerId(1)), "{rule:?}");
            assert_eq!(selector.stateless(flow), Some(ServerId(1)), "{rule:?}");
        }
    }
}

#[test]
fn rules_without_state_send_every_packet_of_a_flow_to_the_same_server() {
    for rule in Select::ALL.into_iter().filter(|rule| rule.is_stateless()) {
        let selector = selector(rule, &[1.0, 2.0, 3.0]);
        for flow in 0..1000 {
            let chosen = selector.select(hash(flow), &Fake::default());
            assert_eq!(chosen, selector.stateless(hash(flow)));
        }
    }
}

/// Two instances that list the servers in another order and give them other slots.
#[test]
fn instances_agree_whatever_the_order_and_the_slots() {
    let weights: Vec<f64> = (0..20).map(|at| 1.0 + f64::from(at % 3)).collect();
    let mut turned = pool(&weights);
    turned.rotate_left(7);
    turned.swap(0, 5);
    for (slot, candidate) in (100..).zip(&mut turned) {
        candidate.server = ServerId(slot);
    }
    let address = |pool: &[Candidate], server| {
        pool.iter().find(|candidate| Some(candidate.server) == server).unwrap().identity
    };
    for rule in Select::ALL {
        let here = selector(rule, &weights);
        let there = Selector::new(rule, VipId(9), turned.clone(), &mut Rings::default());
        for flow in 0..2000 {
            let (here, there) = (here.stateless(hash(flow)), there.stateless(hash(flow)));
            assert_eq!(address(&pool(&weights), here), address(&turned, there), "{rule:?}");
        }
        let (here, there) = (here.select(hash(7), &Fake::default()), there.select(hash(7), &Fake::default()));
        assert_eq!(address(&pool(&weights), here), address(&turned, there), "{rule:?}");
    }
}

#[test]
fn shares_without_load_are_the_weights_or_equal() {
    let weights = [1.0, 2.0, 5.0];
    let total = 20_000;
    for (rule, expected) in [
        (Select::Hash, [1.0, 1.0, 1.0]),
        (Select::Alias, weights),
        (Select::Maglev, weights),
        (Select::RoundRobin, [1.0, 1.0, 1.0]),
        (Select::Lsq, weights), // all idle: ties go to the ring's choice
    ] {
        let (selector, load) = (selector(rule, &weights), Fake::default());
        let mut counts = [0u32; 3];
        for flow in 0..total {
            counts[selector.select(hash(flow), &load).unwrap().index()] += 1;
        }
        for (count, weight) in counts.iter().zip(expected) {
            let share = weight / expected.iter().sum::<f64>();
            let deviation = (total as f64 * share * (1.0 - share)).sqrt();
            let off = (f64::from(*count) - total as f64 * share) / deviation;
            assert!(off.abs() < 5.0, "{rule:?}: {counts:?}");
        }
    }
}

/// The selector of configured weights `configured` with weights in force `learned`.
fn reweighed(rule: Select, configured: &[f64], learned: &[f64]) -> Selector {
    selector(rule, configured).reweighed(|server| learned.get(server.index()).copied())
}

#[test]
fn shares_without_load_are_the_learned_weights_where_they_act() {
    let (configured, learned) = ([1.0, 2.0, 5.0, 1.0], [4.0, 1.0, 2.0, 1.0]);
    let total = 20_000;
    for (rule, expected) in [
        (Select::Hash, [1.0; 4]),
        (Select::Alias, learned),
        (Select::Maglev, configured),
        (Select::RoundRobin, [1.0; 4]),
        (Select::Lsq, configured), // all idle: ties go to the ring's choice
        (Select::Lsq2, learned),   // all idle: the first draw wins
    ] {
        let (selector, load) = (reweighed(rule, &configured, &learned), Fake::default());
        let mut counts = [0u32; 4];
        for flow in 0..total {
            counts[selector.select(hash(flow), &load).unwrap().index()] += 1;
        }
        for (count, weight) in counts.iter().zip(expected) {
            let share = weight / expected.iter().sum::<f64>();
            let deviation = (total as f64 * share * (1.0 - share)).sqrt();
            let off = (f64::from(*count) - total as f64 * share) / deviation;
            assert!(off.abs() < 5.0, "{rule:?}: {counts:?}");
        }
    }
}

#[test]
fn packets_without_state_go_where_they_went_whatever_is_learned() {
    let configured = [1.0, 2.0, 5.0, 1.0];
    for rule in Select::ALL {
        let before = selector(rule, &configured);
        for learned in [[4.0, 1.0, 2.0, 1.0], [1e-9, 1e9, 1.0, 1.0], configured] {
            let after = reweighed(rule, &configured, &learned);
            for flow in 0..2000 {
                assert_eq!(before.stateless(hash(flow)), after.stateless(hash(flow)), "{rule:?}");
            }
        }
    }
}

#[test]
fn flows_begin_where_packets_without_state_go_as_often_as_the_weights_allow() {
    let (configured, learned) = ([1.0; 4], [1.2, 1.0, 1.0, 0.8]); // 5 % of the flows must go elsewhere
    for rule in [Select::Alias, Select::Lsq2] {
        let (selector, load) = (reweighed(rule, &configured, &learned), Fake::default());
        let home = |&flow: &u64| selector.select(hash(flow), &load) == selector.stateless(hash(flow));
        let at_home = (0..20_000).filter(home).count();
        assert!((18_840..19_160).contains(&at_home), "{rule:?}: {at_home}"); // 5 standard deviations
    }
}

#[test]
fn weights_that_are_taken_back_or_only_scaled_choose_as_the_configured_ones() {
    let configured = [1.0, 2.0, 5.0, 1.0];
    for rule in Select::ALL {
        let plain = selector(rule, &configured);
        let learned = reweighed(rule, &configured, &[4.0, 1.0, 2.0, 1.0]);
        let back = learned.reweighed(|_| None);
        let scaled = reweighed(rule, &configured, &configured.map(|weight| weight * 0.25));
        let loads = [Fake::default(), Fake::default(), Fake::default()];
        for flow in 0..2000 {
            let [plain, back, scaled] = [&plain, &back, &scaled]
                .into_iter()
                .zip(&loads)
                .map(|(selector, load)| {
                    let server = selector.select(hash(flow), load).unwrap();
                    *load.flows.borrow_mut().entry(server).or_default() += 1;
                    server
                })
                .collect::<Vec<_>>()[..]
            else {
                panic!("three")
            };
            assert_eq!((plain, plain), (back, scaled), "{rule:?}, flow {flow}");
        }
    }
}

#[test]
fn weights_that_are_no_weights_leave_the_configured_ones_in_force() {
    for rule in Select::ALL {
        let absurd = reweighed(rule, &[1.0, 2.0, 3.0, 4.0], &[f64::NAN, 0.0, -1.0, f64::INFINITY]);
        let weights: Vec<f64> = absurd.members().iter().map(|member| member.weight).collect();
        assert_eq!(weights, [1.0, 2.0, 3.0, 4.0], "{rule:?}");
        let none = reweighed(rule, &[0.0, 1.0], &[5.0, 5.0]);
        assert_eq!(none.members().len(), 1, "{rule:?}: who is to get nothing gets nothing");
    }
}

/// Flows that stay: the counts end up in proportion to the weights, closely, and evenly under `lsq`; whether the
/// weights are configured or learned.
#[test]
fn rules_by_load_fill_servers_by_their_weights() {
    let weights = [1.0, 2.0, 5.0];
    for (rule, configured, expected, most) in [
        (Select::Sed, weights, weights, 1.0),
        (Select::Sed2, weights, weights, 30.0),
        (Select::Lsq, weights, [1.0; 3], 1.0),
        (Select::Lsq2, weights, [1.0; 3], 60.0),
        (Select::Sed, [1.0; 3], weights, 1.0),
        (Select::Sed2, [5.0, 2.0, 1.0], weights, 30.0),
        (Select::Lsq2, [5.0, 2.0, 1.0], [1.0; 3], 60.0),
    ] {
        let (selector, load) = (reweighed(rule, &configured, &weights), Fake::default());
        for flow in 0..8000 {
            let server = selector.select(hash(flow), &load).unwrap();
            *load.flows.borrow_mut().entry(server).or_default() += 1;
        }
        for (server, weight) in (0u32..).zip(expected) {
            let share = 8000.0 * weight / expected.iter().sum::<f64>();
            let off = load.live_flows(ServerId(server)) as f64 - share;
            assert!(off.abs() <= most, "{rule:?}: server {server} is {off} flows off {share}");
        }
    }
}

#[test]
fn two_draws_are_two_servers_even_where_one_has_nearly_all_the_weight() {
    for weights in [&[1.0, 1.0][..], &[1000.0, 0.001], &[1000.0, 0.001, 0.001]] {
        let (selector, load) = (selector(Select::Lsq2, weights), Fake::default());
        load.flows.borrow_mut().insert(ServerId(0), 1);
        let mut chosen = HashSet::new();
        for flow in 0..1000 {
            chosen.insert(selector.select(hash(flow), &load).unwrap());
        }
        assert!(!chosen.contains(&ServerId(0)), "the busy one is chosen only against itself");
        assert_eq!(chosen.len(), weights.len() - 1);
    }
}

#[test]
fn others_are_all_the_others_once() {
    for rule in Select::ALL {
        let selector = selector(rule, &[1.0; 5]);
        let mut second = HashSet::new();
        for flow in 0..100 {
            let first = selector.stateless(hash(flow)).unwrap();
            let others: Vec<ServerId> = selector.others(hash(flow), first).collect();
            let mut all: Vec<u32> = others.iter().chain([&first]).map(|server| server.0).collect();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3, 4]);
            second.insert(others[0]);
        }
        assert_eq!(second.len(), 5, "flows do not all try the same");
    }
}

/// Whether one lcore or several, each with its own turns: nobody is ahead by more than a flow for each lcore, and
/// by less when each lcore has as many flows.
#[test]
fn rotation_is_even_over_lcores() {
    for servers in [1, 2, 3, 7, 16, 100] {
        let selector = selector(Select::RoundRobin, &vec![1.0; servers]);
        for lcores in [1u16, 2, 3, 4, 8, 16] {
            let loads: Vec<Fake> = (0..lcores).map(|lcore| Fake { lcore, ..Fake::default() }).collect();
            let mut counts = vec![0u32; servers];
            let spread = |counts: &[u32]| counts.iter().max().unwrap() - counts.iter().min().unwrap();
            for turn in 0..300 {
                for load in &loads {
                    counts[selector.select(hash(turn), load).unwrap().index()] += 1;
                }
                let even = if lcores.is_power_of_two() { 2 } else { 3 };
                assert!(spread(&counts) <= even, "{lcores} lcores, {servers} servers: {counts:?}");
            }
            for flow in 0..300 {
                let load = &loads[(hash(flow) % u64::from(lcores)) as usize];
                counts[selector.select(hash(flow), load).unwrap().index()] += 1;
                assert!(spread(&counts) <= u32::from(lcores), "{lcores} lcores, {servers} servers");
            }
        }
    }
}

/// The smallest of `servers` by `(flows + 1) / weight` (or flows alone) in whole numbers, then by flows.
fn smallest(servers: &[(u32, u64)], by_weight: bool) -> Vec<ServerId> {
    // a / v < b / w as a * w < b * v
    let less = |a: (u32, u64), b: (u32, u64)| {
        if by_weight {
            let (left, right) = ((a.1 + 1) * u64::from(b.0), (b.1 + 1) * u64::from(a.0));
            left < right || left == right && a.1 < b.1
        } else {
            a.1 < b.1
        }
    };
    let ids = (0u32..).map(ServerId).zip(servers);
    ids.filter(|&(_, &server)| !servers.iter().any(|&other| less(other, server))).map(|(id, _)| id).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lsq_and_sed_choose_the_smallest_with_the_fewest_flows(
        servers in prop::collection::vec((1u32..8, 0u64..20), 1..12),
        flow in any::<u64>(),
    ) {
        let weights: Vec<f64> = servers.iter().map(|&(weight, _)| f64::from(weight) / 3.0).collect();
        let load = Fake::default();
        for (id, &(_, flows)) in (0u32..).zip(&servers) {
            load.flows.borrow_mut().insert(ServerId(id), flows);
        }
        let mut rings = Rings::default();
        for (rule, by_weight) in [(Select::Lsq, false), (Select::Sed, true)] {
            let weights = if by_weight { pool(&weights) } else { pool(&vec![1.0; servers.len()]) };
            let selector = Selector::new(rule, VipId(0), weights, &mut rings);
            let smallest = smallest(&servers, by_weight);
            let chosen = selector.select(hash(flow), &load).unwrap();
            prop_assert!(smallest.contains(&chosen), "{:?} of {:?}", chosen, servers);
            // Among equals the hash decides: enough flows reach all of them.
            let reached: HashSet<ServerId> =
                (0..1000).map(|more| selector.select(hash(flow ^ more), &load).unwrap()).collect();
            prop_assert_eq!(reached, smallest.into_iter().collect::<HashSet<_>>());
        }
    }

    #[test]
    fn two_draws_of_two_servers_are_as_good_as_a_look_at_all(
        servers in prop::collection::vec((1u32..8, 0u64..20), 2..3),
        flow in any::<u64>(),
    ) {
        let weights: Vec<f64> = servers.iter().map(|&(weight, _)| f64::from(weight)).collect();
        let load = Fake::default();
        for (id, &(_, flows)) in (0u32..).zip(&servers) {
            load.flows.borrow_mut().insert(ServerId(id), flows);
        }
        let mut rings = Rings::default();
        for (two, all) in [(Select::Lsq2, Select::Lsq), (Select::Sed2, Select::Sed)] {
            let two = Selector::new(two, VipId(0), pool(&weights), &mut rings);
            let all = Selector::new(all, VipId(0), pool(&weights), &mut rings);
            prop_assert_eq!(two.select(hash(flow), &load), all.select(hash(flow), &load));
        }
    }
}
