//! Ports that two VIPs, or two entries of one list, both name.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::super::diagnostic::{Report, Span};
use super::super::port_set::show_range;
use super::super::reader::At;
use super::super::types::Protocol;
use super::vip::VipDraft;

/// Ranges that do not overlap, by their first port, and where each was named.
#[derive(Default)]
struct Named(BTreeMap<u16, (u16, Span)>);

impl Named {
    /// What `range` has in common with a range that was named before.
    fn common(&self, range: &RangeInclusive<u16>) -> Option<(RangeInclusive<u16>, &Span)> {
        let (&first, (last, span)) = self.0.range(..=range.end()).next_back()?;
        (last >= range.start()).then(|| (first.max(*range.start())..=*last.min(range.end()), span))
    }

    fn add(&mut self, range: &RangeInclusive<u16>, span: &Span) {
        self.0.insert(*range.start(), (*range.end(), span.clone()));
    }
}

/// The ports of every address and protocol that has been read.
#[derive(Default)]
pub(super) struct TakenPorts(HashMap<(IpNet, Protocol), Named>);

impl TakenPorts {
    /// Notes the ports that this VIP names twice, or that an earlier one has.
    pub(super) fn check(&mut self, report: &Report<'_>, draft: &VipDraft) {
        let taken = self.0.entry((draft.vip.network, draft.vip.protocol)).or_default();
        let mut own = Named::default();
        for At { value: range, span } in &draft.ports {
            if let Some((common, first)) = own.common(range) {
                let message = format!(
                    "{} {} twice; first on line {}",
                    ports(&common),
                    is_named(&common),
                    report.line(first)
                );
                report.error(span, message, "name each port once");
                continue;
            }
            own.add(range, span);
            if let Some((common, first)) = taken.common(range) {
                let verb = if common.start() == common.end() { "belongs" } else { "belong" };
                let message = format!(
                    "{} of this address {verb} to the VIP whose port stands on line {}",
                    ports(&common),
                    report.line(first)
                );
                report.error_across(
                    span,
                    message,
                    "name each port in one [[vip]] of an address and protocol",
                );
            }
        }
        for (first, (last, span)) in own.0 {
            if taken.common(&(first..=last)).is_none() {
                taken.add(&(first..=last), &span);
            }
        }
    }
}

fn ports(range: &RangeInclusive<u16>) -> String {
    let noun = if range.start() == range.end() { "port" } else { "ports" };
    format!("{noun} {}", show_range(range))
}

fn is_named(range: &RangeInclusive<u16>) -> &'static str {
    if range.start() == range.end() { "is named" } else { "are named" }
}
