//! An episode: a world, agents on its balancers, and what became of it.

use policy::{
    agents::{Agent, Engine, Model, ModelError},
    guard::Bounds,
    rewards::Objective,
    rules,
    steering::{Proposer, Steering},
};

use super::{
    config::Pay,
    seat::{Look, Manner, Seat},
    worlds::{World, numbered},
};
use crate::{
    evaluate::run::Drive,
    learners::{
        draws::{Draws, Use},
        hindsight::TOLD,
        replay::{Episode, Layout, Moment, Taken},
    },
    sim::{Choice, Simulation, ledger::Ledger, teacher},
};

/// Numbers that the whole is described by to a mixer.
pub const STATE: usize = 8;
/// No reward of a step is further from zero.
const CLIP: f64 = 3.0;
/// Flows more or less that do not count in a ratio.
const A_FLOW: f64 = 0.5;

/// How episodes are held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// How servers are chosen.
    pub choice: Choice,
    /// How often agents act, in nanoseconds.
    pub period: u64,
    /// Steps.
    pub steps: usize,
    /// What is good.
    pub pay: Pay,
    /// What movement costs.
    pub movement: f64,
    /// Whether it is written down what choices cost.
    pub compares: bool,
}

/// What a lesson leaves behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    /// By balancer, step by step; one more than steps.
    pub looks: Vec<Vec<Look>>,
    /// What a teacher wants at each step: the logarithm of each server's weight, also of those that are dead.
    pub taught: Vec<Vec<f64>>,
    /// The whole at each step.
    pub states: Vec<[f32; STATE]>,
    /// The reward of each step, by balancer.
    pub rewards: Vec<Vec<f64>>,
}

/// What is known of a world at the end of a step.
struct Report {
    /// Flows held, on average over the step.
    held: f64,
    taught: Vec<f64>,
    state: [f32; STATE],
}

impl Lesson {
    /// Holds it. The same arguments give the same lesson.
    pub fn hold(
        world: &World,
        model: &Model,
        manner: Manner,
        terms: &Terms,
        seed: u64,
    ) -> Result<Self, ModelError> {
        let simulation = world.begin(terms.choice);
        let objective = match terms.pay {
            Pay::Seen(reward) => Objective { reward, ..Objective::default() },
            Pay::Held | Pay::LogHeld | Pay::Choices => Objective::default(),
        };
        let seats = (0..u64::from(world.setup.balancers)).map(|number| {
            let agent = Agent::new(model.clone(), Engine::Fused)?;
            let draws = Draws::new(numbered(seed, number), Use::Exploration);
            Ok::<_, ModelError>(Seat::new(
                agent,
                objective.clone(),
                terms.compares.then(|| world.offered()),
                draws,
            ))
        });
        let mut drive = Drive::of(simulation, seats.collect::<Result<_, _>>()?, terms.period);
        let mut twin = needs_twin(terms.pay).then(|| twin(world, terms));
        let mut area = [0_u128; 2];
        let (mut reports, mut held_by_twin) = (Vec::new(), Vec::new());
        let past = world.past / terms.period;
        drive.advance(past * terms.period);
        drive.helms_mut().iter_mut().for_each(|seat| seat.begin(manner));
        held(drive.simulation(), &mut area[0], terms.period);
        if let Some(twin) = &mut twin {
            twin.advance(past * terms.period);
            held(twin.simulation(), &mut area[1], terms.period);
        }
        for step in 1..=terms.steps as u64 + 1 {
            let until = (past + step) * terms.period;
            drive.advance(until);
            reports.push(Report::of(drive.simulation(), world, &mut area[0], terms.period));
            if let Some(twin) = &mut twin {
                twin.advance(until);
                held_by_twin.push(held(twin.simulation(), &mut area[1], terms.period));
            }
        }
        let looks: Vec<Vec<Look>> = drive.helms_mut().iter_mut().map(Seat::take_looks).collect();
        let paid = |looks: &Vec<Look>| match terms.pay {
            Pay::Choices => choices(looks),
            Pay::Seen(_) => looks.iter().skip(1).map(|look| look.seen).collect(),
            // What is done within a step shows in the one after.
            Pay::Held => (1..=terms.steps)
                .map(|after| (held_by_twin[after] - reports[after].held) / world.offered().max(1.0))
                .collect(),
            Pay::LogHeld => (1..=terms.steps)
                .map(|after| ((held_by_twin[after] + A_FLOW) / (reports[after].held + A_FLOW)).ln())
                .collect::<Vec<_>>(),
        };
        let reward = |looks: &Vec<Look>| {
            let moved = looks.iter().map(|look| look.moved);
            let less = |(pay, moved): (f64, f64)| (pay - terms.movement * moved).clamp(-CLIP, CLIP);
            paid(looks).into_iter().zip(moved).map(less).collect::<Vec<_>>()
        };
        let rewards = looks.iter().map(reward).collect();
        Ok(Self {
            looks,
            rewards,
            states: reports.iter().map(|report| report.state).collect(),
            taught: reports.into_iter().map(|report| report.taught).collect(),
        })
    }

