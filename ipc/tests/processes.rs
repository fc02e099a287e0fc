//! The region between two processes, one of which is killed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use ipc::{
    clock,
    region::{
        Reader, Region, RegionError, ServerState, ServerStatistics, ServerWeight, Shape, StatisticsChannel,
        StatisticsFrame, VipStatistics, VipWeights, WeightsFrame,
    },
    rng::SplitMix64,
};
use tempfile::TempDir;

const SERVERS: u32 = 64;
const SHAPE: Shape = Shape { slots: 4, vips: 1, servers: SERVERS, vip_ids: 1, server_ids: SERVERS };
const STATISTICS_SLOTS_AT: usize = 384;

/// Runs `role` of [`child`] in another process; killed and waited for when dropped.
struct Other(Child);

impl Other {
    fn start(role: &str, path: &Path) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "child", "--ignored", "--nocapture"]);
        command.env("WEIR_TEST_ROLE", role).env("WEIR_TEST_REGION", path).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "the other process of these tests, which start it"]
fn child() {
    let (Ok(role), Ok(path)) = (env::var("WEIR_TEST_ROLE"), env::var("WEIR_TEST_REGION")) else { return };
    let region = Region::open(path).unwrap();
    match role.as_str() {
        "writer" => write_forever(&region),
        "policy" => answer_forever(&region),
        other => panic!("no role {other:?}"),
    }
}

/// Every counter of every server is the same number, another one in each frame.
fn write_forever(region: &Region) {
    let mut writer = region.statistics_writer(clock::monotonic()).unwrap();
    let mut frame = StatisticsFrame::default();
    for count in 1.. {
        frame.begin(count, count);
        let mut vip = frame.vip(VipStatistics { packets: count, ..VipStatistics::new(0) });
        for server in 0..SERVERS {
            vip.server(ServerStatistics {
                packets: count,
                syn_retransmits: count,
                ..ServerStatistics::new(server, ServerState::Active)
            });
        }
        writer.publish(&mut frame, clock::monotonic()).unwrap();
    }
}

/// Weighs each server by its flows, plus one.
fn answer_forever(region: &Region) {
    let (mut statistics, mut writer) =
        (region.statistics_reader(), region.weights_writer(clock::monotonic()).unwrap());
    let mut answer = WeightsFrame::default();
    loop {
        let now = clock::monotonic();
        let Ok(Some(frame)) = statistics.latest() else {
            writer.beat(now);
            thread::yield_now();
            continue;
        };
        let header = frame.header();
        answer.begin(header.t, header.generation);
        for (vip, servers) in frame.vips() {
            let mut entry = answer.vip(VipWeights {
                answers: header.number,
                answers_epoch: header.epoch,
                ..VipWeights::new(vip.vip, "flows")
            });
            for server in servers {
                entry.server(ServerWeight::new(server.server, server.open as f64 + 1.0));
            }
        }
        writer.publish(&mut answer, now).unwrap();
    }
}

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("region");
    (folder, path)
}

/// The number and epoch of the next frame, all of which says the same; `None` when none comes in ten seconds.
fn next_whole_frame(reader: &mut Reader<StatisticsChannel>) -> Option<(u64, u64)> {
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        // A writer that is faster is no fault here; a frame that is not believed would be.
        let Some(frame) = reader.latest().unwrap_or_default() else {
            thread::yield_now();
            continue;
        };
        let header = *frame.header();
        let (vip, servers) = frame.vips().next().unwrap();
        assert_eq!((vip.packets, servers.len() as u32), (header.t, SERVERS));
        assert!(
            servers.iter().all(|server| (server.packets, server.syn_retransmits) == (header.t, header.t))
        );
        return Some((header.number, header.epoch));
    }
    None
}

/// Whether a statistics slot was left in the middle of a frame.
fn is_unfinished(path: &Path) -> bool {
    let bytes = fs::read(path).unwrap();
    let stride = u64::from_le_bytes(bytes[56..64].try_into().unwrap()) as usize;
    (0..SHAPE.slots as usize).any(|slot| bytes[STATISTICS_SLOTS_AT + slot * stride] % 2 == 1)
}

