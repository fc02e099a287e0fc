//! Packet in, packet out or drop reason: a row per feature, through the whole worker.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use dataplane::{
    pipeline::DropReason::{self, *},
    ports::{RxChecksum, memory::MemoryPacket},
    tables::{
        encap::{Encap, GueVariant},
        hash::HashKey,
        server::ServerState,
    },
    wire::Mac,
};
use support::*;

const V4: &str = "203.0.113.10";
const V6: &str = "2001:db8:5::10";

/// VIPs on both families with servers of both families, one server each, so that the choice is known.
fn rig() -> Rig {
    let mut down = server("198.51.100.18", None, 1.0);
    down.state = ServerState::Draining;
    Rig::new(vec![
        vip(service(V4, 6, 80), GRE, vec![server("198.51.100.11", None, 1.0)]),
        vip(service(V6, 6, 80), GRE, vec![server("198.51.100.12", None, 1.0)]),
        vip(service(V4, 6, 81), GRE, vec![server("2001:db8:1::13", None, 1.0)]),
        vip(service(V6, 6, 81), GRE, vec![server("2001:db8:1::14", None, 1.0)]),
        vip(service(V4, 6, 8000), Encap::Nat, vec![server("198.51.100.15", Some(8080), 1.0)]),
        vip(service(V4, 17, 53), Encap::Nat, vec![server("198.51.100.16", Some(5353), 1.0)]),
        vip(service(V6, 6, 8000), Encap::Nat, vec![server("2001:db8:1::17", Some(8080), 1.0)]),
        vip(service(V4, 6, 82), GRE, vec![down]),
        vip(service(V4, 6, 83), GRE, vec![server("203.0.113.200", None, 1.0)]),
        vip(service(V4, 6, 84), GRE, vec![server("198.51.100.99", None, 1.0)]),
    ])
}

fn v4(destination: &str) -> Ip {
    Ip::new("203.0.113.77", destination, 6)
}

fn v6(destination: &str) -> Ip {
    Ip::new("2001:db8:7::77", destination, 6)
}

fn from_client(ip: &[u8]) -> Vec<u8> {
    frame(LAN_MAC, CLIENT_MAC, ip)
}

/// The outer packet that we expect: GRE around `inner`, from our server-side address.
fn gre(to: &str, tos: u8, misc: u32, inner: &[u8]) -> Vec<u8> {
    let from = if to.contains(':') { "2001:db8:1::2" } else { "198.51.100.2" };
    let kind: &[u8] = if inner[0] >> 4 == 4 { &[0, 0, 8, 0] } else { &[0, 0, 0x86, 0xdd] };
    Ip { tos, misc, ..Ip::new(from, to, 47) }.packet(&[kind, inner].concat())
}

fn to_server(last: u8, ip: &[u8]) -> Outcome {
    Outcome::Out(1, frame(server_mac(last), SERVER_NET_MAC, ip))
}

const DF: u32 = 0x4000;

/// The flow label that entropy gives an inner flow.
fn label(inner_v6: bool, ip: &[u8]) -> u32 {
    let word = |at: usize| u64::from_le_bytes(ip[at..at + 8].try_into().unwrap());
    let hash = if inner_v6 {
        let ports = u32::from_le_bytes(ip[40..44].try_into().unwrap());
        HashKey::default().v6([word(8), word(16), word(24), word(32)], 6 << 32 | u64::from(ports))
    } else {
        HashKey::default()
            .v4(word(12), 6 << 32 | u64::from(u32::from_le_bytes(ip[20..24].try_into().unwrap())))
    };
    hash as u32 & 0xf_ffff
}

#[test]
fn gre_carries_both_families_over_both() {
    let mut rig = rig();
    let ip = Ip { tos: 0xb9, ..v4(V4) }.tcp(1000, 80, SYN, b"");
    assert_eq!(rig.send(0, &from_client(&ip)), to_server(11, &gre("198.51.100.11", 0xb9, DF, &ip)), "4 in 4");
    let ip = Ip { tos: 0x03, ..v6(V6) }.tcp(1000, 80, SYN, b"");
    assert_eq!(rig.send(0, &from_client(&ip)), to_server(12, &gre("198.51.100.12", 0x03, DF, &ip)), "6 in 4");
    let ip = Ip { tos: 0x28, ..v4(V4) }.tcp(1000, 81, ACK, b"data");
    let outer = gre("2001:db8:1::13", 0x28, label(false, &ip), &ip);
    assert_eq!(rig.send(0, &from_client(&ip)), to_server(13, &outer), "4 in 6");
    let ip = Ip { tos: 0xfc, ..v6(V6) }.tcp(1000, 81, ACK, b"data");
    let outer = gre("2001:db8:1::14", 0xfc, label(true, &ip), &ip);
    assert_eq!(rig.send(0, &from_client(&ip)), to_server(14, &outer), "6 in 6");
}

#[test]
fn ethernet_padding_does_not_enter_the_tunnel() {
    let mut rig = rig();
    let ip = v4(V4).tcp(1000, 80, ACK, b"");
    let mut padded = from_client(&ip);
    padded.extend([0xee; 6]);
    assert_eq!(rig.send(0, &padded), to_server(11, &gre("198.51.100.11", 0, DF, &ip)));
}

#[test]
fn nat44_translates_there_and_back() {
    let mut rig = rig();
    for (flags, payload) in [(SYN, &b""[..]), (ACK, b"GET / HTTP/1.0\r\n\r\n")] {
        let there = from_client(&v4(V4).tcp(1000, 8000, flags, payload));
        let expected = Ip { ttl: 63, ..v4("198.51.100.15") }.tcp(1000, 8080, flags, payload);
        assert_eq!(rig.send(0, &there), to_server(15, &expected));
        let server = Ip::new("198.51.100.15", "203.0.113.77", 6);
        let back = frame(SERVER_NET_MAC, server_mac(15), &server.tcp(8080, 1000, flags | ACK, payload));
        let seen = Ip { ttl: 63, ..Ip::new(V4, "203.0.113.77", 6) }.tcp(8000, 1000, flags | ACK, payload);
        assert_eq!(rig.send(1, &back), Outcome::Out(0, frame(GATEWAY_MAC, LAN_MAC, &seen)));
    }
}

