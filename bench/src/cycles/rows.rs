//! What is measured: each row is a loop, the simplest first.

use std::time::Duration;

use dataplane::ports::{
    BURST, Burst, Packet, Queue,
    dpdk::{DpdkQueue, Eal, Mbuf, Mempool, PoolConfig, Port, PortConfig},
};

use super::turns;
use crate::{
    balancer::{Balancer, DEFAULT_ENTRIES},
    cli::{CyclesArgs, Encap, FlowCount},
    error::Error,
    generator::Generator,
    testpmd::Testpmd,
    timing::{Slice, measure},
};

/// Rows that others are compared with.
pub const TESTPMD: &str = "testpmd-io";
pub const FORWARD: &str = "forward";
pub const GENERATE: &str = "generate";
pub const PREPEND: &str = "generate-prepend";
/// Each packet opens a connection.
pub const NEW_FLOWS: &str = "new-flows";

/// A loop and what was measured of it.
pub struct Row {
    /// Its name in files, stable.
    pub id: String,
    /// What it does, for people.
    pub what: String,
    pub encap: Option<Encap>,
    pub flows: Option<FlowCount>,
    /// The row that does the same without what this one is about.
    pub floor: Option<&'static str>,
    pub budget: Option<Budget>,
    pub slices: Vec<Slice>,
    work: Work,
}

/// What the design allows a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// At most so many TSC cycles a packet.
    Cycles(f64),
    /// At least so many packets a second, in millions.
    Mpps(f64),
}

enum Work {
    Testpmd(Testpmd),
    Loop(Box<dyn FnMut() -> u64>),
    Balancer(Box<Balancer>),
}

impl Row {
    fn new(id: impl Into<String>, what: impl Into<String>, floor: Option<&'static str>, work: Work) -> Self {
        let (id, what) = (id.into(), what.into());
        Self { id, what, encap: None, flows: None, floor, budget: None, slices: Vec::new(), work }
    }

    /// Runs for `warm_up`, then measures a slice.
    pub fn run(&mut self, warm_up: Duration, slice: Duration, tsc_hz: f64) -> Result<(), Error> {
        let timed = |turn: &mut dyn FnMut() -> u64| {
            measure(warm_up, tsc_hz, &mut *turn);
            measure(slice, tsc_hz, turn)
        };
        let slice = match &mut self.work {
            Work::Testpmd(testpmd) => testpmd.measure(slice)?,
            Work::Loop(turn) => timed(turn),
            Work::Balancer(balancer) => timed(&mut turns(|| balancer.turn())),
        };
        if slice.packets == 0 {
            return Err(Error::Wrong { row: self.id.clone(), what: "no packet came through".into() });
        }
        self.slices.push(slice);
        Ok(())
    }

    /// Whether the row has done what it says.
    pub fn check(&self) -> Result<(), Error> {
        match &self.work {
            Work::Balancer(balancer) => balancer.check(&self.id),
            _ => Ok(()),
        }
    }
}

/// All rows, ready to run.
pub fn all(eal: &Eal, args: &CyclesArgs, testpmd: Option<Testpmd>) -> Result<Vec<Row>, Error> {
    let workers = args.encap.len() * args.flows.len();
    let mut queues = open_queues(eal, workers + 4)?.into_iter();
    let mut queue = || queues.next().expect("one queue was opened for each row");

    let mut rows = Vec::new();
    let forward_floor = testpmd.is_some().then_some(TESTPMD);
    if let Some(testpmd) = testpmd {
        rows.push(Row::new(TESTPMD, "dpdk-testpmd io", None, Work::Testpmd(testpmd)));
    }
    if args.wants(FORWARD) {
        rows.push(Row::new(FORWARD, "receive and transmit", forward_floor, Work::Loop(forward(queue()))));
    }
    if args.wants(GENERATE) {
        let work = Work::Loop(generate(Generator::new(queue(), 1_000_000)));
        rows.push(Row::new(GENERATE, "generate and transmit", None, work));
    }
    if args.wants(PREPEND) {
        let work = Work::Loop(prepend(Generator::new(queue(), 1_000_000)));
        rows.push(Row::new(PREPEND, "generate, prepend 24 B, transmit", None, work));
    }
    for (encap, flows) in
        args.encap.iter().flat_map(|&encap| args.flows.iter().map(move |&flows| (encap, flows)))
    {
        let id = format!("worker-{}-{flows}", encap.name());
        if args.wants(&id) {
            rows.push(established(id, queue(), encap, flows, args.servers)?);
        }
    }
    if args.wants(NEW_FLOWS) {
        rows.push(new_flows(queue(), args.servers)?);
    }
    if rows.is_empty() {
        return Err(Error::NoRow { name: args.only.clone().unwrap_or_default() });
    }
    Ok(rows)
}

