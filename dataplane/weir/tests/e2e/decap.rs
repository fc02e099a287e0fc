//! The ground the other tests stand on: the labs, the load, and `weir decap` behind a balancer that is not weir.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use dataplane::wire::checksum;
use nix::sys::signal::Signal;

use crate::support::balancer::Balancer as _;
use crate::support::can_run;
use crate::support::case::{Case, Family, Way};
use crate::support::http::{LongConnections, short_connections};
use crate::support::icmp::ping;
use crate::support::lab::{ECHO_PORT, Lab, UPLOAD_PORT, VIP4, VIP6, vip};
use crate::support::netns::Namespace;
use crate::support::reference::{Reference, Tunnel};
use crate::support::scenario::{Load, carry_udp_load, carry_web_load};
use crate::support::udp::Echo;
use crate::support::upload::{Sink, path_mtu, upload};
use crate::support::wait_for;

#[test]
fn plain_routing_carries_the_load_to_one_server() {
    if !can_run() {
        return;
    }
    let lab = Lab::routed(false);
    lab.lend_addresses();
    for ipv6 in [false, true] {
        let target = (lab.servers[1].address(ipv6), 8080).into();
        let long = LongConnections::open(&lab.client, target, &lab.site.bodies, 12);
        let tally = short_connections(&lab.client, target, &lab.site.bodies, 500);
        long.let_all_ask_again();
        let long = long.close();
        eprintln!("{target}: {tally}; open connections: {long}");
        tally.assert_no_failures();
        long.assert_no_failures();
        assert_eq!(tally.servers.get("s2"), Some(&500));
        // 167 files of 1 B, 167 of 1 kB, 166 of 100 kB.
        assert_eq!(tally.bytes, 167 + 167 * 1_000 + 166 * 100_000);
    }
}

fn server_serves(case: Case) {
    if !can_run() {
        return;
    }
    let mut lab = Lab::of(&case);
    let mut reference = Reference::start(&lab, &case, [1, 2, 4]);
    let echo = vip(case.vip_ipv6, ECHO_PORT);
    let echoes: Vec<_> = lab.servers.iter().map(|server| Echo::start(&server.namespace, echo)).collect();
    carry_udp_load(&lab, echo, 100);
    drop(echoes);
    for address in case.addresses() {
        let tally = short_connections(&lab.client, (address, 80).into(), &lab.site.bodies, 30);
        tally.assert_no_failures();
    }
    carry_web_load(&lab, &mut reference, vip(case.vip_ipv6, 80), Load::small());
    reference.stop();
    for server in &mut lab.servers {
        let Some(decap) = server.decap.as_mut() else { continue };
        decap.signal(Signal::SIGUSR1);
        decap.wait_for_log("received ", Duration::from_secs(5));
        let status = decap.terminate(Duration::from_secs(5));
        let log = decap.log();
        assert_eq!(status.code(), Some(0), "{log}");
        let last = log.lines().last().unwrap_or_default();
        eprintln!("{}: {last}", server.namespace.name());
        assert!(last.contains("dropped 0; lost in full receive buffers 0"), "{last}");
        assert!(!last.contains("received 0,"), "{last}");
        if !case.prefix {
            assert_addresses_are_gone(&server.namespace);
        }
    }
}

fn assert_addresses_are_gone(namespace: &Namespace) {
    for vip in [IpAddr::from(VIP4), VIP6.into()] {
        let bound = namespace.run(|| UdpSocket::bind((vip, 0)));
        assert!(bound.is_err(), "{vip} is still on lo of {}", namespace.name());
    }
}

