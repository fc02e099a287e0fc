//! The servers of a VIP, in both forms, and what must hold for each.

use std::collections::HashMap;
use std::net::IpAddr;

use dataplane::tables::network_map::NetworkMap;

use super::super::diagnostic::{Report, Span};
use super::super::reader::{At, TableReader};
use super::super::types::{Encap, Server, ServerState, Tunnel, same_family};
use super::super::values;
use super::port::{Ports, once};
use super::vip::VipDraft;

/// A server as the file has it; the port is still what was written.
pub(super) struct ServerDraft {
    pub(super) server: Server,
    pub(super) address: Span,
    pub(super) port: Option<Span>,
}

/// What servers are checked against.
pub(super) struct Surroundings<'a> {
    pub(super) report: &'a Report<'a>,
    pub(super) ports: &'a Ports,
    pub(super) tunnel: &'a Tunnel,
    /// The addresses of every VIP of the file, and where they stand.
    pub(super) vips: &'a NetworkMap<Span>,
}

/// Reads the servers of one `[[vip]]`.
pub(super) fn servers(vip: &TableReader<'_>) -> Vec<ServerDraft> {
    let report = vip.report;
    let errors_before = report.errors();
    let short = vip.parsed_all("servers", values::server);
    let long = vip.tables("server");
    if let (true, true, Some(span)) = (vip.has("servers"), vip.has("server"), vip.key_span("servers")) {
        report.error_across(
            &span,
            "this [[vip]] has both servers and [[vip.server]]",
            "keep one form: [[vip.server]] if a server needs a weight or a state, else servers",
        );
    }
    let mut drafts: Vec<ServerDraft> = short.into_iter().map(from_short).collect();
    drafts.extend(long.iter().filter_map(from_long));
    if drafts.is_empty() && report.errors() == errors_before {
        let span = vip.key_span("servers").or(vip.key_span("server")).unwrap_or(vip.span());
        report.error_across(&span, "this [[vip]] has no servers", "write servers = [\"198.51.100.11\"]");
    }
    drafts
}

fn from_short(At { value: (address, port), span }: At<(IpAddr, Option<u16>)>) -> ServerDraft {
    let server = Server { address, port, weight: 1.0, state: ServerState::Active };
    ServerDraft { server, address: span.clone(), port: port.map(|_| span) }
}

fn from_long(table: &TableReader<'_>) -> Option<ServerDraft> {
    let address = table.parsed("address", values::host_address);
    let port = table.integer("port");
    let weight = table.float("weight").map_or(1.0, |w| w.value);
    let state = table.word("state", ServerState::from_word).map_or(ServerState::Active, |s| s.value);
    table.finish();
    let address = address?;
    let server = Server { address: address.value, port: port.as_ref().map(|p| p.value), weight, state };
    Some(ServerDraft { server, address: address.span, port: port.map(|p| p.span) })
}

/// Checks the servers of one VIP against everything around them, and fills in their ports.
pub(super) fn check(draft: &mut VipDraft, around: &Surroundings<'_>) {
    let report = around.report;
    let mut seen = HashMap::new();
    for ServerDraft { server, address: span, port: port_span } in &mut draft.servers {
        let address = server.address;
        let written_port = server.port;
        server.port = written_port.or(draft.vip.ports.single());
        let what = format!("server {}", show(address, server.port));
        let help = "keep it once; to give it more flows, raise its weight in [[vip.server]]";
        once(report, &mut seen, (address, server.port), span, &what, help);

        if let Some(port) = around.ports.owner(address) {
            let message = format!("server {address} is our own address, on port {:?}", port.name);
            report.error_across(span, message, "write the address of a server");
            continue;
        }
        if let Some(vip) = around.vips.get(address) {
            let message = format!("server {address} is an address of the VIP of line {}", report.line(vip));
            report.error_across(span, message, "write the address that only this server has");
            continue;
        }
        let kind = draft.encap.as_ref().map(|e| e.value);
        match kind {
            Some(Encap::Gre | Encap::Ipip | Encap::Gue | Encap::L3dsr) => {
                if let (Some(port_span), true) =
                    (port_span.as_ref(), written_port != draft.vip.ports.single())
                {
                    report.error_across(
                        port_span,
                        "only NAT translates the server's port",
                        "leave the port out: packets arrive at the VIP's own port; or write encap = \"nat\"",
                    );
                }
                if kind != Some(Encap::L3dsr) {
                    check_source(around, address, span);
                }
            }
            Some(Encap::Nat) | None => {}
        }
        if matches!(kind, Some(Encap::Nat | Encap::L3dsr)) && !same_family(draft.vip.network.addr(), address)
        {
            let (vip, family) = (values::show_network(draft.vip.network), family(draft.vip.network.addr()));
            report.error_across(
                span,
                format!("a rewritten destination cannot lead from {vip} to {address} of the other family"),
                format!("write the server's {family} address, or encap = \"gre\", which crosses families"),
            );
        }
        check_route(around, address, span);
    }
}

fn show(address: IpAddr, port: Option<u16>) -> String {
    port.map_or(address.to_string(), |p| std::net::SocketAddr::new(address, p).to_string())
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// An address of the family for examples.
fn example(address: IpAddr, v4: &'static str, v6: &'static str) -> &'static str {
    if address.is_ipv4() { v4 } else { v6 }
}

fn check_source(around: &Surroundings<'_>, server: IpAddr, span: &Span) {
    let source = match server {
        IpAddr::V4(_) => around.tunnel.source_v4.map(IpAddr::V4),
        IpAddr::V6(_) => around.tunnel.source_v6.map(IpAddr::V6),
    };
    if !around.ports.sound || source.is_some() {
        return;
    }
    let (family, source) = (family(server), example(server, "192.0.2.2", "2001:db8::2"));
    around.report.error_across(
        span,
        format!("there is no {family} address to send a tunnel to {server} from"),
        format!("add an {family} address to a [[port]], or write source = [\"{source}\"] in [tunnel]"),
    );
}

fn check_route(around: &Surroundings<'_>, server: IpAddr, span: &Span) {
    if !around.ports.sound || around.ports.routes.next_hop(server).is_some() {
        return;
    }
    let (family, gateway) = (family(server), example(server, "192.0.2.1", "2001:db8::1"));
    around.report.error_across(
        span,
        format!("there is no way to server {server}: it is not on-link, and there is no {family} gateway"),
        format!("add its network to address in [[port]], or a gateway there, like gateway = [\"{gateway}\"]"),
    );
}
