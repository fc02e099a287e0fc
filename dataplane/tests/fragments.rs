//! Fragments in, fragments out: every datagram arrives whole where its flow is.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use dataplane::{
    pipeline::DropReason::{self, *},
    tables::{
        encap::{Encap, GueVariant},
        select::Select,
        spec::VipSpec,
    },
};
use proptest::prelude::*;
use support::{crew::Crew, *};

const V4: &str = "203.0.113.10";
const V6: &str = "2001:db8:5::10";
const CLIENT_V4: &str = "203.0.113.77";
const CLIENT_V6: &str = "2001:db8:7::77";

/// A whole packet in pieces of `size` payload bytes, a multiple of eight.
fn pieces(packet: &[u8], size: usize, id: u16) -> Vec<Vec<u8>> {
    let v4 = packet[0] >> 4 == 4;
    let (header, payload) = packet.split_at(if v4 { 20 } else { 40 });
    let count = payload.len().div_ceil(size);
    let piece = |(at, chunk): (usize, &[u8])| {
        let (offset, more) = ((at * size / 8) as u16, at + 1 < count);
        let mut header = header.to_vec();
        if v4 {
            header[2..4].copy_from_slice(&(20 + chunk.len() as u16).to_be_bytes());
            header[4..6].copy_from_slice(&id.to_be_bytes());
            header[6..8].copy_from_slice(&(offset | u16::from(more) << 13).to_be_bytes());
            header[10..12].fill(0);
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            header[4..6].copy_from_slice(&(8 + chunk.len() as u16).to_be_bytes());
            let next = std::mem::replace(&mut header[6], 44);
            header.extend([next, 0]);
            header.extend((offset << 3 | u16::from(more)).to_be_bytes());
            header.extend(u32::from(id).to_be_bytes());
        }
        [&header[..], chunk].concat()
    };
    payload.chunks(size).enumerate().map(piece).collect()
}

