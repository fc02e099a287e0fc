//! What is in a trace, in one pass.

use std::fmt;

use serde::Serialize;

use super::{Ask, Costs, Source, TraceError};

/// What is in a trace. Times in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Flows.
    pub flows: u64,
    /// When the first one begins.
    pub first: f64,
    /// When the last one begins.
    pub last: f64,
    /// Standard deviation of the gaps divided by their mean: 1 for Poisson arrivals.
    pub gap_cv: f64,
    /// Variance of the flows in a second divided by their mean: 1 for Poisson arrivals, more for bursts.
    pub dispersion: f64,
    /// Most flows in a second.
    pub busiest: u64,
    /// Flows that ask for a loop, and its turns.
    pub loops: Numbers,
    /// Flows that ask for a page.
    pub pages: u64,
    /// Flows that ask for a file.
    pub files: u64,
    /// Flows of which only bytes are known.
    pub bytes: Numbers,
}

/// Moments of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Numbers {
    /// How many.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub std: f64,
    /// The largest.
    pub max: f64,
}

/// Welford's update.
#[derive(Default)]
struct Running {
    numbers: Numbers,
    squares: f64,
}

impl Running {
    fn add(&mut self, value: f64) {
        let numbers = &mut self.numbers;
        numbers.count += 1;
        let before = value - numbers.mean;
        numbers.mean += before / numbers.count as f64;
        self.squares += before * (value - numbers.mean);
        numbers.max = numbers.max.max(value);
    }

    fn get(&self) -> Numbers {
        Numbers { std: (self.squares / self.numbers.count.max(1) as f64).sqrt(), ..self.numbers }
    }
}

/// Flows in each second since the first one.
struct Seconds {
    counts: Running,
    second: u64,
    count: u64,
}

impl Seconds {
    fn add(&mut self, since: f64) {
        let second = since as u64;
        // A long silence is many empty seconds; beyond a day it says nothing more about bursts.
        for _ in 0..(second - self.second).min(86_400) {
            self.counts.add(self.count as f64);
            self.count = 0;
        }
        self.second = second;
        self.count += 1;
    }
}

impl Summary {
    /// Reads a whole trace. It must have a flow.
    pub fn of(source: &mut dyn Source) -> Result<Self, TraceError> {
        let mut gaps = Running::default();
        let (mut loops, mut bytes) = (Running::default(), Running::default());
        let mut seconds = Seconds { counts: Running::default(), second: 0, count: 0 };
        let (mut pages, mut files) = (0, 0);
        let mut times: Option<(f64, f64)> = None;
        while let Some(entry) = source.next()? {
            let (first, before) = times.unwrap_or((entry.t, entry.t));
            if times.is_some() {
                gaps.add((entry.t - before) / 1e9);
            }
            times = Some((first, entry.t));
            seconds.add((entry.t - first) / 1e9);
            match entry.ask {
                Ask::Loop(turns) => loops.add(turns as f64),
                Ask::Bytes(count) => bytes.add(count as f64),
                Ask::Page => pages += 1,
                Ask::File => files += 1,
            }
        }
        let (first, last) = times.ok_or(TraceError::Empty)?;
        let (gaps, counts) = (gaps.get(), seconds.counts.get());
        let (loops, bytes) = (loops.get(), bytes.get());
        Ok(Self {
            flows: gaps.count + 1,
            first: first / 1e9,
            last: last / 1e9,
            gap_cv: quotient(gaps.std, gaps.mean),
            dispersion: quotient(counts.std * counts.std, counts.mean),
            busiest: (counts.max as u64).max(seconds.count),
            loops,
            pages,
            files,
            bytes,
        })
    }

    /// Flows a second, from 0 to the last one's begin; for a trace of one moment, all of them.
    pub fn rate(&self) -> f64 {
        if self.last > 0.0 { self.flows as f64 / self.last } else { self.flows as f64 }
    }

    /// What a flow costs on the mean, in nanoseconds of a core at speed 1.
    pub fn mean_cost(&self, costs: &Costs) -> f64 {
        let sum = self.loops.count as f64 * self.loops.mean * costs.turn
            + self.pages as f64 * costs.page.mean()
            + self.files as f64 * costs.file.mean()
            + self.bytes.count as f64 * self.bytes.mean * costs.byte;
        (sum / self.flows as f64).max(1.0)
    }
}

fn quotient(above: f64, below: f64) -> f64 {
    if below > 0.0 { above / below } else { 0.0 }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "flows          {}", self.flows)?;
        writeln!(f, "time           {:.3} to {:.3} s", self.first, self.last)?;
        writeln!(f, "rate           {:.2} flows/s, at most {} in a second", self.rate(), self.busiest)?;
        writeln!(f, "gaps           std/mean {:.3} (Poisson: 1)", self.gap_cv)?;
        writeln!(f, "dispersion     {:.2} at 1 s (Poisson: 1)", self.dispersion)?;
        for (name, numbers) in [("loops", &self.loops), ("bytes", &self.bytes)] {
            if numbers.count > 0 {
                let Numbers { count, mean, std, max } = numbers;
                writeln!(f, "{name:<14} {count} flows, mean {mean:.4e}, std {std:.4e}, max {max:.4e}")?;
            }
        }
        if self.pages + self.files > 0 {
            let share = 100.0 * self.pages as f64 / (self.pages + self.files) as f64;
            writeln!(f, "pages, files   {}, {} ({share:.1} % pages)", self.pages, self.files)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::tsv;

    fn summary(text: &[u8]) -> Result<Summary, TraceError> {
        Summary::of(&mut tsv::Reader::new(text).unwrap())
    }

    /// Worked out by hand: gaps 1, 1, 2 (mean 4/3, variance 2/9); whole seconds 1, 1, 1, 0 before the last.
    #[test]
    fn numbers_are_those_of_the_definitions() {
        let found =
            summary(b"time\tquery\n1\t/dummy.php/?n=2\n2\t/dummy.php/?n=4\n3\t/wiki/index.php/A\n5\t/a\n")
                .unwrap();
        assert_eq!((found.flows, found.first, found.last, found.rate()), (4, 1.0, 5.0, 0.8));
        assert!((found.gap_cv - 0.353_553).abs() < 1e-6);
        assert!((found.dispersion - 0.25).abs() < 1e-12);
        assert_eq!((found.busiest, found.pages, found.files), (1, 1, 1));
        assert_eq!(found.loops, Numbers { count: 2, mean: 3.0, std: 1.0, max: 4.0 });
        let costs = Costs { turn: 1e6, ..Costs::default() };
        assert!((found.mean_cost(&costs) - (6e6 + 100e6 + 2e6) / 4.0).abs() < 1e-3);
    }

    #[test]
    fn trace_without_flows_is_refused() {
        assert!(matches!(summary(b"time\tquery\n"), Err(TraceError::Empty)));
        let one = summary(b"time\tquery\n0\t/a\n").unwrap();
        assert_eq!((one.flows, one.rate(), one.gap_cv, one.dispersion), (1, 1.0, 0.0, 0.0));
    }

    #[test]
    fn long_silence_is_passed_quickly() {
        assert_eq!(summary(b"time\tquery\n0\t/a\n1e15\t/a\n").unwrap().flows, 2);
    }
}
