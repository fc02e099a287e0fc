//! Neighbours learn where the VIP is now without asking.

use std::time::Duration;

use crate::support::balancer::Balancer as _;
use crate::support::case::{Case, Family, Way};
use crate::support::lab::{Lab, vip};
use crate::support::weir::Weir;
use crate::support::{can_run, wait_for};

/// A client that believes the VIP to be at another machine, as after the end of one.
fn stale_neighbour_is_corrected(family: Family) {
    const GONE: &str = "02:00:00:00:00:99";
    if !can_run() {
        return;
    }
    let case = Case::new(Way::Gre { key: None }, family, family).with_announcements();
    let lab = Lab::of(&case);
    let address = vip(case.vip_ipv6, 0).ip();
    lab.client.ip([format!("neighbor replace {address} lladdr {GONE} dev eth0 nud stale")]);
    let known = || lab.client.output("ip", &format!("neighbor show {address} dev eth0"));
    assert!(known().contains(GONE), "{}", known());
    let mut weir = Weir::start(&lab, &case, [1, 1, 1]);
    let link = lab.lb.output("ip", "-brief link show dev lan0");
    let mac = link.split_whitespace().find(|word| word.contains(':')).expect("lan0 has an address");
    wait_for("the client to learn the new place", Duration::from_secs(10), || {
        known().contains(mac).then_some(())
    });
    weir.audit();
    weir.stop();
}

#[test]
fn stale_neighbour_learns_the_vip_by_gratuitous_arp() {
    stale_neighbour_is_corrected(Family::V4);
}

#[test]
fn stale_neighbour_learns_the_vip_by_unsolicited_advertisement() {
    stale_neighbour_is_corrected(Family::V6);
}
