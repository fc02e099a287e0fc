//! `weir run`: opens the ports, starts the workers, and is the control thread.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use dataplane::{
    pipeline,
    ports::dpdk::{DpdkQueue, Eal, EalConfig, Mempool, PoolConfig, Port, PortConfig, WorkerHandle},
    tables::{Tables, hash::HashKey},
    time::Clock,
    wire::Mac,
    worker::{self, Handle, Parts, Worker},
};
use ipc::{id::LcoreId, snapshot::Reader};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::{
    config::{self, Config, ConfigErrors},
    control::Control,
    error::{EXIT_CONFIG, Failure},
    health::Prober,
    measure::{self, Findings},
    metrics::{self, Load, LoadMeter, Source, Status},
    socket,
    steer::Wishes,
    survive::survive,
};

/// How long the control thread stands back after a panic, which may well come again.
const AFTER_PANIC: Duration = Duration::from_millis(100);

/// Rounds between two looks at what changes slowly: links, device counters, names.
const STATUS_ROUNDS: u32 = 500;

/// Mbufs that a worker may hold: its pool cache, a burst per direction and packets that wait.
const MBUFS_PER_WORKER: u32 = 1024;

/// Largest MTU of an exception port: DPDK's TAP driver takes no more.
const EXCEPTION_MTU: u16 = 1500;

/// Runs until SIGTERM or SIGINT.
///
/// Errors: the configuration is wrong, the machine does not allow it, or a worker ended by itself.
pub fn run(path: &Path) -> Result<(), Failure> {
    let config = load(path)?;
    let signals = Signals::register()?;
    let cpus = Cpus::choose(config.eal.lcores.as_deref())?;
    let eal = start_eal(&config, &cpus)?;
    let pool = make_pool(&eal, &config, cpus.workers.len())?;
    let (ports, queues) = open_ports(&eal, &config, &pool, cpus.workers.len())?;

    let clock = Clock::start();
    let macs = ports.iter().map(|port| Mac(port.mac())).collect();
    let flow_capacity = config.flow_table.entries_per_lcore;
    let watched = pipeline::measure::Settings { one_in: config.measure.flows, ring: config.measure.ring };
    let (measure, region, policy) = (config.measure, config.region.clone(), config.policy.clone());
    let (listen, socket) = (config.metrics.listen, config.control.socket.clone());
    let (mut control, readers) =
        Control::new(config, macs, cpus.workers.len(), clock.now()).map_err(|error| Failure {
            cause: error.to_string(),
            remedy: "take VIPs or servers out of the configuration".into(),
            code: EXIT_CONFIG,
        })?;
    let (workers, handles) = build_workers(queues, readers, flow_capacity, watched, clock)?;
    control.attach(handles.clone());
    let prober = Prober::start().map_err(|error| {
        Failure::environment(
            format!("cannot start the thread of the health checks: {error}"),
            "raise the limits on threads and open files",
        )
    })?;
    control.check_health(prober);
    let findings = Arc::new(Findings::default());
    findings.follow(control.directory());
    findings.wish(Wishes::new(control.config(), control.directory()));
    let parts = measure::Parts {
        workers: handles.clone(),
        measure,
        region,
        policy,
        findings: Arc::clone(&findings),
        clock,
    };
    let policy = start_policy(parts)?;
    let source = Arc::new(Source::new(handles.clone(), findings));
    serve(listen, socket.as_deref(), &source)?;
    let ended = Arc::new(AtomicBool::new(false));
    let running = launch(&eal, workers, &ended)?;
    tracing::info!(workers = running.len(), ports = ports.len(), "running");
    for line in eal.take_log() {
        tracing::debug!(target: "dpdk", "{}", line.text);
    }

    let outcome = control_loop(&mut control, path, &ports, &source, &signals, &ended, clock);
    for handle in &handles {
        handle.stop();
    }
    let mut joined = Ok(());
    for worker in running {
        if let Err(panic) = worker.join() {
            joined = Err(Failure::internal(panic));
        }
    }
    policy.stop();
    report_law(&source);
    outcome.and(joined)
}

