//! The exception port: what is for the host goes there as it came, and what comes from there leaves as it is.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use dataplane::{
    pipeline::DropReason::{self, ForHost, HostLimit, NotAVip, OtherHost, OtherNeighbor},
    tables::spec::Spec,
    wire::Mac,
};
use ipc::id::PortId;
use support::*;

const VIP: &str = "203.0.113.10";
/// The exception port of the port towards clients.
const HOST: usize = 2;

fn spec_with(exception: Option<PortId>) -> Spec {
    let mut spec = spec(vec![vip(service(VIP, 6, 80), GRE, vec![server("198.51.100.11", None, 1.0)])]);
    spec.ports[0].exception = exception;
    spec
}

fn rig(exception: bool) -> Rig {
    Rig::with(spec_with(exception.then_some(PortId(2))), neighbors(), 64)
}

fn to_us(ip: &[u8]) -> Vec<u8> {
    frame(LAN_MAC, CLIENT_MAC, ip)
}

fn arp(target: &str, reply: bool) -> Vec<u8> {
    let octets = |text: &str| text.parse::<std::net::Ipv4Addr>().unwrap().octets();
    let operation = [0, 1, 8, 0, 6, 4, 0, if reply { 2 } else { 1 }];
    let body = [&operation[..], &CLIENT_MAC.0, &octets("192.0.2.9"), &LAN_MAC.0, &octets(target)].concat();
    ethernet(if reply { LAN_MAC } else { Mac::BROADCAST }, CLIENT_MAC, 0x0806, &body)
}

