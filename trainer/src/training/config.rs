//! What a training run is, as TOML. `docs/design/training.md` explains every key.

use std::path::{Path, PathBuf};

use policy::{agents::Manifest, features::Schema, rewards::Reward};
use serde::{Deserialize, Deserializer, de};

use super::worlds::Family;
use crate::{evaluate::contender::select, scenario::values::Span, sim::Choice};

/// A training run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What learns.
    pub learner: Kind,
    /// Another seed is another run.
    #[serde(default = "one")]
    pub seed: u64,
    /// The selection rule that goes by the weights.
    #[serde(default = "sed")]
    pub select: String,
    /// What the networks see.
    #[serde(default = "native")]
    pub schema: String,
    /// H, the width of the networks.
    #[serde(default = "hidden")]
    pub hidden: usize,
    /// The largest correction.
    #[serde(default = "delta_max")]
    pub delta_max: f32,
    /// The corrections that discrete heads choose between.
    #[serde(default)]
    pub levels: Vec<f32>,
    /// What is good.
    #[serde(default)]
    pub reward: Pay,
    /// What a mean change of one in the logarithm of the weights costs in a step.
    #[serde(default)]
    pub movement: f64,
    /// How often agents act.
    #[serde(default = "period")]
    pub period: Span,
    /// A reward that comes so much later counts 1/e: the discount is exp(−period / horizon), whatever the period is.
    #[serde(default = "horizon")]
    pub horizon: Span,
    /// How long an episode lasts.
    #[serde(default = "episode")]
    pub episode: Span,
    /// What acts, and is judged, is the average of the networks over so many updates; 1: the newest.
    #[serde(default = "one")]
    pub average: u64,
    /// Episodes at the beginning from which only the scale of the features is learned.
    #[serde(default = "scale")]
    pub scale: u64,
    /// Learning from a teacher, before learning from rewards.
    pub warm: Phase,
    /// Learning from what every choice would have cost, after the teacher and before rewards; without it there is no such stage.
    #[serde(default)]
    pub hindsight: Option<Phase>,
    /// Learning from rewards.
    pub learn: Phase,
    /// The sequences that are replayed.
    #[serde(default)]
    pub replay: Replayed,
    /// How what was learned is judged.
    pub judge: Judged,
    /// The worlds that it is learned in.
    #[serde(default)]
    pub worlds: Family,
}

/// The learners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Soft actor-critic, corrections from a continuum. Each agent by itself, with shared parameters.
    SacGru,
    /// The same with levels.
    SacGruDiscrete,
    /// Values of levels, mixed.
    Qmix,
    /// Values of levels, summed up.
    Vdn,
}

/// What is good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pay {
    /// By how much fewer flows are held than if the base had set the weights, for the work that comes in: by Little's law, by
    /// how much sooner they are answered.
    Held,
    /// The logarithm of that ratio.
    LogHeld,
    /// What each choice of a server costs all flows, less what the base's choice would cost in the same moment. Each balancer is
    /// paid for its own choices.
    #[default]
    Choices,
    /// What the balancers themselves can see: a reward of `policy::rewards`, averaged over them.
    Seen(Reward),
}

impl<'de> Deserialize<'de> for Pay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name.as_str() {
            "held" => Ok(Self::Held),
            "log-held" => Ok(Self::LogHeld),
            "choices" => Ok(Self::Choices),
            _ => Reward::parse(&name).map(Self::Seen).ok_or_else(|| {
                let seen = Reward::ALL.map(Reward::name).join(", ");
                de::Error::custom(format!(
                    "no reward is called `{name}`: there are held, log-held, choices, {seen}"
                ))
            }),
        }
    }
}

/// A phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// How many episodes.
    pub episodes: u64,
    /// Updates after each.
    pub updates: u64,
    /// The learning rate; it falls to a tenth of itself over the second half of the phase.
    pub rate: f64,
    /// The same of critics.
    #[serde(default = "critic_rate")]
    pub critic_rate: f64,
    /// Updates at the beginning in which critics learn and the actor does not.
    #[serde(default)]
    pub actor_delay: u64,
    /// The entropy that is aimed at: for each server, or of discrete heads as a share of the largest.
    #[serde(default)]
    pub entropy: Option<f64>,
    /// What entropy is worth at first; what it is worth later is learned.
    #[serde(default = "entropy_coef")]
    pub entropy_coef: f64,
    /// The share of levels that is chosen at random by value learners, at the beginning and at the end.
    #[serde(default = "epsilon")]
    pub epsilon: [f64; 2],
}

