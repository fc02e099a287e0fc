//! Connections stay on their servers, counts are exact, and the packet law holds, whatever comes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::{HashMap, HashSet};

use dataplane::{
    pipeline::{DropReason, counters::ServerEvents},
    tables::{encap::Encap, select::Select, server::ServerState},
};
use proptest::prelude::*;
use support::*;

const VIP: &str = "203.0.113.10";
const SERVERS: [&str; 3] = ["198.51.100.11", "198.51.100.12", "198.51.100.13"];

fn rig(encap: Encap) -> Rig {
    let port = (encap == Encap::Nat).then_some(8080);
    let servers = SERVERS.iter().map(|address| server(address, port, 1.0)).collect();
    Rig::new(vec![vip(service(VIP, 6, 80), encap, servers)])
}

fn rig_of(encap: Encap, select: Select) -> Rig {
    let mut rig = rig(encap);
    rig.spec.vips[0].select = select;
    rig.publish();
    rig
}

fn packet(sport: u16, flags: u8) -> Vec<u8> {
    frame(LAN_MAC, CLIENT_MAC, &Ip::new("203.0.113.77", VIP, 6).tcp(sport, 80, flags, b""))
}

fn live(rig: &Rig) -> u64 {
    SERVERS.iter().map(|address| rig.flows(address).0).sum()
}

#[test]
fn second_syn_keeps_server_and_counts_once() {
    for select in Select::ALL {
        let mut rig = rig_of(GRE, select);
        let first = rig.server_of(&packet(1000, SYN));
        assert!(first.is_some());
        assert_eq!(rig.server_of(&packet(1000, SYN)), first, "{select:?}");
        assert_eq!(live(&rig), 1);
    }
}

#[test]
fn flow_ends_once_by_fin_or_reset_in_any_form() {
    for ending in [FIN | ACK, RST, RST | ACK] {
        let mut rig = rig(GRE);
        for flags in [SYN, ACK, ACK] {
            rig.server_of(&packet(1000, flags));
        }
        assert_eq!(live(&rig), 1);
        for flags in [ending, ending, ACK, RST] {
            rig.server_of(&packet(1000, flags));
            assert_eq!(live(&rig), 0, "after {flags:#x}");
        }
    }
}

#[test]
fn flows_count_as_established_once_the_client_goes_on() {
    for encap in [GRE, Encap::Nat] {
        let mut rig = rig(encap);
        let established = |rig: &Rig| -> u64 {
            let ids = rig.builder.servers().map(|(id, _)| id);
            ids.map(|id| rig.handle.counters.server(id).established.get()).sum()
        };
        // Nobody answers: SYNs again and again, then the client gives up.
        for flags in [SYN, SYN, SYN, RST] {
            rig.server_of(&packet(1000, flags));
        }
        assert_eq!(established(&rig), 0);
        for flags in [SYN, ACK, ACK, FIN | ACK, ACK] {
            rig.server_of(&packet(1001, flags));
        }
        assert_eq!(established(&rig), 1);
        // The first ACK was lost on the way to us.
        for flags in [SYN, FIN | ACK] {
            rig.server_of(&packet(1002, flags));
        }
        assert_eq!(established(&rig), 2);
    }
}

#[test]
fn endings_are_counted_once_and_by_their_first_reason() {
    let mut rig = rig(GRE);
    for (sport, flags) in
        [(1000, [FIN | ACK, RST]), (1001, [RST, RST]), (1002, [FIN, FIN]), (1003, [ACK, ACK])]
    {
        for flags in [SYN, SYN, ACK].iter().chain(&flags) {
            rig.send(0, &packet(sport, *flags));
        }
    }
    let mut sums = [0; 5];
    for address in SERVERS {
        let events = rig.handle.counters.events(rig.server_id(address));
        let ServerEvents { finished_fin, finished_rst, timed_out, evicted, syn_retransmits, .. } = events;
        let counters = [finished_fin, finished_rst, timed_out, evicted, syn_retransmits];
        sums.iter_mut().zip(counters).for_each(|(sum, counter)| *sum += counter.get());
    }
    assert_eq!((sums, live(&rig)), ([2, 1, 0, 0, 4], 1));
}

