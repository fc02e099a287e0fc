//! What may become of a proposal: bounds, steps, shares. The agent proposes, the guard decides.
//!
//! Weights here are relative: their mean over the active servers is about 1. `docs/design/steering.md` says what holds.

use serde::{Deserialize, Serialize};

use crate::{
    observation::{Observation, PerServer},
    state::{Reader, StateError, Writer},
};

/// Guard bit of a server's weight: raised to its least weight.
pub const RAISED: u32 = 1;
/// Guard bit: lowered to its largest weight.
pub const LOWERED: u32 = 2;
/// Guard bit: it may not change by so much in one period.
pub const STEP: u32 = 4;
/// Guard bit: raised to its least share of the mean.
pub const SHARE: u32 = 8;

/// The guards that may clip a weight, with their names in metrics and explanations.
pub const GUARDS: [(u32, &str); 4] = [(RAISED, "min"), (LOWERED, "max"), (STEP, "step"), (SHARE, "share")];

/// Rounds of a search: halves the logarithm of a scale until no float lies between.
const SEARCH_ROUNDS: u32 = 64;

/// Shares that miss by less are missed by rounding.
const ROUNDING: f64 = 1e-10;

/// The binary logarithm of the largest scale that is tried.
const LARGEST_SCALE: f64 = 1020.0;

/// How far weights may go.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", into = "Unchecked")]
pub struct Bounds {
    weight_min: f64,
    weight_max: f64,
    step_max: f64,
}

/// Bounds as they are written down.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Unchecked {
    weight_min: f64,
    weight_max: f64,
    step_max: f64,
}

impl TryFrom<Unchecked> for Bounds {
    type Error = BoundsError;

    fn try_from(Unchecked { weight_min, weight_max, step_max }: Unchecked) -> Result<Self, BoundsError> {
        Self::new(weight_min, weight_max, step_max)
    }
}

impl From<Bounds> for Unchecked {
    fn from(Bounds { weight_min, weight_max, step_max }: Bounds) -> Self {
        Self { weight_min, weight_max, step_max }
    }
}

/// Bounds that make no sense.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum BoundsError {
    /// The least weight is not above 0 and at most 1.
    #[error("the least weight is {0}, and has to be above 0 and at most 1, the mean")]
    Min(f64),
    /// The largest weight is below 1 or not finite.
    #[error("the largest weight is {0}, and has to be at least 1, the mean")]
    Max(f64),
    /// The step is not above 0.
    #[error("the step is {0}, and has to be above 0")]
    Step(f64),
}

impl Default for Bounds {
    fn default() -> Self {
        Self { weight_min: 0.05, weight_max: 20.0, step_max: 0.5 }
    }
}

impl Bounds {
    /// Weights from `weight_min` to `weight_max` times the mean, that change by a factor of at most `1 + step_max` a period.
    pub fn new(weight_min: f64, weight_max: f64, step_max: f64) -> Result<Self, BoundsError> {
        if !(weight_min > 0.0 && weight_min <= 1.0) {
            return Err(BoundsError::Min(weight_min));
        }
        if !(1.0..f64::INFINITY).contains(&weight_max) {
            return Err(BoundsError::Max(weight_max));
        }
        if !(step_max > 0.0 && step_max.is_finite()) {
            return Err(BoundsError::Step(step_max));
        }
        Ok(Self { weight_min, weight_max, step_max })
    }
}

/// Why a proposal cannot be used at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unusable {
    /// Not one number for each server.
    #[error("not one weight for each server")]
    Length,
    /// NaN or infinity.
    #[error("a weight is not finite")]
    NotFinite,
    /// A weight below zero.
    #[error("a weight is negative")]
    Negative,
    /// No active server has a weight above zero.
    #[error("all weights are zero")]
    Zero,
}

/// Whether a proposal can be made use of; only weights of active servers count.
pub fn usable(observation: &Observation<'_>, proposal: &[f64]) -> Result<(), Unusable> {
    if proposal.len() != observation.servers.len() {
        return Err(Unusable::Length);
    }
    let mut any = false;
    for (server, &weight) in observation.servers.iter().zip(proposal) {
        if !Observation::is_active(server) {
            continue;
        }
        if !weight.is_finite() {
            return Err(Unusable::NotFinite);
        }
        if weight < 0.0 {
            return Err(Unusable::Negative);
        }
        any |= weight > 0.0;
    }
    if any || !observation.servers.iter().any(Observation::is_active) { Ok(()) } else { Err(Unusable::Zero) }
}

