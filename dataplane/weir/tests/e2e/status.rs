//! `weir status`, the example reader and the page's Python all see the same region while traffic flows.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::balancer::Balancer as _;
use crate::support::case::{Case, Family, Way};
use crate::support::http::short_connections;
use crate::support::lab::{Lab, vip};
use crate::support::netns::Namespace;
use crate::support::nginx::Body;
use crate::support::process::Process;
use crate::support::weir::Weir;
use crate::support::{can_run, wait_for};

/// How long the slow server thinks about each answer.
const SLOW: Duration = Duration::from_millis(60);
/// Where the web service is among the VIPs.
const WEB: usize = 0;
const PATIENCE: Duration = Duration::from_secs(10);

fn gre4() -> Case {
    Case::new(Way::Gre { key: None }, Family::V4, Family::V4)
}

fn region(lab: &Lab) -> PathBuf {
    lab.scratch.path().join("region")
}

/// The part of the file that has every flow watched and published.
fn measured(lab: &Lab) -> &'static str {
    let path = region(lab);
    format!("[measure]\nflows = 1\n[region]\npath = \"{}\"\n[policy]\nperiod = \"20ms\"\n", path.display())
        .leak()
}

/// Serves the site's files on port 80, each after a while.
fn serve_slowly(namespace: &Namespace, bodies: Arc<Vec<Body>>) {
    let name = namespace.name().to_owned();
    let listener = namespace.run(|| TcpListener::bind(("0.0.0.0", 80))).expect("nginx has left the port");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (bodies, name) = (bodies.clone(), name.clone());
            thread::spawn(move || answer_slowly(stream, &bodies, &name));
        }
    });
}

fn answer_slowly(mut stream: TcpStream, bodies: &[Body], name: &str) {
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(length) => request.extend_from_slice(&chunk[..length]),
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let Some(body) = bodies.iter().find(|body| body.path == path) else { return };
    thread::sleep(SLOW);
    let length = body.bytes.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nX-Server: {name}\r\nConnection: close\r\n\r\n"
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body.bytes));
}

/// What a program prints; it must succeed.
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {stderr}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn status(arguments: &[&str], path: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("status").args(arguments).arg(path);
    command
}

fn status_json(path: &Path) -> Value {
    let text = printed(&mut status(&["--json", "--region"], path));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn servers(status: &Value) -> &Vec<Value> {
    status["vips"][WEB]["servers"].as_array().expect("servers")
}

/// Seconds of a server's samples; `None`: no data.
fn said(server: &Value, kind: &str, what: &str) -> Option<f64> {
    server["samples"][kind][what].as_f64()
}

fn example(path: &Path) -> String {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "-p", "ipc", "--example", "read_region", "--"]).arg(path);
    printed(command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")))
}

/// What the snippet of the page prints; `None`: there is no Python.
fn python(path: &Path) -> Option<String> {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("!!! there is no python3: the reader in docs/design/region.md is NOT tested !!!");
        return None;
    }
    let page = include_str!("../../../../docs/design/region.md");
    let script = page.split("```python\n").nth(1)?.split("```").next()?;
    Some(printed(Command::new("python3").args(["-c", script]).arg(path)))
}

