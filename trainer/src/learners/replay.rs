//! Episodes that are kept, and sequences of them that are replayed.

use std::collections::VecDeque;

use candle_core::{Device, Tensor};
use policy::agents::{Shape, net::Input};

use super::{
    draws::Draws,
    hindsight::TOLD,
    saved::{self, Saved, SavedError},
};

/// How large what is seen is. All agents see the same number of servers.
///
/// How many agents and servers there are may change from batch to batch: no parameter depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// A.
    pub agents: usize,
    /// S, for each agent.
    pub servers: usize,
    /// F, for each server.
    pub server_features: usize,
    /// C, for each agent.
    pub context_features: usize,
    /// Z, of the whole.
    pub state: usize,
    /// H, remembered for each server.
    pub hidden: usize,
}

impl Layout {
    /// The sizes of a network that sees this and says `outputs` numbers for each server.
    pub const fn shape(&self, outputs: usize) -> Shape {
        Shape {
            server_features: self.server_features,
            context_features: self.context_features,
            hidden: self.hidden,
            outputs,
        }
    }
}

/// What is seen at one moment, row by row. An agent without an active server is padding: it counts for nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moment {
    /// `[A, S, F]`.
    pub servers: Vec<f32>,
    /// `[A, C]`.
    pub context: Vec<f32>,
    /// 1 or 0, `[A, S]`.
    pub active: Vec<f32>,
    /// Known in training only, `[Z]`.
    pub state: Vec<f32>,
    /// What the agents remembered before they saw this, `[A, S, H]`.
    pub hidden: Vec<f32>,
}

/// What was done at a moment, and what came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// A correction, or the number of a level, `[A, S]`.
    pub action: Vec<f32>,
    /// The reward.
    pub reward: f32,
    /// Whether nothing can come after. The end of the time that was allowed is not such an end.
    pub terminal: bool,
    /// What hindsight says, `[A, S, 2]`: see [`hindsight`](super::hindsight). Empty: nothing.
    pub told: Vec<f32>,
}

/// A run: one moment more than steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Episode {
    /// What was seen; the last one is what the last step led to.
    pub moments: Vec<Moment>,
    /// What was done.
    pub taken: Vec<Taken>,
}

/// Which sequences are replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Steps of a sequence, those that only warm the memory up included.
    pub length: usize,
    /// Sequences start at multiples of it: memory is kept there, and dropped elsewhere.
    pub stride: usize,
}

/// Sequences side by side. N = B·A rows: agent by agent within a sequence.
#[derive(Clone, Debug)]
pub struct Batch {
    /// A, S and the sizes.
    pub layout: Layout,
    /// What was seen, moment by moment, one more than steps: `[(T + 1)·N, S, F]`, `[(T + 1)·N, C]`, `[(T + 1)·N, S]`.
    pub inputs: Input,
    /// What was known of the whole, `[T + 1, B, Z]`.
    pub state: Tensor,
    /// What was done, `[T, N, S]`.
    pub actions: Tensor,
    /// What hindsight says, `[T, N, S, 2]`; zeros: nothing.
    pub told: Tensor,
    /// `[T, B]`.
    pub rewards: Tensor,
    /// 1 where nothing can come after, `[T, B]`.
    pub terminal: Tensor,
    /// 1 for steps that there were, 0 for those after an episode's end, `[T, B]`.
    pub mask: Tensor,
    /// What was remembered before the first moment, `[N, S, H]`.
    pub hidden: Tensor,
}

/// The episodes that are kept: whole ones, the oldest make room.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    layout: Layout,
    cut: Cut,
    capacity: usize,
    steps: usize,
    episodes: VecDeque<Episode>,
}

impl Batch {
    /// T, how many steps sequences have.
    pub fn steps(&self) -> usize {
        self.mask.dims()[0]
    }

    /// N, how many rows a moment has.
    pub fn rows(&self) -> usize {
        self.hidden.dims()[0]
    }
}

impl Replay {
    /// Room for `capacity` steps.
    pub const fn new(layout: Layout, cut: Cut, capacity: usize) -> Self {
        Self { layout, cut, capacity, steps: 0, episodes: VecDeque::new() }
    }

    /// How large what is kept is.
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// Steps that are kept.
    pub const fn steps(&self) -> usize {
        self.steps
    }