/// A weight that may be published.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Guarded {
    /// What was asked for, in units of the mean of the active servers; 0 for others.
    pub proposed: f64,
    /// What it may be; 0 exactly if the server is not active.
    pub weight: f64,
    /// Bits of the guards that changed it.
    pub guards: u32,
}

/// Guards the weights of one VIP.
#[derive(Clone, Debug)]
pub struct Guard {
    bounds: Bounds,
    /// The weights of the step before; 0: was not active, or there was none.
    former: PerServer<f64>,
    scratch: Vec<Limits>,
}

/// What one server's weight has to keep to.
#[derive(Clone, Copy, Debug)]
struct Limits {
    active: bool,
    low: f64,
    high: f64,
    former: f64,
}

impl Guard {
    /// A guard that begins at the weights in force.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, former: PerServer::default(), scratch: Vec::new() }
    }

    /// Begins anew at the weights in force: others than ours were, or may have been, applied since.
    pub fn reset(&mut self) {
        self.former.clear();
    }

    /// Makes a [`usable`] proposal keep to the bounds; `weights` gets one for each server.
    ///
    /// One that is not usable counts as if it were the configured weights.
    pub fn apply(&mut self, observation: &Observation<'_>, proposal: &[f64], weights: &mut Vec<Guarded>) {
        self.measure(observation);
        let usable = usable(observation, proposal).is_ok();
        weights.clear();
        weights.extend(self.scratch.iter().zip(observation.servers).enumerate().map(
            |(at, (limits, server))| {
                let proposed = match (limits.active, usable) {
                    (true, true) => proposal[at],
                    (true, false) => server.configured_weight,
                    (false, _) => 0.0,
                };
                Guarded { proposed, ..Guarded::default() }
            },
        ));
        let active = self.scratch.iter().filter(|limits| limits.active).count();
        if active > 0 {
            let count = active as f64;
            normalise(weights, count);
            self.bound(weights, count);
            self.step(weights);
            self.share(weights, count);
        }
        for (former, guarded) in self.former.iter_mut().zip(weights.iter()) {
            *former = guarded.weight;
        }
    }

    /// Finds out what each server's weight has to keep to.
    fn measure(&mut self, observation: &Observation<'_>) {
        let servers = observation.servers;
        let active = || servers.iter().filter(|server| Observation::is_active(server));
        let count = active().count().max(1) as f64;
        let configured = active().map(|server| server.configured_weight).sum::<f64>() / count;
        let in_force = active().map(|server| server.weight).sum::<f64>() / count;
        let fresh = |weight: f64| if in_force > 0.0 { weight / in_force } else { 0.0 };
        self.former.align(observation, |server| fresh(server.weight));
        self.scratch.clear();
        for (server, &former) in servers.iter().zip(self.former.iter()) {
            // What the operator has written is always within bounds.
            let own = server.configured_weight / configured;
            self.scratch.push(Limits {
                active: Observation::is_active(server),
                low: self.bounds.weight_min.min(own),
                high: self.bounds.weight_max.max(own),
                former,
            });
        }
        self.rescale();
    }

    /// Expresses former weights in units of the mean of those that are active now, when those are others than before.
    fn rescale(&mut self) {
        let joined_or_left = |limits: &Limits| limits.active != (limits.former > 0.0);
        if !self.scratch.iter().any(joined_or_left) {
            return;
        }
        let stayed = || self.scratch.iter().filter(|limits| limits.active && limits.former > 0.0);
        let (count, sum) = (stayed().count() as f64, stayed().map(|limits| limits.former).sum::<f64>());
        for limits in &mut self.scratch {
            limits.former = if limits.active && sum > 0.0 { limits.former * count / sum } else { 0.0 };
        }
    }

    /// Scales and clips such that the mean is 1, as far as bounds let it be.
    fn bound(&self, weights: &mut [Guarded], count: f64) {
        let clipped = |scale: f64, (guarded, limits): (&Guarded, &Limits)| {
            (guarded.proposed * scale).clamp(limits.low, limits.high)
        };
        let active = || weights.iter().zip(&self.scratch).filter(|(_, limits)| limits.active);
        let sum = |scale: f64| active().map(|pair| clipped(scale, pair)).sum::<f64>();
        let fits = active().all(|(guarded, limits)| (limits.low..=limits.high).contains(&guarded.proposed));
        let scale = if fits { 1.0 } else { search(count, sum) };
        for (guarded, limits) in weights.iter_mut().zip(&self.scratch).filter(|(_, limits)| limits.active) {
            let wanted = guarded.proposed * scale;
            guarded.weight = wanted.clamp(limits.low, limits.high);
            if wanted < limits.low {
                guarded.guards |= RAISED;
            } else if wanted > limits.high {
                guarded.guards |= LOWERED;
            }
        }
    }

    /// Lets no weight change by more than a step; one that was not there before may be anything.
    fn step(&self, weights: &mut [Guarded]) {
        let factor = 1.0 + self.bounds.step_max;
        for (guarded, limits) in weights.iter_mut().zip(&self.scratch) {
            if !limits.active || limits.former <= 0.0 {
                continue;
            }
            let (least, most) = (limits.former / factor, limits.former * factor);
            let stepped = guarded.weight.clamp(least, most).clamp(limits.low, limits.high);
            if stepped != guarded.weight {
                guarded.guards |= STEP;
                guarded.weight = stepped;
            }
        }
    }

    /// Raises weights to their least share of the mean. Raising one raises the mean: until that, too, is kept.
    fn share(&self, weights: &mut [Guarded], count: f64) {
        let floor = |limits: &Limits, mean: f64| if limits.active { limits.low * mean } else { 0.0 };
        let mut mean = weights.iter().map(|guarded| guarded.weight).sum::<f64>() / count;
        for _ in 0..SEARCH_ROUNDS {
            let raised = weights.iter().zip(&self.scratch);
            let raised = raised.map(|(guarded, limits)| guarded.weight.max(floor(limits, mean)));
            let next = raised.sum::<f64>() / count;
            if next <= mean {
                break;
            }
            mean = next;
        }
        for (guarded, limits) in weights.iter_mut().zip(&self.scratch) {
            let least = floor(limits, mean);
            if guarded.weight < least * (1.0 - ROUNDING) {
                guarded.guards |= SHARE;
                guarded.weight = least.min(limits.high);
            }
        }
    }

    /// Writes down the weights of the step before.
    pub fn save(&self, state: &mut Writer) {
        self.former.save(state, |&weight, state| state.f64(weight));
    }

    /// Takes over what [`Guard::save`] has written.
    pub fn restore(&mut self, state: &mut Reader<'_>) -> Result<(), StateError> {
        self.former.restore(state, |state| state.f64())
    }
}

