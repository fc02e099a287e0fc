//! Does what a log says once more, and compares.

use std::{fmt, io::Read};

use ipc::region::WeightsFrame;

use super::format::{Record, RecordError, Records, Start, Step};
use crate::{
    controller::{Controller, Moment},
    plan::{Plan, PlanError},
    state::{self, StateError},
};

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log cannot be read any further.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It has steps before it says where they start.
    #[error("the log begins in the middle")]
    NoStart,
    /// A plan cannot be carried out here.
    #[error("VIP {vip}: {source}")]
    Plan {
        /// Of which VIP.
        vip: u32,
        /// Why not.
        source: PlanError,
    },
    /// The state of a policy makes no sense to this version.
    #[error("VIP {vip}: {source}")]
    State {
        /// Of which VIP.
        vip: u32,
        /// What is wrong.
        source: StateError,
    },
}

/// A step that came out differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// When its statistics were measured, in nanoseconds.
    pub t: u64,
    /// The first VIP whose weights differ; `None`: the VIPs themselves differ.
    pub vip: Option<u32>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vip {
            Some(vip) => write!(f, "at {} ns VIP {vip} gets other weights", self.t),
            None => write!(f, "at {} ns other VIPs get weights", self.t),
        }
    }
}

/// Repeats a log, record by record.
#[derive(Debug)]
pub struct Replay<R> {
    records: Records<R>,
    controller: Option<Controller>,
    answer: WeightsFrame,
    /// Steps that came out as they had.
    pub same: u64,
    /// Times that the log says where it starts.
    pub starts: u64,
    /// The first step that came out differently.
    pub difference: Option<Difference>,
}

impl<R: Read> Replay<R> {
    /// Repeats a log from its beginning.
    pub fn new(from: R) -> Self {
        Self {
            records: Records::new(from),
            controller: None,
            answer: WeightsFrame::default(),
            same: 0,
            starts: 0,
            difference: None,
        }
    }

    /// Repeats the next record; `false`: there is none, or a step came out differently.
    pub fn advance(&mut self) -> Result<bool, ReplayError> {
        match self.records.next().transpose()? {
            None => Ok(false),
            Some(Record::Start(start)) => {
                self.controller = Some(begin(&start)?);
                self.starts += 1;
                Ok(true)
            }
            Some(Record::Step(step)) => {
                let controller = self.controller.as_mut().ok_or(ReplayError::NoStart)?;
                let Step { stale, late, ref heard, .. } = *step;
                let moment = Moment { stale, late, heard: heard.as_ref() };
                controller.step(&step.statistics, moment, &mut self.answer);
                self.difference = difference(&step, &self.answer);
                self.same += u64::from(self.difference.is_none());
                Ok(self.difference.is_none())
            }
        }
    }
}

/// A controller that stands where the log starts.
fn begin(start: &Start) -> Result<Controller, ReplayError> {
    let mut controller = Controller::default();
    for of_vip in &start.vips {
        let vip = of_vip.vip;
        // What could not be carried out then is not carried out now either.
        let model = if of_vip.failed { None } else { of_vip.plan.model.clone() };
        match controller.steer(vip, &Plan { model, ..of_vip.plan.clone() }) {
            Ok(()) | Err(PlanError::NoModel(_)) => {}
            Err(source) => return Err(ReplayError::Plan { vip, source }),
        }
        let mut state = state::Reader::new(&of_vip.state);
        let restored = controller.restore(vip, &mut state).and_then(|()| state.end());
        restored.map_err(|source| ReplayError::State { vip, source })?;
    }
    Ok(controller)
}

/// Where an answer is not the logged one, bit for bit. The header of the logged one was filled in when it was published.
fn difference(step: &Step, answer: &WeightsFrame) -> Option<Difference> {
    let t = step.statistics.header().t;
    let (mut logged, mut found) = (step.weights.vips(), answer.vips());
    loop {
        match (logged.next(), found.next()) {
            (None, None) => return None,
            (Some((a, a_weights)), Some((b, b_weights))) if a.vip == b.vip => {
                let bits = |weights: &[ipc::region::ServerWeight]| bytemuck::cast_slice(weights).to_vec();
                let (a_bits, b_bits): (Vec<u64>, Vec<u64>) = (bits(a_weights), bits(b_weights));
                if a.flags != b.flags || a_bits != b_bits {
                    return Some(Difference { t, vip: Some(a.vip) });
                }
            }
            _ => return Some(Difference { t, vip: None }),
        }
    }
}
