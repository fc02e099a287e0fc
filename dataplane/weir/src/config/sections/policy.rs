//! `[policy]` and what a `[[vip]]` says of its policy.

use std::path::PathBuf;
use std::time::Duration;

use super::super::reader::{At, TableReader};
use super::super::types::{
    Fallback, Policy, PolicyMode, PolicySettings, PolicySource, Region, Select, VipPolicy,
};
use super::super::values;

const MEGABYTE: u64 = 1 << 20;

/// `[policy]`, against the region that was read before.
pub(in super::super) fn settings(top: &TableReader<'_>, region: &Region) -> PolicySettings {
    let table = top.table("policy");
    let period = table.duration("period").map_or(Duration::ZERO, |period| period.value);
    let stale_after = table.duration("stale_after");
    if let Some(stale_after) = stale_after.as_ref().filter(|stale_after| stale_after.value < period) {
        let (stale, period) = (values::show_duration(stale_after.value), values::show_duration(period));
        table.report.error(
            &stale_after.span,
            format!("\"stale_after\" is {stale}, and frames come every {period}: all would be stale"),
            format!("write a time of at least {period:?}, or leave it out"),
        );
    }
    let number = |name| table.float(name).map_or(1.0, |number| number.value);
    let source = table.word("source", PolicySource::from_word);
    if let Some(source) = source.as_ref().filter(|source| source.value == PolicySource::Region)
        && region.path.is_none()
    {
        table.report.error(
            &source.span,
            "source = \"region\" needs a region, and there is none",
            "add [region] with path = \"/run/weir/region\"",
        );
    }
    let settings = PolicySettings {
        period,
        stale_after: stale_after.map_or(Duration::ZERO, |stale_after| stale_after.value),
        weight_min: number("weight_min"),
        weight_max: number("weight_max"),
        step_max: number("step_max"),
        fallback: table.word("fallback", Fallback::from_word).map_or(Fallback::Static, |rule| rule.value),
        source: source.map_or(PolicySource::Thread, |source| source.value),
        log: table.parsed("log", values::file).map(|log| PathBuf::from(log.value)),
        log_bytes: table.integer("log_size").map_or(0, |size: At<u64>| size.value) * MEGABYTE,
    };
    table.finish();
    settings
}

/// What a VIP says of its policy, and what of that does not go together; `select` is what it says of that.
pub(super) fn of_vip(table: &TableReader<'_>, select: Option<Select>) -> VipPolicy {
    let kind = table.word("policy", Policy::from_word);
    let mode = table.word("policy_mode", PolicyMode::from_word);
    let model = table.parsed("model", values::path);
    let policy = VipPolicy {
        kind: kind.as_ref().map_or(Policy::Static, |kind| kind.value),
        mode: mode.map_or(PolicyMode::On, |mode| mode.value),
        model: model.as_ref().map(|model| PathBuf::from(&model.value)),
    };
    if let Some(At { value: kind, span }) = kind
        && let Some(select) = select.filter(|select| kind != Policy::Static && !select.follows_policies())
    {
        table.report.warning(
            &span,
            format!("with select = \"{select}\" the policy's weights have no effect"),
            "write select = \"sed\", or leave it out",
        );
    }
    if let Some(model) = model.filter(|_| !policy.kind.is_agent()) {
        table.report.error(
            &model.span,
            format!("policy = \"{}\" has no use for a model", policy.kind),
            "leave model out, or write policy = \"sac-gru\"",
        );
    }
    policy
}
