//! Policies under load, and what becomes of packets when they are stuck, killed, absurd, and back again: nothing.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ipc::clock::monotonic;
use ipc::region::{Region, ServerWeight, VipWeights, WeightsFrame};
use nix::sys::signal::Signal;

use crate::support::balancer::Balancer as _;
use crate::support::case::{Case, Family, Way};
use crate::support::http::{LongConnections, short_connections};
use crate::support::lab::{Lab, vip};
use crate::support::process::Process;
use crate::support::weir::Weir;
use crate::support::{can_run, wait_for};

const WEB: &str = "198.18.0.1:80/tcp";
const PATIENCE: Duration = Duration::from_secs(20);

fn gre4(keys: &'static str) -> Case {
    Case::new(Way::Gre { key: None }, Family::V4, Family::V4).with_keys(keys)
}

fn region(lab: &Lab) -> PathBuf {
    lab.scratch.path().join("region")
}

/// The tables of the file that policies need; `source` is `thread` or `region`.
fn tables(lab: &Lab, source: &str) -> &'static str {
    let folder = lab.scratch.path().display();
    format!(
        "[region]\npath = \"{folder}/region\"\n[policy]\nperiod = \"20ms\"\nstale_after = \"300ms\"\n\
         source = \"{source}\"\nlog = \"{folder}/decisions\"\n"
    )
    .leak()
}

fn weir(lab: &Lab, command: &str, arguments: &[&str]) -> Command {
    let mut weir = Command::new(env!("CARGO_BIN_EXE_weir"));
    weir.arg(command).args(arguments).arg("--config").arg(lab.scratch.path().join("weir.toml"));
    weir
}

fn start_policy(lab: &Lab) -> Process {
    Process::start(&lab.lb, "policy", weir(lab, "policy", &[]), lab.scratch.path())
}

/// What a command prints; it must succeed.
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {stderr}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn wait_for_fallback(weir: &Weir<'_>, wanted: bool, what: &str) {
    wait_for(what, PATIENCE, || {
        (weir.metrics().one("weir_policy_fallback", &[("vip", WEB)]) == f64::from(u8::from(wanted)))
            .then_some(())
    });
}

/// Replays a decision log; how many decisions came out the same.
fn replayed(lab: &Lab) -> u64 {
    let mut replay = Command::new(env!("CARGO_BIN_EXE_weir"));
    let text = printed(replay.arg("replay").arg(lab.scratch.path().join("decisions")));
    let same = text.split(": ").last().and_then(|rest| rest.split(' ').next()?.parse().ok());
    same.unwrap_or_else(|| panic!("{text}"))
}

/// Runs `story` while short connections come and long ones stay; none of them may fail or move.
fn under_load(lab: &Lab, weir: &Weir<'_>, story: impl FnOnce()) {
    let (target, bodies, stop) = (vip(false, 80), lab.site.bodies.clone(), AtomicBool::new(false));
    let long = LongConnections::open(&lab.client, target, &bodies, 60);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                short_connections(&lab.client, target, &bodies, 100).assert_no_failures();
            }
        });
        story();
        long.let_all_ask_again();
        stop.store(true, Ordering::Relaxed);
        load.join().expect("the load");
    });
    long.close().assert_no_failures();
    let metrics = weir.metrics();
    assert_eq!(metrics.sum("weir_pcc_violations_total"), 0.0);
    assert_eq!(metrics.sum("weir_policy_restarts_total"), 0.0);
}

