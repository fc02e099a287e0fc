//! What the policy answers.

use super::{
    error::Fault,
    frame::{Content, Frame, id_below, in_range},
    layout::{Shape, record},
};

/// No weight is larger.
pub const MAX_WEIGHT: f64 = 1e9;
/// Flag of a VIP: the weights are those of the rule that stands in while the agent cannot.
pub const FALLBACK: u64 = 1;
/// Flag of a VIP: computed to be looked at, not to be applied.
pub const SHADOW: u64 = 2;
/// Flag of a VIP: a guard changed what the agent proposed.
pub const CLIPPED: u64 = 4;

record! {
    /// A VIP's weights follow.
    pub struct VipWeights {
        /// Its `VipId`.
        pub vip: u32,
        /// How many servers follow. Filled in by the frame.
        pub servers: u32,
        /// The number of the statistics frame that is answered.
        pub answers: u64,
        /// The epoch of that frame.
        pub answers_epoch: u64,
        /// [`FALLBACK`], [`SHADOW`], [`CLIPPED`].
        pub flags: u64,
        /// The policy's name in ASCII, filled up with zeros.
        pub policy: [u8; 32],
    }
}

record! {
    /// A weight of a server of the VIP in front.
    pub struct ServerWeight {
        /// Its `ServerId`.
        pub server: u32,
        /// Bits of the guards that changed this weight; their meaning is the policy's.
        pub guards: u32,
        /// The weight: 0 to [`MAX_WEIGHT`].
        pub weight: f64,
    }
}

const _: () = assert!(size_of::<VipWeights>() == 64);
const _: () = assert!(size_of::<ServerWeight>() == 16);

impl VipWeights {
    /// A VIP's record of a policy; the name is cut to 32 bytes.
    pub fn new(vip: u32, policy: &str) -> Self {
        let mut name = [0; 32];
        for (place, byte) in name.iter_mut().zip(policy.bytes()) {
            *place = byte;
        }
        Self { vip, servers: 0, answers: 0, answers_epoch: 0, flags: 0, policy: name }
    }

    /// The policy's name; empty only when it is not text, as in no checked frame.
    pub fn policy(&self) -> &str {
        let length = self.policy.iter().position(|&byte| byte == 0).unwrap_or(self.policy.len());
        str::from_utf8(&self.policy[..length]).unwrap_or_default()
    }

    fn has_a_name(&self) -> bool {
        let length = self.policy().len();
        let (name, zeros) = self.policy.split_at(length);
        length > 0 && name.iter().all(u8::is_ascii_graphic) && zeros.iter().all(|&byte| byte == 0)
    }
}

impl ServerWeight {
    /// A weight that no guard has changed.
    pub const fn new(server: u32, weight: f64) -> Self {
        Self { server, guards: 0, weight }
    }
}

/// The channel from the policy to the data plane.
#[derive(Debug)]
pub enum WeightsChannel {}

/// A frame of weights.
pub type WeightsFrame = Frame<WeightsChannel>;

impl Content for WeightsChannel {
    type Vip = VipWeights;
    type Server = ServerWeight;
    const CHANNEL: usize = 1;
    const NAME: &'static str = "weights";

    fn servers(vip: &mut VipWeights) -> &mut u32 {
        &mut vip.servers
    }

    fn check_vip(vip: &VipWeights, servers: &[ServerWeight], shape: Shape) -> Result<(), Fault> {
        id_below("VIP", vip.vip, shape.vip_ids)?;
        if !vip.has_a_name() {
            return Err(Fault::Name { of: vip.vip });
        }
        in_range("flags", vip.vip, vip.flags as f64, (FALLBACK | SHADOW | CLIPPED) as f64)?;
        let mut sum = 0.0;
        for server in servers {
            id_below("server", server.server, shape.server_ids)?;
            in_range("weight", server.server, server.weight, MAX_WEIGHT)?;
            sum += server.weight;
        }
        // All zero would leave new flows nowhere to go.
        if sum == 0.0 && !servers.is_empty() {
            return Err(Fault::Value { what: "sum of weights", of: vip.vip, found: sum });
        }
        Ok(())
    }
}
