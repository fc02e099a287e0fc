//! Bytes on the wire: one file per protocol, views over byte slices, no state.
//!
//! A *view* is made by `parse`, which checks every length. After it succeeded no accessor panics and
//! none reads outside the slice. Incoming bytes are checked, outgoing ones are not. Nothing here knows a
//! table, a flow or a port.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod fragment;
pub mod gre;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod tcp;
pub mod udp;

pub use ethernet::Mac;

/// Why bytes are not the header they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The slice ends before the header, or the packet before the length it states.
    #[error("truncated")]
    Truncated,
    /// A field holds a value that the protocol forbids or that we do not understand.
    #[error("malformed")]
    Malformed,
}

/// IP protocol numbers (IANA).
pub mod protocol {
    /// ICMP for IPv4, RFC 792.
    pub const ICMP: u8 = 1;
    /// IPv4 in IP, RFC 2003.
    pub const IPV4: u8 = 4;
    /// TCP, RFC 9293.
    pub const TCP: u8 = 6;
    /// UDP, RFC 768.
    pub const UDP: u8 = 17;
    /// IPv6 in IP, RFC 2473.
    pub const IPV6: u8 = 41;
    /// GRE, RFC 2784.
    pub const GRE: u8 = 47;
    /// ICMP for IPv6, RFC 4443.
    pub const ICMPV6: u8 = 58;
}

/// The big-endian 16-bit word at `at`. The caller has checked the length.
#[inline]
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The big-endian 32-bit word at `at`. The caller has checked the length.
#[inline]
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Writes `value` big-endian at `at`. The caller has checked the length.
#[inline]
pub(crate) fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// A copy of the `N` bytes at `at`. The caller has checked the length.
#[inline]
pub(crate) fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}
