//! GRE headers (RFC 2784, RFC 2890).

/// Length of a header without optional fields, in bytes.
pub const HEADER_LEN: usize = 4;

/// The flag in the first byte that announces a key.
pub const KEY_PRESENT: u8 = 0x20;
