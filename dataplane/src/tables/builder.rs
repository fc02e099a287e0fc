//! Builds generations and remembers which identifier means what.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    net::IpAddr,
    sync::Arc,
};

use ipc::id::{Generation, PortId, ServerId, VipId};

use super::{
    Port, Tables,
    encap::Encap,
    hop,
    huge::HugeArray,
    nat::Nat,
    neighbor::Neighbors,
    route::Routes,
    select::{Candidate, Identity, Rings, Selector},
    server::{Hop, Server, ServerState},
    spec::{Spec, TunnelSource, VipSpec},
    template::{Ends, Template},
    vip::{Service, Vip, VipLookup},
};

/// Most server slots over all VIPs; per-lcore counters are laid out for this many.
pub const MAX_SERVERS: usize = 1 << 17;

/// Most VIPs; per-lcore counters are laid out for this many.
pub const MAX_VIPS: usize = 1 << 14;

/// Most ports that VIPs name, a range counted by its ports; each is a key of the lookup.
pub const MAX_PORTS: usize = 1 << 18;

/// Which server of which service: what keeps its slot from generation to generation.
///
/// The encapsulation belongs to it: an established flow is not moved from one kind of tunnel to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerKey {
    /// The service it belongs to.
    pub service: Service,
    /// How its packets travel.
    pub encap: Encap,
    /// Its address.
    pub address: IpAddr,
    /// Its port, if NAT rewrites to one.
    pub port: Option<u16>,
}

/// There are more VIPs or servers than fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// More than [`MAX_SERVERS`] server slots, those of removed servers with live flows included.
    #[error("more than {MAX_SERVERS} servers, counting removed ones that still have flows")]
    TooManyServers,
    /// There is no memory for the headers of the servers.
    #[error("no memory for the headers of the servers")]
    NoMemory,
    /// More than [`MAX_VIPS`] VIPs.
    #[error("more than {MAX_VIPS} VIPs")]
    TooManyVips,
}

/// Hands out small stable numbers to keys.
#[derive(Clone, Debug)]
struct Slots<K> {
    by_key: HashMap<K, u32>,
    free: Vec<u32>,
    next: u32,
}

impl<K: Eq + Hash + Copy> Slots<K> {
    fn new() -> Self {
        Self { by_key: HashMap::new(), free: Vec::new(), next: 0 }
    }

    fn get_or_assign(&mut self, key: K, limit: usize) -> Option<u32> {
        if let Some(&slot) = self.by_key.get(&key) {
            return Some(slot);
        }
        let slot = self.free.pop().or_else(|| {
            let next = self.next;
            ((next as usize) < limit).then(|| {
                self.next += 1;
                next
            })
        })?;
        self.by_key.insert(key, slot);
        Some(slot)
    }

    fn release(&mut self, unused: impl Fn(&K, u32) -> bool) {
        let free = &mut self.free;
        self.by_key.retain(|key, slot| {
            let keep = !unused(key, *slot);
            if !keep {
                free.push(*slot);
            }
            keep
        });
    }
}

/// Builds one generation after another from what is wanted and known.
///
/// A server that disappears from the configuration keeps its slot, without new flows, until
/// [`Builder::release`] learns that no flow refers to it.
#[derive(Clone, Debug)]
pub struct Builder {
    generation: u64,
    vips: Slots<Service>,
    servers: Slots<ServerKey>,
    rings: Rings,
    /// VIPs that have had a server under NAT. Their flows have an owner among the workers from then on: if they
    /// lost it with the last such server, they would have to be found again.
    translated: HashSet<VipId>,
    /// Weights that a policy has set, over the configured ones.
    learned: HashMap<VipId, HashMap<ServerId, f64>>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            generation: 0,
            vips: Slots::new(),
            servers: Slots::new(),
            rings: Rings::default(),
            translated: HashSet::new(),
            learned: HashMap::new(),
        }
    }
}

impl Builder {
    /// The next generation. On an error nothing has changed.
    pub fn build(&mut self, spec: &Spec, neighbors: &Neighbors) -> Result<Tables, BuildError> {
        let mut next = self.clone();
        let tables = next.build_next(spec, neighbors)?;
        *self = next;
        Ok(tables)
    }

