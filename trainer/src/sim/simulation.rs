//! The run itself: what happens to whom, in the order of time.
//!
//! ```text
//! client --delay--> router --hash--> balancer --> server --delay--> client
//!   SYN  ................................ chosen, taken (or refused, or unanswered)
//!        <-------------------------------------------------- SYN-ACK
//!   ACK, request ------------------------------> served
//!        <-------------------------------------------------- answer: the flow is complete
//!   FIN ---------------------------> no longer counted
//! ```

use super::{
    arrivals::{Arrivals, Demand},
    balancer::{Balancer, Leave, Tracked},
    choice::Choice,
    flows::{Flow, Flows},
    ledger::{Cost, Ledger},
    noise::Neighbor,
    queue::{Happening, Queue},
    record::{Completed, Record},
    rng::{Purpose, Stream},
    server::{Part, Server},
    setup::{Change, End, Setup},
};
use dataplane::tables::select::Rings;
use ipc::{
    region::{ServerState, StatisticsFrame},
    sample::Kinds,
};

/// After so long a balancer forgets a flow of which only a SYN came, as the data plane does by default.
pub const SYN_TIMEOUT: u64 = 10_000_000_000;
/// After so long without a packet it forgets any other one.
pub const IDLE_TIMEOUT: u64 = 300_000_000_000;
/// A client repeats a SYN that nobody answers after a second, then after twice as long each time.
const FIRST_RETRY: u64 = 1_000_000_000;
/// So often; then it gives up.
const RETRIES: u32 = 3;

/// Timers: the next arrival, the grid of fairness, then two for each server.
const ARRIVAL: usize = 0;
const GRID: usize = 1;
const SERVERS: usize = 2;

/// What was scheduled.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A flow's SYN is at its balancer.
    Syn(u32),
    /// Nobody has answered: it comes again.
    Retry(u32),
    /// A flow's request is at its server.
    Request(u32),
    /// A flow's FIN is at its balancer.
    Fin(u32),
    /// A balancer forgets a flow that it has heard nothing of.
    Expire(u32),
    /// The setup has it.
    Change(u32),
    /// Balancers notice that a server has died or is back.
    Notice(u32),
    /// A neighbour of a server begins or ends to disturb it. The second number says which neighbour.
    Noise(u32, u32),
}

/// A world at some moment of its run.
#[derive(Debug)]
pub struct Simulation {
    setup: Setup,
    queue: Queue<Event>,
    now: u64,
    happened: u64,
    arrivals: Box<dyn Arrivals>,
    /// Where the arrivals' own time is, and how fast it goes.
    their_time: f64,
    arrived_at: f64,
    traffic: f64,
    next_demand: Option<Demand>,
    arrived: u64,
    flows: Flows,
    /// Flows whose fate is open.
    open: u64,
    servers: Vec<Server>,
    /// Whether the operator wants each server to have new flows.
    present: Vec<bool>,
    neighbors: Vec<Neighbor>,
    balancers: Vec<Balancer>,
    choice: Choice,
    service: Stream,
    hashes: Stream,
    delays: Stream,
    record: Record,
    is_closed: bool,
}

impl Simulation {
    /// The beginning of a run. Everything that follows is a function of the arguments and of the weights set.
    pub fn new(setup: &Setup, arrivals: Box<dyn Arrivals>, choice: Choice, seed: u64) -> Self {
        let mut queue = Queue::new(SERVERS + 2 * setup.servers.len());
        for (at, change) in (0..).zip(&setup.changes) {
            queue.schedule(change.at, Event::Change(at));
        }
        let mut balancers: Vec<Balancer> = Vec::new();
        for number in 0..u64::from(setup.balancers) {
            let rings = balancers.last().map_or_else(Rings::default, |balancer| balancer.rings().clone());
            let balancer = Balancer::new(choice.rule(), &setup.servers, seed, number, rings);
            balancers.push(balancer.without(&setup.unseen));
        }
        let mut simulation = Self {
            queue,
            now: 0,
            happened: 0,
            arrivals,
            their_time: 0.0,
            arrived_at: 0.0,
            traffic: 1.0,
            next_demand: None,
            arrived: 0,
            flows: Flows::default(),
            open: 0,
            servers: setup.servers.iter().cloned().map(Server::new).collect(),
            present: setup.servers.iter().map(|server| server.present).collect(),
            neighbors: (0..setup.servers.len() as u64).map(|at| Neighbor::new(seed, at)).collect(),
            balancers,
            choice,
            service: Stream::new(seed, Purpose::Service),
            hashes: Stream::new(seed, Purpose::Hashes),
            delays: Stream::new(seed, Purpose::Delays),
            record: Record::default(),
            is_closed: false,
            setup: setup.clone(),
        };
        simulation.await_arrival();
        simulation.queue.set_timer(GRID, Some(simulation.grid()));
        simulation
    }

