//! Byte arrays for each way a packet can go, and any bytes at all for the promise not to panic.

use dataplane::wire::checksum;
use proptest::prelude::*;

use super::*;

const VIP4: [u8; 4] = [203, 0, 113, 10];

/// A UDP packet to the VIP: 20 bytes of header, 8 of payload, header checksum filled in.
fn inner_ipv4(traffic_class: u8) -> Vec<u8> {
    let mut packet = vec![0x45, traffic_class, 0, 28, 0, 1, 0x40, 0, 64, 17, 0, 0, 198, 51, 100, 7];
    packet.extend_from_slice(&VIP4);
    let sum = checksum::of(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(&[0x30, 0x39, 0, 53, 0, 8, 0, 0]);
    packet
}

/// The same to 2001:db8::10.
fn inner_ipv6(traffic_class: u8) -> Vec<u8> {
    let mut packet = vec![0x60 | traffic_class >> 4, traffic_class << 4, 0, 0, 0, 8, 17, 64];
    packet.extend_from_slice(&[0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    packet.extend_from_slice(&[0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10]);
    packet.extend_from_slice(&[0x30, 0x39, 0, 53, 0, 8, 0xFF, 0xFF]);
    packet
}

fn gre(protocol: [u8; 2], inner: &[u8]) -> Vec<u8> {
    [&[0, 0], &protocol[..], inner].concat()
}

fn gre4(inner: &[u8]) -> Vec<u8> {
    gre([8, 0], inner)
}

fn gre6(inner: &[u8]) -> Vec<u8> {
    gre([0x86, 0xDD], inner)
}

fn under_ipv4(traffic_class: u8, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let header =
        [0x45, traffic_class, total[0], total[1], 0, 0, 0, 0, 64, 47, 0, 0, 192, 0, 2, 2, 192, 0, 2, 11];
    [&header[..], payload].concat()
}

fn rules(vips: &[&str]) -> Rules {
    Rules { key: None, vips: vips.iter().map(|vip| vip.parse().unwrap()).collect() }
}

fn take_off(rules: &Rules, outer: Outer, datagram: &[u8]) -> Result<Vec<u8>, DropReason> {
    take_off_header(Header::Gre, rules, outer, datagram)
}

fn take_off_header(
    header: Header,
    rules: &Rules,
    outer: Outer,
    datagram: &[u8],
) -> Result<Vec<u8>, DropReason> {
    let mut datagram = datagram.to_vec();
    decapsulate(rules, header, outer, &mut datagram).map(|inner| inner.to_vec())
}

const BARE: Outer = Outer::Bare { traffic_class: 0 };

#[test]
fn all_four_family_combinations_come_out_unchanged() {
    let all = rules(&[]);
    for (inner, wrapped) in [(inner_ipv4(0), gre4(&inner_ipv4(0))), (inner_ipv6(0), gre6(&inner_ipv6(0)))] {
        assert_eq!(take_off(&all, BARE, &wrapped), Ok(inner.clone()));
        assert_eq!(take_off(&all, Outer::WithIpv4Header, &under_ipv4(0, &wrapped)), Ok(inner));
    }
}

#[test]
fn ip_in_ip_is_what_its_protocol_number_announces() {
    let (v4, v6) = (inner_ipv4(0), inner_ipv6(0));
    let (as_v4, as_v6) = (Header::Nothing(InnerFamily::Ipv4), Header::Nothing(InnerFamily::Ipv6));
    for (header, right, wrong) in [(as_v4, &v4, &v6), (as_v6, &v6, &v4)] {
        for outer in [BARE, Outer::WithIpv4Header] {
            let wrap = |inner: &[u8]| if outer == BARE { inner.to_vec() } else { under_ipv4(0, inner) };
            let take = |datagram: &[u8]| take_off_header(header, &rules(&[]), outer, datagram);
            assert_eq!(take(&wrap(right)), Ok(right.clone()));
            assert_eq!(take(&wrap(wrong)), Err(DropReason::InnerVersion));
            assert_eq!(take(&wrap(&right[..27])), Err(DropReason::InnerLength));
            assert_eq!(take(&wrap(&[])), Err(DropReason::InnerLength));
        }
    }
}

#[test]
fn gue_of_both_variants_comes_out_unchanged() {
    let take = |datagram: &[u8]| take_off_header(Header::Gue, &rules(&[]), BARE, datagram);
    for (protocol, inner) in [(4, inner_ipv4(0)), (41, inner_ipv6(0))] {
        let variant_0 = [&[0, protocol, 0, 0], &inner[..]].concat();
        let private_data = [&[2, protocol, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8], &inner[..], &[0xEE; 3]].concat();
        for datagram in [&inner, &variant_0, &private_data] {
            assert_eq!(take(datagram), Ok(inner.clone()));
        }
        assert_eq!(take(&[&[0, 45 - protocol, 0, 0], &inner[..]].concat()), Err(DropReason::InnerVersion));
        assert_eq!(take(&inner[..19]), Err(DropReason::InnerLength));
    }
}

#[test]
fn outer_options_and_trailing_bytes_are_cut_off() {
    let wrapped = gre4(&[inner_ipv4(0), vec![0xEE; 6]].concat());
    assert_eq!(take_off(&rules(&[]), BARE, &wrapped), Ok(inner_ipv4(0)));

    let mut outer = under_ipv4(0, &gre4(&inner_ipv4(0)));
    outer.splice(20..20, [1, 1, 1, 0]); // four bytes of options
    outer[0] = 0x46;
    outer[3] += 4;
    outer.extend_from_slice(&[0xEE; 3]); // behind the total length
    assert_eq!(take_off(&rules(&[]), Outer::WithIpv4Header, &outer), Ok(inner_ipv4(0)));
}

#[test]
fn bad_outer_lengths_are_dropped_by_name() {
    let good = under_ipv4(0, &gre4(&inner_ipv4(0)));
    let change = |at: usize, to: u8| {
        let mut bad = good.clone();
        bad[at] = to;
        bad
    };
    let cases =
        [vec![], good[..3].to_vec(), good[..19].to_vec(), change(0, 0x65), change(0, 0x44), change(2, 1)];
    for datagram in cases {
        let got = take_off(&rules(&[]), Outer::WithIpv4Header, &datagram);
        assert_eq!(got, Err(DropReason::OuterHeader), "{datagram:02x?}");
    }
    assert_eq!(take_off(&rules(&[]), Outer::WithIpv4Header, &good[..]), Ok(inner_ipv4(0)));
}

#[test]
fn bad_inner_packets_are_dropped_by_name() {
    let change = |mut packet: Vec<u8>, at: usize, to: u8| {
        packet[at] = to;
        packet
    };
    let v4 = inner_ipv4(0);
    let v6 = inner_ipv6(0);
    let cases = [
        (gre4(&[]), DropReason::InnerLength),
        (gre4(&v4[..1]), DropReason::InnerLength),
        (gre4(&v4[..19]), DropReason::InnerLength),
        (gre4(&v4[..27]), DropReason::InnerLength),
        (gre4(&change(v4.clone(), 0, 0x44)), DropReason::InnerLength), // header below 20 bytes
        (gre4(&change(v4.clone(), 0, 0x4F)), DropReason::InnerLength), // header beyond the total length
        (gre4(&change(v4.clone(), 3, 19)), DropReason::InnerLength),
        (gre4(&change(v4.clone(), 3, 29)), DropReason::InnerLength),
        (gre6(&v6[..39]), DropReason::InnerLength),
        (gre6(&v6[..47]), DropReason::InnerLength),
        (gre6(&change(v6.clone(), 4, 0xFF)), DropReason::InnerLength),
        (gre4(&v6), DropReason::InnerVersion),
        (gre6(&v4), DropReason::InnerVersion),
        (gre6(&change(v6, 0, 0x50)), DropReason::InnerVersion),
    ];
    for (datagram, reason) in cases {
        assert_eq!(take_off(&rules(&[]), BARE, &datagram), Err(reason), "{datagram:02x?}");
    }
}

#[test]
fn only_the_vips_get_through_when_some_are_named() {
    let both = rules(&["203.0.113.10", "2001:db8::10"]);
    assert!(take_off(&both, BARE, &gre4(&inner_ipv4(0))).is_ok());
    assert!(take_off(&both, BARE, &gre6(&inner_ipv6(0))).is_ok());
    let others = rules(&["203.0.113.11", "2001:db8::11"]);
    assert_eq!(take_off(&others, BARE, &gre4(&inner_ipv4(0))), Err(DropReason::NotAVip));
    assert_eq!(take_off(&others, BARE, &gre6(&inner_ipv6(0))), Err(DropReason::NotAVip));
}

#[test]
fn congestion_marks_follow_rfc_6040() {
    // inner, outer, what comes out (`None`: dropped); DSCP 46 inside must survive, DSCP 10 outside must not enter.
    let table = [
        (0b00, 0b00, Some(0b00)),
        (0b00, 0b01, Some(0b00)),
        (0b00, 0b10, Some(0b00)),
        (0b00, 0b11, None),
        (0b10, 0b00, Some(0b10)),
        (0b10, 0b01, Some(0b01)),
        (0b10, 0b10, Some(0b10)),
        (0b10, 0b11, Some(0b11)),
        (0b01, 0b00, Some(0b01)),
        (0b01, 0b01, Some(0b01)),
        (0b01, 0b10, Some(0b01)),
        (0b01, 0b11, Some(0b11)),
        (0b11, 0b00, Some(0b11)),
        (0b11, 0b01, Some(0b11)),
        (0b11, 0b10, Some(0b11)),
        (0b11, 0b11, Some(0b11)),
    ];
    for (inner, outer, expected) in table {
        let (dscp, outer) = (46 << 2, 10 << 2 | outer);
        let bare = Outer::Bare { traffic_class: outer };
        // The expected packet is built from scratch, so its header checksum is an independent one.
        let expected4 = expected.map(|ecn| inner_ipv4(dscp | ecn)).ok_or(DropReason::EcnNotCapable);
        let expected6 = expected.map(|ecn| inner_ipv6(dscp | ecn)).ok_or(DropReason::EcnNotCapable);
        let wrapped = gre4(&inner_ipv4(dscp | inner));
        assert_eq!(take_off(&rules(&[]), bare, &wrapped), expected4.clone(), "{inner:02b} {outer:08b}");
        let under = under_ipv4(outer, &wrapped);
        assert_eq!(take_off(&rules(&[]), Outer::WithIpv4Header, &under), expected4);
        assert_eq!(take_off(&rules(&[]), bare, &gre6(&inner_ipv6(dscp | inner))), expected6);
        for header in [Header::Nothing(InnerFamily::Ipv6), Header::Gue] {
            assert_eq!(take_off_header(header, &rules(&[]), bare, &inner_ipv6(dscp | inner)), expected6);
        }
    }
}

/// Any bytes, most of the time behind a good header.
fn nearly_inner() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..80),
        prop::collection::vec(any::<u8>(), 0..80).prop_map(|mut bytes| {
            bytes.splice(0..0, inner_ipv4(2));
            bytes
        }),
        prop::collection::vec(any::<u8>(), 0..80).prop_map(|mut bytes| {
            bytes.splice(0..0, inner_ipv6(1));
            bytes
        }),
    ]
}

