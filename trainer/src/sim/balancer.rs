//! A balancer: the data plane's selection, its counters and its samples, without its packets.
//!
//! Servers are chosen by the code that ships (`dataplane::tables::select`), by this balancer's own live flows. What a
//! policy gets to see are the records of the region, filled from the reservoirs that ship with the kinds of samples
//! that the data plane takes.

use std::{cell::Cell, net::Ipv4Addr};

use dataplane::tables::select::{Candidate, Identity, Load, Rings, Select, Selector};
use ipc::{
    id::{LcoreId, ServerId, VipId},
    region::{ServerState, ServerStatistics, StatisticsFrame, VipStatistics},
    reservoir::{Acceptance, Bank, Decay, Settings},
    sample::{Kind, Kinds, Sample},
};

use super::{
    ledger::{Cost, Ledger},
    rng::{Purpose, Stream},
    server::{Server, ServerSpec},
    watch::Watches,
};

/// The one VIP of a run.
const VIP: VipId = VipId(0);
/// Bytes of a client's packets: SYN, request, FIN. The request's payload is the last number.
const SYN_BYTES: u64 = 60;
const REQUEST_BYTES: u64 = 52 + PAYLOAD;
const FIN_BYTES: u64 = 52;
const PAYLOAD: u64 = 300;

/// How a flow left its server's count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// By FIN.
    Finished,
    /// Nothing came any more.
    Expired,
    /// To another server, as its own is down.
    Moved,
}

/// A flow as its balancer knows it.
#[derive(Clone, Copy, Debug)]
pub struct Tracked {
    /// Its server.
    pub server: usize,
    /// When its SYN came.
    pub started: u64,
    /// Its place among the watched flows, if it is one.
    pub place: Option<u32>,
}

/// Live flows of each server, as the selection asks for them.
#[derive(Clone, Debug)]
struct OwnLoad {
    flows: Vec<u64>,
    turns: Cell<u64>,
}

impl Load for OwnLoad {
    #[inline]
    fn live_flows(&self, server: ServerId) -> u64 {
        self.flows[server.index()]
    }

    fn take_turn(&self, _: VipId) -> u64 {
        self.turns.replace(self.turns.get() + 1)
    }

    fn lcore(&self) -> LcoreId {
        LcoreId(0)
    }
}

/// The same, for a choice that is not made.
#[derive(Debug)]
struct Glance<'a>(&'a OwnLoad);

impl Load for Glance<'_> {
    fn live_flows(&self, server: ServerId) -> u64 {
        self.0.live_flows(server)
    }

    fn take_turn(&self, _: VipId) -> u64 {
        self.0.turns.get()
    }

    fn lcore(&self) -> LcoreId {
        self.0.lcore()
    }
}

/// A balancer of a run.
#[derive(Debug)]
pub struct Balancer {
    rule: Select,
    selector: Selector,
    rings: Rings,
    generation: u64,
    load: OwnLoad,
    /// Counters, states and weights of each server, in the form of the region, and what was said of its samples last.
    servers: Vec<ServerStatistics>,
    /// Which kinds of each server have samples that nothing was said of yet.
    news: Vec<[bool; Kind::COUNT]>,
    /// When each server was given a flow last.
    last_begin: Vec<Option<u64>>,
    packets: u64,
    bytes: u64,
    bank: Bank,
    unseen: [bool; Kind::COUNT],
    watches: Watches,
    /// How it would choose by other weights.
    beside: Option<Selector>,
    costs: Vec<Cost>,
    ledger: Ledger,
    /// Up to when watched flows have said how long they have lasted.
    heard_until: u64,
    frame: StatisticsFrame,
    /// The VIP's totals in the frame before, and when that was.
    before: Option<(u64, VipStatistics)>,
}

