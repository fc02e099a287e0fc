//! The 536-byte view of one VIP that older tools read: `msg_out` and `msg_in` of sixteen servers.
//!
//! Little-endian, packed, no sequence: for tools that look, not for control. What a layer-4 balancer cannot
//! know is zero: CPU use and queue depth. Offsets and meaning: `docs/design/region.md`.
//!
//! ```
//! use ipc::mirror::{Mirror, MirrorError};
//!
//! let mut mirror = Mirror::default();
//! mirror.set_weights(3, 0.5, &[1.0, 3.0]);
//! assert_eq!(Mirror::from_bytes(mirror.bytes())?.weights(), [1.0, 3.0]);
//! # Ok::<(), MirrorError>(())
//! ```

use std::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::{
    region::{FrameHeader, ServerState, ServerStatistics},
    sample::Kind,
};

/// Servers of a mirror; more are left out.
pub const SERVERS: usize = 16;
/// Bytes of a mirror.
pub const BYTES: usize = 536;

/// Both messages of a VIP.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Mirror {
    /// What was measured.
    pub out: MessageOut,
    /// What was decided.
    pub back: MessageIn,
}

/// `msg_out`: what was measured.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct MessageOut {
    /// The low bits of the frame's number.
    pub id: u32,
    /// When it was measured, in seconds: as coarse as an `f32` is.
    pub timestamp: f32,
    /// Bit i: server i gets new flows.
    pub active: u64,
    /// By position in the VIP.
    pub servers: [ServerOut; SERVERS],
}

/// A server in `msg_out`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct ServerOut {
    /// Its position.
    pub index: u32,
    /// Flows that live now.
    pub flows: i32,
    /// Zero: not to be seen from here.
    pub cpu_util: f32,
    /// Zero: not to be seen from here.
    pub queue_depth: f32,
    /// Decayed mean of request latencies in milliseconds. Zero also when there is no data: the format has no other.
    pub response_time: f32,
}

/// `msg_in`: what was decided.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct MessageIn {
    /// The low bits of the frame's number.
    pub id: u32,
    /// When it was decided, in seconds.
    pub timestamp: f32,
    /// By position; zero where there is no server.
    pub weights: [f32; SERVERS],
    /// An alias table of the weights.
    pub alias: [Alias; SERVERS],
}

/// A slot of an alias table: a draw that falls here stays with `probability`, else goes to `alias`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Alias {
    /// Of staying.
    pub probability: f32,
    /// The other server's position.
    pub alias: u32,
}

const _: () = assert!(size_of::<Mirror>() == BYTES && size_of::<ServerOut>() == 20);
const _: () = assert!(offset_of!(MessageOut, active) == 8 && offset_of!(MessageOut, servers) == 16);
const _: () = assert!(offset_of!(Mirror, back) == 336);
const _: () = assert!(offset_of!(MessageIn, weights) == 8 && offset_of!(MessageIn, alias) == 72);

/// Why bytes are no mirror.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum MirrorError {
    /// There are not as many bytes as there have to be.
    #[error("{found} bytes instead of {BYTES}")]
    Length {
        /// How many there are.
        found: usize,
    },
    /// A weight that is not finite, or negative.
    #[error("weight {value} of server {server}")]
    Weight {
        /// Its position.
        server: usize,
        /// The weight.
        value: f32,
    },
    /// A slot of the alias table that leads nowhere, or whose probability is none.
    #[error("alias slot {slot} has probability {} and alias {}", value.probability, value.alias)]
    Alias {
        /// The slot.
        slot: usize,
        /// What it says.
        value: Alias,
    },
}

