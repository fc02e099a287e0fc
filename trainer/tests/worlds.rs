//! What happens in worlds that change, and that runs can be compared.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use dataplane::tables::select::Select;
use ipc::{region::ServerState, sample::Kinds};
use trainer::sim::{
    Choice, IDLE_TIMEOUT, Oracle, Setup, Simulation,
    arrivals::Poisson,
    law::Law,
    noise::Noise,
    server::ServerSpec,
    setup::{Change, End, Service, Timed},
};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;

/// Three servers of one core, mean work 100 ms, one round trip 4 ms, for so long.
fn world(seconds: u64) -> Setup {
    Setup {
        balancers: 2,
        servers: vec![ServerSpec::default(); 3],
        service: Service::cpu(Law::Exponential { mean: 1e8 }),
        delay: Some(Law::Constant { mean: 2e6 }),
        end: End::Time(seconds * SECOND),
        warmup: 0.0,
        detection: 3 * SECOND,
        unseen: Vec::new(),
        changes: Vec::new(),
    }
}

fn begin(setup: &Setup, rate: f64, choice: Choice, seed: u64) -> Simulation {
    Simulation::new(setup, Box::new(Poisson::new(rate, seed)), choice, seed)
}

fn with(mut setup: Setup, changes: &[(u64, Change)]) -> Setup {
    setup.changes = changes.iter().map(|&(at, change)| Timed { at: at * SECOND, change }).collect();
    setup
}

fn created(run: &Simulation, server: usize) -> u64 {
    run.balancers().iter().map(|balancer| balancer.servers()[server].created).sum()
}

const LSQ: Choice = Choice::Rule(Select::Lsq);

/// Every flow is in exactly one place, and Little's law holds on every server.
fn balance(run: &Simulation, counts: bool) {
    let law = run.servers().iter().map(|server| server.littles_law());
    assert!(law.clone().all(|law| law.area == law.sojourns), "Little's law");
    assert!(run.servers().iter().all(|server| server.held() == 0));
    let created: u64 = (0..run.servers().len()).map(|server| created(run, server)).sum();
    assert!(!counts || created == run.record().flows());
}

