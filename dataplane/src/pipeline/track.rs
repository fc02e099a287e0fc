//! Which server a packet goes to: the flow's own, or for a new flow the one that is chosen now.

use std::{io, net::IpAddr};

use ipc::id::{LcoreId, ServerId, VipId};

use super::{
    counters::Counters,
    peers::{Owner, Peers},
    verdict::DropReason,
};
use crate::{
    tables::{
        Tables,
        encap::Encap,
        flow::{Addresses, Entry, EntryId, FlowKey, FlowTable, State},
        hash::HashKey,
        server::{Server, ServerState},
        vip::Vip,
    },
    time::{Nanos, Tick},
    wire::{protocol, tcp},
};

/// How many servers are tried for a NAT flow whose reply would be taken for another flow's.
const NAT_TRIES: usize = 4;

/// The flows of one lcore.
#[derive(Debug)]
pub struct Flows {
    /// IPv4 flows.
    pub v4: FlowTable<u64>,
    /// IPv6 flows.
    pub v6: FlowTable<[u64; 4]>,
}

impl Flows {
    /// Room for `capacity` flows of each family.
    pub fn new(capacity: u32, hash_key: HashKey) -> io::Result<Self> {
        Ok(Self { v4: FlowTable::new(capacity, hash_key)?, v6: FlowTable::new(capacity, hash_key)? })
    }

    /// Number of entries in use.
    pub const fn entries(&self) -> u64 {
        self.v4.len() as u64 + self.v6.len() as u64
    }

    /// Ends what has timed out in the next `buckets` buckets of each family.
    pub fn sweep(&mut self, buckets: usize, now: Tick, tables: &Tables, counters: &Counters) {
        sweep(&mut self.v4, buckets, now, tables, counters);
        sweep(&mut self.v6, buckets, now, tables, counters);
        counters.lcore.entries.set(self.entries());
    }
}

fn sweep<A: Addresses>(
    table: &mut FlowTable<A>,
    buckets: usize,
    now: Tick,
    tables: &Tables,
    counters: &Counters,
) {
    table.sweep(buckets, now, &tables.timeouts, |entry| {
        counters.lcore.expired.add(1);
        if entry.state().is_live() {
            counters.events(entry.server()).timed_out.add(1);
        }
        forget(entry, counters);
    });
}

/// Takes a removed entry off its server's counts.
fn forget<A: Addresses>(entry: &Entry<A>, counters: &Counters) {
    let server = counters.server(entry.server());
    server.entries.subtract(1);
    if entry.state().is_live() {
        server.flows.subtract(1);
    }
}

/// Changes an entry's state and its server's count of live flows with it.
fn set_state<A: Addresses>(entry: &mut Entry<A>, state: State, counters: &Counters) {
    let server = counters.server(entry.server());
    match (entry.state().is_live(), state.is_live()) {
        (true, false) => {
            server.flows.subtract(1);
            let events = counters.events(entry.server());
            if state == State::Closed { &events.finished_rst } else { &events.finished_fin }.add(1);
        }
        (false, true) => server.flows.add(1),
        _ => {}
    }
    if entry.state() == State::Embryonic && state != State::Closed {
        server.established.add(1);
    }
    entry.set_state(state);
}

/// The state after a packet with these control bits, in either direction.
fn next_state(state: State, flags: tcp::Flags) -> State {
    match state {
        _ if flags.resets() => State::Closed,
        State::Embryonic | State::Established if flags.finishes() => State::Closing,
        State::Embryonic if !flags.opens() => State::Established,
        other => other,
    }
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To this server.
    Server(ServerId),
    /// To the client of a flow under NAT, as from this address and port.
    Client(IpAddr, u16),
    /// To this worker, which owns its flow.
    Elsewhere(LcoreId),
    /// It belongs to no flow and is for no VIP.
    Nowhere,
}

/// A packet of some flow.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<A> {
    /// The five-tuple.
    pub key: FlowKey<A>,
    /// Its hash.
    pub hash: u64,
    /// TCP's control bits.
    pub tcp: Option<tcp::Flags>,
    /// When it came.
    pub now: Nanos,
}