/// Serves metrics, and the operator's commands.
fn serve(listen: Option<SocketAddr>, socket: Option<&Path>, source: &Arc<Source>) -> Result<(), Failure> {
    // The default's folder is a service manager's to make; who has none has not asked for the socket.
    let default = Path::new(config::DEFAULT_SOCKET);
    let has_folder = |socket: &Path| socket.parent().is_some_and(Path::is_dir);
    let socket = socket.filter(|socket| *socket != default || has_folder(socket));
    let bound = socket.map(|path| {
        socket::bind(path).map_err(|error| {
            Failure::environment(
                format!("cannot listen at [control] socket {}: {error}", path.display()),
                "choose another path, make its folder, or turn it off with socket = \"off\"",
            )
        })
    });
    let address = metrics::serve(listen, bound.transpose()?, Arc::clone(source)).map_err(|error| {
        let listen = listen.map_or("off".into(), |listen| listen.to_string());
        Failure::environment(
            format!("cannot listen for metrics on {listen}: {error}"),
            "choose another address with [metrics] listen, or turn metrics off with listen = \"off\"",
        )
    })?;
    if let Some(address) = address {
        tracing::info!(%address, "serving metrics");
    }
    Ok(())
}

/// Starts the thread that takes the workers' samples and publishes statistics.
pub fn start_policy(parts: measure::Parts) -> Result<measure::Thread, Failure> {
    let observer = measure::Observer::new(&parts, parts.clock.now()).map_err(|error| {
        let path = parts.region.path.as_deref().unwrap_or(Path::new("")).display();
        Failure::environment(format!("[region] path {path}: {error}"), error.remedy())
    })?;
    let rings = parts.workers.iter().filter_map(Handle::take_samples).collect();
    measure::start(observer, parts, rings).map_err(|error| {
        Failure::environment(
            format!("cannot start the thread of the policies: {error}"),
            "raise the limit on threads",
        )
    })
}

fn load(path: &Path) -> Result<Config, Failure> {
    let loaded = Config::load(path).map_err(|errors| Failure::config(&errors))?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    Ok(loaded.config)
}

/// What the signals have asked for.
struct Signals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    fn register() -> Result<Self, Failure> {
        let signals = Self { stop: Arc::default(), reload: Arc::default() };
        for (signal, flag) in [(SIGTERM, &signals.stop), (SIGINT, &signals.stop), (SIGHUP, &signals.reload)] {
            signal_hook::flag::register(signal, Arc::clone(flag)).map_err(|error| {
                Failure::environment(
                    format!("cannot handle signal {signal}: {error}"),
                    "start weir from a service manager or a shell",
                )
            })?;
        }
        Ok(signals)
    }
}

/// Which CPUs packet loops run on, and which the other threads.
#[derive(Debug, PartialEq, Eq)]
pub struct Cpus {
    /// One worker on each of these.
    pub workers: Vec<usize>,
    /// Control, metrics and policy threads.
    pub others: Vec<usize>,
}

impl Cpus {
    /// The configured workers, else every CPU we may use but the first; the other threads stay off them
    /// where there is a CPU to spare.
    ///
    /// Errors: the CPUs that we may use cannot be read.
    pub fn choose(configured: Option<&[u16]>) -> Result<Self, Failure> {
        let allowed = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).map_err(|error| {
            Failure::environment(
                format!("cannot read the CPUs we may use: {error}"),
                "check the container's limits",
            )
        })?;
        let count = nix::sched::CpuSet::count();
        let allowed: Vec<usize> = (0..count).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false)).collect();
        Ok(Self::split(configured, &allowed))
    }

    fn split(configured: Option<&[u16]>, allowed: &[usize]) -> Self {
        let workers: Vec<usize> = match configured {
            Some(cpus) => cpus.iter().map(|&cpu| usize::from(cpu)).collect(),
            None if allowed.len() > 1 => allowed[1..].to_vec(),
            None => allowed.to_vec(),
        };
        let mut others: Vec<usize> = allowed.iter().copied().filter(|cpu| !workers.contains(cpu)).collect();
        if others.is_empty() {
            others = allowed.to_vec();
        }
        Self { workers, others }
    }
}

