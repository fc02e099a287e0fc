//! What happens next: events that were scheduled, and timers that can be set anew.
//!
//! A server has one timer for whichever flow it will finish first. When a flow comes or goes that time changes; a
//! timer is moved, where a heap would fill up with events that no longer hold.

use std::{cmp::Reverse, collections::BinaryHeap};

/// When something is due. What is due at the same time happens in the order in which it was scheduled, so that a run
/// does not depend on how the queue is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    t: u64,
    order: u64,
}

impl Due {
    const NEVER: Self = Self { t: u64::MAX, order: u64::MAX };
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening<E> {
    /// An event that was scheduled.
    Event(E),
    /// A timer that was set. It is off now.
    Timer(usize),
}

/// Events and timers in the order of their times.
#[derive(Clone, Debug)]
pub struct Queue<E> {
    events: BinaryHeap<Reverse<Entry<E>>>,
    timers: Timers,
    order: u64,
}

impl<E: Copy> Queue<E> {
    /// Nothing is due; there are so many timers, numbered from 0.
    pub fn new(timers: usize) -> Self {
        Self { events: BinaryHeap::new(), timers: Timers::new(timers), order: 0 }
    }

    /// Schedules an event.
    pub fn schedule(&mut self, t: u64, event: E) {
        let due = self.due(t);
        self.events.push(Reverse(Entry { due, event }));
    }

    /// Sets a timer, whatever it was set to before; `None` turns it off.
    #[inline]
    pub fn set_timer(&mut self, timer: usize, t: Option<u64>) {
        let due = t.map_or(Due::NEVER, |t| self.due(t));
        self.timers.set(timer, due);
    }

    /// Takes what happens next, if it does not happen after `until`, and says when.
    #[inline]
    pub fn next(&mut self, until: u64) -> Option<(u64, Happening<E>)> {
        let (timer, due) = self.timers.first();
        match self.events.peek() {
            Some(Reverse(entry)) if entry.due < due => {
                let Entry { due, event } = *entry;
                if due.t > until {
                    return None;
                }
                self.events.pop();
                Some((due.t, Happening::Event(event)))
            }
            _ if due == Due::NEVER || due.t > until => None,
            _ => {
                self.timers.set(timer, Due::NEVER);
                Some((due.t, Happening::Timer(timer)))
            }
        }
    }

    fn due(&mut self, t: u64) -> Due {
        self.order += 1;
        Due { t, order: self.order }
    }
}

/// An event in the heap, which looks only at when it is due.
#[derive(Clone, Copy, Debug)]
struct Entry<E> {
    due: Due,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

/// A tournament of timers: each inner node holds the earlier one of its two children.
#[derive(Clone, Debug)]
struct Timers {
    due: Vec<Due>,
    /// The root is 1, the children of `i` are `2i` and `2i + 1`, the leaves are the timers.
    winners: Vec<u32>,
}

impl Timers {
    fn new(timers: usize) -> Self {
        let leaves = timers.next_power_of_two().max(2);
        let mut winners = vec![0; 2 * leaves];
        for node in (1..2 * leaves).rev() {
            winners[node] = if node >= leaves { (node - leaves) as u32 } else { winners[2 * node] };
        }
        Self { due: vec![Due::NEVER; leaves], winners }
    }

    #[inline]
    fn set(&mut self, timer: usize, due: Due) {
        self.due[timer] = due;
        let mut node = (self.due.len() + timer) / 2;
        while node > 0 {
            let (left, right) = (self.winners[2 * node], self.winners[2 * node + 1]);
            let is_right = self.due[right as usize] < self.due[left as usize];
            self.winners[node] = if is_right { right } else { left };
            node /= 2;
        }
    }

    #[inline]
    fn first(&self) -> (usize, Due) {
        let timer = self.winners[1] as usize;
        (timer, self.due[timer])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_due_at_the_same_time_happens_in_the_order_of_scheduling() {
        let mut queue = Queue::new(2);
        queue.schedule(5, 'a');
        queue.set_timer(1, Some(5));
        queue.schedule(5, 'b');
        queue.set_timer(0, Some(4));
        queue.set_timer(1, Some(5)); // anew: now behind b
        let order: Vec<_> = std::iter::from_fn(|| queue.next(u64::MAX)).collect();
        let (event, timer) = (Happening::Event, Happening::Timer);
        assert_eq!(order, [(4, timer(0)), (5, event('a')), (5, event('b')), (5, timer(1))]);
    }

    #[test]
    fn nothing_happens_before_its_time() {
        let mut queue = Queue::new(1);
        queue.schedule(7, ());
        queue.set_timer(0, Some(9));
        assert_eq!(queue.next(6), None);
        assert_eq!(queue.next(7), Some((7, Happening::Event(()))));
        assert_eq!(queue.next(8), None);
        assert_eq!(queue.next(9), Some((9, Happening::Timer(0))));
        assert_eq!(queue.next(u64::MAX), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Schedule(u64),
        Set(usize, Option<u64>),
        Next(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let t = 0..50_u64;
        prop_oneof![
            t.clone().prop_map(Step::Schedule),
            (0..5_usize, prop::option::of(t.clone())).prop_map(|(timer, t)| Step::Set(timer, t)),
            t.prop_map(Step::Next),
        ]
    }

    proptest! {
        #[test]
        fn queue_agrees_with_a_sorted_list(steps in prop::collection::vec(step(), 0..200)) {
            let mut queue = Queue::new(5);
            let mut list: Vec<(u64, usize, Happening<usize>)> = Vec::new();
            for (at, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Schedule(t) => {
                        queue.schedule(t, at);
                        list.push((t, at, Happening::Event(at)));
                    }
                    Step::Set(timer, t) => {
                        queue.set_timer(timer, t);
                        list.retain(|entry| entry.2 != Happening::Timer(timer));
                        list.extend(t.map(|t| (t, at, Happening::Timer(timer))));
                    }
                    Step::Next(until) => {
                        list.sort_by_key(|entry| (entry.0, entry.1));
                        let expected = list.first().filter(|entry| entry.0 <= until).copied();
                        if expected.is_some() {
                            list.remove(0);
                        }
                        prop_assert_eq!(queue.next(until), expected.map(|(t, _, what)| (t, what)));
                    }
                }
            }
        }
    }
}
