//! `weir policy`: decides in a process of its own, over the region of a running instance.
//!
//! It may be stopped, killed, upgraded: the instance goes on by its fallback rule, and hears it again when it is back.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use dataplane::time::Clock;
use ipc::{
    clock::monotonic,
    region::{Reader, Region, RegionError, StatisticsChannel, WeightsChannel, Writer},
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{board::Board, pilot::Pilot, wishes::Wishes};
use crate::{
    config::Config,
    error::{EXIT_CONFIG, Failure},
    measure::names::Names,
};

/// Between two looks for a new frame.
const LOOK: Duration = Duration::from_micros(250);

/// Between two tries to attach, and two looks at whether the region is still the instance's.
const PAUSE: Duration = Duration::from_millis(200);

/// Decide in this process instead of the instance's own thread; [policy] source = "region" has it heard.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  weir policy --config /etc/weir.toml\n\nSIGHUP reads the configuration again. While this process is gone, stuck or wrong, the instance sets weights by\n[policy] fallback. Exit codes: 0 stopped by a signal, 1 wrong configuration, 2 wrong usage, 3 the region cannot be\nused."
)]
pub struct PolicyArgs {
    /// The configuration of the instance: which VIPs, policies, models, bounds.
    #[arg(long, short)]
    pub config: PathBuf,
    /// The region of the instance [default: `[region] path` of the configuration].
    #[arg(long)]
    pub region: Option<PathBuf>,
}

/// An end of the region that was attached to.
struct Attached {
    region: Region,
    statistics: Reader<StatisticsChannel>,
    weights: Writer<WeightsChannel>,
    /// Of the statistics' writer, and the generation, that the wishes were made for.
    known: Option<(u64, u64)>,
}

/// Decides until SIGTERM or SIGINT.
///
/// Errors: the configuration is wrong, or names no region, or another process decides there already.
pub fn run(args: &PolicyArgs) -> Result<(), Failure> {
    let mut config = load(args)?;
    let path = args.region.clone().or_else(|| config.region.path.clone()).ok_or_else(|| Failure {
        cause: format!("{} has no [region] path", args.config.display()),
        remedy: "write [region] path = \"/run/weir/region\" and restart weir, or give --region".into(),
        code: EXIT_CONFIG,
    })?;
    let (stop, reload) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    for (signal, flag) in [(SIGTERM, &stop), (SIGINT, &stop), (SIGHUP, &reload)] {
        signal_hook::flag::register(signal, Arc::clone(flag)).map_err(|error| {
            Failure::environment(format!("cannot handle signal {signal}: {error}"), "start it from a shell")
        })?;
    }
    let mut pilot = Pilot::new(config.policy.log.as_deref().map(|log| (log, config.policy.log_bytes)));
    let board = Board::default();
    let clock = Clock::start();
    let (mut attached, mut waiting) = (None, false);
    while !stop.load(Ordering::Relaxed) {
        if reload.swap(false, Ordering::Relaxed) {
            config = load(args)
                .inspect_err(|_| tracing::error!("the configuration stays as it was"))
                .unwrap_or(config);
            if let Some(Attached { known, .. }) = &mut attached {
                *known = None;
            }
        }
        let Some(here) = &mut attached else {
            attached = attach(&path)?;
            if attached.is_none() {
                if !waiting {
                    tracing::info!(region = %path.display(), "waiting for an instance to make the region");
                }
                waiting = true;
                thread::sleep(PAUSE);
            }
            continue;
        };
        if here.region.is_replaced() {
            tracing::info!("the region was replaced");
            attached = None;
            continue;
        }
        // One look at the file a pause is enough.
        let until = monotonic() + PAUSE.as_nanos() as u64;
        while monotonic() < until && !stop.load(Ordering::Relaxed) {
            decide(here, &config, &path, &mut pilot, &board, clock);
            thread::sleep(LOOK);
        }
    }
    tracing::info!("stopping");
    Ok(())
}

fn load(args: &PolicyArgs) -> Result<Config, Failure> {
    Config::load(&args.config).map(|loaded| loaded.config).map_err(|errors| Failure::config(&errors))
}

/// Attaches to the region; `None`: there is none yet.
fn attach(path: &std::path::Path) -> Result<Option<Attached>, Failure> {
    let failed =
        |error: RegionError| Failure::environment(format!("{}: {error}", path.display()), error.remedy());
    let region = match Region::open(path) {
        Err(RegionError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        other => other.map_err(failed)?,
    };
    let (statistics, weights) =
        (region.statistics_reader(), region.weights_writer(monotonic()).map_err(failed)?);
    tracing::info!(region = %path.display(), epoch = weights.epoch(), "deciding");
    Ok(Some(Attached { region, statistics, weights, known: None }))
}

/// Answers the newest frame, if it was not answered before.
fn decide(
    here: &mut Attached,
    config: &Config,
    path: &std::path::Path,
    pilot: &mut Pilot,
    board: &Board,
    clock: Clock,
) {
    let frame = match here.statistics.latest() {
        Ok(Some(frame)) => frame,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(%error, "a frame was not believed");
            return;
        }
    };
    let header = *frame.header();
    if here.known != Some((header.epoch, header.generation)) {
        let names = Names::read(path, header.epoch);
        pilot.follow(&Arc::new(Wishes::by_names(config, false, names.vips())), board);
        here.known = Some((header.epoch, header.generation));
    }
    let age = monotonic().saturating_sub(header.published);
    let stale = u128::from(age) > config.policy.stale_after.as_nanos();
    pilot.step(frame, stale, None, clock, board);
    if let Err(error) = here.weights.publish(pilot.answer_mut(), monotonic()) {
        tracing::error!(%error, "no weights published");
    }
}
