//! What is good: rewards by name, over one number for each server.
//!
//! x is the decayed mean flow duration of each active server with fresh samples, in seconds. The formulas are those of
//! the published systems (`docs/design/rules.md` has the table). Each is finite for any x, also where a variance or a
//! logarithm is not: below [`FLOOR`] nothing is smaller. A reward that only compares servers costs nothing when all are
//! equally slow; [`Reward::Log`] has an absolute term.

use ipc::sample::Kind;

use crate::Observation;

/// No variance (s²) and no time (s) is taken for smaller in a logarithm or below a fraction bar.
pub const FLOOR: f64 = 1e-9;
/// How much a variance of logarithms costs in [`Reward::Log`].
const IMBALANCE: f64 = 0.5;
/// What the published formulas add below a fraction bar or in a logarithm.
const EPSILON: f64 = 1e-6;

/// A reward. Larger is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reward {
    /// −ln mean x − ½ Var(ln x): all fast, and alike. The default.
    #[default]
    Log,
    /// Jain's index (Σx)² / (n Σx²), from 1/n to 1.
    Jain,
    /// Jain's index less 1.
    Jain2,
    /// Π x / max x.
    Product,
    /// Mean of ln(x / max x): the logarithm of the geometric mean of the product's factors.
    ProductLog,
    /// Π (x / max x)^(1/k) with k = 2, Bossaer's.
    Bossaer,
    /// Π sin(π x / (2 max x)).
    Sine,
    /// −Var x.
    Variance,
    /// −ln Var x.
    LogVariance,
    /// −Var x − ln Var x: a Markov potential game, and the best of that paper.
    VariancePotential,
    /// exp(−10⁴ Var x).
    ExpVariance,
    /// −Var x + exp(−10⁴ Var x).
    VarianceExp,
    /// −σ, the standard deviation.
    Std,
    /// −σ − ln(σ + 10⁻⁶).
    StdLog,
    /// −Var x / (‖x‖₂ + 10⁻⁶).
    VarianceNorm,
    /// −σ / (mean x + 10⁻⁶).
    Cv,
    /// −max x.
    Makespan,
    /// −ln max x.
    LogMakespan,
    /// exp(−10⁴ max x).
    ExpMakespan,
    /// min x − max x.
    Range,
    /// 1 − max x / (mean x + 10⁻⁶).
    OverProvision,
    /// −Gini coefficient.
    Gini,
    /// −Σ w x with weights that sum to 1, within −5 and 0.
    Weighted,
    /// −mean x.
    Mean,
    /// −ln mean x.
    LogMean,
}

impl Reward {
    /// Every reward.
    pub const ALL: [Self; 25] = [
        Self::Log,
        Self::Jain,
        Self::Jain2,
        Self::Product,
        Self::ProductLog,
        Self::Bossaer,
        Self::Sine,
        Self::Variance,
        Self::LogVariance,
        Self::VariancePotential,
        Self::ExpVariance,
        Self::VarianceExp,
        Self::Std,
        Self::StdLog,
        Self::VarianceNorm,
        Self::Cv,
        Self::Makespan,
        Self::LogMakespan,
        Self::ExpMakespan,
        Self::Range,
        Self::OverProvision,
        Self::Gini,
        Self::Weighted,
        Self::Mean,
        Self::LogMean,
    ];

