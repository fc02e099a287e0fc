use proptest::prelude::*;

use super::*;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN: u8 = 0x11;
const RST: u8 = 0x04;

/// The header of a capture: little-endian, microseconds.
fn header(link: u32) -> Vec<u8> {
    let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
    bytes.extend([0; 8]);
    bytes.extend(65_535_u32.to_le_bytes());
    bytes.extend(link.to_le_bytes());
    bytes
}

fn record(seconds: u32, micros: u32, frame: &[u8]) -> Vec<u8> {
    let length = frame.len() as u32;
    let mut bytes: Vec<u8> =
        [seconds, micros, length, length].into_iter().flat_map(u32::to_le_bytes).collect();
    bytes.extend(frame);
    bytes
}

/// An IPv4 packet between 10.0.0.1 and 10.0.0.2 with some payload; `from` and `to` are ports, and the lower port is the server's.
fn packet(protocol: u8, from: u16, to: u16, flags: u8, payload: usize) -> Vec<u8> {
    let upper = if protocol == protocol::TCP { 20 } else { 8 };
    let total = (20 + upper + payload) as u16;
    let [source, destination] = if from > to { [1, 2] } else { [2, 1] };
    let mut bytes = vec![0x45, 0];
    bytes.extend(total.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, source, 10, 0, 0, destination]);
    bytes.extend(from.to_be_bytes());
    bytes.extend(to.to_be_bytes());
    if protocol == protocol::TCP {
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
    } else {
        bytes.extend([0, 0, 0, 0]);
    }
    bytes.resize(usize::from(total), 7);
    bytes
}

fn tcp(from: u16, to: u16, flags: u8, payload: usize) -> Vec<u8> {
    packet(protocol::TCP, from, to, flags, payload)
}

fn flows(bytes: &[u8]) -> Result<Vec<(u64, u64)>, TraceError> {
    let mut source = Flows::new(bytes, IDLE)?;
    let mut found = Vec::new();
    while let Some(entry) = source.next()? {
        let Ask::Bytes(bytes) = entry.ask else { panic!("{entry:?}") };
        found.push((entry.t as u64 / 1000, bytes));
    }
    assert!(source.live.is_empty() && source.waiting.is_empty());
    Ok(found)
}

