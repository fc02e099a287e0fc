//! One VIP's way from observation to weights: the policy proposes, a rule stands in while it cannot, the guard decides.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use ipc::sample::Kinds;

use crate::{
    Policy,
    guard::{self, Bounds, Guard, Guarded, Unusable},
    observation::Observation,
    state::{Reader, StateError, Writer},
};

/// Usable proposals in a row after which a policy that failed is taken at its word again.
pub const RECOVERY: u32 = 5;

/// Whether weights are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They are.
    On,
    /// They are computed and published, to be looked at.
    Shadow,
}

/// Why the fallback rule sets the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The policy's model could not be loaded.
    Model,
    /// The statistics are too old.
    Stale,
    /// The step before took longer than a period.
    Late,
    /// Nothing comes from the process that should set the weights.
    Silent,
    /// Not one weight for each server.
    Length,
    /// NaN or infinity.
    NotFinite,
    /// A weight below zero.
    Negative,
    /// All weights zero.
    Zero,
    /// It panicked.
    Panic,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 9] = [
        Self::Model,
        Self::Stale,
        Self::Late,
        Self::Silent,
        Self::Length,
        Self::NotFinite,
        Self::Negative,
        Self::Zero,
        Self::Panic,
    ];

    /// Its name in metrics and explanations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Stale => "stale",
            Self::Late => "late",
            Self::Silent => "silent",
            Self::Length => "length",
            Self::NotFinite => "not_finite",
            Self::Negative => "negative",
            Self::Zero => "zero",
            Self::Panic => "panic",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Unusable> for Reason {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Length => Self::Length,
            Unusable::NotFinite => Self::NotFinite,
            Unusable::Negative => Self::Negative,
            Unusable::Zero => Self::Zero,
        }
    }
}

/// Who makes the proposals.
#[derive(Debug)]
pub enum Proposer {
    /// A rule or an agent of ours.
    Policy(Box<dyn Policy>),
    /// Another process, by the region; what it said last is passed to each step.
    Elsewhere,
    /// Nobody: the model could not be loaded.
    Missing,
}

/// What one step is told beside the observation. Together they are all that its outcome depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Circumstances<'a> {
    /// Why the policy cannot be trusted in this step, for reasons outside of it.
    pub impediment: Option<Reason>,
    /// What another process proposes, for [`Proposer::Elsewhere`]: one weight for each server.
    pub proposal: Option<&'a [f64]>,
}

/// What came of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// When what it is based on was measured.
    pub t: u64,
    /// Why the fallback rule's weights are those that count; `None`: the policy's are.
    pub fallback: Option<Reason>,
    /// Whether the fallback began with this step.
    pub fell: bool,
    /// By server of the observation.
    pub weights: Vec<Guarded>,
    /// The slots of the servers.
    pub servers: Vec<u32>,
}

impl Decision {
    /// The bits of all guards that changed a weight.
    pub fn guards(&self) -> u32 {
        self.weights.iter().fold(0, |guards, weight| guards | weight.guards)
    }
}

/// Steers one VIP.
#[derive(Debug)]
pub struct Steering {
    proposer: Proposer,
    fallback: Box<dyn Policy>,
    guard: Guard,
    /// `Some`: the fallback rule sets the weights, and how many usable proposals came in a row since.
    fallen: Option<(Reason, u32)>,
    proposal: Vec<f64>,
    stand_in: Vec<f64>,
    decision: Decision,
}

impl Steering {
    /// Steers by `proposer`, and by `fallback` while that cannot.
    pub fn new(proposer: Proposer, fallback: Box<dyn Policy>, bounds: Bounds) -> Self {
        Self {
            proposer,
            fallback,
            guard: Guard::new(bounds),
            fallen: None,
            proposal: Vec::new(),
            stand_in: Vec::new(),
            decision: Decision::default(),
        }
    }

    /// One step: weights for the observed servers.
    pub fn step(&mut self, observation: &Observation<'_>, circumstances: Circumstances<'_>) -> &Decision {
        let failure = self.propose(observation, circumstances).err();
        let before = self.fallen;
        self.fallen = match (failure, before) {
            (Some(reason), _) => Some((reason, 0)),
            (None, Some((reason, good))) if good + 1 < RECOVERY => Some((reason, good + 1)),
            (None, _) => None,
        };
        // The rule also follows what happens while it is not needed, so that it knows the servers when it is.
        if ask(&mut *self.fallback, observation, &mut self.stand_in).is_err() {
            self.stand_in.clear(); // then the guard takes the configured weights
        }
        let proposal = if self.fallen.is_some() { &self.stand_in } else { &self.proposal };
        let decision = &mut self.decision;
        self.guard.apply(observation, proposal, &mut decision.weights);
        decision.t = observation.t;
        decision.fallback = self.fallen.map(|(reason, _)| reason);
        decision.fell = self.fallen.is_some() && before.is_none();
        decision.servers.clear();
        decision.servers.extend(observation.servers.iter().map(|server| server.server));
        decision
    }

