//! The control thread: builds and publishes generations, resolves neighbours, takes new configurations.
//!
//! It never touches a packet. Workers send it news through their queues; it answers with frames to
//! transmit and with new generations, which take effect without a lock.

mod announce;
mod directory;
mod neighbors;
mod totals;
mod weights;

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    thread,
    time::Duration,
};

use dataplane::{
    pipeline::{Notice, counters::Counters},
    tables::{
        Builder, Tables,
        builder::BuildError,
        route::{NextHop, Routes},
        server::{Hop, ServerState},
        spec::Spec,
    },
    time::{Clock, Nanos},
    wire::{Mac, arp::Arp, ndp},
    worker::{Handle, InjectedFrame},
};
use ipc::{
    id::{PortId, ServerId},
    snapshot::{self, Publisher, Reader},
};

use self::{announce::Announcer, neighbors::NeighborCache};
pub use self::{
    directory::{Directory, ServerLabel, SharedWeight, VipLabel},
    totals::{Totals, live_flows},
    weights::{VipWeights, Weights},
};
use crate::{
    config::Config,
    health::{Board, Counts, HealthStatus, Prober},
    measure::Findings,
    spec,
};

/// Between two looks for server slots that nothing refers to any more.
const RELEASE_EVERY_NANOS: u64 = 1_000_000_000;

/// Between two rounds in which each worker is told the flows of the others.
const EXCHANGE_EVERY_NANOS: u64 = 2_000_000;

/// Most addresses that are announced in one round: questions for neighbours share the queue.
const ANNOUNCEMENTS_PER_ROUND: usize = 8;

/// Between two rounds.
const ROUND: Duration = Duration::from_millis(1);

/// The same while some worker does not use new weights yet: when the last one does is measured.
const SETTLING: Duration = Duration::from_micros(50);

/// What the control thread owns.
#[derive(Debug)]
pub struct Control {
    config: Config,
    macs: Vec<Mac>,
    spec: Spec,
    builder: Builder,
    routes: Routes,
    neighbors: NeighborCache,
    announcer: Announcer,
    publisher: Publisher<Tables>,
    workers: Vec<Handle>,
    directory: Arc<Directory>,
    health: Board,
    prober: Option<Prober>,
    released: Nanos,
    exchanged: Nanos,
    /// When the weights were observed that some worker does not use yet.
    under_way: Option<Nanos>,
}

impl Control {
    /// Builds the first generation; returns a reader of the generations for each of `workers` workers.
    ///
    /// `macs` are the Ethernet addresses of the ports, in the order of the configuration.
    pub fn new(
        config: Config,
        macs: Vec<Mac>,
        workers: usize,
        now: Nanos,
    ) -> Result<(Self, Vec<Reader<Tables>>), BuildError> {
        let mut health = Board::default();
        health.configure(&config);
        let spec = spec::from_config(&config, &macs, &health);
        let mut builder = Builder::default();
        let mut neighbors = NeighborCache::default();
        let routes = routes(&spec);
        configure_neighbors(&mut neighbors, &config, &spec, &routes, now);
        neighbors.take_changed();
        let tables = builder.build(&spec, &neighbors.table())?;
        let mut announcer = Announcer::default();
        announcer.configure(&config);
        let mut directory = Directory::default();
        directory.update(&config, &builder, &tables, &[]);
        let (publisher, readers) = snapshot::channel(Box::new(tables), workers);
        let control = Self {
            config,
            macs,
            spec,
            builder,
            routes,
            neighbors,
            announcer,
            publisher,
            workers: Vec::new(),
            directory: Arc::new(directory),
            health,
            prober: None,
            released: now,
            exchanged: now,
            under_way: None,
        };
        Ok((control, readers))
    }

    /// Takes the workers' handles, once they exist.
    pub fn attach(&mut self, workers: Vec<Handle>) {
        self.workers = workers;
    }

    /// Takes the thread that carries out health checks. Without one, nothing is sent to the servers.
    pub fn check_health(&mut self, prober: Prober) {
        prober.set_checks(self.health.checks());
        self.prober = Some(prober);
    }

    /// A round of the control thread: [`Control::tick`], and what there is between it and the policy thread.
    pub fn round(&mut self, findings: &Findings, clock: Clock) {
        self.tick(clock.now());
        findings.follow(&self.directory);
        self.take_weights(findings, clock);
    }

    /// Waits for the next round, or until someone wakes this thread: see [`Findings::wake`].
    pub fn pause(&self) {
        thread::park_timeout(if self.under_way.is_some() { SETTLING } else { ROUND });
    }

