//! The thread's work with workers in memory.

use std::{fs, sync::Arc, time::Duration};

use dataplane::{
    pipeline::measure::Settings,
    ports::memory::MemoryQueue,
    tables::hash::HashKey,
    time::{Clock, Nanos},
    wire::Mac,
    worker::{Handle, Worker},
};
use ipc::{
    clock::monotonic,
    id::{LcoreId, ServerId, VipId},
    region::{
        Region, ServerState, ServerStatistics, ServerWeight, StatisticsFrame, VipStatistics, VipWeights,
        WeightsFrame,
    },
    ring::{self, Producer},
    sample::{Kind, Sample},
};
use tempfile::TempDir;

use super::{names::Names, thread::supervise, *};
use crate::{config::Config, control::Control, steer::Wishes};

const MILLISECOND: u64 = 1_000_000;

fn config(folder: &TempDir, servers: &str, source: &str) -> Config {
    let text = format!(
        "[[port]]\ndevice = \"net_tap0\"\naddress = [\"192.0.2.2/24\"]\n\
         [[neighbor]]\naddress = \"192.0.2.11\"\nmac = \"02:00:00:00:00:0b\"\n\
         [[vip]]\nname = \"web\"\naddress = \"203.0.113.10\"\nport = 80\npolicy = \"rate\"\n{servers}\
         [[vip]]\nname = \"dns\"\naddress = \"203.0.113.53\"\nprotocol = \"udp\"\nservers = [\"192.0.2.53\"]\n\
         [region]\npath = \"{}/region\"\n[policy]\nperiod = \"10ms\"\nsource = \"{source}\"\n",
        folder.path().display()
    );
    Config::parse(&text, "test.toml").unwrap_or_else(|errors| panic!("{errors}")).config
}

const TWO: &str = "servers = [\"192.0.2.11\", \"192.0.2.12\"]\n";
const ONE: &str = "servers = [\"192.0.2.12\"]\n";

/// Control thread, two workers, their rings and an observer, all run by hand.
struct House {
    folder: TempDir,
    control: Control,
    workers: Vec<Worker<MemoryQueue>>,
    handles: Vec<Handle>,
    parts: Parts,
    rings: Vec<ring::Consumer>,
    producers: Vec<Producer>,
}

impl House {
    fn new() -> Self {
        Self::decided_by("thread")
    }

    fn decided_by(source: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let config = config(&folder, TWO, source);
        let (measure, region, policy) = (config.measure, config.region.clone(), config.policy.clone());
        let (mut control, readers) = Control::new(config, vec![Mac([2; 6])], 2, Nanos(0)).unwrap();
        let (workers, handles): (Vec<_>, Vec<_>) = (0u16..)
            .zip(readers)
            .map(|(lcore, tables)| {
                Worker::new(dataplane::worker::Parts {
                    lcore: LcoreId(lcore),
                    queues: vec![MemoryQueue::default()],
                    tables,
                    flow_capacity: 64,
                    hash_key: HashKey::default(),
                    measure: Settings::OFF,
                    clock: Clock::start(),
                })
                .unwrap()
            })
            .unzip();
        control.attach(handles.clone());
        let findings = Arc::new(Findings::default());
        findings.follow(control.directory());
        findings.wish(Wishes::new(control.config(), control.directory()));
        let clock = Clock::start();
        let parts = Parts { workers: handles.clone(), measure, region, policy, findings, clock };
        let (producers, rings) = [ring::channel(64), ring::channel(64)].into_iter().unzip();
        Self { folder, control, workers, handles, parts, rings, producers }
    }

    fn observer(&self) -> Observer {
        Observer::new(&self.parts, Nanos(0)).unwrap_or_else(|error| panic!("{error}"))
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("region")
    }

    /// What a program that attaches to the region gets.
    fn frame(&self) -> StatisticsFrame {
        let region = Region::open_read_only(self.path()).unwrap();
        region.statistics_reader().latest().unwrap().expect("a frame").clone()
    }

    fn sample(&mut self, worker: usize, sample: Sample) {
        self.producers[worker].push(sample);
        self.producers[worker].flush();
    }
}

fn handshake(server: u32, value: u64) -> Sample {
    Sample { t: 5 * MILLISECOND, vip: VipId(0), server: ServerId(server), kind: Kind::Handshake, value }
}

/// The records of a VIP and its servers.
fn vip(frame: &StatisticsFrame, at: usize) -> (VipStatistics, Vec<ServerStatistics>) {
    let (vip, servers) = frame.vips().nth(at).expect("the VIP");
    (*vip, servers.to_vec())
}

