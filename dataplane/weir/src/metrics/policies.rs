//! What policies do, and how VIPs fare by it.

use std::{collections::HashMap, sync::atomic::Ordering};

use policy::{
    guard::GUARDS,
    steering::{Mode, Reason},
};

use super::{
    Source,
    page::{Page, count, ratio, series_of, set},
};

/// Adds the families.
pub fn families(page: &Page, source: &Source) {
    let directory = source.findings.directory();
    let vips: HashMap<u32, &str> = directory.vips.iter().map(|vip| (vip.id.0, vip.name.as_str())).collect();
    fairness(page, source, &vips);
    decisions(page, source, &vips);
    times(page, source);
}

fn fairness(page: &Page, source: &Source, vips: &HashMap<u32, &str>) {
    let jain =
        page.ratios("weir_fairness_jain", "Jain's index of the servers' mean flow durations.", &["vip"]);
    let reward =
        page.ratios("weir_reward", "The default reward of the servers' mean flow durations.", &["vip"]);
    for (vip, fairness) in source.findings.board.fairness() {
        let Some(&name) = vips.get(&vip) else { continue };
        ratio(jain.as_ref(), &[name], fairness.jain);
        ratio(reward.as_ref(), &[name], fairness.reward);
    }
}

fn decisions(page: &Page, source: &Source, vips: &HashMap<u32, &str>) {
    let info = page.gauges(
        "weir_policy_info",
        "Always 1; who steers the VIP is in the labels.",
        &["vip", "policy", "mode"],
    );
    let steps = page.counters("weir_policy_steps_total", "Decisions about the VIP.", &["vip"]);
    let falls = page.counters(
        "weir_policy_fallback_total",
        "How often the fallback rule had to take over, by reason.",
        &["vip", "reason"],
    );
    let fallen =
        page.gauges("weir_policy_fallback", "Whether the fallback rule sets the weights now.", &["vip"]);
    let clipped =
        page.counters("weir_policy_clipped_total", "Weights that a guard changed.", &["vip", "guard"]);
    let decided = page.ratios(
        "weir_policy_weight",
        "What the policy decided on last, in multiples of the mean; with mode shadow it is not in force.",
        &["vip", "server"],
    );
    let directory = source.findings.directory();
    let servers: HashMap<u32, &str> =
        directory.servers.iter().map(|server| (server.id.0, server.name.as_str())).collect();
    source.findings.board.visit(|vip, board| {
        let Some(&name) = vips.get(&vip) else { return };
        let mode = if board.plan.mode == Mode::On { "on" } else { "shadow" };
        set(info.as_ref(), &[name, board.plan.policy.as_str(), mode], 1);
        count(steps.as_ref(), &[name], board.steps);
        for reason in Reason::ALL {
            let times = board.fallbacks.get(&reason).copied().unwrap_or(0);
            count(falls.as_ref(), &[name, reason.as_str()], times);
        }
        for ((_, guard), times) in GUARDS.iter().zip(board.clipped) {
            count(clipped.as_ref(), &[name, guard], times);
        }
        let Some(last) = board.entries.back() else { return };
        set(fallen.as_ref(), &[name], u64::from(last.fallback.is_some()));
        for server in &last.servers {
            if let Some(&server_name) = servers.get(&server.server) {
                ratio(decided.as_ref(), &[name, server_name], server.weight.weight);
            }
        }
    });
}

fn times(page: &Page, source: &Source) {
    let findings = &source.findings;
    let seconds = findings.board.seconds();
    page.histograms(
        "weir_policy_step_seconds",
        "How long the decisions of a period took, all VIPs together.",
        vec![series_of(&[], seconds.cumulative(), seconds.count(), seconds.sum())],
    );
    let policy_loop = findings.policy_loop();
    page.histograms(
        "weir_policy_loop_seconds",
        "From an observation to every worker using the weights made of it.",
        vec![series_of(&[], policy_loop.cumulative(), policy_loop.count(), policy_loop.sum())],
    );
    let lost =
        page.counters("weir_policy_log_lost_total", "Decisions that are missing in the decision log.", &[]);
    count(lost.as_ref(), &[], findings.log_lost.load(Ordering::Relaxed));
}