    /// One round: hears the workers' news, asks for neighbours, publishes what changed, frees what is retired.
    pub fn tick(&mut self, now: Nanos) {
        self.hear(now);
        if self.workers.len() > 1 && now.0.saturating_sub(self.exchanged.0) >= EXCHANGE_EVERY_NANOS {
            self.exchanged = now;
            self.exchange_live_flows();
        }
        for hop in self.neighbors.questions(now) {
            self.ask(hop);
        }
        self.announce(now);
        let health_changed = self.examine(now);
        if health_changed {
            self.spec = spec::from_config(&self.config, &self.macs, &self.health);
        }
        if self.neighbors.take_changed() || health_changed {
            self.publish();
        }
        self.publisher.reclaim();
        if now.0.saturating_sub(self.released.0) > RELEASE_EVERY_NANOS {
            self.released = now;
            self.release();
        }
    }

    /// Takes a new configuration, whole or not at all: on an error nothing has changed.
    ///
    /// The caller has made sure that `config` changes nothing that only a restart can change.
    pub fn reload(&mut self, config: Config, now: Nanos) -> Result<(), BuildError> {
        let mut health = self.health.clone();
        health.configure(&config);
        let spec = spec::from_config(&config, &self.macs, &health);
        let tables = self.builder.build(&spec, &self.neighbors.table())?;
        self.config = config;
        self.spec = spec;
        self.health = health;
        if let Some(prober) = &self.prober {
            prober.set_checks(self.health.checks());
        }
        Arc::make_mut(&mut self.directory).update(&self.config, &self.builder, &tables, &self.workers);
        self.publisher.publish(Box::new(tables));
        configure_neighbors(&mut self.neighbors, &self.config, &self.spec, &self.routes, now);
        self.announcer.configure(&self.config);
        Ok(())
    }

    /// Puts learned weights in force, over the configured ones, as one new generation, and remembers them for all later
    /// ones. Moves no established flow.
    ///
    /// Ignored are identifiers that are unknown or mean another server by now, and weights that are not finite and above
    /// zero. A server with a configured weight of zero gets no flows, whatever is learned.
    pub fn weigh(&mut self, weights: &Weights) {
        for VipWeights { vip, servers } in &weights.vips {
            let Some(servers) = servers else {
                self.builder.unlearn(*vip);
                continue;
            };
            let meant = |id| {
                let server = self.directory.server(id);
                server.is_some_and(|server| server.vip_id == *vip && server.born <= weights.generation)
            };
            self.builder.learn(*vip, servers.iter().copied().filter(|&(id, _)| meant(id)));
        }
        if weights.vips.is_empty() {
            return;
        }
        let vips = || weights.vips.iter().map(|weights| weights.vip);
        let tables = self.builder.reweigh(self.publisher.current(), vips());
        self.directory.reweigh(&tables, vips());
        self.publisher.publish(Box::new(tables));
    }

    /// Puts in force what the policy thread has put into the mailbox, and tells how long it took from the observation
    /// until every worker used the weights.
    fn take_weights(&mut self, findings: &Findings, clock: Clock) {
        if let Some(weights) = findings.take_weights() {
            self.weigh(&weights);
            self.under_way.get_or_insert(weights.t);
        }
        if self.publisher.settled()
            && let Some(observed) = self.under_way.take()
        {
            findings.weights_in_force(observed, clock.now());
        }
    }

    /// Learns whether the link of each port is up, in the order of the configuration.
    pub fn links(&mut self, up: impl Iterator<Item = bool>) {
        for (port, up) in (0u16..).map(PortId).zip(up) {
            self.announcer.link(port, up);
        }
    }

    /// The configuration in force.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The generation in force.
    pub fn tables(&self) -> &Tables {
        self.publisher.current()
    }

    /// Names of VIPs and servers for people and metrics, with their state in this generation.
    pub const fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Whether every worker works with the newest generation.
    pub fn settled(&self) -> bool {
        self.publisher.settled()
    }

    /// VIPs that no active server can be reached for, by name.
    pub fn unreachable_vips(&self) -> impl Iterator<Item = &str> {
        let tables = self.tables();
        self.directory.vips.iter().filter(move |vip| vip.configured).filter_map(move |vip| {
            let mut servers = tables.servers.iter().flatten().filter(|server| server.vip == vip.id);
            let reachable = servers
                .any(|server| server.state == ServerState::Active && matches!(server.hop, Hop::Link(_)));
            (!reachable).then_some(vip.name.as_str())
        })
    }

    /// What the health checks say.
    pub fn health(&self) -> HealthStatus {
        self.health.status()
    }

