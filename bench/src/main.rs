//! The binary `weir-bench`: what a packet costs, measured.
//!
//! ```text
//! cli -> cycles -> { rows: testpmd, forwarder, floor, worker } -> timing -> report
//!     -> reload -> balancer
//! ```
//!
//! The throughput of one binary moves by up to a factor of two between minutes on a shared machine.
//! So everything that is compared runs in one process on one CPU, in slices that take turns, and
//! what is reported is a spread, never one number.
#![forbid(unsafe_code)]

mod balancer;
mod cli;
mod cycles;
mod error;
mod generator;
mod hugepages;
mod machine;
mod reload;
mod report;
mod steer;
mod testpmd;
mod timing;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command.unwrap_or(Command::Cycles(cli.cycles)) {
        Command::Cycles(args) => cycles::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Steer(args) => steer::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            eprintln!("help: {}", error.remedy());
            ExitCode::FAILURE
        }
    }
}
