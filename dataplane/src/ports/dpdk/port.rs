//! Ports: from a device string to started queues.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::sync::{Arc, MutexGuard, PoisonError};

use dpdk_sys as sys;

use super::device::Device;
use super::eal::Eal;
use super::error::PortError;
use super::mempool::Mempool;
use super::queue::DpdkQueue;
use super::stats::PortStats;

/// An Ethernet address, in the order of the wire.
pub type MacAddr = [u8; 6];

/// What an Ethernet frame has besides its MTU: header, two VLAN tags, checksum.
const FRAME_OVERHEAD: u32 = sys::RTE_ETHER_HDR_LEN + 2 * 4 + sys::RTE_ETHER_CRC_LEN;

/// A port to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// A PCI address ("0000:3b:00.0") or any DPDK vdev string ("net_af_packet0,iface=lan0").
    pub device: String,
    /// Queues for each direction: one for each worker.
    pub queues: u16,
    /// Descriptors of each receive queue; adjusted to what the device takes.
    pub rx_ring: u16,
    /// Descriptors of each transmit queue; adjusted to what the device takes.
    pub tx_ring: u16,
    /// Largest packet inside a frame, bytes. A port on a kernel interface sets the interface's.
    pub mtu: u16,
    /// Whether to receive what is addressed to others.
    pub promiscuous: bool,
    /// The address to set; `None` keeps the device's own.
    pub mac: Option<MacAddr>,
}

/// The largest MTU that DPDK lets the AF_PACKET driver be told. Its ring slots take 2 KiB frames all the same, so
/// for more the kernel interface's own MTU is left as the operator set it, and that is what counts.
const AF_PACKET_MTU: u16 = 1500;

impl PortConfig {
    /// A device with one queue and the defaults.
    pub fn new(device: impl Into<String>) -> Self {
        Self {
            device: device.into(),
            queues: 1,
            rx_ring: 1024,
            tx_ring: 1024,
            mtu: 1500,
            promiscuous: false,
            mac: None,
        }
    }
}

/// What is in force on a port, after asking for it and hearing what the device can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The port checks IP, TCP and UDP checksums of what it receives.
    pub rx_checksum: bool,
    /// The port spreads flows over its queues by a hash of addresses and ports.
    pub rss: bool,
    /// Frames longer than a buffer come and go in several segments.
    pub scatter: bool,
    /// The port receives what is addressed to others.
    pub promiscuous: bool,
    /// The port receives all multicast, which neighbour discovery needs. Where it cannot (AF_PACKET on a NIC that
    /// filters), ask for `promiscuous`.
    pub all_multicast: bool,
    /// Descriptors of each receive queue.
    pub rx_ring: u16,
    /// Descriptors of each transmit queue.
    pub tx_ring: u16,
}

/// The state of a port's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether it is up.
    pub up: bool,
    /// Its speed in Mbit/s, where known. Software ports invent one.
    pub speed_mbps: Option<u32>,
    /// Whether both sides may send at once.
    pub full_duplex: bool,
}

/// A started port, to ask and tell things; packets go over its [`DpdkQueue`]s. The port stops and closes when
/// this and all its queues are dropped.
pub struct Port {
    device: Arc<Device>,
    driver: String,
    queues: u16,
    mac: MacAddr,
    capabilities: Capabilities,
}

impl Port {
    /// Opens a device: probes it, negotiates what is in force, and starts it with all its queues.
    ///
    /// Received packets go into mbufs of `pool`. All multicast is received where the device can.
    /// Transmitted mbufs are freed one by one after a look at each ("fast free" is never asked for: it is
    /// sound only if each comes from one pool, unshared and in one segment, which the types do not say).
    pub fn open(
        _eal: &Eal,
        config: &PortConfig,
        pool: &Mempool,
    ) -> Result<(Self, Vec<DpdkQueue>), PortError> {
        Self::set_up(Device::probe(&config.device)?, config, *pool)
    }

