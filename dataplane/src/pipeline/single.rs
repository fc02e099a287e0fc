//! One packet, from its headers to its verdict.
//!
//! This is how every packet is treated, told in order. [`process_burst`](super::process_burst) takes a short cut
//! for plain packets of flows that go on, with the same outcome.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use ipc::id::{PortId, ServerId};

use super::{
    Notice,
    counters::{Counters, Traffic},
    host::Pace,
    icmp::{self, Allowance, Complaint},
    measure::{Segment, Watches},
    mss,
    parse::{Flow, Key, Parsed, Part, parse},
    peers::Peers,
    plain::Plain,
    resolve,
    rewrite::{self, End, NewEnd},
    track::{Arrival, Flows, Way},
    verdict::{DropReason, Verdict},
};
use crate::{
    ports::{BURST, Packet},
    tables::{
        Tables,
        encap::Encap,
        fragments::Fragments,
        server::{Hop, Server},
    },
    time::Nanos,
    wire::{Mac, tcp},
};

/// Where and when packets are treated, and what with.
pub struct Desk<'a> {
    /// The port they came from.
    pub port: PortId,
    /// Its Ethernet address.
    pub mac: Mac,
    /// The time.
    pub now: Nanos,
    pub tables: &'a Tables,
    pub flows: &'a mut Flows,
    pub fragments: &'a mut Fragments,
    pub counters: &'a Counters,
    /// The other workers.
    pub peers: &'a mut Peers,
    /// The flows that are measured.
    pub watches: &'a mut Watches,
    /// How many ICMP errors may be sent still.
    pub allowance: &'a mut Allowance,
    /// How much the host may get still.
    pub pace: &'a mut Pace,
    /// News for the control thread.
    pub notices: &'a mut ArrayVec<Notice, BURST>,
}