fn capture(records: &[(u32, u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = header(101);
    for (seconds, micros, packet) in records {
        bytes.extend(record(*seconds, *micros, packet));
    }
    bytes
}

#[test]
fn flows_come_in_the_order_of_their_begin_with_the_bytes_of_both_directions() {
    let found = flows(&capture(&[
        (5, 0, tcp(4000, 80, SYN, 0)),
        (5, 10, tcp(80, 4000, SYN | ACK, 0)),
        (5, 20, packet(protocol::UDP, 5000, 53, 0, 12)),
        (5, 30, tcp(4001, 80, SYN, 0)),
        (5, 40, tcp(4001, 80, RST, 0)),
        (5, 50, tcp(4000, 80, ACK, 100)),
        (5, 60, tcp(80, 4000, FIN, 1000)),
        (5, 70, tcp(4000, 80, FIN, 0)),
    ]))
    .unwrap();
    assert_eq!(found, [(0, 6 * 40 - 40 + 1100), (20, 40), (30, 80)]);
}

#[test]
fn flows_whose_begin_is_missing_are_passed_over() {
    let found = flows(&capture(&[
        (1, 0, tcp(4000, 80, ACK, 10)),
        (1, 1, packet(protocol::ICMP, 0, 0, 0, 30)),
        (1, 2, tcp(4002, 80, SYN, 0)),
    ]))
    .unwrap();
    assert_eq!(found, [(2, 40)]);
}

#[test]
fn ports_that_are_used_again_are_another_flow() {
    let again = flows(&capture(&[
        (0, 0, tcp(4000, 80, SYN, 0)),
        (1, 0, tcp(4000, 80, SYN, 0)),
        (2, 0, tcp(4000, 80, FIN, 0)),
        (3, 0, tcp(4000, 80, SYN, 0)),
        (70, 0, tcp(4000, 80, SYN, 0)),
    ]))
    .unwrap();
    assert_eq!(again, [(0, 120), (3_000_000, 40), (70_000_000, 40)]);
    let udp = |seconds| (seconds, 0, packet(protocol::UDP, 5000, 53, 0, 0));
    assert_eq!(flows(&capture(&[udp(0), udp(60), udp(121)])).unwrap(), [(0, 56), (121_000_000, 28)]);
}

#[test]
fn links_and_byte_orders_are_read() {
    let inner = tcp(4000, 80, SYN, 0);
    let mac = [0_u8; 12];
    for (link, frame) in [
        (1, [&mac[..], &[0x08, 0x00], &inner[..]].concat()),
        (1, [&mac[..], &[0x81, 0x00, 0, 5, 0x08, 0x00], &inner[..]].concat()),
        (101, inner.clone()),
        (113, [&[0; 14][..], &[0x08, 0x00], &inner[..]].concat()),
    ] {
        let bytes = [header(link), record(1, 0, &frame)].concat();
        assert_eq!(flows(&bytes).unwrap(), [(0, 40)], "link {link}");
    }
    let mut big = vec![0xa1, 0xb2, 0x3c, 0x4d, 0, 2, 0, 4];
    big.extend([0; 12]);
    big.extend(101_u32.to_be_bytes());
    for (nanos, port) in [(0_u32, 4000), (2_000_000, 4001)] {
        let packet = tcp(port, 80, SYN, 0);
        let length = packet.len() as u32;
        big.extend([1, nanos, length, length].into_iter().flat_map(u32::to_be_bytes));
        big.extend(packet);
    }
    assert_eq!(flows(&big).unwrap(), [(0, 40), (2000, 40)]);
}

#[test]
fn broken_captures_are_refused_where_they_break() {
    let whole = capture(&[(0, 0, tcp(4000, 80, SYN, 0)), (0, 1, tcp(4001, 80, SYN, 0))]);
    for (bytes, expected) in [
        (&whole[..10], "byte 0: no header of a capture"),
        (&whole[..90], "byte 80: it ends within the header of a record"),
        (&whole[..100], "byte 80: it ends within a packet"),
    ] {
        let error = flows(bytes).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    assert!(matches!(flows(&header(105)), Err(TraceError::LinkType(105))));
    let mut long = header(101);
    long.extend([0_u32, 0, u32::MAX, 60].into_iter().flat_map(u32::to_le_bytes));
    assert!(flows(&long).unwrap_err().to_string().contains("longer than any packet"));
    assert_eq!(flows(&header(1)).unwrap(), []);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400), link in 0..120_u32) {
        let _ = flows(&bytes);
        let _ = flows(&[header(link), bytes.clone()].concat());
        let _ = flows(&[header(101), record(0, 0, &bytes)].concat());
    }

    #[test]
    fn every_byte_of_every_flow_counts_once(
        packets in prop::collection::vec((0..4_u16, 0..2_u32, any::<bool>(), prop::sample::select(vec![SYN, ACK, FIN, RST]), 0..50_usize), 0..60),
    ) {
        let mut t = 0;
        let mut records = Vec::new();
        // UDP packets all belong to a flow; so do TCP packets of flows that began.
        let mut expected = 0;
        for (port, gap, is_up, flags, payload) in packets {
            t += gap;
            let (from, to) = if is_up { (4000 + port, 80) } else { (80, 4000 + port) };
            let protocol = if port < 2 { protocol::UDP } else { protocol::TCP };
            let bytes = packet(protocol, from, to, flags, payload);
            if port < 2 {
                expected += bytes.len() as u64;
            }
            records.push((t, 0, bytes));
        }
        let udp: Vec<_> = records.iter().filter(|(_, _, bytes)| bytes[9] == protocol::UDP).cloned().collect();
        let found = flows(&capture(&udp)).unwrap();
        prop_assert_eq!(found.iter().map(|flow| flow.1).sum::<u64>(), expected);
        let all = flows(&capture(&records)).unwrap();
        prop_assert!(all.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        let total: u64 = records.iter().map(|(_, _, bytes)| bytes.len() as u64).sum();
        let sum: u64 = all.iter().map(|flow| flow.1).sum();
        prop_assert!(expected <= sum && sum <= total);
    }
}
