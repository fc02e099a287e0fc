//! Servers and the ways to them.

use std::net::IpAddr;

use ipc::id::{PortId, VipId};

use super::{encap::Encap, route::NextHop};
use crate::wire::Mac;

/// What a server does with flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// Takes new flows and keeps its own.
    Active,
    /// Takes no new flows and keeps its own.
    Draining,
    /// Takes nothing; its flows move to live servers.
    Down,
}

/// Where the Ethernet header of a packet points: out of `port` from `source` to `destination`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Outgoing port.
    pub port: PortId,
    /// Ethernet address of that port.
    pub source: Mac,
    /// Ethernet address of the next hop.
    pub destination: Mac,
    /// Longest IP packet that the port carries, in bytes.
    pub mtu: u16,
}

/// How the next hop towards a server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Resolved: packets can go.
    Link(Link),
    /// Known, but ARP or NDP has not answered yet.
    Unresolved(NextHop),
    /// No prefix and no gateway leads there.
    NoRoute,
}

/// A server slot as the packet path sees it.
#[derive(Clone, Debug)]
pub struct Server {
    /// The way there.
    pub hop: Hop,
    /// Where flows go.
    pub address: IpAddr,
    /// Port that NAT rewrites to, in host order; `None` keeps the client's destination port.
    pub port: Option<u16>,
    /// How its packets travel.
    pub encap: Encap,
    /// Whether the server takes new flows and keeps old ones.
    pub state: ServerState,
    /// The VIP it belongs to.
    pub vip: VipId,
}

impl Server {
    /// Whether it keeps the flows that it has.
    #[inline]
    pub fn is_up(&self) -> bool {
        self.state != ServerState::Down
    }
}
