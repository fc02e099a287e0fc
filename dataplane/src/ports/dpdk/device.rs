//! A device from its probing to its removal.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dpdk_sys as sys;

use super::cable::Rings;
use super::error::{self, PortError, device_name, looks_like_pci};
use super::log;

/// Held while devices are probed or removed: DPDK keeps lists of them.
static BUSES: Mutex<()> = Mutex::new(());

/// An open device. Dropped, it is stopped and closed, and removed if we brought it in.
pub(super) struct Device {
    /// As configured.
    name: String,
    port_id: u16,
    started: AtomicBool,
    /// Whether it was probed for us, not by EAL's arguments.
    remove: bool,
    /// Held while the port is asked or told something: drivers count on one caller.
    pub(super) control: Mutex<()>,
    /// What a port made of rings is made of: freed after the last of the two ports is closed.
    _rings: Option<Arc<[Rings; 2]>>,
}

impl Device {
    /// Finds the device, probing it if EAL has not, and takes possession of it.
    pub(super) fn probe(device: &str) -> Result<Self, PortError> {
        let arguments = CString::new(device).map_err(|_| PortError::Arguments {
            device: device.replace('\0', "\\0"),
            cause: "a NUL in the string".into(),
        })?;
        if device_name(device).is_empty() {
            return Err(PortError::NoDevice {
                device: device.to_owned(),
                cause: "the string names none".into(),
            });
        }
        let _one_at_a_time = BUSES.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = log::mark();
        let known = port_of(device);
        if known.is_none() {
            // SAFETY: EAL is started; the string is a C string and copied by the call.
            let result = unsafe { sys::rte_dev_probe(arguments.as_ptr()) };
            if result < 0 {
                return Err(probe_error(device, result, mark));
            }
        }
        let port_id = known.or_else(|| port_of(device)).ok_or_else(|| PortError::NoDevice {
            device: device.to_owned(),
            cause: log::cause_since(mark).unwrap_or_else(|| "the device is not a port".into()),
        })?;
        Self::own(device.to_owned(), port_id, known.is_none(), None)
    }

    /// Takes possession of a port that was just made of rings.
    pub(super) fn of_rings(name: String, port_id: u16, rings: Arc<[Rings; 2]>) -> Result<Self, PortError> {
        Self::own(name, port_id, true, Some(rings))
    }

    /// DPDK remembers who owns a port, so that nobody opens it twice.
    fn own(
        name: String,
        port_id: u16,
        remove: bool,
        rings: Option<Arc<[Rings; 2]>>,
    ) -> Result<Self, PortError> {
        let mut owner = MaybeUninit::<sys::rte_eth_dev_owner>::zeroed();
        // SAFETY: the structure is plain numbers, for which zero is valid, so it may be taken as it is; the
        // calls copy what they need. The name is "weir" and a NUL.
        let result = unsafe {
            let owner = owner.assume_init_mut();
            sys::rte_eth_dev_owner_new(&raw mut owner.id);
            for (to, from) in owner.name.iter_mut().zip(c"weir".to_bytes()) {
                *to = from.cast_signed();
            }
            sys::rte_eth_dev_owner_set(port_id, owner)
        };
        if result != 0 {
            return Err(PortError::InUse { device: name });
        }
        let (started, control) = (AtomicBool::new(false), Mutex::new(()));
        Ok(Self { name, port_id, started, remove, control, _rings: rings })
    }

    /// The device as configured.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// DPDK's number of the port.
    pub(super) fn port_id(&self) -> u16 {
        self.port_id
    }

    /// What the driver says of the device.
    pub(super) fn info(&self) -> Result<sys::rte_eth_dev_info, PortError> {
        let mut info = MaybeUninit::<sys::rte_eth_dev_info>::zeroed();
        // SAFETY: the port exists; the structure is numbers and pointers, for which zero is valid.
        self.check("asking the driver", || unsafe {
            sys::rte_eth_dev_info_get(self.port_id, info.as_mut_ptr())
        })?;
        // SAFETY: filled by the call.
        Ok(unsafe { info.assume_init() })
    }

