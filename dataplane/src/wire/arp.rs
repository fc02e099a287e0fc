//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use super::{Error, Mac, be16, ethernet, put16, take};

/// Length of an ARP packet behind the Ethernet header, in bytes.
pub const LEN: usize = 28;

/// Hardware type Ethernet, protocol type IPv4, address lengths 6 and 4.
const PREFIX: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// What an ARP packet wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// The fields of an ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: Operation,
    /// Ethernet address of the sender.
    pub sender_mac: Mac,
    /// IPv4 address of the sender; unspecified in a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// Ethernet address of the target; meaningless in a request.
    pub target_mac: Mac,
    /// IPv4 address asked for or answered to.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Reads the packet behind the Ethernet header.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() < LEN {
            return Err(Error::Truncated);
        }
        let operation = match be16(bytes, 6) {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return Err(Error::Malformed),
        };
        let sender_mac = Mac(take(bytes, 8));
        if bytes[..6] != PREFIX || sender_mac.is_group() {
            return Err(Error::Malformed);
        }
        Ok(Self {
            operation,
            sender_mac,
            sender: Ipv4Addr::from(take::<4>(bytes, 14)),
            target_mac: Mac(take(bytes, 18)),
            target: Ipv4Addr::from(take::<4>(bytes, 24)),
        })
    }

    /// Writes the packet over the first [`LEN`] bytes of `bytes`.
    pub fn emit(&self, bytes: &mut [u8]) {
        bytes[..6].copy_from_slice(&PREFIX);
        put16(bytes, 6, if self.operation == Operation::Request { 1 } else { 2 });
        bytes[8..14].copy_from_slice(&self.sender_mac.0);
        bytes[14..18].copy_from_slice(&self.sender.octets());
        bytes[18..24].copy_from_slice(&self.target_mac.0);
        bytes[24..28].copy_from_slice(&self.target.octets());
    }

    /// The reply to this request, from the owner of `mac`.
    pub fn reply(&self, mac: Mac) -> Self {
        Self {
            operation: Operation::Reply,
            sender_mac: mac,
            sender: self.target,
            target_mac: self.sender_mac,
            target: self.sender,
        }
    }

    /// The whole broadcast frame that asks who has `target`.
    pub fn request_frame(mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> [u8; ethernet::HEADER_LEN + LEN] {
        let mut frame = [0; ethernet::HEADER_LEN + LEN];
        ethernet::emit(&mut frame, Mac::BROADCAST, mac, ethernet::ether_type::ARP);
        let arp = Self {
            operation: Operation::Request,
            sender_mac: mac,
            sender,
            target_mac: Mac::default(),
            target,
        };
        arp.emit(&mut frame[ethernet::HEADER_LEN..]);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: [u8; LEN] = [
        0, 1, 8, 0, 6, 4, 0, 1, // Ethernet, IPv4, request
        2, 0, 0, 0, 0, 9, 192, 0, 2, 9, // sender
        0, 0, 0, 0, 0, 0, 192, 0, 2, 2, // target
    ];

    #[test]
    fn request_is_deconstructed_and_constructed() {
        let arp = Arp::parse(&REQUEST).unwrap();
        assert_eq!(arp.operation, Operation::Request);
        assert_eq!((arp.sender, arp.target), (Ipv4Addr::new(192, 0, 2, 9), Ipv4Addr::new(192, 0, 2, 2)));
        let mut bytes = [0; LEN];
        arp.emit(&mut bytes);
        assert_eq!(bytes, REQUEST);
        assert_eq!(Arp::request_frame(Mac([2, 0, 0, 0, 0, 9]), arp.sender, arp.target)[14..], REQUEST);
    }

    #[test]
    fn reply_swaps_the_ends() {
        let reply = Arp::parse(&REQUEST).unwrap().reply(Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!(reply.operation, Operation::Reply);
        assert_eq!((reply.sender, reply.target), (Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(192, 0, 2, 9)));
        assert_eq!(reply.target_mac, Mac([2, 0, 0, 0, 0, 9]));
    }

    #[test]
    fn wrong_packets_are_refused() {
        assert_eq!(Arp::parse(&REQUEST[..27]), Err(Error::Truncated));
        for (at, value) in [(1, 2), (2, 9), (4, 5), (5, 16), (7, 3), (8, 1)] {
            let mut bytes = REQUEST;
            bytes[at] = value;
            assert_eq!(Arp::parse(&bytes), Err(Error::Malformed), "byte {at}");
        }
    }
}