    /// Where in time it is, in nanoseconds.
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// Lets everything happen that happens until then, itself included. Returns whether the run goes on: flows are
    /// still to come, or to be answered.
    pub fn advance(&mut self, until: u64) -> bool {
        while !self.is_over() {
            let Some((t, happening)) = self.queue.next(until) else {
                self.now = until;
                return true;
            };
            self.now = t;
            self.happened += 1;
            match happening {
                Happening::Timer(ARRIVAL) => self.arrive(),
                Happening::Timer(GRID) => self.measure_fairness(),
                Happening::Timer(timer) => self.serve((timer - SERVERS) / 2, part(timer)),
                Happening::Event(event) => self.happen(event),
            }
        }
        false
    }

    /// Whether all flows have come and their fates are known.
    pub const fn is_over(&self) -> bool {
        self.is_closed && self.open == 0
    }

    /// Things that have happened so far.
    pub const fn happened(&self) -> u64 {
        self.happened
    }

    /// What became of the flows that count.
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// The servers, as they are: no balancer knows that.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The balancers.
    pub fn balancers(&self) -> &[Balancer] {
        &self.balancers
    }

    /// Flows that are not over, those included of which only a balancer's entry is left.
    pub fn tracked(&self) -> usize {
        self.flows.len()
    }

    /// The frame of statistics that a balancer's policy would get now; of samples, what is said of these kinds.
    pub fn observe(&mut self, balancer: usize, kinds: Kinds) -> &StatisticsFrame {
        self.balancers[balancer].observe(self.now, kinds)
    }

    /// Puts weights in force on a balancer, one for each server, for flows from now on.
    pub fn set_weights(&mut self, balancer: usize, weights: &[f64]) {
        self.balancers[balancer].set_weights(weights);
    }

    /// See [`Balancer::compare`]. `offered` is how many cores of speed 1 all flows would just keep busy.
    pub fn compare(&mut self, balancer: usize, weights: &[f64], offered: f64) {
        let costs = Cost::of(&self.servers, 1.0 / self.balancers.len() as f64, offered);
        self.balancers[balancer].compare(weights, costs);
    }