impl Balancer {
    /// A balancer before these servers, with the weights that they are configured with. `rings` are those of another one
    /// before the same servers, if there is one: all have the same, and they take long to fill.
    pub fn new(rule: Select, servers: &[ServerSpec], seed: u64, number: u64, rings: Rings) -> Self {
        let seed = Stream::numbered(seed, Purpose::Reservoirs, number).bits();
        let settings = Settings {
            seed,
            acceptance: [Acceptance::ALWAYS; Kind::COUNT],
            decay: Decay::per_second(0.9).expect("0.9 is a share"),
            servers: servers.len(),
        };
        let record = |(id, spec): (u32, &ServerSpec)| {
            let state = if spec.present { ServerState::Active } else { ServerState::Draining };
            ServerStatistics {
                configured_weight: spec.weight,
                weight: spec.weight,
                ..ServerStatistics::new(id, state)
            }
        };
        let mut balancer = Self {
            rule,
            selector: Selector::new(rule, VIP, Vec::new(), &mut Rings::default()),
            rings,
            generation: 0,
            load: OwnLoad { flows: vec![0; servers.len()], turns: Cell::new(0) },
            servers: (0..).zip(servers).map(record).collect(),
            news: vec![[false; Kind::COUNT]; servers.len()],
            last_begin: vec![None; servers.len()],
            packets: 0,
            bytes: 0,
            bank: Bank::new(settings),
            unseen: [false; Kind::COUNT],
            watches: Watches::default(),
            beside: None,
            costs: Vec::new(),
            ledger: Ledger::default(),
            heard_until: 0,
            frame: StatisticsFrame::default(),
            before: None,
        };
        balancer.rebuild();
        balancer
    }

    /// The same, without samples of these kinds.
    #[must_use]
    pub fn without(mut self, unseen: &[Kind]) -> Self {
        unseen.iter().for_each(|kind| self.unseen[kind.index()] = true);
        self
    }

    /// The rings of its servers.
    pub const fn rings(&self) -> &Rings {
        &self.rings
    }

    /// What it knows of each server: counters, states, weights. Samples are in [`Balancer::observe`] only.
    pub fn servers(&self) -> &[ServerStatistics] {
        &self.servers
    }

    /// Live flows of a server, as far as this balancer knows.
    pub fn live_flows(&self, server: usize) -> u64 {
        self.load.flows[server]
    }

    /// Whether a server may be given new flows.
    pub fn is_active(&self, server: usize) -> bool {
        self.servers[server].state() == Some(ServerState::Active)
    }

    /// The server for a new flow; `None`: nobody takes any.
    #[inline]
    pub fn choose(&self, hash: u64) -> Option<usize> {
        self.selector.select(hash, &self.load).map(ServerId::index)
    }

    /// From now on it is written down what its choices cost, and what they would by these weights, until servers come or go.
    pub fn compare(&mut self, weights: &[f64], costs: Vec<Cost>) {
        self.costs = costs;
        self.beside = Some(self.selector.reweighed(|ServerId(id)| weights.get(id as usize).copied()));
    }

    /// What was written down since the last time.
    pub fn take_ledger(&mut self) -> Ledger {
        std::mem::take(&mut self.ledger)
    }

    /// Writes the choice of a server for a flow down, before the flow is there.
    pub(super) fn account(&mut self, servers: &[Server], hash: u64, own: usize) {
        let Some(beside) = &self.beside else { return };
        if let Some(ServerId(beside)) = beside.select(hash, &Glance(&self.load)) {
            let open = |server: usize| self.servers[server].state() == Some(ServerState::Active);
            self.ledger.add(servers, &self.costs, &self.load.flows, open, (own, beside as usize), hash);
        }
    }

    /// A server is active, draining or down from now on.
    pub fn set_state(&mut self, server: usize, state: ServerState) {
        if self.servers[server].state() != Some(state) {
            self.servers[server].state = state as u32;
            self.rebuild();
        }
    }

    /// The operator takes a server for something else.
    pub fn set_configured_weight(&mut self, server: usize, weight: f64) {
        self.servers[server].configured_weight = weight;
        self.servers[server].weight = weight;
        self.rebuild();
    }

    /// Puts weights in force, one for each server. What is not a number above zero leaves a weight as it is: such
    /// weights are for the guard to mend.
    pub fn set_weights(&mut self, weights: &[f64]) {
        let mut is_changed = false;
        for (server, &weight) in self.servers.iter_mut().zip(weights) {
            if weight.is_finite() && weight > 0.0 && weight != server.weight {
                server.weight = weight;
                is_changed = true;
            }
        }
        if is_changed {
            self.generation += 1;
            self.reweigh();
        }
    }

