//! Identifiers shared by the packet path, the control thread and the metrics.
//!
//! Each is a small integer with a type of its own, so that a VIP is never taken for a server.

/// Which virtual service (VIP): an index into the VIPs of a table generation.
///
/// Stable over reloads for as long as the VIP stays in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VipId(pub u32);

/// Which server of which VIP: an index into the server slots of a table generation.
///
/// A slot belongs to one (VIP, address, port) until no flow refers to it any more, across
/// generations, so a flow that stores a `ServerId` stays on its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub u32);

/// Which worker, counted from 0 (not the EAL's lcore number).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LcoreId(pub u16);

/// Which port of the configuration, counted from 0 (not the EAL's port number).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u16);

/// The number of a table generation; the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

macro_rules! index {
    ($($id:ident),*) => {$(
        impl $id {
            /// The identifier as an array index.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}
index!(VipId, ServerId, LcoreId, PortId);
