//! weir with GRE tunnels and direct server return, in all four combinations of families.

use crate::support::balancer::Balancer as _;
use crate::support::lab::{ECHO_PORT, Lab, vip};
use crate::support::scenario::{Load, carry_udp_load, carry_web_load};
use crate::support::udp::Echo;
use crate::support::weir::{Service, Weir};
use crate::support::{can_run, lab::Server};

fn weir_balances(inner_ipv6: bool, outer_ipv6: bool) {
    if !can_run() {
        return;
    }
    let lab = Lab::direct();
    let mut weir = Weir::start(&lab, Service::Gre { inner_ipv6, outer_ipv6 }, [1, 2, 4]);
    let echo = vip(inner_ipv6, ECHO_PORT);
    let start_echo = |server: &Server| Echo::start(&server.namespace, echo);
    let echoes: Vec<_> = lab.servers.iter().map(start_echo).collect();
    carry_udp_load(&lab, echo, 300);
    drop(echoes);
    carry_web_load(&lab, &mut weir, vip(inner_ipv6, 80), Load::standard());
    weir.audit();
    weir.stop();
}

#[test]
fn weir_balances_ipv4_in_ipv4() {
    weir_balances(false, false);
}

#[test]
fn weir_balances_ipv6_in_ipv4() {
    weir_balances(true, false);
}

#[test]
fn weir_balances_ipv4_in_ipv6() {
    weir_balances(false, true);
}

#[test]
fn weir_balances_ipv6_in_ipv6() {
    weir_balances(true, true);
}