    /// Keeps an episode.
    pub fn push(&mut self, mut episode: Episode) {
        for (index, moment) in episode.moments.iter_mut().enumerate() {
            if !index.is_multiple_of(self.cut.stride) {
                moment.hidden = Vec::new();
            }
        }
        self.steps += episode.taken.len();
        self.episodes.push_back(episode);
        while self.steps > self.capacity && self.episodes.len() > 1 {
            self.steps -= self.episodes.pop_front().map_or(0, |oldest| oldest.taken.len());
        }
    }

    /// All episodes, with the sizes that they have.
    pub fn save(&self) -> Saved {
        let mut saved = Saved::default();
        let flat = |saved: &mut Saved, name: &str, values: Vec<f32>| {
            saved.put_numbers(name, &[values.len()], values);
        };
        let mut seen = |name: &str, part: fn(&Moment) -> &[f32]| {
            let moments = self.episodes.iter().flat_map(|episode| &episode.moments);
            flat(&mut saved, name, moments.flat_map(|moment| part(moment).iter().copied()).collect());
        };
        seen("servers", |moment| &moment.servers);
        seen("context", |moment| &moment.context);
        seen("active", |moment| &moment.active);
        seen("state", |moment| &moment.state);
        seen("hidden", |moment| &moment.hidden);
        let taken = || self.episodes.iter().flat_map(|episode| &episode.taken);
        flat(&mut saved, "action", taken().flat_map(|taken| taken.action.iter().copied()).collect());
        flat(&mut saved, "told", taken().flat_map(|taken| taken.told.iter().copied()).collect());
        flat(&mut saved, "reward", taken().map(|taken| taken.reward).collect());
        flat(&mut saved, "terminal", taken().map(|taken| f32::from(u8::from(taken.terminal))).collect());
        let lengths = self.episodes.iter().map(|episode| episode.taken.len() as u64);
        saved.put_words("lengths", lengths.collect());
        saved.put_words("sizes", self.sizes());
        saved
    }

    /// Takes over what [`Replay::save`] of one of the same sizes gave. If anything does not fit, nothing changes.
    pub fn restore(&mut self, saved: &Saved) -> Result<(), SavedError> {
        let (found, expected) = (saved.words("sizes")?, self.sizes());
        if found != expected {
            return Err(SavedError::Other { name: "sizes".to_owned(), found: found.to_vec(), expected });
        }
        let steps = saved.numbers("reward")?.1.len();
        let lengths: Vec<usize> = saved.words("lengths")?.iter().map(|&length| length as usize).collect();
        let sum = lengths.iter().try_fold(0_usize, |sum, &length| sum.checked_add(length));
        if sum != Some(steps) {
            return Err(SavedError::Other {
                name: "lengths".to_owned(),
                found: saved.words("lengths")?.to_vec(),
                expected: vec![steps as u64],
            });
        }
        let Layout { agents, servers, server_features, context_features, state, hidden } = self.layout;
        let moments = steps + lengths.len();
        let kept = lengths.iter().map(|length| (length + 1).div_ceil(self.cut.stride)).sum::<usize>();
        let rows = agents * servers;
        let from = |name, count: usize, each: usize| Flat::new(saved, name, count * each);
        let mut seen = [
            from("servers", moments, rows * server_features)?,
            from("context", moments, agents * context_features)?,
            from("active", moments, rows)?,
            from("state", moments, state)?,
            from("hidden", kept, rows * hidden)?,
        ];
        let tells = if saved.numbers("told")?.1.is_empty() { 0 } else { rows * TOLD };
        let mut done = [
            from("told", steps, tells)?,
            from("action", steps, rows)?,
            from("reward", steps, 1)?,
            from("terminal", steps, 1)?,
        ];
        let mut moment = |index: usize| Moment {
            servers: seen[0].take(rows * server_features),
            context: seen[1].take(agents * context_features),
            active: seen[2].take(rows),
            state: seen[3].take(state),
            hidden: seen[4].take(if index.is_multiple_of(self.cut.stride) { rows * hidden } else { 0 }),
        };
        let mut taken = |_| Taken {
            told: done[0].take(tells),
            action: done[1].take(rows),
            reward: done[2].take(1)[0],
            terminal: done[3].take(1)[0] > 0.5,
        };
        let episodes = lengths.iter().map(|&length| Episode {
            moments: (0..=length).map(&mut moment).collect(),
            taken: (0..length).map(&mut taken).collect(),
        });
        self.episodes = episodes.collect();
        self.steps = steps;
        Ok(())
    }

