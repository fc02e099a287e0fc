//! What a generation is built from: the operator's wishes as plain data, already checked.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use ipc::id::PortId;
use ipnet::{IpNet, Ipv4Net};

use super::{encap::Encap, flow::Timeouts, hash::HashKey, select::Select, server::ServerState, vip::Service};
use crate::wire::Mac;

/// Everything that the control thread wants the workers to do.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Our ports, in order.
    pub ports: Vec<PortSpec>,
    /// Virtual services; no two with the same [`Service`].
    pub vips: Vec<VipSpec>,
    /// Outer sources of tunnels, by family; without one, no tunnel of that family can be built.
    pub tunnel_source: TunnelSource,
    /// When flows end.
    pub timeouts: Timeouts,
    /// The key of the five-tuple hash.
    pub hash_key: HashKey,
}

/// Outer source addresses of tunnels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunnelSource {
    /// For servers with an IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// For IPIP over IPv4: a network whose host bits carry a flow's entropy; `None`: `v4` for all flows.
    pub ipip: Option<Ipv4Net>,
    /// For servers with an IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

/// One of our ports.
#[derive(Clone, Debug)]
pub struct PortSpec {
    /// Its Ethernet address.
    pub mac: Mac,
    /// Longest IP packet that it carries, in bytes.
    pub mtu: u16,
    /// The VLAN of its frames; `None`: they are untagged.
    pub vlan: Option<u16>,
    /// Its addresses with their prefixes.
    pub addresses: Vec<IpNet>,
    /// Next hops for what is not on-link.
    pub gateways: Vec<IpAddr>,
    /// Where packets for the host go; `None`: nowhere. Exception ports are numbered behind the ports.
    pub exception: Option<PortId>,
}

/// A virtual service.
#[derive(Clone, Debug)]
pub struct VipSpec {
    /// What it listens to, with the first of its ports, which it is known by.
    pub service: Service,
    /// All its ports, the first included; empty: every port.
    pub ports: Vec<RangeInclusive<u16>>,
    /// How its packets travel on.
    pub encap: Encap,
    /// Largest TCP segment that the ends of its connections may ask each other for, as far as their SYNs pass here.
    pub mss: Option<u16>,
    /// How a server is chosen for a new flow.
    pub select: Select,
    /// Its servers; no two with the same address and port.
    pub servers: Vec<ServerSpec>,
}

/// A server of a virtual service.
#[derive(Clone, Debug)]
pub struct ServerSpec {
    /// Where flows go.
    pub address: IpAddr,
    /// Port that NAT rewrites to; `None` keeps the client's.
    pub port: Option<u16>,
    /// Share of new flows, relative to the other servers.
    pub weight: f64,
    /// Whether it takes new flows and keeps old ones.
    pub state: ServerState,
}
