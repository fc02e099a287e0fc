//! `[measure]` and `[region]`: what is measured, and who may look.

use std::path::PathBuf;

use super::super::reader::{At, TableReader};
use super::super::types::{Measure, Region};
use super::super::values;

pub(in super::super) fn measure(top: &TableReader<'_>) -> Measure {
    let table = top.table("measure");
    let flows: Option<At<u32>> = table.integer_or_off("flows");
    if let Some(At { value, span }) = &flows
        && *value > 0
        && !value.is_power_of_two()
    {
        let (below, above) = (1 << value.ilog2(), value.next_power_of_two());
        table.report.error(
            span,
            format!("\"flows\" must be a power of two, and {value} is none"),
            format!("write flows = {below} or flows = {above}"),
        );
    }
    let measure = Measure {
        flows: flows.map_or(0, |flows| flows.value),
        ring: table.integer("ring").map_or(0, |ring| ring.value),
        acceptance: table.float("acceptance").map_or(1.0, |share| share.value),
        decay: table.float("decay").map_or(1.0, |share| share.value),
    };
    table.finish();
    measure
}

pub(in super::super) fn region(top: &TableReader<'_>) -> Region {
    let table = top.table("region");
    let region = Region {
        path: table.parsed("path", values::file).map(|path| PathBuf::from(path.value)),
        slots: table.integer("slots").map_or(0, |slots| slots.value),
    };
    table.finish();
    region
}
