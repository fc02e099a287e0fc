//! What a configuration says, as types that cannot be wrong.
//!
//! Every value here went through the checks of the reader: names and VIPs are unique, gateways and static
//! neighbours are on-link, every server can be reached and has a tunnel source or NAT in its own family.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use dataplane::wire::Mac;
use ipnet::{IpNet, Ipv4Net};

use super::port_set::PortSet;
use super::values::show_network;

/// One whole configuration file, with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What DPDK itself is told.
    pub eal: Eal,
    /// The ports in the order of the file; never empty. The index is the `PortId`.
    pub ports: Vec<Port>,
    /// Static ARP and NDP entries.
    pub neighbors: Vec<Neighbor>,
    /// Outer addresses of tunnels.
    pub tunnel: Tunnel,
    /// Size and time-outs of the flow tables.
    pub flow_table: FlowTable,
    /// The VIPs in the order of the file.
    pub vips: Vec<Vip>,
    /// How policies set weights.
    pub policy: PolicySettings,
    /// What is measured of flows.
    pub measure: Measure,
    /// Where statistics are published for other processes.
    pub region: Region,
    /// Where the metrics are served.
    pub metrics: Metrics,
    /// Where the operator's commands are heard.
    pub control: ControlSocket,
}

/// `[eal]`: what DPDK itself is told.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Eal {
    /// Further EAL arguments, passed on as they are.
    pub args: Vec<String>,
    /// The CPUs of the workers, ascending and without repetition; `None` if the file does not say.
    pub lcores: Option<Vec<u16>>,
}

/// `[[port]]`: one port of the NIC, or a software port.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name in logs and metrics; unique.
    pub name: String,
    /// A PCI address or a DPDK vdev string.
    pub device: String,
    /// Our own addresses with the on-link prefix; never empty.
    pub addresses: Vec<IpNet>,
    /// Next hops for what is not on-link; each is on-link on this port.
    pub gateways: Vec<IpAddr>,
    /// The MAC address to use instead of the device's own.
    pub mac: Option<Mac>,
    /// Queue pairs; `None`: one for each worker. Equal to the number of [`Eal::lcores`] if both are given.
    pub queues: Option<u16>,
    /// Descriptors of one receive queue.
    pub rx_ring: u16,
    /// Descriptors of one transmit queue.
    pub tx_ring: u16,
    /// Largest IP packet in bytes, without the Ethernet header.
    pub mtu: u16,
    /// Whether to receive frames for other MAC addresses too.
    pub promiscuous: bool,
    /// The VLAN of its frames; `None`: they are untagged.
    pub vlan: Option<u16>,
    /// The device by which the host gets what is for it; `None`: it gets nothing.
    pub exception: Option<String>,
    /// Whether its addresses and the VIPs are announced here by gratuitous ARP and neighbour advertisements.
    pub announce: bool,
}

impl Port {
    /// The name of its exception port in logs and metrics, if it has one.
    pub fn exception_name(&self) -> Option<String> {
        self.exception.as_ref().map(|_| format!("{}.host", self.name))
    }
}

/// Most addresses of one VIP that are announced; of a larger prefix none is.
pub const MOST_ANNOUNCED: usize = 256;

/// `[[neighbor]]`: a static ARP or NDP entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// The IP address; on-link on a port.
    pub address: IpAddr,
    /// Its MAC address.
    pub mac: Mac,
}

/// `[tunnel]`: outer source addresses, defaults filled in. There is one for the family of every GRE server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tunnel {
    /// Outer source towards IPv4 servers; `None` only if no port has an IPv4 address either.
    pub source_v4: Option<Ipv4Addr>,
    /// Outer source towards IPv6 servers; `None` only if no port has an IPv6 address either.
    pub source_v6: Option<Ipv6Addr>,
    /// For IPIP over IPv4: a network whose host bits carry a flow's entropy.
    pub ipip_source: Option<Ipv4Net>,
    /// UDP destination port of GUE.
    pub gue_port: u16,
}

/// `[flow_table]`: size and time-outs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowTable {
    /// Flows that one worker can remember.
    pub entries_per_lcore: u32,
    /// An established TCP flow ends after this much silence.
    pub tcp_idle: Duration,
    /// A UDP flow, or one of another protocol, ends after this much silence.
    pub udp_idle: Duration,
    /// A TCP flow that never got past its SYN ends after this.
    pub syn_timeout: Duration,
    /// A TCP flow that was closed or reset is forgotten after this.
    pub closed_timeout: Duration,
}

