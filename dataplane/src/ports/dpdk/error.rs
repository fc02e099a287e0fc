//! What can go wrong at the edge, with the cause in DPDK's words and a remedy in ours.

use std::ffi::CStr;

use dpdk_sys as sys;

/// EAL could not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EalError {
    /// EAL starts once in a process, whatever became of the first attempt.
    #[error("DPDK was already initialised in this process")]
    AlreadyInitialised,
    /// An argument that [`EalConfig`](super::EalConfig) sets itself, one that would end the process, or one with a NUL.
    #[error("the EAL argument {argument:?} cannot be given")]
    ReservedArgument {
        /// The argument.
        argument: String,
    },
    /// A CPU that this process may not run on.
    #[error("CPU {cpu} is not available to this process (available: {available})")]
    NoCpu {
        /// The CPU asked for.
        cpu: usize,
        /// The CPUs there are, as a list.
        available: String,
    },
    /// More workers than DPDK has lcores for.
    #[error("{asked} workers are more than the {most} that DPDK allows")]
    TooManyWorkers {
        /// Workers asked for.
        asked: usize,
        /// Workers possible.
        most: usize,
    },
    /// No hugepages, or not as much memory as asked for.
    #[error("not enough memory for DPDK: {cause}")]
    NoMemory {
        /// What DPDK said.
        cause: String,
    },
    /// The process lacks a privilege.
    #[error("no permission: {cause}")]
    NoPermission {
        /// What DPDK said.
        cause: String,
    },
    /// EAL does not understand its arguments.
    #[error("wrong EAL arguments: {cause}")]
    Arguments {
        /// What DPDK said.
        cause: String,
    },
    /// Another DPDK process has the same file prefix.
    #[error("another DPDK process is in the way: {cause}")]
    PrefixInUse {
        /// What DPDK said.
        cause: String,
    },
    /// Every lcore id is taken, so another thread cannot be registered.
    #[error("the thread cannot be registered with DPDK: {cause}")]
    Register {
        /// What DPDK said.
        cause: String,
    },
    /// Anything else.
    #[error("DPDK cannot be initialised: {cause}")]
    Other {
        /// What DPDK said.
        cause: String,
    },
}

impl EalError {
    /// What to do about it, in one line.
    pub fn remedy(&self) -> String {
        match self {
            Self::AlreadyInitialised => {
                "initialise it once and share the handle; restart the process to begin anew".into()
            }
            Self::ReservedArgument { .. } => "leave it out of [eal] args; the CPUs are set by [eal] lcores, \
                 device arguments by [[port]] device"
                .into(),
            Self::NoCpu { available, .. } => format!("choose [eal] lcores among {available}"),
            Self::TooManyWorkers { most, .. } => format!("use at most {most} workers"),
            Self::NoMemory { .. } => {
                "reserve hugepages (echo 1024 > /proc/sys/vm/nr_hugepages), or do without: \
                 [eal] args = [\"--no-huge\", \"-m\", \"256\"]"
                    .into()
            }
            Self::NoPermission { .. } => "run as root, or give the process CAP_IPC_LOCK, CAP_NET_ADMIN and \
                 CAP_NET_RAW and access to /dev/vfio"
                .into(),
            Self::Arguments { .. } => "correct [eal] args; dpdk-testpmd --help lists what EAL takes".into(),
            Self::PrefixInUse { .. } => {
                "stop the other process, or add \"--file-prefix=NAME\" to [eal] args".into()
            }
            Self::Register { .. } => {
                format!("register fewer threads; DPDK has {} lcores", sys::RTE_MAX_LCORE)
            }
            Self::Other { .. } => "see the log lines of DPDK before this one; \
                 [eal] args = [\"--log-level=lib.eal:debug\"] shows more"
                .into(),
        }
    }

    /// The variant for a failed `rte_eal_init`.
    pub(super) fn of_init(errno: i32, cause: String) -> Self {
        let says = |words: &[&str]| words.iter().any(|word| cause.to_ascii_lowercase().contains(word));
        if errno == libc::EALREADY {
            Self::AlreadyInitialised
        } else if says(&["permission denied", "operation not permitted"]) {
            Self::NoPermission { cause }
        } else if says(&["create lock", "another primary process"]) {
            Self::PrefixInUse { cause }
        } else if says(&["option", "command line", "invalid parameter"]) {
            Self::Arguments { cause }
        } else if errno == libc::ENOMEM || says(&["hugepage", "memory", "memseg", "mmap", "memzone"]) {
            Self::NoMemory { cause }
        } else if errno == libc::EACCES {
            Self::NoPermission { cause }
        } else {
            Self::Other { cause }
        }
    }
}

