//! Who is at which Ethernet address: what was learned, what has to be asked, what has to be asked again.
//!
//! A state machine without a clock or a socket of its own: time comes in as an argument, and what should be
//! asked comes out as a list.

use std::{collections::HashMap, net::IpAddr};

use dataplane::{
    tables::{neighbor::Neighbors, route::NextHop},
    time::Nanos,
    wire::Mac,
};

const MILLISECOND: u64 = 1_000_000;

/// Between two questions for a neighbour that packets wait for.
const ASK_EVERY: u64 = 250 * MILLISECOND;

/// Between two questions for one that has not answered [`IMPATIENT_QUESTIONS`] times.
const ASK_SLOWLY: u64 = 1000 * MILLISECOND;

/// Questions before patience sets in.
const IMPATIENT_QUESTIONS: u32 = 8;

/// An answer counts for this long; then the neighbour is asked again, while it stays in use.
const REACHABLE: u64 = 30_000 * MILLISECOND;

/// Unanswered questions after which a neighbour counts as gone.
const GONE_AFTER: u32 = 4;

/// Most neighbours that are learned; the configured ones come on top.
const MOST_LEARNED: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// From the configuration.
    Static,
    /// Asked for, this many times.
    Unresolved { questions: u32 },
    /// Answered; asked again this many times since.
    Resolved { questions: u32 },
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    state: State,
    /// Known unless the state is `Unresolved`.
    mac: Option<Mac>,
    /// When to ask next.
    ask_at: Nanos,
    /// Servers and gateways are asked for as long as they are configured.
    pinned: bool,
}

/// The neighbours of all ports.
#[derive(Debug, Default)]
pub struct NeighborCache {
    entries: HashMap<NextHop, Entry>,
    changed: bool,
}

impl NeighborCache {
    /// Sets what the configuration says: static entries, and the next hops that are always needed.
    pub fn configure(
        &mut self,
        fixed: impl IntoIterator<Item = (NextHop, Mac)>,
        needed: impl IntoIterator<Item = NextHop>,
        now: Nanos,
    ) {
        self.entries.retain(|_, entry| entry.state != State::Static);
        for entry in self.entries.values_mut() {
            entry.pinned = false;
        }
        for (hop, mac) in fixed {
            self.entries
                .insert(hop, Entry { state: State::Static, mac: Some(mac), ask_at: now, pinned: true });
        }
        for hop in needed {
            self.entry(hop, now).pinned = true;
        }
        self.changed = true;
    }

    fn entry(&mut self, hop: NextHop, now: Nanos) -> &mut Entry {
        let unasked =
            Entry { state: State::Unresolved { questions: 0 }, mac: None, ask_at: now, pinned: false };
        self.entries.entry(hop).or_insert(unasked)
    }

    /// A packet waits for `hop`.
    pub fn want(&mut self, hop: NextHop, now: Nanos) {
        if self.entries.len() < MOST_LEARNED || self.entries.contains_key(&hop) {
            self.entry(hop, now);
        }
    }

    /// `hop` was heard to be at `mac`. The caller has checked that its address is on that port's link.
    pub fn seen(&mut self, hop: NextHop, mac: Mac, now: Nanos) {
        if mac.is_group() || self.entries.len() >= MOST_LEARNED && !self.entries.contains_key(&hop) {
            return;
        }
        let entry = self.entry(hop, now);
        if entry.state == State::Static {
            return;
        }
        let news = entry.mac != Some(mac);
        *entry = Entry {
            state: State::Resolved { questions: 0 },
            mac: Some(mac),
            ask_at: Nanos(now.0 + REACHABLE),
            pinned: entry.pinned,
        };
        self.changed |= news;
    }

