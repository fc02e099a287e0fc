//! The simulator against queueing theory.
//!
//! Every check is a mean over independent runs with fixed seeds. It holds if theory lies within four standard errors,
//! and it says something only if those are small: each check names how small.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use dataplane::tables::select::Select;
use trainer::{
    evaluate::interval::Interval,
    sim::{
        Choice, Oracle, Setup, Simulation,
        arrivals::Poisson,
        law::Law,
        server::ServerSpec,
        setup::{End, Service},
    },
};

/// Mean work, in nanoseconds: all times are told in units of it.
const UNIT: f64 = 1e6;

fn shared(speed: f64) -> ServerSpec {
    ServerSpec { speed, weight: speed, ..ServerSpec::default() }
}

fn in_line(cores: usize) -> ServerSpec {
    ServerSpec { cores: cores as f64, in_service: cores, ..ServerSpec::default() }
}

/// A world without delays, and what it is compared with.
struct World {
    setup: Setup,
    load: f64,
    choice: Choice,
}

impl World {
    fn new(servers: Vec<ServerSpec>, load: f64, choice: Choice) -> Self {
        let setup = Setup {
            balancers: 1,
            servers,
            service: Service::cpu(Law::Exponential { mean: UNIT }),
            delay: None,
            end: End::Flows(100_000),
            warmup: 0.1,
            detection: 0,
            unseen: Vec::new(),
            changes: Vec::new(),
        };
        Self { setup, load, choice }
    }

    fn sizes(mut self, cpu: Law) -> Self {
        self.setup.service = Service::cpu(cpu);
        self
    }

    fn balancers(mut self, balancers: u32) -> Self {
        self.setup.balancers = balancers;
        self
    }

    fn flows(mut self, flows: u64) -> Self {
        self.setup.end = End::Flows(flows);
        self
    }

    /// A whole run, with Little's law checked on every server.
    fn run(&self, seed: u64) -> Simulation {
        let capacity: f64 = self.setup.servers.iter().map(ServerSpec::capacity).sum();
        let rate = self.load * capacity / UNIT * 1e9;
        let mut run = Simulation::new(&self.setup, Box::new(Poisson::new(rate, seed)), self.choice, seed);
        while run.advance(u64::MAX) {}
        for server in run.servers() {
            let law = server.littles_law();
            assert_eq!((law.area, server.held()), (law.sojourns, 0));
        }
        run
    }

    /// Mean latency of each run, in units.
    fn means(&self, runs: u64) -> Vec<f64> {
        let mean = |seed| {
            let run = self.run(seed);
            let completed = &run.record().completed;
            completed.iter().map(|flow| flow.latency as f64).sum::<f64>() / completed.len() as f64 / UNIT
        };
        (1..=runs).map(mean).collect()
    }

    /// Theory is within four standard errors, and one of them is within `precision` of it.
    fn agrees(&self, runs: u64, theory: f64, precision: f64) {
        let found = Interval::of(&self.means(runs));
        assert!((found.mean - theory).abs() < 4.0 * found.error, "{found:?}, not {theory}");
        assert!(found.error < precision * theory, "{found:?}: too vague for {theory}");
    }
}

const HASH: Choice = Choice::Rule(Select::Hash);
const SED: Choice = Choice::Rule(Select::Sed);
const LSQ: Choice = Choice::Rule(Select::Lsq);

/// Servers of these speeds, and as many as the operator says they are worth.
fn pool(servers: &[(f64, f64)]) -> Vec<ServerSpec> {
    servers.iter().map(|&(speed, weight)| ServerSpec { weight, ..shared(speed) }).collect()
}

fn sizes() -> [(Law, f64); 4] {
    [
        (Law::Constant { mean: UNIT }, 0.0),
        (Law::Exponential { mean: UNIT }, 1.0),
        (Law::Hyperexponential { mean: UNIT, cv2: 4.0 }, 4.0),
        (Law::Lognormal { mean: UNIT, cv2: 4.0 }, 4.0),
    ]
}

