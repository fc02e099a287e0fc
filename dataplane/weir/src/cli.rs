//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    decap::DecapArgs, demo::DemoArgs, explain::ExplainArgs, replay::ReplayArgs, status::StatusArgs,
    steer::PolicyArgs,
};

/// A layer-4 load balancer on DPDK.
#[derive(Debug, Parser)]
#[command(name = "weir", version, about, arg_required_else_help = true)]
pub struct Cli {
    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How log lines look. They go to standard error; `WEIR_LOG` chooses what is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run in the foreground: SIGTERM or SIGINT stops cleanly, SIGHUP reloads the file.
    #[command(
        after_help = "Example:\n  weir run --config /etc/weir.toml\n\nExit codes: 0 stopped by a signal, 1 wrong configuration, 2 wrong usage,\n3 the machine does not allow it (DPDK, device, memory, permission), 4 internal."
    )]
    Run {
        /// The configuration, TOML.
        #[arg(long, short)]
        config: PathBuf,
    },
    /// Check everything that `run` would use; show every mistake at its line with its remedy.
    #[command(
        after_help = "Example:\n  weir check --config /etc/weir.toml && systemctl reload weir\n\nExit codes: 0 usable, 1 not."
    )]
    Check {
        /// The configuration, TOML.
        #[arg(long, short)]
        config: PathBuf,
    },
    /// What a running instance publishes.
    Status(StatusArgs),
    /// Why the servers of a VIP have their weights: the last decisions of a running instance.
    Explain(ExplainArgs),
    /// Decide in a process of its own, over the region of a running instance.
    Policy(PolicyArgs),
    /// Repeat a decision log and compare, bit for bit.
    Replay(ReplayArgs),
    /// Watch it work: clients, unequal servers and the balancer in one process; no NIC, no root, no hugepages.
    Demo(DemoArgs),
    /// Take tunnelled packets off and hand them to the kernel, on a server without tunnel devices.
    Decap(DecapArgs),
}