/// The whole packet, from its pieces in any order; checks that nothing is missing and every IPv4 header is right.
fn whole(pieces: &[Vec<u8>]) -> Vec<u8> {
    let v4 = pieces[0][0] >> 4 == 4;
    let header_len = if v4 { 20 } else { 48 };
    let offset = |piece: &[u8]| {
        let word = u16::from_be_bytes(if v4 { [piece[6], piece[7]] } else { [piece[42], piece[43]] });
        if v4 { usize::from(word & 0x1fff) * 8 } else { usize::from(word & 0xfff8) }
    };
    let mut sorted = pieces.to_vec();
    sorted.sort_by_key(|piece| offset(piece));
    let mut payload = Vec::new();
    for piece in &sorted {
        assert!(!v4 || checksum(&piece[..20]) == 0, "an IPv4 header checksum is wrong");
        assert_eq!(offset(piece), payload.len(), "a piece is missing");
        payload.extend(&piece[header_len..]);
    }
    let mut header = sorted[0][..header_len.min(40)].to_vec();
    if v4 {
        header[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
        header[4..8].fill(0);
        header[10..12].fill(0);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        header[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
        header[6] = sorted[0][40];
    }
    [header, payload].concat()
}

fn from_client(ip: &[u8]) -> Vec<u8> {
    frame(LAN_MAC, CLIENT_MAC, ip)
}

fn client(v6: bool) -> Ip {
    if v6 { Ip::new(CLIENT_V6, V6, 17) } else { Ip::new(CLIENT_V4, V4, 17) }
}

/// A VIP of UDP port 53 with four servers of its own family.
fn dns(v6: bool, encap: Encap) -> VipSpec {
    let (address, servers) = if v6 { (V6, "2001:db8:1::") } else { (V4, "198.51.100.") };
    let port = (encap == Encap::Nat).then_some(5353);
    let servers = (11..15).map(|last| server(&format!("{servers}{last}"), port, 1.0)).collect();
    vip(service(address, 17, 53), encap, servers)
}

/// Server and IP packet that a frame went out with on the servers' side.
fn sent(outcome: Outcome) -> (u8, Vec<u8>) {
    match outcome {
        Outcome::Out(1, frame) => (frame[5], frame[14..].to_vec()),
        other => panic!("{other:?}"),
    }
}

/// First, followed and unknown fragments.
fn counted(rig: &Rig) -> [u64; 3] {
    let lcore = &rig.handle.counters.lcore;
    [&lcore.fragments_first, &lcore.fragments_followed, &lcore.fragments_unknown].map(|counter| counter.get())
}

#[test]
fn fragments_follow_their_first_to_the_server_of_its_flow() {
    for (encap, overhead) in [
        (GRE, [24, 24]),
        (Encap::Ipip, [20, 20]),
        (Encap::Gue { variant: GueVariant::Header, port: 6080 }, [32, 32]),
    ] {
        for v6 in [false, true] {
            let mut rig = Rig::new(vec![dns(v6, encap)]);
            for sport in 1000..1032 {
                let datagram = client(v6).udp(sport, 53, &[0x5a; 3000], true);
                let (home, _) = sent(rig.send(0, &from_client(&client(v6).udp(sport, 53, b"", true))));
                let pieces = pieces(&datagram, 1200, sport);
                for piece in &pieces {
                    let (server, outer) = sent(rig.send(0, &from_client(piece)));
                    assert_eq!(server, home, "{encap:?}, IPv6 {v6}, port {sport}");
                    let tunnel = if v6 { overhead[1] + 20 } else { overhead[0] };
                    assert_eq!(&outer[tunnel..], &piece[..], "{encap:?}, IPv6 {v6}");
                }
            }
            assert_eq!(counted(&rig), [32, 64, 0]);
        }
    }
}

#[test]
fn rewritten_datagram_is_right_when_its_pieces_are_put_together() {
    for v6 in [false, true] {
        for (encap, dport, tos) in [(Encap::Nat, 5353, 0x02), (Encap::L3dsr { dscp: 7 }, 53, 7 << 2 | 2)] {
            let mut rig = Rig::new(vec![dns(v6, encap)]);
            for sport in 1000..1016 {
                let ip = Ip { tos: 0x02, ..client(v6) };
                let pieces = pieces(&ip.udp(sport, 53, &[0xa5; 2001], true), 800, sport);
                let out: Vec<_> = pieces.iter().map(|piece| sent(rig.send(0, &from_client(piece)))).collect();
                let (server, _) = out[0];
                assert!(out.iter().all(|(other, _)| *other == server));
                let prefix = if v6 { "2001:db8:1::" } else { "198.51.100." };
                let to = Ip::new(if v6 { CLIENT_V6 } else { CLIENT_V4 }, &format!("{prefix}{server}"), 17);
                let expected = Ip { tos, ttl: 63, ..to }.udp(sport, dport, &[0xa5; 2001], true);
                let out: Vec<_> = out.into_iter().map(|(_, ip)| ip).collect();
                assert_eq!(whole(&out), expected, "{encap:?}, IPv6 {v6}");
            }
        }
    }
}

#[test]
fn fragmented_reply_of_a_translated_flow_comes_from_the_vip() {
    for v6 in [false, true] {
        let mut rig = Rig::new(vec![dns(v6, Encap::Nat)]);
        let (server, _) = sent(rig.send(0, &from_client(&client(v6).udp(1000, 53, b"?", true))));
        let (servers, vip, to) =
            if v6 { ("2001:db8:1::", V6, CLIENT_V6) } else { ("198.51.100.", V4, CLIENT_V4) };
        let answer = Ip::new(&format!("{servers}{server}"), to, 17).udp(5353, 1000, &[7; 2500], true);
        let mut out = Vec::new();
        for piece in pieces(&answer, 1000, 9) {
            match rig.send(1, &frame(SERVER_NET_MAC, server_mac(server), &piece)) {
                Outcome::Out(0, frame) => out.push(frame[14..].to_vec()),
                other => panic!("{other:?}"),
            }
        }
        let expected = Ip { ttl: 63, ..Ip::new(vip, to, 17) }.udp(53, 1000, &[7; 2500], true);
        assert_eq!(whole(&out), expected, "IPv6 {v6}");
        let stray = pieces(&answer, 1000, 10).pop().unwrap();
        let sent = rig.send(1, &frame(SERVER_NET_MAC, server_mac(server), &stray));
        assert_eq!(sent, Outcome::Dropped(NotAVip), "without its first it cannot be translated");
    }
}

#[test]
fn fragments_of_a_translated_flow_find_the_worker_that_has_it() {
    for v6 in [false, true] {
        let mut crew = Crew::new(spec(vec![dns(v6, Encap::Nat)]), 3);
        let (servers, vip, to) =
            if v6 { ("2001:db8:1::", V6, CLIENT_V6) } else { ("198.51.100.", V4, CLIENT_V4) };
        for sport in 1000..1030 {
            let (there, back) = (usize::from(sport) % 3, usize::from(sport / 3) % 3);
            let datagram = client(v6).udp(sport, 53, &[5; 2000], true);
            let out = pieces(&datagram, 800, sport).into_iter();
            let out: Vec<_> = out.map(|piece| sent(crew.send(there, 0, &from_client(&piece)))).collect();
            let server = out[0].0;
            let address = format!("{servers}{server}");
            let expected = Ip { ttl: 63, ..Ip::new(to, &address, 17) }.udp(sport, 5353, &[5; 2000], true);
            let out: Vec<_> = out.into_iter().map(|(_, ip)| ip).collect();
            assert_eq!(whole(&out), expected, "IPv6 {v6}, worker {there}");

            let answer = Ip::new(&address, to, 17).udp(5353, sport, &[6; 2000], true);
            let back = pieces(&answer, 800, sport).into_iter().map(|piece| {
                match crew.send(back, 1, &frame(SERVER_NET_MAC, server_mac(server), &piece)) {
                    Outcome::Out(0, frame) => frame[14..].to_vec(),
                    other => panic!("{other:?}"),
                }
            });
            let expected = Ip { ttl: 63, ..Ip::new(vip, to, 17) }.udp(53, sport, &[6; 2000], true);
            assert_eq!(whole(&back.collect::<Vec<_>>()), expected, "IPv6 {v6}, back");
        }
    }
}

#[test]
fn fragment_before_its_first_goes_by_addresses_and_protocol_and_is_counted() {
    for v6 in [false, true] {
        let mut rig = Rig::new(vec![dns(v6, GRE)]);
        let datagram = |sport| client(v6).udp(sport, 53, &[1; 2000], true);
        let last = |sport, id| from_client(pieces(&datagram(sport), 800, id).last().unwrap());
        let strays: Vec<u8> = (1000..1032).map(|sport| sent(rig.send(0, &last(sport, sport))).0).collect();
        assert!(
            strays.iter().all(|server| *server == strays[0]),
            "by addresses and protocol alone: {strays:?}"
        );
        assert_eq!(counted(&rig), [0, 0, 32]);
        assert_eq!(rig.handle.counters.lcore.created.get(), 0, "no flow is entered");
        // With the first one, those that come after it follow.
        let pieces = pieces(&datagram(1000), 800, 7);
        let home = sent(rig.send(0, &from_client(&pieces[0]))).0;
        assert_eq!(sent(rig.send(0, &from_client(&pieces[2]))).0, home);
        assert_eq!(sent(rig.send(0, &from_client(&pieces[1]))).0, home);
        assert_eq!(counted(&rig), [1, 2, 32]);
        // The same identification from elsewhere is another datagram.
        let other = if v6 { Ip::new("2001:db8:7::78", V6, 17) } else { Ip::new("203.0.113.78", V4, 17) };
        let other = other.udp(1000, 53, &[1; 2000], true);
        sent(rig.send(0, &from_client(self::pieces(&other, 800, 7).last().unwrap())));
        assert_eq!(counted(&rig), [1, 2, 33]);
    }
}

#[test]
fn fragments_for_nobody_are_dropped_by_name() {
    let mut rig = Rig::new(vec![dns(false, GRE)]);
    let of = |ip: Ip| pieces(&ip.udp(1000, 99, &[1; 2000], true), 800, 7);
    for piece in of(client(false)) {
        assert_eq!(rig.send(0, &from_client(&piece)), Outcome::Dropped(ForHost), "no VIP on its port");
    }
    for piece in of(Ip::new(CLIENT_V4, "203.0.113.99", 17)) {
        assert_eq!(rig.send(0, &from_client(&piece)), Outcome::Dropped(NotAVip));
    }
    let expected = [2, 2, 2];
    assert_eq!(counted(&rig), expected);
}

#[test]
fn fragments_of_other_protocols_go_by_three_tuple_with_whole_packets() {
    const ESP: u8 = 50;
    let mut any = dns(false, Encap::Ipip);
    any.service.protocol = None;
    any.service.port = None;
    any.ports.clear();
    let mut rig = Rig::new(vec![any]);
    for client in 1..20 {
        let ip = Ip::new(&format!("192.0.2.{client}"), V4, ESP);
        let home = sent(rig.send(0, &from_client(&ip.packet(&[3; 40])))).0;
        let mut pieces = pieces(&ip.packet(&[4; 2000]), 800, 7);
        pieces.reverse();
        for piece in pieces {
            assert_eq!(sent(rig.send(0, &from_client(&piece))).0, home, "whichever comes first");
        }
    }
}

/// An ICMP echo request with its checksum.
fn ping(ip: Ip, kind: u8, payload: &[u8]) -> Vec<u8> {
    let protocol = if ip.source.is_ipv4() { 1 } else { 58 };
    let ip = Ip { protocol, ..ip };
    let mut message = [&[kind, 0, 0, 0, 0, 7, 0, 1][..], payload].concat();
    let summed = if protocol == 1 { message.clone() } else { ip.summed(&message) };
    message[2..4].copy_from_slice(&checksum(&summed).to_be_bytes());
    ip.packet(&message)
}

#[test]
fn ping_in_fragments_is_answered_in_fragments() {
    for (v6, request, reply) in [(false, 8, 0), (true, 128, 129)] {
        let mut rig = Rig::new(vec![dns(v6, GRE)]);
        let (from, to) = if v6 { (CLIENT_V6, V6) } else { (CLIENT_V4, V4) };
        let pieces_of = |kind, id| pieces(&ping(Ip::new(from, to, 0), kind, &[0x5a; 3000]), 1400, id);
        let mut answers = Vec::new();
        for piece in pieces_of(request, 7) {
            match rig.send(0, &from_client(&piece)) {
                Outcome::Out(0, out) => answers.push(out[14..].to_vec()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(whole(&answers), ping(Ip::new(to, from, 0), reply, &[0x5a; 3000]), "IPv6 {v6}");
        for piece in pieces_of(reply, 8).iter().chain(&pieces_of(request, 9)[1..]) {
            assert_eq!(rig.send(0, &from_client(piece)), Outcome::Dropped(ForHost), "nothing asked for it");
        }
    }
}

#[test]
fn impossible_fragments_are_dropped_by_name() {
    let tcp = client(false).tcp(1000, 80, ACK, &[0; 101]);
    let udp = client(true).udp(1000, 53, &[0; 100], true);
    let with = |mut piece: Vec<u8>, at: usize, bytes: [u8; 2]| {
        piece[at..at + 2].copy_from_slice(&bytes);
        piece
    };
    let rows: Vec<(&str, Vec<u8>, DropReason)> = vec![
        ("first of 16 bytes of TCP", pieces(&tcp, 16, 7)[0].clone(), BadFragment),
        ("TCP's second eight bytes", pieces(&tcp, 8, 7)[1].clone(), BadFragment),
        ("TCP's flags written over", pieces(&tcp, 16, 7)[1].clone(), BadFragment),
        ("more to come behind 25 bytes", with(pieces(&tcp, 96, 7)[1].clone(), 6, [0x20, 12]), BadFragment),
        ("beyond 65535 bytes", with(pieces(&tcp, 96, 7)[1].clone(), 6, [0x1f, 0xff]), BadFragment),
        ("empty", with(pieces(&tcp, 96, 7)[1][..20].to_vec(), 2, [0, 20]), BadFragment),
        (
            "IPv6, more to come behind 12 bytes",
            with(pieces(&udp, 96, 7)[1].clone(), 42, [0, 97]),
            BadFragment,
        ),
        (
            "IPv6, cut in its fragment header",
            {
                let mut cut = pieces(&udp, 96, 7)[1][..44].to_vec();
                cut[5] = 4;
                cut
            },
            Truncated,
        ),
    ];
    for (name, piece, reason) in rows {
        let mut rig = Rig::new(vec![dns(false, GRE), dns(true, GRE)]);
        assert_eq!(rig.send(0, &from_client(&piece)), Outcome::Dropped(reason), "{name}");
    }
}

#[test]
fn only_a_first_fragment_that_does_not_fit_is_reported() {
    let mut rig = Rig::new(vec![dns(false, GRE)]);
    let set_df = |mut piece: Vec<u8>| {
        piece[6] |= 0x40;
        from_client(&piece)
    };
    let pieces = pieces(&client(false).udp(1000, 53, &[0; 3000], true), 1480, 7);
    assert!(matches!(rig.send(0, &set_df(pieces[0].clone())), Outcome::Out(0, _)));
    assert_eq!(rig.send(0, &set_df(pieces[1].clone())), Outcome::Dropped(TooBig));
}

proptest! {
    /// Pieces of datagrams, in any order, some twice, some never, with single bytes changed: nothing panics, and what
    /// stays as it was goes with its flow.
    #[test]
    fn fragments_in_any_shape_and_order_get_one_verdict(
        v6 in any::<bool>(),
        nat in any::<bool>(),
        steps in prop::collection::vec((0u16..6, 0usize..5, any::<(bool, u8, u8)>()), 1..80),
    ) {
        let mut spec = dns(v6, if nat { Encap::Nat } else { GRE });
        spec.select = Select::Maglev;
        let mut rig = Rig::new(vec![spec]);
        let mut homes = [None; 6];
        for (flow, piece, (spoil, at, value)) in steps {
            let datagram = client(v6).udp(1000 + flow, 53, &[flow as u8; 2000], true);
            let mut sent_piece = pieces(&datagram, 504, flow)[piece % 4].clone();
            if spoil {
                let at = usize::from(at) % sent_piece.len().min(64);
                sent_piece[at] ^= value;
                let _ = rig.send(0, &from_client(&sent_piece));
                homes = [None; 6]; // it may be a first fragment of any of them, with other ports
                continue;
            }
            let outcome = rig.send(0, &from_client(&sent_piece));
            if piece % 4 == 0 {
                homes[usize::from(flow)] = Some(sent(outcome).0);
            } else if let Some(home) = homes[usize::from(flow)] {
                prop_assert_eq!(sent(outcome).0, home);
            }
        }
    }
}
