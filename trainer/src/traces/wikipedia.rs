//! A synthetic day of an encyclopaedia: **not a recording**.
//!
//! Fitted to what is published of the Wikipedia traces that learned balancers are tried with: flows a second between 519
//! and 796 over a day with two peaks, 45 % pages that are made for the asking and 55 % files. Arrivals are a Poisson process
//! with that rate (by thinning: Lewis and Shedler, 1979). Titles are popular by Zipf's law with exponent 1.

use std::{f64::consts::TAU, fmt::Write as _};

use super::{Ask, Entry, Source, TraceError, ask::PAGE, generate::Generator};
use crate::sim::rng::{Purpose, Stream};

/// What a day is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Day {
    /// Least flows a second, in the early morning.
    pub least: f64,
    /// Most flows a second, in the evening.
    pub most: f64,
    /// How long it lasts, in seconds; shorter ones have the same shape.
    pub length: f64,
    /// The share of pages, 0 to 1; the others are files.
    pub pages: f64,
    /// Titles, and files, that there are.
    pub titles: u64,
}

impl Default for Day {
    fn default() -> Self {
        Self { least: 519.0, most: 796.0, length: 86_400.0, pages: 0.45, titles: 1_000_000 }
    }
}

impl Day {
    /// The same day with this mean rate.
    #[must_use]
    pub fn with_mean(mut self, rate: f64) -> Self {
        let factor = rate / self.mean();
        self.least *= factor;
        self.most *= factor;
        self
    }

    /// The same day, so many seconds long.
    #[must_use]
    pub const fn lasting(mut self, seconds: f64) -> Self {
        self.length = seconds;
        self
    }

    /// Flows a second at a time; days follow each other.
    pub fn rate(&self, seconds: f64) -> f64 {
        let shape = (curve(seconds / self.length) - LOWEST) / (HIGHEST - LOWEST);
        (self.most - self.least).mul_add(shape.clamp(0.0, 1.0), self.least)
    }

    /// Flows a second on the mean of a day.
    pub fn mean(&self) -> f64 {
        // The curve's mean is zero.
        (self.most - self.least).mul_add(-LOWEST / (HIGHEST - LOWEST), self.least)
    }
}

/// Where the curve is lowest and highest.
const LOWEST: f64 = -1.477_211_6;
const HIGHEST: f64 = 0.964_181_4;

/// Two waves, once and twice a day: lowest at 3 h, peaks at 11 h and 19 h, the later one higher.
fn curve(days: f64) -> f64 {
    let hours = 24.0 * days;
    0.5_f64.mul_add((TAU * (hours - 21.0) / 12.0).cos(), (TAU * (hours - 16.0) / 24.0).cos())
}

/// Flows of such days, one after the other.
#[derive(Clone, Debug)]
pub struct Wikipedia {
    day: Day,
    arrivals: Stream,
    asks: Stream,
    t: f64,
}

impl Wikipedia {
    /// From midnight on.
    pub fn new(day: Day, seed: u64) -> Self {
        let arrivals = Stream::new(seed, Purpose::Arrivals);
        // Number 1: costs are drawn from number 0 in a replay.
        let asks = Stream::numbered(seed, Purpose::Service, 1);
        Self { day, arrivals, asks, t: 0.0 }
    }

    /// When the next flow begins, in seconds.
    fn begin(&mut self) -> f64 {
        loop {
            self.t += self.arrivals.exponential() / self.day.most;
            if self.arrivals.open01() * self.day.most <= self.day.rate(self.t) {
                return self.t;
            }
        }
    }

    /// The next flow: seconds, whether it asks for a page, and the rank of the title, from 1 on.
    fn flow(&mut self) -> (f64, bool, u64) {
        let t = self.begin();
        let is_page = self.asks.open01() < self.day.pages;
        // Zipf's law with exponent 1, of a continuous rank: its logarithm is even.
        let rank = (self.day.titles as f64).powf(self.asks.open01()) as u64;
        (t, is_page, rank.max(1))
    }
}