/// A worker could not be given work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// EAL was started with fewer workers.
    #[error("there is no worker {worker}: EAL has {workers}")]
    NoSuchWorker {
        /// The worker asked for, from 0.
        worker: usize,
        /// How many there are.
        workers: usize,
    },
    /// The worker still runs what it was given before.
    #[error("worker {worker} is busy")]
    Busy {
        /// The worker.
        worker: usize,
    },
}

impl LaunchError {
    /// What to do about it, in one line.
    pub fn remedy(&self) -> String {
        match self {
            Self::NoSuchWorker { workers, .. } => {
                format!("use workers below {workers}, or name more CPUs in [eal] lcores")
            }
            Self::Busy { .. } => "join what the worker runs before giving it more".into(),
        }
    }
}

/// What ran on a worker panicked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("worker {worker} panicked: {message}")]
pub struct WorkerPanic {
    /// The worker, from 0.
    pub worker: usize,
    /// The panic's message.
    pub message: String,
}

/// A pool of mbufs could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// DPDK has no room for it.
    #[error("no memory for {mbufs} packet buffers (about {mebibytes} MiB): {cause}")]
    NoMemory {
        /// Mbufs asked for.
        mbufs: u32,
        /// What they take, about.
        mebibytes: u64,
        /// What DPDK said.
        cause: String,
    },
    /// A size that DPDK does not take.
    #[error("a pool of {mbufs} packet buffers of {data_room_bytes} bytes is not possible: {cause}")]
    Size {
        /// Mbufs asked for.
        mbufs: u32,
        /// Bytes of data in each.
        data_room_bytes: u16,
        /// What DPDK said.
        cause: String,
    },
}

impl PoolError {
    /// What to do about it, in one line.
    pub fn remedy(&self) -> String {
        match self {
            Self::NoMemory { mebibytes, .. } => format!(
                "give DPDK at least {} MiB: raise -m in [eal] args, or nr_hugepages; or use smaller rings",
                mebibytes + mebibytes / 4 + 32
            ),
            Self::Size { .. } => "use 64 to 2^31 buffers of 128 to 65280 bytes".into(),
        }
    }
}

/// A port could not be opened, or refuses what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// There is no such device, or no driver has this name.
    #[error("{device}: no such device: {cause}")]
    NoDevice {
        /// The device as configured.
        device: String,
        /// What DPDK said.
        cause: String,
    },
    /// The PCI device is there, but the kernel has it.
    #[error("{device}: bound to {driver}, which DPDK cannot use: {cause}")]
    NotBound {
        /// The device as configured.
        device: String,
        /// The kernel driver it is bound to, or "no driver".
        driver: String,
        /// What DPDK said.
        cause: String,
    },
    /// The kernel interface that the device should use does not exist.
    #[error("{device}: there is no interface {interface}: {cause}")]
    NoInterface {
        /// The device as configured.
        device: String,
        /// The interface.
        interface: String,
        /// What DPDK said.
        cause: String,
    },
    /// The process lacks a privilege.
    #[error("{device}: no permission: {cause}")]
    NoPermission {
        /// The device as configured.
        device: String,
        /// What DPDK said.
        cause: String,
    },
    /// The driver does not take these arguments, or the device string is not one.
    #[error("{device}: wrong device arguments: {cause}")]
    Arguments {
        /// The device as configured.
        device: String,
        /// What DPDK said.
        cause: String,
    },
    /// The driver found the device and could not start it.
    #[error("{device}: the driver failed: {cause}")]
    Driver {
        /// The device as configured.
        device: String,
        /// What DPDK said.
        cause: String,
    },
    /// The device is already open.
    #[error("{device}: already in use")]
    InUse {
        /// The device as configured.
        device: String,
    },
    /// More queues than the device has.
    #[error("{device}: {asked} queues asked for, it has {most}")]
    TooManyQueues {
        /// The device as configured.
        device: String,
        /// Queues asked for.
        asked: u16,
        /// Queues there are.
        most: u16,
    },
    /// An MTU outside what the device or the packet buffers can hold.
    #[error("{device}: an MTU of {asked} is not possible: {cause}")]
    Mtu {
        /// The device as configured.
        device: String,
        /// MTU asked for, bytes.
        asked: u16,
        /// Why.
        cause: String,
    },
    /// The device keeps its MAC address.
    #[error("{device}: the MAC address cannot be set: {cause}")]
    Mac {
        /// The device as configured.
        device: String,
        /// What DPDK said.
        cause: String,
    },
    /// DPDK has no memory left for the port.
    #[error("{device}: no memory: {cause}")]
    NoMemory {
        /// The device as configured.
        device: String,
        /// What DPDK said.
        cause: String,
    },
    /// A step of setting the port up failed.
    #[error("{device}: {step} failed: {cause}")]
    Setup {
        /// The device as configured.
        device: String,
        /// Which step.
        step: &'static str,
        /// What DPDK said.
        cause: String,
    },
}

