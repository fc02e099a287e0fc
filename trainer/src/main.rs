//! The binary `weir-train`.
//!
//! ```text
//! cli -> sim     { scenario, contender -> runs -> outcome }
//!     -> compare { scenarios × contenders -> runs -> tables, CSV }
//! ```
#![forbid(unsafe_code)]

mod cli;
mod command;

use std::process::ExitCode;

use clap::Parser as _;

use self::cli::{Cli, Command};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Sim(args) => command::sim::run(&args),
        Command::Compare(args) => command::compare::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