#[test]
fn policy_process_may_be_stuck_killed_absurd_and_come_back_under_load() {
    if !can_run() {
        return;
    }
    let case = gre4("policy = \"rate\"\n");
    let lab = &Lab::direct(&case);
    let mut weir = Weir::start_with(lab, &case, [1, 1, 1], tables(lab, "region"));
    wait_for_fallback(&weir, true, "the rule to stand in while nobody decides");
    under_load(lab, &weir, || {
        let mut policy = start_policy(lab);
        wait_for_fallback(&weir, false, "the process to be heard");
        policy.signal(Signal::SIGSTOP);
        wait_for_fallback(&weir, true, "the rule to stand in for a stuck process");
        policy.signal(Signal::SIGCONT);
        wait_for_fallback(&weir, false, "the process to be heard again");
        policy.assert_running();
        drop(policy); // killed
        wait_for_fallback(&weir, true, "the rule to stand in for a killed process");
        let mut policy = start_policy(lab);
        wait_for_fallback(&weir, false, "the restarted process to be heard");
        let read = [("channel", "weights"), ("result", "read")];
        let heard = || weir.metrics().one("weir_region_frames_total", &read);
        let before = heard();
        wait_for("more decisions", PATIENCE, || (heard() >= before + 20.0).then_some(()));
        policy.terminate(PATIENCE);

        // Somebody who writes valid frames of absurd weights, back and forth.
        let region = Region::open(region(lab)).unwrap();
        let mut writer = region.weights_writer(monotonic()).unwrap();
        for round in 0..100 {
            let mut frame = WeightsFrame::default();
            let mut entry = frame.vip(VipWeights::new(0, "absurd"));
            for server in 0..3 {
                entry.server(ServerWeight::new(server, if round % 3 == server { 1e9 } else { 0.0 }));
            }
            writer.publish(&mut frame, monotonic()).unwrap();
            thread::sleep(Duration::from_millis(10));
        }
    });
    let metrics = weir.metrics();
    let silent = metrics.one("weir_policy_fallback_total", &[("vip", WEB), ("reason", "silent")]);
    assert!(silent >= 3.0, "{silent}");
    assert!(metrics.one("weir_policy_clipped_total", &[("vip", WEB), ("guard", "step")]) > 0.0);
    assert!(metrics.sum("weir_policy_loop_seconds_count") > 0.0);
    assert!(replayed(lab) > 10, "the process wrote down what it decided");
    weir.audit();
    weir.stop();
}

#[test]
fn policy_thread_decides_explains_and_can_be_replayed() {
    if !can_run() {
        return;
    }
    let case = gre4("policy = \"hlb\"\n");
    let lab = &Lab::direct(&case);
    let mut weir = Weir::start_with(lab, &case, [1, 1, 1], tables(lab, "thread"));
    under_load(lab, &weir, || {
        wait_for("weights that are not the configured ones", PATIENCE, || {
            let weights = weir.metrics().by_label("weir_server_weight", "server");
            weights.iter().any(|(_, weight)| *weight != 1.0).then_some(())
        });
        let metrics = weir.metrics();
        assert!(metrics.one("weir_policy_steps_total", &[("vip", WEB)]) > 5.0);
        assert!((0.3..=1.0).contains(&metrics.one("weir_fairness_jain", &[("vip", WEB)])));
    });
    let explained = printed(&mut weir_explain(lab, &[]));
    assert!(
        explained.contains("policy hlb (on)") && explained.contains("hlb sets the weights"),
        "{explained}"
    );
    assert!(explained.contains(&lab.servers[2].v4.to_string()), "{explained}");
    let json: serde_json::Value =
        serde_json::from_str(&printed(&mut weir_explain(lab, &["--json"]))).unwrap();
    let last = json["decisions"].as_array().and_then(|decisions| decisions.last()).expect("a decision");
    let weights: f64 =
        last["servers"].as_array().unwrap().iter().map(|s| s["weight"].as_f64().unwrap()).sum();
    assert!((weights - 3.0).abs() < 0.3, "{last}");
    let mut unknown = Command::new(env!("CARGO_BIN_EXE_weir"));
    unknown.args(["explain", "nobody", "--socket"]).arg(lab.scratch.path().join("weir.sock"));
    let output = unknown.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    weir.audit();
    weir.stop();
    assert!(replayed(lab) > 10);
    let output = unknown.output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
}

fn weir_explain(lab: &Lab, arguments: &[&str]) -> Command {
    let mut all = vec![WEB];
    all.extend(arguments);
    weir(lab, "explain", &all)
}
