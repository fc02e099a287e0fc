//! What a reload cannot change.

use std::fmt;

use super::types::{Config, Measure, Port, Region};
use super::values::show_list;

/// Something that differs between two configurations and cannot change while running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which key, and of which port: `[[port]] "lan": mtu`.
    pub what: String,
    /// Its value now.
    pub old: String,
    /// Its value in the new file.
    pub new: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, old, new } = self;
        write!(
            f,
            "{what} cannot change from {old} to {new} at run time: restart weir, or put the old value back"
        )
    }
}

impl Config {
    /// Everything in which `new` differs from this configuration and that only a restart can change: the EAL,
    /// the ports, the size of the flow tables, what is measured, the region, the decision log, the address of the metrics. Empty: `new` can be taken.
    pub fn unreloadable_changes(&self, new: &Config) -> Vec<Change> {
        let mut changes = Changes::default();
        changes.note("[eal] args", show_list(&self.eal.args), show_list(&new.eal.args));
        changes.note("[eal] lcores", lcores(self), lcores(new));
        for index in 0..self.ports.len().max(new.ports.len()) {
            match (self.ports.get(index), new.ports.get(index)) {
                (Some(old), Some(new)) => port(&mut changes, old, new),
                (old, new) => changes.note(&format!("[[port]] number {}", index + 1), named(old), named(new)),
            }
        }
        let entries = |c: &Config| c.flow_table.entries_per_lcore.to_string();
        changes.note("[flow_table] entries_per_lcore", entries(self), entries(new));
        measuring(&mut changes, self, new);
        let listen = |c: &Config| c.metrics.listen.map_or("off".into(), |l| l.to_string());
        changes.note("[metrics] listen", listen(self), listen(new));
        let socket = |c: &Config| c.control.socket.as_ref().map_or("off".into(), |s| s.display().to_string());
        changes.note("[control] socket", socket(self), socket(new));
        changes.0
    }
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn note(&mut self, what: &str, old: String, new: String) {
        if old != new {
            self.0.push(Change { what: what.into(), old, new });
        }
    }
}

fn measuring(changes: &mut Changes, old: &Config, new: &Config) {
    // Without `..`: a new field has to be thought of here.
    let values = |config: &Config| {
        let Measure { flows, ring, acceptance, decay } = config.measure;
        let Region { path, slots } = &config.region;
        let log = config.policy.log.as_ref().map_or("none".into(), |log| log.display().to_string());
        let flows = if flows == 0 { "off".into() } else { flows.to_string() };
        let path = path.as_ref().map_or("none".into(), |path| path.display().to_string());
        [
            ("[measure] flows", flows),
            ("[measure] ring", ring.to_string()),
            ("[measure] acceptance", acceptance.to_string()),
            ("[measure] decay", decay.to_string()),
            ("[region] path", path),
            ("[region] slots", slots.to_string()),
            ("[policy] source", config.policy.source.to_string()),
            ("[policy] log", log),
            ("[policy] log_size", (config.policy.log_bytes >> 20).to_string()),
        ]
    };
    for ((what, old), (_, new)) in values(old).into_iter().zip(values(new)) {
        changes.note(what, old, new);
    }
}

fn port(changes: &mut Changes, old: &Port, new: &Port) {
    // Without `..`: a new field has to be thought of here.
    // `announce` is the control thread's alone, which follows it at once.
    let Port {
        name,
        device,
        addresses,
        gateways,
        mac,
        queues,
        rx_ring,
        tx_ring,
        mtu,
        promiscuous,
        vlan,
        exception,
        announce: _,
    } = old;
    let mut note =
        |key: &str, old: String, new: String| changes.note(&format!("[[port]] {name:?}: {key}"), old, new);
    note("name", name.clone(), new.name.clone());
    note("device", device.clone(), new.device.clone());
    note("address", show_list(addresses), show_list(&new.addresses));
    note("gateway", show_list(gateways), show_list(&new.gateways));
    note("mac", or(*mac, "the device's own"), or(new.mac, "the device's own"));
    note("queues", or(*queues, "one for each worker"), or(new.queues, "one for each worker"));
    note("rx_ring", rx_ring.to_string(), new.rx_ring.to_string());
    note("tx_ring", tx_ring.to_string(), new.tx_ring.to_string());
    note("mtu", mtu.to_string(), new.mtu.to_string());
    note("promiscuous", promiscuous.to_string(), new.promiscuous.to_string());
    note("vlan", or(*vlan, "untagged"), or(new.vlan, "untagged"));
    note("exception", or(exception.clone(), "none"), or(new.exception.clone(), "none"));
}

fn named(port: Option<&Port>) -> String {
    port.map_or("none".into(), |p| format!("{:?} ({})", p.name, p.device))
}

fn lcores(config: &Config) -> String {
    config.eal.lcores.as_ref().map_or("left out".into(), |l| show_list(l))
}

fn or<T: fmt::Display>(value: Option<T>, without: &str) -> String {
    value.map_or(without.into(), |v| v.to_string())
}