    /// The kinds of samples that steps depend on, but for what [`Proposer::Elsewhere`] goes by.
    pub fn kinds(&self) -> Kinds {
        let proposer = match &self.proposer {
            Proposer::Policy(policy) => policy.kinds(),
            Proposer::Elsewhere | Proposer::Missing => Kinds::NONE,
        };
        proposer.and(self.fallback.kinds())
    }

    /// Whether nobody makes proposals.
    pub const fn is_without_proposer(&self) -> bool {
        matches!(self.proposer, Proposer::Missing)
    }

    /// What came of the last step.
    pub const fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Begins the guard anew at the weights in force: what was proposed before was not applied.
    pub fn follow_weights_in_force(&mut self) {
        self.guard.reset();
    }

    /// Has a proposal made; says why there is none that can be used.
    fn propose(
        &mut self,
        observation: &Observation<'_>,
        circumstances: Circumstances<'_>,
    ) -> Result<(), Reason> {
        self.proposal.clear();
        match &mut self.proposer {
            Proposer::Policy(policy) => ask(&mut **policy, observation, &mut self.proposal)?,
            Proposer::Elsewhere => self.proposal.extend(circumstances.proposal.ok_or(Reason::Silent)?),
            Proposer::Missing => return Err(Reason::Model),
        }
        circumstances.impediment.map_or(Ok(()), Err)?;
        Ok(guard::usable(observation, &self.proposal)?)
    }

    /// Writes down all that later steps depend on.
    pub fn save(&self, state: &mut Writer) {
        let (reason, good) = self.fallen.map_or((0, 0), |(reason, good)| (reason as u64 + 1, good));
        state.u64(reason);
        state.u64(u64::from(good));
        if let Proposer::Policy(policy) = &self.proposer {
            policy.save(state);
        }
        self.fallback.save(state);
        self.guard.save(state);
    }

    /// Takes over what [`Steering::save`] has written for the same proposer and fallback.
    pub fn restore(&mut self, state: &mut Reader<'_>) -> Result<(), StateError> {
        let reason = match state.u64()? {
            0 => None,
            n => Some(*Reason::ALL.get(n as usize - 1).ok_or(StateError::Value)?),
        };
        let good = u32::try_from(state.u64()?).map_err(|_| StateError::Value)?;
        self.fallen = reason.map(|reason| (reason, good));
        if let Proposer::Policy(policy) = &mut self.proposer {
            policy.restore(state)?;
        }
        self.fallback.restore(state)?;
        self.guard.restore(state)
    }
}

/// Asks a policy; a panic costs it what it remembers and nothing else.
fn ask(
    policy: &mut dyn Policy,
    observation: &Observation<'_>,
    proposal: &mut Vec<f64>,
) -> Result<(), Reason> {
    let asked = catch_unwind(AssertUnwindSafe(|| policy.propose(observation, proposal)));
    asked.map_err(|_| {
        // Its reset may panic as well; then it stays as it is, and the next proposal shows what that is worth.
        let _ = catch_unwind(AssertUnwindSafe(|| policy.reset()));
        proposal.clear();
        Reason::Panic
    })
}

#[cfg(test)]
mod tests {
    use ipc::region::{ServerState, ServerStatistics, VipStatistics};

    use super::*;

    /// Proposes what it is told to, or panics when it is told nothing; counts its resets.
    #[derive(Debug, Default)]
    struct Script {
        lines: Vec<Option<Vec<f64>>>,
        resets: u64,
    }

    impl Policy for Script {
        fn name(&self) -> &str {
            "script"
        }

        fn propose(&mut self, _: &Observation<'_>, proposal: &mut Vec<f64>) {
            *proposal = self.lines.remove(0).expect("told to propose something");
        }

        fn reset(&mut self) {
            self.resets += 1;
        }

        fn save(&self, state: &mut Writer) {
            state.u64(self.resets);
        }

        fn restore(&mut self, state: &mut Reader<'_>) -> Result<(), StateError> {
            self.resets = state.u64()?;
            Ok(())
        }
    }

    fn script(lines: &[Option<&[f64]>]) -> Box<Script> {
        Box::new(Script { lines: lines.iter().map(|line| line.map(Vec::from)).collect(), resets: 0 })
    }