/// `[[vip]]`: one virtual service and its servers.
#[derive(Clone, Debug, PartialEq)]
pub struct Vip {
    /// Its name in logs, metrics and commands; unique.
    pub name: String,
    /// The addresses that clients use: one, or every address of a prefix.
    pub network: IpNet,
    /// Which packets to these addresses belong to the VIP.
    pub protocol: Protocol,
    /// The destination ports. With [`Protocol::Any`] every port.
    pub ports: PortSet,
    /// How a packet gets to its server.
    pub encap: Encap,
    /// The key field of GRE; only with [`Encap::Gre`].
    pub key: Option<u32>,
    /// Variant of the GUE header, 0 or 1.
    pub variant: u8,
    /// The code point that marks the VIP; always set with [`Encap::L3dsr`].
    pub dscp: Option<u8>,
    /// Largest TCP segment that SYNs may ask for.
    pub mss_clamp: Option<u16>,
    /// How a server is chosen for a new flow.
    pub select: Select,
    /// The servers; never empty, no (address, port) twice.
    pub servers: Vec<Server>,
    /// How they are checked; `None`: not at all.
    pub health: Option<Health>,
    /// Who sets the servers' weights while running.
    pub policy: VipPolicy,
}

/// Who sets the weights of a VIP's servers while running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipPolicy {
    /// The rule or agent.
    pub kind: Policy,
    /// Whether its weights are applied.
    pub mode: PolicyMode,
    /// The trained model of an agent; without one it is the model that ships.
    pub model: Option<PathBuf>,
}

/// Most servers that a new flow's choice looks at where nobody says how to choose: 0.2 µs.
const FEW_SERVERS: usize = 64;

impl VipPolicy {
    /// How servers are chosen where the VIP does not say: weights that follow the servers are worth most where all
    /// servers are looked at.
    pub fn select(&self, servers: usize) -> Select {
        if self.kind != Policy::Static && servers <= FEW_SERVERS { Select::Sed } else { Select::Sed2 }
    }
}

/// `[vip.health]`: how the servers of a VIP are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What a check is.
    pub kind: HealthKind,
    /// The port to check; `None`: the server's own, or the VIP's first. With a check other than
    /// [`HealthKind::None`] one of them is there.
    pub port: Option<u16>,
    /// Time between two checks of a server.
    pub interval: Duration,
    /// How long an answer may take; at most `interval`.
    pub timeout: Duration,
    /// Good checks in a row until a server is up; at least 1.
    pub rise: u32,
    /// Failed checks in a row until a server is down; at least 1.
    pub fall: u32,
    /// What HTTP asks for; starts with a slash, printable ASCII.
    pub path: String,
    /// The `Host` of HTTP; `None`: the server's address and port.
    pub host: Option<String>,
    /// Whether the data path's SYNs that never establish count; true only with [`Protocol::Tcp`].
    pub passive: bool,
}

/// One server of a VIP.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Its address. With [`Encap::Nat`] and [`Encap::L3dsr`] of the VIP's family.
    pub address: IpAddr,
    /// The port it serves; the VIP's own unless NAT translates it. `None`: every port, or each of several.
    pub port: Option<u16>,
    /// Its share of new flows relative to the VIP's other servers, 0 to 1000.
    pub weight: f64,
    /// Whether it takes flows.
    pub state: ServerState,
}

/// `[measure]`: what is measured of flows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// At most one flow in so many is watched, a power of two; 0: none.
    pub flows: u32,
    /// Samples that one worker may have on their way.
    pub ring: usize,
    /// Share of the samples that reservoirs accept; above 0 and at most 1.
    pub acceptance: f64,
    /// Weight that a sample keeps each second in decayed statistics; above 0 and at most 1.
    pub decay: f64,
}

/// `[region]`: statistics in shared memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The file; `None`: nothing is published.
    pub path: Option<PathBuf>,
    /// Frames that it keeps.
    pub slots: u32,
}

/// `[policy]`: how policies set weights. Weights are in multiples of the mean.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySettings {
    /// Time between two frames of statistics, and between two decisions; 10 ms to 1 s.
    pub period: Duration,
    /// What is older is not believed; at least `period`.
    pub stale_after: Duration,
    /// Least weight of an active server; above 0 and at most 1.
    pub weight_min: f64,
    /// Largest weight; at least 1.
    pub weight_max: f64,
    /// Largest relative change in one period; above 0.
    pub step_max: f64,
    /// The rule that stands in for a policy that cannot be used.
    pub fallback: Fallback,
    /// Who decides.
    pub source: PolicySource,
    /// The decision log, if there is to be one.
    pub log: Option<PathBuf>,
    /// Most bytes of the decision log, both of its files together.
    pub log_bytes: u64,
}

/// `[metrics]`: where the metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Address of the HTTP listener; `None`: there is none.
    pub listen: Option<SocketAddr>,
}

/// Where the control socket is when the file does not say.
pub const DEFAULT_SOCKET: &str = "/run/weir/weir.sock";

