//! Prints the newest frames of a region: `cargo run -p ipc --example read_region -- FILE`.
//!
//! What a policy in another process starts from. Opens the region for reading only, so it disturbs nobody.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::{env, error::Error, process::ExitCode};

use ipc::{
    clock,
    region::{Origin, Region, RegionError},
    sample::Kind,
};

fn main() -> ExitCode {
    let Some(path) = env::args().nth(1) else {
        eprintln!("error: no region named\nhelp: read_region FILE");
        return ExitCode::from(2);
    };
    let Err(error) = print(&path) else { return ExitCode::SUCCESS };
    eprintln!("error: {path}: {error}");
    if let Some(error) = error.downcast_ref::<RegionError>() {
        eprintln!("help: {}", error.remedy());
    }
    ExitCode::FAILURE
}

fn print(path: &str) -> Result<(), Box<dyn Error>> {
    let region = Region::open_read_only(path)?;
    let now = clock::monotonic();

    let mut statistics = region.statistics_reader();
    print_origin("statistics", statistics.origin(), now);
    if let Some(frame) = statistics.latest()? {
        let header = frame.header();
        println!(
            "  frame {}, {} ms ago, generation {}",
            header.number,
            millis(now, header.published),
            header.generation
        );
        for (vip, servers) in frame.vips() {
            println!("  VIP {}: {} open flows, {:.1} new flows/s", vip.vip, vip.open, vip.flow_rate);
            for server in servers {
                println!(
                    "    server {} ({:?}): {} open, weight {}",
                    server.server,
                    server.state(),
                    server.open,
                    server.weight
                );
                for (kind, said) in Kind::ALL.into_iter().filter_map(|kind| Some((kind, server.kind(kind)?)))
                {
                    let unit = kind.unit().name();
                    println!(
                        "      {}: {} samples, mean {} {unit}, p90 {} {unit}",
                        kind.name(),
                        said.count,
                        said.mean,
                        said.p90
                    );
                }
            }
        }
    }

    let mut weights = region.weights_reader();
    print_origin("weights", weights.origin(), now);
    if let Some(frame) = weights.latest()? {
        println!("  frame {}, {} ms ago", frame.header().number, millis(now, frame.header().published));
        for (vip, servers) in frame.vips() {
            println!("  VIP {} by {}, for statistics {}", vip.vip, vip.policy(), vip.answers);
            servers.iter().for_each(|server| println!("    server {}: {}", server.server, server.weight));
        }
    }
    Ok(())
}

fn print_origin(channel: &str, origin: Origin, now: u64) {
    let process = origin.pid.map_or_else(|| "nobody".to_owned(), |pid| format!("process {pid}"));
    let beat = millis(now, origin.heartbeat);
    println!("{channel}: written by {process}, writer number {}, last at work {beat} ms ago", origin.epoch);
}

fn millis(now: u64, then: u64) -> u64 {
    now.saturating_sub(then) / 1_000_000
}
