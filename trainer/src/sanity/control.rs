//! Control by soft actor-critic of worlds with one action: training, and evaluation without chance.

use candle_core::{Device, Result, Tensor};
use policy::agents::net::{Input, Net};

use crate::learners::{
    draws::{Draws, Use},
    replay::{Cut, Episode, Layout, Moment, Replay, Taken},
    sac::Learner,
    soft::{Settings, Update},
    squashed,
};

/// A world that is controlled by one number between −1 and 1.
pub trait World {
    /// Numbers that are seen.
    const SEEN: usize;
    /// Steps of an episode; the end of the time is not terminal.
    const STEPS: usize;

    /// A world at its beginning.
    fn begin(draws: &mut Draws) -> Self;

    /// What is seen, [`World::SEEN`] numbers of the order of 1.
    fn seen(&self) -> Vec<f32>;

    /// Goes on by a step; the reward, and whether nothing can come after.
    fn step(&mut self, action: f32, draws: &mut Draws) -> (f64, bool);
}

/// How a world is learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Steps in the world, all in all.
    pub steps: usize,
    /// Steps at the beginning with actions at random, and no learning.
    pub random: usize,
    /// Steps for each update.
    pub steps_per_update: usize,
    /// Sequences in an update.
    pub batch: usize,
    /// How episodes are cut.
    pub cut: Cut,
    /// Width of the networks.
    pub hidden: usize,
    /// Rewards are multiplied by it for learning.
    pub reward_scale: f64,
    /// How the learner learns. Its learning rates fall to 0 in the second half. Without memory, neither its last action nor its last
    /// reward is seen.
    pub sac: Settings,
}

impl Plan {
    fn layout<W: World>(&self) -> Layout {
        let (extra, context) = if self.sac.remember { (1, 1) } else { (0, 0) };
        Layout {
            agents: 1,
            servers: 1,
            server_features: W::SEEN + extra,
            context_features: context,
            state: 0,
            hidden: self.hidden,
        }
    }
}

/// A world with what its agent remembers.
struct Run<W> {
    world: W,
    last_action: f32,
    last_reward: f32,
    sum: f64,
}

impl<W: World> Run<W> {
    fn begin(draws: &mut Draws) -> Self {
        Self { world: W::begin(draws), last_action: 0.0, last_reward: 0.0, sum: 0.0 }
    }

    fn moment(&self, plan: &Plan, hidden: Vec<f32>) -> Moment {
        let mut moment =
            Moment { servers: self.world.seen(), active: vec![1.0], hidden, ..Moment::default() };
        if plan.sac.remember {
            moment.servers.push(self.last_action);
            moment.context.push(self.last_reward);
        }
        moment
    }

    fn step(&mut self, plan: &Plan, action: f32, draws: &mut Draws) -> Taken {
        let (reward, terminal) = self.world.step(action, draws);
        self.sum += reward;
        self.last_action = action;
        self.last_reward = (reward * plan.reward_scale) as f32;
        Taken { action: vec![action], reward: self.last_reward, terminal, ..Taken::default() }
    }
}

fn input(moments: &[Moment], layout: Layout) -> Result<Input> {
    let rows = moments.len();
    let join = |part: fn(&Moment) -> &Vec<f32>| moments.iter().flat_map(part).copied().collect::<Vec<f32>>();
    let tensor = |values, shape: &[usize]| Tensor::from_vec(values, shape, &Device::Cpu);
    Ok(Input {
        servers: tensor(join(|moment| &moment.servers), &[rows, 1, layout.server_features])?,
        context: tensor(join(|moment| &moment.context), &[rows, layout.context_features])?,
        active: tensor(join(|moment| &moment.active), &[rows, 1])?,
    })
}

/// How far learning is, after an episode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Steps in the world so far.
    pub steps: usize,
    /// The return of the last episode, chance in its actions included.
    pub reached: f64,
    /// The last update.
    pub update: Option<Update>,
}