fn start_eal(config: &Config, cpus: &Cpus) -> Result<Eal, Failure> {
    let devices = config.ports.iter().map(|port| &port.device);
    let eal = EalConfig {
        main_cpus: cpus.others.clone(),
        worker_cpus: cpus.workers.clone(),
        args: config.eal.args.clone(),
        pci_devices: devices.filter(|device| is_pci(device)).cloned().collect(),
    };
    Eal::init(&eal).map_err(|error| Failure::environment(&error, error.remedy()))
}

/// Whether a device is a PCI address, `0000:3b:00.0` or `3b:00.0`, rather than a vdev string.
fn is_pci(device: &str) -> bool {
    let address = device.split(',').next().unwrap_or_default();
    let fields: Vec<&str> = address.split([':', '.']).collect();
    (3..=4).contains(&fields.len()) && fields.iter().all(|field| u32::from_str_radix(field, 16).is_ok())
}

/// One pool for all ports: every descriptor may hold an mbuf, every worker some, and so may the rings between workers.
fn make_pool(eal: &Eal, config: &Config, workers: usize) -> Result<Mempool, Failure> {
    let workers = workers as u32;
    let per_queue = |port: &crate::config::Port| u32::from(port.rx_ring) + u32::from(port.tx_ring);
    let with_exception = |port: &config::Port| per_queue(port) * (1 + u32::from(port.exception.is_some()));
    let rings: u32 = config.ports.iter().map(|port| with_exception(port) * workers).sum();
    let under_way = worker::most_under_way(workers as usize) as u32;
    let mbufs = (rings + workers * MBUFS_PER_WORKER + under_way).next_power_of_two() - 1;
    let mtu = config.ports.iter().map(|port| port.mtu).max().unwrap_or(1500);
    // A frame of the largest MTU with its VLAN tags in one segment, so that NAT and tunnels see all of it.
    let data_room_bytes = (mtu + 64).max(2048);
    Mempool::new(eal, &PoolConfig { mbufs, data_room_bytes, numa_node: None })
        .map_err(|error| Failure::environment(&error, error.remedy()))
}

/// Opens all ports, then their exception ports; returns the queues that each worker gets, one of every port.
fn open_ports(
    eal: &Eal,
    config: &Config,
    pool: &Mempool,
    workers: usize,
) -> Result<(Vec<Port>, Vec<Vec<DpdkQueue>>), Failure> {
    let mut ports = Vec::new();
    let mut queues: Vec<Vec<DpdkQueue>> = (0..workers).map(|_| Vec::new()).collect();
    let mut open = |name: &str, wish: &PortConfig| {
        let (opened, its_queues) =
            Port::open(eal, wish, pool).map_err(|error| Failure::environment(&error, error.remedy()))?;
        tracing::info!(
            port = %name, device = %wish.device, driver = opened.driver(),
            mac = %Mac(opened.mac()), capabilities = ?opened.capabilities(), "opened"
        );
        for (worker, queue) in queues.iter_mut().zip(its_queues) {
            worker.push(queue);
        }
        let mac = opened.mac();
        ports.push(opened);
        Ok(mac)
    };
    let wanted = workers as u16;
    let mut exceptions = Vec::new();
    for port in &config.ports {
        if port.queues.is_some_and(|queues| queues != wanted) {
            return Err(Failure {
                cause: format!(
                    "[[port]] {:?} asks for {} queues, and there are {wanted} workers",
                    port.name,
                    port.queues.unwrap_or(0)
                ),
                remedy: format!(
                    "set queues = {wanted}, or leave it out: each worker polls one queue of each port"
                ),
                code: EXIT_CONFIG,
            });
        }
        let wish = PortConfig {
            device: port.device.clone(),
            queues: wanted,
            rx_ring: port.rx_ring,
            tx_ring: port.tx_ring,
            mtu: port.mtu,
            promiscuous: port.promiscuous,
            mac: port.mac.map(|mac| mac.0),
        };
        let mac = open(&port.name, &wish)?;
        if let (Some(device), Some(name)) = (&port.exception, port.exception_name()) {
            // The kernel's end answers to the port's address: what is for one is for the other.
            let mtu = wish.mtu.min(EXCEPTION_MTU);
            exceptions.push((name, PortConfig { device: device.clone(), mac: Some(mac), mtu, ..wish }));
        }
    }
    for (name, wish) in &exceptions {
        open(name, wish)?;
    }
    Ok((ports, queues))
}

