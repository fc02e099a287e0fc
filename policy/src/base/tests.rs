//! Estimates against servers whose rates are known: a Markov chain of flows that arrive and complete.

use ipc::region::{ServerState, ServerStatistics, VipStatistics};
use proptest::prelude::*;

use super::*;

/// A server that serves up to `workers` flows at once, each at `speed` a second.
#[derive(Clone, Copy)]
struct Server {
    workers: f64,
    speed: f64,
}

impl Server {
    const fn of_one(speed: f64) -> Self {
        Self { workers: 1.0, speed }
    }

    fn rate(&self) -> f64 {
        self.workers * self.speed
    }
}

/// Weights that are the rates that were found.
const RATES: Settings = Settings { levelling: 0.0, ..Settings::DEFAULT };

/// Balancers that choose by (open + 1) / weight from their own flows, before servers that share themselves evenly.
struct Chain {
    random: fastrand::Rng,
    servers: Vec<Server>,
    configured: Vec<f64>,
    /// By balancer and server.
    open: Vec<Vec<u64>>,
    finished: Vec<Vec<u64>>,
    created: Vec<Vec<u64>>,
    /// The share of flows that are gone at once.
    brief: f64,
    estimates: Vec<RateEstimate>,
    weights: Vec<Vec<f64>>,
    t: f64,
}

impl Chain {
    fn new(seed: u64, balancers: usize, servers: &[Server], configured: &[f64]) -> Self {
        let counts = vec![vec![0; servers.len()]; balancers];
        Self {
            random: fastrand::Rng::with_seed(seed),
            servers: servers.to_vec(),
            configured: configured.to_vec(),
            open: counts.clone(),
            finished: counts.clone(),
            created: counts,
            brief: 0.0,
            estimates: vec![RateEstimate::new(RATES); balancers],
            weights: vec![configured.to_vec(); balancers],
            t: 0.0,
        }
    }

    fn capacity(&self) -> f64 {
        self.servers.iter().map(Server::rate).sum()
    }

    fn total(&self, server: usize) -> f64 {
        self.open.iter().map(|open| open[server]).sum::<u64>() as f64
    }

    /// Lets `seconds` go by under a load, with an observation each `period`; returns the mean weights meanwhile.
    fn run(&mut self, load: f64, seconds: f64, period: f64) -> Vec<f64> {
        let arrivals = load * self.capacity();
        let mut means = vec![0.0; self.servers.len()];
        let frames = (seconds / period).round() as usize;
        for _ in 0..frames {
            let end = self.t + period;
            self.advance(arrivals, end);
            for balancer in 0..self.open.len() {
                self.observe(balancer);
            }
            for (mean, weight) in means.iter_mut().zip(&self.weights[0]) {
                *mean += weight / frames as f64;
            }
        }
        means
    }

    fn advance(&mut self, arrivals: f64, end: f64) {
        loop {
            let rates: Vec<f64> = self
                .servers
                .iter()
                .enumerate()
                .map(|(j, server)| server.speed * self.total(j).min(server.workers))
                .collect();
            let total = arrivals + rates.iter().sum::<f64>();
            let next = self.t - (1.0 - self.random.f64()).ln() / total;
            if next > end {
                self.t = end;
                return;
            }
            self.t = next;
            let mut at = self.random.f64() * total - arrivals;
            if at < 0.0 {
                self.arrive();
                continue;
            }
            let server = rates.iter().position(|rate| {
                at -= rate;
                at < 0.0
            });
            self.complete(server.unwrap_or(rates.len() - 1));
        }
    }

    fn arrive(&mut self) {
        let balancer = self.random.usize(0..self.open.len());
        let score = |j: usize| (self.open[balancer][j] + 1) as f64 / self.weights[balancer][j];
        let best = (0..self.servers.len()).min_by(|&a, &b| score(a).total_cmp(&score(b))).expect("servers");
        self.created[balancer][best] += 1;
        if self.brief > 0.0 && self.random.f64() < self.brief {
            self.finished[balancer][best] += 1;
        } else {
            self.open[balancer][best] += 1;
        }
    }

    fn complete(&mut self, server: usize) {
        let mut at = self.random.u64(0..(self.total(server) as u64).max(1));
        for balancer in 0..self.open.len() {
            if at < self.open[balancer][server] {
                self.open[balancer][server] -= 1;
                self.finished[balancer][server] += 1;
                return;
            }
            at -= self.open[balancer][server];
        }
    }

