//! A training run: episode by episode, each a function of the ones before.

use policy::{
    agents::{Kind as AgentKind, Manifest, Model, ModelError},
    features::{LIMIT, Normaliser},
};

use super::{
    config::{Config, Kind, Pay, Phase},
    journal::Row,
    lesson::{Lesson, Terms},
    seat::{self, Manner},
    student::{Figures, Student, layout},
    worlds::numbered,
};
use crate::learners::{
    draws::{Draws, Use},
    export,
    hindsight::{self, Says},
    replay::{Batch, Cut, Replay},
    saved::{Saved, SavedError},
};

/// Agents of an episode that are learned from; a world may have more balancers.
const AGENTS: usize = 2;

/// What is replayed, by name: worlds with few servers, and worlds with many.
const REPLAYS: [&str; 2] = ["few", "many"];

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It learns the scale of the features.
    Scale,
    /// It learns from a teacher.
    Warm,
    /// It learns from what every choice would have cost.
    Hindsight,
    /// It learns from rewards.
    Learn,
}

impl Stage {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scale => "scale",
            Self::Warm => "warm",
            Self::Hindsight => "hindsight",
            Self::Learn => "learn",
        }
    }
}

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A network cannot be computed.
    #[error("cannot learn: {0}")]
    Learn(#[from] candle_core::Error),
    /// What was learned makes no model: it is not finite, say.
    #[error("what was learned makes no model: {0}")]
    Model(#[from] ModelError),
    /// The checkpoint cannot be read or written.
    #[error("the checkpoint {0}")]
    Saved(#[from] SavedError),
    /// The checkpoint's scale of features cannot be read.
    #[error("the checkpoint's scale of features: {0}")]
    Normaliser(#[from] serde_json::Error),
    /// The checkpoint is of another configuration.
    #[error("the checkpoint is of a run with another configuration")]
    Config,
}

/// A training run.
#[derive(Debug)]
pub struct Run {
    config: Config,
    revision: String,
    student: Student,
    /// Of worlds with few servers, and of those with many.
    replays: [Replay; 2],
    normaliser: Normaliser,
    draws: Draws,
    episode: u64,
    updates: u64,
}

impl Run {
    /// A run at its beginning. `revision` says which code it is.
    pub fn new(config: Config, revision: String) -> Result<Self, RunError> {
        let replays = replays(&config);
        let student = Student::new(&config, layout(&config, team(&config), config.worlds.servers[1]))?;
        // While the scale is learned, nothing is cut.
        let normaliser = Normaliser::identity(config.features()).with_clip(LIMIT);
        let draws = Draws::new(config.seed, Use::Replay);
        Ok(Self { config, revision, student, replays, normaliser, draws, episode: 0, updates: 0 })
    }

    /// Episodes that are over.
    pub const fn episode(&self) -> u64 {
        self.episode
    }

    /// What it is made of.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Whether there is nothing more to do.
    pub const fn is_over(&self) -> bool {
        self.episode >= self.config.episodes()
    }

    /// What it does next, and which episode of the stage that is.
    pub const fn stage(&self) -> (Stage, u64) {
        let Config { scale, warm, .. } = &self.config;
        let taught = *scale + warm.episodes;
        let looked_back = taught + self.config.hindsight_episodes();
        match self.episode {
            episode if episode < *scale => (Stage::Scale, episode),
            episode if episode < taught => (Stage::Warm, episode - *scale),
            episode if episode < looked_back => (Stage::Hindsight, episode - taught),
            episode => (Stage::Learn, episode - looked_back),
        }
    }

    /// The model that acts now.
    pub fn model(&self) -> Result<Model, ModelError> {
        let config = &self.config;
        let (kind, schema) = (kind(config.learner), config.features());
        let manifest = Manifest {
            format: Manifest::FORMAT,
            kind,
            schema: schema.into(),
            hidden: config.hidden,
            levels: config.levels.clone(),
            delta_max: config.delta_max,
            normaliser: self.normaliser.clone(),
            seed: config.seed,
            revision: self.revision.clone(),
        };
        export::model(self.student.parameters(), manifest, schema)
    }

    /// The next episode, and the updates after it.
    pub fn step(&mut self) -> Result<Row, RunError> {
        let (stage, within) = self.stage();
        let lesson = self.hold(stage, within)?;
        let figures = self.learn(&lesson, stage, within)?;
        let reward = lesson.mean_reward();
        let row = Row {
            episode: self.episode,
            phase: stage.name(),
            updates: self.updates,
            reward,
            figures,
            score: None,
        };
        self.episode += 1;
        Ok(row)
    }

    /// Everything that later episodes depend on, but for the scale of the features.
    pub fn save(&self) -> Result<Saved, RunError> {
        let mut saved = Saved::default();
        saved.put("student", self.student.save()?);
        for (name, replay) in REPLAYS.iter().zip(&self.replays) {
            saved.put(name, replay.save());
        }
        self.draws.save("draws", &mut saved);
        saved.put_words("progress", vec![self.episode, self.updates]);
        Ok(saved)
    }

    /// The scale of the features, as JSON.
    pub fn normaliser(&self) -> Result<String, RunError> {
        Ok(serde_json::to_string(&self.normaliser)?)
    }

    /// Takes over what [`Run::save`] and [`Run::normaliser`] gave of a run with this configuration. On an error it is not to be
    /// used any more.
    pub fn restore(&mut self, saved: &Saved, normaliser: &str) -> Result<(), RunError> {
        self.student.restore(&saved.part("student"))?;
        for (name, replay) in REPLAYS.iter().zip(&mut self.replays) {
            replay.restore(&saved.part(name))?;
        }
        self.draws = Draws::restored("draws", saved)?;
        self.normaliser = serde_json::from_str(normaliser)?;
        let progress = saved.words("progress")?;
        let wrong =
            || SavedError::Shape { name: "progress".into(), found: vec![progress.len()], expected: vec![2] };
        let &[episode, updates] = progress else { return Err(wrong().into()) };
        (self.episode, self.updates) = (episode, updates);
        Ok(())
    }

    fn hold(&self, stage: Stage, within: u64) -> Result<Lesson, RunError> {
        let config = &self.config;
        let terms = Terms {
            choice: config.choice(),
            period: config.period.nanos(),
            steps: config.steps(),
            pay: config.reward,
            compares: stage == Stage::Hindsight || config.reward == Pay::Choices,
            movement: config.movement,
        };
        let [first, last] = config.learn.epsilon;
        let manner = match stage {
            Stage::Scale | Stage::Warm => Manner::Wander,
            Stage::Hindsight => Manner::Greedy(0.0),
            Stage::Learn => {
                let done = within as f64 / config.learn.episodes.max(1) as f64;
                self.student.manner(done.mul_add(last - first, first))
            }
        };
        let seed = numbered(config.seed, self.episode);
        let world = config.worlds.draw(seed, config.episode.nanos());
        Ok(Lesson::hold(&world, &self.model()?, manner, &terms, seed)?)
    }

    fn learn(&mut self, lesson: &Lesson, stage: Stage, within: u64) -> Result<Figures, candle_core::Error> {
        if stage == Stage::Scale {
            for look in lesson.looks.iter().flatten() {
                self.normaliser.update(&look.features);
            }
            if within + 1 == self.config.scale {
                self.normaliser = self.normaliser.clone().with_clip(Normaliser::CLIP);
            }
            return Ok(Figures::new());
        }
        if within == 0 {
            self.replays = replays(&self.config);
            if stage == Stage::Learn {
                self.student.begin()?;
            }
        }
        let servers = lesson.looks[0][0].features.active.len();
        let replay = &mut self.replays[usize::from(servers > self.config.worlds.servers[1])];
        let (layout, most) =
            (replay.layout(), if servers > self.config.worlds.servers[1] { 1 } else { AGENTS });
        match stage {
            Stage::Warm => lesson
                .taught(layout, most, |delta| teach(&self.config, delta))
                .for_each(|episode| replay.push(episode)),
            Stage::Scale | Stage::Hindsight | Stage::Learn => {
                lesson.episodes(layout, most).for_each(|episode| replay.push(episode));
            }
        }
        let phase = match (stage, self.config.hindsight) {
            (Stage::Scale | Stage::Warm, _) => self.config.warm,
            (Stage::Hindsight, Some(hindsight)) => hindsight,
            (Stage::Hindsight | Stage::Learn, _) => self.config.learn,
        };
        let share = share(&phase, within);
        let mut sums = Figures::new();
        for _ in 0..phase.updates {
            let batch = self.sample()?;
            let figures = match stage {
                Stage::Warm => self.student.imitate(&batch, phase.rate * share)?,
                Stage::Hindsight => self.student.look_back(&batch, &self.hindsight(), phase.rate * share)?,
                Stage::Scale | Stage::Learn => self.student.update(&batch, share)?,
            };
            add(&mut sums, figures);
            self.updates += 1;
        }
        sums.iter_mut().for_each(|(_, sum)| *sum /= phase.updates as f64);
        Ok(sums)
    }

    fn hindsight(&self) -> hindsight::Terms {
        let Config { levels, delta_max, movement, .. } = &self.config;
        let says = if levels.is_empty() {
            Says::Mean { bound: f64::from(*delta_max) }
        } else {
            Says::Levels(levels.clone())
        };
        hindsight::Terms { says, movement: *movement }
    }

    /// A batch of one kind of worlds, each step that is kept as likely as any other to be of the kind.
    fn sample(&mut self) -> Result<Batch, candle_core::Error> {
        let steps = self.replays.iter().map(Replay::steps).sum();
        let few = self.draws.below(steps) < self.replays[0].steps();
        self.replays[usize::from(!few)].sample(self.config.replay.batch, &mut self.draws)
    }
}

fn add(sums: &mut Figures, figures: Figures) {
    if sums.is_empty() {
        *sums = figures;
        return;
    }
    for ((_, sum), (_, figure)) in sums.iter_mut().zip(figures) {
        *sum += figure;
    }
}

/// Learning rates fall to a tenth over the second half of a phase.
fn share(phase: &Phase, within: u64) -> f64 {
    let left = 1.0 - within as f64 / phase.episodes.max(1) as f64;
    (2.0 * left).clamp(0.1, 1.0)
}

/// The action for a correction.
fn teach(config: &Config, delta: f64) -> f32 {
    let bound = config.delta_max;
    seat::action(&config.levels, bound, (delta as f32).clamp(-bound, bound))
}

const fn kind(learner: Kind) -> AgentKind {
    match learner {
        Kind::SacGru => AgentKind::SacGru,
        Kind::SacGruDiscrete => AgentKind::SacGruDiscrete,
        // What a sum of values has learned acts as what a mixture of them has learned.
        Kind::Qmix | Kind::Vdn => AgentKind::Qmix,
    }
}

/// Agents that learn together: those whose values are mixed do, actor-critics learn each by itself.
const fn team(config: &Config) -> usize {
    match config.learner {
        Kind::SacGru | Kind::SacGruDiscrete => 1,
        Kind::Qmix | Kind::Vdn => AGENTS,
    }
}

/// Room for both kinds of worlds. Where there are many servers, one agent has as many rows as two have elsewhere.
fn replays(config: &Config) -> [Replay; 2] {
    let cut = Cut { length: config.replay.length, stride: config.replay.stride };
    let worlds = &config.worlds;
    let capacity = config.replay.capacity;
    [
        Replay::new(layout(config, team(config), worlds.servers[1]), cut, capacity),
        Replay::new(layout(config, 1, worlds.many_servers), cut, capacity / 4),
    ]
}

#[cfg(test)]
mod tests {
    use super::{super::checkpoint, *};

    fn config(learner: &str, more: &str) -> Config {
        let text = format!(
            r#"
            learner = "{learner}"
            {more}
            [warm]
            episodes = 3
            updates  = 2
            rate     = 1e-3
            [learn]
            episodes = 3
            updates  = 2
            rate     = 1e-4
            [judge]
            every = 1
            flows = 500
            seeds = 1
            scenarios = []
            "#
        );
        Config::parse(&text).unwrap().quick()
    }

    fn finish(run: &mut Run) -> Vec<Row> {
        let mut rows = Vec::new();
        while !run.is_over() {
            rows.push(run.step().unwrap());
        }
        rows
    }

    #[test]
    fn interrupted_run_ends_as_if_it_had_not_been() {
        let levels = "levels = [-0.5, 0.0, 0.5]";
        let hindsight = "hindsight = { episodes = 3, updates = 2, rate = 1e-3 }\naverage = 5";
        let both = format!("{levels}\n{hindsight}");
        for (learner, more) in
            [("sac-gru", hindsight), ("sac-gru-discrete", levels), ("qmix", &both), ("vdn", levels)]
        {
            let begin = || Run::new(config(learner, more), "test".into()).unwrap();
            let mut whole = begin();
            let rows = finish(&mut whole);
            for interrupted_after in [1, 4, 6, rows.len() - 2] {
                let folder = tempfile::tempdir().unwrap();
                let mut first = begin();
                for _ in 0..interrupted_after {
                    first.step().unwrap();
                }
                checkpoint::save(folder.path(), &first).unwrap();
                let mut second = begin();
                checkpoint::restore(folder.path(), &mut second).unwrap();
                assert_eq!(
                    finish(&mut second),
                    rows[interrupted_after..],
                    "{learner} after {interrupted_after}"
                );
                assert_eq!(
                    second.model().unwrap().to_bytes().unwrap(),
                    whole.model().unwrap().to_bytes().unwrap()
                );
            }
        }
    }

    #[test]
    fn run_is_not_gone_on_with_as_another() {
        let folder = tempfile::tempdir().unwrap();
        let run = Run::new(config("sac-gru", ""), "test".into()).unwrap();
        checkpoint::save(folder.path(), &run).unwrap();
        let mut other = config("sac-gru", "");
        other.seed = 2;
        let mut other = Run::new(other, "test".into()).unwrap();
        assert!(matches!(checkpoint::restore(folder.path(), &mut other), Err(RunError::Config)));
    }
}
