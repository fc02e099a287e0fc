//! The keys of a scenario, and what they come to.

use std::path::Path;

use serde::Deserialize;

use super::{
    Scenario, ScenarioError, capacity,
    people::People,
    values::{Indices, Pattern, Sizes, Span},
};
use crate::sim::{
    noise::Noise,
    server::ServerSpec,
    setup::{Change, End, Service, Setup, Timed},
};

/// A scenario as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    #[serde(default = "one")]
    balancers: u32,
    load: Option<f64>,
    rate: Option<f64>,
    flows: Option<u64>,
    duration: Option<Span>,
    #[serde(default = "tenth")]
    warmup: f64,
    #[serde(default)]
    arrivals: Pattern,
    service: Sizes,
    io: Option<Sizes>,
    #[serde(default = "one")]
    rounds: u32,
    delay: Option<Sizes>,
    #[serde(default = "three_seconds")]
    detection: Span,
    #[serde(default = "fifty_milliseconds")]
    period: Span,
    #[serde(default)]
    server: Vec<Servers>,
    #[serde(default)]
    event: Vec<Event>,
}

/// Servers that are alike.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Servers {
    #[serde(default = "one")]
    count: u32,
    #[serde(default = "one_point")]
    cores: f64,
    #[serde(default = "one_point")]
    speed: f64,
    weight: Option<f64>,
    #[serde(default)]
    discipline: Discipline,
    in_service: Option<usize>,
    backlog: Option<usize>,
    #[serde(default = "yes")]
    present: bool,
}

/// How flows are served that are at a server at once.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Discipline {
    /// All together, the cores shared.
    #[default]
    Ps,
    /// One for each core, the others in line.
    Fifo,
}

/// What changes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    at: Span,
    server: Option<Indices>,
    speed: Option<f64>,
    weight: Option<f64>,
    noise: Option<f64>,
    on: Option<Span>,
    off: Option<Span>,
    #[serde(default)]
    add: bool,
    #[serde(default)]
    remove: bool,
    #[serde(default)]
    fail: bool,
    #[serde(default)]
    recover: bool,
    traffic: Option<f64>,
    r#for: Option<Span>,
}

const fn one() -> u32 {
    1
}

const fn one_point() -> f64 {
    1.0
}

const fn yes() -> bool {
    true
}

const fn tenth() -> f64 {
    0.1
}

const fn three_seconds() -> Span {
    Span(3e9)
}

const fn fifty_milliseconds() -> Span {
    Span(5e7)
}

/// Refuses what does not hold.
fn check(key: impl Into<String>, found: f64, holds: bool, must: &'static str) -> Result<(), ScenarioError> {
    if holds && found.is_finite() {
        Ok(())
    } else {
        Err(ScenarioError::Value { key: key.into(), found, must })
    }
}

/// Refuses what is not above zero.
fn positive(key: impl Into<String>, found: f64) -> Result<(), ScenarioError> {
    check(key, found, found > 0.0, "above zero")
}

impl File {
    /// The scenario, or the first thing that is wrong with it. A trace is looked for from `folder`.
    pub fn check(self, folder: &Path) -> Result<Scenario, ScenarioError> {
        check("balancers", self.balancers.into(), self.balancers > 0, "at least 1")?;
        check("rounds", self.rounds.into(), self.rounds > 0, "at least 1")?;
        check("warmup", self.warmup, (0.0..1.0).contains(&self.warmup), "at least 0 and below 1")?;
        positive("period", self.period.0)?;
        let mut servers = Vec::new();
        for (at, group) in self.server.iter().enumerate() {
            group.check(at)?;
            servers.extend((0..group.count).map(|_| group.spec()));
        }
        let mut changes = Vec::new();
        for (at, event) in self.event.iter().enumerate() {
            event.check(at, servers.len(), &mut changes)?;
        }
        let service = Service { cpu: self.service.0, io: self.io.map(|io| io.0), rounds: self.rounds };
        let capacity = capacity(&servers);
        if capacity == 0.0 {
            return Err(ScenarioError::NoServer);
        }
        let rate = match (self.load, self.rate) {
            (Some(load), None) => {
                positive("load", load)?;
                load * capacity / service.cpu.mean() * 1e9
            }
            (None, Some(rate)) => {
                positive("rate", rate)?;
                rate
            }
            _ => return Err(ScenarioError::Either("load", "rate")),
        };
        let end = match (self.flows, self.duration) {
            (Some(flows), None) => End::Flows(flows),
            (None, Some(duration)) => End::Time(duration.nanos()),
            _ => return Err(ScenarioError::Either("flows", "duration")),
        };
        let setup = Setup {
            balancers: self.balancers,
            servers,
            service,
            delay: self.delay.map(|delay| delay.0),
            end,
            warmup: self.warmup,
            detection: self.detection.nanos(),
            unseen: Vec::new(),
            changes,
        };
        let people = People::new(self.arrivals, folder)?;
        Ok(Scenario { setup, people, rate, period: self.period.nanos() })
    }
}

