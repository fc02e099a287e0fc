//! What the first fragment of a datagram said, for those that follow it.

use super::hash::HashKey;
use crate::{time::Tick, wire::tcp};

/// Datagrams that are remembered.
const CAPACITY: usize = 4096;

/// Places that a datagram can have: of these the oldest one makes room.
const WAYS: usize = 4;

/// A datagram is remembered for two seconds: its fragments travel together, and the sender may use its identification
/// again soon.
const TIMEOUT_TICKS: u32 = (2_000_000_000u64 >> 16) as u32;

/// What the fragments of a datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Datagram {
    /// Source and destination address as they stand in the packet; IPv4 has both in the first word.
    pub addresses: [u64; 4],
    /// The identification.
    pub id: u32,
    /// IPv4: the protocol. IPv6: zero, because its fragments need not agree on it.
    pub protocol: u8,
    /// Whether it is IPv6.
    pub v6: bool,
}

/// What only the first fragment has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// Ports, as in [`FlowKey`](super::flow::FlowKey).
    pub ports: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// TCP's control bits.
    pub tcp: Option<tcp::Flags>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    datagram: Datagram,
    upper: Upper,
    since: Tick,
}

const _: () = assert!(size_of::<Option<Slot>>() == 56, "224 KiB for each lcore");

/// The datagrams of one lcore whose first fragment was seen. Its size is fixed; each operation looks at four slots.
#[derive(Debug)]
pub struct Fragments {
    slots: Box<[Option<Slot>]>,
    hash_key: HashKey,
}

impl Fragments {
    /// A table that remembers nothing yet.
    pub fn new(hash_key: HashKey) -> Self {
        Self { slots: vec![None; CAPACITY].into_boxed_slice(), hash_key }
    }

    /// Where the four slots begin that a datagram can be in.
    fn set(&self, Datagram { addresses, id, protocol, v6 }: &Datagram) -> usize {
        let word = u64::from(*id) | u64::from(*protocol) << 32 | u64::from(*v6) << 40;
        self.hash_key.v6(*addresses, word) as usize % (CAPACITY / WAYS) * WAYS
    }

    /// What the first fragment of `datagram` said, if it came in the last two seconds.
    pub fn get(&self, datagram: &Datagram, now: Tick) -> Option<Upper> {
        let set = self.set(datagram);
        let slot = self.slots[set..set + WAYS].iter().flatten().find(|slot| slot.datagram == *datagram)?;
        (now.since(slot.since) < TIMEOUT_TICKS).then_some(slot.upper)
    }

    /// Remembers what a first fragment says; what an earlier one with the same identification said is forgotten.
    pub fn remember(&mut self, datagram: &Datagram, upper: Upper, now: Tick) {
        let set = self.set(datagram);
        let slots = &mut self.slots[set..set + WAYS];
        let known = slots.iter().position(|slot| slot.is_some_and(|slot| slot.datagram == *datagram));
        let age = |slot: &Option<Slot>| slot.map_or(u32::MAX, |slot| now.since(slot.since));
        let oldest = || (0..WAYS).max_by_key(|&at| age(&slots[at])).unwrap_or(0);
        let at = known.unwrap_or_else(oldest);
        slots[at] = Some(Slot { datagram: *datagram, upper, since: now });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn datagram(source: u8, id: u8, v6: bool) -> Datagram {
        let protocol = if v6 { 0 } else { 17 };
        Datagram { addresses: [u64::from(source), 0, 0, 0], id: id.into(), protocol, v6 }
    }

    fn upper(ports: u32) -> Upper {
        Upper { ports, protocol: 17, tcp: None }
    }

    proptest! {
        /// Each step: which datagram, the ports that a first fragment has (none: a later one), ticks that pass.
        #[test]
        fn what_is_remembered_agrees_with_a_map(
            pool in prop_oneof![Just(2u8), Just(60)],
            steps in prop::collection::vec((any::<(u8, u8, bool)>(), any::<Option<u32>>(), 0u32..20_000), 0..400),
        ) {
            let mut table = Fragments::new(HashKey::default());
            let mut model: HashMap<Datagram, (Upper, u32)> = HashMap::new();
            let mut now = 0;
            for ((source, id, v6), ports, passed) in steps {
                now += passed;
                // Four datagrams always fit into the slots of one; thousands do not, and some are forgotten early.
                let datagram = datagram(source % pool, id % pool, v6 && pool > 2);
                if let Some(ports) = ports {
                    table.remember(&datagram, upper(ports), Tick(now));
                    model.insert(datagram, (upper(ports), now));
                }
                let known = model.get(&datagram).filter(|(_, since)| now - since < TIMEOUT_TICKS);
                let known = known.map(|&(upper, _)| upper);
                match table.get(&datagram, Tick(now)) {
                    None if pool > 2 && ports.is_none() => {}
                    found => prop_assert_eq!(found, known),
                }
            }
        }
    }

    #[test]
    fn flood_of_datagrams_leaves_the_newest_known() {
        let mut table = Fragments::new(HashKey::default());
        let of = |n: u32| Datagram { id: n, ..datagram(1, 0, false) };
        for n in 0..100_000 {
            table.remember(&of(n), upper(n), Tick(n / 100));
            assert_eq!(table.get(&of(n), Tick(n / 100)), Some(upper(n)));
        }
        let known = (0..100_000).filter(|&n| table.get(&of(n), Tick(1000)).is_some()).count();
        assert_eq!(known, CAPACITY, "every slot is in use");
        let newest = (99_000..100_000).filter(|&n| table.get(&of(n), Tick(1000)) == Some(upper(n))).count();
        assert!(newest > 950, "{newest} of the last thousand");
    }
}
