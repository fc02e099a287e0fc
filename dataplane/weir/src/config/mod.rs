//! The configuration file: read, checked whole, and turned into types that cannot be wrong.
//!
//! ```text
//!   text -> syntax (TOML errors) -> sections, with reader against schema -> types
//!                        \__________ findings on a Report __________/  -> diagnostics
//! ```
//!
//! One run reports every mistake, each with line, column and what to write instead. `docs/configuration.md`
//! explains the file to operators; its tables are generated from [`schema`].

mod diagnostic;
mod markdown;
mod port_set;
mod reader;
mod reload;
pub mod schema;
mod sections;
mod suggest;
mod syntax;
mod types;
mod values;

#[cfg(test)]
mod tests;

use std::path::Path;

use toml::de::DeTable;

pub use diagnostic::{ConfigErrors, Diagnostic, Severity};
pub use markdown::key_tables;
pub use port_set::PortSet;
pub use reload::Change;
pub use types::{
    Config, ControlSocket, DEFAULT_SOCKET, Eal, Encap, Fallback, FlowTable, Health, HealthKind,
    MOST_ANNOUNCED, Measure, Metrics, Neighbor, Policy, PolicyMode, PolicySettings, PolicySource, Port,
    Protocol, Region, Select, Server, ServerState, Tunnel, Vip, VipPolicy,
};

use diagnostic::Report;
use reader::TableReader;

/// A configuration that can be used, and what its author should know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What does not do what it seems to; never an error.
    pub warnings: Vec<Diagnostic>,
}

impl Config {
    /// Reads and checks a file. Errors: the file cannot be read, or everything that is wrong in it.
    pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| unreadable(&name, &error))?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse(text, &name).map(|loaded| with_models_checked(loaded, &name)),
            Err(error) => Err(not_text(&name, &bytes, error.valid_up_to())),
        }
    }

    /// Checks the text of a file; `name` is what messages call it.
    pub fn parse(text: &str, name: &str) -> Result<Loaded, ConfigErrors> {
        let report = Report::new(name, text);
        let config = syntax::without_errors(&report).map(|readable| read(&report, &readable));
        let usable = report.errors() == 0;
        let diagnostics = report.finish();
        match config {
            Some(config) if usable => Ok(Loaded { config, warnings: diagnostics }),
            _ => Err(ConfigErrors { diagnostics }),
        }
    }
}

/// Adds a warning for each model that cannot be used: the fallback rule would steer instead.
fn with_models_checked(mut loaded: Loaded, name: &str) -> Loaded {
    let settings = &loaded.config.policy;
    let plans =
        loaded.config.vips.iter().filter_map(|vip| Some((vip, crate::steer::plan(vip, settings, false)?)));
    loaded.warnings.extend(plans.filter_map(|(vip, plan)| {
        let error = plan.check().err()?;
        Some(Diagnostic {
            severity: Severity::Warning,
            file: name.into(),
            position: None,
            message: format!("VIP {:?} would be steered by {}: {error}", vip.name, settings.fallback),
            help: error.remedy(),
            excerpt: None,
        })
    }));
    loaded
}

/// Reads the parts of the file in the order in which they depend on each other.
fn read(report: &Report<'_>, text: &str) -> Config {
    let (root, _) = DeTable::parse_recoverable(text);
    let top = TableReader::top(report, root.get_ref());
    let eal = sections::process::eal(&top);
    let ports = sections::port::ports(&top, &eal);
    let neighbors = sections::neighbor::neighbors(&top, &ports);
    let tunnel = sections::tunnel::tunnel(&top, &ports);
    let flow_table = sections::process::flow_table(&top);
    let vips = sections::vip::vips(&top, &ports, &tunnel);
    let measure = sections::measure::measure(&top);
    let region = sections::measure::region(&top);
    let policy = sections::policy::settings(&top, &region);
    let metrics = sections::process::metrics(&top);
    let control = sections::process::control(&top);
    top.finish();
    Config {
        eal,
        ports: ports.list,
        neighbors,
        tunnel,
        flow_table,
        vips,
        policy,
        measure,
        region,
        metrics,
        control,
    }
}

fn unreadable(name: &str, error: &std::io::Error) -> ConfigErrors {
    let help = match error.kind() {
        std::io::ErrorKind::NotFound => "check the path; configs/smallest.toml is a file to start from",
        std::io::ErrorKind::PermissionDenied => "let this user read it",
        _ => "name a regular file that this user can read",
    };
    let (message, help) = (format!("cannot read it: {error}"), help.into());
    let diagnostic = Diagnostic {
        severity: Severity::Error,
        file: name.into(),
        position: None,
        message,
        help,
        excerpt: None,
    };
    ConfigErrors { diagnostics: vec![diagnostic] }
}

fn not_text(name: &str, bytes: &[u8], good: usize) -> ConfigErrors {
    let text = String::from_utf8_lossy(bytes);
    let report = Report::new(name, &text);
    report.error(&(good..good), "the file is not UTF-8 text from here on", "save it as UTF-8");
    ConfigErrors { diagnostics: report.finish() }
}

/// What `weir check` prints, and whether the file can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// All errors and warnings, and a line that sums up. Ends with a newline.
    pub text: String,
    /// Whether `weir run` would take the file.
    pub usable: bool,
}

/// Checks a file the way `weir run` would, for a human to read.
pub fn check(path: &Path) -> Checked {
    let (diagnostics, verdict, usable) = match Config::load(path) {
        Ok(Loaded { config, warnings }) => {
            let servers = config.vips.iter().map(|v| v.servers.len()).sum();
            let contents = [
                count(config.ports.len(), "port"),
                count(config.vips.len(), "VIP"),
                count(servers, "server"),
            ];
            (warnings, format!("ok: {}", contents.join(", ")), true)
        }
        Err(ConfigErrors { diagnostics }) => (diagnostics, String::new(), false),
    };
    let number = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    let (errors, warnings) = (number(Severity::Error), number(Severity::Warning));
    let mut summary = Vec::new();
    if usable {
        summary.push(verdict);
    } else {
        summary.push(count(errors, "error"));
    }
    if warnings > 0 {
        summary.push(count(warnings, "warning"));
    }
    let mut text = diagnostic::print(&diagnostics);
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str(&format!("{}: {}\n", path.display(), summary.join(", ")));
    Checked { text, usable }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
