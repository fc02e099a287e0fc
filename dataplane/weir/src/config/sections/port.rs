//! `[[port]]`: the ports, and what must hold among them.

use std::collections::HashMap;
use std::net::IpAddr;

use dataplane::tables::route::Routes;
use ipc::id::PortId;
use ipnet::IpNet;

use super::super::diagnostic::{Report, Span};
use super::super::reader::{At, TableReader};
use super::super::types::{Eal, Port};
use super::super::values;

/// The ports of the file.
pub(in super::super) struct Ports {
    pub(in super::super) list: Vec<Port>,
    /// Where they lead, by the rule of the packet path.
    pub(in super::super) routes: Routes,
    /// Whether they are free of errors; if not, what depends on their addresses is not worth checking.
    pub(in super::super) sound: bool,
}

impl Ports {
    /// Whether an address is on-link on one of the ports.
    pub(in super::super) fn on_link(&self, address: IpAddr) -> bool {
        self.list.iter().flat_map(|p| &p.addresses).any(|net| net.contains(&address))
    }

    /// The port that has this address.
    pub(in super::super) fn owner(&self, address: IpAddr) -> Option<&Port> {
        self.list.iter().find(|p| p.addresses.iter().any(|net| net.addr() == address))
    }
}

/// Where things were first said, to point at them when they are said again.
#[derive(Default)]
struct Seen {
    names: HashMap<String, Span>,
    devices: HashMap<String, Span>,
    addresses: HashMap<IpAddr, Span>,
    networks: HashMap<IpNet, Span>,
    /// First gateway for IPv4, and for IPv6.
    gateways: HashMap<bool, (IpAddr, Span)>,
}

pub(in super::super) fn ports(top: &TableReader<'_>, eal: &Eal) -> Ports {
    let report = top.report;
    let errors_before = report.errors();
    let tables = top.tables("port");
    if tables.is_empty() && report.errors() == errors_before {
        report.error_across(
            &(0..0),
            "there is no [[port]]",
            "add [[port]] with device = \"0000:3b:00.0\" and address = [\"192.0.2.2/24\"]",
        );
    }
    let mut seen = Seen::default();
    let list: Vec<Port> =
        tables.iter().enumerate().map(|(index, table)| port(index, table, eal, &mut seen)).collect();
    let ids = (0..=u16::MAX).map(PortId);
    let routes = Routes::new(ids.zip(&list).map(|(id, p)| (id, &p.addresses[..], &p.gateways[..])));
    Ports { list, routes, sound: report.errors() == errors_before }
}

fn port(index: usize, table: &TableReader<'_>, eal: &Eal, seen: &mut Seen) -> Port {
    let report = table.report;
    let device = table.parsed("device", values::device);
    let exception = table.parsed("exception", values::vdev);
    for device in device.iter().chain(&exception) {
        // DPDK tells vdevs apart by what stands before the first comma.
        let id = device.value.split(',').next().unwrap_or_default().to_string();
        let help = "every [[port]] needs a device of its own, and so does every exception port";
        once(report, &mut seen.devices, id.clone(), &device.span, &format!("device {id:?}"), help);
    }
    let name = match table.parsed("name", values::name) {
        Some(name) => name,
        None => At::new(format!("port{index}"), table.span()),
    };
    let help = "every [[port]] needs a name of its own";
    once(
        report,
        &mut seen.names,
        name.value.clone(),
        &name.span,
        &format!("port name {:?}", name.value),
        help,
    );

    let addresses = addresses(table, seen);
    let gateways = gateways(table, &addresses, seen);
    let port = Port {
        name: name.value,
        device: device.map(|d| d.value).unwrap_or_default(),
        addresses: addresses.into_iter().map(|a| a.value).collect(),
        gateways: gateways.into_iter().map(|g| g.value).collect(),
        mac: table.parsed("mac", values::mac).map(|m| m.value),
        queues: queues(table, eal),
        rx_ring: table.integer("rx_ring").map_or(0, |n| n.value),
        tx_ring: table.integer("tx_ring").map_or(0, |n| n.value),
        mtu: table.integer("mtu").map_or(0, |n| n.value),
        promiscuous: table.boolean("promiscuous").is_some_and(|p| p.value),
        vlan: table.integer("vlan").map(|v| v.value),
        exception: exception.map(|e| e.value),
        announce: table.boolean("announce").is_some_and(|a| a.value),
    };
    table.finish();
    port
}