    fn steering(proposer: Proposer) -> Steering {
        let fallback: &[f64] = &[3.0, 1.0];
        Steering::new(proposer, script(&[Some(fallback); 20]), Bounds::new(0.05, 20.0, 100.0).unwrap())
    }

    fn step(steering: &mut Steering, circumstances: Circumstances<'_>) -> (Option<Reason>, bool, Vec<f64>) {
        let vip = VipStatistics::new(0);
        let servers = [7, 8].map(|id| ServerStatistics {
            configured_weight: 1.0,
            weight: 1.0,
            ..ServerStatistics::new(id, ServerState::Active)
        });
        let decision = steering.step(&Observation { t: 5, vip: &vip, servers: &servers }, circumstances);
        assert_eq!((decision.t, &decision.servers[..]), (5, &[7, 8][..]));
        let weights = decision.weights.iter().map(|guarded| guarded.weight).collect();
        (decision.fallback, decision.fell, weights)
    }

    const GOOD: Option<&[f64]> = Some(&[1.0, 3.0]);

    #[test]
    fn every_way_to_fail_has_its_reason_and_the_rule_stands_in() {
        let nan = [f64::NAN, 1.0];
        let lines: &[Option<&[f64]>] =
            &[Some(&[1.0]), Some(&nan), Some(&[-1.0, 1.0]), Some(&[0.0, 0.0]), None];
        let mut steering = steering(Proposer::Policy(script(lines)));
        let reasons = [Reason::Length, Reason::NotFinite, Reason::Negative, Reason::Zero, Reason::Panic];
        for (at, reason) in reasons.into_iter().enumerate() {
            let told = step(&mut steering, Circumstances::default());
            assert_eq!(told, (Some(reason), at == 0, vec![1.5, 0.5]));
        }
    }

    #[test]
    fn policy_is_trusted_again_after_some_usable_proposals() {
        let mut lines = vec![GOOD; 2 + RECOVERY as usize];
        lines[1] = None;
        let mut steering = steering(Proposer::Policy(script(&lines)));
        assert_eq!(step(&mut steering, Circumstances::default()), (None, false, vec![0.5, 1.5]));
        assert_eq!(step(&mut steering, Circumstances::default()).0, Some(Reason::Panic));
        for _ in 1..RECOVERY {
            let told = step(&mut steering, Circumstances::default());
            assert_eq!(told, (Some(Reason::Panic), false, vec![1.5, 0.5]));
        }
        assert_eq!(step(&mut steering, Circumstances::default()), (None, false, vec![0.5, 1.5]));
    }

    #[test]
    fn impediments_from_outside_count_though_the_proposal_is_good() {
        for reason in [Reason::Stale, Reason::Late] {
            let mut steering = steering(Proposer::Policy(script(&[GOOD])));
            let circumstances = Circumstances { impediment: Some(reason), proposal: None };
            assert_eq!(step(&mut steering, circumstances), (Some(reason), true, vec![1.5, 0.5]));
        }
    }

    #[test]
    fn another_process_is_heard_and_missed() {
        let mut steering = steering(Proposer::Elsewhere);
        let heard = Circumstances { impediment: None, proposal: Some(&[1.0, 3.0]) };
        assert_eq!(step(&mut steering, heard), (None, false, vec![0.5, 1.5]));
        assert_eq!(step(&mut steering, Circumstances::default()).0, Some(Reason::Silent));
    }

    #[test]
    fn without_its_model_the_rule_goes_on_for_ever() {
        let mut steering = steering(Proposer::Missing);
        for _ in 0..10 {
            assert_eq!(step(&mut steering, Circumstances::default()).0, Some(Reason::Model));
        }
    }

    #[test]
    fn state_is_whole_after_a_restore() {
        let lines: Vec<_> = [None, GOOD, GOOD, GOOD, GOOD, GOOD, GOOD].into();
        let mut original = steering(Proposer::Policy(script(&lines)));
        step(&mut original, Circumstances::default());
        step(&mut original, Circumstances::default());
        let mut writer = Writer::default();
        original.save(&mut writer);
        let words = writer.into_words();
        let mut restored = steering(Proposer::Policy(script(&lines[2..])));
        let mut reader = Reader::new(&words);
        restored.restore(&mut reader).unwrap();
        reader.end().unwrap();
        for _ in 0..5 {
            let expected = step(&mut original, Circumstances::default());
            assert_eq!(step(&mut restored, Circumstances::default()), expected);
        }
        assert_eq!(restored.restore(&mut Reader::new(&words[..2])), Err(StateError::Short));
        assert_eq!(restored.restore(&mut Reader::new(&[99])), Err(StateError::Value));
    }
}