type Workers = Vec<Worker<DpdkQueue>>;

fn build_workers(
    queues: Vec<Vec<DpdkQueue>>,
    readers: Vec<Reader<Tables>>,
    flow_capacity: u32,
    measure: pipeline::measure::Settings,
    clock: Clock,
) -> Result<(Workers, Vec<Handle>), Failure> {
    let (mut workers, mut handles) = (Vec::new(), Vec::new());
    for (at, (queues, tables)) in queues.into_iter().zip(readers).enumerate() {
        let lcore = LcoreId(at as u16);
        let parts =
            Parts { lcore, queues, tables, flow_capacity, hash_key: HashKey::default(), measure, clock };
        let (worker, handle) = Worker::new(parts).map_err(|error| {
            Failure::environment(
                format!("no memory for a flow table of {flow_capacity} entries: {error}"),
                "lower [flow_table] entries_per_lcore",
            )
        })?;
        workers.push(worker);
        handles.push(handle);
    }
    worker::connect(&mut workers);
    Ok((workers, handles))
}

/// Raised when it is dropped: when a worker's loop ends, whether by return or by panic.
struct Ended(Arc<AtomicBool>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Starts the workers on their lcores; any of them raises `ended` when it ends.
fn launch(eal: &Eal, workers: Workers, ended: &Arc<AtomicBool>) -> Result<Vec<WorkerHandle<()>>, Failure> {
    let launched = workers.into_iter().enumerate().map(|(at, mut worker)| {
        let ended = Ended(Arc::clone(ended));
        eal.launch(at, move || {
            let _ended = ended;
            worker.run();
        })
    });
    launched.collect::<Result<_, _>>().map_err(|error| Failure::environment(error, error.remedy()))
}

/// The control thread's rounds, until a signal or the end of a worker. A panic costs what was left of its round.
fn control_loop(
    control: &mut Control,
    path: &Path,
    ports: &[Port],
    source: &Source,
    signals: &Signals,
    ended: &AtomicBool,
    clock: Clock,
) -> Result<(), Failure> {
    let mut rounds = 0u32;
    let mut meter = LoadMeter::default();
    let path = PathBuf::from(path);
    source.findings.wake(thread::current());
    loop {
        let asked_to_reload = signals.reload.swap(false, Ordering::Relaxed);
        let report = asked_to_reload || rounds.is_multiple_of(STATUS_ROUNDS);
        let round = survive("control", &source.control_panics, || {
            control.round(&source.findings, clock);
            if asked_to_reload {
                reload(control, &path, source, clock.now());
            }
            if report {
                control.links(ports.iter().map(|port| port.link().up));
                source.set_status(status(control, ports, meter.measure(&source.workers)));
            }
        });
        if round.is_none() {
            thread::sleep(AFTER_PANIC);
        }
        if ended.load(Ordering::Relaxed) {
            return Err(Failure::internal("a worker ended by itself"));
        }
        if signals.stop.load(Ordering::Relaxed) {
            tracing::info!("stopping");
            return Ok(());
        }
        rounds = rounds.wrapping_add(1);
        control.pause();
    }
}

/// Takes the file's new content, or says why not; in that case nothing has changed.
fn reload(control: &mut Control, path: &Path, source: &Source, now: dataplane::time::Nanos) {
    match new_config(control, path)
        .and_then(|config| control.reload(config, now).map_err(|error| error.to_string()))
    {
        Ok(()) => {
            source.findings.wish(Wishes::new(control.config(), control.directory()));
            source.reloads.fetch_add(1, Ordering::Relaxed);
            tracing::info!(generation = control.tables().generation.0, "configuration reloaded");
        }
        Err(reason) => {
            source.refused_reloads.fetch_add(1, Ordering::Relaxed);
            tracing::error!("configuration not reloaded, nothing has changed:\n{reason}");
        }
    }
}

fn new_config(control: &Control, path: &Path) -> Result<Config, String> {
    let loaded = Config::load(path).map_err(|errors: ConfigErrors| errors.to_string())?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let changes = control.config().unreloadable_changes(&loaded.config);
    if changes.is_empty() {
        return Ok(loaded.config);
    }
    Err(changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn status(control: &Control, ports: &[Port], load: Vec<Load>) -> Status {
    let config = &control.config().ports;
    let names = config.iter().map(|port| port.name.clone());
    let names = names.chain(config.iter().filter_map(config::Port::exception_name));
    Status {
        directory: Arc::clone(control.directory()),
        generation: control.tables().generation.0,
        ports: names.zip(ports).map(|(name, port)| (name, port.link().up, port.stats())).collect(),
        unreachable_vips: control.unreachable_vips().map(String::from).collect(),
        unresolved: control.unresolved().collect(),
        load,
        health: control.health(),
    }
}

/// Says at the end whether every packet is accounted for.
fn report_law(source: &Source) {
    let Some(ledger) = metrics::whole_ledger(source) else { return };
    let sum = |read: fn(&dataplane::pipeline::counters::Ledger, usize) -> u64| -> u64 {
        (0..ledger.places()).map(|place| read(&ledger, place)).sum()
    };
    let (received, transmitted) = (sum(|l, place| l.rx(place).packets), sum(|l, place| l.tx(place).packets));
    let (dropped, held) = (ledger.all_drops(), ledger.in_flight());
    tracing::info!(received, transmitted, dropped, held, imbalance = %ledger.imbalance(), "stopped");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_of_a_worker_ends_the_control_loop_with_exit_code_4() {
        let text = "[[port]]\ndevice = \"net_tap0\"\naddress = [\"192.0.2.2/24\"]\n";
        let config = Config::parse(text, "test.toml").unwrap().config;
        let clock = Clock::start();
        let (mut control, _readers) = Control::new(config, vec![Mac([2; 6])], 1, clock.now()).unwrap();
        let signals = Signals { stop: Arc::default(), reload: Arc::default() };
        let source = Source::new(Vec::new(), Arc::default());
        let mut end = |ended| {
            let (file, ended) = (Path::new("test.toml"), AtomicBool::new(ended));
            control_loop(&mut control, file, &[], &source, &signals, &ended, clock)
        };
        assert_eq!(end(true).unwrap_err().code, crate::error::EXIT_INTERNAL);
        signals.stop.store(true, Ordering::Relaxed);
        assert_eq!(end(false), Ok(()));
        assert_eq!(end(true).unwrap_err().code, crate::error::EXIT_INTERNAL, "even while stopping");
    }

    #[test]
    fn pci_addresses_are_told_from_vdev_strings() {
        for pci in ["0000:3b:00.0", "3b:00.0", "0000:3b:00.0,rx_burst=64"] {
            assert!(is_pci(pci), "{pci}");
        }
        for vdev in ["net_af_packet0,iface=lan0", "net_null0", "net_tap0,iface=tap0,mac=02:00:00:00:00:01"] {
            assert!(!is_pci(vdev), "{vdev}");
        }
    }

    #[test]
    fn other_threads_stay_off_the_workers_cpus_where_they_can() {
        let cpus =
            |workers: &[usize], others: &[usize]| Cpus { workers: workers.into(), others: others.into() };
        assert_eq!(Cpus::split(None, &[0, 1, 2]), cpus(&[1, 2], &[0]));
        assert_eq!(Cpus::split(None, &[5]), cpus(&[5], &[5]));
        assert_eq!(Cpus::split(Some(&[2]), &[0, 1, 2]), cpus(&[2], &[0, 1]));
        assert_eq!(Cpus::split(Some(&[0, 1]), &[0, 1]), cpus(&[0, 1], &[0, 1]));
    }
}