macro_rules! cases {
    ($(fn $name:ident() = $way:expr, $inner:ident in $outer:ident $(, $with:ident)?;)*) => {
        $(#[test] fn $name() { server_serves(Case::new($way, Family::$inner, Family::$outer)$(.$with())?); })*
    };
}

cases! {
    fn decap_serves_gre_4in4() = Way::Gre { key: None }, V4 in V4;
    fn decap_serves_gre_6in4() = Way::Gre { key: None }, V6 in V4;
    fn decap_serves_gre_4in6() = Way::Gre { key: None }, V4 in V6;
    fn decap_serves_gre_6in6() = Way::Gre { key: None }, V6 in V6;
    fn decap_serves_gre_with_key() = Way::Gre { key: Some(42) }, V4 in V4;
    fn decap_serves_ipip_4in4() = Way::Ipip, V4 in V4;
    fn decap_serves_ipip_6in4() = Way::Ipip, V6 in V4;
    fn decap_serves_ipip_4in6() = Way::Ipip, V4 in V6;
    fn decap_serves_ipip_6in6() = Way::Ipip, V6 in V6;
    fn decap_serves_gue_0_4in4() = Way::Gue { variant: 0 }, V4 in V4;
    fn decap_serves_gue_0_6in4() = Way::Gue { variant: 0 }, V6 in V4;
    fn decap_serves_gue_0_4in6() = Way::Gue { variant: 0 }, V4 in V6;
    fn decap_serves_gue_0_6in6() = Way::Gue { variant: 0 }, V6 in V6;
    fn decap_serves_gue_1_4in4() = Way::Gue { variant: 1 }, V4 in V4;
    fn decap_serves_gue_1_6in4() = Way::Gue { variant: 1 }, V6 in V4;
    fn decap_serves_gue_1_4in6() = Way::Gue { variant: 1 }, V4 in V6;
    fn decap_serves_gue_1_6in6() = Way::Gue { variant: 1 }, V6 in V6;
    fn decap_serves_a_prefix_ipv4() = Way::Gre { key: None }, V4 in V6, with_prefix;
    fn decap_serves_a_prefix_ipv6() = Way::Ipip, V6 in V4, with_prefix;
    fn marked_packets_reach_the_vip_ipv4() = Way::L3dsr, V4 in V4;
    fn marked_packets_reach_the_vip_ipv6() = Way::L3dsr, V6 in V6;
}

/// The kernel answers pings and forwards into the reference's TUN device, whose MTU is that of a tunnel: what
/// the tests of weir ask for, and the way a client learns from it, work.
fn kernel_answers_ping_and_announces_the_mtu(ipv6: bool) {
    if !can_run() {
        return;
    }
    let family = if ipv6 { Family::V6 } else { Family::V4 };
    let case = Case::new(Way::Gre { key: None }, family, family).with_mtu(1400);
    let lab = Lab::of(&case);
    let reference = Reference::start(&lab, &case, [1, 1, 1]);
    ping(&lab.client, lab.own_address(ipv6), &[0, 56, 999, 1452]);
    let target = vip(ipv6, UPLOAD_PORT);
    let _sinks: Vec<_> = lab.servers.iter().map(|server| Sink::start(&server.namespace, target)).collect();
    upload(&lab.client, target, 200_000);
    assert_eq!(path_mtu(&lab.client, target.ip()), Some(1400));
    reference.stop();
}

#[test]
fn kernel_answers_ping_and_announces_the_mtu_ipv4() {
    kernel_answers_ping_and_announces_the_mtu(false);
}

#[test]
fn kernel_answers_ping_and_announces_the_mtu_ipv6() {
    kernel_answers_ping_and_announces_the_mtu(true);
}

const GRE: u8 = 47;
const UDP: u8 = 17;

/// A UDP datagram from the client to the echo port of the VIP, without a UDP checksum.
fn datagram(client: [u8; 4], sport: u16, payload: &[u8]) -> Vec<u8> {
    let be = |length: usize| u16::try_from(length).expect("a short packet").to_be_bytes();
    let (total, udp) = (be(28 + payload.len()), be(8 + payload.len()));
    let mut header = vec![0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 17, 0, 0];
    header.extend([client, VIP4.octets()].concat());
    let sum = checksum::of(&header).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    let ports = [sport.to_be_bytes(), ECHO_PORT.to_be_bytes()].concat();
    [&header, &ports[..], &udp, &[0, 0], payload].concat()
}

#[test]
fn decap_counts_junk_by_name_and_takes_every_optional_field() {
    if !can_run() {
        return;
    }
    let gre = Way::Gre { key: None };
    let mut lab = Lab::direct(&Case::new(gre, Family::V4, Family::V4));
    let echo = Echo::start(&lab.servers[0].namespace, vip(false, ECHO_PORT));
    let answers = lab.client.run(|| UdpSocket::bind("10.77.0.1:4000")).unwrap();
    answers.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let answer = || {
        let mut buffer = [0; 4096];
        let length = answers.recv(&mut buffer).expect("an answer from the server");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    for ipv6 in [false, true] {
        let own = if ipv6 { IpAddr::from([0xFD77, 0, 0, 0, 0, 0, 0, 1]) } else { [10, 77, 0, 1].into() };
        let server = lab.servers[0].address(ipv6);
        let tunnel = lab.client.run(|| Tunnel::open(gre, own, vec![server]));
        let hello = datagram([10, 77, 0, 1], 4000, b"hello");
        let junk: [&[u8]; 5] = [
            &[0, 0, 8],                                                               // gre_short
            &[0x40, 0, 8, 0, 0, 0, 0, 0],                                             // gre_routing
            &[0x80, 0, 8, 0, 1, 2, 0, 0],                                             // gre_checksum
            &[0, 0, 0x88, 0x47, 1, 2, 3, 4],                                          // inner_protocol
            &[0, 0, 8, 0, 0x45, 0, 0xFF, 0xFF, 0, 0, 0, 0, 64, 17, 0, 0, 1, 1, 1, 1], // inner_length
        ];
        for payload in junk {
            tunnel.send_payload(GRE, payload, 0);
        }
        let mut full = [&[0xB0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0, 1][..], &hello].concat();
        let sum = checksum::of(&full).to_be_bytes();
        full[4..6].copy_from_slice(&sum);
        tunnel.send_payload(GRE, &full, 0);
        assert_eq!(answer(), "s1 hello");
    }
    drop(echo);
    let decap = lab.servers[0].decap.as_mut().unwrap();
    assert_eq!(decap.terminate(Duration::from_secs(5)).code(), Some(0));
    let log = decap.log();
    let expected = "received 12, delivered 2, dropped 10 \
                    (gre_short 2, gre_routing 2, gre_checksum 2, inner_protocol 2, inner_length 2)";
    assert!(log.contains(expected), "{log}");
}

#[test]
fn decap_counts_junk_in_gue_by_name() {
    if !can_run() {
        return;
    }
    let gue = Way::Gue { variant: 0 };
    let mut lab = Lab::direct(&Case::new(gue, Family::V4, Family::V4));
    let tunnel = lab.client.run(|| Tunnel::open(gue, [10, 77, 0, 1].into(), vec![lab.servers[0].v4.into()]));
    let junk: [(&str, &[u8]); 6] = [
        ("gue_short", &[1, 4, 0, 0]),
        ("gue_version", &[0x80, 4, 0, 0]),
        ("gue_control", &[0x20, 0, 0, 0]),
        ("gue_flags", &[0, 4, 0x10, 0]),
        ("inner_protocol", &[0, 47, 0, 0]),
        ("inner_length", &[0x45, 0, 0xFF, 0xFF]),
    ];
    for (_, payload) in junk {
        tunnel.send_payload(UDP, &tunnel.udp(payload), 0);
    }
    let decap = lab.servers[0].decap.as_mut().unwrap();
    // Counted once they were taken from the socket, which a signal does not wait for.
    wait_for("the junk to be counted", Duration::from_secs(5), || {
        decap.signal(Signal::SIGUSR1);
        std::thread::sleep(Duration::from_millis(20));
        decap.log().contains("received 6").then_some(())
    });
    assert_eq!(decap.terminate(Duration::from_secs(5)).code(), Some(0));
    let names = junk.map(|(name, _)| format!("{name} 1")).join(", ");
    let expected = format!("received 6, delivered 0, dropped 6 ({names})");
    assert!(decap.log().contains(&expected), "{}", decap.log());
}
