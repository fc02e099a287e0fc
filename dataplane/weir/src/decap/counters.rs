//! What happened to the packets.

use std::fmt;

/// Why a packet was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum DropReason {
    /// The outer IPv4 header is cut short or contradicts itself.
    OuterHeader,
    /// The datagram ends inside the GRE header.
    GreShort,
    /// GRE version other than 0 (1 is PPTP's, RFC 2637).
    GreVersion,
    /// The source-routing bit of RFC 1701, which RFC 2784 says to refuse.
    GreRouting,
    /// Bit 4 or 5 of the flags, which RFC 2784 says to refuse.
    GreReserved,
    /// The GRE checksum is there and wrong.
    GreChecksum,
    /// The GRE key is not the one asked for with `--key`, or missing.
    GreKey,
    /// The datagram ends inside the GUE header.
    GueShort,
    /// GUE variant 2 or 3, or variant 1 with the first nibble of neither IPv4 nor IPv6.
    GueVersion,
    /// A GUE control message (C bit).
    GueControl,
    /// GUE flags announce fields that we do not understand, which the draft says to refuse.
    GueFlags,
    /// GRE or GUE carries something else than IPv4 or IPv6.
    InnerProtocol,
    /// The inner packet's version field is not what the encapsulation announced.
    InnerVersion,
    /// The inner packet is shorter than its own length fields say.
    InnerLength,
    /// The inner destination is none of the VIPs.
    NotAVip,
    /// Congestion marked outside on a packet that cannot carry the mark (RFC 6040, section 4.2).
    EcnNotCapable,
    /// The kernel refused the packet at the TUN device.
    TunRefused,
}

impl DropReason {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 17] = [
        Self::OuterHeader,
        Self::GreShort,
        Self::GreVersion,
        Self::GreRouting,
        Self::GreReserved,
        Self::GreChecksum,
        Self::GreKey,
        Self::GueShort,
        Self::GueVersion,
        Self::GueControl,
        Self::GueFlags,
        Self::InnerProtocol,
        Self::InnerVersion,
        Self::InnerLength,
        Self::NotAVip,
        Self::EcnNotCapable,
        Self::TunRefused,
    ];

    /// The name under which the counters are printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::OuterHeader => "outer_header",
            Self::GreShort => "gre_short",
            Self::GreVersion => "gre_version",
            Self::GreRouting => "gre_routing",
            Self::GreReserved => "gre_reserved",
            Self::GreChecksum => "gre_checksum",
            Self::GreKey => "gre_key",
            Self::GueShort => "gue_short",
            Self::GueVersion => "gue_version",
            Self::GueControl => "gue_control",
            Self::GueFlags => "gue_flags",
            Self::InnerProtocol => "inner_protocol",
            Self::InnerVersion => "inner_version",
            Self::InnerLength => "inner_length",
            Self::NotAVip => "not_a_vip",
            Self::EcnNotCapable => "ecn_not_capable",
            Self::TunRefused => "tun_refused",
        }
    }
}

/// Counts of one run: `received = delivered + Σ dropped`.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Datagrams read from the sockets.
    pub received: u64,
    /// Inner packets that the kernel took.
    pub delivered: u64,
    dropped: [u64; DropReason::ALL.len()],
}

impl Counters {
    /// Counts one packet as dropped.
    pub fn drop(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }

    /// Packets dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }
}

/// `received 9, delivered 7, dropped 2 (gre_key 1, inner_length 1)`: reasons that did not occur are left out.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.dropped.iter().sum();
        write!(f, "received {}, delivered {}, dropped {total}", self.received, self.delivered)?;
        let mut separator = " (";
        for reason in DropReason::ALL.into_iter().filter(|&reason| self.dropped(reason) > 0) {
            write!(f, "{separator}{} {}", reason.name(), self.dropped(reason))?;
            separator = ", ";
        }
        if total > 0 { write!(f, ")") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place_and_name() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
        let mut names = DropReason::ALL.map(DropReason::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::ALL.len());
    }

    #[test]
    fn prints_only_reasons_that_occurred() {
        let mut counters = Counters { received: 3, delivered: 3, ..Counters::default() };
        assert_eq!(counters.to_string(), "received 3, delivered 3, dropped 0");
        counters.received = 5;
        counters.drop(DropReason::GreKey);
        counters.drop(DropReason::InnerLength);
        assert_eq!(counters.to_string(), "received 5, delivered 3, dropped 2 (gre_key 1, inner_length 1)");
    }
}
