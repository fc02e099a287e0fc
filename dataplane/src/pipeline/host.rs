//! What is for the host itself, and how much of it the host gets.
//!
//! A port may have an exception port: a TAP whose other end is an interface of the kernel. What is addressed to the
//! port but not a matter of balancing goes there as it came, and what the kernel sends leaves on the port.

use std::net::IpAddr;

use ipc::id::PortId;

use super::{
    parse::Parsed,
    single::Desk,
    verdict::{DropReason, Verdict},
};
use crate::{
    ports::Packet,
    time::Tick,
    wire::{
        Mac, be16,
        ethernet::{HEADER_LEN, ether_type},
        take,
    },
};

/// Most packets that a worker passes to the host in a second: an exception port costs a system call for each, and
/// whoever floods our own address must not stop the balancer.
const PER_SECOND: u32 = 20_000;

/// Most packets at once.
const AT_ONCE: u32 = 1024;

/// What a packet costs of the credit, of which there comes [`PER_SECOND`] with each tick: ticks in a second.
const COST: u32 = 1_000_000_000 >> 16;

/// How many packets the host may get still: a bucket that fills up steadily.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    credit: u32,
    since: Option<Tick>,
}

impl Pace {
    /// A full bucket.
    pub const fn new() -> Self {
        Self { credit: AT_ONCE * COST, since: None }
    }

    fn take(&mut self, now: Tick) -> bool {
        let ticks = self.since.map_or(0, |since| now.since(since));
        self.since = Some(now);
        self.credit = ticks.saturating_mul(PER_SECOND).saturating_add(self.credit).min(AT_ONCE * COST);
        let allowed = self.credit >= COST;
        if allowed {
            self.credit -= COST;
        }
        allowed
    }
}

impl Desk<'_> {
    fn exception(&self) -> Option<PortId> {
        self.tables.ports[self.port.index()].exception
    }

    /// To the host, if it is reached from this port; else it ends here for `reason`.
    #[inline(never)]
    pub fn pass_to_host(&mut self, reason: DropReason) -> Verdict {
        match self.exception() {
            Some(_) if !self.pace.take(self.now.tick()) => Verdict::Drop(DropReason::HostLimit),
            Some(exception) => Verdict::Forward(exception),
            None => Verdict::Drop(reason),
        }
    }

    /// What becomes of address resolution after we have heard it: the kernel resolves too and needs the answers, and
    /// in IPv6 it has addresses of its own that are asked for. ARP for others is noise.
    pub fn overheard(&mut self, what: Parsed, verdict: Verdict) -> Verdict {
        let concerns_host = match verdict {
            Verdict::Punt => true,
            Verdict::Drop(DropReason::OtherNeighbor) => what == Parsed::Ndp,
            _ => false,
        };
        match self.exception() {
            Some(exception) if concerns_host && self.pace.take(self.now.tick()) => {
                Verdict::Forward(exception)
            }
            _ => verdict,
        }
    }

    /// Whether packets to this address are for the host: one of the port's own, or one that never leaves the link.
    pub fn is_for_host(&self, address: IpAddr) -> bool {
        let link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        link_local || self.tables.ports[self.port.index()].addresses.contains(&address)
    }

    /// What becomes of a packet that is not for balancing, by `reason`: IP broadcasts and multicasts may be for the host.
    pub fn refuse<P: Packet>(&mut self, packet: &P, reason: DropReason) -> Verdict {
        let for_host = reason == DropReason::OtherHost && is_ip_to_group(packet.data());
        if for_host { self.pass_to_host(reason) } else { Verdict::Drop(reason) }
    }
}

/// Whether a frame is an IP packet to a broadcast or multicast address of the link.
fn is_ip_to_group(frame: &[u8]) -> bool {
    frame.len() >= HEADER_LEN
        && Mac(take(frame, 0)).is_group()
        && matches!(be16(frame, 12), ether_type::IPV4 | ether_type::IPV6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_gets_a_burst_and_then_its_pace() {
        let mut pace = Pace::new();
        let taken = |pace: &mut Pace, now| (0..100_000).filter(|_| pace.take(Tick(now))).count();
        assert_eq!(taken(&mut pace, 0), AT_ONCE as usize);
        assert_eq!(taken(&mut pace, 1), 1, "one tick is worth a packet and a third");
        let second = (2..=COST + 1).filter(|&now| pace.take(Tick(now))).count();
        assert_eq!(second, COST as usize, "asked for once a tick");
        let busy: usize = (COST + 2..=2 * COST + 1).map(|now| taken_by_two(&mut pace, now)).sum();
        assert!((PER_SECOND as usize..=PER_SECOND as usize + AT_ONCE as usize * 5).contains(&busy), "{busy}");
        assert_eq!(taken(&mut pace, u32::MAX), AT_ONCE as usize, "no more after a long time");
    }

    fn taken_by_two(pace: &mut Pace, now: u32) -> usize {
        (0..2).filter(|_| pace.take(Tick(now))).count()
    }
}
