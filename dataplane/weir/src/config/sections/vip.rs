//! `[[vip]]`: the virtual services, and what must hold among them.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use dataplane::tables::builder::{MAX_PORTS, MAX_SERVERS, MAX_VIPS};
use dataplane::tables::network_map::NetworkMap;

use ipnet::IpNet;

use super::super::diagnostic::Span;
use super::super::port_set::PortSet;
use super::super::reader::{At, TableReader};
use super::super::types::{Encap, MOST_ANNOUNCED, Protocol, Select, ServerState, Tunnel, Vip};
use super::super::values;
use super::health;
use super::mss::mss_clamp;
use super::overlap::TakenPorts;
use super::policy;
use super::port::{Ports, once};
use super::server::{self, ServerDraft, Surroundings};

/// A VIP on its way into the configuration, with the places of what was written.
pub(super) struct VipDraft {
    /// Complete except for its servers.
    pub(super) vip: Vip,
    pub(super) servers: Vec<ServerDraft>,
    /// `None` if it is wrong.
    pub(super) encap: Option<At<Encap>>,
    /// What the file has as ports, in order.
    pub(super) ports: Vec<At<RangeInclusive<u16>>>,
    address: Span,
    name: Span,
    header: Span,
}

pub(in super::super) fn vips(top: &TableReader<'_>, ports: &Ports, tunnel: &Tunnel) -> Vec<Vip> {
    let report = top.report;
    let errors_before = report.errors();
    let mut drafts: Vec<VipDraft> =
        top.tables("vip").iter().filter_map(|table| draft(table, ports)).collect();
    if drafts.is_empty() && report.errors() == errors_before {
        report.warning(
            &(0..0),
            "there is no [[vip]]: every packet for a client service will be dropped",
            "add [[vip]] with address = \"203.0.113.10\", port = 80 and servers = [\"198.51.100.11\"]",
        );
    }
    check_unique(top, &drafts);
    check_room(top, &drafts);
    let networks: NetworkMap<Span> =
        drafts.iter().map(|draft| (draft.vip.network, draft.address.clone())).collect();
    let around = Surroundings { report, ports, tunnel, vips: &networks };
    for draft in &mut drafts {
        check(draft, &around);
        server::check(draft, &around);
    }
    drafts.into_iter().map(finished).collect()
}

fn draft(table: &TableReader<'_>, ports_of_ours: &Ports) -> Option<VipDraft> {
    let address = table.parsed("address", values::vip_network);
    let protocol = table.word("protocol", Protocol::from_word).map_or(Protocol::Tcp, |p| p.value);
    let ports = table.ports("port");
    if let (Protocol::Any, Some(port)) = (protocol, ports.first()) {
        // The VIP lookup knows (address, protocol, port), (address, protocol) and (address).
        table.report.error_across(
            &port.span,
            "protocol = \"any\" cannot go with a port",
            "leave the port out, or write one [[vip]] with protocol = \"tcp\" and one with \"udp\"",
        );
    }
    let all_ports = PortSet::new(ports.iter().map(|port| port.value.clone()).collect());
    let encap = table.word("encap", Encap::from_word);
    let kind = encap.as_ref().map_or(Encap::Gre, |e| e.value);
    let key = only_with(table, "key", kind, Encap::Gre);
    let dscp = only_with(table, "dscp", kind, Encap::L3dsr);
    let variant = only_with(table, "variant", kind, Encap::Gue);
    if kind == Encap::L3dsr && !table.has("dscp") {
        table.report.error_across(
            &encap.as_ref().map_or_else(|| table.span(), |e| e.span.clone()),
            "encap = \"l3dsr\" needs a dscp, by which servers know the VIP",
            "add dscp = 7, and the same code point on the servers",
        );
    }
    let network = address.as_ref().map_or_else(IpNet::default, |address| address.value);
    let mss_clamp = mss_clamp(table, ports_of_ours, network, protocol, kind);
    let select = table.word("select", Select::from_word).map(|select| select.value);
    let name = table.parsed("name", values::name);
    let servers = server::servers(table);
    let health = health::health(table, protocol, all_ports.first());
    let policy = policy::of_vip(table, select);
    let select = select.unwrap_or_else(|| policy.select(servers.len()));
    table.finish();

    let address = address?;
    let default_name = Vip::default_name(address.value, all_ports.first(), protocol);
    let name = name.unwrap_or_else(|| At::new(default_name, address.span.clone()));
    let vip = Vip {
        name: name.value,
        network: address.value,
        protocol,
        ports: all_ports,
        encap: kind,
        key,
        variant: variant.unwrap_or(0),
        dscp,
        mss_clamp,
        select,
        servers: Vec::new(),
        health,
        policy,
    };
    Some(VipDraft {
        vip,
        servers,
        encap,
        ports,
        address: address.span,
        name: name.span,
        header: table.span(),
    })
}