impl PortError {
    /// What to do about it, in one line.
    pub fn remedy(&self) -> String {
        match self {
            Self::NoDevice { device, .. } if looks_like_pci(device) => {
                "list the PCI addresses with lspci -D, and name the device there is".into()
            }
            Self::NoDevice { .. } => {
                "write a PCI address, or driver, number and arguments: \"net_af_packet0,iface=eth0\"".into()
            }
            Self::NotBound { device, .. } => {
                format!("modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci {}", device_name(device))
            }
            Self::NoInterface { interface, .. } => {
                format!("create it (ip link add {interface} ...) or name one that ip link shows")
            }
            Self::NoPermission { .. } => {
                "run as root, or with CAP_NET_ADMIN and CAP_NET_RAW; for PCI, give access to /dev/vfio".into()
            }
            Self::Arguments { device, .. } => format!(
                "correct the arguments of {}; DPDK's guide \"Network Interface Controller Drivers\" lists them",
                device_name(device)
            ),
            Self::Driver { .. } => "mend what the cause names, or the device's arguments; \
                 [eal] args = [\"--log-level=pmd:debug\"] shows more"
                .into(),
            Self::InUse { .. } => "name each device in one [[port]] only".into(),
            Self::TooManyQueues { device, asked, most } => {
                let raise = match device_name(device).trim_end_matches(|c: char| c.is_ascii_digit()) {
                    "net_af_packet" => format!(", or add qpairs={asked} to the device"),
                    "net_af_xdp" => format!(", or add queue_count={asked} to the device"),
                    "net_vhost" | "net_virtio_user" => format!(", or add queues={asked} to the device"),
                    "net_pcap" => {
                        format!(", or give the device {asked} rx_pcap= and tx_pcap= (or iface=) arguments")
                    }
                    _ => String::new(),
                };
                format!("set queues = {most} (and as many workers){raise}")
            }
            Self::Mtu { .. } => {
                "choose an MTU that the device, and a packet buffer, can hold; 1500 always fits".into()
            }
            Self::Mac { .. } => {
                "leave mac out of this [[port]], or set it outside (ip link set ... address)".into()
            }
            Self::NoMemory { .. } => {
                "raise -m in [eal] args, or nr_hugepages; or use smaller rings and fewer queues".into()
            }
            Self::Setup { .. } => {
                "check queues, rx_ring, tx_ring and mtu of this [[port]] against the device, \
                 and that the pool has buffers for all descriptors"
                    .into()
            }
        }
    }
}

/// The name of a device: its configured string up to the arguments.
pub(super) fn device_name(device: &str) -> &str {
    device.split(',').next().unwrap_or(device)
}

/// Whether a device string names a PCI device: `[DDDD:]BB:DD.F`, perhaps with arguments.
pub(super) fn looks_like_pci(device: &str) -> bool {
    let name = device_name(device);
    let Some((address, function)) = name.rsplit_once('.') else { return false };
    let parts: Vec<&str> = address.split(':').collect();
    function.len() == 1
        && (parts.len() == 2 || parts.len() == 3)
        && parts
            .iter()
            .chain([&function])
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// DPDK's words for an error number, of either sign.
pub(super) fn describe(errno: i32) -> String {
    // SAFETY: always callable; returns a static string or a per-thread buffer that is valid until the
    // next call on this thread.
    let text = unsafe { CStr::from_ptr(sys::rte_strerror(errno.saturating_abs())) };
    text.to_string_lossy().into_owned()
}

/// The cause of a failure: what was logged since `mark`, or the words for the error number.
pub(super) fn cause(mark: usize, errno: i32) -> String {
    super::log::cause_since(mark).unwrap_or_else(|| describe(errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_are_told_from_vdevs() {
        for pci in ["0000:3b:00.0", "3b:00.1", "0000:3b:00.0,txq_inline=128"] {
            assert!(looks_like_pci(pci), "{pci}");
        }
        for other in ["net_null0", "net_pcap0,rx_pcap=a.b", "", ".", "1.2", "net_tap0,iface=x:y.0"] {
            assert!(!looks_like_pci(other), "{other}");
        }
    }
}