#[test]
fn nat66_translates_there_and_back() {
    let mut rig = rig();
    let there = from_client(&v6(V6).tcp(1000, 8000, SYN, b""));
    let expected = Ip { ttl: 63, ..v6("2001:db8:1::17") }.tcp(1000, 8080, SYN, b"");
    assert_eq!(rig.send(0, &there), to_server(17, &expected));
    let server = Ip::new("2001:db8:1::17", "2001:db8:7::77", 6);
    let back = frame(SERVER_NET_MAC, server_mac(17), &server.tcp(8080, 1000, SYN | ACK, b""));
    let seen = Ip { ttl: 63, ..Ip::new(V6, "2001:db8:7::77", 6) }.tcp(8000, 1000, SYN | ACK, b"");
    assert_eq!(rig.send(1, &back), Outcome::Out(0, frame(GATEWAY_MAC, LAN_MAC, &seen)));
}

#[test]
fn nat_keeps_udp_checksums_right_and_absent_ones_absent() {
    let mut rig = rig();
    for (sport, with_sum) in [(1000, true), (1001, false)] {
        let there = from_client(&v4(V4).udp(sport, 53, b"query", with_sum));
        let expected = Ip { ttl: 63, ..v4("198.51.100.16") }.udp(sport, 5353, b"query", with_sum);
        assert_eq!(rig.send(0, &there), to_server(16, &expected));
    }
}

#[test]
fn every_drop_has_its_name() {
    let ip = v4(V4).tcp(1000, 80, SYN, b"");
    let changed = |at: usize, value: u8| {
        let mut frame = from_client(&ip);
        frame[at] = value;
        frame
    };
    let rows: Vec<(&str, Vec<u8>, DropReason)> = vec![
        ("empty", vec![], Truncated),
        ("short Ethernet header", vec![0; 13], Truncated),
        ("short IPv4 header", from_client(&ip)[..33].to_vec(), Truncated),
        ("short TCP header", from_client(&ip)[..50].to_vec(), Truncated),
        ("IPv4 longer than the frame", changed(16, 0x10), Truncated),
        ("TCP header beyond the packet", changed(17, 30), Truncated),
        ("IPv4 header of 16 bytes", changed(14, 0x44), Malformed),
        ("IPv6 in an IPv4 frame", changed(14, 0x65), Malformed),
        ("TCP header of 16 bytes", changed(46, 0x40), Malformed),
        ("first fragment that is no multiple of eight", changed(20, 0x20), BadFragment),
        ("fragment over the TCP header", changed(21, 0x01), BadFragment),
        (
            "fragment of IPv6 without bytes",
            from_client(&Ip { protocol: 44, ..v6(V6) }.packet(&[6, 0, 0, 1, 0, 0, 0, 1])),
            BadFragment,
        ),
        ("another host's frame", frame(Mac([2, 9, 9, 9, 9, 9]), CLIENT_MAC, &ip), OtherHost),
        ("broadcast", frame(Mac::BROADCAST, CLIENT_MAC, &ip), OtherHost),
        ("tagged frame on an untagged port", ethernet(LAN_MAC, CLIENT_MAC, 0x8100, &[0; 46]), OtherVlan),
        ("LLDP", ethernet(LAN_MAC, CLIENT_MAC, 0x88cc, &[0; 46]), UnknownEtherType),
        ("port without a VIP", from_client(&v4(V4).tcp(1000, 9999, SYN, b"")), ForHost),
        ("to our own address", from_client(&v4("192.0.2.2").tcp(1000, 22, SYN, b"")), ForHost),
        ("to nobody we know", from_client(&v4("203.0.113.11").tcp(1000, 80, SYN, b"")), NotAVip),
        ("only a draining server", from_client(&v4(V4).tcp(1000, 82, SYN, b"")), NoServer),
        ("larger than the MTU in GRE", from_client(&v4(V4).tcp(1000, 80, ACK, &[0; 1437])), TooBig),
        (
            "UDP length of 7",
            from_client(&Ip { protocol: 17, ..v4(V4) }.packet(&[0, 1, 0, 53, 0, 7, 0, 0])),
            Malformed,
        ),
    ];
    for (name, frame, reason) in rows {
        assert_eq!(rig().send(0, &frame), Outcome::Dropped(reason), "{name}");
    }
}

#[test]
fn largest_packet_that_fits_goes_through() {
    let ip = v4(V4).tcp(1000, 80, ACK, &[0; 1436]);
    assert_eq!(ip.len() + 24, 1500);
    assert_eq!(rig().send(0, &from_client(&ip)), to_server(11, &gre("198.51.100.11", 0, DF, &ip)));
}

#[test]
fn frame_that_the_port_found_corrupt_is_dropped() {
    let packet =
        MemoryPacket::new(&from_client(&v4(V4).tcp(1, 80, SYN, b""))).with_rx_checksum(RxChecksum::Bad);
    assert_eq!(rig().send_packet(0, packet), Outcome::Dropped(BadChecksum));
}

#[test]
fn server_beyond_the_gateway_is_reached_through_it() {
    let ip = v4(V4).tcp(1000, 83, SYN, b"");
    let outer = gre("203.0.113.200", 0, DF, &ip);
    assert_eq!(rig().send(0, &from_client(&ip)), Outcome::Out(0, frame(GATEWAY_MAC, LAN_MAC, &outer)));
}