    /// Servers and gateways that do not answer ARP or NDP.
    pub fn unresolved(&self) -> impl Iterator<Item = IpAddr> {
        self.neighbors.missing()
    }

    fn hear(&mut self, now: Nanos) {
        for worker in &self.workers {
            while let Some(notice) = worker.next_notice() {
                match notice {
                    Notice::Wanted(hop) => self.neighbors.want(hop, now),
                    Notice::Seen { port, address, mac } if self.routes.is_on_link(port, address) => {
                        self.neighbors.seen(NextHop { port, address }, mac, now);
                    }
                    Notice::Seen { .. } => {} // not on that link: a mistake or an attempt
                }
            }
        }
    }

    /// Tells each worker how many live flows the others have on the servers that are chosen by that.
    fn exchange_live_flows(&self) {
        let lcores: Vec<&Counters> = self.workers.iter().map(|worker| &*worker.counters).collect();
        Counters::exchange_live_flows(&lcores, self.publisher.current().servers_by_load());
    }

    /// Takes the results of health checks, active and passive; returns whether any server's state changed.
    fn examine(&mut self, now: Nanos) -> bool {
        let mut changed = false;
        if let Some(prober) = &mut self.prober {
            while let Some((check, outcome)) = prober.next_report() {
                changed |= self.health.report(&check, outcome, now);
            }
        }
        let (builder, workers) = (&self.builder, &self.workers);
        let counts = || builder.servers().map(|(id, &key)| (key, counts(id, workers)));
        changed | self.health.tick(now, counts)
    }

    /// Asks who has the address of `hop`, from our own address in that prefix.
    fn ask(&self, hop: NextHop) {
        let port = &self.spec.ports[hop.port.index()];
        let source =
            port.addresses.iter().find(|prefix| prefix.contains(&hop.address)).map(ipnet::IpNet::addr);
        let frame = match (source, hop.address) {
            (Some(IpAddr::V4(source)), IpAddr::V4(target)) => {
                InjectedFrame::new(hop.port, &Arp::request_frame(port.mac, source, target))
            }
            (Some(IpAddr::V6(source)), IpAddr::V6(target)) => {
                InjectedFrame::new(hop.port, &ndp::solicitation_frame(port.mac, source, target))
            }
            _ => None,
        };
        if let (Some(frame), Some(worker)) = (frame, self.workers.first()) {
            worker.inject(frame); // lost when the worker is far behind: asked again in a moment
        }
    }

    /// Tells neighbours the addresses that are due, a few of them in a round.
    fn announce(&mut self, now: Nanos) {
        let Some(worker) = self.workers.first() else { return };
        for _ in 0..ANNOUNCEMENTS_PER_ROUND {
            let Some((port, address)) = self.announcer.due(now) else { return };
            let mac = self.spec.ports[port.index()].mac;
            let frame = match address {
                IpAddr::V4(own) => InjectedFrame::new(port, &Arp::request_frame(mac, own, own)),
                IpAddr::V6(own) => {
                    let to_all = ndp::advertisement_frame(mac, own, mac, Ipv6Addr::UNSPECIFIED);
                    InjectedFrame::new(port, &to_all)
                }
            };
            if frame.is_some_and(|frame| !worker.inject(frame)) {
                return; // the worker is behind: the same one in the next round
            }
            self.announcer.sent(now);
        }
    }

    /// Publishes a generation of the same configuration with what is known of the neighbours now.
    fn publish(&mut self) {
        match self.builder.build(&self.spec, &self.neighbors.table()) {
            Ok(tables) => {
                Arc::make_mut(&mut self.directory).update(
                    &self.config,
                    &self.builder,
                    &tables,
                    &self.workers,
                );
                self.publisher.publish(Box::new(tables));
            }
            Err(error) => tracing::error!(%error, "the tables stay as they are"),
        }
    }

    /// Gives up the slots of removed servers that no flow refers to any more.
    fn release(&mut self) {
        if !self.publisher.settled() {
            return;
        }
        let workers = &self.workers;
        let unused =
            |id: ServerId| workers.iter().all(|worker| worker.counters.server(id).entries.get() == 0);
        let before = self.builder.servers().count();
        self.builder.release(&self.spec, unused);
        if self.builder.servers().count() != before {
            self.publish();
        }
    }
}

/// What passive checks go by, over all lcores.
fn counts(id: ServerId, workers: &[Handle]) -> Counts {
    let none = Counts { id: id.0, created: 0, established: 0 };
    workers.iter().fold(none, |sum, worker| {
        let server = worker.counters.server(id);
        Counts {
            created: sum.created + server.created.get(),
            established: sum.established + server.established.get(),
            ..sum
        }
    })
}

