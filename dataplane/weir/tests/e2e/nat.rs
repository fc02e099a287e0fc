//! weir between clients and servers, translating both ways (NAT44).

use crate::support::balancer::Balancer as _;
use crate::support::can_run;
use crate::support::lab::{ECHO_PORT, Lab, vip};
use crate::support::scenario::{Load, carry_udp_load, carry_web_load};
use crate::support::udp::Echo;
use crate::support::weir::{Service, Weir};

#[test]
fn weir_translates_both_ways() {
    if !can_run() {
        return;
    }
    let lab = Lab::routed();
    let mut weir = Weir::start(&lab, Service::Nat, [1, 2, 4]);
    let echoes: Vec<_> = lab
        .servers
        .iter()
        .map(|server| Echo::start(&server.namespace, (server.v4, ECHO_PORT).into()))
        .collect();
    carry_udp_load(&lab, vip(false, 53), 300);
    drop(echoes);
    carry_web_load(&lab, &mut weir, vip(false, 80), Load::standard());
    weir.audit();
    weir.stop();
}