#[test]
fn reused_port_is_a_new_flow() {
    let mut rig = rig(GRE);
    for flags in [SYN, ACK, FIN | ACK, SYN, ACK] {
        rig.server_of(&packet(1000, flags));
    }
    assert_eq!(live(&rig), 1);
    assert_eq!(rig.handle.counters.lcore.created.get(), 2);
    assert_eq!(rig.worker.ledger().imbalance(), 0);
}

#[test]
fn end_of_an_unknown_connection_is_forwarded_and_not_entered() {
    let mut rig = rig(GRE);
    assert!(rig.server_of(&packet(1000, RST)).is_some());
    assert!(rig.server_of(&packet(1001, FIN | ACK)).is_some());
    assert_eq!(rig.handle.counters.lcore.created.get(), 0);
}

#[test]
fn packet_of_an_unknown_connection_goes_where_its_syn_would_if_the_rule_is_stateless() {
    for select in Select::ALL.into_iter().filter(|select| select.is_stateless()) {
        let mut known = rig_of(GRE, select);
        let mut fresh = rig_of(GRE, select);
        for sport in 1000..1100 {
            assert_eq!(known.server_of(&packet(sport, SYN)), fresh.server_of(&packet(sport, ACK)));
        }
    }
}

/// Under a rule that looks at load, or in rotation, nobody can know where a SYN went; but all send what comes
/// after it to the same server, and keep it there.
#[test]
fn packet_of_an_unknown_connection_goes_to_the_same_server_everywhere_and_is_adopted() {
    for select in Select::ALL {
        let mut idle = rig_of(GRE, select);
        let mut busy = rig_of(GRE, select);
        establish(&mut busy, 2000..2050);
        let mut servers = HashSet::new();
        for sport in 1000..1100 {
            let server = idle.server_of(&packet(sport, ACK)).unwrap();
            assert_eq!(busy.server_of(&packet(sport, ACK)), Some(server), "{select:?}");
            servers.insert(server);
        }
        assert_eq!(live(&idle), 100, "{select:?}");
        assert_eq!(servers.len(), 3, "{select:?}");
        idle.spec.vips[0].servers[0].weight = 50.0;
        idle.publish();
        for sport in 1000..1100 {
            assert_eq!(idle.server_of(&packet(sport, ACK)), busy.server_of(&packet(sport, ACK)));
        }
    }
}

/// With a flow table that has forgotten everything, by two draws at least half of the flows go
/// on to their servers, in rotation only those that chance sends there.
#[test]
fn restart_finds_the_servers_of_flows_as_far_as_the_rule_lets_it() {
    for select in Select::ALL {
        let mut before = rig_of(GRE, select);
        before.spec.vips[0]
            .servers
            .extend((14..20).map(|last| server(&format!("198.51.100.{last}"), None, 1.0)));
        let mut after = Rig::new(before.spec.vips.clone());
        before.publish();
        let flows = establish(&mut before, 1000..3000);
        let found = flows
            .iter()
            .filter(|&(&sport, &server)| after.server_of(&packet(sport, ACK)) == Some(server))
            .count();
        let least = match select {
            Select::Hash | Select::Alias | Select::Maglev => 2000,
            Select::Lsq2 | Select::Sed2 => 1000,
            Select::Lsq | Select::Sed | Select::RoundRobin => 2000 / 9 - 75, // 5 standard deviations
        };
        assert!(found >= least, "{select:?}: {found} of 2000");
    }
}

/// Establishes flows and says where each is.
fn establish(rig: &mut Rig, sports: std::ops::Range<u16>) -> HashMap<u16, u8> {
    sports
        .map(|sport| {
            let server = rig.server_of(&packet(sport, SYN)).unwrap();
            assert_eq!(rig.server_of(&packet(sport, ACK)), Some(server));
            (sport, server)
        })
        .collect()
}

fn assert_unmoved(rig: &mut Rig, flows: &HashMap<u16, u8>) {
    for (&sport, &server) in flows {
        assert_eq!(rig.server_of(&packet(sport, ACK)), Some(server), "flow {sport}");
    }
    assert_eq!(rig.handle.counters.lcore.pcc_violations.get(), 0);
}

