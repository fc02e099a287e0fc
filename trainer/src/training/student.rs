//! What learns, whatever it is: one face for the learners.

use candle_core::Result;
use policy::agents::net::Net;

use super::{
    config::{Config, Kind, Phase},
    lesson::STATE,
    seat::Manner,
};
use crate::learners::{
    adam::{self, Adam},
    hindsight,
    imitation::{self, Head},
    params::Params,
    qmix,
    replay::{Batch, Layout},
    sac, sac_discrete,
    saved::{Saved, SavedError},
    soft,
};

/// What an update was like, by names of `journal::FIGURES`.
pub type Figures = Vec<(&'static str, f64)>;

/// A learner.
#[derive(Debug)]
pub struct Student {
    learner: Learner,
    /// Steps towards the teacher.
    imitation: Adam,
    burn_in: usize,
    /// What acts: the newest parameters, or their average over so many updates.
    acting: Params,
    average: u64,
}

#[derive(Debug)]
enum Learner {
    Continuous(Box<sac::Learner>),
    Levels(Box<sac_discrete::Learner>),
    Values(Box<qmix::Learner>),
}

impl Learner {
    /// The network that acts, with gradients, and its parameters.
    fn actor(&self) -> (&Net, &Params) {
        match self {
            Self::Continuous(learner) => (learner.actor(), learner.params()),
            Self::Levels(learner) => (learner.actor(), learner.params()),
            Self::Values(learner) => (learner.actor(), learner.params()),
        }
    }

    fn save(&self) -> Result<Saved> {
        match self {
            Self::Continuous(learner) => learner.save(),
            Self::Levels(learner) => learner.save(),
            Self::Values(learner) => learner.save(),
        }
    }

    fn restore(&mut self, saved: &Saved) -> std::result::Result<(), SavedError> {
        match self {
            Self::Continuous(learner) => learner.restore(saved),
            Self::Levels(learner) => learner.restore(saved),
            Self::Values(learner) => learner.restore(saved),
        }
    }
}

/// The entropy of levels that is aimed at, as a share of the largest, unless a configuration says otherwise.
const DISORDER: f64 = 0.3;
/// What imitation has made of values is shrunk so far: which level is best stays, and no reward has ever been as large.
const VALUES_AFTER_IMITATION: f64 = 0.05;

impl Student {
    /// One that knows nothing.
    pub fn new(config: &Config, layout: Layout) -> Result<Self> {
        let Phase { rate, critic_rate, .. } = config.learn;
        let (discount, burn_in, seed) = (config.discount(), config.replay.burn_in, config.seed);
        let levels = config.levels.len();
        let adam = |rate| adam::Settings { rate, ..adam::Settings::default() };
        let soft = |settings: soft::Settings| soft::Settings {
            discount,
            burn_in,
            actor_delay: config.learn.actor_delay,
            entropy_coef: config.learn.entropy_coef,
            actor: adam(rate),
            critic: adam(critic_rate),
            ..settings
        };
        let learner = match config.learner {
            Kind::SacGru => {
                let settings = soft(soft::Settings::default());
                let target_entropy = config.learn.entropy.unwrap_or(settings.target_entropy);
                let settings = soft::Settings { target_entropy, ..settings };
                Learner::Continuous(Box::new(sac::Learner::new(layout, settings, seed)?))
            }
            Kind::SacGruDiscrete => {
                let settings =
                    soft(soft::Settings::discrete(levels, config.learn.entropy.unwrap_or(DISORDER)));
                Learner::Levels(Box::new(sac_discrete::Learner::new(layout, levels, settings, seed)?))
            }
            Kind::Qmix | Kind::Vdn => {
                let settings =
                    qmix::Settings { discount, burn_in, adam: adam(rate), ..qmix::Settings::default() };
                let embed = settings.embed.filter(|_| config.learner == Kind::Qmix);
                let settings = qmix::Settings { embed, ..settings };
                Learner::Values(Box::new(qmix::Learner::new(layout, levels, settings, seed)?))
            }
        };
        let params = learner.actor().1;
        // Shared, they follow by themselves.
        let acting = if config.average > 1 { params.copy()? } else { params.clone() };
        let imitation = Adam::new(adam(config.warm.rate));
        Ok(Self { learner, imitation, burn_in, acting, average: config.average })
    }

    /// The parameters of the network that acts, by the names of a model.
    pub const fn parameters(&self) -> &Params {
        &self.acting
    }

    /// Moves what acts towards what has been learned. Single networks differ by more than what there is to gain, so their mean
    /// is better than the luckiest of them. Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992.
    fn follow(&self) -> Result<()> {
        if self.average > 1 {
            self.acting.approach(self.learner.actor().1, 1.0 / self.average as f64)
        } else {
            Ok(())
        }
    }

    /// Everything that later updates depend on.
    pub fn save(&self) -> Result<Saved> {
        let mut saved = Saved::default();
        saved.put("imitation", self.imitation.save(self.learner.actor().1));
        saved.put("learner", self.learner.save()?);
        saved.put("acting", self.acting.save()?);
        Ok(saved)
    }

    /// Takes over what [`Student::save`] gave. If anything does not fit, nothing changes.
    pub fn restore(&mut self, saved: &Saved) -> std::result::Result<(), SavedError> {
        saved.check(&self.save()?)?;
        self.learner.restore(&saved.part("learner"))?;
        let mut imitation = self.imitation.clone();
        imitation.restore(self.learner.actor().1, &saved.part("imitation"))?;
        self.acting.restore(&saved.part("acting"))?;
        self.imitation = imitation;
        Ok(())
    }

    /// How it explores, a value learner with so many levels at random.
    pub const fn manner(&self, epsilon: f64) -> Manner {
        match self.learner {
            Learner::Values(_) => Manner::Greedy(epsilon),
            Learner::Continuous(_) | Learner::Levels(_) => Manner::Draw,
        }
    }

    /// A step towards what a teacher did.
    pub fn imitate(&mut self, batch: &Batch, rate: f64) -> Result<Figures> {
        self.imitation.set_rate(rate);
        let head = if matches!(self.learner, Learner::Continuous(_)) { Head::Squashed } else { Head::Levels };
        let (net, params) = self.learner.actor();
        let loss = imitation::loss(net, batch, head, self.burn_in)?;
        let norm = self.imitation.step(params, &loss.backward()?)?;
        self.follow()?;
        Ok(vec![("imitation_loss", f64::from(loss.to_scalar::<f32>()?)), ("gradient_norm", norm)])
    }

    /// A step towards corrections that would have cost less.
    pub fn look_back(&mut self, batch: &Batch, terms: &hindsight::Terms, rate: f64) -> Result<Figures> {
        self.imitation.set_rate(rate);
        let (net, params) = self.learner.actor();
        let loss = hindsight::loss(net, batch, terms, self.burn_in)?;
        let norm = self.imitation.step(params, &loss.backward()?)?;
        self.follow()?;
        Ok(vec![("regret", f64::from(loss.to_scalar::<f32>()?)), ("gradient_norm", norm)])
    }

    /// The teacher has gone: from now on it learns from rewards.
    pub fn begin(&mut self) -> Result<()> {
        if let Learner::Values(learner) = &mut self.learner {
            learner.shrink_values(VALUES_AFTER_IMITATION)?;
            self.acting.approach(self.learner.actor().1, 1.0)?;
        }
        Ok(())
    }

    /// An update, with learning rates that are this share of the configured ones.
    pub fn update(&mut self, batch: &Batch, share: f64) -> Result<Figures> {
        let figures = match &mut self.learner {
            Learner::Continuous(learner) => {
                learner.scale_rates(share);
                figures(learner.update(batch)?)
            }
            Learner::Levels(learner) => {
                learner.scale_rates(share);
                figures(learner.update(batch)?)
            }
            Learner::Values(learner) => {
                learner.scale_rates(share);
                let qmix::Update { loss, norm, value } = learner.update(batch)?;
                vec![("td_loss", loss), ("gradient_norm", norm), ("q_values", value)]
            }
        };
        self.follow()?;
        Ok(figures)
    }
}

fn figures(update: soft::Update) -> Figures {
    let soft::Update { critic_loss, actor_loss, entropy_coef, entropy, value } = update;
    vec![
        ("qf_loss", critic_loss),
        ("actor_loss", actor_loss),
        ("alpha", entropy_coef),
        ("entropy", entropy),
        ("q_values", value),
    ]
}

/// What networks are made for; agents and servers are those of the largest batch.
pub fn layout(config: &Config, agents: usize, servers: usize) -> Layout {
    let schema = config.features();
    Layout {
        agents,
        servers,
        server_features: schema.per_server(),
        context_features: schema.context(),
        state: STATE,
        hidden: config.hidden,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learners::{
        draws::{Draws, Use},
        params::values,
        replay::{Cut, Episode, Moment, Replay, Taken},
    };

    fn numbers(params: &Params) -> Vec<f32> {
        params.iter().flat_map(|(_, var)| values(var).unwrap()).collect()
    }

    #[test]
    fn what_acts_is_the_average_of_what_was_learned() {
        let layout = Layout {
            agents: 1,
            servers: 2,
            server_features: 3,
            context_features: 1,
            state: STATE,
            hidden: 4,
        };
        let moment = Moment {
            servers: vec![1.0; 6],
            context: vec![1.0],
            active: vec![1.0; 2],
            hidden: vec![0.0; 8],
            state: vec![0.0; STATE],
        };
        let taken = Taken { action: vec![0.5, -0.5], ..Taken::default() };
        let mut replay = Replay::new(layout, Cut { length: 4, stride: 1 }, 100);
        replay.push(Episode { moments: vec![moment; 9], taken: vec![taken; 8] });
        let batch = replay.sample(4, &mut Draws::new(1, Use::Replay)).unwrap();
        for (average, share) in [(1, 1.0), (4, 0.25)] {
            let text = format!(
                r#"
                learner = "sac-gru"
                average = {average}
                warm    = {{ episodes = 1, updates = 1, rate = 1e-2 }}
                learn   = {{ episodes = 1, updates = 1, rate = 1e-4 }}
                judge   = {{ every = 1, scenarios = [], flows = 100, seeds = 1 }}
                "#
            );
            let mut student = Student::new(&Config::parse(&text).unwrap(), layout).unwrap();
            let before = numbers(student.parameters());
            student.imitate(&batch, 1e-2).unwrap();
            let (newest, acting) = (numbers(student.learner.actor().1), numbers(student.parameters()));
            assert_ne!(before, newest);
            for ((before, newest), acting) in before.iter().zip(newest).zip(acting) {
                let expected = before + share * (newest - before);
                assert!((acting - expected).abs() < 1e-6, "{average}: {acting}, not {expected}");
            }
        }
    }
}
