//! `weir-train sim`: one scenario, one policy.

use std::io::{self, Write as _};

use indicatif::{ProgressBar, ProgressStyle};
use trainer::{
    evaluate::{
        contender::Contender,
        outcome::{Outcome, Pooled},
        run::runs,
    },
    scenario::Scenario,
};

use super::{Failure, threads};
use crate::cli::Sim;

/// Runs it and prints what came of it.
pub fn run(args: &Sim) -> Result<(), Failure> {
    let scenario = Scenario::read(&args.scenario)
        .map_err(|error| Failure::Scenario { file: args.scenario.display().to_string(), error })?;
    let contender = match &args.select {
        Some(select) => Contender::new(&args.policy, Some(select))?,
        None => args.policy.parse()?,
    };
    let jobs: Vec<_> = (1..=args.seeds).map(|seed| (&scenario, &contender, seed)).collect();
    let bar = progress(jobs.len() as u64);
    let pooled = Pooled::of(runs(&jobs, threads(args.jobs), &|| bar.inc(1)));
    bar.finish_and_clear();
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string(&pooled).map_err(io::Error::from)?)?,
        false => table(&mut out, &contender, &pooled)?,
    }
    Ok(())
}

/// A bar on standard error if that is a terminal.
pub fn progress(runs: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} runs, {eta} left");
    ProgressBar::new(runs).with_style(style.expect("the template is right"))
}

fn table(out: &mut impl io::Write, contender: &Contender, pooled: &Pooled) -> io::Result<()> {
    writeln!(out, "{contender}: seconds from SYN to answer, over {} runs", pooled.seeds.len())?;
    writeln!(
        out,
        "{:>8} {:>10} {:>21} {:>10} {:>10} {:>10} {:>10} {:>7} {:>9} {:>9}",
        "seed", "mean", "95 %", "p50", "p90", "p95", "p99", "jain", "rejects", "flows"
    )?;
    for Outcome { seed, mean, ci95: [low, high], p50, p90, p95, p99, jain, rejects, flows } in &pooled.seeds {
        writeln!(
            out,
            "{seed:>8} {mean:>10.6} {low:>10.6} {high:>10.6} {p50:>10.6} {p90:>10.6} {p95:>10.6} {p99:>10.6} \
             {jain:>7.4} {rejects:>9.6} {flows:>9}"
        )?;
    }
    let Pooled { mean, ci95: [low, high], p50, p90, p95, p99, jain, rejects, .. } = pooled;
    writeln!(
        out,
        "{:>8} {mean:>10.6} {low:>10.6} {high:>10.6} {p50:>10.6} {p90:>10.6} {p95:>10.6} {p99:>10.6} \
         {jain:>7.4} {rejects:>9.6}",
        "all"
    )
}
