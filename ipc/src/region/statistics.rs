//! What the data plane tells the policy.

use bytemuck::Zeroable;

use super::{
    error::Fault,
    frame::{Content, Frame, at_most, id_below, in_range},
    layout::{Shape, record},
    weights::MAX_WEIGHT,
};
use crate::{
    reservoir::{SLOTS, Statistics},
    sample::Kind,
};

record! {
    /// A VIP's totals since the start and rates over the last period.
    pub struct VipStatistics {
        /// Its `VipId`.
        pub vip: u32,
        /// How many servers follow. Filled in by the frame.
        pub servers: u32,
        /// Packets forwarded.
        pub packets: u64,
        /// Their bytes, before encapsulation.
        pub bytes: u64,
        /// Flows that began.
        pub created: u64,
        /// Flows that live now.
        pub open: u64,
        /// Packets a second.
        pub packet_rate: f64,
        /// Bytes a second.
        pub byte_rate: f64,
        /// New flows a second.
        pub flow_rate: f64,
    }
}

record! {
    /// A server of the VIP in front: counters since the start, of all workers, and what its reservoirs say.
    pub struct ServerStatistics {
        /// Its `ServerId`.
        pub server: u32,
        /// The number of its [`ServerState`].
        pub state: u32,
        /// The weight in the configuration.
        pub configured_weight: f64,
        /// The weight in force.
        pub weight: f64,
        /// Flows that live now.
        pub open: u64,
        /// Flows that were given to it.
        pub created: u64,
        /// TCP flows that got past their first packet.
        pub established: u64,
        /// Flows that ended by FIN.
        pub finished_fin: u64,
        /// Flows that ended by RST.
        pub finished_rst: u64,
        /// Flows that ended because nothing came any more.
        pub finished_timeout: u64,
        /// Flows whose entries made room for others.
        pub evicted: u64,
        /// Packets forwarded to it.
        pub packets: u64,
        /// Their bytes, before encapsulation.
        pub bytes: u64,
        /// SYNs that came again before the client's first ACK.
        pub syn_retransmits: u64,
        /// By the number of the kind.
        pub kinds: [KindStatistics; 7],
    }
}

record! {
    /// What a server's reservoir of one kind says. All zero when it is empty.
    pub struct KindStatistics {
        /// Nanoseconds from the newest accepted sample to the frame's `t`.
        pub age: u64,
        /// Samples held; 0: no data.
        pub count: u32,
        /// Mean, in the kind's unit, as all below.
        pub mean: f32,
        /// Standard deviation.
        pub std: f32,
        /// Median.
        pub p50: f32,
        /// 90th percentile.
        pub p90: f32,
        /// 99th percentile.
        pub p99: f32,
        /// Decayed, normalised mean.
        pub decayed_mean: f32,
        /// Decayed, normalised 90th percentile.
        pub decayed_p90: f32,
    }
}

const _: () = assert!(size_of::<VipStatistics>() == 64);
const _: () = assert!(size_of::<KindStatistics>() == 40);
const _: () = assert!(size_of::<ServerStatistics>() == 384 && Kind::COUNT == 7);

impl VipStatistics {
    /// A VIP without counts.
    pub fn new(vip: u32) -> Self {
        Self { vip, ..Self::zeroed() }
    }
}

impl KindStatistics {
    /// What is said; `None` when there is no data.
    pub fn get(&self) -> Option<Statistics> {
        let &Self { age, count, mean, std, p50, p90, p99, decayed_mean, decayed_p90 } = self;
        (count > 0).then_some(Statistics { count, age, mean, std, p50, p90, p99, decayed_mean, decayed_p90 })
    }

    const fn values(&self) -> [f32; 7] {
        [self.mean, self.std, self.p50, self.p90, self.p99, self.decayed_mean, self.decayed_p90]
    }

    fn check(&self, server: u32) -> Result<(), Fault> {
        at_most("samples", self.count, SLOTS as u32)?;
        // A float is finite and not negative exactly if its bits are below those of infinity.
        let largest = self.values().into_iter().map(f32::to_bits).max().unwrap_or(0);
        if self.count == 0 && (largest > 0 || self.age > 0) {
            return Err(Fault::Value {
                what: "statistics without data",
                of: server,
                found: f64::from(f32::from_bits(largest)),
            });
        }
        if largest >= f32::INFINITY.to_bits() {
            return Err(Fault::Value {
                what: "statistics",
                of: server,
                found: f64::from(f32::from_bits(largest)),
            });
        }
        Ok(())
    }
}

impl From<Option<Statistics>> for KindStatistics {
    fn from(said: Option<Statistics>) -> Self {
        said.map_or_else(Self::zeroed, |said| {
            let Statistics { count, age, mean, std, p50, p90, p99, decayed_mean, decayed_p90 } = said;
            Self { age, count, mean, std, p50, p90, p99, decayed_mean, decayed_p90 }
        })
    }
}

/// Whether a server gets flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ServerState {
    /// New flows and old ones.
    Active = 0,
    /// Old flows only.
    Draining = 1,
    /// None.
    Down = 2,
}

impl ServerState {
    const ALL: [Self; 3] = [Self::Active, Self::Draining, Self::Down];
}

impl ServerStatistics {
    /// A server without counts and without data.
    pub fn new(server: u32, state: ServerState) -> Self {
        Self { server, state: state as u32, ..Self::zeroed() }
    }

    /// Its state; `None` only for a number that no checked frame has.
    pub fn state(&self) -> Option<ServerState> {
        ServerState::ALL.get(self.state as usize).copied()
    }

    /// What its reservoir of this kind says; `None` when there is no data.
    pub fn kind(&self, kind: Kind) -> Option<Statistics> {
        self.kinds[kind.index()].get()
    }

    fn check(&self, shape: Shape) -> Result<(), Fault> {
        id_below("server", self.server, shape.server_ids)?;
        in_range("state", self.server, f64::from(self.state), ServerState::Down as u32 as f64)?;
        in_range("configured weight", self.server, self.configured_weight, MAX_WEIGHT)?;
        in_range("weight", self.server, self.weight, MAX_WEIGHT)?;
        self.kinds.iter().try_for_each(|kind| kind.check(self.server))
    }
}

/// The channel from the data plane to the policy.
#[derive(Debug)]
pub enum StatisticsChannel {}

/// A frame of statistics.
pub type StatisticsFrame = Frame<StatisticsChannel>;

impl Content for StatisticsChannel {
    type Vip = VipStatistics;
    type Server = ServerStatistics;
    const CHANNEL: usize = 0;
    const NAME: &'static str = "statistics";

    fn servers(vip: &mut VipStatistics) -> &mut u32 {
        &mut vip.servers
    }

    fn check_vip(vip: &VipStatistics, servers: &[ServerStatistics], shape: Shape) -> Result<(), Fault> {
        id_below("VIP", vip.vip, shape.vip_ids)?;
        for (what, rate) in
            [("packet rate", vip.packet_rate), ("byte rate", vip.byte_rate), ("flow rate", vip.flow_rate)]
        {
            in_range(what, vip.vip, rate, f64::MAX)?;
        }
        servers.iter().try_for_each(|server| server.check(shape))
    }
}