    /// The neighbours that have to be asked now. Forgets those that do not answer.
    pub fn questions(&mut self, now: Nanos) -> Vec<NextHop> {
        let mut ask = Vec::new();
        let mut lost = false;
        self.entries.retain(|hop, entry| {
            if entry.state == State::Static || now < entry.ask_at {
                return true;
            }
            let pause = match &mut entry.state {
                State::Unresolved { questions } if *questions >= IMPATIENT_QUESTIONS => {
                    if !entry.pinned {
                        return false;
                    }
                    ASK_SLOWLY
                }
                State::Resolved { questions } if *questions >= GONE_AFTER => {
                    lost = true;
                    if !entry.pinned {
                        return false;
                    }
                    entry.mac = None;
                    entry.state = State::Unresolved { questions: 1 };
                    ASK_EVERY
                }
                State::Unresolved { questions } => {
                    *questions += 1;
                    ASK_EVERY
                }
                State::Resolved { questions } => {
                    *questions += 1;
                    ASK_SLOWLY
                }
                State::Static => return true,
            };
            entry.ask_at = Nanos(now.0 + pause);
            ask.push(*hop);
            true
        });
        self.changed |= lost;
        ask
    }

    /// Whether the resolved neighbours changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The resolved neighbours.
    pub fn table(&self) -> Neighbors {
        self.entries.iter().filter_map(|(hop, entry)| Some((*hop, entry.mac?))).collect()
    }

    /// The servers and gateways that have not answered.
    pub fn missing(&self) -> impl Iterator<Item = IpAddr> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.pinned && entry.mac.is_none())
            .map(|(hop, _)| hop.address)
    }
}

#[cfg(test)]
mod tests {
    use ipc::id::PortId;

    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

    fn hop(last: u8) -> NextHop {
        NextHop { port: PortId(0), address: IpAddr::from([192, 0, 2, last]) }
    }

    fn at(milliseconds: u64) -> Nanos {
        Nanos(milliseconds * MILLISECOND)
    }

    #[test]
    fn wanted_neighbour_is_asked_for_until_it_answers() {
        let mut cache = NeighborCache::default();
        cache.want(hop(1), at(0));
        assert_eq!(cache.questions(at(0)), [hop(1)]);
        assert_eq!(cache.questions(at(100)), []);
        assert_eq!(cache.questions(at(250)), [hop(1)]);
        assert!(!cache.take_changed());
        cache.seen(hop(1), MAC, at(300));
        assert!(cache.take_changed());
        assert_eq!(cache.table().get(hop(1)), Some(MAC));
        assert_eq!(cache.questions(at(20_000)), []);
    }

    #[test]
    fn answer_is_confirmed_and_a_silent_neighbour_is_gone() {
        let mut cache = NeighborCache::default();
        cache.configure([], [hop(1)], at(0));
        cache.seen(hop(1), MAC, at(0));
        cache.take_changed();
        for question in 0..4 {
            assert_eq!(cache.questions(at(30_000 + question * 1000)), [hop(1)]);
            assert!(!cache.take_changed(), "still believed while being asked");
        }
        assert_eq!(cache.questions(at(34_000)), [hop(1)]);
        assert!(cache.take_changed());
        assert_eq!(cache.table().get(hop(1)), None);
        assert_eq!(cache.missing().collect::<Vec<_>>(), [hop(1).address]);
        cache.seen(hop(1), MAC, at(35_000));
        assert!(cache.take_changed());
    }

    #[test]
    fn unneeded_neighbour_that_never_answers_is_forgotten() {
        let mut cache = NeighborCache::default();
        cache.want(hop(7), at(0));
        let asked: usize = (0..100).map(|round| cache.questions(at(round * 250)).len()).sum();
        assert_eq!(asked, IMPATIENT_QUESTIONS as usize);
        assert_eq!(cache.entries.len(), 0);
    }

    #[test]
    fn static_entry_wins_over_what_is_heard() {
        let mut cache = NeighborCache::default();
        cache.configure([(hop(1), MAC)], [hop(1)], at(0));
        cache.seen(hop(1), Mac([2, 0, 0, 0, 0, 66]), at(1));
        assert_eq!(cache.table().get(hop(1)), Some(MAC));
        assert_eq!(cache.questions(at(100_000)), []);
    }

    #[test]
    fn flood_of_neighbours_is_bounded_and_groups_are_ignored() {
        let mut cache = NeighborCache::default();
        for n in 0..10_000u32 {
            let hop = NextHop { port: PortId(0), address: IpAddr::V4(n.into()) };
            cache.seen(hop, MAC, at(0));
        }
        assert_eq!(cache.table().len(), MOST_LEARNED);
        let mut cache = NeighborCache::default();
        cache.seen(hop(1), Mac::BROADCAST, at(0));
        assert!(cache.table().is_empty());
    }
}
