//! A server: cores, a disk, room for so many flows; it may slow down, be disturbed, or die.

use super::{price::Price, station::Station};

/// What a server is.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSpec {
    /// Cores, above zero.
    pub cores: f64,
    /// Work that a core does in a nanosecond, above zero.
    pub speed: f64,
    /// What the operator takes it for.
    pub weight: f64,
    /// Most flows that are on the cores at once; others wait in line. As many as cores: first come, first served.
    pub in_service: usize,
    /// Most flows that it holds; it refuses others.
    pub backlog: usize,
    /// Whether it is there from the beginning.
    pub present: bool,
}

impl Default for ServerSpec {
    /// One core of speed 1, shared, with room for any number of flows.
    fn default() -> Self {
        Self {
            cores: 1.0,
            speed: 1.0,
            weight: 1.0,
            in_service: usize::MAX,
            backlog: usize::MAX,
            present: true,
        }
    }
}

impl ServerSpec {
    /// Work that it does in a nanosecond when all cores are busy.
    pub fn capacity(&self) -> f64 {
        self.cores * self.speed
    }
}

/// A part of a server that does work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The cores.
    Cpu,
    /// The disk: shared by all flows that use it.
    Io,
}

/// A server at work.
#[derive(Clone, Debug)]
pub struct Server {
    cpu: Station,
    io: Station,
    spec: ServerSpec,
    /// Its speed now without what disturbs it, and the share that a neighbour takes.
    speed: f64,
    noise: f64,
    alive: bool,
    /// How often it has died.
    deaths: u32,
    /// Flows that it holds, and work of those whose requests are still on their way.
    held: usize,
    coming: f64,
    law: LittlesLaw,
}

/// Both sides of Little's law, in whole numbers: what they differ by is a mistake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LittlesLaw {
    /// Flows held, summed over time.
    pub area: u128,
    /// How long each flow that is gone was held, summed over flows.
    pub sojourns: u128,
    /// Flows that are gone.
    pub gone: u64,
    at: u64,
}

impl Server {
    /// An idle server.
    pub fn new(spec: ServerSpec) -> Self {
        Self {
            cpu: Station::new(spec.cores, spec.speed, spec.in_service),
            io: Station::new(1.0, 1.0, usize::MAX),
            speed: spec.speed,
            noise: 0.0,
            alive: true,
            deaths: 0,
            held: 0,
            coming: 0.0,
            law: LittlesLaw::default(),
            spec,
        }
    }

    /// Flows that it holds, from their SYN to their last byte.
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Whether it answers.
    pub const fn is_alive(&self) -> bool {
        self.alive
    }

    /// How often it has died: a flow that has seen another number is lost.
    pub const fn deaths(&self) -> u32 {
        self.deaths
    }

    /// Work that it can do in a nanosecond now.
    pub fn capacity(&self) -> f64 {
        self.spec.cores * self.effective_speed()
    }

    /// What a flow more costs, if flows keep so large a share of it busy.
    pub fn price(&self, load: f64) -> Price {
        Price::new(self.spec.cores, self.effective_speed(), load)
    }

    /// What it was made as.
    pub const fn spec(&self) -> &ServerSpec {
        &self.spec
    }

    /// Both sides of Little's law.
    pub const fn littles_law(&self) -> LittlesLaw {
        self.law
    }

    /// Flows held, summed over time until now, in nanoseconds: by Little's law the time of all its flows together.
    pub fn flow_time(&self, now: u64) -> u128 {
        self.law.area + self.held as u128 * u128::from(now - self.law.at)
    }

    /// How long it would take to finish everything that it holds, in nanoseconds.
    pub fn backlog_time(&self, now: u64) -> f64 {
        (self.cpu.work_left(now) + self.coming.max(0.0)) / self.capacity() + self.io.work_left(now)
    }

    /// By how much a flow with so much work would raise the sum of all flows' times here, in nanoseconds, if it had to wait
    /// for no disk and nobody came after it.
    pub fn delay_of(&self, now: u64, cpu: f64) -> f64 {
        self.cpu.delay_of(now, cpu) + self.coming.max(0.0) / self.capacity()
    }

    fn effective_speed(&self) -> f64 {
        self.speed * (1.0 - self.noise)
    }

    fn count(&mut self, now: u64) {
        self.law.area += self.held as u128 * u128::from(now - self.law.at);
        self.law.at = now;
    }

    /// A flow comes, with so much work for the cores that its request will bring. Returns whether there is room.
    pub fn admit(&mut self, now: u64, cpu: f64) -> bool {
        if self.held >= self.spec.backlog {
            return false;
        }
        self.count(now);
        self.held += 1;
        self.coming += cpu;
        true
    }

    /// The request of a flow that was admitted has come.
    pub fn receive(&mut self, cpu: f64) {
        self.coming -= cpu;
    }

    /// A flow that was admitted at `since` is gone, finished or not.
    pub fn release(&mut self, now: u64, since: u64) {
        self.count(now);
        self.held -= 1;
        self.law.sojourns += u128::from(now - since);
        self.law.gone += 1;
        if self.held == 0 {
            self.coming = 0.0; // no rounding is left
        }
    }

    /// One of its parts, to give it work or to take a flow that it is done with.
    pub const fn part(&mut self, part: Part) -> &mut Station {
        match part {
            Part::Cpu => &mut self.cpu,
            Part::Io => &mut self.io,
        }
    }

    /// From now on it is so fast, but for what disturbs it.
    pub fn set_speed(&mut self, now: u64, speed: f64) {
        self.speed = speed;
        self.cpu.set_speed(now, self.effective_speed());
    }

    /// From now on a neighbour takes this share of it, below 1.
    pub fn set_noise(&mut self, now: u64, share: f64) {
        self.noise = share;
        self.cpu.set_speed(now, self.effective_speed());
    }

    /// It dies; returns the flows that it was working on. They are to be released.
    pub fn die(&mut self, now: u64) -> Vec<u32> {
        self.alive = false;
        self.deaths += 1;
        let mut flows = self.cpu.clear(now);
        flows.extend(self.io.clear(now));
        flows
    }

    /// It is back.
    pub const fn rise(&mut self) {
        self.alive = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_refuses_what_it_has_no_room_for() {
        let mut server = Server::new(ServerSpec { backlog: 2, ..ServerSpec::default() });
        assert_eq!([0, 1, 2].map(|t| server.admit(t, 1.0)), [true, true, false]);
        server.release(10, 0);
        assert!(server.admit(10, 1.0));
    }

    #[test]
    fn littles_law_holds_to_the_nanosecond() {
        let mut server = Server::new(ServerSpec::default());
        for t in [0, 3, 7] {
            assert!(server.admit(t, 1.0));
        }
        for (now, since) in [(8, 3), (20, 0), (21, 7)] {
            server.release(now, since);
        }
        let law = server.littles_law();
        assert_eq!((law.area, law.sojourns, law.gone), (39, 39, 3));
        assert!(server.admit(30, 1.0));
        assert_eq!(server.flow_time(35), 39 + 5, "what is not yet over counts as well");
    }

    #[test]
    fn noise_and_speed_work_together() {
        let mut server = Server::new(ServerSpec { cores: 2.0, speed: 3.0, ..ServerSpec::default() });
        server.set_noise(0, 0.5);
        assert_eq!(server.capacity(), 3.0);
        server.set_speed(0, 1.0);
        assert_eq!(server.capacity(), 1.0);
        server.set_noise(0, 0.0);
        assert_eq!(server.capacity(), 2.0);
    }
}
