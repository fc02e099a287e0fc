//! The worlds that agents learn in: drawn at random, so that none of them can be learned by heart.

use std::ops::Range;

use ipc::sample::Kind;
use serde::Deserialize;

use crate::{
    learners::draws::{Draws, Use},
    scenario::values::Span,
    sim::{
        Choice, Setup, Simulation,
        arrivals::{Arrivals, Mmpp, Poisson},
        law::Law,
        noise::Noise,
        server::ServerSpec,
        setup::{Change, End, Service, Timed},
    },
};

/// What is drawn from. Ranges hold both ends; lists, one of their entries.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Family {
    /// Servers of the VIP.
    pub servers: [usize; 2],
    /// The share of worlds with many servers: up to `many_servers`.
    pub many: f64,
    /// See `many`.
    pub many_servers: usize,
    /// Balancers.
    pub balancers: [u32; 2],
    /// Flows that come, for what the servers can do.
    pub load: [f64; 2],
    /// Mean work of a flow; the logarithm is drawn.
    pub work: [Span; 2],
    /// No more flows a second than this: where there would be, each brings more work.
    pub most_flows: f64,
    /// Laws of the work.
    pub laws: Vec<Sizes>,
    /// The share of worlds in which flows come in bursts.
    pub bursts: f64,
    /// Cores of a kind of server.
    pub cores: Vec<u32>,
    /// Speed of a kind of server; the logarithm is drawn.
    pub speed: [f64; 2],
    /// The shares of worlds in which the operator's weights are right, all alike, and wrong by up to `wrong_by`.
    pub told: [f64; 3],
    /// See `told`.
    pub wrong_by: f64,
    /// How often a server slows down or speeds up during an episode.
    pub change: f64,
    /// How often servers have noisy neighbours.
    pub noise: f64,
    /// How often one dies.
    pub failure: f64,
    /// How often one is added.
    pub addition: f64,
    /// How often an episode begins with the world. In the others the balancers have been at work before.
    pub fresh: f64,
    /// For how long; the logarithm is drawn.
    pub past: [Span; 2],
    /// How often servers were slow for a while in that time, whose samples are still there when the episode begins.
    pub spells: f64,
    /// How often balancers have no `request_latency`, and how often no `handshake`.
    pub unseen: f64,
}

impl Default for Family {
    fn default() -> Self {
        Self {
            servers: [2, 8],
            many: 0.2,
            many_servers: 64,
            balancers: [1, 6],
            load: [0.4, 0.97],
            work: [Span(2e6), Span(4e8)],
            most_flows: 3000.0,
            laws: vec![Sizes::Exponential, Sizes::Lognormal, Sizes::Hyperexponential],
            bursts: 0.2,
            cores: vec![1, 2, 4, 8],
            speed: [0.5, 2.0],
            told: [0.5, 0.25, 0.25],
            wrong_by: 2.0,
            change: 0.3,
            noise: 0.2,
            failure: 0.05,
            addition: 0.05,
            fresh: 0.3,
            past: [Span(1e9), Span(6e10)],
            spells: 0.3,
            unseen: 0.2,
        }
    }
}

/// Laws by name; how wide they are is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sizes {
    /// Memoryless.
    Exponential,
    /// cv² from 1 to 10.
    Lognormal,
    /// cv² from 2 to 20.
    Hyperexponential,
    /// Shape from 1.2 to 1.8, over three orders of magnitude.
    Pareto,
}

/// A world, not yet begun. The same numbers every time it begins.
#[derive(Clone, Debug)]
pub struct World {
    /// Servers, balancers, work, changes.
    pub setup: Setup,
    /// Flows a second, on average.
    pub rate: f64,
    /// How long balancers have been at work when the episode begins, in nanoseconds.
    pub past: u64,
    bursts: bool,
    seed: u64,
}

impl World {
    /// Its beginning, for this way to choose servers.
    pub fn begin(&self, choice: Choice) -> Simulation {
        let arrivals: Box<dyn Arrivals> = if self.bursts {
            Box::new(Mmpp::new(self.rate, 2.0, 1e9, 4e9, self.seed))
        } else {
            Box::new(Poisson::new(self.rate, self.seed))
        };
        Simulation::new(&self.setup, arrivals, choice, self.seed)
    }