fn routes(spec: &Spec) -> Routes {
    let ports = (0u16..).map(PortId).zip(&spec.ports);
    Routes::new(ports.map(|(id, port)| (id, &port.addresses[..], &port.gateways[..])))
}

/// Tells the cache the static entries and what is always needed: gateways and the ways to all servers.
fn configure_neighbors(cache: &mut NeighborCache, config: &Config, spec: &Spec, routes: &Routes, now: Nanos) {
    let fixed = config
        .neighbors
        .iter()
        .filter_map(|neighbor| Some((routes.next_hop(neighbor.address)?, neighbor.mac)));
    let gateways = (0u16..)
        .map(PortId)
        .zip(&spec.ports)
        .flat_map(|(port, spec)| spec.gateways.iter().map(move |&address| NextHop { port, address }));
    let servers =
        spec.vips.iter().flat_map(|vip| &vip.servers).filter_map(|server| routes.next_hop(server.address));
    cache.configure(fixed, gateways.chain(servers), now);
}

#[cfg(test)]
mod tests {
    use dataplane::{
        ports::{Packet as _, memory::MemoryQueue},
        tables::{hash::HashKey, select::Load},
        time::Clock,
        worker::{Parts, Worker},
    };
    use ipc::id::{LcoreId, VipId};

    use super::*;

    const MAC: Mac = Mac([2; 6]);

    /// The control thread on a configuration with one port, and workers that it is attached to.
    fn start(text: &str, workers: usize) -> (Control, Vec<Worker<MemoryQueue>>, Vec<Handle>) {
        let config = Config::parse(text, "test.toml").unwrap().config;
        let (mut control, readers) = Control::new(config, vec![MAC], workers, Nanos(0)).unwrap();
        let (workers, handles): (Vec<_>, Vec<_>) = (0u16..)
            .zip(readers)
            .map(|(lcore, tables)| {
                let parts = Parts {
                    lcore: LcoreId(lcore),
                    queues: vec![MemoryQueue::default()],
                    tables,
                    flow_capacity: 64,
                    hash_key: HashKey::default(),
                    measure: dataplane::pipeline::measure::Settings::OFF,
                    clock: Clock::start(),
                };
                Worker::new(parts).unwrap()
            })
            .unzip();
        control.attach(handles.clone());
        (control, workers, handles)
    }

    #[test]
    fn workers_learn_each_others_flows_once_a_period() {
        let text = "[[port]]\ndevice = \"net_tap0\"\naddress = [\"198.51.100.2/24\"]\n\
                    [[vip]]\naddress = \"203.0.113.10\"\nport = 80\nservers = [\"198.51.100.11\"]\n";
        let (mut control, _workers, handles) = start(text, 2);
        let server = ServerId(0);
        handles[0].counters.server(server).flows.add(5);
        handles[1].counters.server(server).flows.add(2);
        control.tick(Nanos(EXCHANGE_EVERY_NANOS - 1));
        assert_eq!(handles[1].counters.live_flows(server), 2);
        control.tick(Nanos(EXCHANGE_EVERY_NANOS));
        let seen: Vec<u64> = handles.iter().map(|handle| handle.counters.live_flows(server)).collect();
        assert_eq!(seen, [7, 7]);
    }

    /// The weights in force, by the last byte of the server's address.
    fn in_force(control: &Control) -> Vec<(u8, f64)> {
        let tables = control.tables();
        let last = |id| match tables.server(id).map(|server| server.address) {
            Some(IpAddr::V4(address)) => address.octets()[3],
            other => panic!("{other:?}"),
        };
        let members = tables.vip(VipId(0)).unwrap().selector.members();
        members.iter().map(|member| (last(member.server), member.weight)).collect()
    }

    fn two_servers(more: &str) -> String {
        format!(
            "[[port]]\ndevice = \"net_tap0\"\naddress = [\"198.51.100.2/24\"]\n\
             [[vip]]\naddress = \"203.0.113.10\"\nport = 80\nservers = [\"198.51.100.11\", \"198.51.100.12\"{more}]\n"
        )
    }

    fn weights(control: &Control, servers: Option<&[(u32, f64)]>) -> Weights {
        let servers = servers.map(|all| all.iter().map(|&(id, weight)| (ServerId(id), weight)).collect());
        let vips = vec![VipWeights { vip: VipId(0), servers }];
        Weights { t: Nanos(0), generation: control.directory().generation, vips }
    }

