//! What ends a command: a line of cause, a line of remedy and an exit code.

use std::{fmt, process::ExitCode};

use crate::config::ConfigErrors;

/// The file that was given cannot be used.
pub const EXIT_CONFIG: u8 = 1;

/// The command line, or a variable of the environment, is not as it should be.
pub const EXIT_USAGE: u8 = 2;

/// The machine does not allow it: DPDK, a device, memory, permission, an address in use.
pub const EXIT_ENVIRONMENT: u8 = 3;

/// Something that must not happen did: a worker or the control thread ended.
pub const EXIT_INTERNAL: u8 = 4;

/// No running instance publishes where `weir status` looks.
pub const EXIT_NOT_RUNNING: u8 = 5;

/// Why a command ends, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One line: what went wrong. Empty: it has been said already.
    pub cause: String,
    /// One line: what to do about it.
    pub remedy: String,
    /// The exit code, documented in `docs/operations.md`.
    pub code: u8,
}

impl Failure {
    /// The file cannot be used. Says at once why: many lines, each with its own remedy.
    pub fn config(errors: &ConfigErrors) -> Self {
        eprintln!("{errors}");
        Self { cause: String::new(), remedy: String::new(), code: EXIT_CONFIG }
    }

    /// The machine does not allow it.
    pub fn environment(cause: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self { cause: cause.to_string(), remedy: remedy.to_string(), code: EXIT_ENVIRONMENT }
    }

    /// Something that must not happen did.
    pub fn internal(cause: impl fmt::Display) -> Self {
        let remedy = "restart weir and report this with the log; other balancers go on".into();
        Self { cause: cause.to_string(), remedy, code: EXIT_INTERNAL }
    }

    /// Writes cause and remedy to standard error; returns the exit code.
    pub fn report(&self) -> ExitCode {
        if !self.cause.is_empty() {
            eprintln!("error: {}", self.cause);
            eprintln!("help: {}", self.remedy);
        }
        ExitCode::from(self.code)
    }
}