    /// Starts the port, which is configured.
    pub(super) fn start(&self) -> Result<(), PortError> {
        // SAFETY: the port exists and is configured.
        self.check("starting the port", || unsafe { sys::rte_eth_dev_start(self.port_id) })?;
        self.started.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Runs one step of setting the port up; names the step when DPDK returns an error number.
    pub(super) fn check(&self, step: &'static str, call: impl FnOnce() -> i32) -> Result<(), PortError> {
        let mark = log::mark();
        let result = call();
        if result >= 0 {
            return Ok(());
        }
        let (device, cause) = (self.name.clone(), error::cause(mark, result));
        Err(match -result {
            libc::ENOMEM => PortError::NoMemory { device, cause },
            // Not EPERM: it is -1, which drivers return for anything.
            libc::EACCES => PortError::NoPermission { device, cause },
            _ if lacks_privilege(&device) => PortError::NoPermission { device, cause },
            _ => PortError::Setup { device, step, cause },
        })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let device = self.info().map_or(std::ptr::null_mut(), |info| info.device);
        let _one_at_a_time = BUSES.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: - the port exists, and with this value the last that refers to it goes: no queue is left;
        //         - `device` stays valid until it is removed here, and nobody removes it otherwise.
        unsafe {
            if self.started.load(Ordering::Relaxed) {
                sys::rte_eth_dev_stop(self.port_id);
            }
            sys::rte_eth_dev_close(self.port_id);
            if self.remove && !device.is_null() {
                sys::rte_dev_remove(device);
            }
        }
    }
}

/// The port that a device string names, if DPDK knows it.
fn port_of(device: &str) -> Option<u16> {
    let mut name = device_name(device).to_owned();
    if looks_like_pci(&name) {
        name.make_ascii_lowercase();
        if name.matches(':').count() == 1 {
            name.insert_str(0, "0000:");
        }
    }
    let name = CString::new(name).ok()?;
    let mut port_id = 0;
    // SAFETY: the name is a C string.
    if unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut port_id) } == 0 {
        return Some(port_id);
    }
    // A device whose port has another name: take its first.
    let mut iterator = MaybeUninit::<sys::rte_dev_iterator>::zeroed();
    // SAFETY: - the structures are numbers and pointers, for which zero is valid, and init fills them;
    //         - an iterator that has not run to its end is cleaned up.
    unsafe {
        let iterator = iterator.as_mut_ptr();
        if sys::rte_eth_iterator_init(iterator, name.as_ptr()) != 0 {
            return None;
        }
        let port_id = sys::rte_eth_iterator_next(iterator);
        if u32::from(port_id) >= sys::RTE_MAX_ETHPORTS {
            return None;
        }
        sys::rte_eth_iterator_cleanup(iterator);
        Some(port_id)
    }
}

/// Why a device could not be probed.
fn probe_error(device: &str, result: i32, mark: usize) -> PortError {
    let (text, cause) = (device.to_owned(), error::cause(mark, result));
    let says = |words: &[&str]| words.iter().any(|word| cause.to_ascii_lowercase().contains(word));
    if looks_like_pci(device) {
        return pci_error(device, cause);
    }
    let interface = device.split(',').find_map(|argument| argument.strip_prefix("iface="));
    let uses_interface =
        ["net_af_packet", "net_af_xdp", "net_pcap"].iter().any(|driver| device.starts_with(driver));
    match interface {
        Some(interface) if uses_interface && !Path::new("/sys/class/net").join(interface).exists() => {
            return PortError::NoInterface { device: text, interface: interface.to_owned(), cause };
        }
        _ => {}
    }
    if says(&["permission denied", "operation not permitted"])
        || result == -libc::EACCES
        || lacks_privilege(device)
    {
        PortError::NoPermission { device: text, cause }
    } else if says(&["failed to parse device", "no driver", "cannot find device", "driver not found"])
        || result == -libc::ENODEV
    {
        PortError::NoDevice { device: text, cause }
    } else if result == -libc::EEXIST {
        PortError::InUse { device: text }
    } else if result == -libc::ENOMEM || says(&["cannot allocate"]) {
        PortError::NoMemory { device: text, cause }
    } else if result == -libc::EINVAL || says(&["invalid", "argument", "parameter", "kvargs"]) {
        PortError::Arguments { device: text, cause }
    } else {
        PortError::Driver { device: text, cause }
    }
}

/// Whether the driver needs a privilege that this process has not. Asked after a failure, since most drivers do
/// not say why the kernel refused them.
fn lacks_privilege(device: &str) -> bool {
    const NET_ADMIN: u32 = 12;
    const NET_RAW: u32 = 13;
    let needed = match device {
        _ if device.starts_with("net_af_packet") => 1 << NET_RAW,
        _ if device.starts_with("net_af_xdp") => 1 << NET_ADMIN | 1 << NET_RAW,
        _ if device.starts_with("net_tap") => 1 << NET_ADMIN,
        _ => 0u64,
    };
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).is_some_and(|has| needed & !has != 0)
}

/// Why a PCI device could not be probed.
fn pci_error(device: &str, cause: String) -> PortError {
    let text = device.to_owned();
    let mut address = device_name(device).to_ascii_lowercase();
    if address.matches(':').count() == 1 {
        address.insert_str(0, "0000:");
    }
    let node = Path::new("/sys/bus/pci/devices").join(address);
    if !node.exists() {
        return PortError::NoDevice { device: text, cause };
    }
    let driver = std::fs::read_link(node.join("driver")).ok();
    let driver = driver.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    match driver.as_deref() {
        // Drivers that DPDK reaches a device through, itself or (Mellanox) beside the kernel.
        Some("vfio-pci" | "uio_pci_generic" | "igb_uio" | "mlx4_core" | "mlx5_core" | "mana") => {
            PortError::Driver { device: text, cause }
        }
        _ => {
            PortError::NotBound { device: text, driver: driver.unwrap_or_else(|| "no driver".into()), cause }
        }
    }
}
