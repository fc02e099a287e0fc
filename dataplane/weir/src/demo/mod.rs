//! `weir demo`: clients, unequal servers and the balancer in one process, on DPDK's ring ports.
//!
//! The balancer is the real one: the worker loop on its lcore, the control thread's rounds, ARP, GRE, the flow
//! table. Only what is beyond its port is modelled (`world`). Needs no NIC, no root, no hugepages.

mod service;
mod view;
mod world;

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use clap::Args;
use dataplane::{
    ports::dpdk::{CableConfig, DpdkQueue, Eal, EalConfig, Mempool, PoolConfig, cable},
    tables::hash::HashKey,
    time::{Clock, Nanos},
    wire::Mac,
    worker::{Parts, Worker},
};
use ipc::id::LcoreId;

use self::{
    view::{DemoServer, Phase, View},
    world::{Scenario, Tally, World},
};
use crate::{
    config::Config,
    control::Control,
    error::{EXIT_INTERNAL, Failure},
    run::Cpus,
};

/// Options of `weir demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Seconds that each of the two phases lasts.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// New connections per second.
    #[arg(long, default_value_t = 3600.0)]
    pub rate: f64,
    /// Seed of arrivals and request sizes.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Speeds of the modelled servers, which the balancer is not told.
const SPEEDS: [f64; 4] = [1.0, 2.0, 3.0, 4.0];

const VIP: (Ipv4Addr, u16) = (Ipv4Addr::new(203, 0, 113, 10), 80);

/// Mean work of a request: one millisecond at speed 1.
const WORK: Nanos = Nanos(1_000_000);

/// How long the last connections may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two pictures of the live table.
const FRAME: Duration = Duration::from_millis(200);

/// Plays the demo; returns whether every promise was kept.
///
/// Errors: DPDK does not start on this machine.
pub fn run(args: &DemoArgs) -> Result<(), Failure> {
    let mut view = View::new();
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
    let (mut control, mut readers) =
        Control::new(config([1.0; 4])?, vec![Mac(port.mac())], 1, clock.now()).map_err(Failure::internal)?;
    let tables = readers.pop().ok_or_else(|| Failure::internal("no reader of the tables"))?;
    let hash_key = HashKey::default();
    let parts = Parts {
        lcore: LcoreId(0),
        queues,
        tables,
        flow_capacity: 1 << 16,
        hash_key,
        measure: dataplane::pipeline::measure::Settings::OFF,
        clock,
    };
    let (mut worker, handle) = Worker::new(parts)
        .map_err(|error| Failure::environment(error, "free some memory: the demo needs about 150 MiB"))?;
    control.attach(vec![handle.clone()]);
    let running =
        eal.launch(0, move || worker.run()).map_err(|error| Failure::environment(error, error.remedy()))?;

    view.say(&format!(
        "weir demo: one VIP {}:{}, {} new connections a second, four servers of unequal speed.\n\
         Real: the worker on its own CPU, DPDK ring ports, ARP, GRE, the flow table. Modelled: clients and servers.\n",
        VIP.0, VIP.1, args.rate
    ));
    let scenario = Scenario {
        vip: VIP,
        servers: addresses().into_iter().zip(SPEEDS).collect(),
        rate: args.rate,
        work: WORK,
        seed: args.seed,
    };
    let world = World::new(far_queue, (macs[1], macs[0]), scenario, clock.now());
    let stage = Stage::raise(world, clock)?;
    let phases = play(args, &mut control, &stage, &mut view, clock)?;
    let last = stage.end(&mut control, clock)?;

    handle.stop();
    running.join().map_err(Failure::internal)?;
    let (text, kept) = view::verdict(&phases, &last, handle.ledger().as_ref());
    view.say(&text);
    if kept {
        Ok(())
    } else {
        Err(Failure { code: EXIT_INTERNAL, cause: String::new(), remedy: String::new() })
    }
}

fn addresses() -> [Ipv4Addr; 4] {
    [11, 12, 13, 14].map(|last| Ipv4Addr::new(198, 51, 100, last))
}

/// The configuration that an operator would write, with these weights.
fn config(weights: [f64; 4]) -> Result<Config, Failure> {
    let servers: String = addresses()
        .iter()
        .zip(weights)
        .map(|(address, weight)| format!("[[vip.server]]\naddress = \"{address}\"\nweight = {weight:?}\n"))
        .collect();
    let text = format!(
        "[[port]]\nname = \"lan\"\ndevice = \"net_ring0\"\naddress = [\"198.51.100.2/24\"]\n\
         [[vip]]\nname = \"web\"\naddress = \"{}\"\nport = {}\nselect = \"alias\"\n{servers}",
        VIP.0, VIP.1
    );
    Config::parse(&text, "demo").map(|loaded| loaded.config).map_err(Failure::internal)
}

