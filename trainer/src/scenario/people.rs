//! Who comes: generators and traces, as a scenario asks for them.

use std::{path::Path, sync::Arc};

use super::{ScenarioError, values::Pattern};
use crate::{
    sim::{
        arrivals::{Arrivals, Mmpp, Poisson, Renewal},
        law::Law,
    },
    traces::{
        Costs, Entry, Replay, Source, Summary, TraceError, open,
        wikipedia::{Day, Wikipedia},
    },
};

/// A file of an encyclopaedia costs so much of what a page costs.
const FILE: f64 = 0.02;

/// Where arrivals come from.
#[derive(Clone, Debug)]
pub enum People {
    /// A generator.
    Generated(Pattern),
    /// A trace, in memory: every run reads it from the beginning.
    Traced(Arc<[Entry]>, Box<Summary>),
}

impl People {
    /// Reads the trace if there is one.
    pub fn new(pattern: Pattern, folder: &Path) -> Result<Self, ScenarioError> {
        let Pattern::Trace { file } = &pattern else { return Ok(Self::Generated(pattern)) };
        let path = folder.join(file);
        read(&path).map_err(|error| ScenarioError::Trace { path, error })
    }

    /// Arrivals at this rate. Traces and days say what flows ask for; their mean work is that of `work`.
    pub fn arrivals(&self, rate: f64, work: &Law, seed: u64) -> Box<dyn Arrivals> {
        match self {
            Self::Traced(entries, summary) => {
                let source = Remembered { entries: Arc::clone(entries), at: 0 };
                let replay = Replay::new(Box::new(source), Costs::default(), seed);
                Box::new(replay.with_mean(summary, work.mean()).at_rate(summary, rate))
            }
            Self::Generated(Pattern::Mmpp { burst, busy, calm }) => {
                Box::new(Mmpp::new(rate, *burst, busy.0, calm.0, seed))
            }
            Self::Generated(Pattern::Renewal(gaps)) => {
                Box::new(Renewal::new(gaps.with_mean(1e9 / rate), seed))
            }
            Self::Generated(Pattern::Wikipedia { day }) => {
                let day = Day::default().lasting(day.0 * 1e-9).with_mean(rate);
                let page = work.mean() / (1.0 - day.pages).mul_add(FILE, day.pages);
                let file = Law::Exponential { mean: FILE * page };
                let costs = Costs { page: work.with_mean(page), file, ..Costs::default() };
                Box::new(Replay::new(Box::new(Wikipedia::new(day, seed)), costs, seed))
            }
            // A trace is never left as a pattern.
            Self::Generated(Pattern::Poisson | Pattern::Trace { .. }) => Box::new(Poisson::new(rate, seed)),
        }
    }
}

fn read(path: &Path) -> Result<People, TraceError> {
    let mut source = open(path)?;
    let mut entries = Vec::new();
    while let Some(entry) = source.next()? {
        entries.push(entry);
    }
    let entries: Arc<[Entry]> = entries.into();
    let summary = Summary::of(&mut Remembered { entries: Arc::clone(&entries), at: 0 })?;
    Ok(People::Traced(entries, Box::new(summary)))
}

/// A trace in memory.
#[derive(Clone, Debug)]
struct Remembered {
    entries: Arc<[Entry]>,
    at: usize,
}

impl Source for Remembered {
    fn next(&mut self) -> Result<Option<Entry>, TraceError> {
        self.at += 1;
        Ok(self.entries.get(self.at - 1).copied())
    }
}