/// Neighbour discovery about `target`: a solicitation or an advertisement.
fn neighbour(kind: u8, target: &str, to: &str, mac: Mac) -> Vec<u8> {
    let target = target.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let option = if kind == 135 { 1 } else { 2 };
    let mut message = [&[kind, 0, 0, 0, 0x60, 0, 0, 0], &target[..], &[option, 1], &CLIENT_MAC.0].concat();
    let ip = Ip { ttl: 255, ..Ip::new("2001:db8::9", to, 58) };
    let sum = checksum(&ip.summed(&message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    frame(mac, CLIENT_MAC, &ip.packet(&message))
}

#[test]
fn what_is_for_the_host_goes_to_its_exception_port_unchanged() {
    let group = Mac([1, 0, 0x5e, 0, 0, 5]);
    let group6 = Mac([0x33, 0x33, 0, 0, 0, 1]);
    let ospf = Ip { ttl: 1, ..Ip::new("192.0.2.9", "224.0.0.5", 89) }.packet(&[2; 44]);
    let dhcp = Ip::new("192.0.2.9", "255.255.255.255", 17).udp(67, 68, &[1; 300], true);
    let advertisement = Ip { ttl: 255, ..Ip::new("fe80::1", "ff02::1", 58) }.packet(&[134; 16]);
    let fragment = Ip { misc: 0x2000, ..Ip::new("192.0.2.9", "192.0.2.2", 17) }.packet(&[7; 64]);
    let pong = Ip::new("192.0.2.9", "192.0.2.2", 1).packet(&[0, 0, 0xff, 0xff, 0, 0, 0, 0]);
    let rows: Vec<(&str, Vec<u8>, Option<DropReason>)> = vec![
        ("SSH", to_us(&Ip::new("192.0.2.9", "192.0.2.2", 6).tcp(1000, 22, SYN, b"")), Some(ForHost)),
        ("BGP", to_us(&Ip::new("2001:db8::9", "2001:db8::2", 6).tcp(179, 1000, ACK, b"open")), Some(ForHost)),
        (
            "DNS answer",
            to_us(&Ip::new("192.0.2.9", "192.0.2.2", 17).udp(53, 999, b"answer", false)),
            Some(ForHost),
        ),
        ("echo reply", to_us(&pong), Some(ForHost)),
        ("link-local", to_us(&Ip::new("fe80::9", "fe80::2", 6).tcp(179, 1000, ACK, b"")), Some(ForHost)),
        ("fragment", to_us(&fragment), Some(ForHost)),
        ("OSPF", frame(group, CLIENT_MAC, &ospf), Some(OtherHost)),
        ("DHCP", frame(Mac::BROADCAST, CLIENT_MAC, &dhcp), Some(OtherHost)),
        ("router advertisement", frame(group6, CLIENT_MAC, &advertisement), Some(OtherHost)),
        ("ARP answer", arp("192.0.2.2", true), None),
        ("neighbour advertisement", neighbour(136, "2001:db8::9", "2001:db8::2", LAN_MAC), None),
        (
            "solicitation of the kernel's own",
            neighbour(135, "fe80::2", "ff02::1:ff00:2", group6),
            Some(OtherNeighbor),
        ),
    ];
    for (what, frame, without) in rows {
        let mut rig = rig(true);
        assert_eq!(rig.send(0, &frame), Outcome::Out(HOST, frame.clone()), "{what}");
        rig.settle();
        // We have heard what neighbours said as well.
        assert_eq!(rig.handle.next_notice().is_some(), without.is_none(), "{what}");
        let expected = without.map_or(Outcome::Punted, Outcome::Dropped);
        assert_eq!(self::rig(false).send(0, &frame), expected, "{what}, without an exception port");
        // The other port has none.
        let outcome = rig.send(1, &[&SERVER_NET_MAC.0[..], &frame[6..]].concat());
        assert!(!matches!(outcome, Outcome::Out(HOST, _)), "{what} on the other port");
    }
}

#[test]
fn what_we_answer_or_forward_does_not_go_to_the_host() {
    let mut rig = rig(true);
    assert!(matches!(rig.send(0, &arp("192.0.2.2", false)), Outcome::Out(0, _)));
    assert_eq!(rig.send(0, &arp("192.0.2.77", false)), Outcome::Dropped(OtherNeighbor), "noise");
    let ask = neighbour(135, "2001:db8::2", "2001:db8::2", LAN_MAC);
    assert!(matches!(rig.send(0, &ask), Outcome::Out(0, _)));
    let to_vip = |port| to_us(&Ip::new("203.0.113.77", VIP, 6).tcp(1000, port, SYN, b""));
    assert!(matches!(rig.send(0, &to_vip(80)), Outcome::Out(1, _)));
    assert_eq!(rig.send(0, &to_vip(81)), Outcome::Dropped(ForHost), "a VIP is not the host's");
    let elsewhere = to_us(&Ip::new("203.0.113.77", "203.0.113.99", 6).tcp(1000, 22, SYN, b""));
    assert_eq!(rig.send(0, &elsewhere), Outcome::Dropped(NotAVip));
    let others =
        frame(Mac([2, 0, 0, 0, 0, 9]), CLIENT_MAC, &Ip::new("192.0.2.9", "192.0.2.8", 6).tcp(1, 2, SYN, b""));
    assert_eq!(rig.send(0, &others), Outcome::Dropped(OtherHost));
}

#[test]
fn what_the_host_sends_leaves_on_its_port_with_the_ports_tag() {
    let request = ethernet(Mac::BROADCAST, LAN_MAC, 0x0806, &[0; 28]);
    for vlan in [None, Some(100)] {
        let mut spec = spec_with(Some(PortId(2)));
        spec.ports[0].vlan = vlan;
        let mut rig = Rig::with(spec, neighbors(), 64);
        let tagged = [&request[..12], &[0x81, 0, 0, 100], &request[12..]].concat();
        let expected = if vlan.is_some() { &tagged } else { &request };
        assert_eq!(rig.send(HOST as u16, &request), Outcome::Out(0, expected.clone()));
        // And back: the kernel sees no tag.
        let back = Ip::new("192.0.2.9", "192.0.2.2", 6).tcp(1000, 22, SYN, b"");
        let mut frame = to_us(&back);
        if vlan.is_some() {
            frame.splice(12..12, [0x81, 0, 0, 100]);
        }
        assert_eq!(rig.send(0, &frame), Outcome::Out(HOST, to_us(&back)));
    }
}

#[test]
fn a_flood_for_the_host_is_limited_by_name() {
    let mut rig = rig(true);
    let syn = to_us(&Ip::new("192.0.2.9", "192.0.2.2", 6).tcp(1000, 22, SYN, b""));
    for _ in 0..100_000 {
        enqueue(&mut rig, 0, &syn);
    }
    while rig.worker.turn() > 0 {
        rig.assert_law();
    }
    let ledger = rig.worker.ledger();
    let (passed, limited) = (ledger.tx(HOST).packets, ledger.drops(HostLimit));
    assert_eq!(passed + limited, 100_000);
    assert!(passed >= 1024 && limited > 0, "{passed} passed");
}
