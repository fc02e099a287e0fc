//! The binary `weir-train`.
//!
//! ```text
//! cli -> sim     { scenario, contender -> runs -> outcome }
//!     -> compare { scenarios × contenders -> runs -> tables, CSV }
//!     -> train   { worlds, learner -> models }
//!     -> sanity  { learners on tasks with known answers }
//!     -> trace   { traces }
//! ```
#![forbid(unsafe_code)]

mod cli;
mod command;

use std::{io, process::ExitCode};

use clap::Parser as _;
use mimalloc::MiMalloc;

use self::cli::{Cli, Command};

/// Candle allocates at each operation; the system's allocator gives large blocks back and has them zeroed each time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // If it cannot be started over, learning is slower and nothing else.
    let _ = policy::threads::use_one();
    let done = match Cli::parse().command {
        Command::Sim(args) => command::sim::run(&args),
        Command::Compare(args) => command::compare::run(&args),
        Command::Train(args) => command::train::run(&args),
        Command::Sanity(args) => command::sanity::run(&args),
        Command::Trace(args) => args.run(&mut io::stdout().lock()).map_err(Into::into),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