impl Mirror {
    /// Fills `msg_out` from a VIP's servers in a frame.
    pub fn set_statistics(&mut self, header: &FrameHeader, servers: &[ServerStatistics]) {
        self.out = MessageOut {
            id: header.number as u32,
            timestamp: (header.t as f64 / 1e9) as f32,
            ..Zeroable::zeroed()
        };
        for (index, (place, server)) in self.out.servers.iter_mut().zip(servers).enumerate() {
            self.out.active |= u64::from(server.state() == Some(ServerState::Active)) << index;
            let latency = server.kind(Kind::RequestLatency).map_or(0.0, |said| said.decayed_mean);
            *place = ServerOut {
                index: index as u32,
                flows: i32::try_from(server.open).unwrap_or(i32::MAX),
                response_time: latency / 1e6,
                ..Zeroable::zeroed()
            };
        }
    }

    /// Fills `msg_in` from weights by position, and builds their alias table. `seconds` is when they were decided.
    pub fn set_weights(&mut self, id: u32, seconds: f32, weights: &[f64]) {
        self.back = MessageIn { id, timestamp: seconds, ..Zeroable::zeroed() };
        for (place, &weight) in self.back.weights.iter_mut().zip(weights) {
            *place = weight as f32;
        }
        self.back.alias = alias_table(&weights[..weights.len().min(SERVERS)]);
    }

    /// Weights by position, up to the last one that is not zero.
    pub fn weights(&self) -> &[f32] {
        let count = self.back.weights.iter().rposition(|&weight| weight > 0.0).map_or(0, |last| last + 1);
        &self.back.weights[..count]
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        bytemuck::bytes_of(self)
    }

    /// What these bytes say, if weights and alias table can be believed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MirrorError> {
        let mirror: Self = bytemuck::try_pod_read_unaligned(bytes)
            .map_err(|_| MirrorError::Length { found: bytes.len() })?;
        for (server, &value) in mirror.back.weights.iter().enumerate() {
            if !value.is_finite() || value < 0.0 {
                return Err(MirrorError::Weight { server, value });
            }
        }
        for (slot, &value) in mirror.back.alias.iter().enumerate() {
            if !(0.0..=1.0).contains(&value.probability) || value.alias as usize >= SERVERS {
                return Err(MirrorError::Alias { slot, value });
            }
        }
        Ok(mirror)
    }
}

