//! Ports made of vectors: for tests, fuzzing and the simulator.

use std::collections::VecDeque;

use super::{Burst, NoRoom, Packet, Queue, RxChecksum};

/// Free bytes in front of a new packet, as DPDK's default headroom.
const HEADROOM: usize = 128;

/// Free bytes behind a new packet.
const TAILROOM: usize = 128;

/// A packet buffer on the heap with headroom and tailroom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPacket {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    rx_checksum: RxChecksum,
}

impl MemoryPacket {
    /// A packet that holds `frame`.
    pub fn new(frame: &[u8]) -> Self {
        let mut bytes = vec![0; HEADROOM + frame.len() + TAILROOM];
        let end = HEADROOM + frame.len();
        bytes[HEADROOM..end].copy_from_slice(frame);
        Self { bytes, start: HEADROOM, end, rx_checksum: RxChecksum::Unknown }
    }

    /// The same packet, with what the port would have said of its checksums.
    pub fn with_rx_checksum(mut self, rx_checksum: RxChecksum) -> Self {
        self.rx_checksum = rx_checksum;
        self
    }
}

impl Packet for MemoryPacket {
    fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    fn len(&self) -> usize {
        self.end - self.start
    }

    fn prepend(&mut self, n: usize) -> Result<(), NoRoom> {
        self.start = self.start.checked_sub(n).ok_or(NoRoom)?;
        Ok(())
    }

    fn trim_front(&mut self, n: usize) -> Result<(), NoRoom> {
        if n > self.len() {
            return Err(NoRoom);
        }
        self.start += n;
        Ok(())
    }

    fn append(&mut self, n: usize) -> Result<(), NoRoom> {
        if n > self.bytes.len() - self.end {
            return Err(NoRoom);
        }
        self.end += n;
        Ok(())
    }

    fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start + len);
    }

    fn replace_front<const ROOM: usize>(
        &mut self,
        strip: usize,
        front: usize,
        keep: usize,
    ) -> Result<&mut [u8; ROOM], NoRoom> {
        let rest = self.start + strip;
        let room = self.bytes[..rest].last_chunk_mut().ok_or(NoRoom)?;
        (self.start, self.end) = (rest - front, rest + keep);
        Ok(room)
    }

    fn rx_checksum(&self) -> RxChecksum {
        self.rx_checksum
    }
}

/// A queue whose two ends the test holds: `incoming` is what the worker will receive, `outgoing` what
/// it transmitted.
#[derive(Debug, Default)]
pub struct MemoryQueue {
    /// Frames that wait to be received.
    pub incoming: VecDeque<MemoryPacket>,
    /// Frames that were transmitted.
    pub outgoing: Vec<MemoryPacket>,
    /// Most packets that `outgoing` takes; `None`: no limit.
    pub capacity: Option<usize>,
}

impl Queue for MemoryQueue {
    type Packet = MemoryPacket;

    fn receive(&mut self, burst: &mut Burst<MemoryPacket>) {
        let take = burst.remaining_capacity().min(self.incoming.len());
        burst.extend(self.incoming.drain(..take));
    }

    fn transmit(&mut self, burst: &mut Burst<MemoryPacket>) {
        let room = self.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(self.outgoing.len()));
        self.outgoing.extend(burst.drain(..room.min(burst.len())));
    }

    fn allocate(&mut self) -> Option<MemoryPacket> {
        Some(MemoryPacket::new(&[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_grows_and_shrinks_within_its_room() {
        let mut packet = MemoryPacket::new(b"abc");
        packet.prepend(2).unwrap();
        packet.data_mut()[..2].copy_from_slice(b"xy");
        assert_eq!(packet.data(), b"xyabc");
        assert_eq!(packet.prepend(HEADROOM), Err(NoRoom));
        packet.trim_front(3).unwrap();
        assert_eq!(packet.data(), b"bc");
        assert_eq!(packet.trim_front(3), Err(NoRoom));
        packet.truncate(1);
        assert_eq!(packet.data(), b"b");
        assert_eq!(packet.append(1000), Err(NoRoom));
        packet.append(1).unwrap();
        assert_eq!(packet.len(), 2);
    }

    #[test]
    fn front_is_replaced_and_the_rest_cut() {
        let mut packet = MemoryPacket::new(b"abcdefgh");
        let room = packet.replace_front::<16>(2, 3, 5).unwrap();
        room[13..].copy_from_slice(b"xyz");
        assert_eq!(packet.data(), b"xyzcdefg");
        assert_eq!(packet.replace_front::<{ HEADROOM + 2 }>(2, 3, 5), Err(NoRoom));
        assert_eq!(packet.data(), b"xyzcdefg");
    }

    #[test]
    fn full_queue_returns_the_rest_in_order() {
        let mut queue = MemoryQueue { capacity: Some(2), ..MemoryQueue::default() };
        let mut burst: Burst<_> = (0u8..4).map(|byte| MemoryPacket::new(&[byte])).collect();
        queue.transmit(&mut burst);
        assert_eq!(queue.outgoing.len(), 2);
        assert_eq!(burst.iter().map(|packet| packet.data()[0]).collect::<Vec<_>>(), [2, 3]);
    }
}
