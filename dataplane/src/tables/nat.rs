//! What a generation knows of NAT as a whole: which VIPs and which servers it concerns.

use std::{collections::HashSet, net::IpAddr};

use ipc::id::VipId;

/// The VIPs and servers that packets are translated for.
#[derive(Clone, Debug, Default)]
pub struct Nat {
    vips: HashSet<VipId>,
    servers: HashSet<IpAddr>,
}

impl Nat {
    /// These VIPs, and servers at these addresses.
    pub fn new(vips: impl IntoIterator<Item = VipId>, servers: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { vips: vips.into_iter().collect(), servers: servers.into_iter().collect() }
    }

    /// Whether replies may come through us at all.
    #[inline]
    pub fn is_used(&self) -> bool {
        !self.vips.is_empty()
    }

    /// Whether flows of this VIP are, or were since the start, translated.
    #[inline]
    pub fn has_vip(&self, vip: VipId) -> bool {
        self.is_used() && self.vips.contains(&vip)
    }

    /// Whether a server at this address has translated flows, or may get some.
    #[inline]
    pub fn has_server(&self, address: IpAddr) -> bool {
        self.servers.contains(&address)
    }
}
