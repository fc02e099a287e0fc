//! `weir status`: what a running instance publishes in its region, per VIP and server.
//!
//! It attaches for reading only: the instance does not notice, and nobody can do harm by looking.

mod attach;
mod text;
mod view;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use self::{attach::Attached, view::View};
use crate::{
    config::Config,
    error::{EXIT_CONFIG, EXIT_NOT_RUNNING, Failure},
};

/// Where the region is when nobody says where.
const DEFAULT_REGION: &str = "/run/weir/region";

/// Between the two frames that rates are told by.
const INTERVAL: Duration = Duration::from_millis(500);

/// Between two looks with `--watch`.
const WATCH: Duration = Duration::from_secs(1);

/// Show VIPs and servers of a running instance: states, weights, rates, live flows, latencies.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Latencies are of watched flows ([measure] in the configuration): p50/p90/p99 (samples, age of the newest).\n\nExamples:\n  weir status\n  weir status --config /etc/weir.toml --watch\n  weir status --region /dev/shm/weir --json | jq '.vips[].servers[]'\n\nExit codes: 0 shown, 1 the configuration names no region, 2 wrong usage, 3 the region cannot be used\n(permission, other version, no region), 5 no instance publishes there."
)]
pub struct StatusArgs {
    /// The region of the instance, `[region] path` of its configuration [default: /run/weir/region].
    #[arg(long, conflicts_with = "config")]
    pub region: Option<PathBuf>,
    /// The configuration of the instance, which names the region.
    #[arg(long, short)]
    pub config: Option<PathBuf>,
    /// As JSON, an object a line; times in seconds.
    #[arg(long)]
    pub json: bool,
    /// Again every second, until interrupted.
    #[arg(long)]
    pub watch: bool,
}

/// Shows what is published. Errors: nobody publishes there, or what is there cannot be used.
pub fn run(args: &StatusArgs) -> Result<(), Failure> {
    let path = region(args)?;
    if !args.watch {
        let mut attached = Attached::new(&path)?;
        let before = attached.frame()?;
        thread::sleep(INTERVAL);
        let after = attached.frame()?;
        show(args, &View::of(&attached, &before, &after));
        return Ok(());
    }
    let mut attached: Option<Attached> = None;
    let mut before = None;
    loop {
        let start = Instant::now();
        match look(&path, &mut attached) {
            Ok(frame) => {
                if let (Some(attached), Some(before)) = (&attached, &before)
                    && !show(args, &View::of(attached, before, &frame))
                {
                    return Ok(()); // nobody reads any more
                }
                before = Some(frame);
            }
            // It may come back: a restart is what one watches for.
            Err(failure) if failure.code == EXIT_NOT_RUNNING => {
                (attached, before) = (None, None);
                eprintln!("{}", failure.cause);
            }
            Err(failure) => return Err(failure),
        }
        thread::sleep(WATCH.saturating_sub(start.elapsed()));
    }
}

/// The newest frame, of the region that is at `path` now.
fn look(
    path: &std::path::Path,
    attached: &mut Option<Attached>,
) -> Result<ipc::region::StatisticsFrame, Failure> {
    if attached.as_ref().is_none_or(Attached::is_replaced) {
        *attached = Some(Attached::new(path)?);
    }
    attached.as_mut().map_or_else(|| Err(Failure::internal("not attached")), Attached::frame)
}

/// The path of the region that was asked for.
fn region(args: &StatusArgs) -> Result<PathBuf, Failure> {
    let Some(file) = &args.config else {
        return Ok(args.region.clone().unwrap_or_else(|| DEFAULT_REGION.into()));
    };
    let loaded = Config::load(file).map_err(|errors| Failure::config(&errors))?;
    loaded.config.region.path.ok_or_else(|| Failure {
        cause: format!("{} has no [region] path: the instance publishes nothing", file.display()),
        remedy: format!("write [region] path = {DEFAULT_REGION:?} and restart weir"),
        code: EXIT_CONFIG,
    })
}

/// Prints a view; `false`: nobody reads it.
fn show(args: &StatusArgs, view: &View) -> bool {
    let text = if args.json { view.json() } else { text::render(view) };
    let mut out = io::stdout().lock();
    if args.watch && !args.json && out.is_terminal() {
        // Home and clear: in place, like `watch`.
        let _ = out.write_all(b"\x1b[H\x1b[2J");
    }
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}
