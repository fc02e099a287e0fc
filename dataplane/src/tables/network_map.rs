//! Values by network, found by an address in it.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;

/// A map from networks of both families; of those that hold an address the longest prefix counts.
///
/// A lookup costs one hash for each prefix length of the family that is in the map.
#[derive(Clone, Debug)]
pub struct NetworkMap<V> {
    values: HashMap<IpNet, V>,
    /// Prefix lengths that are there, longest first: of IPv4, of IPv6.
    lengths: [Vec<u8>; 2],
}

impl<V> NetworkMap<V> {
    /// The value of the longest prefix that holds `address`.
    pub fn get(&self, address: IpAddr) -> Option<&V> {
        let lengths = &self.lengths[usize::from(address.is_ipv6())];
        lengths.iter().find_map(|&length| self.values.get(&IpNet::new(address, length).ok()?.trunc()))
    }
}

impl<V> FromIterator<(IpNet, V)> for NetworkMap<V> {
    /// Of equal networks the first one counts.
    fn from_iter<I: IntoIterator<Item = (IpNet, V)>>(entries: I) -> Self {
        let mut map = Self { values: HashMap::new(), lengths: [Vec::new(), Vec::new()] };
        for (network, value) in entries {
            let lengths = &mut map.lengths[usize::from(network.addr().is_ipv6())];
            if !lengths.contains(&network.prefix_len()) {
                lengths.push(network.prefix_len());
            }
            map.values.entry(network.trunc()).or_insert(value);
        }
        for lengths in &mut map.lengths {
            lengths.sort_unstable_by(|a, b| b.cmp(a));
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_prefix_that_holds_the_address_counts() {
        let networks = ["203.0.113.0/24", "203.0.113.16/28", "203.0.113.17/32", "2001:db8::/32"];
        let map: NetworkMap<&str> = networks.into_iter().map(|text| (text.parse().unwrap(), text)).collect();
        let get = |address: &str| map.get(address.parse().unwrap()).copied();
        assert_eq!(get("203.0.113.15"), Some("203.0.113.0/24"));
        assert_eq!(get("203.0.113.18"), Some("203.0.113.16/28"));
        assert_eq!(get("203.0.113.17"), Some("203.0.113.17/32"));
        assert_eq!(get("203.0.112.255"), None);
        assert_eq!(get("2001:db8:ffff::1"), Some("2001:db8::/32"));
        assert_eq!(get("2001:db9::"), None);
        assert_eq!(get("::cb00:7111"), None, "the families are apart");
    }
}
