//! Frames in, weights out, and once more from the log.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
use std::{fs, path::Path};

use ipc::region::{
    CLIPPED, FALLBACK, SHADOW, ServerState, ServerStatistics, ServerWeight, StatisticsFrame, VipStatistics,
    VipWeights, WeightsFrame,
};
use policy::{
    controller::{Controller, Moment},
    guard::Bounds,
    log::{LogFile, Record, Records, Replay, ReplayError, check},
    plan::{Kind, ModelFile, Plan, PlanError},
    steering::Mode,
};
use tempfile::TempDir;

const PERIOD: u64 = 50_000_000;

fn plan(policy: Kind) -> Plan {
    Plan {
        policy,
        mode: Mode::On,
        model: None,
        elsewhere: false,
        fallback: Kind::Static,
        bounds: Bounds::default(),
    }
}

/// Four servers that complete flows at speeds 1, 2, 3, 4, under two VIPs.
struct World {
    rng: fastrand::Rng,
    t: u64,
    servers: Vec<ServerStatistics>,
    number: u64,
}

impl World {
    fn new() -> Self {
        let server = |id| ServerStatistics {
            configured_weight: 1.0,
            weight: 1.0,
            open: 1,
            ..ServerStatistics::new(id, ServerState::Active)
        };
        Self { rng: fastrand::Rng::with_seed(3), t: 0, servers: (0..4).map(server).collect(), number: 0 }
    }

    /// The frame of the next period, with the weights of the answer in force.
    fn frame(&mut self, answer: &WeightsFrame) -> StatisticsFrame {
        (self.t, self.number) = (self.t + PERIOD, self.number + 1);
        for (server, speed) in self.servers.iter_mut().zip(1u64..) {
            let done = self.rng.u64(0..20 * speed);
            server.created += done;
            server.established += done;
            server.finished_fin += done;
            server.open = self.rng.u64(1..9);
        }
        for (_, weights) in answer.vips().take(1) {
            for (server, weight) in self.servers.iter_mut().zip(weights) {
                server.weight = weight.weight;
            }
        }
        let mut frame = StatisticsFrame::default();
        frame.begin(self.t, 7);
        frame.header_mut().number = self.number;
        for vip in [5, 6] {
            let mut entry = frame.vip(VipStatistics::new(vip));
            for server in &self.servers {
                entry.server(ServerStatistics { server: server.server + 10 * vip, ..*server });
            }
        }
        frame
    }
}

/// The weights of a VIP, its flags and its policy's name.
fn weights(answer: &WeightsFrame, vip: u32) -> (Vec<f64>, u64, String) {
    let (record, servers) = answer.vips().find(|(record, _)| record.vip == vip).expect("the VIP");
    (servers.iter().map(|server| server.weight).collect(), record.flags, record.policy().into())
}

#[test]
fn weights_follow_the_servers_speeds() {
    let mut controller = Controller::default();
    controller.steer(5, &plan(Kind::Rate)).unwrap();
    let (mut world, mut answer) = (World::new(), WeightsFrame::default());
    for _ in 0..400 {
        let frame = world.frame(&answer);
        controller.step(&frame, Moment::default(), &mut answer);
        assert_eq!(answer.header().t, frame.header().t);
    }
    let (found, flags, name) = weights(&answer, 5);
    assert_eq!((name.as_str(), flags & (FALLBACK | SHADOW)), ("rate", 0));
    assert!(found.is_sorted() && found[3] > 2.0 * found[0], "{found:?}");
    assert!(answer.vips().all(|(vip, _)| vip.vip == 5), "the other VIP is not steered");
}

#[test]
fn flags_say_who_decided_and_for_what() {
    let mut controller = Controller::default();
    controller.steer(5, &Plan { mode: Mode::Shadow, ..plan(Kind::Static) }).unwrap();
    let missing = ModelFile::at("/nonexistent/model".into());
    let agent = Plan { model: Some(missing), ..plan(Kind::SacGru) };
    assert!(matches!(controller.steer(6, &agent), Err(PlanError::Unreadable { .. })));
    let (mut world, mut answer) = (World::new(), WeightsFrame::default());
    let frame = world.frame(&answer);
    controller.step(&frame, Moment::default(), &mut answer);
    assert_eq!(weights(&answer, 5), (vec![1.0; 4], SHADOW, "static".into()));
    assert_eq!(weights(&answer, 6), (vec![1.0; 4], FALLBACK, "sac-gru".into()));
    let late = Moment { late: true, ..Moment::default() };
    controller.step(&world.frame(&answer), late, &mut answer);
    assert_eq!(weights(&answer, 5).1, SHADOW | FALLBACK);
}