#[test]
fn readers_see_what_flows_and_tell_the_slow_server_from_the_fast_ones() {
    if !can_run() {
        return;
    }
    let mut lab = Lab::direct(&gre4());
    drop(lab.servers[2].take_nginx());
    serve_slowly(&lab.servers[2].namespace, lab.site.bodies.clone());
    let (lab, path) = (&lab, region(&lab));
    let mut weir = Weir::start_with(lab, &gre4(), [1, 1, 1], measured(lab));
    let before = status_json(&path);
    assert_eq!(before["vips"][WEB]["name"], "198.18.0.1:80/tcp");
    assert_eq!(servers(&before)[0]["name"], lab.servers[0].v4.to_string());
    assert!(said(&servers(&before)[0], "handshake", "p50").is_none(), "no data is null: {before}");

    let (target, bodies, stop) = (vip(false, 80), lab.site.bodies.clone(), AtomicBool::new(false));
    let connections = thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut connections = 0;
            while !stop.load(Ordering::Relaxed) {
                let tally = short_connections(&lab.client, target, &bodies, 120);
                tally.assert_no_failures();
                connections += tally.servers.values().sum::<u64>();
            }
            connections
        });
        // While it flows: every reader sees newer and newer frames, and more and more flows.
        let mut last = (0, 0);
        for _ in 0..3 {
            let now = status_json(&path);
            let (frame, created) =
                (now["frame"].as_u64().unwrap(), now["vips"][WEB]["created"].as_u64().unwrap());
            assert!(frame > last.0 && created > last.1, "{last:?}, then {now}");
            assert!(now["vips"][WEB]["rates"]["flows"].as_f64().unwrap() > 1.0, "{now}");
            last = (frame, created);
            for printed in [Some(example(&path)), python(&path)].into_iter().flatten() {
                let number = printed.split("frame ").nth(1).unwrap().split([' ', ',']).next().unwrap();
                let number: u64 = number.parse().unwrap_or_else(|error| panic!("{error}: {printed}"));
                assert!(number > last.0, "{number} after {last:?}: {printed}");
                last.0 = number;
            }
        }
        stop.store(true, Ordering::Relaxed);
        load.join().expect("the load")
    });

    // When it is over: all say the same, and it is what has happened.
    thread::sleep(Duration::from_millis(500));
    let now = status_json(&path);
    eprintln!("{}", printed(&mut status(&["--config"], &lab.scratch.path().join("weir.toml"))));
    let created: Vec<u64> = servers(&now).iter().map(|server| server["created"].as_u64().unwrap()).collect();
    assert_eq!(created.iter().sum::<u64>(), connections, "{now}");
    assert_eq!(now["vips"][WEB]["created"].as_u64(), Some(connections));
    let scraped: Vec<f64> = lab
        .servers
        .iter()
        .map(|server| {
            let labels = [("vip", "198.18.0.1:80/tcp"), ("server", &server.v4.to_string())];
            weir.metrics().one("weir_server_flows_total", &labels)
        })
        .collect();
    assert_eq!(created.iter().map(|&count| count as f64).collect::<Vec<_>>(), scraped);
    let (python, example) = (python(&path), example(&path));
    for (at, server) in servers(&now).iter().enumerate() {
        let [handshake, request] =
            ["handshake", "request_latency"].map(|kind| said(server, kind, "p50").expect("samples"));
        eprintln!("s{}: handshake {handshake}, request {request}", at + 1);
        let is_slow = request > SLOW.as_secs_f64();
        assert_eq!(is_slow, at == 2, "s{}: {server}", at + 1);
        assert!(handshake > 0.0 && handshake < SLOW.as_secs_f64(), "{server}");
        let ended = server["finished"]["fin"].as_u64().unwrap() + server["finished"]["rst"].as_u64().unwrap();
        assert_eq!(Some(ended + server["open"].as_u64().unwrap()), server["created"].as_u64(), "{server}");
        let (count, mean) =
            (said(server, "handshake", "count").unwrap(), said(server, "handshake", "mean").unwrap() * 1e9);
        assert!(example.contains(&format!("handshake: {count} samples")), "{count}: {example}");
        if let Some(python) = &python {
            let line = python.lines().find(|line| line.contains(&format!("server {at} "))).expect("its line");
            let pair = line.split("handshake (").nth(1).expect("samples").trim_end_matches(')');
            let (same_count, same_mean) = pair.split_once(", ").expect("count and mean");
            assert_eq!(same_count.parse(), Ok(count), "{line}");
            let same_mean: f64 = same_mean.parse().unwrap();
            assert!((same_mean - mean).abs() < 1.0 + mean * 1e-6, "{line}: {mean}");
        }
    }
    let durations = weir.metrics();
    assert!(durations.sum("weir_flow_duration_seconds_count") > 100.0);
    assert!(durations.sum("weir_handshake_seconds_count") > 100.0);
    assert_eq!(durations.sum("weir_samples_lost_total"), 0.0);
    assert_eq!(durations.sum("weir_policy_restarts_total"), 0.0);
    weir.audit();
    weir.stop();
    let output = status(&["--region"], &path).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    assert!(stderr.contains("weir has stopped"), "{stderr}");
}

#[test]
fn killed_reader_and_restarted_weir_leave_the_region_in_use() {
    if !can_run() {
        return;
    }
    let lab = Lab::direct(&gre4());
    let path = region(&lab);
    let weir = Weir::start_with(&lab, &gre4(), [1, 1, 1], measured(&lab));
    let watch = |name: &str| {
        Process::start(&lab.lb, name, status(&["--watch", "--json", "--region"], &path), lab.scratch.path())
    };
    let mut killed = watch("killed");
    killed.wait_for_log("\"epoch\":1", PATIENCE);
    drop(killed); // SIGKILL
    let first = status_json(&path)["frame"].as_u64().unwrap();
    let mut watching = watch("watching");
    watching.wait_for_log("\"epoch\":1", PATIENCE);
    assert!(status_json(&path)["frame"].as_u64().unwrap() > first, "nobody missed the reader");

    drop(weir); // SIGKILL: nothing is tidied up
    wait_for("a stale region", PATIENCE, || {
        let output = status(&["--region"], &path).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code() == Some(5) && stderr.contains("is stale")).then_some(())
    });
    let weir = Weir::start_with(&lab, &gre4(), [1, 1, 1], measured(&lab));
    watching.wait_for_log("\"epoch\":2", PATIENCE);
    let now = status_json(&path);
    assert_eq!(now["epoch"], 2);
    assert!(now["frame"].as_u64().unwrap() > first, "numbers go on: {now}");
    weir.stop();
}