impl Generator for Wikipedia {
    fn row(&mut self, query: &mut String) -> f64 {
        let (t, is_page, rank) = self.flow();
        let written =
            if is_page { write!(query, "{PAGE}Title_{rank}") } else { write!(query, "/static/file_{rank}") };
        written.expect("a string takes everything");
        t
    }
}

impl Source for Wikipedia {
    fn next(&mut self) -> Result<Option<Entry>, TraceError> {
        let (t, is_page, _) = self.flow();
        Ok(Some(Entry { t: t * 1e9, ask: if is_page { Ask::Page } else { Ask::File } }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(day: Day) -> Vec<f64> {
        (0..1440).map(|minute| day.rate(day.length * f64::from(minute) / 1440.0)).collect()
    }

    #[test]
    fn day_has_two_peaks_within_the_published_bounds() {
        let rates = minutes(Day::default());
        let (least, most) =
            rates.iter().fold((f64::MAX, 0.0_f64), |(a, b), &rate| (a.min(rate), b.max(rate)));
        assert!((least - 519.0).abs() < 0.1 && (most - 796.0).abs() < 0.1, "{least} {most}");
        let peaks = (0..1440).filter(|&at| {
            let [before, here, after] = [at + 1439, at, at + 1].map(|at| rates[at % 1440]);
            before < here && here >= after
        });
        assert_eq!(peaks.count(), 2);
        let mean = rates.iter().sum::<f64>() / 1440.0;
        assert!((mean - Day::default().mean()).abs() < 0.1, "{mean} {}", Day::default().mean());
        let scaled = Day::default().with_mean(100.0).lasting(600.0);
        assert!((scaled.mean() - 100.0).abs() < 1e-9);
        assert!((minutes(scaled).iter().sum::<f64>() / 1440.0 - 100.0).abs() < 0.02);
    }

    #[test]
    fn flows_follow_the_rate_and_the_mix() {
        let day = Day::default().lasting(600.0);
        let mut source = Wikipedia::new(day, 1);
        let (mut counts, mut pages, mut flows) = ([0.0; 10], 0.0, 0.0);
        while let Some(entry) = source.next().unwrap() {
            let Some(count) = counts.get_mut((entry.t / 60e9) as usize) else { break };
            *count += 1.0;
            flows += 1.0;
            pages += f64::from(u8::from(entry.ask == Ask::Page));
        }
        for (part, count) in counts.into_iter().enumerate() {
            let expected: f64 = (0..60).map(|second| day.rate((part * 60 + second) as f64 + 0.5)).sum();
            assert!((count - expected).abs() < 4.0 * expected.sqrt(), "{part}: {count}, not {expected}");
        }
        assert!((pages / flows - 0.45_f64).abs() < 0.005, "{}", pages / flows);
    }

    #[test]
    fn popular_titles_come_often() {
        let mut source = Wikipedia::new(Day { titles: 1000, ..Day::default() }, 2);
        let ranks: Vec<u64> = (0..100_000).map(|_| source.flow().2).collect();
        let share = |from: u64, to: u64| {
            ranks.iter().filter(|rank| (from..=to).contains(*rank)).count() as f64 / ranks.len() as f64
        };
        assert!(ranks.iter().all(|rank| (1..=1000).contains(rank)));
        // The first title has ln 2 / ln 1000 of all, those from 100 on a third.
        assert!((share(1, 1) - 0.1003).abs() < 0.005 && (share(100, 1000) - 0.3333).abs() < 0.007);
    }

    #[test]
    fn same_seed_gives_the_same_day() {
        let day = |seed| {
            let (mut source, mut query) = (Wikipedia::new(Day::default(), seed), String::new());
            (0..100).map(|_| (source.row(&mut query), query.len())).collect::<Vec<_>>()
        };
        assert_eq!(day(3), day(3));
        assert_ne!(day(3), day(4));
    }
}
