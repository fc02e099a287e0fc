//! GRE headers (RFC 2784), without the optional fields.

use super::put16;

/// Length of a header without optional fields, in bytes.
pub const HEADER_LEN: usize = 4;

/// Writes a header for a payload of `ether_type` over the first four bytes of `bytes`.
pub fn emit(bytes: &mut [u8], ether_type: u16) {
    put16(bytes, 0, 0); // no checksum, version 0
    put16(bytes, 2, ether_type);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_version_and_payload_type() {
        let mut bytes = [0xff; HEADER_LEN];
        emit(&mut bytes, 0x86dd);
        assert_eq!(bytes, [0, 0, 0x86, 0xdd]);
    }
}
