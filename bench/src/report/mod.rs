//! What was measured, for people and for programs.

mod page;
mod table;

use std::{fs, io::Write, path::Path};

use dataplane::pipeline::watch::Stage;
use serde::Serialize;

use crate::{
    cli::CyclesArgs,
    cycles::rows::{Budget, Row},
    error::Error,
    generator::FRAME_LEN,
    machine::Machine,
    timing::{Slice, Spread},
};

/// A slice counts as noisy when fixed work took this much longer around it than at best,
const NOISY_CALIBRATION: f64 = 1.1;

/// or when it got less than this part of its CPU.
const NOISY_SHARE: f64 = 0.9;

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The arguments that gave it.
    pub command: String,
    pub machine: Machine,
    pub memory: &'static str,
    pub frame_bytes: usize,
    pub rounds: u32,
    pub slice_seconds: f64,
    /// TSC cycles of a step of fixed work around each slice.
    pub calibration: Option<Spread>,
    pub rows: Vec<RowReport>,
}

/// A row of it.
#[derive(Debug, Serialize)]
pub struct RowReport {
    pub id: String,
    pub what: String,
    pub encap: Option<&'static str>,
    pub flows: Option<u32>,
    /// Servers of each VIP.
    pub servers: Option<u16>,
    pub vips: Option<u16>,
    /// The row that the next but one field is the difference to.
    pub floor: Option<&'static str>,
    /// TSC cycles a packet.
    pub cycles: Spread,
    /// The same less the floor's in the same round.
    pub over_floor: Option<Spread>,
    /// Millions of packets a second of CPU time.
    pub mpps: Spread,
    pub budget_cycles: Option<f64>,
    pub budget_mpps: Option<f64>,
    pub noisy_slices: usize,
    /// Within how many seconds 99 of 100 packets were through the worker, rounded up to a power of two times 256 ns.
    pub p99_seconds: Option<f64>,
    pub slices: Vec<Slice>,
    /// Cycles a packet by stage, the middle of all slices; empty where nobody watched.
    pub stages: Vec<(&'static str, f64)>,
    #[serde(skip)]
    pub flows_shown: String,
}

impl Report {
    pub fn new(args: &CyclesArgs, machine: Machine, memory: &'static str, rows: Vec<Row>) -> Self {
        let calibrations = || rows.iter().flat_map(|row| &row.slices).map(|slice| slice.calibration);
        let calibration = Spread::of(calibrations());
        let best = calibration.map_or(f64::MAX, |calibration| calibration.min);
        let tsc_mhz = machine.tsc_mhz;
        let reports = rows.iter().filter_map(|row| {
            let floor = row.floor.and_then(|id| rows.iter().find(|row| row.id == id));
            RowReport::new(row, floor, tsc_mhz, best)
        });
        Self {
            rows: reports.collect(),
            command: command(),
            machine,
            memory,
            frame_bytes: FRAME_LEN,
            rounds: args.rounds,
            slice_seconds: args.slice.as_secs_f64(),
            calibration,
        }
    }
}

impl RowReport {
    fn new(row: &Row, floor: Option<&Row>, tsc_mhz: f64, best_calibration: f64) -> Option<Self> {
        let cycles = |row: &Row| row.slices.iter().map(Slice::cycles_per_packet).collect::<Vec<_>>();
        let own = cycles(row);
        let over = floor.map(|floor| own.iter().zip(cycles(floor)).map(|(own, floor)| own - floor).collect());
        let noisy = |slice: &&Slice| {
            slice.on_cpu < NOISY_SHARE || slice.calibration > best_calibration * NOISY_CALIBRATION
        };
        Some(Self {
            id: row.id.clone(),
            what: row.what.clone(),
            encap: row.setting.map(|setting| setting.encap.name()),
            flows: row.setting.map(|setting| setting.flows.0),
            servers: row.setting.map(|setting| setting.servers),
            vips: row.setting.map(|setting| setting.vips),
            flows_shown: row.setting.map(|setting| setting.flows.to_string()).unwrap_or_default(),
            floor: row.floor,
            cycles: Spread::of(own.iter().copied())?,
            over_floor: over.and_then(|over: Vec<f64>| Spread::of(over)),
            mpps: Spread::of(own.iter().map(|cycles| tsc_mhz / cycles))?,
            budget_cycles: row.budget.and_then(|budget| match budget {
                Budget::Cycles(cycles) => Some(cycles),
                Budget::Mpps(_) => None,
            }),
            budget_mpps: row.budget.and_then(|budget| match budget {
                Budget::Mpps(mpps) => Some(mpps),
                Budget::Cycles(_) => None,
            }),
            noisy_slices: row.slices.iter().filter(noisy).count(),
            p99_seconds: row.p99_seconds(),
            slices: row.slices.clone(),
            stages: Stage::ALL
                .iter()
                .filter_map(|&stage| {
                    let spent = Spread::of(row.stages.iter().map(|spend| spend[stage as usize]))?;
                    Some((stage.name(), spent.median))
                })
                .collect(),
        })
    }

    /// The budget and what the middle of the measurements makes of it, as text.
    fn budget(&self) -> (String, String) {
        match (self.budget_cycles, self.budget_mpps) {
            (Some(budget), _) => (format!("≤ {budget:.0}"), format!("{:+.0}", self.cycles.median - budget)),
            (_, Some(budget)) => {
                (format!("≥ {budget:.0} M/s"), format!("{:+.1} M/s", self.mpps.median - budget))
            }
            _ => (String::new(), String::new()),
        }
    }
}

/// Writes the results to standard output and to the files that were asked for.
pub fn write(report: &Report, args: &CyclesArgs) -> Result<(), Error> {
    // A reader that has gone away is no error.
    let _ = std::io::stdout().write_all(page::text(report).as_bytes());
    if let Some(file) = &args.json {
        let mut json = serde_json::to_string_pretty(report).expect("plain data");
        json.push('\n');
        save(file, &json)?;
    }
    args.markdown.as_deref().map_or(Ok(()), |file| save(file, &page::markdown(report)))
}

fn save(file: &Path, text: &str) -> Result<(), Error> {
    fs::write(file, text).map_err(|cause| Error::Write { file: file.to_owned(), cause })
}

/// The command line that was given, without the path of the program.
fn command() -> String {
    std::iter::once("weir-bench".to_owned()).chain(std::env::args().skip(1)).collect::<Vec<_>>().join(" ")
}
