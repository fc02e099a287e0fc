//! The binary `weir`.

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use tracing_subscriber::EnvFilter;
use weir::{
    cli::{Cli, Command, LogFormat},
    config, decap, demo,
    error::{EXIT_CONFIG, Failure},
    run,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(cli.log_format);
    match cli.command {
        Command::Run { config } => {
            run::run(&config).map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS)
        }
        Command::Check { config } => {
            let checked = config::check(&config);
            print(&checked.text);
            ExitCode::from(if checked.usable { 0 } else { EXIT_CONFIG })
        }
        Command::Demo(args) => finish(demo::run(&args)),
        Command::Decap(args) => {
            finish(decap::run(args).map_err(|error| Failure::environment(&error, error.remedy())))
        }
    }
}

fn finish(outcome: Result<(), Failure>) -> ExitCode {
    outcome.map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS)
}

/// Logs to standard error; what is logged is chosen by `WEIR_LOG` (default: info).
fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

/// Writes to standard output; a reader that has gone away is no error.
fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}