    fn build_next(&mut self, spec: &Spec, neighbors: &Neighbors) -> Result<Tables, BuildError> {
        self.generation += 1;
        let routes = Routes::new(
            (0u16..)
                .map(PortId)
                .zip(&spec.ports)
                .map(|(id, port)| (id, &port.addresses[..], &port.gateways[..])),
        );
        let ports: Arc<[Port]> = spec
            .ports
            .iter()
            .map(|port| Port {
                mac: port.mac,
                mtu: port.mtu,
                vlan: port.vlan,
                addresses: port.addresses.iter().map(ipnet::IpNet::addr).collect(),
                exception: port.exception,
            })
            .collect();
        let way = |address| hop(&routes, neighbors, &ports, address);

        self.rings.begin();
        let mut vips = Vec::new();
        let mut servers: Vec<Option<Server>> = Vec::new();
        let (mut services, mut portless) = (Vec::new(), Vec::new());
        for vip_spec in &spec.vips {
            let vip = self.vips.get_or_assign(vip_spec.service, MAX_VIPS).map(VipId);
            let vip = vip.ok_or(BuildError::TooManyVips)?;
            let mut candidates = Vec::new();
            for (key, server_spec) in server_keys(vip_spec).zip(&vip_spec.servers) {
                let slot = self.servers.get_or_assign(key, MAX_SERVERS).map(ServerId);
                let slot = slot.ok_or(BuildError::TooManyServers)?;
                let server = prepare(&key, vip, server_spec.state, way(key.address), &spec.tunnel_source);
                put(&mut servers, slot.index(), server);
                if server_spec.state == ServerState::Active {
                    let identity = Identity { address: key.address, port: key.port };
                    candidates.push(Candidate { identity, server: slot, weight: server_spec.weight });
                }
            }
            services.extend(listened(vip_spec).map(|service| (service, vip)));
            portless.push((Service { port: None, ..vip_spec.service }, vip));
            let selector = Selector::new(vip_spec.select, vip, candidates, &mut self.rings);
            let selector = match self.learned.get(&vip) {
                Some(learned) => selector.reweighed(|server| learned.get(&server).copied()),
                None => selector,
            };
            let VipSpec { service, encap, mss, .. } = *vip_spec;
            put(&mut vips, vip.index(), Arc::new(Vip { service, encap, mss, selector }));
        }
        self.rings.end();
        // Servers that are no longer wanted keep the flows they have.
        for (key, &slot) in &self.servers.by_key {
            if servers.get(slot as usize).is_none_or(Option::is_none)
                && let Some(&vip) = self.vips.by_key.get(&key.service)
            {
                let state = ServerState::Draining;
                let server = prepare(key, VipId(vip), state, way(key.address), &spec.tunnel_source);
                put(&mut servers, slot as usize, server);
            }
        }
        let mut templates = HugeArray::zeroed(servers.len()).map_err(|_| BuildError::NoMemory)?;
        for (key, &slot) in &self.servers.by_key {
            if let Some(Some(server)) = servers.get(slot as usize) {
                templates[slot as usize] = template(server, key, &spec.tunnel_source);
            }
        }
        let under_nat = || servers.iter().flatten().filter(|server| server.encap == Encap::Nat);
        self.translated.extend(under_nat().map(|server| server.vip));
        let translated = self.vips.by_key.iter().map(|(service, &vip)| (VipId(vip), service.network));
        let translated = translated.filter(|(vip, _)| self.translated.contains(vip));
        Ok(Tables {
            generation: Generation(self.generation),
            lookup: Arc::new(VipLookup::new(&services)),
            portless: Arc::new(VipLookup::new(&portless)),
            vip_addresses: Arc::new(spec.vips.iter().map(|vip| (vip.service.network, ())).collect()),
            vips: vips.into_boxed_slice(),
            nat: Arc::new(Nat::new(translated, under_nat().map(|server| server.address))),
            servers: servers.into(),
            templates: templates.into(),
            ports,
            routes: Arc::new(routes),
            neighbors: Arc::new(neighbors.clone()),
            timeouts: spec.timeouts,
            hash_key: spec.hash_key,
        })
    }

    /// Forgets VIPs and servers that `spec` does not have and that are `unused`: no flow of any lcore
    /// refers to them, and every lcore works with a generation that gives them no new flows.
    pub fn release(&mut self, spec: &Spec, unused: impl Fn(ServerId) -> bool) {
        let wanted: HashSet<ServerKey> = spec.vips.iter().flat_map(server_keys).collect();
        self.servers.release(|key, slot| !wanted.contains(key) && unused(ServerId(slot)));
        let services: HashSet<Service> = spec
            .vips
            .iter()
            .map(|vip| vip.service)
            .chain(self.servers.by_key.keys().map(|key| key.service))
            .collect();
        self.vips.release(|service, _| !services.contains(service));
        let vips: HashSet<u32> = self.vips.by_key.values().copied().collect();
        self.translated.retain(|vip| vips.contains(&vip.0));
        let servers: HashSet<u32> = self.servers.by_key.values().copied().collect();
        for learned in self.learned.values_mut() {
            learned.retain(|server, _| servers.contains(&server.0));
        }
        self.learned.retain(|_, learned| !learned.is_empty());
    }

