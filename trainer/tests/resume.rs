//! What is written down and restored goes on to the same bits, and what is exported acts the same.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use candle_core::Tensor;
use policy::{
    agents::{Engine, Expected, Kind, Manifest, Model, ModelError, Network, Shape},
    features::{Features, Normaliser, Schema},
};
use trainer::learners::{
    adam::{self, Adam},
    draws::{Draws, Use},
    export,
    params::Params,
    qmix,
    replay::{Batch, Cut, Episode, Layout, Moment, Replay, Taken},
    sac, sac_discrete,
    saved::{Saved, SavedError},
    soft,
};

const LEVELS: usize = 3;

fn layout() -> Layout {
    let schema = Schema::Native;
    Layout {
        agents: 2,
        servers: 3,
        server_features: schema.per_server(),
        context_features: schema.context(),
        state: 2,
        hidden: 5,
    }
}

fn moment(draws: &mut Draws) -> Moment {
    let layout = layout();
    let rows = layout.agents * layout.servers;
    Moment {
        servers: draws.normals(rows * layout.server_features),
        context: draws.normals(layout.agents * layout.context_features),
        active: vec![1.0, 0.0, 1.0, 1.0, 1.0, 1.0],
        state: draws.normals(layout.state),
        hidden: draws.normals(rows * layout.hidden),
    }
}

fn replay() -> Replay {
    let mut draws = Draws::new(5, Use::World);
    let mut replay = Replay::new(layout(), Cut { length: 4, stride: 2 }, 100);
    for _ in 0..4 {
        let moments = (0..6).map(|_| moment(&mut draws)).collect();
        let taken = |_| Taken {
            action: (0..6).map(|_| draws.below(LEVELS) as f32).collect(),
            reward: draws.normal() as f32,
            terminal: false,
            ..Taken::default()
        };
        let taken = (0..5).map(taken).collect();
        replay.push(Episode { moments, taken });
    }
    replay
}

/// A learner as far as a run sees it.
trait Learns {
    fn fresh() -> Self;
    /// All digits of what an update reports.
    fn learn(&mut self, batch: &Batch) -> String;
    fn slow_down(&mut self);
    fn saved(&self) -> Saved;
    fn restored(&mut self, saved: &Saved) -> Result<(), SavedError>;
}

macro_rules! learns {
    ($learner:ty, $fresh:expr, $slow:expr) => {
        impl Learns for $learner {
            fn fresh() -> Self {
                $fresh.unwrap()
            }
            fn learn(&mut self, batch: &Batch) -> String {
                format!("{:?}", self.update(batch).unwrap())
            }
            fn slow_down(&mut self) {
                $slow(self);
            }
            fn saved(&self) -> Saved {
                self.save().unwrap()
            }
            fn restored(&mut self, saved: &Saved) -> Result<(), SavedError> {
                self.restore(saved)
            }
        }
    };
}

fn settings() -> soft::Settings {
    soft::Settings { actor_delay: 2, target_rate: 0.1, ..soft::Settings::default() }
}

learns!(sac::Learner, sac::Learner::new(layout(), settings(), 1), |learner: &mut Self| learner
    .scale_rates(0.3));
learns!(
    sac_discrete::Learner,
    sac_discrete::Learner::new(layout(), LEVELS, settings(), 1),
    |learner: &mut Self| learner.scale_rates(0.3)
);
learns!(
    qmix::Learner,
    qmix::Learner::new(layout(), LEVELS, qmix::Settings { target_every: 4, ..qmix::Settings::default() }, 1),
    |learner: &mut Self| learner.set_rate(1e-4)
);

