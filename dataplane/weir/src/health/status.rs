//! What the metrics are told about the health of servers.

use super::probe::Outcome;

/// A change of what the checks say about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It was down and passed its checks.
    Up,
    /// It failed its checks.
    Down,
    /// It takes no new flows for what the data path tells.
    Ejected,
    /// That time is over.
    Readmitted,
}

impl Transition {
    /// All of them, in the order of the counts.
    pub const ALL: [Self; 4] = [Self::Up, Self::Down, Self::Ejected, Self::Readmitted];

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::Readmitted => "readmitted",
        }
    }
}

/// The health of one server of a VIP with `[vip.health]`, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHealthStatus {
    /// The name of its VIP.
    pub vip: String,
    /// Its address, with its port under NAT, as in the directory.
    pub server: String,
    /// Checks by outcome, in the order of [`Outcome::ALL`].
    pub checks: [u64; Outcome::ALL.len()],
    /// Changes, in the order of [`Transition::ALL`].
    pub transitions: [u64; Transition::ALL.len()],
    /// Whether it is ejected for what the data path tells.
    pub ejected: bool,
}

/// The health of all VIPs with `[vip.health]`, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthStatus {
    /// Their servers.
    pub servers: Vec<ServerHealthStatus>,
    /// Their names, and whether every server fails its checks.
    pub vips: Vec<(String, bool)>,
}
