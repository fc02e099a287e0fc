//! The metrics, each declared once with its help.

use std::sync::atomic::Ordering;

use dataplane::pipeline::{
    DropReason,
    counters::{Counter, Ledger, burst_bucket_bound},
};
use prometheus::{Encoder, Registry, TextEncoder};

use super::{
    Source, Status,
    page::{Page, count, ratio, series_of, set},
    policies,
};
use crate::{
    control::{ServerLabel, Totals, live_flows},
    health::{Outcome, Transition},
};

/// All metrics in Prometheus' text format.
pub fn render(source: &Source) -> String {
    let page = Page(Registry::new());
    let status = source.status();
    packets(&page, source, &status);
    vips(&page, source, &status);
    servers(&page, source, &status);
    latencies(&page, source, &status);
    policies::families(&page, source);
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
        let servers = || status.directory.servers.iter().filter(|server| server.vip_id == vip.id);
        let totals = servers().fold(vip.departed, |sum, server| sum.plus(totals(source, server)));
        count(packets.as_ref(), &[&vip.name], totals.packets);
        count(bytes.as_ref(), &[&vip.name], totals.bytes);
        let live = servers().map(|server| live_flows(server.id, &source.workers)).sum();
        set(flows.as_ref(), &[&vip.name], live);
    }
}

/// What a server has counted since its slot is its own.
fn totals(source: &Source, server: &ServerLabel) -> Totals {
    Totals::of(server.id, &source.workers).since(server.base)
}

fn servers(page: &Page, source: &Source, status: &Status) {
    let labels = ["vip", "server"];
    let packets = page.counters("weir_server_packets_total", "Packets forwarded to this server.", &labels);
    let bytes = page.counters("weir_server_bytes_total", "Bytes of frames before encapsulation.", &labels);
    let created = page.counters("weir_server_flows_total", "Flows that were given to this server.", &labels);
    let finished =
        page.counters("weir_server_finished_total", "Flows that ended, by how.", &["vip", "server", "how"]);
    let repeated = page.counters(
        "weir_server_syn_retransmits_total",
        "SYNs that came again before the client went on.",
        &labels,
    );
    let flows = page.gauges("weir_server_flows", "Live flows.", &labels);
    let weight = page.ratios("weir_server_weight", "Weight in force for new flows.", &labels);
    let up = page.gauges("weir_server_up", "Whether the server is not down.", &labels);
    for server in &status.directory.servers {
        let labels = [server.vip.as_str(), server.name.as_str()];
        let totals = totals(source, server);
        count(packets.as_ref(), &labels, totals.packets);
        count(bytes.as_ref(), &labels, totals.bytes);
        count(created.as_ref(), &labels, totals.created);
        for (how, number) in [
            ("fin", totals.finished_fin),
            ("rst", totals.finished_rst),
            ("timeout", totals.timed_out),
            ("evicted", totals.evicted),
        ] {
            count(finished.as_ref(), &[labels[0], labels[1], how], number);
        }
        count(repeated.as_ref(), &labels, totals.syn_retransmits);
        set(flows.as_ref(), &labels, live_flows(server.id, &source.workers));
        ratio(weight.as_ref(), &labels, server.weight.get());
        let is_up = server.state != dataplane::tables::server::ServerState::Down;
        set(up.as_ref(), &labels, u64::from(is_up));
    }
}

/// How long watched flows take, by server; servers without watched flows are left out.
fn latencies(page: &Page, source: &Source, status: &Status) {
    let (mut durations, mut handshakes) = (Vec::new(), Vec::new());
    for server in &status.directory.servers {
        let Some(latencies) = source.findings.latencies(server.id) else { continue };
        let labels = [("vip", server.vip.as_str()), ("server", server.name.as_str())];
        for (series, histogram) in
            [(&mut durations, &latencies.duration), (&mut handshakes, &latencies.handshake)]
        {
            series.push(series_of(&labels, histogram.cumulative(), histogram.count(), histogram.sum()));
        }
    }
    page.histograms(
        "weir_flow_duration_seconds",
        "From the first packet of a watched flow to its FIN or RST.",
        durations,
    );
    page.histograms(
        "weir_handshake_seconds",
        "From the SYN of a watched flow to the client's first ACK.",
        handshakes,
    );
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
    let pushed =
        page.counters("weir_samples_pushed_total", "Samples handed over to the policy thread.", &labels);
    let lost = page.counters("weir_samples_lost_total", "Samples that found the ring full.", &labels);
    let watched = page.gauges("weir_watched_flows", "Flows that are watched now.", &labels);
    let mut bursts = Vec::new();
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
        count(pushed.as_ref(), &labels, counters.samples_pushed.get());
        count(lost.as_ref(), &labels, counters.samples_lost.get());
        set(watched.as_ref(), &labels, counters.watched.get());
        bursts.push(burst_series(&lcore, worker.counters.bursts()));
        let load = status.load.get(usize::from(worker.lcore.0)).copied().unwrap_or_default();
        ratio(busy.as_ref(), &labels, load.busy_ratio);
        ratio(cycles.as_ref(), &labels, load.cycles_per_packet);
    }
    page.histograms(
        "weir_burst_seconds",
        "How long the turn took that a packet came in, by packets.",
        bursts,
    );
}

/// A worker's histogram of turns. Only the buckets are counted: the sum is told by their middles.
fn burst_series(lcore: &str, bursts: &[Counter]) -> prometheus::proto::Metric {
    let (mut below, mut sum, mut lower) = (0, 0.0, 0.0);
    let mut buckets = Vec::with_capacity(bursts.len());
    for (bucket, counter) in bursts.iter().enumerate() {
        let (packets, upper) = (counter.get(), burst_bucket_bound(bucket));
        below += packets;
        sum += packets as f64 * if upper.is_finite() { f64::midpoint(lower, upper) } else { lower };
        lower = upper;
        if upper.is_finite() {
            buckets.push((upper, below));
        }
    }
    series_of(&[("lcore", lcore)], buckets, below, sum)
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
    let frames = page.counters(
        "weir_region_frames_total",
        "Frames of the region, by direction and what became of them.",
        &["channel", "result"],
    );
    let findings = &source.findings;
    for (channel, result, counter) in [
        ("statistics", "published", &findings.frames_published),
        ("statistics", "failed", &findings.frames_failed),
        ("weights", "read", &findings.weights_read),
        ("weights", "refused", &findings.weights_refused),
    ] {
        count(frames.as_ref(), &[channel, result], counter.load(Ordering::Relaxed));
    }
    let restarts =
        page.counters("weir_policy_restarts_total", "New starts of the policy thread after a panic.", &[]);
    count(restarts.as_ref(), &[], findings.restarts.load(Ordering::Relaxed));
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