    /// Remembers learned weights of servers of `vip`, over the configured ones, for all later generations. Those that are
    /// not finite and above zero are ignored.
    pub fn learn(&mut self, vip: VipId, weights: impl IntoIterator<Item = (ServerId, f64)>) {
        let usable = weights.into_iter().filter(|(_, weight)| weight.is_finite() && *weight > 0.0);
        for (server, weight) in usable {
            self.learned.entry(vip).or_default().insert(server, weight);
        }
    }

    /// Forgets what was learned of the servers of `vip`.
    pub fn unlearn(&mut self, vip: VipId) {
        self.learned.remove(&vip);
    }

    /// The next generation, in which nothing is new but what was learned about these VIPs. `current` is the last one
    /// that was built.
    ///
    /// Shares everything else with `current`: costs a copy of the list of VIPs, and for each that is named its alias
    /// tables. No ring is built.
    pub fn reweigh(&mut self, current: &Tables, vips: impl IntoIterator<Item = VipId>) -> Tables {
        self.generation += 1;
        let mut tables = current.clone();
        tables.generation = Generation(self.generation);
        for id in vips {
            if let Some(Some(vip)) = tables.vips.get_mut(id.index()) {
                let learned = self.learned.get(&id);
                let selector = vip.selector.reweighed(|server| learned?.get(&server).copied());
                let Vip { service, encap, mss, .. } = **vip;
                *vip = Arc::new(Vip { service, encap, mss, selector });
            }
        }
        tables
    }

    /// The identifier of every known server, removed ones with flows included.
    pub fn servers(&self) -> impl Iterator<Item = (ServerId, &ServerKey)> {
        self.servers.by_key.iter().map(|(key, &slot)| (ServerId(slot), key))
    }

    /// The identifier of every known VIP.
    pub fn vips(&self) -> impl Iterator<Item = (VipId, &Service)> {
        self.vips.by_key.iter().map(|(service, &slot)| (VipId(slot), service))
    }
}

/// What a VIP listens to, port by port.
fn listened(vip: &VipSpec) -> impl Iterator<Item = Service> {
    let every = vip.ports.is_empty().then_some(vip.service);
    let ports = vip.ports.iter().cloned().flatten();
    every.into_iter().chain(ports.map(|port| Service { port: Some(port), ..vip.service }))
}

fn server_keys(vip: &VipSpec) -> impl Iterator<Item = ServerKey> {
    vip.servers.iter().map(|server| ServerKey {
        service: vip.service,
        encap: vip.encap,
        address: server.address,
        port: server.port,
    })
}

/// Puts `value` at `at`, growing the vector with `None` as needed.
fn put<T>(vector: &mut Vec<Option<T>>, at: usize, value: T) {
    if vector.len() <= at {
        vector.resize_with(at + 1, || None);
    }
    vector[at] = Some(value);
}

/// A server slot.
fn prepare(key: &ServerKey, vip: VipId, state: ServerState, hop: Hop, source: &TunnelSource) -> Server {
    // No outer source of that family: refused when the configuration was read.
    let sourceless = key.encap.is_tunnel() && Ends::new(key.encap, key.address, source).is_none();
    let hop = if sourceless { Hop::NoRoute } else { hop };
    Server { hop, address: key.address, port: key.port, encap: key.encap, state, vip }
}

