//! Which addresses have to be announced, and when: gratuitous ARP and unsolicited neighbour advertisements.
//!
//! A state machine without a clock or a socket of its own, like the neighbour cache.

use std::{
    collections::{HashSet, VecDeque},
    net::IpAddr,
};

use dataplane::time::Nanos;
use ipc::id::PortId;
use ipnet::{IpNet, Ipv4AddrRange, Ipv6AddrRange};

use crate::config::{Config, MOST_ANNOUNCED};

/// Between the two times that an address is announced (RFC 5227 §2.3).
const AGAIN_AFTER_NANOS: u64 = 2_000_000_000;

/// An address, told on a port.
pub type Announcement = (PortId, IpAddr);

/// What is announced, and what of it has to be said still.
#[derive(Debug, Default)]
pub struct Announcer {
    wanted: HashSet<Announcement>,
    /// For the first time, then for the second from some time on.
    first: VecDeque<Announcement>,
    second: VecDeque<(Nanos, Announcement)>,
    /// Links that were down when they were last looked at.
    down: HashSet<PortId>,
}

impl Announcer {
    /// Takes a configuration: what it adds is to be announced, what it does not have any more is not.
    pub fn configure(&mut self, config: &Config) {
        let old = std::mem::take(&mut self.wanted);
        for (port, spec) in (0u16..).map(PortId).zip(&config.ports).filter(|(_, spec)| spec.announce) {
            let own = spec.addresses.iter().map(IpNet::addr);
            let vips = config.vips.iter().flat_map(|vip| addresses(vip.network));
            for announcement in own.chain(vips).map(|address| (port, address)) {
                if self.wanted.insert(announcement) && !old.contains(&announcement) {
                    self.first.push_back(announcement);
                }
            }
        }
        self.first.retain(|announcement| self.wanted.contains(announcement));
        self.second.retain(|(_, announcement)| self.wanted.contains(announcement));
    }

    /// Learns whether a port's link is up. One that has come up has everything of its port announced again.
    pub fn link(&mut self, port: PortId, up: bool) {
        if !up {
            self.down.insert(port);
        } else if self.down.remove(&port) {
            let its_own = |announcement: &Announcement| announcement.0 == port;
            self.first.retain(|announcement| !its_own(announcement));
            self.second.retain(|(_, announcement)| !its_own(announcement));
            self.first.extend(self.wanted.iter().filter(|announcement| its_own(announcement)));
        }
    }

    /// What is to be announced now; the same again until [`Announcer::sent`].
    pub fn due(&self, now: Nanos) -> Option<Announcement> {
        let again = self.second.front().filter(|(at, _)| *at <= now).map(|(_, announcement)| *announcement);
        self.first.front().copied().or(again)
    }

    /// What was [`due`](Announcer::due) is on its way.
    pub fn sent(&mut self, now: Nanos) {
        match self.first.pop_front() {
            Some(announcement) => {
                self.second.push_back((Nanos(now.0 + AGAIN_AFTER_NANOS), announcement));
            }
            None => _ = self.second.pop_front(),
        }
    }
}

/// Every address of a network, or none of one that has too many.
fn addresses(network: IpNet) -> impl Iterator<Item = IpAddr> {
    let few = network.max_prefix_len() - network.prefix_len() <= MOST_ANNOUNCED.ilog2() as u8;
    let all: Box<dyn Iterator<Item = IpAddr>> = match network {
        IpNet::V4(v4) => Box::new(Ipv4AddrRange::new(v4.network(), v4.broadcast()).map(IpAddr::V4)),
        IpNet::V6(v6) => Box::new(Ipv6AddrRange::new(v6.network(), v6.broadcast()).map(IpAddr::V6)),
    };
    all.take(if few { MOST_ANNOUNCED } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(announce: [bool; 2], vips: &[&str]) -> Config {
        let ports = ["192.0.2.2/24", "198.51.100.2/24"];
        let port = |(at, address): (usize, &str)| {
            format!(
                "[[port]]\ndevice = \"net_tap{at}\"\naddress = [\"{address}\"]\nannounce = {}\n",
                announce[at]
            )
        };
        let vip = |address: &&str| {
            format!("[[vip]]\naddress = \"{address}\"\nport = 80\nservers = [\"192.0.2.11\"]\n")
        };
        let text: String = ports.into_iter().enumerate().map(port).chain(vips.iter().map(vip)).collect();
        Config::parse(&text, "test.toml").unwrap().config
    }

    /// Everything that is due at this second, as `port address`.
    fn say(announcer: &mut Announcer, seconds: u64) -> Vec<String> {
        let now = Nanos(seconds * 1_000_000_000);
        let mut said = Vec::new();
        while let Some((port, address)) = announcer.due(now) {
            assert_eq!(announcer.due(now), Some((port, address)), "the same until it is sent");
            announcer.sent(now);
            said.push(format!("{} {address}", port.0));
        }
        said.sort();
        said
    }

    #[test]
    fn addresses_of_ports_that_ask_for_it_are_announced_twice() {
        let mut announcer = Announcer::default();
        announcer.configure(&config([true, false], &["203.0.113.10", "2001:db8:1::/127"]));
        let all = ["0 192.0.2.2", "0 2001:db8:1::", "0 2001:db8:1::1", "0 203.0.113.10"];
        assert_eq!(say(&mut announcer, 0), all);
        assert_eq!(say(&mut announcer, 1), [""; 0]);
        assert_eq!(say(&mut announcer, 2), all);
        assert_eq!(say(&mut announcer, 100), [""; 0]);
        announcer.configure(&config([false, false], &["203.0.113.10"]));
        assert_eq!(say(&mut announcer, 200), [""; 0]);
    }

    #[test]
    fn what_a_reload_adds_is_announced_and_what_it_takes_away_is_not() {
        let mut announcer = Announcer::default();
        announcer.configure(&config([true, false], &["203.0.113.10"]));
        say(&mut announcer, 0);
        announcer.configure(&config([true, false], &["203.0.113.11"]));
        assert_eq!(say(&mut announcer, 1), ["0 203.0.113.11"]);
        assert_eq!(say(&mut announcer, 5), ["0 192.0.2.2", "0 203.0.113.11"], "the second time");
    }

    #[test]
    fn link_that_comes_up_has_its_addresses_announced_again() {
        let mut announcer = Announcer::default();
        announcer.configure(&config([true, true], &["203.0.113.10"]));
        say(&mut announcer, 0);
        say(&mut announcer, 2);
        announcer.link(PortId(0), true);
        announcer.link(PortId(1), false);
        announcer.link(PortId(1), false);
        assert_eq!(say(&mut announcer, 3), [""; 0]);
        announcer.link(PortId(1), true);
        let its_own = ["1 198.51.100.2", "1 203.0.113.10"];
        assert_eq!(say(&mut announcer, 4), its_own);
        announcer.link(PortId(1), true);
        assert_eq!(say(&mut announcer, 6), its_own);
    }

    #[test]
    fn prefix_of_more_than_256_addresses_is_not_announced() {
        let count = |network: &str| addresses(network.parse().unwrap()).count();
        assert_eq!((count("203.0.113.0/24"), count("2001:db8:1::/120")), (256, 256));
        assert_eq!((count("203.0.112.0/23"), count("2001:db8:1::/64")), (0, 0));
    }
}
