//! The results in words and tables.

use super::{Report, RowReport, table::Table};
use crate::timing::Spread;

/// For a terminal.
pub fn text(report: &Report) -> String {
    format!(
        "{}\n{}{}{}\n",
        table(report).text(),
        stages(report).map(|table| format!("by stage:\n{}\n", table.text())).unwrap_or_default(),
        noise(report),
        facts(report).iter().map(|(name, value)| format!("{name}: {value}\n")).collect::<String>()
    )
}

/// For `docs/results/performance.md`.
pub fn markdown(report: &Report) -> String {
    let facts: String = facts(report).iter().map(|(name, value)| format!("| {name} | {value} |\n")).collect();
    format!(
        "# What a packet costs\n\n\
         Written by `{}`; every number on this page was measured in that one run.\n\n\
         {}\n\
         Numbers are TSC cycles a packet, min / median / max over {} slices. *Over the floor*: less than what \
         the same round's slice of the floor took. *To budget*: the median less the budget of the design. *p99*: within how many µs 99 of 100 packets were through \
         the worker, from receiving their burst to transmitting it, rounded up to 256 ns times a power of two.\n\n\
         {}\n\
         ## By stage\n\n\
         {}\n\
         ## How it was measured\n\n\
         Each row runs for {} s on the CPU, then the next one; {} rounds. All rows run on one CPU and, but for \
         `dpdk-testpmd`, in one thread; what other processes took of the CPU is left out. {}\n\n\
         | | |\n| --- | --- |\n{facts}\n\
         ## What it does not show\n\n\
         No NIC is involved: buffers come from the pool's cache and are freed at once, so their bytes never \
         leave the nearest cache. Frames are made on the same lcore. A NAT row is the way to the server only.\n",
        report.command,
        ROWS,
        report.rounds,
        table(report).markdown(),
        stages(report).map(|table| format!("{STAGES}\n{}", table.markdown())).unwrap_or_default(),
        report.slice_seconds,
        report.rounds,
        noise(report).trim_end(),
    )
}

/// What the rows are.
const ROWS: &str = "\
* `dpdk-testpmd io`: DPDK's own forwarder on one `net_null` port; one thread.
* receive and transmit: the same loop in Rust.
* generate: instead of receiving, takes buffers and writes frames of changing flows into them.
* prepend: also puts 24 bytes in front and writes 38: what no GRE encapsulation can do without.
* worker: the loop of `weir run`, whole, with that many established flows in its table.
* not measured: the same without a look at any flow; otherwise as many flows are watched as by default.
* new flow: each packet is the SYN of a flow that never came before, and the table is full.
";

/// What the table of stages is.
const STAGES: &str = "\
The same worker, first encapsulation, with a look at the time-stamp counter at each border between stages, which
itself costs a few cycles a packet; the core works on both sides of a border at once. Medians. *Receive* makes the
frames, as there is no NIC. *Read headers* also asks for buckets and entries, *find flow* compares keys.
";

fn table(report: &Report) -> Table {
    let number = |number: Option<u16>| number.map(|number| number.to_string()).unwrap_or_default();
    let row = |row: &RowReport| {
        let (budget, to_budget) = row.budget();
        vec![
            row.what.clone(),
            row.flows_shown.clone(),
            number(row.servers),
            number(row.vips),
            spread(row.cycles),
            row.over_floor.map(spread).unwrap_or_default(),
            budget,
            to_budget,
            format!("{:.1} / {:.1}", row.mpps.median, row.mpps.max),
            row.p99_seconds.map(|seconds| format!("{:.1}", seconds * 1e6)).unwrap_or_default(),
            format!("{}", row.noisy_slices),
        ]
    };
    Table {
        headings: vec![
            "row",
            "flows",
            "servers",
            "VIPs",
            "cycles/packet",
            "over the floor",
            "budget",
            "to budget",
            "Mpps median / best",
            "p99 µs",
            "noisy",
        ],
        rows: report.rows.iter().filter(|row| row.stages.is_empty()).map(row).collect(),
    }
}

/// What each stage costs; `None`: nobody watched.
fn stages(report: &Report) -> Option<Table> {
    let watched = || report.rows.iter().filter(|row| !row.stages.is_empty());
    let names = watched().next()?.stages.iter().map(|&(name, _)| name);
    let row = |row: &RowReport| {
        let spent = row.stages.iter().map(|(_, cycles)| format!("{cycles:.1}"));
        let all = format!("{:.1}", row.cycles.median);
        std::iter::once(row.flows_shown.clone()).chain(spent).chain(std::iter::once(all)).collect()
    };
    Some(Table {
        headings: std::iter::once("flows").chain(names).chain(std::iter::once("all")).collect(),
        rows: watched().map(row).collect(),
    })
}

fn spread(spread: Spread) -> String {
    format!("{:.1} / {:.1} / {:.1}", spread.min, spread.median, spread.max)
}

/// How steady the machine was.
fn noise(report: &Report) -> String {
    let Some(calibration) = report.calibration else { return String::new() };
    format!(
        "Fixed work of four core cycles took {:.2} / {:.2} / {:.2} TSC cycles around the slices; a slice is \
         noisy where it took 10 % more than at best, or where the slice got less than 90 % of its CPU.\n",
        calibration.min, calibration.median, calibration.max
    )
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let machine = &report.machine;
    vec![
        ("command", format!("`{}`", report.command)),
        ("revision", format!("{} ({})", machine.revision, machine.profile)),
        ("CPU", format!("{}, TSC {} MHz, {}", machine.cpu, machine.tsc_mhz, machine.caches)),
        ("system", format!("Linux {}, DPDK {}, {}", machine.kernel, machine.libdpdk, report.memory)),
        (
            "set-up",
            format!(
                "frames of {} bytes (IPv6: 80), bursts of 32, a pool of 16383 buffers with a cache of 256, \
                 flow tables of 1048576 entries or as many as the flows need, `net_null` ports",
                report.frame_bytes
            ),
        ),
    ]
}
