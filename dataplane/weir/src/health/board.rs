//! What all checks together say: the state of every server, for the next generation of tables.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use dataplane::{
    tables::{builder::ServerKey, server::ServerState, vip::Service},
    time::Nanos,
};

use super::{
    judge::{self, Judge, Thresholds},
    passive::{self, Ejection, Sample},
    probe::{Check, Outcome, Request},
    status::{HealthStatus, ServerHealthStatus, Transition},
};
use crate::{
    config::{self, Config, HealthKind, Server, Vip},
    spec,
};

/// Which server: what its health is remembered by, through reloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    service: Service,
    address: IpAddr,
    /// The port that it serves.
    port: Option<u16>,
}

impl Key {
    fn of(vip: &Vip, server: &Server) -> Self {
        let service = spec::service(vip);
        Self { service, address: server.address, port: server.port.or(service.port) }
    }
}

impl From<&ServerKey> for Key {
    fn from(key: &ServerKey) -> Self {
        Self { service: key.service, address: key.address, port: key.port.or(key.service.port) }
    }
}

/// What the workers have counted for a server slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// The slot.
    pub id: u32,
    /// Flows that were given to it.
    pub created: u64,
    /// Flows that were established.
    pub established: u64,
}

#[derive(Clone, Debug)]
struct CheckedServer {
    key: Key,
    name: String,
    /// Whether the configuration lets it take new flows.
    in_play: bool,
    weight: f64,
    judge: Judge,
    /// When it last went from up to down.
    fell: Option<Nanos>,
    ejection: Ejection,
    /// The counts at the start of the window.
    counted: Option<Counts>,
    checks: [u64; Outcome::ALL.len()],
    transitions: [u64; Transition::ALL.len()],
    /// What comes of it all, unless the configuration says draining or down.
    state: ServerState,
}

#[derive(Clone, Debug)]
struct CheckedVip {
    name: String,
    settings: config::Health,
    servers: Vec<CheckedServer>,
    /// All servers in play fail: the last good ones stay in service.
    in_panic: bool,
}

/// The health of all servers. Belongs to the control thread.
#[derive(Clone, Debug, Default)]
pub struct Board {
    vips: Vec<CheckedVip>,
    by_key: HashMap<Key, (usize, usize)>,
    by_check: HashMap<Arc<Check>, Vec<(usize, usize)>>,
    /// When the window of passive checks began.
    window: Option<Nanos>,
}

impl Board {
    /// Takes over a configuration. Servers that it still has keep what is known of them.
    pub fn configure(&mut self, config: &Config) {
        let mut old: HashMap<Key, CheckedServer> = HashMap::new();
        let mut panics = HashSet::new();
        for vip in self.vips.drain(..) {
            panics.extend(vip.in_panic.then_some(vip.name));
            old.extend(vip.servers.into_iter().map(|server| (server.key, server)));
        }
        self.by_key.clear();
        self.by_check.clear();
        for vip in &config.vips {
            let Some(settings) = &vip.health else { continue };
            let mut servers = Vec::with_capacity(vip.servers.len());
            for server in &vip.servers {
                let key = Key::of(vip, server);
                let place = (self.vips.len(), servers.len());
                self.by_key.insert(key, place);
                if let Some(check) = check(settings, vip, server) {
                    self.by_check.entry(Arc::new(check)).or_default().push(place);
                }
                servers.push(CheckedServer::new(vip, server, old.remove(&key)));
            }
            let (name, in_panic) = (vip.name.clone(), panics.contains(&vip.name));
            let mut vip = CheckedVip { name, settings: settings.clone(), servers, in_panic };
            vip.settle();
            self.vips.push(vip);
        }
    }

    /// What is to be checked.
    pub fn checks(&self) -> HashSet<Arc<Check>> {
        self.by_check.keys().map(Arc::clone).collect()
    }

    /// Takes the result of a check; returns whether the state of any server changed.
    pub fn report(&mut self, check: &Arc<Check>, outcome: Outcome, now: Nanos) -> bool {
        let mut changed = false;
        // A result of a check that is gone from the configuration finds nobody.
        for &(vip, server) in self.by_check.get(check).into_iter().flatten() {
            let vip = &mut self.vips[vip];
            changed |= vip.report(server, outcome, now) && vip.settle();
        }
        changed
    }

