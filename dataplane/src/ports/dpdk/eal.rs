//! EAL, DPDK's environment: threads, memory and devices of this process.

use std::ffi::{CString, c_char, c_int};
use std::fmt::Write as _;
use std::marker::PhantomData;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use dpdk_sys as sys;

use super::capture::capture_output;
use super::error::{self, EalError, LaunchError};
use super::launch::{self, WorkerHandle, lcore_of};
use super::log::{self, LogLine};
use super::per_lcore;

/// Set by the first attempt to start EAL, which may leave it half started.
static STARTED: AtomicBool = AtomicBool::new(false);

/// A PCI address that no device has. Allowing it alone makes EAL look at the PCI bus and touch nothing
/// on it, so that each device is probed when its port is opened, and fails by itself.
const NO_SUCH_PCI_DEVICE: &str = "ffff:ff:1f.7";

/// Arguments that decide where memory comes from; without any of them it is `--in-memory`.
const MEMORY_ARGS: [&str; 5] = ["--no-huge", "--legacy-mem", "--huge-dir", "--in-memory", "--file-prefix"];

/// Arguments that this module writes itself, and those that would end the process.
const RESERVED_ARGS: [&str; 9] =
    ["--lcores", "-l", "-c", "-S", "-s", "--main-lcore", "--proc-type", "--help", "-h"];

/// How to start EAL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EalConfig {
    /// CPUs of the calling thread, which becomes the main thread, and of what it spawns; empty: those it
    /// may run on now.
    pub main_cpus: Vec<usize>,
    /// The CPU of each worker, in order. Several workers may share one, and may share the main thread's.
    pub worker_cpus: Vec<usize>,
    /// Further EAL arguments, passed on as they are: `["--no-huge", "-m", "256"]`.
    pub args: Vec<String>,
    /// PCI addresses of the ports that will be opened. Without any, EAL does not look at the PCI bus.
    pub pci_devices: Vec<String>,
}

/// EAL, started. It stays up until the process ends (see the module's documentation); the handle proves that
/// it is.
#[derive(Debug)]
pub struct Eal {
    workers: usize,
    /// Held while a worker is given work, which DPDK does not allow two threads to do at once.
    launching: Mutex<()>,
}

impl Eal {
    /// Starts EAL, with the calling thread as its main thread. Once per process.
    ///
    /// Always adds `--iova-mode=va` and `--no-telemetry`; adds `--in-memory` (hugepages without files) unless
    /// the arguments say otherwise, `--no-pci` when there are no PCI devices, and `--no-shconf` where nothing
    /// on disk is wanted. Standard output and error are caught while EAL starts; its log goes to
    /// [`take_log`](Self::take_log).
    pub fn init(config: &EalConfig) -> Result<Self, EalError> {
        let arguments = arguments(config)?;
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(EalError::AlreadyInitialised);
        }
        log::capture();
        let mark = log::mark();
        // EAL and syslog keep pointers to the arguments: they are never freed.
        let count = c_int::try_from(arguments.len()).expect("fewer than 2^31 arguments");
        let mut argv: Vec<*mut c_char> = arguments.into_iter().map(CString::into_raw).collect();
        argv.push(std::ptr::null_mut());
        let argv = argv.leak();
        // SAFETY: - `argv` has `count` pointers to C strings that may be written and are never freed, and a
        //           null at the end;
        //         - EAL was not started before: `STARTED` was false.
        let (used, output) = capture_output(|| unsafe { sys::rte_eal_init(count, argv.as_mut_ptr()) });
        if used < 0 {
            let errno = per_lcore::errno();
            // getopt complains past the log, and knows best.
            let complaint = output.lines().find_map(|line| line.strip_prefix("weir: "));
            let cause = complaint.map_or_else(|| error::cause(mark, errno), str::to_owned);
            return Err(EalError::of_init(errno, cause));
        }
        Ok(Self { workers: config.worker_cpus.len(), launching: Mutex::new(()) })
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// The NUMA node of a worker's CPU; `None` when there is no such worker.
    pub fn numa_node(&self, worker: usize) -> Option<u32> {
        // SAFETY: any lcore id may be asked for; this one exists.
        (worker < self.workers).then(|| unsafe { sys::rte_lcore_to_socket_id(lcore_of(worker)) })
    }

