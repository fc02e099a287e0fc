//! The binary `weir`.

use std::process::ExitCode;

use clap::Parser;
use weir::{
    cli::{Cli, Command},
    config, decap, demo,
    error::{EXIT_CONFIG, Failure},
    explain, log, replay, run, status, steer,
};

fn main() -> ExitCode {
    // Before anything else: it may start the process over. Where it cannot, agents are slower.
    let single = policy::threads::use_one();
    let cli = Cli::parse();
    if let Err(failure) = log::start(cli.log_format) {
        return failure.report();
    }
    if let Err(error) = single {
        tracing::warn!(%error, "agents may use more than one thread");
    }
    match cli.command {
        Command::Run { config } => {
            run::run(&config).map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS)
        }
        Command::Check { config } => {
            let checked = config::check(&config);
            print(&checked.text);
            ExitCode::from(if checked.usable { 0 } else { EXIT_CONFIG })
        }
        Command::Status(args) => finish(status::run(&args)),
        Command::Explain(args) => finish(explain::run(&args)),
        Command::Policy(args) => finish(steer::run(&args)),
        Command::Replay(args) => finish(replay::run(&args)),
        Command::Demo(args) => finish(demo::run(&args)),
        Command::Decap(args) => {
            finish(decap::run(args).map_err(|error| Failure::environment(&error, error.remedy())))
        }
    }
}

fn finish(outcome: Result<(), Failure>) -> ExitCode {
    outcome.map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS)
}

/// Writes to standard output; a reader that has gone away is no error.
fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}