    /// See [`Balancer::take_ledger`].
    pub fn take_ledger(&mut self, balancer: usize) -> Ledger {
        self.balancers[balancer].take_ledger()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Syn(flow) => self.syn(flow),
            Event::Retry(flow) => self.retry(flow),
            Event::Request(flow) => self.request(flow),
            Event::Fin(flow) => self.fin(flow),
            Event::Expire(flow) => self.forget(flow, Leave::Expired),
            Event::Change(at) => self.change(at as usize),
            Event::Notice(server) => self.tell_state(server as usize),
            Event::Noise(server, neighbor) => self.disturb(server as usize, neighbor),
        }
    }

    /// Waits for the next flow, if there is to be one.
    fn await_arrival(&mut self) {
        let is_done = matches!(self.setup.end, End::Flows(flows) if self.arrived >= flows);
        let Some(arrival) = (if is_done { None } else { self.arrivals.next() }) else {
            self.is_closed = true;
            return;
        };
        self.arrived_at += (arrival.t - self.their_time) / self.traffic;
        self.their_time = arrival.t;
        self.next_demand = arrival.demand;
        let t = self.arrived_at as u64;
        if matches!(self.setup.end, End::Time(end) if t >= end) {
            self.is_closed = true;
            return;
        }
        self.queue.set_timer(ARRIVAL, Some(t));
    }

    /// A client begins a flow. What it draws, it draws whatever becomes of it.
    fn arrive(&mut self) {
        let demand = self.next_demand.unwrap_or_else(|| self.setup.service.draw(&mut self.service));
        let (hash, router) = (self.hashes.bits(), self.hashes.bits());
        let delay = self.setup.delay.map_or(0, |law| law.draw(&mut self.delays) as u64);
        let rounds = self.setup.service.rounds;
        let counts = match self.setup.end {
            End::Flows(flows) => self.arrived as f64 >= flows as f64 * self.setup.warmup,
            End::Time(end) => self.now as f64 >= end as f64 * self.setup.warmup,
        };
        let id = self.flows.insert(Flow {
            began: self.now,
            counts,
            delay,
            hash,
            balancer: (((router >> 32) * self.balancers.len() as u64) >> 32) as u32,
            cpu: demand.cpu / f64::from(rounds),
            io: demand.io / f64::from(rounds),
            stages: 2 * rounds,
            tracked: Tracked { server: 0, started: 0, place: None },
            admitted: 0,
            deaths: 0,
            asked: 0,
            retries: 0,
        });
        self.arrived += 1;
        self.open += 1;
        self.await_arrival();
        self.after(delay, Event::Syn(id));
    }

    /// Something happens after a while; at once if there is no while.
    #[inline]
    fn after(&mut self, while_: u64, event: Event) {
        match while_ {
            0 => self.happen(event),
            _ => self.queue.schedule(self.now + while_, event),
        }
    }

    /// A flow's SYN is at its balancer, which gives it to a server.
    fn syn(&mut self, id: u32) {
        let flow = self.flows[id];
        let balancer = &mut self.balancers[flow.balancer as usize];
        match self.choice.choose(balancer, &self.servers, &flow, self.now) {
            Some(server) => {
                balancer.account(&self.servers, flow.hash, server);
                self.flows[id].tracked = balancer.begin(self.now, id, flow.hash, server);
                self.knock(id);
            }
            None => {
                self.refuse(&flow);
                self.flows.remove(id);
            }
        }
    }

    /// A SYN is at the server.
    fn knock(&mut self, id: u32) {
        let flow = self.flows[id];
        let server = &mut self.servers[flow.tracked.server];
        if !server.is_alive() {
            self.queue.schedule(self.now + (FIRST_RETRY << flow.retries), Event::Retry(id));
        } else if server.admit(self.now, flow.cpu * f64::from(flow.stages / 2)) {
            let deaths = server.deaths();
            let flow = &mut self.flows[id];
            (flow.admitted, flow.deaths) = (self.now, deaths);
            let both_ways = 2 * flow.delay;
            self.after(both_ways, Event::Request(id));
        } else {
            self.refuse(&flow);
            self.queue.schedule(self.now + SYN_TIMEOUT, Event::Expire(id));
        }
    }

    /// A SYN that nobody answered comes again, and stays with its server unless that is known to be down.
    fn retry(&mut self, id: u32) {
        let flow = self.flows[id];
        let balancer = &mut self.balancers[flow.balancer as usize];
        if flow.retries == RETRIES {
            self.lose(&flow);
            self.queue.schedule(self.now + SYN_TIMEOUT, Event::Expire(id));
            return;
        }
        self.flows[id].retries += 1;
        if balancer.servers()[flow.tracked.server].state() != Some(ServerState::Down) {
            balancer.repeat(flow.tracked.server);
            self.knock(id);
            return;
        }
        let moved = balancer.leave(&flow.tracked, Leave::Moved);
        self.moved_up(moved, flow.tracked.place);
        self.syn(id);
    }

    /// A request is at its server, if that is still there.
    fn request(&mut self, id: u32) {
        let now = self.now;
        self.flows[id].asked = now;
        let flow = self.flows[id];
        self.balancers[flow.balancer as usize].request(now, &flow.tracked, flow.retries == 0);
        let server = &mut self.servers[flow.tracked.server];
        server.receive(flow.cpu * f64::from(flow.stages / 2));
        if server.deaths() == flow.deaths {
            self.next_stage(id);
        } else {
            self.break_off(id);
        }
    }

    /// A flow goes on to the cores, to the disk, or is done.
    fn next_stage(&mut self, id: u32) {
        let flow = &mut self.flows[id];
        while flow.stages > 0 {
            let (part, work) =
                if flow.stages.is_multiple_of(2) { (Part::Cpu, flow.cpu) } else { (Part::Io, flow.io) };
            flow.stages -= 1;
            if work > 0.0 {
                let server = flow.tracked.server;
                self.servers[server].part(part).enter(self.now, id, work);
                self.await_part(server, part);
                return;
            }
        }
        self.answer(id);
    }

    fn await_part(&mut self, server: usize, part: Part) {
        let timer = SERVERS + 2 * server + usize::from(part == Part::Io);
        let end = self.servers[server].part(part).next_end();
        self.queue.set_timer(timer, end);
    }

    /// A part of a server is done with a flow.
    fn serve(&mut self, server: usize, part: Part) {
        let done = self.servers[server].part(part).leave(self.now);
        self.await_part(server, part);
        if let Some(id) = done {
            self.next_stage(id);
        }
    }

    /// A server answers.
    fn answer(&mut self, id: u32) {
        let flow = self.flows[id];
        self.servers[flow.tracked.server].release(self.now, flow.admitted);
        self.open -= 1;
        if flow.counts {
            let latency = self.now + flow.delay - flow.began;
            self.record.completed.push(Completed { began: flow.began, latency });
        }
        self.after(2 * flow.delay, Event::Fin(id));
    }

    fn fin(&mut self, id: u32) {
        let flow = self.flows[id];
        self.balancers[flow.balancer as usize].answered(self.now, &flow.tracked, flow.asked);
        self.forget(id, Leave::Finished);
    }

    /// A balancer's entry of a flow ends, and with it all that there was of the flow.
    fn forget(&mut self, id: u32, how: Leave) {
        let flow = self.flows[id];
        let moved = self.balancers[flow.balancer as usize].leave(&flow.tracked, how);
        self.moved_up(moved, flow.tracked.place);
        self.flows.remove(id);
    }

    /// A flow has taken another one's place among the watched.
    fn moved_up(&mut self, flow: Option<u32>, place: Option<u32>) {
        if let Some(id) = flow {
            self.flows[id].tracked.place = place;
        }
    }

    fn refuse(&mut self, flow: &Flow) {
        self.open -= 1;
        self.record.refused += u64::from(flow.counts);
    }

    fn lose(&mut self, flow: &Flow) {
        self.open -= 1;
        self.record.lost += u64::from(flow.counts);
    }

    /// A flow's server died with it. Its client is silent, so its balancer waits.
    fn break_off(&mut self, id: u32) {
        let flow = self.flows[id];
        self.servers[flow.tracked.server].release(self.now, flow.admitted);
        self.lose(&flow);
        self.queue.schedule(self.now + IDLE_TIMEOUT, Event::Expire(id));
    }

    fn change(&mut self, at: usize) {
        let now = self.now;
        match self.setup.changes[at].change {
            Change::Traffic { factor } => self.traffic = factor,
            Change::Speed { server, speed } => {
                self.servers[server].set_speed(now, speed);
                self.await_part(server, Part::Cpu);
            }
            Change::Weight { server, weight } => {
                self.balancers.iter_mut().for_each(|balancer| balancer.set_configured_weight(server, weight));
            }
            Change::Add { server } => self.set_present(server, true),
            Change::Remove { server } => self.set_present(server, false),
            Change::Noise { server, noise } => {
                let neighbor = self.neighbors[server].replace(noise);
                self.disturb(server, neighbor);
            }
            Change::Fail { server } if self.servers[server].is_alive() => {
                for flow in self.servers[server].die(now) {
                    self.break_off(flow);
                }
                self.await_part(server, Part::Cpu);
                self.await_part(server, Part::Io);
                self.queue.schedule(now + self.setup.detection, Event::Notice(server as u32));
            }
            Change::Recover { server } if !self.servers[server].is_alive() => {
                self.servers[server].rise();
                self.queue.schedule(now + self.setup.detection, Event::Notice(server as u32));
            }
            Change::Fail { .. } | Change::Recover { .. } => {}
        }
    }

    fn set_present(&mut self, server: usize, is_present: bool) {
        self.present[server] = is_present;
        self.tell_state(server);
    }

    /// Every balancer hears what the operator wants of a server, and whether it is well.
    fn tell_state(&mut self, server: usize) {
        let state = match (self.servers[server].is_alive(), self.present[server]) {
            (false, _) => ServerState::Down,
            (true, true) => ServerState::Active,
            (true, false) => ServerState::Draining,
        };
        self.balancers.iter_mut().for_each(|balancer| balancer.set_state(server, state));
    }

    /// A neighbour begins or ends to take its share, unless there is another one by now.
    fn disturb(&mut self, server: usize, neighbor: u32) {
        let Some((share, next)) = self.neighbors[server].turn(neighbor) else { return };
        self.servers[server].set_noise(self.now, share);
        self.await_part(server, Part::Cpu);
        if let Some(stay) = next {
            self.queue.schedule(self.now + stay, Event::Noise(server as u32, neighbor));
        }
    }

    /// The grid of fairness is as fine as the mean work.
    fn grid(&self) -> u64 {
        self.now + (self.setup.service.mean() as u64).max(1)
    }

    fn measure_fairness(&mut self) {
        if !self.is_closed {
            self.queue.set_timer(GRID, Some(self.grid()));
        }
        let has_begun = self.record.flows() > 0;
        if has_begun && !self.is_closed {
            let wanted = self
                .servers
                .iter()
                .zip(&self.present)
                .filter(|&(server, &present)| present && server.is_alive());
            self.record.moment(wanted.map(|(server, _)| server.held() as f64 / server.capacity()));
        }
    }
}

/// Which part of a server a timer is of.
const fn part(timer: usize) -> Part {
    if (timer - SERVERS).is_multiple_of(2) { Part::Cpu } else { Part::Io }
}