#[test]
fn server_without_a_route_is_a_drop() {
    let mut spec = spec(vec![vip(service(V4, 6, 80), GRE, vec![server("203.0.113.200", None, 1.0)])]);
    spec.ports[0].gateways.clear();
    let mut rig = Rig::with(spec, neighbors(), 64);
    let sent = rig.send(0, &from_client(&v4(V4).tcp(1000, 80, SYN, b"")));
    assert_eq!(sent, Outcome::Dropped(NoRoute));
}

fn arp(operation: u8, sender: (Mac, [u8; 4]), target: (Mac, [u8; 4])) -> Vec<u8> {
    [&[0, 1, 8, 0, 6, 4, 0, operation][..], &sender.0.0, &sender.1, &target.0.0, &target.1].concat()
}

#[test]
fn arp_is_answered_for_our_addresses_and_vips_only() {
    let client = (CLIENT_MAC, [192, 0, 2, 9]);
    for address in [[192, 0, 2, 2], [203, 0, 113, 10]] {
        let request = arp(1, client, (Mac::default(), address));
        let reply = arp(2, (LAN_MAC, address), client);
        let sent = rig().send(0, &ethernet(Mac::BROADCAST, CLIENT_MAC, 0x0806, &request));
        assert_eq!(sent, Outcome::Out(0, ethernet(CLIENT_MAC, LAN_MAC, 0x0806, &reply)));
    }
    let other = arp(1, client, (Mac::default(), [192, 0, 2, 77]));
    let sent = rig().send(0, &ethernet(Mac::BROADCAST, CLIENT_MAC, 0x0806, &other));
    assert_eq!(sent, Outcome::Dropped(OtherNeighbor));
    let reply = arp(2, client, (LAN_MAC, [192, 0, 2, 2]));
    assert_eq!(rig().send(0, &ethernet(LAN_MAC, CLIENT_MAC, 0x0806, &reply)), Outcome::Punted);
    let short = ethernet(Mac::BROADCAST, CLIENT_MAC, 0x0806, &other[..27]);
    assert_eq!(rig().send(0, &short), Outcome::Dropped(Truncated));
}

#[test]
fn known_neighbour_that_announces_a_new_address_is_news() {
    let moved = Mac([2, 0, 0, 0, 0, 0xfd]);
    let announce = |mac| arp(1, (mac, [192, 0, 2, 1]), (Mac::default(), [192, 0, 2, 1]));
    let send = |rig: &mut Rig, mac| rig.send(0, &ethernet(Mac::BROADCAST, mac, 0x0806, &announce(mac)));
    let mut rig = rig();
    assert_eq!(send(&mut rig, GATEWAY_MAC), Outcome::Dropped(OtherNeighbor));
    assert_eq!(send(&mut rig, moved), Outcome::Punted);
}

/// A neighbour discovery message with its checksum, in its frame.
fn ndp(to: Mac, from: Mac, (source, destination): (&str, &str), mut message: Vec<u8>) -> Vec<u8> {
    let ip = Ip { ttl: 255, ..Ip::new(source, destination, 58) };
    let (from_ip, to_ip) = (ip.source, ip.destination);
    let (std::net::IpAddr::V6(a), std::net::IpAddr::V6(b)) = (from_ip, to_ip) else { panic!("IPv6") };
    let len = (message.len() as u32).to_be_bytes();
    let summed = [&a.octets()[..], &b.octets(), &len, &[0, 0, 0, 58], &message].concat();
    message[2..4].copy_from_slice(&checksum(&summed).to_be_bytes());
    frame(to, from, &ip.packet(&message))
}

#[test]
fn neighbour_solicitation_is_answered_with_and_without_an_option() {
    let target: std::net::Ipv6Addr = "2001:db8::2".parse().unwrap();
    let head = |kind: u8, flags: u8| [&[kind, 0, 0, 0, flags, 0, 0, 0][..], &target.octets()].concat();
    let advertisement = [head(136, 0xe0), vec![2, 1], LAN_MAC.0.to_vec()].concat();
    let answer = ndp(CLIENT_MAC, LAN_MAC, ("2001:db8::2", "2001:db8::9"), advertisement);
    for option in [[&[1, 1][..], &CLIENT_MAC.0].concat(), vec![]] {
        let group = Mac([0x33, 0x33, 0xff, 0, 0, 2]);
        let solicitation = [head(135, 0), option].concat();
        let sent = rig().send(0, &ndp(group, CLIENT_MAC, ("2001:db8::9", "ff02::1:ff00:2"), solicitation));
        assert_eq!(sent, Outcome::Out(0, answer.clone()));
    }
}

#[test]
fn neighbour_advertisement_goes_to_the_control_thread() {
    let target: std::net::Ipv6Addr = "2001:db8::9".parse().unwrap();
    let message = [&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &target.octets(), &[2, 1], &CLIENT_MAC.0].concat();
    let mut rig = rig();
    assert_eq!(
        rig.send(0, &ndp(LAN_MAC, CLIENT_MAC, ("2001:db8::9", "2001:db8::2"), message)),
        Outcome::Punted
    );
    rig.settle();
    let notice = rig.handle.next_notice();
    assert!(matches!(notice, Some(dataplane::pipeline::Notice::Seen { mac: CLIENT_MAC, .. })), "{notice:?}");
}