impl Desk<'_> {
    /// Decides on a packet and rewrites it if it goes on.
    #[inline(never)]
    pub fn decide<P: Packet>(&mut self, packet: &mut P) -> Verdict {
        let mut flow = Flow::default();
        let what = match parse(packet, self.mac, &mut flow) {
            Ok(what) => what,
            Err(reason) => return self.refuse(packet, reason),
        };
        let (verdict, notice) = match what {
            Parsed::Flow => return self.forward(packet, &flow),
            Parsed::Icmp => return self.icmp(packet, &flow),
            Parsed::Fragment => return self.fragment(packet, flow),
            Parsed::Arp => resolve::arp(packet, self.port, self.tables),
            Parsed::Ndp => resolve::ndp(packet, self.port, self.tables),
        };
        if let Some(notice) = notice {
            self.tell(notice);
        }
        self.overheard(what, verdict)
    }

    /// Decides on a plain packet of a flow that goes on at the server `id`, and needs more than headers in front.
    #[inline(never)]
    pub fn decide_known<P: Packet>(&mut self, packet: &mut P, plain: &Plain, id: ServerId) -> Verdict {
        match self.tables.server(id) {
            Some(server) if server.is_up() => {
                self.send_to_server(packet, &plain.flow(packet.data()), plain.hash, id)
            }
            _ => self.decide(packet),
        }
    }

    fn tell(&mut self, notice: Notice) {
        let _ = self.notices.try_push(notice); // what does not fit will be news again
    }

    /// A packet of some flow: to its server, or back to its client.
    pub fn forward<P: Packet>(&mut self, packet: &mut P, flow: &Flow) -> Verdict {
        let Self { now, tables, counters, ref peers, .. } = *self;
        let (hash, way) = match flow.key() {
            Key::V4(key) => {
                let hash = key.hash(tables.hash_key);
                let arrival = Arrival { key, hash, tcp: flow.tcp, now };
                (hash, arrival.way(&mut self.flows.v4, tables, counters, peers))
            }
            Key::V6(key) => {
                let hash = key.hash(tables.hash_key);
                let arrival = Arrival { key, hash, tcp: flow.tcp, now };
                (hash, arrival.way(&mut self.flows.v6, tables, counters, peers))
            }
        };
        let has_options = !matches!(flow.part, Part::Later(_));
        if has_options && flow.tcp.is_some_and(tcp::Flags::synchronises) {
            self.limit_segments(packet, flow, &way);
        }
        self.measure(packet, flow, hash, &way);
        match way {
            Ok(Way::Server(server)) => self.send_to_server(packet, flow, hash, server),
            Ok(Way::Client(vip, port)) => self.send_to_client(packet, flow, vip, port),
            Ok(Way::Elsewhere(owner)) => Verdict::HandOver(owner),
            Ok(Way::Nowhere) => self.nobodys(flow),
            Err(reason) => Verdict::Drop(reason),
        }
    }

    /// Drops a packet that no VIP takes.
    pub fn nobodys(&mut self, flow: &Flow) -> Verdict {
        if self.is_for_host(flow.destination()) {
            return self.pass_to_host(DropReason::ForHost);
        }
        let ours = self.tables.answers_for(self.port, flow.destination());
        Verdict::Drop(if ours { DropReason::ForHost } else { DropReason::NotAVip })
    }

    /// Notes what a packet says about its flow, if that is one of those that are watched.
    #[inline]
    fn measure<P: Packet>(&mut self, packet: &P, flow: &Flow, hash: u64, way: &Result<Way, DropReason>) {
        match *way {
            Ok(Way::Server(server)) if self.watches.chooses(hash) => {
                let Some(vip) = self.tables.server(server).map(|server| server.vip) else { return };
                let segment = Segment::read(packet.data(), flow);
                let Self { flows, watches, counters, now, .. } = self;
                match &flow.key() {
                    Key::V4(key) => watches.client(&mut flows.v4, (key, hash), segment, vip, *now, counters),
                    Key::V6(key) => watches.client(&mut flows.v6, (key, hash), segment, vip, *now, counters),
                }
            }
            Ok(Way::Client(..)) if self.watches.any() => {
                let watched = match &flow.key() {
                    Key::V4(key) => self.flows.v4.watched_by_reply(key, hash, self.tables.hash_key),
                    Key::V6(key) => self.flows.v6.watched_by_reply(key, hash, self.tables.hash_key),
                };
                if let Some((hash, state)) = watched {
                    self.watches.server(hash, state, Segment::read(packet.data(), flow), self.now);
                }
            }
            _ => {}
        }
    }

    /// Lowers what a SYN asks of the other end, if its VIP wants that.
    fn limit_segments<P: Packet>(&self, packet: &mut P, flow: &Flow, way: &Result<Way, DropReason>) {
        let vip = match *way {
            Ok(Way::Server(server)) => self.tables.server(server).map(|server| server.vip),
            Ok(Way::Client(vip, port)) => self.tables.lookup.at(vip, flow.protocol, port),
            _ => None,
        };
        if let Some(most) = vip.and_then(|vip| self.tables.vip(vip)?.mss) {
            mss::clamp(packet, flow, most);
        }
    }

    pub fn send_to_server<P: Packet>(
        &mut self,
        packet: &mut P,
        flow: &Flow,
        hash: u64,
        id: ServerId,
    ) -> Verdict {
        let Some(server) = self.tables.server(id) else { return Verdict::Drop(DropReason::NoServer) };
        let bytes = packet.len() as u64;
        let verdict = self.rewrite(packet, flow, hash, id, server);
        if let Verdict::Forward(_) = verdict {
            self.counters.server(id).add(Traffic { packets: 1, bytes });
        }
        verdict
    }

    /// Makes a packet one to `server`, or an error to its sender.
    fn rewrite<P: Packet>(
        &mut self,
        packet: &mut P,
        flow: &Flow,
        hash: u64,
        id: ServerId,
        server: &Server,
    ) -> Verdict {
        let link = match &server.hop {
            Hop::Link(link) => link,
            hop => return self.no_link(*hop),
        };
        if server.encap.is_tunnel() {
            let (template, inner) = (self.tables.template(id), flow.inner(hash));
            if template.is_empty() {
                return Verdict::Drop(DropReason::NoServer); // its server is down, and no other one is up
            }
            if inner.len >= template.limit() {
                return self.complain(packet, flow, DropReason::TooBig, template.limit() - 1);
            }
            return rewrite::tunnel(packet, inner, template);
        }
        let dscp = if let Encap::L3dsr { dscp } = server.encap { Some(dscp) } else { None };
        let new = NewEnd { end: End::Destination, address: server.address, port: server.port, dscp };
        match rewrite::readdress(packet, flow, &new, link) {
            Verdict::Drop(reason) => self.complain(packet, flow, reason, link.mtu),
            verdict => verdict,
        }
    }

    /// Translates a server's reply back: its source becomes what the client has sent to.
    fn send_to_client<P: Packet>(&mut self, packet: &mut P, flow: &Flow, vip: IpAddr, port: u16) -> Verdict {
        let link = match self.tables.hop(flow.destination()) {
            Hop::Link(link) => link,
            hop => return self.no_link(hop),
        };
        let new = NewEnd { end: End::Source, address: vip, port: Some(port), dscp: None };
        match rewrite::readdress(packet, flow, &new, &link) {
            Verdict::Drop(reason) => self.complain(packet, flow, reason, link.mtu),
            verdict => verdict,
        }
    }

    /// What happens to a packet whose next hop is not resolved.
    pub(super) fn no_link(&mut self, hop: Hop) -> Verdict {
        match hop {
            Hop::Unresolved(next) => {
                self.tell(Notice::Wanted(next));
                Verdict::Wait
            }
            _ => Verdict::Drop(DropReason::NoRoute),
        }
    }

    /// Drops a packet, or turns it into the ICMP error that its sender should get; `mtu`: the largest IP packet that
    /// fits on its way.
    #[cold]
    fn complain<P: Packet>(&mut self, packet: &mut P, flow: &Flow, reason: DropReason, mtu: u16) -> Verdict {
        if let (Part::Later(_), false) = (flow.part, flow.v6) {
            return Verdict::Drop(reason); // RFC 1122 §3.2.2: errors are about first fragments
        }
        let complaint = match reason {
            DropReason::TooBig => Complaint::TooBig(mtu),
            DropReason::TtlExpired => Complaint::TimeExceeded,
            _ => return Verdict::Drop(reason),
        };
        let error = icmp::complain(packet, flow, complaint, self.mac, self.allowance, self.now.tick());
        error.unwrap_or(Verdict::Drop(reason))
    }

    /// An ICMP message: an echo request for us, an error about a packet that passed us, or nothing of ours.
    fn icmp<P: Packet>(&mut self, packet: &mut P, flow: &Flow) -> Verdict {
        let ours = self.tables.answers_for(self.port, flow.destination());
        if ours && let Some(verdict) = icmp::echo(packet, flow, self.mac) {
            return verdict;
        }
        self.forward_error(packet, flow).unwrap_or_else(|| self.nobodys(flow))
    }
}