#[test]
fn established_flows_stay_through_weights_additions_drains_removals_and_rules() {
    for select in Select::ALL {
        let mut rig = rig_of(GRE, select);
        let flows = establish(&mut rig, 1000..1300);
        assert_eq!(flows.values().collect::<HashSet<_>>().len(), 3, "{select:?}");

        rig.spec.vips[0].servers[0].weight = 50.0;
        rig.publish();
        assert_unmoved(&mut rig, &flows);

        for learned in [[1e-9, 1.0, 1e9], [20.0, 0.05, 1.0]] {
            rig.reweigh(Some(&[
                (SERVERS[0], learned[0]),
                (SERVERS[1], learned[1]),
                (SERVERS[2], learned[2]),
            ]));
            assert_unmoved(&mut rig, &flows);
        }

        rig.spec.vips[0].servers.insert(0, server("198.51.100.14", None, 5.0));
        rig.publish();
        assert_unmoved(&mut rig, &flows);

        rig.spec.vips[0].servers[1].state = ServerState::Draining;
        rig.publish();
        assert_unmoved(&mut rig, &flows);
        let new = establish(&mut rig, 2000..2300);
        assert!(new.values().all(|&server| server != 11), "{select:?}: draining: no new flows");

        rig.spec.vips[0].servers.remove(1);
        rig.publish();
        assert_unmoved(&mut rig, &flows);
        let new = establish(&mut rig, 3000..3300);
        assert!(new.values().all(|&server| server != 11), "{select:?}: removed: no new flows");

        for other in Select::ALL {
            rig.spec.vips[0].select = other;
            rig.publish();
            assert_unmoved(&mut rig, &flows);
        }
    }
}

#[test]
fn flows_of_a_server_that_is_down_move_to_live_ones_and_the_others_stay() {
    for select in Select::ALL {
        let mut rig = rig_of(GRE, select);
        let mut flows = establish(&mut rig, 1000..1300);
        rig.spec.vips[0].servers[0].state = ServerState::Down;
        rig.publish();
        let moved: Vec<u16> =
            flows.iter().filter(|(_, server)| **server == 11).map(|(&sport, _)| sport).collect();
        for sport in &moved {
            assert!(matches!(rig.server_of(&packet(*sport, ACK)), Some(12 | 13)), "{select:?}");
            flows.remove(sport);
        }
        assert_unmoved(&mut rig, &flows);
        assert_eq!(rig.flows(SERVERS[0]), (0, 0));
        assert_eq!(live(&rig), 300);
    }
}

#[test]
fn established_flows_go_on_when_their_vip_is_removed_and_new_ones_do_not_begin() {
    let other = vip(service("203.0.113.11", 6, 80), GRE, vec![server("198.51.100.14", None, 1.0)]);
    let mut rig = rig(GRE);
    let flows = establish(&mut rig, 1000..1100);
    rig.spec.vips = vec![other];
    rig.publish();
    assert_unmoved(&mut rig, &flows);
    assert_eq!(rig.send(0, &packet(2000, SYN)), Outcome::Dropped(DropReason::NotAVip));
    for &sport in flows.keys() {
        rig.send(0, &packet(sport, FIN | ACK));
    }
    assert_eq!(live(&rig), 0);
    assert_eq!(rig.send(0, &packet(1000, SYN)), Outcome::Dropped(DropReason::NotAVip));
}

#[test]
fn removed_server_is_forgotten_only_when_its_flows_are_gone() {
    let mut rig = rig(GRE);
    establish(&mut rig, 1000..1100);
    rig.spec.vips[0].servers.remove(0);
    rig.publish();
    rig.settle();
    let counters = rig.handle.counters.clone();
    rig.builder.release(&rig.spec, |id| counters.server(id).entries.get() == 0);
    assert_eq!(rig.builder.servers().count(), 3);
}

#[test]
fn shares_follow_the_weights() {
    let mut rig = rig(GRE);
    for (server, weight) in rig.spec.vips[0].servers.iter_mut().zip([1.0, 2.0, 4.0]) {
        server.weight = weight;
    }
    rig.publish();
    let mut counts = HashMap::new();
    for sport in 1000..8000 {
        *counts.entry(rig.server_of(&packet(sport, SYN)).unwrap()).or_insert(0u32) += 1;
    }
    for (server, share) in [(11, 1.0f64 / 7.0), (12, 2.0 / 7.0), (13, 4.0 / 7.0)] {
        let (expected, deviation): (f64, f64) = (7000.0 * share, (7000.0 * share * (1.0 - share)).sqrt());
        let off = (f64::from(counts[&server]) - expected) / deviation;
        assert!(off.abs() < 5.0, "server {server}: {off} standard deviations off");
    }
}

