//! `[tunnel]`: outer source addresses.

use std::net::IpAddr;

use super::super::reader::TableReader;
use super::super::types::Tunnel;
use super::super::values;
use super::port::Ports;

pub(in super::super) fn tunnel(top: &TableReader<'_>, ports: &Ports) -> Tunnel {
    let table = top.table("tunnel");
    let mut tunnel = Tunnel::default();
    for source in table.parsed_all("source", values::host_address) {
        let earlier = match source.value {
            IpAddr::V4(v4) => tunnel.source_v4.replace(v4).map(IpAddr::V4),
            IpAddr::V6(v6) => tunnel.source_v6.replace(v6).map(IpAddr::V6),
        };
        if let Some(earlier) = earlier {
            table.report.error(
                &source.span,
                format!("{} is a second source of the family of {earlier}", source.value),
                "keep at most one IPv4 and one IPv6 address",
            );
        }
    }
    tunnel.ipip_source = table.parsed("ipip_source", values::v4_network).map(|network| network.value);
    tunnel.gue_port = table.integer("gue_port").map_or(0, |port| port.value);
    table.finish();
    for own in ports.list.iter().flat_map(|p| &p.addresses) {
        match own.addr() {
            IpAddr::V4(v4) => _ = tunnel.source_v4.get_or_insert(v4),
            IpAddr::V6(v6) => _ = tunnel.source_v6.get_or_insert(v6),
        }
    }
    tunnel
}