    fn observe(&mut self, balancer: usize) {
        let servers: Vec<_> = (0..self.servers.len())
            .map(|j| ServerStatistics {
                configured_weight: self.configured[j],
                open: self.open[balancer][j],
                created: self.created[balancer][j],
                finished_fin: self.finished[balancer][j],
                ..ServerStatistics::new(j as u32, ServerState::Active)
            })
            .collect();
        let vip = VipStatistics::new(0);
        let observation = Observation { t: (self.t * 1e9) as u64, vip: &vip, servers: &servers };
        self.estimates[balancer].estimate(&observation, &mut self.weights[balancer]);
    }
}

fn servers(workers: [f64; 2], speeds: [f64; 2]) -> [Server; 2] {
    [0, 1].map(|j| Server { workers: workers[j], speed: speeds[j] })
}

/// The ratio of the first server's weight to the second's, on the mean of 30 seconds after 30 seconds.
fn found(balancers: usize, servers: &[Server], configured: [f64; 2], load: f64) -> f64 {
    let mut chain = Chain::new(1, balancers, servers, &configured);
    chain.run(load, 30.0, 0.05);
    let weights = chain.run(load, 30.0, 0.05);
    weights[0] / weights[1]
}

fn assert_within(found: f64, low: f64, high: f64, what: &str) {
    assert!(low <= found && found <= high, "{what}: {found} is not within {low} and {high}");
}

#[test]
fn right_weights_stay() {
    for load in [0.1, 0.3, 0.5, 0.7, 0.9, 0.97] {
        for balancers in [1, 4] {
            for (workers, speeds) in
                [([1.0, 1.0], [200.0, 100.0]), ([1.0, 1.0], [20.0, 10.0]), ([4.0, 2.0], [10.0, 10.0])]
            {
                let found = found(balancers, &servers(workers, speeds), [2.0, 1.0], load);
                assert_within(found, 1.4, 2.7, &format!("{load} {balancers} {workers:?} {speeds:?}"));
            }
        }
    }
}

#[test]
fn many_workers_are_not_taken_for_one_at_light_load() {
    for load in [0.1, 0.3, 0.5, 0.7, 0.9] {
        let found = found(1, &servers([4.0, 1.0], [10.0, 10.0]), [4.0, 1.0], load);
        assert_within(found, 3.0, 4.5, &format!("{load}"));
    }
}

#[test]
fn rate_of_a_busy_server_is_found_whatever_the_configuration_says() {
    // Four servers of speeds 4, 2, 1, 1, told to be alike, and told to be the other way round.
    let speeds = [80.0, 40.0, 20.0, 20.0].map(Server::of_one);
    for configured in [[1.0; 4], [1.0, 1.0, 2.0, 2.0]] {
        let mut chain = Chain::new(3, 1, &speeds, &configured);
        chain.run(0.95, 20.0, 0.05);
        let weights = chain.run(0.95, 20.0, 0.05);
        for (weight, truth) in weights.iter().zip([2.0, 1.0, 0.5, 0.5]) {
            assert_within(weight / truth, 0.8, 1.3, &format!("{configured:?} {weights:?}"));
        }
    }
}

#[test]
fn balancers_that_share_servers_find_the_rates_too() {
    let found = found(4, &servers([1.0, 1.0], [200.0, 100.0]), [1.0, 1.0], 0.95);
    assert_within(found, 1.4, 2.5, "told 1:1");
}

#[test]
fn flows_that_only_wait_say_nothing_of_the_server() {
    // As many workers as there can be flows: each flow lives as long, whatever the server has to do.
    for load in [1e-9, 1e-8, 1e-7] {
        let found = found(1, &servers([1e9, 1e9], [10.0, 10.0]), [2.0, 1.0], load);
        assert_within(found, 1.8, 2.2, &format!("{load}"));
    }
}

#[test]
fn flows_that_are_gone_at_once_are_told_from_those_that_are_served() {
    let found = |brief: f64| {
        let mut chain = Chain::new(1, 2, &servers([2.0, 4.0], [5.0, 5.0]), &[1.0, 2.0]);
        chain.brief = brief;
        // Only what is not brief loads the servers.
        chain.run(0.75 / (1.0 - brief), 60.0, 0.05);
        let worst = (0..100).map(|_| chain.run(0.75 / (1.0 - brief), 1.0, 0.05)[0]).fold(f64::MAX, f64::min);
        (chain.estimates[0].brief.share(), worst / (2.0 - worst))
    };
    let (share, ratio) = found(0.0);
    assert_within(share, 0.0, 0.01, "none");
    assert_within(ratio, 0.3, 0.7, "none");
    let (share, ratio) = found(0.6);
    assert_within(share, 0.35, 0.6, "brief");
    assert_within(ratio, 0.3, 0.7, "brief");
}