#[test]
fn packet_waits_for_its_neighbour_and_then_goes() {
    let mut rig = rig();
    let ip = v4(V4).tcp(1000, 84, SYN, b"");
    assert_eq!(rig.send(0, &from_client(&ip)), Outcome::Held);
    rig.settle();
    assert!(drain(&mut rig, 1).is_empty());
    let hop = dataplane::tables::route::NextHop {
        port: ipc::id::PortId(1),
        address: "198.51.100.99".parse().unwrap(),
    };
    assert_eq!(rig.handle.next_notice(), Some(dataplane::pipeline::Notice::Wanted(hop)));
    rig.neighbors = [(hop, server_mac(99))].into_iter().collect();
    rig.publish();
    rig.settle();
    let expected = frame(server_mac(99), SERVER_NET_MAC, &gre("198.51.100.99", 0, DF, &ip));
    assert_eq!(drain(&mut rig, 1), [expected]);
    assert_eq!(rig.worker.ledger().in_flight(), 0);
    assert_eq!(rig.flows("198.51.100.99"), (1, 1), "one flow, however often its packet was tried");
}

#[test]
fn packet_whose_neighbour_never_answers_is_dropped_by_name() {
    let mut rig = rig();
    assert_eq!(rig.send(0, &from_client(&v4(V4).tcp(1000, 84, SYN, b""))), Outcome::Held);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    rig.settle();
    assert_eq!(rig.worker.ledger().drops(Unresolved), 1);
    assert_eq!(rig.worker.ledger().in_flight(), 0);
}

#[test]
fn waiting_room_is_bounded() {
    let mut rig = rig();
    for sport in 0..300 {
        enqueue(&mut rig, 0, &from_client(&v4(V4).tcp(sport, 84, SYN, b"")));
    }
    rig.settle();
    assert_eq!(rig.worker.ledger().in_flight(), 256);
    assert_eq!(rig.worker.ledger().drops(WaitingFull), 44);
}

#[test]
fn frame_of_the_control_thread_is_transmitted_and_accounted_for() {
    let mut rig = rig();
    let frame = ethernet(Mac::BROADCAST, LAN_MAC, 0x0806, &[0; 28]);
    let injected = dataplane::worker::InjectedFrame::new(ipc::id::PortId(0), &frame).unwrap();
    assert!(rig.handle.inject(injected));
    rig.settle();
    assert_eq!(drain(&mut rig, 0), [frame]);
    let ledger = rig.handle.ledger().unwrap();
    assert_eq!((ledger.rx(ledger.control()).packets, ledger.tx(0).packets), (1, 1));
}

#[test]
fn full_port_drops_by_name() {
    let mut rig = rig();
    rig.worker.queue_mut(ipc::id::PortId(1)).capacity = Some(0);
    let sent = rig.send(0, &from_client(&v4(V4).tcp(1000, 80, SYN, b"")));
    assert_eq!(sent, Outcome::Dropped(TxFull));
}

/// The same frame with an 802.1Q tag.
fn tag(vlan: u16, frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0], &vlan.to_be_bytes(), &frame[12..]].concat()
}

#[test]
fn tags_of_a_vlan_port_are_taken_off_and_put_on() {
    let mut spec = spec(vec![vip(service(V4, 6, 80), GRE, vec![server("198.51.100.11", None, 1.0)])]);
    spec.ports[0].vlan = Some(100);
    spec.ports[1].vlan = Some(200);
    let mut rig = Rig::with(spec, neighbors(), 64);
    let ip = v4(V4).tcp(1000, 80, SYN, b"");
    let outer = frame(server_mac(11), SERVER_NET_MAC, &gre("198.51.100.11", 0, DF, &ip));
    assert_eq!(rig.send(0, &tag(100, &from_client(&ip))), Outcome::Out(1, tag(200, &outer)));
    assert_eq!(rig.send(0, &tag(101, &from_client(&ip))), Outcome::Dropped(OtherVlan));
    assert_eq!(rig.send(0, &from_client(&ip)), Outcome::Dropped(OtherVlan));
    let client = (CLIENT_MAC, [192, 0, 2, 9]);
    let request = arp(1, client, (Mac::default(), [192, 0, 2, 2]));
    let reply = ethernet(CLIENT_MAC, LAN_MAC, 0x0806, &arp(2, (LAN_MAC, [192, 0, 2, 2]), client));
    let sent = rig.send(0, &tag(100, &ethernet(Mac::BROADCAST, CLIENT_MAC, 0x0806, &request)));
    assert_eq!(sent, Outcome::Out(0, tag(100, &reply)));
}

#[test]
fn every_tunnel_carries_both_families_over_both() {
    let over = |v6| if v6 { "2001:db8:1::13" } else { "198.51.100.13" };
    for (encap, name) in [
        (Encap::Ipip, "ipip"),
        (Encap::Gre { key: Some(42) }, "gre with key"),
        (Encap::Gue { variant: GueVariant::Header, port: 6080 }, "gue 0"),
        (Encap::Gue { variant: GueVariant::Direct, port: 6080 }, "gue 1"),
    ] {
        for (outer_v6, inner_v6) in [(false, false), (false, true), (true, false), (true, true)] {
            let address = if inner_v6 { V6 } else { V4 };
            let servers = vec![server(over(outer_v6), None, 1.0)];
            let mut rig = Rig::new(vec![vip(service(address, 6, 80), encap, servers)]);
            let client = if inner_v6 { v6(address) } else { v4(address) };
            let ip = Ip { tos: 0x2a, ..client }.tcp(1000, 80, ACK, b"payload");
            let entropy = label(inner_v6, &ip);
            let family = if inner_v6 { 41 } else { 4 };
            let udp = |header: &[u8]| {
                let len = (8 + header.len() + ip.len()) as u16;
                let sport = 0xc000 | entropy as u16;
                [&sport.to_be_bytes()[..], &[0x17, 0xc0], &len.to_be_bytes(), &[0, 0], header, &ip].concat()
            };
            let (protocol, payload) = match encap {
                Encap::Ipip => (family, ip.clone()),
                Encap::Gre { .. } => {
                    let kind: [u8; 2] = if inner_v6 { [0x86, 0xdd] } else { [8, 0] };
                    (47, [&[0x20, 0][..], &kind, &[0, 0, 0, 42], &ip].concat())
                }
                Encap::Gue { variant: GueVariant::Header, .. } => (17, udp(&[0, family, 0, 0])),
                _ => (17, udp(&[])),
            };
            let from = if outer_v6 { "2001:db8:1::2" } else { "198.51.100.2" };
            let misc = if outer_v6 { entropy } else { DF };
            let outer = Ip { tos: 0x2a, misc, ..Ip::new(from, over(outer_v6), protocol) }.packet(&payload);
            assert_eq!(
                rig.send(0, &from_client(&ip)),
                to_server(13, &outer),
                "{name}, 6 outside: {outer_v6}"
            );
        }
    }
}

