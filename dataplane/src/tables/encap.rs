//! The ways in which packets travel on to servers.

/// How packets of a VIP travel on to its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encap {
    /// In a GRE tunnel (RFC 2784), with a key (RFC 2890) if one is given.
    Gre {
        /// The key field.
        key: Option<u32>,
    },
    /// In an IP tunnel (RFC 2003, RFC 2473, RFC 4213).
    Ipip,
    /// In a UDP tunnel (draft-ietf-intarea-gue).
    Gue {
        /// The header variant.
        variant: GueVariant,
        /// UDP destination port, in host order.
        port: u16,
    },
    /// With the destination rewritten and the VIP told by this DSCP; the server answers the client directly.
    L3dsr {
        /// The code point, 0 to 63.
        dscp: u8,
    },
    /// With the destination rewritten; replies come back through us.
    Nat,
}

/// The header variant of GUE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GueVariant {
    /// A header of four bytes names the payload's protocol.
    Header,
    /// No header: the IP packet follows UDP directly.
    Direct,
}

impl Encap {
    /// Whether packets get outer headers.
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Self::Gre { .. } | Self::Ipip | Self::Gue { .. })
    }
}