#[test]
fn nat_flow_tries_every_other_server_before_it_is_dropped() {
    let servers = || SERVERS.iter().map(|address| server(address, Some(8080), 1.0)).collect();
    for select in Select::ALL {
        // As many VIPs as servers: a client with one port gets one server at each, and no more.
        let mut vips: Vec<_> = (10..14u8)
            .map(|last| vip(service(&format!("203.0.113.{last}"), 6, 80), Encap::Nat, servers()))
            .collect();
        vips.iter_mut().for_each(|vip| vip.select = select);
        let mut rig = Rig::new(vips);
        for sport in 1000..1050 {
            let mut places = HashSet::new();
            for last in 10..13 {
                let ip = Ip::new("203.0.113.77", &format!("203.0.113.{last}"), 6).tcp(sport, 80, SYN, b"");
                places.insert(rig.server_of(&frame(LAN_MAC, CLIENT_MAC, &ip)).unwrap());
            }
            assert_eq!(places.len(), 3, "{select:?}");
            let ip = Ip::new("203.0.113.77", "203.0.113.13", 6).tcp(sport, 80, SYN, b"");
            let sent = rig.send(0, &frame(LAN_MAC, CLIENT_MAC, &ip));
            assert_eq!(sent, Outcome::Dropped(DropReason::NatCollision), "{select:?}");
        }
    }
}

#[test]
fn nat_flow_whose_replies_would_be_anothers_goes_elsewhere_or_nowhere() {
    let one = || vec![server(SERVERS[0], Some(8080), 1.0)];
    let mut rig = Rig::new(vec![
        vip(service(VIP, 6, 80), Encap::Nat, one()),
        vip(service("203.0.113.11", 6, 80), Encap::Nat, one()),
    ]);
    assert!(rig.server_of(&packet(1000, SYN)).is_some());
    let other = Ip::new("203.0.113.77", "203.0.113.11", 6).tcp(1000, 80, SYN, b"");
    let sent = rig.send(0, &frame(LAN_MAC, CLIENT_MAC, &other));
    assert_eq!(sent, Outcome::Dropped(DropReason::NatCollision));
}

#[test]
fn reply_entry_is_never_taken_for_a_clients_flow() {
    // A "client" with the address and port of another VIP: the server answers to a VIP.
    let other = "203.0.113.11";
    let mut rig = Rig::new(vec![
        vip(service(VIP, 6, 80), Encap::Nat, vec![server(SERVERS[0], Some(8080), 1.0)]),
        vip(service(other, 6, 81), Encap::Nat, vec![server(SERVERS[1], Some(8080), 1.0)]),
    ]);
    let to_vip = |flags| frame(LAN_MAC, CLIENT_MAC, &Ip::new(other, VIP, 6).tcp(81, 80, flags, b""));
    assert!(matches!(rig.send(0, &to_vip(SYN)), Outcome::Out(1, _)));
    let back = frame(SERVER_NET_MAC, server_mac(11), &Ip::new(SERVERS[0], other, 6).tcp(8080, 81, RST, b""));
    assert_eq!(rig.send(1, &back), Outcome::Dropped(DropReason::NatCollision));
    rig.send(0, &to_vip(RST));
    assert_eq!(rig.flows(SERVERS[0]), (0, 1));
}

#[test]
fn servers_reset_ends_a_nat_flow() {
    let mut rig = rig(Encap::Nat);
    let last = rig.server_of(&packet(1000, SYN)).unwrap();
    rig.server_of(&packet(1000, ACK));
    assert_eq!(live(&rig), 1);
    let reset = Ip::new(&format!("198.51.100.{last}"), "203.0.113.77", 6).tcp(8080, 1000, RST, b"");
    assert!(matches!(rig.send(1, &frame(SERVER_NET_MAC, server_mac(last), &reset)), Outcome::Out(0, _)));
    assert_eq!(live(&rig), 0);
}

