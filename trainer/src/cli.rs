//! The command line of `weir-train`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::command::{sanity::Sanity, trace::TraceArgs};

/// Tries and trains what weighs Weir's servers.
#[derive(Debug, Parser)]
#[command(name = "weir-train", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs one scenario with one policy
    #[command(after_help = "Examples:\n  \
        weir-train sim --scenario configs/scenarios/moderate.toml --policy sed2\n  \
        weir-train sim --scenario configs/scenarios/moderate.toml --policy rate --select sed --seeds 20 --json")]
    Sim(Sim),
    /// Compares policies in several scenarios, in pairs: all meet the same clients
    #[command(after_help = "Examples:\n  \
        weir-train compare --scenarios configs/scenarios/moderate.toml --loads 0.5,0.7,0.9 --policies sed,hlb,rate\n  \
        weir-train compare --scenarios a.toml,b.toml --policies sed,rate/sed --out docs/results/rules")]
    Compare(Compare),
    /// Trains an agent
    #[command(after_help = "Examples:\n  \
        weir-train train --config configs/train/sac-gru.toml\n  \
        weir-train train --config configs/train/qmix.toml --seed 7 --out runs/seven\n  \
        weir-train train --config configs/train/sac-gru.toml --quick")]
    Train(Train),
    /// Runs the learners on tasks with known answers, and prints what is reached beside what is known
    #[command(after_help = "Examples:\n  \
        weir-train sanity two-step\n  \
        weir-train sanity maze --seed 7")]
    Sanity(Sanity),
    /// Says what is in a trace, or makes one
    #[command(after_help = "Examples:\n  \
        weir-train trace info day.tsv\n  \
        weir-train trace generate poisson --rate 350 --flows 78000 --out poisson.tsv\n  \
        weir-train trace generate wikipedia --seconds 86400 --seed 7 --out day.tsv")]
    Trace(TraceArgs),
}

/// `weir-train compare`.
#[derive(Debug, Args)]
pub struct Compare {
    /// The worlds, in TOML
    #[arg(long, value_name = "FILES", value_delimiter = ',', required = true)]
    pub scenarios: Vec<PathBuf>,
    /// Loads that each is run at; default: what it says
    #[arg(long, value_name = "LOADS", value_delimiter = ',')]
    pub loads: Vec<f64>,
    /// Who is compared, as in `sim`; `rate/sed2` is the policy `rate` with the selection rule `sed2`
    #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true)]
    pub policies: Vec<String>,
    /// Who the others are compared with; default: the first
    #[arg(long, value_name = "NAME")]
    pub baseline: Option<String>,
    /// Runs of each in each, with seeds 1, 2, …
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// Runs at the same time; default: as many as there are CPUs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Writes OUT.md, OUT.csv and OUT-NAME.svg instead of tables to standard output
    #[arg(long, value_name = "OUT")]
    pub out: Option<PathBuf>,
}

/// `weir-train sim`.
#[derive(Debug, Args)]
pub struct Sim {
    /// The world, in TOML
    #[arg(long, value_name = "FILE")]
    pub scenario: PathBuf,
    /// A rule of the data plane (ecmp, wcmp, maglev, rr, lsq, lsq2, sed, sed2), a policy (static, active-wcmp,
    /// aquarius, hlb, hlb-ada, rate), an agent (sac-gru, qmix, or the file of a model, which ends in .safetensors), or what nobody can know
    /// (oracle, least-work, gsed, gsq, price, teacher, seer)
    #[arg(long, value_name = "NAME")]
    pub policy: String,
    /// How new flows are chosen servers for by the policy's weights; default: `sed`, as in the configuration
    #[arg(long, value_name = "RULE")]
    pub select: Option<String>,
    /// Runs, with seeds 1, 2, …
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// Runs at the same time; default: as many as there are CPUs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Prints JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// `weir-train train`.
#[derive(Debug, Args)]
pub struct Train {
    /// What is to be learned, and how, in TOML
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The folder of the run; default: runs/NAME-SEED
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Another seed than the configuration's
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Goes on from the last checkpoint in the folder, to the same result as without the interruption
    #[arg(long)]
    pub resume: bool,
    /// A run of seconds, which learns next to nothing and shows that everything works
    #[arg(long)]
    pub quick: bool,
}
