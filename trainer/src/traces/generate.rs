//! Traces that are made: rows of `time<TAB>query` from laws and a seed.

use std::fmt::{self, Write as _};

use super::ask::LOOP;
use crate::sim::{
    arrivals::Arrivals,
    law::Law,
    rng::{Purpose, Stream},
};

/// Makes rows without end.
pub trait Generator: fmt::Debug + Send {
    /// Appends the query of the next row to `query`, and returns its time in seconds; never before the one before.
    fn row(&mut self, query: &mut String) -> f64;
}

/// Loops whose turns follow a law, at times of any arrivals: the form of the published Poisson traces.
#[derive(Debug)]
pub struct Loops {
    arrivals: Box<dyn Arrivals>,
    turns: Law,
    stream: Stream,
    t: f64,
}

impl Loops {
    /// The mean of the published traces' turns, which are exponential.
    pub const TURNS: f64 = 3.67e6;

    /// Turns of this law, which has been checked. `arrivals` has no end.
    pub fn new(arrivals: Box<dyn Arrivals>, turns: Law, seed: u64) -> Self {
        Self { arrivals, turns, stream: Stream::numbered(seed, Purpose::Service, 1), t: 0.0 }
    }
}

impl Generator for Loops {
    fn row(&mut self, query: &mut String) -> f64 {
        if let Some(arrival) = self.arrivals.next() {
            self.t = arrival.t / 1e9;
        }
        let turns = self.turns.draw(&mut self.stream).round().max(1.0) as u64;
        write!(query, "{LOOP}{turns}").expect("a string takes everything");
        self.t
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sim::arrivals::{Mmpp, Poisson},
        traces::{Summary, tsv},
    };

    fn summary(generator: &mut dyn Generator, rows: u32) -> Summary {
        let mut writer = tsv::Writer::new(Vec::new()).unwrap();
        let mut query = String::new();
        for _ in 0..rows {
            query.clear();
            let t = generator.row(&mut query);
            writer.row(t, &query).unwrap();
        }
        let text = writer.into_inner();
        Summary::of(&mut tsv::Reader::new(&text[..]).unwrap()).unwrap()
    }

    #[test]
    fn made_poisson_traces_are_as_the_published_ones() {
        let law = Law::Exponential { mean: Loops::TURNS };
        let found = summary(&mut Loops::new(Box::new(Poisson::new(350.0, 1)), law, 1), 78_000);
        assert!((found.rate() / 350.0 - 1.0).abs() < 0.015, "{}", found.rate());
        assert!((found.gap_cv - 1.0).abs() < 0.02 && (found.dispersion - 1.0).abs() < 0.3, "{found}");
        assert!((found.loops.mean / 3.67e6 - 1.0).abs() < 0.02, "{found}");
        assert!((found.loops.std / found.loops.mean - 1.0).abs() < 0.02, "{found}");
    }

    #[test]
    fn made_bursts_have_more_dispersion() {
        let arrivals = Box::new(Mmpp::new(350.0, 5.0, 1e9, 4e9, 1));
        let found = summary(&mut Loops::new(arrivals, Law::Constant { mean: 10.0 }, 1), 78_000);
        assert!(found.dispersion > 20.0, "{found}");
        assert_eq!((found.loops.mean, found.loops.std), (10.0, 0.0));
    }
}