    /// Configures and starts a device of ours.
    pub(super) fn set_up(
        device: Device,
        config: &PortConfig,
        pool: Mempool,
    ) -> Result<(Self, Vec<DpdkQueue>), PortError> {
        let info = device.info()?;
        let most = info.max_rx_queues.min(info.max_tx_queues);
        let queues = config.queues.max(1);
        if queues > most {
            return Err(PortError::TooManyQueues { device: device.name().into(), asked: queues, most });
        }
        // SAFETY: the driver's name is a static C string, or null.
        let driver = unsafe { info.driver_name.as_ref().map(|name| CStr::from_ptr(name)) };
        let driver = driver.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let beyond = driver == "net_af_packet" && config.mtu > AF_PACKET_MTU;
        let told = PortConfig { mtu: if beyond { AF_PACKET_MTU } else { config.mtu }, ..config.clone() };
        let wishes = Wishes::negotiate(&device, &info, &driver, &told, queues, pool)?;
        let (rx_ring, tx_ring) = configure(&device, &wishes, &told, queues)?;
        set_up_queues(&device, queues, rx_ring, tx_ring, pool)?;
        if !beyond {
            set_mtu(&device, config.mtu)?;
        }
        let mac = set_mac(&device, config.mac)?;
        device.start()?;
        let port_id = device.port_id();
        // Drivers of software ports that hear everything anyway refuse these: what holds is asked below.
        // SAFETY: the port is open.
        let (promiscuous, all_multicast) = unsafe {
            if config.promiscuous {
                sys::rte_eth_promiscuous_enable(port_id);
            }
            sys::rte_eth_allmulticast_enable(port_id);
            (sys::rte_eth_promiscuous_get(port_id) == 1, sys::rte_eth_allmulticast_get(port_id) == 1)
        };
        let capabilities = Capabilities {
            rx_checksum: wishes.rx_offloads & RX_CHECKSUM == RX_CHECKSUM,
            rss: wishes.rss_hash != 0,
            scatter: wishes.rx_offloads & sys::RTE_ETH_RX_OFFLOAD_SCATTER != 0,
            promiscuous,
            all_multicast,
            rx_ring,
            tx_ring,
        };
        let device = Arc::new(device);
        let handles = (0..queues)
            // SAFETY: the device is started with `queues` queues, and each gets one value, here.
            .map(|queue_id| unsafe { DpdkQueue::new(Arc::clone(&device), queue_id, pool) })
            .collect();
        Ok((Self { device, driver, queues, mac, capabilities }, handles))
    }

    /// The device as configured.
    pub fn device(&self) -> &str {
        self.device.name()
    }

    /// The name of its driver.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// DPDK's number of the port.
    pub fn port_id(&self) -> u16 {
        self.device.port_id()
    }

    /// How many queues it has for each direction.
    pub fn queues(&self) -> u16 {
        self.queues
    }

    /// What is in force.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// The NUMA node of the device, where it has one.
    pub fn numa_node(&self) -> Option<u32> {
        // SAFETY: the port is open.
        u32::try_from(unsafe { sys::rte_eth_dev_socket_id(self.port_id()) }).ok()
    }

    /// Its Ethernet address.
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// Its MTU, bytes.
    pub fn mtu(&self) -> u16 {
        let _alone = self.control();
        mtu_of(&self.device)
    }

    /// The state of its link now, without waiting for it.
    pub fn link(&self) -> Link {
        let _alone = self.control();
        let mut link = MaybeUninit::<sys::rte_eth_link>::zeroed();
        // SAFETY: the port is open; the structure is plain numbers, for which zero is valid.
        let link = unsafe {
            sys::rte_eth_link_get_nowait(self.port_id(), link.as_mut_ptr());
            link.assume_init()
        };
        // SAFETY: the fields of the union are plain numbers.
        #[cfg(dpdk_24_11)]
        let link = unsafe { link.__bindgen_anon_1.__bindgen_anon_1 };
        let known = link.link_speed != 0 && link.link_speed != u32::MAX;
        Link {
            up: link.link_status() != 0,
            speed_mbps: known.then_some(link.link_speed),
            full_duplex: link.link_duplex() != 0,
        }
    }

