//! TCP headers (RFC 9293), as much as the packet path needs.

use super::Error;

/// Length of a header without options, in bytes.
pub const HEADER_LEN: usize = 20;

/// Offset of the checksum.
pub const CHECKSUM: usize = 16;

/// The control bits of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;

    /// Whether this opens a connection: SYN without ACK and RST, whatever else is set (ECN sets two more).
    #[inline]
    pub const fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST) == Self::SYN
    }

    /// Whether SYN is set: from either end, it carries the options of the connection.
    #[inline]
    pub const fn synchronises(self) -> bool {
        self.0 & Self::SYN != 0
    }

    /// Whether RST is set.
    #[inline]
    pub const fn resets(self) -> bool {
        self.0 & Self::RST != 0
    }

    /// Whether FIN is set.
    #[inline]
    pub const fn finishes(self) -> bool {
        self.0 & Self::FIN != 0
    }
}

/// The control bits of the TCP header that `segment` starts with.
#[inline]
pub fn flags(segment: &[u8]) -> Result<Flags, Error> {
    let header = segment.get(..HEADER_LEN).ok_or(Error::Truncated)?;
    let header_len = usize::from(header[12] >> 4) * 4;
    if header_len < HEADER_LEN {
        return Err(Error::Malformed);
    }
    Ok(Flags(header[13]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read() {
        let mut segment = [0; 20];
        segment[12] = 0x50;
        segment[13] = 0xc2; // SYN with ECE and CWR
        assert!(flags(&segment).unwrap().opens());
        segment[13] = Flags::SYN | Flags::ACK;
        assert!(!flags(&segment).unwrap().opens());
        segment[13] = Flags::RST | Flags::ACK;
        assert!(flags(&segment).unwrap().resets());
        segment[13] = Flags::FIN | Flags::ACK;
        assert!(flags(&segment).unwrap().finishes());
    }

    #[test]
    fn wrong_headers_are_refused() {
        let mut segment = [0; 20];
        segment[12] = 0x40;
        assert_eq!(flags(&segment), Err(Error::Malformed));
        assert_eq!(flags(&segment[..19]), Err(Error::Truncated));
    }
}
