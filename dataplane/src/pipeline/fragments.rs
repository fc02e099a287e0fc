//! Fragments: a datagram's pieces go the way that its first one goes.

use super::{
    icmp,
    parse::{Flow, Part},
    single::Desk,
    verdict::{DropReason, Verdict},
};
use crate::{
    ports::Packet,
    tables::fragments::{Datagram, Upper},
    wire::protocol,
};

impl Desk<'_> {
    /// A fragment. The first one goes where its flow goes, and is remembered. A later one is treated as what its first
    /// one was: it has the same ports, and so the same flow. One whose first was not seen goes by its addresses.
    #[inline(never)]
    pub fn fragment<P: Packet>(&mut self, packet: &mut P, flow: Flow) -> Verdict {
        let lcore = &self.counters.lcore;
        let (counter, verdict) = match flow.part {
            Part::Whole => return self.forward(packet, &flow),
            Part::First(id) => (&lcore.fragments_first, self.first(packet, &flow, id)),
            Part::Later(id) => match self.fragments.get(&flow.datagram(id), self.now.tick()) {
                Some(upper) => (&lcore.fragments_followed, self.follow(packet, flow, upper)),
                None => (&lcore.fragments_unknown, self.by_addresses(packet, &flow)),
            },
        };
        // Those that wait, or go to another worker, come by again.
        if !matches!(verdict, Verdict::Wait | Verdict::HandOver(_)) {
            counter.add(1);
        }
        verdict
    }

    fn first<P: Packet>(&mut self, packet: &mut P, flow: &Flow, id: u32) -> Verdict {
        let (datagram, upper) = (flow.datagram(id), flow.upper());
        let (verdict, follow) = if is_icmp(flow) {
            let verdict = self.echo(packet, flow);
            (verdict, verdict == Verdict::Reply) // only what was answered is answered further
        } else {
            let verdict = self.forward(packet, flow);
            (verdict, verdict != Verdict::Drop(DropReason::NotAVip)) // the world's traffic is not ours to remember
        };
        if follow {
            self.fragments.remember(&datagram, upper, self.now.tick());
        }
        verdict
    }

    /// A later fragment, given what its first one said.
    fn follow<P: Packet>(&mut self, packet: &mut P, mut flow: Flow, upper: Upper) -> Verdict {
        (flow.ports, flow.protocol, flow.tcp) = (upper.ports, upper.protocol, upper.tcp);
        if is_icmp(&flow) { icmp::echo_rest(packet, &flow, self.mac) } else { self.forward(packet, &flow) }
    }

    /// The first fragment of an ICMP message: an echo request for us, or nothing that can be dealt with in pieces.
    fn echo<P: Packet>(&mut self, packet: &mut P, flow: &Flow) -> Verdict {
        let ours = self.tables.answers_for(self.port, flow.destination());
        let answer = ours.then(|| icmp::echo(packet, flow, self.mac)).flatten();
        answer.unwrap_or_else(|| self.nobodys(flow))
    }

    /// A later fragment of who knows which flow: to the server that every lcore would give it, of the VIP that has its
    /// address and protocol; of several the first in the configuration.
    fn by_addresses<P: Packet>(&mut self, packet: &mut P, flow: &Flow) -> Verdict {
        let vip = self.tables.portless.at(flow.destination(), flow.protocol, 0);
        let Some(vip) = vip.filter(|_| !is_icmp(flow)).and_then(|vip| self.tables.vip(vip)) else {
            return self.nobodys(flow);
        };
        let hash = flow.hash(self.tables.hash_key);
        match vip.stateless(hash) {
            Some(server) => self.send_to_server(packet, flow, hash, server),
            None => Verdict::Drop(DropReason::NoServer),
        }
    }
}

const fn is_icmp(flow: &Flow) -> bool {
    matches!(flow.protocol, protocol::ICMP | protocol::ICMPV6)
}

impl Flow {
    /// The datagram that this fragment is of.
    fn datagram(&self, id: u32) -> Datagram {
        let protocol = if self.v6 { 0 } else { self.protocol };
        Datagram { addresses: self.addresses, id, protocol, v6: self.v6 }
    }

    /// What later fragments do not have.
    const fn upper(&self) -> Upper {
        Upper { ports: self.ports, protocol: self.protocol, tcp: self.tcp }
    }
}