    /// Flows that would be held if each had a core of speed 1 to itself.
    pub fn offered(&self) -> f64 {
        self.rate * self.setup.service.mean() * 1e-9
    }
}

/// Servers times balancers are no more than this, but for worlds that have more servers: what an episode costs goes with it.
const MOST_ROWS: usize = 48;

/// Another seed for each number.
pub fn numbered(seed: u64, number: u64) -> u64 {
    // Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    let mut bits = seed ^ number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn within(draws: &mut Draws, [low, high]: [f64; 2]) -> f64 {
    draws.uniform().mul_add(high - low, low)
}

fn logarithmic(draws: &mut Draws, [low, high]: [f64; 2]) -> f64 {
    within(draws, [low.ln(), high.ln()]).exp()
}

fn one_of<T: Copy>(draws: &mut Draws, list: &[T]) -> T {
    list[draws.below(list.len())]
}

impl Family {
    /// Says which key makes no sense, what it is and what it must be.
    pub fn check(&self) -> Result<(), (&'static str, String, &'static str)> {
        let check = |key, found: String, holds, must| if holds { Ok(()) } else { Err((key, found, must)) };
        let [fewest, most] = self.servers;
        let counts = (1..=512).contains(&fewest) && (fewest..=512).contains(&most);
        check("worlds.servers", format!("{:?}", self.servers), counts, "rising, within 1 to 512")?;
        let many = (most..=512).contains(&self.many_servers);
        check("worlds.many_servers", self.many_servers.to_string(), many, "from `servers` to 512")?;
        let [fewest, most] = self.balancers;
        let counts = fewest >= 1 && fewest <= most && most <= 64;
        check("worlds.balancers", format!("{:?}", self.balancers), counts, "rising, within 1 to 64")?;
        let [low, high] = self.load;
        check("worlds.load", format!("{:?}", self.load), low > 0.0 && low <= high, "rising, above 0")?;
        let [low, high] = self.work.map(|span| span.0);
        check("worlds.work", format!("{:?}", self.work), low > 0.0 && low <= high, "rising, above 0")?;
        let [low, high] = self.past.map(|span| span.0);
        check("worlds.past", format!("{:?}", self.past), low > 0.0 && low <= high, "rising, above 0")?;
        let [low, high] = self.speed;
        check("worlds.speed", format!("{:?}", self.speed), low > 0.0 && low <= high, "rising, above 0")?;
        let cores = !self.cores.is_empty() && self.cores.iter().all(|&cores| cores > 0);
        check("worlds.cores", format!("{:?}", self.cores), cores, "one or more, above 0")?;
        check("worlds.laws", "empty".into(), !self.laws.is_empty(), "one or more")?;
        let told = self.told.iter().all(|&share| share >= 0.0) && self.told.iter().sum::<f64>() > 0.0;
        check("worlds.told", format!("{:?}", self.told), told, "shares, not all zero")?;
        check("worlds.wrong_by", self.wrong_by.to_string(), self.wrong_by >= 1.0, "at least 1")?;
        check("worlds.most_flows", self.most_flows.to_string(), self.most_flows > 0.0, "above 0")
    }