/// In units of their mean over `count` servers. What is in these units already stays as it is, to the bit.
fn normalise(weights: &mut [Guarded], count: f64) {
    let mut sum: f64 = weights.iter().map(|guarded| guarded.proposed).sum();
    if !(sum.is_normal() && (count / sum).is_normal()) {
        // Too large or too small to be summed up: in units of the largest first.
        let largest = weights.iter().map(|guarded| guarded.proposed).fold(0.0, f64::max);
        weights.iter_mut().for_each(|guarded| guarded.proposed /= largest);
        sum = weights.iter().map(|guarded| guarded.proposed).sum();
    }
    let scale = count / sum;
    weights.iter_mut().for_each(|guarded| guarded.proposed *= scale);
}

/// The scale at which a sum that does not fall with it is `wanted`, or as near as it gets.
fn search(wanted: f64, sum: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (-LARGEST_SCALE, LARGEST_SCALE);
    for _ in 0..SEARCH_ROUNDS {
        let middle: f64 = f64::midpoint(low, high);
        if sum(middle.exp2()) < wanted { low = middle } else { high = middle }
    }
    high.exp2()
}

#[cfg(test)]
mod tests {
    use ipc::region::{ServerState, ServerStatistics, VipStatistics};
    use proptest::prelude::*;

