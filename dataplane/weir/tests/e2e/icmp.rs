//! What weir itself says by ICMP: answers to ping, and the way to a smaller packet.

use crate::support::balancer::Balancer as _;
use crate::support::can_run;
use crate::support::case::{Case, Family, Way};
use crate::support::icmp::ping;
use crate::support::lab::{Lab, UPLOAD_PORT, vip};
use crate::support::upload::{Sink, path_mtu, upload};
use crate::support::weir::Weir;

const GRE: Way = Way::Gre { key: None };

fn pings_are_answered(case: Case) {
    if !can_run() {
        return;
    }
    let lab = Lab::of(&case);
    let mut weir = Weir::start(&lab, &case, [1, 1, 1]);
    // None, little, odd, and as much as the link carries.
    let most = if case.vip_ipv6 { 1452 } else { 1472 };
    for target in case.addresses().into_iter().chain([lab.own_address(case.vip_ipv6)]) {
        ping(&lab.client, target, &[0, 56, 999, most]);
    }
    weir.audit();
    weir.stop();
}

#[test]
fn ping_to_vip_and_own_address_is_answered_ipv4() {
    pings_are_answered(Case::new(GRE, Family::V4, Family::V4));
}

#[test]
fn ping_to_vip_and_own_address_is_answered_ipv6() {
    pings_are_answered(Case::new(GRE, Family::V6, Family::V6));
}

#[test]
fn ping_to_translated_vip_is_answered_ipv4() {
    pings_are_answered(Case::new(Way::Nat, Family::V4, Family::V4));
}

#[test]
fn ping_to_translated_vip_is_answered_ipv6() {
    pings_are_answered(Case::new(Way::Nat, Family::V6, Family::V6));
}

#[test]
fn ping_to_every_address_of_a_prefix_is_answered() {
    pings_are_answered(Case::new(GRE, Family::V4, Family::V6).with_prefix());
}

/// The client may send 1500 bytes, of which the tunnel's headers leave no room on a link of 1500.
fn upload_shrinks_to(case: Case, expected: u16) {
    if !can_run() {
        return;
    }
    let case = case.with_mtu(1500);
    let lab = Lab::of(&case);
    let mut weir = Weir::start(&lab, &case, [1, 1, 1]);
    let target = vip(case.vip_ipv6, UPLOAD_PORT);
    let _sinks: Vec<_> = lab.servers.iter().map(|server| Sink::start(&server.namespace, target)).collect();
    upload(&lab.client, target, 200_000);
    assert_eq!(path_mtu(&lab.client, target.ip()), Some(expected));
    weir.audit();
    weir.stop();
}

#[test]
fn upload_larger_than_the_tunnel_learns_its_mtu_4in4() {
    upload_shrinks_to(Case::new(GRE, Family::V4, Family::V4), 1476);
}

#[test]
fn upload_larger_than_the_tunnel_learns_its_mtu_6in6() {
    upload_shrinks_to(Case::new(GRE, Family::V6, Family::V6), 1456);
}

#[test]
fn upload_larger_than_the_tunnel_learns_its_mtu_6in4() {
    upload_shrinks_to(Case::new(Way::Ipip, Family::V6, Family::V4), 1480);
}

#[test]
fn upload_larger_than_the_tunnel_learns_its_mtu_4in6() {
    upload_shrinks_to(Case::new(Way::Gue { variant: 0 }, Family::V4, Family::V6), 1448);
}
