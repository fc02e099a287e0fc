//! The binary's commands as a newcomer meets them: no root, no NIC, no hugepages.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    process::{Command, Output},
};

use ipc::region::{Region, Shape};

fn weir(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `weir run` with a file of this content, which must not start; returns exit code and standard error.
fn refused(content: &str) -> (i32, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, content).unwrap();
    let output = weir(&["run", "--config", file.path().to_str().unwrap()]);
    (output.status.code().unwrap(), text(&output.stderr))
}

/// The last two lines are cause and remedy.
fn assert_cause_and_remedy(stderr: &str, cause: &str, remedy: &str) {
    let lines: Vec<&str> = stderr.lines().collect();
    let [.., error, help] = lines[..] else { panic!("{stderr}") };
    assert!(error.starts_with("error: ") && error.contains(cause), "{stderr}");
    assert!(help.starts_with("help: ") && help.contains(remedy), "{stderr}");
}

const VIP: &str = "[[vip]]\naddress = \"203.0.113.10\"\nport = 80\nservers = [\"192.0.2.11\"]\n";

fn port(device: &str) -> String {
    format!("[[port]]\ndevice = \"{device}\"\naddress = [\"192.0.2.2/24\"]\n")
}

#[test]
fn model_that_cannot_be_loaded_is_a_warning_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.toml");
    let text = "[[port]]\ndevice = \"net_tap0\"\naddress = [\"192.0.2.2/24\"]\n[[vip]]\nname = \"web\"\n\
                address = \"203.0.113.10\"\npolicy = \"qmix\"\nmodel = \"/nonexistent\"\nservers = [\"192.0.2.11\"]\n";
    std::fs::write(&file, text).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_weir")).args(["check", "--config"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("VIP \"web\" would be steered by static: cannot read the model /nonexistent"),
        "{said}"
    );
    assert!(said.contains("check the path and who may read it"), "{said}");
}

#[test]
fn wrong_log_level_is_refused_with_a_remedy() {
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["check", "--config", "no-such-file"])
        .env("WEIR_LOG", "inof")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_cause_and_remedy(&text(&output.stderr), "\"inof\"", "info,dpdk=debug");
}