    /// Ends ejections whose time is over and, when a window is over, compares the servers of each VIP by
    /// `counts`; returns whether the state of any server changed.
    pub fn tick<C>(&mut self, now: Nanos, counts: impl FnOnce() -> C) -> bool
    where
        C: IntoIterator<Item = (ServerKey, Counts)>,
    {
        let mut changed = false;
        if !self.vips.iter().any(|vip| vip.settings.passive || vip.servers.iter().any(|s| s.ejection.is_on()))
        {
            return false;
        }
        for vip in &mut self.vips {
            changed |= vip.expire(now) && vip.settle();
        }
        let begun = *self.window.get_or_insert(now);
        if now.0.saturating_sub(begun.0) < passive::WINDOW.as_nanos() as u64 {
            return changed;
        }
        self.window = Some(now);
        let mut by_key: HashMap<Key, Counts> = HashMap::new();
        for (key, counts) in counts() {
            // After a change of encapsulation a server has an old slot too. The sum of the identifiers tells
            // when that one is given up, and the window starts anew.
            let sum = by_key.entry(Key::from(&key)).or_insert(Counts { id: 0, created: 0, established: 0 });
            sum.id = sum.id.wrapping_add(counts.id).wrapping_add(1);
            sum.created += counts.created;
            sum.established += counts.established;
        }
        for vip in self.vips.iter_mut().filter(|vip| vip.settings.passive) {
            changed |= vip.compare(&by_key, now) && vip.settle();
        }
        changed
    }

    /// What a server is for the next generation: what the configuration says, and if that is active, what
    /// its health says.
    pub fn state(&self, vip: &Vip, server: &Server) -> ServerState {
        match server.state {
            config::ServerState::Draining => ServerState::Draining,
            config::ServerState::Down => ServerState::Down,
            config::ServerState::Active => self
                .by_key
                .get(&Key::of(vip, server))
                .map_or(ServerState::Active, |&(vip, server)| self.vips[vip].servers[server].state),
        }
    }

    /// Everything for the metrics.
    pub fn status(&self) -> HealthStatus {
        let servers = self.vips.iter().flat_map(|vip| {
            vip.servers.iter().map(|server| ServerHealthStatus {
                vip: vip.name.clone(),
                server: server.name.clone(),
                checks: server.checks,
                transitions: server.transitions,
                ejected: server.ejection.is_on(),
            })
        });
        HealthStatus {
            servers: servers.collect(),
            vips: self.vips.iter().map(|vip| (vip.name.clone(), vip.in_panic)).collect(),
        }
    }
}

/// The check of a server; `None`: nothing is sent to it.
fn check(settings: &config::Health, vip: &Vip, server: &Server) -> Option<Check> {
    let target = SocketAddr::new(server.address, settings.port.or(server.port).or(vip.ports.first())?);
    let request = match settings.kind {
        HealthKind::None => return None,
        HealthKind::Tcp => Request::Connect,
        HealthKind::Http => Request::Get {
            path: settings.path.clone(),
            host: settings.host.clone().unwrap_or_else(|| target.to_string()),
        },
    };
    Some(Check { target, request, interval: settings.interval, timeout: settings.timeout })
}

impl CheckedServer {
    fn new(vip: &Vip, server: &Server, old: Option<Self>) -> Self {
        let mut new = old.unwrap_or_else(|| Self {
            key: Key::of(vip, server),
            name: String::new(),
            in_play: false,
            weight: 0.0,
            judge: Judge::default(),
            fell: None,
            ejection: Ejection::default(),
            counted: None,
            checks: [0; Outcome::ALL.len()],
            transitions: [0; Transition::ALL.len()],
            state: ServerState::Active,
        });
        new.name = spec::server_name(vip, server);
        new.in_play = server.state == config::ServerState::Active && server.weight > 0.0;
        new.weight = server.weight;
        // What nobody looks after any more must not stay as it was.
        let unchecked = |health: &config::Health| health.kind == HealthKind::None;
        if vip.health.as_ref().is_none_or(unchecked) {
            (new.judge, new.fell) = (Judge::default(), None);
        }
        if vip.health.as_ref().is_none_or(|health| !health.passive) {
            (new.ejection, new.counted) = (Ejection::default(), None);
        }
        new
    }

    /// Whether new flows may go there as far as its own health tells.
    fn is_fit(&self) -> bool {
        self.in_play && !self.judge.is_down()
    }
}

