//! Protocols other than TCP, UDP and ICMP, and what becomes of the TTL.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::HashSet;

use dataplane::{
    pipeline::DropReason::*,
    tables::{
        encap::{Encap, GueVariant},
        spec::VipSpec,
        vip::Service,
    },
};
use support::*;

const V4: &str = "203.0.113.10";
const V6: &str = "2001:db8:5::10";

const SCTP: u8 = 132;
const ESP: u8 = 50;
const AH: u8 = 51;
const EXPERIMENT: u8 = 253;

const TUNNELS: [(Encap, usize); 4] = [
    (GRE, 4),
    (Encap::Ipip, 0),
    (Encap::Gue { variant: GueVariant::Header, port: 6080 }, 12),
    (Encap::Gue { variant: GueVariant::Direct, port: 6080 }, 8),
];

fn from_client(ip: &[u8]) -> Vec<u8> {
    frame(LAN_MAC, CLIENT_MAC, ip)
}

/// A VIP for every protocol with four servers of its own family.
fn any(v6: bool, encap: Encap) -> VipSpec {
    let (address, servers) = if v6 { (V6, "2001:db8:1::") } else { (V4, "198.51.100.") };
    let servers = (11..15).map(|last| server(&format!("{servers}{last}"), None, 1.0)).collect();
    let mut any = vip(service(address, 6, 1), encap, servers);
    any.service = Service { protocol: None, port: None, ..any.service };
    any.ports.clear();
    any
}

/// A packet of client number `n`.
fn from(v6: bool, n: u16, protocol: u8) -> Ip {
    if v6 {
        Ip::new(&format!("2001:db8:7::{n:x}"), V6, protocol)
    } else {
        Ip::new(&format!("100.64.0.{n}"), V4, protocol)
    }
}

/// Server and IP packet that a frame went out with on the servers' side.
fn sent(outcome: Outcome) -> (u8, Vec<u8>) {
    match outcome {
        Outcome::Out(1, frame) => (frame[5], frame[14..].to_vec()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn other_protocols_go_by_three_tuple_into_every_tunnel() {
    for (encap, between) in TUNNELS {
        for v6 in [false, true] {
            let mut rig = Rig::new(vec![any(v6, encap)]);
            for protocol in [SCTP, ESP, AH, EXPERIMENT] {
                let mut used = HashSet::new();
                for n in 20..60 {
                    let packets = [&[0xaa; 40][..], &[0x55; 3], &[]];
                    let servers = packets.map(|payload| {
                        let ip = from(v6, n, protocol).packet(payload);
                        let (server, outer) = sent(rig.send(0, &from_client(&ip)));
                        assert_eq!(outer[if v6 { 40 } else { 20 } + between..], ip[..], "{encap:?}");
                        server
                    });
                    assert!(
                        servers.iter().all(|server| *server == servers[0]),
                        "one flow, whatever it carries"
                    );
                    used.insert(servers[0]);
                }
                assert_eq!(used.len(), 4, "protocol {protocol} is spread by its clients");
            }
            assert_eq!(rig.handle.counters.lcore.created.get(), 160, "a flow for each client and protocol");
        }
    }
}

#[test]
fn other_protocols_have_their_addresses_rewritten_and_nothing_else() {
    for v6 in [false, true] {
        let prefix = if v6 { "2001:db8:1::" } else { "198.51.100." };
        let (client, vip) = if v6 { ("2001:db8:7::14", V6) } else { ("100.64.0.20", V4) };
        for (encap, tos) in [(Encap::L3dsr { dscp: 7 }, 7 << 2), (Encap::Nat, 0)] {
            let mut rig = Rig::new(vec![any(v6, encap)]);
            let (server, ip) = sent(rig.send(0, &from_client(&from(v6, 20, SCTP).packet(b"chunks"))));
            let address = format!("{prefix}{server}");
            assert_eq!(ip, Ip { tos, ttl: 63, ..Ip::new(client, &address, SCTP) }.packet(b"chunks"));
            if encap == Encap::Nat {
                let back = Ip::new(&address, client, SCTP).packet(b"more chunks");
                let back = rig.send(1, &frame(SERVER_NET_MAC, server_mac(server), &back));
                let seen = Ip { ttl: 63, ..Ip::new(vip, client, SCTP) }.packet(b"more chunks");
                assert_eq!(back, Outcome::Out(0, frame(GATEWAY_MAC, LAN_MAC, &seen)));
            }
        }
    }
}

#[test]
fn vip_of_one_protocol_takes_no_other() {
    let mut tcp = any(false, GRE);
    tcp.service.protocol = Some(6);
    let mut rig = Rig::new(vec![tcp]);
    for protocol in [SCTP, ESP, AH, EXPERIMENT] {
        let sent = rig.send(0, &from_client(&from(false, 20, protocol).packet(&[0; 40])));
        assert_eq!(sent, Outcome::Dropped(ForHost));
    }
}

#[test]
fn tunnelled_packet_keeps_its_ttl_and_the_outer_one_starts_at_64() {
    for (encap, between) in TUNNELS {
        for v6 in [false, true] {
            let mut rig = Rig::new(vec![any(v6, encap)]);
            for ttl in [1, 2, 64, 255] {
                let ip = Ip { ttl, ..from(v6, 20, 6) }.tcp(1000, 80, ACK, b"data");
                let (_, outer) = sent(rig.send(0, &from_client(&ip)));
                assert_eq!(outer[if v6 { 7 } else { 8 }], 64, "{encap:?}");
                assert_eq!(outer[if v6 { 40 } else { 20 } + between..], ip[..], "{encap:?}, TTL {ttl}");
            }
        }
    }
}

#[test]
fn ttl_that_runs_out_where_the_destination_is_rewritten_is_reported() {
    for v6 in [false, true] {
        for encap in [Encap::L3dsr { dscp: 7 }, Encap::Nat] {
            let mut rig = Rig::new(vec![any(v6, encap)]);
            for ttl in [0, 1] {
                let ip = Ip { ttl, ..from(v6, 20, 6) }.tcp(1000, 80, ACK, b"data");
                let Outcome::Out(0, error) = rig.send(0, &from_client(&ip)) else { panic!("no answer") };
                let kind = if v6 { &error[54..56] } else { &error[34..36] };
                assert_eq!(kind, if v6 { [3, 0] } else { [11, 0] }, "time exceeded in transit");
                assert!(error.ends_with(&ip), "it quotes the packet as it came");
            }
            let ip = Ip { ttl: 2, ..from(v6, 20, 6) }.tcp(1000, 80, ACK, b"data");
            let (_, out) = sent(rig.send(0, &from_client(&ip)));
            assert_eq!(out[if v6 { 7 } else { 8 }], 1);
        }
    }
}