    fn sizes(&self) -> Vec<u64> {
        let Layout { agents, servers, server_features, context_features, state, hidden } = self.layout;
        let layout = [agents, servers, server_features, context_features, state, hidden];
        let own = [self.cut.length, self.cut.stride, self.capacity];
        layout.into_iter().chain(own).map(|size| size as u64).collect()
    }

    /// Draws `count` sequences, each step that is kept being as likely as any other to lie in the stride a sequence begins with.
    ///
    /// There has to be a step. Sequences never cross an episode's end; what is missing is masked.
    pub fn sample(&self, count: usize, draws: &mut Draws) -> candle_core::Result<Batch> {
        let starts: Vec<_> = (0..count).map(|_| self.locate(draws.below(self.steps))).collect();
        self.batch(&starts)
    }

    fn locate(&self, mut step: usize) -> (&Episode, usize) {
        for episode in &self.episodes {
            if step < episode.taken.len() {
                return (episode, step / self.cut.stride * self.cut.stride);
            }
            step -= episode.taken.len();
        }
        unreachable!("`steps` is the sum of the episodes' lengths")
    }

    fn batch(&self, starts: &[(&Episode, usize)]) -> candle_core::Result<Batch> {
        let Layout { agents, servers, server_features, context_features, state, hidden } = self.layout;
        let (length, count) = (self.cut.length, starts.len());
        let rows = count * agents;
        let moments = |time: usize| {
            starts
                .iter()
                .map(move |(episode, start)| &episode.moments[(start + time).min(episode.taken.len())])
        };
        let flat = |time: usize, part: fn(&Moment) -> &[f32]| -> Vec<f32> {
            moments(time).flat_map(|moment| part(moment).iter().copied()).collect()
        };
        let tensor = |values: Vec<f32>, shape: &[usize]| Tensor::from_vec(values, shape, &Device::Cpu);
        let all = |part: fn(&Moment) -> &[f32]| {
            (0..=length).map(|time| flat(time, part)).collect::<Vec<_>>().concat()
        };
        let seen = (length + 1) * rows;
        let inputs = Input {
            servers: tensor(all(|moment| &moment.servers), &[seen, servers, server_features])?,
            context: tensor(all(|moment| &moment.context), &[seen, context_features])?,
            active: tensor(all(|moment| &moment.active), &[seen, servers])?,
        };
        let taken = |time: usize| starts.iter().map(move |(episode, start)| episode.taken.get(start + time));
        let steps = |part: fn(&Taken) -> f32| -> candle_core::Result<Tensor> {
            let values = (0..length).flat_map(|time| taken(time).map(|taken| taken.map_or(0.0, part)));
            tensor(values.collect(), &[length, count])
        };
        let nothing = vec![0.0; agents * servers * TOLD];
        let actions = (0..length).flat_map(taken);
        let actions = actions
            .flat_map(|taken| taken.map_or(&nothing[..rows / count * servers], |taken| &taken.action))
            .copied();
        let told = (0..length).flat_map(taken).flat_map(|taken| {
            taken.map(|taken| &taken.told).filter(|told| !told.is_empty()).unwrap_or(&nothing)
        });
        Ok(Batch {
            layout: self.layout,
            inputs,
            state: tensor(all(|moment| &moment.state), &[length + 1, count, state])?,
            actions: tensor(actions.collect(), &[length, rows, servers])?,
            told: tensor(told.copied().collect(), &[length, rows, servers, TOLD])?,
            rewards: steps(|taken| taken.reward)?,
            terminal: steps(|taken| f32::from(u8::from(taken.terminal)))?,
            mask: steps(|_| 1.0)?,
            hidden: tensor(flat(0, |moment| &moment.hidden), &[rows, servers, hidden])?,
        })
    }
}

/// The numbers of an entry, from which as many are taken as belong together.
struct Flat<'a>(&'a [f32]);

impl<'a> Flat<'a> {
    fn new(saved: &'a Saved, name: &str, count: usize) -> Result<Self, SavedError> {
        let (found, values) = saved.numbers(name)?;
        if found != [count] {
            return Err(saved::shape(name, found.to_vec(), vec![count]));
        }
        Ok(Self(values))
    }

    fn take(&mut self, count: usize) -> Vec<f32> {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::draws::Use, *};

