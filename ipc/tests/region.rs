//! The region through its public face: format, refusals, writers, and content that is not to be believed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

use ipc::{
    region::{
        FALLBACK, Fault, FrameError, FrameHeader, LAYOUT_HASH, Region, RegionError, ServerState,
        ServerStatistics, ServerWeight, Shape, StatisticsFrame, VipStatistics, VipWeights, WeightsFrame,
    },
    reservoir::Statistics,
    sample::Kind,
};
use proptest::prelude::*;
use tempfile::TempDir;

const SHAPE: Shape = Shape { slots: 2, vips: 2, servers: 3, vip_ids: 100, server_ids: 1000 };
/// Where slots begin, and their sizes, for `SHAPE`.
const SLOTS_AT: usize = 384;
const STATISTICS_SLOT: usize = 1408;
const WEIGHTS_SLOT: usize = 256;
/// In a slot, where the frame begins; in a frame, where the first VIP begins, and its first server.
const FRAME_AT: usize = 16;
const VIP_AT: usize = FRAME_AT + 56;
const SERVER_AT: usize = VIP_AT + 64;

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("region");
    (folder, path)
}

fn said(base: f32) -> Statistics {
    Statistics {
        count: 100,
        age: 5_000_000,
        mean: base,
        std: base / 2.0,
        p50: base * 0.75,
        p90: base * 1.5,
        p99: base * 2.0,
        decayed_mean: base * 1.25,
        decayed_p90: base * 1.75,
    }
}

/// Two VIPs, one with two servers and one with one; every field has a value of its own.
fn statistics() -> StatisticsFrame {
    let mut frame = StatisticsFrame::default();
    frame.begin(1_000_000_000, 9);
    frame.header_mut().lost = 17;
    let vip = VipStatistics {
        vip: 4,
        servers: 0,
        packets: 1000,
        bytes: 64_000,
        created: 30,
        open: 12,
        packet_rate: 500.5,
        byte_rate: 32_032.0,
        flow_rate: 15.25,
    };
    let mut server = ServerStatistics {
        configured_weight: 2.0,
        weight: 1.5,
        open: 5,
        created: 20,
        established: 19,
        finished_fin: 10,
        finished_rst: 3,
        finished_timeout: 1,
        evicted: 1,
        packets: 700,
        bytes: 44_800,
        syn_retransmits: 2,
        ..ServerStatistics::new(7, ServerState::Draining)
    };
    server.kinds[Kind::Handshake.index()] = Some(said(250_000.0)).into();
    server.kinds[Kind::FlowBytes.index()] = Some(said(8192.0)).into();
    frame.vip(vip).server(server).server(ServerStatistics::new(8, ServerState::Active));
    frame.vip(VipStatistics { vip: 5, ..vip }).server(ServerStatistics::new(999, ServerState::Down));
    frame
}

fn weights() -> WeightsFrame {
    let mut frame = WeightsFrame::default();
    frame.begin(1_000_000_000, 9);
    let vip = VipWeights { answers: 1, answers_epoch: 1, flags: FALLBACK, ..VipWeights::new(4, "sac-gru") };
    frame
        .vip(vip)
        .server(ServerWeight { guards: 3, ..ServerWeight::new(7, 1.25) })
        .server(ServerWeight::new(8, 0.0));
    frame
}

/// A region in which both frames were published at 2 s, and whose writers ended in order.
fn published() -> (TempDir, PathBuf) {
    let (folder, path) = place();
    let region = Region::create(&path, SHAPE).unwrap();
    region.statistics_writer(1_500_000_000).unwrap().publish(&mut statistics(), 2_000_000_000).unwrap();
    region.weights_writer(1_500_000_000).unwrap().publish(&mut weights(), 2_000_000_000).unwrap();
    (folder, path)
}

/// Writes `bytes` at `at` into the file behind a region.
fn patch(path: &PathBuf, at: usize, bytes: &[u8]) {
    let mut file = fs::read(path).unwrap();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(path, file).unwrap();
}

