//! What is measured: each row is a loop, the simplest first.

use std::time::Duration;

use dataplane::{
    pipeline::watch::{Stage, Watch},
    ports::{
        BURST, Burst, Packet, Queue,
        dpdk::{DpdkQueue, Eal, Mbuf, Mempool, PoolConfig, Port, PortConfig},
    },
};

use super::{stages::StageCycles, turns};
use crate::{
    balancer::{Balancer, DEFAULT_ENTRIES},
    cli::{CyclesArgs, Encap, FlowCount, Setting},
    error::Error,
    generator::{Generator, Kind},
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
    pub setting: Option<Setting>,
    /// The row that does the same without what this one is about.
    pub floor: Option<&'static str>,
    pub budget: Option<Budget>,
    pub slices: Vec<Slice>,
    /// Cycles a packet by stage, of each slice; empty where nobody watches.
    pub stages: Vec<StageSpend>,
    work: Work,
}

/// TSC cycles a packet, in the order of [`Stage::ALL`].
pub type StageSpend = [f64; Stage::ALL.len()];

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
    Watched(Box<Balancer<StageCycles>>),
}

impl Row {
    fn new(id: impl Into<String>, what: impl Into<String>, floor: Option<&'static str>, work: Work) -> Self {
        let (id, what) = (id.into(), what.into());
        Self { id, what, setting: None, floor, budget: None, slices: Vec::new(), stages: Vec::new(), work }
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
            Work::Watched(balancer) => {
                measure(warm_up, tsc_hz, &mut turns(|| balancer.turn()));
                balancer.watch_mut().take(); // other rows ran since the last slice
                let measured = measure(slice, tsc_hz, &mut turns(|| balancer.turn()));
                let sums = balancer.watch_mut().take();
                let all: u64 = sums.iter().sum();
                let scale = measured.cycles_per_packet() / all.max(1) as f64;
                self.stages.push(sums.map(|sum| sum as f64 * scale));
                measured
            }
        };
        if slice.packets == 0 {
            return Err(Error::Wrong { row: self.id.clone(), what: "no packet came through".into() });
        }
        self.slices.push(slice);
        Ok(())
    }

    /// Within how many seconds 99 of 100 packets were through the worker; `None`: the row is none.
    pub fn p99_seconds(&self) -> Option<f64> {
        match &self.work {
            Work::Balancer(balancer) => Some(balancer.p99_seconds()),
            Work::Watched(balancer) => Some(balancer.p99_seconds()),
            _ => None,
        }
    }

    /// Whether the row has done what it says.
    pub fn check(&self) -> Result<(), Error> {
        match &self.work {
            Work::Balancer(balancer) => balancer.check(&self.id),
            Work::Watched(balancer) => balancer.check(&self.id),
            _ => Ok(()),
        }
    }
}

/// All rows, ready to run.
pub fn all(eal: &Eal, args: &CyclesArgs, testpmd: Option<Testpmd>) -> Result<Vec<Row>, Error> {
    let settings = args.settings();
    let mut queues = open_queues(eal, 2 * settings.len() + 4)?.into_iter();
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
        let work = Work::Loop(generate(Generator::new(queue(), Kind::PLAIN, 1_000_000)));
        rows.push(Row::new(GENERATE, "generate and transmit", None, work));
    }
    if args.wants(PREPEND) {
        let work = Work::Loop(prepend(Generator::new(queue(), Kind::PLAIN, 1_000_000)));
        rows.push(Row::new(PREPEND, "generate, prepend 24 B, transmit", None, work));
    }
    for &setting in &settings {
        let id = format!("worker-{}", name(setting, settings[0]));
        if args.wants(&id) {
            rows.push(established(id, queue(), setting)?);
        }
    }
    if args.wants(NEW_FLOWS) {
        rows.push(new_flows(queue(), settings[0])?);
    }
    for &setting in settings.iter().filter(|setting| is_base(**setting, settings[0])) {
        let id = format!("stages-{}", name(setting, settings[0]));
        if args.wants(&id) {
            rows.push(watched(id, queue(), setting)?);
        }
    }
    if rows.is_empty() {
        return Err(Error::NoRow { name: args.only.clone().unwrap_or_default() });
    }
    Ok(rows)
}

