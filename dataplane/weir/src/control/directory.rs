//! What identifiers are called: names of VIPs and servers for metrics and people.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use dataplane::{
    tables::{Builder, Tables, builder::ServerKey, server::ServerState, vip::Service},
    worker::Handle,
};
use ipc::id::{ServerId, VipId};

use super::totals::Totals;
use crate::{
    config::{Config, Server, Vip},
    spec,
};

/// Behind the name of a VIP that the configuration no longer has.
const REMOVED: &str = " (removed)";

/// A VIP's name.
#[derive(Clone, Debug, PartialEq)]
pub struct VipLabel {
    /// Its identifier.
    pub id: VipId,
    /// Its name in the configuration.
    pub name: String,
    /// Whether the configuration still has it; a removed one may have flows left.
    pub configured: bool,
    /// What servers which are gone had counted for it, over all lcores.
    pub departed: Totals,
}

/// A server's name and what it is set to.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerLabel {
    /// Its identifier.
    pub id: ServerId,
    /// Its VIP.
    pub vip_id: VipId,
    /// The name of its VIP.
    pub vip: String,
    /// Its address, with its port under NAT.
    pub name: String,
    /// Its weight in force; zero when it takes no new flows. Changes in place with learned weights.
    pub weight: SharedWeight,
    /// Its weight in the configuration; zero when that no longer has it.
    pub configured_weight: f64,
    /// Its state in force.
    pub state: ServerState,
    /// Whether the configuration still has it; a removed one may have flows left.
    pub configured: bool,
    /// What its slot had counted, over all lcores, before the slot was its own.
    pub base: Totals,
    /// The generation since which the slot is its own: another one means that the slot means another server.
    pub born: u64,
}

/// A weight that the control thread writes and others read; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct SharedWeight(Arc<AtomicU64>);

impl SharedWeight {
    fn new(weight: f64) -> Self {
        Self(Arc::new(AtomicU64::new(weight.to_bits())))
    }

    fn set(&self, weight: f64) {
        // Relaxed: nothing else is told by it.
        self.0.store(weight.to_bits(), Ordering::Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

impl PartialEq for SharedWeight {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

/// All VIPs and servers that workers may know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Directory {
    /// The generation that its names and states are of. One in which only weights are new makes no new directory.
    pub generation: u64,
    /// By name of the configuration, removed ones last.
    pub vips: Vec<VipLabel>,
    /// In the order of their VIPs, those of a VIP together.
    pub servers: Vec<ServerLabel>,
    /// Where each server is in the list.
    places: HashMap<ServerId, usize>,
    names: HashMap<Service, String>,
    departed: HashMap<Service, Totals>,
    slots: HashMap<ServerId, Slot>,
}

/// What a server slot has been since it got its meaning.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slot {
    key: ServerKey,
    born: u64,
    base: Totals,
}

impl Directory {
    /// Brings the names up to date with a new generation.
    pub fn update(&mut self, config: &Config, builder: &Builder, tables: &Tables, workers: &[Handle]) {
        let order: HashMap<Service, usize> =
            config.vips.iter().enumerate().map(|(at, vip)| (spec::service(vip), at)).collect();
        self.names.extend(config.vips.iter().map(|vip| (spec::service(vip), vip.name.clone())));
        let known: HashMap<Service, VipId> = builder.vips().map(|(id, &service)| (service, id)).collect();
        self.names.retain(|service, _| known.contains_key(service));
        for (service, name) in &mut self.names {
            // A removed VIP must not lend its name to the series of another one.
            if !order.contains_key(service) && !name.ends_with(REMOVED) {
                name.push_str(REMOVED);
            }
        }
        let keys: HashMap<ServerId, ServerKey> = builder.servers().map(|(id, &key)| (id, key)).collect();
        for (id, slot) in self.slots.extract_if(|id, slot| keys.get(id) != Some(&slot.key)) {
            let departed = self.departed.entry(slot.key.service).or_default();
            *departed = departed.plus(Totals::of(id, workers).since(slot.base));
        }
        self.departed.retain(|service, _| known.contains_key(service));

        let place = |service: &Service| order.get(service).copied().unwrap_or(usize::MAX);
        let mut vips: Vec<_> = known.iter().collect();
        vips.sort_by_key(|(service, id)| (place(service), **id));
        self.vips = vips
            .into_iter()
            .map(|(service, &id)| VipLabel {
                id,
                name: self.names.get(service).cloned().unwrap_or_default(),
                configured: order.contains_key(service),
                departed: self.departed.get(service).copied().unwrap_or_default(),
            })
            .collect();

        self.generation = tables.generation.0;
        for (&id, &key) in &keys {
            let born = self.generation;
            self.slots.entry(id).or_insert_with(|| Slot { key, born, base: Totals::of(id, workers) });
        }
        let vip_id = |key: &ServerKey| known.get(&key.service).copied().unwrap_or(VipId(u32::MAX));
        let mut ids: Vec<_> = keys.iter().collect();
        ids.sort_by_key(|(id, key)| (place(&key.service), vip_id(key), **id));
        self.servers = ids
            .into_iter()
            .map(|(&id, key)| {
                let wanted = order.get(&key.service).and_then(|&vip| wanted(config, &config.vips[vip], key));
                let state = tables.server(id).map_or(ServerState::Draining, |server| server.state);
                let slot = self.slots.get(&id);
                ServerLabel {
                    id,
                    vip_id: vip_id(key),
                    vip: self.names.get(&key.service).cloned().unwrap_or_default(),
                    name: key.port.map_or_else(
                        || key.address.to_string(),
                        |port| std::net::SocketAddr::new(key.address, port).to_string(),
                    ),
                    weight: SharedWeight::new(0.0),
                    configured_weight: wanted.map_or(0.0, |server| server.weight),
                    state,
                    configured: wanted.is_some(),
                    base: slot.map(|slot| slot.base).unwrap_or_default(),
                    born: slot.map_or(0, |slot| slot.born),
                }
            })
            .collect();
        self.places = self.servers.iter().enumerate().map(|(at, server)| (server.id, at)).collect();
        self.reweigh(tables, self.vips.iter().map(|vip| vip.id));
    }

    /// Brings the weights in force of these VIPs' servers up to date with `tables`, for all who have this directory.
    pub fn reweigh(&self, tables: &Tables, vips: impl IntoIterator<Item = VipId>) {
        let members =
            vips.into_iter().filter_map(|vip| tables.vip(vip)).flat_map(|vip| vip.selector.members().iter());
        for member in members {
            if let Some(server) = self.server(member.server) {
                server.weight.set(member.weight);
            }
        }
    }

    /// The server in slot `id`.
    pub fn server(&self, id: ServerId) -> Option<&ServerLabel> {
        self.servers.get(*self.places.get(&id)?)
    }
}

/// The server that `key` means among those of its VIP.
fn wanted<'a>(config: &Config, vip: &'a Vip, key: &ServerKey) -> Option<&'a Server> {
    let same_way = spec::encap(vip, config.tunnel.gue_port) == key.encap;
    let mut servers = vip.servers.iter();
    servers.find(|server| {
        same_way && server.address == key.address && spec::rewritten_port(vip, server) == key.port
    })
}
