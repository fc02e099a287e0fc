//! What the packet path looks things up in.
//!
//! [`Tables`] is one immutable generation: VIPs, servers with their prepared headers, routes and
//! neighbours. The control thread builds it with [`Builder`], publishes it through `ipc::snapshot` and
//! frees it when every worker has let go. [`flow::FlowTable`] is the one mutable table, one per lcore.

pub mod builder;
pub mod encap;
pub mod exact;
pub mod flow;
pub mod fragments;
pub mod hash;
pub mod huge;
pub mod nat;
pub mod neighbor;
pub mod network_map;
mod prefix;
pub mod route;
pub mod select;
pub mod server;
pub mod spec;
pub mod template;
pub mod vip;

use std::{net::IpAddr, sync::Arc};

pub use builder::Builder;
use ipc::id::{Generation, PortId, ServerId, VipId};

use self::{
    flow::Timeouts,
    hash::HashKey,
    huge::SharedArray,
    nat::Nat,
    neighbor::Neighbors,
    network_map::NetworkMap,
    route::{NextHop, Routes},
    server::{Hop, Link, Server},
    template::Template,
    vip::{Vip, VipLookup},
};
use crate::wire::Mac;

/// One of our ports as the packet path sees it.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its Ethernet address.
    pub mac: Mac,
    /// Longest IP packet that it carries, in bytes.
    pub mtu: u16,
    /// The VLAN of its frames; `None`: they are untagged.
    pub vlan: Option<u16>,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// Where packets for the host go; `None`: nowhere. One of the places behind the ports of this list.
    pub exception: Option<PortId>,
}

/// One immutable generation of everything that the configuration, the policy and the neighbours decide.
///
/// A clone shares all memory but the list of VIPs: this is how a generation in which only weights are new is made.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Its number.
    pub generation: Generation,
    /// Finds the VIP of a packet.
    pub lookup: Arc<VipLookup>,
    /// Finds a VIP by address and protocol alone, whatever its port; of several the first in the configuration.
    pub portless: Arc<VipLookup>,
    /// Every VIP's addresses.
    pub vip_addresses: Arc<NetworkMap<()>>,
    /// All VIPs, by [`VipId`].
    pub vips: Box<[Option<Arc<Vip>>]>,
    /// All server slots, by [`ServerId`]; `None`: not in use.
    pub servers: Arc<[Option<Server>]>,
    /// The headers of every server slot that is up and whose way is known, by [`ServerId`]; empty for others and without
    /// a tunnel.
    pub templates: SharedArray<Template>,
    /// Our ports, by [`PortId`].
    pub ports: Arc<[Port]>,
    /// Where packets leave.
    pub routes: Arc<Routes>,
    /// Who is at which Ethernet address.
    pub neighbors: Arc<Neighbors>,
    /// When flows end.
    pub timeouts: Timeouts,
    /// The key of the five-tuple hash.
    pub hash_key: HashKey,
    /// Whose destinations are rewritten, so that replies come through us.
    pub nat: Arc<Nat>,
}

impl Tables {
    /// The VIP `id`, if it is in this generation.
    #[inline]
    pub fn vip(&self, id: VipId) -> Option<&Vip> {
        self.vips.get(id.index())?.as_deref()
    }

    /// The server in slot `id`, if it is in this generation.
    #[inline]
    pub fn server(&self, id: ServerId) -> Option<&Server> {
        self.servers.get(id.index())?.as_ref()
    }

    /// The headers of the server in slot `id`; empty if there are none.
    #[inline(always)]
    pub fn template(&self, id: ServerId) -> &Template {
        self.templates.get(id.index()).unwrap_or(const { &Template::NONE })
    }

    /// The servers of the VIPs whose rule looks at live flows.
    pub fn servers_by_load(&self) -> impl Iterator<Item = ServerId> {
        let by_load = |vip| self.vip(vip).is_some_and(|vip| vip.selector.rule().counts_flows());
        (0u32..).map(ServerId).zip(&*self.servers).filter_map(move |(id, server)| {
            server.as_ref().is_some_and(|server| by_load(server.vip)).then_some(id)
        })
    }

    /// Whether `address` is one that we answer for on `port`: the port's own, or a VIP's.
    pub fn answers_for(&self, port: PortId, address: IpAddr) -> bool {
        self.ports[port.index()].addresses.contains(&address) || self.vip_addresses.get(address).is_some()
    }

    /// The way towards `destination`.
    pub fn hop(&self, destination: IpAddr) -> Hop {
        hop(&self.routes, &self.neighbors, &self.ports, destination)
    }
}

/// The way towards `destination` by these routes and neighbours.
fn hop(routes: &Routes, neighbors: &Neighbors, ports: &[Port], destination: IpAddr) -> Hop {
    let Some(next) = routes.next_hop(destination) else { return Hop::NoRoute };
    match neighbors.get(next) {
        Some(mac) => Hop::Link(link(&ports[next.port.index()], next, mac)),
        None => Hop::Unresolved(next),
    }
}

const fn link(port: &Port, next: NextHop, mac: Mac) -> Link {
    Link { port: next.port, source: port.mac, destination: mac, mtu: port.mtu }
}
