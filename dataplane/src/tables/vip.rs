//! Virtual services and how a packet finds its own.

use std::net::IpAddr;

use ipc::id::{ServerId, VipId};
use ipnet::IpNet;

use super::{
    encap::Encap,
    exact::{Exact, Key},
    flow::{Addresses, FlowKey},
    prefix::PrefixLookup,
    select::{Load, Selector},
};

/// What a VIP listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    /// Its addresses: one, or every address of a prefix.
    pub network: IpNet,
    /// IP protocol number; `None`: every protocol.
    pub protocol: Option<u8>,
    /// Destination port in host order; `None`: every port.
    pub port: Option<u16>,
}

/// A virtual service as the packet path sees it.
#[derive(Clone, Debug)]
pub struct Vip {
    /// What it listens to.
    pub service: Service,
    /// How its packets travel on.
    pub encap: Encap,
    /// Largest TCP segment that the ends of its connections may ask each other for; `None`: as they like.
    pub mss: Option<u16>,
    /// Chooses among the servers that take new flows.
    pub selector: Selector,
}

impl Vip {
    /// The server for a new flow with this five-tuple hash; `None` when no server takes new flows.
    #[inline]
    pub fn select<L: Load>(&self, hash: u64, load: &L) -> Option<ServerId> {
        self.selector.select(hash, load)
    }

    /// The server for a packet that has no flow entry and begins no flow, the same on every lcore.
    #[inline]
    pub fn stateless(&self, hash: u64) -> Option<ServerId> {
        self.selector.stateless(hash)
    }
}

/// An IPv4 address with destination port and protocol; zero stands for "every".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key4(u64);

/// The same for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key6(u128, u32);

pub(super) const MIX: u64 = 0x9e37_79b9_7f4a_7c15; // 2^64 divided by the golden ratio

impl Key for Key4 {
    #[inline]
    fn hash(&self) -> u64 {
        self.0.wrapping_mul(MIX) >> 32
    }
}

impl Key for Key6 {
    #[inline]
    fn hash(&self) -> u64 {
        (self.0 as u64 ^ ((self.0 >> 64) as u64).rotate_left(32) ^ u64::from(self.1)).wrapping_mul(MIX) >> 32
    }
}

/// Port and protocol in three bytes.
#[inline]
pub(super) const fn ports_word(port: u16, protocol: u8) -> u32 {
    (port as u32) << 8 | protocol as u32
}

/// Finds the VIP of a packet: exact (address, protocol, port) first, then (address, protocol, every
/// port), then (address, every protocol), then the same by prefix, the longest one first.
#[derive(Clone, Debug, Default)]
pub struct VipLookup {
    v4: Exact<Key4>,
    v6: Exact<Key6>,
    /// Whether any VIP of one address listens to every port, of one protocol or of all.
    wildcards: bool,
    /// The VIPs of more than one address; `None`: there is none.
    prefixes: Option<Box<PrefixLookup>>,
}

impl VipLookup {
    /// The lookup for `services`.
    pub fn new(services: &[(Service, VipId)]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        let is_host = |network: &IpNet| network.prefix_len() == network.max_prefix_len();
        let (hosts, prefixes): (Vec<_>, Vec<_>) =
            services.iter().partition(|(service, _)| is_host(&service.network));
        for &(service, VipId(vip)) in &hosts {
            let word = ports_word(service.port.unwrap_or(0), service.protocol.unwrap_or(0));
            match service.network.addr() {
                IpAddr::V4(address) => v4.push((Self::key4(address.to_bits(), word), vip)),
                IpAddr::V6(address) => v6.push((Key6(address.to_bits(), word), vip)),
            }
        }
        let wildcards = hosts.iter().any(|(service, _)| service.port.is_none());
        let prefixes = (!prefixes.is_empty()).then(|| Box::new(PrefixLookup::new(&prefixes)));
        Self { v4: Exact::new(&v4), v6: Exact::new(&v6), wildcards, prefixes }
    }

    const fn key4(address: u32, word: u32) -> Key4 {
        Key4((address as u64) << 32 | word as u64)
    }

    /// The VIP that a packet with this five-tuple is for.
    #[inline]
    pub fn find<A: Addresses>(&self, key: &FlowKey<A>) -> Option<VipId> {
        self.at(key.destination(), key.protocol, key.destination_port())
    }