/// A run that is written down after three updates, in a file's bytes, and goes on twice.
fn goes_on<L: Learns>() {
    let mut replay = replay();
    let mut draws = Draws::new(1, Use::Replay);
    let mut learner = L::fresh();
    for _ in 0..3 {
        learner.learn(&replay.sample(2, &mut draws).unwrap());
        learner.slow_down();
    }
    let mut checkpoint = Saved::default();
    checkpoint.put("learner", learner.saved());
    checkpoint.put("replay", replay.save());
    draws.save("draws", &mut checkpoint);
    let go_on = |learner: &mut L, replay: &Replay, draws: &mut Draws| -> Vec<String> {
        (0..6).map(|_| learner.learn(&replay.sample(2, draws).unwrap())).collect()
    };
    let known = go_on(&mut learner, &replay, &mut draws);

    let checkpoint = Saved::from_bytes(&checkpoint.to_bytes().unwrap()).unwrap();
    let mut restored = L::fresh();
    restored.learn(&replay.sample(2, &mut Draws::new(9, Use::Replay)).unwrap());
    restored.restored(&checkpoint.part("learner")).unwrap();
    replay.restore(&checkpoint.part("replay")).unwrap();
    let mut draws = Draws::restored("draws", &checkpoint).unwrap();
    assert_eq!(go_on(&mut restored, &replay, &mut draws), known);
    assert_eq!(restored.saved(), learner.saved());
}

#[test]
fn continuous_learner_goes_on_to_the_same_bits() {
    goes_on::<sac::Learner>();
}

#[test]
fn discrete_learner_goes_on_to_the_same_bits() {
    goes_on::<sac_discrete::Learner>();
}

#[test]
fn mixing_learner_goes_on_to_the_same_bits() {
    goes_on::<qmix::Learner>();
}

/// What another learner has written, and what lacks an entry.
#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut learner = sac::Learner::new(layout(), settings(), 1).unwrap();
    let before = learner.save().unwrap();
    let wider = Layout { hidden: 6, ..layout() };
    let other = sac::Learner::new(wider, settings(), 2).unwrap().save().unwrap();
    let message = learner.restore(&other).unwrap_err().to_string();
    assert_eq!(message, "has an entry `networks.actor.decoder.bias` of shape [6]; it has to be [5]");
    let message = learner.restore(&qmix::Learner::fresh().saved()).unwrap_err().to_string();
    assert_eq!(message, "has no entry `networks.actor.decoder.bias`");
    assert_eq!(learner.save().unwrap(), before);
}

#[test]
fn critics_learn_alone_at_first() {
    let batch = replay().sample(2, &mut Draws::new(1, Use::Replay)).unwrap();
    let mut learner = sac::Learner::fresh();
    let part = |learner: &sac::Learner, part: &str| learner.saved().part("networks").part(part);
    let (actor, critic) = (part(&learner, "actor"), part(&learner, "critic"));
    (0..2).for_each(|_| drop(learner.learn(&batch)));
    assert_eq!(part(&learner, "actor"), actor);
    assert_ne!(part(&learner, "critic"), critic);
    learner.learn(&batch);
    assert_ne!(part(&learner, "actor"), actor);
}

fn manifest(kind: Kind) -> Manifest {
    Manifest {
        format: Manifest::FORMAT,
        kind,
        schema: Schema::Native.into(),
        hidden: layout().hidden,
        levels: if kind == Kind::SacGru { vec![] } else { vec![-0.5, 0.0, 0.5] },
        delta_max: Manifest::DELTA_MAX,
        normaliser: Normaliser::identity(Schema::Native),
        seed: 1,
        revision: "test".into(),
    }
}