#[test]
fn full_flow_table_forwards_untracked_or_evicts_and_counts_stay_exact() {
    for encap in [GRE, Encap::Nat] {
        let base = rig(encap);
        let mut rig = Rig::with(base.spec.clone(), neighbors(), 16);
        for sport in 1000..2000 {
            rig.send(0, &packet(sport, SYN));
        }
        assert!(live(&rig) <= 16, "{}", live(&rig));
        let entries: u64 = SERVERS.iter().map(|address| rig.flows(address).1).sum();
        assert_eq!(live(&rig), entries);
    }
}

#[test]
fn packets_of_a_flow_without_room_all_go_to_the_same_server() {
    for select in Select::ALL {
        let base = rig_of(GRE, select);
        let mut rig = Rig::with(base.spec.clone(), neighbors(), 0);
        for sport in 1000..1500 {
            let first = rig.server_of(&packet(sport, SYN));
            let second = rig.server_of(&packet(sport, ACK));
            assert_eq!(first, second, "{select:?}");
            let learned = f64::from(sport);
            rig.reweigh(Some(&[(SERVERS[0], learned), (SERVERS[1], 1.0), (SERVERS[2], 1.0 / learned)]));
            assert_eq!(first, rig.server_of(&packet(sport, ACK)), "{select:?}: whatever is learned");
        }
        assert_eq!((rig.handle.counters.lcore.untracked.get(), live(&rig)), (1500, 0));
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Packet { sport: u16, flags: u8 },
    Reply { sport: u16, flags: u8 },
    Weights([u8; 3]),
    State(usize, ServerState),
    Select(Select),
    Learn([f64; 3]),
    Unlearn,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let flags = prop::sample::select(vec![SYN, ACK, ACK, FIN | ACK, RST, RST | ACK, SYN | 0xc0, 0, FIN]);
    let states = prop::sample::select(vec![ServerState::Active, ServerState::Draining, ServerState::Down]);
    let sport = 1000u16..1040;
    // What a guard would let through, and what it never would.
    let learned =
        prop_oneof![4 => 0.05..20.0f64, 2 => prop::num::f64::ANY, 1 => Just(1e-300), 1 => Just(1e300)];
    prop::collection::vec(
        prop_oneof![
            20 => (sport.clone(), flags.clone()).prop_map(|(sport, flags)| Op::Packet { sport, flags }),
            6 => (sport, flags).prop_map(|(sport, flags)| Op::Reply { sport, flags }),
            1 => any::<[u8; 3]>().prop_map(Op::Weights),
            1 => (0usize..3, states).prop_map(|(server, state)| Op::State(server, state)),
            1 => prop::sample::select(Select::ALL.to_vec()).prop_map(Op::Select),
            2 => [learned.clone(), learned.clone(), learned].prop_map(Op::Learn),
            1 => Just(Op::Unlearn),
        ],
        1..300,
    )
}

/// Replays operations; checks after each that no flow moved that may not, and that counts agree.
fn replay(encap: Encap, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut rig = rig(encap);
    let mut place: HashMap<u16, u8> = HashMap::new();
    for op in ops {
        match *op {
            Op::Packet { sport, flags } => {
                let before = rig.handle.counters.lcore.created.get();
                let to = rig.server_of(&packet(sport, flags));
                let created = rig.handle.counters.lcore.created.get() > before;
                if let (Some(to), false) = (to, created)
                    && let Some(&known) = place.get(&sport)
                {
                    prop_assert_eq!(to, known, "flow {} moved", sport);
                }
                match to {
                    Some(to) if created => {
                        place.insert(sport, to);
                    }
                    Some(_) => {}
                    // A new connection that no server took: the old one is over as well.
                    None => {
                        place.remove(&sport);
                    }
                }
            }
            Op::Reply { sport, flags } => {
                if let Some(&last) = place.get(&sport) {
                    let ip = Ip::new(&format!("198.51.100.{last}"), "203.0.113.77", 6)
                        .tcp(8080, sport, flags, b"");
                    rig.send(1, &frame(SERVER_NET_MAC, server_mac(last), &ip));
                }
            }
            Op::Weights(weights) => {
                for (server, weight) in rig.spec.vips[0].servers.iter_mut().zip(weights) {
                    server.weight = f64::from(weight);
                }
                rig.publish();
            }
            Op::Select(select) => {
                rig.spec.vips[0].select = select;
                rig.publish();
            }
            Op::Learn(weights) => {
                let learned: Vec<_> = SERVERS.into_iter().zip(weights).collect();
                rig.reweigh(Some(&learned));
            }
            Op::Unlearn => rig.reweigh(None),
            Op::State(server, state) => {
                if state == ServerState::Down {
                    let last = 11 + u8::try_from(server).unwrap_or(0);
                    place.retain(|_, on| *on != last); // only these may move
                }
                rig.spec.vips[0].servers[server].state = state;
                rig.publish();
            }
        }
        let entries: u64 = SERVERS.iter().map(|address| rig.flows(address).1).sum();
        prop_assert!(live(&rig) <= entries && entries <= 40, "{} live of {}", live(&rig), entries);
        prop_assert_eq!(rig.handle.counters.lcore.pcc_violations.get(), 0);
    }
    // Every flow ends: nothing may be left on the counts.
    for address in SERVERS {
        prop_assert!(rig.flows(address).0 <= 40);
    }
    for sport in 1000..1040 {
        rig.send(0, &packet(sport, RST));
    }
    prop_assert_eq!(live(&rig), 0);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flows_stay_and_counts_are_exact_under_loss_repetition_and_reordering(ops in ops()) {
        replay(GRE, &ops)?;
    }

    #[test]
    fn nat_flows_stay_and_counts_are_exact_under_loss_repetition_and_reordering(ops in ops()) {
        replay(Encap::Nat, &ops)?;
    }

    #[test]
    fn any_bytes_get_one_verdict(
        frames in prop::collection::vec(
            (0u16..2, prop_oneof![
                prop::collection::vec(any::<u8>(), 0..128),
                // Frames that get past the first checks.
                (0usize..4, prop::collection::vec(any::<u8>(), 0..160), any::<u8>()).prop_map(|(kind, bytes, cut)| {
                    let mut ip = match kind {
                        0 => Ip::new("203.0.113.77", VIP, 6).tcp(7, 80, ACK, &bytes),
                        1 => Ip::new("203.0.113.77", VIP, 17).udp(7, 80, &bytes, true),
                        2 => Ip::new("2001:db8:7::1", "2001:db8::2", 58).packet(&bytes),
                        _ => bytes.clone(),
                    };
                    if let Some(at) = bytes.first()
                        && !ip.is_empty()
                    {
                        let at = usize::from(*at) % ip.len();
                        ip[at] ^= cut;
                    }
                    let ether_type = if kind == 2 { 0x86dd } else if kind == 3 { 0x0806 } else { 0x0800 };
                    let mut frame = ethernet(LAN_MAC, CLIENT_MAC, ether_type, &ip);
                    frame.truncate(frame.len() - usize::from(cut & 7).min(frame.len()));
                    frame
                }),
            ]),
            1..64,
        )
    ) {
        let mut rig = rig(Encap::Nat);
        for (port, frame) in &frames {
            enqueue(&mut rig, *port, frame);
        }
        rig.settle();
        let ledger = rig.worker.ledger();
        prop_assert_eq!(ledger.rx(0).packets + ledger.rx(1).packets, frames.len() as u64);
    }

    #[test]
    fn nat_changes_nothing_but_its_fields(
        payload in prop::collection::vec(any::<u8>(), 0..600),
        sport in 1u16..,
        tos in any::<u8>(),
        ttl in 2u8..,
        udp in any::<bool>(),
    ) {
        let servers = vec![server(SERVERS[0], Some(8080), 1.0)];
        let protocol = if udp { 17 } else { 6 };
        let mut rig = Rig::new(vec![vip(service(VIP, protocol, 80), Encap::Nat, servers)]);
        let build = |ip: Ip, dport| if udp { ip.udp(sport, dport, &payload, true) } else { ip.tcp(sport, dport, ACK, &payload) };
        let there = build(Ip { tos, ttl, ..Ip::new("203.0.113.77", VIP, protocol) }, 80);
        let expected = build(Ip { tos, ttl: ttl - 1, ..Ip::new("203.0.113.77", SERVERS[0], protocol) }, 8080);
        prop_assert_eq!(
            rig.send(0, &frame(LAN_MAC, CLIENT_MAC, &there)),
            Outcome::Out(1, frame(server_mac(11), SERVER_NET_MAC, &expected))
        );
    }
}