    /// The mean reward of a step.
    pub fn mean_reward(&self) -> f64 {
        mean(self.rewards.iter().flatten().copied())
    }

    /// As a learner gets it, of the first balancers, at most so many: one episode for as many of them as the layout has agents. Rows
    /// of servers and agents that there are not are those of servers that are not active.
    pub fn episodes(&self, layout: Layout, most: usize) -> impl Iterator<Item = Episode> {
        self.groups(layout, most).map(move |first| self.write(layout, first, |look, _| look.action.clone()))
    }

    fn groups(&self, layout: Layout, most: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.looks.len().min(most)).step_by(layout.agents)
    }

    /// The same with what the teacher would have done instead of what was done: `action` makes an action of the correction that
    /// gives a server the weight that the [`teacher`] wants.
    pub fn taught(
        &self,
        layout: Layout,
        most: usize,
        action: impl Fn(f64) -> f32,
    ) -> impl Iterator<Item = Episode> {
        let teach = move |look: &Look, step: usize| {
            let active = &look.features.active;
            let wanted: Vec<f64> =
                self.taught[step].iter().zip(&look.base).map(|(taught, base)| taught - base).collect();
            let counted = wanted.iter().zip(active).filter(|(_, active)| **active).map(|(wanted, _)| *wanted);
            let middle = mean(counted);
            let teach = |(wanted, active): (f64, &bool)| if *active { action(wanted - middle) } else { 0.0 };
            wanted.into_iter().zip(active).map(teach).collect()
        };
        self.groups(layout, most).map(move |first| self.write(layout, first, &teach))
    }

    /// Of as many balancers as the layout has agents, from the balancer `first` on. Its reward is their mean.
    fn write(&self, layout: Layout, first: usize, action: impl Fn(&Look, usize) -> Vec<f32>) -> Episode {
        let agents: Vec<_> = (first..first + layout.agents).map(|agent| self.looks.get(agent)).collect();
        let paid = &self.rewards[first..self.rewards.len().min(first + layout.agents)];
        let steps = self.rewards[0].len();
        let moments = (0..=steps).map(|step| {
            let mut moment = Moment { state: self.states[step].to_vec(), ..Moment::default() };
            for looks in &agents {
                let look = looks.map(|looks| &looks[step]);
                let (none, nothing) = (Look::default(), vec![0.0; layout.context_features]);
                let features = &look.unwrap_or(&none).features;
                pad(&mut moment.servers, &features.servers, layout.servers * layout.server_features);
                pad(
                    &mut moment.context,
                    look.map_or(&nothing, |look| &look.features.context),
                    layout.context_features,
                );
                let active: Vec<f32> =
                    features.active.iter().map(|&active| f32::from(u8::from(active))).collect();
                pad(&mut moment.active, &active, layout.servers);
                pad(
                    &mut moment.hidden,
                    look.map_or(&[], |look| &look.hidden),
                    layout.servers * layout.hidden,
                );
            }
            moment
        });
        let taken = (0..steps).map(|step| {
            let reward = mean(paid.iter().map(|rewards| rewards[step]));
            let mut actions = Vec::new();
            for looks in &agents {
                let done = looks.map_or_else(Vec::new, |looks| action(&looks[step], step));
                pad(&mut actions, &done, layout.servers);
            }
            let told = agents.iter().flat_map(|looks| told(*looks, step, layout.servers)).collect();
            Taken { action: actions, reward: reward as f32, terminal: false, told }
        });
        Episode { moments: moments.collect(), taken: taken.collect() }
    }
}

