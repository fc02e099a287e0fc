//! `mss_clamp` of a `[[vip]]`.

use ipnet::IpNet;

use super::super::reader::{At, IntegerOr, TableReader};
use super::super::types::{Encap, Protocol};
use super::port::Ports;

/// Bytes of IP and TCP headers without options.
const HEADERS_V4: u16 = 40;
const HEADERS_V6: u16 = 60;

/// The largest segment that SYNs of the VIP may ask for; `None`: any.
pub(super) fn mss_clamp(
    table: &TableReader<'_>,
    ports: &Ports,
    network: IpNet,
    protocol: Protocol,
    encap: Encap,
) -> Option<u16> {
    let At { value, span } = table.integer_or_true("mss_clamp")?;
    if value != IntegerOr::Word(false) && protocol == Protocol::Udp {
        table.report.warning(&span, "mss_clamp does nothing for UDP: it has no segments", "leave it out");
    }
    match value {
        IntegerOr::Integer(most) => Some(most),
        IntegerOr::Word(false) => None,
        IntegerOr::Word(true) if encap == Encap::Nat => {
            let headers = if network.addr().is_ipv4() { HEADERS_V4 } else { HEADERS_V6 };
            ports.list.iter().map(|port| port.mtu.saturating_sub(headers)).min()
        }
        IntegerOr::Word(true) => {
            table.report.error_across(
                &span,
                format!("mss_clamp = true cannot help with encap = \"{encap}\": what limits the clients' packets is in the servers' answers, which bypass Weir"),
                "give the servers' routes an advmss, or write a number to limit what the servers send",
            );
            None
        }
    }
}