    /// A new generation of the selection.
    fn rebuild(&mut self) {
        self.generation += 1;
        self.beside = None;
        let active = |server: &&ServerStatistics| server.state() == Some(ServerState::Active);
        let candidate = |server: &ServerStatistics| Candidate {
            identity: Identity { address: Ipv4Addr::from(0x0a00_0001 + server.server).into(), port: None },
            server: ServerId(server.server),
            weight: server.configured_weight,
        };
        let candidates = self.servers.iter().filter(active).map(candidate).collect();
        self.rings.begin();
        self.selector = Selector::new(self.rule, VIP, candidates, &mut self.rings);
        self.rings.end();
        if self.servers.iter().any(|server| server.weight != server.configured_weight) {
            self.reweigh();
        }
    }

    /// The same servers, by the weights in force.
    fn reweigh(&mut self) {
        let weight = |ServerId(id)| self.servers.get(id as usize).map(|server| server.weight);
        self.selector = self.selector.reweighed(weight);
    }

    /// A SYN comes, and its flow is given to a server.
    pub fn begin(&mut self, now: u64, flow: u32, hash: u64, server: usize) -> Tracked {
        self.load.flows[server] += 1;
        self.servers[server].created += 1;
        self.packet(server, SYN_BYTES);
        let place = self.watches.begin(now, hash, flow, server as u32);
        let last = self.last_begin[server].replace(now);
        if let (Some(_), Some(last)) = (place, last) {
            self.sample(now, server, Kind::FlowGap, now - last);
        }
        Tracked { server, started: now, place }
    }

    /// The client's SYN comes again.
    pub fn repeat(&mut self, server: usize) {
        self.servers[server].syn_retransmits += 1;
        self.packet(server, SYN_BYTES);
    }

    /// The client's first ACK comes, with its request. `is_first`: the SYN came once only.
    pub fn request(&mut self, now: u64, flow: &Tracked, is_first: bool) {
        self.servers[flow.server].established += 1;
        self.packet(flow.server, REQUEST_BYTES);
        if flow.place.is_some() {
            self.sample(now, flow.server, Kind::PacketGap, now - flow.started);
            if is_first {
                self.sample(now, flow.server, Kind::Handshake, now - flow.started);
            }
        }
    }

    /// The client acknowledges the answer to what it asked at `asked`, with a FIN.
    pub fn answered(&mut self, now: u64, flow: &Tracked, asked: u64) {
        self.packet(flow.server, FIN_BYTES);
        if let Some(place) = flow.place {
            self.sample(now, flow.server, Kind::PacketGap, now - asked);
            self.sample(now, flow.server, Kind::RequestLatency, now - asked);
            self.hear_one(place, now);
            self.sample(now, flow.server, Kind::FlowCompletion, now - flow.started);
            self.sample(now, flow.server, Kind::FlowBytes, PAYLOAD);
        }
    }

    /// A flow no longer counts; returns which other flow has its place among the watched ones now, if any.
    pub fn leave(&mut self, flow: &Tracked, how: Leave) -> Option<u32> {
        self.load.flows[flow.server] -= 1;
        let server = &mut self.servers[flow.server];
        match how {
            Leave::Finished => server.finished_fin += 1,
            Leave::Expired => server.finished_timeout += 1,
            Leave::Moved => {}
        }
        flow.place.and_then(|place| self.watches.end(place))
    }

    /// The statistics of this moment, as the data plane would publish them; of samples, what is said of these kinds, as if
    /// there were no others.
    pub fn observe(&mut self, now: u64, kinds: Kinds) -> &StatisticsFrame {
        for place in 0..self.watches.live().len() {
            self.hear_one(place as u32, now);
        }
        self.say(now, kinds);
        self.heard_until = now;
        let vip = self.vip(now);
        self.frame.begin(now, self.generation);
        let mut entry = self.frame.vip(vip);
        for (server, &open) in self.servers.iter().zip(&self.load.flows) {
            entry.server(ServerStatistics { open, ..*server });
        }
        &self.frame
    }