/// The sequences that are replayed.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replayed {
    /// In an update.
    pub batch: usize,
    /// Steps of one, those included that only warm the memory up.
    pub length: usize,
    /// Steps that only warm the memory up.
    pub burn_in: usize,
    /// They begin at multiples of it.
    pub stride: usize,
    /// Steps that are kept.
    pub capacity: usize,
}

impl Default for Replayed {
    fn default() -> Self {
        Self { batch: 32, length: 20, burn_in: 5, stride: 5, capacity: 40_000 }
    }
}

/// How what was learned is judged: against the base, on the same clients.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// After so many episodes.
    pub every: u64,
    /// Scenarios, looked for from the folder of the file.
    pub scenarios: Vec<PathBuf>,
    /// Flows of each run.
    pub flows: u64,
    /// Runs of each scenario.
    pub seeds: u64,
}

const fn one() -> u64 {
    1
}

fn sed() -> String {
    "sed".into()
}

fn native() -> String {
    Schema::Native.name().into()
}

const fn hidden() -> usize {
    32
}

const fn delta_max() -> f32 {
    Manifest::DELTA_MAX
}

const fn period() -> Span {
    Span(5e7)
}

const fn horizon() -> Span {
    Span(2e9)
}

const fn episode() -> Span {
    Span(1e10)
}

const fn scale() -> u64 {
    20
}

const fn critic_rate() -> f64 {
    1e-3
}

const fn entropy_coef() -> f64 {
    0.01
}

const fn epsilon() -> [f64; 2] {
    [0.2, 0.02]
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// It is not the TOML of a training run. Says where.
    #[error("{0}")]
    Syntax(#[from] Box<toml::de::Error>),
    /// A value makes no sense.
    #[error("`{key}` is {found}: it must be {must}")]
    Value {
        /// Where.
        key: &'static str,
        /// What it is.
        found: String,
        /// What it has to be.
        must: &'static str,
    },
}

fn check(
    key: &'static str,
    found: impl ToString,
    holds: bool,
    must: &'static str,
) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::Value { key, found: found.to_string(), must }) }
}

