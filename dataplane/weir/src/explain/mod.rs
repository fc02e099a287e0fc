//! `weir explain`: why the servers of a VIP have the weights that they have.

mod text;
mod view;

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

pub use self::view::{NoView, View};
use crate::{
    error::Failure,
    socket::{ask, socket_of},
};

/// Show the last decisions about a VIP: what was seen, what was proposed, what the guard made of it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  weir explain web\n  weir explain web --config /etc/weir.toml --json | jq '.decisions[-1]'\n\nExit codes: 0 shown, 1 the configuration has no control socket, 2 no such VIP, or none that is steered,\n3 the socket cannot be used, 5 no instance listens there."
)]
pub struct ExplainArgs {
    /// The VIP's name.
    pub vip: String,
    /// The control socket of the instance [default: /run/weir/weir.sock].
    #[arg(long, conflicts_with = "config")]
    pub socket: Option<PathBuf>,
    /// The configuration of the instance, which names the socket.
    #[arg(long, short)]
    pub config: Option<PathBuf>,
    /// As JSON; times in seconds.
    #[arg(long)]
    pub json: bool,
}

/// Shows the decisions. Errors: nobody can be asked, or there is nothing to explain.
pub fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let socket = socket_of(args.socket.as_deref(), args.config.as_deref())?;
    let view: View = ask(&socket, "explain", &args.vip)?;
    let text = if args.json {
        serde_json::to_string(&view).map_err(Failure::internal)? + "\n"
    } else {
        text::render(&view)
    };
    let _ = io::stdout().write_all(text.as_bytes()); // a reader that has gone away is no error
    Ok(())
}
