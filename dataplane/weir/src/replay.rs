//! `weir replay`: does what a decision log says once more, and compares.

use std::{
    fs::File,
    io::{self, BufReader},
    path::PathBuf,
};

use policy::log::{Replay, ReplayError};

use crate::error::{EXIT_CONFIG, Failure};

/// Repeat every decision of a log from its inputs, and compare the weights bit for bit.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  weir replay /var/lib/weir/decisions\n\nExit codes: 0 every decision came out the same, 1 one did not, or the log is not whole, 2 wrong usage,\n3 the log cannot be read."
)]
pub struct ReplayArgs {
    /// The log, `[policy] log` of the configuration, or what is older, with `.1` behind.
    pub log: PathBuf,
}

/// Repeats the log. Errors: it cannot be read, or something came out differently.
pub fn run(args: &ReplayArgs) -> Result<(), Failure> {
    let path = args.log.display();
    let file = File::open(&args.log).map_err(|error| {
        Failure::environment(format!("cannot read {path}: {error}"), "check the path and who may read it")
    })?;
    let mut replay = Replay::new(BufReader::new(file));
    let outcome = loop {
        match replay.advance() {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let (same, starts) = (replay.same, replay.starts);
    let _ = io::Write::write_all(
        &mut io::stdout(),
        format!("{path}: {same} decisions came out the same, bit for bit, from {starts} starts\n").as_bytes(),
    );
    if let Some(difference) = replay.difference {
        return Err(Failure {
            cause: format!("after them one did not: {difference}"),
            remedy: "replay with the weir and the model that wrote the log".into(),
            code: EXIT_CONFIG,
        });
    }
    outcome.map_err(|error| Failure {
        cause: format!("{path}: {error}"),
        remedy: remedy(&error),
        code: EXIT_CONFIG,
    })
}

fn remedy(error: &ReplayError) -> String {
    match error {
        ReplayError::Record(_) | ReplayError::NoStart => {
            "what came before it was replayed; a log whose writer was ended may end in the middle of a record"
                .into()
        }
        ReplayError::Plan { source, .. } => source.remedy(),
        ReplayError::State { .. } => "replay with the weir that wrote the log".into(),
    }
}
