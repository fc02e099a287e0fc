//! What is said of a run, and of several.

use serde::Serialize;

use super::interval::Interval;
use crate::sim::Record;

/// How many pieces a run is cut into for an interval of its own.
const BATCHES: usize = 20;

/// What became of a run. Times are in seconds, over flows that got their answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Mean time from a client's SYN to its answer.
    pub mean: f64,
    /// 95 % interval of the mean, from means of successive pieces of the run.
    pub ci95: [f64; 2],
    /// Median.
    pub p50: f64,
    /// 90th percentile, as those below.
    pub p90: f64,
    /// 95th.
    pub p95: f64,
    /// 99th.
    pub p99: f64,
    /// Jain's index of load for the capacity, averaged over time ([`Record::jain`]).
    pub jain: f64,
    /// The share of flows that got no answer.
    pub rejects: f64,
    /// Flows that count.
    pub flows: u64,
}

impl Outcome {
    /// What a run's record says.
    pub fn of(record: &Record, seed: u64) -> Self {
        let seconds: Vec<f64> = record.completed.iter().map(|flow| flow.latency as f64 * 1e-9).collect();
        let piece = seconds.len().div_ceil(BATCHES).max(1);
        let means: Vec<f64> =
            seconds.chunks_exact(piece).map(|piece| piece.iter().sum::<f64>() / piece.len() as f64).collect();
        let ci95 = Interval::of(&means).ends();
        let mean = seconds.iter().sum::<f64>() / seconds.len() as f64;
        let mut sorted = seconds;
        sorted.sort_unstable_by(f64::total_cmp);
        let [p50, p90, p95, p99] = [0.5, 0.9, 0.95, 0.99].map(|share| quantile(&sorted, share));
        let (jain, rejects, flows) = (record.jain(), record.rejects(), record.flows());
        Self { seed, mean, ci95, p50, p90, p95, p99, jain, rejects, flows }
    }
}

/// The value at `share` of the way from the smallest to the largest, interpolated between its neighbours; not a
/// number of nothing.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * sorted.len().saturating_sub(1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    match (sorted.get(below), sorted.get(above)) {
        (Some(&low), Some(&high)) => (high - low).mul_add(position.fract(), low),
        _ => f64::NAN,
    }
}

/// Several runs together: means over runs, with their 95 % intervals.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pooled {
    /// Of the runs' means, in seconds.
    pub mean: f64,
    /// Its interval over the runs; of one run, the interval of its own.
    pub ci95: [f64; 2],
    /// Mean of the runs' medians, as those below.
    pub p50: f64,
    /// 90th percentiles.
    pub p90: f64,
    /// 95th.
    pub p95: f64,
    /// 99th.
    pub p99: f64,
    /// Fairness.
    pub jain: f64,
    /// The share of flows that got no answer.
    pub rejects: f64,
    /// Half the widths of the intervals of the others, by name; not there for one run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plus_minus: Option<PlusMinus>,
    /// Every run.
    pub seeds: Vec<Outcome>,
}

/// Half the widths of 95 % intervals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields of `Pooled`")]
pub struct PlusMinus {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub jain: f64,
    pub rejects: f64,
}

impl Pooled {
    /// At least one run.
    pub fn of(seeds: Vec<Outcome>) -> Self {
        let over = |what: fn(&Outcome) -> f64| Interval::of(&seeds.iter().map(what).collect::<Vec<_>>());
        let [mean, p50, p90, p95, p99, jain, rejects] = [
            over(|run| run.mean),
            over(|run| run.p50),
            over(|run| run.p90),
            over(|run| run.p95),
            over(|run| run.p99),
            over(|run| run.jain),
            over(|run| run.rejects),
        ];
        let plus_minus = (seeds.len() > 1).then_some(PlusMinus {
            mean: mean.half,
            p50: p50.half,
            p90: p90.half,
            p95: p95.half,
            p99: p99.half,
            jain: jain.half,
            rejects: rejects.half,
        });
        let ci95 = match &seeds[..] {
            [only] => only.ci95,
            _ => mean.ends(),
        };
        Self {
            mean: mean.mean,
            ci95,
            p50: p50.mean,
            p90: p90.mean,
            p95: p95.mean,
            p99: p99.mean,
            jain: jain.mean,
            rejects: rejects.mean,
            plus_minus,
            seeds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::record::Completed;

    fn record(latencies: impl Iterator<Item = u64>) -> Record {
        let mut record = Record::default();
        record.completed.extend(latencies.map(|latency| Completed { began: 0, latency }));
        record
    }

    #[test]
    fn outcome_is_in_seconds() {
        let outcome = Outcome::of(&record((0..=1000).map(|ms| ms * 1_000_000)), 7);
        assert_eq!((outcome.seed, outcome.flows, outcome.rejects), (7, 1001, 0.0));
        for (found, expected) in [
            (outcome.mean, 0.5),
            (outcome.p50, 0.5),
            (outcome.p90, 0.9),
            (outcome.p95, 0.95),
            (outcome.p99, 0.99),
        ] {
            assert!((found - expected).abs() < 1e-9, "{outcome:?}");
        }
        assert!(outcome.ci95[0] < 0.5 && outcome.ci95[1] > 0.5);
    }

    #[test]
    fn runs_are_pooled_by_their_means() {
        let run = |mean: u64| Outcome::of(&record((0..100).map(|_| mean * 1_000_000_000)), mean);
        let pooled = Pooled::of(vec![run(1), run(2), run(3)]);
        let half = 4.303 / 3.0_f64.sqrt();
        assert!(
            (pooled.mean - 2.0).abs() < 1e-12 && (pooled.ci95[1] - 2.0 - half).abs() < 1e-9,
            "{pooled:?}"
        );
        let one = Pooled::of(vec![run(4)]);
        assert_eq!((one.mean, one.ci95, one.plus_minus), (4.0, [4.0, 4.0], None));
        let json = serde_json::to_value(&one).unwrap();
        for key in ["mean", "ci95", "p50", "p90", "p95", "p99", "jain", "rejects", "seeds"] {
            assert!(json.get(key).is_some(), "{key}");
        }
        assert_eq!(json["seeds"][0]["mean"], 4.0);
    }
}