    /// The VIP at an address; `port` in host order.
    #[inline]
    pub fn at(&self, address: IpAddr, protocol: u8, port: u16) -> Option<VipId> {
        match address {
            IpAddr::V4(address) => self.v4(address.to_bits(), protocol, port),
            IpAddr::V6(address) => self.v6(address.to_bits(), protocol, port),
        }
    }

    /// The VIP for a destination; `address` and `port` in host order.
    #[inline]
    pub fn v4(&self, address: u32, protocol: u8, port: u16) -> Option<VipId> {
        let found = self.by_port(|word| self.v4.get(Self::key4(address, word)), protocol, port);
        match &self.prefixes {
            Some(prefixes) if found.is_none() => prefixes.v4(address, protocol, port),
            _ => found,
        }
    }

    /// The VIP for a destination; `address` and `port` in host order.
    #[inline]
    pub fn v6(&self, address: u128, protocol: u8, port: u16) -> Option<VipId> {
        let found = self.by_port(|word| self.v6.get(Key6(address, word)), protocol, port);
        match &self.prefixes {
            Some(prefixes) if found.is_none() => prefixes.v6(address, protocol, port),
            _ => found,
        }
    }

    #[inline(always)]
    fn by_port(&self, get: impl Fn(u32) -> Option<u32>, protocol: u8, port: u16) -> Option<VipId> {
        if port != 0
            && let Some(vip) = get(ports_word(port, protocol))
        {
            return Some(VipId(vip));
        }
        if !self.wildcards {
            return None;
        }
        get(ports_word(0, protocol)).or_else(|| get(ports_word(0, 0))).map(VipId)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn service(address: &str, protocol: Option<u8>, port: Option<u16>) -> Service {
        Service { network: address.parse::<IpAddr>().unwrap().into(), protocol, port }
    }

    #[test]
    fn most_specific_service_wins() {
        let lookup = VipLookup::new(&[
            (service("203.0.113.10", Some(6), Some(80)), VipId(0)),
            (service("203.0.113.10", Some(6), None), VipId(1)),
            (service("203.0.113.10", None, None), VipId(2)),
            (service("2001:db8::10", Some(17), Some(443)), VipId(3)),
        ]);
        let v4 = u32::from_be_bytes([203, 0, 113, 10]);
        assert_eq!(lookup.v4(v4, 6, 80), Some(VipId(0)));
        assert_eq!(lookup.v4(v4, 6, 81), Some(VipId(1)));
        assert_eq!(lookup.v4(v4, 17, 80), Some(VipId(2)));
        assert_eq!(lookup.v4(v4 + 1, 6, 80), None);
        let v6 = "2001:db8::10".parse::<std::net::Ipv6Addr>().unwrap().to_bits();
        assert_eq!(lookup.v6(v6, 17, 443), Some(VipId(3)));
        assert_eq!(lookup.v6(v6, 6, 443), None);
    }

    #[test]
    fn port_zero_is_no_wildcard_by_accident() {
        let lookup = VipLookup::new(&[(service("203.0.113.10", Some(6), Some(80)), VipId(0))]);
        assert_eq!(lookup.v4(u32::from_be_bytes([203, 0, 113, 10]), 6, 0), None);
    }

    #[test]
    fn thousands_of_services_are_found() {
        let services: Vec<_> = (0..4096u32)
            .map(|vip| {
                let address = IpAddr::V4((0xcb00_7100 + vip / 4).into());
                (
                    Service { network: address.into(), protocol: Some(6), port: Some(80 + (vip % 4) as u16) },
                    VipId(vip),
                )
            })
            .collect();
        let lookup = VipLookup::new(&services);
        for vip in 0..4096 {
            assert_eq!(lookup.v4(0xcb00_7100 + vip / 4, 6, 80 + (vip % 4) as u16), Some(VipId(vip)));
        }
        assert_eq!(lookup.v4(0xcb00_7100, 6, 84), None);
    }

    /// The VIP by the order that is promised, looking at every service in turn.
    fn by_hand(services: &[(Service, VipId)], address: IpAddr, protocol: u8, port: u16) -> Option<VipId> {
        let takes = |service: &Service| {
            service.network.contains(&address)
                && service.protocol.is_none_or(|wanted| wanted == protocol)
                && service.port.is_none_or(|wanted| wanted == port)
        };
        let exactness = |service: &Service| {
            (service.network.prefix_len(), service.protocol.is_some(), service.port.is_some())
        };
        let taking = services.iter().filter(|(service, _)| takes(service));
        taking.max_by_key(|(service, _)| exactness(service)).map(|&(_, vip)| vip)
    }

    /// Addresses that differ in a few bits only, so that prefixes hold them and each other.
    fn address() -> impl Strategy<Value = IpAddr> {
        let bits = (any::<bool>(), 0u32..16, 0u32..4);
        bits.prop_map(|(v6, low, high)| match v6 {
            false => IpAddr::V4((0xcb00_7100 | high << 24 | low).into()),
            true => IpAddr::V6((0x2001_0db8u128 << 96 | u128::from(high) << 64 | u128::from(low)).into()),
        })
    }

    fn any_service() -> impl Strategy<Value = Service> {
        let length = prop_oneof![2 => Just(0u8), 3 => 1u8..8, 2 => 60u8..70];
        let protocol = prop::sample::select(vec![None, Some(6), Some(17)]);
        let port = prop::sample::select(vec![None, Some(80), Some(443)]);
        (address(), length, protocol, port).prop_map(|(address, shorter, protocol, port)| {
            let network = IpNet::from(address);
            let length = network.max_prefix_len().saturating_sub(shorter).max(1);
            let network = IpNet::new(address, length).unwrap().trunc();
            // Without a protocol there are no ports: the configuration refuses that.
            Service { network, protocol, port: port.filter(|_| protocol.is_some()) }
        })
    }

    proptest! {
        #[test]
        fn lookup_agrees_with_looking_at_every_service(
            services in prop::collection::hash_set(any_service(), 0..40),
            packets in prop::collection::vec((address(), 0usize..4, 0usize..4), 1..40),
        ) {
            let services: Vec<_> = services.into_iter().zip((0..).map(VipId)).collect();
            let lookup = VipLookup::new(&services);
            for (address, protocol, port) in packets {
                let (protocol, port) = ([6, 17, 132, 1][protocol], [80, 443, 81, 0][port]);
                let found = match address {
                    IpAddr::V4(address) => lookup.v4(address.to_bits(), protocol, port),
                    IpAddr::V6(address) => lookup.v6(address.to_bits(), protocol, port),
                };
                prop_assert_eq!(found, by_hand(&services, address, protocol, port));
            }
        }
    }

    #[test]
    fn prefixes_are_asked_last_and_the_longest_first() {
        let of =
            |network: &str, protocol, port| Service { network: network.parse().unwrap(), protocol, port };
        let lookup = VipLookup::new(&[
            (of("203.0.113.0/28", Some(6), Some(80)), VipId(0)),
            (of("203.0.113.0/28", None, None), VipId(1)),
            (of("203.0.113.8/29", Some(6), None), VipId(2)),
            (of("203.0.113.10/32", None, None), VipId(3)),
            (of("2001:db8:1::/64", Some(17), Some(53)), VipId(4)),
        ]);
        let v4 =
            |last: u8, protocol, port| lookup.v4(u32::from_be_bytes([203, 0, 113, last]), protocol, port);
        assert_eq!(v4(1, 6, 80), Some(VipId(0)));
        assert_eq!(v4(1, 6, 81), Some(VipId(1)));
        assert_eq!(v4(9, 6, 80), Some(VipId(2)), "a longer prefix for every port wins over a shorter one");
        assert_eq!(v4(9, 17, 80), Some(VipId(1)), "but not if it does not take the packet");
        assert_eq!(v4(10, 6, 80), Some(VipId(3)), "the address itself wins over every prefix");
        assert_eq!(v4(16, 6, 80), None);
        let v6 = "2001:db8:1::abcd".parse::<std::net::Ipv6Addr>().unwrap().to_bits();
        assert_eq!(lookup.v6(v6, 17, 53), Some(VipId(4)));
        assert_eq!(lookup.v6(v6, 17, 54), None);
        assert_eq!(lookup.v6(v6 + (1 << 64), 17, 53), None);
    }
}
