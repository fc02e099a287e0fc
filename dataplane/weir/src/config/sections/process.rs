//! `[eal]`, `[flow_table]`, `[metrics]` and `[control]`: what concerns the process as a whole.

use std::path::PathBuf;
use std::time::Duration;

use super::super::reader::TableReader;
use super::super::types::{ControlSocket, Eal, FlowTable, Metrics};
use super::super::values;

pub(in super::super) fn eal(top: &TableReader<'_>) -> Eal {
    let table = top.table("eal");
    let args = table.parsed_all("args", values::eal_argument);
    let lcores = table.parsed("lcores", values::cpu_list);
    table.finish();
    Eal { args: args.into_iter().map(|a| a.value).collect(), lcores: lcores.map(|l| l.value) }
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

pub(in super::super) fn control(top: &TableReader<'_>) -> ControlSocket {
    let table = top.table("control");
    let socket = table.parsed("socket", values::file_or_off).and_then(|socket| socket.value);
    table.finish();
    ControlSocket { socket: socket.map(PathBuf::from) }
}
