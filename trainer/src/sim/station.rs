//! Where work is done: cores that are shared by the jobs in service, and a line for those that are not.
//!
//! Processor sharing and first come, first served differ in one number: how many jobs are in service at most. All
//! jobs in service run equally fast, so one counter of what each of them has been given tells when any of them ends:
//! a job that enters when the counter is at `c` with work `w` ends when it is at `c + w`. Nothing has to be scaled when
//! jobs come and go.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, VecDeque},
};

/// Cores, the jobs that they work on, and the jobs that wait.
#[derive(Clone, Debug)]
pub struct Station {
    cores: f64,
    speed: f64,
    /// Most jobs in service.
    limit: usize,
    /// Work that each job in service has been given since the station was last empty.
    given: f64,
    /// The time at which that was so.
    at: u64,
    service: BinaryHeap<Reverse<Job>>,
    /// Sum of where the jobs in service end.
    ends: f64,
    waiting: VecDeque<(u32, f64)>,
    waiting_work: f64,
    entered: u64,
}

/// A job in service.
#[derive(Clone, Copy, Debug)]
struct Job {
    /// What `given` will be when it ends.
    end: f64,
    /// Among equals, who entered first.
    order: u64,
    id: u32,
}

impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Job {}

impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Job {
    fn cmp(&self, other: &Self) -> Ordering {
        self.end.total_cmp(&other.end).then(self.order.cmp(&other.order))
    }
}

impl Station {
    /// An idle station of so many cores of a speed (1: a unit of work a nanosecond), both above zero, with at most
    /// `limit` jobs in service, at least 1. A job runs on one core at most.
    pub fn new(cores: f64, speed: f64, limit: usize) -> Self {
        Self {
            cores,
            speed,
            limit: limit.max(1),
            given: 0.0,
            at: 0,
            service: BinaryHeap::new(),
            ends: 0.0,
            waiting: VecDeque::new(),
            waiting_work: 0.0,
            entered: 0,
        }
    }

    /// Jobs in service and in line.
    pub fn jobs(&self) -> usize {
        self.service.len() + self.waiting.len()
    }

    /// Work that a nanosecond does for each job in service.
    #[inline]
    fn rate(&self) -> f64 {
        self.speed * (self.cores / self.service.len() as f64).min(1.0)
    }

    #[inline]
    fn advance(&mut self, now: u64) {
        if !self.service.is_empty() {
            self.given += (now - self.at) as f64 * self.rate();
        }
        self.at = now;
    }

    /// A job comes, with work above zero.
    #[inline]
    pub fn enter(&mut self, now: u64, id: u32, work: f64) {
        self.advance(now);
        if self.service.len() < self.limit {
            self.serve(id, work);
        } else {
            self.waiting.push_back((id, work));
            self.waiting_work += work;
        }
    }

    #[inline]
    fn serve(&mut self, id: u32, work: f64) {
        self.entered += 1;
        let end = self.given + work;
        self.ends += end;
        self.service.push(Reverse(Job { end, order: self.entered, id }));
    }

    /// When the next job ends if none comes before; `None`: there is none. Rounded up to a nanosecond.
    #[inline]
    pub fn next_end(&self) -> Option<u64> {
        let Reverse(job) = self.service.peek()?;
        let wait = ((job.end - self.given) / self.rate()).max(0.0).ceil();
        Some(self.at.saturating_add(wait as u64))
    }

    /// Lets the job go that ends at [`Station::next_end`], which is `now`; the first one in line takes its place.
    #[inline]
    pub fn leave(&mut self, now: u64) -> Option<u32> {
        self.advance(now);
        let Reverse(job) = self.service.pop()?;
        self.ends -= job.end;
        if let Some((id, work)) = self.waiting.pop_front() {
            self.waiting_work -= work;
            self.serve(id, work);
        } else if self.service.is_empty() {
            // From zero again, so that rounding does not add up over a run.
            (self.given, self.ends, self.waiting_work) = (0.0, 0.0, 0.0);
        }
        Some(job.id)
    }

    /// From now on it is so fast.
    pub fn set_speed(&mut self, now: u64, speed: f64) {
        self.advance(now);
        self.speed = speed;
    }

    /// All jobs are gone at once; returns them, in an order that depends on nothing but the run.
    pub fn clear(&mut self, now: u64) -> Vec<u32> {
        self.advance(now);
        let mut service = std::mem::take(&mut self.service).into_vec();
        service.sort_unstable();
        let waiting = self.waiting.drain(..).map(|(id, _)| id);
        let all = service.into_iter().rev().map(|Reverse(job)| job.id).chain(waiting).collect();
        (self.given, self.ends, self.waiting_work) = (0.0, 0.0, 0.0);
        all
    }

    /// By how much a job with so much work would raise the sum of all jobs' times here if none came after it: how long it
    /// would take itself, and how much longer the others would.
    pub fn delay_of(&self, now: u64, work: f64) -> f64 {
        if self.service.len() >= self.limit {
            // Last in line, it delays nobody.
            return self.work_left(now) / (self.speed * self.cores.min(self.limit as f64))
                + work / self.speed;
        }
        let given = match self.service.is_empty() {
            true => 0.0,
            false => self.given + (now - self.at) as f64 * self.rate(),
        };
        let mut left: Vec<f64> = self.service.iter().map(|Reverse(job)| (job.end - given).max(0.0)).collect();
        left.sort_unstable_by(f64::total_cmp);
        let slowness = |jobs: f64| (jobs / self.cores).max(1.0) / self.speed;
        let (mut delay, mut done) = (0.0, 0.0);
        for (ended, left) in left.iter().copied().chain([f64::INFINITY]).enumerate() {
            let others = (self.service.len() - ended) as f64;
            let piece = left.min(work) - done;
            delay += piece * (others + 1.0).mul_add(slowness(others + 1.0), -others * slowness(others));
            done += piece;
            if left >= work {
                break;
            }
        }
        delay
    }