/// A `net_null` port with as many queues: it receives frames of 64 bytes out of nothing and frees what it transmits.
pub fn open_queues(eal: &Eal, queues: usize) -> Result<Vec<DpdkQueue>, Error> {
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

/// Whether a setting differs from the first one by its flows alone.
fn is_base(setting: Setting, first: Setting) -> bool {
    Setting { flows: first.flows, ..setting } == first
}

/// The name of a setting in files: what differs from the first one.
fn name(setting: Setting, first: Setting) -> String {
    let mut name = format!("{}-{}", setting.encap.name(), setting.flows);
    if setting.servers != first.servers {
        name += &format!("-{}-servers", setting.servers);
    }
    if !setting.measured {
        name += "-unmeasured";
    }
    if setting.vips != first.vips {
        name += &format!("-{}-vips", setting.vips);
    }
    name
}

/// A worker whose flows are established.
fn balancer<W: Watch>(
    id: &str,
    queue: DpdkQueue,
    setting: Setting,
    watch: W,
) -> Result<Box<Balancer<W>>, Error> {
    // Under NAT a flow has two entries.
    let flows = setting.flows.0;
    let needed = if setting.encap == Encap::Nat4 { 2 * flows } else { flows };
    let entries = needed.next_power_of_two().max(DEFAULT_ENTRIES);
    let mut balancer = Balancer::new(queue, setting, entries, watch)?;
    balancer.establish(id, flows)?;
    Ok(Box::new(balancer))
}

/// The whole worker with established flows.
fn established(id: String, queue: DpdkQueue, setting: Setting) -> Result<Row, Error> {
    let balancer = balancer(&id, queue, setting, ())?;
    let unmeasured = if setting.measured { "" } else { ", not measured" };
    let what = format!("worker, {}{unmeasured}", setting.encap.name().to_uppercase());
    // The generator makes frames of two lengths; only one of them has a floor.
    let floor = match setting.encap {
        Encap::Gre6In4 | Encap::Gre6In6 => None,
        Encap::L3dsr4 | Encap::Nat4 => Some(GENERATE),
        _ => Some(PREPEND),
    };
    let usual =
        setting.encap == Encap::Gre4 && setting.servers == 100 && setting.vips == 1 && setting.measured;
    let budget = if usual { cycle_budget(setting.flows) } else { None };
    let row = Row::new(id, what, floor, Work::Balancer(balancer));
    Ok(Row { setting: Some(setting), budget, ..row })
}

/// The same with a look at the counter between stages.
fn watched(id: String, queue: DpdkQueue, setting: Setting) -> Result<Row, Error> {
    let balancer = balancer(&id, queue, setting, StageCycles::default())?;
    let what = format!("worker, {}, watched", setting.encap.name().to_uppercase());
    Ok(Row { setting: Some(setting), ..Row::new(id, what, Some(PREPEND), Work::Watched(balancer)) })
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
fn new_flows(queue: DpdkQueue, first: Setting) -> Result<Row, Error> {
    let setting = Setting { flows: FlowCount(DEFAULT_ENTRIES), ..first };
    let mut balancer = Balancer::new(queue, setting, DEFAULT_ENTRIES, ())?;
    balancer.flood(DEFAULT_ENTRIES);
    let what = format!("worker, {}, each packet a new flow", setting.encap.name().to_uppercase());
    let row = Row::new(NEW_FLOWS, what, Some(PREPEND), Work::Balancer(Box::new(balancer)));
    Ok(Row { setting: Some(setting), budget: Some(Budget::Mpps(2.0)), ..row })
}
