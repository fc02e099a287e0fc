//! `weir-bench steer`: from an observation to weights in force, while new flows come as fast as the worker takes them.
//!
//! Worker, control thread and policy thread are those of `weir run`; packets are made by the worker's own queue.

use std::{
    fmt::Write as _,
    fs::File,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use dataplane::{
    pipeline,
    ports::dpdk::{Eal, EalConfig},
    tables::hash::HashKey,
    time::Clock,
    worker::{Parts, Worker},
};
use ipc::id::LcoreId;
use policy::log::{Record, Records};
use weir::{
    config::Config,
    control::Control,
    error::Failure,
    measure::{self, Findings, Histogram},
    run::{Cpus, start_policy},
    steer::Wishes,
};

use crate::{
    balancer::DEFAULT_ENTRIES,
    cli::SteerArgs,
    cycles::rows::open_queues,
    error::Error,
    generator::{CLIENT_MAC, Generator, Kind, PORT_MAC, VIP, VIP_PORT},
    hugepages::Hugepages,
};

/// Measures each period in turn, and prints what came of it.
#[expect(clippy::print_stdout, reason = "the result")]
pub fn run(args: &SteerArgs) -> Result<(), Error> {
    let hugepages = if args.no_huge { Hugepages::None } else { Hugepages::prepare() };
    let cpus = Cpus::choose(None)?;
    let eal = Eal::init(&EalConfig {
        main_cpus: cpus.others,
        worker_cpus: cpus.workers,
        args: hugepages.eal_args(),
        ..EalConfig::default()
    })?;
    println!(
        "policy {}, {} servers, {} s each; the worker opens new flows without a pause",
        args.policy, args.servers, args.seconds
    );
    let queues = open_queues(&eal, args.periods.len())?;
    for (&period, queue) in args.periods.iter().zip(queues) {
        let folder = tempfile::tempdir().map_err(|cause| Error::Write { file: "/tmp".into(), cause })?;
        let log = folder.path().join("decisions");
        let config =
            Config::parse(&text(args, period, &log), "steer").map_err(|errors| wrong(&errors))?.config;
        let mut generator = Generator::new(queue, Kind::PLAIN, 1);
        generator.open_fresh(0);
        let findings = steer(&eal, config, generator, Duration::from_secs(args.seconds))?;
        print!("{}", report(period, &findings, &log));
    }
    Ok(())
}

fn wrong(what: &dyn std::fmt::Display) -> Error {
    Error::Wrong { row: "steer".into(), what: what.to_string() }
}

/// The configuration that an operator would write.
fn text(args: &SteerArgs, period: u64, log: &Path) -> String {
    let mut text = format!(
        "[[port]]\nname = \"lan\"\ndevice = \"net_null0\"\naddress = [\"10.0.0.2/16\"]\ngateway = [\"10.0.0.1\"]\n\
         [[neighbor]]\naddress = \"10.0.0.1\"\nmac = \"{CLIENT_MAC}\"\n\
         [policy]\nperiod = \"{period}ms\"\nlog = \"{}\"\nlog_size = 1024\n[metrics]\nlisten = \"off\"\n\
         [[vip]]\nname = \"web\"\naddress = \"{VIP}\"\nport = {VIP_PORT}\npolicy = \"{}\"\n",
        log.display(),
        args.policy
    );
    if let Some(model) = &args.model {
        let _ = writeln!(text, "model = \"{}\"", model.display());
    }
    for server in 0..args.servers {
        let _ = writeln!(text, "[[vip.server]]\naddress = \"10.0.1.{}\"", server + 1);
    }
    for server in 0..args.servers {
        let _ = writeln!(
            text,
            "[[neighbor]]\naddress = \"10.0.1.{0}\"\nmac = \"02:00:00:00:01:{0:02x}\"",
            server + 1
        );
    }
    text
}

/// Runs it all for so long; returns what the policy thread has found.
fn steer(eal: &Eal, config: Config, generator: Generator, time: Duration) -> Result<Arc<Findings>, Error> {
    let clock = Clock::start();
    let (measure, region, policy) = (config.measure, config.region.clone(), config.policy.clone());
    let (mut control, mut readers) = Control::new(config, vec![PORT_MAC], 1, clock.now())?;
    let (mut worker, handle) = Worker::new(Parts {
        lcore: LcoreId(0),
        queues: vec![generator],
        tables: readers.pop().expect("one was asked for"),
        flow_capacity: DEFAULT_ENTRIES,
        hash_key: HashKey::default(),
        measure: pipeline::measure::Settings { one_in: measure.flows, ring: measure.ring },
        clock,
    })
    .map_err(|cause| Error::FlowTable { entries: DEFAULT_ENTRIES, cause })?;
    control.attach(vec![handle.clone()]);
    let findings = Arc::new(Findings::default());
    findings.follow(control.directory());
    findings.wish(Wishes::new(control.config(), control.directory()));
    findings.wake(thread::current());
    let workers = vec![handle.clone()];
    let parts = measure::Parts { workers, measure, region, policy, findings: Arc::clone(&findings), clock };
    let policy = start_policy(parts)?;
    let running = eal.launch(0, move || worker.run()).map_err(|error| wrong(&error))?;
    let end = Instant::now() + time;
    while Instant::now() < end {
        control.round(&findings, clock);
        control.pause();
    }
    policy.stop();
    handle.stop();
    running.join().map_err(|panic| wrong(&panic))?;
    Ok(findings)
}

/// What is told of one period.
fn report(period: u64, findings: &Findings, log: &Path) -> String {
    let mut text = format!("period {period} ms\n");
    let _ = writeln!(text, "  decision                     {}", shares(&findings.board.seconds()));
    let _ = writeln!(text, "  observation to use by all    {}", shares(&findings.policy_loop()));
    let mut off = jitter(period, log);
    off.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| off.get((share * off.len() as f64) as usize).or(off.last()).copied().unwrap_or(0.0);
    let _ = writeln!(
        text,
        "  off the period               median {:.0} \u{b5}s, p99 {:.0} \u{b5}s, most {:.0} \u{b5}s ({} observations)",
        at(0.5),
        at(0.99),
        at(1.0),
        off.len() + 1
    );
    text
}

/// The share of values up to each bound that tells something.
fn shares(histogram: &Histogram) -> String {
    let count = histogram.count().max(1) as f64;
    let mut text = String::new();
    let mut last = 0;
    for (bound, up_to) in histogram.cumulative() {
        if up_to > last {
            let _ =
                write!(text, "\u{2264} {:.0} \u{b5}s: {:.1} %  ", bound * 1e6, 100.0 * up_to as f64 / count);
            last = up_to;
        }
    }
    let _ = write!(text, "mean {:.0} \u{b5}s of {}", 1e6 * histogram.sum() / count, histogram.count());
    text
}

/// How far the time between two observations was off the period, in microseconds.
fn jitter(period: u64, log: &Path) -> Vec<f64> {
    let Ok(file) = File::open(log) else { return Vec::new() };
    let times: Vec<u64> = Records::new(std::io::BufReader::new(file))
        .filter_map(|record| match record {
            Ok(Record::Step(step)) => Some(step.statistics.header().t),
            _ => None,
        })
        .collect();
    let period = period as f64 * 1e3;
    times.windows(2).map(|pair| ((pair[1] - pair[0]) as f64 / 1e3 - period).abs()).collect()
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        wrong(&format!("{}; {}", failure.cause, failure.remedy))
    }
}