#[test]
fn l3dsr_marks_the_vip_and_keeps_ecn_and_checksums() {
    for ecn in 0..4 {
        let l3dsr = Encap::L3dsr { dscp: 7 };
        let mut rig = Rig::new(vec![
            vip(service(V4, 6, 80), l3dsr, vec![server("198.51.100.11", None, 1.0)]),
            vip(service(V6, 17, 53), l3dsr, vec![server("2001:db8:1::12", None, 1.0)]),
        ]);
        let marked = 7 << 2 | ecn;
        let ip = Ip { tos: 0xb8 | ecn, ..v4(V4) }.tcp(1000, 80, ACK, b"x");
        let expected = Ip { tos: marked, ttl: 63, ..v4("198.51.100.11") }.tcp(1000, 80, ACK, b"x");
        assert_eq!(rig.send(0, &from_client(&ip)), to_server(11, &expected));
        let ip = Ip { tos: 0x10 | ecn, misc: 0xabcde, ..v6(V6) }.udp(1000, 53, b"query", true);
        let to = Ip { tos: marked, ttl: 63, misc: 0xabcde, ..v6("2001:db8:1::12") };
        assert_eq!(rig.send(0, &from_client(&ip)), to_server(12, &to.udp(1000, 53, b"query", true)));
    }
}

/// An ICMP message with its checksum, in its IP packet.
fn icmp(ip: Ip, kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let protocol = if ip.source.is_ipv4() { 1 } else { 58 };
    let ip = Ip { protocol, ..ip };
    let mut message = [&[kind, code, 0, 0][..], &rest, payload].concat();
    let summed = if protocol == 1 { message.clone() } else { ip.summed(&message) };
    message[2..4].copy_from_slice(&checksum(&summed).to_be_bytes());
    ip.packet(&message)
}

#[test]
fn echo_to_a_vip_and_to_our_own_address_is_answered() {
    for (client, address, request, reply) in [
        ("203.0.113.77", V4, 8, 0),
        ("203.0.113.77", "192.0.2.2", 8, 0),
        ("2001:db8:7::77", V6, 128, 129),
        ("2001:db8:7::77", "2001:db8::2", 128, 129),
    ] {
        let ping = icmp(Ip { ttl: 3, ..Ip::new(client, address, 0) }, request, 0, [0, 7, 0, 1], &[0x5a; 900]);
        let pong = icmp(Ip::new(address, client, 0), reply, 0, [0, 7, 0, 1], &[0x5a; 900]);
        assert_eq!(rig().send(0, &from_client(&ping)), Outcome::Out(0, frame(CLIENT_MAC, LAN_MAC, &pong)));
    }
}

#[test]
fn icmp_that_concerns_nobody_is_dropped_by_name() {
    let ping = icmp(v4("203.0.113.99"), 8, 0, [0; 4], b"");
    assert_eq!(rig().send(0, &from_client(&ping)), Outcome::Dropped(NotAVip));
    let reply = icmp(v4(V4), 0, 0, [0; 4], b"");
    assert_eq!(rig().send(0, &from_client(&reply)), Outcome::Dropped(ForHost));
    let nonsense = icmp(v4(V4), 3, 4, [0; 4], &[0xff; 8]);
    assert_eq!(rig().send(0, &from_client(&nonsense)), Outcome::Dropped(ForHost));
}

#[test]
fn packet_too_big_for_the_tunnel_is_reported_with_the_right_mtu() {
    let ip = Ip { misc: DF, ..v4(V4) }.tcp(1000, 80, ACK, &[0x5a; 1437]);
    let error = icmp(Ip::new(V4, "203.0.113.77", 0), 3, 4, [0, 0, 5, 196], &ip[..548]);
    assert_eq!(u16::from_be_bytes([5, 196]), 1500 - 24);
    assert_eq!(rig().send(0, &from_client(&ip)), Outcome::Out(0, frame(CLIENT_MAC, LAN_MAC, &error)));
    let ip = v6(V6).tcp(1000, 81, ACK, &[0x5a; 1400]);
    let error = icmp(Ip::new(V6, "2001:db8:7::77", 0), 2, 0, [0, 0, 5, 176], &ip[..1232]);
    assert_eq!(u16::from_be_bytes([5, 176]), 1500 - 44);
    assert_eq!(rig().send(0, &from_client(&ip)), Outcome::Out(0, frame(CLIENT_MAC, LAN_MAC, &error)));
}

#[test]
fn errors_of_our_own_are_limited() {
    let mut rig = rig();
    let frame = from_client(&Ip { misc: DF, ..v4(V4) }.tcp(1000, 80, ACK, &[0; 1437]));
    let answered = (0..1200).filter(|_| matches!(rig.send(0, &frame), Outcome::Out(0, _))).count();
    assert!((1000..1200).contains(&answered), "{answered}");
}

