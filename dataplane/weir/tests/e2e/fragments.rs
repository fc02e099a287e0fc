//! Datagrams larger than a link: real kernels cut them into fragments and put them together again.

use crate::support::balancer::Balancer as _;
use crate::support::can_run;
use crate::support::case::{Case, Family, Way};
use crate::support::icmp::ping;
use crate::support::lab::{ECHO_PORT, Lab, vip};
use crate::support::udp::{Echo, exchange_of};
use crate::support::weir::Weir;

const GRE: Way = Way::Gre { key: None };

/// Each flow sends two datagrams of up to 9000 bytes; every byte has to come back, from one server.
fn large_datagrams_arrive(case: Case) {
    if !can_run() {
        return;
    }
    let lab = Lab::of(&case);
    lab.narrow_the_way_back();
    let mut weir = Weir::start(&lab, &case, [1, 2, 4]);
    let nat = case.way == Way::Nat;
    let echoes = lab.servers.iter().map(|server| {
        let own = (server.address(case.server_ipv6), ECHO_PORT).into();
        Echo::start(&server.namespace, if nat { own } else { vip(case.vip_ipv6, ECHO_PORT) })
    });
    let _echoes: Vec<_> = echoes.collect();
    let target = vip(case.vip_ipv6, if nat { 53 } else { ECHO_PORT });
    let servers = exchange_of(&lab.client, target, 120, |number| 1400 + 63 * number);
    eprintln!("large datagrams: {servers:?}");
    assert_eq!((servers.len(), servers.values().sum::<u64>()), (3, 120), "{servers:?}");
    let counted = weir.metrics().by_label("weir_fragments_total", "kind");
    let fragments = |kind: &str| -> f64 {
        counted.iter().filter(|(counted, _)| counted == kind).map(|(_, count)| count).sum()
    };
    assert!(fragments("first") >= 200.0 && fragments("followed") >= fragments("first"));
    assert_eq!(fragments("unknown"), 0.0, "they come in order on these links");
    weir.audit();
    weir.stop();
}

#[test]
fn large_datagrams_arrive_through_gre() {
    large_datagrams_arrive(Case::new(GRE, Family::V4, Family::V4).with_pcap());
}

#[test]
fn large_datagrams_arrive_by_l3dsr() {
    large_datagrams_arrive(Case::new(Way::L3dsr, Family::V4, Family::V4).with_pcap());
}

#[test]
fn large_datagrams_arrive_through_ipip_6in6() {
    large_datagrams_arrive(Case::new(Way::Ipip, Family::V6, Family::V6));
}

#[test]
fn large_datagrams_arrive_through_gue_6in4() {
    large_datagrams_arrive(Case::new(Way::Gue { variant: 1 }, Family::V6, Family::V4));
}

#[test]
fn large_datagrams_are_translated_both_ways_ipv4() {
    large_datagrams_arrive(Case::new(Way::Nat, Family::V4, Family::V4).with_pcap());
}

#[test]
fn large_datagrams_are_translated_both_ways_ipv6() {
    large_datagrams_arrive(Case::new(Way::Nat, Family::V6, Family::V6));
}

#[test]
fn large_datagrams_are_translated_by_two_workers() {
    large_datagrams_arrive(Case::new(Way::Nat, Family::V6, Family::V6).with_two_workers());
}

fn large_pings_are_answered(family: Family) {
    if !can_run() {
        return;
    }
    let case = Case::new(GRE, family, family).with_pcap();
    let lab = Lab::of(&case);
    let mut weir = Weir::start(&lab, &case, [1, 1, 1]);
    for target in [vip(case.vip_ipv6, 0).ip(), lab.own_address(case.vip_ipv6)] {
        ping(&lab.client, target, &[1500, 3001, 9000, 30_000]);
    }
    weir.audit();
    weir.stop();
}

#[test]
fn pings_larger_than_the_link_are_answered_ipv4() {
    large_pings_are_answered(Family::V4);
}

#[test]
fn pings_larger_than_the_link_are_answered_ipv6() {
    large_pings_are_answered(Family::V6);
}