#[test]
fn frames_cross_as_they_were_and_are_new_once() {
    let (_folder, path) = published();
    let region = Region::open_read_only(&path).unwrap();
    let mut reader = region.statistics_reader();
    let frame = reader.latest().unwrap().unwrap();
    assert_eq!(
        *frame.header(),
        FrameHeader {
            number: 1,
            epoch: 1,
            published: 2_000_000_000,
            t: 1_000_000_000,
            generation: 9,
            lost: 17,
            vips: 2,
            servers: 3,
        }
    );
    for (found, sent) in frame.vips().zip(statistics().vips()) {
        assert_eq!(found, sent);
    }
    let servers: Vec<_> = frame.vips().map(|(vip, servers)| (vip.vip, servers.len())).collect();
    assert_eq!(servers, [(4, 2), (5, 1)]);
    let (_, servers) = frame.vips().next().unwrap();
    assert_eq!(servers[0].state(), Some(ServerState::Draining));
    assert_eq!(servers[0].kind(Kind::Handshake), Some(said(250_000.0)));
    assert_eq!(servers[1].kind(Kind::Handshake), None, "no data is no value");
    assert!(reader.latest().unwrap().is_none(), "the same frame again");
    assert!(reader.believed().is_some());

    let mut reader = region.weights_reader();
    let frame = reader.latest().unwrap().unwrap();
    let (vip, servers) = frame.vips().next().unwrap();
    assert_eq!((vip.policy(), vip.flags, vip.answers), ("sac-gru", FALLBACK, 1));
    assert_eq!(
        servers,
        [ServerWeight { guards: 3, ..ServerWeight::new(7, 1.25) }, ServerWeight::new(8, 0.0)]
    );
}

/// `offset  16 bytes` for each line of 16 that is not all zero.
fn dump(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16).enumerate().filter(|(_, line)| line.iter().any(|&byte| byte != 0));
    lines
        .map(|(index, line)| {
            let hex: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{:04x}  {}\n", index * 16, hex.join(" "))
        })
        .collect()
}

#[test]
fn region_has_the_golden_bytes() {
    let (_folder, path) = published();
    let found = dump(&fs::read(&path).unwrap());
    let golden = include_str!("golden/region-v1.hex");
    assert_eq!(found, golden, "the format changed: that takes a new version, and a new golden file\n{found}");
}

#[test]
fn layout_hash_is_the_documented_one() {
    let page = include_str!("../../docs/design/region.md");
    assert!(page.contains(&format!("`{LAYOUT_HASH:#018x}`")), "{LAYOUT_HASH:#018x}");
}

#[test]
fn python_reads_the_region_as_the_page_says() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("!!! there is no python3: the reader in docs/design/region.md is NOT tested !!!");
        return;
    }
    let page = include_str!("../../docs/design/region.md");
    let script = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let (_folder, path) = published();
    let output = Command::new("python3").args(["-c", script]).arg(&path).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        printed.lines().collect::<Vec<_>>(),
        [
            "frame 1 epoch 1 generation 9",
            "vip 4 server 7 state 1 open 5 handshake (100, 250000.0)",
            "vip 4 server 8 state 0 open 0 handshake None",
            "vip 5 server 999 state 2 open 0 handshake None",
        ]
    );
}

#[test]
fn region_is_private_and_appears_whole() {
    let (folder, path) = place();
    Region::create(&path, SHAPE).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(Region::open(&path), Err(RegionError::Mode { found: 0o644 })));
}