#[test]
fn server_that_slows_down_is_noticed_within_seconds() {
    for (rate, seconds) in [(1000.0, 1.0), (200.0, 3.0), (20.0, 15.0)] {
        let mut chain = Chain::new(5, 1, &[Server::of_one(rate); 4], &[1.0; 4]);
        chain.run(0.8, 30.0, 0.05);
        chain.servers[0].speed = rate / 2.0;
        chain.run(0.9, seconds, 0.05);
        let weights = chain.run(0.9, 1.0, 0.05);
        let ratio = weights[0] * 3.0 / weights[1..].iter().sum::<f64>();
        assert_within(ratio, 0.35, 0.75, &format!("{rate} {weights:?}"));
    }
}

#[test]
fn server_that_completes_nothing_falls_fast() {
    let mut chain = Chain::new(6, 1, &[Server::of_one(100.0); 4], &[1.0; 4]);
    chain.run(0.6, 30.0, 0.05);
    chain.servers[0].speed = 0.0;
    chain.run(0.6, 1.0, 0.05);
    assert!(chain.weights[0][0] < 0.5, "{:?}", chain.weights);
    chain.run(0.6, 4.0, 0.05);
    assert!(chain.weights[0][0] < 0.25, "{:?}", chain.weights);
}

fn record(server: u32, configured_weight: f64, open: u64, finished_fin: u64) -> ServerStatistics {
    let created = open.saturating_add(finished_fin);
    ServerStatistics {
        configured_weight,
        open,
        finished_fin,
        created,
        ..ServerStatistics::new(server, ServerState::Active)
    }
}

fn estimate(estimate: &mut RateEstimate, t: f64, servers: &[ServerStatistics]) -> Vec<f64> {
    let (vip, mut base) = (VipStatistics::new(0), vec![f64::NAN]);
    estimate.estimate(&Observation { t: (t * 1e9) as u64, vip: &vip, servers }, &mut base);
    base
}

#[test]
fn without_data_the_configured_weights_count() {
    let mut rates = RateEstimate::default();
    let mut servers =
        [record(0, 3.0, 0, 0), record(1, 1.0, 0, 0), record(2, 5.0, 0, 0), record(3, 0.0, 0, 0)];
    servers[2].state = ServerState::Draining as u32;
    for step in 0..100 {
        assert_eq!(estimate(&mut rates, f64::from(step), &servers), [1.5, 0.5, 0.0, 0.0]);
    }
    assert_eq!(estimate(&mut rates, 100.0, &[]), [0.0; 0]);
}

#[test]
fn flows_of_a_dead_server_do_not_make_it_look_slow_when_it_is_back() {
    let mut chain = Chain::new(7, 1, &[Server::of_one(100.0); 4], &[1.0; 4]);
    chain.run(0.7, 30.0, 0.05);
    // They stand before the new ones and are never served.
    let (dead, died) = (20, chain.t);
    let observed = |chain: &mut Chain| {
        for frame in 1..=1200 {
            chain.advance(0.7 * 400.0, died + f64::from(frame) * 0.05);
            chain.open[0][0] += dead;
            chain.observe(0);
            chain.open[0][0] -= dead;
        }
        chain.weights[0].clone()
    };
    let weights = observed(&mut chain);
    assert_within(weights[0], 0.8, 1.2, &format!("{weights:?}"));
}

#[test]
fn weights_differ_less_than_rates_while_servers_have_few_flows() {
    let mut weights = [Settings::DEFAULT, RATES].map(|settings| {
        let mut rates = RateEstimate::new(settings);
        let frame = |t: f64| [record(0, 4.0, 1, (t * 100.0) as u64), record(1, 1.0, 1, (t * 25.0) as u64)];
        for step in 0..400 {
            let t = f64::from(step) * 0.05;
            estimate(&mut rates, t, &frame(t));
        }
        estimate(&mut rates, 20.0, &frame(20.0))
    });
    let [levelled, rates] = weights.each_mut().map(|weights| weights[0] / weights[1]);
    assert_within(levelled.ln() / rates.ln(), 0.75, 0.78, &format!("{levelled} {rates}"));
}

#[test]
fn flows_that_never_end_in_order_leave_the_configured_weights() {
    // UDP: flows begin, and end by time-out only.
    let mut rates = RateEstimate::default();
    for step in 0..200 {
        let servers = [record(0, 3.0, step * 7 % 50, 0), record(1, 1.0, step * 3 % 20, 0)];
        assert_eq!(estimate(&mut rates, step as f64 * 0.05, &servers), [1.5, 0.5]);
    }
}

