//! `weir-bench cycles`: what a packet costs, beside what it would cost to do less.

pub mod rows;
mod stages;

use std::{
    io::{IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use dataplane::{
    ports::dpdk::{Eal, EalConfig},
    time::Clock,
};

use self::rows::Row;
use crate::{
    cli::CyclesArgs,
    error::Error,
    hugepages::Hugepages,
    machine::{Machine, allowed_cpus},
    report::{self, Report},
    testpmd::Testpmd,
};

/// The part of a slice that a row runs before it is measured, to have its memory in the cache again.
const WARM_UP: u32 = 10;

/// Measures all rows in turn and writes the results.
pub fn run(args: &CyclesArgs) -> Result<(), Error> {
    let args = args.resolved();
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // Cannot fail for these signals; without it an interruption leaves the hugepages as we raised them.
        let _ = signal_hook::flag::register(signal, Arc::clone(&interrupted));
    }
    if cfg!(debug_assertions) {
        note("this is a debug build: the numbers mean nothing; use cargo run --release");
    }

    let hugepages = if args.no_huge { Hugepages::None } else { Hugepages::prepare() };
    if matches!(hugepages, Hugepages::None) {
        note("without hugepages: packets cost up to twice as much, compare within this run only");
    }
    let (cpu, other_cpu) = choose_cpus(args.cpu)?;
    let testpmd = start_testpmd(&args, cpu, other_cpu, &hugepages)?;
    let eal_args = hugepages.eal_args();
    let eal = EalConfig { main_cpus: vec![cpu], args: eal_args, ..EalConfig::default() };
    let eal = Eal::init(&eal)?;
    let clock = Clock::start();
    let mut rows = rows::all(&eal, &args, testpmd)?;

    let mut rounds = 0;
    for round in 0..args.rounds {
        progress(round, args.rounds);
        for row in &mut rows {
            row.run(args.slice / WARM_UP, args.slice, clock.cycles_per_second())?;
            if interrupted.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
        }
        rounds += 1;
    }
    progress(rounds, args.rounds);
    rows.iter().try_for_each(Row::check)?;

    let machine = Machine::describe(cpu, clock.cycles_per_second());
    let report = Report::new(&args, machine, hugepages.describe(), rows);
    report::write(&report, &args)
}

/// The CPU to measure on and one for everything else, the same if there is only one.
pub fn choose_cpus(wanted: Option<usize>) -> Result<(usize, usize), Error> {
    let allowed = allowed_cpus();
    let cpu = wanted.or_else(|| allowed.last().copied()).unwrap_or(0);
    if !allowed.contains(&cpu) {
        return Err(Error::NoCpu { cpu });
    }
    Ok((cpu, allowed.into_iter().find(|&other| other != cpu).unwrap_or(cpu)))
}

fn start_testpmd(
    args: &CyclesArgs,
    cpu: usize,
    other_cpu: usize,
    hugepages: &Hugepages,
) -> Result<Option<Testpmd>, Error> {
    if args.no_testpmd || !args.wants(rows::TESTPMD) {
        return Ok(None);
    }
    if !Testpmd::is_installed() {
        note("dpdk-testpmd is not installed (Debian: apt-get install dpdk-dev): its row is left out");
        return Ok(None);
    }
    Testpmd::start(cpu, other_cpu, &hugepages.eal_args()).map(Some)
}

/// Says something that the reader of the results has to know.
fn note(text: &str) {
    eprintln!("weir-bench: {text}");
}

/// Shows on a terminal how far the run has come.
fn progress(round: u32, rounds: u32) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let end = if round == rounds { "\r\x1b[K" } else { "" };
        let _ = write!(stderr, "\rround {} of {rounds} {end}", round + 1);
        let _ = stderr.flush();
    }
}

/// Turns that a row makes between two looks at the clock.
const TURNS: usize = 64;

/// `TURNS` times `turn`; returns the sum.
fn turns(mut turn: impl FnMut() -> u64) -> impl FnMut() -> u64 {
    move || (0..TURNS).map(|_| turn()).sum()
}