    /// Runs `action` on a worker, numbered from 0.
    ///
    /// Errors: there is no such worker, or it is busy. A panic in `action` comes back from
    /// [`WorkerHandle::join`].
    pub fn launch<T, F>(&self, worker: usize, action: F) -> Result<WorkerHandle<T>, LaunchError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        if worker >= self.workers {
            return Err(LaunchError::NoSuchWorker { worker, workers: self.workers });
        }
        let _one_at_a_time = self.launching.lock().unwrap_or_else(PoisonError::into_inner);
        launch::launch(worker, action)
    }

    /// Makes the calling thread known to DPDK until the returned value is dropped, so that it has a cache of
    /// its own in every pool. Any thread may use mbufs and queues; without a cache it is slower.
    ///
    /// Errors: no lcore id is left. A thread that is already known keeps its id.
    pub fn register_thread(&self) -> Result<RegisteredThread, EalError> {
        let known = per_lcore::lcore_id() != u32::MAX;
        if !known {
            let mark = log::mark();
            // SAFETY: EAL is started and this thread has no lcore id.
            if unsafe { sys::rte_thread_register() } < 0 {
                return Err(EalError::Register { cause: error::cause(mark, per_lcore::errno()) });
            }
        }
        Ok(RegisteredThread { unregister: !known, not_send: PhantomData })
    }

    /// What DPDK logged since the last call, oldest first; of much, the newest 512 lines.
    pub fn take_log(&self) -> Vec<LogLine> {
        log::take()
    }

    /// Ticks of the time-stamp counter in a second, as DPDK measured them.
    pub fn tsc_hz(&self) -> u64 {
        // SAFETY: EAL is started.
        unsafe { sys::rte_get_tsc_hz() }
    }
}

/// A thread that DPDK knows; dropped, it no longer does.
#[derive(Debug)]
pub struct RegisteredThread {
    unregister: bool,
    /// It has to be dropped on its thread.
    not_send: PhantomData<*const ()>,
}

impl Drop for RegisteredThread {
    fn drop(&mut self) {
        if self.unregister {
            // SAFETY: this thread was registered, and the guard cannot have left it.
            unsafe { sys::rte_thread_unregister() };
        }
    }
}

/// The arguments of `rte_eal_init`.
fn arguments(config: &EalConfig) -> Result<Vec<CString>, EalError> {
    let given = |name: &str| {
        config.args.iter().any(|argument| {
            argument == name
                || argument.strip_prefix(name).is_some_and(|rest| rest.starts_with('='))
                // A short option with its value in the same word: "-l1".
                || (!name.starts_with("--") && !argument.starts_with("--") && argument.starts_with(name))
        })
    };
    if let Some(name) = RESERVED_ARGS.into_iter().find(|name| given(name)) {
        return Err(EalError::ReservedArgument { argument: name.to_owned() });
    }
    let mut arguments = vec!["weir".to_owned(), "--lcores".to_owned(), lcores(config)?];
    if !given("--iova-mode") {
        arguments.push("--iova-mode=va".to_owned());
    }
    if !given("--telemetry") && !given("--no-telemetry") {
        arguments.push("--no-telemetry".to_owned());
    }
    if !MEMORY_ARGS.into_iter().any(given) {
        arguments.push("--in-memory".to_owned());
    } else if !given("--in-memory") && !given("--file-prefix") && !given("--no-shconf") {
        // No configuration file under a common name: two processes would be in each other's way.
        arguments.push("--no-shconf".to_owned());
    }
    if !["-a", "--allow", "-b", "--block", "--no-pci"].into_iter().any(given) {
        if config.pci_devices.is_empty() {
            arguments.push("--no-pci".to_owned());
        } else {
            arguments.extend(["-a".to_owned(), NO_SUCH_PCI_DEVICE.to_owned()]);
        }
    }
    arguments.extend(config.args.iter().cloned());
    arguments
        .into_iter()
        .map(|text| CString::new(text.as_str()).map_err(|_| EalError::ReservedArgument { argument: text }))
        .collect()
}