/// The headers of a server slot, as far as the way there is known.
fn template(server: &Server, key: &ServerKey, source: &TunnelSource) -> Template {
    match (server.hop, Ends::new(server.encap, server.address, source)) {
        (Hop::Link(link), Some(ends)) if server.is_up() => {
            Template::new(server.encap, ends, &link, key.service.network.addr().is_ipv6())
        }
        _ => Template::NONE,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        tables::{
            flow::Timeouts,
            hash::HashKey,
            select::Select,
            spec::{PortSpec, ServerSpec},
        },
        wire::Mac,
    };

    fn spec(servers: &[&str]) -> Spec {
        let seconds = Duration::from_secs;
        Spec {
            ports: vec![PortSpec {
                exception: None,
                mac: Mac([2, 0, 0, 0, 0, 1]),
                mtu: 1500,
                vlan: None,
                addresses: vec!["192.0.2.2/24".parse().unwrap()],
                gateways: vec!["192.0.2.1".parse().unwrap()],
            }],
            vips: vec![VipSpec {
                service: Service {
                    network: "203.0.113.10/32".parse().unwrap(),
                    protocol: Some(6),
                    port: Some(80),
                },
                encap: Encap::Gre { key: None },
                mss: None,
                ports: vec![80..=80],
                select: Select::default(),
                servers: servers
                    .iter()
                    .map(|address| ServerSpec {
                        address: address.parse().unwrap(),
                        port: None,
                        weight: 1.0,
                        state: ServerState::Active,
                    })
                    .collect(),
            }],
            tunnel_source: TunnelSource { v4: Some("192.0.2.2".parse().unwrap()), ..TunnelSource::default() },
            timeouts: Timeouts::new(seconds(300), seconds(30), seconds(10), seconds(5)),
            hash_key: HashKey::default(),
        }
    }

    fn slot(builder: &Builder, address: &str) -> Option<ServerId> {
        let address: IpAddr = address.parse().unwrap();
        builder.servers().find(|(_, key)| key.address == address).map(|(id, _)| id)
    }

    #[test]
    fn server_keeps_its_slot_through_reordering_additions_and_removals() {
        let mut builder = Builder::default();
        builder.build(&spec(&["192.0.2.11", "192.0.2.12"]), &Neighbors::default()).unwrap();
        let (a, b) = (slot(&builder, "192.0.2.11"), slot(&builder, "192.0.2.12"));
        let tables = builder.build(&spec(&["192.0.2.12", "192.0.2.13"]), &Neighbors::default()).unwrap();
        assert_eq!((slot(&builder, "192.0.2.11"), slot(&builder, "192.0.2.12")), (a, b));
        let removed = tables.server(a.unwrap()).unwrap();
        assert_eq!(removed.state, ServerState::Draining, "a removed server keeps its flows");
        let members = tables.vips[0].as_ref().unwrap().selector.members();
        assert_eq!((members.len(), members.iter().any(|member| Some(member.server) == a)), (2, false));
    }

    #[test]
    fn further_ports_come_and_go_without_a_new_slot() {
        let mut builder = Builder::default();
        let mut spec = spec(&["192.0.2.11"]);
        let vip = builder.build(&spec, &Neighbors::default()).unwrap().lookup.v4(0xcb00_710a, 6, 80);
        let server = slot(&builder, "192.0.2.11");
        spec.vips[0].ports = vec![80..=80, 443..=445];
        let tables = builder.build(&spec, &Neighbors::default()).unwrap();
        assert_eq!((tables.lookup.v4(0xcb00_710a, 6, 444), slot(&builder, "192.0.2.11")), (vip, server));
        assert_eq!(tables.lookup.v4(0xcb00_710a, 6, 446), None);
    }

    #[test]
    fn slot_is_free_again_only_when_unused_and_unwanted() {
        let mut builder = Builder::default();
        builder.build(&spec(&["192.0.2.11", "192.0.2.12"]), &Neighbors::default()).unwrap();
        let wanted = spec(&["192.0.2.12"]);
        builder.build(&wanted, &Neighbors::default()).unwrap();
        builder.release(&wanted, |_| false);
        let old = slot(&builder, "192.0.2.11");
        assert!(old.is_some());
        builder.release(&wanted, |_| true);
        assert_eq!(slot(&builder, "192.0.2.11"), None);
        assert!(slot(&builder, "192.0.2.12").is_some());
        builder.build(&spec(&["192.0.2.12", "192.0.2.14"]), &Neighbors::default()).unwrap();
        assert_eq!(slot(&builder, "192.0.2.14"), old);
    }

    #[test]
    fn headers_are_prepared_once_the_neighbour_is_known() {
        let mut builder = Builder::default();
        let spec = spec(&["192.0.2.11", "198.51.100.1"]);
        let tables = builder.build(&spec, &Neighbors::default()).unwrap();
        let unresolved = tables.server(slot(&builder, "198.51.100.1").unwrap()).unwrap();
        assert!(matches!(unresolved.hop, Hop::Unresolved(hop) if hop.address.to_string() == "192.0.2.1"));
        let gateway = spec.ports[0].gateways[0];
        let neighbors =
            [(crate::tables::NextHop { port: PortId(0), address: gateway }, Mac([2, 0, 0, 0, 0, 9]))];
        let tables = builder.build(&spec, &neighbors.into_iter().collect()).unwrap();
        let resolved = tables.server(slot(&builder, "198.51.100.1").unwrap()).unwrap();
        assert!(matches!(resolved.hop, Hop::Link(link) if link.destination == Mac([2, 0, 0, 0, 0, 9])));
        assert_eq!(
            tables.template(slot(&builder, "198.51.100.1").unwrap()).len(),
            38,
            "Ethernet, IPv4 and GRE"
        );
        assert_eq!(tables.generation, Generation(2));
    }

    #[test]
    fn reweighing_shares_all_memory_but_the_selectors_of_the_vips_it_names() {
        let mut builder = Builder::default();
        let mut spec = spec(&["192.0.2.11", "192.0.2.12"]);
        let other = IpAddr::from([203, 0, 113, 11]);
        let service = Service { network: other.into(), ..spec.vips[0].service };
        spec.vips.push(VipSpec { service, ..spec.vips[0].clone() });
        let before = builder.build(&spec, &Neighbors::default()).unwrap();
        builder.learn(VipId(0), [(ServerId(0), 7.0)]);
        let after = builder.reweigh(&before, [VipId(0), VipId(99)]);
        assert_eq!(after.generation, Generation(2));
        assert!(Arc::ptr_eq(&before.lookup, &after.lookup) && Arc::ptr_eq(&before.portless, &after.portless));
        assert!(Arc::ptr_eq(&before.servers, &after.servers) && Arc::ptr_eq(&before.ports, &after.ports));
        assert!(
            Arc::ptr_eq(&before.routes, &after.routes) && Arc::ptr_eq(&before.neighbors, &after.neighbors)
        );
        assert!(Arc::ptr_eq(&before.nat, &after.nat));
        assert!(Arc::ptr_eq(&before.vip_addresses, &after.vip_addresses));
        assert_eq!(before.templates.as_ptr(), after.templates.as_ptr());
        let same =
            |at: usize| Arc::ptr_eq(before.vips[at].as_ref().unwrap(), after.vips[at].as_ref().unwrap());
        assert_eq!((same(0), same(1)), (false, true));
        drop(before);
        assert_eq!(after.servers.len(), 4, "what is shared outlives the generation that it was built for");
    }

    #[test]
    fn learned_weights_are_in_every_later_generation_and_go_with_their_slots() {
        let weights = |tables: &Tables| -> Vec<f64> {
            tables.vip(VipId(0)).unwrap().selector.members().iter().map(|member| member.weight).collect()
        };
        let mut builder = Builder::default();
        let (both, one) = (spec(&["192.0.2.11", "192.0.2.12"]), spec(&["192.0.2.12"]));
        let first = builder.build(&both, &Neighbors::default()).unwrap();
        builder.learn(VipId(0), [(ServerId(0), 7.0), (ServerId(1), f64::NAN)]);
        assert_eq!(weights(&builder.reweigh(&first, [VipId(0)])), [7.0, 1.0]);
        builder.learn(VipId(0), [(ServerId(1), 0.5)]);
        assert_eq!(weights(&builder.build(&one, &Neighbors::default()).unwrap()), [0.5]);
        assert_eq!(weights(&builder.build(&both, &Neighbors::default()).unwrap()), [7.0, 0.5]);
        builder.build(&one, &Neighbors::default()).unwrap();
        builder.release(&one, |_| true);
        let back = builder.build(&both, &Neighbors::default()).unwrap();
        assert_eq!(weights(&back), [1.0, 0.5], "the slot was given up in between");
        builder.unlearn(VipId(0));
        assert_eq!(weights(&builder.reweigh(&back, [VipId(0)])), [1.0, 1.0]);
    }

    #[test]
    fn too_many_servers_leave_the_builder_as_it_was() {
        let mut builder = Builder::default();
        let mut many = spec(&["192.0.2.11"]);
        let server = many.vips[0].servers[0].clone();
        many.vips[0].servers = (0..=MAX_SERVERS as u32)
            .map(|n| ServerSpec { address: IpAddr::V4((0xc633_0000 + n).into()), ..server.clone() })
            .collect();
        assert_eq!(builder.build(&many, &Neighbors::default()).unwrap_err(), BuildError::TooManyServers);
        assert_eq!(builder.servers().count(), 0);
    }
}