    /// What the reservoirs say. Nothing but the age changes while no sample comes, so only those are asked that had one.
    fn say(&mut self, now: u64, kinds: Kinds) {
        for (server, news) in self.servers.iter_mut().zip(&mut self.news) {
            for kind in Kind::ALL {
                let (said, news) = (&mut server.kinds[kind.index()], &mut news[kind.index()]);
                if !kinds.contains(kind) {
                    *news |= said.count > 0;
                    *said = None.into();
                } else if std::mem::take(news) {
                    *said = self.bank.statistics(ServerId(server.server), kind, now).into();
                } else if said.count > 0 {
                    said.age += now - self.heard_until;
                }
            }
        }
    }

    /// The VIP's record, with rates since the one before.
    fn vip(&mut self, now: u64) -> VipStatistics {
        let mut vip = VipStatistics::new(VIP.0);
        (vip.packets, vip.bytes) = (self.packets, self.bytes);
        vip.created = self.servers.iter().map(|server| server.created).sum();
        vip.open = self.load.flows.iter().sum();
        if let Some((t, before)) = self.before.replace((now, vip)) {
            let seconds = now.saturating_sub(t).max(1) as f64 * 1e-9;
            vip.packet_rate = (vip.packets - before.packets) as f64 / seconds;
            vip.byte_rate = (vip.bytes - before.bytes) as f64 / seconds;
            vip.flow_rate = (vip.created - before.created) as f64 / seconds;
        }
        vip
    }

    /// A watched flow says how long it has lasted, for every visit since it was asked last.
    fn hear_one(&mut self, place: u32, now: u64) {
        let Some(&watched) = self.watches.live().get(place as usize) else { return };
        for t in watched.visits(self.heard_until..now) {
            self.sample(t, watched.server as usize, Kind::FlowDuration, t - watched.started);
        }
    }

    fn sample(&mut self, t: u64, server: usize, kind: Kind, value: u64) {
        if self.unseen[kind.index()] {
            return;
        }
        self.news[server][kind.index()] = true;
        self.bank.offer(&Sample { t, value, vip: VIP, server: ServerId(server as u32), kind });
    }

