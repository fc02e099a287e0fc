//! Traffic made where it is consumed: a queue that receives what it makes up.
//!
//! A generator on the same lcore costs some five cycles a packet more than taking buffers from the pool
//! and giving them back, and keeps no table that would compete for the cache.

use dataplane::{
    ports::{
        BURST, Burst, Packet, Queue,
        dpdk::{DpdkQueue, Mbuf},
    },
    wire::{Mac, checksum, tcp::Flags},
};

/// Length of every frame, without its checksum, in bytes.
pub const FRAME_LEN: usize = 64;

/// Ethernet addresses of the client's router and of our port.
pub const CLIENT_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xc1]);
pub const PORT_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// Where frames go.
pub const VIP: [u8; 4] = [203, 0, 113, 10];
pub const VIP_PORT: u16 = 80;

/// Which flow comes next.
#[derive(Clone, Debug)]
enum Order {
    /// One after another, over and over.
    Around { next: u32, flows: u32 },
    /// These, once.
    Listed { flows: Vec<u32>, at: usize },
    /// Never one twice, up to 2^32.
    Fresh { next: u32 },
}

/// A queue that receives TCP segments of its own making and transmits on a real port.
#[derive(Debug)]
pub struct Generator {
    queue: DpdkQueue,
    template: [u8; FRAME_LEN],
    order: Order,
}

impl Generator {
    /// A generator of ACKs of `flows` flows in turn, which transmits on `queue`.
    pub fn new(queue: DpdkQueue, flows: u32) -> Self {
        Self { queue, template: template(Flags::ACK), order: Order::Around { next: 0, flows } }
    }

    /// From now on: one segment of each of these flows, then nothing.
    pub fn list(&mut self, flows: Vec<u32>, flags: u8) {
        self.template = template(flags);
        self.order = Order::Listed { flows, at: 0 };
    }

    /// From now on: ACKs of the first `flows` flows in turn.
    pub fn go_around(&mut self, flows: u32) {
        self.template = template(Flags::ACK);
        self.order = Order::Around { next: 0, flows };
    }

    /// From now on: SYNs of flows that never come again, after the first `known`.
    pub fn open_fresh(&mut self, known: u32) {
        self.template = template(Flags::SYN);
        self.order = Order::Fresh { next: known };
    }
}

impl Order {
    /// The next flows, at most `room`; returns how many.
    #[inline]
    fn take(&mut self, ids: &mut [u32; BURST], room: usize) -> usize {
        let ids = &mut ids[..room];
        match self {
            Self::Around { next, flows } => {
                for id in ids {
                    *id = *next;
                    *next = if *next + 1 == *flows { 0 } else { *next + 1 };
                }
                room
            }
            Self::Listed { flows, at } => {
                let rest = &flows[*at..];
                let count = rest.len().min(room);
                ids[..count].copy_from_slice(&rest[..count]);
                *at += count;
                count
            }
            Self::Fresh { next } => {
                for id in ids {
                    *id = *next;
                    *next = next.wrapping_add(1);
                }
                room
            }
        }
    }
}

impl Queue for Generator {
    type Packet = Mbuf;

    #[inline]
    fn receive(&mut self, burst: &mut Burst<Mbuf>) {
        let (start, mut ids) = (burst.len(), [0; BURST]);
        let count = self.order.take(&mut ids, burst.remaining_capacity());
        if !self.queue.pool().alloc_bulk(burst, count) {
            return;
        }
        for (mbuf, &id) in burst[start..].iter_mut().zip(&ids) {
            if mbuf.append(FRAME_LEN).is_err() {
                continue; // no pool of ours has buffers that small
            }
            if let Ok(frame) = <&mut [u8; FRAME_LEN]>::try_from(mbuf.data_mut()) {
                *frame = self.template;
                let (address, port) = client(id);
                frame[26..30].copy_from_slice(&address);
                frame[34..36].copy_from_slice(&port);
            }
        }
    }

    #[inline]
    fn transmit(&mut self, burst: &mut Burst<Mbuf>) {
        self.queue.transmit(burst);
    }

    fn allocate(&mut self) -> Option<Mbuf> {
        self.queue.allocate()
    }
}

/// Address and port of the client of a flow: in 10.0.0.0/8 and from 1024 on, scattered, no two alike.
#[inline]
fn client(flow: u32) -> ([u8; 4], [u8; 2]) {
    let scattered = flow.wrapping_mul(0x9e37_79b1); // odd, hence one to one
    let (host, port) = (scattered & 0xff_ffff, scattered >> 24);
    ((10 << 24 | host).to_be_bytes(), (1024 + port as u16).to_be_bytes())
}

/// A TCP segment to the VIP with ten bytes of payload: 64 bytes of frame without padding.
///
/// Its checksums are those of the client 0.0.0.0:0; the packet path reads none.
fn template(flags: u8) -> [u8; FRAME_LEN] {
    const IP_LEN: usize = FRAME_LEN - 14;
    let mut frame = [0; FRAME_LEN];
    frame[0..6].copy_from_slice(&PORT_MAC.0);
    frame[6..12].copy_from_slice(&CLIENT_MAC.0);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&(IP_LEN as u16).to_be_bytes());
    frame[20] = 0x40; // DF
    frame[22] = 64;
    frame[23] = 6;
    frame[30..34].copy_from_slice(&VIP);
    frame[36..38].copy_from_slice(&VIP_PORT.to_be_bytes());
    frame[46] = 0x50;
    frame[47] = flags;
    let sum = checksum::of(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_flows_have_the_same_client() {
        let clients: HashSet<_> = (0..200_000).map(client).collect();
        assert_eq!(clients.len(), 200_000);
    }

    #[test]
    fn flows_come_around_once_or_never_again() {
        let mut ids = [0; BURST];
        let mut around = Order::Around { next: 0, flows: 20 };
        assert_eq!(around.take(&mut ids, 30), 30);
        assert_eq!((ids[19], ids[20], ids[29]), (19, 0, 9));
        let mut listed = Order::Listed { flows: (0..40).rev().collect(), at: 0 };
        assert_eq!(listed.take(&mut ids, BURST), 32);
        assert_eq!((listed.take(&mut ids, BURST), ids[0], ids[7]), (8, 7, 0));
        assert_eq!(listed.take(&mut ids, BURST), 0);
        let mut fresh = Order::Fresh { next: u32::MAX };
        assert_eq!((fresh.take(&mut ids, 2), ids[0], ids[1]), (2, u32::MAX, 0));
    }
}
