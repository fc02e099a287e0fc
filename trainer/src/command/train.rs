//! `weir-train train`: a training run in a folder of its own.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use indicatif::{ProgressBar, ProgressStyle};
use policy::agents::Model;
use trainer::{
    evaluate::contender::select,
    training::{
        checkpoint,
        config::Config,
        journal::{Journal, Row},
        judge::Judge,
        run::{Run, Stage},
    },
};

use super::Failure;
use crate::cli::Train;

/// Goes on to its end, from the beginning or from where it was interrupted.
pub fn run(args: &Train) -> Result<(), Failure> {
    let config = configuration(args)?;
    let out = args.out.clone().unwrap_or_else(|| folder(&args.config, config.seed));
    fs::create_dir_all(&out).map_err(|error| unsaved(&out, error))?;
    let mut run = Run::new(config, revision())?;
    if args.resume {
        checkpoint::restore(&out, &mut run)?;
    } else if checkpoint::is_in(&out) {
        return Err(Failure::Begun(out.display().to_string()));
    }
    let config = run.config().clone();
    let bar = progress(config.episodes(), run.episode());
    bar.set_message("the base runs, to compare with");
    let select = select(&config.select).unwrap_or_default();
    let judge = Judge::new(&config.judge, "rate", select)?;
    let mut journal = Journal::open(&out, run.episode()).map_err(|error| unsaved(&out, error))?;
    let mut best = journal.best();
    while !run.is_over() {
        let mut row = run.step()?;
        if is_due(&run, &row) {
            let model = run.model()?;
            let score = judge.score(model.clone());
            row.score = Some(score);
            if best.is_none_or(|best| score < best) {
                best = Some(score);
                save(&out.join("best.safetensors"), &model)?;
            }
            save(&out.join("last.safetensors"), &model)?;
            bar.println(format!("episode {} ({}): {} the base", row.episode, row.phase, change(score)));
        }
        journal.write(&row).map_err(|error| unsaved(&out, error))?;
        if row.score.is_some() {
            checkpoint::save(&out, &run)?;
        }
        bar.set_message(format!("{} reward {:+.4}", row.phase, row.reward));
        bar.set_position(run.episode());
    }
    bar.finish_and_clear();
    let best = best.map_or_else(|| "never judged".into(), |score| format!("{} the base", change(score)));
    writeln!(std::io::stdout().lock(), "{}: {best}", out.join("best.safetensors").display())?;
    Ok(())
}

fn configuration(args: &Train) -> Result<Config, Failure> {
    let file = || args.config.display().to_string();
    let mut config = Config::read(&args.config).map_err(|error| Failure::Training { file: file(), error })?;
    if let Some(seed) = args.seed {
        config.seed = seed;
    }
    Ok(if args.quick { config.quick() } else { config })
}

/// Where a run goes unless it is told.
fn folder(config: &Path, seed: u64) -> PathBuf {
    let stem = config.file_stem().unwrap_or_default().to_string_lossy();
    PathBuf::from("runs").join(format!("{stem}-{seed}"))
}

/// Whether the model is to be judged after an episode: every so often, at the end, and before rewards begin to count.
fn is_due(run: &Run, row: &Row) -> bool {
    let is_time = (row.episode + 1).is_multiple_of(run.config().judge.every);
    let is_turn = run.stage() == (Stage::Learn, 0);
    row.phase != Stage::Scale.name() && (is_time || is_turn || run.is_over())
}

/// A score in words.
fn change(score: f64) -> String {
    let percent = 100.0 * score.exp_m1();
    format!("{:.2} % {}", percent.abs(), if percent < 0.0 { "better than" } else { "worse than" })
}

fn save(path: &Path, model: &Model) -> Result<(), Failure> {
    fs::write(path, model.to_bytes()?).map_err(|error| unsaved(path, error))
}

fn unsaved(path: &Path, error: std::io::Error) -> Failure {
    Failure::Save { file: path.display().to_string(), error }
}

fn progress(episodes: u64, done: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} episodes, {per_sec}, {eta} left");
    let bar = ProgressBar::new(episodes).with_position(done);
    bar.reset_eta();
    bar.with_style(style.expect("the template is right"))
}

/// Which code this is.
fn revision() -> String {
    option_env!("WEIR_REVISION").unwrap_or(env!("CARGO_PKG_VERSION")).into()
}
