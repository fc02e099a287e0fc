//! All steered VIPs: a frame of statistics in, a frame of weights out.
//!
//! A step depends on the frame, on its [`Moment`], and on the steps before: on no clock and on no randomness.

use std::collections::BTreeMap;

use ipc::region::{CLIPPED, FALLBACK, SHADOW, ServerWeight, StatisticsFrame, VipWeights, WeightsFrame};

use crate::{
    Observation,
    plan::{Plan, PlanError},
    state::{Reader, StateError, Writer},
    steering::{Circumstances, Decision, Mode, Reason, Steering},
};

/// What a step is told beside the statistics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment<'a> {
    /// Whether the statistics are older than they may be.
    pub stale: bool,
    /// Whether the step before took longer than a period.
    pub late: bool,
    /// The newest weights of the process that makes the proposals, if one does and it is not silent.
    pub heard: Option<&'a WeightsFrame>,
}

impl Moment<'_> {
    const fn impediment(&self) -> Option<Reason> {
        match (self.stale, self.late) {
            (true, _) => Some(Reason::Stale),
            (false, true) => Some(Reason::Late),
            (false, false) => None,
        }
    }
}

/// A VIP with who steers it.
#[derive(Debug)]
pub struct Steered {
    plan: Plan,
    steering: Steering,
}

impl Steered {
    /// How it is steered.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether the plan could not be carried out, so that the fallback rule steers the VIP.
    pub const fn has_failed(&self) -> bool {
        self.steering.is_without_proposer()
    }

    /// Its last decision.
    pub const fn last(&self) -> &Decision {
        self.steering.decision()
    }
}

/// Steers VIPs.
#[derive(Debug, Default)]
pub struct Controller {
    vips: BTreeMap<u32, Steered>,
    proposal: Vec<f64>,
}

impl Controller {
    /// Has a VIP steered by a plan from now on. A plan that is the same as before changes nothing.
    ///
    /// Errors: the plan cannot be carried out; its fallback rule steers the VIP.
    pub fn steer(&mut self, vip: u32, plan: &Plan) -> Result<(), PlanError> {
        if let Some(steered) = self.vips.get_mut(&vip) {
            let mode = steered.plan.mode;
            steered.plan.mode = plan.mode;
            if steered.plan == *plan {
                if mode != plan.mode {
                    // What was only computed was not applied, or the other way round.
                    steered.steering.follow_weights_in_force();
                }
                return Ok(());
            }
        }
        let (steering, error) = plan.steering();
        self.vips.insert(vip, Steered { plan: plan.clone(), steering });
        error.map_or(Ok(()), Err)
    }

    /// Steers only the VIPs that `keep` says.
    pub fn retain(&mut self, mut keep: impl FnMut(u32) -> bool) {
        self.vips.retain(|&vip, _| keep(vip));
    }

    /// The VIPs that are steered, by identifier.
    pub fn vips(&self) -> impl Iterator<Item = (u32, &Steered)> {
        self.vips.iter().map(|(&vip, steered)| (vip, steered))
    }

    /// A VIP that is steered.
    pub fn vip(&self, vip: u32) -> Option<&Steered> {
        self.vips.get(&vip)
    }

    /// One step of every steered VIP in the frame. `answer` gets their weights.
    pub fn step(&mut self, frame: &StatisticsFrame, moment: Moment<'_>, answer: &mut WeightsFrame) {
        let header = frame.header();
        answer.begin(header.t, header.generation);
        for observation in Observation::of(frame) {
            let Some(steered) = self.vips.get_mut(&observation.vip.vip) else { continue };
            let heard = moment.heard.and_then(|heard| proposal(heard, &observation, &mut self.proposal));
            let circumstances = Circumstances { impediment: moment.impediment(), proposal: heard };
            steered.steering.step(&observation, circumstances);
            let mut record = VipWeights::new(observation.vip.vip, steered.plan.policy.as_str());
            (record.answers, record.answers_epoch) = (header.number, header.epoch);
            write(record, steered.plan.mode, steered.steering.decision(), answer);
        }
    }

    /// Writes down what later steps of a VIP depend on.
    pub fn save(&self, vip: u32, state: &mut Writer) {
        if let Some(steered) = self.vips.get(&vip) {
            steered.steering.save(state);
        }
    }

    /// Takes over what [`Controller::save`] has written of a VIP that is steered the same way.
    pub fn restore(&mut self, vip: u32, state: &mut Reader<'_>) -> Result<(), StateError> {
        self.vips.get_mut(&vip).map_or(Ok(()), |steered| steered.steering.restore(state))
    }
}

/// What another process proposes for the observed servers; `None` if it says nothing of the VIP, or only to look at.
///
/// A server that it does not know has no weight there. If that is an active one, the proposal has another length, so that it
/// is not used.
fn proposal<'a>(
    heard: &WeightsFrame,
    observation: &Observation<'_>,
    proposal: &'a mut Vec<f64>,
) -> Option<&'a [f64]> {
    let (_, weights) =
        heard.vips().find(|(vip, _)| vip.vip == observation.vip.vip && vip.flags & SHADOW == 0)?;
    proposal.clear();
    for (at, server) in observation.servers.iter().enumerate() {
        // They stand in the order of the statistics, unless servers came or went since.
        let same = weights.get(at).filter(|weight| weight.server == server.server);
        let known = same.or_else(|| weights.iter().find(|weight| weight.server == server.server));
        match known {
            Some(known) => proposal.push(known.weight),
            None if Observation::is_active(server) => break,
            None => proposal.push(0.0),
        }
    }
    Some(proposal)
}

/// Appends a VIP's weights to the answer.
fn write(mut record: VipWeights, mode: Mode, decision: &Decision, answer: &mut WeightsFrame) {
    let flag = |condition: bool, bit: u64| if condition { bit } else { 0 };
    record.flags = flag(decision.fallback.is_some(), FALLBACK)
        | flag(mode == Mode::Shadow, SHADOW)
        | flag(decision.guards() != 0, CLIPPED);
    let mut entry = answer.vip(record);
    // Where no server is active there is nothing to weigh, and weights that are all zero would not be believed.
    if decision.weights.iter().all(|weight| weight.weight == 0.0) {
        return;
    }
    for (&server, guarded) in decision.servers.iter().zip(&decision.weights) {
        entry.server(ServerWeight { server, guards: guarded.guards, weight: guarded.weight });
    }
}
