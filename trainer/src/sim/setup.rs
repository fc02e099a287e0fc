//! What a run is about: the world at its beginning, and what changes in it.

use ipc::sample::Kind;

use super::{arrivals::Demand, law::Law, noise::Noise, rng::Stream, server::ServerSpec};

/// A world. Servers are named by their index.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Balancers; each flow goes to one by its hash. At least 1.
    pub balancers: u32,
    /// The servers.
    pub servers: Vec<ServerSpec>,
    /// What flows ask for.
    pub service: Service,
    /// One way between client and balancer; `None`: no time at all.
    pub delay: Option<Law>,
    /// When no more flows come.
    pub end: End,
    /// The share of flows, or of the time, that does not count.
    pub warmup: f64,
    /// After how long balancers notice that a server has died or is back, in nanoseconds.
    pub detection: u64,
    /// Kinds of samples that balancers do not get, as where nothing acknowledges answers.
    pub unseen: Vec<Kind>,
    /// What changes, in any order.
    pub changes: Vec<Timed>,
}

/// What flows ask of their servers.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Work for the cores.
    pub cpu: Law,
    /// Work for the disk, if any.
    pub io: Option<Law>,
    /// How often a flow goes to the cores and then to the disk; its work is divided evenly. At least 1.
    pub rounds: u32,
}

impl Service {
    /// Work for the cores alone.
    pub const fn cpu(cpu: Law) -> Self {
        Self { cpu, io: None, rounds: 1 }
    }

    /// Draws what a flow asks for.
    pub fn draw(&self, stream: &mut Stream) -> Demand {
        Demand { cpu: self.cpu.draw(stream), io: self.io.map_or(0.0, |law| law.draw(stream)) }
    }

    /// Mean of all work, in nanoseconds at speed 1.
    pub fn mean(&self) -> f64 {
        self.cpu.mean() + self.io.map_or(0.0, |law| law.mean())
    }
}

/// When no more flows come. Those that are there are still answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// After so many.
    Flows(u64),
    /// After so many nanoseconds.
    Time(u64),
}

/// A change and its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timed {
    /// In nanoseconds from the beginning.
    pub at: u64,
    /// What changes.
    pub change: Change,
}

/// Something that changes during a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// From now on a server's cores are so fast; above zero.
    Speed {
        /// Which.
        server: usize,
        /// How fast.
        speed: f64,
    },
    /// From now on the operator takes a server for something else.
    Weight {
        /// Which.
        server: usize,
        /// The weight.
        weight: f64,
    },
    /// Something else runs beside a server, instead of what did.
    Noise {
        /// Which.
        server: usize,
        /// What.
        noise: Noise,
    },
    /// A server is wanted from now on.
    Add {
        /// Which.
        server: usize,
    },
    /// A server gets no new flows from now on.
    Remove {
        /// Which.
        server: usize,
    },
    /// A server dies, with all its flows.
    Fail {
        /// Which.
        server: usize,
    },
    /// A server that died is back.
    Recover {
        /// Which.
        server: usize,
    },
    /// From now on so many times as many flows come as the arrivals say; above zero.
    Traffic {
        /// How many times.
        factor: f64,
    },
}
