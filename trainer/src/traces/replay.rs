//! From a trace to arrivals of the simulator.

use super::{Costs, Source, Summary, TraceError};
use crate::sim::{
    arrivals::{Arrival, Arrivals, Demand},
    rng::{Purpose, Stream},
};

/// Arrivals of a trace.
#[derive(Debug)]
pub struct Replay {
    source: Box<dyn Source>,
    costs: Costs,
    stream: Stream,
    work: f64,
    time: f64,
    error: Option<TraceError>,
}

impl Replay {
    /// Replays as it is: times of the trace, and what `costs` say, drawn for `seed` where they are a law.
    pub fn new(source: Box<dyn Source>, costs: Costs, seed: u64) -> Self {
        let stream = Stream::new(seed, Purpose::Service);
        Self { source, costs, stream, work: 1.0, time: 1.0, error: None }
    }

    /// Scales all work, so that a flow costs `mean` nanoseconds on the mean. `summary` is of the same trace.
    #[must_use]
    pub fn with_mean(mut self, summary: &Summary, mean: f64) -> Self {
        self.work = mean / summary.mean_cost(&self.costs);
        self
    }

    /// Scales all times, so that there are so many flows a second on the mean. `summary` is of the same trace.
    #[must_use]
    pub fn at_rate(mut self, summary: &Summary, rate: f64) -> Self {
        self.time = summary.rate() / rate;
        self
    }

    /// Why the arrivals ended, if it was not the end of the trace.
    pub const fn error(&self) -> Option<&TraceError> {
        self.error.as_ref()
    }
}

impl Arrivals for Replay {
    fn next(&mut self) -> Option<Arrival> {
        match self.source.next() {
            Ok(entry) => entry.map(|entry| {
                let cpu = (self.work * self.costs.draw(entry.ask, &mut self.stream)).max(1.0);
                Arrival { t: self.time * entry.t, demand: Some(Demand { cpu, io: 0.0 }) }
            }),
            Err(error) => {
                self.error = Some(error);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sim::law::Law, traces::tsv};

    const TRACE: &[u8] = b"time\tquery\n1\t/dummy.php/?n=100\n2\t/dummy.php/?n=300\n5\t/wiki/index.php/A\n";

    fn replay() -> Replay {
        let costs = Costs { turn: 2.0, page: Law::Constant { mean: 500.0 }, ..Costs::default() };
        Replay::new(Box::new(tsv::Reader::new(TRACE).unwrap()), costs, 1)
    }

    fn arrivals(mut replay: Replay) -> Vec<(f64, f64)> {
        std::iter::from_fn(|| replay.next())
            .map(|arrival| (arrival.t, arrival.demand.expect("a trace says").cpu))
            .collect()
    }

    #[test]
    fn flows_come_when_and_with_what_the_trace_says() {
        assert_eq!(arrivals(replay()), [(1e9, 200.0), (2e9, 600.0), (5e9, 500.0)]);
    }

    #[test]
    fn work_and_time_are_scaled_to_a_mean_and_a_rate() {
        let summary = Summary::of(&mut tsv::Reader::new(TRACE).unwrap()).unwrap();
        let scaled =
            replay().with_mean(&summary, 1300.0 * 2.0 / 3.0).at_rate(&summary, summary.rate() * 10.0);
        let found = arrivals(scaled);
        for (found, expected) in found.iter().zip([(1e8, 400.0), (2e8, 1200.0), (5e8, 1000.0)]) {
            assert!((found.0 / expected.0 - 1.0).abs() < 1e-12 && (found.1 / expected.1 - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn broken_trace_ends_with_its_error() {
        let broken: &[u8] = b"time\tquery\n1\t/a\noops\n";
        let mut replay = Replay::new(Box::new(tsv::Reader::new(broken).unwrap()), Costs::default(), 1);
        assert!(replay.next().is_some() && replay.error().is_none());
        assert!(replay.next().is_none());
        assert!(matches!(replay.error(), Some(TraceError::NoTab { line: 3, .. })));
    }
}