/// The value of a key that means something with one encapsulation only.
fn only_with<T: TryFrom<u64>>(
    table: &TableReader<'_>,
    name: &'static str,
    encap: Encap,
    only: Encap,
) -> Option<T> {
    let value = table.integer(name)?;
    if !table.has(name) || encap == only {
        return Some(value.value);
    }
    table.report.error_across(
        &value.span,
        format!("{name} goes with encap = \"{only}\", and this VIP has encap = \"{encap}\""),
        format!("take it out, or write encap = \"{only}\""),
    );
    None
}

/// No two VIPs for the same packets, no two of the same name.
fn check_unique(top: &TableReader<'_>, drafts: &[VipDraft]) {
    let (mut services, mut names, mut taken) = (HashMap::new(), HashMap::new(), TakenPorts::default());
    for draft in drafts {
        let VipDraft { vip, address, name, .. } = draft;
        let service = (vip.network, vip.protocol, vip.ports.clone());
        let duplicate = services.contains_key(&service);
        let what = format!("VIP {}", Vip::default_name(vip.network, vip.ports.first(), vip.protocol));
        let help = "put all servers into one [[vip]], or change address, protocol or port";
        if once(top.report, &mut services, service, address, &what, help) {
            taken.check(top.report, draft);
        }
        // Two equal VIPs without a name have the same default name: once is enough to say so.
        if !(duplicate && name == address) {
            let what = format!("VIP name {:?}", vip.name);
            once(
                top.report,
                &mut names,
                vip.name.clone(),
                name,
                &what,
                "every [[vip]] needs a name of its own",
            );
        }
    }
}

/// The tables of the packet path have room for all of them.
fn check_room(top: &TableReader<'_>, drafts: &[VipDraft]) {
    if let Some(first_too_many) = drafts.get(MAX_VIPS) {
        let message = format!("there are {} VIPs, and room for {MAX_VIPS}", drafts.len());
        top.report.error_across(&first_too_many.header, message, "spread them over several instances");
    }
    let mut ports = 0;
    let first_too_many = drafts.iter().find(|d| {
        ports += d.vip.ports.count();
        ports > MAX_PORTS
    });
    if let Some(vip) = first_too_many {
        let message = format!("from this VIP on there are more than {MAX_PORTS} ports");
        let help =
            "leave port out where a VIP takes nearly every port, or spread the VIPs over several instances";
        top.report.error_across(&vip.header, message, help);
    }
    let mut servers = 0;
    let first_too_many = drafts.iter().find(|d| {
        servers += d.servers.len();
        servers > MAX_SERVERS
    });
    if let Some(vip) = first_too_many {
        let message = format!("from this VIP on there are more than {MAX_SERVERS} servers");
        top.report.error_across(&vip.header, message, "spread the VIPs over several instances");
    }
}

/// What must hold for one VIP apart from its servers.
fn check(draft: &VipDraft, around: &Surroundings<'_>) {
    let VipDraft { vip, address, header, .. } = draft;
    let report = around.report;
    check_network(vip, address, around);
    let takes_flows = |s: &ServerDraft| s.server.weight > 0.0 && s.server.state == ServerState::Active;
    if !draft.servers.is_empty() && !draft.servers.iter().any(takes_flows) {
        report.warning(
            header,
            format!("VIP {:?} takes no new flows: no server is active with a weight above 0", vip.name),
            "set state = \"active\" and a weight on at least one server",
        );
    }
}

/// A VIP's addresses are nobody else's: Weir answers ARP and neighbour discovery for all of them.
fn check_network(vip: &Vip, span: &Span, around: &Surroundings<'_>) {
    let report = around.report;
    let shown = values::show_network(vip.network);
    let holds = if values::is_host(vip.network) { "is" } else { "holds" };
    for port in &around.ports.list {
        if let Some(own) = port.addresses.iter().map(IpNet::addr).find(|own| vip.network.contains(own)) {
            let which = if values::is_host(vip.network) { String::new() } else { format!(" {own}") };
            report.error_across(
                span,
                format!("VIP {shown} {holds} our own address{which}, on port {:?}", port.name),
                "give the VIP an address of its own",
            );
        } else if let Some(gateway) = port.gateways.iter().find(|gateway| vip.network.contains(*gateway)) {
            report.error_across(
                span,
                format!("VIP {shown} {holds} the gateway {gateway} of port {:?}", port.name),
                "give the VIP addresses that no other host has: Weir answers ARP and NDP for them",
            );
        }
    }
    let announcing = around.ports.list.iter().any(|port| port.announce);
    if announcing && vip.network.max_prefix_len() - vip.network.prefix_len() > MOST_ANNOUNCED.ilog2() as u8 {
        report.warning(
            span,
            format!("VIP {shown} is not announced: it has more than {MOST_ANNOUNCED} addresses"),
            "route the prefix to Weir, or write it as smaller ones",
        );
    }
    if vip.encap == Encap::L3dsr && !values::is_host(vip.network) {
        report.error_across(
            span,
            format!("encap = \"l3dsr\" cannot go with a prefix: a code point tells servers one address, not which of {shown}"),
            "write one [[vip]] with a dscp of its own for each address, or use a tunnel",
        );
    }
}

fn finished(draft: VipDraft) -> Vip {
    let servers = draft.servers.into_iter().map(|d| d.server).collect();
    Vip { servers, ..draft.vip }
}
