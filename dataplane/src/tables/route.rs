//! Where packets leave: on-link prefixes and gateways.

use std::net::IpAddr;

use ipc::id::PortId;
use ipnet::IpNet;

/// The port a packet leaves on and the neighbour it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// Outgoing port.
    pub port: PortId,
    /// The destination itself if it is on-link, else a gateway.
    pub address: IpAddr,
}

/// The prefixes and gateways of all ports, longest prefix first.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    on_link: Vec<(IpNet, PortId)>,
    gateways: Vec<NextHop>,
}

impl Routes {
    /// Routes of ports with these interface prefixes and gateways. Of several gateways of one family the
    /// first counts.
    pub fn new<'a>(ports: impl IntoIterator<Item = (PortId, &'a [IpNet], &'a [IpAddr])>) -> Self {
        let mut routes = Self::default();
        for (port, prefixes, gateways) in ports {
            routes.on_link.extend(prefixes.iter().map(|prefix| (prefix.trunc(), port)));
            routes.gateways.extend(gateways.iter().map(|&address| NextHop { port, address }));
        }
        routes.on_link.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.prefix_len()));
        routes
    }

    /// The next hop towards `destination`: on-link by the longest prefix, else the family's gateway.
    pub fn next_hop(&self, destination: IpAddr) -> Option<NextHop> {
        let on_link = self.on_link.iter().find(|(prefix, _)| prefix.contains(&destination));
        if let Some(&(_, port)) = on_link {
            return Some(NextHop { port, address: destination });
        }
        self.gateways.iter().find(|hop| hop.address.is_ipv4() == destination.is_ipv4()).copied()
    }

    /// Whether `address` is on the link of `port`.
    pub fn is_on_link(&self, port: PortId, address: IpAddr) -> bool {
        self.on_link.iter().any(|(prefix, on)| *on == port && prefix.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_prefix_then_gateway_of_the_family() {
        let lan: Vec<IpNet> = vec!["192.0.2.2/24".parse().unwrap(), "2001:db8::2/64".parse().unwrap()];
        let servers: Vec<IpNet> = vec!["192.0.2.129/25".parse().unwrap()];
        let gateways = ["192.0.2.1".parse().unwrap()];
        let routes = Routes::new([(PortId(0), &lan[..], &gateways[..]), (PortId(1), &servers[..], &[][..])]);
        let hop = |text: &str| routes.next_hop(text.parse().unwrap());
        let via = |port, text: &str| Some(NextHop { port: PortId(port), address: text.parse().unwrap() });
        assert_eq!(hop("192.0.2.7"), via(0, "192.0.2.7"));
        assert_eq!(hop("192.0.2.200"), via(1, "192.0.2.200"));
        assert_eq!(hop("198.51.100.1"), via(0, "192.0.2.1"));
        assert_eq!(hop("2001:db8::9"), via(0, "2001:db8::9"));
        assert_eq!(hop("2001:db8:1::9"), None, "no IPv6 gateway");
        assert!(routes.is_on_link(PortId(0), "192.0.2.200".parse().unwrap()));
        assert!(!routes.is_on_link(PortId(1), "192.0.2.7".parse().unwrap()));
    }
}