/// The value of `--lcores`: lcore 0 on the main CPUs, lcore 1 + i on the CPU of worker i.
fn lcores(config: &EalConfig) -> Result<String, EalError> {
    let most = sys::RTE_MAX_LCORE as usize - 1;
    if config.worker_cpus.len() > most {
        return Err(EalError::TooManyWorkers { asked: config.worker_cpus.len(), most });
    }
    // Unreadable (another system, a sandbox): EAL will complain of what is wrong.
    if let Some(available) = allowed_cpus() {
        let cpus = parse_cpu_list(&available);
        let wanted = config.main_cpus.iter().chain(&config.worker_cpus);
        if let Some(&cpu) = wanted.into_iter().find(|cpu| !cpus.contains(cpu)) {
            return Err(EalError::NoCpu { cpu, available });
        }
    }
    let main = if config.main_cpus.is_empty() {
        allowed_cpus().unwrap_or_else(|| "0".to_owned())
    } else {
        config.main_cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    };
    let mut text = format!("0@({main})");
    for (worker, cpu) in config.worker_cpus.iter().enumerate() {
        write!(text, ",{}@{cpu}", lcore_of(worker)).expect("writing to a string does not fail");
    }
    Ok(text)
}

/// The CPUs that this thread may run on, as the kernel lists them: "0-3,8".
fn allowed_cpus() -> Option<String> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(list.trim().to_owned())
}

/// The CPUs of a list as the kernel writes it.
fn parse_cpu_list(list: &str) -> Vec<usize> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse()) {
            cpus.extend(first..=last);
        }
    }
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(config: &EalConfig) -> String {
        let arguments = arguments(config).unwrap();
        arguments.iter().map(|text| text.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn defaults_take_hugepages_in_memory_and_no_pci() {
        let config = EalConfig { main_cpus: vec![0], worker_cpus: vec![0, 0], ..EalConfig::default() };
        assert_eq!(
            line(&config),
            "weir --lcores 0@(0),1@0,2@0 --iova-mode=va --no-telemetry --in-memory --no-pci"
        );
    }

    #[test]
    fn memory_arguments_are_left_to_the_user() {
        let args = ["--no-huge", "-m", "64"].map(str::to_owned).to_vec();
        let config = EalConfig { main_cpus: vec![0], args, ..EalConfig::default() };
        assert_eq!(
            line(&config),
            "weir --lcores 0@(0) --iova-mode=va --no-telemetry --no-shconf --no-pci --no-huge -m 64"
        );
    }

    #[test]
    fn pci_devices_enable_the_bus_without_probing_it() {
        let pci_devices = vec!["0000:3b:00.0".to_owned()];
        let config = EalConfig { main_cpus: vec![0], pci_devices, ..EalConfig::default() };
        assert!(line(&config).ends_with("--in-memory -a ffff:ff:1f.7"));
    }

    #[test]
    fn what_we_write_ourselves_is_refused() {
        for argument in ["-l1", "-l", "--lcores=0@0", "--main-lcore", "--help"] {
            let config = EalConfig { args: vec![argument.to_owned()], ..EalConfig::default() };
            assert!(matches!(arguments(&config), Err(EalError::ReservedArgument { .. })), "{argument}");
        }
        let config =
            EalConfig { args: vec!["--log-level=8".into(), "--socket-mem=1".into()], ..EalConfig::default() };
        arguments(&config).unwrap();
    }

    #[test]
    fn absent_cpu_is_named() {
        let config = EalConfig { worker_cpus: vec![100_000], ..EalConfig::default() };
        assert!(matches!(arguments(&config), Err(EalError::NoCpu { cpu: 100_000, .. })));
    }

    #[test]
    fn cpu_lists_are_read() {
        assert_eq!(parse_cpu_list("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(parse_cpu_list("7"), [7]);
    }
}