#[test]
fn models_are_loaded_by_their_manifest_and_refused_by_name() {
    let golden = |name| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let with = |policy, name| Plan { model: Some(ModelFile::at(golden(name))), ..plan(policy) };
    let mut controller = Controller::default();
    let wrong = controller.steer(5, &with(Kind::Qmix, "sac-gru.safetensors")).unwrap_err();
    assert!(wrong.to_string().contains("the configured policy is qmix"), "{wrong}");
    let changed = ModelFile { hash: 1, ..ModelFile::at(golden("qmix.safetensors")) };
    let changed = controller.steer(5, &Plan { model: Some(changed), ..plan(Kind::Qmix) });
    assert!(matches!(changed, Err(PlanError::Changed { .. })));
    assert!(matches!(controller.steer(5, &plan(Kind::SacGru)), Err(PlanError::NoModel(Kind::SacGru))));
}

#[test]
fn models_that_ship_steer_and_are_known_by_their_hash() {
    for policy in [Kind::SacGru, Kind::Qmix] {
        let shipped = ModelFile::shipped(policy);
        let mut controller = Controller::default();
        controller.steer(5, &Plan { model: Some(shipped.clone()), ..plan(policy) }).unwrap();
        let (mut world, mut answer) = (World::new(), WeightsFrame::default());
        for _ in 0..40 {
            let frame = world.frame(&answer);
            controller.step(&frame, Moment::default(), &mut answer);
        }
        let (found, flags, name) = weights(&answer, 5);
        assert_eq!((name.as_str(), flags & (FALLBACK | SHADOW)), (policy.as_str(), 0));
        assert!(found.iter().all(|weight| *weight > 0.0), "{found:?}");
        let other = ModelFile { hash: shipped.hash ^ 1, ..shipped };
        let other = controller.steer(6, &Plan { model: Some(other), ..plan(policy) });
        assert!(matches!(other, Err(PlanError::Changed { .. })), "another release's");
    }
}

#[test]
fn same_plan_again_changes_nothing() {
    let mut controller = Controller::default();
    controller.steer(5, &plan(Kind::Rate)).unwrap();
    let (mut world, mut answer) = (World::new(), WeightsFrame::default());
    for _ in 0..100 {
        controller.step(&world.frame(&answer), Moment::default(), &mut answer);
    }
    let learned = weights(&answer, 5).0;
    assert!(learned[3] > 1.3, "{learned:?}");
    controller.steer(5, &plan(Kind::Rate)).unwrap();
    controller.step(&world.frame(&answer), Moment::default(), &mut answer);
    assert!(weights(&answer, 5).0[3] > 1.3);
    controller.retain(|vip| vip != 5);
    assert_eq!(controller.vips().count(), 0);
}

#[test]
fn other_process_is_heard_by_identifier_and_its_shadow_is_not() {
    let mut controller = Controller::default();
    controller.steer(5, &Plan { elsewhere: true, ..plan(Kind::Rate) }).unwrap();
    let (mut world, mut answer) = (World::new(), WeightsFrame::default());
    let mut heard = WeightsFrame::default();
    let mut entry = heard.vip(VipWeights::new(5, "theirs"));
    for (server, weight) in [(53, 1.3), (51, 1.1), (50, 0.7), (52, 0.9)] {
        entry.server(ServerWeight::new(server, weight));
    }
    controller.step(&world.frame(&answer), Moment { heard: Some(&heard), ..Moment::default() }, &mut answer);
    assert_eq!(weights(&answer, 5), (vec![0.7, 1.1, 0.9, 1.3], 0, "rate".into()));
    let mut shadow = WeightsFrame::default();
    let theirs = VipWeights { flags: SHADOW, ..VipWeights::new(5, "theirs") };
    shadow.vip(theirs).server(ServerWeight::new(50, 9.0));
    let tight = Plan { bounds: Bounds::new(0.05, 20.0, 0.1).unwrap(), elsewhere: true, ..plan(Kind::Rate) };
    controller.steer(5, &tight).unwrap();
    controller.step(&world.frame(&answer), Moment { heard: Some(&shadow), ..Moment::default() }, &mut answer);
    assert_eq!(weights(&answer, 5).1, FALLBACK | CLIPPED, "silent, and the way back is taken in steps");
}

