//! Follows the wishes, takes the steps, and tells everybody who has to know.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use dataplane::time::{Clock, Nanos};
use ipc::{
    id::{ServerId, VipId},
    region::{StatisticsFrame, WeightsFrame},
};
use policy::{
    Observation,
    controller::{Controller, Moment},
    log::LogFile,
    steering::Mode,
};

use super::{board::Board, wishes::Wishes};
use crate::control::{VipWeights, Weights};

/// Steers the VIPs that are to be steered.
#[derive(Debug)]
pub struct Pilot {
    controller: Controller,
    wishes: Arc<Wishes>,
    log: Option<LogFile>,
    answer: WeightsFrame,
    /// Whether all weights in force were those that they should be, when last looked at.
    settled: bool,
    /// Whether the step before took longer than a period.
    late: bool,
    /// The VIPs that the fallback rule steers, as far as that was logged.
    fallen: BTreeSet<u32>,
}

impl Pilot {
    /// Steers nothing yet. With a decision log if there is to be one, of so many bytes; one that cannot be had is reported.
    pub fn new(log: Option<(&Path, u64)>) -> Self {
        let log = log.and_then(|(path, bytes)| match LogFile::create(path, bytes) {
            Ok(log) => Some(log),
            Err(error) => {
                tracing::error!(log = %path.display(), %error, "decisions are not written down");
                None
            }
        });
        Self {
            controller: Controller::default(),
            wishes: Arc::default(),
            log,
            answer: WeightsFrame::default(),
            settled: false,
            late: false,
            fallen: BTreeSet::new(),
        }
    }

    /// Goes by new wishes; what stays as it was goes on as it was.
    pub fn follow(&mut self, wishes: &Arc<Wishes>, board: &Board) {
        if Arc::ptr_eq(&self.wishes, wishes) {
            return;
        }
        self.wishes = Arc::clone(wishes);
        self.controller.retain(|vip| wishes.plans.contains_key(&vip));
        board.retain(|vip| wishes.plans.contains_key(&vip));
        for (&vip, plan) in &wishes.plans {
            if let Err(error) = self.controller.steer(vip, plan) {
                let name = wishes.names.get(&vip).map_or("", String::as_str);
                let (policy, fallback) = (plan.policy, plan.fallback);
                tracing::error!(vip = name, %policy, %fallback, %error, help = error.remedy(), "the fallback rule steers");
            }
        }
        if let Some(log) = &mut self.log {
            log.interrupt();
        }
    }

    /// Whether there is anything to steer.
    pub fn is_idle(&self) -> bool {
        self.wishes.plans.is_empty() && self.settled
    }

    /// One step. `heard` is what another process proposes, if it is not too old.
    ///
    /// Returns what the workers have to be given, if that is not what they have.
    pub fn step(
        &mut self,
        frame: &StatisticsFrame,
        stale: bool,
        heard: Option<&WeightsFrame>,
        clock: Clock,
        board: &Board,
    ) -> Option<Weights> {
        let began = clock.now();
        let moment = Moment { stale, late: self.late, heard };
        if let Some(log) = &mut self.log {
            log.before(&self.controller);
        }
        self.controller.step(frame, moment, &mut self.answer);
        let ended = clock.now();
        let took = ended.0.saturating_sub(began.0);
        self.late = u128::from(took) > self.wishes.period.as_nanos();
        if let Some(log) = &mut self.log {
            log.after(&self.controller, frame, &moment, &self.answer);
        }
        board.take(&self.controller, Observation::of(frame), took as f64 * 1e-9);
        self.report();
        self.news(frame)
    }

    /// Logs which VIPs the fallback rule took over, and which it gave back.
    fn report(&mut self) {
        for (vip, steered) in self.controller.vips() {
            let (policy, fallback) = (steered.plan().policy, steered.plan().fallback);
            let name = self.wishes.names.get(&vip).map_or("", String::as_str);
            match steered.last().fallback {
                Some(reason) if self.fallen.insert(vip) => {
                    tracing::warn!(vip = name, %policy, %fallback, %reason, "the fallback rule sets the weights");
                }
                None if self.fallen.remove(&vip) => {
                    tracing::info!(vip = name, %policy, "the policy sets the weights again");
                }
                _ => {}
            }
        }
        self.fallen.retain(|&vip| self.controller.vip(vip).is_some());
    }

    /// The weights of the last step, as they go into the region.
    pub const fn answer_mut(&mut self) -> &mut WeightsFrame {
        &mut self.answer
    }

    /// Steps that are missing in the decision log.
    pub fn log_lost(&self) -> u64 {
        self.log.as_ref().map_or(0, LogFile::lost)
    }

    /// The VIPs whose weights in force are not what they should be. So weights that got lost on their way, or that were in
    /// force before this thread began, are put right.
    fn news(&mut self, frame: &StatisticsFrame) -> Option<Weights> {
        let vips: Vec<VipWeights> = Observation::of(frame)
            .filter_map(|observation| match self.to_apply(&observation) {
                Some(weights) => differs(&observation, &weights).then(|| VipWeights {
                    vip: VipId(observation.vip.vip),
                    servers: Some(to_list(&observation, &weights)),
                }),
                None => {
                    let configured: Vec<f64> =
                        observation.servers.iter().map(|server| server.configured_weight).collect();
                    differs(&observation, &configured)
                        .then_some(VipWeights { vip: VipId(observation.vip.vip), servers: None })
                }
            })
            .collect();
        self.settled = vips.is_empty();
        let header = frame.header();
        (!vips.is_empty()).then_some(Weights { t: Nanos(header.t), generation: header.generation, vips })
    }

    /// A VIP's weights by server, in the units of its configured ones; `None`: those are to be in force.
    fn to_apply(&self, observation: &Observation<'_>) -> Option<Vec<f64>> {
        let steered = self.controller.vip(observation.vip.vip)?;
        if steered.plan().mode == Mode::Shadow {
            return None;
        }
        let active = || observation.servers.iter().filter(|server| Observation::is_active(server));
        let unit = active().map(|server| server.configured_weight).sum::<f64>() / active().count() as f64;
        Some(steered.last().weights.iter().map(|guarded| guarded.weight * unit).collect())
    }
}

/// Whether the weight in force of any active server is another than this.
fn differs(observation: &Observation<'_>, weights: &[f64]) -> bool {
    let mut pairs = observation.servers.iter().zip(weights);
    pairs.any(|(server, &weight)| Observation::is_active(server) && server.weight != weight)
}

fn to_list(observation: &Observation<'_>, weights: &[f64]) -> Vec<(ServerId, f64)> {
    let pairs = observation.servers.iter().zip(weights);
    let active = pairs.filter(|(server, _)| Observation::is_active(server));
    active.map(|(server, &weight)| (ServerId(server.server), weight)).collect()
}