#[test]
fn same_seed_is_the_same_run_to_the_nanosecond() {
    let setup = with(
        world(60),
        &[
            (10, Change::Noise { server: 0, noise: Noise { share: 0.5, bursts: Some((1e8, 3e8)) } }),
            (20, Change::Fail { server: 1 }),
            (40, Change::Recover { server: 1 }),
        ],
    );
    let run = |seed| {
        let mut run = begin(&setup, 20.0, Choice::Rule(Select::Sed2), seed);
        while run.advance(run.now() + 500 * MS) {
            let _ = run.observe(0, Kinds::ALL);
            run.set_weights(1, &[1.0, 2.0, 1.0 + (run.now() % 7) as f64]);
        }
        (run.happened(), run.record().completed.clone())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn every_choice_meets_the_same_clients() {
    let begins = |choice| {
        let mut run = begin(&world(100), 20.0, choice, 5);
        while run.advance(u64::MAX) {}
        balance(&run, true);
        let mut begins: Vec<u64> = run.record().completed.iter().map(|flow| flow.began).collect();
        begins.sort_unstable();
        let busy: u128 = run.servers().iter().map(|server| server.littles_law().sojourns).sum();
        (begins, busy)
    };
    let ((clients, first), (others, second)) = (begins(LSQ), begins(Choice::Oracle(Oracle::LeastWork)));
    assert_eq!(clients, others);
    assert_ne!(first, second, "what becomes of them differs");
}

#[test]
fn server_that_dies_takes_its_flows_with_it_and_gets_no_more_once_noticed() {
    let setup = with(world(120), &[(40, Change::Fail { server: 1 }), (80, Change::Recover { server: 1 })]);
    let mut run = begin(&setup, 20.0, LSQ, 1);
    assert!(run.advance(40 * SECOND - 1));
    let held = run.servers()[1].held() as u64;
    assert!(held > 0);
    assert!(run.advance(43 * SECOND));
    let until_noticed = created(&run, 1);
    assert_eq!(run.balancers()[0].servers()[1].state(), Some(ServerState::Down));
    assert!(run.advance(83 * SECOND));
    assert_eq!(created(&run, 1), until_noticed);
    while run.advance(run.now() + SECOND) {}
    assert!(created(&run, 1) > until_noticed, "it is back");
    let record = run.record();
    // What it held is lost; whoever knocked in vain was sent elsewhere when the SYN came again.
    assert!((held..held + 3).contains(&record.lost), "{} of {held}", record.lost);
    let late = record.completed.iter().filter(|flow| flow.latency > SECOND);
    let late = late.filter(|flow| (37..44).contains(&(flow.began / SECOND))).count();
    assert!(late > 0, "some had to knock again");
    balance(&run, false);
}

#[test]
fn balancer_forgets_lost_flows_in_time() {
    let mut setup = with(world(1000), &[(400, Change::Fail { server: 1 })]);
    setup.balancers = 1;
    let mut run = begin(&setup, 20.0, LSQ, 4);
    assert!(run.advance(400 * SECOND - 1));
    let held = run.servers()[1].held() as u64;
    assert!(held > 0);
    assert!(run.advance(500 * SECOND));
    assert_eq!(run.balancers()[0].live_flows(1), held, "nothing told it that they are over");
    assert!(run.advance(403 * SECOND + 20 * SECOND + IDLE_TIMEOUT));
    assert_eq!(run.balancers()[0].live_flows(1), 0);
}

#[test]
fn servers_come_and_go_as_the_operator_wants() {
    let mut setup = with(world(90), &[(30, Change::Add { server: 2 }), (60, Change::Remove { server: 2 })]);
    setup.servers[2].present = false;
    let mut run = begin(&setup, 10.0, LSQ, 1);
    assert!(run.advance(30 * SECOND - 1));
    assert_eq!(created(&run, 2), 0);
    assert!(run.advance(60 * SECOND));
    let given = created(&run, 2);
    assert!(given > 50, "{given}");
    while run.advance(u64::MAX) {}
    assert_eq!(created(&run, 2), given);
    assert_eq!((run.record().lost, run.record().refused), (0, 0));
    balance(&run, true);
}

#[test]
fn slower_servers_and_noise_cost_time_and_more_traffic_brings_more() {
    let mean = |changes: &[(u64, Change)]| {
        let mut run = begin(&with(world(300), changes), 15.0, LSQ, 3);
        while run.advance(u64::MAX) {}
        balance(&run, true);
        let completed = &run.record().completed;
        (completed.iter().map(|flow| flow.latency).sum::<u64>() / completed.len() as u64, completed.len())
    };
    let (calm, flows) = mean(&[]);
    let (slow, same) = mean(&[(1, Change::Speed { server: 0, speed: 0.5 })]);
    let noise = Noise { share: 0.5, bursts: Some((5e9, 5e9)) };
    let (noisy, _) = mean(&[(1, Change::Noise { server: 0, noise })]);
    assert_eq!(flows, same);
    assert!(calm < noisy && noisy < slow, "{calm} {noisy} {slow}");
    let (_, more) = mean(&[(0, Change::Traffic { factor: 1.5 })]);
    assert!((more as f64 / flows as f64 - 1.5).abs() < 0.06, "{more} {flows}");
}

#[test]
fn full_servers_refuse_and_their_balancers_do_not_hear_it() {
    let mut setup = world(60);
    setup.servers = vec![ServerSpec { backlog: 2, ..ServerSpec::default() }];
    setup.balancers = 1;
    let mut run = begin(&setup, 20.0, LSQ, 1);
    assert!(run.advance(30 * SECOND));
    let live = run.balancers()[0].live_flows(0);
    assert!(live > 50, "{live}: ten seconds of SYNs without an answer");
    while run.advance(u64::MAX) {}
    assert!(run.record().rejects() > 0.3);
    balance(&run, true);
}
