//! From the configuration to what table generations are built from.

use std::net::SocketAddr;

use dataplane::{
    tables::{
        self,
        flow::Timeouts,
        hash::HashKey,
        select,
        spec::{PortSpec, ServerSpec, Spec, TunnelSource, VipSpec},
        vip::Service,
    },
    wire::{Mac, protocol},
};

use ipc::id::PortId;

use crate::{
    config::{Config, Encap, Protocol, Select, Server, Vip},
    health::Board,
};

/// What `config` asks for, on ports with these addresses (in the order of the configuration), with the
/// states that the servers' health gives them.
pub fn from_config(config: &Config, macs: &[Mac], health: &Board) -> Spec {
    // As they are opened: behind the ports, in their order.
    let mut exceptions = (config.ports.len() as u16..).map(PortId);
    let ports = config.ports.iter().zip(macs).map(|(port, &mac)| PortSpec {
        exception: port.exception.as_ref().and_then(|_| exceptions.next()),
        mac,
        mtu: port.mtu,
        vlan: port.vlan,
        addresses: port.addresses.clone(),
        gateways: port.gateways.clone(),
    });
    let flows = &config.flow_table;
    Spec {
        ports: ports.collect(),
        vips: config.vips.iter().map(|vip| vip_spec(vip, config.tunnel.gue_port, health)).collect(),
        tunnel_source: TunnelSource {
            v4: config.tunnel.source_v4,
            v6: config.tunnel.source_v6,
            ipip: config.tunnel.ipip_source,
        },
        timeouts: Timeouts::new(flows.tcp_idle, flows.udp_idle, flows.syn_timeout, flows.closed_timeout),
        hash_key: HashKey::default(),
    }
}

/// What a VIP listens to.
pub fn service(vip: &Vip) -> Service {
    let protocol = match vip.protocol {
        Protocol::Tcp => Some(protocol::TCP),
        Protocol::Udp => Some(protocol::UDP),
        Protocol::Any => None,
    };
    Service { network: vip.network, protocol, port: vip.ports.first() }
}

/// How the packets of a VIP travel on.
pub fn encap(vip: &Vip, gue_port: u16) -> tables::encap::Encap {
    use tables::encap::{Encap as Way, GueVariant};
    match vip.encap {
        Encap::Gre => Way::Gre { key: vip.key },
        Encap::Ipip => Way::Ipip,
        Encap::Gue => {
            let variant = if vip.variant == 0 { GueVariant::Header } else { GueVariant::Direct };
            Way::Gue { variant, port: gue_port }
        }
        Encap::L3dsr => Way::L3dsr { dscp: vip.dscp.unwrap_or(0) },
        Encap::Nat => Way::Nat,
    }
}

/// The port that a server's flows are rewritten to: only NAT does that.
pub fn rewritten_port(vip: &Vip, server: &Server) -> Option<u16> {
    server.port.filter(|_| vip.encap == Encap::Nat)
}

/// What a server is called: its address, with its port under NAT.
pub fn server_name(vip: &Vip, server: &Server) -> String {
    match rewritten_port(vip, server) {
        Some(port) => SocketAddr::new(server.address, port).to_string(),
        None => server.address.to_string(),
    }
}

fn vip_spec(vip: &Vip, gue_port: u16, health: &Board) -> VipSpec {
    let servers = vip.servers.iter().map(|server| ServerSpec {
        address: server.address,
        port: rewritten_port(vip, server),
        weight: server.weight,
        state: health.state(vip, server),
    });
    VipSpec {
        service: service(vip),
        ports: vip.ports.ranges().to_vec(),
        encap: encap(vip, gue_port),
        mss: vip.mss_clamp,
        select: rule(vip.select),
        servers: servers.collect(),
    }
}

const fn rule(select: Select) -> select::Select {
    match select {
        Select::Hash => select::Select::Hash,
        Select::Alias => select::Select::Alias,
        Select::Lsq => select::Select::Lsq,
        Select::Lsq2 => select::Select::Lsq2,
        Select::Sed => select::Select::Sed,
        Select::Sed2 => select::Select::Sed2,
        Select::Maglev => select::Select::Maglev,
        Select::RoundRobin => select::Select::RoundRobin,
    }
}
