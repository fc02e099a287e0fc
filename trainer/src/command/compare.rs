//! `weir-train compare`: scenarios × policies × seeds.

use std::{fs, io::Write as _, path::Path};

use trainer::{
    evaluate::{
        compare::{Case, Comparison},
        contender::Contender,
        plot, report,
    },
    scenario::Scenario,
};

use super::{Failure, sim::progress, threads};
use crate::cli::Compare;

/// Runs it and writes what came of it.
pub fn run(args: &Compare) -> Result<(), Failure> {
    let contenders: Vec<Contender> =
        args.policies.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    let baseline = match &args.baseline {
        None => 0,
        Some(name) => contenders
            .iter()
            .position(|contender| contender.name() == name)
            .ok_or_else(|| Failure::Baseline(name.clone()))?,
    };
    let mut cases = Vec::new();
    for path in &args.scenarios {
        let scenario = Scenario::read(path)
            .map_err(|error| Failure::Scenario { file: path.display().to_string(), error })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        cases.extend(Case::each(&name, &scenario, &args.loads));
    }
    let bar = progress(cases.len() as u64 * contenders.len() as u64 * args.seeds);
    let comparison =
        Comparison::make(cases, contenders, baseline, args.seeds, threads(args.jobs), &|| bar.inc(1));
    bar.finish_and_clear();
    let tables = report::markdown(&comparison);
    match &args.out {
        None => write!(std::io::stdout().lock(), "{tables}")?,
        Some(out) => write(out, &tables, &comparison)?,
    }
    Ok(())
}

/// Writes `OUT.md`, `OUT.csv`, and for each scenario `OUT-NAME.svg`.
fn write(out: &Path, tables: &str, comparison: &Comparison) -> Result<(), Failure> {
    let save = |file: &Path, text: &str| {
        fs::write(file, text).map_err(|error| Failure::Save { file: file.display().to_string(), error })
    };
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder)
            .map_err(|error| Failure::Save { file: folder.display().to_string(), error })?;
    }
    save(&out.with_extension("md"), tables)?;
    save(&out.with_extension("csv"), &report::csv(comparison))?;
    let mut names: Vec<&str> = comparison.cases.iter().map(|case| case.name.as_str()).collect();
    names.dedup();
    let stem = out.file_name().unwrap_or_default().to_string_lossy();
    for name in names {
        save(&out.with_file_name(format!("{stem}-{name}.svg")), &plot::svg(comparison, name)?)?;
    }
    Ok(())
}