#[test]
fn frame_has_the_sums_of_all_workers_and_what_the_reservoirs_say() {
    let mut house = House::new();
    let mut observer = house.observer();
    observer.round(&mut house.rings, Nanos(0));
    for (handle, n) in house.handles.iter().zip([1, 10]) {
        let (server, events) = (handle.counters.server(ServerId(1)), handle.counters.events(ServerId(1)));
        server.packets.add(100 * n);
        server.bytes.add(1000 * n);
        server.created.add(7 * n);
        server.established.add(6 * n);
        server.flows.add(n);
        events.finished_fin.add(n);
        events.finished_rst.add(2 * n);
        events.timed_out.add(3 * n);
        events.evicted.add(4 * n);
        events.syn_retransmits.add(5 * n);
        handle.counters.lcore.samples_lost.set(n);
    }
    house.sample(0, handshake(1, MILLISECOND));
    house.sample(1, handshake(1, 3 * MILLISECOND));
    observer.round(&mut house.rings, Nanos(100 * MILLISECOND));

    let frame = house.frame();
    let header = frame.header();
    assert_eq!((header.number, header.t, header.generation), (2, 100 * MILLISECOND, 1));
    assert_eq!((header.vips, header.servers, header.lost), (2, 3, 11));
    let (web, servers) = vip(&frame, 0);
    assert_eq!((web.packets, web.bytes, web.created, web.open), (1100, 11_000, 77, 11));
    assert_eq!((web.packet_rate, web.byte_rate, web.flow_rate), (11_000.0, 110_000.0, 770.0));
    let server = servers[1];
    assert_eq!((server.server, server.state()), (1, Some(ServerState::Active)));
    assert_eq!((server.configured_weight, server.weight, server.open), (1.0, 1.0, 11));
    assert_eq!((server.created, server.established, server.packets, server.bytes), (77, 66, 1100, 11_000));
    assert_eq!(
        (server.finished_fin, server.finished_rst, server.finished_timeout, server.evicted),
        (11, 22, 33, 44)
    );
    assert_eq!(server.syn_retransmits, 55);
    let said = server.kind(Kind::Handshake).unwrap();
    assert_eq!((said.count, said.age, said.mean), (2, 95 * MILLISECOND, 2e6));
    assert_eq!((server.kind(Kind::FlowGap), servers[0].kind(Kind::Handshake)), (None, None));
    let (dns, servers) = vip(&frame, 1);
    assert_eq!((dns.vip, servers.len(), dns.packet_rate), (1, 1, 0.0));
    let latencies = house.parts.findings.latencies(ServerId(1)).unwrap();
    assert_eq!((latencies.handshake.count(), latencies.duration.count()), (2, 0));
    assert_eq!(house.parts.findings.latencies(ServerId(0)), None);
}

#[test]
fn frames_come_once_a_period() {
    let mut house = House::new();
    let mut observer = house.observer();
    for millisecond in 0..100 {
        observer.round(&mut house.rings, Nanos(millisecond * MILLISECOND));
    }
    assert_eq!(house.frame().header().number, 10);
}

#[test]
fn server_slot_that_changes_hands_starts_without_a_past_and_its_vip_loses_nothing() {
    let mut house = House::new();
    let mut observer = house.observer();
    for worker in &house.handles {
        worker.counters.server(ServerId(0)).packets.add(50);
    }
    house.sample(0, handshake(0, MILLISECOND));
    observer.round(&mut house.rings, Nanos(0));
    let (web, servers) = vip(&house.frame(), 0);
    assert_eq!((web.packets, servers[0].packets), (100, 100));
    assert!(servers[0].kind(Kind::Handshake).is_some());

    // The server goes, its slot is given up, and the same slot becomes another server's.
    house.control.reload(config(&house.folder, ONE, "thread"), Nanos(0)).unwrap();
    for second in 1..=5 {
        house.workers.iter_mut().for_each(|worker| (0..64).for_each(|_| _ = worker.turn()));
        house.control.tick(Nanos(second * 1_001 * MILLISECOND));
    }
    house.parts.findings.follow(house.control.directory());
    observer.round(&mut house.rings, Nanos(100 * MILLISECOND));
    let (web, servers) = vip(&house.frame(), 0);
    assert_eq!((web.packets, servers.len()), (100, 1), "what it had counted stays with the VIP");

    let another = "servers = [\"192.0.2.12\", \"192.0.2.13\"]\n";
    house.control.reload(config(&house.folder, another, "thread"), Nanos(0)).unwrap();
    house.parts.findings.follow(house.control.directory());
    house.handles[1].counters.server(ServerId(0)).packets.add(1);
    observer.round(&mut house.rings, Nanos(200 * MILLISECOND));
    let (web, servers) = vip(&house.frame(), 0);
    let new = servers.iter().find(|server| server.server == 0).expect("the slot is in use again");
    assert_eq!((web.packets, new.packets, new.kind(Kind::Handshake)), (101, 1, None));
    assert_eq!(house.parts.findings.latencies(ServerId(0)), None);
}

#[test]
fn names_lie_beside_the_region_and_follow_it() {
    let mut house = House::new();
    let mut observer = house.observer();
    observer.round(&mut house.rings, Nanos(0));
    let names = Names::read(&house.path(), 1);
    assert_eq!((names.vip(0), names.server(1)), (Some("web"), Some("192.0.2.12")));
    house.control.reload(config(&house.folder, ONE, "thread"), Nanos(0)).unwrap();
    house.parts.findings.follow(house.control.directory());
    drop(observer);
    let mut observer = house.observer();
    observer.round(&mut house.rings, Nanos(100 * MILLISECOND));
    assert_eq!(Names::read(&house.path(), 1), Names::default(), "they are of the second writer");
    assert_eq!(Names::read(&house.path(), 2).vip(1), Some("dns"));
}

