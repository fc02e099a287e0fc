//! What must not count in an update, and what an update aims at.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use trainer::learners::{
    adam,
    draws::{Draws, Use},
    qmix,
    replay::{Batch, Cut, Episode, Layout, Moment, Replay, Taken},
    sac, sac_discrete, soft,
};

const LAYOUT: Layout =
    Layout { agents: 2, servers: 3, server_features: 2, context_features: 1, state: 2, hidden: 5 };

/// An episode of three steps; `end` is what is seen after the last one, `away` what is seen of a server that is not active.
fn episode(terminal: bool, end: f32, away: f32) -> Episode {
    let mut draws = Draws::new(5, Use::World);
    let moment = |index: usize| {
        let mut numbers = |count| draws.normals(count);
        let mut moment = Moment {
            servers: numbers(LAYOUT.agents * LAYOUT.servers * LAYOUT.server_features),
            context: numbers(LAYOUT.agents),
            active: vec![1.0, 0.0, 1.0, 1.0, 1.0, 1.0],
            state: numbers(2),
            hidden: vec![0.0; LAYOUT.agents * LAYOUT.servers * LAYOUT.hidden],
        };
        moment.servers[2] = away;
        if index == 3 {
            moment.servers[0] = end;
        }
        moment
    };
    let taken = |index| Taken {
        action: vec![1.0; 6],
        reward: 2.0,
        terminal: terminal && index == 2,
        ..Taken::default()
    };
    Episode { moments: (0..4).map(moment).collect(), taken: (0..3).map(taken).collect() }
}

fn batch(length: usize, episode: Episode) -> Batch {
    let mut replay = Replay::new(LAYOUT, Cut { length, stride: 3 }, 100);
    replay.push(episode);
    replay.sample(2, &mut Draws::new(1, Use::Replay)).unwrap()
}

/// What two updates of each learner report: losses and values, as text to all digits.
fn report(batch: &Batch) -> [String; 4] {
    let mut continuous = sac::Learner::new(LAYOUT, soft::Settings::default(), 1).unwrap();
    let mut discrete = sac_discrete::Learner::new(LAYOUT, 3, soft::Settings::discrete(3, 0.6), 1).unwrap();
    let mut mixed = qmix::Learner::new(LAYOUT, 3, qmix::Settings::default(), 1).unwrap();
    let mut summed =
        qmix::Learner::new(LAYOUT, 3, qmix::Settings { embed: None, ..qmix::Settings::default() }, 1)
            .unwrap();
    let mut text = || {
        [
            format!("{:?}", continuous.update(batch).unwrap()),
            format!("{:?}", discrete.update(batch).unwrap()),
            format!("{:?}", mixed.update(batch).unwrap()),
            format!("{:?}", summed.update(batch).unwrap()),
        ]
    };
    text();
    text()
}

#[test]
fn what_is_seen_after_the_end_does_not_count() {
    assert_eq!(report(&batch(3, episode(true, 1.0, 0.0))), report(&batch(3, episode(true, 50.0, 0.0))));
    let (one, other) =
        (report(&batch(3, episode(false, 1.0, 0.0))), report(&batch(3, episode(false, 50.0, 0.0))));
    // The heads of the others say too little yet.
    assert!(one.iter().zip(other).take(2).all(|(one, other)| *one != other), "the end of the time is no end");
}

#[test]
fn servers_that_are_not_active_do_not_count() {
    assert_eq!(report(&batch(3, episode(false, 1.0, 0.0))), report(&batch(3, episode(false, 1.0, 9.0))));
}

#[test]
fn padding_does_not_count() {
    let shown = |length| {
        let mut learner = qmix::Learner::new(LAYOUT, 3, qmix::Settings::default(), 1).unwrap();
        learner.update(&batch(length, episode(true, 1.0, 0.0))).unwrap()
    };
    let (exact, padded) = (shown(3), shown(7));
    assert!(
        (exact.loss - padded.loss).abs() < 1e-5 && (exact.norm - padded.norm).abs() < 1e-4,
        "{exact:?} {padded:?}"
    );
}

/// A batch of other agents and servers than those before: `count` agents of which the first `there` have active servers.
fn padded(count: usize, there: usize) -> Batch {
    let layout = Layout { agents: count, servers: 2, ..LAYOUT };
    let mut draws = Draws::new(8, Use::World);
    let moment = |draws: &mut Draws| {
        let mut numbers = |each: usize| {
            let mut numbers = draws.normals(there * each);
            numbers.resize(count * each, 0.0);
            numbers
        };
        Moment {
            servers: numbers(2 * LAYOUT.server_features),
            context: numbers(1),
            active: [vec![1.0; 2 * there], vec![0.0; 2 * (count - there)]].concat(),
            state: draws.normals(2),
            hidden: vec![0.0; count * 2 * LAYOUT.hidden],
        }
    };
    let taken = |_| Taken { action: vec![1.0; 2 * count], reward: 2.0, terminal: false, ..Taken::default() };
    let episode =
        Episode { moments: (0..4).map(|_| moment(&mut draws)).collect(), taken: (0..3).map(taken).collect() };
    let mut replay = Replay::new(layout, Cut { length: 3, stride: 3 }, 100);
    replay.push(episode);
    replay.sample(1, &mut Draws::new(1, Use::Replay)).unwrap()
}