#[test]
fn counters_that_go_back_and_gaps_teach_nothing() {
    let mut rates = RateEstimate::default();
    estimate(&mut rates, 1.0, &[record(0, 1.0, 5, 1000), record(1, 1.0, 5, 1000)]);
    let again = [record(0, 1.0, 5, 10), record(1, 1.0, 5, 1000)];
    assert_eq!(estimate(&mut rates, 2.0, &again), [1.0, 1.0]);
    let later = [record(0, 1.0, 5, 900_000), record(1, 1.0, 5, 1001)];
    assert_eq!(estimate(&mut rates, 1000.0, &later), [1.0, 1.0], "a long gap");
    assert_eq!(estimate(&mut rates, 3.0, &again), [1.0, 1.0], "time that goes back");
}

#[test]
fn restored_estimate_goes_on_to_the_bit() {
    let mut chain = Chain::new(8, 1, &[Server::of_one(100.0), Server::of_one(50.0)], &[1.0; 2]);
    chain.run(0.8, 5.0, 0.05);
    let mut writer = state::Writer::default();
    chain.estimates[0].save(&mut writer);
    let words = writer.into_words();
    let mut other = RateEstimate::new(RATES);
    let mut reader = state::Reader::new(&words);
    other.restore(&mut reader).unwrap();
    reader.end().unwrap();
    let mut twin = chain.random.clone();
    let (weights, before) = (chain.weights.clone(), (chain.open.clone(), chain.finished.clone()));
    let created = chain.created.clone();
    let t = chain.t;
    let first = chain.run(0.8, 5.0, 0.05);
    std::mem::swap(&mut chain.random, &mut twin);
    (chain.weights, chain.estimates, chain.t) = (weights, vec![other], t);
    ((chain.open, chain.finished), chain.created) = (before, created);
    assert_eq!(chain.run(0.8, 5.0, 0.05), first);
    for cut in 0..words.len() {
        let error = chain.estimates[0].restore(&mut state::Reader::new(&words[..cut]));
        assert_eq!(error, Err(StateError::Short));
        assert_eq!(chain.estimates[0].servers, PerServer::default());
    }
}

proptest! {
    #[test]
    fn any_records_give_weights_with_mean_one(
        frames in prop::collection::vec(
            (0_u64..4_000_000_000, prop::collection::vec((0_u32..3, 0.0..1e9_f64, any::<u64>(), any::<u64>()), 0..6)),
            1..20,
        ),
    ) {
        let mut rates = RateEstimate::default();
        let mut t = 0.0;
        for (dt, servers) in frames {
            t += dt as f64 / 1e9;
            let servers: Vec<_> = servers
                .into_iter()
                .enumerate()
                .map(|(j, (state, configured, open, finished))| ServerStatistics {
                    state,
                    ..record(j as u32, if j == 3 { 1e-300 } else { configured }, open, finished)
                })
                .collect();
            let base = estimate(&mut rates, t, &servers);
            let active = servers.iter().filter(|server| Observation::is_active(server)).count();
            prop_assert_eq!(base.len(), servers.len());
            let sum: f64 = base.iter().sum();
            prop_assert!((sum - active as f64).abs() < 1e-9 * (1.0 + sum), "{:?}", base);
            for (base, server) in base.iter().zip(&servers) {
                prop_assert_eq!(*base > 0.0, Observation::is_active(server));
            }
        }
    }
}

#[test]
#[ignore = "prints the table of docs/design/rules.md"]
fn figures_of_the_page() {
    for (name, workers, speeds, truth, told) in [
        ("1 worker each, 20 : 10 a second", [1.0, 1.0], [20.0, 10.0], "2", [2.0, 1.0]),
        ("", [1.0, 1.0], [20.0, 10.0], "2", [1.0, 1.0]),
        ("", [1.0, 1.0], [20.0, 10.0], "2", [1.0, 2.0]),
        ("1 worker each, 200 : 100 a second", [1.0, 1.0], [200.0, 100.0], "2", [2.0, 1.0]),
        ("", [1.0, 1.0], [200.0, 100.0], "2", [1.0, 1.0]),
        ("", [1.0, 1.0], [200.0, 100.0], "2", [1.0, 2.0]),
        ("4 workers : 1, 10 a second each", [4.0, 1.0], [10.0, 10.0], "4", [4.0, 1.0]),
        ("", [4.0, 1.0], [10.0, 10.0], "4", [1.0, 1.0]),
        ("4 workers : 2", [4.0, 2.0], [10.0, 10.0], "2", [1.0, 1.0]),
        ("4 workers each", [4.0, 4.0], [10.0, 10.0], "1", [2.0, 1.0]),
    ] {
        eprint!("| {name} | {truth} | {} : {} |", told[0], told[1]);
        for load in [0.3, 0.7, 0.9] {
            let mut chain = Chain::new(1, 1, &servers(workers, speeds), &told);
            chain.run(load, 60.0, 0.05);
            let weights = chain.run(load, 60.0, 0.05);
            eprint!(" {:.2} |", weights[0] / weights[1]);
        }
        eprintln!();
    }
}