    /// What it counted since it was opened.
    pub fn stats(&self) -> PortStats {
        let _alone = self.control();
        PortStats::read(self.port_id())
    }

    fn control(&self) -> MutexGuard<'_, ()> {
        self.device.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Port")
            .field("device", &self.device.name())
            .field("port_id", &self.port_id())
            .field("queues", &self.queues)
            .finish_non_exhaustive()
    }
}

const RX_CHECKSUM: u64 = sys::RTE_ETH_RX_OFFLOAD_IPV4_CKSUM
    | sys::RTE_ETH_RX_OFFLOAD_TCP_CKSUM
    | sys::RTE_ETH_RX_OFFLOAD_UDP_CKSUM;

/// What we ask of the device, after hearing what it offers.
struct Wishes {
    rx_offloads: u64,
    tx_offloads: u64,
    rss_hash: u64,
}

impl Wishes {
    fn negotiate(
        device: &Device,
        info: &sys::rte_eth_dev_info,
        driver: &str,
        config: &PortConfig,
        queues: u16,
        pool: Mempool,
    ) -> Result<Self, PortError> {
        let mtu_error = |cause| PortError::Mtu { device: device.name().to_owned(), asked: config.mtu, cause };
        if (info.max_mtu != 0 && config.mtu > info.max_mtu) || config.mtu < info.min_mtu {
            return Err(mtu_error(format!("the device takes {} to {}", info.min_mtu, info.max_mtu)));
        }
        // A virtio device that may check checksums also leaves them out of what a local peer sends, and such a
        // packet must not go on to a wire.
        let leaves_out = driver.starts_with("net_virtio") || driver.starts_with("net_vhost");
        let mut rx_offloads = if leaves_out { 0 } else { info.rx_offload_capa & RX_CHECKSUM };
        let mut tx_offloads = 0;
        let room = pool.data_room_bytes();
        if u32::from(config.mtu) + FRAME_OVERHEAD > room {
            let needed = (sys::RTE_ETH_RX_OFFLOAD_SCATTER, sys::RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
            if info.rx_offload_capa & needed.0 == 0 || info.tx_offload_capa & needed.1 == 0 {
                return Err(mtu_error(format!(
                    "a buffer holds {room} bytes and the device does not use several"
                )));
            }
            rx_offloads |= needed.0;
            tx_offloads |= needed.1;
        }
        let hash = sys::RTE_ETH_RSS_IP | sys::RTE_ETH_RSS_TCP | sys::RTE_ETH_RSS_UDP;
        let rss_hash = if queues > 1 { info.flow_type_rss_offloads & hash } else { 0 };
        Ok(Self { rx_offloads, tx_offloads, rss_hash })
    }
}

/// Configures the device and returns the ring sizes that it takes.
fn configure(
    device: &Device,
    wishes: &Wishes,
    config: &PortConfig,
    queues: u16,
) -> Result<(u16, u16), PortError> {
    // SAFETY: the structure is numbers and pointers, for which zero is valid and means the default.
    let mut conf = unsafe { MaybeUninit::<sys::rte_eth_conf>::zeroed().assume_init() };
    conf.rxmode.mtu = u32::from(config.mtu);
    conf.rxmode.offloads = wishes.rx_offloads;
    conf.txmode.offloads = wishes.tx_offloads;
    conf.rxmode.mq_mode = sys::RTE_ETH_MQ_RX_NONE;
    if wishes.rss_hash != 0 {
        conf.rxmode.mq_mode = sys::RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = wishes.rss_hash;
    }
    let port_id = device.port_id();
    // SAFETY: the port is ours and not started; the structure is copied.
    device.check("configuring", || unsafe {
        sys::rte_eth_dev_configure(port_id, queues, queues, &raw const conf)
    })?;
    let (mut rx_ring, mut tx_ring) = (config.rx_ring, config.tx_ring);
    // SAFETY: the port is ours; the sizes are read and written.
    device.check("choosing ring sizes", || unsafe {
        sys::rte_eth_dev_adjust_nb_rx_tx_desc(port_id, &raw mut rx_ring, &raw mut tx_ring)
    })?;
    Ok((rx_ring, tx_ring))
}

fn set_up_queues(
    device: &Device,
    queues: u16,
    rx_ring: u16,
    tx_ring: u16,
    pool: Mempool,
) -> Result<(), PortError> {
    let port_id = device.port_id();
    // SAFETY: the port is ours. A negative node (none) becomes SOCKET_ID_ANY, which is all ones.
    let node = unsafe { sys::rte_eth_dev_socket_id(port_id) }.cast_unsigned();
    for queue_id in 0..queues {
        // SAFETY: the port is configured with this queue; null means the driver's defaults; the pool lives
        // for ever.
        device.check("setting up a receive queue", || unsafe {
            sys::rte_eth_rx_queue_setup(port_id, queue_id, rx_ring, node, std::ptr::null(), pool.as_ptr())
        })?;
        // SAFETY: as above.
        device.check("setting up a transmit queue", || unsafe {
            sys::rte_eth_tx_queue_setup(port_id, queue_id, tx_ring, node, std::ptr::null())
        })?;
    }
    Ok(())
}

/// Sets the MTU where configuring has not: some drivers pass it on to a kernel interface only when told.
fn set_mtu(device: &Device, mtu: u16) -> Result<(), PortError> {
    let mark = super::log::mark();
    // SAFETY: the port is ours and not started.
    let result = unsafe { sys::rte_eth_dev_set_mtu(device.port_id(), mtu) };
    if result == 0 || (result == -libc::ENOTSUP && mtu_of(device) == mtu) {
        return Ok(());
    }
    let cause = super::error::cause(mark, result);
    Err(PortError::Mtu { device: device.name().to_owned(), asked: mtu, cause })
}

fn mtu_of(device: &Device) -> u16 {
    let mut mtu = 0;
    // SAFETY: the port is open.
    unsafe { sys::rte_eth_dev_get_mtu(device.port_id(), &raw mut mtu) };
    mtu
}

/// Sets the address asked for and returns the one in force.
///
/// Ports made of rings or files have no address to set and receive everything: theirs is only what we say it is.
fn set_mac(device: &Device, mac: Option<MacAddr>) -> Result<MacAddr, PortError> {
    let own = mac_of(device);
    let port_id = device.port_id();
    // SAFETY: the port is ours.
    let hears_all = unsafe { sys::rte_eth_promiscuous_get(port_id) } == 1;
    let [high, low] = port_id.to_be_bytes();
    let invented = (own == MacAddr::default() && hears_all).then_some([0x02, 0x57, 0x52, 0, high, low]);
    let Some(wanted) = mac.or(invented).filter(|wanted| *wanted != own) else { return Ok(own) };
    let mut address = sys::rte_ether_addr { addr_bytes: wanted };
    let mark = super::log::mark();
    // SAFETY: the port is ours; the address is copied.
    let result = unsafe { sys::rte_eth_dev_default_mac_addr_set(port_id, &raw mut address) };
    if result == 0 || (result == -libc::ENOTSUP && hears_all) {
        return Ok(wanted);
    }
    Err(PortError::Mac { device: device.name().to_owned(), cause: super::error::cause(mark, result) })
}

fn mac_of(device: &Device) -> MacAddr {
    let mut address = sys::rte_ether_addr { addr_bytes: MacAddr::default() };
    // SAFETY: the port is open.
    unsafe { sys::rte_eth_macaddr_get(device.port_id(), &raw mut address) };
    address.addr_bytes
}