impl<A: Addresses> Arrival<A> {
    /// The way of this packet.
    ///
    /// An established flow stays where it is, unless its server is down. A new flow gets the server that the
    /// VIP's rule chooses now, and is entered. One whose start was not seen gets the server that every lcore
    /// would give it, and is entered as well.
    pub fn way(
        &self,
        table: &mut FlowTable<A>,
        tables: &Tables,
        counters: &Counters,
        peers: &Peers,
    ) -> Result<Way, DropReason> {
        let Some(id) = table.find(&self.key, self.hash) else {
            return self.unknown(table, tables, counters, peers);
        };
        let entry = table.entry_mut(id);
        if entry.is_reply() {
            return match tables.lookup.find(&self.key) {
                // The "client" is a server's flow with another VIP: not a flow that could be told from its replies.
                Some(_) => Err(DropReason::NatCollision),
                None => Ok(self.reply(table, id, counters)),
            };
        }
        let state = entry.state();
        let reopens = !state.is_live() && self.tcp.is_some_and(tcp::Flags::opens);
        if reopens || !tables.server(entry.server()).is_some_and(Server::is_up) {
            return self.replace(table, id, tables, counters, peers);
        }
        entry.touch(self.now.tick());
        if let Some(flags) = self.tcp {
            let next = next_state(state, flags);
            if next != state {
                set_state(entry, next, counters);
            } else if state == State::Embryonic && flags.opens() {
                counters.events(entry.server()).syn_retransmits.add(1);
            }
        }
        Ok(Way::Server(entry.server()))
    }

    /// A new life for a known five-tuple: its connection had ended, or its server is down.
    #[cold]
    fn replace(
        &self,
        table: &mut FlowTable<A>,
        id: EntryId,
        tables: &Tables,
        counters: &Counters,
        peers: &Peers,
    ) -> Result<Way, DropReason> {
        let entry = table.entry(id);
        let is_down = tables.server(entry.server()).is_some_and(|server| server.state == ServerState::Down);
        if entry.state().is_live() && !is_down {
            counters.lcore.pcc_violations.add(1); // its slot was taken away: the builder broke its promise
        }
        if let Some(entry) = table.remove(&self.key) {
            table.remove_peer(&entry);
            forget(&entry, counters);
        }
        self.unknown(table, tables, counters, peers)
    }

    /// The way of a packet whose flow has no entry here.
    fn unknown(
        &self,
        table: &mut FlowTable<A>,
        tables: &Tables,
        counters: &Counters,
        peers: &Peers,
    ) -> Result<Way, DropReason> {
        let vip = tables.lookup.find(&self.key);
        if let Owner::Other(owner) = peers.owner(&self.key, vip, tables) {
            return Ok(Way::Elsewhere(owner));
        }
        match vip {
            Some(vip) => self.enter(vip, table, tables, counters).map(Way::Server),
            None => Ok(Way::Nowhere),
        }
    }

    fn enter(
        &self,
        vip: VipId,
        table: &mut FlowTable<A>,
        tables: &Tables,
        counters: &Counters,
    ) -> Result<ServerId, DropReason> {
        let vip = tables.vip(vip).ok_or(DropReason::NotAVip)?;
        // Only what begins a flow may go anywhere. A datagram says nothing about that: it counts as a beginning.
        let begins = self.tcp.is_none_or(tcp::Flags::opens);
        let server = if begins { vip.select(self.hash, counters) } else { vip.stateless(self.hash) };
        let server = server.ok_or(DropReason::NoServer)?;
        let state = match self.tcp {
            None => State::Datagram,
            // The end of a connection that we do not know: nothing is left to keep together.
            Some(flags) if flags.resets() || flags.finishes() => return Ok(server),
            // The first packet that we see, SYN or not: one packet is no proof of a connection.
            Some(_) => State::Embryonic,
        };
        if vip.encap == Encap::Nat {
            return self.enter_nat(vip, (server, state), table, tables, counters);
        }
        match self.insert(table, &self.key, (server, state), tables, counters) {
            Some(_) => self.begin(server, counters),
            None => {
                counters.lcore.untracked.add(1);
                // Nothing remembers where this packet goes, so it goes where all the others will.
                return vip.stateless(self.hash).ok_or(DropReason::NoServer);
            }
        }
        Ok(server)
    }

