//! From the configuration to what table generations are built from.

use dataplane::{
    tables::{
        flow::Timeouts,
        hash::HashKey,
        server,
        spec::{PortSpec, ServerSpec, Spec, TunnelSource, VipSpec},
        vip::{self, Service},
    },
    wire::{Mac, protocol},
};

use crate::config::{Config, Encap, Protocol, ServerState, Vip};

/// What `config` asks for, on ports with these addresses (in the order of the configuration).
pub fn from_config(config: &Config, macs: &[Mac]) -> Spec {
    let ports = config.ports.iter().zip(macs).map(|(port, &mac)| PortSpec {
        mac,
        mtu: port.mtu,
        addresses: port.addresses.clone(),
        gateways: port.gateways.clone(),
    });
    let flows = &config.flow_table;
    Spec {
        ports: ports.collect(),
        vips: config.vips.iter().map(vip_spec).collect(),
        tunnel_source: TunnelSource { v4: config.tunnel.source_v4, v6: config.tunnel.source_v6 },
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
    Service { address: vip.address, protocol, port: vip.port }
}

fn vip_spec(vip: &Vip) -> VipSpec {
    let nat = vip.encap == Encap::Nat;
    let servers = vip.servers.iter().map(|server| ServerSpec {
        address: server.address,
        port: server.port.filter(|_| nat),
        weight: server.weight,
        state: match server.state {
            ServerState::Active => server::ServerState::Active,
            ServerState::Draining => server::ServerState::Draining,
            ServerState::Down => server::ServerState::Down,
        },
    });
    let encap = if nat { vip::Encap::Nat } else { vip::Encap::Gre };
    VipSpec { service: service(vip), encap, servers: servers.collect() }
}
