//! 802.1Q tags: taken off before the pipeline and put on behind it, so that nothing in between knows them.

use super::verdict::DropReason;
use crate::{
    ports::Packet,
    wire::{
        be16,
        ethernet::{self, ether_type},
    },
};

/// Length of a tag, in bytes.
const TAG_LEN: usize = 4;

/// Both Ethernet addresses, which a tag follows.
const ADDRESSES_LEN: usize = 12;

/// Takes the tag of `vlan` off a frame.
///
/// Errors: the frame is too short, has no tag, or that of another VLAN.
#[inline]
pub fn untag<P: Packet>(packet: &mut P, vlan: u16) -> Result<(), DropReason> {
    let data = packet.data_mut();
    if data.len() < ethernet::HEADER_LEN + TAG_LEN {
        return Err(DropReason::Truncated);
    }
    // Priority and drop eligibility (the top four bits) are nothing to us.
    if be16(data, ADDRESSES_LEN) != ether_type::VLAN || be16(data, ADDRESSES_LEN + 2) & 0xfff != vlan {
        return Err(DropReason::OtherVlan);
    }
    data.copy_within(..ADDRESSES_LEN, TAG_LEN);
    packet.trim_front(TAG_LEN).map_err(|_| DropReason::Truncated)
}

/// Puts the tag of `vlan` on a frame.
///
/// Errors: the buffer has no room left in front.
#[inline]
pub fn tag<P: Packet>(packet: &mut P, vlan: u16) -> Result<(), DropReason> {
    packet.prepend(TAG_LEN).map_err(|_| DropReason::NoHeadroom)?;
    let data = packet.data_mut();
    data.copy_within(TAG_LEN..TAG_LEN + ADDRESSES_LEN, 0);
    data[ADDRESSES_LEN..ADDRESSES_LEN + 2].copy_from_slice(&ether_type::VLAN.to_be_bytes());
    data[ADDRESSES_LEN + 2..ADDRESSES_LEN + 4].copy_from_slice(&vlan.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::memory::MemoryPacket;

    fn tagged(tci: u16) -> Vec<u8> {
        let mut frame: Vec<u8> = (0..12).collect();
        frame.extend([0x81, 0x00]);
        frame.extend(tci.to_be_bytes());
        frame.extend([0x08, 0x00, 0xaa, 0xbb]);
        frame
    }

    #[test]
    fn tag_is_taken_off_and_put_on_again() {
        let mut packet = MemoryPacket::new(&tagged(100));
        untag(&mut packet, 100).unwrap();
        assert_eq!(packet.data(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 8, 0, 0xaa, 0xbb]);
        tag(&mut packet, 100).unwrap();
        assert_eq!(packet.data(), tagged(100));
    }

    #[test]
    fn priority_does_not_matter_and_other_tags_are_refused() {
        assert_eq!(untag(&mut MemoryPacket::new(&tagged(0xe064)), 100), Ok(()));
        assert_eq!(untag(&mut MemoryPacket::new(&tagged(101)), 100), Err(DropReason::OtherVlan));
        assert_eq!(untag(&mut MemoryPacket::new(&[0; 60]), 100), Err(DropReason::OtherVlan));
        assert_eq!(untag(&mut MemoryPacket::new(&[0; 17]), 100), Err(DropReason::Truncated));
    }
}
