//! The metrics, each declared once with its help.

use std::sync::atomic::Ordering;

use dataplane::pipeline::{
    DropReason,
    counters::{Ledger, ServerCounters},
};
use prometheus::{
    Encoder, GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};

use super::{Source, Status};
use crate::health::{Outcome, Transition};

/// A scrape under construction.
struct Page(Registry);

impl Page {
    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Option<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Option<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn ratios(&self, name: &str, help: &str, labels: &[&str]) -> Option<GaugeVec> {
        self.add(GaugeVec::new(Opts::new(name, help), labels))
    }

    fn add<C: Collector + Clone + 'static>(&self, collector: prometheus::Result<C>) -> Option<C> {
        let collector = collector.ok()?;
        self.0.register(Box::new(collector.clone())).ok()?;
        Some(collector)
    }
}

fn count(family: Option<&IntCounterVec>, labels: &[&str], value: u64) {
    if let Some(family) = family {
        family.with_label_values(labels).inc_by(value);
    }
}

fn set(family: Option<&IntGaugeVec>, labels: &[&str], value: u64) {
    if let Some(family) = family {
        family.with_label_values(labels).set(value.try_into().unwrap_or(i64::MAX));
    }
}

fn ratio(family: Option<&GaugeVec>, labels: &[&str], value: f64) {
    if let Some(family) = family {
        family.with_label_values(labels).set(value);
    }
}