    use super::*;

    /// Servers with these configured weights, all active and with that weight in force.
    fn servers(configured: &[f64]) -> Vec<ServerStatistics> {
        (0u32..)
            .zip(configured)
            .map(|(id, &weight)| ServerStatistics {
                configured_weight: weight,
                weight,
                ..ServerStatistics::new(id, ServerState::Active)
            })
            .collect()
    }

    fn apply(guard: &mut Guard, servers: &[ServerStatistics], proposal: &[f64]) -> Vec<Guarded> {
        let vip = VipStatistics::new(0);
        let mut weights = Vec::new();
        guard.apply(&Observation { t: 0, vip: &vip, servers }, proposal, &mut weights);
        weights
    }

    fn weights(guarded: &[Guarded]) -> Vec<f64> {
        guarded.iter().map(|guarded| guarded.weight).collect()
    }

    fn free() -> Guard {
        Guard::new(Bounds::new(0.1, 4.0, 1e9).unwrap())
    }

    #[test]
    fn modest_proposal_keeps_its_ratios() {
        let guarded = apply(&mut free(), &servers(&[1.0; 3]), &[1.0, 2.0, 3.0]);
        assert_eq!(weights(&guarded), [0.5, 1.0, 1.5]);
        assert!(guarded.iter().all(|guarded| guarded.guards == 0 && guarded.proposed == guarded.weight));
    }

