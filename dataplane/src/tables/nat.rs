//! What a generation knows of NAT as a whole: which VIPs and which servers it concerns.

use std::{collections::HashSet, net::IpAddr};

use ipc::id::VipId;
use ipnet::IpNet;

use super::network_map::NetworkMap;

/// The VIPs and servers that packets are translated for.
#[derive(Clone, Debug)]
pub struct Nat {
    vips: HashSet<VipId>,
    networks: NetworkMap<()>,
    servers: HashSet<IpAddr>,
}

impl Nat {
    /// These VIPs with their networks, and servers at these addresses.
    pub fn new(
        vips: impl IntoIterator<Item = (VipId, IpNet)>,
        servers: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        let (vips, networks): (HashSet<_>, Vec<_>) =
            vips.into_iter().map(|(vip, network)| (vip, (network, ()))).unzip();
        Self { vips, networks: networks.into_iter().collect(), servers: servers.into_iter().collect() }
    }

    /// Whether replies may come through us at all.
    #[inline]
    pub fn is_used(&self) -> bool {
        !self.vips.is_empty()
    }

    /// Whether flows of this VIP are translated, or were under the same configuration or an earlier one.
    pub fn has_vip(&self, vip: VipId) -> bool {
        self.vips.contains(&vip)
    }

    /// The same of any VIP at this address, removed ones with flows left included.
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.networks.get(address).is_some()
    }

    /// Whether a server at this address has translated flows, or may get some.
    pub fn has_server(&self, address: IpAddr) -> bool {
        self.servers.contains(&address)
    }
}
