//! `[[neighbor]]`: static ARP and NDP entries.

use std::collections::HashMap;

use super::super::reader::TableReader;
use super::super::types::Neighbor;
use super::super::values;
use super::port::{Ports, once};

pub(in super::super) fn neighbors(top: &TableReader<'_>, ports: &Ports) -> Vec<Neighbor> {
    let report = top.report;
    let mut seen = HashMap::new();
    let mut neighbors = Vec::new();
    for table in top.tables("neighbor") {
        let address = table.parsed("address", values::host_address);
        let mac = table.parsed("mac", values::mac);
        table.finish();
        let Some(address) = address else { continue };
        let what = format!("neighbor {}", address.value);
        once(
            report,
            &mut seen,
            address.value,
            &address.span,
            &what,
            "keep one [[neighbor]] for each address",
        );
        if let Some(port) = ports.owner(address.value) {
            let message = format!("{} is our own address, on port {:?}", address.value, port.name);
            report.error_across(&address.span, message, "write the address of another host");
        } else if ports.sound && !ports.on_link(address.value) {
            report.error_across(
                &address.span,
                format!("neighbor {} is not on-link on any port", address.value),
                "add its network to address in [[port]], or name the gateway that leads to it instead",
            );
        }
        if let Some(mac) = mac {
            neighbors.push(Neighbor { address: address.value, mac: mac.value });
        }
    }
    neighbors
}