    /// The reward of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reward| reward.name() == name)
    }

    /// Its name in configurations and manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Jain => "jain",
            Self::Jain2 => "jain2",
            Self::Product => "product",
            Self::ProductLog => "product-log",
            Self::Bossaer => "bossaer",
            Self::Sine => "sine",
            Self::Variance => "variance",
            Self::LogVariance => "log-variance",
            Self::VariancePotential => "variance-potential",
            Self::ExpVariance => "exp-variance",
            Self::VarianceExp => "variance-exp",
            Self::Std => "std",
            Self::StdLog => "std-log",
            Self::VarianceNorm => "variance-norm",
            Self::Cv => "cv",
            Self::Makespan => "makespan",
            Self::LogMakespan => "log-makespan",
            Self::ExpMakespan => "exp-makespan",
            Self::Range => "range",
            Self::OverProvision => "over-provision",
            Self::Gini => "gini",
            Self::Weighted => "weighted",
            Self::Mean => "mean",
            Self::LogMean => "log-mean",
        }
    }

    /// The reward of these times, one for each server that has samples; 0 when there are none.
    ///
    /// `x` is finite and not negative, in seconds. `weights` are used by [`Reward::Weighted`] only, and stand in the order
    /// of `x`; missing ones count as equal.
    pub fn of(self, x: &[f64], weights: &[f64]) -> f64 {
        if x.is_empty() {
            return 0.0;
        }
        let shape = Shape::of(x);
        let Shape { mean, max, variance, .. } = shape;
        match self {
            Self::Log => -floored(mean).ln() - IMBALANCE * log_variance(x),
            Self::Jain => jain(x),
            Self::Jain2 => jain(x) - 1.0,
            Self::Product => product(x, max, |share| share),
            Self::ProductLog => {
                x.iter().map(|x| (floored(*x) / floored(max)).ln()).sum::<f64>() / x.len() as f64
            }
            Self::Bossaer => product(x, max, f64::sqrt),
            Self::Sine => product(x, max, |share| (std::f64::consts::FRAC_PI_2 * share).sin()),
            Self::Variance => -variance,
            Self::LogVariance => -floored(variance).ln(),
            Self::VariancePotential => -variance - floored(variance).ln(),
            Self::ExpVariance => (-1e4 * variance).exp(),
            Self::VarianceExp => -variance + (-1e4 * variance).exp(),
            Self::Std => -variance.sqrt(),
            Self::StdLog => -variance.sqrt() - (variance.sqrt() + EPSILON).ln(),
            Self::VarianceNorm => -variance / (shape.norm + EPSILON),
            Self::Cv => -variance.sqrt() / (mean + EPSILON),
            Self::Makespan => -max,
            Self::LogMakespan => -floored(max).ln(),
            Self::ExpMakespan => (-1e4 * max).exp(),
            Self::Range => shape.min - max,
            Self::OverProvision => 1.0 - max / (mean + EPSILON),
            Self::Gini => -gini(x, mean),
            Self::Weighted => (-weighted(x, weights)).clamp(-5.0, 0.0),
            Self::Mean => -mean,
            Self::LogMean => -floored(mean).ln(),
        }
    }
}

/// What is rewarded, and from which samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// The reward.
    pub reward: Reward,
    /// The samples that x is the decayed mean of.
    pub kind: Kind,
    /// Servers whose newest sample is older, in nanoseconds, do not count.
    pub fresh: u64,
    /// What a mean change of one in the logarithm of the weights costs.
    pub movement_coef: f64,
}

impl Default for Objective {
    fn default() -> Self {
        Self { reward: Reward::Log, kind: Kind::FlowDuration, fresh: 10_000_000_000, movement_coef: 0.05 }
    }
}

impl Objective {
    /// Writes x into `x`, which is emptied first: seconds, of active servers with fresh samples, in their order.
    pub fn times(&self, observation: &Observation<'_>, x: &mut Vec<f64>) {
        x.clear();
        x.extend(observation.servers.iter().filter(|server| Observation::is_active(server)).filter_map(
            |server| {
                let said = server.kind(self.kind).filter(|said| said.age <= self.fresh)?;
                Some(f64::from(said.decayed_mean) / 1e9)
            },
        ));
    }

    /// The reward of an observation after weights have moved by `movement` (see [`movement`]). `x` is scratch memory.
    ///
    /// [`Reward::Weighted`] takes all weights for equal here.
    pub fn evaluate(&self, observation: &Observation<'_>, movement: f64, x: &mut Vec<f64>) -> f64 {
        self.times(observation, x);
        self.reward.of(x, &[]) - self.movement_coef * movement
    }
}