    /// Work that is left of all its jobs.
    pub fn work_left(&self, now: u64) -> f64 {
        let jobs = self.service.len() as f64;
        let given = match self.service.is_empty() {
            true => 0.0,
            false => self.given + (now - self.at) as f64 * self.rate(),
        };
        (self.ends - jobs * given + self.waiting_work).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every job's end when they come at these times with this work.
    fn ends(mut station: Station, jobs: &[(u64, f64)]) -> Vec<u64> {
        let mut ends = vec![0; jobs.len()];
        let mut leave_until = |station: &mut Station, until: u64| {
            while let Some(t) = station.next_end().filter(|&t| t <= until) {
                ends[station.leave(t).unwrap() as usize] = t;
            }
        };
        for (id, &(t, work)) in jobs.iter().enumerate() {
            leave_until(&mut station, t);
            station.enter(t, id as u32, work);
        }
        leave_until(&mut station, u64::MAX);
        assert_eq!((station.jobs(), station.work_left(u64::MAX)), (0, 0.0));
        ends
    }

    #[test]
    fn one_core_is_shared_by_all_jobs() {
        // Alone until 10, shared by two until the first has its 20, then alone again.
        assert_eq!(ends(Station::new(1.0, 1.0, usize::MAX), &[(0, 20.0), (10, 30.0)]), [30, 50]);
    }

    #[test]
    fn jobs_on_cores_of_their_own_do_not_slow_each_other() {
        let jobs = [(0, 20.0), (0, 30.0), (0, 40.0)];
        assert_eq!(ends(Station::new(3.0, 2.0, usize::MAX), &jobs), [10, 15, 20]);
        // Two cores for three: each runs at two thirds until the first ends.
        assert_eq!(ends(Station::new(2.0, 1.0, usize::MAX), &jobs), [30, 40, 50]);
    }

    #[test]
    fn jobs_beyond_the_limit_wait_in_line() {
        let jobs = [(0, 20.0), (1, 5.0), (2, 5.0), (30, 1.0)];
        assert_eq!(ends(Station::new(1.0, 1.0, 1), &jobs), [20, 25, 30, 31]);
        assert_eq!(ends(Station::new(2.0, 1.0, 2), &jobs), [20, 6, 11, 31]);
    }

    #[test]
    fn speed_changes_what_is_left() {
        let mut station = Station::new(1.0, 1.0, usize::MAX);
        station.enter(0, 7, 100.0);
        station.set_speed(50, 0.5);
        assert_eq!((station.next_end(), station.work_left(70)), (Some(150), 40.0));
        station.set_speed(70, 4.0);
        assert_eq!((station.next_end(), station.leave(80)), (Some(80), Some(7)));
    }

    #[test]
    fn station_that_is_cleared_begins_anew() {
        let mut station = Station::new(1.0, 1.0, 2);
        for id in 0..4 {
            station.enter(0, id, 10.0 - f64::from(id));
        }
        assert_eq!(station.work_left(0), 34.0);
        assert_eq!(station.clear(5), [1, 0, 2, 3]);
        assert_eq!((station.jobs(), station.next_end(), station.work_left(9)), (0, None, 0.0));
        station.enter(20, 5, 10.0);
        assert_eq!(station.next_end(), Some(30));
    }

    #[test]
    fn delay_of_a_job_is_what_all_jobs_together_lose() {
        let jobs = [(0, 20.0), (0, 5.0), (0, 12.0)];
        for (cores, limit) in [(1.0, 9), (2.0, 9), (3.0, 9), (1.0, 1), (2.0, 2)] {
            for work in [2.0, 5.0, 9.0, 30.0] {
                let station = Station::new(cores, 0.5, limit);
                let mut loaded = station.clone();
                jobs.iter().zip(0..).for_each(|(&(t, work), id)| loaded.enter(t, id, work));
                let all: Vec<_> = jobs.into_iter().chain([(0, work)]).collect();
                let sum = |jobs: &[(u64, f64)]| ends(station.clone(), jobs).into_iter().sum::<u64>() as f64;
                let lost = sum(&all) - sum(&jobs);
                // A line of several cores is taken for one fast core.
                let slack = if limit == 2 { 20.0 } else { 4.0 };
                assert!((loaded.delay_of(0, work) - lost).abs() <= slack, "{cores} {limit} {work}: {lost}");
            }
        }
    }

    proptest! {
        /// Whatever the discipline, a single core that has work works: it ends when the work is done.
        #[test]
        fn work_is_conserved(
            jobs in prop::collection::vec((0..50_u64, 1..60_u32), 1..40),
            limit in 1..6_usize,
        ) {
            let mut t = 0;
            let jobs: Vec<(u64, f64)> =
                jobs.into_iter().map(|(gap, work)| { t += gap; (t, f64::from(work)) }).collect();
            let idle_at = jobs.iter().fold(0.0, |free: f64, &(t, work)| free.max(t as f64) + work);
            let last = ends(Station::new(1.0, 1.0, limit), &jobs).into_iter().max().unwrap();
            // Each end is rounded up, so the last one is late by at most a nanosecond for each.
            prop_assert!((0.0..=jobs.len() as f64).contains(&(last as f64 - idle_at + 1e-6)));
        }
    }
}
