//! The benchmark runs anywhere, as anyone, and says everything it should. Never how fast.
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

use std::{fs, process::Command};

use serde_json::Value;

/// Runs the benchmark for a moment on 4 KiB pages, which takes no root; returns standard output, JSON and page.
fn quick_run() -> (String, Value, String) {
    let directory = std::env::temp_dir().join(format!("weir-bench-test-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let (json, page) = (directory.join("run.json"), directory.join("page.md"));
    let output = Command::new(env!("CARGO_BIN_EXE_weir-bench"))
        .args(["cycles", "--quick", "--no-testpmd", "--no-huge", "--json"])
        .arg(&json)
        .arg("--markdown")
        .arg(&page)
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    assert!(complaints.contains("without hugepages"), "says what makes it slow: {complaints}");
    let result = (
        String::from_utf8(output.stdout).unwrap(),
        serde_json::from_slice(&fs::read(&json).unwrap()).unwrap(),
        fs::read_to_string(&page).unwrap(),
    );
    fs::remove_dir_all(&directory).unwrap();
    result
}

/// Least, middle and greatest: above zero and in order.
fn assert_spread(spread: &Value) {
    let [min, median, max] = ["min", "median", "max"].map(|name| spread[name].as_f64().unwrap());
    assert!(0.0 < min && min <= median && median <= max, "{spread}");
}

#[test]
fn quick_run_has_every_row_with_plausible_fields() {
    let (text, json, page) = quick_run();
    let rows = json["rows"].as_array().unwrap();
    let ids: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    let expected = [
        "forward",
        "generate",
        "generate-prepend",
        "worker-gre4-1k",
        "worker-gre4-16k",
        "worker-gre6in6-16k",
        "worker-nat4-1k",
        "worker-gre4-16k-1000-servers",
        "worker-gre4-1k-1000-vips",
        "new-flows",
        "stages-gre4-1k",
    ];
    for id in expected {
        assert!(ids.contains(&id), "{id}: {ids:?}");
    }
    for row in rows {
        assert_spread(&row["cycles"]);
        assert_spread(&row["mpps"]);
        let slices = row["slices"].as_array().unwrap();
        assert_eq!(slices.len(), 2);
        for slice in slices {
            assert!(slice["packets"].as_u64().unwrap() >= 32, "{slice}");
            assert!((0.0..=1.0).contains(&slice["on_cpu"].as_f64().unwrap()), "{slice}");
            assert!(slice["calibration"].as_f64().unwrap() > 0.0, "{slice}");
        }
        if let Some(floor) = row["floor"].as_str() {
            assert!(ids.contains(&floor) && row["over_floor"]["median"].is_number(), "{row}");
        }
        let (id, what) = (row["id"].as_str().unwrap(), row["what"].as_str().unwrap());
        if id.starts_with("stages-") {
            let stages = row["stages"].as_array().unwrap();
            assert!(
                stages.len() == 7 && stages.iter().all(|stage| stage[1].as_f64().unwrap() > 0.0),
                "{row}"
            );
            continue;
        }
        assert!(text.contains(what) && page.contains(what), "{what}");
    }
    let budgets: Vec<_> = rows.iter().filter_map(|row| row["budget_cycles"].as_f64()).collect();
    assert_eq!(budgets, [70.0, 72.0]);
    let new_flows = rows.iter().find(|row| row["id"] == "new-flows").unwrap();
    assert_eq!(new_flows["budget_mpps"], 2.0);
    assert_spread(&json["calibration"]);
    for field in ["cpu", "revision", "kernel"] {
        let value = json["machine"][field].as_str().unwrap();
        assert!(!value.is_empty() && page.contains(value), "{field}: {value}");
    }
    assert!(page.contains("weir-bench cycles --quick --no-testpmd --no-huge"));
}

#[test]
fn generations_are_taken_over_without_losing_a_packet() {
    let args = ["reload", "--no-huge", "--vips", "10", "--servers", "10", "--flows", "1k", "--rounds", "3"];
    let output = Command::new(env!("CARGO_BIN_EXE_weir-bench")).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("usual") && text.contains("(3 turns)"), "{text}");
}

#[test]
fn wrong_arguments_are_refused_with_what_to_write() {
    for (args, remedy) in [
        (["--flows", "1G"], "16k or 1M"),
        (["--slice", "5"], ""),
        (["--slice", "fast"], "0.3s or 20ms"),
        (["--cpu", "100000"], "--cpu"),
        (["--encap", "gre7"], "gre4"),
    ] {
        let quick = ["--quick", "--no-testpmd", "--no-huge", "--rounds", "1"];
        let output = Command::new(env!("CARGO_BIN_EXE_weir-bench")).args(quick).args(args).output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), remedy.is_empty(), "{args:?}: {complaints}");
        assert!(complaints.contains(remedy), "{args:?}: {complaints}");
    }
}
