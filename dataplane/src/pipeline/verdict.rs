//! What becomes of a packet. Every packet leaves the pipeline with exactly one verdict.

use ipc::id::{LcoreId, PortId};

/// The end of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Leaves, rewritten, on a port.
    Forward(PortId),
    /// Was turned into an answer and leaves on the port it came from.
    Reply,
    /// Was for the control thread, which has been told what it said.
    Punt,
    /// Goes to this worker as it came, which processes it as if it had received it.
    HandOver(LcoreId),
    /// Waits until its next hop is resolved.
    Wait,
    /// Ends here, for a reason with a name and a counter.
    Drop(DropReason),
}

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a packet ends with us. The name is the `reason` label of `weir_drops_total`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of its counter.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The label in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it means, for people.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+).trim_ascii(),)+ }
            }
        }
    };
}

drop_reasons! {
    /// The frame ends before its headers do, or before the length that a header states.
    Truncated = "truncated",
    /// A header field holds a value that its protocol forbids.
    Malformed = "malformed",
    /// The port found the IP or L4 checksum wrong.
    BadChecksum = "bad_checksum",
    /// Neither IPv4, IPv6 nor ARP.
    UnknownEtherType = "unknown_ether_type",
    /// The frame's VLAN is not the port's.
    OtherVlan = "other_vlan",
    /// The Ethernet destination is another host.
    OtherHost = "other_host",
    /// A fragment that is too short for its headers, lies over them, or has no place in a datagram.
    BadFragment = "bad_fragment",
    /// Addressed to us, but not to a VIP.
    ForHost = "for_host",
    /// More packets for the host than it may get.
    HostLimit = "host_limit",
    /// Neither for a VIP, nor a reply of a known flow, nor for us.
    NotAVip = "not_a_vip",
    /// ARP or neighbour discovery that does not concern us.
    OtherNeighbor = "other_neighbor",
    /// No server of the VIP takes new flows.
    NoServer = "no_server",
    /// No prefix and no gateway leads to the next hop.
    NoRoute = "no_route",
    /// The next hop did not answer ARP or NDP in time.
    Unresolved = "unresolved_neighbor",
    /// Too many packets wait for next hops.
    WaitingFull = "waiting_full",
    /// Longer than the outgoing port's MTU after encapsulation.
    TooBig = "too_big",
    /// The buffer had no room for the outer header.
    NoHeadroom = "no_headroom",
    /// TTL or hop limit ran out.
    TtlExpired = "ttl_expired",
    /// NAT needs a flow entry and the table is full.
    FlowTableFull = "flow_table_full",
    /// Under NAT another flow has the same addresses and ports towards the server.
    NatCollision = "nat_collision",
    /// The outgoing port took no more packets.
    TxFull = "tx_full",
    /// The worker that owns the packet's flow took no more packets.
    HandoverFull = "handover_full",
    /// The pool had no buffer for a frame of our own.
    NoBuffer = "no_buffer",
}

impl DropReason {
    /// Number of reasons.
    pub const COUNT: usize = Self::ALL.len();
}

impl From<crate::wire::Error> for DropReason {
    fn from(error: crate::wire::Error) -> Self {
        match error {
            crate::wire::Error::Truncated => Self::Truncated,
            crate::wire::Error::Malformed => Self::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn reasons_have_names_of_their_own_and_a_meaning() {
        let names: HashSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::COUNT);
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert!(reason.meaning().ends_with('.'), "{}", reason.meaning());
        }
    }
}