impl Config {
    /// Reads a file. Scenarios are looked for from its folder.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.into(), error })?;
        let mut config = Self::parse(&text)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for scenario in &mut config.judge.scenarios {
            *scenario = folder.join(&*scenario);
        }
        Ok(config)
    }

    /// A configuration from its TOML.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(Box::new)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        check("select", &self.select, select(&self.select).is_some(), "a selection rule, such as sed")?;
        let schema = Schema::parse(&self.schema);
        let is_open = schema.is_some_and(|schema| schema.rows().is_none());
        check("schema", &self.schema, is_open, "native, orig11 or orig6")?;
        check("hidden", self.hidden, (1..=1024).contains(&self.hidden), "1 to 1024")?;
        let is_correction = self.delta_max > 0.0 && self.delta_max <= 3.0;
        check("delta_max", self.delta_max, is_correction, "above 0 and at most 3")?;
        let is_discrete = self.learner != Kind::SacGru;
        let levels = format!("{:?}", self.levels);
        check(
            "levels",
            &levels,
            is_discrete != self.levels.is_empty(),
            "given for discrete heads, and for them only",
        )?;
        let rising = self.levels.windows(2).all(|pair| pair[0] < pair[1]);
        let within = self.levels.iter().all(|level| level.abs() <= self.delta_max);
        let zero = !is_discrete || self.levels.contains(&0.0);
        check("levels", &levels, rising && within && zero, "rising, within delta_max, 0 among them")?;
        check("period", self.period.0, self.period.0 >= 1e6, "at least 1ms")?;
        check("horizon", self.horizon.0, self.horizon.0 >= self.period.0, "at least the period")?;
        check("episode", self.episode.0, self.steps() >= 2 * self.replay.length, "two sequences or longer")?;
        let Replayed { batch, length, burn_in, stride, .. } = self.replay;
        check("replay.batch", batch, batch > 0, "above 0")?;
        check("replay.burn_in", burn_in, burn_in + 1 < length, "shorter than the sequence by 2")?;
        check("replay.stride", stride, stride > 0, "above 0")?;
        check("average", self.average, self.average > 0, "above 0")?;
        check("scale", self.scale, self.scale > 0, "above 0")?;
        check("judge.every", self.judge.every, self.judge.every > 0, "above 0")?;
        self.worlds.check().map_err(|(key, found, must)| ConfigError::Value { key, found, must })
    }

    /// Steps of an episode.
    pub fn steps(&self) -> usize {
        (self.episode.0 / self.period.0) as usize
    }

    /// What a reward one step later is worth.
    pub fn discount(&self) -> f64 {
        (-self.period.0 / self.horizon.0).exp()
    }

    /// Episodes, all in all.
    pub const fn episodes(&self) -> u64 {
        self.scale + self.warm.episodes + self.hindsight_episodes() + self.learn.episodes
    }

    /// Episodes of the third stage.
    pub const fn hindsight_episodes(&self) -> u64 {
        match &self.hindsight {
            Some(phase) => phase.episodes,
            None => 0,
        }
    }

    /// How servers are chosen.
    ///
    /// # Panics
    ///
    /// If it was not checked.
    pub fn choice(&self) -> Choice {
        Choice::Rule(select(&self.select).expect("checked"))
    }

    /// What is seen.
    ///
    /// # Panics
    ///
    /// If it was not checked.
    pub fn features(&self) -> Schema {
        Schema::parse(&self.schema).expect("checked")
    }

    /// The same, so short that it only shows that everything works: seconds.
    #[must_use]
    pub fn quick(mut self) -> Self {
        self.hidden = self.hidden.min(8);
        self.episode = Span(self.period.0 * 3.0 * self.replay.length as f64);
        self.scale = 2;
        for phase in [&mut self.warm, &mut self.learn].into_iter().chain(&mut self.hindsight) {
            phase.episodes = phase.episodes.min(3);
            phase.updates = phase.updates.min(2);
            phase.actor_delay = phase.actor_delay.min(1);
        }
        self.replay.batch = self.replay.batch.min(4);
        self.judge.every = 4;
        self.judge.flows = self.judge.flows.min(500);
        self.judge.seeds = 1;
        self.judge.scenarios.truncate(1);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"
        learner = "sac-gru"
        warm  = { episodes = 1, updates = 1, rate = 1e-3 }
        learn = { episodes = 1, updates = 1, rate = 1e-4 }
        judge = { every = 1, scenarios = [], flows = 100, seeds = 1 }
    "#;

    #[test]
    fn configurations_that_ship_are_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/train");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let config = Config::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            for scenario in &config.judge.scenarios {
                crate::scenario::Scenario::read(scenario).unwrap();
            }
            count += 1;
        }
        assert!(count > 0);
    }

    #[test]
    fn configuration_of_the_page_is_read_and_says_the_defaults() {
        let page = include_str!("../../../docs/design/training.md");
        let start = page.find("```toml").unwrap() + "```toml".len();
        let text = &page[start..start + page[start..].find("```").unwrap()];
        let written = Config::parse(&text.replace("\"sac-gru\" ", "\"qmix\" ")).unwrap();
        let least = Config::parse(LEAST).unwrap();
        assert_eq!(written.worlds, least.worlds);
        assert_eq!(written.replay, least.replay);
        assert_eq!(
            (
                written.period,
                written.horizon,
                written.episode,
                written.scale,
                written.hidden,
                written.delta_max
            ),
            (least.period, least.horizon, least.episode, least.scale, least.hidden, least.delta_max)
        );
    }

    #[test]
    fn mistakes_in_a_configuration_are_named() {
        let with = |text: &str| Config::parse(&format!("{text}\n{LEAST}")).unwrap_err().to_string();
        for (text, said) in [
            ("reward = \"joy\"", "no reward is called `joy`"),
            ("select = \"best\"", "`select` is best"),
            ("average = 0", "`average` is 0: it must be above 0"),
            ("hidden = 0", "`hidden` is 0: it must be 1 to 1024"),
            ("levels = [0.0, 0.1]", "`levels` is [0.0, 0.1]: it must be given for discrete heads"),
            ("delta_max = 4.0", "`delta_max` is 4"),
            ("episode = \"1s\"", "`episode` is"),
            ("replay = { burn_in = 30 }", "`replay.burn_in` is 30"),
            ("worlds = { load = [0.9, 0.1] }", "`worlds.load` is [0.9, 0.1]"),
            ("speed = 1", "unknown field `speed`"),
        ] {
            let error = with(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