#[test]
fn attaching_clears_nothing() {
    let (_folder, path) = published();
    let before = fs::read(&path).unwrap();
    for _ in 0..2 {
        Region::create(&path, SHAPE).unwrap();
        Region::open(&path).unwrap().weights_reader().latest().unwrap().unwrap();
        Region::open_read_only(&path).unwrap().statistics_reader().latest().unwrap().unwrap();
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_no_region_of_ours_is_refused_by_name() {
    let refused = |patch_at: usize, bytes: &[u8]| {
        let (_folder, path) = published();
        patch(&path, patch_at, bytes);
        let error = Region::open(&path).unwrap_err();
        assert!(!error.to_string().is_empty() && !error.remedy().is_empty());
        error
    };
    assert!(matches!(refused(0, b"GARBAGE!"), RegionError::Magic { found } if &found == b"GARBAGE!"));
    assert!(matches!(refused(8, &2_u32.to_le_bytes()), RegionError::Version { found: 2 }));
    assert!(matches!(refused(16, &[1; 8]), RegionError::LayoutHash { .. }));
    assert!(matches!(refused(24, &[1; 8]), RegionError::Size { .. }), "region_bytes");
    assert!(matches!(refused(32, &[0; 4]), RegionError::OutOfBounds { field: "slots", found: 0, .. }));
    assert!(matches!(refused(36, &[9; 4]), RegionError::Size { .. }), "kinds");
    assert!(matches!(refused(44, &[255; 4]), RegionError::OutOfBounds { field: "servers", .. }));
    assert!(
        matches!(refused(44, &[200, 0, 0, 0]), RegionError::Size { .. }),
        "more servers than there is room"
    );
    assert!(matches!(refused(56, &[1; 8]), RegionError::Size { .. }), "statistics_slot_bytes");

    let (folder, path) = published();
    let whole = fs::read(&path).unwrap();
    for length in [0, 10, 71, 72, 384, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(matches!(Region::open(&path), Err(RegionError::Size { .. })), "{length} bytes");
    }
    let other = Shape { servers: 4, ..SHAPE };
    fs::write(&path, &whole).unwrap();
    let error = Region::create(&path, other).unwrap_err();
    assert!(matches!(error, RegionError::Shape { field: "servers", found: 3, wanted: 4 }));
    assert!(matches!(Region::open(folder.path().join("none")), Err(RegionError::Io { action: "open", .. })));
    let nowhere = folder.path().join("no/folder");
    assert!(matches!(Region::create(nowhere, SHAPE), Err(RegionError::Io { action: "make", .. })));
    let impossible = Shape { slots: 1, ..SHAPE };
    assert!(matches!(
        Region::create(&path, impossible),
        Err(RegionError::OutOfBounds { field: "slots", .. })
    ));
}

#[test]
fn second_writer_is_refused_while_the_first_lives() {
    let (_folder, path) = place();
    let region = Region::create(&path, SHAPE).unwrap();
    let first = region.statistics_writer(1).unwrap();
    for region in [region.clone(), Region::open(&path).unwrap()] {
        let error = region.statistics_writer(2).unwrap_err();
        let own = u64::from(std::process::id());
        assert!(matches!(error, RegionError::Writer { channel: "statistics", pid } if pid == own), "{error}");
        region.weights_writer(2).expect("the other direction is free");
    }
    assert_eq!(region.statistics_reader().origin().epoch, 1, "who was refused left no trace");
    drop(first);
    assert_eq!(region.statistics_writer(3).unwrap().epoch(), 2);
    let reading = Region::open_read_only(&path).unwrap();
    assert!(matches!(reading.statistics_writer(4), Err(RegionError::ReadOnly)));
}

#[test]
fn restarted_writer_is_accepted_at_once() {
    let (_folder, path) = place();
    let region = Region::create(&path, SHAPE).unwrap();
    let mut reader = region.statistics_reader();
    for epoch in 1..=4 {
        let mut writer = region.statistics_writer(epoch * 10).unwrap();
        let number = writer.publish(&mut statistics(), epoch * 10 + 1).unwrap();
        writer.beat(epoch * 10 + 2);
        let header = *reader.latest().unwrap().expect("the first frame of a new writer").header();
        assert_eq!((header.number, header.epoch, header.published), (number, epoch, epoch * 10 + 1));
        let origin = reader.origin();
        assert_eq!((origin.epoch, origin.heartbeat), (epoch, epoch * 10 + 2));
        assert_eq!(origin.pid, Some(u64::from(std::process::id())));
    }
    assert_eq!(reader.origin().pid, None, "the last writer ended in order");
}

#[test]
fn slow_reader_gets_the_newest_frame_only() {
    let (_folder, path) = place();
    let region = Region::create(&path, SHAPE).unwrap();
    let (mut writer, mut reader) = (region.weights_writer(0).unwrap(), region.weights_reader());
    for round in 1..=10 {
        for _ in 0..round {
            writer.publish(&mut weights(), round).unwrap();
        }
        assert_eq!(reader.latest().unwrap().unwrap().header().number, round * (round + 1) / 2);
        assert!(reader.latest().unwrap().is_none());
    }
}

#[test]
fn frame_larger_than_the_region_is_refused_and_costs_nothing() {
    let (_folder, path) = published();
    let region = Region::open(&path).unwrap();
    let mut writer = region.weights_writer(0).unwrap();
    let mut frame = weights();
    frame
        .vip(VipWeights::new(1, "static"))
        .server(ServerWeight::new(1, 1.0))
        .server(ServerWeight::new(2, 1.0));
    let error = writer.publish(&mut frame, 1).unwrap_err();
    assert!(
        matches!(error, RegionError::TooLarge { vips: 2, servers: 4, most_vips: 2, most_servers: 3 }),
        "{error}"
    );
    assert_eq!(region.weights_reader().latest().unwrap().unwrap().header().number, 1);
}

#[test]
fn replaced_region_is_noticed() {
    let (_folder, path) = place();
    let region = Region::create(&path, SHAPE).unwrap();
    assert!(!region.is_replaced());
    fs::remove_file(&path).unwrap();
    assert!(region.is_replaced());
    Region::create(&path, SHAPE).unwrap();
    assert!(region.is_replaced());
}

#[test]
fn region_that_does_not_fit_is_replaced_when_nobody_writes_it() {
    let (_folder, path) = published();
    let larger = Shape { servers: 500, ..SHAPE };
    let policy = Region::open(&path).unwrap();
    let writer = policy.statistics_writer(0).unwrap();
    let own = u64::from(std::process::id());
    assert!(matches!(Region::replace(&path, larger), Err(RegionError::Writer { pid, .. }) if pid == own));
    drop(writer);
    patch(&path, 8, &[99]); // of another version
    assert_eq!(Region::replace(&path, larger).unwrap().shape(), larger);
    assert!(policy.is_replaced());
    assert!(Region::open(&path).unwrap().statistics_reader().latest().unwrap().is_none());
    fs::write(&path, b"somebody's diary").unwrap();
    assert!(matches!(Region::replace(&path, larger), Err(RegionError::Magic { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"somebody's diary");
}

#[test]
fn frame_that_cannot_be_is_reported_once_and_the_one_before_stays() {
    let (_folder, path) = place();
    let region = Region::create(&path, SHAPE).unwrap();
    let (mut writer, mut reader) = (region.weights_writer(0).unwrap(), region.weights_reader());
    writer.publish(&mut weights(), 1).unwrap();
    reader.latest().unwrap().unwrap();
    let mut wrong = weights();
    wrong.vip(VipWeights::new(5, "static")).server(ServerWeight::new(1, f64::NAN));
    writer.publish(&mut wrong, 2).unwrap();
    let error = reader.latest().unwrap_err();
    assert!(matches!(
        error,
        FrameError::Unbelievable { number: 2, fault: Fault::Value { what: "weight", of: 1, .. } }
    ));
    assert!(reader.latest().unwrap().is_none());
    assert_eq!(reader.believed().unwrap().header().number, 1);
    writer.publish(&mut weights(), 3).unwrap();
    assert_eq!(reader.latest().unwrap().unwrap().header().number, 3);
}

/// What the reader of a region says whose first statistics slot has these bytes at this place.
fn statistics_fault(at: usize, bytes: &[u8]) -> Fault {
    let (_folder, path) = published();
    patch(&path, SLOTS_AT + at, bytes);
    match Region::open(&path).unwrap().statistics_reader().latest() {
        Err(FrameError::Unbelievable { number: 1, fault }) => fault,
        other => panic!("{at}: {other:?}"),
    }
}

/// The same for weights.
fn weights_fault(at: usize, bytes: &[u8]) -> Fault {
    let (_folder, path) = published();
    patch(&path, SLOTS_AT + 2 * STATISTICS_SLOT + at, bytes);
    match Region::open(&path).unwrap().weights_reader().latest() {
        Err(FrameError::Unbelievable { number: 1, fault }) => fault,
        other => panic!("{at}: {other:?}"),
    }
}

#[test]
fn every_field_that_means_something_is_validated() {
    let infinite = f64::INFINITY.to_le_bytes();
    // The frame as a whole.
    assert!(matches!(statistics_fault(8, &[0; 8]), Fault::Length { words: 0 }));
    assert!(matches!(statistics_fault(8, &[255; 8]), Fault::Length { .. }), "cut to the slot");
    assert!(matches!(statistics_fault(FRAME_AT, &[9; 8]), Fault::Number { .. }));
    assert!(matches!(
        statistics_fault(FRAME_AT + 48, &[3]),
        Fault::Count { what: "VIPs", found: 3, most: 2 }
    ));
    assert!(matches!(statistics_fault(FRAME_AT + 48, &[1]), Fault::Length { .. }), "words are left over");
    assert!(matches!(
        statistics_fault(FRAME_AT + 52, &[4]),
        Fault::Count { what: "servers", found: 4, most: 3 }
    ));
    assert!(matches!(statistics_fault(FRAME_AT + 52, &[2]), Fault::Count { what: "servers of VIPs", .. }));
    // A VIP: its number, its servers, its rates.
    assert!(matches!(statistics_fault(VIP_AT, &[100]), Fault::Id { what: "VIP", found: 100, below: 100 }));
    assert!(matches!(statistics_fault(VIP_AT + 4, &[255; 4]), Fault::Length { .. }));
    for (at, name) in [(40, "packet rate"), (48, "byte rate"), (56, "flow rate")] {
        for wrong in [infinite, (-1.0_f64).to_le_bytes(), f64::NAN.to_le_bytes()] {
            assert!(
                matches!(statistics_fault(VIP_AT + at, &wrong), Fault::Value { what, of: 4, .. } if what == name)
            );
        }
    }
    // A server: its number, state, weights.
    assert!(matches!(statistics_fault(SERVER_AT, &1000_u32.to_le_bytes()), Fault::Id { what: "server", .. }));
    assert!(matches!(
        statistics_fault(SERVER_AT + 4, &[3]),
        Fault::Value { what: "state", of: 7, found: 3.0 }
    ));
    assert!(matches!(
        statistics_fault(SERVER_AT + 8, &infinite),
        Fault::Value { what: "configured weight", .. }
    ));
    assert!(matches!(statistics_fault(SERVER_AT + 16, &infinite), Fault::Value { what: "weight", .. }));
    // What reservoirs say: each value of the handshake, then the empty flow completion.
    let handshake = SERVER_AT + 104 + 2 * 40;
    assert!(matches!(
        statistics_fault(handshake + 8, &[129]),
        Fault::Count { what: "samples", found: 129, most: 128 }
    ));
    assert!(matches!(
        statistics_fault(handshake + 8, &[0]),
        Fault::Value { what: "statistics without data", .. }
    ));
    for value in 0..7 {
        for wrong in [f32::NAN, f32::INFINITY, -1.0] {
            let fault = statistics_fault(handshake + 12 + 4 * value, &wrong.to_le_bytes());
            assert!(
                matches!(fault, Fault::Value { what: "statistics", of: 7, .. }),
                "{value} {wrong}: {fault}"
            );
        }
    }
    assert!(matches!(
        statistics_fault(SERVER_AT + 104, &[1]),
        Fault::Value { what: "statistics without data", .. }
    ));
    // Weights.
    assert!(matches!(weights_fault(VIP_AT, &[100]), Fault::Id { what: "VIP", .. }));
    assert!(matches!(weights_fault(VIP_AT + 24, &[8]), Fault::Value { what: "flags", of: 4, .. }));
    assert!(matches!(weights_fault(VIP_AT + 32, &[0]), Fault::Name { of: 4 }), "empty");
    assert!(matches!(weights_fault(VIP_AT + 32, &[0xff]), Fault::Name { of: 4 }), "no text");
    assert!(matches!(weights_fault(VIP_AT + 50, b"x"), Fault::Name { of: 4 }), "behind the end");
    assert!(matches!(weights_fault(SERVER_AT, &[255; 4]), Fault::Id { what: "server", .. }));
    for wrong in [1e10, -0.5, f64::NAN, f64::INFINITY] {
        let fault = weights_fault(SERVER_AT + 8, &wrong.to_le_bytes());
        assert!(matches!(fault, Fault::Value { what: "weight", of: 7, .. }), "{wrong}");
    }
    assert!(matches!(weights_fault(SERVER_AT + 8, &[0; 8]), Fault::Value { what: "sum of weights", .. }));
}

/// Whether a frame that was believed keeps every promise that its users rely on.
fn is_sane(frame: &WeightsFrame) -> bool {
    frame.vips().all(|(vip, servers)| {
        vip.vip < SHAPE.vip_ids
            && !vip.policy().is_empty()
            && servers.iter().all(|server| {
                server.server < SHAPE.server_ids && server.weight.is_finite() && server.weight >= 0.0
            })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_reader_panic_or_believe_what_cannot_be(
        patches in prop::collection::vec((0_usize..4096, any::<[u8; 8]>(), 0_usize..6), 1..20),
    ) {
        // Words anywhere behind the magic, some of them small numbers, as counts and identifiers are.
        let (_folder, path) = published();
        let mut bytes = fs::read(&path).unwrap();
        for (place, mut word, kept) in patches {
            let at = 8 + place * 8 % (bytes.len() - 16);
            word[kept..].fill(0);
            bytes[at..at + 8].copy_from_slice(&word);
        }
        fs::write(&path, bytes).unwrap();
        if let Ok(region) = Region::open(&path) {
            let mut reader = region.weights_reader();
            if let Ok(Some(frame)) = reader.latest() {
                prop_assert!(is_sane(frame));
            }
            let mut reader = region.statistics_reader();
            if let Ok(Some(frame)) = reader.latest() {
                for server in frame.vips().flat_map(|(_, servers)| servers) {
                    prop_assert!(server.state().is_some() && server.weight.is_finite());
                }
            }
            // And a writer goes on from whatever it finds.
            region.weights_writer(3).unwrap().publish(&mut weights(), 4).unwrap();
            prop_assert!(region.weights_reader().latest().unwrap().is_some_and(is_sane));
        }
    }

    #[test]
    fn no_frame_of_garbage_is_believed(
        mut garbage in prop::collection::vec(any::<u8>(), WEIGHTS_SLOT - 16),
        length in 0_u64..40,
        plausible in any::<bool>(),
    ) {
        // A complete slot, by its sequence; the frame in it is noise, or noise behind a header that looks right.
        let (_folder, path) = published();
        if plausible {
            garbage[..8].copy_from_slice(&1_u64.to_le_bytes());
            garbage[48..56].copy_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0]);
        }
        let slot = SLOTS_AT + 2 * STATISTICS_SLOT;
        patch(&path, slot + 8, &length.to_le_bytes());
        patch(&path, slot + 16, &garbage);
        let region = Region::open(&path).unwrap();
        if let Ok(Some(frame)) = region.weights_reader().latest() {
            prop_assert!(is_sane(frame));
        }
    }
}

#[test]
fn example_reads_a_region_and_names_what_is_wrong_with_it() {
    // Beside the test's own binary, in `examples`: cargo builds examples for tests.
    let binary = std::env::current_exe().unwrap();
    let example = binary.parent().unwrap().parent().unwrap().join("examples/read_region");
    let (_folder, path) = published();
    let run = || Command::new(&example).arg(&path).output().expect("cargo builds examples for `cargo test`");
    let printed = String::from_utf8(run().stdout).unwrap();
    for expected in [
        "server 7 (Some(Draining)): 5 open",
        "handshake: 100 samples, mean 250000 ns",
        "VIP 4 by sac-gru",
        "server 7: 1.25",
    ] {
        assert!(printed.contains(expected), "{expected}: {printed}");
    }
    patch(&path, 8, &[2]);
    let output = run();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.contains("format version 2") && said.contains("help:"),
        "{said}"
    );
}
