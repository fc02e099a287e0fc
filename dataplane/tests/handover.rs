//! Several workers: NAT works in both directions whatever worker a packet arrives at, errors find their flows, and
//! nothing is lost between workers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{collections::HashMap, net::IpAddr, thread, time::Duration};

use dataplane::{
    pipeline::DropReason,
    ports::Packet,
    tables::{encap::Encap, select::Select, server::ServerState, spec::VipSpec},
};
use ipc::id::PortId;
use proptest::prelude::*;
use support::{crew::Crew, *};

/// Addresses of one family.
#[derive(Clone, Copy, Debug)]
struct Family {
    client: &'static str,
    vip: &'static str,
    servers: [&'static str; 3],
    /// On the clients' side, and on the servers'.
    routers: [&'static str; 2],
    /// Where source and destination address end in a frame.
    ends: [usize; 2],
}

const V4: Family = Family {
    client: "203.0.113.77",
    vip: "203.0.113.10",
    servers: ["198.51.100.11", "198.51.100.12", "198.51.100.13"],
    routers: ["203.0.113.254", "198.51.100.254"],
    ends: [30, 34],
};

const V6: Family = Family {
    client: "2001:db8:7::77",
    vip: "2001:db8:5::10",
    servers: ["2001:db8:1::11", "2001:db8:1::12", "2001:db8:1::13"],
    routers: ["2001:db8:7::fe", "2001:db8:1::fe"],
    ends: [38, 54],
};

impl Family {
    fn nat(&self) -> VipSpec {
        let servers = self.servers.iter().map(|address| server(address, Some(8080), 1.0)).collect();
        vip(service(self.vip, 6, 80), Encap::Nat, servers)
    }

    fn tunnel(&self) -> VipSpec {
        let servers = self.servers.iter().map(|address| server(address, None, 1.0)).collect();
        vip(service(self.vip, 6, 80), GRE, servers)
    }

    fn request(&self, sport: u16, flags: u8) -> Vec<u8> {
        frame(LAN_MAC, CLIENT_MAC, &Ip::new(self.client, self.vip, 6).tcp(sport, 80, flags, b"there"))
    }

    /// What a server sends back; servers are known by the last byte of their Ethernet address.
    fn reply(&self, last: u8, sport: u16, flags: u8) -> Vec<u8> {
        let server = self.servers[usize::from(last) - 11];
        let reply = Ip::new(server, self.client, 6).tcp(8080, sport, flags, b"back");
        frame(SERVER_NET_MAC, server_mac(last), &reply)
    }

    /// What the client should see of it.
    fn translated(&self, sport: u16, flags: u8) -> Outcome {
        let reply = Ip { ttl: 63, ..Ip::new(self.vip, self.client, 6) }.tcp(80, sport, flags, b"back");
        Outcome::Out(0, frame(GATEWAY_MAC, LAN_MAC, &reply))
    }

    /// "Too big" to `to` about `quoted`.
    fn error(&self, to: &str, from: &str, quoted: &[u8]) -> Vec<u8> {
        let v6 = self.vip.contains(':');
        let ip = Ip::new(from, to, if v6 { 58 } else { 1 });
        let quoted = &quoted[..if v6 { 48 } else { 28 }];
        let mut message =
            [if v6 { &[2, 0, 0, 0, 0, 0, 5, 0] } else { &[3, 4, 0, 0, 0, 0, 5, 0][..] }, quoted].concat();
        let sum = checksum(&if v6 { ip.summed(&message) } else { message.clone() });
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        ip.packet(&message)
    }
}

fn octets(address: &str) -> Vec<u8> {
    match address.parse().unwrap() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn server_of(crew: &mut Crew, worker: usize, frame: &[u8]) -> Option<u8> {
    match crew.send(worker, 0, frame) {
        Outcome::Out(1, out) => Some(out[5]),
        _ => None,
    }
}

#[test]
fn nat_flow_works_both_ways_whatever_workers_its_packets_arrive_at() {
    for family in [V4, V6] {
        for count in [2, 3, 4] {
            let mut crew = Crew::new(spec(vec![family.nat()]), count);
            let workers = usize::from(count);
            for sport in 1000..1050 {
                for at in 0..workers {
                    let last =
                        server_of(&mut crew, at, &family.request(sport, if at == 0 { SYN } else { ACK }))
                            .unwrap();
                    for back in 0..workers {
                        let reply = family.reply(last, sport, ACK);
                        assert_eq!(
                            crew.send(back, 1, &reply),
                            family.translated(sport, ACK),
                            "{at} and {back}"
                        );
                    }
                }
            }
            assert_eq!(crew.flows(), (50, 50), "each is known once");
            assert!(
                crew.handles.iter().all(|handle| handle.counters.lcore.created.get() > 0),
                "all have some"
            );
        }
    }
}

#[test]
fn packets_of_tunnels_are_never_passed_on() {
    for vips in [vec![V4.tunnel()], vec![V4.tunnel(), V6.nat()]] {
        let mut crew = Crew::new(spec(vips), 4);
        for sport in 1000..1100 {
            for flags in [SYN, ACK, FIN | ACK] {
                assert!(server_of(&mut crew, usize::from(sport) % 4, &V4.request(sport, flags)).is_some());
            }
        }
        assert_eq!(crew.passed(), 0);
    }
}

#[test]
fn strays_are_passed_on_only_if_a_server_under_nat_sent_them() {
    let mut crew = Crew::new(spec(vec![V4.nat()]), 2);
    for sport in 1000..1020 {
        for (source, expected) in [("198.51.100.99", 0), ("198.51.100.11", 1)] {
            let before = crew.passed();
            let ip = Ip::new(source, V4.client, 6).tcp(8080, sport, ACK, b"");
            for worker in 0..2 {
                let sent = crew.send(worker, 1, &frame(SERVER_NET_MAC, server_mac(11), &ip));
                assert_eq!(sent, Outcome::Dropped(DropReason::NotAVip));
            }
            assert_eq!(crew.passed() - before, expected, "one of the two owns it");
        }
    }
}

#[test]
fn tags_are_taken_off_and_put_on_once_for_packets_that_are_passed_on() {
    let mut spec = spec(vec![V4.nat()]);
    spec.ports.iter_mut().for_each(|port| port.vlan = Some(100));
    let mut crew = Crew::new(spec, 2);
    let tagged = |frame: &[u8]| [&frame[..12], &[0x81, 0, 0, 100], &frame[12..]].concat();
    for sport in 1000..1020 {
        for worker in 0..2 {
            let Outcome::Out(1, out) = crew.send(worker, 0, &tagged(&V4.request(sport, SYN))) else {
                panic!("not sent on")
            };
            assert_eq!((&out[12..18], out.len()), (&[0x81, 0, 0, 100, 8, 0][..], 14 + 4 + 45));
            let Outcome::Out(0, expected) = V4.translated(sport, ACK) else { unreachable!() };
            let reply = tagged(&V4.reply(out[5], sport, ACK));
            assert_eq!(crew.send(worker, 1, &reply), Outcome::Out(0, tagged(&expected)));
        }
    }
}

#[test]
fn full_ring_drops_by_name_and_the_rest_arrives() {
    let mut crew = Crew::new(spec(vec![V4.nat()]), 2);
    // A flow that worker 1 owns.
    let sport = (1000..).find(|&sport| {
        server_of(&mut crew, 0, &V4.request(sport, SYN)).unwrap();
        crew.passed() > 0
    });
    let packet = V4.request(sport.unwrap(), ACK);
    crew.settle();
    let arrived = crew.sum(|ledger| ledger.tx(1).packets);
    for _ in 0..2000 {
        crew.enqueue(0, 0, &packet);
    }
    for _ in 0..64 {
        crew.workers[0].turn();
        crew.assert_law();
    }
    let full = crew.sum(|ledger| ledger.drops(DropReason::HandoverFull));
    assert_eq!(full, 2000 - 1024);
    for _ in 0..64 {
        crew.workers[1].turn();
        crew.assert_law();
    }
    crew.settle();
    assert_eq!(crew.sum(|ledger| ledger.tx(1).packets) - arrived, 1024);
}

#[test]
fn established_nat_flows_go_on_when_their_vip_is_removed_or_changes_its_encapsulation() {
    type Change = fn(&mut Vec<VipSpec>);
    let changes: [(bool, Change); 3] = [
        (true, |vips| vips.clear()),
        (true, |vips| *vips = vec![V4.tunnel()]),
        (false, |vips| *vips = vec![V4.nat()]),
    ];
    for (nat, change) in changes {
        let mut crew = Crew::new(spec(vec![if nat { V4.nat() } else { V4.tunnel() }]), 2);
        // Under NAT the worker does not matter; a tunnel's packets keep to theirs.
        let other = |worker: u16| usize::from(if nat { 1 - worker } else { worker });
        let flows: Vec<(u16, u8)> = (1000..1040)
            .map(|sport| {
                server_of(&mut crew, usize::from(sport % 2), &V4.request(sport, SYN)).unwrap();
                let last = server_of(&mut crew, other(sport % 2), &V4.request(sport, ACK)).unwrap();
                (sport, last)
            })
            .collect();
        change(&mut crew.spec.vips);
        crew.publish();
        for (sport, last) in flows {
            for worker in [usize::from(sport % 2), other(sport % 2)] {
                assert_eq!(server_of(&mut crew, worker, &V4.request(sport, ACK)), Some(last), "{sport}");
                if nat {
                    let reply = V4.reply(last, sport, ACK);
                    assert_eq!(crew.send(worker, 1, &reply), V4.translated(sport, ACK));
                }
            }
        }
        let violations: u64 = crew.handles.iter().map(|h| h.counters.lcore.pcc_violations.get()).sum();
        assert_eq!((violations, crew.flows().0), (0, 40));
    }
}

#[test]
fn icmp_errors_find_the_flow_under_nat_whatever_worker_they_arrive_at() {
    for family in [V4, V6] {
        let mut crew = Crew::new(spec(vec![family.nat()]), 4);
        for sport in 1000..1020 {
            let last = server_of(&mut crew, 0, &family.request(sport, SYN)).unwrap();
            let server = family.servers[usize::from(last) - 11];
            let [near, far] = family.routers;
            for worker in 0..4 {
                // From the clients' side, about a reply: to the server.
                let reply = Ip::new(family.vip, family.client, 6).tcp(80, sport, ACK, b"");
                let error = frame(LAN_MAC, GATEWAY_MAC, &family.error(family.vip, near, &reply));
                assert_eq!(server_of(&mut crew, worker, &error), Some(last));
                // From the servers' side, about a request: to the client, as from the VIP.
                let request = Ip::new(family.client, server, 6).tcp(sport, 8080, ACK, b"");
                let error = frame(SERVER_NET_MAC, GATEWAY_MAC, &family.error(family.client, far, &request));
                let sent = crew.send(worker, 1, &error);
                let Outcome::Out(0, out) = sent else { panic!("{worker}: {sent:?}") };
                let [from, to] = family.ends.map(|end| &out[end - octets(family.vip).len()..end]);
                assert_eq!((from, to), (&octets(family.vip)[..], &octets(family.client)[..]));
            }
        }
    }
}

#[test]
fn icmp_error_about_a_tunnelled_flow_asks_every_worker_before_it_goes_by_hash() {
    let mut vip = V4.tunnel();
    vip.select = Select::RoundRobin; // the hash says nothing about where flows are
    let mut crew = Crew::new(spec(vec![vip]), 4);
    let error = |sport| {
        let answer = Ip::new(V4.vip, V4.client, 6).tcp(80, sport, ACK, b"");
        frame(LAN_MAC, GATEWAY_MAC, &V4.error(V4.vip, "203.0.113.254", &answer))
    };
    for sport in 1000..1040 {
        let home = usize::from(sport) % 4;
        let last = server_of(&mut crew, home, &V4.request(sport, SYN)).unwrap();
        for worker in 0..4 {
            let before = crew.passed();
            assert_eq!(
                server_of(&mut crew, worker, &error(sport)),
                Some(last),
                "at {worker}, flow at {home}"
            );
            assert_eq!(crew.passed() - before, ((home + 4 - worker) % 4) as u64);
        }
    }
    // Nobody knows it: once around, then the choice that all would make.
    let everywhere: Vec<Option<u8>> =
        (0..4).map(|worker| server_of(&mut crew, worker, &error(5000))).collect();
    assert!(everywhere[0].is_some() && everywhere.iter().all(|server| *server == everywhere[0]));
    // A flood is not passed on without end.
    let before = crew.passed();
    for _ in 0..100 {
        for _ in 0..20 {
            crew.enqueue(0, 0, &error(5000));
        }
        crew.settle();
    }
    assert!(crew.passed() - before <= 3 * 2000, "{}", crew.passed() - before);
    assert_eq!(crew.sum(|ledger| ledger.drops(DropReason::HandoverFull)), 0);
}

/// Workers in threads, as they run: when all have ended, every packet that went into a ring has come out.
#[test]
fn nothing_is_left_between_workers_when_they_stop() {
    for round in 0..20u64 {
        let mut crew = Crew::new(spec(vec![V4.nat()]), 3);
        for worker in 0..3 {
            for sport in 0..20_000u16 {
                crew.enqueue(worker, 0, &V4.request(1000 + sport % 500, ACK));
            }
        }
        let handles = crew.handles.clone();
        let running: Vec<_> = crew
            .workers
            .into_iter()
            .map(|mut worker| {
                thread::spawn(move || {
                    worker.run();
                    let sent =
                        worker.queue_mut(PortId(1)).outgoing.iter().all(|packet| !packet.data().is_empty());
                    assert!(sent);
                })
            })
            .collect();
        thread::sleep(Duration::from_micros(500 * round));
        for handle in &handles {
            handle.stop();
            thread::sleep(Duration::from_micros(100 * (round % 3)));
        }
        for worker in running {
            worker.join().unwrap();
        }
        let mut ledger = handles[0].ledger().unwrap();
        handles[1..].iter().for_each(|handle| ledger.merge(&handle.ledger().unwrap()));
        assert_eq!(ledger.imbalance(), 0, "{ledger:?}");
        let place = ledger.handover();
        assert_eq!(ledger.rx(place), ledger.tx(place), "{ledger:?}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Packet { sport: u16, flags: u8, at: usize },
    Reply { sport: u16, flags: u8, at: usize },
    Error { sport: u16, at: usize },
    Weights([u8; 3]),
    State(usize, ServerState),
    Select(Select),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let flags = prop::sample::select(vec![SYN, ACK, ACK, FIN | ACK, RST, RST | ACK, SYN | 0xc0, 0, FIN]);
    let states = prop::sample::select(vec![ServerState::Active, ServerState::Draining, ServerState::Down]);
    let (sport, at) = (1000u16..1030, 0usize..4);
    prop::collection::vec(
        prop_oneof![
            20 => (sport.clone(), flags.clone(), at.clone()).prop_map(|(sport, flags, at)| Op::Packet { sport, flags, at }),
            8 => (sport.clone(), flags, at.clone()).prop_map(|(sport, flags, at)| Op::Reply { sport, flags, at }),
            2 => (sport, at).prop_map(|(sport, at)| Op::Error { sport, at }),
            1 => any::<[u8; 3]>().prop_map(Op::Weights),
            1 => (0usize..3, states).prop_map(|(server, state)| Op::State(server, state)),
            1 => prop::sample::select(Select::ALL.to_vec()).prop_map(Op::Select),
        ],
        1..200,
    )
}

/// Replays operations on one crew: each packet arrives at the worker that the operation names.
fn replay(family: Family, workers: u16, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut crew = Crew::new(spec(vec![family.nat()]), workers);
    let mut place: HashMap<u16, u8> = HashMap::new();
    let created = |crew: &Crew| crew.handles.iter().map(|h| h.counters.lcore.created.get()).sum::<u64>();
    for op in ops {
        match *op {
            Op::Packet { sport, flags, at } => {
                let before = created(&crew);
                let to = server_of(&mut crew, at % usize::from(workers), &family.request(sport, flags));
                let is_new = created(&crew) > before;
                if let (Some(to), false, Some(&known)) = (to, is_new, place.get(&sport)) {
                    prop_assert_eq!(to, known, "flow {} moved", sport);
                }
                match to {
                    Some(to) if is_new => _ = place.insert(sport, to),
                    Some(_) => {}
                    None => _ = place.remove(&sport),
                }
            }
            Op::Reply { sport, flags, at } => {
                let Some(&last) = place.get(&sport) else { continue };
                let sent = crew.send(at % usize::from(workers), 1, &family.reply(last, sport, flags));
                prop_assert_eq!(sent, family.translated(sport, flags));
            }
            Op::Error { sport, at } => {
                let Some(&last) = place.get(&sport) else { continue };
                let server = family.servers[usize::from(last) - 11];
                let request = Ip::new(family.client, server, 6).tcp(sport, 8080, ACK, b"");
                let error = family.error(family.client, family.routers[1], &request);
                let sent =
                    crew.send(at % usize::from(workers), 1, &frame(SERVER_NET_MAC, GATEWAY_MAC, &error));
                let is_translated = matches!(sent, Outcome::Out(0, _));
                prop_assert!(is_translated, "{:?}", sent);
            }
            Op::Weights(weights) => {
                for (server, weight) in crew.spec.vips[0].servers.iter_mut().zip(weights) {
                    server.weight = f64::from(weight);
                }
                crew.publish();
            }
            Op::Select(select) => {
                crew.spec.vips[0].select = select;
                crew.publish();
            }
            Op::State(server, state) => {
                if state == ServerState::Down {
                    let last = 11 + u8::try_from(server).unwrap_or(0);
                    place.retain(|_, on| *on != last); // only these may move
                }
                crew.spec.vips[0].servers[server].state = state;
                crew.publish();
            }
        }
        let (live, entries) = crew.flows();
        prop_assert!(live <= entries && entries <= 30, "{} live of {}", live, entries);
        let violations: u64 = crew.handles.iter().map(|h| h.counters.lcore.pcc_violations.get()).sum();
        prop_assert_eq!(violations, 0);
    }
    for sport in 1000..1030 {
        crew.send(usize::from(sport % workers), 0, &family.request(sport, RST));
    }
    prop_assert_eq!(crew.flows().0, 0);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nat_over_several_workers_keeps_flows_counts_and_the_law(
        ops in ops(),
        workers in 1u16..=4,
        v6 in any::<bool>(),
    ) {
        replay(if v6 { V6 } else { V4 }, workers, &ops)?;
    }
}
