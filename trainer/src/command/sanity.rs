//! `weir-train sanity`: the learners on tasks with known answers.

use std::io::{self, Write as _};

use clap::{Args, ValueEnum};
use trainer::sanity::{Finding, control::Progress, games, integrator, matrix, maze, pendulum, team};

use super::Failure;

/// A task whose answer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// QMIX reaches 8, the sum of values 7
    TwoStep,
    /// A game that no monotonic mixing can represent: QMIX must fail
    Regret,
    /// Discrete SAC remembers a cue; without memory it guesses
    Maze,
    /// Independent discrete SAC in the climbing and penalty games: how far it comes, and no further
    Matrix,
    /// Independent continuous SAC: agents with one reward learn their own parts
    Team,
    /// Continuous SAC on Pendulum-v1 (many minutes)
    Pendulum,
    /// The pendulum with its speed hidden, with and without memory (many minutes)
    MaskedPendulum,
    /// A double integrator whose position alone is seen: the known optimum with memory, lost without (many minutes)
    Integrator,
}

/// `weir-train sanity`.
#[derive(Debug, Args)]
pub struct Sanity {
    /// Which task; default: all of them
    pub task: Option<Task>,
    /// Where its randomness starts from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Prints what is reached beside what is known. Fails if anything is not what is known.
pub fn run(args: &Sanity) -> Result<(), Failure> {
    let mut failed = 0;
    let mut out = io::stdout().lock();
    for &task in Task::value_variants().iter().filter(|&&task| args.task.is_none_or(|only| only == task)) {
        let name = task.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        writeln!(out, "{name}")?;
        for finding in findings(task, args.seed)? {
            failed += usize::from(!finding.passes());
            writeln!(out, "  {finding}")?;
        }
    }
    if failed == 0 { Ok(()) } else { Err(Failure::Sanity(failed)) }
}

fn findings(task: Task, seed: u64) -> Result<Vec<Finding>, Failure> {
    let watch = |Progress { steps, reached, update }: Progress| {
        // Progress only; nobody has to read it.
        let _ = writeln!(io::stderr(), "{steps} steps, return of the last episode {reached:.1}, {update:?}");
    };
    Ok(match task {
        Task::TwoStep => games::two_step_findings(600, seed)?,
        Task::Regret => games::regret_findings(1000, seed)?,
        Task::Maze => maze::findings(250, seed)?,
        Task::Matrix => matrix::findings(1500, seed)?,
        Task::Team => team::findings(800, seed)?,
        Task::Pendulum => pendulum::findings(seed, watch)?,
        Task::MaskedPendulum => pendulum::masked_findings(seed, watch)?,
        Task::Integrator => integrator::findings(seed, watch)?,
    })
}
