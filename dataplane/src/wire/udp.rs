//! UDP headers (RFC 768).

use super::{Error, be16};

/// Length of a header, in bytes.
pub const HEADER_LEN: usize = 8;

/// Offset of the checksum.
pub const CHECKSUM: usize = 6;

/// Checks that `datagram` starts with a UDP header and that it states a possible length.
#[inline]
pub fn check(datagram: &[u8]) -> Result<(), Error> {
    let header = datagram.get(..HEADER_LEN).ok_or(Error::Truncated)?;
    if usize::from(be16(header, 4)) < HEADER_LEN { Err(Error::Malformed) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_headers_and_lengths_are_refused() {
        assert_eq!(check(&[0, 1, 0, 2, 0, 8, 0, 0]), Ok(()));
        assert_eq!(check(&[0, 1, 0, 2, 0, 7, 0, 0]), Err(Error::Malformed));
        assert_eq!(check(&[0; 7]), Err(Error::Truncated));
    }
}