    #[test]
    fn extreme_weights_are_clipped_and_the_others_keep_the_mean() {
        let guarded =
            apply(&mut free(), &servers(&[1.0; 10]), &[1e300, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
        assert_eq!((guarded[0].weight, guarded[0].guards), (4.0, LOWERED));
        assert_eq!((guarded[9].weight, guarded[9].guards), (0.1, RAISED));
        assert!((guarded[1].weight - 5.9 / 8.0).abs() < 1e-12, "{guarded:?}");
    }

    #[test]
    fn weight_changes_by_one_step_a_period() {
        let mut guard = Guard::new(Bounds::new(0.05, 20.0, 0.5).unwrap());
        let servers = servers(&[3.0, 3.0]);
        let first = apply(&mut guard, &servers, &[1.0, 9.0]);
        assert_eq!(weights(&first), [1.0 / 1.5, 1.5]);
        assert_eq!([first[0].guards, first[1].guards], [STEP, STEP]);
        let second = apply(&mut guard, &servers, &[1.0, 9.0]);
        assert_eq!(second[0].weight, 1.0 / 1.5 / 1.5);
        assert!((second[1].weight - 1.8).abs() < 1e-12, "{second:?}");
    }

    #[test]
    fn what_the_operator_wrote_is_within_bounds() {
        let configured = [1000.0, 1.0, 1.0, 1.0];
        let guarded = apply(&mut free(), &servers(&configured), &configured);
        assert!(guarded.iter().all(|guarded| guarded.guards == 0), "{guarded:?}");
        assert!((guarded[0].weight / guarded[1].weight - 1000.0).abs() < 1e-9);
    }

    #[test]
    fn inactive_servers_get_nothing_and_come_back_at_once() {
        let mut guard = Guard::new(Bounds::default());
        let mut all = servers(&[1.0; 3]);
        all[1] =
            ServerStatistics { configured_weight: 1.0, ..ServerStatistics::new(1, ServerState::Draining) };
        let guarded = apply(&mut guard, &all, &[1.0, 1e9, 1.0]);
        assert_eq!(weights(&guarded), [1.0, 0.0, 1.0]);
        all[1] = ServerStatistics { configured_weight: 1.0, ..ServerStatistics::new(1, ServerState::Active) };
        assert_eq!(weights(&apply(&mut guard, &all, &[1.0, 1.0, 1.0])), [1.0; 3]);
        let none: Vec<_> = (0..3).map(|id| ServerStatistics::new(id, ServerState::Down)).collect();
        assert_eq!(weights(&apply(&mut guard, &none, &[1.0; 3])), [0.0; 3]);
    }

    #[test]
    fn unusable_proposals_are_told_apart_and_count_as_the_configured_weights() {
        let vip = VipStatistics::new(0);
        let configured = servers(&[1.0, 3.0]);
        let observation = Observation { t: 0, vip: &vip, servers: &configured };
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        for (proposal, reason) in [
            (&[1.0][..], Unusable::Length),
            (&[1.0, nan], Unusable::NotFinite),
            (&[inf, 1.0], Unusable::NotFinite),
            (&[1.0, -0.1], Unusable::Negative),
            (&[0.0, -0.0], Unusable::Zero),
        ] {
            assert_eq!(usable(&observation, proposal), Err(reason));
            assert_eq!(weights(&apply(&mut free(), &configured, proposal)), [0.5, 1.5]);
        }
    }

    #[test]
    fn bounds_that_make_no_sense_are_refused() {
        assert_eq!(Bounds::new(0.0, 2.0, 0.5), Err(BoundsError::Min(0.0)));
        assert_eq!(Bounds::new(1.1, 2.0, 0.5), Err(BoundsError::Min(1.1)));
        assert_eq!(Bounds::new(0.1, 0.9, 0.5), Err(BoundsError::Max(0.9)));
        assert_eq!(Bounds::new(0.1, f64::INFINITY, 0.5), Err(BoundsError::Max(f64::INFINITY)));
        assert_eq!(Bounds::new(0.1, 2.0, 0.0), Err(BoundsError::Step(0.0)));
    }

    /// Any bits, most of them numbers that someone might propose.
    fn weight() -> impl Strategy<Value = f64> {
        prop_oneof![
            8 => 0.0..10.0,
            2 => (-300.0..300.0).prop_map(|exponent: f64| 10f64.powf(exponent)),
            1 => Just(0.0),
            1 => any::<f64>(),
        ]
    }

    proptest! {
        #[test]
        fn weights_keep_to_the_bounds_whatever_is_proposed(
            configured in prop::collection::vec(prop_oneof![Just(1.0), 1e-3..1e3, Just(0.0)], 1..12),
            steps in prop::collection::vec(
                (prop::collection::vec(weight(), 0..13), any::<bool>(), any::<u16>(), 0usize..8), 1..40),
            (min, max, step) in (0.01..1.0, 1.0..50.0, 0.01..3.0),
        ) {
            let bounds = Bounds::new(min, max, step).unwrap();
            let mut guard = Guard::new(bounds);
            let mut former: Option<(Vec<bool>, Vec<f64>)> = None;
            for (mut proposal, right_length, states, quiet) in steps {
                if right_length {
                    proposal.resize(configured.len(), 1.0);
                }
                let mut observed = servers(&configured);
                if quiet == 0 {
                    for (at, server) in observed.iter_mut().enumerate() {
                        if states >> at & 1 == 1 {
                            server.state = ServerState::Down as u32;
                        }
                    }
                }
                let active: Vec<bool> = observed.iter().map(Observation::is_active).collect();
                let weights = weights(&apply(&mut guard, &observed, &proposal));
                let count = active.iter().filter(|&&active| active).count().max(1) as f64;
                let mean = weights.iter().sum::<f64>() / count;
                let own_mean = configured.iter().zip(&active).filter(|(_, active)| **active)
                    .map(|(own, _)| own).sum::<f64>() / count;
                for (at, &weight) in weights.iter().enumerate() {
                    if !active[at] {
                        prop_assert_eq!(weight, 0.0);
                        continue;
                    }
                    let own = configured[at] / own_mean;
                    let (low, high) = (min.min(own), max.max(own));
                    prop_assert!(weight >= low && weight <= high, "{} in {}..{}", weight, low, high);
                    prop_assert!(weight >= low * mean * (1.0 - 1e-9), "{} of {}", weight, mean);
                    if let Some((same, old)) = &former && *same == active {
                        let factor = (1.0 + step) * (1.0 + 1e-9);
                        prop_assert!(weight <= old[at] * factor && weight >= old[at] / factor,
                            "{} after {}", weight, old[at]);
                    }
                }
                former = Some((active, weights));
            }
        }
    }
}