#[test]
fn status_says_why_there_is_none_and_its_exit_code_tells_the_cases_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("region");
    let status = || {
        let output = weir(&["status", "--json", "--region", path.to_str().unwrap()]);
        (output.status.code(), text(&output.stderr))
    };
    let (code, said) = status();
    assert_eq!(code, Some(5), "{said}");
    assert_cause_and_remedy(&said, "no instance publishes there", "start weir");

    let region = Region::create(&path, Shape::default()).unwrap();
    let (code, said) = status();
    assert_eq!(code, Some(5), "{said}");
    assert_cause_and_remedy(&said, "has no writer", "start weir");

    let writer = region.statistics_writer(1).unwrap(); // long ago
    let (code, said) = status();
    assert_eq!(code, Some(5), "{said}");
    assert_cause_and_remedy(&said, "is stale", "start weir");
    drop(writer);

    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 9;
    fs::write(&path, &bytes).unwrap();
    let (code, said) = status();
    assert_eq!(code, Some(3), "{said}");
    assert_cause_and_remedy(&said, "format version 9", "same release");

    fs::write(&path, "something else").unwrap();
    assert_eq!(status().0, Some(3));

    let file = folder.path().join("weir.toml");
    fs::write(&file, format!("{}{VIP}", port("net_ring0"))).unwrap();
    let output = weir(&["status", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert_cause_and_remedy(&text(&output.stderr), "no [region] path", "[region] path =");
}

#[test]
fn demo_keeps_its_promises() {
    let output = weir(&["demo", "--seconds", "1"]);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{}", text(&output.stderr));
    assert_eq!(stdout.matches("\n  yes ").count(), 4, "{stdout}");
    assert!(stdout.contains("sed + sac-gru against sed2: mean "), "{stdout}");
}

/// How much faster the policy makes answers is not asserted: time is the machine's. What it believes is.
#[test]
fn demo_learns_who_is_faster_under_load() {
    let output = weir(&["demo", "--seconds", "4", "--load", "0.7", "--seed", "2", "--json"]);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{}", text(&output.stderr));
    let summary: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let [hash, sed2, learned] = [0, 1, 2].map(|act| summary["acts"][act]["weights"].clone());
    assert_eq!(
        (&hash, &sed2),
        (&serde_json::json!([1.0, 1.0, 1.0, 1.0]), &hash),
        "only a policy sets weights"
    );
    let weight = |server: usize| learned[server].as_f64().unwrap();
    assert!(weight(0) < weight(1) && weight(1) < weight(3) && weight(0) < weight(2), "{learned}");
}

#[test]
fn check_says_what_is_wrong_and_exits_with_one() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, format!("{}{VIP}adress = 1\n", port("net_null0"))).unwrap();
    let output = weir(&["check", "--config", file.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains(":8:1: error: unknown key \"adress\""), "{}", text(&output.stdout));
    fs::write(&file, format!("{}{VIP}", port("net_null0"))).unwrap();
    let output = weir(&["check", "--config", file.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
}

#[test]
fn wrong_configuration_never_starts() {
    let (code, stderr) = refused("[[port]]\ndevice = 1\n");
    assert_eq!(code, 1);
    assert!(stderr.contains(":2:10: error:"), "{stderr}");
}

#[test]
fn missing_device_is_named_with_a_remedy() {
    let eal = "[eal]\nargs = [\"--no-huge\", \"-m\", \"64\"]\nlcores = \"0\"\n";
    let (code, stderr) = refused(&format!("{eal}{}{VIP}", port("net_af_packet0,iface=nosuchif0")));
    assert_eq!(code, 3);
    assert_cause_and_remedy(&stderr, "net_af_packet0,iface=nosuchif0", "");
}

#[test]
fn too_little_memory_is_named_with_a_remedy() {
    let eal = "[eal]\nargs = [\"--no-huge\", \"-m\", \"4\"]\nlcores = \"0\"\n";
    let (code, stderr) = refused(&format!("{eal}{}{VIP}", port("net_null0")));
    assert_eq!(code, 3);
    assert_cause_and_remedy(&stderr, "memory", "-m");
}

#[test]
fn cpu_that_is_not_there_is_named_with_a_remedy() {
    let eal = "[eal]\nargs = [\"--no-huge\", \"-m\", \"64\"]\nlcores = \"511\"\n";
    let (code, stderr) = refused(&format!("{eal}{}{VIP}", port("net_null0")));
    assert_eq!(code, 3);
    assert_cause_and_remedy(&stderr, "511", "");
}

#[test]
fn metrics_address_in_use_is_named_with_a_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let eal = "[eal]\nargs = [\"--no-huge\", \"-m\", \"64\"]\nlcores = \"0\"\n";
    let metrics = format!("[metrics]\nlisten = \"{}\"\n", taken.local_addr().unwrap());
    let (code, stderr) = refused(&format!("{eal}{metrics}{}{VIP}", port("net_null0")));
    assert_eq!(code, 3);
    assert_cause_and_remedy(&stderr, "cannot listen", "[metrics] listen");
}

#[test]
fn region_that_cannot_be_had_is_named_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let eal = "[eal]\nargs = [\"--no-huge\", \"-m\", \"64\"]\nlcores = \"0\"\n[metrics]\nlisten = \"off\"\n";
    let refused_at = |path: &std::path::Path| {
        let region = format!("[region]\npath = \"{}\"\n", path.display());
        refused(&format!("{eal}{region}{}{VIP}", port("net_null0")))
    };
    let (code, stderr) = refused_at(&folder.path().join("no-such-folder/region"));
    assert_eq!(code, 3);
    assert_cause_and_remedy(&stderr, "[region] path", "folder exists");

    let path = folder.path().join("region");
    let _other = Region::create(&path, Shape::default()).unwrap().statistics_writer(1).unwrap();
    let (code, stderr) = refused_at(&path);
    assert_eq!(code, 3);
    assert_cause_and_remedy(
        &stderr,
        &format!("process {} is writing", std::process::id()),
        "stop that process",
    );

    fs::write(&path, "not a region, and longer than its header, so that it is looked at: ".repeat(4))
        .unwrap();
    let (code, stderr) = refused_at(&path);
    assert_eq!(code, 3);
    assert_cause_and_remedy(&stderr, "[region] path", "");
    assert!(fs::read_to_string(&path).unwrap().starts_with("not a region"), "it is not ours to touch");
}

#[test]
fn decap_refuses_an_option_of_another_encapsulation() {
    for (args, cause) in [
        (["decap", "--encap", "ipip", "--key", "1"], "--key goes with --encap gre"),
        (["decap", "--encap", "gre", "--gue-port", "1"], "--gue-port goes with --encap gue"),
    ] {
        let output = weir(&args);
        assert_eq!(output.status.code(), Some(3));
        assert_cause_and_remedy(&text(&output.stderr), cause, "leave the option out");
    }
}

#[test]
fn help_names_the_commands_and_wrong_usage_exits_with_two() {
    let help = text(&weir(&["--help"]).stdout);
    for command in ["run", "check", "demo", "decap"] {
        assert!(help.contains(command), "{help}");
    }
    assert_eq!(weir(&["run"]).status.code(), Some(2));
}
