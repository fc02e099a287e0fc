//! ICMP errors from the servers' side under NAT: the kernel of a client must understand them as its own.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::support::balancer::Balancer as _;
use crate::support::can_run;
use crate::support::case::{Case, Family, Way};
use crate::support::lab::{Lab, vip};
use crate::support::netns::{Namespace, link};
use crate::support::upload::{Sink, path_mtu, upload};
use crate::support::weir::Weir;

/// Nobody listens behind the VIP: the server's kernel says so, and the client's believes it.
fn closed_port_is_reported(family: Family) {
    if !can_run() {
        return;
    }
    let case = Case::new(Way::Nat, family, family);
    let lab = Lab::of(&case);
    let mut weir = Weir::start(&lab, &case, [1, 1, 1]);
    let (target, local): (_, SocketAddr) = match family {
        Family::V4 => (vip(false, 53), ([0; 4], 0).into()),
        Family::V6 => (vip(true, 53), ([0; 16], 0).into()),
    };
    lab.client.run(|| {
        for length in [0, 1, 300, 1400] {
            let socket = UdpSocket::bind(local).expect("a free port");
            socket.connect(target).expect("a route to the VIP");
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
            socket.send(&vec![7; length]).expect("sending a datagram");
            let error = socket.recv(&mut [0; 64]).expect_err("nobody answers");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{length} bytes: {error}");
        }
    });
    weir.audit();
    weir.stop();
}

#[test]
fn closed_port_of_a_translated_server_is_reported_to_the_client_ipv4() {
    closed_port_is_reported(Family::V4);
}

#[test]
fn closed_port_of_a_translated_server_is_reported_to_the_client_ipv6() {
    closed_port_is_reported(Family::V6);
}

/// Moves the first server behind its own namespace, which routes to it over a link of `mtu`. Only that router
/// knows of the small link.
fn move_behind_a_small_link(lab: &Lab, mtu: u16) -> Namespace {
    let server = &lab.servers[0];
    let (router, v4, v6) = (&server.namespace, server.v4, server.v6);
    let hidden = Namespace::new("hidden");
    link((router, "inner"), (&hidden, "eth0"), 1500);
    router.ip([
        format!("link set inner mtu {mtu}"),
        format!("address del {v4}/24 dev eth0"),
        format!("address del {v6}/64 dev eth0"),
        "address add 10.78.2.100/24 dev eth0".into(),
        "address add fd78:2::100/64 dev eth0 nodad".into(),
        "route replace default via 10.78.2.2".into(),
        "route replace ::/0 via fd78:2::2".into(),
        "address add 10.78.3.1/24 dev inner".into(),
        "address add fd78:3::1/64 dev inner nodad".into(),
        format!("route add {v4}/32 dev inner"),
        format!("route add {v6}/128 dev inner"),
        format!("neigh add proxy {v6} dev eth0"),
    ]);
    router.sysctl("net/ipv4/ip_forward", "1");
    router.sysctl("net/ipv6/conf/all/forwarding", "1");
    router.sysctl("net/ipv4/conf/eth0/proxy_arp", "1");
    router.sysctl("net/ipv6/conf/eth0/proxy_ndp", "1");
    hidden.ip([
        format!("address add {v4}/32 dev eth0"),
        format!("address add {v6}/128 dev eth0 nodad"),
        "address add 10.78.3.2/24 dev eth0".into(),
        "address add fd78:3::2/64 dev eth0 nodad".into(),
        format!("route add default via 10.78.3.1 src {v4}"),
        format!("route add ::/0 via fd78:3::1 src {v6}"),
    ]);
    hidden
}

fn small_link_is_found(family: Family) {
    if !can_run() {
        return;
    }
    let case = Case::new(Way::Nat, family, family);
    let mut lab = Lab::of(&case);
    drop(lab.servers[0].take_nginx());
    let hidden = move_behind_a_small_link(&lab, 1300);
    let server = (lab.servers[0].address(case.server_ipv6), 8080).into();
    let _sink = Sink::start(&hidden, server);
    let mut weir = Weir::start(&lab, &case, [1, 0, 0]);
    let target = vip(case.vip_ipv6, 80);
    upload(&lab.client, target, 200_000);
    assert_eq!(path_mtu(&lab.client, target.ip()), Some(1300));
    weir.audit();
    weir.stop();
}

#[test]
fn upload_through_nat_learns_the_mtu_of_a_small_link_behind_us_ipv4() {
    small_link_is_found(Family::V4);
}

#[test]
fn upload_through_nat_learns_the_mtu_of_a_small_link_behind_us_ipv6() {
    small_link_is_found(Family::V6);
}