/// Steps a controller and logs it; the plans change on the way. How many steps are not in the log.
fn logged(path: &Path, most_bytes: u64, steps: u32) -> u64 {
    let mut controller = Controller::default();
    controller.steer(5, &plan(Kind::Rate)).unwrap();
    let mut log = LogFile::create(path, most_bytes).unwrap();
    let (mut world, mut answer) = (World::new(), WeightsFrame::default());
    for step in 0..steps {
        if step == steps / 2 {
            controller.steer(6, &plan(Kind::Hlb)).unwrap();
            log.interrupt();
        }
        let frame = world.frame(&answer);
        let moment = Moment { late: step % 7 == 0, stale: step % 11 == 0, heard: None };
        log.before(&controller);
        controller.step(&frame, moment, &mut answer);
        log.after(&controller, &frame, &moment, &answer);
        if step % 32 == 31 {
            std::thread::sleep(std::time::Duration::from_millis(2)); // the disk may catch up
        }
    }
    log.lost()
}

/// Replays a whole log; how many steps came out the same.
fn replayed(path: &Path) -> Result<u64, ReplayError> {
    let mut replay = Replay::new(fs::File::open(path).unwrap());
    while replay.advance()? {}
    assert_eq!(replay.difference, None);
    Ok(replay.same)
}

#[test]
fn log_is_replayed_to_the_same_weights_bit_for_bit() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("decisions");
    let lost = logged(&path, u64::MAX, 400);
    assert_eq!(replayed(&path).unwrap() + lost, 400);
}

#[test]
fn log_keeps_to_its_size_and_each_of_its_files_can_be_replayed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("decisions");
    let most = 1_200_000;
    logged(&path, most, 600);
    let older = folder.path().join("decisions.1");
    let sizes = [&path, &older].map(|path| fs::metadata(path).unwrap().len());
    assert!(sizes[1] > most / 3 && sizes.iter().sum::<u64>() < most + 50_000, "{sizes:?}");
    assert!(replayed(&path).unwrap() > 0 && replayed(&older).unwrap() > 0);
}

#[test]
fn log_that_is_cut_off_is_replayed_up_to_there_and_a_changed_one_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("decisions");
    assert_eq!(logged(&path, u64::MAX, 20), 0);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    let mut replay = Replay::new(fs::File::open(&path).unwrap());
    let error = loop {
        match replay.advance() {
            Ok(more) => assert!(more, "it is cut off"),
            Err(error) => break error,
        }
    };
    assert_eq!(replay.same, 19);
    assert!(error.to_string().contains("cut off"), "{error}");
    let mut wrong = whole;
    let at = wrong.len() - 100;
    wrong[at] ^= 1;
    fs::write(&path, &wrong).unwrap();
    let found: Vec<_> = Records::new(fs::File::open(&path).unwrap()).collect();
    assert!(matches!(found.last(), Some(Err(error)) if error.to_string().contains("damaged")));
    fs::write(&path, b"something else that is long enough to be a head").unwrap();
    assert!(replayed(&path).unwrap_err().to_string().contains("none of this version"));
}

/// The first record of a log with another text in its plans.
fn with_other_plans(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let words: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|&word| u64::from_le_bytes(word)).collect();
    let (first, rest) = words.split_at(3 + words[1] as usize);
    let text: Vec<u8> = first[4..].iter().flat_map(|word| word.to_le_bytes()).collect();
    let text = String::from_utf8_lossy(&text).trim_end_matches('\0').replace(from, to);
    let mut changed = vec![first[0], 0, 0, text.len() as u64];
    for piece in text.as_bytes().chunks(8) {
        let mut word = [0; 8];
        word[..piece.len()].copy_from_slice(piece);
        changed.push(u64::from_le_bytes(word));
    }
    changed[1] = changed.len() as u64 - 3;
    changed[2] = check(changed[0], &changed[3..]);
    changed.iter().chain(rest).flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn different_outcome_is_found_and_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("decisions");
    logged(&path, u64::MAX, 20);
    let bytes = fs::read(&path).unwrap();
    let starts = Records::new(&bytes[..]).filter(|record| matches!(record, Ok(Record::Start(_)))).count();
    assert_eq!(starts, 2);
    // With the same inputs but another rule: what a change of the code would look like.
    let bytes = with_other_plans(&bytes, "\"step_max\":0.5", "\"step_max\":0.001");
    let mut replay = Replay::new(&bytes[..]);
    while replay.advance().unwrap() {}
    let difference = replay.difference.expect("other bounds give other weights");
    assert_eq!(difference.vip, Some(5));
    assert!(difference.to_string().contains("VIP 5 gets other weights"));
}