#[test]
fn expired_ttl_is_reported_to_the_sender() {
    let ip = Ip { ttl: 1, ..v4(V4) }.tcp(1000, 8000, SYN, b"");
    let error = icmp(Ip::new(V4, "203.0.113.77", 0), 11, 0, [0; 4], &ip);
    assert_eq!(rig().send(0, &from_client(&ip)), Outcome::Out(0, frame(CLIENT_MAC, LAN_MAC, &error)));
}

#[test]
fn icmp_error_goes_to_the_server_of_the_quoted_flow() {
    let router = "203.0.113.254";
    // Through a tunnel, unchanged.
    let mut rig = rig();
    rig.send(0, &from_client(&v4(V4).tcp(1000, 80, SYN, b"")));
    let quoted = Ip::new(V4, "203.0.113.77", 6).tcp(80, 1000, ACK, b"a page");
    let error = icmp(Ip::new(router, V4, 0), 3, 4, [0, 0, 5, 0], &quoted[..28]);
    assert_eq!(rig.send(0, &from_client(&error)), to_server(11, &gre("198.51.100.11", 0, DF, &error)));
    let quoted = Ip::new(V6, "2001:db8:7::77", 6).tcp(81, 1000, ACK, b"a page");
    let error = icmp(Ip::new("2001:db8:7::fe", V6, 0), 2, 0, [0, 0, 5, 0], &quoted[..48]);
    let sent = rig.send(0, &from_client(&error));
    assert!(
        matches!(&sent, Outcome::Out(1, out) if out.ends_with(&error) && out[..6] == server_mac(14).0),
        "{sent:?}"
    );
    // Under NAT the quoted packet is the server's own again.
    rig.send(0, &from_client(&v4(V4).tcp(1000, 8000, SYN, b"")));
    let quoted = Ip::new(V4, "203.0.113.77", 6).tcp(8000, 1000, ACK, b"a page");
    let error = icmp(Ip::new(router, V4, 0), 3, 4, [0, 0, 5, 0], &quoted[..28]);
    let mut inner = Ip::new("198.51.100.15", "203.0.113.77", 6).tcp(8080, 1000, ACK, b"a page");
    inner[24..28].copy_from_slice(&quoted[24..28]);
    let expected =
        icmp(Ip { ttl: 63, ..Ip::new(router, "198.51.100.15", 0) }, 3, 4, [0, 0, 5, 0], &inner[..28]);
    assert_eq!(rig.send(0, &from_client(&error)), to_server(15, &expected));
}

#[test]
fn ports_of_a_vip_share_its_servers_and_nat_keeps_the_one_that_was_used() {
    let several = |mut vip: dataplane::tables::spec::VipSpec| {
        vip.ports = vec![80..=80, 443..=443, 8000..=8010];
        vip
    };
    let mut rig = Rig::new(vec![
        several(vip(service(V4, 6, 80), GRE, vec![server("198.51.100.11", None, 1.0)])),
        several(vip(service(V6, 6, 80), Encap::Nat, vec![server("2001:db8:1::12", None, 1.0)])),
        vip(service(V4, 6, 8011), GRE, vec![server("198.51.100.13", None, 1.0)]),
    ]);
    for port in [80, 443, 8000, 8005, 8010] {
        assert_eq!(rig.server_of(&from_client(&v4(V4).tcp(1000, port, SYN, b""))), Some(11), "{port}");
        let there = from_client(&v6(V6).tcp(1000, port, SYN, b""));
        let expected = Ip { ttl: 63, ..v6("2001:db8:1::12") }.tcp(1000, port, SYN, b"");
        assert_eq!(rig.send(0, &there), to_server(12, &expected));
        let back = Ip::new("2001:db8:1::12", "2001:db8:7::77", 6).tcp(port, 1000, SYN | ACK, b"");
        let seen = Ip { ttl: 63, ..Ip::new(V6, "2001:db8:7::77", 6) }.tcp(port, 1000, SYN | ACK, b"");
        let sent = rig.send(1, &frame(SERVER_NET_MAC, server_mac(12), &back));
        assert_eq!(sent, Outcome::Out(0, frame(GATEWAY_MAC, LAN_MAC, &seen)));
    }
    assert_eq!(rig.flows("198.51.100.11"), (5, 5), "one server slot for all ports");
    for port in [79, 81, 7999] {
        let sent = rig.send(0, &from_client(&v4(V4).tcp(1000, port, SYN, b"")));
        assert_eq!(sent, Outcome::Dropped(ForHost), "{port}");
    }
    assert_eq!(rig.server_of(&from_client(&v4(V4).tcp(1000, 8011, SYN, b""))), Some(13));
}

/// VIPs of both families whose addresses are whole prefixes.
fn prefix_rig() -> Rig {
    Rig::new(vec![
        vip(service("203.0.113.16/28", 6, 80), GRE, vec![server("198.51.100.11", None, 1.0)]),
        vip(service("203.0.113.16/28", 6, 8000), Encap::Nat, vec![server("198.51.100.12", Some(8080), 1.0)]),
        vip(service("203.0.113.24", 6, 80), GRE, vec![server("198.51.100.13", None, 1.0)]),
        vip(service("2001:db8:5:1::/64", 6, 80), Encap::Ipip, vec![server("2001:db8:1::14", None, 1.0)]),
        vip(
            service("2001:db8:5:1::/64", 17, 53),
            Encap::Nat,
            vec![server("2001:db8:1::15", Some(5353), 1.0)],
        ),
    ])
}