    /// The world of this seed, for an episode of so many nanoseconds, in which its changes happen.
    pub fn draw(&self, seed: u64, lasting: u64) -> World {
        let draws = &mut Draws::new(seed, Use::World);
        let most = if draws.uniform() < self.many { self.many_servers } else { self.servers[1] };
        let count = self.servers[0] + draws.below(most - self.servers[0] + 1);
        let mut servers = self.machines(draws, count);
        self.tell(draws, &mut servers);
        let mut changes = Vec::new();
        let past = self.past(draws, &servers, &mut changes);
        self.change(draws, &mut servers, past..past + lasting, &mut changes);
        let capacity: f64 = servers.iter().filter(|server| server.present).map(ServerSpec::capacity).sum();
        let load = within(draws, self.load);
        let work =
            logarithmic(draws, self.work.map(|span| span.0)).max(load * capacity / self.most_flows * 1e9);
        let law = self.law(draws, work);
        let [fewest, most] = self.balancers.map(|balancers| balancers as usize);
        let most = (MOST_ROWS / count).clamp(fewest, most.max(fewest));
        let balancers = (fewest + draws.below(most + 1 - fewest)) as u32;
        let furthest = logarithmic(draws, [1e5, 1e7]);
        let unseen = [Kind::RequestLatency, Kind::Handshake];
        let unseen = unseen.into_iter().filter(|_| draws.uniform() < self.unseen).collect();
        let setup = Setup {
            balancers,
            servers,
            service: Service::cpu(law),
            delay: Some(Law::Uniform { min: 0.1 * furthest, max: furthest }),
            // Whoever lets it happen ends it: flows come as long as anybody looks.
            end: End::Time(u64::MAX / 2),
            warmup: 0.0,
            detection: 3_000_000_000,
            unseen,
            changes,
        };
        let bursts = draws.uniform() < self.bursts;
        World { setup, rate: load * capacity / work * 1e9, past, bursts, seed: numbered(seed, 0) }
    }

    /// Up to three kinds of machines.
    fn machines(&self, draws: &mut Draws, count: usize) -> Vec<ServerSpec> {
        let kinds: Vec<_> = (0..1 + draws.below(3))
            .map(|_| (f64::from(one_of(draws, &self.cores)), logarithmic(draws, self.speed)))
            .collect();
        let server = |_| {
            let (cores, speed) = one_of(draws, &kinds);
            ServerSpec { cores, speed, weight: cores * speed, ..ServerSpec::default() }
        };
        (0..count).map(server).collect()
    }

    /// What the operator takes the machines for.
    fn tell(&self, draws: &mut Draws, servers: &mut [ServerSpec]) {
        let [rightly, alike, wrongly] = self.told;
        let at = draws.uniform() * (rightly + alike + wrongly);
        for server in servers {
            let factor = logarithmic(draws, [1.0 / self.wrong_by, self.wrong_by]);
            server.weight = match at {
                at if at < rightly => server.weight,
                at if at < rightly + alike => 1.0,
                _ => server.weight * factor,
            };
        }
    }

    /// What was before the episode, and for how long.
    fn past(&self, draws: &mut Draws, servers: &[ServerSpec], changes: &mut Vec<Timed>) -> u64 {
        let past = logarithmic(draws, self.past.map(|span| span.0));
        if draws.uniform() < self.fresh {
            return 0;
        }
        if draws.uniform() < self.spells {
            for _ in 0..1 + draws.below(servers.len().div_ceil(2)) {
                let server = draws.below(servers.len());
                let speed = servers[server].speed;
                let factor = logarithmic(draws, [0.1, 0.7]);
                let [begin, end] = [within(draws, [0.0, 0.8]), within(draws, [0.8, 1.0])];
                for (at, speed) in [(begin, speed * factor), (end, speed)] {
                    changes.push(Timed { at: (past * at) as u64, change: Change::Speed { server, speed } });
                }
            }
        }
        past as u64
    }

    fn change(
        &self,
        draws: &mut Draws,
        servers: &mut [ServerSpec],
        episode: Range<u64>,
        changes: &mut Vec<Timed>,
    ) {
        let mut at = |draws: &mut Draws, change| {
            let within = within(draws, [0.1, 0.9]) * (episode.end - episode.start) as f64;
            changes.push(Timed { at: episode.start + within as u64, change });
        };
        if draws.uniform() < self.change {
            for _ in 0..1 + draws.below(3) {
                let server = draws.below(servers.len());
                let speed = servers[server].speed * logarithmic(draws, [0.25, 2.0]);
                at(draws, Change::Speed { server, speed });
            }
        }
        if draws.uniform() < self.noise {
            for _ in 0..1 + draws.below(2) {
                let noise = Noise { share: within(draws, [0.2, 0.7]), bursts: Some((4e9, 4e9)) };
                let server = draws.below(servers.len());
                at(draws, Change::Noise { server, noise });
            }
        }
        if servers.len() > 2 && draws.uniform() < self.failure {
            let server = draws.below(servers.len());
            at(draws, Change::Fail { server });
        }
        if servers.len() > 2 && draws.uniform() < self.addition {
            let server = draws.below(servers.len());
            servers[server].present = false;
            at(draws, Change::Add { server });
        }
    }

