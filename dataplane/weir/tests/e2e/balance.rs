//! weir under load, in every combination of encapsulation and families.

use crate::support::balancer::Balancer as _;
use crate::support::can_run;
use crate::support::case::{Case, Family, Way};
use crate::support::http::short_connections;
use crate::support::lab::{ECHO_PORT, Lab, vip};
use crate::support::scenario::{Load, carry_udp_load, carry_web_load};
use crate::support::trunk::Trunk;
use crate::support::udp::{Echo, exchange};
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
    let by_place = weir.metrics().by_label("weir_port_tx_packets_total", "port");
    let passed_on: f64 =
        by_place.iter().filter(|(place, _)| place == "handover").map(|(_, packets)| packets).sum();
    assert_eq!(passed_on > 0.0, nat && case.workers > 1, "{passed_on} packets went from worker to worker");
    lab.trunks.iter().for_each(Trunk::assert_all_tagged);
    weir.stop();
}

#[test]
fn ports_of_a_list_and_a_range_are_served() {
    const SEVERAL: &str = "
        [[vip]]
        address = \"198.18.0.1\"
        protocol = \"udp\"
        port = [6001, \"6010-6011\"]
        encap = \"nat\"
        servers = [\"10.78.2.11\", \"10.78.2.12\", \"10.78.2.13\"]
        ";
    if !can_run() {
        return;
    }
    let case = Case::new(Way::Nat, Family::V4, Family::V4);
    let lab = Lab::of(&case);
    let mut weir = Weir::start_with(&lab, &case, [1, 1, 1], SEVERAL);
    for port in [6001, 6010, 6011] {
        let servers = lab.servers.iter();
        let _echoes: Vec<_> =
            servers.map(|server| Echo::start(&server.namespace, (server.v4, port).into())).collect();
        let answers = exchange(&lab.client, vip(false, port), 60);
        assert_eq!(answers.values().sum::<u64>(), 60, "port {port}: {answers:?}");
    }
    let packets = weir.metrics().one("weir_vip_packets_total", &[("vip", "198.18.0.1:6001/udp")]);
    assert_eq!(packets, 360.0, "one VIP for all ports");
    weir.audit();
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
    fn two_workers_translate_ipv6() = Way::Nat, V6 in V6, with_two_workers;
    fn two_workers_translate_ipv4() = Way::Nat, V4 in V4, with_two_workers;
}

// Two workers on ports of two queues, hundreds of connections each.
cases! { Load::small();
    fn two_workers_balance_gre() = Way::Gre { key: None }, V4 in V4, with_two_workers;
    fn two_workers_translate_with_vlan() = Way::Nat, V4 in V4, with_two_workers, with_vlan;
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
