//! A view as text for a terminal.

use ipc::sample::Kind;

use super::view::{Rates, Said, Server, View, Vip};

/// The kinds of samples that are shown, and their heads.
const SHOWN: [(Kind, &str); 3] = [
    (Kind::Handshake, "handshake ms"),
    (Kind::RequestLatency, "request ms"),
    (Kind::FlowCompletion, "completion ms"),
];

/// A line about the instance, then a table for each VIP.
pub fn render(view: &View) -> String {
    let process = view.pid.map_or_else(|| "stopped".into(), |pid| format!("process {pid}"));
    let mut text = format!(
        "weir: {process}, at work {:.0} ms ago; frame {} of {:.0} ms ago, generation {}, writer {}, {} samples lost\n",
        view.heartbeat_age * 1e3,
        view.frame,
        view.frame_age * 1e3,
        view.generation,
        view.epoch,
        view.samples_lost,
    );
    for vip in &view.vips {
        text.push('\n');
        text.push_str(&of_vip(vip));
    }
    text
}

fn of_vip(vip: &Vip) -> String {
    let name = vip.name.clone().unwrap_or_else(|| format!("number {}", vip.vip));
    let [flows, packets, bytes] = rates(vip.rates);
    let mut text =
        format!("VIP {name}: {} open, {flows} flows/s, {packets} packets/s, {bytes} bytes/s\n", vip.open);
    let mut rows = vec![
        ["server", "state", "weight", "open", "flows/s", "packets/s", "bytes/s"]
            .into_iter()
            .chain(SHOWN.map(|(_, head)| head))
            .map(String::from)
            .collect(),
    ];
    rows.extend(vip.servers.iter().map(of_server));
    text.push_str(&table(&rows));
    text
}

fn of_server(server: &Server) -> Vec<String> {
    let name = server.name.clone().unwrap_or_else(|| format!("number {}", server.server));
    let weight = format!("{:.2}", server.weight);
    let mut row = vec![name, server.state.into(), weight, server.open.to_string()];
    row.extend(rates(server.rates));
    row.extend(SHOWN.map(|(kind, _)| latency(server.samples.get(kind.name()).copied().flatten())));
    row
}

/// p50/p90/p99 in milliseconds, and how much that is worth.
fn latency(said: Option<Said>) -> String {
    said.map_or_else(
        || "no data".into(),
        |said| {
            let [p50, p90, p99] = [said.p50, said.p90, said.p99].map(|value| value * 1e3);
            format!("{p50:.2}/{p90:.2}/{p99:.2} ({}, {})", said.count, age(said.age))
        },
    )
}

fn age(seconds: f64) -> String {
    match seconds {
        ..10.0 => format!("{seconds:.1} s"),
        ..600.0 => format!("{seconds:.0} s"),
        _ => format!("{:.0} min", seconds / 60.0),
    }
}

fn rates(rates: Option<Rates>) -> [String; 3] {
    rates.map_or_else(
        || ["-", "-", "-"].map(String::from),
        |rates| [rates.flows, rates.packets, rates.bytes].map(|rate| format!("{rate:.1}")),
    )
}

/// Columns as wide as their widest cell, the first two to the left and the others to the right.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, &width))| {
            if at < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(&format!("  {}\n", line.trim_end()));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::status::view::{Finished, Totals};

    #[test]
    fn no_data_is_said_and_numbers_carry_their_count_and_age() {
        let said = Said {
            count: 128,
            age: 0.25,
            mean: 0.002,
            std: 0.0,
            p50: 0.002,
            p90: 0.0035,
            p99: 0.01,
            decayed_mean: 0.002,
            decayed_p90: 0.0035,
        };
        let totals = Totals { created: 7, packets: 70, bytes: 7000 };
        let server = Server {
            server: 3,
            name: Some("192.0.2.11".into()),
            state: "active",
            weight: 1.0,
            configured_weight: 1.0,
            open: 2,
            totals,
            established: 7,
            finished: Finished { fin: 5, rst: 0, timeout: 0, evicted: 0 },
            syn_retransmits: 0,
            rates: Some(Rates { flows: 1.5, packets: 15.0, bytes: 1500.0 }),
            samples: BTreeMap::from([("handshake", Some(said)), ("request_latency", None)]),
        };
        let other = Server { server: 4, name: None, state: "down", rates: None, ..server.clone() };
        let vip = Vip {
            vip: 0,
            name: Some("web".into()),
            open: 2,
            totals,
            rates: None,
            servers: vec![server, other],
        };
        let view = View {
            region: "/run/weir/region".into(),
            pid: Some(42),
            epoch: 2,
            heartbeat_age: 0.011,
            frame: 9,
            frame_age: 0.012,
            generation: 5,
            samples_lost: 0,
            interval: 0.5,
            vips: vec![vip],
        };
        assert_eq!(
            render(&view),
            "weir: process 42, at work 11 ms ago; frame 9 of 12 ms ago, generation 5, writer 2, 0 samples lost\n\n\
             VIP web: 2 open, - flows/s, - packets/s, - bytes/s\n\
             \u{20} server      state   weight  open  flows/s  packets/s  bytes/s                  handshake ms  request ms  completion ms\n\
             \u{20} 192.0.2.11  active    1.00     2      1.5       15.0   1500.0  2.00/3.50/10.00 (128, 0.2 s)     no data        no data\n\
             \u{20} number 4    down      1.00     2        -          -        -  2.00/3.50/10.00 (128, 0.2 s)     no data        no data\n"
        );
        assert!(view.json().contains("\"request_latency\":null"), "{}", view.json());
    }
}