#[test]
fn more_servers_than_there_was_room_for_make_a_larger_region() {
    let mut house = House::new();
    let mut observer = house.observer();
    observer.round(&mut house.rings, Nanos(0));
    let old = Region::open_read_only(house.path()).unwrap();
    let many: Vec<String> = (0..3000).map(|at| format!("\"192.0.2.11:{}\"", at + 1)).collect();
    let many = format!("encap = \"nat\"\nservers = [{}]\n", many.join(", "));
    house.control.reload(config(&house.folder, &many, "thread"), Nanos(0)).unwrap();
    house.parts.findings.follow(house.control.directory());
    observer.round(&mut house.rings, Nanos(100 * MILLISECOND));
    assert!(old.is_replaced());
    assert!(house.frame().header().servers > 3000);
    let findings = &house.parts.findings;
    assert_eq!(findings.frames_published.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[test]
fn region_that_was_taken_away_is_made_again() {
    let mut house = House::new();
    let mut observer = house.observer();
    observer.round(&mut house.rings, Nanos(0));
    fs::remove_file(house.path()).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    observer.round(&mut house.rings, Nanos(100 * MILLISECOND));
    assert_eq!(house.frame().header().number, 1, "of a new region");
}

#[test]
fn weights_of_another_process_are_validated_counted_and_put_in_force() {
    let mut house = House::decided_by("region");
    let mut observer = house.observer();
    let region = Region::open(house.path()).unwrap();
    let mut policy = region.weights_writer(monotonic()).unwrap();
    let mut publish = |weight: f64| {
        let mut frame = WeightsFrame::default();
        frame.begin(0, 1);
        let mut entry = frame.vip(VipWeights::new(0, "mine"));
        entry.server(ServerWeight::new(0, weight)).server(ServerWeight::new(1, 1.0));
        policy.publish(&mut frame, monotonic()).unwrap();
    };
    let counts = |findings: &Findings| {
        [&findings.weights_read, &findings.weights_refused]
            .map(|counter| counter.load(std::sync::atomic::Ordering::Relaxed))
    };
    observer.round(&mut house.rings, Nanos(0));
    assert_eq!(counts(&house.parts.findings), [0, 0]);
    publish(2.0);
    observer.round(&mut house.rings, Nanos(1));
    observer.round(&mut house.rings, Nanos(2));
    assert_eq!(counts(&house.parts.findings), [1, 0]);
    let weights = house.parts.findings.take_weights().expect("weights for the control thread");
    let servers = weights.vips[0].servers.as_ref().expect("of servers");
    assert_eq!(servers[..], [(ServerId(0), 4.0 / 3.0), (ServerId(1), 2.0 / 3.0)]);
    house.control.weigh(&weights);
    publish(f64::NAN);
    observer.round(&mut house.rings, Nanos(10 * MILLISECOND));
    assert_eq!(counts(&house.parts.findings), [1, 1]);
    assert_eq!(vip(&house.frame(), 0).1[0].weight, 4.0 / 3.0);
}

#[test]
fn second_instance_on_the_same_region_is_refused_by_name() {
    let house = House::new();
    let _observer = house.observer();
    let error = Observer::new(&house.parts, Nanos(0)).unwrap_err().to_string();
    assert!(error.contains("is writing statistics"), "{error}");
}

#[test]
fn panic_starts_the_thread_again_and_workers_turn_on() {
    let mut house = House::new();
    let mut rings = std::mem::take(&mut house.rings);
    let (parts, path) = (house.parts.clone(), house.path());
    let thread = std::thread::spawn(move || {
        let mut starts = 0;
        supervise(&parts.findings, || {
            starts += 1;
            let mut observer = Observer::new(&parts, Nanos(0)).unwrap();
            let mut round = 0;
            while !parts.findings.is_stopped() {
                observer.round(&mut rings, Nanos(round * 20 * MILLISECOND));
                round += 1;
                assert!(starts > 2 || round < 5, "a test's own panic");
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    });
    let findings = Arc::clone(&house.parts.findings);
    let restarts = || findings.restarts.load(std::sync::atomic::Ordering::Relaxed);
    let published = || findings.frames_published.load(std::sync::atomic::Ordering::Relaxed);
    let start = std::time::Instant::now();
    let mut pushed = 0;
    while restarts() < 2 || published() < 20 {
        assert!(start.elapsed() < Duration::from_secs(20), "{} {}", restarts(), published());
        house.workers.iter_mut().for_each(|worker| _ = worker.turn());
        house.sample(0, handshake(0, MILLISECOND));
        pushed += 1;
    }
    findings.stop();
    thread.join().unwrap();
    let region = Region::open_read_only(path).unwrap();
    let origin = region.statistics_reader().origin();
    assert_eq!(
        (origin.epoch, origin.pid),
        (3, None),
        "a writer for each start, and the last one ended in order"
    );
    assert_eq!(house.producers[0].pushed() + house.producers[0].lost(), pushed, "no push waited");
}