#[test]
fn one_server_is_m_m_1_whatever_its_discipline() {
    // T = 1/(1 - rho), whether jobs share or wait, for exponential sizes.
    for server in [shared(1.0), in_line(1)] {
        World::new(vec![server], 0.8, HASH).agrees(20, 5.0, 0.01);
    }
}

#[test]
fn quantiles_of_m_m_1_in_line_are_exponential() {
    let world = World::new(vec![in_line(1)], 0.8, HASH);
    let quantiles = |seed| {
        let mut latencies: Vec<u64> =
            world.run(seed).record().completed.iter().map(|flow| flow.latency).collect();
        latencies.sort_unstable();
        [0.5, 0.95, 0.99].map(|share| latencies[(share * latencies.len() as f64) as usize] as f64 / UNIT)
    };
    let runs: Vec<[f64; 3]> = (1..=15).map(quantiles).collect();
    for (at, theory) in [3.4657, 14.9787, 23.0259].into_iter().enumerate() {
        let found = Interval::of(&runs.iter().map(|run| run[at]).collect::<Vec<_>>());
        assert!((found.mean - theory).abs() < 4.0 * found.error, "{found:?}, not {theory}");
        assert!(found.error < 0.02 * theory, "{found:?}: too vague");
    }
}

#[test]
fn waiting_in_line_grows_with_the_variance_of_sizes() {
    // Pollaczek and Khinchine: T = 1 + rho (1 + cv2) / (2 (1 - rho)).
    for (law, cv2) in sizes() {
        let theory = 1.0 + 0.7 * (1.0 + cv2) / (2.0 * 0.3);
        World::new(vec![in_line(1)], 0.7, HASH).sizes(law).agrees(12, theory, 0.02);
    }
}

#[test]
fn sharing_does_not_care_about_the_variance_of_sizes() {
    for (law, _) in sizes() {
        World::new(vec![shared(1.0)], 0.7, HASH).sizes(law).agrees(12, 1.0 / 0.3, 0.015);
    }
    let tail = Law::Pareto { mean: UNIT, shape: 1.5, spread: 1000.0 };
    World::new(vec![shared(1.0)], 0.7, HASH).sizes(tail).agrees(12, 1.0 / 0.3, 0.03);
}

#[test]
fn several_cores_in_line_are_erlangs() {
    for (cores, load, theory) in [(2, 0.8, 2.777_778), (4, 0.9, 2.969_383), (8, 0.9, 1.876_916)] {
        World::new(vec![in_line(cores)], load, HASH).agrees(10, theory, 0.015);
    }
}

#[test]
fn cores_that_are_shared_are_as_erlangs_for_exponential_sizes() {
    let server = ServerSpec { cores: 4.0, ..ServerSpec::default() };
    World::new(vec![server], 0.8, HASH).agrees(10, 1.745_541, 0.01);
}

#[test]
fn least_work_is_one_central_line() {
    let servers = vec![in_line(1); 4];
    World::new(servers, 0.8, Choice::Oracle(Oracle::LeastWork)).agrees(10, 1.745_541, 0.01);
}

#[test]
fn full_server_refuses_as_often_as_erlang_says() {
    // M/G/1/K, shared: P = (1 - rho) rho^K / (1 - rho^(K + 1)), for any sizes.
    let (load, room) = (0.9_f64, 5);
    let theory = (1.0 - load) * load.powi(room) / (1.0 - load.powi(room + 1));
    for (law, _) in sizes() {
        let server = ServerSpec { backlog: room as usize, ..shared(1.0) };
        let world = World::new(vec![server], load, HASH).sizes(law);
        let rejects: Vec<f64> = (1..=5).map(|seed| world.run(seed).record().rejects()).collect();
        let found = Interval::of(&rejects);
        assert!((found.mean - theory).abs() < 4.0 * found.error, "{found:?}, not {theory}");
        assert!(found.error < 0.025 * theory, "{found:?}: too vague");
    }
}

