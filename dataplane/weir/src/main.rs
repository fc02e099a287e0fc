//! The binary `weir`.

use std::process::ExitCode;

use clap::Parser;
use weir::{
    cli::{Cli, Command},
    config, decap, demo,
    error::{EXIT_CONFIG, Failure},
    log, run, status,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(failure) = log::start(cli.log_format) {
        return failure.report();
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
