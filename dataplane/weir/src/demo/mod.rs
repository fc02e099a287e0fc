//! `weir demo`: clients, unequal servers, the balancer and a policy in one process, on DPDK's ring ports.
//!
//! The balancer is the real one: the worker loop on its lcore, the control thread, the policy thread, ARP, GRE, the flow
//! table. Only what is beyond its port is modelled (`world`). Needs no NIC, no root, no hugepages.
//!
//! Three contenders have a turn each with the same arrivals: `hash`, `sed2`, and a policy under `sed`. None is told
//! how fast the servers are.

mod balancer;
mod contender;
mod service;
mod stage;
mod summary;
mod tally;
mod view;
mod world;

use std::{path::PathBuf, thread, time::Duration};

use clap::Args;
use dataplane::{
    ports::dpdk::{CableConfig, DpdkQueue, Eal, EalConfig, Mempool, PoolConfig, cable},
    time::{Clock, Nanos},
    wire::Mac,
};

use self::{
    balancer::Balancer,
    contender::{Contender, SPEEDS, VIP, addresses},
    stage::Stage,
    summary::{Act, Summary},
    view::View,
    world::{Scenario, World},
};
use crate::{
    error::{EXIT_INTERNAL, Failure},
    run::Cpus,
};

/// Options of `weir demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Seconds that each of the three turns lasts.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Offered load, as a share of what all servers can do together.
    #[arg(long, default_value_t = 0.8, value_parser = load)]
    pub load: f64,
    /// The policy that learns the weights.
    #[arg(long, default_value = "sac-gru", value_parser = ["active-wcmp", "aquarius", "hlb", "rate", "sac-gru", "qmix"])]
    pub policy: String,
    /// The model of an agent (`sac-gru`, `qmix`), made by weir-train; default: the one that ships.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Seed of arrivals and request sizes.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print the outcome as JSON, and nothing else.
    #[arg(long)]
    pub json: bool,
}

fn load(text: &str) -> Result<f64, String> {
    let load: f64 = text.parse().map_err(|_| format!("{text} is no number"))?;
    if load > 0.0 && load < 1.0 { Ok(load) } else { Err("a load is above 0 and below 1".into()) }
}

/// Mean work of a request: four milliseconds at speed 1.
const WORK: Nanos = Nanos(4_000_000);

/// The part of each turn that does not count, as the contender gets to know the servers.
const WARM_UP: f32 = 0.25;

/// Between two pictures of the live table.
const FRAME: Duration = Duration::from_millis(200);

impl DemoArgs {
    /// New connections per second.
    fn rate(&self) -> f64 {
        self.load * SPEEDS.iter().sum::<f64>() / (WORK.0 as f64 * 1e-9)
    }

    /// Seconds of a turn that do not count.
    fn warm_up(&self) -> f32 {
        WARM_UP * self.seconds as f32
    }
}

/// Plays the demo; errors if a promise was not kept.
///
/// Errors beside that: DPDK does not start on this machine.
pub fn run(args: &DemoArgs) -> Result<(), Failure> {
    let mut view = View::new(args.json);
    let contenders = Contender::all(&args.policy, args.model.as_deref());
    let configs = contenders.iter().map(Contender::config).collect::<Result<Vec<_>, _>>()?;
    let cpus = Cpus::choose(None)?;
    let eal = Eal::init(&EalConfig {
        main_cpus: cpus.others,
        worker_cpus: cpus.workers.last().copied().into_iter().collect(),
        args: ["--no-huge", "-m", "128"].map(String::from).into(),
        pci_devices: Vec::new(),
    })
    .map_err(|error| Failure::environment(&error, error.remedy()))?;
    let pool = Mempool::new(&eal, &PoolConfig { mbufs: 8191, ..PoolConfig::default() })
        .map_err(|error| Failure::environment(&error, error.remedy()))?;
    let macs = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])];
    let ends = CableConfig { macs: macs.map(|mac| Some(mac.0)), ..CableConfig::default() };
    let ((port, queues), (_far_port, mut far_queues)) =
        cable(&eal, &ends, &pool).map_err(|error| Failure::environment(&error, error.remedy()))?;
    let far_queue = far_queues.pop().ok_or_else(|| Failure::internal("the cable has no queue"))?;

    let clock = Clock::start();
    let balancer = Balancer::start(&eal, queues, Mac(port.mac()), configs[0].clone(), clock)?;
    let stage = Stage::raise(world(args, far_queue, (macs[1], macs[0]), clock.now()), clock)?;
    view.say(&introduction(args));
    let mut acts = Vec::new();
    for (contender, config) in contenders.into_iter().zip(configs) {
        balancer.reload(config)?;
        acts.push(play(args, contender, &balancer, &stage, &mut view)?);
    }
    stage.leave()?;
    let handle = balancer.stop()?;

    let violations = handle.counters.lcore.pcc_violations.get();
    let summary = Summary::new(acts, handle.ledger().as_ref(), violations);
    if args.json {
        View::new(false).say(&serde_json::to_string_pretty(&summary).map_err(Failure::internal)?);
    }
    view.say(&format!(
        "Completion times of connections opened after the first {} s of each turn\n{}",
        args.warm_up(),
        summary.text()
    ));
    if summary.is_kept() {
        Ok(())
    } else {
        Err(Failure { code: EXIT_INTERNAL, cause: String::new(), remedy: String::new() })
    }
}

fn introduction(args: &DemoArgs) -> String {
    format!(
        "weir demo: one VIP {}:{}, {:.0} new connections a second, {:.0} % of what four unequal servers can do.\n\
         Real: the worker on its own CPU, DPDK ring ports, ARP, GRE, flow table, measurement, control and policy threads.\n\
         Modelled: clients and servers. The balancer sees only what clients send, and is not told the speeds.\n",
        VIP.0,
        VIP.1,
        args.rate(),
        args.load * 100.0
    )
}

fn world(args: &DemoArgs, queue: DpdkQueue, macs: (Mac, Mac), now: Nanos) -> World<DpdkQueue> {
    let scenario = Scenario {
        vip: VIP,
        servers: addresses().into_iter().zip(SPEEDS).collect(),
        rate: args.rate(),
        work: WORK,
        seed: args.seed,
    };
    World::new(queue, macs, scenario, now)
}

/// A contender's turn.
fn play(
    args: &DemoArgs,
    contender: Contender,
    balancer: &Balancer,
    stage: &Stage,
    view: &mut View,
) -> Result<Act, Failure> {
    view.say(&contender.name);
    stage.act()?;
    let began = std::time::Instant::now();
    let length = Duration::from_secs(args.seconds);
    while began.elapsed() < length {
        thread::sleep(FRAME.min(length.saturating_sub(began.elapsed())));
        let elapsed = began.elapsed().as_secs_f32();
        let table = view::table(&stage.tally(), balancer.weights(), elapsed);
        view.live(&format!("{table}  {elapsed:.0} of {} s\n", args.seconds));
    }
    let (weights, last) = (balancer.weights(), stage.tally());
    let tally = stage.curtain()?;
    view.live("");
    view.say(&view::table(&last, weights, args.seconds as f32));
    Ok(Act::new(contender.name.clone(), contender.is_blind(), &tally, weights, args.warm_up()))
}
