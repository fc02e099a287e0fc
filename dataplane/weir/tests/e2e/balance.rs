//! weir under load, in every combination of encapsulation and families.

use crate::support::balancer::Balancer as _;
use crate::support::can_run;
use crate::support::case::{Case, Family, Way};
use crate::support::http::short_connections;
use crate::support::lab::{ECHO_PORT, Lab, vip};
use crate::support::scenario::{Load, carry_udp_load, carry_web_load};
use crate::support::trunk::Trunk;
use crate::support::udp::Echo;
use crate::support::weir::Weir;

fn weir_balances(case: Case, load: Load) {
    if !can_run() {
        return;
    }
    let lab = Lab::of(&case);
    let mut weir = Weir::start(&lab, &case, [1, 2, 4]);
    let nat = case.way == Way::Nat;
    let echoes: Vec<_> = lab
        .servers
        .iter()
        .map(|server| {
            let own = (server.address(case.server_ipv6), ECHO_PORT).into();
            Echo::start(&server.namespace, if nat { own } else { vip(case.vip_ipv6, ECHO_PORT) })
        })
        .collect();
    carry_udp_load(&lab, vip(case.vip_ipv6, if nat { 53 } else { ECHO_PORT }), 200);
    drop(echoes);
    for address in case.addresses() {
        let tally = short_connections(&lab.client, (address, 80).into(), &lab.site.bodies, 30);
        tally.assert_no_failures();
    }
    carry_web_load(&lab, &mut weir, vip(case.vip_ipv6, 80), load);
    weir.audit();
    lab.trunks.iter().for_each(Trunk::assert_all_tagged);
    weir.stop();
}

macro_rules! cases {
    ($load:expr; $(fn $name:ident() = $way:expr, $inner:ident in $outer:ident $(, $with:ident)*;)*) => {
        $(#[test] fn $name() {
            weir_balances(Case::new($way, Family::$inner, Family::$outer)$(.$with())*, $load);
        })*
    };
}

// Thousands of connections each.
cases! { Load::standard();
    fn weir_balances_ipv4_in_ipv4() = Way::Gre { key: None }, V4 in V4;
    fn weir_balances_ipv6_in_ipv4() = Way::Gre { key: None }, V6 in V4;
    fn weir_balances_ipv4_in_ipv6() = Way::Gre { key: None }, V4 in V6;
    fn weir_balances_ipv6_in_ipv6() = Way::Gre { key: None }, V6 in V6;
    fn weir_translates_both_ways() = Way::Nat, V4 in V4;
    fn weir_translates_both_ways_ipv6() = Way::Nat, V6 in V6;
}

// The rest of the matrix: hundreds of connections each.
cases! { Load::small();
    fn weir_balances_gre_with_key() = Way::Gre { key: Some(42) }, V4 in V4;
    fn weir_balances_gre_with_key_6in6() = Way::Gre { key: Some(42) }, V6 in V6;
    fn weir_balances_ipip_4in4() = Way::Ipip, V4 in V4;
    fn weir_balances_ipip_6in4() = Way::Ipip, V6 in V4;
    fn weir_balances_ipip_4in6() = Way::Ipip, V4 in V6;
    fn weir_balances_ipip_6in6() = Way::Ipip, V6 in V6;
    fn weir_balances_gue_0_4in4() = Way::Gue { variant: 0 }, V4 in V4;
    fn weir_balances_gue_0_6in4() = Way::Gue { variant: 0 }, V6 in V4;
    fn weir_balances_gue_0_4in6() = Way::Gue { variant: 0 }, V4 in V6;
    fn weir_balances_gue_0_6in6() = Way::Gue { variant: 0 }, V6 in V6;
    fn weir_balances_gue_1_4in4() = Way::Gue { variant: 1 }, V4 in V4;
    fn weir_balances_gue_1_6in4() = Way::Gue { variant: 1 }, V6 in V4;
    fn weir_balances_gue_1_4in6() = Way::Gue { variant: 1 }, V4 in V6;
    fn weir_balances_gue_1_6in6() = Way::Gue { variant: 1 }, V6 in V6;
    fn weir_balances_l3dsr_ipv4() = Way::L3dsr, V4 in V4;
    fn weir_balances_l3dsr_ipv6() = Way::L3dsr, V6 in V6;
    fn weir_balances_a_prefix_ipv4() = Way::Gre { key: None }, V4 in V4, with_prefix;
    fn weir_balances_a_prefix_ipv6() = Way::Ipip, V6 in V6, with_prefix;
    fn weir_balances_gre_with_vlan() = Way::Gre { key: None }, V4 in V4, with_vlan;
    fn weir_balances_gue_with_vlan_6in6() = Way::Gue { variant: 1 }, V6 in V6, with_vlan;
    fn weir_balances_l3dsr_with_vlan() = Way::L3dsr, V4 in V4, with_vlan;
    fn weir_translates_with_vlan_ipv4() = Way::Nat, V4 in V4, with_vlan;
    fn weir_translates_with_vlan_ipv6() = Way::Nat, V6 in V6, with_vlan;
}
