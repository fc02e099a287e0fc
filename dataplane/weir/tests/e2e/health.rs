//! Health checks: servers that fail are taken out of service and come back, without harm to the others.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::balancer::Balancer as _;
use crate::support::case::{Case, Family, Way};
use crate::support::http::{LongConnections, short_connections};
use crate::support::lab::{Lab, vip};
use crate::support::scenario::assert_shares;
use crate::support::weir::Weir;
use crate::support::{can_run, wait_for};

const WEB: &str = "198.18.0.1:80/tcp";

fn gre4() -> Case {
    Case::new(Way::Gre { key: None }, Family::V4, Family::V4)
}

/// A metric of the web service's server.
fn of_server(weir: &Weir<'_>, metric: &str, server: &str) -> f64 {
    weir.metrics().one(metric, &[("vip", WEB), ("server", server)])
}

fn wait_until(weir: &Weir<'_>, metric: &str, server: &str, value: f64) {
    wait_for(&format!("{metric} = {value} for {server}"), Duration::from_secs(20), || {
        (of_server(weir, metric, server) == value).then_some(())
    });
}

#[test]
fn stopped_server_is_taken_out_and_comes_back() {
    if !can_run() {
        return;
    }
    let mut lab = Lab::direct(&gre4());
    lab.manage();
    let health =
        "[vip.health]\nkind = \"http\"\npath = \"/1.bin\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\n";
    let nginx = lab.servers[1].take_nginx();
    let lab = &lab;
    let server = lab.servers[1].v4.to_string();
    let mut weir = Weir::start_with(lab, &gre4(), [1, 1, 1], health);
    wait_for("checks that pass", Duration::from_secs(10), || {
        let metrics = weir.metrics();
        let good =
            |server: &str| metrics.one("weir_health_checks_total", &[("server", server), ("result", "ok")]);
        lab.servers.iter().all(|server| good(&server.v4.to_string()) >= 3.0).then_some(())
    });

    let (target, bodies) = (vip(false, 80), lab.site.bodies.clone());
    let long = LongConnections::open(&lab.client, target, &bodies, 60);
    let on_server = of_server(&weir, "weir_server_flows", &server);
    assert!(on_server > 0.0, "one of 60 connections goes to each of three servers");

    drop(nginx); // killed; the kernel resets its connections
    wait_until(&weir, "weir_server_up", &server, 0.0);
    let checks =
        |result| weir.metrics().one("weir_health_checks_total", &[("server", &server), ("result", result)]);
    assert!(checks("refused") >= 3.0, "nothing listens there");
    let tally = short_connections(&lab.client, target, &bodies, 900);
    eprintln!("with a server down: {tally}");
    tally.assert_no_failures();
    assert_eq!(tally.servers.get("s2"), None);
    long.let_all_ask_again();

    let restarted = lab.servers[1].start_nginx(&lab.site, &lab.scratch);
    wait_until(&weir, "weir_server_up", &server, 1.0);
    let tally = short_connections(&lab.client, target, &bodies, 900);
    eprintln!("with the server back: {tally}");
    tally.assert_no_failures();
    assert_shares(&tally.servers, [1, 1, 1]);

    long.let_all_ask_again();
    let tally = long.close();
    eprintln!("open connections: {tally}");
    let failures = tally.failures.values().sum::<u64>();
    assert_eq!(failures, on_server as u64, "connections of the stopped server, and no others: {tally}");
    assert_eq!(weir.metrics().sum("weir_vip_all_servers_unhealthy"), 0.0);
    weir.audit();
    weir.stop();
    drop(restarted);
}

#[test]
fn servers_that_all_fail_stay_in_service() {
    if !can_run() {
        return;
    }
    let lab = Lab::direct(&gre4());
    lab.manage();
    // Nothing listens on that port: the checks are wrong, not the servers.
    let health = "[vip.health]\nport = 81\ninterval = \"100ms\"\ntimeout = \"100ms\"\n";
    let weir = Weir::start_with(&lab, &gre4(), [1, 2, 4], health);
    wait_for("all servers to fail", Duration::from_secs(10), || {
        let unhealthy = weir.metrics().one("weir_vip_all_servers_unhealthy", &[("vip", WEB)]);
        (unhealthy == 1.0).then_some(())
    });
    let (status, ready) = weir.get("/readyz");
    assert_eq!(status, 200);
    assert!(ready.contains("all servers of VIP 198.18.0.1:80/tcp fail their checks"), "{ready}");
    let tally = short_connections(&lab.client, vip(false, 80), &lab.site.bodies, 700);
    tally.assert_no_failures();
    assert_shares(&tally.servers, [1, 2, 4]);
    weir.stop();
}

#[test]
fn server_that_answers_no_syn_is_found_by_the_data_path() {
    if !can_run() {
        return;
    }
    let mut lab = Lab::direct(&gre4());
    lab.manage();
    // The web server is well and its checks pass, but nobody takes the packets out of the tunnel.
    lab.servers[1].decap.take();
    let health = "[vip.health]\ninterval = \"100ms\"\ntimeout = \"100ms\"\n";
    let mut weir = Weir::start_with(&lab, &gre4(), [1, 1, 1], health);
    let (target, server) = (vip(false, 80), lab.servers[1].v4.to_string());
    let start = Instant::now();
    let (mut opened, mut lost) = (0, 0);
    while of_server(&weir, "weir_server_ejected", &server) == 0.0 {
        assert!(start.elapsed() < Duration::from_secs(40), "{opened} opened, {lost} lost");
        for _ in 0..20 {
            let connect = || TcpStream::connect_timeout(&target, Duration::from_millis(50));
            match lab.client.run(connect) {
                Ok(_) => opened += 1,
                Err(_) => lost += 1,
            }
        }
    }
    eprintln!("ejected after {:?}: {opened} connections opened, {lost} lost", start.elapsed());
    assert_eq!(of_server(&weir, "weir_server_up", &server), 1.0, "it keeps the flows it has");
    assert_eq!(of_server(&weir, "weir_server_weight", &server), 0.0);
    let tally = short_connections(&lab.client, target, &lab.site.bodies, 300);
    tally.assert_no_failures();
    assert_eq!(tally.servers.get("s2"), None);
    weir.audit();
    weir.stop();
}