    const LAYOUT: Layout =
        Layout { agents: 2, servers: 1, server_features: 1, context_features: 1, state: 1, hidden: 1 };

    fn episode(first: usize, steps: usize) -> Episode {
        let number = |index: usize| (first + index) as f32;
        let moment = |index| Moment {
            servers: vec![number(index), -number(index)],
            context: vec![0.5; 2],
            active: vec![1.0; 2],
            state: vec![number(index)],
            hidden: vec![number(index); 2],
        };
        let taken = |index| Taken {
            action: vec![number(index); 2],
            reward: number(index),
            terminal: index + 1 == steps,
            told: vec![number(index); 2 * TOLD],
        };
        Episode { moments: (0..=steps).map(moment).collect(), taken: (0..steps).map(taken).collect() }
    }

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn sequences_begin_where_memory_is_kept_and_end_with_the_episode() {
        let mut replay = Replay::new(LAYOUT, Cut { length: 4, stride: 2 }, 100);
        replay.push(episode(10, 5));
        let mut draws = Draws::new(1, Use::Replay);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let batch = replay.sample(1, &mut draws).unwrap();
            let hidden = numbers(&batch.hidden);
            assert_eq!(hidden, numbers(&batch.state)[..1].repeat(2), "memory and moment are of one time");
            let start = hidden[0] as usize - 10;
            seen.insert(start);
            let steps = (5 - start).min(4);
            assert_eq!(numbers(&batch.mask), [vec![1.0; steps], vec![0.0; 4 - steps]].concat());
            let rewards: Vec<f32> =
                (0..4).map(|time| if time < steps { hidden[0] + time as f32 } else { 0.0 }).collect();
            assert_eq!(numbers(&batch.rewards), rewards);
            let terminal: Vec<f32> = (0..4).map(|time| f32::from(u8::from(start + time == 4))).collect();
            assert_eq!(numbers(&batch.terminal), terminal);
            let last = numbers(&batch.inputs.moments(2, 4, 1).unwrap().servers);
            assert_eq!(last, [(10 + (start + 4).min(5)) as f32, -((10 + (start + 4).min(5)) as f32)]);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 2, 4]);
    }

    #[test]
    fn replay_goes_on_as_it_was() {
        let cut = Cut { length: 4, stride: 2 };
        let mut replay = Replay::new(LAYOUT, cut, 12);
        [(10, 5), (30, 4), (50, 1)].into_iter().for_each(|(first, steps)| replay.push(episode(first, steps)));
        let saved = Saved::from_bytes(&replay.save().to_bytes().unwrap()).unwrap();
        let mut restored = Replay::new(LAYOUT, cut, 12);
        restored.push(episode(90, 3));
        restored.restore(&saved).unwrap();
        for replay in [&mut replay, &mut restored] {
            replay.push(episode(70, 3));
        }
        assert_eq!(restored, replay);
    }

    #[test]
    fn episodes_that_do_not_fit_are_refused_by_name() {
        let cut = Cut { length: 4, stride: 2 };
        let mut replay = Replay::new(LAYOUT, cut, 12);
        replay.push(episode(10, 5));
        let before = replay.clone();
        let mut refused = |change: fn(&mut Saved)| {
            let mut saved = replay.save();
            change(&mut saved);
            let message = replay.restore(&saved).unwrap_err().to_string();
            assert_eq!(replay, before);
            message
        };
        assert_eq!(
            refused(|saved| saved.put_numbers("action", &[2], vec![0.0; 2])),
            "has an entry `action` of shape [2]; it has to be [10]"
        );
        assert_eq!(
            refused(|saved| saved.put_words("lengths", vec![u64::MAX, 6])),
            "has [18446744073709551615, 6] in its entry `lengths`; here it is [5]"
        );
        assert_eq!(
            refused(|saved| saved.put_words("sizes", vec![1])),
            "has [1] in its entry `sizes`; here it is [2, 1, 1, 1, 1, 1, 4, 2, 12]"
        );
    }

    #[test]
    fn oldest_episodes_make_room() {
        let mut replay = Replay::new(LAYOUT, Cut { length: 2, stride: 1 }, 10);
        for first in 0..5 {
            replay.push(episode(first * 100, 4));
        }
        assert_eq!(replay.steps(), 8);
        let batch = replay.sample(64, &mut Draws::new(1, Use::Replay)).unwrap();
        assert!(numbers(&batch.hidden).iter().all(|&number| number >= 300.0));
    }
}