/// Learns a world.
pub fn learn<W: World>(plan: &Plan, seed: u64, mut watch: impl FnMut(Progress)) -> Result<Learner> {
    let layout = plan.layout::<W>();
    let mut learner = Learner::new(layout, plan.sac, seed)?;
    let mut replay = Replay::new(layout, plan.cut, plan.steps);
    let [mut actions, mut world, mut draws] =
        [Use::Exploration, Use::World, Use::Replay].map(|of| Draws::new(seed, of));
    let (mut step, mut update) = (0, None);
    while step < plan.steps {
        let mut run = Run::<W>::begin(&mut world);
        let mut episode = Episode::default();
        let mut hidden = vec![0.0; plan.hidden];
        for _ in 0..W::STEPS {
            let moment = run.moment(plan, hidden.clone());
            let action = if step < plan.random {
                (actions.uniform() * 2.0 - 1.0) as f32
            } else {
                explore(learner.acting(), layout, &moment, &mut hidden, plan, &mut actions)?
            };
            episode.moments.push(moment);
            let taken = run.step(plan, action, &mut world);
            let terminal = taken.terminal;
            episode.taken.push(taken);
            step += 1;
            if step > plan.random && replay.steps() > 0 && step.is_multiple_of(plan.steps_per_update) {
                let left = 2.0 * (1.0 - step as f64 / plan.steps as f64);
                learner.scale_rates(left.clamp(0.0, 1.0));
                update = Some(learner.update(&replay.sample(plan.batch, &mut draws)?)?);
            }
            if terminal {
                break;
            }
        }
        episode.moments.push(run.moment(plan, hidden));
        replay.push(episode);
        watch(Progress { steps: step, reached: run.sum, update });
    }
    Ok(learner)
}

/// Draws an action as the actor says, and moves its memory on.
fn explore(
    acting: &Net,
    layout: Layout,
    moment: &Moment,
    hidden: &mut Vec<f32>,
    plan: &Plan,
    draws: &mut Draws,
) -> Result<f32> {
    let before = Tensor::from_slice(hidden, (1, 1, layout.hidden), &Device::Cpu)?;
    let output = acting.step(&input(std::slice::from_ref(moment), layout)?, &before)?;
    if plan.sac.remember {
        *hidden = output.hidden.flatten_all()?.to_vec1()?;
    }
    let noise = Tensor::from_vec(draws.normals(1), (1, 1), &Device::Cpu)?;
    Ok(squashed::draw(&output.head, &noise)?.actions.flatten_all()?.to_vec1::<f32>()?[0])
}

/// How an episode ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ended {
    /// The sum of its rewards.
    pub sum: f64,
    /// Whether it ended before its time.
    pub terminal: bool,
}

/// Episodes without chance in the actions, side by side.
pub fn evaluate<W: World>(acting: &Net, plan: &Plan, episodes: usize, seed: u64) -> Result<Vec<Ended>> {
    let layout = plan.layout::<W>();
    let mut draws = Draws::new(seed, Use::Evaluation);
    let mut runs: Vec<_> = (0..episodes).map(|_| Run::<W>::begin(&mut draws)).collect();
    let mut terminal = vec![false; episodes];
    let nothing = Tensor::from_vec(
        vec![0.0_f32; episodes * layout.hidden],
        (episodes, 1, layout.hidden),
        &Device::Cpu,
    )?;
    let mut hidden = nothing.clone();
    for _ in 0..W::STEPS {
        let moments: Vec<_> = runs.iter().map(|run| run.moment(plan, Vec::new())).collect();
        let output = acting.step(&input(&moments, layout)?, &hidden)?;
        hidden = if plan.sac.remember { output.hidden } else { nothing.clone() };
        let actions: Vec<f32> = squashed::median(&output.head)?.flatten_all()?.to_vec1()?;
        for ((run, action), terminal) in runs.iter_mut().zip(actions).zip(&mut terminal) {
            if !*terminal {
                *terminal = run.step(plan, action, &mut draws).terminal;
            }
        }
    }
    let ended = runs.into_iter().zip(terminal);
    Ok(ended.map(|(run, terminal)| Ended { sum: run.sum, terminal }).collect())
}

/// Mean return and its standard error.
pub fn mean(episodes: &[Ended]) -> (f64, f64) {
    let count = episodes.len() as f64;
    let sums = || episodes.iter().map(|ended| ended.sum);
    let mean = sums().sum::<f64>() / count;
    let variance = sums().map(|sum| (sum - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    (mean, (variance / count).sqrt())
}