/// What hindsight says of the step after a look, server by server: see [`hindsight`](crate::learners::hindsight).
fn told(looks: Option<&Vec<Look>>, step: usize, servers: usize) -> Vec<f32> {
    let mut told = vec![0.0; servers * TOLD];
    let Some(looks) = looks else { return told };
    let Look { paid: Ledger { flows, choice: Some(choice), .. }, .. } = &looks[step + 1] else { return told };
    let weight = *flows as f64 / scale(looks);
    let of = looks[step].base.iter().zip(&choice.counts).zip(&choice.regrets);
    for (place, ((base, &count), regret)) in told.chunks_exact_mut(TOLD).zip(of) {
        place.copy_from_slice(&[(base - (count as f64 + 1.0).ln()) as f32, (weight * regret) as f32]);
    }
    told
}

/// Appends `count` values: what there is of `values`, then zeros.
fn pad(to: &mut Vec<f32>, values: &[f32], count: usize) {
    let end = to.len() + count;
    to.extend(&values[..values.len().min(count)]);
    to.resize(end, 0.0);
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// What was saved in each step by choosing otherwise than the base would have, as a share of what the best choices cost in a step
/// of the episode.
fn choices(looks: &[Look]) -> Vec<f64> {
    let steps = || looks.iter().skip(1).map(|look| &look.paid);
    let scale = scale(looks);
    steps().map(|paid| (paid.beside - paid.own) / scale).collect()
}

/// What the best choices cost in a mean step of the episode.
fn scale(looks: &[Look]) -> f64 {
    mean(looks.iter().skip(1).map(|look| look.paid.best)).max(1e-9)
}

const fn needs_twin(pay: Pay) -> bool {
    matches!(pay, Pay::Held | Pay::LogHeld)
}

/// The same world with the same clients, and the base estimate in charge. What it does depends on nothing that agents do, so a
/// reward may be taken from it: that leaves the best policy what it is, and most of the chance cancels out.
fn twin(world: &World, terms: &Terms) -> Drive<Steering> {
    let base = |_| {
        let proposer = Proposer::Policy(Box::new(rules::Rate::default()));
        Steering::new(proposer, Box::new(rules::Static), Bounds::default())
    };
    Drive::of(world.begin(terms.choice), (0..world.setup.balancers).map(base).collect(), terms.period)
}

/// Flows held since the last time, on average.
fn held(simulation: &Simulation, area: &mut u128, period: u64) -> f64 {
    let now = simulation.now();
    let until = simulation.servers().iter().map(|server| server.flow_time(now)).sum::<u128>();
    let held = (until - *area) as f64 / period as f64;
    *area = until;
    held
}

impl Report {
    fn of(simulation: &Simulation, world: &World, area: &mut u128, period: u64) -> Self {
        let servers = simulation.servers();
        let held = held(simulation, area, period);
        let alive: Vec<_> = servers.iter().filter(|server| server.is_alive()).collect();
        let capacity: f64 = alive.iter().map(|server| server.capacity()).sum();
        let fill: Vec<f64> =
            alive.iter().map(|server| (server.held() as f64 / server.capacity()).ln_1p()).collect();
        let middle = mean(fill.iter().copied());
        let spread = mean(fill.iter().map(|fill| (fill - middle).powi(2))).sqrt();
        let state = [
            world.offered() / capacity.max(1e-3),
            (held / world.offered().max(1.0)).ln_1p(),
            middle,
            spread,
            fill.iter().copied().fold(0.0, f64::max),
            f64::from(world.setup.balancers).ln(),
            (servers.len() as f64).ln(),
            (world.setup.service.mean() / period as f64).ln(),
        ];
        Self {
            held,
            taught: servers.iter().map(teacher::taught).collect(),
            state: state.map(|value| value.clamp(-10.0, 10.0) as f32),
        }
    }
}

#[cfg(test)]
mod tests {
    use dataplane::tables::select::Select;
    use policy::{
        agents::{Expected, Kind, Manifest},
        features::{Normaliser, Schema},
    };

    use super::{super::worlds::Family, *};

    const TERMS: Terms = Terms {
        choice: Choice::Rule(Select::Sed),
        period: 50_000_000,
        steps: 40,
        pay: Pay::Held,
        movement: 0.0,
        compares: true,
    };

    /// A network that says nothing.
    fn model(kind: Kind) -> Model {
        let schema = Schema::Native;
        let manifest = Manifest {
            format: Manifest::FORMAT,
            kind,
            schema: schema.into(),
            hidden: 4,
            levels: if kind == Kind::SacGru { vec![] } else { vec![-0.5, 0.0, 0.5] },
            delta_max: Manifest::DELTA_MAX,
            normaliser: Normaliser::identity(schema),
            seed: 1,
            revision: "test".into(),
        };
        let expected = Expected { policy: kind.policy(), schema };
        Model::new(manifest, &expected, |(_, shape)| Ok(vec![0.0; shape.iter().product()])).unwrap()
    }

    fn world(seed: u64) -> World {
        Family { servers: [3, 3], many: 0.0, balancers: [2, 2], fresh: 1.0, ..Family::default() }
            .draw(seed, 2_000_000_000)
    }

    fn lesson(kind: Kind, manner: Manner, pay: Pay) -> Lesson {
        Lesson::hold(&world(5), &model(kind), manner, &Terms { pay, ..TERMS }, 9).unwrap()
    }

    #[test]
    fn agent_that_changes_nothing_is_paid_nothing_beside_its_twin() {
        for pay in [Pay::Held, Pay::LogHeld, Pay::Choices] {
            let idle = lesson(Kind::Qmix, Manner::Greedy(0.0), pay);
            assert_eq!(idle.rewards, [[0.0; 40]; 2]);
            let busy = lesson(Kind::SacGru, Manner::Wander, pay);
            assert!(busy.rewards.iter().all(|rewards| rewards.iter().any(|&reward| reward != 0.0)));
        }
    }

    #[test]
    fn balancers_know_what_was_before_the_episode() {
        let base_completed = |past| {
            let mut world = world(5);
            world.past = past;
            let lesson = Lesson::hold(&world, &model(Kind::Qmix), Manner::Greedy(0.0), &TERMS, 9).unwrap();
            assert_eq!((lesson.looks[0].len(), lesson.rewards.clone()), (41, vec![vec![0.0; 40]; 2]));
            let names = Schema::Native.server_names();
            let at = names.iter().position(|&name| name == "base_completed").unwrap();
            lesson.looks[0][0].features.servers[at]
        };
        assert!(base_completed(0) < 1.0 && base_completed(10_000_000_000) > 2.0);
    }

    #[test]
    fn same_seed_is_the_same_lesson() {
        for (kind, manner) in [
            (Kind::SacGru, Manner::Draw),
            (Kind::SacGruDiscrete, Manner::Draw),
            (Kind::Qmix, Manner::Greedy(0.5)),
        ] {
            let [once, again] = [(); 2].map(|()| lesson(kind, manner, Pay::Held));
            assert_eq!(once, again);
            assert!(once.looks[0] != once.looks[1], "balancers draw and see for themselves");
        }
    }

    #[test]
    fn teacher_says_what_corrects_the_base_to_the_weights_it_wants() {
        let lesson = lesson(Kind::SacGru, Manner::Wander, Pay::Held);
        let layout = Layout {
            agents: 3,
            servers: 4,
            server_features: Schema::Native.per_server(),
            context_features: Schema::Native.context(),
            state: STATE,
            hidden: 4,
        };
        let episode = lesson.taught(layout, 3, |delta| delta as f32).next().unwrap();
        for (step, taken) in episode.taken.iter().enumerate() {
            for (agent, actions) in taken.action.chunks_exact(layout.servers).enumerate() {
                let Some(looks) = lesson.looks.get(agent) else {
                    assert_eq!(actions, [0.0; 4], "nobody is there");
                    continue;
                };
                let taught: Vec<f64> = looks[step]
                    .base
                    .iter()
                    .zip(actions)
                    .map(|(base, &delta)| base + f64::from(delta))
                    .collect();
                let distances: Vec<f64> =
                    taught.iter().zip(&lesson.taught[step]).map(|(weight, wanted)| weight - wanted).collect();
                assert!(distances.iter().all(|distance| (distance - distances[0]).abs() < 1e-5));
                assert_eq!(actions[3], 0.0, "there are three servers");
            }
        }
        assert_eq!((episode.moments.len(), episode.taken.len()), (41, 40));
        let moment = &episode.moments[7];
        assert_eq!(moment.active, [1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(moment.servers.len(), 3 * 4 * layout.server_features);
        assert_eq!((moment.context.len(), moment.hidden.len()), (3 * layout.context_features, 3 * 4 * 4));
    }
}
