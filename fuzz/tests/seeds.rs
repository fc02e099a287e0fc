//! The seeds are there, and run through their targets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{fs, path::Path};

use fuzz::{
    frames::word,
    support::{ACK, CLIENT_MAC, FIN, Ip, LAN_MAC, SERVER_NET_MAC, SYN, ethernet, frame, server_mac},
};

fn run_all(folder: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut seeds = 0;
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_file() {
            target(&fs::read(path).unwrap());
            seeds += 1;
        }
    }
    assert!(seeds > 2, "{seeds} seeds in {}", folder.display());
}

#[test]
fn seeds_of_frames_run() {
    run_all("corpus/frames", fuzz::frames::run);
}

#[test]
fn seeds_of_the_flow_table_run() {
    run_all("corpus/flow_table", fuzz::flow_table::run);
}

#[test]
fn seeds_of_the_configuration_run() {
    run_all("../configs", fuzz::config::run);
}

#[test]
fn seeds_of_decap_run() {
    run_all("corpus/decap", fuzz::decap::run);
}

/// Frames with the words before them.
fn input(frames: &[(u16, Vec<u8>)]) -> Vec<u8> {
    frames
        .iter()
        .flat_map(|(bits, frame)| [&(bits | frame.len() as u16).to_be_bytes()[..], frame].concat())
        .collect()
}

/// `WEIR_REWRITE=1` writes what is missing or different.
fn assert_seed(path: &str, expected: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(path);
    if std::env::var_os("WEIR_REWRITE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, expected).unwrap();
    }
    assert!(
        fs::read(&path).is_ok_and(|found| found == expected),
        "{}: WEIR_REWRITE=1 writes it",
        path.display()
    );
}

#[test]
fn seeds_are_what_is_written_here() {
    let (v4, v6) = ("203.0.113.10", "2001:db8:5::10");
    let (client4, client6) = ("203.0.113.77", "2001:db8:7::77");
    let from_client = |ip: Vec<u8>| frame(LAN_MAC, CLIENT_MAC, &ip);
    for (name, vip, client) in [("ipv4", v4, client4), ("ipv6", v6, client6)] {
        let mut connections = Vec::new();
        for port in 80..87 {
            for (bits, flags) in [(0, SYN), (word::TURN, ACK), (word::SECOND_WORKER, FIN | ACK)] {
                connections
                    .push((bits, from_client(Ip::new(client, vip, 6).tcp(1000, port, flags, b"data"))));
            }
            connections.push((0, from_client(Ip::new(client, vip, 17).udp(1000, port, b"data", true))));
        }
        assert_seed(&format!("frames/{name}"), &input(&connections));
    }
    // The servers' port has a VLAN.
    let tagged = |mut frame: Vec<u8>| {
        frame.splice(12..12, [0x81, 0, 0, 100]);
        frame
    };
    let request = from_client(Ip::new(client4, v4, 6).tcp(1000, 86, SYN, b""));
    let replies = (11..13).map(|last| {
        let ip = Ip::new(&format!("198.51.100.{last}"), client4, 6).tcp(8080, 1000, SYN | ACK, b"");
        (word::SERVERS | word::TURN, tagged(frame(SERVER_NET_MAC, server_mac(last), &ip)))
    });
    let nat: Vec<_> = std::iter::once((0, request)).chain(replies).collect();
    assert_seed("frames/nat", &input(&nat));
    let quoted = Ip::new(v4, client4, 6).tcp(80, 1000, ACK, b"");
    let error = [&[3, 4, 0, 0, 0, 0, 5, 0], &quoted[..28]].concat();
    let ping = [&[8, 0, 0, 0, 0, 1, 0, 1], &[7; 30][..]].concat();
    let arp =
        [&[0, 1, 8, 0, 6, 4, 0, 1], &CLIENT_MAC.0[..], &[192, 0, 2, 9], &[0; 6], &[192, 0, 2, 2]].concat();
    let others = [
        (0, from_client(Ip::new("203.0.113.254", v4, 1).packet(&error))),
        (0, from_client(Ip::new(client4, v4, 1).packet(&ping))),
        (0, from_client(Ip { misc: 0x2000, ..Ip::new(client4, v4, 17) }.packet(&[0; 64]))),
        (word::FOR_US, ethernet(LAN_MAC, CLIENT_MAC, 0x0806, &arp)),
        (0, from_client(Ip::new(client4, "192.0.2.2", 6).tcp(1000, 22, SYN, b""))),
    ];
    assert_seed("frames/others", &input(&others));

    let fill: Vec<u8> =
        (0..200u16).flat_map(|flow| [(flow % 40) as u8 & 0xfb, (flow >> 8) as u8, flow as u8]).collect();
    assert_seed("flow_table/fill", &fill);
    let sweep: Vec<u8> = fill.iter().copied().chain([5, 0xff, 0xff, 0xfe, 0, 0].repeat(20)).collect();
    assert_seed("flow_table/sweep", &sweep);
    assert_seed(
        "flow_table/remove",
        &fill.chunks(3).flat_map(|op| [op, &[4, op[1], op[2]]].concat()).collect::<Vec<u8>>(),
    );

    let inner = Ip::new(client4, v4, 6).tcp(1000, 80, SYN, b"");
    let inner6 = Ip::new(client6, v6, 6).tcp(1000, 80, SYN, b"");
    let gre = |kind: [u8; 2], ip: &[u8]| [&[0, 0], &kind[..], ip].concat();
    assert_seed("decap/gre", &[&[4, 0][..], &gre([8, 0], &inner)].concat());
    assert_seed("decap/gre6", &[&[4, 0][..], &gre([0x86, 0xdd], &inner6)].concat());
    let outer = Ip::new("198.51.100.2", "198.51.100.11", 47).packet(&gre([8, 0], &inner));
    assert_seed("decap/gre_with_header", &[&[0, 0][..], &outer].concat());
    assert_seed("decap/gue", &[&[5, 0, 0, 4, 0, 0][..], &inner].concat());
    assert_seed("decap/gue_direct", &[&[5, 0][..], &inner6].concat());
    assert_seed("decap/ipip", &[&[6, 3][..], &inner].concat());
}
