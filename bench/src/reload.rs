//! `weir-bench reload`: how long packets wait while a new generation is taken over.

use dataplane::{
    ports::dpdk::{Eal, EalConfig},
    time::{Clock, cycles},
};

use crate::{
    balancer::{Balancer, DEFAULT_ENTRIES},
    cli::{Encap, ReloadArgs, Setting},
    cycles::{choose_cpus, rows::open_queues},
    error::Error,
    hugepages::Hugepages,
    timing::Spread,
};

/// Turns that are measured between two generations.
const TURNS: usize = 1000;

/// Measures turns without and with a change of generation, and prints both.
#[expect(clippy::print_stdout, reason = "the result")]
pub fn run(args: &ReloadArgs) -> Result<(), Error> {
    let hugepages = if args.no_huge { Hugepages::None } else { Hugepages::prepare() };
    let (cpu, _) = choose_cpus(None)?;
    let config = EalConfig { main_cpus: vec![cpu], args: hugepages.eal_args(), ..EalConfig::default() };
    let eal = Eal::init(&config)?;
    let clock = Clock::start();
    let setting = Setting {
        encap: Encap::Gre4,
        flows: args.flows,
        servers: args.servers,
        vips: args.vips,
        measured: true,
    };
    let queue = open_queues(&eal, 1)?.pop().expect("one was asked for");
    let mut balancer = Balancer::new(queue, setting, DEFAULT_ENTRIES, ())?;
    balancer.establish("reload", args.flows.0)?;
    let (mut usual, mut taking_over) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        for _ in 0..TURNS {
            let start = cycles();
            balancer.turn();
            usual.push((cycles() - start) as f64);
        }
        taking_over.push(balancer.swap()? as f64);
    }
    balancer.check("reload")?;
    let micros = 1e6 / clock.cycles_per_second();
    println!(
        "{} VIPs of {} servers, {} flows; \u{b5}s a turn of 32 packets, min / median / max",
        args.vips, args.servers, args.flows
    );
    for (what, turns) in [("usual", usual), ("takes a new generation over", taking_over)] {
        let Some(Spread { min, median, max }) = Spread::of(turns.iter().map(|cycles| cycles * micros)) else {
            continue;
        };
        println!("{what:28} {min:8.1} / {median:6.1} / {max:6.1}   ({} turns)", turns.len());
    }
    Ok(())
}