/// How far weights have moved: the mean of |ln(after / before)| over servers that have both, 0 without any.
pub fn movement(before: &[f64], after: &[f64]) -> f64 {
    let both = before.iter().zip(after).filter(|(before, after)| **before > 0.0 && **after > 0.0);
    let (sum, count) = both
        .fold((0.0, 0.0), |(sum, count), (before, after)| (sum + (after / before).ln().abs(), count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

struct Shape {
    mean: f64,
    min: f64,
    max: f64,
    variance: f64,
    norm: f64,
}

impl Shape {
    fn of(x: &[f64]) -> Self {
        let count = x.len() as f64;
        let mean = x.iter().sum::<f64>() / count;
        Self {
            mean,
            min: x.iter().copied().fold(f64::INFINITY, f64::min),
            max: x.iter().copied().fold(0.0, f64::max),
            variance: x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count,
            norm: x.iter().map(|x| x * x).sum::<f64>().sqrt(),
        }
    }
}

const fn floored(value: f64) -> f64 {
    value.max(FLOOR)
}

/// Jain's index: 1 when all are equal, also when all are zero.
pub fn jain(x: &[f64]) -> f64 {
    let (sum, squares) = x.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    if squares > 0.0 { (sum * sum / (x.len() as f64 * squares)).min(1.0) } else { 1.0 }
}

fn product(x: &[f64], max: f64, factor: impl Fn(f64) -> f64) -> f64 {
    x.iter().map(|x| factor(x / (max + EPSILON))).product()
}

fn log_variance(x: &[f64]) -> f64 {
    let count = x.len() as f64;
    let mean = x.iter().map(|x| floored(*x).ln()).sum::<f64>() / count;
    x.iter().map(|x| (floored(*x).ln() - mean).powi(2)).sum::<f64>() / count
}

/// Σ|x_i − x_j| / (2 n² mean): 0 when all are equal, towards 1 when one has everything.
fn gini(x: &[f64], mean: f64) -> f64 {
    let count = x.len() as f64;
    let differences: f64 = x.iter().flat_map(|left| x.iter().map(move |right| (left - right).abs())).sum();
    differences / (2.0 * count * count * floored(mean))
}

fn weighted(x: &[f64], weights: &[f64]) -> f64 {
    let weight = |index: usize| weights.get(index).copied().unwrap_or(1.0).max(0.0);
    let total: f64 = (0..x.len()).map(weight).sum();
    let sum: f64 = x.iter().enumerate().map(|(index, x)| weight(index) * x).sum();
    sum / floored(total)
}

#[cfg(test)]
mod tests {
    use ipc::region::{ServerState, ServerStatistics, VipStatistics};
    use proptest::prelude::*;

    use super::*;

    /// Worked out by hand for x = 1, 2, 3: mean 2, variance 2/3, Σx² = 14.
    #[test]
    fn rewards_are_those_of_the_formulas() {
        let x = [1.0, 2.0, 3.0];
        let logs = [0.0, 2.0_f64.ln(), 3.0_f64.ln()];
        let mean = logs.iter().sum::<f64>() / 3.0;
        let log_variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / 3.0;
        let v = 2.0 / 3.0;
        let sd = 0.816_496_580_927_726;
        for (reward, expected) in [
            (Reward::Log, -(2.0_f64.ln()) - 0.5 * log_variance),
            (Reward::Jain, 36.0 / 42.0),
            (Reward::Jain2, -6.0 / 42.0),
            (Reward::Product, 2.0 / 9.0),
            (Reward::ProductLog, (2.0_f64 / 9.0).ln() / 3.0),
            (Reward::Bossaer, (2.0_f64 / 9.0).sqrt()),
            (Reward::Sine, 0.5 * 0.866_025_403_784_438_6),
            (Reward::Variance, -v),
            (Reward::LogVariance, 0.405_465_108_108_164_4),
            (Reward::VariancePotential, 0.405_465_108_108_164_4 - v),
            (Reward::ExpVariance, 0.0),
            (Reward::VarianceExp, -v),
            (Reward::Std, -sd),
            (Reward::StdLog, -sd + 0.202_732_554_054_082_2),
            (Reward::VarianceNorm, -v / 3.741_657_386_773_941),
            (Reward::Cv, -sd / 2.0),
            (Reward::Makespan, -3.0),
            (Reward::LogMakespan, -1.098_612_288_668_109_8),
            (Reward::ExpMakespan, 0.0),
            (Reward::Range, -2.0),
            (Reward::OverProvision, -0.5),
            (Reward::Gini, -8.0 / 36.0),
            (Reward::Weighted, -2.0),
            (Reward::Mean, -2.0),
            (Reward::LogMean, -(2.0_f64.ln())),
        ] {
            let found = reward.of(&x, &[]);
            assert!((found - expected).abs() < 3e-6, "{reward:?}: {found} instead of {expected}");
            assert_eq!(Reward::parse(reward.name()), Some(reward));
        }
        assert!((Reward::Weighted.of(&x, &[3.0, 0.0, 1.0]) + 1.5).abs() < 1e-12);
        assert_eq!(Reward::parse("fast"), None);
    }

    #[test]
    fn servers_without_fresh_samples_do_not_count() {
        let record = |server, state, count, age| {
            let mut record =
                ServerStatistics { configured_weight: 1.0, ..ServerStatistics::new(server, state) };
            let kind = &mut record.kinds[Kind::FlowDuration.index()];
            (kind.count, kind.age, kind.decayed_mean) = (count, age, 1e9 * f64::from(server + 1) as f32);
            record
        };
        let servers = [
            record(0, ServerState::Active, 5, 0),
            record(1, ServerState::Active, 0, 0),
            record(2, ServerState::Active, 5, 10_000_000_001),
            record(3, ServerState::Draining, 5, 0),
            record(4, ServerState::Active, 5, 10_000_000_000),
        ];
        let vip = VipStatistics::new(0);
        let (objective, mut x) = (Objective::default(), vec![9.0]);
        let observation = Observation { t: 0, vip: &vip, servers: &servers };
        let reward = objective.evaluate(&observation, 0.0, &mut x);
        assert_eq!(x, [1.0, 5.0]);
        assert_eq!(reward, Reward::Log.of(&[1.0, 5.0], &[]));
        assert!(objective.evaluate(&observation, 1.0, &mut x) < reward);
        let nothing = Observation { t: 0, vip: &vip, servers: &servers[1..4] };
        assert_eq!(objective.evaluate(&nothing, 0.0, &mut x), 0.0);
    }

    #[test]
    fn movement_is_the_mean_change_of_logarithms() {
        let found = movement(&[1.0, 2.0, 0.0, 1.0], &[std::f64::consts::E, 2.0, 1.0, 0.0]);
        assert!((found - 0.5).abs() < 1e-12);
        assert_eq!(movement(&[], &[]), 0.0);
    }

    const SCALE_FREE: [Reward; 4] = [Reward::Jain, Reward::Jain2, Reward::ProductLog, Reward::Gini];

    proptest! {
        #[test]
        fn rewards_of_anything_are_finite(
            x in prop::collection::vec(prop_oneof![Just(0.0), 0.0..10.0_f64, 0.0..1e30_f64], 0..20),
            weights in prop::collection::vec(0.0..1e9_f64, 0..20),
        ) {
            for reward in Reward::ALL {
                let found = reward.of(&x, &weights);
                prop_assert!(found.is_finite(), "{:?} of {:?} is {}", reward, x, found);
            }
            let jain = jain(&x);
            prop_assert!(jain > 0.0 && jain <= 1.0);
        }

        #[test]
        fn order_does_not_matter(mut x in prop::collection::vec(1e-3..10.0_f64, 1..10)) {
            let before = Reward::ALL.map(|reward| reward.of(&x, &[]));
            x.reverse();
            for (reward, before) in Reward::ALL.into_iter().zip(before) {
                prop_assert!((reward.of(&x, &[]) - before).abs() < 1e-9 * (1.0 + before.abs()));
            }
        }

        #[test]
        fn ratios_do_not_see_that_all_are_slower_and_the_default_does(
            x in prop::collection::vec(1e-3..10.0_f64, 1..10), factor in 1.1..100.0_f64,
        ) {
            let slower: Vec<f64> = x.iter().map(|x| x * factor).collect();
            for reward in SCALE_FREE {
                prop_assert!((reward.of(&x, &[]) - reward.of(&slower, &[])).abs() < 1e-9, "{:?}", reward);
            }
            let cost = Reward::Log.of(&x, &[]) - Reward::Log.of(&slower, &[]);
            prop_assert!((cost - factor.ln()).abs() < 1e-9);
        }

        #[test]
        fn alike_is_best_at_the_same_mean(x in prop::collection::vec(1e-3..10.0_f64, 2..10)) {
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            let alike = vec![mean; x.len()];
            for reward in Reward::ALL {
                prop_assert!(reward.of(&alike, &[]) >= reward.of(&x, &[]) - 1e-6, "{:?}", reward);
            }
        }
    }
}
