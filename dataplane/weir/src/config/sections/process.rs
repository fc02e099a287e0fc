//! `[eal]`, `[flow_table]` and `[metrics]`: what concerns the process as a whole.

use std::time::Duration;

use super::super::reader::TableReader;
use super::super::types::{Eal, FlowTable, Metrics};
use super::super::values;

pub(in super::super) fn eal(top: &TableReader<'_>) -> Eal {
    let table = top.table("eal");
    let args = table.parsed_all("args", |arg| Ok(arg.to_string()));
    let lcores = table.parsed("lcores", values::cpu_list);
    if lcores.is_some() {
        for arg in args.iter().filter(|a| chooses_cores(&a.value)) {
            table.report.error_across(
                &arg.span,
                format!("{:?} chooses the CPUs a second time, beside lcores", arg.value),
                "leave it out: lcores says which CPUs the workers get",
            );
        }
    }
    table.finish();
    Eal { args: args.into_iter().map(|a| a.value).collect(), lcores: lcores.map(|l| l.value) }
}

/// Whether an EAL argument is one of `-l LIST`, `-c MASK` and `--lcores`, also with its value attached.
fn chooses_cores(arg: &str) -> bool {
    let value_follows = |rest: &str| rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_hexdigit());
    arg.starts_with("--lcores")
        || ["-l", "-c"].iter().any(|flag| arg.strip_prefix(flag).is_some_and(value_follows))
}

pub(in super::super) fn flow_table(top: &TableReader<'_>) -> FlowTable {
    let table = top.table("flow_table");
    let time = |name| table.duration(name).map_or(Duration::ZERO, |d| d.value);
    let flow_table = FlowTable {
        entries_per_lcore: table.integer("entries_per_lcore").map_or(0, |n| n.value),
        tcp_idle: time("tcp_idle"),
        udp_idle: time("udp_idle"),
        syn_timeout: time("syn_timeout"),
        closed_timeout: time("closed_timeout"),
    };
    table.finish();
    flow_table
}

pub(in super::super) fn metrics(top: &TableReader<'_>) -> Metrics {
    let table = top.table("metrics");
    let listen = table.parsed("listen", values::listener).and_then(|l| l.value);
    table.finish();
    Metrics { listen }
}