impl Servers {
    fn check(&self, at: usize) -> Result<(), ScenarioError> {
        let key = |name| format!("{name} of [[server]] {at}");
        positive(key("cores"), self.cores)?;
        positive(key("speed"), self.speed)?;
        positive(key("weight"), self.weight())?;
        let whole = matches!(self.discipline, Discipline::Ps) || self.cores.fract() == 0.0;
        check(key("cores"), self.cores, whole, "a whole number under fifo")
    }

    /// What the operator writes who knows the machine.
    fn weight(&self) -> f64 {
        self.weight.unwrap_or(self.cores * self.speed)
    }

    fn spec(&self) -> ServerSpec {
        let all = match self.discipline {
            Discipline::Ps => usize::MAX,
            Discipline::Fifo => self.cores as usize,
        };
        ServerSpec {
            cores: self.cores,
            speed: self.speed,
            weight: self.weight(),
            in_service: self.in_service.unwrap_or(all),
            backlog: self.backlog.unwrap_or(usize::MAX),
            present: self.present,
        }
    }
}

impl Event {
    /// Adds what it comes to.
    fn check(&self, at: usize, servers: usize, changes: &mut Vec<Timed>) -> Result<(), ScenarioError> {
        let key = |name| format!("{name} of [[event]] {at}");
        let things = [
            self.speed.is_some(),
            self.weight.is_some(),
            self.noise.is_some(),
            self.add,
            self.remove,
            self.fail,
            self.recover,
            self.traffic.is_some(),
        ];
        if things.into_iter().filter(|&is_said| is_said).count() != 1 {
            return Err(ScenarioError::OneThing(at));
        }
        if self.server.is_some() == self.traffic.is_some() {
            return Err(ScenarioError::Whose(at));
        }
        let ends = self.noise.is_some() || self.fail;
        if self.r#for.is_some() && !ends
            || self.on.is_some() != self.off.is_some()
            || self.on.is_some() && self.noise.is_none()
        {
            return Err(ScenarioError::For(at));
        }
        for (name, value) in [("speed", self.speed), ("weight", self.weight), ("traffic", self.traffic)] {
            value.map_or(Ok(()), |value| positive(key(name), value))?;
        }
        if let Some(noise) = self.noise {
            check(key("noise"), noise, (0.0..1.0).contains(&noise), "at least 0 and below 1")?;
        }
        let when = self.at.nanos();
        if let Some(factor) = self.traffic {
            changes.push(Timed { at: when, change: Change::Traffic { factor } });
        }
        for &server in self.server.iter().flat_map(|indices| &indices.0) {
            if server >= servers {
                return Err(ScenarioError::NoSuchServer {
                    event: at,
                    server,
                    last: servers.saturating_sub(1),
                });
            }
            changes.push(Timed { at: when, change: self.begin(server) });
            if let Some(lasts) = self.r#for {
                changes.push(Timed { at: when + lasts.nanos(), change: self.end(server) });
            }
        }
        Ok(())
    }

    fn begin(&self, server: usize) -> Change {
        let bursts = self.on.zip(self.off).map(|(on, off)| (on.0, off.0));
        match (self.speed, self.weight, self.noise) {
            (Some(speed), ..) => Change::Speed { server, speed },
            (_, Some(weight), _) => Change::Weight { server, weight },
            (.., Some(share)) => Change::Noise { server, noise: Noise { share, bursts } },
            _ if self.add => Change::Add { server },
            _ if self.remove => Change::Remove { server },
            _ if self.fail => Change::Fail { server },
            _ => Change::Recover { server },
        }
    }

    /// How it ends that has a `for`.
    fn end(&self, server: usize) -> Change {
        match self.fail {
            true => Change::Recover { server },
            false => Change::Noise { server, noise: Noise { share: 0.0, bursts: None } },
        }
    }
}