/// All metrics in Prometheus' text format.
pub fn render(source: &Source) -> String {
    let page = Page(Registry::new());
    let status = source.status();
    packets(&page, source, &status);
    vips(&page, source, &status);
    servers(&page, source, &status);
    health(&page, &status);
    lcores(&page, source, &status);
    process(&page, source, &status);
    let mut text = Vec::new();
    // Writing to a vector does not fail, and a family that cannot be encoded is left out.
    let _ = TextEncoder::new().encode(&page.0.gather(), &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// The packet law: received, transmitted, dropped, held.
fn packets(page: &Page, source: &Source, status: &Status) {
    let by_port = ["port", "lcore"];
    let rx = page.counters(
        "weir_port_rx_packets_total",
        "Packets received, by port; \"control\": our own; \"handover\": from other workers.",
        &by_port,
    );
    let rx_bytes = page.counters("weir_port_rx_bytes_total", "Bytes of frames received.", &by_port);
    let tx = page.counters(
        "weir_port_tx_packets_total",
        "Packets transmitted, by port; \"control\" took those for us; \"handover\": to other workers.",
        &by_port,
    );
    let tx_bytes = page.counters("weir_port_tx_bytes_total", "Bytes of frames transmitted.", &by_port);
    let drops =
        page.counters("weir_drops_total", "Packets that ended here, by reason.", &["reason", "lcore"]);
    let held =
        page.gauges("weir_packets_in_flight", "Packets held until their next hop is resolved.", &["lcore"]);
    for worker in &source.workers {
        let lcore = worker.lcore.0.to_string();
        let Some(ledger) = worker.ledger() else { continue };
        for at in 0..ledger.places() {
            let other = if at == ledger.control() { "control" } else { "handover" };
            let port = status.ports.get(at).filter(|_| at < ledger.ports()).map_or(other, |(name, ..)| name);
            let labels = [port, lcore.as_str()];
            count(rx.as_ref(), &labels, ledger.rx(at).packets);
            count(rx_bytes.as_ref(), &labels, ledger.rx(at).bytes);
            count(tx.as_ref(), &labels, ledger.tx(at).packets);
            count(tx_bytes.as_ref(), &labels, ledger.tx(at).bytes);
        }
        for &reason in DropReason::ALL {
            count(drops.as_ref(), &[reason.name(), &lcore], ledger.drops(reason));
        }
        set(held.as_ref(), &[&lcore], ledger.in_flight());
    }
    let missed =
        page.counters("weir_port_rx_missed_total", "Packets that the device dropped before us.", &["port"]);
    let no_buffer = page.counters(
        "weir_port_rx_no_buffer_total",
        "Packets lost because the buffer pool was empty.",
        &["port"],
    );
    let up = page.gauges("weir_port_up", "Whether the link is up.", &["port"]);
    for (name, is_up, stats) in &status.ports {
        count(missed.as_ref(), &[name], stats.imissed);
        count(no_buffer.as_ref(), &[name], stats.rx_nombuf);
        set(up.as_ref(), &[name], u64::from(*is_up));
    }
}

fn vips(page: &Page, source: &Source, status: &Status) {
    let packets = page.counters("weir_vip_packets_total", "Packets forwarded to servers.", &["vip"]);
    let bytes = page.counters("weir_vip_bytes_total", "Bytes of frames forwarded to servers.", &["vip"]);
    let flows = page.gauges("weir_vip_flows", "Live flows.", &["vip"]);
    for vip in &status.directory.vips {
        let servers = || status.directory.servers.iter().filter(|server| server.vip == vip.name);
        let sum = |read: fn(&ServerCounters) -> u64, base: usize| -> u64 {
            let counted =
                servers().map(|server| server_sum(source, server.id, read).saturating_sub(server.base[base]));
            vip.departed[base] + counted.sum::<u64>()
        };
        count(packets.as_ref(), &[&vip.name], sum(|server| server.packets.get(), 0));
        count(bytes.as_ref(), &[&vip.name], sum(|server| server.bytes.get(), 1));
        let live = servers().map(|server| server_sum(source, server.id, |server| server.flows.get())).sum();
        set(flows.as_ref(), &[&vip.name], live);
    }
}

fn server_sum(source: &Source, id: ipc::id::ServerId, read: fn(&ServerCounters) -> u64) -> u64 {
    source.workers.iter().fold(0, |sum, worker| sum.wrapping_add(read(worker.counters.server(id))))
}

fn servers(page: &Page, source: &Source, status: &Status) {
    let labels = ["vip", "server"];
    let packets = page.counters("weir_server_packets_total", "Packets forwarded to this server.", &labels);
    let bytes = page.counters("weir_server_bytes_total", "Bytes of frames before encapsulation.", &labels);
    let created = page.counters("weir_server_flows_total", "Flows that were given to this server.", &labels);
    let flows = page.gauges("weir_server_flows", "Live flows.", &labels);
    let weight = page.ratios("weir_server_weight", "Weight in force for new flows.", &labels);
    let up = page.gauges("weir_server_up", "Whether the server is not down.", &labels);
    for server in &status.directory.servers {
        let labels = [server.vip.as_str(), server.name.as_str()];
        let since = |value: u64, base: usize| value.saturating_sub(server.base[base]);
        count(packets.as_ref(), &labels, since(server_sum(source, server.id, |s| s.packets.get()), 0));
        count(bytes.as_ref(), &labels, since(server_sum(source, server.id, |s| s.bytes.get()), 1));
        count(created.as_ref(), &labels, since(server_sum(source, server.id, |s| s.created.get()), 2));
        set(flows.as_ref(), &labels, server_sum(source, server.id, |s| s.flows.get()));
        ratio(weight.as_ref(), &labels, server.weight);
        let is_up = server.state != dataplane::tables::server::ServerState::Down;
        set(up.as_ref(), &labels, u64::from(is_up));
    }
}

fn health(page: &Page, status: &Status) {
    let unhealthy = page.gauges(
        "weir_vip_all_servers_unhealthy",
        "Whether every server fails its checks, so that the last good ones stay in service.",
        &["vip"],
    );
    for (vip, all_unhealthy) in &status.health.vips {
        set(unhealthy.as_ref(), &[vip], u64::from(*all_unhealthy));
    }
    let checks =
        page.counters("weir_health_checks_total", "Health checks, by result.", &["vip", "server", "result"]);
    let transitions = page.counters(
        "weir_health_transitions_total",
        "Changes of what the health checks say.",
        &["vip", "server", "to"],
    );
    let ejected = page.gauges(
        "weir_server_ejected",
        "Whether the server takes no new flows because its clients got no further than their SYN.",
        &["vip", "server"],
    );
    for server in &status.health.servers {
        let (vip, name) = (server.vip.as_str(), server.server.as_str());
        for (outcome, number) in Outcome::ALL.iter().zip(server.checks) {
            count(checks.as_ref(), &[vip, name, outcome.name()], number);
        }
        for (to, number) in Transition::ALL.iter().zip(server.transitions) {
            count(transitions.as_ref(), &[vip, name, to.name()], number);
        }
        set(ejected.as_ref(), &[vip, name], u64::from(server.ejected));
    }
}

fn lcores(page: &Page, source: &Source, status: &Status) {
    let labels = ["lcore"];
    let entries =
        page.gauges("weir_flow_table_entries", "Flow entries in use; two a flow under NAT.", &labels);
    let created = page.counters("weir_flow_created_total", "Flows entered.", &labels);
    let expired = page.counters("weir_flow_expired_total", "Flows whose entries timed out.", &labels);
    let evicted =
        page.counters("weir_flow_evicted_total", "Flows whose entries made room for others.", &labels);
    let untracked = page.counters(
        "weir_flow_untracked_total",
        "Packets forwarded by hash: their flow did not fit.",
        &labels,
    );
    let fragments =
        page.counters("weir_fragments_total", "IP fragments, by what is known of them.", &["kind", "lcore"]);
    let violations = page.counters(
        "weir_pcc_violations_total",
        "Established flows that changed their server although it was not down.",
        &labels,
    );
    let busy = page.ratios(
        "weir_lcore_busy_ratio",
        "Share of time in loop turns that had packets, lately.",
        &labels,
    );
    let cycles = page.ratios(
        "weir_lcore_cycles_per_packet",
        "Time-stamp cycles per packet in turns that had packets, lately.",
        &labels,
    );
    for worker in &source.workers {
        let lcore = worker.lcore.0.to_string();
        let (labels, counters) = ([lcore.as_str()], &worker.counters.lcore);
        set(entries.as_ref(), &labels, counters.entries.get());
        count(created.as_ref(), &labels, counters.created.get());
        count(expired.as_ref(), &labels, counters.expired.get());
        count(evicted.as_ref(), &labels, counters.evicted.get());
        count(untracked.as_ref(), &labels, counters.untracked.get());
        for (kind, counter) in [
            ("first", &counters.fragments_first),
            ("followed", &counters.fragments_followed),
            ("unknown", &counters.fragments_unknown),
        ] {
            count(fragments.as_ref(), &[kind, labels[0]], counter.get());
        }
        count(violations.as_ref(), &labels, counters.pcc_violations.get());
        let load = status.load.get(usize::from(worker.lcore.0)).copied().unwrap_or_default();
        ratio(busy.as_ref(), &labels, load.busy_ratio);
        ratio(cycles.as_ref(), &labels, load.cycles_per_packet);
    }
}

fn process(page: &Page, source: &Source, status: &Status) {
    let generation = page.gauges("weir_table_generation", "Number of the table generation in force.", &[]);
    set(generation.as_ref(), &[], status.generation);
    let reloads =
        page.counters("weir_config_reload_total", "Reloads of the configuration, by result.", &["result"]);
    count(reloads.as_ref(), &["ok"], source.reloads.load(Ordering::Relaxed));
    count(reloads.as_ref(), &["refused"], source.refused_reloads.load(Ordering::Relaxed));
    let panics =
        page.counters("weir_control_panics_total", "Panics that the control thread went on after.", &[]);
    count(panics.as_ref(), &[], source.control_panics.load(Ordering::Relaxed));
    let build = page.gauges("weir_build_info", "Always 1; the version is in the label.", &["version"]);
    set(build.as_ref(), &[env!("CARGO_PKG_VERSION")], 1);
}

/// The ledgers of all workers together; `None` when one could not be read whole.
pub fn whole_ledger(source: &Source) -> Option<Ledger> {
    let mut ledgers = source.workers.iter().map(dataplane::worker::Handle::ledger);
    let mut sum = ledgers.next()??;
    for ledger in ledgers {
        sum.merge(&ledger?);
    }
    Some(sum)
}