    fn packet(&mut self, server: usize, bytes: u64) {
        self.packets += 1;
        self.bytes += bytes;
        self.servers[server].packets += 1;
        self.servers[server].bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn balancer(rule: Select, weights: &[f64]) -> Balancer {
        let servers: Vec<_> =
            weights.iter().map(|&weight| ServerSpec { weight, ..ServerSpec::default() }).collect();
        Balancer::new(rule, &servers, 1, 0, Rings::default())
    }

    #[test]
    fn chosen_server_is_the_shipping_rules() {
        let mut balancer = balancer(Select::Sed, &[1.0, 2.0]);
        let given: Vec<usize> = (0..6)
            .map(|flow| {
                let server = balancer.choose(u64::from(flow)).unwrap();
                balancer.begin(0, flow, u64::from(flow) << 8, server);
                server
            })
            .collect();
        // By (flows + 1) / weight, ties to fewer flows.
        assert_eq!(given, [1, 0, 1, 1, 0, 1]);
        balancer.set_state(1, ServerState::Draining);
        assert_eq!(balancer.choose(9), Some(0));
        balancer.set_state(0, ServerState::Down);
        assert_eq!(balancer.choose(9), None);
    }

    #[test]
    fn weights_that_make_no_sense_change_nothing() {
        let mut balancer = balancer(Select::Sed, &[1.0, 2.0, 3.0, 4.0]);
        balancer.set_weights(&[f64::NAN, -1.0, 0.0, 5.0]);
        assert_eq!(balancer.servers().iter().map(|s| s.weight).collect::<Vec<_>>(), [1.0, 2.0, 3.0, 5.0]);
    }

    #[test]
    fn kinds_that_a_balancer_does_not_see_are_missing_and_no_others() {
        let mut balancer = balancer(Select::Lsq, &[1.0]).without(&[Kind::RequestLatency]);
        let flow = balancer.begin(0, 0, 0, 0);
        balancer.request(MS, &flow, true);
        balancer.answered(3 * MS, &flow, MS);
        let server = balancer.observe(5 * MS, Kinds::ALL).vips().next().unwrap().1[0];
        let seen: Vec<_> = Kind::ALL.into_iter().filter(|&kind| server.kind(kind).is_some()).collect();
        assert_eq!(seen, [Kind::FlowCompletion, Kind::Handshake, Kind::PacketGap, Kind::FlowBytes]);
    }

    #[test]
    fn kinds_that_were_not_asked_for_are_there_when_they_are() {
        let some = Kinds::of(&[Kind::Handshake]);
        let seen = |asked: [Kinds; 3]| {
            let mut balancer = balancer(Select::Lsq, &[1.0]);
            let flow = balancer.begin(0, 0, 0, 0);
            balancer.request(MS, &flow, true);
            asked.map(|kinds| {
                let now = balancer.heard_until + 5 * MS;
                let server = balancer.observe(now, kinds).vips().next().unwrap().1[0];
                Kind::ALL.map(|kind| server.kind(kind))
            })
        };
        let all = seen([Kinds::ALL; 3]);
        let [first, second, third] = seen([Kinds::ALL, some, Kinds::ALL]);
        assert_eq!((first, third), (all[0], all[2]));
        for kind in Kind::ALL {
            let expected = all[1][kind.index()].filter(|_| some.contains(kind));
            assert_eq!(second[kind.index()], expected, "{}", kind.name());
        }
        assert!(all[1][Kind::PacketGap.index()].is_some() && second[Kind::Handshake.index()].is_some());
    }

    #[test]
    fn policy_sees_what_the_data_plane_would_have_measured() {
        let mut balancer = balancer(Select::Lsq, &[1.0, 1.0]);
        let flow = balancer.begin(100 * MS, 0, 0, 1);
        balancer.request(102 * MS, &flow, true);
        let other = balancer.begin(110 * MS, 1, 1 << 8, 1);
        let mut seen = |now| -> ServerStatistics {
            let frame = balancer.observe(now, Kinds::ALL);
            assert_eq!(frame.header().t, now);
            frame.vips().next().unwrap().1[1]
        };
        let server = seen(600 * MS);
        assert_eq!((server.open, server.created, server.established), (2, 2, 1));
        let mean = |server: &ServerStatistics, kind| server.kind(kind).map(|said| said.mean as u64 / MS);
        assert_eq!(mean(&server, Kind::Handshake), Some(2));
        assert_eq!(mean(&server, Kind::FlowGap), Some(10));
        // Places 0 and 1 are visited when rounds begin: at 250 and 500 ms, of flows from 100 and 110 ms.
        let lasted = server.kind(Kind::FlowDuration).unwrap();
        assert_eq!((lasted.count, lasted.mean as u64 / MS), (4, 270));
        assert_eq!(server.kind(Kind::FlowCompletion), None);

        balancer.answered(700 * MS, &flow, 102 * MS);
        assert_eq!(balancer.leave(&flow, Leave::Finished), Some(1), "the other flow moves up");
        let other = Tracked { place: Some(0), ..other };
        assert_eq!(balancer.leave(&other, Leave::Expired), None);
        let frame = balancer.observe(1200 * MS, Kinds::ALL);
        let (vip, servers) = frame.vips().next().unwrap();
        let server = &servers[1];
        assert_eq!((server.open, server.finished_fin, server.finished_timeout), (0, 1, 1));
        assert_eq!(mean(server, Kind::FlowCompletion), Some(600));
        assert_eq!(mean(server, Kind::RequestLatency), Some(598));
        assert_eq!(server.kind(Kind::FlowDuration).unwrap().count, 4, "no visit between 600 and 700 ms");
        assert_eq!((vip.open, vip.created, vip.packets), (0, 2, 4));
        assert!((vip.packet_rate - 1.0 / 0.6).abs() < 1e-9 && vip.flow_rate == 0.0);
    }
}