/// Bytes that look enough like GRE for the deeper checks to be reached.
fn nearly_gre() -> impl Strategy<Value = Vec<u8>> {
    let protocol = prop_oneof![Just([8, 0]), Just([0x86, 0xDD]), any::<[u8; 2]>()];
    let flags = prop_oneof![Just([0, 0]), Just([0xB0, 0]), Just([0x20, 0]), any::<[u8; 2]>()];
    (flags, protocol, nearly_inner())
        .prop_map(|(flags, protocol, inner)| [&flags[..], &protocol[..], &inner].concat())
}

fn some_outer() -> impl Strategy<Value = Outer> {
    prop_oneof![
        Just(Outer::WithIpv4Header),
        any::<u8>().prop_map(|traffic_class| Outer::Bare { traffic_class })
    ]
}

/// Bytes that look enough like GUE for the deeper checks to be reached.
fn nearly_gue() -> impl Strategy<Value = Vec<u8>> {
    let protocol = prop_oneof![Just(4), Just(41), any::<u8>()];
    let flags = prop_oneof![Just([0, 0]), any::<[u8; 2]>()];
    (any::<u8>(), protocol, flags, nearly_inner()).prop_map(|(first, protocol, flags, inner)| {
        let private_data = vec![first; usize::from(first & 31) * 4];
        [&[first & 0x3F, protocol][..], &flags, &private_data, &inner].concat()
    })
}