#[test]
fn writer_killed_at_any_moment_costs_its_frame_only() {
    let (_folder, path) = place();
    let region = Region::create(&path, SHAPE).unwrap();
    let mut reader = region.statistics_reader();
    let mut rng = SplitMix64::new(23);
    let (mut last, mut unfinished) = (0, 0);
    for epoch in 1..=400 {
        let mut writer = Other::start("writer", &path);
        let lifetime = Duration::from_micros(rng.bits() % 5000);
        let mut killed_at = None;
        loop {
            let (number, found) = next_whole_frame(&mut reader).expect("a frame of the new writer");
            assert!(number > last, "frame {number} after {last}");
            assert_eq!(found, epoch, "the first frame of a new writer is the next to be believed");
            last = number;
            let started = *killed_at.get_or_insert_with(Instant::now);
            if started.elapsed() >= lifetime {
                break;
            }
        }
        writer.kill();
        unfinished += u32::from(is_unfinished(&path));
        // What was published last is still there, for us and for whoever comes later.
        let newest = next_whole_frame(&mut region.statistics_reader()).expect("the newest frame").0;
        while let Ok(Some(frame)) = reader.latest() {
            last = frame.header().number;
        }
        assert_eq!(newest, last);
        if epoch >= 40 && unfinished >= 5 {
            eprintln!("{unfinished} of {epoch} writers were killed in the middle of a frame");
            return;
        }
    }
    panic!("only {unfinished} of 400 kills hit the middle of a frame: too little was tested");
}

#[test]
fn second_process_is_refused_until_the_first_is_killed() {
    let (_folder, path) = place();
    let region = Region::create(&path, SHAPE).unwrap();
    let mut reader = region.statistics_reader();
    let mut writer = Other::start("writer", &path);
    next_whole_frame(&mut reader).expect("a frame");
    let error = region.statistics_writer(clock::monotonic()).unwrap_err();
    let of_child = u64::from(writer.0.id());
    assert!(matches!(error, RegionError::Writer { pid, .. } if pid == of_child), "{error}");
    let origin = reader.origin();
    assert!(origin.pid == Some(of_child) && clock::monotonic() - origin.heartbeat < 5_000_000_000);
    writer.kill();
    assert_eq!(region.statistics_writer(clock::monotonic()).unwrap().epoch(), 2);
}

#[test]
fn slow_reader_of_a_fast_process_sees_whole_frames_in_order() {
    let (_folder, path) = place();
    let region = Region::create(&path, SHAPE).unwrap();
    let mut reader = Region::open_read_only(&path).unwrap().statistics_reader();
    let _writer = Other::start("writer", &path);
    let (mut last, mut skipped) = (0, 0);
    for _ in 0..100 {
        let (number, _) = next_whole_frame(&mut reader).expect("a frame");
        assert!(number > last);
        skipped += number - last - 1;
        last = number;
        thread::sleep(Duration::from_millis(1));
    }
    assert!(skipped > 0, "the reader was not slow: nothing was tested");
    drop(region);
}

#[test]
fn policy_in_another_process_answers_and_may_die() {
    let (_folder, path) = place();
    let region = Region::create(&path, SHAPE).unwrap();
    let (mut writer, mut weights) = (region.statistics_writer(0).unwrap(), region.weights_reader());
    let mut frame = StatisticsFrame::default();
    for round in 1..=5 {
        let mut policy = Other::start("policy", &path);
        frame.begin(round, 1);
        let open = ServerStatistics { open: round, ..ServerStatistics::new(3, ServerState::Active) };
        frame.vip(VipStatistics::new(0)).server(open);
        let number = writer.publish(&mut frame, clock::monotonic()).unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            assert!(Instant::now() < until, "no answer to frame {number}");
            let Some(answer) = weights.latest().unwrap() else {
                thread::yield_now();
                continue;
            };
            let (vip, servers) = answer.vips().next().unwrap();
            if vip.answers == number {
                assert_eq!((vip.answers_epoch, vip.policy()), (1, "flows"));
                assert_eq!(servers, [ServerWeight::new(3, round as f64 + 1.0)]);
                break;
            }
        }
        policy.kill();
    }
    assert_eq!(weights.origin().epoch, 5);
}