    fn law(&self, draws: &mut Draws, mean: f64) -> Law {
        match one_of(draws, &self.laws) {
            Sizes::Exponential => Law::Exponential { mean },
            Sizes::Lognormal => Law::Lognormal { mean, cv2: logarithmic(draws, [1.0, 10.0]) },
            Sizes::Hyperexponential => Law::Hyperexponential { mean, cv2: logarithmic(draws, [2.0, 20.0]) },
            Sizes::Pareto => Law::Pareto { mean, shape: within(draws, [1.2, 1.8]), spread: 1000.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worlds_are_as_the_family_says_and_the_same_for_a_seed() {
        let family = Family::default();
        let mut told = [0; 2];
        for seed in 0..500 {
            let world = family.draw(seed, 20_000_000_000);
            let setup = &world.setup;
            assert!((2..=64).contains(&setup.servers.len()) && (1..=6).contains(&setup.balancers));
            assert!(world.rate <= family.most_flows * 1.000_001, "{}", world.rate);
            let capacity: f64 =
                setup.servers.iter().filter(|server| server.present).map(ServerSpec::capacity).sum();
            assert!((0.4..=0.97).contains(&(world.offered() / capacity)), "seed {seed}");
            let right = setup.servers.iter().all(|server| server.weight == server.capacity());
            told[usize::from(right)] += 1;
            assert_eq!(format!("{world:?}"), format!("{:?}", family.draw(seed, 20_000_000_000)));
        }
        assert!((150..350).contains(&told[1]), "half of the worlds are told rightly: {told:?}");
    }

    #[test]
    fn what_was_before_the_episode_is_over_when_it_begins() {
        let family = Family { change: 0.0, noise: 0.0, failure: 0.0, addition: 0.0, ..Family::default() };
        let (mut fresh, mut spells, mut unseen) = (0, 0, 0);
        for seed in 0..500 {
            let World { past, setup, .. } = family.draw(seed, 20_000_000_000);
            fresh += usize::from(past == 0);
            assert!(past == 0 || (1_000_000_000..=60_000_000_000).contains(&past));
            spells += usize::from(!setup.changes.is_empty());
            unseen += setup.unseen.len();
            assert!(setup.changes.iter().all(|timed| timed.at <= past));
            let mut speeds: Vec<_> = setup.servers.iter().map(|server| server.speed).collect();
            let mut changes = setup.changes.clone();
            changes.sort_by_key(|timed| timed.at);
            for timed in changes {
                let Change::Speed { server, speed } = timed.change else { panic!("{timed:?}") };
                speeds[server] = speed;
            }
            assert!(speeds.iter().zip(&setup.servers).all(|(speed, server)| *speed == server.speed));
        }
        assert!((100..200).contains(&fresh) && (70..140).contains(&spells), "{fresh} {spells}");
        assert!((150..250).contains(&unseen), "each of two kinds in a fifth of the worlds: {unseen}");
    }

    #[test]
    fn worlds_can_be_begun_again() {
        let world = Family::default().draw(3, 2_000_000_000);
        let ends = || {
            let mut simulation = world.begin(Choice::Rule(dataplane::tables::select::Select::Sed));
            assert!(simulation.advance(2_000_000_000), "flows come as long as anybody looks");
            (simulation.happened(), simulation.record().completed.clone())
        };
        assert_eq!(ends(), ends());
        assert!(ends().1.len() > 10);
    }

    #[test]
    fn numbers_make_seeds_that_differ() {
        let seeds: std::collections::BTreeSet<u64> =
            (0..3).flat_map(|seed| (0..100).map(move |number| numbered(seed, number))).collect();
        assert_eq!(seeds.len(), 300);
    }
}