/// Both phases: equal weights, then, by a reload under load, weights that fit the speeds.
fn play(
    args: &DemoArgs,
    control: &mut Control,
    stage: &Stage,
    view: &mut View,
    clock: Clock,
) -> Result<Vec<Phase>, Failure> {
    let acts = [
        ("Phase 1: equal weights. The slowest server is nearly overloaded.", [1.0; 4]),
        ("Phase 2: after a reload, weights by speed. No connection moved.", SPEEDS),
    ];
    let mut phases = Vec::new();
    for (at, (title, weights)) in acts.into_iter().enumerate() {
        if at > 0 {
            control.reload(config(weights)?, clock.now()).map_err(Failure::internal)?;
            while !control.settled() {
                control.tick(clock.now());
            }
            stage.next_phase();
        }
        let servers: Vec<DemoServer> = SPEEDS
            .into_iter()
            .zip(weights)
            .enumerate()
            .map(|(at, (speed, weight))| DemoServer { name: format!("s{}", at + 1), speed, weight })
            .collect();
        view.say(title);
        let end = clock.now().after(Duration::from_secs(args.seconds));
        let mut next_frame = clock.now();
        while clock.now() < end {
            control.tick(clock.now());
            if clock.now() >= next_frame {
                next_frame = clock.now().after(FRAME);
                view.live(&view::table(&servers, &stage.tally().servers));
            }
            thread::sleep(Duration::from_millis(1));
        }
        let tally = stage.tally();
        view.live("");
        view.say(&view::table(&servers, &tally.servers));
        phases.push(Phase { servers, tally });
    }
    Ok(phases)
}

/// The world on a thread of its own.
struct Stage {
    tally: Arc<Mutex<Tally>>,
    phase: Arc<AtomicU32>,
    closing: Arc<AtomicBool>,
    thread: thread::JoinHandle<Tally>,
}

impl Stage {
    fn raise(world: World<DpdkQueue>, clock: Clock) -> Result<Self, Failure> {
        let tally = Arc::new(Mutex::new(world.tally()));
        let (phase, closing) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (its_tally, its_phase, its_closing) =
            (Arc::clone(&tally), Arc::clone(&phase), Arc::clone(&closing));
        let thread = thread::Builder::new()
            .name("world".into())
            .spawn(move || live(world, clock, &its_tally, &its_phase, &its_closing))
            .map_err(|error| Failure::environment(error, "raise the limit on threads"))?;
        Ok(Self { tally, phase, closing, thread })
    }

    fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts the servers' tallies again.
    fn next_phase(&self) {
        self.phase.fetch_add(1, Ordering::Relaxed);
        thread::sleep(FRAME);
    }

    /// Lets the last connections end; returns the last tally.
    fn end(self, control: &mut Control, clock: Clock) -> Result<Tally, Failure> {
        self.closing.store(true, Ordering::Relaxed);
        while !self.thread.is_finished() {
            control.tick(clock.now());
            thread::sleep(Duration::from_millis(1));
        }
        self.thread.join().map_err(|_| Failure::internal("the demo's clients and servers ended by a panic"))
    }
}

/// The world's life: turns until it is closing and every connection has ended, or patience has.
fn live(
    mut world: World<DpdkQueue>,
    clock: Clock,
    tally: &Mutex<Tally>,
    phase: &AtomicU32,
    closing: &AtomicBool,
) -> Tally {
    let mut current = phase.load(Ordering::Relaxed);
    let mut told = clock.now();
    let mut deadline = None;
    loop {
        let now = clock.now();
        let ending = closing.load(Ordering::Relaxed);
        world.turn(now, !ending);
        let wanted = phase.load(Ordering::Relaxed);
        if wanted != current {
            current = wanted;
            world.next_phase();
        }
        let deadline = ending.then(|| *deadline.get_or_insert_with(|| now.after(PATIENCE)));
        let over = deadline.is_some_and(|deadline| world.open_connections() == 0 || now > deadline);
        if over || now >= told.after(FRAME / 4) {
            told = now;
            *tally.lock().unwrap_or_else(PoisonError::into_inner) = world.tally();
        }
        if over {
            return world.tally();
        }
        thread::sleep(Duration::from_micros(20));
    }
}
