//! Finds the VIP of an address by prefix, the longest one first.

use ipc::id::VipId;
use ipnet::IpNet;

use super::{
    exact::{Exact, Key},
    vip::{MIX, Service, ports_word},
};

/// A network with its length, destination port and protocol; zero stands for "every".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PrefixKey {
    /// IPv4 has it in the low half.
    network: u128,
    /// Port and protocol, and the prefix length in the high byte.
    word: u32,
}

impl Key for PrefixKey {
    #[inline]
    fn hash(&self) -> u64 {
        let network = (self.network as u64 ^ ((self.network >> 64) as u64).rotate_left(32)).wrapping_mul(MIX);
        (network ^ u64::from(self.word)).wrapping_mul(MIX) >> 32
    }
}

/// The prefixes of one family.
#[derive(Clone, Debug, Default)]
struct Family {
    /// The lengths that are there, longest first, and their masks.
    masks: Box<[(u32, u128)]>,
    vips: Exact<PrefixKey>,
}

impl Family {
    fn new<'a>(services: impl Iterator<Item = &'a (Service, VipId)>) -> Self {
        let (mut masks, mut vips) = (Vec::new(), Vec::new());
        for &(service, VipId(vip)) in services {
            let (network, mask) = bits(service.network);
            let length = u32::from(service.network.prefix_len());
            if !masks.contains(&(length, mask)) {
                masks.push((length, mask));
            }
            let word = ports_word(service.port.unwrap_or(0), service.protocol.unwrap_or(0));
            vips.push((PrefixKey { network: network & mask, word: length << 24 | word }, vip));
        }
        masks.sort_unstable_by(|a, b| b.cmp(a));
        Self { masks: masks.into_boxed_slice(), vips: Exact::new(&vips) }
    }

    /// Up to three keys for each length.
    fn find(&self, address: u128, protocol: u8, port: u16) -> Option<VipId> {
        let words = [ports_word(port, protocol), ports_word(0, protocol), ports_word(0, 0)];
        self.masks.iter().find_map(|&(length, mask)| {
            let key = |word| PrefixKey { network: address & mask, word: length << 24 | word };
            words.into_iter().find_map(|word| self.vips.get(key(word))).map(VipId)
        })
    }
}

/// The address of a network and its mask.
fn bits(network: IpNet) -> (u128, u128) {
    match network {
        IpNet::V4(network) => (network.addr().to_bits().into(), network.netmask().to_bits().into()),
        IpNet::V6(network) => (network.addr().to_bits(), network.netmask().to_bits()),
    }
}

/// The VIPs that are more than one address.
///
/// Asked when no VIP has the very address of a packet. The longest prefix counts that has a VIP for the
/// packet; within one prefix (protocol, port) comes first, then (protocol, every port), then every protocol.
#[derive(Clone, Debug, Default)]
pub struct PrefixLookup {
    v4: Family,
    v6: Family,
}

impl PrefixLookup {
    /// The lookup for `services`, which are of either family.
    pub fn new(services: &[(Service, VipId)]) -> Self {
        let of = |v6| services.iter().filter(move |(service, _)| service.network.addr().is_ipv6() == v6);
        Self { v4: Family::new(of(false)), v6: Family::new(of(true)) }
    }

    /// The VIP for a destination; `address` and `port` in host order.
    #[inline(never)]
    pub fn v4(&self, address: u32, protocol: u8, port: u16) -> Option<VipId> {
        self.v4.find(address.into(), protocol, port)
    }

    /// The VIP for a destination; `address` and `port` in host order.
    #[inline(never)]
    pub fn v6(&self, address: u128, protocol: u8, port: u16) -> Option<VipId> {
        self.v6.find(address, protocol, port)
    }
}