/// An alias table over as many slots as there are weights; the others, and those of weights without a sum, stay
/// zero. Source: Vose, "A linear algorithm for generating random numbers with a given distribution", 1991.
fn alias_table(weights: &[f64]) -> [Alias; SERVERS] {
    let mut table = [Alias::default(); SERVERS];
    let sum: f64 = weights.iter().sum();
    if !sum.is_normal() {
        return table;
    }
    // Shares of the mean: who has less than one is filled up by who has more.
    let mut shares: Vec<f64> = weights.iter().map(|weight| weight * weights.len() as f64 / sum).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..weights.len()).partition(|&index| shares[index] < 1.0);
    while let Some(&from) = large.last() {
        let Some(slot) = small.pop() else { break };
        table[slot] = Alias { probability: shares[slot] as f32, alias: from as u32 };
        shares[from] -= 1.0 - shares[slot];
        if shares[from] < 1.0 {
            large.pop();
            small.push(from);
        }
    }
    // Whoever is left has a share of one, but for rounding.
    for slot in small.into_iter().chain(large) {
        table[slot] = Alias { probability: 1.0, alias: slot as u32 };
    }
    table
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reservoir::Statistics;

    fn mirror() -> Mirror {
        let header = FrameHeader { number: 7, t: 1_500_000_000, ..Zeroable::zeroed() };
        let mut first = ServerStatistics { open: 5, ..ServerStatistics::new(70, ServerState::Active) };
        let said = Statistics {
            count: 9,
            age: 0,
            mean: 1e6,
            std: 0.0,
            p50: 1e6,
            p90: 1e6,
            p99: 1e6,
            decayed_mean: 2_500_000.0,
            decayed_p90: 1e6,
        };
        first.kinds[Kind::RequestLatency.index()] = Some(said).into();
        let second = ServerStatistics { open: u64::MAX, ..ServerStatistics::new(71, ServerState::Draining) };
        let third = ServerStatistics::new(72, ServerState::Active);
        let mut mirror = Mirror::default();
        mirror.set_statistics(&header, &[first, second, third]);
        mirror.set_weights(8, 2.0, &[1.0, 0.0, 3.0]);
        mirror
    }

    #[test]
    fn mirror_has_the_golden_bytes() {
        let mut golden = [0; BYTES];
        let mut put = |at: usize, bytes: [u8; 4]| golden[at..at + 4].copy_from_slice(&bytes);
        put(0, [7, 0, 0, 0]);
        put(4, [0, 0, 0xc0, 0x3f]); // 1.5 s
        put(8, [0b101, 0, 0, 0]);
        put(16 + 4, [5, 0, 0, 0]);
        put(16 + 16, [0, 0, 0x20, 0x40]); // 2.5 ms
        put(36, [1, 0, 0, 0]);
        put(36 + 4, [0xff, 0xff, 0xff, 0x7f]);
        put(56, [2, 0, 0, 0]);
        put(336, [8, 0, 0, 0]);
        put(340, [0, 0, 0, 0x40]); // 2 s
        put(344, [0, 0, 0x80, 0x3f]); // 1
        put(352, [0, 0, 0x40, 0x40]); // 3
        put(408, [0, 0, 0x40, 0x3f]); // server 0 stays with 3/4 ...
        put(412, [2, 0, 0, 0]); // ... or goes to 2
        put(420, [2, 0, 0, 0]); // server 1 always goes to 2
        put(424, [0, 0, 0x80, 0x3f]); // server 2 stays
        put(428, [2, 0, 0, 0]);
        assert_eq!(mirror().bytes(), golden);
        assert_eq!(Mirror::from_bytes(&golden), Ok(mirror()));
        assert_eq!(mirror().weights(), [1.0, 0.0, 3.0]);
    }

    #[test]
    fn mirror_of_too_many_servers_shows_the_first() {
        let mut mirror = Mirror::default();
        mirror.set_statistics(&Zeroable::zeroed(), &[ServerStatistics::new(0, ServerState::Active); 20]);
        mirror.set_weights(0, 0.0, &[1.0; 20]);
        assert_eq!((mirror.out.active, mirror.weights().len()), (0xffff, SERVERS));
        assert_eq!(mirror.back.alias[15], Alias { probability: 1.0, alias: 15 });
    }

    #[test]
    fn bytes_that_are_no_mirror_are_refused() {
        let bytes = mirror().bytes().to_vec();
        assert_eq!(Mirror::from_bytes(&bytes[1..]), Err(MirrorError::Length { found: 535 }));
        let patched = |at: usize, word: [u8; 4]| {
            let mut bytes = bytes.clone();
            bytes[at..at + 4].copy_from_slice(&word);
            Mirror::from_bytes(&bytes)
        };
        let nan = f32::NAN.to_le_bytes();
        assert!(matches!(patched(348, nan), Err(MirrorError::Weight { server: 1, .. })));
        assert!(matches!(patched(348, (-1.0_f32).to_le_bytes()), Err(MirrorError::Weight { server: 1, .. })));
        assert!(matches!(patched(408, nan), Err(MirrorError::Alias { slot: 0, .. })));
        assert!(matches!(patched(412, [16, 0, 0, 0]), Err(MirrorError::Alias { slot: 0, .. })));
    }

    proptest! {
        #[test]
        fn alias_table_draws_by_weight(weights in prop::collection::vec(0.0..1e6_f64, 1..=SERVERS)) {
            let table = alias_table(&weights);
            let (sum, slots) = (weights.iter().sum::<f64>(), weights.len() as f64);
            prop_assume!(sum > 0.0);
            let mut drawn = vec![0.0; weights.len()];
            for (slot, entry) in table.iter().take(weights.len()).enumerate() {
                drawn[slot] += f64::from(entry.probability) / slots;
                drawn[entry.alias as usize] += (1.0 - f64::from(entry.probability)) / slots;
            }
            for (drawn, weight) in drawn.iter().zip(&weights) {
                prop_assert!((drawn - weight / sum).abs() < 1e-6, "{drawn} {}", weight / sum);
            }
        }
    }
}
