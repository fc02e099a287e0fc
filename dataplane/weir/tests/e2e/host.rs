//! The exception port: the kernel behind the balancer's own address has connections of its own, in both directions,
//! while the balancer works.

use std::net::{IpAddr, SocketAddr};

use crate::support::balancer::Balancer as _;
use crate::support::can_run;
use crate::support::case::{Case, Family, Way};
use crate::support::http::short_connections;
use crate::support::icmp::ping;
use crate::support::lab::{Lab, vip};
use crate::support::upload::{Sink, upload};
use crate::support::weir::{HOST, Weir};

/// Where the host and the client listen.
const PORT: u16 = 2222;

fn host_is_reached(case: Case) {
    if !can_run() {
        return;
    }
    let case = case.with_exception();
    let lab = Lab::of(&case);
    let (interface, [v4, v6]) = lab.ports[0].clone();
    // An AF_PACKET port leaves the frames to the kernel as well, which a port of DPDK's own does not: here the
    // kernel must have nothing but the exception port.
    lab.lb.nft(&format!(
        "table netdev only_weir {{
             chain in {{
                 type filter hook ingress device \"{interface}\" priority 0; policy drop;
             }}
         }}\n"
    ));
    let mut weir = Weir::start(&lab, &case, [1, 1, 1]);
    lab.lb.sysctl(&format!("net/ipv6/conf/{HOST}/disable_ipv6"), "0");
    lab.lb.ip([
        format!("link set {HOST} up"),
        format!("address add {v4} dev {HOST}"),
        format!("address add {v6} dev {HOST} nodad"),
    ]);
    let client: [IpAddr; 2] = if case.way == Way::Nat {
        ["10.78.1.1".parse(), "fd78:1::1".parse()]
    } else {
        ["10.77.0.1".parse(), "fd77::1".parse()]
    }
    .map(|address| address.expect("an address"));
    for ipv6 in [false, true] {
        let (own, peer) = (SocketAddr::new(lab.own_address(ipv6), PORT), client[usize::from(ipv6)]);
        let _on_host = Sink::start(&lab.lb, own);
        let there = SocketAddr::new(peer, PORT);
        let _on_client = Sink::start(&lab.client, there);
        ping(&lab.client, own.ip(), &[0, 56, 1400]);
        ping(&lab.lb, peer, &[0, 56, 1400]);
        std::thread::scope(|scope| {
            let load =
                scope.spawn(|| short_connections(&lab.client, vip(case.vip_ipv6, 80), &lab.site.bodies, 200));
            upload(&lab.client, own, 500_000);
            upload(&lab.lb, there, 500_000);
            load.join().expect("the load").assert_no_failures();
        });
    }
    weir.audit();
    let sent = weir.metrics().by_label("weir_port_tx_packets_total", "port");
    let name = format!("{interface}.host");
    let to_host: f64 = sent.iter().filter(|(port, _)| *port == name).map(|(_, packets)| packets).sum();
    assert!(to_host > 500.0, "{to_host} packets to the host: {sent:?}");
    weir.stop();
}

#[test]
fn host_is_reached_and_reaches_others_beside_the_load() {
    host_is_reached(Case::new(Way::Gre { key: None }, Family::V4, Family::V4));
}

#[test]
fn host_is_reached_with_nat_and_two_workers() {
    host_is_reached(Case::new(Way::Nat, Family::V6, Family::V6).with_two_workers());
}

#[test]
fn host_is_reached_with_vlan() {
    host_is_reached(Case::new(Way::Gre { key: None }, Family::V4, Family::V4).with_vlan());
}