impl CheckedVip {
    /// Takes the result of a check of one server; returns whether the verdict changed.
    fn report(&mut self, server: usize, outcome: Outcome, now: Nanos) -> bool {
        let (vip, settings) = (self.name.as_str(), &self.settings);
        let server = &mut self.servers[server];
        server.checks[outcome.index()] += 1;
        let was_up = server.judge.health() == judge::Health::Up;
        let was_down = server.judge.is_down();
        let thresholds = Thresholds { rise: settings.rise, fall: settings.fall };
        match server.judge.hear(outcome == Outcome::Ok, thresholds) {
            Some(judge::Health::Down) => {
                if was_up {
                    server.fell = Some(now);
                }
                server.transitions[Transition::Down as usize] += 1;
                tracing::warn!(vip, server = %server.name, result = outcome.name(), "server is down");
                true
            }
            Some(_) => {
                if was_down {
                    server.transitions[Transition::Up as usize] += 1;
                    tracing::info!(vip, server = %server.name, "server is up");
                }
                true
            }
            None => false,
        }
    }

    /// Ends ejections whose time is over; returns whether there were any.
    fn expire(&mut self, now: Nanos) -> bool {
        let mut any = false;
        for server in &mut self.servers {
            if server.ejection.expire(now) {
                any = true;
                server.counted = None; // what happened while it was out does not count
                server.transitions[Transition::Readmitted as usize] += 1;
                tracing::info!(vip = %self.name, server = %server.name, "server takes new flows again");
            }
        }
        any
    }

    /// Ends a window: ejects who does not answer; returns whether there was anybody.
    fn compare(&mut self, counts: &HashMap<Key, Counts>, now: Nanos) -> bool {
        let (mut places, mut samples) = (Vec::new(), Vec::new());
        for (place, server) in self.servers.iter_mut().enumerate() {
            let counted = counts.get(&server.key).copied();
            let before = std::mem::replace(&mut server.counted, counted);
            if let (Some(before), Some(after)) = (before, counted)
                && before.id == after.id
                && server.is_fit()
                && !server.ejection.is_on()
            {
                places.push(place);
                samples.push(Sample {
                    created: after.created.saturating_sub(before.created),
                    established: after.established.saturating_sub(before.established),
                    weight: server.weight,
                });
            }
        }
        let mut suspects: Vec<(f64, usize)> = places
            .into_iter()
            .zip(passive::suspicions(&samples))
            .filter_map(|(place, suspicion)| Some((suspicion?, place)))
            .collect();
        suspects.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let pool = self.servers.iter().filter(|server| server.in_play).count();
        let out = self.servers.iter().filter(|server| server.in_play && server.ejection.is_on()).count();
        let room = passive::most_ejected(pool).saturating_sub(out);
        for &(_, place) in suspects.iter().take(room) {
            let server = &mut self.servers[place];
            let seconds = server.ejection.begin(now).as_secs();
            server.transitions[Transition::Ejected as usize] += 1;
            tracing::warn!(
                vip = %self.name, server = %server.name, seconds,
                "clients get no further than their SYN: the server takes no new flows for a while"
            );
        }
        room > 0 && !suspects.is_empty()
    }

    /// Draws the conclusions for all servers; returns whether the state of any changed.
    fn settle(&mut self) -> bool {
        let fit = self.servers.iter().filter(|server| server.is_fit()).count();
        let in_play = self.servers.iter().filter(|server| server.in_play).count();
        let in_panic = in_play > 0 && fit == 0;
        if in_panic && !self.in_panic {
            tracing::error!(vip = %self.name, "all servers fail their checks: the last good ones stay in service");
        } else if self.in_panic && !in_panic {
            tracing::info!(vip = %self.name, "the checks decide again which servers are in service");
        }
        self.in_panic = in_panic;
        // Those that fell within one round of checks fell together.
        let together = 2 * self.settings.interval + self.settings.timeout;
        let fell = |server: &CheckedServer| server.fell.filter(|_| server.in_play).map(|fell| fell.0);
        let last = self.servers.iter().filter_map(fell).max();
        let was_last_good = |server: &CheckedServer| {
            last.is_none_or(|last| {
                let since = fell(server).map(|fell| Duration::from_nanos(last - fell));
                since.is_some_and(|since| since <= together)
            })
        };
        // Somebody has to take the new flows.
        let ejections_count = self.servers.iter().any(|server| server.is_fit() && !server.ejection.is_on());
        let mut changed = false;
        for at in 0..self.servers.len() {
            let server = &self.servers[at];
            let state = if in_panic && server.in_play {
                if was_last_good(server) { ServerState::Active } else { ServerState::Down }
            } else if server.judge.is_down() {
                ServerState::Down
            } else if ejections_count && server.ejection.is_on() {
                ServerState::Draining
            } else {
                ServerState::Active
            };
            changed |= std::mem::replace(&mut self.servers[at].state, state) != state;
        }
        changed
    }
}
