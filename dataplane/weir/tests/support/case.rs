//! What one end-to-end test sets up: an encapsulation, two families, and what else is special.

use std::net::IpAddr;

use super::lab::{PREFIX4, PREFIX6, VIP4, VIP6};

/// How a packet gets to its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Gre {
        key: Option<u32>,
    },
    Ipip,
    /// Variant 1 uses a UDP port other than the default.
    Gue {
        variant: u8,
    },
    L3dsr,
    /// VIP:80 to port 8080, UDP VIP:53 to port 5300; answers come back through the balancer.
    Nat,
}

/// What tells the servers the VIP.
pub const DSCP: u8 = 7;

impl Way {
    pub fn gue_port(self) -> u16 {
        if self == (Self::Gue { variant: 1 }) { 16_080 } else { 6080 }
    }

    /// What `weir decap` is told; `None` for a server that needs no decapsulator.
    pub fn decap_options(self) -> Option<Vec<String>> {
        let options = match self {
            Self::Gre { key: None } => "--encap gre".to_owned(),
            Self::Gre { key: Some(key) } => format!("--encap gre --key {key}"),
            Self::Ipip => "--encap ipip".to_owned(),
            Self::Gue { variant: 0 } => "--encap gue".to_owned(),
            Self::Gue { .. } => format!("--encap gue --gue-port {}", self.gue_port()),
            Self::L3dsr | Self::Nat => return None,
        };
        Some(options.split(' ').map(str::to_owned).collect())
    }

    /// The lines of `[[vip]]` that ask for it.
    pub fn config(self) -> String {
        match self {
            Self::Gre { key: None } => "encap = \"gre\"".to_owned(),
            Self::Gre { key: Some(key) } => format!("encap = \"gre\"\nkey = {key}"),
            Self::Ipip => "encap = \"ipip\"".to_owned(),
            Self::Gue { variant } => format!("encap = \"gue\"\nvariant = {variant}"),
            Self::L3dsr => format!("encap = \"l3dsr\"\ndscp = {DSCP}"),
            Self::Nat => "encap = \"nat\"".to_owned(),
        }
    }
}

/// One test's set-up.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub way: Way,
    /// The family of the VIP, and of the packets inside.
    pub vip_ipv6: bool,
    /// The family of the servers' addresses, and of the headers outside.
    pub server_ipv6: bool,
    /// The balancer's frames are tagged.
    pub vlan: bool,
    /// The VIP is a whole prefix.
    pub prefix: bool,
    /// The balancer's ports announce its addresses.
    pub announce: bool,
    /// The balancer's ports are libpcap's.
    pub pcap: bool,
    /// The MTU of the balancer's ports.
    pub mtu: u16,
    /// Workers of the balancer, and queues of each of its ports.
    pub workers: usize,
    /// The host has an exception port on the balancer's first port.
    pub exception: bool,
    /// More keys of the web service, a line each.
    pub keys: &'static str,
}

/// An address family, short enough for a table of cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Case {
    /// `inner` in `outer`; the two are equal where nothing is wrapped.
    pub fn new(way: Way, inner: Family, outer: Family) -> Self {
        let (vip_ipv6, server_ipv6) = (inner == Family::V6, outer == Family::V6);
        let mtu = if way == Way::Nat { 1500 } else { super::lab::TUNNEL_MTU };
        Self {
            way,
            vip_ipv6,
            server_ipv6,
            vlan: false,
            prefix: false,
            announce: false,
            pcap: false,
            mtu,
            workers: 1,
            exception: false,
            keys: "",
        }
    }

    pub fn with_vlan(self) -> Self {
        Self { vlan: true, ..self }
    }

    pub fn with_mtu(self, mtu: u16) -> Self {
        Self { mtu, ..self }
    }

    pub fn with_exception(self) -> Self {
        Self { exception: true, ..self }
    }

    pub fn with_keys(self, keys: &'static str) -> Self {
        Self { keys, ..self }
    }

    pub fn with_two_workers(self) -> Self {
        Self { workers: 2, ..self }
    }

    pub fn with_prefix(self) -> Self {
        Self { prefix: true, ..self }
    }

    pub fn with_announcements(self) -> Self {
        Self { announce: true, ..self }
    }

    /// For IPv4 fragments: the kernel puts them together before an AF_PACKET port gets them.
    pub fn with_pcap(self) -> Self {
        Self { pcap: true, ..self }
    }

    /// The VIP as the configuration states it.
    pub fn vip(&self) -> String {
        match (self.prefix, self.vip_ipv6) {
            (true, false) => PREFIX4.to_owned(),
            (true, true) => PREFIX6.to_owned(),
            (false, false) => VIP4.to_string(),
            (false, true) => VIP6.to_string(),
        }
    }

    /// The addresses that clients connect to: the first, the last and some in between of a prefix.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let hosts: &[u8] = if self.prefix { &[0, 1, 7, 15] } else { &[1] };
        let address = |&host: &u8| -> IpAddr {
            if self.vip_ipv6 {
                let mut octets = VIP6.octets();
                octets[15] = host;
                octets.into()
            } else {
                let [a, b, c, _] = VIP4.octets();
                [a, b, c, host].into()
            }
        };
        hosts.iter().map(address).collect()
    }
}