#[test]
fn every_address_of_a_prefix_is_served_and_the_longest_prefix_wins() {
    let mut rig = prefix_rig();
    for (address, last) in [("203.0.113.16", 11), ("203.0.113.24", 13), ("203.0.113.31", 11)] {
        let ip = v4(address).tcp(1000, 80, SYN, b"");
        let outer = gre(&format!("198.51.100.{last}"), 0, DF, &ip);
        assert_eq!(rig.send(0, &from_client(&ip)), to_server(last, &outer));
    }
    for address in ["2001:db8:5:1::", "2001:db8:5:1:ffff:ffff:ffff:ffff"] {
        assert_eq!(rig.server_of(&from_client(&v6(address).tcp(1000, 80, SYN, b""))), Some(14));
    }
    for (address, reason) in [("203.0.113.32", NotAVip), ("203.0.113.15", NotAVip), ("203.0.113.17", ForHost)]
    {
        let sent = rig.send(0, &from_client(&v4(address).tcp(1000, 9999, SYN, b"")));
        assert_eq!(sent, Outcome::Dropped(reason), "{address}");
    }
}

#[test]
fn reply_gets_back_the_address_of_the_prefix_that_its_client_used() {
    let mut rig = prefix_rig();
    for (sport, address) in [(1000, "203.0.113.16"), (1001, "203.0.113.27")] {
        let there = from_client(&v4(address).tcp(sport, 8000, SYN, b""));
        let expected = Ip { ttl: 63, ..v4("198.51.100.12") }.tcp(sport, 8080, SYN, b"");
        assert_eq!(rig.send(0, &there), to_server(12, &expected));
        let server = Ip::new("198.51.100.12", "203.0.113.77", 6);
        let back = frame(SERVER_NET_MAC, server_mac(12), &server.tcp(8080, sport, SYN | ACK, b""));
        let seen = Ip { ttl: 63, ..Ip::new(address, "203.0.113.77", 6) }.tcp(8000, sport, SYN | ACK, b"");
        assert_eq!(rig.send(1, &back), Outcome::Out(0, frame(GATEWAY_MAC, LAN_MAC, &seen)));
    }
    let address = "2001:db8:5:1::beef";
    rig.send(0, &from_client(&v6(address).udp(1000, 53, b"query", true)));
    let server = Ip::new("2001:db8:1::15", "2001:db8:7::77", 17);
    let back = frame(SERVER_NET_MAC, server_mac(15), &server.udp(5353, 1000, b"answer", true));
    let seen = Ip { ttl: 63, ..Ip::new(address, "2001:db8:7::77", 17) }.udp(53, 1000, b"answer", true);
    assert_eq!(rig.send(1, &back), Outcome::Out(0, frame(GATEWAY_MAC, LAN_MAC, &seen)));
}

#[test]
fn arp_ndp_and_echo_are_answered_for_every_address_of_a_prefix() {
    let client = (CLIENT_MAC, [192, 0, 2, 9]);
    for last in [16, 20, 31] {
        let address = [203, 0, 113, last];
        let request =
            ethernet(Mac::BROADCAST, CLIENT_MAC, 0x0806, &arp(1, client, (Mac::default(), address)));
        let reply = ethernet(CLIENT_MAC, LAN_MAC, 0x0806, &arp(2, (LAN_MAC, address), client));
        assert_eq!(prefix_rig().send(0, &request), Outcome::Out(0, reply));
    }
    let outside = arp(1, client, (Mac::default(), [203, 0, 113, 32]));
    let sent = prefix_rig().send(0, &ethernet(Mac::BROADCAST, CLIENT_MAC, 0x0806, &outside));
    assert_eq!(sent, Outcome::Dropped(OtherNeighbor));

    let target: std::net::Ipv6Addr = "2001:db8:5:1::2".parse().unwrap();
    let head = |kind: u8, flags: u8| [&[kind, 0, 0, 0, flags, 0, 0, 0][..], &target.octets()].concat();
    let advertisement = [head(136, 0xe0), vec![2, 1], LAN_MAC.0.to_vec()].concat();
    let answer = ndp(CLIENT_MAC, LAN_MAC, ("2001:db8:5:1::2", "2001:db8::9"), advertisement);
    let solicitation = [head(135, 0), vec![1, 1], CLIENT_MAC.0.to_vec()].concat();
    let group = Mac([0x33, 0x33, 0xff, 0, 0, 2]);
    let question = ndp(group, CLIENT_MAC, ("2001:db8::9", "ff02::1:ff00:2"), solicitation);
    assert_eq!(prefix_rig().send(0, &question), Outcome::Out(0, answer));

    for (client, address, request, reply) in
        [("203.0.113.77", "203.0.113.31", 8, 0), ("2001:db8:7::77", "2001:db8:5:1::f00d", 128, 129)]
    {
        let ping = icmp(Ip::new(client, address, 0), request, 0, [0, 7, 0, 1], b"hello");
        let pong = icmp(Ip::new(address, client, 0), reply, 0, [0, 7, 0, 1], b"hello");
        let sent = prefix_rig().send(0, &from_client(&ping));
        assert_eq!(sent, Outcome::Out(0, frame(CLIENT_MAC, LAN_MAC, &pong)));
    }
}

#[test]
fn icmp_error_about_an_address_of_a_prefix_goes_to_its_server() {
    let (router, address) = ("203.0.113.254", "203.0.113.27");
    let mut rig = prefix_rig();
    rig.send(0, &from_client(&v4(address).tcp(1000, 80, SYN, b"")));
    let quoted = Ip::new(address, "203.0.113.77", 6).tcp(80, 1000, ACK, b"a page");
    let error = icmp(Ip::new(router, address, 0), 3, 4, [0, 0, 5, 0], &quoted[..28]);
    assert_eq!(rig.send(0, &from_client(&error)), to_server(11, &gre("198.51.100.11", 0, DF, &error)));
    rig.send(0, &from_client(&v4(address).tcp(1000, 8000, SYN, b"")));
    let quoted = Ip::new(address, "203.0.113.77", 6).tcp(8000, 1000, ACK, b"a page");
    let error = icmp(Ip::new(router, address, 0), 3, 4, [0, 0, 5, 0], &quoted[..28]);
    let mut inner = Ip::new("198.51.100.12", "203.0.113.77", 6).tcp(8080, 1000, ACK, b"a page");
    inner[24..28].copy_from_slice(&quoted[24..28]);
    let to = Ip { ttl: 63, ..Ip::new(router, "198.51.100.12", 0) };
    assert_eq!(rig.send(0, &from_client(&error)), to_server(12, &icmp(to, 3, 4, [0, 0, 5, 0], &inner[..28])));
}