/// A `net_null` port with as many queues: it receives frames of 64 bytes out of nothing and frees what it transmits.
fn open_queues(eal: &Eal, queues: usize) -> Result<Vec<DpdkQueue>, Error> {
    let pool = Mempool::new(eal, &PoolConfig::default())?;
    let queues = u16::try_from(queues).expect("fewer rows than 2^16");
    let config = PortConfig { queues, ..PortConfig::new("net_null0,size=64") };
    Ok(Port::open(eal, &config, &pool)?.1)
}

/// DPDK's `io` mode in Rust.
fn forward(mut queue: DpdkQueue) -> Box<dyn FnMut() -> u64> {
    let mut burst = Burst::new();
    Box::new(turns(move || {
        queue.receive(&mut burst);
        transmit(&mut queue, &mut burst)
    }))
}

/// What a worker that does nothing would cost with the same generator.
fn generate(mut generator: Generator) -> Box<dyn FnMut() -> u64> {
    let mut burst = Burst::new();
    Box::new(turns(move || {
        generator.receive(&mut burst);
        transmit(&mut generator, &mut burst)
    }))
}

/// Ethernet, IPv4 and GRE, in bytes.
const GRE4_LEN: usize = 38;

/// The same with what GRE cannot do without: 24 bytes in front and headers of 38 bytes written.
fn prepend(mut generator: Generator) -> Box<dyn FnMut() -> u64> {
    let mut burst = Burst::<Mbuf>::new();
    let header = [0x5a; GRE4_LEN];
    Box::new(turns(move || {
        generator.receive(&mut burst);
        for mbuf in &mut burst {
            if mbuf.prepend(24).is_ok()
                && let Some(front) = mbuf.data_mut().first_chunk_mut()
            {
                *front = header;
            }
        }
        transmit(&mut generator, &mut burst)
    }))
}

/// Transmits a burst; returns how many packets went.
fn transmit<Q: Queue>(queue: &mut Q, burst: &mut Burst<Q::Packet>) -> u64 {
    let before = burst.len();
    queue.transmit(burst);
    debug_assert!(before <= BURST);
    (before - burst.len()) as u64
}

/// The whole worker with `flows` established flows.
fn established(
    id: String,
    queue: DpdkQueue,
    encap: Encap,
    flows: FlowCount,
    servers: u16,
) -> Result<Row, Error> {
    // Under NAT a flow has two entries.
    let needed = if encap == Encap::Nat4 { 2 * flows.0 } else { flows.0 };
    let entries = needed.next_power_of_two().max(DEFAULT_ENTRIES);
    let mut balancer = Balancer::new(Generator::new(queue, flows.0), encap, servers, entries)?;
    balancer.establish(&id, flows.0)?;
    let what = format!("worker, {}", encap.name().to_uppercase());
    let floor = if encap == Encap::Nat4 { GENERATE } else { PREPEND };
    let budget = if encap == Encap::Gre4 { cycle_budget(flows) } else { None };
    let row = Row::new(id, what, Some(floor), Work::Balancer(Box::new(balancer)));
    Ok(Row { encap: Some(encap), flows: Some(flows), budget, ..row })
}

/// Budgets for GRE4 by the number of flows.
fn cycle_budget(flows: FlowCount) -> Option<Budget> {
    let cycles = match flows.0 {
        1_000 => 70.0,
        16_000 => 72.0,
        100_000 => 80.0,
        1_000_000 => 120.0,
        10_000_000 => 140.0,
        _ => return None,
    };
    Some(Budget::Cycles(cycles))
}

/// Every packet opens a connection, into a full table: each has to evict one.
fn new_flows(queue: DpdkQueue, servers: u16) -> Result<Row, Error> {
    let mut balancer = Balancer::new(Generator::new(queue, 1), Encap::Gre4, servers, DEFAULT_ENTRIES)?;
    balancer.flood(DEFAULT_ENTRIES);
    let row = Row::new(
        NEW_FLOWS,
        "worker, GRE4, each packet a new flow",
        Some(PREPEND),
        Work::Balancer(Box::new(balancer)),
    );
    let (encap, budget) = (Some(Encap::Gre4), Some(Budget::Mpps(2.0)));
    Ok(Row { encap, flows: Some(FlowCount(DEFAULT_ENTRIES)), budget, ..row })
}
