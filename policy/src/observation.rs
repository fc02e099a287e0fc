//! What a policy sees of one VIP at one moment.

use std::collections::HashMap;

use ipc::region::{ServerState, ServerStatistics, StatisticsFrame, VipStatistics};

use crate::state::{self, StateError};

/// One VIP of a statistics frame.
///
/// The records are those of the region, bit by bit, so what is logged and what is decided by are the same.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// When it was measured, in nanoseconds of the workers' clock.
    pub t: u64,
    /// Totals and rates of the VIP.
    pub vip: &'a VipStatistics,
    /// Its servers, those that are draining or down included.
    pub servers: &'a [ServerStatistics],
}

impl<'a> Observation<'a> {
    /// The VIPs of a frame.
    pub fn of(frame: &'a StatisticsFrame) -> impl Iterator<Item = Self> {
        let t = frame.header().t;
        frame.vips().map(move |(vip, servers)| Self { t, vip, servers })
    }

    /// Whether a server takes new flows: it is active and the operator wants it to.
    pub fn is_active(server: &ServerStatistics) -> bool {
        server.state() == Some(ServerState::Active) && server.configured_weight > 0.0
    }

    /// Flows of a server that ended in order: by FIN or RST.
    pub const fn finished(server: &ServerStatistics) -> u64 {
        server.finished_fin + server.finished_rst
    }
}

/// Something kept for each server from one observation to the next, in the order of the newest one.
#[derive(Clone, Debug, PartialEq)]
pub struct PerServer<T> {
    entries: Vec<Entry<T>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry<T> {
    server: u32,
    /// Never goes back while the slot means the same server.
    created: u64,
    value: T,
}

impl<T> Entry<T> {
    const fn is_of(&self, server: &ServerStatistics) -> bool {
        self.server == server.server && self.created <= server.created
    }
}

impl<T> Default for PerServer<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<T> PerServer<T> {
    /// Goes by a new observation: servers that were there before keep what they have, wherever they stand now, and
    /// others begin with `fresh`. Returns whether the servers or their order are not those from before.
    ///
    /// A slot whose count of flows has gone back means another server.
    pub fn align(
        &mut self,
        observation: &Observation<'_>,
        mut fresh: impl FnMut(&ServerStatistics) -> T,
    ) -> bool {
        let servers = observation.servers;
        let same = self.entries.len() == servers.len()
            && self.entries.iter().zip(servers).all(|(entry, server)| entry.is_of(server));
        if same {
            for (entry, server) in self.entries.iter_mut().zip(servers) {
                entry.created = server.created;
            }
            return false;
        }
        let mut former: HashMap<u32, Entry<T>> =
            self.entries.drain(..).map(|entry| (entry.server, entry)).collect();
        self.entries.extend(servers.iter().map(|server| {
            let known = former.remove(&server.server).filter(|entry| entry.is_of(server));
            let value = known.map_or_else(|| fresh(server), |entry| entry.value);
            Entry { server: server.server, created: server.created, value }
        }));
        true
    }

    /// Forgets all servers.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// What is kept, in the order of the observation that was aligned to last.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|entry| &entry.value)
    }

    /// What is kept, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().map(|entry| &mut entry.value)
    }

    /// Writes everything down, `each` for every server.
    pub fn save(&self, state: &mut state::Writer, mut each: impl FnMut(&T, &mut state::Writer)) {
        state.u64(self.entries.len() as u64);
        for entry in &self.entries {
            state.u64(u64::from(entry.server));
            state.u64(entry.created);
            each(&entry.value, state);
        }
    }

    /// Takes over what [`PerServer::save`] has written. On an error it is empty.
    pub fn restore(
        &mut self,
        state: &mut state::Reader<'_>,
        mut each: impl FnMut(&mut state::Reader<'_>) -> Result<T, StateError>,
    ) -> Result<(), StateError> {
        self.entries.clear();
        let mut entries = Vec::new();
        for _ in 0..state.u64()? {
            let server = u32::try_from(state.u64()?).map_err(|_| StateError::Value)?;
            let created = state.u64()?;
            entries.push(Entry { server, created, value: each(state)? });
        }
        self.entries = entries;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(servers: &[(u32, u64)], kept: &mut PerServer<u32>, fresh: u32) -> (bool, Vec<u32>) {
        let vip = VipStatistics::new(1);
        let servers: Vec<_> = servers
            .iter()
            .map(|&(server, created)| ServerStatistics {
                created,
                ..ServerStatistics::new(server, ServerState::Active)
            })
            .collect();
        let changed = kept.align(&Observation { t: 0, vip: &vip, servers: &servers }, |_| fresh);
        (changed, kept.iter().copied().collect())
    }

    #[test]
    fn servers_keep_what_they_have_wherever_they_stand() {
        let mut state = PerServer::default();
        assert_eq!(kept(&[(7, 0), (3, 5)], &mut state, 1), (true, vec![1, 1]));
        state.iter_mut().next().into_iter().for_each(|first| *first = 9);
        assert_eq!(kept(&[(7, 4), (3, 5)], &mut state, 2), (false, vec![9, 1]));
        assert_eq!(kept(&[(3, 6), (4, 0), (7, 4)], &mut state, 2), (true, vec![1, 2, 9]));
        assert_eq!(
            kept(&[(7, 3)], &mut state, 5),
            (true, vec![5]),
            "a slot whose count goes back is another"
        );
    }

    #[test]
    fn what_is_kept_can_be_written_down() {
        let mut state = PerServer::default();
        kept(&[(7, 0), (3, 5)], &mut state, 1);
        let mut writer = state::Writer::default();
        state.save(&mut writer, |&value, writer| writer.u64(u64::from(value)));
        let words = writer.into_words();
        let mut other = PerServer::default();
        let mut reader = state::Reader::new(&words);
        other.restore(&mut reader, |reader| Ok(reader.u64()? as u32)).unwrap();
        reader.end().unwrap();
        assert_eq!(other, state);
        let cut = other.restore(&mut state::Reader::new(&words[..4]), |reader| Ok(reader.u64()? as u32));
        assert_eq!((cut, other), (Err(StateError::Short), PerServer::default()));
    }
}