    #[test]
    fn learned_weights_stay_through_reloads_until_they_are_taken_back() {
        let (mut control, _workers, _handles) = start(&two_servers(""), 1);
        control.weigh(&weights(&control, Some(&[(0, 3.0), (1, 0.5)])));
        assert_eq!(in_force(&control), [(11, 3.0), (12, 0.5)]);
        let more = Config::parse(&two_servers(", \"198.51.100.13\""), "test.toml").unwrap().config;
        control.reload(more, Nanos(1)).unwrap();
        assert_eq!(in_force(&control), [(11, 3.0), (12, 0.5), (13, 1.0)]);
        control.weigh(&weights(&control, None));
        assert_eq!(in_force(&control), [(11, 1.0), (12, 1.0), (13, 1.0)]);
    }

    #[test]
    fn weights_that_are_absurd_or_for_others_are_ignored() {
        let (mut control, _workers, _handles) = start(&two_servers(""), 1);
        let absurd = [(0, f64::NAN), (1, 0.0), (0, -1.0), (1, f64::INFINITY), (2, 5.0), (u32::MAX, 5.0)];
        control.weigh(&weights(&control, Some(&absurd)));
        let mut elsewhere = weights(&control, Some(&[(0, 3.0)]));
        elsewhere.vips[0].vip = VipId(1);
        control.weigh(&elsewhere);
        let outdated = Weights { generation: 0, ..weights(&control, Some(&[(0, 3.0)])) };
        control.weigh(&outdated);
        assert_eq!(in_force(&control), [(11, 1.0), (12, 1.0)]);
    }

    #[test]
    fn weights_from_the_mailbox_are_timed_until_every_worker_uses_them() {
        let (mut control, mut workers, _handles) = start(&two_servers(""), 2);
        let (findings, clock) = (Findings::default(), Clock::start());
        findings.put_weights(weights(&control, Some(&[(0, 3.0)])));
        control.take_weights(&findings, clock);
        assert_eq!(in_force(&control)[0], (11, 3.0));
        (0..64).for_each(|_| _ = workers[0].turn());
        control.take_weights(&findings, clock);
        assert_eq!((control.under_way.is_some(), findings.policy_loop().count()), (true, 0));
        (0..64).for_each(|_| _ = workers[1].turn());
        control.take_weights(&findings, clock);
        assert_eq!((control.under_way.is_some(), findings.policy_loop().count()), (false, 1));
        assert_eq!(findings.take_weights(), None);
    }

    #[test]
    fn announcements_are_gratuitous_and_a_few_in_a_round() {
        let text = "[[port]]\ndevice = \"net_tap0\"\naddress = [\"198.51.100.2/24\"]\nannounce = true\n\
                    [[neighbor]]\naddress = \"198.51.100.11\"\nmac = \"02:00:00:00:00:0b\"\n\
                    [[vip]]\naddress = \"203.0.113.0/27\"\nservers = [\"198.51.100.11\"]\n";
        let another = "[[vip]]\naddress = \"2001:db8::10\"\nservers = [\"198.51.100.11\"]\n";
        let (mut control, mut workers, _handles) = start(text, 1);
        let mut said_in_rounds = |control: &mut Control, rounds: std::ops::Range<u64>| {
            let mut said = Vec::new();
            for round in rounds {
                control.tick(Nanos(round * 1_000_000));
                (0..64).for_each(|_| _ = workers[0].turn());
                let frames = workers[0].queue_mut(PortId(0)).outgoing.drain(..);
                let before = said.len();
                said.extend(frames.map(|packet| packet.data().to_vec()));
                assert!(said.len() <= before + ANNOUNCEMENTS_PER_ROUND);
            }
            said
        };
        let said = said_in_rounds(&mut control, 0..10);
        assert_eq!(said.len(), 1 + 32, "the port's own address and every VIP's");
        let own = "198.51.100.2".parse().unwrap();
        assert_eq!(said[0][..], Arp::request_frame(MAC, own, own), "a request for the sender's own address");

        let config = Config::parse(&format!("{text}{another}"), "test.toml").unwrap().config;
        control.reload(config, Nanos(10_000_000)).unwrap();
        let said = said_in_rounds(&mut control, 10..20);
        let [to_all] = &said[..] else { panic!("{} announcements after the reload", said.len()) };
        assert_eq!((&to_all[..6], to_all[54]), (&[0x33, 0x33, 0, 0, 0, 1][..], 136));
        assert_eq!(to_all[58] & 0x60, 0x20, "overrides, and is no answer");

        control.links([false].into_iter());
        control.links([true].into_iter());
        assert_eq!(said_in_rounds(&mut control, 20..30).len(), 1 + 32 + 1, "the link came up");
    }
}