/// Written, read as the program that is shipped reads it, and run by its own engine.
fn acts_the_same(kind: Kind, acting: &policy::agents::net::Net, params: &Params) {
    let written = export::model(params, manifest(kind), Schema::Native).unwrap();
    let expected = Expected { policy: kind.policy(), schema: Schema::Native };
    let model = Model::from_bytes(&written.to_bytes().unwrap(), &expected).unwrap();
    assert_eq!(model, written);
    let Shape { hidden, outputs, .. } = model.manifest().shape();
    let mut network = Network::new(&model, Engine::Fused).unwrap();
    let (mut memory, mut draws) = (vec![0.0; 3 * hidden], Draws::new(3, Use::World));
    let mut same = Tensor::zeros((1, 3, hidden), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    for _ in 0..4 {
        let features = Features {
            servers: draws.normals(3 * layout().server_features),
            context: draws.normals(layout().context_features),
            active: vec![true; 3],
        };
        let mut head = vec![0.0; 3 * outputs];
        network.step(&features, &mut memory, &mut head).unwrap();
        let tensor = |values: &[f32], shape: &[usize]| {
            Tensor::from_slice(values, shape, &candle_core::Device::Cpu).unwrap()
        };
        let input = policy::agents::net::Input {
            servers: tensor(&features.servers, &[1, 3, layout().server_features]),
            context: tensor(&features.context, &[1, layout().context_features]),
            active: tensor(&[1.0; 3], &[1, 3]),
        };
        let output = acting.step(&input, &same).unwrap();
        same = output.hidden;
        let known: Vec<f32> = output.head.flatten_all().unwrap().to_vec1().unwrap();
        assert!(known.iter().any(|number| number.abs() > 1e-4), "it has learned to say something");
        assert!(
            head.iter().zip(&known).all(|(found, known)| (found - known).abs() < 1e-5),
            "{head:?} {known:?}"
        );
    }
}

#[test]
fn exported_model_proposes_what_the_learner_does() {
    let batch = replay().sample(4, &mut Draws::new(1, Use::Replay)).unwrap();
    let mut learner = sac::Learner::fresh();
    (0..5).for_each(|_| drop(learner.learn(&batch)));
    acts_the_same(Kind::SacGru, learner.acting(), learner.params());
    let mut learner = sac_discrete::Learner::fresh();
    (0..5).for_each(|_| drop(learner.learn(&batch)));
    acts_the_same(Kind::SacGruDiscrete, learner.acting(), learner.params());
    let mut learner = qmix::Learner::fresh();
    (0..5).for_each(|_| drop(learner.learn(&batch)));
    acts_the_same(Kind::Qmix, learner.acting(), learner.params());
    let refused = export::model(learner.params(), manifest(Kind::SacGru), Schema::Native).unwrap_err();
    assert!(matches!(refused, ModelError::TensorShape { name: "head.weight", .. }), "{refused}");
}

/// An actor that is told what to say says it, and a learner that starts from its model says the same.
#[test]
fn actor_starts_from_what_it_was_taught() {
    let batch = replay().sample(4, &mut Draws::new(1, Use::Replay)).unwrap();
    let input = batch.inputs.moments(batch.rows(), 0, 1).unwrap();
    let learner = sac::Learner::fresh();
    let mut adam = Adam::new(adam::Settings { rate: 1e-2, ..adam::Settings::default() });
    let mut losses = (0..60).map(|_| {
        let head = learner.actor().step(&input, &batch.hidden).unwrap().head;
        let off = (head.narrow(2, 0, 1).unwrap() - 0.4).unwrap().squeeze(2).unwrap();
        let loss = (off.sqr().unwrap() * &input.active).unwrap().mean_all().unwrap();
        adam.step(learner.params(), &loss.backward().unwrap()).unwrap();
        loss.to_scalar::<f32>().unwrap()
    });
    let first = losses.next().unwrap();
    let last = losses.last().unwrap();
    assert!(last < first / 10.0, "{first} {last}");
    let model = export::model(learner.params(), manifest(Kind::SacGru), Schema::Native).unwrap();
    let other = sac::Learner::new(layout(), settings(), 2).unwrap();
    export::start_from(other.params(), &model).unwrap();
    let head = |learner: &sac::Learner| {
        let head = learner.acting().step(&input, &batch.hidden).unwrap().head;
        head.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_eq!(head(&other), head(&learner));
}
