//! Traffic made where it is consumed: a queue that receives what it makes up.
//!
//! A generator on the same lcore costs some five cycles a packet more than taking buffers from the pool
//! and giving them back, and keeps no table that would compete for the cache.

use std::net::{Ipv4Addr, Ipv6Addr};

use dataplane::{
    ports::{
        BURST, Burst, Packet, Queue,
        dpdk::{DpdkQueue, Mbuf},
    },
    wire::{Mac, checksum, tcp::Flags},
};

/// Length of every frame, without its checksum, in bytes, by family.
pub const FRAME_LEN: usize = 64;
pub const FRAME_LEN_V6: usize = 80;

/// Ethernet addresses of the client's router and of our port.
pub const CLIENT_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xc1]);
pub const PORT_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// Where frames go: the first VIP; the others have the next addresses.
pub const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub const VIP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10);
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
    kind: Kind,
    template_v4: [u8; FRAME_LEN],
    template_v6: [u8; FRAME_LEN_V6],
    order: Order,
}

/// What frames are made.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Whether they are IPv6.
    pub v6: bool,
    /// To how many VIPs.
    pub vips: u16,
}

impl Kind {
    /// IPv4 to one VIP.
    pub const PLAIN: Self = Self { v6: false, vips: 1 };
}

impl Generator {
    /// A generator of ACKs of `flows` flows in turn, which transmits on `queue`.
    pub fn new(queue: DpdkQueue, kind: Kind, flows: u32) -> Self {
        let order = Order::Around { next: 0, flows };
        let (template_v4, template_v6) = (template_v4(Flags::ACK), template_v6(Flags::ACK));
        Self { queue, kind, template_v4, template_v6, order }
    }

    /// From now on: one segment of each of these flows, then nothing.
    pub fn list(&mut self, flows: Vec<u32>, flags: u8) {
        self.set_flags(flags);
        self.order = Order::Listed { flows, at: 0 };
    }

    /// From now on: ACKs of the first `flows` flows in turn.
    pub fn go_around(&mut self, flows: u32) {
        self.set_flags(Flags::ACK);
        self.order = Order::Around { next: 0, flows };
    }

    /// From now on: SYNs of flows that never come again, after the first `known`.
    pub fn open_fresh(&mut self, known: u32) {
        self.set_flags(Flags::SYN);
        self.order = Order::Fresh { next: known };
    }

    fn set_flags(&mut self, flags: u8) {
        (self.template_v4, self.template_v6) = (template_v4(flags), template_v6(flags));
    }
}

/// Writes `template` into each of `mbufs`, with the client that `ids` names at `source` and its port at `port`, and the
/// VIP in the last four bytes of an address, at `vip`.
#[inline(always)]
fn fill<const LEN: usize>(
    mbufs: &mut [Mbuf],
    ids: &[u32],
    template: &[u8; LEN],
    [source, vip, port]: [usize; 3],
    (first, vips): (u32, u16),
) {
    for (mbuf, &id) in mbufs.iter_mut().zip(ids) {
        if mbuf.append(LEN).is_err() {
            continue; // no pool of ours has buffers that small
        }
        if let Ok(frame) = <&mut [u8; LEN]>::try_from(mbuf.data_mut()) {
            *frame = *template;
            let (address, sport) = client(id);
            frame[source..source + 4].copy_from_slice(&address);
            frame[port..port + 2].copy_from_slice(&sport);
            if vips > 1 {
                frame[vip..vip + 4].copy_from_slice(&(first + vip_of(id, vips)).to_be_bytes());
            }
        }
    }
}

/// Which of `vips` VIPs a flow is for.
#[inline]
fn vip_of(flow: u32, vips: u16) -> u32 {
    let scattered = u64::from(flow.wrapping_mul(0x9e37_79b1));
    ((scattered * u64::from(vips)) >> 32) as u32
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
        let Kind { v6, vips } = self.kind;
        if v6 {
            let [.., a, b, c, d] = VIP_V6.octets();
            let first = u32::from_be_bytes([a, b, c, d]);
            fill(&mut burst[start..], &ids, &self.template_v6, [34, 50, 54], (first, vips));
        } else {
            fill(&mut burst[start..], &ids, &self.template_v4, [26, 30, 34], (VIP.to_bits(), vips));
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

/// A TCP segment to the first VIP with ten bytes of payload: 64 bytes of frame without padding.
///
/// Its checksums are those of the client 0.0.0.0:0; the packet path reads none.
fn template_v4(flags: u8) -> [u8; FRAME_LEN] {
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
    frame[30..34].copy_from_slice(&VIP.octets());
    frame[36..38].copy_from_slice(&VIP_PORT.to_be_bytes());
    frame[46] = 0x50;
    frame[47] = flags;
    let sum = checksum::of(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// The same in IPv6, from 2001:db8:2::, with six bytes of payload.
fn template_v6(flags: u8) -> [u8; FRAME_LEN_V6] {
    const PAYLOAD_LEN: usize = FRAME_LEN_V6 - 54;
    let mut frame = [0; FRAME_LEN_V6];
    frame[0..6].copy_from_slice(&PORT_MAC.0);
    frame[6..12].copy_from_slice(&CLIENT_MAC.0);
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    frame[14] = 0x60;
    frame[18..20].copy_from_slice(&(PAYLOAD_LEN as u16).to_be_bytes());
    frame[20] = 6;
    frame[21] = 64;
    frame[22..28].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8, 0, 2]);
    frame[38..54].copy_from_slice(&VIP_V6.octets());
    frame[56..58].copy_from_slice(&VIP_PORT.to_be_bytes());
    frame[66] = 0x50;
    frame[67] = flags;
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
    fn flows_are_spread_over_the_vips() {
        let mut counts = [0u32; 1000];
        (0..100_000).for_each(|flow| counts[vip_of(flow, 1000) as usize] += 1);
        assert!(counts.iter().all(|&count| (90..=110).contains(&count)), "{counts:?}");
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