fn queues(table: &TableReader<'_>, eal: &Eal) -> Option<u16> {
    let queues = table.integer::<u16>("queues")?;
    let workers = eal.lcores.as_ref().map(Vec::len);
    if let Some(workers) = workers.filter(|w| *w != usize::from(queues.value)) {
        table.report.error_across(
            &queues.span,
            format!("queues is {}, and lcores asks for {workers} workers", queues.value),
            format!("write queues = {workers}, or leave it out: each worker polls one queue of every port"),
        );
    }
    Some(queues.value)
}

fn addresses(table: &TableReader<'_>, seen: &mut Seen) -> Vec<At<IpNet>> {
    let report = table.report;
    let errors_before = report.errors();
    let addresses = table.parsed_all("address", values::interface);
    if addresses.is_empty() && table.has("address") && report.errors() == errors_before {
        let span = table.key_span("address").unwrap_or_default();
        report.error(&span, "a port needs at least one address", "write address = [\"192.0.2.2/24\"]");
    }
    let mut own_networks = Vec::new();
    for At { value: net, span } in &addresses {
        let what = format!("address {}", net.addr());
        let new =
            once(report, &mut seen.addresses, net.addr(), span, &what, "every address belongs to one port");
        if new && !own_networks.contains(&net.trunc()) {
            own_networks.push(net.trunc());
            match seen.networks.get(&net.trunc()) {
                Some(first) => report.warning(
                    span,
                    format!(
                        "{} is on-link on an earlier port too (line {})",
                        net.trunc(),
                        report.line(first)
                    ),
                    "packets to this network leave by the earlier port; give each port a network of its own",
                ),
                None => _ = seen.networks.insert(net.trunc(), span.clone()),
            }
        }
    }
    addresses
}

fn gateways(table: &TableReader<'_>, addresses: &[At<IpNet>], seen: &mut Seen) -> Vec<At<IpAddr>> {
    let report = table.report;
    let gateways = table.parsed_all("gateway", values::host_address);
    for At { value: gateway, span } in &gateways {
        if addresses.iter().any(|a| a.value.addr() == *gateway) {
            let help = "write the address of the router on this network";
            report.error_across(span, format!("gateway {gateway} is this port's own address"), help);
            continue;
        } else if !addresses.iter().any(|a| a.value.contains(gateway)) {
            let networks: Vec<_> = addresses.iter().map(|a| a.value.trunc().to_string()).collect();
            report.error_across(
                span,
                format!("gateway {gateway} is not on-link on this port"),
                format!("write a gateway inside {}, or add its network to address", networks.join(" or ")),
            );
            continue;
        }
        match seen.gateways.get(&gateway.is_ipv4()) {
            Some((first, at)) => report.warning(
                span,
                format!("gateway {gateway} is never used: {first} (line {}) comes first", report.line(at)),
                "keep one gateway of each family in the whole file",
            ),
            None => _ = seen.gateways.insert(gateway.is_ipv4(), (*gateway, span.clone())),
        }
    }
    gateways
}

/// Notes an error if `value` was seen before, pointing at the line of the first one; says whether it was not.
pub(super) fn once<T: std::hash::Hash + Eq>(
    report: &Report<'_>,
    seen: &mut HashMap<T, Span>,
    value: T,
    span: &Span,
    what: &str,
    help: &str,
) -> bool {
    match seen.get(&value) {
        Some(first) => {
            let message = format!("{what} is there twice; first on line {}", report.line(first));
            report.error_across(span, message, help);
            false
        }
        None => {
            seen.insert(value, span.clone());
            true
        }
    }
}
