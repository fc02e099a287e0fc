//! A modelled server: one processor that all its requests share equally.

use std::{cmp::Reverse, collections::BinaryHeap};

use dataplane::time::Nanos;

/// A processor-sharing queue (egalitarian: with `n` requests in service, each is served at `speed / n`).
///
/// Kept in virtual time: the work that one request would have received since the start. A request that arrives
/// at virtual time `v` with work `w` is done when virtual time reaches `v + w`.
#[derive(Debug)]
pub struct ProcessorSharing {
    /// Work done per nanosecond when one request is alone.
    speed: f64,
    virtual_time: f64,
    now: Nanos,
    /// Virtual time of completion and the request, the next one on top.
    requests: BinaryHeap<Reverse<(Due, u64)>>,
}

/// A virtual time, ordered.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Due(f64);

impl Eq for Due {}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl ProcessorSharing {
    /// An idle server; `speed` in nanoseconds of work per nanosecond.
    pub fn new(speed: f64, now: Nanos) -> Self {
        Self { speed, virtual_time: 0.0, now, requests: BinaryHeap::new() }
    }

    /// Requests in service.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// A request with this much work, in nanoseconds at speed 1, arrives. `now` never goes back.
    pub fn arrive(&mut self, request: u64, work: f64, now: Nanos) {
        self.advance(now);
        self.requests.push(Reverse((Due(self.virtual_time + work), request)));
    }

    /// The next request that is done by `now`, with the time at which it was. Call until `None`.
    pub fn next_done(&mut self, now: Nanos) -> Option<(u64, Nanos)> {
        let &Reverse((Due(due), request)) = self.requests.peek()?;
        let wait = (due - self.virtual_time).max(0.0) * self.requests.len() as f64 / self.speed;
        let done = Nanos(self.now.0 + wait as u64);
        if done > now {
            return None;
        }
        self.requests.pop();
        self.virtual_time = due;
        self.now = done;
        Some((request, done))
    }

    fn advance(&mut self, now: Nanos) {
        let elapsed = now.0.saturating_sub(self.now.0) as f64;
        if !self.requests.is_empty() {
            self.virtual_time += elapsed * self.speed / self.requests.len() as f64;
        }
        self.now = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_share_the_processor() {
        let mut server = ProcessorSharing::new(2.0, Nanos(0));
        server.arrive(1, 100.0, Nanos(0)); // alone it would take 50
        server.arrive(2, 20.0, Nanos(10)); // 80 left of the first; both at speed 1
        assert_eq!(server.next_done(Nanos(29)), None);
        assert_eq!(server.next_done(Nanos(100)), Some((2, Nanos(30))));
        assert_eq!(server.next_done(Nanos(100)), Some((1, Nanos(60)))); // 60 left, alone at speed 2
        assert_eq!(server.next_done(Nanos(1000)), None);
        assert_eq!(server.len(), 0);
    }

    #[test]
    fn mean_sojourn_is_that_of_m_g_1_processor_sharing() {
        // T = E[work] / speed / (1 - rho), whatever the distribution of work (here: constant); rho = 0.5.
        let mut rng = fastrand::Rng::with_seed(7);
        let mut server = ProcessorSharing::new(1.0, Nanos(0));
        let (mut now, mut total, mut count) = (0.0, 0.0, 0u32);
        let mut arrivals = Vec::new();
        for request in 0..60_000 {
            now += -(1.0 - rng.f64()).ln() * 2000.0;
            while let Some((done, at)) = server.next_done(Nanos(now as u64)) {
                total += at.0 as f64 - arrivals[done as usize];
                count += 1;
            }
            arrivals.push(now);
            server.arrive(request, 1000.0, Nanos(now as u64));
        }
        let mean = total / f64::from(count);
        assert!((mean - 2000.0).abs() < 100.0, "{mean}");
    }
}