/// The same learners see batches of other sizes in turn.
#[test]
fn batches_may_have_any_agents_and_servers() {
    let (one, other) = (batch(3, episode(true, 1.0, 0.0)), padded(1, 1));
    let mut continuous = sac::Learner::new(LAYOUT, soft::Settings::default(), 1).unwrap();
    let mut discrete = sac_discrete::Learner::new(LAYOUT, 3, soft::Settings::discrete(3, 0.6), 1).unwrap();
    let mut mixed = qmix::Learner::new(LAYOUT, 3, qmix::Settings::default(), 1).unwrap();
    for batch in [&one, &other, &one] {
        assert!(continuous.update(batch).unwrap().critic_loss.is_finite());
        assert!(discrete.update(batch).unwrap().critic_loss.is_finite());
        assert!(mixed.update(batch).unwrap().loss.is_finite());
    }
}

/// Not the continuous learner's log density, whose noise is drawn for padding too.
#[test]
fn agents_without_an_active_server_do_not_count() {
    let (exact, with_padding) = (padded(1, 1), padded(3, 1));
    let discrete = |batch: &Batch| {
        let mut learner = sac_discrete::Learner::new(LAYOUT, 3, soft::Settings::discrete(3, 0.6), 1).unwrap();
        learner.update(batch).unwrap();
        let update = learner.update(batch).unwrap();
        [update.critic_loss, update.actor_loss, update.entropy, update.value]
    };
    let mixed = |batch: &Batch| {
        let mut learner = qmix::Learner::new(LAYOUT, 3, qmix::Settings::default(), 1).unwrap();
        learner.update(batch).unwrap();
        let update = learner.update(batch).unwrap();
        [update.loss, update.norm, update.value, 0.0]
    };
    // Chance that comes to nothing: log π has no weight, and neither have the draws with a discount of 0.
    let continuous = |batch: &Batch| {
        let settings = soft::Settings { discount: 0.0, ..soft::Settings::default() };
        let mut learner = sac::Learner::new(LAYOUT, settings, 1).unwrap();
        let updates = [(); 2].map(|()| learner.update(batch).unwrap());
        [updates[0].critic_loss, updates[0].value, updates[1].critic_loss, updates[1].value]
    };
    let near =
        |one: [f64; 4], other: [f64; 4]| one.iter().zip(other).all(|(one, other)| (one - other).abs() < 1e-4);
    for learner in [discrete as fn(&Batch) -> [f64; 4], mixed, continuous] {
        assert!(
            near(learner(&exact), learner(&with_padding)),
            "{:?} {:?}",
            learner(&exact),
            learner(&with_padding)
        );
    }
    assert_eq!(discrete(&padded(2, 0))[..2], [0.0, 0.0], "nobody is there");
}

/// With constant rewards of 2 and a discount of one half, a state is worth 4, and the last one before an end 2.
#[test]
fn values_go_to_the_sum_of_discounted_rewards() {
    let adam = adam::Settings { rate: 1e-2, ..adam::Settings::default() };
    let settings = qmix::Settings { discount: 0.5, target_every: 10, adam, ..qmix::Settings::default() };
    let known = (2.0 + 3.0 + 3.5) / 3.0;
    let mut learner = qmix::Learner::new(LAYOUT, 3, settings, 1).unwrap();
    let batch = batch(3, episode(true, 1.0, 0.0));
    let last = (0..150).map(|_| learner.update(&batch).unwrap()).last().unwrap();
    assert!((last.value - known).abs() < 0.1, "{last:?} instead of {known}");
    let settings = soft::Settings {
        discount: 0.5,
        target_rate: 0.1,
        entropy_coef: 1e-6,
        actor: adam::Settings { rate: 0.0, ..adam },
        critic: adam,
        ..soft::Settings::default()
    };
    // Whatever is done: else what is not done would have no known value.
    let (mut replay, mut draws) =
        (Replay::new(LAYOUT, Cut { length: 3, stride: 3 }, 1000), Draws::new(1, Use::Replay));
    for _ in 0..100 {
        let mut episode = episode(true, 1.0, 0.0);
        for taken in &mut episode.taken {
            taken.action = (0..6).map(|_| (draws.uniform() * 2.0 - 1.0) as f32).collect();
        }
        replay.push(episode);
    }
    let mut learner = sac::Learner::new(LAYOUT, settings, 1).unwrap();
    let updates = (0..400).map(|_| learner.update(&replay.sample(8, &mut draws).unwrap()).unwrap());
    let last = updates.last().unwrap();
    assert!((last.value - known).abs() < 0.3, "{last:?} instead of {known}");
}