#[test]
fn mss_of_a_syn_is_lowered_towards_servers_and_under_nat_towards_clients_too() {
    let clamped = |mut vip: dataplane::tables::spec::VipSpec| {
        vip.mss = Some(1400);
        vip
    };
    let mut rig = Rig::new(vec![
        clamped(vip(service(V4, 6, 80), GRE, vec![server("198.51.100.11", None, 1.0)])),
        clamped(vip(service(V6, 6, 80), Encap::Nat, vec![server("2001:db8:1::12", Some(8080), 1.0)])),
        vip(service(V4, 6, 81), GRE, vec![server("198.51.100.13", None, 1.0)]),
    ]);
    for (asked, allowed) in [(1460, 1400), (1400, 1400), (1200, 1200)] {
        let sent = rig.send(0, &from_client(&v4(V4).syn(1000, 80, SYN, asked)));
        let inner = v4(V4).syn(1000, 80, SYN, allowed);
        assert_eq!(sent, to_server(11, &gre("198.51.100.11", 0, DF, &inner)), "{asked}");

        let sent = rig.send(0, &from_client(&v6(V6).syn(1000, 80, SYN, asked)));
        let expected = Ip { ttl: 63, ..v6("2001:db8:1::12") }.syn(1000, 8080, SYN, allowed);
        assert_eq!(sent, to_server(12, &expected), "{asked}");
        let back = Ip::new("2001:db8:1::12", "2001:db8:7::77", 6).syn(8080, 1000, SYN | ACK, asked);
        let sent = rig.send(1, &frame(SERVER_NET_MAC, server_mac(12), &back));
        let seen = Ip { ttl: 63, ..Ip::new(V6, "2001:db8:7::77", 6) }.syn(80, 1000, SYN | ACK, allowed);
        assert_eq!(sent, Outcome::Out(0, frame(GATEWAY_MAC, LAN_MAC, &seen)), "{asked}");
    }
    let not_asked = v4(V4).syn(1000, 81, SYN, 1460);
    let sent = rig.send(0, &from_client(&not_asked));
    assert_eq!(sent, to_server(13, &gre("198.51.100.13", 0, DF, &not_asked)));
    let later = v4(V4).syn(1000, 80, ACK, 1460);
    let sent = rig.send(0, &from_client(&later));
    assert_eq!(sent, to_server(11, &gre("198.51.100.11", 0, DF, &later)), "only a SYN has a say");
}

/// A router on the servers' side, or the server itself, reports a packet that we had translated.
#[test]
fn icmp_error_about_a_translated_packet_goes_to_its_client() {
    let client4 = "203.0.113.77";
    let client6 = "2001:db8:7::77";
    let there = |rig: &mut Rig, ip: &[u8]| match rig.send(0, &from_client(ip)) {
        Outcome::Out(1, out) => out[14..].to_vec(),
        other => panic!("{other:?}"),
    };
    let tcp4 = |ttl| Ip { ttl, ..v4(V4) }.tcp(1000, 8000, ACK, b"an upload");
    let udp4 = |ttl, sum| Ip { ttl, ..v4(V4) }.udp(1000, 53, b"a question", sum);
    let tcp6 = |ttl| Ip { ttl, ..v6(V6) }.tcp(1000, 8000, ACK, b"an upload");
    let mut rig = rig();
    for (reporter, client, kind, code, quote, cut) in [
        ("198.51.100.254", client4, 3, 4, [tcp4(64), tcp4(63)], 49), // all of it
        ("198.51.100.254", client4, 3, 4, [tcp4(64), tcp4(63)], 28), // as little as there may be
        ("10.0.0.1", client4, 11, 0, [tcp4(64), tcp4(63)], 40),
        ("198.51.100.16", client4, 3, 3, [udp4(64, true), udp4(63, true)], 38),
        ("198.51.100.16", client4, 3, 3, [udp4(64, false), udp4(63, false)], 38),
        ("2001:db8:1::fe", client6, 2, 0, [tcp6(64), tcp6(63)], 69),
        ("2001:db8:1::17", client6, 1, 4, [tcp6(64), tcp6(63)], 48),
    ] {
        let [sent, quoted] = quote;
        let forwarded = there(&mut rig, &sent);
        let rest = [0, 0, 5, 0];
        let report = icmp(Ip::new(reporter, client, 0), kind, code, rest, &forwarded[..cut]);
        let vip = if client == client4 { V4 } else { V6 };
        let seen = icmp(Ip { ttl: 63, ..Ip::new(vip, client, 0) }, kind, code, rest, &quoted[..cut]);
        assert_eq!(
            rig.send(1, &frame(SERVER_NET_MAC, server_mac(15), &report)),
            Outcome::Out(0, frame(GATEWAY_MAC, LAN_MAC, &seen)),
            "from {reporter}, {cut} bytes"
        );
    }
    // About a packet of nobody.
    let quoted = Ip::new(client4, "198.51.100.15", 6).tcp(1001, 8080, ACK, b"");
    let report = icmp(Ip::new("198.51.100.254", client4, 0), 3, 4, [0, 0, 5, 0], &quoted[..28]);
    assert_eq!(rig.send(1, &frame(SERVER_NET_MAC, server_mac(15), &report)), Outcome::Dropped(NotAVip));
}