    /// Enters a flow and its reply. A server whose replies would be taken for another flow's is passed over.
    fn enter_nat(
        &self,
        vip: &Vip,
        (first, state): (ServerId, State),
        table: &mut FlowTable<A>,
        tables: &Tables,
        counters: &Counters,
    ) -> Result<ServerId, DropReason> {
        let candidates = std::iter::once(first).chain(vip.selector.others(self.hash, first));
        for id in candidates.take(NAT_TRIES) {
            let server = tables.server(id).ok_or(DropReason::NoServer)?;
            let reply = reply_key(&self.key, server).ok_or(DropReason::NoServer)?;
            if table.find(&reply, reply.hash(tables.hash_key)).is_none() {
                let flow = self.insert(table, &self.key, (id, state), tables, counters);
                let flow = flow.ok_or(DropReason::FlowTableFull)?;
                self.begin(id, counters);
                let reply_id = self.insert(table, &reply, (id, state), tables, counters);
                // Making room for the reply may have cost the flow itself.
                return match reply_id {
                    Some(reply_id) if table.entry(flow).is(&self.key) => {
                        table.tie(flow, reply_id);
                        Ok(id)
                    }
                    _ => {
                        table.remove(&reply);
                        if let Some(entry) = table.remove(&self.key) {
                            forget(&entry, counters);
                        }
                        Err(DropReason::FlowTableFull)
                    }
                };
            }
        }
        Err(DropReason::NatCollision)
    }

    fn insert(
        &self,
        table: &mut FlowTable<A>,
        key: &FlowKey<A>,
        what: (ServerId, State),
        tables: &Tables,
        counters: &Counters,
    ) -> Option<EntryId> {
        let inserted =
            table.insert(key, key.hash(tables.hash_key), what, self.now.tick(), &tables.timeouts).ok()?;
        if let Some(evicted) = &inserted.evicted {
            table.remove_peer(evicted);
            counters.lcore.evicted.add(1);
            if evicted.state().is_live() {
                counters.events(evicted.server()).evicted.add(1);
            }
            forget(evicted, counters);
        }
        Some(inserted.id)
    }

    /// A server's reply, whose entry is `id`: brings its flow up to date.
    fn reply(&self, table: &mut FlowTable<A>, id: EntryId, counters: &Counters) -> Way {
        let Some(flow) = table.entry(id).peer() else { return Way::Nowhere };
        let entry = table.entry_mut(flow);
        entry.touch(self.now.tick());
        if let Some(flags) = self.tcp {
            let state = entry.state();
            // A server's packet ends a flow, but only the client's establishes it.
            let next = next_state(state, flags);
            if !next.is_live() && next != state {
                set_state(entry, next, counters);
            }
        }
        let key = entry.key();
        Way::Client(key.destination(), key.destination_port())
    }

    /// Counts a flow that was entered.
    fn begin(&self, server: ServerId, counters: &Counters) {
        counters.lcore.created.add(1);
        let events = counters.events(server);
        let before = events.last_begin.get();
        events.begin_gap.set(if before == 0 { 0 } else { self.now.0.saturating_sub(before) });
        events.last_begin.set(self.now.0);
        let server = counters.server(server);
        server.created.add(1);
        server.entries.add(1);
        server.flows.add(1);
    }
}

/// The five-tuple of the replies that `server` sends to the flow `key`.
fn reply_key<A: Addresses>(key: &FlowKey<A>, server: &Server) -> Option<FlowKey<A>> {
    let mut addresses = key.addresses.swapped();
    let bytes = bytemuck::bytes_of_mut(&mut addresses);
    let half = bytes.len() / 2;
    match server.address {
        std::net::IpAddr::V4(address) if half == 4 => bytes[..4].copy_from_slice(&address.octets()),
        std::net::IpAddr::V6(address) if half == 16 => bytes[..16].copy_from_slice(&address.octets()),
        _ => return None,
    }
    let has_ports = matches!(key.protocol, protocol::TCP | protocol::UDP);
    let mut ports = key.ports.rotate_left(16);
    if let Some(port) = server.port
        && has_ports
    {
        ports = ports & 0xffff_0000 | u32::from(u16::from_le_bytes(port.to_be_bytes()));
    }
    Some(FlowKey { addresses, ports, protocol: key.protocol })
}