#[test]
fn cores_and_disk_are_two_queues_in_a_row() {
    // A product-form network: each part on its own is an M/G/1 that is shared, however often a flow goes round.
    for rounds in [1, 3] {
        let mut world = World::new(vec![shared(1.0)], 0.7, HASH);
        let io = Some(Law::Exponential { mean: 0.5 * UNIT });
        world.setup.service = Service { cpu: Law::Exponential { mean: UNIT }, io, rounds };
        world.agrees(12, 1.0 / 0.3 + 0.5 / (1.0 - 0.35), 0.015);
    }
}

#[test]
fn client_far_away_waits_for_two_round_trips_more() {
    let mut world = World::new(vec![shared(1.0)], 0.5, HASH);
    world.setup.delay = Some(Law::Constant { mean: 3.0 * UNIT });
    world.agrees(5, 2.0 + 4.0 * 3.0, 0.01);
}

#[test]
fn static_split_is_several_m_m_1() {
    // Servers (2, 1) at 0.8: the best split sends 0.6869 to the fast one; a proportional one is worse.
    for (share, theory) in [(0.6869, 3.214_19), (2.0 / 3.0, 10.0 / 3.0)] {
        let servers = pool(&[(2.0, share), (1.0, 1.0 - share)]);
        World::new(servers, 0.8, Choice::Rule(Select::Alias)).agrees(15, theory, 0.012);
    }
}

#[test]
fn shorter_queue_of_two_is_the_exact_chain() {
    for (load, theory) in [(0.5, 1.426_321), (0.8, 2.955_737)] {
        World::new(pool(&[(1.0, 1.0); 2]), load, LSQ).agrees(10, theory, 0.01);
    }
    // Unequal servers; equal weights, as they decide which server is whose on ties.
    for (load, theory) in [(0.5, 1.027_681), (0.8, 2.091_919)] {
        World::new(pool(&[(2.0, 1.0), (1.0, 1.0)]), load, LSQ).agrees(10, theory, 0.01);
    }
}

#[test]
fn shortest_expected_delay_is_the_exact_chain_with_ties_to_the_slow() {
    // With ties to the fast server it would be 0.960451 and 2.021124.
    for (load, theory) in [(0.5, 0.904_21), (0.8, 1.941_43)] {
        World::new(pool(&[(2.0, 2.0), (1.0, 1.0)]), load, SED).agrees(20, theory, 0.006);
    }
}

#[test]
fn balancers_that_see_their_own_flows_alone_are_the_exact_chain() {
    // Equal servers at 0.7: 2.1082 with full sight, 2.2218 without; 2.9557 and 3.0777 at 0.8.
    for (load, theory) in [(0.7, 2.2218), (0.8, 3.0777)] {
        World::new(pool(&[(1.0, 1.0); 2]), load, SED).balancers(2).agrees(20, theory, 0.01);
    }
    for (load, theory) in [(0.7, 2.1082), (0.8, 2.9557)] {
        let global = Choice::Oracle(Oracle::GlobalQueue);
        World::new(pool(&[(1.0, 1.0); 2]), load, global).balancers(2).agrees(20, theory, 0.01);
    }
    // Unequal ones: 1.622 if ties went to the fast server.
    World::new(pool(&[(2.0, 2.0), (1.0, 1.0)]), 0.7, SED).balancers(2).agrees(20, 1.424, 0.006);
}

#[test]
fn two_choices_of_many_servers_are_the_mean_field() {
    // T = sum of rho^(2^i - 2): Mitzenmacher; Vvedenskaya, Dobrushin and Karpelevich.
    for (load, theory) in [(0.7, 1.6145), (0.9, 2.6141)] {
        let choice = Choice::Rule(Select::Lsq2);
        let world = World::new(pool(&[(1.0, 1.0); 600]), load, choice).flows(400_000);
        let found = Interval::of(&world.means(3));
        // Within what finitely many servers and an uneven ring make up.
        assert!((found.mean / theory - 1.0).abs() < 0.015, "{found:?}, not {theory}");
    }
}
