//! What is logged, and how it looks.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::{
    cli::LogFormat,
    error::{EXIT_USAGE, Failure},
};

/// The variable that chooses what is logged.
const VARIABLE: &str = "WEIR_LOG";

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Logs to standard error; what is logged is chosen by `WEIR_LOG` (default: info).
///
/// Errors: the variable says nothing that can be understood.
pub fn start(format: LogFormat) -> Result<(), Failure> {
    let filter = match std::env::var(VARIABLE) {
        Ok(wish) => filter(&wish)?,
        Err(std::env::VarError::NotPresent) => EnvFilter::new("info"),
        Err(std::env::VarError::NotUnicode(wish)) => return Err(wrong(&wish.to_string_lossy())),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// `info`, or by target: `info,dpdk=debug`. A word alone has to be a level: as the name of a target, which it could be
/// too, a mistyped level would silence everything.
fn filter(wish: &str) -> Result<EnvFilter, Failure> {
    let is_level = |word: &str| LEVELS.contains(&word.to_ascii_lowercase().as_str());
    let understood = wish.split(',').all(|directive| match directive.split_once('=') {
        Some((target, level)) => !target.is_empty() && is_level(level),
        None => is_level(directive),
    });
    let understood = understood && !wish.contains(char::is_whitespace);
    EnvFilter::try_new(wish).ok().filter(|_| understood).ok_or_else(|| wrong(wish))
}

fn wrong(wish: &str) -> Failure {
    Failure {
        cause: format!("{VARIABLE} is {wish:?}, which cannot be understood"),
        remedy: format!(
            "write a level ({}), or levels by target like \"info,dpdk=debug\", or unset {VARIABLE}",
            LEVELS.join(", ")
        ),
        code: EXIT_USAGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_understood_alone_and_by_target() {
        for right in ["info", "DEBUG", "off", "info,dpdk=debug", "warn,weir::control=trace"] {
            assert!(filter(right).is_ok(), "{right}");
        }
        for wrong in ["", "inf", "loud", "info,", "dpdk=loud", "=info", "info dpdk=debug", "info, warn"] {
            let failure = filter(wrong).unwrap_err();
            assert_eq!(failure.code, EXIT_USAGE, "{wrong}");
            assert!(failure.cause.contains(wrong) && failure.remedy.contains("info,dpdk=debug"));
        }
    }
}