fn some_header() -> impl Strategy<Value = Header> {
    use Header::{Gre, Gue, Nothing};
    prop::sample::select(vec![Gre, Gue, Nothing(InnerFamily::Ipv4), Nothing(InnerFamily::Ipv6)])
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_what_comes_out_is_consistent(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            nearly_gre(),
            nearly_gre().prop_map(|payload| under_ipv4(3, &payload)),
            nearly_inner(),
            nearly_inner().prop_map(|payload| under_ipv4(3, &payload)),
            nearly_gue(),
        ],
        header in some_header(),
        outer in some_outer(),
        key in proptest::option::of(any::<u32>()),
    ) {
        let rules = Rules { key, ..rules(&[]) };
        if let Ok(inner) = take_off_header(header, &rules, outer, &bytes) {
            let stated = match inner[0] >> 4 {
                4 => usize::from(u16::from_be_bytes([inner[2], inner[3]])),
                6 => 40 + usize::from(u16::from_be_bytes([inner[4], inner[5]])),
                version => panic!("version {version}"),
            };
            prop_assert_eq!(inner.len(), stated);
        }
    }

    #[test]
    fn every_way_of_wrapping_in_udp_is_undone(
        payload in prop::collection::vec(any::<u8>(), 0..1400),
        words in proptest::option::of(0u8..32),
        traffic_class in any::<u8>(),
    ) {
        let mut inner = inner_ipv6(0b01);
        inner.truncate(40);
        inner[4..6].copy_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        inner.extend_from_slice(&payload);
        let header = words.map_or(vec![], |words| [&[words, 41, 0, 0][..], &vec![0x5A; usize::from(words) * 4]].concat());
        let outer = Outer::Bare { traffic_class };
        let taken = take_off_header(Header::Gue, &rules(&[]), outer, &[header, inner.clone()].concat());
        if traffic_class & 3 == 3 { inner[1] |= 0b0010_0000; } // congestion met
        prop_assert_eq!(taken, Ok(inner));
    }

    #[test]
    fn every_way_of_wrapping_in_gre_is_undone(
        payload in prop::collection::vec(any::<u8>(), 0..1400),
        key in any::<u32>(),
        sequence in any::<u32>(),
        with in any::<[bool; 3]>(),
        ipv4_outside in any::<bool>(),
    ) {
        let mut inner = inner_ipv6(0);
        inner.truncate(40);
        inner[4..6].copy_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        inner.extend_from_slice(&payload);
        let [with_checksum, with_key, with_sequence] = with;
        let flags = u8::from(with_checksum) << 7 | u8::from(with_key) << 5 | u8::from(with_sequence) << 4;
        let mut wrapped = vec![flags, 0, 0x86, 0xDD];
        if with_checksum { wrapped.extend_from_slice(&[0; 4]); }
        if with_key { wrapped.extend_from_slice(&key.to_be_bytes()); }
        if with_sequence { wrapped.extend_from_slice(&sequence.to_be_bytes()); }
        wrapped.extend_from_slice(&inner);
        if with_checksum {
            let sum = checksum::of(&wrapped);
            wrapped[4..6].copy_from_slice(&sum.to_be_bytes());
        }
        let (outer, datagram) = match ipv4_outside {
            true => (Outer::WithIpv4Header, under_ipv4(0, &wrapped)),
            false => (BARE, wrapped),
        };
        let rules = Rules { key: with_key.then_some(key), ..rules(&[]) };
        prop_assert_eq!(take_off(&rules, outer, &datagram), Ok(inner));
    }
}