/// `[control]`: where the operator's commands are heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSocket {
    /// The socket; `None`: there is none.
    pub socket: Option<PathBuf>,
}

/// Defines an enum whose variants are written as words in the file.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// The word that the file uses.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The variant of a word of the file.
            pub(super) fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Which packets to its address a VIP takes.
    Protocol {
        /// TCP only.
        Tcp = "tcp",
        /// UDP only.
        Udp = "udp",
        /// Every protocol, and so every port.
        Any = "any",
    }
}

words! {
    /// How a packet gets to its server.
    Encap {
        /// Inside a GRE header (RFC 2784); the server answers the client directly.
        Gre = "gre",
        /// Inside an IP header (RFC 2003); the server answers the client directly.
        Ipip = "ipip",
        /// Inside a UDP header (GUE); the server answers the client directly.
        Gue = "gue",
        /// With the destination rewritten and the VIP told by DSCP; the server answers the client directly.
        L3dsr = "l3dsr",
        /// With its addresses and port translated; the answer comes back through here.
        Nat = "nat",
    }
}

words! {
    /// What a health check is.
    HealthKind {
        /// A TCP connection is opened and closed.
        Tcp = "tcp",
        /// A GET request is answered with a status from 200 to 399.
        Http = "http",
        /// Nothing is sent.
        None = "none",
    }
}

words! {
    /// How a server is chosen for a new flow.
    Select {
        /// By the flow's hash, all servers alike.
        Hash = "hash",
        /// A weighted draw from an alias table, driven by the flow's hash.
        Alias = "alias",
        /// The server with the fewest flows.
        Lsq = "lsq",
        /// Of two drawn servers the one with fewer flows.
        Lsq2 = "lsq2",
        /// The server with the fewest flows for its weight.
        Sed = "sed",
        /// Of two drawn servers the one with fewer flows for its weight.
        Sed2 = "sed2",
        /// A weighted consistent hash ring.
        Maglev = "maglev",
        /// One server after the other.
        RoundRobin = "rr",
    }
}

words! {
    /// Who sets the weights of a VIP's servers.
    Policy {
        /// Nobody: they are as configured.
        Static = "static",
        /// The rule AWCMP, of Spotlight.
        ActiveWcmp = "active-wcmp",
        /// The rule of Aquarius.
        Aquarius = "aquarius",
        /// The rule of HLB.
        Hlb = "hlb",
        /// The rule by completions in busy time.
        Rate = "rate",
        /// An agent trained by recurrent soft actor-critic.
        SacGru = "sac-gru",
        /// An agent trained by QMIX.
        Qmix = "qmix",
    }
}

impl Policy {
    /// Whether it runs a trained model.
    pub const fn is_agent(self) -> bool {
        matches!(self, Self::SacGru | Self::Qmix)
    }
}

words! {
    /// Whether a policy's weights are applied.
    PolicyMode {
        /// They are.
        On = "on",
        /// They are computed and published.
        Shadow = "shadow",
        /// They are not even computed.
        Off = "off",
    }
}

words! {
    /// The rule that stands in for a policy that cannot be used.
    Fallback {
        /// The configured weights.
        Static = "static",
        /// HLB's rule.
        Hlb = "hlb",
    }
}

words! {
    /// Who decides.
    PolicySource {
        /// A thread of this process.
        Thread = "thread",
        /// Another process, over the region.
        Region = "region",
    }
}

words! {
    /// Whether a server takes flows.
    ServerState {
        /// Takes new flows and keeps those it has.
        Active = "active",
        /// Keeps the flows it has, takes no new ones.
        Draining = "draining",
        /// Takes nothing: its flows move to other servers.
        Down = "down",
    }
}

impl Select {
    /// Whether it gives new flows to servers by the weights in force, which policies set.
    pub const fn follows_policies(self) -> bool {
        !matches!(self, Self::Hash | Self::RoundRobin | Self::Lsq | Self::Maglev)
    }
}

impl Config {
    /// Whether this is an address of one of our own ports.
    pub fn is_own_address(&self, address: IpAddr) -> bool {
        self.ports.iter().flat_map(|p| &p.addresses).any(|net| net.addr() == address)
    }
}

impl Vip {
    /// The name of a VIP that was given none: `203.0.113.10:80/tcp` with its first port, or `203.0.113.10/tcp`
    /// for every port.
    pub fn default_name(network: IpNet, port: Option<u16>, protocol: Protocol) -> String {
        let addresses = show_network(network);
        match port {
            Some(port) if network.addr().is_ipv6() => format!("[{addresses}]:{port}/{protocol}"),
            Some(port) => format!("{addresses}:{port}/{protocol}"),
            None => format!("{addresses}/{protocol}"),
        }
    }
}

/// Whether two addresses are of the same family.
pub(super) fn same_family(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}
