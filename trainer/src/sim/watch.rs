//! Which flows a balancer watches, and what it hears of them.
//!
//! The laws are those of the data plane (`docs/design/measurement.md`): flows are chosen by hash, a flow that finds
//! its place taken is not watched, and every place is visited once a round, when its flow says how long it has lasted.
//! Visits are not events here: they are caught up on whenever somebody asks, with the times that they would have had.

use std::ops::Range;

/// Most flows that are watched at once.
const SLOTS: usize = 1 << 13;
/// In which time every place is visited once.
const ROUND: u64 = 250_000_000;
/// Flows that begin to be watched in a round before it becomes one in twice as many.
const BEGINS_PER_ROUND: u64 = 1024;
/// Most often it doubles.
const MOST_SHIFT: u32 = 20;

/// A flow that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its number in the run.
    pub flow: u32,
    /// Its server.
    pub server: u32,
    /// When its SYN came.
    pub started: u64,
    slot: u32,
}

impl Watched {
    /// When its place is visited within these times.
    pub fn visits(&self, times: Range<u64>) -> impl Iterator<Item = u64> {
        // The first place is visited when a round begins, the last one when it ends.
        let phase = u64::from(self.slot) * ROUND / SLOTS as u64;
        let from = times.start.max(self.started + 1);
        let first = from.saturating_sub(phase).div_ceil(ROUND) * ROUND + phase;
        (first..times.end).step_by(ROUND as usize)
    }
}

/// The watched flows of a balancer.
#[derive(Clone, Debug)]
pub struct Watches {
    slots: Vec<bool>,
    live: Vec<Watched>,
    shift: u32,
    round: u64,
    begun: u64,
}

impl Default for Watches {
    fn default() -> Self {
        Self { slots: vec![false; SLOTS], live: Vec::new(), shift: 0, round: 0, begun: 0 }
    }
}

impl Watches {
    /// A flow begins. Returns its place in [`Watches::live`] if it is watched.
    pub fn begin(&mut self, now: u64, hash: u64, flow: u32, server: u32) -> Option<u32> {
        self.adapt(now / ROUND);
        let slot = (hash >> 8) as usize % SLOTS;
        let is_chosen = (hash >> 24) & ((1 << self.shift) - 1) == 0;
        if !is_chosen || self.slots[slot] {
            return None;
        }
        self.slots[slot] = true;
        self.begun += 1;
        self.live.push(Watched { flow, server, started: now, slot: slot as u32 });
        Some(self.live.len() as u32 - 1)
    }

    /// The flow at this place is gone; returns who has its place now, if anybody.
    pub fn end(&mut self, place: u32) -> Option<u32> {
        let place = place as usize;
        let gone = self.live.swap_remove(place);
        self.slots[gone.slot as usize] = false;
        self.live.get(place).map(|moved| moved.flow)
    }

    /// The flows that are watched now.
    pub fn live(&self) -> &[Watched] {
        &self.live
    }

    /// At the end of each round: more or fewer flows.
    fn adapt(&mut self, round: u64) {
        let mut ended = round - self.round;
        self.round = round;
        while ended > 0 {
            if self.begun > BEGINS_PER_ROUND {
                self.shift = (self.shift + 1).min(MOST_SHIFT);
            } else if self.begun < BEGINS_PER_ROUND / 4 {
                self.shift = self.shift.saturating_sub(1);
            }
            self.begun = 0;
            ended = if self.shift == 0 { 0 } else { ended - 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_flow_is_visited_once_a_round() {
        let mut watches = Watches::default();
        assert_eq!(watches.begin(1000, 4096 << 8, 7, 3), Some(0));
        let watched = watches.live()[0];
        let half = ROUND / 2;
        let visits: Vec<u64> = watched.visits(0..3 * ROUND).collect();
        assert_eq!(visits, [half, half + ROUND, half + 2 * ROUND]);
        // In pieces too, whatever they are, and not at its very beginning.
        let pieces = [0, half, half + 1, ROUND, 2 * ROUND + half, 3 * ROUND];
        let pieced: Vec<u64> =
            pieces.windows(2).flat_map(|times| watched.visits(times[0]..times[1])).collect();
        assert_eq!(pieced, visits);
        let late = Watched { started: half, ..watched };
        assert_eq!(late.visits(0..2 * ROUND).collect::<Vec<_>>(), [half + ROUND]);
    }

    #[test]
    fn flow_whose_place_is_taken_is_not_watched() {
        let mut watches = Watches::default();
        assert_eq!(watches.begin(0, 5 << 8, 1, 0), Some(0));
        assert_eq!(watches.begin(0, 5 << 8, 2, 0), None);
        assert_eq!(watches.begin(0, 6 << 8, 3, 0), Some(1));
        assert_eq!(watches.end(0), Some(3));
        assert_eq!(watches.begin(0, 5 << 8, 4, 0), Some(1));
        assert_eq!(watches.end(1), None);
    }

    #[test]
    fn fewer_flows_are_watched_while_many_begin_and_more_again_later() {
        let mut watches = Watches::default();
        let mut begin = |now: u64, hash: u64| match watches.begin(now, hash, 0, 0) {
            Some(place) => {
                watches.end(place);
                true
            }
            None => false,
        };
        for flow in 0..2 * BEGINS_PER_ROUND {
            assert!(begin(1, flow << 8));
        }
        assert!(!begin(ROUND, 1 << 24) && begin(ROUND, 2 << 24), "now one in two");
        assert!(!begin(ROUND + 1, 1 << 24) && begin(3 * ROUND, 1 << 24), "few began in the round before");
    }
}
